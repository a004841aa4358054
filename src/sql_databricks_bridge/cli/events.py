"""`bridge events`: the authors' side of sync."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from sql_databricks_bridge import composition
from sql_databricks_bridge.cli import events_shown, output
from sql_databricks_bridge.cli.options import JsonOption
from sql_databricks_bridge.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from sql_databricks_bridge.models.events import EventRow

app = typer.Typer(no_args_is_help=True, help="Write, see and retry sync events.", rich_markup_mode=None)

EventIdArgument = Annotated[str, typer.Argument(metavar="ID", help="The event_id.")]
_KEY_VARIABLE = "BRIDGE_SIGNING_KEY"
_INT_MAX = 2**31 - 1  # the columns are INT; what is more would be stored as another number


@app.callback()
def _events() -> None:
    """Write, see and retry sync events."""


@app.command("init", epilog="Example: bridge events init")
def init(json: JsonOption = False) -> None:
    """Create the events table (BRIDGE_EVENTS_TABLE) and its schema. Harmless where they are there already."""
    config = composition.settings()
    composition.events_table(config, composition.lakehouse(config)).create()
    if json:
        output.print_json({"status": "ready", "table": config.bridge_events_table})
    else:
        typer.echo(f"{config.bridge_events_table} is ready.")


@app.command(
    "submit",
    epilog="Example: bridge events submit --operation UPDATE --source main.sales.orders --target dbo.orders --key id",
)
def submit(
    operation: Annotated[str, typer.Option(metavar="INSERT|UPDATE|DELETE|UPSERT", help="What to do.")],
    target: Annotated[str, typer.Option(metavar="SCHEMA.TABLE", help="SQL Server table.")],
    source: Annotated[str | None, typer.Option(metavar="CATALOG.SCHEMA.TABLE", help="Delta table.")] = None,
    key: Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="A key column; repeat for several.")] = None,
    rows_expected: Annotated[
        int | None, typer.Option(metavar="N", min=0, max=_INT_MAX, help="Rows that should be affected.")
    ] = None,
    priority: Annotated[int, typer.Option(metavar="N", min=-_INT_MAX - 1, max=_INT_MAX, help="Higher goes first.")] = 0,
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="COLUMN=VALUE", help="Only such rows; COLUMN alone means IS NULL."),
    ] = None,
    metadata: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Metadata; repeat.")] = None,
    event_id: Annotated[str | None, typer.Option(metavar="ID", help="An id of your own, for instance a UUID.")] = None,
    sign_as: Annotated[
        str | None, typer.Option(metavar="USER", help=f"Sign as this user; the key is read from {_KEY_VARIABLE}.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Insert an event; its source is pinned to the newest version of the table."""
    from sql_databricks_bridge.models.events import EventRow
    from sql_databricks_bridge.sync import authoring

    draft = EventRow(
        event_id=str(uuid.uuid4()) if event_id is None else event_id,
        operation=operation.upper(),
        source_table=source,
        target_table=target,
        primary_keys=tuple(key) if key else None,
        priority=priority,
        rows_expected=rows_expected,
        filter_conditions=_conditions(filters) or None,
        metadata=_pairs("--metadata", metadata) or None,
    )
    config = composition.settings()
    lake = composition.lakehouse(config)
    row = authoring.submit(lake, composition.events_table(config, lake), draft, lambda row: _signed(row, sign_as))
    if json:
        output.print_json({"status": "submitted", "event_id": row.event_id, "metadata": dict(row.metadata or {})})
        return
    typer.echo(row.event_id)
    said = "submitted; `bridge events show` tells how it goes, `bridge sync once` does it now"
    if row.status != "pending":
        said = f"it was there already, and is {row.status}"
    output.err().print(said, style="dim", markup=False, soft_wrap=True)


@app.command("list", epilog="Example: bridge events list --status failed")
def list_(
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help="pending, processing, completed, failed or blocked.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="The newest N.")] = 20,
    json: JsonOption = False,
) -> None:
    """List events, the newest first."""
    from sql_databricks_bridge.models.events import EventStatus

    try:
        wanted = None if status is None else EventStatus(status.lower())
    except ValueError:
        raise UsageError(f"--status {status!r} is unknown.", hint=f"Use one of {', '.join(EventStatus)}.") from None
    config = composition.settings()
    rows = composition.events_table(config, composition.lakehouse(config)).list(wanted, limit)
    if json:
        output.print_json({"events": [events_shown.row_document(row) for row in rows]})
        return
    events_shown.print_rows(rows)


@app.command("show", epilog="Example: bridge events show 0b7c1c0e-...")
def show(event_id: EventIdArgument, json: JsonOption = False) -> None:
    """Show everything about one event."""
    from sql_databricks_bridge.errors import UnknownNameError

    config = composition.settings()
    rows = composition.events_table(config, composition.lakehouse(config)).rows_of(event_id)
    if not rows:
        raise UnknownNameError(f"There is no event {event_id!r}.", hint="`bridge events list` shows the newest.")
    if json:
        output.print_json({"events": [events_shown.row_document(row) for row in rows]})
        return
    for row in rows:
        events_shown.print_fields(events_shown.row_document(row))


@app.command("retry", epilog="Example: bridge events retry 0b7c1c0e-...")
def retry(event_id: EventIdArgument, json: JsonOption = False) -> None:
    """Send a failed or blocked event round again."""
    from sql_databricks_bridge.sync import authoring

    config = composition.settings()
    config.require(*composition.SYNC_SETTINGS)
    events = composition.events_table(config, composition.lakehouse(config))
    with closing(composition.sql_server(config).connect_target()) as connection:
        generation = authoring.retry(events, connection, event_id)
    if json:
        output.print_json({"status": "pending", "event_id": event_id, "generation": generation})
    else:
        typer.echo(f"{event_id} is pending again (generation {generation}).")


@app.command("explain", epilog="Example: bridge events explain 0b7c1c0e-... --json")
def explain(event_id: EventIdArgument, json: JsonOption = False) -> int:
    """Show what would happen to an event, changing nothing: target, keys, matching rows, limits, permission."""
    from sql_databricks_bridge.sync import authoring

    config = composition.settings()
    config.require(*composition.SYNC_SETTINGS)
    lake = composition.lakehouse(config)
    operations = composition.operations(config, lake, composition.permissions_file(config))
    server = composition.sql_server(config)
    found = authoring.explain(operations, composition.events_table(config, lake), server.connect_target, event_id)
    document = events_shown.explained_document(found)
    if json:
        output.print_json(document)
    else:
        events_shown.print_fields(document)
    return 0 if found.explanation.refusal is None else 1


def _conditions(filters: Sequence[str] | None) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for text in filters or ():
        name, equals, value = text.partition("=")
        if name in found:
            raise UsageError(f"--filter names {name!r} twice.", hint="All conditions must hold; one for each column.")
        found[name] = value if equals else None
    return found


def _pairs(option: str, given: Sequence[str] | None) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} {text!r} is not KEY=VALUE.")
        if name in found:
            raise UsageError(f"{option} names {name!r} twice.")
        found[name] = value
    return found


def _signed(row: EventRow, user: str | None) -> EventRow:
    from sql_databricks_bridge.auth.signing import sign

    if user is None:
        return row
    key = os.environ.get(_KEY_VARIABLE)
    if not key:
        raise SettingsError(
            f"{_KEY_VARIABLE} is not set.", hint=f"--sign-as reads the signing_key of {user!r} from it."
        )
    return sign(row, user, key)
