"""`bridge runs` and `bridge sweep`: what has landed, and the tidying-up behind it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from sql_databricks_bridge import composition
from sql_databricks_bridge.cli import output
from sql_databricks_bridge.cli.options import ConfigDirOption, CountryOption, DestinationOption, JsonOption
from sql_databricks_bridge.errors import BridgeError

if TYPE_CHECKING:
    from sql_databricks_bridge.cli.runs_shown import Standings
    from sql_databricks_bridge.core.config import Settings
    from sql_databricks_bridge.core.runs import PublishedRun
    from sql_databricks_bridge.db.databricks import DatabricksLakehouse
    from sql_databricks_bridge.models.publishing import PublishedState

app = typer.Typer(no_args_is_help=True, help="See landed runs.", rich_markup_mode=None)


@app.callback()
def _runs() -> None:
    """See landed runs."""


@app.command("latest", epilog="Example: bridge runs latest flights --country Colombia --json")
def latest(
    country: CountryOption,
    query: Annotated[str | None, typer.Argument(metavar="[Q]", help="A query; all of them without it.")] = None,
    destination: DestinationOption = None,
    config_dir: ConfigDirOption = None,
    json: JsonOption = False,
) -> int:
    """Show path, files and rows of the newest published run of each query."""
    from sql_databricks_bridge.cli import runs_shown
    from sql_databricks_bridge.core import runs

    config = composition.settings()
    target = composition.destination_of(country, destination, config, config_dir)
    found = runs.latest(composition.lakehouse(config), target, country, query)
    if json:
        output.print_json(
            {
                "country": country,
                "destination": str(target),
                "runs": [
                    {
                        "query": run.folder.query,
                        "run_id": run.folder.run_id,
                        "path": run.folder.path,
                        "manifest": run.folder.manifest_path,
                        "rows": run.manifest.rows,
                        "bytes": run.manifest.size_bytes,
                        "finished_at": run.manifest.finished_at.isoformat(),
                        "files": [
                            {"path": path, "rows": part.rows, "bytes": part.size_bytes, "sha256": part.sha256}
                            for path, part in zip(run.files, run.manifest.parts, strict=True)
                        ],
                        "increment": runs_shown.increment_document(run.manifest),
                        "table": run.manifest.publication.table if run.manifest.publication else None,
                        "losses": [{"column": loss.column, "reason": loss.reason} for loss in run.manifest.losses],
                    }
                    for run in found
                ],
            }
        )
    else:
        from rich.table import Table
        from rich.text import Text

        table = Table("query", box=None, header_style="dim", pad_edge=False)
        for name in ("rows", "size"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("finished (UTC)", no_wrap=True)
        table.add_column("file", overflow="fold")
        for run in found:
            first, *others = run.files
            table.add_row(
                run.folder.query,
                f"{run.manifest.rows:,}",
                output.human_bytes(run.manifest.size_bytes),
                f"{run.manifest.finished_at:%Y-%m-%d %H:%M:%S}",
                Text(first + (f" and {len(others)} more" if others else "")),
            )
        output.out().print(table)
        for run in found:
            if (publication := run.manifest.publication) is not None and run.manifest.increment is not None:
                part = runs_shown.holds(run.manifest)
                output.out().print(
                    Text(f"{run.folder.query} holds an increment ({part}); the whole is in {publication.table}"),
                    soft_wrap=True,
                )
    if not found:
        what = f"{country}/{query}" if query else country
        output.print_error(f"No published run of {what} in {target}.", f"bridge extract --country {country}")
        return 1
    return 0


@app.command("list", epilog="Example: bridge runs list --country Colombia --query flights --limit 5")
def list_(
    country: CountryOption,
    query: Annotated[str | None, typer.Option("--query", "-q", metavar="Q", help="Only this query.")] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=10_000, help="The newest N.")] = 20,
    destination: DestinationOption = None,
    config_dir: ConfigDirOption = None,
    json: JsonOption = False,
) -> int:
    """List landed runs, the newest first: what each holds, and whether it is in its table."""
    from sql_databricks_bridge.cli import runs_shown
    from sql_databricks_bridge.core import run_history

    config = composition.settings()
    target = composition.destination_of(country, destination, config, config_dir)
    lake = composition.lakehouse(config)
    found = run_history.history(lake, target, country, _checked(query), limit)
    standings = _standings(config, lake, country, found, lambda states: run_history.standings(found, states))
    if json:
        output.print_json(
            {
                "country": country,
                "destination": str(target),
                "runs": [runs_shown.run_document(run, standings) for run in found],
            }
        )
    else:
        runs_shown.print_list(found, standings)
    if not found:
        what = f"{country}/{query}" if query else country
        output.print_error(f"No landed run of {what} in {target}.", f"bridge extract --country {country}")
        return 1
    return 0


@app.command("show", epilog="Example: bridge runs show latest flights --country Colombia")
def show(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, the beginning of one, or latest.")],
    country: CountryOption,
    query: Annotated[str | None, typer.Argument(metavar="[Q]", help="A query; all of them without it.")] = None,
    destination: DestinationOption = None,
    config_dir: ConfigDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show the manifest of a landed run: parameters, schema, losses, parts, and what it did to its table."""
    from sql_databricks_bridge.cli import runs_shown
    from sql_databricks_bridge.core import run_history
    from sql_databricks_bridge.core.run_history import Standing

    config = composition.settings()
    target = composition.destination_of(country, destination, config, config_dir)
    lake = composition.lakehouse(config)
    found = run_history.find(lake, target, country, run_id, _checked(query))

    def of_each(states: list[PublishedState]) -> dict[str, Standing]:
        standing = {run.folder.path: run_history.standing_of(lake, run, states) for run in found}
        return {path: each for path, each in standing.items() if each is not None}

    standings = _standings(config, lake, country, found, of_each)
    if json:
        output.print_json(
            {
                "country": country,
                "destination": str(target),
                "runs": [runs_shown.shown_run_document(run, standings) for run in found],
            }
        )
        return
    for run in found:
        runs_shown.print_run(run, standings)


@app.command("diff", epilog="Example: bridge runs diff 20261122T02 latest flights --country Colombia")
def diff(
    run_a: Annotated[str, typer.Argument(metavar="RUN_A", help="The earlier run.")],
    run_b: Annotated[str, typer.Argument(metavar="RUN_B", help="The later run.")],
    country: CountryOption,
    query: Annotated[str | None, typer.Argument(metavar="[Q]", help="A query; all of them without it.")] = None,
    destination: DestinationOption = None,
    config_dir: ConfigDirOption = None,
    json: JsonOption = False,
) -> int:
    """Compare two landed runs: columns, rows, the query's text and parameters.

    Exit code 0 where both hold the same columns and rows, 1 where not, or where that is not known.
    """
    from sql_databricks_bridge.cli import runs_shown
    from sql_databricks_bridge.core import run_diff, run_history
    from sql_databricks_bridge.core.country_config import load_country

    config = composition.settings()
    target = composition.destination_of(country, destination, config, config_dir)
    keyed = load_country(config_dir or config.bridge_config_dir, country).publishing.incremental
    lake = composition.lakehouse(config)
    sides = [
        {run.folder.query: run for run in run_history.find(lake, target, country, wanted, _checked(query))}
        for wanted in (run_a, run_b)
    ]
    before, after = sides
    found = [
        run_diff.compare(
            lake, before[name], after[name], keyed[name].key if name in keyed else (), spool_dir=config.bridge_spool_dir
        )
        for name in sorted(before.keys() & after.keys())
    ]
    only_before, only_after = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
    if json:
        output.print_json(
            {
                "country": country,
                "destination": str(target),
                "queries": [runs_shown.diff_document(each) for each in found],
                "only_before": only_before,
                "only_after": only_after,
            }
        )
    else:
        for each in found:
            runs_shown.print_diff(each)
        for name, run in [*((name, run_a) for name in only_before), *((name, run_b) for name in only_after)]:
            typer.echo(f"{name} is only in {run}")
    verdicts = {each.verdict for each in found}
    return 0 if verdicts == {run_diff.Verdict.SAME} and not only_before and not only_after else 1


def _checked(query: str | None) -> str | None:
    """A query's name becomes a folder's: nothing else may."""
    from sql_databricks_bridge.models.names import require_simple_name

    return None if query is None else require_simple_name(query, "The query")


def _standings(
    config: Settings,
    lake: DatabricksLakehouse,
    country: str,
    found: tuple[PublishedRun, ...],
    judge: Callable[[list[PublishedState]], Standings],
) -> Standings:
    """What `judge` makes of the table of states, which is asked only where a run was to publish; empty if it can't be.

    The files are there all the same, so that a missing warehouse is no reason to show nothing.
    """
    if all(run.manifest.publication is None for run in found):
        return {}
    try:
        return judge(composition.publisher(config, lake).list(country))
    except BridgeError as exc:
        output.print_warning(f"What the tables hold is not known: {exc.message}")
        return {}


def sweep(
    country: Annotated[str | None, typer.Option("--country", "-c", metavar="NAME", help="Only this country.")] = None,
    keep: Annotated[
        int | None, typer.Option("--keep", metavar="N", min=1, help="Also remove all but the newest N runs.")
    ] = None,
    older_than: Annotated[
        float, typer.Option("--older-than", metavar="HOURS", min=0, help="Age at which an unpublished attempt is dead.")
    ] = 24.0,
    destination: DestinationOption = None,
    config_dir: ConfigDirOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go; remove nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Remove unpublished attempts and, with --keep, old runs. The newest published run of a query always stays."""
    from sql_databricks_bridge.core import runs
    from sql_databricks_bridge.errors import SettingsError
    from sql_databricks_bridge.models.names import Destination

    config = composition.settings()
    target: Destination | None
    if country is not None:
        target = composition.destination_of(country, destination, config, config_dir)
    else:
        target = Destination.parse(destination) if destination else config.default_destination
    if target is None:
        raise SettingsError("No volume is named.", hint="Give --country or --destination, or set DATABRICKS_VOLUME.")
    removed = runs.sweep(
        composition.lakehouse(config),
        target,
        country,
        keep=keep,
        older_than=dt.timedelta(hours=older_than),
        dry_run=dry_run,
    )
    if json:
        output.print_json(
            {
                "destination": str(target),
                "dry_run": dry_run,
                "swept": [
                    {"path": item.path, "reason": item.reason, "files": item.files, "bytes": item.size_bytes}
                    for item in removed
                ],
            }
        )
        return
    for item in removed:
        typer.echo(f"{item.path}  {item.reason}, {item.files} files, {output.human_bytes(item.size_bytes)}")
    verb = "would be removed" if dry_run else "removed"
    typer.echo(f"{len(removed)} folders {verb}, {output.human_bytes(sum(item.size_bytes for item in removed))}")
