"""What the tests of the job runner share: a bench of both ends and a real job store, and runners here or elsewhere.

Run as a program it is a runner in a process of its own, which tests can pause and kill. It ends in order by SIGTERM.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sql_databricks_bridge.core.config import Settings, load_settings
from sql_databricks_bridge.core.job_runner import JobHooks, JobRunner, RunnerOptions
from sql_databricks_bridge.core.ports import Lakehouse, SqlServer
from sql_databricks_bridge.core.query_task import RunOptions
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from sql_databricks_bridge.db.job_store import SqlAlchemyJobStore
from sql_databricks_bridge.db.sql_server import MssqlServer
from sql_databricks_bridge.models.job_records import Job, NewJob
from sql_databricks_bridge.models.jobs import ExtractionPlan, QueryOutcome, ResolvedQuery
from sql_databricks_bridge.models.names import Destination
from tests.conftest import StandIn
from tests.integration.extraction_support import SMALL, files_below, plan

WAIT_S = 30.0
AIRLINES = "SELECT carrier, name FROM dbo.airlines"
PLANES = "SELECT * FROM dbo.planes"


def allowed(job: Job, asked: ExtractionPlan) -> None:
    """Everybody may have everything."""
    assert job.job_id == asked.run_id


@dataclass
class Runner:
    """A runner in a thread of this process; `ended` gives the jobs that it brought to an end."""

    runner: JobRunner
    thread: threading.Thread
    ended: queue.Queue[Job]

    def next_end(self) -> Job:
        """Wait for a job to end here."""
        return self.ended.get(timeout=WAIT_S)

    def stop(self) -> float:
        """Stop it and wait; the seconds that it took."""
        began = time.monotonic()
        self.runner.stop.set()
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive(), "the runner does not end"
        return time.monotonic() - began


@dataclass
class Bench:
    """Both ends, a job store, and a country of the test's own."""

    url: str
    settings: Settings
    lakehouse: Lakehouse
    sql: StandIn
    lake: StandIn
    destination: Destination
    country: str
    spool: Path
    store: SqlAlchemyJobStore = field(init=False)
    source: SqlServer = field(init=False)

    def __post_init__(self) -> None:
        self.store = SqlAlchemyJobStore(self.url)
        self.source = MssqlServer(self.settings)
        self._logged = max((entry["sequence"] for entry in self.sql.requests()), default=0)

    def add(self, *queries: ResolvedQuery, user: str = "ann") -> Job:
        """Queue a job."""
        asked = plan(self.destination, self.country, self.settings, *queries)
        return self.store.add(NewJob(user, asked, ("db.dbo.t",), f"request-{asked.run_id}"), queue_limit=100)

    def job(self, job: Job) -> Job:
        """The job as it stands."""
        found = self.store.get(job.job_id)
        assert found is not None
        return found

    @contextmanager
    def running(
        self,
        name: str = "here",
        *,
        authorize: Callable[[Job, ExtractionPlan], None] = allowed,
        on_query: Callable[[QueryOutcome], None] = lambda outcome: None,  # noqa: ARG005
        lakehouse: Lakehouse | None = None,
        **changes: Any,
    ) -> Iterator[Runner]:
        """A runner of this process, with a store object of its own."""
        store = SqlAlchemyJobStore(self.url)
        ended: queue.Queue[Job] = queue.Queue()
        runner = JobRunner(
            store,
            self.source,
            lakehouse or self.lakehouse,
            runner_options(self.spool, **changes),
            runner_name=name,
            authorize=authorize,
            hooks=JobHooks(query_ended=lambda _, outcome: on_query(outcome), job_ended=ended.put),
        )
        thread = threading.Thread(target=runner.run, name=f"runner {name}")
        thread.start()
        made = Runner(runner, thread, ended)
        try:
            yield made
        finally:
            made.stop()
            store.close()

    @contextmanager
    def elsewhere(self, name: str = "elsewhere", **changes: Any) -> Iterator[subprocess.Popen[str]]:
        """A runner in a process of its own; its standard error is its log, JSON lines."""
        environment = {**os.environ, **_environment(self.settings), "JOB_STORE_URL": self.url}
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, name, str(self.spool), json.dumps(changes)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait(WAIT_S)
            assert process.stderr is not None
            process.stderr.close()

    def folders(self, name: str) -> list[str]:
        """The attempts of a query that have files, and those of them that have a manifest marked by '*'."""
        found: dict[str, str] = {}
        for path in files_below(self.lakehouse, f"{self.destination.root}/{self.country}/{name}"):
            attempt = path.split("/")[-2].rpartition("-")[2]
            found[attempt] = "*" if path.endswith("_manifest.json") or found.get(attempt) else ""
        return sorted(attempt + mark for attempt, mark in found.items())

    def times_run(self, name: str) -> int:
        """How often SQL Server was sent the query since the bench was made."""
        mark = f"/* {name} */"
        return sum(
            entry["kind"] == "batch" and mark in (entry["statement"] or "") for entry in self.sql.requests(self._logged)
        )


def runner_options(spool: Path, **changes: Any) -> RunnerOptions:
    """Short pauses, small parts; a lease that a busy machine does not lose."""
    values: dict[str, Any] = {
        "lease_s": 20.0,
        "poll_s": 0.1,
        "backoff_cap_s": 0.2,
        "run": RunOptions(spool_dir=spool, sizes=SMALL, stop_grace_s=10.0, progress_interval_s=0.01),
    }
    return RunnerOptions(**(values | changes))


def paths(job: Job) -> dict[str, str | None]:
    """Where each query landed: the attempt, by the end of its folder's name."""
    return {each.name: each.path.rpartition("-")[2] if each.path else None for each in job.queries}


def statuses(job: Job) -> dict[str, str]:
    """Each query's status."""
    return {each.name: each.status.value for each in job.queries}


def until(condition: Callable[[], object]) -> None:
    """Ask again and again, for what nobody tells."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def said(process: subprocess.Popen[str], event: str) -> dict[str, Any]:
    """Read a process's log as far as that event."""
    assert process.stderr is not None
    heard = []
    for line in process.stderr:
        heard.append(line)
        if line.startswith("{") and json.loads(line)["event"] == event:
            found: dict[str, Any] = json.loads(line)
            return found
    raise AssertionError(f"it ended without saying {event}:\n{''.join(heard)[-4000:]}")


def _environment(settings: Settings) -> dict[str, str]:
    values = {
        name: getattr(settings, name)
        for name in type(settings).model_fields
        if name.startswith(("sqlserver_", "databricks_"))
    }
    return {
        name.upper(): value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
        for name, value in values.items()
        if value is not None
    }


def _main(name: str, spool: str, changes: str) -> None:
    from sql_databricks_bridge.observability.logging import configure

    configure("INFO")
    settings = load_settings()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    runner = JobRunner(
        SqlAlchemyJobStore(settings.job_store_url),
        MssqlServer(settings),
        DatabricksLakehouse(settings),
        runner_options(Path(spool), **json.loads(changes)),
        runner_name=name,
        authorize=allowed,
        stop=stop,
    )
    runner.run()


if __name__ == "__main__":
    _main(*sys.argv[1:])
