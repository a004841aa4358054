"""The spool: a private folder for each run, where parts wait on their way to the lakehouse.

Each run's folder has a lock file beside it, held as long as its process lives; the next run on the machine removes
folders whose lock nobody holds.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sql_databricks_bridge.errors import SpoolError

_PREFIX = "bridge-run-"
_LOCK = ".lock"


def default_spool_root() -> Path:
    """The spool's root where BRIDGE_SPOOL_DIR names none: one folder a user under the system's temporary folder."""
    return Path(tempfile.gettempdir()) / f"sql-databricks-bridge-{os.getuid()}"


def spool_error(exc: OSError, folder: Path) -> SpoolError:
    """Say what a failed write means and which setting helps."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        what = f"The spool folder {folder} is full: {exc.strerror}."
    else:
        what = f"The spool folder {folder} can't be used: {exc.strerror or exc}."
    return SpoolError(what, hint="Free some space there or set BRIDGE_SPOOL_DIR to a folder with room.")


@contextlib.contextmanager
def run_spool(root: Path | None) -> Iterator[Path]:
    """Make a run's spool folder, readable by this user only; remove it at the end, whatever happened.

    Stale folders of dead processes are removed first. `SpoolError` where the folder can't be made.
    """
    root = default_spool_root() if root is None else root
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_stale(root)
        folder, lock = _claim(root)
    except OSError as exc:
        raise spool_error(exc, root) from exc
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        Path(f"{folder}{_LOCK}").unlink(missing_ok=True)
        lock.close()


def remove_stale(root: Path) -> tuple[Path, ...]:
    """Remove run folders whose process is gone; return them."""
    removed = []
    for lock_path in root.glob(f"{_PREFIX}*{_LOCK}"):
        try:
            lock = lock_path.open("r+b")
        except OSError:  # gone meanwhile, or another user's
            continue
        with lock:
            if not _try_lock(lock):
                continue
            folder = Path(str(lock_path).removesuffix(_LOCK))
            shutil.rmtree(folder, ignore_errors=True)
            lock_path.unlink(missing_ok=True)
            removed.append(folder)
    return tuple(removed)


def _claim(root: Path) -> tuple[Path, IO[bytes]]:
    """Lock first, then make the folder: nobody can take an unlocked lock file for a dead run's and miss the folder."""
    while True:
        folder = root / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        lock_path = Path(f"{folder}{_LOCK}")
        lock = lock_path.open("xb")
        if _try_lock(lock) and lock_path.exists():
            folder.mkdir(mode=0o700)
            return folder, lock
        lock.close()  # a cleaner was faster between open and lock: start again under another name


def _try_lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
