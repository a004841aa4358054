"""What the long campaigns share: how much of them runs, stand-ins of their own, and pollers as real processes.

`make test` runs a seeded sample, `make proof` (BRIDGE_PROOF=whole) all of it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.models.events import EventRow
from tests.conftest import StandIn, lakehouse_settings_of, sqlserver_settings_of, stand_in
from tests.integration.sync_support import SyncBench, environment_of, sync_bench

T = TypeVar("T")
BRIDGE = Path(sys.executable).with_name("bridge")
WHOLE = os.environ.get("BRIDGE_PROOF") == "whole"
SEED = int(os.environ.get("BRIDGE_PROOF_SEED", "20261123"))


def scaled(sample: T, whole: T) -> T:
    """`sample` in `make test`, `whole` in `make proof`."""
    return whole if WHOLE else sample


@dataclass(frozen=True, slots=True)
class Ends:
    """The two stand-ins of a campaign, whose request logs hold nothing but its own."""

    sql: StandIn
    lake: StandIn


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    """Stand-ins of the module's own; skipped where real servers are set, which have no fault hooks."""
    if os.environ.get("SQLSERVER_HOST") or os.environ.get("DATABRICKS_HOST"):
        pytest.skip("needs the stand-ins' fault hooks")
    folder = tmp_path_factory.mktemp("proof")
    with (
        stand_in("sql_server", folder / "sql", "--admin-port", "0", "--load", "none") as sql,
        stand_in("databricks", folder / "lake") as lake,
    ):
        yield Ends(sql, lake)


@pytest.fixture
def bench(ends: Ends, tmp_path: Path) -> Iterator[SyncBench]:
    """A bench on the module's stand-ins, without faults before and after."""
    ends.sql.clear()
    ends.lake.clear()
    with sync_bench(sqlserver_settings_of(ends.sql), lakehouse_settings_of(ends.lake), tmp_path) as made:
        yield made
        ends.sql.clear()
        ends.lake.clear()


_SUBMITTED = {
    "event_id": "STRING",
    "operation": "STRING",
    "source_table": "STRING",
    "target_table": "STRING",
    "primary_keys": "ARRAY<STRING>",
    "priority": "INT",
    "status": "STRING",
    "rows_expected": "INT",
    "filter_conditions": "MAP<STRING, STRING>",
    "metadata": "MAP<STRING, STRING>",
    "created_at": "STRING",
}


def insert_events(bench: SyncBench, table: str, rows: Sequence[EventRow]) -> None:
    """Insert rows into an events table by one statement, as a job that knows nothing of the bridge would."""
    documents = [{name: getattr(row, name) for name in _SUBMITTED} for row in rows]
    shape = ", ".join(f"{name}: {kind}" for name, kind in _SUBMITTED.items())
    columns = ", ".join(_SUBMITTED)
    bench.lakehouse.execute(
        f"INSERT INTO {table} ({columns}) SELECT {columns.replace('created_at', 'CAST(created_at AS TIMESTAMP)')} "
        f"FROM (SELECT r.* FROM (SELECT explode(from_json(:events, 'ARRAY<STRUCT<{shape}>>', "
        "map('mode', 'FAILFAST'))) AS r))",
        {"events": json.dumps(documents, default=lambda moment: moment.isoformat())},
    )


class PollerProcess:
    """`bridge sync run --json` (or `once`), as an operator starts it; logs go to files in `folder`."""

    def __init__(
        self, settings: Settings, folder: Path, name: str = "poller", verb: str = "run", **variables: str
    ) -> None:
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self._process = subprocess.Popen(
                [BRIDGE, "sync", verb, "--json"],
                env={**os.environ, **environment_of(settings), "POLLING_INTERVAL_SECONDS": "1", **variables},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    @property
    def running(self) -> bool:
        """Whether it is alive (a stopped one is)."""
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def wait(self, timeout_s: float) -> int:
        """Wait until it has ended by itself; return its exit code."""
        return self._process.wait(timeout_s)

    def ended(self, timeout_s: float = 60.0) -> int:
        """Ask it to stop by SIGTERM where it runs; return its exit code."""
        if self.running:
            self._process.terminate()
        return self._process.wait(timeout_s)


@contextmanager
def poller_process(
    settings: Settings, folder: Path, name: str = "poller", verb: str = "run", **variables: str
) -> Iterator[PollerProcess]:
    """Start a poller; it is killed at the end if it still runs."""
    process = PollerProcess(settings, folder, name, verb, **variables)
    try:
        yield process
    finally:
        if process.running:
            process.send(signal.SIGCONT)
            process.kill()
