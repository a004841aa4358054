"""The life of a statement: PENDING, RUNNING, then SUCCEEDED, FAILED or CANCELED, each in a thread of its own.

Source: Databricks REST API, "Statement Execution" (states). A cancel that comes too late leaves a statement
SUCCEEDED: what it changed is changed, and the state says so.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..faults import FaultRegistry, Fired
from .catalog import UnityCatalog
from .delta import DeltaLogs
from .engine import Engine
from .execution import Canceled, Execution
from .executor import execute, typed_parameters
from .failures import SqlFailure
from .names import Place
from .results import Limits, Result, spool
from .snapshots import Snapshots
from .sqltypes import describe
from .writing import Writers

_log = logging.getLogger(__name__)

_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Order:
    """A checked request to execute a statement."""

    text: str
    parameters: list[dict[str, Any]]
    place: Place
    limits: Limits
    result_format: str
    inline: bool


@dataclass(slots=True)
class Run:
    """One statement and where it stands. `ended` is done once the state is final."""

    statement_id: str
    order: Order
    began: int  # the writers' instant at which it was accepted
    state: str = "PENDING"
    failure: SqlFailure | None = None
    result: Result | None = None
    columns: list[dict[str, object]] = field(default_factory=list)
    canceled: threading.Event = field(default_factory=threading.Event)
    ended: Future[None] = field(default_factory=Future)


class Statements:
    """All statements of one stand-in, the newest 1,000."""

    def __init__(self, catalog: UnityCatalog, engine: Engine, spool_dir: Path, *, detect_conflicts: bool) -> None:
        self._catalog = catalog
        self._engine = engine
        self._spool = spool_dir
        self.logs = DeltaLogs()
        self._snapshots = Snapshots(self.logs, engine, spool_dir)
        self._writers = Writers(detect=detect_conflicts)
        self._lock = threading.Lock()
        self._runs: dict[str, Run] = {}

    def start(self, order: Order, fired: Fired, faults: FaultRegistry) -> Run:
        """Begin to execute."""
        run = Run(str(uuid.uuid4()), order, self._writers.instant())
        with self._lock:
            self._runs[run.statement_id] = run
            self._forget_old()
        slow = fired.take("slow_statement_s")
        told = fired.take("statement_error")
        held = fired.take("hold_statement")

        def is_held() -> bool:
            return held is not None and faults.get(held.rule_id) is not None

        work = (run, float(str(slow.value)) if slow else 0.0, told.value if told else None, is_held)
        threading.Thread(target=self._work, args=work, daemon=True, name=f"statement-{run.statement_id}").start()
        return run

    def find(self, statement_id: str) -> Run | None:
        """One statement, or None."""
        with self._lock:
            return self._runs.get(statement_id)

    def cancel(self, run: Run) -> None:
        """Ask a statement to stop; a finished one stays as it is."""
        run.canceled.set()
        if not run.ended.done():
            threading.Thread(target=self._insist, args=(run,), daemon=True, name=f"cancel-{run.statement_id}").start()

    def cancel_all(self) -> None:
        """Ask everything to stop."""
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            self.cancel(run)

    def _insist(self, run: Run) -> None:
        # Again and again: an interrupt that comes before the engine knows of the statement stops nothing.
        while not run.ended.done():
            self._engine.interrupt(run.statement_id)
            wait([run.ended], timeout=0.1)

    def _work(self, run: Run, slow_s: float, told: object, is_held: Callable[[], bool]) -> None:
        run.state = "RUNNING"
        try:
            while is_held() and not run.canceled.wait(0.02):
                pass
            if run.canceled.wait(slow_s) or run.canceled.is_set():
                raise Canceled
            if isinstance(told, dict):
                raise _told_failure(told)
            self._execute(run)
            run.state = "SUCCEEDED"
        except Canceled:
            run.state = "CANCELED"
        except SqlFailure as failure:
            run.failure = failure
            run.state = "CANCELED" if run.canceled.is_set() and not isinstance(told, dict) else "FAILED"
        except Exception as error:  # noqa: BLE001 - the edge of a thread: the story goes to the log
            _log.exception("statement failed inside the stand-in: %s", run.order.text)
            run.failure = SqlFailure(
                "SANDBOX_INTERNAL_ERROR", f"{type(error).__name__}: {error}", None, error_code="INTERNAL_ERROR"
            )
            run.state = "FAILED"
        finally:
            run.ended.set_result(None)

    def _execute(self, run: Run) -> None:
        order = run.order
        execution = Execution(
            self._catalog,
            self._engine,
            self.logs,
            self._snapshots,
            self._writers,
            run.began,
            order.place,
            typed_parameters(order.parameters),
            run.statement_id,
            run.canceled,
        )
        outcome = execute(execution, order.text)
        run.columns = describe(outcome.schema)
        run.result = spool(self._spool / f"result-{run.statement_id}", outcome.schema, outcome.tables, order.limits)

    def _forget_old(self) -> None:
        finished = [each for each in self._runs.values() if each.ended.done()]
        for run in finished[: max(0, len(self._runs) - _KEPT)]:
            del self._runs[run.statement_id]
            if run.result is not None:
                run.result.drop()


def _told_failure(told: dict[str, Any]) -> SqlFailure:
    failure = SqlFailure(None, told["message"], told.get("sqlstate"), error_code=told["error_code"])
    if failure.sqlstate and "SQLSTATE" not in failure.message:
        failure.message = f"{failure.message} SQLSTATE: {failure.sqlstate}"
    return failure
