"""The loop: read the unfinished events, work on them, pause; wait where an end is away."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from threading import Event as Flag

import structlog

from sql_databricks_bridge.core.backoff import Backoff
from sql_databricks_bridge.core.ports import EventTable, SqlServer, TargetConnection
from sql_databricks_bridge.errors import BridgeError, LedgerMissing, Transient
from sql_databricks_bridge.sync.cycle import Cycle, Handled
from sql_databricks_bridge.sync.operations import Operations
from sql_databricks_bridge.sync.reporter import Reporter

log = structlog.get_logger(__name__)

_FIRST_FLUSH_S = 1.0
_SWEEP_EVERY_S = 600.0


@dataclass(frozen=True, slots=True)
class PollerOptions:
    """How much one cycle takes, how many targets at a time, and whether it may create the ledger's schema.

    An idle poller's pause doubles from `interval_s` to `idle_max_s`.
    """

    max_events: int = 100
    workers: int = 8
    interval_s: float = 10.0
    idle_max_s: float = 10.0
    create_ledger: bool = False


@dataclass(frozen=True, slots=True)
class CycleReport:
    """What one cycle did. `busy` names targets that another poller is working on; `left` counts events not reached.

    `problem` says what kept it from its end: an end that is away, a commit of unknown outcome. No event fails for it.
    """

    found: int
    handled: tuple[Handled, ...] = ()
    busy: tuple[str, ...] = ()
    left: int = 0
    seconds: float = 0.0
    problem: BridgeError | None = None


class Poller:
    """Runs cycles. One object for one thread; `stop` may be set from any."""

    def __init__(
        self,
        sql_server: SqlServer,
        events: EventTable,
        operations: Operations,
        options: PollerOptions,
        *,
        stop: Flag | None = None,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
        monotonic: Callable[[], float] = time.monotonic,
        backoff: Backoff | None = None,
    ) -> None:
        self.stop = stop or Flag()
        self._backoff = backoff or Backoff()
        self._sql_server = sql_server
        self._events = events
        self._operations = operations
        self._options = options
        self._now = now
        self._monotonic = monotonic
        self._put_off: Mapping[int, frozenset[str]] = {}
        self._swept: float | None = None

    def cycle(self) -> CycleReport:
        """Do one round. What is raised kept it from beginning: an end is away or not ready."""
        began = self._monotonic()
        if self._swept is None or began - self._swept > _SWEEP_EVERY_S:
            self.sweep()
        skipped, self._put_off = self._put_off, {}
        rows = self._events.unfinished(self._options.max_events, sorted(frozenset().union(*skipped.values())))
        if not rows:
            return CycleReport(0, seconds=self._monotonic() - began)
        reporter = Reporter(self._events, first_flush_s=_FIRST_FLUSH_S, interval_s=self._options.interval_s)
        cycle = Cycle(
            rows,
            self._sql_server,
            self._operations,
            reporter,
            stop=self.stop,
            workers=self._options.workers,
            now=self._now,
            skipped=skipped,
        )
        problem = cycle.run()
        try:
            reporter.flush()
        except BridgeError as exc:
            problem = problem or exc
        if not cycle.handled and len(rows) >= self._options.max_events:  # others may wait behind what was read
            self._put_off = {**skipped, **cycle.put_off}
        return CycleReport(
            found=len(rows),
            handled=tuple(cycle.handled),
            busy=tuple(sorted(cycle.busy)),
            left=cycle.left,
            seconds=self._monotonic() - began,
            problem=problem,
        )

    def run(self, on_cycle: Callable[[CycleReport], None]) -> None:
        """Do rounds until `stop` is set. `on_cycle` gets each report, one with `found` 0 where a round could not begin.

        What is wrong with the settings at the very start is raised; later the poller waits until it is mended.
        """
        failures, idle_s, first = 0, self._options.interval_s, True
        while not self.stop.is_set():
            began = self._monotonic()
            try:
                report = self.cycle()
            except BridgeError as exc:
                if first and not isinstance(exc, Transient):
                    raise
                report = CycleReport(0, problem=exc, seconds=self._monotonic() - began)
            first = False
            on_cycle(report)
            if report.problem is not None:
                failures += 1
                pause_s = self._backoff.pause_s(failures)
                log.warning("poller.waiting", why=str(report.problem), seconds=round(pause_s, 1))
                self.stop.wait(pause_s)
                continue
            failures = 0
            if report.found >= self._options.max_events and report.handled:
                continue
            idle_s = self._options.interval_s if report.found else min(idle_s * 2, self._options.idle_max_s)
            self.stop.wait(max(0.0, idle_s - report.seconds))

    def sweep(self) -> None:
        """Make sure of the ledger, and drop what dead loaders left; `cycle` does it now and then."""
        with closing(self._sql_server.connect_target()) as connection:
            if not connection.ledger_ready():
                self._make_ledger(connection)
            if dropped := connection.sweep():
                log.info("staging.swept", tables=dropped)
        self._swept = self._monotonic()

    def _make_ledger(self, connection: TargetConnection) -> None:
        if not self._options.create_ledger:
            raise ledger_missing(connection)
        connection.create_ledger()
        log.info("ledger.created", database=connection.info().database)


def ledger_missing(connection: TargetConnection) -> LedgerMissing:
    """What to say where the ledger is not in the target database."""
    return LedgerMissing(
        f"Database {connection.info().database!r} has no ledger (schema bridge) of this version yet.",
        hint="`bridge target init` prints its DDL for a DBA; with --run it creates it.",
    )
