"""What clients have asked for, in order: `/_sandbox/requests`."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import asdict, dataclass
from itertools import count

_KEPT = 100_000


@dataclass(slots=True)
class Logged:
    """One request. `outcome` is '' while it runs, then 'done', 'error', 'cancelled' or 'dropped'."""

    sequence: int
    connection: int
    kind: str
    statement: str
    procedure: str
    table: str
    login: str
    database: str
    application: str
    outcome: str = ""
    error: int | None = None


class RequestLog:
    """The newest 100,000 requests. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[Logged] = deque(maxlen=_KEPT)
        self._sequence = count(1)

    def begin(self, connection: int, facts: dict[str, str]) -> Logged:
        """Log a request on its arrival; `facts` are those of `hooks`."""
        with self._lock:
            entry = Logged(
                next(self._sequence),
                connection,
                facts["kind"],
                facts.get("statement", ""),
                facts.get("procedure", ""),
                facts.get("table", ""),
                facts.get("login", ""),
                facts.get("database", ""),
                facts.get("application", ""),
            )
            self._entries.append(entry)
            return entry

    def to_json(self, after: int = 0) -> list[dict[str, object]]:
        """Every request with a sequence number above `after`, oldest first."""
        with self._lock:
            return [asdict(entry) for entry in self._entries if entry.sequence > after]

    def clear(self) -> None:
        """Forget all entries; the sequence goes on."""
        with self._lock:
            self._entries.clear()
