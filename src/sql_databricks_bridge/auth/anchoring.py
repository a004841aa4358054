"""The audit log's end kept in the job store: without it nothing tells that whole lines are missing at a file's end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import structlog

from sql_databricks_bridge.auth.audit import AuditLog
from sql_databricks_bridge.auth.audit_chain import Head
from sql_databricks_bridge.errors import BridgeError
from sql_databricks_bridge.models.job_records import Anchor

log = structlog.get_logger(__name__)


class AnchorStore(Protocol):
    """What of `core.ports.JobStore` an anchor needs."""

    def anchor(self, head: Anchor) -> None:
        """Keep the end of an audit file; an older end of the same file is replaced, a newer one stays."""
        ...

    def anchor_of(self, file: str) -> Anchor | None:
        """The newest end that is known of an audit file."""
        ...


class Anchoring:
    """Keeps `audit.head` in the store every `every_s` seconds and at close, from a thread of its own.

    A store that is away keeps nobody from working: that is logged once, and the end is kept when it is back. Lines
    written within the last `every_s` seconds before a crash are not anchored.
    """

    def __init__(self, audit: AuditLog, store: AnchorStore, *, every_s: float = 10.0) -> None:
        self._audit = audit
        self._store = store
        self._every_s = every_s
        self._kept: Anchor | None = None
        self._away = False
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit-anchor", daemon=True)

    def keep(self) -> bool:
        """Anchor the log's end now, unless it is anchored; False where the store is away."""
        with self._lock:
            head = anchor_of(self._audit)
            if head is None or head == self._kept:
                return True
            try:
                self._store.anchor(head)
            except BridgeError as exc:
                if not self._away:
                    log.warning("audit.not_anchored", file=head.file, sequence=head.sequence, why=str(exc))
                self._away = True
                return False
            self._kept, self._away = head, False
            return True

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End it, and keep the end a last time. Close the audit log before, the store after. Idempotent."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self.keep()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self.keep()
            except Exception:  # the edge of a thread: the next turn may do better
                log.exception("audit.anchoring_failed")


def anchor_of(audit: AuditLog) -> Anchor | None:
    """The log's end as an anchor; None before its first line."""
    if audit.head is None:
        return None
    path, head = audit.head
    return Anchor(path.name, head.sequence, head.digest)


def anchored_head(find: Callable[[str], Anchor | None], file: str) -> Head | None:
    """What `verify` takes for the file of that name; None where the store knows nothing of it."""
    found = find(file)
    return None if found is None else Head(found.sequence, found.digest)
