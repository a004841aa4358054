"""The runner: a plan's queries, some at once, each on its own connection, and what came of them."""

from __future__ import annotations

import queue
import threading
import time

from sql_databricks_bridge.core.ports import Lakehouse, SqlServer
from sql_databricks_bridge.core.progress import OnProgress, Reporter
from sql_databricks_bridge.core.query_task import QueryTask, RunContext
from sql_databricks_bridge.core.query_task import RunOptions as RunOptions
from sql_databricks_bridge.core.spool import run_spool
from sql_databricks_bridge.core.uploader import seconds_since
from sql_databricks_bridge.models.jobs import ExtractionPlan, QueryOutcome, QueryStatus, RunReport, RunStatus
from sql_databricks_bridge.models.names import Destination

_TICK_S = 0.05


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
    _look_for(plan.destination, lakehouse, stop)
    with run_spool(options.spool_dir) as spool:
        context = RunContext(
            plan, source, lakehouse, options, spool, Reporter(on_progress, options.progress_interval_s)
        )
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


def _look_for(destination: Destination, lakehouse: Lakehouse, stop: threading.Event) -> None:
    """Check the destination, but not longer than until `stop` is set: a request may take minutes to give up."""
    failures: list[BaseException] = []

    def look() -> None:
        try:
            lakehouse.check_destination(destination)
        except BaseException as exc:  # noqa: BLE001  the edge of a thread: it is raised by the one who waits
            failures.append(exc)

    thread = threading.Thread(target=look, name="look for the destination", daemon=True)
    thread.start()
    while thread.is_alive() and not stop.is_set():
        thread.join(_TICK_S)
    if failures and not stop.is_set():
        raise failures[0]


def _run_tasks(tasks: list[QueryTask], options: RunOptions, stop: threading.Event) -> None:
    """Work through the tasks with daemon threads: one that hangs in a driver must not keep the process alive."""
    waiting: queue.SimpleQueue[QueryTask] = queue.SimpleQueue()
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


def _cancel(tasks: list[QueryTask], workers: list[threading.Thread], options: RunOptions) -> None:
    for task in tasks:
        task.cancel()
    deadline = time.monotonic() + options.stop_grace_s
    while any(task.is_worth_waiting_for for task in tasks) and time.monotonic() < deadline:
        next((worker for worker in workers if worker.is_alive()), workers[0]).join(_TICK_S)
    deadline = time.monotonic() + options.abandon_s
    for task in tasks:
        task.abandon(deadline)
