"""A running `bridge serve`: the real process on a free port, against the servers under test, with users of its own."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.acceptance.conftest import BRIDGE, Workspace
from tests.integration.sync_support import driver_connection

READY_S = 60
STOP_S = 40
TOKENS = {name: f"token-of-{name}-{uuid.uuid4().hex}" for name in ("alice", "bob", "mute")}
"""alice reads and writes everything of the test's database, bob the airlines alone; mute can't sign events."""

PERMISSIONS = """\
users:
  - name: alice
    token: "sha256:{alice}"
    signing_key: "{key}"
    sources: ["{catalog}.*.*"]
    permissions:
      - {{table: "dbo.*", access: read}}
      - {{table: "{schema}.*", access: read_write, max_delete_rows: 100}}
  - name: bob
    token: "sha256:{bob}"
    signing_key: "{key}-of-bob"
    permissions:
      - {{table: "dbo.airlines", access: read}}
  - name: mute
    token: "sha256:{mute}"
    sources: ["*.*.*"]
    permissions:
      - {{table: "{schema}.*", access: read_write}}
end: true
"""


WAIT_S = 60.0


def until(condition: Callable[[], Any], what: str) -> Any:
    """Ask until it is so; over HTTP there is nothing to wait for."""
    deadline = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"still not {what}"
        time.sleep(0.05)
    return found


@dataclass(slots=True)
class Service:
    """A service's files and settings, and its process while one runs. `schema` is its own in SQL Server."""

    directory: Path
    environment: Mapping[str, str]
    workspace: Workspace
    schema: str
    process: subprocess.Popen[str] | None = None
    url: str = ""
    clients: dict[str, httpx.Client] = field(default_factory=dict)
    before: int = 0
    """The last request that Databricks' stand-in had seen before the service was started, where a test looks at it."""

    def start(self, **changes: str) -> None:
        """Start it and wait until it takes requests."""
        with self.log_file.open("a") as log:
            self.process = subprocess.Popen(
                [BRIDGE, "serve", "--port", "0", "--json"],
                cwd=self.directory,
                env={**self.environment, **changes},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        killer = threading.Timer(READY_S, self.process.kill)
        killer.start()
        try:
            assert self.process.stdout is not None
            line = self.process.stdout.readline()
        finally:
            killer.cancel()
        assert line, f"the service did not start:\n{self.log[-4000:]}"
        self.url = json.loads(line)["url"]

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """Ask it to end; its exit code."""
        return self._end(signal.SIGTERM)

    def client(self, user: str | None = "alice") -> httpx.Client:
        """A client that signs in as that user; None does not."""
        name = f"{user} {self.url}"
        if name not in self.clients:
            headers = {} if user is None else {"Authorization": f"Bearer {TOKENS[user]}"}
            self.clients[name] = httpx.Client(base_url=self.url, headers=headers, timeout=60)
        return self.clients[name]

    @property
    def log_file(self) -> Path:
        """Standard error of all its processes."""
        return self.directory / "service.log"

    @property
    def log(self) -> str:
        """What it logged so far."""
        return self.log_file.read_text()

    def audit(self, event_type: str) -> list[dict[str, Any]]:
        """The audit lines of that type, in their order."""
        files = sorted((self.directory / "audit").glob("*.jsonl"))
        lines = [line for file in files for line in file.read_text().splitlines()]
        return [found for found in map(json.loads, lines) if found["event_type"] == event_type]

    def follow(self, job_id: str, user: str = "alice") -> Iterator[dict[str, Any]]:
        """Each state of the job that the stream tells, to its end."""
        with self.client(user).stream("GET", f"/jobs/{job_id}/events") as response:
            assert response.status_code == 200, response.read()
            for line in response.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def ended(self, job_id: str, user: str = "alice") -> dict[str, Any]:
        """The job once it has ended."""
        *_, last = self.follow(job_id, user)
        assert last["finished_at"], last
        return last

    def close(self) -> None:
        """End what runs."""
        for client in self.clients.values():
            client.close()
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def _end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            if self.process.stdout is not None:
                self.process.stdout.close()
        return self.process.returncode


@contextmanager
def service(server_environment: Mapping[str, str], directory: Path, settings: Any) -> Iterator[Service]:
    """A service that is not started yet, with a schema and a country of its own.

    `settings` are those of SQL Server, for the schema and the tables that a test puts there.
    """
    tag = uuid.uuid4().hex[:12]
    workspace = Workspace(directory, f"c{tag}")
    schema = f"s{tag}"
    digests = {name: hashlib.sha256(token.encode()).hexdigest() for name, token in TOKENS.items()}
    permissions = directory / "permissions.yaml"
    catalog = server_environment["DATABRICKS_CATALOG"]
    permissions.write_text(PERMISSIONS.format(**digests, key=f"key-{tag}", catalog=catalog, schema=schema))
    environment = {
        **server_environment,
        "PATH": "/usr/bin:/bin",
        "BRIDGE_PERMISSIONS_FILE": str(permissions),
        "BRIDGE_AUDIT_DIR": str(directory / "audit"),
        "BRIDGE_EVENTS_TABLE": f"{catalog}.{server_environment['DATABRICKS_SCHEMA']}.events_{tag}",
        "JOB_STORE_URL": f"sqlite:///{directory / 'jobs.sqlite3'}",
        "RATE_LIMIT_PER_MINUTE": "100000",
        "FAILED_SIGN_INS_PER_MINUTE": "100000",
    }
    with closing(driver_connection(settings)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute(f"CREATE SCHEMA {schema}")
        found = Service(directory, environment, workspace, schema)
        try:
            yield found
        finally:
            found.close()
            cursor.execute(f"SELECT name FROM sys.tables WHERE schema_id = SCHEMA_ID(N'{schema}')")
            for (name,) in cursor.fetchall():
                cursor.execute(f"DROP TABLE {schema}.[{name}]")
            cursor.execute(f"DROP SCHEMA {schema}")
