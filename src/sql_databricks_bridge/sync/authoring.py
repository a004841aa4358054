"""What people do to events: write one, send one round again, ask what one would do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from sql_databricks_bridge.core.ports import EventTable, Lakehouse, TargetConnection
from sql_databricks_bridge.errors import EventInvalid, SyncError, UnknownNameError, UsageError
from sql_databricks_bridge.models.events import SOURCE_VERSION, EventRow, EventStatus, LedgerEntry, LedgerOutcome
from sql_databricks_bridge.models.tables import Target
from sql_databricks_bridge.sync.operations import Explanation, Operations
from sql_databricks_bridge.sync.validators import Event, understand


@dataclass(frozen=True, slots=True)
class Explained:
    """An event, where it stands in the ledger, and what would happen to it."""

    row: EventRow
    ledger: LedgerEntry | None
    explanation: Explanation


def submit(lakehouse: Lakehouse, events: EventTable, draft: EventRow, sign: Callable[[EventRow], EventRow]) -> EventRow:
    """Check a draft, pin its source's version, sign it, insert it as pending; return the row.

    `UsageError` for a draft that would fail anyway. Sending it twice inserts it once.
    """
    try:
        event = understand(draft)
        metadata = dict(draft.metadata or {})
        if event.source is not None and event.source_version is None:
            metadata[SOURCE_VERSION] = str(lakehouse.table_version(event.source))
    except SyncError as exc:
        raise UsageError(f"The event is not submitted: {exc.message}", hint=exc.hint) from exc
    row = sign(dataclasses.replace(draft, metadata=metadata, status=EventStatus.PENDING))
    events.submit(row)
    return row


def one_row(events: EventTable, event_id: str) -> EventRow:
    """The row with that event_id; `UnknownNameError` where there is none, `EventInvalid` where several differ."""
    rows = events.rows_of(event_id)
    if not rows:
        raise UnknownNameError(f"There is no event {event_id!r}.", hint="`bridge events list` shows the newest.")
    if len({row.payload_hash for row in rows}) > 1:
        raise EventInvalid(
            f"{len(rows)} rows have the event_id {event_id!r} and ask for different things.",
            hint="Give all but one an event_id of their own.",
        )
    return next((row for row in rows if row.status not in set(EventStatus)), rows[0])


def retry(events: EventTable, connection: TargetConnection, event_id: str) -> int:
    """Open a new generation of a failed or blocked event and set it back to pending; return the generation.

    `EventInvalid` where it was applied or has not come to an end.
    """
    row = one_row(events, event_id)
    if row.status not in (EventStatus.FAILED, EventStatus.BLOCKED):
        raise EventInvalid(
            f"Event {event_id!r} is {row.status}.", hint="Only a failed or blocked event can be tried again."
        )
    opened = connection.reopen(event_id)
    events.reset(event_id)
    return opened.generation if opened is not None else 1


def explain(
    operations: Operations, events: EventTable, connect: Callable[[], TargetConnection], event_id: str
) -> Explained:
    """Say what would happen to an event, changing nothing."""
    row = one_row(events, event_id)
    connection = connect()
    try:
        ledger = connection.entries([event_id]).get(event_id) if connection.ledger_ready() else None
        return Explained(row, ledger, _explanation(operations, connection, row, ledger))
    finally:
        connection.close()


def _explanation(
    operations: Operations, connection: TargetConnection, row: EventRow, ledger: LedgerEntry | None
) -> Explanation:
    if ledger is not None and ledger.outcome is not LedgerOutcome.OPEN:
        same = ledger.payload_hash == row.payload_hash
        said = f"it ended {ledger.outcome} before" if same else "another event used this event_id before"
        return Explanation(refusal=EventInvalid(f"Nothing would happen: {said}."))
    try:
        event: Event = understand(row)
        target: Target = connection.find(event.target)
    except SyncError as exc:
        return Explanation(refusal=exc)
    return operations.explain(connection, event, target)
