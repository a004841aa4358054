"""One round of the poller: refuse what makes no sense, work on every target that can be had.

Ownership is SQL Server's: an event is worked on by whoever holds its target's application lock, on the very connection
that applies. Nothing here depends on clocks or on what another poller has written to the events table.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import groupby
from threading import Event as Flag
from threading import Lock

import structlog

from sql_databricks_bridge.core.ports import SqlServer, TargetConnection
from sql_databricks_bridge.errors import BridgeError, Cancelled, EventBlocked, EventInvalid, SourceRefused, SyncError
from sql_databricks_bridge.models.events import EventRow, LedgerEntry, LedgerOutcome, Outcome
from sql_databricks_bridge.models.tables import Target, TargetName
from sql_databricks_bridge.sync.operations import Operations
from sql_databricks_bridge.sync.reporter import Reporter, outcome_of, refused
from sql_databricks_bridge.sync.validators import Event, event_id_problem, understand

log = structlog.get_logger(__name__)

_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Handled:
    """One event of a cycle: what it was and how it ended."""

    row: EventRow
    outcome: Outcome
    seconds: float


@dataclass(slots=True)
class _Group:
    """The events of one target, in the order of their turn."""

    target: Target
    events: list[Event] = field(default_factory=list)

    @property
    def spellings(self) -> frozenset[str]:
        """What these events call the target, in lower case."""
        return frozenset(str(event.row.target_table).lower() for event in self.events)


class Cycle:
    """One round over the rows that one SELECT found.

    `skipped` are targets whose events it left out: their object_id and the spellings that it knew. `put_off` are those
    that nothing could be done about this time, for the next SELECT to leave out.
    """

    def __init__(
        self,
        rows: Sequence[EventRow],
        sql_server: SqlServer,
        operations: Operations,
        reporter: Reporter,
        *,
        stop: Flag,
        workers: int,
        now: Callable[[], dt.datetime],
        skipped: Mapping[int, frozenset[str]],
    ) -> None:
        self._rows = rows
        self._sql_server = sql_server
        self._operations = operations
        self._reporter = reporter
        self._stop = stop
        self._workers = workers
        self._now = now
        self._skipped = skipped
        self._lock = Lock()
        self._problem: BridgeError | None = None
        self.handled: list[Handled] = []
        self.busy: set[str] = set()
        self.put_off: dict[int, frozenset[str]] = {}
        self.left = 0

    def run(self) -> BridgeError | None:
        """Refuse what makes no sense, group the rest by target, work on the groups side by side.

        Returns the first thing that kept it from its end, when all that could be done is done.
        """
        try:
            with closing(self._sql_server.connect_target()) as connection:
                found = self._groups(connection, list(self._understood(connection)))
                groups = [group for group in found if not self._overtaking(group)]
        except BridgeError as exc:
            return exc
        if groups:
            pool = ThreadPoolExecutor(min(self._workers, len(groups)), thread_name_prefix="target")
            try:
                self._watch([pool.submit(self._work, group) for group in groups])
            except BaseException:  # a second Ctrl-C: the process ends now, and SQL Server rolls back what is open
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            pool.shutdown()
        return self._problem

    # Before any target is locked -----------------------------------------------------------------------------------

    def _understood(self, connection: TargetConnection) -> Iterator[Event]:
        """Yield one event for each event_id that makes sense; end the others."""
        for row in self._distinct(connection):
            try:
                yield understand(row)
            except EventBlocked as exc:
                self._refuse(connection, row, LedgerOutcome.BLOCKED, exc)
            except EventInvalid as exc:
                self._refuse(connection, row, LedgerOutcome.FAILED, exc)

    def _distinct(self, connection: TargetConnection) -> Iterator[EventRow]:
        """Yield one row for each event_id. Equal rows are one event delivered twice; others of one id are refused."""
        order: dict[str | None, int] = {}
        for position, row in enumerate(self._rows):
            order.setdefault(row.event_id, position)
        by_id = sorted(self._rows, key=lambda row: order[row.event_id])
        for event_id, found in groupby(by_id, key=lambda row: row.event_id):
            rows = list(found)
            if event_id is None:
                self._turn_away(rows[0], "event_id is NULL. Use a UUID.")
            elif len({row.payload_hash for row in rows}) > 1:
                self._refuse_repeated(connection, rows)
            else:
                yield rows[0]

    def _refuse_repeated(self, connection: TargetConnection, rows: Sequence[EventRow]) -> None:
        """End rows that share an event_id and differ; where one was applied before, each is told in its own round."""
        why = f"event_id is used by {len(rows)} rows that ask for different things: none can be told from the others."
        standing = self._recorded(connection, rows[0], LedgerOutcome.FAILED, EventInvalid(why))
        if standing is not None and standing.outcome is LedgerOutcome.APPLIED:
            self._end(rows[0], self._outcome(rows[0], standing))
        elif standing is not None:
            self._end(rows[0], refused(rows[0].event_id, why, self._now()))
        else:
            self._turn_away(rows[0], why)

    def _refuse(self, connection: TargetConnection, row: EventRow, outcome: LedgerOutcome, why: BridgeError) -> None:
        """End an event that can't be worked on; in the ledger too where its event_id can stand there."""
        standing = self._recorded(connection, row, outcome, why)
        if standing is None:
            self._turn_away(row, str(why))
        else:
            self._end(row, self._outcome(row, standing))

    def _turn_away(self, row: EventRow, why: str) -> None:
        """End a row that the ledger can't hold."""
        self._operations.audit_refusal(row.event_id, LedgerOutcome.FAILED, why)
        self._end(row, refused(row.event_id, why, self._now()))

    def _outcome(self, row: EventRow, standing: LedgerEntry) -> Outcome:
        """What the ledger says of the row. That its event_id was used before stands in the audit log only."""
        outcome = outcome_of(row, standing, self._now())
        if standing.payload_hash != row.payload_hash:
            self._operations.audit_refusal(row.event_id, LedgerOutcome.FAILED, outcome.error_message or "")
        return outcome

    def _recorded(
        self, connection: TargetConnection, row: EventRow, outcome: LedgerOutcome, why: BridgeError
    ) -> LedgerEntry | None:
        """Write a refusal into the ledger and return what stands there; None where the event_id can't."""
        if row.event_id is None or event_id_problem(row.event_id):
            return None
        standing = connection.entries([row.event_id]).get(row.event_id)
        if standing is not None and standing.outcome is not LedgerOutcome.OPEN:
            return standing
        entry = LedgerEntry(row.event_id, standing.generation if standing else 1, row.payload_hash, outcome)
        return self._operations.refuse(connection, entry, outcome, why)

    def _groups(self, connection: TargetConnection, events: Iterable[Event]) -> list[_Group]:
        """Group by the object that a target's name stands for; the catalog is asked once for each name."""
        groups: dict[int, _Group] = {}
        known: dict[TargetName, Target | EventInvalid | SourceRefused] = {}
        for event in events:
            if event.target not in known:
                try:
                    known[event.target] = connection.find(event.target)
                except (EventInvalid, SourceRefused) as exc:
                    known[event.target] = exc
            target = known[event.target]
            if isinstance(target, EventInvalid):
                self._refuse(connection, event.row, LedgerOutcome.FAILED, target)
            elif isinstance(target, SourceRefused):  # the catalog would not say: it waits, and keeps no other waiting
                self._note(target)
                self._leave([event])
            else:
                groups.setdefault(target.object_id, _Group(target)).events.append(event)
        return list(groups.values())

    def _overtaking(self, group: _Group) -> bool:
        """Leave events whose target goes by another spelling among `skipped`: some of those may come first."""
        known = self._skipped.get(group.target.object_id)
        if known is None:
            return False
        self.put_off[group.target.object_id] = known | group.spellings
        self._leave(group.events)
        return True

    # With the target's lock ----------------------------------------------------------------------------------------

    def _watch(self, futures: Sequence[Future[None]]) -> None:
        """Report while the groups are worked on, until all have ended."""
        pending = set(futures)
        while pending:
            _, pending = wait(pending, timeout=self._reporter.wait_s)
            if pending:
                with suppress(BridgeError):  # Databricks is away: what was not told is told at the end, or by another
                    self._reporter.flush_if_due()
        for future in futures:
            future.result()

    def _work(self, group: _Group) -> None:
        if self._stop.is_set():
            self._leave(group.events)
            return
        remaining = list(group.events)
        try:
            with closing(self._sql_server.connect_target()) as connection:
                if not connection.lock(group.target.object_id):
                    self._put_off(group)
                    self.busy.update(group.spellings)
                    remaining = []
                    return
                target = _found_again(connection, group.target)
                if target is None:
                    return
                entries = connection.entries([event.event_id for event in group.events])
                while remaining and not self._stop.is_set():
                    event = remaining[0]
                    self._work_on(connection, target, event, entries.get(event.event_id))
                    remaining.pop(0)
        except Cancelled:
            pass  # asked to stop while it waited to try again
        except BridgeError as exc:
            self._put_off(group)
            self._note(exc)
        except Exception as exc:  # the edge of a thread: a defect met on one table must not stop the others
            self._put_off(group)
            log.exception("target.defect", target=str(group.target), event_id=remaining[0].event_id)
            told = f"A defect of the bridge stopped the work on {group.target}: {type(exc).__name__}: {exc}."
            self._note(SyncError(told, hint="The log has the whole story. The table's events wait."))
        finally:
            self._leave(remaining)

    def _work_on(
        self, connection: TargetConnection, target: Target, event: Event, standing: LedgerEntry | None
    ) -> None:
        began = time.monotonic()
        if standing is None or standing.outcome is LedgerOutcome.OPEN:
            self._reporter.taken(event.event_id)
            standing = self._operations.carry_out(connection, event, target, standing, self._stop.wait)
        self._end(event.row, self._outcome(event.row, standing), time.monotonic() - began)

    def _put_off(self, group: _Group) -> None:
        with self._lock:
            self.put_off[group.target.object_id] = group.spellings

    def _note(self, problem: BridgeError) -> None:
        with self._lock:
            self._problem = self._problem or problem

    def _leave(self, events: Sequence[Event]) -> None:
        for event in events:
            self._reporter.left(event.event_id)
        with self._lock:
            self.left += len(events)

    def _end(self, row: EventRow, outcome: Outcome, seconds: float = 0.0) -> None:
        self._reporter.ended(outcome)
        with self._lock:
            self.handled.append(Handled(row, outcome, seconds))
        level = "info" if outcome.error_message is None and outcome.warning is None else "warning"
        getattr(log, level)(
            "event.ended",
            event_id=_shown(outcome.event_id),
            operation=_shown(row.operation),
            target=_shown(row.target_table),
            status=str(outcome.status),
            rows_affected=outcome.rows_affected,
            discrepancy=outcome.discrepancy,
            warning=outcome.warning,
            error=outcome.error_message,
            seconds=round(seconds, 3),
        )


def _found_again(connection: TargetConnection, target: Target) -> Target | None:
    """The target as it is now that its lock is held; None where another table has, or none, its name by now.

    Since it was looked up it may have got a cascade or a trigger, which a DELETE must not reach unseen.
    """
    try:
        found = connection.find(TargetName(target.schema, target.name))
    except EventInvalid:
        return None
    return found if found.object_id == target.object_id else None


def _shown(text: str | None) -> str | None:
    """What an author wrote, as much of it as a log line needs."""
    return text if text is None or len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
