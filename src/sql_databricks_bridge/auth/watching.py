"""permissions.yaml watched in the background, so that the service tells of a change, or a refusal, when it happens.

What counts is decided by `PermissionsFile` alone; here is only when to look. The file system tells it (folders are
watched, not the file: editors and Kubernetes swap files and symbolic links), and where it does not, as on network
shares or after a folder was away, a look now and then does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from watchfiles._rust_notify import RustNotify  # its documented low level: only here is known when it watches

from sql_databricks_bridge.auth.loader import Look, PermissionsFile
from sql_databricks_bridge.errors import BridgeError

log = structlog.get_logger(__name__)

Folders = dict[Path, tuple[int, int]]
"""Folders to watch, with device and inode, which tell a folder from a later one of that name."""

_GATHER_MS = 200
_STEP_MS = 20


class PermissionsWatch:
    """Watches the file in a thread of its own while it is open; a context manager.

    `on_look` gets each new `Look`, good or refused, once, in that thread; what it raises is logged. `look_every_s` is
    the longest that a change stays unseen where the file system tells nothing.
    """

    def __init__(self, file: PermissionsFile, on_look: Callable[[Look], None], *, look_every_s: float = 5.0) -> None:
        self._file = file
        self._on_look = on_look
        self._look_every_s = look_every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="permissions", daemon=True)
        self._armed = threading.Event()
        self._seen = -1

    def start(self) -> None:
        """Begin; what the file holds now is known already. `SettingsError` where there is no good file yet."""
        self._seen = self._file.look().number
        self._thread.start()

    def close(self) -> None:
        """End it and wait for its thread. Idempotent."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ready(self, timeout_s: float) -> bool:
        """Wait until the file system tells what happens from now on; False where it did not come to that in time."""
        return self._armed.wait(timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            folders = _folders(self._file.path)
            try:
                if folders:
                    self._follow(folders)
                    continue
            except OSError as exc:  # a folder went away, or the system has no watches left
                log.warning("permissions.not_watched", file=self._file.path.as_posix(), why=exc.strerror or str(exc))
            self._look()
            self._stop.wait(self._look_every_s)

    def _follow(self, folders: Folders) -> None:
        """Look at once, when something stirs in a folder, and now and then; until it is time to watch other folders."""
        paths = [folder.as_posix() for folder in folders]
        with RustNotify(paths, False, False, 0, False, False) as changes:
            self._armed.set()
            self._look()
            # A link that leads elsewhere, or a folder that was made anew: the old watch is blind.
            while not self._stop.is_set() and _folders(self._file.path) == folders:
                changes.watch(_GATHER_MS, _STEP_MS, round(self._look_every_s * 1000), self._stop)
                self._look()

    def _look(self) -> None:
        try:
            look = self._file.look()
            if look.number != self._seen:
                self._seen = look.number
                self._on_look(look)
        except BridgeError as exc:
            log.error("permissions.look_failed", why=str(exc))
        except Exception:  # the edge of a thread: who is told can't end the watch
            log.exception("permissions.callback_failed")


def _folders(path: Path) -> Folders:
    """The folders of the file and of each link on its way to it."""
    found: Folders = {}
    for _ in range(16):
        try:
            folder = path.parent.resolve(strict=True)
            status = folder.stat()
            found[folder] = (status.st_dev, status.st_ino)
            found |= _parent_of_link(path.parent)
            if not path.is_symlink():
                break
            path = path.parent / path.readlink()
        except (OSError, RuntimeError):
            break
    return found


def _parent_of_link(folder: Path) -> Folders:
    """The folder that holds a link to a folder: Kubernetes swaps `..data`."""
    if not folder.is_symlink():
        return {}
    parent = folder.parent.resolve(strict=True)
    status = parent.stat()
    return {parent: (status.st_dev, status.st_ino)}
