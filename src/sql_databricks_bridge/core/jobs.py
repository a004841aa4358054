"""The runner: a plan's queries, some at once, each on its own connection, and what came of them."""

from __future__ import annotations

import queue
import threading
import time
from contextlib import suppress

from sql_databricks_bridge.core.ports import Lakehouse, SqlServer
from sql_databricks_bridge.core.progress import OnEnd, OnProgress, Reporter
from sql_databricks_bridge.core.query_task import QueryTask, RunContext
from sql_databricks_bridge.core.query_task import RunOptions as RunOptions
from sql_databricks_bridge.core.spool import run_spool
from sql_databricks_bridge.core.threads import daemon, unless_stopped
from sql_databricks_bridge.core.uploader import Fence, seconds_since
from sql_databricks_bridge.errors import Cancelled
from sql_databricks_bridge.models.jobs import ExtractionPlan, QueryOutcome, QueryStatus, RunReport, RunStatus

_TICK_S = 0.05


def run(
    plan: ExtractionPlan,
    source: SqlServer,
    lakehouse: Lakehouse,
    *,
    options: RunOptions | None = None,
    on_progress: OnProgress | None = None,
    on_end: OnEnd | None = None,
    stop: threading.Event | None = None,
    fence: Fence | None = None,
) -> RunReport:
    """Run every query of the plan and report on each; a failing one does not stop the others.

    `on_progress`, and `on_end` with a query's outcome, are called from several threads, one call at a time. Setting
    `stop` cancels what runs and what waits. `fence` is for runs that another process may take over; see `Landing`.
    Raises `LakehouseError` where the destination is not there and `SpoolError` where the spool can't be made; whatever
    goes wrong later stands in the report.
    """
    options = options or RunOptions()
    stop = stop or threading.Event()
    started = time.monotonic()
    with suppress(Cancelled):
        unless_stopped(lambda: lakehouse.check_destination(plan.destination), stop, "look for the destination")
    with run_spool(options.spool_dir) as spool:
        report = Reporter(on_progress, options.progress_interval_s, on_end)
        context = RunContext(plan, source, lakehouse, options, spool, report, fence)
        tasks = [QueryTask(context, query) for query in plan.queries]
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


def _run_tasks(tasks: list[QueryTask], options: RunOptions, stop: threading.Event) -> None:
    """Work through the tasks, `options.parallel` at a time."""
    waiting: queue.SimpleQueue[QueryTask] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)

    def work() -> None:
        while not stop.is_set():
            try:
                waiting.get_nowait().run()
            except queue.Empty:
                return

    workers = [daemon(work, f"query worker {number}") for number in range(min(max(1, options.parallel), len(tasks)))]
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


def _cancel(tasks: list[QueryTask], workers: list[threading.Thread], options: RunOptions) -> None:
    for task in tasks:
        task.cancel()
    deadline = time.monotonic() + options.stop_grace_s
    while any(task.is_worth_waiting_for for task in tasks) and time.monotonic() < deadline:
        next((worker for worker in workers if worker.is_alive()), workers[0]).join(_TICK_S)
    deadline = time.monotonic() + options.abandon_s
    for task in tasks:
        task.abandon(deadline)
