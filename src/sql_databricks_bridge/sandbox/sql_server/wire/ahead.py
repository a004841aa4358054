"""Runs an iterator in a thread, a few items ahead of whoever takes them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_DEPTH = 4


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Ahead(Generic[T]):
    """Iterate over it, then `close` it (or use `with`): the source is not running afterwards."""

    def __init__(self, source: Iterator[T], depth: int = _DEPTH, name: str = "tds-encode") -> None:
        self._source = source
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        while True:
            item = self._queue.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item

    def close(self) -> None:
        """Stop after the item in work, and wait for that."""
        self._stopped.set()
        while self._thread.is_alive():
            # The thread may be waiting for room.
            while not self._queue.empty():
                self._queue.get_nowait()
            self._thread.join(0.05)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._source:
                self._queue.put(item)
                if self._stopped.is_set():
                    return
        except BaseException as exc:  # noqa: BLE001 (handed to the taking thread, which raises it)
            error = exc
        self._queue.put(_End(error))
