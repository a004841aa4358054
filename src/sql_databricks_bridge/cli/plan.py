"""`bridge plan`: which way each query will go, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sql_databricks_bridge import composition
from sql_databricks_bridge.cli import output
from sql_databricks_bridge.cli.options import (
    ConfigDirOption,
    CountryOption,
    DestinationOption,
    JsonOption,
    LookbackOption,
    ParamOption,
    PublishOption,
    QueriesDirOption,
    QueriesOption,
    StrictOption,
)

if TYPE_CHECKING:
    from sql_databricks_bridge.core.publication_plan import Forecast

_LOG_LEVEL = "ERROR"  # what a run would log is printed here, in its place


def plan(
    country: CountryOption,
    query: QueriesOption = None,
    queries_dir: QueriesDirOption = None,
    config_dir: ConfigDirOption = None,
    destination: DestinationOption = None,
    param: ParamOption = None,
    lookback_months: LookbackOption = None,
    publish: PublishOption = None,
    strict: StrictOption = False,
    json: JsonOption = False,
) -> int:
    """Show for each query which way it will go, from where to where, about how many rows, and what its columns need.

    Nothing is run, claimed or created. Exit code 1 where a query could not go.
    """
    from sql_databricks_bridge.core.planning import parse_assignments
    from sql_databricks_bridge.core.publication_plan import foresee

    config = composition.settings(_LOG_LEVEL)
    parameters = parse_assignments(param or ())
    resolved = composition.plan(
        config,
        composition.Request(
            country,
            query or (),
            queries_dir,
            config_dir,
            destination,
            parameters,
            lookback_months,
            publish=publish,
            strict=strict,
        ),
    )
    lake = composition.lakehouse(config)
    publisher = composition.publisher(config, lake) if any(each.publish for each in resolved.queries) else None
    found = foresee(resolved, composition.sql_server(config, resolved.server), lake, publisher)
    failed = any(each.problem is not None for each in found)
    if json:
        output.print_json(
            {
                "status": "failed" if failed else "ok",
                "country": country,
                "destination": str(resolved.destination),
                "warnings": list(resolved.warnings),
                "queries": [_document(each) for each in found],
            }
        )
    else:
        for warning in resolved.warnings:
            output.print_warning(warning)
        _print(found)
    return 1 if failed else 0


def _document(forecast: Forecast) -> dict[str, Any]:
    from sql_databricks_bridge.cli.publication_shown import watermark_document

    problem = forecast.problem
    return {
        "name": forecast.query,
        "way": forecast.way,
        "reason": forecast.reason,
        "target": None if forecast.target is None else str(forecast.target),
        "table": None if forecast.table is None else str(forecast.table),
        "low": watermark_document(forecast.low),
        "high": watermark_document(forecast.high),
        "estimated_rows": forecast.estimated_rows,
        "drift": None if forecast.drift is None else forecast.drift.value,
        "changes": list(forecast.changes),
        "warnings": list(forecast.warnings),
        "problem": None
        if problem is None
        else {"kind": type(problem).__name__, "message": problem.message, "hint": problem.hint},
    }


def _print(found: Sequence[Forecast]) -> None:
    """Print a line for each query, and below it what must be said in words; all of it fits 80 columns."""
    from rich.text import Text

    from sql_databricks_bridge.cli.publication_shown import plain_table, shown
    from sql_databricks_bridge.core.publishing import FULL

    table = plain_table("query", "way", "rows, about", "table and why")
    table.columns[1].no_wrap = True
    table.columns[2].justify, table.columns[2].no_wrap = "right", True
    for each in found:
        told = Text("" if each.table is None else output.visible(str(each.table)), "bold")
        lines = [(f"{each.reason} (drift: {each.drift})", "yellow") if each.changes else (each.reason, "")]
        if each.low is not None and each.way != FULL:
            lines.append((f"from {shown(each.low)}" + (f" to {shown(each.high)}" if each.high else ""), ""))
        elif each.high is not None:
            lines.append((f"up to {shown(each.high)}", ""))
        lines += [(f"warning: {warning}", "yellow") for warning in each.warnings]
        if each.problem is not None:
            lines.append((f"error: {each.problem.message}", "bold red"))
            lines.append((f"-> {each.problem.hint}" if each.problem.hint else "", "bold"))
        for line, style in lines:
            if line:
                told.append(("\n" if told else "") + output.visible(line), style)
        rows = "-" if each.estimated_rows is None else f"{each.estimated_rows:,}"
        table.add_row(Text(each.query), "-" if each.way is None else each.way, rows, told)
    output.out().print(table)
