"""`bridge watermarks`: how far each published table is, and how to begin again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sql_databricks_bridge import composition
from sql_databricks_bridge.cli import output
from sql_databricks_bridge.cli.options import JsonOption
from sql_databricks_bridge.errors import EventInvalid, UnknownNameError, UsageError

if TYPE_CHECKING:
    from sql_databricks_bridge.models.publishing import PublishedState

app = typer.Typer(no_args_is_help=True, help="See and reset published tables' watermarks.", rich_markup_mode=None)


@app.callback()
def _watermarks() -> None:
    """See and reset published tables' watermarks."""


@app.command("list", epilog="Example: bridge watermarks list --country Colombia")
def list_(
    country: Annotated[str | None, typer.Option("--country", "-c", metavar="NAME", help="Only this country.")] = None,
    json: JsonOption = False,
) -> None:
    """List the published tables, and how far each has taken in its source."""
    from sql_databricks_bridge.cli.publication_shown import state_document

    config = composition.settings()
    found = composition.publisher(config, composition.lakehouse(config)).list(country)
    if json:
        output.print_json({"tables": [state_document(state) for state in found]})
        return
    _print(found)


@app.command("reset", epilog="Example: bridge watermarks reset main.gold.flights --yes")
def reset(
    table: Annotated[str, typer.Argument(metavar="CATALOG.SCHEMA.TABLE", help="The published table.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: JsonOption = False,
) -> int:
    """Forget a table's watermark: its next publication is a full one. The table stays as it is until then."""
    from sql_databricks_bridge.cli.publication_shown import shown
    from sql_databricks_bridge.models.tables import SourceName

    try:
        name = SourceName.parse(table, "the table")
    except EventInvalid as exc:
        raise UsageError(exc.message, hint=exc.hint) from exc
    config = composition.settings()
    publisher = composition.publisher(config, composition.lakehouse(config))
    state = _find(publisher.list(), name)
    if not yes and not _confirmed(f"Publish {state.table} in full next time (it is at {shown(state.watermark)})?"):
        output.err().print("nothing was changed", style="dim")
        return 1
    if not publisher.reset(state.target):
        raise UnknownNameError(f"{state.target} is no published table any more.", hint="bridge watermarks list")
    if json:
        output.print_json({"status": "reset", "target": str(state.target), "table": str(state.table)})
    else:
        typer.echo(f"{state.table}: the next publication is a full one.")
    return 0


def _find(states: Sequence[PublishedState], name: object) -> PublishedState:
    """The state of that target, or of the table that its rows are in; Unity Catalog's names know no case."""
    from sql_databricks_bridge.core.suggestions import closest

    wanted = str(name).lower()
    for state in states:
        if wanted in (str(state.target).lower(), str(state.table).lower()):
            return state
    near = closest(str(name), (str(state.target) for state in states))
    hint = "`bridge watermarks list` shows them."
    raise UnknownNameError(f"{name} is no published table.", hint=f"Did you mean {near}? {hint}" if near else hint)


def _confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("This asks before it resets, and nobody is there to answer.", hint="Add --yes.")
    return typer.confirm(question, err=True)


def _print(found: Sequence[PublishedState]) -> None:
    from rich.text import Text

    from sql_databricks_bridge.cli.publication_shown import NARROW, plain_table, shown

    wide = output.out().width >= NARROW
    more = ("generation", "run", "owner") if wide else ()
    table = plain_table("table", "query", "kind", "watermark", "published (UTC)", *more)
    below = []
    for state in found:
        name = output.visible(str(state.table))
        moment = "-" if state.published_at is None else f"{state.published_at:%Y-%m-%d %H:%M}"
        owner = f"{state.owner or '-'}{' (under way, or died)' if state.unsettled else ''}"
        details = (f"{state.generation:,}", state.run_id or "-", owner)
        table.add_row(
            Text(name),
            Text(f"{state.country}/{state.query}"),
            "-" if state.watermark is None else state.watermark.kind.value,
            Text(output.visible(shown(state.watermark))),
            moment,
            *(map(Text, details) if wide else ()),
        )
        if not wide:
            below.append(Text(f"{name}: generation {details[0]}, run {details[1]}, owner {details[2]}"))
    output.out().print(table)
    for line in below:
        output.out().print(line)
    if not found:
        output.err().print("no published table", style="dim")
