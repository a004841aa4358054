"""The durable runner on the stand-ins and a real job store: whatever dies, each query lands once, by one runner."""

from __future__ import annotations

import signal
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.manifest import MANIFEST_NAME
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from sql_databricks_bridge.db.job_store import SqlAlchemyJobStore
from sql_databricks_bridge.errors import NotPermitted, SourceUnavailable
from sql_databricks_bridge.models.job_records import Claim, Job
from sql_databricks_bridge.models.jobs import ExtractionPlan, QueryOutcome, QueryStatus, RunStatus
from sql_databricks_bridge.models.names import Destination
from tests.conftest import StandIn
from tests.contract.job_store_fixture import PostgresServer
from tests.contract.job_store_fixture import postgres as postgres
from tests.integration.extraction_support import landed_table, query
from tests.integration.job_runner_support import (
    AIRLINES,
    PLANES,
    WAIT_S,
    Bench,
    paths,
    said,
    statuses,
    until,
)


@pytest.fixture
def settings(sqlserver_settings: Settings, lakehouse_settings: Settings) -> Settings:
    """Both ends' settings in one."""
    lake = {name: getattr(lakehouse_settings, name) for name in Settings.model_fields if name.startswith("databricks_")}
    return sqlserver_settings.model_copy(update=lake)


@pytest.fixture
def bench(
    settings: Settings,
    sqlserver_faults: StandIn,
    lakehouse_faults: StandIn,
    destination: Destination,
    country: str,
    tmp_path: Path,
) -> Iterator[Bench]:
    """A bench whose store is an SQLite file."""
    url = f"sqlite:///{tmp_path / 'jobs.sqlite3'}"
    made = Bench(
        url,
        settings,
        DatabricksLakehouse(settings),
        sqlserver_faults,
        lakehouse_faults,
        destination,
        country,
        tmp_path / "spool",
    )
    made.store.upgrade()
    yield made
    made.store.close()


def held(bench: Bench, name: str) -> str:
    """Let SQL Server be silent when it is asked for that query; the rule that tells when it is."""
    return bench.sql.fault(match={"kind": "batch", "statement_contains": f"/* {name} */"}, action={"delay_s": 60})


def died(bench: Bench) -> Claim:
    """Take up the next job as a runner that dies at once."""
    claim = bench.store.claim("dead", 0.001)
    assert claim is not None
    return claim


def lands_once(bench: Bench, job: Job) -> None:
    """Every query of the job is published by one attempt, whole, and nothing of another is left."""
    for outcome in job.queries:
        assert outcome.path is not None, outcome
        manifest, _ = landed_table(bench.lakehouse, outcome.path)
        assert (manifest.rows, manifest.size_bytes, len(manifest.parts)) == (outcome.rows, outcome.bytes, outcome.parts)
        assert bench.folders(outcome.name) == [f"{manifest.attempt}*"]


def test_a_job_runs_to_its_end_and_watchers_cannot_break_it(bench: Bench) -> None:
    """It ends in the store with what landed; each log line of it carries its id, from whichever thread."""

    def broken(outcome: QueryOutcome) -> None:
        raise RuntimeError(outcome.name)

    job = bench.add(query("airlines", AIRLINES), query("wrong", "SELECT * FROM dbo.nowhere"))
    with (
        capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs,
        bench.running(on_query=broken) as here,
    ):
        assert here.next_end().job_id == job.job_id
        assert here.runner.health.running in ((), (job.job_id,))  # the hook is called before it is let go
        assert here.runner.health.store_seen_at is not None
    ended = bench.job(job)
    assert (ended.status, ended.attempt, ended.error) == (RunStatus.PARTIAL, 1, None)
    assert statuses(ended) == {"airlines": "completed", "wrong": "failed"}
    assert "nowhere" in (ended.queries[1].error or "")
    assert ended.queries[0].rows == 16
    told = {entry["event"]: entry for entry in logs}
    assert {"job.taken", "query.landed", "job.ended", "progress.callback_failed"} <= set(told)
    for event in ("job.taken", "query.landed", "job.ended"):
        assert (told[event]["job_id"], told[event]["request_id"]) == (job.job_id, job.request_id)


def test_a_waiting_runner_hears_of_a_new_job_at_once(bench: Bench) -> None:
    """Without its poll, which is a minute away."""
    with bench.running(poll_s=60.0) as here:
        until(lambda: here.runner.health.store_seen_at)
        bench.add(query("airlines", AIRLINES))
        here.runner.wake()
        assert here.next_end().status is RunStatus.COMPLETED


def test_a_killed_process_leaves_jobs_that_the_next_one_finishes(bench: Bench) -> None:
    """Killed with one job between two queries, one before its manifest and one behind it: each query lands once."""
    between = bench.add(query("first", AIRLINES), query("second", AIRLINES))
    before = bench.add(query("unwritten", AIRLINES))
    behind = bench.add(query("written", AIRLINES))
    put = {"method": "PUT"}
    rules = [
        bench.sql.fault(
            match={"kind": "batch", "statement_contains": "/* second */"}, action={"delay_s": 20}, id="between"
        ),
    ]
    looks = [
        bench.lake.fault(
            match={**put, "path_contains": f"unwritten/run={before.job_id}-1/{MANIFEST_NAME}"},
            action={"status": 503, "retry_after": 20},
            times=None,
        ),
        bench.lake.fault(
            match={**put, "path_contains": f"/written/run={behind.job_id}-1/{MANIFEST_NAME}"},
            action={"delay_after_s": 20},
        ),
    ]
    with bench.elsewhere(workers=3, lease_s=1.5) as process:
        bench.sql.wait_for(rules[0])
        for rule in looks:
            bench.lake.wait_for(rule)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    with bench.running(workers=3) as here:
        ended = {job.job_id: job for job in (here.next_end(), here.next_end(), here.next_end())}
    assert {job.status for job in ended.values()} == {RunStatus.COMPLETED}
    assert {bench.job(job).attempt for job in ended.values()} == {2}
    assert paths(ended[between.job_id]) == {"first": "1", "second": "2"}
    assert paths(ended[before.job_id]) == {"unwritten": "2"}
    assert paths(ended[behind.job_id]) == {"written": "1"}
    assert [bench.times_run(name) for name in ("first", "second", "unwritten", "written")] == [1, 2, 2, 1]
    assert bench.folders("unwritten") == ["1", "2*"]  # dead parts, for `bridge sweep`
    lands_once(bench, ended[between.job_id])
    lands_once(bench, ended[behind.job_id])


def test_two_runners_never_run_one_job_twice(bench: Bench) -> None:
    """Eight jobs, two runners of two workers each: every query is asked for once."""
    added = [bench.add(query(f"q{number}", AIRLINES)) for number in range(8)]
    with bench.running("one") as one, bench.running("two") as two:
        until(lambda: all(bench.job(job).ended for job in added))
    assert one.ended.qsize() + two.ended.qsize() == 8
    for number, job in enumerate(map(bench.job, added)):
        assert (job.status, job.attempt) == (RunStatus.COMPLETED, 1)
        assert bench.times_run(f"q{number}") == 1
        lands_once(bench, job)


def test_a_paused_process_neither_publishes_nor_writes_when_it_goes_on(bench: Bench) -> None:
    """Paused past its lease, before its manifest and with it on the way: what the next runner did stands untouched."""
    early, late = bench.add(query("early", AIRLINES)), bench.add(query("late", AIRLINES))
    rules = [
        bench.lake.fault(  # its last look for other attempts, behind which it would write
            match={"method": "GET", "path_contains": f"/early/run={early.job_id}-1"}, on=3, action={"delay_after_s": 4}
        ),
        bench.lake.fault(
            match={"method": "PUT", "path_contains": f"/late/run={late.job_id}-1/{MANIFEST_NAME}"},
            action={"delay_s": 6},
        ),
    ]
    with bench.elsewhere(lease_s=1.5) as process:
        for rule in rules:
            bench.lake.wait_for(rule)
        process.send_signal(signal.SIGSTOP)
        with bench.running() as here:
            ended = [here.next_end(), here.next_end()]
        assert [job.status for job in ended] == [RunStatus.COMPLETED] * 2
        written = [bench.job(early), bench.job(late)]
        process.send_signal(signal.SIGCONT)
        lost = {said(process, "job.lost")["job_id"], said(process, "job.lost")["job_id"]}
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert lost == {early.job_id, late.job_id}
    assert [bench.job(early), bench.job(late)] == written
    assert paths(written[0]) == {"early": "2"}
    assert paths(written[1]) in ({"late": "2"}, {"late": "1"})  # on a busy machine the one on the way comes first
    for job in written:
        assert job.attempt == 2
        lands_once(bench, job)
    tried = [entry["path"] for entry in bench.lake.requests() if entry["method"] == "PUT"]
    assert not [path for path in tried if f"early/run={early.job_id}-1/{MANIFEST_NAME}" in path]


def test_a_cancelled_job_stops_and_keeps_what_has_landed(bench: Bench) -> None:
    """A queued one never runs; a running one ends within a moment of the wake, its published query stays."""
    waiting = bench.add(query("never", AIRLINES))
    assert bench.store.cancel(waiting.job_id) is not None
    job = bench.add(query("airlines", AIRLINES), query("silent", PLANES))
    rule = held(bench, "silent")
    with bench.running(lease_s=30.0, beat_s=30.0) as here:
        bench.sql.wait_for(rule)
        bench.store.cancel(job.job_id)
        here.runner.wake()
        ended = here.next_end()
    assert ended.status is RunStatus.CANCELLED
    assert statuses(bench.job(job)) == {"airlines": "completed", "silent": "cancelled"}
    assert bench.folders("airlines") == ["1*"]
    assert bench.folders("silent") == []
    assert bench.job(waiting).status is RunStatus.CANCELLED
    assert bench.times_run("never") == 0


def test_a_runner_that_is_stopped_gives_its_job_back(bench: Bench) -> None:
    """At once and not as a failure; the next one goes on behind what was published."""
    job = bench.add(query("airlines", AIRLINES), query("silent", PLANES))
    rule = held(bench, "silent")
    with bench.running() as here:
        bench.sql.wait_for(rule)
        assert here.stop() < 4
    back = bench.job(job)
    assert (back.status, back.error, statuses(back)) == (
        RunStatus.QUEUED,
        None,
        {"airlines": "completed", "silent": "queued"},
    )
    assert bench.folders("silent") == []
    with bench.running() as there:
        ended = there.next_end()
    assert (ended.status, paths(ended)) == (RunStatus.COMPLETED, {"airlines": "1", "silent": "2"})
    assert bench.times_run("airlines") == 1
    lands_once(bench, ended)


@pytest.fixture
def remote(bench: Bench, postgres: PostgresServer) -> Iterator[Remote]:
    """The bench with its store on PostgreSQL, which can be away."""
    bench.store.close()
    database = postgres.database()
    bench.url = postgres.url(database)
    bench.store = SqlAlchemyJobStore(bench.url)
    yield Remote(bench, postgres, database)
    bench.store.close()


class Remote:
    """A job store that breaks every connection and takes no new ones while it is away."""

    def __init__(self, bench: Bench, server: PostgresServer, database: str) -> None:
        self.bench = bench
        self._server = server
        self._database = database
        self.left = threading.Event()

    def leave(self) -> None:
        """Be away."""
        self._server.run(f"ALTER DATABASE {self._database} ALLOW_CONNECTIONS false")
        self._server.run(
            f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{self._database}'"
        )
        self.left.set()

    def come_back(self) -> None:
        """Be there again."""
        self._server.run(f"ALTER DATABASE {self._database} ALLOW_CONNECTIONS true")


def test_a_short_outage_of_the_store_costs_nothing(remote: Remote) -> None:
    """Away when a job ends, back within its lease: the end is written, by the one log line for going and coming."""
    bench = remote.bench
    job = bench.add(query("airlines", AIRLINES))
    with (
        capture_logs() as logs,
        bench.running(beat_s=0.1, on_query=lambda _: remote.leave()) as here,
    ):
        assert remote.left.wait(WAIT_S)
        until(lambda: here.runner.health.store_problem)
        remote.come_back()
        ended = here.next_end()
    assert (ended.status, bench.job(job).status, bench.job(job).attempt) == (
        RunStatus.COMPLETED,
        RunStatus.COMPLETED,
        1,
    )
    told = [entry["event"] for entry in logs if entry["event"].startswith("job_store.")]
    assert 2 <= len(told) <= 4  # new connections are refused a moment before the old ones break
    assert told == ["job_store.away", "job_store.back"] * (len(told) // 2)


def test_a_long_outage_of_the_store_leaves_the_end_to_the_next_attempt(remote: Remote) -> None:
    """Away past the lease: the runner stops by its own clock; afterwards what landed is found, not run again."""
    bench = remote.bench
    rule = held(bench, "silent")
    landed = bench.add(query("airlines", AIRLINES))
    cut = bench.add(query("silent", PLANES))

    def leave(_: QueryOutcome) -> None:
        bench.sql.wait_for(rule)
        remote.leave()

    with capture_logs() as logs, bench.running(lease_s=2.0, on_query=once(leave)) as here:
        until(lambda: [entry["event"] for entry in logs].count("job.lost") == 2)
        assert bench.folders("silent") == []
        remote.come_back()
        ended = {job.job_id: job for job in (here.next_end(), here.next_end())}
    assert {job.status for job in ended.values()} == {RunStatus.COMPLETED}
    assert paths(ended[landed.job_id]) == {"airlines": "1"}
    assert paths(ended[cut.job_id]) == {"silent": "2"}
    assert [bench.times_run(name) for name in ("airlines", "silent")] == [1, 2]
    for job in ended.values():
        lands_once(bench, job)


def once(action: Any) -> Any:
    """Do it for the first call only."""
    left = [action]
    return lambda outcome: left.pop()(outcome) if left else None


def refusing(job: Job, asked: ExtractionPlan) -> None:
    raise NotPermitted(f"{job.user_name} may not read dbo.airlines on {asked.database} any more.")


def test_a_user_who_lost_the_right_gets_no_more(bench: Bench) -> None:
    """The right is asked for again at each attempt; what had landed by then is told, the rest never runs."""
    job = bench.add(query("airlines", AIRLINES), query("silent", PLANES))
    rule = held(bench, "silent")
    with bench.running() as here:
        bench.sql.wait_for(rule)
        here.stop()
    with bench.running(authorize=refusing) as there:
        assert there.next_end().status is RunStatus.FAILED
    ended = bench.job(job)
    assert ended.error is not None
    assert "ann may not read dbo.airlines" in ended.error
    assert statuses(ended) == {"airlines": "completed", "silent": "cancelled"}
    assert bench.times_run("silent") == 1


def test_a_right_that_nobody_can_tell_keeps_the_job(bench: Bench) -> None:
    """While the server that knows is away for a moment the job waits; then it runs, in the same attempt."""
    answers = iter([SourceUnavailable("SQL Server is away.")] * 3)

    def unsure(*_: object) -> None:
        for answer in answers:
            raise answer

    bench.add(query("airlines", AIRLINES))
    with bench.running(authorize=unsure, patience_s=0.0) as here:
        ended = here.next_end()
    assert next(answers, None) is None
    assert (ended.status, ended.attempt) == (RunStatus.COMPLETED, 1)


def test_jobs_of_a_server_that_is_away_do_not_keep_others_from_their_turn(bench: Bench) -> None:
    """More of them than workers, all older: they are put off, the newer one runs, and they when the server is back."""
    back = threading.Event()
    stuck = [bench.add(query(f"stuck{number}", AIRLINES)) for number in range(3)]
    other = bench.add(query("other", AIRLINES))

    def away(job: Job, asked: ExtractionPlan) -> None:
        assert job.job_id == asked.run_id
        if job.job_id != other.job_id and not back.is_set():
            raise SourceUnavailable("SQL Server is away.")

    with bench.running(authorize=away, workers=1, turn_s=0.1, put_off_s=0.2) as here:
        assert here.next_end().job_id == other.job_id
        assert {bench.job(job).status for job in stuck} <= {RunStatus.QUEUED, RunStatus.RUNNING}
        back.set()
        assert {here.next_end().job_id for _ in stuck} == {job.job_id for job in stuck}
    for job in map(bench.job, stuck):
        assert (job.status, job.takeovers, bench.times_run(job.queries[0].name)) == (RunStatus.COMPLETED, 0, 1)
        assert job.attempt > 1
        lands_once(bench, job)


def test_a_job_that_was_put_off_can_be_cancelled(bench: Bench) -> None:
    """While it waits for its time it is a queued one."""
    job = bench.add(query("stuck", AIRLINES))

    def away(*_: object) -> None:
        raise SourceUnavailable("SQL Server is away.")

    with bench.running(authorize=away, turn_s=0.0, put_off_s=3600.0):
        until(lambda: bench.job(job).attempt == 1 and bench.job(job).status is RunStatus.QUEUED)
        bench.store.cancel(job.job_id)
    assert (bench.job(job).status, bench.times_run("stuck")) == (RunStatus.CANCELLED, 0)


def test_a_job_that_never_ends_is_given_up(bench: Bench) -> None:
    """It may be what kills its runners: after so many attempts it fails, saying so."""
    job = bench.add(query("deadly", AIRLINES))
    for _ in range(2):
        died(bench)
    with bench.running(max_takeovers=2) as here:
        here.next_end()
    ended = bench.job(job)
    assert (ended.status, ended.attempt, ended.takeovers) == (RunStatus.FAILED, 3, 2)
    assert "taken over 2 times" in (ended.error or "")
    assert statuses(ended) == {"deadly": "cancelled"}
    assert bench.times_run("deadly") == 0


def test_a_job_survives_any_number_of_orderly_restarts(bench: Bench) -> None:
    """A runner that is stopped in order gives it back, which is no sign that the job kills its runners."""
    job = bench.add(query("silent", PLANES))
    for _ in range(3):
        rule = held(bench, "silent")
        with bench.running(max_takeovers=1) as here:
            bench.sql.wait_for(rule)
            here.stop()
    bench.sql.clear()
    with bench.running(max_takeovers=1) as there:
        there.next_end()
    ended = bench.job(job)
    assert (ended.status, ended.attempt, ended.takeovers) == (RunStatus.COMPLETED, 4, 0)
    lands_once(bench, ended)


@pytest.mark.parametrize(("times", "status"), [(2, RunStatus.COMPLETED), (None, RunStatus.FAILED)])
def test_databricks_away_at_the_beginning_is_waited_for(bench: Bench, times: int | None, status: RunStatus) -> None:
    """In the same attempt, and not for ever; SQL Server hears of it only afterwards."""
    rule = bench.lake.fault(
        match={"path_contains": "/unity-catalog/volumes/"}, times=times, action={"status": 500, "message": "away"}
    )
    job = bench.add(query("airlines", AIRLINES))
    with bench.running(patience_s=60.0 if times else 0.3) as here:
        here.next_end()
    ended = bench.job(job)
    assert (ended.status, ended.attempt) == (status, 1)
    assert bench.lake.hits(rule) >= 2
    assert ("away" in (ended.error or "")) is (status is RunStatus.FAILED)
    assert bench.times_run("airlines") == (status is RunStatus.COMPLETED)


def test_half_a_manifest_of_a_dead_process_does_not_count(bench: Bench) -> None:
    """The query runs again, and the new attempt is the one that stands."""
    bench.add(query("airlines", AIRLINES))
    claim = died(bench)
    folder = f"{bench.destination.root}/{bench.country}/airlines/run={claim.plan.run_id}-1"
    bench.lakehouse.make_directory(folder)
    bench.lakehouse.write_new(f"{folder}/{MANIFEST_NAME}", b'{"format_ver')
    with bench.running() as here:
        ended = here.next_end()
    assert (ended.status, paths(ended)) == (RunStatus.COMPLETED, {"airlines": "2"})
    assert ended.queries[0].path is not None
    landed_table(bench.lakehouse, ended.queries[0].path)


def test_a_manifest_whose_answer_is_lost_counts(bench: Bench, settings: Settings) -> None:
    """Another runner could have found it already: it is not taken away, and the query has landed."""
    impatient = DatabricksLakehouse(settings.model_copy(update={"databricks_retry_timeout_s": 1}))
    job = bench.add(query("airlines", AIRLINES))
    rule = bench.lake.fault(
        match={"method": "PUT", "path_contains": f"run={job.job_id}-1/{MANIFEST_NAME}"},
        times=None,
        action={"drop": "after"},
    )
    failed: list[QueryOutcome] = []
    with bench.running(lakehouse=impatient, on_query=failed.append) as here:
        ended = here.next_end()
    assert bench.lake.hits(rule) >= 1
    assert failed[0].status is QueryStatus.FAILED
    assert (ended.status, paths(ended)) == (RunStatus.COMPLETED, {"airlines": "1"})
    lands_once(bench, ended)


def test_nothing_is_written_under_a_lease_that_was_taken_over(bench: Bench) -> None:
    """A runner that hears of it from the store stops at once, removes its parts and leaves the row alone."""
    job = bench.add(query("silent", PLANES))
    rule = held(bench, "silent")
    with bench.running(lease_s=30.0, beat_s=30.0) as here, capture_logs() as logs:
        bench.sql.wait_for(rule)
        _expire(bench, job)
        other = bench.store.claim("other", 60.0)
        assert other is not None
        before = bench.job(job)
        here.runner.wake()
        until(lambda: "job.lost" in [entry["event"] for entry in logs])
        assert bench.job(job) == before
        assert here.ended.empty()
    assert (before.attempt, bench.folders("silent")) == (2, [])


def _expire(bench: Bench, job: Job) -> None:
    """Let the store's clock run past the job's lease."""
    with sqlite3.connect(bench.url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE bridge_jobs SET lease_until = 0 WHERE job_id = ?", (job.job_id,))
    connection.close()
