"""permissions.yaml kept up to date: changes are taken over whole, and a broken file changes nothing."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from sql_databricks_bridge.auth.patterns import Home
from sql_databricks_bridge.auth.permissions import Permissions
from sql_databricks_bridge.auth.permissions_yaml import Reading, Rules, read_permissions
from sql_databricks_bridge.core.config import Environment
from sql_databricks_bridge.errors import SettingsError

log = structlog.get_logger(__name__)

_UNREADABLE = b""


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the file gave: the last good permissions, and why a newer content was refused, None if none was.

    `number` counts the contents that were looked at, good and bad: another number means that something happened.
    """

    permissions: Permissions
    problem: str | None
    number: int


class PermissionsFile:
    """The permissions of a file, as of now. Safe to use from several threads.

    `server` and `database` are SQLSERVER_HOST and SQLSERVER_DATABASE, which patterns mean by the parts they leave out.
    `allow_plain_tokens` lets tokens themselves stand in the file in production too.
    A file that was changed less than `settled_after_s` ago is read at each call: it may be written again without its
    times and size telling, since file systems tell time coarsely. `on_secrets` is given the plain tokens and keys of a
    content before anything else knows them, for the log to star them.
    """

    def __init__(
        self,
        path: Path,
        environment: Environment,
        *,
        server: str | None,
        database: str | None,
        environ: Mapping[str, str] = os.environ,
        allow_plain_tokens: bool = False,
        settled_after_s: float = 2.0,
        clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
        on_secrets: Callable[[Iterable[str]], None] = lambda _: None,
    ) -> None:
        self._path = path
        self._plain_tokens = allow_plain_tokens or environment is not Environment.PRODUCTION
        self._home = Home(server, database)
        self._environ = environ
        self._clock = clock
        self._on_secrets = on_secrets
        self._settled_after_s = settled_after_s
        self._lock = threading.Lock()
        self._good: Permissions | None = None
        self._guarded = False
        self._tried: bytes | None = None
        self._problem: str | None = None
        self._number = 0
        self._settled: _Mark | None = None

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._path

    def current(self) -> Permissions:
        """The permissions of the file's last good content.

        Call it once for each cycle or request, and use what it gave throughout. Where the file has changed into
        something broken, or is gone, the last good set stays and `permissions.refused` is logged, once for each
        content; `SettingsError` while there has been no good one yet.
        """
        return self.look().permissions

    def look(self) -> Look:
        """The same, and what became of the newest content."""
        with self._lock:
            return Look(self._now(), self._problem, self._number)

    def _now(self) -> Permissions:
        mark = _Mark.of(self._path)
        if self._good is not None and mark is not None and mark == self._settled:
            return self._good
        content = _UNREADABLE if mark is None else _digest(self._path)
        if self._good is None or content != self._tried:
            self._good = self._load(content, mark)
        unchanged = mark is not None and mark == _Mark.of(self._path) and mark.age_s > self._settled_after_s
        self._settled = mark if unchanged else None
        return self._good

    def _load(self, content: bytes, mark: _Mark | None) -> Permissions:
        """Read the file; `content` is what it held a moment ago, so that a newer one is seen the next time."""
        try:
            reading = self._read(mark)
        except SettingsError as exc:
            if self._good is None:
                raise
            # What came and went while it was read is nobody's content: look at it again.
            self._tried = content if mark == _Mark.of(self._path) else None
            self._problem, self._number = str(exc), self._number + 1
            log.error("permissions.refused", file=self._path.as_posix(), reason=str(exc), kept="the last good set")
            return self._good
        self._on_secrets(reading.secrets)
        self._tried, self._problem, self._number = content, None, self._number + 1
        self._guarded |= reading.guarded
        log.info("permissions.loaded", file=self._path.as_posix(), users=len(reading.permissions.users))
        if reading.plain_secrets and mark is not None and mark.mode & 0o077 and os.name == "posix":
            log.warning(
                "permissions.readable_by_others",
                file=self._path.as_posix(),
                mode=f"{mark.mode:04o}",
                hint="It holds plain secrets: chmod 600, or write sha256:... or env:NAME instead.",
            )
        return reading.permissions

    def _read(self, mark: _Mark | None) -> Reading:
        shown = self._path.as_posix()
        if mark is None:
            raise SettingsError(
                f"The permissions file {shown} can't be found, so that nobody may do anything.",
                hint="Write one (docs/permissions.md), or name another by BRIDGE_PERMISSIONS_FILE.",
            )
        rules = Rules(self._home, self._environ, self._plain_tokens, self._clock())
        reading = read_permissions(self._path, rules)
        if self._guarded and not reading.guarded:
            raise SettingsError(
                f"{shown} has lost its last line `end: true`: it may be half-written.",
                hint="Write the line again; where it is left out on purpose, restart the bridge.",
            )
        return reading


@dataclass(frozen=True, slots=True)
class _Mark:
    """What tells, without reading it, that a file may have changed. Times are Unix time in nanoseconds."""

    device: int
    inode: int
    mode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> _Mark | None:
        try:
            found = path.stat()
        except OSError:
            return None
        mode = stat.S_IMODE(found.st_mode)
        return cls(found.st_dev, found.st_ino, mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    @property
    def age_s(self) -> float:
        return time.time() - max(self.modified_ns, self.changed_ns) / 1e9


def _digest(path: Path) -> bytes:
    """SHA-256 of the content, `_UNREADABLE` where there is none to read."""
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return _UNREADABLE
