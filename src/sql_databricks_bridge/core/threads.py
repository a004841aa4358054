"""Threads that nobody has to wait for: daemons, because one that hangs in a driver must not keep a process alive."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

from sql_databricks_bridge.errors import Cancelled

T = TypeVar("T")

_TICK_S = 0.05


def daemon(work: Callable[[], object], name: str) -> threading.Thread:
    """Make a thread, not started yet. What it logs carries the fields that are bound where it is made."""
    return threading.Thread(target=contextvars.copy_context().run, args=(work,), name=name, daemon=True)


def unless_stopped(work: Callable[[], T], stop: threading.Event, name: str) -> T:
    """Return what `work` returns, or raise what it raises; but `Cancelled` as soon as `stop` is set.

    A request may take minutes to give up. One that was not waited for goes on by itself, to no effect.
    """
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as exc:  # noqa: BLE001  the edge of a thread: it is raised by the one who waits
            failures.append(exc)

    thread = daemon(run, name)
    thread.start()
    while thread.is_alive() and not stop.is_set():
        thread.join(_TICK_S)
    if stop.is_set():
        raise Cancelled("The run was stopped.")
    if failures:
        raise failures[0]
    return results[0]
