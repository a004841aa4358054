"""`bridge runs` and `bridge sweep`: what is published, and the tidying-up behind it."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer

from sql_databricks_bridge import composition
from sql_databricks_bridge.cli import output
from sql_databricks_bridge.cli.options import ConfigDirOption, CountryOption, DestinationOption, JsonOption

app = typer.Typer(no_args_is_help=True, help="See published runs.", rich_markup_mode=None)


@app.callback()
def _runs() -> None:
    """See published runs."""


@app.command("latest", epilog="Example: bridge runs latest flights --country Colombia --json")
def latest(
    country: CountryOption,
    query: Annotated[str | None, typer.Argument(metavar="[Q]", help="A query; all of them without it.")] = None,
    destination: DestinationOption = None,
    config_dir: ConfigDirOption = None,
    json: JsonOption = False,
) -> int:
    """Show path, files and rows of the newest published run of each query."""
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
    if not found:
        what = f"{country}/{query}" if query else country
        output.print_error(f"No published run of {what} in {target}.", f"bridge extract --country {country}")
        return 1
    return 0


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
