"""How a running extraction looks: live lines on a terminal, plain ones elsewhere, nothing with --json."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from sql_databricks_bridge.cli import output
from sql_databricks_bridge.models.jobs import QueryProgress, QueryStatus

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PLAIN_INTERVAL_S = 5.0
_NARROWEST = 64
_WITHOUT_NAME = 56
_MARKS = {
    QueryStatus.QUEUED: ("dim", "queued"),
    QueryStatus.RUNNING: ("cyan", "running"),
    QueryStatus.COMPLETED: ("green", "landed"),
    QueryStatus.FAILED: ("bold red", "failed"),
    QueryStatus.CANCELLED: ("yellow", "cancelled"),
}


ProgressView: TypeAlias = Callable[[QueryProgress], None]
"""Takes a moment of a query; called from any thread."""


@contextmanager
def progress_view(names: Sequence[str], *, quiet: bool) -> Iterator[ProgressView]:
    """Yield the view that fits: nothing where `quiet`, live lines on a terminal, else lines on standard error."""
    console = output.err()
    if quiet:
        yield _silent
    elif console.is_terminal and not console.is_dumb_terminal and console.width >= _NARROWEST:
        with _bars() as progress:
            yield BarView(progress, names)
    else:
        yield LineView()


def _silent(_: QueryProgress) -> None:
    return None


def _bars() -> Progress:
    from rich.progress import Progress, SpinnerColumn, TextColumn

    return Progress(
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}"),
        TextColumn("{task.fields[rows]:>11} rows", justify="right"),
        TextColumn("{task.fields[size]:>8}", justify="right"),
        TextColumn("{task.fields[rate]:>9} rows/s", justify="right"),
        TextColumn("{task.fields[elapsed]:>8}", justify="right"),
        console=output.err(),
        refresh_per_second=8,
    )


class BarView:
    """A line for each running query that is updated in place, below those that ended: a hundred queries fit as well.

    How many rows will come is not known, so there is no per cent.
    """

    def __init__(self, progress: Progress, names: Sequence[str]) -> None:
        self._progress = progress
        width = min(max((len(name) for name in names), default=0), progress.console.width - _WITHOUT_NAME)
        self._tasks: dict[str, TaskID] = {
            name: progress.add_task(
                _shortened(name, width),
                total=None,
                visible=False,
                **_fields(QueryProgress(name, QueryStatus.QUEUED)),
            )
            for name in names
        }

    def __call__(self, progress: QueryProgress) -> None:
        """Show it."""
        running = progress.status is QueryStatus.RUNNING
        self._progress.update(self._tasks[progress.name], visible=running, **_fields(progress))
        if not running and progress.status is not QueryStatus.QUEUED:
            self._progress.console.print(_line(progress), style=_MARKS[progress.status][0], markup=False)


class LineView:
    """A line when a query starts, every few seconds, and when it ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: dict[str, tuple[QueryStatus, float]] = {}

    def __call__(self, progress: QueryProgress) -> None:
        """Show it, if it is news."""
        if progress.status is QueryStatus.QUEUED:
            return
        now = time.monotonic()
        with self._lock:
            status, at = self._said.get(progress.name, (QueryStatus.QUEUED, 0.0))
            if progress.status is status and now - at < PLAIN_INTERVAL_S:
                return
            self._said[progress.name] = (progress.status, now)
        if status is QueryStatus.QUEUED and progress.status is QueryStatus.RUNNING:
            line = f"{progress.name}: started"
        else:
            line = _line(progress)
        output.err().print(line, markup=False, soft_wrap=True)


def _line(progress: QueryProgress) -> str:
    fields = _fields(progress)
    return (
        f"{progress.name}: {fields['state']}, {fields['rows']} rows, {fields['size']}, {fields['rate']} rows/s,"
        f" {fields['elapsed']}"
    )


def _shortened(name: str, width: int) -> str:
    """The name in exactly `width` characters; the end, which often tells names apart, stays."""
    return name.ljust(width) if len(name) <= width else f"{name[: width // 2 - 1]}…{name[-(width - width // 2) :]}"


def _fields(progress: QueryProgress) -> dict[str, Any]:
    _, state = _MARKS[progress.status]
    rate = progress.rows / progress.elapsed_s if progress.elapsed_s > 0 else 0.0
    return {
        "state": state,
        "rows": f"{progress.rows:,}",
        "size": output.human_bytes(progress.uploaded_bytes or progress.fetched_bytes),
        "rate": f"{rate:,.0f}",
        "elapsed": output.human_seconds(progress.elapsed_s),
    }
