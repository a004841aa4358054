"""`bridge serve`, killed at every turn of its jobs and run twice on one job store: each query lands once, and is told.

`make test` runs a seeded sample, `make proof` all of it.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from tests.acceptance.conftest import server_environment as server_environment
from tests.acceptance.service import Service, service
from tests.conftest import StandIn
from tests.contract.job_store_fixture import PostgresServer
from tests.contract.job_store_fixture import postgres as postgres
from tests.integration.extraction_support import query, source_table
from tests.proof.conftest import SEED, scaled
from tests.proof.service_campaign import (
    AUDIT_KEY,
    Bench,
    Campaign,
    check_audit,
    check_store,
    check_takeovers,
    queue,
    sorted_rows,
)
from tests.proof.service_points import QUERIES, How, points

ONE_BY_ONE = {"JOB_WORKERS": "1", "JOB_PARALLEL": "1", "JOB_LEASE_S": "1.5", "AUDIT_KEY": AUDIT_KEY}
SLOW = (How.PUT_OFF,)
"""Not for the sample: such a job waits for most of a minute."""
AIRLINES = "SELECT carrier, name FROM dbo.airlines"


def _sample() -> list[str]:
    """The names of the moments that are run."""
    every = points("")
    return scaled(
        [str(point) for point in random.Random(SEED).sample([each for each in every if each.how not in SLOW], 2)],
        [str(point) for point in every],
    )


@pytest.fixture(scope="module")
def campaign(
    server_environment: dict[str, str],
    sqlserver_stand_in: StandIn,
    lakehouse_stand_in: StandIn,
    sqlserver_settings: Settings,
    lakehouse_settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Campaign]:
    """A service of the five queries on an SQLite file."""
    with service({**server_environment, **ONE_BY_ONE}, tmp_path_factory.mktemp("kills"), sqlserver_settings) as found:
        held = {}
        for name, sql in QUERIES.items():
            asked = query(name, sql)
            found.workspace.query(name, asked.sql)
            held[name] = sorted_rows(source_table(sqlserver_settings, asked))
        lakehouse = DatabricksLakehouse(lakehouse_settings)
        made = Campaign(found, Bench(sqlserver_stand_in, lakehouse_stand_in, lakehouse, held))
        yield made
        made.bench.clear()


@pytest.mark.parametrize("name", _sample())
def test_a_service_that_is_killed_finishes_its_job_when_it_is_back(campaign: Campaign, name: str) -> None:
    """Each query lands once, with SQL Server's rows; what had landed is not asked for again; the API tells it so."""
    (point,) = (each for each in points(campaign.country) if each.name == name)
    campaign.kill_at(point)


@contextmanager
def replicas(first: Service) -> Iterator[tuple[Service, Service]]:
    """Two processes of one service: its job store, its folders."""
    second = dataclasses.replace(first, process=None, url="", clients={})
    try:
        for each in (first, second):
            each.start()
            each.client()  # made before threads ask for it
        yield first, second
    finally:
        second.close()
        first.close()


def runner_of(service: Service, job_id: str) -> str:
    """Who runs the job, or ran it last."""
    engine = sa.create_engine(service.environment["JOB_STORE_URL"].replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        asked = sa.text("SELECT runner FROM bridge_jobs WHERE job_id = :job_id")
        name = connection.execute(asked, {"job_id": job_id}).scalar_one()
    engine.dispose()
    return str(name)


def post_to_both(both: Sequence[Service], names: Mapping[int, Sequence[str]]) -> dict[int, str]:
    """Ask both replicas for each job at once, under one Idempotency-Key; the jobs' ids, which both agree on."""

    def post(to: Service, number: int) -> str:
        return str(queue(to, f"key-{number}", queries=list(names[number]))["job_id"])

    with ThreadPoolExecutor(4) as pool:
        asked = {number: [pool.submit(post, to, number) for to in both] for number in names}
        answers = {number: {each.result() for each in pair} for number, pair in asked.items()}
    assert [len(ids) for ids in answers.values()] == [1] * len(names)
    jobs = {number: ids.pop() for number, ids in answers.items()}
    assert len(set(jobs.values())) == len(names)
    return jobs


def check_sent(job: Mapping[str, Any], times: Sequence[int]) -> None:
    """Each query was sent once; twice at most where its runner was killed before it had landed."""
    landed_by = [int(query["path"].rpartition("-")[2]) for query in job["queries"]]
    assert job["attempt"] in (1, 2)
    for attempt, count in zip(landed_by, times, strict=True):
        assert count == 1 or (job["attempt"], attempt, count) == (2, 2, 2), (job, times)


@pytest.mark.parametrize("database", scaled(["postgresql"], ["sqlite", "postgresql"]))
def test_two_replicas_run_no_job_twice_and_one_finishes_what_the_other_dies_of(
    server_environment: dict[str, str],
    sqlserver_faults: StandIn,
    lakehouse_faults: StandIn,
    sqlserver_settings: Settings,
    lakehouse_settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
    database: str,
) -> None:
    """Every POST goes to both at once: one job each. One replica is killed amid them; the other ends every job."""
    count = scaled(4, 20)
    names = {number: (f"q{number:02}a", f"q{number:02}b") for number in range(count)}
    # Two processes that wait for one SQLite file on a busy machine lose shorter leases now and then.
    lease_s = "6" if database == "sqlite" else "2"
    environment = {**server_environment, **ONE_BY_ONE, "JOB_WORKERS": "2", "JOB_LEASE_S": lease_s}
    with service(environment, tmp_path_factory.mktemp("replicas"), sqlserver_settings) as made:
        if database == "postgresql":
            server: PostgresServer = request.getfixturevalue("postgres")
            made.environment = {**made.environment, "JOB_STORE_URL": server.url(server.database(migrated=False))}
        held = {}
        rows = source_table(sqlserver_settings, query("airlines", AIRLINES))
        for name in [name for pair in names.values() for name in pair]:
            made.workspace.query(name, query(name, AIRLINES).sql)
            held[name] = sorted_rows(rows)
        bench = Bench(sqlserver_faults, lakehouse_faults, DatabricksLakehouse(lakehouse_settings), held)
        bench.mark()
        middle = names[count // 2][1]
        where = {"match": {"kind": "batch", "statement_contains": f"/* {middle} */"}}
        rule = bench.sql.fault(**where, action={"delay_s": 30.0})
        bench.sql.fault(**where, action={"drop": "before"})
        with replicas(made) as both:
            jobs = post_to_both(both, names)
            bench.sql.wait_for(rule)
            owner = runner_of(made, jobs[count // 2])
            (victim,) = (each for each in both if each.process and f"-{each.process.pid}-" in owner)
            (survivor,) = (each for each in both if each is not victim)
            victim.kill()
            bench.clear()
            ended = {number: survivor.ended(job_id) for number, job_id in jobs.items()}
            sent = bench.times_sent()
            for number, job in ended.items():
                assert job["status"] == "completed", job
                bench.check_landed(made.workspace.country, job)
                check_sent(job, [sent[name] for name in names[number]])
            again = {job["job_id"]: 1 for job in ended.values() if job["attempt"] == 2}
            assert jobs[count // 2] in again
            assert len(again) <= 2  # the dead one had two workers
            check_takeovers(made, again)
            check_store(made)
            check_audit(made)
