"""What people do to events: write one, send one round again, ask what one would do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from sql_databricks_bridge.core.ports import EventTable, Lakehouse, TargetConnection
from sql_databricks_bridge.errors import EventInvalid, SyncError, UnknownNameError, UsageError
from sql_databricks_bridge.models.events import (
    SIGNATURE,
    SOURCE_VERSION,
    USER,
    EventRow,
    EventStatus,
    LedgerEntry,
    LedgerOutcome,
)
from sql_databricks_bridge.models.tables import Target
from sql_databricks_bridge.sync.operations import Explanation, Operations
from sql_databricks_bridge.sync.poller import ledger_missing
from sql_databricks_bridge.sync.validators import Event, understand


@dataclass(frozen=True, slots=True)
class Explained:
    """An event, where it stands in the ledger, and what would happen to it."""

    row: EventRow
    ledger: LedgerEntry | None
    explanation: Explanation


def submit(lakehouse: Lakehouse, events: EventTable, draft: EventRow, sign: Callable[[EventRow], EventRow]) -> EventRow:
    """Check a draft, pin its source's version, sign it, insert it as pending; return the row that stands there.

    `UsageError` for a draft that would fail anyway, and for an event_id that another event has. Sending the same event
    twice inserts it once, and returns it as it is by then.
    """
    try:
        event = understand(draft)
        metadata = dict(draft.metadata or {})
        pins = event.source is not None and event.source_version is None
        if event.source is not None and pins:
            metadata[SOURCE_VERSION] = str(lakehouse.table_version(event.source))
    except SyncError as exc:
        raise UsageError(f"The event is not submitted: {exc.message}", hint=exc.hint) from exc
    # What is signed is what will be read back: the table stores a missing priority as 0.
    stored = dataclasses.replace(draft, metadata=metadata, priority=draft.priority or 0, status=EventStatus.PENDING)
    row = sign(stored)
    signed = row.metadata or {}
    if (USER in signed) != (SIGNATURE in signed):
        raise UsageError(
            f"The event is not submitted: metadata has {USER!r} or {SIGNATURE!r} without the other.",
            hint="A signed event has both, an unsigned one neither; `--sign-as` writes both.",
        )
    events.submit(row)
    return _standing(events, row, pinned=pins)


def _standing(events: EventTable, row: EventRow, *, pinned: bool) -> EventRow:
    """The row of that event_id, which is `row` unless the event_id was there before.

    `pinned`: the source's version is no wish of the author, and may be newer by now.
    """
    for found in events.rows_of(row.event_id or ""):
        wanted = row
        if pinned:
            version = (found.metadata or {}).get(SOURCE_VERSION)
            wanted = dataclasses.replace(row, metadata={**(row.metadata or {}), SOURCE_VERSION: version})
        if found.payload_hash != wanted.payload_hash:
            other = ", ".join(name for name in _AUTHORED if getattr(found, name) != getattr(wanted, name))
            raise UsageError(
                f"The event is not submitted: event_id {row.event_id!r} is there already ({found.status}), "
                f"with another {other}.",
                hint="Leave the event_id out, or take one of its own.",
            )
        row = found
    return row


_AUTHORED = (
    "operation",
    "source_table",
    "target_table",
    "primary_keys",
    "priority",
    "rows_expected",
    "filter_conditions",
    "metadata",
)


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
    if not connection.ledger_ready():
        raise ledger_missing(connection)
    opened = connection.reopen(event_id)
    events.reset(event_id)
    return opened.generation if opened is not None else 1


def explain(
    operations: Operations, events: EventTable, connect: Callable[[], TargetConnection], event_id: str
) -> Explained:
    """Say what would happen to an event, changing nothing; `LedgerMissing` where nothing could happen yet."""
    row = one_row(events, event_id)
    connection = connect()
    try:
        if not connection.ledger_ready():
            raise ledger_missing(connection)
        ledger = connection.entries([event_id]).get(event_id)
        return Explained(row, ledger, _explanation(operations, connection, row, ledger))
    finally:
        connection.close()


def _explanation(
    operations: Operations, connection: TargetConnection, row: EventRow, ledger: LedgerEntry | None
) -> Explanation:
    if ledger is not None and ledger.outcome is not LedgerOutcome.OPEN:
        same = ledger.payload_hash == row.payload_hash
        said = f"the ledger says {ledger.outcome}" if same else "another event used this event_id before"
        return Explanation(refusal=EventInvalid(f"Nothing would happen: {said}."))
    try:
        event: Event = understand(row)
        target: Target = connection.find(event.target)
    except SyncError as exc:
        return Explanation(refusal=exc)
    return operations.explain(connection, event, target)
