"""A queue between two threads that is bounded by bytes, and the failure that all stages of a pipeline share."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Broken(Exception):
    """Another stage failed; the reason is in `Flow.failure`."""


class Flow:
    """The common fate of a pipeline's stages: the first failure stops them all."""

    def __init__(self, on_failure: Callable[[], None]) -> None:
        self._on_failure = on_failure
        self._condition = threading.Condition()
        self.failure: BaseException | None = None

    def fail(self, failure: BaseException) -> None:
        """Stop every stage; only the first failure is kept."""
        with self._condition:
            if self.failure is not None:
                return
            self.failure = failure
            self._condition.notify_all()
        self._on_failure()

    @property
    def condition(self) -> threading.Condition:
        """What all queues of this flow wait on."""
        return self._condition


class ByteQueue(Generic[T]):
    """First in, first out, holding at most `limit_bytes`, but always at least one item however big."""

    def __init__(self, flow: Flow, limit_bytes: int) -> None:
        self._flow = flow
        self._limit = limit_bytes
        self._items: deque[tuple[T, int]] = deque()
        self._held = 0
        self._closed = False

    def put(self, item: T, size_bytes: int) -> None:
        """Add an item, waiting for room; `Broken` if the flow failed."""
        with self._flow.condition:
            self._flow.condition.wait_for(lambda: self._flow.failure is not None or self._has_room(size_bytes))
            if self._flow.failure is not None:
                raise Broken
            self._items.append((item, size_bytes))
            self._held += size_bytes
            self._flow.condition.notify_all()

    def close(self) -> None:
        """Say that nothing more will come."""
        with self._flow.condition:
            self._closed = True
            self._flow.condition.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Yield items until the queue is closed and empty; `Broken` if the flow failed."""
        while True:
            with self._flow.condition:
                self._flow.condition.wait_for(lambda: self._flow.failure is not None or self._items or self._closed)
                if self._flow.failure is not None:
                    raise Broken
                if not self._items:
                    return
                item, size = self._items.popleft()
                self._held -= size
                self._flow.condition.notify_all()
            yield item
            del item  # not held while waiting for the next one

    def _has_room(self, size_bytes: int) -> bool:
        return not self._items or self._held + size_bytes <= self._limit
