"""Whether SQL Server holds what an applied event's source held: read again, staged again, compared; nothing changes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from sql_databricks_bridge.core.ports import EventTable, Lakehouse, TargetConnection
from sql_databricks_bridge.errors import EventInvalid, StatementFailed
from sql_databricks_bridge.models.applying import ApplyPlan, Comparison, OnConflict
from sql_databricks_bridge.models.events import EventRow, EventStatus, LedgerEntry, LedgerOutcome, Operation
from sql_databricks_bridge.models.tables import Target
from sql_databricks_bridge.sync.authoring import one_row
from sql_databricks_bridge.sync.columns import match_columns
from sql_databricks_bridge.sync.poller import ledger_missing
from sql_databricks_bridge.sync.staged_source import inbound_of, plan_of, read_source, stage
from sql_databricks_bridge.sync.validators import Event, understand

Connect = Callable[[], TargetConnection]
Clock = Callable[[], dt.datetime]


@dataclass(frozen=True, slots=True)
class EventVerification:
    """What an applied event left, looked at again. `ledger` has the version that was applied, and when.

    `verified_at` is aware UTC, from just before the comparison. `notes` say what the counts can't.
    """

    row: EventRow
    ledger: LedgerEntry
    target: Target
    comparison: Comparison
    verified_at: dt.datetime
    notes: tuple[str, ...] = ()


def verify(
    lakehouse: Lakehouse,
    events: EventTable,
    connect: Connect,
    event_id: str,
    now: Clock = lambda: dt.datetime.now(dt.UTC),
) -> EventVerification:
    """Compare the rows that the event brought, read again at the version the ledger holds, with the target.

    `UnknownNameError` where there is no such event; `EventInvalid` for one that was not applied, whose source can't be
    read at that version any more, or that does not fit the target any more; `LedgerMissing`. Rows that were changed
    since by others show as differences.
    """
    row = one_row(events, event_id)
    with closing(connect()) as connection:
        if not connection.ledger_ready():
            raise ledger_missing(connection)
        ledger = _applied(row, event_id, connection.entries([event_id]).get(event_id))
        event = understand(row)
        target = connection.find(event.target)
        with _again(lakehouse, connection, event, target, ledger) as plan:
            verified_at = now()
            comparison = connection.compare(plan)
    return EventVerification(row, ledger, target, comparison, verified_at, tuple(_notes(plan, comparison)))


def _applied(row: EventRow, event_id: str, ledger: LedgerEntry | None) -> LedgerEntry:
    """The ledger's row of an event that was applied; `EventInvalid` says of any other what to do."""
    if ledger is not None and ledger.payload_hash != row.payload_hash and ledger.outcome is LedgerOutcome.APPLIED:
        raise EventInvalid(
            f"Event {event_id!r} is not the one that was applied: its row asks for something else by now, or another "
            "event used this event_id before.",
            hint="Set the row back to what it asked for, or submit a new event.",
        )
    if ledger is not None and ledger.outcome is LedgerOutcome.APPLIED:
        return ledger
    if ledger is not None and ledger.outcome is not LedgerOutcome.OPEN:
        raise EventInvalid(
            f"Event {event_id!r} was not applied: it is {ledger.outcome}, so there is nothing to verify.",
            hint=f"`bridge events explain {event_id}` says why, `bridge events retry {event_id}` sends it round again.",
        )
    if row.status == EventStatus.COMPLETED:
        raise EventInvalid(
            f"Event {event_id!r} is completed, but the ledger of this database does not know it.",
            hint="Check SQLSERVER_HOST and SQLSERVER_DATABASE: it was applied to another database.",
        )
    raise EventInvalid(
        f"Event {event_id!r} was not applied yet: it is {row.status or EventStatus.PENDING}.",
        hint="`bridge sync once` applies what is pending; verify it then.",
    )


@contextmanager
def _again(
    lakehouse: Lakehouse, connection: TargetConnection, event: Event, target: Target, ledger: LedgerEntry
) -> Iterator[ApplyPlan]:
    """The plan that the event was applied by, its source staged again until the end."""
    if event.source is None:
        yield plan_of(event, target, ledger, None, None)
        return
    if ledger.source_version is None:
        raise EventInvalid(f"The ledger does not say which version of {event.source} event {event.event_id!r} applied.")
    with ExitStack() as reading:
        try:
            stream = reading.enter_context(read_source(lakehouse, event, event.source, target, ledger.source_version))
        except EventInvalid as exc:
            raise _unreadable(event, exc) from exc
        match = match_columns(event, target, stream.schema.names)
        staging = stage(connection, target, match, inbound_of(event, match, stream.schema), stream)
    try:
        yield plan_of(event, target, ledger, staging, match)
    finally:
        connection.discard(staging)


def _unreadable(event: Event, exc: EventInvalid) -> EventInvalid:
    """What to say where the source can't be read again, though it once was."""
    hint = (
        "What VACUUM or the table's retention removed, or a table that was dropped, can't be compared any more. Verify "
        "events within their source's retention, or keep it longer (delta.deletedFileRetentionDuration)."
    )
    if isinstance(exc.__cause__, StatementFailed) and exc.__cause__.sqlstate == "42501":
        hint = exc.hint or hint
    return EventInvalid(f"Event {event.event_id!r} can't be verified: {exc.message}", hint=hint)


def _notes(plan: ApplyPlan, comparison: Comparison) -> Iterator[str]:
    """What explains a difference without anybody's hand in it."""
    affected = plan.entry.rows_affected
    if comparison.same or comparison.staged is None or affected is None or plan.operation is Operation.DELETE:
        return
    left = comparison.staged - affected
    if plan.operation is Operation.INSERT and plan.on_conflict is OnConflict.SKIP and left > 0:
        yield f"{left:,} rows were there before the event and were skipped (on_conflict skip): they may differ"
    elif plan.operation is Operation.UPDATE and left > 0:
        yield f"{left:,} rows of the source matched no row already when the event was applied"
