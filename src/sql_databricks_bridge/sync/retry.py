"""Trying again: exponential pauses with full jitter, for errors that are marked Transient and the event's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from sql_databricks_bridge.core.backoff import Backoff as Backoff
from sql_databricks_bridge.errors import BridgeError, Cancelled

Result = TypeVar("Result")


class Pause(Protocol):
    """Waits; `threading.Event.wait` is one. True means that the wait was cut short: somebody asked to stop."""

    def __call__(self, seconds: float, /) -> bool: ...


@dataclass(frozen=True, slots=True)
class Retry:
    """Calls again what failed with one of `kinds`, up to `attempts` calls in all."""

    kinds: tuple[type[BridgeError], ...]
    attempts: int = 3
    backoff: Backoff = field(default_factory=Backoff)

    def call(
        self,
        action: Callable[[], Result],
        *,
        pause: Pause,
        on_retry: Callable[[BridgeError, int, float], None] | None = None,
    ) -> Result:
        """Return the first success, or raise the last failure. `Cancelled` where a pause was cut short.

        `on_retry` gets the failure, its number from 1 and the seconds before the next call.
        """
        for attempt in range(1, self.attempts):
            try:
                return action()
            except self.kinds as exc:
                pause_s = self.backoff.pause_s(attempt)
                if on_retry is not None:
                    on_retry(exc, attempt, pause_s)
                if pause(pause_s):
                    raise Cancelled("Stopped while waiting to try again.") from exc
        return action()
