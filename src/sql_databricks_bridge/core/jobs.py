"""The runner: a plan's queries, some at once, each on its own connection, and what came of them."""

from __future__ import annotations

import datetime as dt
import queue
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import stamina
import structlog

from sql_databricks_bridge.core.extractor import Extraction, Sizes, first_line
from sql_databricks_bridge.core.layout import AttemptFolder
from sql_databricks_bridge.core.ports import Lakehouse, SqlServer, SqlServerConnection
from sql_databricks_bridge.core.progress import Meter, OnProgress, Reporter
from sql_databricks_bridge.core.record import manifest_of
from sql_databricks_bridge.core.spool import run_spool
from sql_databricks_bridge.core.types import LandedSchema
from sql_databricks_bridge.core.uploader import Landing, Published, seconds_since
from sql_databricks_bridge.errors import BridgeError, Cancelled, SourceError, SourceSignInError, Transient
from sql_databricks_bridge.models.jobs import (
    ExtractionPlan,
    QueryOutcome,
    QueryProgress,
    QueryStatus,
    ResolvedQuery,
    RunReport,
    RunStatus,
)

log = structlog.get_logger(__name__)

_TICK_S = 0.05


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run goes about it.

    `parallel` queries at once; `spool_dir` None is a temporary folder; `connect_attempts` counts the first one;
    after `stop` is set, queries get `stop_grace_s` seconds to end before their threads are left to themselves;
    `cleanup_s` bounds the removal of a failed query's parts; `progress_interval_s` is the least time between two
    callbacks for one query.
    """

    parallel: int = 1
    spool_dir: Path | None = None
    sizes: Sizes = field(default_factory=Sizes)
    connect_attempts: int = 4
    stop_grace_s: float = 5.0
    cleanup_s: float = 10.0
    progress_interval_s: float = 0.1


def run(
    plan: ExtractionPlan,
    source: SqlServer,
    lakehouse: Lakehouse,
    *,
    options: RunOptions | None = None,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
) -> RunReport:
    """Run every query of the plan and report on each; a failing one does not stop the others.

    `on_progress` is called from several threads, one call at a time. Setting `stop` cancels what runs and what waits.
    Raises `LakehouseError` where the destination is not there and `SpoolError` where the spool can't be made; whatever
    goes wrong later stands in the report.
    """
    options = options or RunOptions()
    stop = stop or threading.Event()
    started = time.monotonic()
    lakehouse.check_destination(plan.destination)
    with run_spool(options.spool_dir) as spool:
        context = _Context(plan, source, lakehouse, options, spool, Reporter(on_progress, options.progress_interval_s))
        tasks = [_QueryTask(context, query) for query in plan.queries]
        _run_tasks(tasks, options, stop)
        outcomes = tuple(task.outcome for task in tasks)
    return RunReport(
        run_id=plan.run_id,
        country=plan.country,
        destination=plan.destination,
        status=overall_status(outcomes),
        queries=outcomes,
        seconds=seconds_since(started),
        warnings=plan.warnings,
    )


def overall_status(outcomes: tuple[QueryOutcome, ...]) -> RunStatus:
    """COMPLETED if all are, CANCELLED if one was, PARTIAL if some failed and some did not, else FAILED."""
    statuses = {outcome.status for outcome in outcomes}
    if QueryStatus.CANCELLED in statuses:
        return RunStatus.CANCELLED
    if statuses <= {QueryStatus.COMPLETED}:
        return RunStatus.COMPLETED
    return RunStatus.PARTIAL if QueryStatus.COMPLETED in statuses else RunStatus.FAILED


def _run_tasks(tasks: list[_QueryTask], options: RunOptions, stop: threading.Event) -> None:
    """Work through the tasks with daemon threads: one that hangs in a driver must not keep the process alive."""
    waiting: queue.SimpleQueue[_QueryTask] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)

    def work() -> None:
        while not stop.is_set():
            try:
                waiting.get_nowait().run()
            except queue.Empty:
                return

    workers = [
        threading.Thread(target=work, name=f"query worker {number}", daemon=True)
        for number in range(min(max(1, options.parallel), len(tasks)))
    ]
    for worker in workers:
        worker.start()
    try:
        while not stop.is_set() and (alive := [worker for worker in workers if worker.is_alive()]):
            alive[0].join(_TICK_S)
    except BaseException:  # KeyboardInterrupt above all: nothing may go on behind the caller's back
        stop.set()
        _cancel(tasks, workers, options)
        raise
    if stop.is_set():
        _cancel(tasks, workers, options)


def _cancel(tasks: list[_QueryTask], workers: list[threading.Thread], options: RunOptions) -> None:
    for task in tasks:
        task.cancel()
    deadline = time.monotonic() + options.stop_grace_s
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
    for task in tasks:
        task.abandon()


@dataclass(frozen=True, slots=True)
class _Context:
    """What all queries of a run share."""

    plan: ExtractionPlan
    source: SqlServer
    lakehouse: Lakehouse
    options: RunOptions
    spool: Path
    report: Reporter
    refused: list[SourceSignInError] = field(default_factory=list)


class _QueryTask:
    """One query of a run, from connecting to its outcome; `cancel` may come from any thread, at any time."""

    def __init__(self, context: _Context, query: ResolvedQuery) -> None:
        self._context = context
        self._query = query
        plan = context.plan
        self._folder = AttemptFolder(plan.destination, plan.country, query.name, plan.run_id, plan.attempt)
        self._landing = Landing(context.lakehouse, self._folder)
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._connection: SqlServerConnection | None = None
        self._extraction: Extraction | None = None
        self._started = time.monotonic()
        self._meter = Meter(lambda: self._progress(QueryStatus.RUNNING))
        self.outcome = QueryOutcome(query.name, QueryStatus.QUEUED)
        self._progress(QueryStatus.QUEUED)

    def run(self) -> None:
        """Land the query and set `outcome`; raises nothing that has to do with the query."""
        self._started = time.monotonic()
        self._progress(QueryStatus.RUNNING)
        try:
            outcome = self._landed(self._extract())
        except Cancelled:
            outcome = self._undone(QueryStatus.CANCELLED, None)
        except BridgeError as exc:
            outcome = self._undone(QueryStatus.FAILED, first_line(exc))
        except Exception as exc:
            log.exception("query.crashed", query=self._query.name)
            outcome = self._undone(QueryStatus.FAILED, first_line(exc))
        self._settle(outcome)

    def cancel(self) -> None:
        """Ask the query to stop soon. A published query stays published."""
        self._cancelled.set()
        with self._lock:
            extraction, connection = self._extraction, self._connection
        if extraction is not None:
            extraction.fail(Cancelled("The run was stopped."))
        elif connection is not None:
            connection.cancel()

    def abandon(self) -> None:
        """Call a query cancelled that has not ended; its thread may still hang in a driver or a request."""
        self._settle(QueryOutcome(self._query.name, QueryStatus.CANCELLED, seconds=seconds_since(self._started)))

    def _settle(self, outcome: QueryOutcome) -> None:
        with self._lock:
            if self.outcome.status is not QueryStatus.QUEUED:
                return
            self.outcome = outcome
        self._progress(outcome.status)

    def _extract(self) -> Published:
        plan, options = self._context.plan, self._context.options
        started_at = dt.datetime.now(dt.UTC)
        spool = self._context.spool / self._query.name
        connection = self._connect()
        try:
            self._check_cancelled()
            schema = LandedSchema.of(connection.describe(self._query))
            self._check_cancelled()
            self._landing.open()
            spool.mkdir()
            extraction = Extraction(
                connection,
                self._query,
                self._landing,
                spool=spool,
                sizes=options.sizes,
                meter=self._meter,
                row_limit=plan.limit,
            )
            with self._lock:
                self._extraction = extraction
            self._check_cancelled()
            extraction.run(schema)
            manifest = manifest_of(plan, self._query, connection, schema, self._landing.parts, started_at)
        except SourceError:
            self._check_cancelled()  # a driver reports a cancelled call as an error of its own
            raise
        finally:
            connection.close()
        self._check_cancelled()
        return self._landing.publish(manifest)

    def _connect(self) -> SqlServerConnection:
        plan = self._context.plan
        for attempt in stamina.retry_context(
            on=self._worth_a_retry, attempts=self._context.options.connect_attempts, timeout=60.0, wait_initial=0.25
        ):
            with attempt:
                self._check_cancelled()
                if self._context.refused:  # the same login again would be refused again, and locked in the end
                    raise self._context.refused[0]
                try:
                    connection = self._context.source.connect(database=plan.database, server=plan.server)
                except SourceSignInError as exc:
                    self._context.refused.append(exc)
                    raise
                with self._lock:
                    self._connection = connection
        return connection

    def _worth_a_retry(self, exc: Exception) -> bool:
        return isinstance(exc, Transient) and not self._cancelled.is_set()

    def _check_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled("The run was stopped.")

    def _landed(self, published: Published) -> QueryOutcome:
        manifest = published.manifest
        log.info("query.landed", query=self._query.name, rows=manifest.rows, path=published.folder.path)
        return QueryOutcome(
            name=self._query.name,
            status=QueryStatus.COMPLETED,
            rows=manifest.rows,
            bytes=manifest.size_bytes,
            parts=len(manifest.parts),
            seconds=seconds_since(self._started),
            path=published.folder.path,
            warnings=tuple(warning for warning in (published.warning,) if warning),
        )

    def _undone(self, status: QueryStatus, error: str | None) -> QueryOutcome:
        clean = self._landing.remove_within(self._context.options.cleanup_s)
        return QueryOutcome(
            name=self._query.name,
            status=status,
            rows=self._meter.rows,
            seconds=seconds_since(self._started),
            error=error,
            warnings=() if clean else (f"{self._folder.path} could not be removed; `bridge sweep` will",),
        )

    def _progress(self, status: QueryStatus) -> None:
        meter = self._meter
        self._context.report(
            QueryProgress(
                name=self._query.name,
                status=status,
                rows=meter.rows,
                fetched_bytes=meter.fetched_bytes,
                uploaded_bytes=meter.uploaded_bytes,
                parts=meter.parts,
                elapsed_s=seconds_since(self._started),
            )
        )
