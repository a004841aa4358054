"""Work that waits (for a driver, the disk, a store) leaves the event loop, into a bounded number of threads.

Two kinds apart, so that a SQL Server that hangs takes no thread from those who only ask how a job stands.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

import anyio.to_thread

from sql_databricks_bridge.api.problems import Refused, Slug

P = ParamSpec("P")
R = TypeVar("R")


class Threads:
    """At most `size` threads at a time, and at most `waiting` requests that wait for one; more are refused (503)."""

    def __init__(self, size: int, waiting: int) -> None:
        self._limiter = anyio.CapacityLimiter(size)
        self._waiting = waiting

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `work` in a thread and return what it returns. Once begun it is finished, whoever still waits."""
        if self._limiter.statistics().tasks_waiting >= self._waiting:
            raise Refused(Slug.UNAVAILABLE, "The service has too much to do just now.", hint="Try again in a moment.")
        return await anyio.to_thread.run_sync(partial(work, *args, **kwargs), limiter=self._limiter)
