"""Counting what a query does, and telling it to whoever watches: one call at a time and not too often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from sql_databricks_bridge.models.jobs import QueryOutcome, QueryProgress, QueryStatus

log = structlog.get_logger(__name__)

OnProgress = Callable[[QueryProgress], None]
OnEnd = Callable[[QueryOutcome], None]
T = TypeVar("T", QueryProgress, QueryOutcome)


class Meter:
    """What a query has done so far; each count has one writing thread."""

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self.rows = 0
        self.fetched_bytes = 0
        self.uploaded_bytes = 0
        self.parts = 0
        self._changed = changed

    def fetched(self, rows: int, size_bytes: int) -> None:
        """Count a batch."""
        self.rows += rows
        self.fetched_bytes += size_bytes
        self._changed()

    def uploaded(self, size_bytes: int) -> None:
        """Count a part."""
        self.uploaded_bytes += size_bytes
        self.parts += 1
        self._changed()


class Reporter:
    """Hands progress on, for each query at most every `interval_s` seconds; a change of status is told at once.

    What the callbacks raise is logged: who watches a run can't break it.
    """

    def __init__(self, on_progress: OnProgress | None, interval_s: float, on_end: OnEnd | None = None) -> None:
        self._on_progress = on_progress
        self._on_end = on_end
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._last: dict[str, tuple[float, QueryStatus]] = {}

    def __call__(self, progress: QueryProgress) -> None:
        """Tell it, unless the last call was a moment ago."""
        if self._on_progress is None:
            return
        now = time.monotonic()
        last, status = self._last.get(progress.name, (float("-inf"), None))
        if status is progress.status and now - last < self._interval_s:
            return
        with self._lock:
            self._last[progress.name] = (now, progress.status)
            self._tell(self._on_progress, progress)

    def ended(self, outcome: QueryOutcome) -> None:
        """Tell how a query ended; its progress is told by another call."""
        if self._on_end is not None:
            with self._lock:
                self._tell(self._on_end, outcome)

    def _tell(self, callback: Callable[[T], None], news: T) -> None:
        try:
            callback(news)
        except BaseException:  # a SystemExit of a console whose reader went away, for instance
            log.exception("progress.callback_failed", query=news.name)
