"""`bridge queries` and `bridge preview`: look at queries before they run."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

import typer

from sql_databricks_bridge import composition
from sql_databricks_bridge.cli import output
from sql_databricks_bridge.cli.options import (
    ConfigDirOption,
    CountryOption,
    JsonOption,
    LookbackOption,
    ParamOption,
    QueriesDirOption,
)

app = typer.Typer(
    help="List queries, or show one as it would be sent.",
    epilog="Example: bridge queries --country Colombia",
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def queries(
    context: typer.Context,
    country: Annotated[str | None, typer.Option("--country", "-c", metavar="NAME", help="With its overrides.")] = None,
    queries_dir: QueriesDirOption = None,
    config_dir: ConfigDirOption = None,
    json: JsonOption = False,
) -> None:
    """List the queries, for one country or as the base folder has them."""
    if context.invoked_subcommand is not None:
        return
    from sql_databricks_bridge.core import planning
    from sql_databricks_bridge.core.country_config import list_countries, load_country

    config = composition.settings()
    folder = config_dir or config.bridge_config_dir
    if country is not None:
        load_country(folder, country)
    found = planning.list_queries(queries_dir or config.bridge_queries_dir, country)
    countries = list_countries(folder) if folder.is_dir() else ()
    if json:
        output.print_json(
            {
                "country": country,
                "countries": list(countries),
                "queries": [
                    {
                        "name": info.name,
                        "file": info.file,
                        "overrides": info.overrides,
                        "overridden_by": list(info.overridden_by),
                        "placeholders": list(info.placeholders),
                        "parameters": list(info.parameters),
                        "problem": info.problem,
                    }
                    for info in found
                ],
            }
        )
        return
    from rich.table import Table
    from rich.text import Text

    table = Table("query", "file", "placeholders", "@parameters", "notes", box=None, header_style="dim", pad_edge=False)
    for info in found:
        notes = [f"overrides {info.overrides}"] if info.overrides else []
        notes += [f"overridden by {', '.join(info.overridden_by)}"] if info.overridden_by and country is None else []
        notes += [info.problem] if info.problem else []
        table.add_row(
            *(Text(cell) for cell in (info.name, info.file, ", ".join(info.placeholders), ", ".join(info.parameters))),
            Text("; ".join(notes)),
        )
    output.out().print(table)
    if country is None and countries:
        output.err().print(f"countries: {', '.join(countries)}", style="dim")


@app.command("show", epilog="Example: bridge queries show flights --country Colombia")
def show(
    query: Annotated[str, typer.Argument(metavar="Q", help="The query's name.")],
    country: CountryOption,
    queries_dir: QueriesDirOption = None,
    config_dir: ConfigDirOption = None,
    param: ParamOption = None,
    lookback_months: LookbackOption = None,
    json: JsonOption = False,
) -> None:
    """Show the SQL of a query as it would be sent, and where each parameter came from. Asks no server."""
    from sql_databricks_bridge.core import planning

    config = composition.settings()
    found = planning.explain_query(
        queries_dir=queries_dir or config.bridge_queries_dir,
        config_dir=config_dir or config.bridge_config_dir,
        country=country,
        name=query,
        today=dt.date.today(),  # noqa: DTZ011  # the analyst's today
        parameters=planning.parse_assignments(param or ()),
        lookback_months=lookback_months,
    )
    for warning in found.warnings:
        output.print_warning(warning)
    if json:
        output.print_json(_explained(found))
        return
    from rich.table import Table
    from rich.text import Text

    from sql_databricks_bridge.core.param_resolver import shown_value

    console = output.out()
    output.print_sql(found.query.sql)
    table = Table("parameter", "value", "from", box=None, header_style="dim", pad_edge=False)
    for placeholder in found.query.placeholders:
        table.add_row(*(Text(cell) for cell in (f"{{{placeholder.name}}}", placeholder.text, placeholder.origin)))
    for bound in found.query.parameters:
        table.add_row(
            Text(f"@{bound.name} {bound.declaration}"), Text(shown_value(bound.name, bound.value)), Text(bound.origin)
        )
    for declared in found.without_value:
        table.add_row(Text(f"@{declared.name}"), Text("no value", "yellow"), Text(f"--param {declared.name}=..."))
    if table.row_count:
        console.print(table)


def _explained(found: Any) -> dict[str, Any]:
    from sql_databricks_bridge.core.param_resolver import shown_value

    query = found.query
    return {
        "name": query.name,
        "file": query.file,
        "sha256": query.sha256,
        "sql": query.sql,
        "placeholders": [{"name": p.name, "text": p.text, "origin": p.origin} for p in query.placeholders],
        "parameters": [
            {"name": p.name, "type": p.declaration, "value": shown_value(p.name, p.value), "origin": p.origin}
            for p in query.parameters
        ],
        "without_value": [declared.name for declared in found.without_value],
        "warnings": list(found.warnings),
    }


def preview(
    query: Annotated[str, typer.Argument(metavar="Q", help="The query's name.")],
    country: CountryOption,
    rows: Annotated[int, typer.Option("--rows", metavar="N", min=1, max=100_000, help="How many rows.")] = 20,
    queries_dir: QueriesDirOption = None,
    config_dir: ConfigDirOption = None,
    param: ParamOption = None,
    lookback_months: LookbackOption = None,
    json: JsonOption = False,
) -> None:
    """Run a query and show its first rows as a Polars frame; nothing lands."""
    from sql_databricks_bridge.core.planning import parse_assignments
    from sql_databricks_bridge.core.shaping import shape
    from sql_databricks_bridge.models.names import Destination

    config = composition.settings()
    parameters = parse_assignments(param or ())
    request = composition.Request(
        country, [query], queries_dir, config_dir, None, parameters, lookback_months, limit=rows
    )
    # A preview needs no volume: where none is set, any will do for the plan.
    plan = composition.plan(config, request, default_destination=Destination("none", "none", "none"))
    connection = composition.sql_server(config, plan.server).connect(database=plan.database, server=plan.server)
    try:
        asked = shape(connection, plan.queries[0])
        frame = connection.frame(asked.query, asked.schema, rows)
    finally:
        connection.close()
    if json:
        output.print_json({"query": query, "columns": frame.columns, "rows": frame.rows()})
        return
    import polars as pl

    with pl.Config(tbl_rows=rows, tbl_cols=-1, tbl_width_chars=output.out().width, fmt_str_lengths=60):
        typer.echo(str(frame))
