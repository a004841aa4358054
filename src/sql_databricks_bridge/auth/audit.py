"""The audit log: one JSON object a line, one file for each process, each line tied to the one before it.

A line stands whole on the disk before `write` returns, or `write` raises and the caller changes nothing.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
import socket
import threading
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from sql_databricks_bridge.auth.audit_chain import FieldValue, Head, seal
from sql_databricks_bridge.core.suggestions import looks_secret
from sql_databricks_bridge.errors import AuditError

log = structlog.get_logger(__name__)

VALUE_LENGTH = 4000
"""Most characters of a value that a line keeps: nobody fills the disk by the name of a table."""

_OWN_FIELDS = frozenset({"timestamp", "continues", "sequence", "previous", "hmac"})
_STARS = "***"


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class AuditLog:
    """Writes this process's audit file in `directory`, which the first line makes. Safe to use from several threads.

    `key` seals the lines by HMAC-SHA-256, so that who has not got it can't rewrite them; None leaves plain hashes,
    which show accidents only. A file is never continued: another process, and a failed write, begin a new one, whose
    first line names the end of the former in `continues`.
    """

    def __init__(self, directory: Path, *, key: str | None, clock: Callable[[], dt.datetime] = _now) -> None:
        self._directory = directory
        self._key = key.encode("utf-8", "surrogateescape") if key else None
        self._clock = clock
        self._lock = threading.Lock()
        self._file: _File | None = None
        self._last: tuple[Path, Head] | None = None
        self._begun = 0

    @property
    def head(self) -> tuple[Path, Head] | None:
        """The newest file that has a line, and its end: the anchor to keep elsewhere. None before the first line."""
        return self._last

    def write(
        self,
        event_type: str,
        *,
        action: str,
        outcome: str,
        user_name: str | None = None,
        source_ip: str | None = None,
        resource: str | None = None,
        request_id: str | None = None,
        durable: bool = True,
        **details: FieldValue,
    ) -> None:
        """Append a line; `durable` has it on the disk before this returns, which an intent needs.

        Without it a line survives the death of the process, not that of the machine. Values of details whose names
        look secret are starred. Raises `AuditError` where the line can't be written: then it counts as not there.
        """
        if own := _OWN_FIELDS & details.keys():
            raise ValueError(f"the audit log writes these fields itself: {sorted(own)}")
        given: dict[str, FieldValue] = {
            "event_type": event_type,
            "user_name": user_name,
            "source_ip": source_ip,
            "resource": resource,
            "action": action,
            "outcome": outcome,
            "request_id": request_id,
            **{name: _STARS if looks_secret(name) else value for name, value in details.items()},
        }
        with self._lock:
            timestamp = self._clock().astimezone(dt.UTC)
            fields = {"timestamp": _iso(timestamp)} | {name: _shortened(value) for name, value in given.items()}
            try:
                self._append(fields, timestamp, durable)
            except OSError as exc:
                raise AuditError(
                    f"The audit log in {self._directory} can't be written: {exc.strerror or exc}.",
                    hint="Nothing is changed without it. Make room, or mend the folder that BRIDGE_AUDIT_DIR names.",
                ) from exc

    def close(self) -> None:
        """Bring the file to the disk and close it. Idempotent; `AuditError` where the disk refuses."""
        with self._lock:
            file, self._file = self._file, None
            if file is not None:
                try:
                    file.close(sync=True)
                except OSError as exc:
                    raise AuditError(f"{file.path} can't be brought to the disk: {exc.strerror or exc}.") from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, fields: Mapping[str, FieldValue], timestamp: dt.datetime, durable: bool) -> None:
        if self._file is not None and not self._file.is_ours():
            # Moved, removed, cut or written by somebody: what we add there would be lost, or spoil the evidence.
            log.error("audit.file_changed", file=self._file.path.as_posix())
            self._abandon(self._file)
        file = self._file or self._begin(timestamp)
        try:
            file.append(self._continued(fields) if file.head == Head() else fields, self._key, durable)
        except BaseException:
            # After a failed write or fsync nobody knows what the disk holds (Linux forgets the dirty pages).
            file.rewind()
            self._abandon(file)
            raise
        self._file, self._last = file, (file.path, file.head)

    def _begin(self, timestamp: dt.datetime) -> _File:
        if self._last is None:  # later on, a folder that is gone was taken away: that is for somebody to look at
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._begun += 1
        return _File.create(self._directory, timestamp, self._begun)

    def _continued(self, fields: Mapping[str, FieldValue]) -> Mapping[str, FieldValue]:
        if self._last is None:
            return fields
        path, head = self._last
        return {**fields, "continues": f"{path.name}#{head.sequence}#{head.digest}"}

    def _abandon(self, file: _File) -> None:
        self._file = None
        with contextlib.suppress(OSError):
            file.close(sync=False)


class _File:
    """An audit file that this process made; `head` is that of its whole lines, which are `_size_bytes` long."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.head = Head()
        self._size_bytes = 0
        self._descriptor = descriptor
        self._pid = os.getpid()

    @classmethod
    def create(cls, directory: Path, timestamp: dt.datetime, first_number: int) -> _File:
        """Make a file that was not there, for its owner alone, and bring its name to the disk.

        Numbers go on, so that the name of a file that was removed is not used again.
        """
        host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "host"
        stem = f"audit-{timestamp:%Y%m%dT%H%M%SZ}-{host}-{os.getpid()}"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        for number in count(first_number):
            path = directory / (f"{stem}.jsonl" if number == 1 else f"{stem}-{number}.jsonl")
            try:
                file = cls(path, os.open(path, flags, 0o600))
            except FileExistsError:
                continue
            try:
                _sync_directory(directory)
            except BaseException:
                file.rewind()
                file.close(sync=False)
                raise
            return file
        raise AssertionError("count() ends")

    def is_ours(self) -> bool:
        """Whether the file is still at its path, as long as we left it, and of this process (which may have forked)."""
        try:
            there = self.path.stat()
        except OSError:
            return False
        ours = os.fstat(self._descriptor)
        same = (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
        return same and ours.st_size == self._size_bytes and self._pid == os.getpid()

    def append(self, fields: Mapping[str, FieldValue], key: bytes | None, durable: bool) -> None:
        line, head = seal(fields, self.head, key)
        written = 0
        while written < len(line):  # a disk that is nearly full takes a part
            written += os.write(self._descriptor, line[written:])
        if durable:
            os.fsync(self._descriptor)
        self._size_bytes, self.head = self._size_bytes + len(line), head

    def rewind(self) -> None:
        """Take back a half-written line as far as the disk allows; a file without lines goes."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, self._size_bytes)
            os.fsync(self._descriptor)
        if not self._size_bytes:
            with contextlib.suppress(OSError):
                self.path.unlink()

    def close(self, *, sync: bool) -> None:
        try:
            if sync:
                os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)


def _sync_directory(directory: Path) -> None:
    """Bring a new file's name to the disk, where the system has folders that can be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _iso(moment: dt.datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _shortened(value: FieldValue) -> FieldValue:
    if not isinstance(value, str) or len(value) <= VALUE_LENGTH:
        return value
    return f"{value[:VALUE_LENGTH]}... ({len(value) - VALUE_LENGTH} more characters)"
