"""One service that is killed and started again, and what must be true of its jobs, its store and its audit then."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from sql_databricks_bridge.auth import audit_chain
from sql_databricks_bridge.auth.anchoring import anchored_head
from sql_databricks_bridge.core.ports import Lakehouse
from sql_databricks_bridge.db.job_store import SqlAlchemyJobStore
from sql_databricks_bridge.models.jobs import RunStatus
from tests.acceptance.service import Service
from tests.conftest import StandIn
from tests.integration.extraction_support import files_below, landed_table
from tests.integration.job_runner_support import until
from tests.proof.service_points import NAMES, Held, How, ServicePoint

AUDIT_KEY = "key-of-the-audit-chain"


def queue(service: Service, key: str | None = None, **body: Any) -> dict[str, Any]:
    """Ask for an extraction; the job as the answer has it."""
    headers = {} if key is None else {"Idempotency-Key": key}
    document = {"country": service.workspace.country, **body}
    answer = service.client().post("/extract", json=document, headers=headers)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


@dataclass(slots=True)
class Bench:
    """Both ends, what SQL Server holds for each query, and the request log of what came since `mark`."""

    sql: StandIn
    lake: StandIn
    lakehouse: Lakehouse
    held: Mapping[str, pa.Table]
    _sql_seen: int = 0
    _lake_seen: int = 0

    def mark(self) -> None:
        """Begin anew: no faults, and requests count from here."""
        self.clear()
        self._sql_seen = max((entry["sequence"] for entry in self.sql.requests()), default=0)
        self._lake_seen = max((entry["sequence"] for entry in self.lake.requests()), default=0)

    def clear(self) -> None:
        """Remove every fault."""
        self.sql.clear()
        self.lake.clear()

    def wait_for(self, held: Held, rule: str) -> None:
        """Wait until the request is held, and see in the log that it is the one, and open."""
        end, seen = (self.sql, self._sql_seen) if held.end == "sql" else (self.lake, self._lake_seen)
        end.wait_for(rule, wait_s=50)
        assert held.is_open(end, seen), f"no open request has {held.tells}"

    def times_sent(self) -> Counter[str]:
        """How often SQL Server was sent each query."""
        batches = [entry["statement"] or "" for entry in self.sql.requests(self._sql_seen) if entry["kind"] == "batch"]
        return Counter(name for name in self.held for text in batches if f"/* {name} */" in text)

    def check_landed(self, country: str, job: Mapping[str, Any], manifests: int = 1) -> None:
        """Every query of a completed job is published by so many attempts at most, and whole by the one that it tells.

        Each part's size and checksum is its manifest's, the rows are those of SQL Server.
        """
        root = "/Volumes/" + "/".join(job["destination"].split("."))
        for query in job["queries"]:
            assert (query["status"], query["error"]) == ("completed", None), query
            files = files_below(self.lakehouse, f"{root}/{country}/{query['name']}")
            mine = [file for file in files if f"/run={job['job_id']}-" in file and file.endswith("_manifest.json")]
            assert f"{query['path']}/_manifest.json" in mine
            assert len(mine) <= manifests, mine
            manifest, table = landed_table(self.lakehouse, query["path"])
            assert (manifest.rows, len(manifest.parts)) == (query["rows"], query["parts"])
            assert sorted_rows(table).equals(self.held[query["name"]]), (
                f"{query['name']} has other rows than SQL Server"
            )


@dataclass(slots=True)
class Campaign:
    """The service, which runs one job at a time and one query at a time."""

    service: Service
    bench: Bench
    _waiting: list[str] = field(default_factory=list)
    _late: list[str] = field(default_factory=list)

    @property
    def country(self) -> str:
        """Whose queries these are."""
        return self.service.workspace.country

    def kill_at(self, point: ServicePoint) -> None:
        """Kill the service at that moment of a new job, start it again, and see the job come to its end."""
        self.bench.mark()
        self._waiting, self._late = [], []
        if self.service.process is None or self.service.process.poll() is not None:
            self.service.start()
        job_id = self._reach(point)
        if not self._late:  # else the dead process's request is still to be executed
            self.bench.clear()
        self.service.start()
        job = self.service.ended(job_id)
        others = [self.service.ended(other) for other in self._waiting]
        for rule in self._late:
            self.bench.lake.wait_for(rule)
        self.bench.clear()
        self._check(point, job, others)

    # To the moment -----------------------------------------------------------------------------------------------

    def _reach(self, point: ServicePoint) -> str:
        """Queue a job, kill the service at the moment; return the job's id."""
        ways: Mapping[How, Callable[[ServicePoint], str]] = {
            How.ANSWERED: self._answered,
            How.HELD: self._held,
            How.ROWS: self._rows,
            How.UNWRITTEN: self._unwritten,
            How.BEHIND: self._behind,
            How.PUT_OFF: self._put_off,
        }
        return ways[point.how](point)

    def _answered(self, _: ServicePoint) -> str:
        job_id = str(queue(self.service)["job_id"])
        self.service.kill()
        return job_id

    def _held(self, point: ServicePoint) -> str:
        job_id = self._wait(point)
        self.service.kill()
        return job_id

    def _rows(self, _: ServicePoint) -> str:
        rows = self.bench.held[NAMES[0]].num_rows
        rule = self.bench.sql.fault(
            match={"kind": "batch", "statement_contains": f"/* {NAMES[0]} */"},
            action={"slow_rows": {"every": rows // 2, "seconds": 30}},
        )
        job_id = str(queue(self.service)["job_id"])
        self.bench.sql.wait_for(rule)
        told = next(state["queries"][0] for state in self.service.follow(job_id) if state["queries"][0]["rows"])
        self.service.kill()
        assert (told["status"], told["rows"] < rows) == ("running", True)
        return job_id

    def _unwritten(self, point: ServicePoint) -> str:
        assert point.held is not None
        told = len(self.service.log)
        rule = self.bench.lake.fault(match=dict(point.held.match), on=point.held.on, action={"delay_after_s": 1.0})
        job_id = str(queue(self.service)["job_id"])
        self.bench.lake.wait_for(rule, wait_s=50)
        with closing(sqlite3.connect(self.service.directory / "jobs.sqlite3", isolation_level=None)) as store:
            store.execute("PRAGMA busy_timeout = 10000")
            store.execute("BEGIN IMMEDIATE")
            until(lambda: self._logged("query.landed", told) == len(NAMES))
            self.service.kill()
            store.execute("ROLLBACK")
        return job_id

    def _behind(self, point: ServicePoint) -> str:
        job_id = self._wait(point)
        self._waiting.append(str(queue(self.service)["job_id"]))
        waits = self.service.client().get(f"/jobs/{self._waiting[0]}").json()
        assert (waits["status"], waits["attempt"]) == ("queued", 0)
        self.service.kill()
        return job_id

    def _put_off(self, point: ServicePoint) -> str:
        assert point.held is not None
        told = len(self.service.log)
        self.bench.sql.fault(match=dict(point.held.match), on=point.held.on, times=None, action={"drop": "before"})
        job_id = str(queue(self.service)["job_id"])
        until(lambda: self._logged("job.released", told))
        waits = self.service.client().get(f"/jobs/{job_id}").json()
        assert (waits["status"], waits["attempt"]) == ("queued", 1)
        self.service.kill()
        return job_id

    def _wait(self, point: ServicePoint) -> str:
        assert point.held is not None
        end = self.bench.sql if point.held.end == "sql" else self.bench.lake
        rule = point.held.arm(end)
        if point.held.side == "late":
            self._late.append(end.fault(match=dict(point.held.match), on=point.held.on, action={"delay_after_s": 0}))
        job_id = str(queue(self.service)["job_id"])
        self.bench.wait_for(point.held, rule)
        return job_id

    def _logged(self, event: str, after: int) -> int:
        return self.service.log[after:].count(event)

    # What is true afterwards -------------------------------------------------------------------------------------

    def _check(self, point: ServicePoint, job: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> None:
        for ended in (job, *others):
            assert (ended["status"], ended["error"]) == ("completed", None), ended
            assert self.service.client().get(f"/jobs/{ended['job_id']}").json() == ended
            assert [query["name"] for query in ended["queries"]] == list(NAMES)
            self.bench.check_landed(self.country, ended, manifests=2 if point.landed is None else 1)
            assert ended["progress"] == {
                "queries": len(NAMES),
                "ended": len(NAMES),
                "rows": sum(self.bench.held[name].num_rows for name in NAMES),
                "bytes": sum(query["bytes"] for query in ended["queries"]),
            }
        assert [other["attempt"] for other in others] == [1] * len(others)
        if point.how is not How.ANSWERED:
            assert job["attempt"] == 2
        by = [int(query["path"].rpartition("-")[2]) for query in job["queries"]]
        if point.landed is not None and point.sent is not None:
            assert by == [1 if number < point.landed else 2 for number in range(len(NAMES))]
            sent = self.bench.times_sent()
            for number, name in enumerate(NAMES):
                assert sent[name] == len(others) + (number < point.sent) + (number >= point.landed), name
        if point.how is not How.ANSWERED:
            check_takeovers(self.service, {str(job["job_id"]): int(point.how is not How.PUT_OFF)})
        check_store(self.service)
        check_audit(self.service)


def check_takeovers(service: Service, expected: Mapping[str, int]) -> None:
    """How often each of these jobs was taken over from a dead runner."""
    with closing(SqlAlchemyJobStore(service.environment["JOB_STORE_URL"])) as store:
        found = {job_id: store.get(job_id) for job_id in expected}
    assert {job_id: job and job.takeovers for job_id, job in found.items()} == expected


def check_store(service: Service) -> None:
    """Nothing waits or runs, and no lease is held."""
    url = service.environment["JOB_STORE_URL"]
    with closing(SqlAlchemyJobStore(url)) as store:
        assert store.counts() == {RunStatus.QUEUED: 0, RunStatus.RUNNING: 0}
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        held = connection.execute(sa.text("SELECT count(*) FROM bridge_jobs WHERE lease_until IS NOT NULL"))
        assert held.scalar_one() == 0
    engine.dispose()


def check_audit(service: Service) -> None:
    """Every file's chain is whole and ends where the store says; each intent to make a job has its outcome."""
    with closing(SqlAlchemyJobStore(service.environment["JOB_STORE_URL"])) as store:
        for file in sorted((service.directory / "audit").glob("*.jsonl")):
            found = audit_chain.verify(file, AUDIT_KEY, anchored_head(store.anchor_of, file.name))
            assert found.whole, found
    told = Counter(line["outcome"] for line in service.audit("job_create"))
    assert told["intent"] == told["done"] > 0


def sorted_rows(table: pa.Table) -> pa.Table:
    """The rows in an order of their own."""
    return table.sort_by([(name, "ascending") for name in table.column_names])
