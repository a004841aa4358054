"""`bridge sync`: apply events, once or for years."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sql_databricks_bridge import composition
from sql_databricks_bridge.cli import output
from sql_databricks_bridge.cli.events_shown import STATUS_STYLES, print_handled
from sql_databricks_bridge.cli.options import JsonOption
from sql_databricks_bridge.cli.stopping import stop_on_signals
from sql_databricks_bridge.errors import BridgeError, Cancelled, UsageError

if TYPE_CHECKING:
    from sql_databricks_bridge.sync.cycle import Handled
    from sql_databricks_bridge.sync.poller import CycleReport

app = typer.Typer(no_args_is_help=True, help="Apply sync events to SQL Server.", rich_markup_mode=None)

_HEARTBEAT_S = 60.0
_LOG_LEVEL = "ERROR"  # what happens to events is printed; who wants it as a log sets LOG_LEVEL


@app.callback()
def _sync() -> None:
    """Apply sync events to SQL Server."""


@app.command("once", epilog="Example: bridge sync once --json")
def once(json: JsonOption = False) -> int:
    """Do one round: apply what is pending, and show what happened. Exit code 1 unless every event is completed."""
    config = composition.settings(_LOG_LEVEL)
    with stop_on_signals("finishing the event in hand ... (again: at once)") as stopping:
        report = composition.poller(config, stopping.event).cycle()
    if json:
        output.print_json(_document(report))
    else:
        _print_report(report)
    if report.problem is not None:
        if not json:
            output.print_error(report.problem.message, report.problem.hint)
        return 1
    if stopping.signal is not None:
        return 128 + stopping.signal
    return 0 if all(handled.outcome.status == "completed" for handled in report.handled) else 1


@app.command("run", epilog="Example: POLLING_INTERVAL_SECONDS=5 bridge sync run")
def run(json: Annotated[bool, typer.Option("--json", help="Print JSON documents, one a line.")] = False) -> int:
    """Poll until stopped. Ctrl-C or SIGTERM finishes the event in hand, hands back the rest, and ends with code 0."""
    try:
        _run(as_json=json)
    except BridgeError as exc:
        if not json or isinstance(exc, Cancelled):
            raise
        output.print_json_line({"status": "failed", "error": _error_document(exc)})
        output.print_error(exc.message, exc.hint)
        return 2 if isinstance(exc, UsageError) else 1
    return 0


def _run(*, as_json: bool) -> None:
    config = composition.settings(_LOG_LEVEL)
    view = _Heartbeat(as_json=as_json)
    with stop_on_signals("finishing the event in hand ... (again: at once)") as stopping:
        poller = composition.poller(config, stopping.event)
        output.err().print(
            f"polling {config.bridge_events_table} every {config.polling_interval_seconds} s; Ctrl-C stops",
            style="dim",
            markup=False,
        )
        poller.run(view)
    view.summary()


class _Heartbeat:
    """Prints what happened, and a line a minute that says that the poller lives. With --json one document a line."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._lock = threading.Lock()
        self._last = time.monotonic()
        self._cycles = self._events = 0
        self._first = True

    def __call__(self, report: CycleReport) -> None:
        with self._lock:
            self._cycles += 1
            self._events += len(report.handled)
            if report.handled or report.problem is not None:
                self._tell(report)
            elif self._first or time.monotonic() - self._last >= _HEARTBEAT_S:
                self._beat("alive")
            self._first = False

    def summary(self) -> None:
        """Say goodbye."""
        self._beat("stopped")

    def _tell(self, report: CycleReport) -> None:
        if self._as_json:
            output.print_json_line(_document(report))
            return
        for handled in report.handled:
            output.out().print(_line(handled), soft_wrap=True)
        if report.problem is not None:
            output.print_warning(f"{report.problem.message} Waiting; no event is failed for it.")

    def _beat(self, what: str) -> None:
        self._last = time.monotonic()
        if self._as_json:
            output.print_json_line({"status": what, "cycles": self._cycles, "events": self._events})
        else:
            output.out().print(
                f"{time.strftime('%H:%M:%S')} {what}: {self._cycles} rounds, {self._events} events", markup=False
            )


def _document(report: CycleReport) -> dict[str, Any]:
    problem = report.problem
    return {
        "status": "ok" if problem is None else "waiting",
        "found": report.found,
        "left": report.left,
        "busy": list(report.busy),
        "seconds": round(report.seconds, 3),
        "events": [_event_document(handled) for handled in report.handled],
        "error": None if problem is None else _error_document(problem),
    }


def _error_document(exc: BridgeError) -> dict[str, Any]:
    return {"kind": type(exc).__name__, "message": exc.message, "hint": exc.hint}


def _event_document(handled: Handled) -> dict[str, Any]:
    outcome, row = handled.outcome, handled.row
    return {
        "event_id": outcome.event_id,
        "operation": row.operation,
        "target_table": row.target_table,
        "status": str(outcome.status),
        "rows_affected": outcome.rows_affected,
        "discrepancy": outcome.discrepancy,
        "warning": outcome.warning,
        "error_message": outcome.error_message,
        "seconds": round(handled.seconds, 3),
    }


def _print_report(report: CycleReport) -> None:
    if report.handled:
        print_handled(report.handled)
    parts = [f"{report.found} unfinished found, {len(report.handled)} ended, {output.human_seconds(report.seconds)}"]
    if report.busy:
        parts.append(f"another poller works on {output.visible(', '.join(report.busy))}")
    if report.left:
        parts.append(f"{report.left} left for later")
    output.err().print("; ".join(parts), style="dim", markup=False, soft_wrap=True)


def _line(handled: Handled) -> Any:
    from rich.text import Text

    outcome, row = handled.outcome, handled.row
    status = str(outcome.status)
    rows = "" if outcome.rows_affected is None else f" {outcome.rows_affected:,} rows"
    said = output.visible(outcome.error_message or outcome.warning or "")
    return Text.assemble(
        f"{time.strftime('%H:%M:%S')} ",
        (status, STATUS_STYLES.get(status, "")),
        output.visible(f" {row.operation} {row.target_table}{rows}"),
        output.visible(f" in {output.human_seconds(handled.seconds)} ({outcome.event_id})"),
        f": {said}" if said else "",
    )
