"""Starts both stand-ins as processes of their own, and tells the environment that points the bridge at them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

STARTUP_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 15.0

PRINCIPAL = "sandbox"
_PERMISSIONS = """\
# Made anew at each start of the sandbox: what a newcomer's first event and first request need.
users:
  - name: {principal}
    token: "sha256:{digest}"
    sources: ["*.*.*"]
    permissions:
      - table: "dbo.*"
        access: read_write
        max_delete_rows: 10000
end: true
"""


class SandboxError(Exception):
    """A stand-in did not start; the message is fit for a person."""


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """What to start. Ports: 0 picks a free one. `load`: 'flights', 'tpch:SF' or 'none'."""

    data_dir: Path
    sql_port: int = 0
    databricks_port: int = 0
    load: str = "flights"

    @property
    def database(self) -> str:
        """The database that the loaded data is in."""
        return {"flights": "Flights", "tpch": "TPCH"}.get(self.load.partition(":")[0].lower(), "Bridge")


class StandIn:
    """One stand-in process: started, awaited until its line says ready, stopped.

    It ends when its standard input closes, so that it can't outlive us even if we are killed.
    """

    def __init__(self, name: str, module: str, arguments: Sequence[str], log_file: Path) -> None:
        self.name = name
        self._log_file = log_file
        with log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments, "--stop-on-stdin-eof"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C goes to the foreground process alone, which then stops us in order
            )

    def ready(self, timeout_s: float = STARTUP_TIMEOUT_S) -> Mapping[str, str]:
        """Wait for the ready line and return it, every value as text."""
        killer = threading.Timer(timeout_s, self._process.kill)
        killer.daemon = True
        killer.start()
        try:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
        finally:
            killer.cancel()
        try:
            said = json.loads(line)
        except ValueError:
            self.stop()
            raise SandboxError(f"The {self.name} stand-in did not start: {self._why()}") from None
        return {key: str(value) for key, value in said.items()}

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for the process to end; None if it has not by then."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """Ask it to stop, and kill it where it does not. Idempotent."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            if self.wait(STOP_TIMEOUT_S) is None:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _why(self) -> str:
        lines = self._log_file.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it ended with exit code {self._process.poll()} and said nothing"


class Sandbox:
    """Both stand-ins, running. Use as a context manager."""

    def __init__(self, options: SandboxOptions) -> None:
        self._options = options
        logs = options.data_dir / "logs"
        try:
            logs.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise SandboxError(f"The sandbox can't write to {options.data_dir}: {exc.strerror}") from exc
        self._permissions = options.data_dir / "permissions.yaml"
        self._token = f"bridge_sandbox_{secrets.token_urlsafe(24)}"
        digest = hashlib.sha256(self._token.encode()).hexdigest()
        self._permissions.write_text(_PERMISSIONS.format(principal=PRINCIPAL, digest=digest))
        self._permissions.chmod(0o600)
        package = __package__ or "sql_databricks_bridge.sandbox"
        self.sql_server = StandIn(
            "SQL Server",
            f"{package}.sql_server",
            ["--port", str(options.sql_port), "--admin-port", "0", "--data-dir", str(options.data_dir / "sql_server"),
             "--load", options.load, "--database", options.database],
            logs / "sql_server.log",
        )  # fmt: skip
        try:
            self.databricks = StandIn(
                "Databricks",
                f"{package}.databricks",
                ["--port", str(options.databricks_port), "--data-dir", str(options.data_dir / "databricks")],
                logs / "databricks.log",
            )
        except BaseException:
            self.sql_server.stop()
            raise
        try:
            self._sql = self.sql_server.ready()
            self._databricks = self.databricks.ready()
        except BaseException:
            self.stop()
            raise

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that point the bridge at the sandbox."""
        sql, lake = self._sql, self._databricks
        return {
            "SQLSERVER_HOST": sql["host"],
            "SQLSERVER_PORT": sql["port"],
            "SQLSERVER_DATABASE": sql["database"],
            "SQLSERVER_USERNAME": sql["username"],
            "SQLSERVER_PASSWORD": sql["password"],
            "SQLSERVER_ENCRYPT": "yes",
            # Self-signed, and Microsoft's driver pins a certificate (SQLSERVER_SERVER_CERTIFICATE) under strict only.
            "SQLSERVER_TRUST_SERVER_CERTIFICATE": "yes",
            "DATABRICKS_HOST": lake["url"],
            "DATABRICKS_TOKEN": lake["token"],
            "DATABRICKS_WAREHOUSE_ID": lake["warehouse_id"],
            "DATABRICKS_CATALOG": lake["catalog"],
            "DATABRICKS_SCHEMA": lake["schema"],
            "DATABRICKS_VOLUME": lake["volume"],
            "BRIDGE_PERMISSIONS_FILE": str(self._permissions),
            "BRIDGE_AUDIT_DIR": str(self._options.data_dir / "audit"),
            "SYNC_PRINCIPAL": PRINCIPAL,
            "JOB_STORE_URL": f"sqlite:///{self._options.data_dir / 'jobs.sqlite3'}",
            "BRIDGE_TOKEN": self._token,
        }

    @property
    def admin_urls(self) -> tuple[str, str]:
        """Where faults are set: (SQL Server's, Databricks')."""
        return self._sql["admin_url"], self._databricks["admin_url"]

    def failed(self) -> str | None:
        """The name of a stand-in that has died, else None."""
        for stand_in in (self.sql_server, self.databricks):
            if not stand_in.running:
                return stand_in.name
        return None

    def stop(self) -> None:
        """Stop both. Idempotent."""
        self.databricks.stop()
        self.sql_server.stop()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


@contextlib.contextmanager
def running(options: SandboxOptions) -> Iterator[Sandbox]:
    """Start the sandbox, yield it, stop it."""
    with Sandbox(options) as sandbox:
        yield sandbox


def without_server_settings(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment less every variable that names a real server, so that a sandbox run can't touch one."""
    source = os.environ if environment is None else environment
    return {key: value for key, value in source.items() if not key.startswith(("SQLSERVER_", "DATABRICKS_"))}
