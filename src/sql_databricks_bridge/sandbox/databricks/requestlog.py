"""The log of every request that reached the stand-in, in order of arrival, for tests that enumerate them."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import deque
from dataclasses import dataclass
from itertools import count

_KEPT = 100_000


@dataclass(slots=True)
class Logged:
    """One request. `status` is None while it is handled, 0 when the connection was dropped without an answer."""

    sequence: int
    method: str
    path: str
    statement: str | None
    status: int | None = None
    statement_id: str | None = None

    def to_json(self) -> dict[str, object]:
        """As `/_sandbox/requests` shows it."""
        return {
            "sequence": self.sequence,
            "method": self.method,
            "path": self.path,
            "statement": self.statement,
            "kind": statement_kind(self.statement),
            "statement_sha256": hashlib.sha256(self.statement.encode()).hexdigest() if self.statement else None,
            "status": self.status,
            "statement_id": self.statement_id,
        }


def statement_kind(statement: str | None) -> str | None:
    """The statement's first word in capitals, such as MERGE; comments before it do not count. None without one."""
    if statement is None:
        return None
    rest = statement.lstrip()
    while rest.startswith(("--", "/*")):
        rest = rest.partition("\n" if rest.startswith("--") else "*/")[2].lstrip()
    word = re.match(r"[A-Za-z]*", rest)
    return word.group().upper() if word else None


class RequestLog:
    """The newest 100,000 requests. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[Logged] = deque(maxlen=_KEPT)
        self._sequence = count(1)

    def begin(self, method: str, path: str, statement: str | None) -> Logged:
        """Log a request on its arrival."""
        with self._lock:
            entry = Logged(next(self._sequence), method, path, statement)
            self._entries.append(entry)
            return entry

    def to_json(self, after: int = 0) -> list[dict[str, object]]:
        """Every request with a sequence number above `after`, oldest first."""
        with self._lock:
            return [entry.to_json() for entry in self._entries if entry.sequence > after]

    def clear(self) -> None:
        """Forget all entries; the sequence goes on."""
        with self._lock:
            self._entries.clear()
