"""The installed `bridge` command, run as a person runs it: a process, an environment, a working directory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StandIn

BRIDGE = Path(sys.executable).with_name("bridge")
ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as the one JSON document that it must be."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Bridge:
    """Runs the command with the environment that points it at the servers under test."""

    environment: Mapping[str, str]
    directory: Path

    def __call__(self, *arguments: str, **changes: str | None) -> Finished:
        """Run to the end; `changes` are variables to set, or with None to leave out."""
        done = subprocess.run(
            [BRIDGE, *arguments],
            cwd=self.directory,
            env=self._environment(changes),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
        for sign in ("Traceback", "bridge --debug"):  # the second is the last resort's
            assert sign not in done.stderr + done.stdout, done.stderr
        password = self.environment.get("SQLSERVER_PASSWORD")
        for secret in (password, self.environment.get("DATABRICKS_TOKEN")):
            assert not secret or secret not in done.stderr + done.stdout or arguments[:1] == ("sandbox",)
        return Finished(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Start it and leave it running; killed at the end if it still runs."""
        process = subprocess.Popen(
            [BRIDGE, *arguments],
            cwd=self.directory,
            env=self._environment({}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def _environment(self, changes: Mapping[str, str | None]) -> dict[str, str]:
        merged: dict[str, str | None] = {**os.environ, **self.environment, **changes}
        return {key: value for key, value in merged.items() if value is not None}


@pytest.fixture(scope="session")
def server_environment(sqlserver_stand_in: StandIn, lakehouse_stand_in: StandIn) -> dict[str, str]:
    """The variables that point the bridge at the session's stand-ins."""
    sql, lake = sqlserver_stand_in.ready, lakehouse_stand_in.ready
    return {
        "SQLSERVER_HOST": sql["host"],
        "SQLSERVER_PORT": str(sql["port"]),
        "SQLSERVER_DATABASE": sql["database"],
        "SQLSERVER_USERNAME": sql["username"],
        "SQLSERVER_PASSWORD": sql["password"],
        "SQLSERVER_TRUST_SERVER_CERTIFICATE": "yes",
        "DATABRICKS_HOST": lake["url"],
        "DATABRICKS_TOKEN": lake["token"],
        "DATABRICKS_WAREHOUSE_ID": lake["warehouse_id"],
        "DATABRICKS_CATALOG": lake["catalog"],
        "DATABRICKS_SCHEMA": lake["schema"],
        "DATABRICKS_VOLUME": lake["volume"],
        "DATABRICKS_RETRY_TIMEOUT_S": "10",
        "BRIDGE_ENV_FILE": "",
    }


@pytest.fixture(scope="session")
def demo_bridge(server_environment: dict[str, str]) -> Bridge:
    """The command in the repository's root, with the demo's queries and countries."""
    return Bridge(server_environment, ROOT)


class Workspace:
    """A folder of queries and YAML of a test's own; `country` is unique, so that runs never meet in the volume."""

    def __init__(self, directory: Path, country: str) -> None:
        self.directory = directory
        self.country = country
        (directory / "queries").mkdir()
        (directory / "config").mkdir()
        self.yaml(country, "database: Flights\n")

    def query(self, name: str, sql: str | bytes) -> Path:
        """Write queries/NAME.sql."""
        file = self.directory / "queries" / f"{name}.sql"
        file.write_bytes(sql if isinstance(sql, bytes) else sql.encode())
        return file

    def yaml(self, name: str, text: str) -> None:
        """Write config/NAME.yaml."""
        (self.directory / "config" / f"{name}.yaml").write_text(text)


@pytest.fixture
def workspace(tmp_path: Path, country: str) -> Workspace:
    """An empty workspace with one country."""
    return Workspace(tmp_path, country)


@pytest.fixture
def bridge(server_environment: dict[str, str], workspace: Workspace) -> Bridge:
    """The command in the test's own workspace."""
    return Bridge(server_environment, workspace.directory)


def statuses(document: Mapping[str, Any]) -> dict[str, str]:
    """Each query's status in an `extract --json` document."""
    queries: Sequence[Mapping[str, Any]] = document["queries"]
    return {query["name"]: query["status"] for query in queries}
