"""How a running extraction looks: bars on a terminal, plain lines elsewhere, nothing with --json."""

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
    """Yield the view that fits: nothing where `quiet`, bars on a terminal, else lines on standard error."""
    if quiet:
        yield _silent
    elif output.err().is_terminal:
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
        TextColumn("[{task.fields[style]}]{task.fields[state]:<9}[/]"),
        TextColumn("{task.fields[rows]:>12} rows", justify="right"),
        TextColumn("{task.fields[size]:>10}", justify="right"),
        TextColumn("{task.fields[rate]:>12} rows/s", justify="right"),
        TextColumn("{task.fields[elapsed]:>9}", justify="right"),
        console=output.err(),
        refresh_per_second=8,
    )


class BarView:
    """A line for each query that is updated in place. How many rows will come is not known, so there is no per cent."""

    def __init__(self, progress: Progress, names: Sequence[str]) -> None:
        self._progress = progress
        width = max((len(name) for name in names), default=0)
        self._tasks: dict[str, TaskID] = {
            name: progress.add_task(name.ljust(width), total=None, **_fields(QueryProgress(name, QueryStatus.QUEUED)))
            for name in names
        }

    def __call__(self, progress: QueryProgress) -> None:
        """Show it."""
        ended = progress.status not in (QueryStatus.QUEUED, QueryStatus.RUNNING)
        done: dict[str, Any] = {"total": 1, "completed": 1} if ended else {}
        self._progress.update(self._tasks[progress.name], **done, **_fields(progress))


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
            fields = _fields(progress)
            line = (
                f"{progress.name}: {fields['state']}, {fields['rows']} rows, {fields['size']}, {fields['rate']} rows/s,"
                f" {fields['elapsed']}"
            )
        output.err().print(line, markup=False, soft_wrap=True)


def _fields(progress: QueryProgress) -> dict[str, Any]:
    style, state = _MARKS[progress.status]
    rate = progress.rows / progress.elapsed_s if progress.elapsed_s > 0 else 0.0
    return {
        "style": style,
        "state": state,
        "rows": f"{progress.rows:,}",
        "size": output.human_bytes(progress.uploaded_bytes or progress.fetched_bytes),
        "rate": f"{rate:,.0f}",
        "elapsed": output.human_seconds(progress.elapsed_s),
    }
