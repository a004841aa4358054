"""`bridge events`: the authors' side of sync."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sql_databricks_bridge.cli import composition, output
from sql_databricks_bridge.cli.composition import JsonOption
from sql_databricks_bridge.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from sql_databricks_bridge.models.events import EventRow
    from sql_databricks_bridge.sync.authoring import Explained

app = typer.Typer(no_args_is_help=True, help="Write, see and retry sync events.", rich_markup_mode=None)

EventIdArgument = Annotated[str, typer.Argument(metavar="ID", help="The event_id.")]
_KEY_VARIABLE = "BRIDGE_SIGNING_KEY"
_SHOWN = 40


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
    rows_expected: Annotated[int | None, typer.Option(metavar="N", help="Rows that should be affected.")] = None,
    priority: Annotated[int, typer.Option(metavar="N", help="Higher goes first.")] = 0,
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
        event_id=event_id or str(uuid.uuid4()),
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
    output.err().print(
        "submitted; `bridge events show` tells how it goes, `bridge sync once` does it now", style="dim", soft_wrap=True
    )


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
        output.print_json({"events": [row_document(row) for row in rows]})
        return
    print_rows(rows)


@app.command("show", epilog="Example: bridge events show 0b7c1c0e-...")
def show(event_id: EventIdArgument, json: JsonOption = False) -> None:
    """Show everything about one event."""
    from sql_databricks_bridge.errors import UnknownNameError

    config = composition.settings()
    rows = composition.events_table(config, composition.lakehouse(config)).rows_of(event_id)
    if not rows:
        raise UnknownNameError(f"There is no event {event_id!r}.", hint="`bridge events list` shows the newest.")
    if json:
        output.print_json({"events": [row_document(row) for row in rows]})
        return
    for row in rows:
        _print_fields(row_document(row))


@app.command("retry", epilog="Example: bridge events retry 0b7c1c0e-...")
def retry(event_id: EventIdArgument, json: JsonOption = False) -> None:
    """Send a failed or blocked event round again."""
    from sql_databricks_bridge.sync import authoring

    config = composition.settings()
    events = composition.events_table(config, composition.lakehouse(config))
    config.require("sqlserver_host", "sqlserver_database")
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
    config.require("sqlserver_host", "sqlserver_database")
    lake = composition.lakehouse(config)
    operations = composition.operations(config, lake, composition.permissions_file(config))
    server = composition.sql_server(config)
    found = authoring.explain(operations, composition.events_table(config, lake), server.connect_target, event_id)
    document = _explained_document(found)
    if json:
        output.print_json(document)
    else:
        _print_fields(document)
    return 0 if found.explanation.refusal is None else 1


def row_document(row: EventRow) -> dict[str, Any]:
    """The seed's columns, as JSON has them."""
    return {
        "event_id": row.event_id,
        "operation": row.operation,
        "source_table": row.source_table,
        "target_table": row.target_table,
        "primary_keys": None if row.primary_keys is None else list(row.primary_keys),
        "priority": row.priority,
        "status": row.status,
        "rows_expected": row.rows_expected,
        "rows_affected": row.rows_affected,
        "discrepancy": row.discrepancy,
        "warning": row.warning,
        "error_message": row.error_message,
        "filter_conditions": None if row.filter_conditions is None else dict(row.filter_conditions),
        "metadata": None if row.metadata is None else dict(row.metadata),
        "created_at": row.created_at.isoformat() if row.created_at else None,
        "processed_at": row.processed_at.isoformat() if row.processed_at else None,
    }


def print_rows(rows: Sequence[EventRow]) -> None:
    """Print events as a table."""
    from rich.table import Table
    from rich.text import Text

    table = Table("event", "operation", "target", "status", box=None, header_style="dim", pad_edge=False)
    for name in ("rows", "expected"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("what to know", overflow="fold")
    for row in rows:
        said = row.error_message or row.warning or ""
        table.add_row(
            Text(_short(row.event_id)),
            Text(_short(row.operation)),
            Text(_short(row.target_table)),
            Text(row.status or "", STATUS_STYLES.get(row.status or "", "")),
            _count(row.rows_affected),
            _count(row.rows_expected),
            Text(said),
        )
    output.out().print(table)
    if not rows:
        output.err().print("no events", style="dim")


STATUS_STYLES = {"completed": "green", "failed": "bold red", "blocked": "bold red", "processing": "yellow"}


def _explained_document(found: Explained) -> dict[str, Any]:
    what, row, refusal = found.explanation, found.row, found.explanation.refusal
    return {
        "event_id": row.event_id,
        "operation": row.operation,
        "verdict": "would be applied" if refusal is None else "would not be applied",
        "why": None if refusal is None else refusal.message,
        "hint": None if refusal is None else refusal.hint,
        "status": row.status,
        "ledger": None if found.ledger is None else f"{found.ledger.outcome} (generation {found.ledger.generation})",
        "user": what.user,
        "target": None if what.target is None else str(what.target),
        "permission": None if what.grant is None else what.grant.pattern,
        "max_delete_rows": None if what.grant is None else what.grant.max_delete_rows,
        "source": row.source_table,
        "source_version": what.source_version,
        "columns": list(what.columns),
        "keys": list(what.keys),
        "source_rows": None if what.matches is None else what.matches.staged,
        "matching_rows": None if what.matches is None else what.matches.matching,
        "rows_expected": row.rows_expected,
        "warnings": list(what.warnings),
    }


def _print_fields(document: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("", "", box=None, show_header=False, pad_edge=False)
    for name, value in document.items():
        if value is None or value == []:
            continue
        if isinstance(value, list):
            value = ", ".join(str(item) for item in value)
        elif isinstance(value, dict):
            value = ", ".join(f"{key}={text}" for key, text in value.items())
        table.add_row(Text(name, "dim"), Text(f"{value:,}" if isinstance(value, int) else str(value)))
    output.out().print(table)


def _short(text: str | None) -> str:
    shown = text or ""
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


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
        raise SettingsError(f"{_KEY_VARIABLE} is not set.", hint=f"--sign-as reads {user!r}'s signing_key from it.")
    return sign(row, user, key)
