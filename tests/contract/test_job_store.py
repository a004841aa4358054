"""The job store does what its port says, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from sql_databricks_bridge.core.ports import JobStore
from sql_databricks_bridge.db.job_store import SqlAlchemyJobStore
from sql_databricks_bridge.errors import JobError, KeyReused, LeaseLost, QueueFull
from sql_databricks_bridge.models.job_records import Anchor, Claim, JobFilter, Lease, Reservation
from sql_databricks_bridge.models.jobs import QueryOutcome, QueryStatus, RunStatus
from tests.contract.job_store_fixture import add, empty_url, new_job, store, url

__all__ = ["empty_url", "store", "url"]

LONG_S = 3600.0
DONE = QueryOutcome("q", QueryStatus.COMPLETED, 5, 2**40, 2, 0.1, "/Volumes/c/s/v/co/q/run=1", None, ("late",))


def taken(store: SqlAlchemyJobStore, runner: str = "r1", lease_s: float = LONG_S) -> Claim:
    claim = store.claim(runner, lease_s)
    assert claim is not None
    return claim


def taken_over(store: SqlAlchemyJobStore) -> tuple[Lease, Lease]:
    """A lease that ran out, and that of the runner which has the job now."""
    add(store, "j1")
    return taken(store, "r1", lease_s=0).lease, taken(store, "r2").lease


def test_it_is_the_port(store: SqlAlchemyJobStore) -> None:
    as_port: JobStore = store  # mypy holds it to the Protocol
    as_port.ping()


def test_a_new_job_is_kept_whole(store: SqlAlchemyJobStore) -> None:
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=5)
    added = store.add(new_job(queries=("b", "a")), queue_limit=1)
    assert store.get("j1") == added
    assert (added.job_id, added.user_name, added.country, str(added.destination)) == ("j1", "ann", "co", "c.s.v")
    assert [(query.name, query.status) for query in added.queries] == [("b", "queued"), ("a", "queued")]
    assert (added.status, added.attempt, added.tables) == (RunStatus.QUEUED, 0, ("srv.db.dbo.t",))
    assert (added.request_id, added.warnings, added.error) == ("request-j1", ("of the plan",), None)
    assert (added.started_at, added.finished_at, added.cancel_requested) == (None, None, False)
    assert before < added.created_at < before + dt.timedelta(seconds=60)
    assert added.created_at.tzinfo is dt.UTC


def test_a_job_without_queries_is_kept(store: SqlAlchemyJobStore) -> None:
    assert store.add(new_job(queries=()), queue_limit=1).queries == ()


def test_adding_a_job_twice_adds_it_once_even_where_the_queue_is_full(store: SqlAlchemyJobStore) -> None:
    first = store.add(new_job(), queue_limit=1)
    assert store.add(new_job(country="other"), queue_limit=1) == first
    assert store.counts()[RunStatus.QUEUED] == 1


def test_a_job_id_of_another_user_is_not_handed_out(store: SqlAlchemyJobStore) -> None:
    add(store, "j1")
    with pytest.raises(JobError, match="of another user"):
        store.add(new_job(user="Ann"), queue_limit=9)


def test_only_waiting_jobs_fill_the_queue(store: SqlAlchemyJobStore) -> None:
    add(store, "j1", "j2")
    with pytest.raises(QueueFull, match="2 jobs wait already"):
        store.add(new_job("j3"), queue_limit=2)
    taken(store)
    store.add(new_job("j3"), queue_limit=2)
    assert store.counts() == {RunStatus.QUEUED: 2, RunStatus.RUNNING: 1}


def test_what_is_not_there_is_none(store: SqlAlchemyJobStore) -> None:
    for job_id in ("", "J1", "j1 ", "j1\x00", "\ud800"):
        add(store, "j1")
        assert store.get(job_id) is None
        assert store.cancel(job_id) is None
    assert store.find(JobFilter(country="\x00"), 5) == []
    assert store.anchor_of("nowhere") is None


def test_jobs_are_listed_newest_first_in_pages_that_new_jobs_do_not_shift(store: SqlAlchemyJobStore) -> None:
    added = add(store, *(f"j{n}" for n in range(7)))
    pages, before = [], None
    for page in range(4):
        found = store.find(JobFilter(before=before), 3)
        pages.append([job.job_id for job in found])
        before = (found[-1].created_at, found[-1].job_id) if found else before
        add(store, f"new{page}")
    assert pages == [["j6", "j5", "j4"], ["j3", "j2", "j1"], ["j0"], []]
    assert store.get("j6") == added[6]


def test_jobs_of_one_moment_are_paged_by_their_ids(store: SqlAlchemyJobStore) -> None:
    (job,) = add(store, "m")
    for other, seen in (("l", False), ("z", True)):
        assert bool(store.find(JobFilter(before=(job.created_at, other)), 9)) is seen


def test_a_filter_takes_user_status_and_country_together_and_by_their_exact_spelling(
    store: SqlAlchemyJobStore,
) -> None:
    for number, (user, country) in enumerate([("ann", "co"), ("Ann", "co"), ("ann", "CO"), ("bob", "co")]):
        store.add(new_job(f"j{number}", user=user, country=country), queue_limit=9)
    taken(store)

    def found(**fields: object) -> list[str]:
        return [job.job_id for job in store.find(replace(JobFilter(), **fields), 9)]  # type: ignore[arg-type]

    assert found(user_name="ann") == ["j2", "j0"]
    assert found(country="co") == ["j3", "j1", "j0"]
    assert found(status=RunStatus.RUNNING) == ["j0"]
    assert found(user_name="ann", country="co", status=RunStatus.QUEUED) == []


def test_the_job_that_waits_longest_is_taken_first(store: SqlAlchemyJobStore) -> None:
    add(store, "b", "a", "c")
    assert [taken(store).job.job_id for _ in range(3)] == ["b", "a", "c"]
    assert store.claim("r1", LONG_S) is None


def test_a_claim_carries_job_plan_and_lease_of_one_attempt(store: SqlAlchemyJobStore) -> None:
    add(store, "j1")
    claim = taken(store)
    assert claim.lease == Lease("j1", "r1", 1)
    assert claim.plan == replace(new_job().plan, attempt=1)
    assert claim.job == store.get("j1")
    assert (claim.job.status, claim.job.attempt) == (RunStatus.RUNNING, 1)
    assert claim.job.started_at is not None


def test_a_lease_that_lasts_keeps_others_out_and_one_that_ran_out_does_not(store: SqlAlchemyJobStore) -> None:
    add(store, "j1")
    first = taken(store, "r1", lease_s=0)
    assert first.job.started_at is not None
    store.renew(first.lease, LONG_S, [])
    assert store.claim("r2", LONG_S) is None
    store.renew(first.lease, 0, [QueryOutcome("q", QueryStatus.RUNNING, 7, 1, 1)])
    second = taken(store, "r2")
    assert second.lease == Lease("j1", "r2", 2)
    assert second.plan.attempt == 2
    assert second.job.started_at == first.job.started_at
    assert second.job.queries == (QueryOutcome("q", QueryStatus.QUEUED),)


def test_progress_is_seen_and_what_is_not_named_stays(store: SqlAlchemyJobStore) -> None:
    store.add(new_job(queries=("q", "r")), queue_limit=1)
    lease = taken(store).lease
    running = QueryOutcome("r", QueryStatus.RUNNING, 3)
    assert store.renew(lease, LONG_S, [DONE]) is False
    assert store.renew(lease, LONG_S, [running]) is False
    job = store.get("j1")
    assert job is not None
    assert job.queries == (DONE, running)


def test_progress_of_an_unknown_query_changes_nothing(store: SqlAlchemyJobStore) -> None:
    add(store, "j1")
    lease = taken(store).lease
    with pytest.raises(ValueError, match="no query stranger"):
        store.finish(lease, RunStatus.COMPLETED, [DONE, replace(DONE, name="stranger")])
    job = store.get("j1")
    assert job is not None
    assert (job.status, job.queries[0].status) == (RunStatus.RUNNING, QueryStatus.QUEUED)


def test_who_lost_the_lease_can_write_nothing(store: SqlAlchemyJobStore) -> None:
    old, new = taken_over(store)
    before = store.get("j1")
    for lease in (old, replace(new, runner="r1"), replace(new, attempt=1), replace(new, job_id="gone")):
        with pytest.raises(LeaseLost):
            store.renew(lease, LONG_S, [DONE])
        with pytest.raises(LeaseLost):
            store.release(lease, [DONE])
        with pytest.raises(LeaseLost):
            store.finish(lease, RunStatus.FAILED, [DONE], error="late")
    assert store.get("j1") == before


def test_a_lease_that_ran_out_still_counts_while_nobody_took_the_job(store: SqlAlchemyJobStore) -> None:
    add(store, "j1")
    lease = taken(store, lease_s=0).lease
    store.finish(lease, RunStatus.COMPLETED, [DONE])
    assert store.claim("r2", LONG_S) is None


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.PARTIAL, RunStatus.FAILED, RunStatus.CANCELLED])
def test_an_ended_job_keeps_its_end(store: SqlAlchemyJobStore, status: RunStatus) -> None:
    store.add(new_job(queries=("q", "r")), queue_limit=1)
    lease = taken(store).lease
    store.finish(lease, status, [DONE], error="why", warnings=["of the run", "of the plan"])
    ended = store.get("j1")
    assert ended is not None
    assert (ended.status, ended.error, ended.ended) == (status, "why", True)
    assert ended.warnings == ("of the plan", "of the run")
    assert ended.queries == (DONE, QueryOutcome("r", QueryStatus.CANCELLED))
    assert ended.finished_at is not None
    store.finish(lease, status, [], error="again")  # a finish whose answer was lost is sent again
    other = next(end for end in (RunStatus.FAILED, RunStatus.COMPLETED) if end is not status)
    with pytest.raises(LeaseLost):
        store.finish(lease, other, [])
    with pytest.raises(LeaseLost):
        store.release(lease, [])
    assert store.cancel("j1") == ended
    assert store.claim("r2", LONG_S) is None


def test_a_job_does_not_end_as_running(store: SqlAlchemyJobStore) -> None:
    add(store, "j1")
    with pytest.raises(ValueError, match="running is no end"):
        store.finish(taken(store).lease, RunStatus.RUNNING, [])


def test_an_error_of_any_characters_can_be_kept(store: SqlAlchemyJobStore) -> None:
    add(store, "j1")
    hostile = "nul \x00, half \ud83d, whole 😀, 'quoted', %s :name"
    store.finish(
        taken(store).lease,
        RunStatus.FAILED,
        [QueryOutcome("q", QueryStatus.FAILED, error=hostile, warnings=(hostile,))],
        error=hostile,
        warnings=[hostile],
    )
    job = store.get("j1")
    assert job is not None
    assert job.error == job.queries[0].error == "nul \\x00, half \\ud83d, whole 😀, 'quoted', %s :name"
    assert job.warnings[1] == job.queries[0].warnings[0] == hostile


def test_a_released_job_waits_again_at_its_old_place(store: SqlAlchemyJobStore) -> None:
    add(store, "j1", "j2")
    lease = taken(store).lease
    store.release(lease, [QueryOutcome("q", QueryStatus.RUNNING, 9)])
    store.release(lease, [])  # one whose answer was lost is sent again
    job = store.get("j1")
    assert job is not None
    assert (job.status, job.queries) == (RunStatus.QUEUED, (QueryOutcome("q", QueryStatus.QUEUED),))
    with pytest.raises(LeaseLost):
        store.renew(lease, LONG_S, [])
    assert taken(store, "r2").lease == Lease("j1", "r2", 2)
    with pytest.raises(LeaseLost):
        store.release(lease, [])


def test_a_job_that_is_put_off_lets_others_go_first_and_is_not_taken_before_its_time(
    store: SqlAlchemyJobStore,
) -> None:
    add(store, "j1", "j2", "j3")
    store.release(taken(store).lease, [], put_off_s=0)
    store.release(taken(store).lease, [], put_off_s=3600)
    assert [taken(store).job.job_id for _ in range(2)] == ["j3", "j1"]
    assert store.claim("r1", LONG_S) is None
    waits = store.get("j2")
    assert waits is not None
    assert (waits.status, waits.attempt, waits.takeovers) == (RunStatus.QUEUED, 1, 0)
    assert store.counts() == {RunStatus.QUEUED: 1, RunStatus.RUNNING: 2}


def test_only_a_lease_that_ran_out_counts_as_a_takeover(store: SqlAlchemyJobStore) -> None:
    add(store, "j1")
    store.release(taken(store).lease, [])
    store.release(taken(store).lease, [], put_off_s=0)
    seen = [taken(store, f"r{number}", lease_s=0).job for number in range(3)]
    assert [(job.attempt, job.takeovers) for job in seen] == [(3, 0), (4, 1), (5, 2)]


def test_what_a_released_job_has_completed_stays(store: SqlAlchemyJobStore) -> None:
    store.add(new_job(queries=("q", "r")), queue_limit=1)
    store.release(taken(store).lease, [DONE, QueryOutcome("r", QueryStatus.RUNNING, 9)])
    assert taken(store, "r2").job.queries == (DONE, QueryOutcome("r", QueryStatus.QUEUED))


def test_cancelling_a_waiting_job_ends_it(store: SqlAlchemyJobStore) -> None:
    add(store, "j1")
    job = store.cancel("j1")
    assert job is not None
    assert (job.status, job.cancel_requested, job.queries[0].status) == (RunStatus.CANCELLED, True, "cancelled")
    assert job.finished_at is not None
    assert store.claim("r1", LONG_S) is None
    assert store.cancel("j1") == job


def test_cancelling_a_running_job_reaches_its_runner(store: SqlAlchemyJobStore) -> None:
    add(store, "j1")
    lease = taken(store).lease
    job = store.cancel("j1")
    assert job is not None
    assert (job.status, job.cancel_requested) == (RunStatus.RUNNING, True)
    assert store.renew(lease, LONG_S, []) is True


@pytest.mark.parametrize("how", ["its runner died", "its runner gave it back"])
def test_a_job_to_be_cancelled_is_ended_and_not_run_again(store: SqlAlchemyJobStore, how: str) -> None:
    add(store, "j1", "j2")
    lease = taken(store, lease_s=0).lease
    store.cancel("j1")
    if how == "its runner gave it back":
        store.release(lease, [])
    assert taken(store, "r2").job.job_id == "j2"
    job = store.get("j1")
    assert job is not None
    assert (job.status, job.queries[0].status, job.attempt) == (RunStatus.CANCELLED, "cancelled", 1)
    assert job.finished_at is not None


def test_pruning_forgets_what_ended_and_nothing_else(store: SqlAlchemyJobStore) -> None:
    add(store, "ended", "running", "waiting")
    store.finish(taken(store).lease, RunStatus.COMPLETED, [])
    taken(store)
    store.reserve("ann", "key", "f", "ended")
    assert store.prune(1) == 0
    assert store.reserve("ann", "key", "f", "x").resource_id == "ended"
    assert store.prune(0) == 1
    assert store.reserve("ann", "key", "f", "x").resource_id == "x"
    assert {job.job_id for job in store.find(JobFilter(), 9)} == {"running", "waiting"}
    assert store.prune(0) == 0


def test_an_idempotency_key_stands_for_the_first_thing_it_came_with(store: SqlAlchemyJobStore) -> None:
    assert store.reserve("ann", "key", "f1", "a") == Reservation("a", done=False)
    assert store.reserve("ann", "key", "f1", "b") == Reservation("a", done=False)
    store.settle("ann", "key")
    assert store.reserve("ann", "key", "f1", "c") == Reservation("a", done=True)
    with pytest.raises(KeyReused):
        store.reserve("ann", "key", "f2", "a")


def test_a_key_whose_request_was_refused_can_be_taken_back_and_a_settled_one_can_not(store: SqlAlchemyJobStore) -> None:
    store.reserve("ann", "key", "f1", "a")
    for user, key, fingerprint in (("bob", "key", "f1"), ("ann", "Key", "f1"), ("ann", "key", "f2")):
        store.forget(user, key, fingerprint)
    assert store.reserve("ann", "key", "f1", "b").resource_id == "a"
    store.forget("ann", "key", "f1")
    assert store.reserve("ann", "key", "f2", "c") == Reservation("c", done=False)
    store.settle("ann", "key")
    store.forget("ann", "key", "f2")
    assert store.reserve("ann", "key", "f2", "d") == Reservation("c", done=True)


def test_idempotency_keys_of_others_and_of_another_spelling_are_others(store: SqlAlchemyJobStore) -> None:
    for number, (user, key) in enumerate([("ann", "key"), ("Ann", "key"), ("ann", "Key"), ("ann", "key ")]):
        assert store.reserve(user, key, f"f{number}", f"r{number}") == Reservation(f"r{number}", done=False)
    store.settle("ann", "key")
    assert [store.reserve("Ann", "key", "f1", "").done, store.reserve("ann", "key", "f0", "").done] == [False, True]


def test_the_newest_end_of_an_audit_file_stays(store: SqlAlchemyJobStore) -> None:
    for sequence, digest in ((3, "c"), (2, "b"), (3, "forged"), (7, "g"), (1, "a")):
        store.anchor(Anchor("audit-1.jsonl", sequence, digest))
    store.anchor(Anchor("audit-2.jsonl", 1, "x"))
    assert store.anchor_of("audit-1.jsonl") == Anchor("audit-1.jsonl", 7, "g")
    assert store.anchor_of("audit-2.jsonl") == Anchor("audit-2.jsonl", 1, "x")


def test_a_closed_store_opens_again(store: SqlAlchemyJobStore) -> None:
    add(store, "j1")
    store.close()
    store.close()
    assert store.get("j1") is not None
