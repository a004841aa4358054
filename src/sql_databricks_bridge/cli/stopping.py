"""Stopping in order: the first signal asks, the second one insists."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

from sql_databricks_bridge.cli import output


class Stopping:
    """The event that stops the work, and the signal that set it."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.signal: int | None = None


@contextlib.contextmanager
def stop_on_signals(said: str) -> Iterator[Stopping]:
    """The first Ctrl-C, SIGTERM or SIGHUP says `said` and sets the event; a second one ends the process at once.

    A signal that the parent had us ignore (nohup) stays ignored.
    """
    stopping = Stopping()

    def stop(number: int, _: object) -> None:
        if stopping.event.is_set():
            raise KeyboardInterrupt
        stopping.signal = number
        stopping.event.set()
        output.err().print(said, style="yellow")

    before = {
        number: signal.signal(number, stop)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
