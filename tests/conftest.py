"""Where the tests' servers come from: real ones where SQLSERVER_HOST or DATABRICKS_HOST is set, else the stand-ins.

The stand-ins are started as processes of their own and reached over sockets only, as `bridge sandbox` does it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from sql_databricks_bridge.core.config import Settings, load_settings
from sql_databricks_bridge.models.names import Destination

os.environ["BRIDGE_ENV_FILE"] = ""  # a developer's .env is not the tests'
for number in (signal.SIGINT, signal.SIGHUP):
    # In a shell's background job, or under nohup, the tests' children would ignore these too.
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL if number is signal.SIGHUP else signal.default_int_handler)


_LONGEST_FIRST = ("proof", "acceptance", "integration", "contract")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the folders whose files take longest, so that no worker is left with one of them in the end."""
    root = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        folder = item.path.relative_to(root).parts[0]
        return _LONGEST_FIRST.index(folder) if folder in _LONGEST_FIRST else len(_LONGEST_FIRST)

    items.sort(key=rank)


@dataclass(frozen=True, slots=True)
class StandIn:
    """A running stand-in: what it said when it was ready, and its fault hooks."""

    ready: dict[str, Any]

    def fault(self, **rule: Any) -> str:
        """Add a fault rule; return its id."""
        return str(self._call("POST", "/faults", rule)["id"])

    def wait_for(self, rule_id: str, hits: int = 1, wait_s: float = 20.0) -> None:
        """Wait until a rule was carried out; fails where it was not."""
        found = self._call("GET", f"/faults/{rule_id}?hits={hits}&wait_s={wait_s}")
        assert found["hits"] >= hits, f"fault {rule_id} did not happen: {found}"

    def hits(self, rule_id: str) -> int:
        """How often a rule was carried out."""
        return int(self._call("GET", f"/faults/{rule_id}")["hits"])

    def clear(self) -> None:
        """Remove every rule."""
        self._call("DELETE", "/faults")

    def requests(self, after: int = 0) -> list[dict[str, Any]]:
        """The request log, from behind that sequence number."""
        return list(self._call("GET", f"/requests?after={after}")["requests"])

    def _call(self, method: str, path: str, document: Any = None) -> Any:
        request = urllib.request.Request(
            self.ready["admin_url"] + path,
            method=method,
            data=None if document is None else json.dumps(document).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as exc:
            with exc:
                pytest.fail(f"{method} {path}: {exc.read().decode()}")


@contextmanager
def stand_in(module: str, data_dir: Path, *options: str) -> Iterator[StandIn]:
    """Start a stand-in; it ends with its standard input, so it never outlives the tests."""
    command = [sys.executable, "-m", f"sql_databricks_bridge.sandbox.{module}", "--port", "0"]
    command += ["--data-dir", str(data_dir), "--stop-on-stdin-eof", *options]
    errors = (data_dir.parent / f"{module}.log").open("w+")
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            errors.seek(0)
            pytest.fail(f"the {module} stand-in did not start:\n{errors.read()[-4000:]}")
        yield StandIn(json.loads(line))
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        errors.close()


def lakehouse_settings_of(server: StandIn, **changes: Any) -> Settings:
    """The settings that point at a Databricks stand-in."""
    ready = server.ready
    values: dict[str, Any] = {
        "databricks_host": ready["url"],
        "databricks_token": SecretStr(ready["token"]),
        "databricks_warehouse_id": ready["warehouse_id"],
        "databricks_catalog": ready["catalog"],
        "databricks_schema": ready["schema"],
        "databricks_volume": ready["volume"],
        "databricks_retry_timeout_s": 20,
    }
    return load_settings(**(values | changes))


def sqlserver_settings_of(server: StandIn, **changes: Any) -> Settings:
    """The settings that point at a SQL Server stand-in."""
    ready = server.ready
    values: dict[str, Any] = {
        "sqlserver_host": ready["host"],
        "sqlserver_port": ready["port"],
        "sqlserver_database": ready["database"],
        "sqlserver_username": ready["username"],
        "sqlserver_password": SecretStr(ready["password"]),
        "sqlserver_encrypt": "yes",
        "sqlserver_trust_server_certificate": True,
    }
    return load_settings(**(values | changes))


@pytest.fixture(scope="session")
def lakehouse_stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """The session's Databricks stand-in; asking for it skips the test on a real workspace."""
    if os.environ.get("DATABRICKS_HOST"):
        pytest.skip("needs the stand-in's fault hooks")
    with stand_in("databricks", tmp_path_factory.mktemp("databricks") / "data") as server:
        yield server


@pytest.fixture(scope="session")
def sqlserver_stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """The session's SQL Server stand-in; asking for it skips the test on a real server."""
    if os.environ.get("SQLSERVER_HOST"):
        pytest.skip("needs the stand-in's fault hooks")
    options = ("--admin-port", "0", "--load", "flights")
    with stand_in("sql_server", tmp_path_factory.mktemp("sql_server") / "data", *options) as server:
        yield server


@pytest.fixture(scope="session")
def lakehouse_settings(request: pytest.FixtureRequest) -> Settings:
    """Settings of the Databricks side: the environment's, else the stand-in's."""
    if os.environ.get("DATABRICKS_HOST"):
        return load_settings()
    return lakehouse_settings_of(request.getfixturevalue("lakehouse_stand_in"))


@pytest.fixture(scope="session")
def sqlserver_settings(request: pytest.FixtureRequest) -> Settings:
    """Settings of the SQL Server side: the environment's, else the stand-in's."""
    if os.environ.get("SQLSERVER_HOST"):
        return load_settings()
    return sqlserver_settings_of(request.getfixturevalue("sqlserver_stand_in"))


@pytest.fixture(scope="session")
def destination(lakehouse_settings: Settings) -> Destination:
    """The volume under test."""
    found = lakehouse_settings.default_destination
    assert found is not None, "set DATABRICKS_CATALOG, _SCHEMA and _VOLUME"
    return found


@pytest.fixture
def lakehouse_faults(lakehouse_stand_in: StandIn) -> Iterator[StandIn]:
    """The Databricks stand-in, without rules before and after the test."""
    lakehouse_stand_in.clear()
    yield lakehouse_stand_in
    lakehouse_stand_in.clear()


@pytest.fixture
def sqlserver_faults(sqlserver_stand_in: StandIn) -> Iterator[StandIn]:
    """The SQL Server stand-in, without rules before and after the test."""
    sqlserver_stand_in.clear()
    yield sqlserver_stand_in
    sqlserver_stand_in.clear()


@pytest.fixture
def country() -> str:
    """A country of this test's own, so that tests and runs never meet in the volume."""
    return f"t{uuid.uuid4().hex[:12]}"
