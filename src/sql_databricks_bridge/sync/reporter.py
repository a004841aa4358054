"""What is to be told to the events table, collected and sent in few statements."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable

from sql_databricks_bridge.core.ports import EventTable
from sql_databricks_bridge.models.events import EventRow, EventStatus, LedgerEntry, LedgerOutcome, Outcome

_INT_MAX = 2**31 - 1
_STATUSES = {
    LedgerOutcome.APPLIED: EventStatus.COMPLETED,
    LedgerOutcome.FAILED: EventStatus.FAILED,
    LedgerOutcome.BLOCKED: EventStatus.BLOCKED,
}


def outcome_of(row: EventRow, entry: LedgerEntry, now: dt.datetime) -> Outcome:
    """What the ledger's row means for the event's. An event_id that stands for another payload there is refused."""
    if entry.payload_hash != row.payload_hash:
        return Outcome(
            row.event_id,
            EventStatus.FAILED,
            error_message="This event_id was used before for another event, which ended "
            f"{entry.outcome}: nothing was applied.",
            processed_at=now,
            fingerprint=row.fingerprint,
        )
    when = entry.applied_at or now
    if entry.outcome is not LedgerOutcome.APPLIED:
        return Outcome(
            row.event_id,
            _STATUSES[entry.outcome],
            error_message=entry.message,
            processed_at=when,
            fingerprint=row.fingerprint,
        )
    affected = entry.rows_affected or 0
    discrepancy = None if entry.rows_expected is None else entry.rows_expected - affected
    warnings = [entry.message] if entry.message else []
    if affected > _INT_MAX:
        warnings.append(f"{affected:,} rows affected, more than the column holds")
    return Outcome(
        row.event_id,
        EventStatus.COMPLETED,
        rows_affected=affected if affected <= _INT_MAX else None,
        discrepancy=discrepancy if discrepancy is None or abs(discrepancy) <= _INT_MAX else None,
        warning="; ".join(warnings) or None,
        processed_at=when,
        fingerprint=row.fingerprint,
    )


def refused(event_id: str | None, why: str, now: dt.datetime) -> Outcome:
    """A failure of a row that the ledger can't hold."""
    return Outcome(event_id, EventStatus.FAILED, error_message=why, processed_at=now)


class Reporter:
    """Collects outcomes from any thread; `flush` sends them, each until it has arrived.

    `processing` is told only of events that take longer than the first flush, and taken back where they are left.
    """

    def __init__(
        self,
        events: EventTable,
        *,
        first_flush_s: float,
        interval_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._events = events
        self._interval_s = interval_s
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._waiting: dict[str | None, Outcome] = {}
        self._told_processing: set[str] = set()
        self._due = monotonic() + first_flush_s

    def taken(self, event_id: str) -> None:
        """An event has begun."""
        self._put(Outcome(event_id, EventStatus.PROCESSING))

    def ended(self, outcome: Outcome) -> None:
        """An event has come to its end, or a row without event_id has been refused."""
        self._put(outcome)

    def left(self, event_id: str) -> None:
        """An event was taken, or may have been told so, and is not going to be worked on now."""
        with self._lock:
            waiting = self._waiting.get(event_id)
            if waiting is None or not waiting.status.final:
                self._waiting.pop(event_id, None)
                if event_id in self._told_processing:
                    self._waiting[event_id] = Outcome(event_id, EventStatus.PENDING)

    @property
    def wait_s(self) -> float:
        """Seconds until the next flush is due."""
        return max(0.0, self._due - self._monotonic())

    def flush_if_due(self) -> None:
        """Send what there is if it is time."""
        if not self.wait_s:
            self.flush()

    def flush(self) -> None:
        """Send what there is; what can't be sent stays."""
        with self._lock:
            sending = dict(self._waiting)
            # Before it is sent: an event that is left meanwhile has to be taken back.
            self._told_processing |= {
                event_id
                for event_id, outcome in sending.items()
                if outcome.status is EventStatus.PROCESSING and event_id is not None
            }
        self._due = self._monotonic() + self._interval_s
        if not sending:
            return
        self._events.report(list(sending.values()))
        self._due = self._monotonic() + self._interval_s
        with self._lock:
            for event_id, outcome in sending.items():
                if self._waiting.get(event_id) is outcome:
                    del self._waiting[event_id]

    def _put(self, outcome: Outcome) -> None:
        with self._lock:
            self._waiting[outcome.event_id] = outcome
