"""The scheduler on a real job store: what is due becomes one job, whoever dies in between, and nothing is lost."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from sql_databricks_bridge.core.cron import Cron
from sql_databricks_bridge.core.scheduler import Commit, Due, Scheduler, SchedulerOptions
from sql_databricks_bridge.db.job_store import SqlAlchemyJobStore
from sql_databricks_bridge.errors import AuditError, BridgeError, NotPermitted, SourceUnavailable
from sql_databricks_bridge.models.job_records import Job, JobFilter, NewJob
from sql_databricks_bridge.models.jobs import ExtractionPlan, ResolvedQuery
from sql_databricks_bridge.models.names import Destination
from sql_databricks_bridge.models.schedules import Decision, Missed, Schedule, ScheduleState

START = dt.datetime(2026, 11, 23, 12, 1, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
GRACE = SchedulerOptions().grace
_countries = itertools.count(1)


class Killed(BaseException):
    """The process ends here; nothing that would be cleaned up is."""


@dataclass
class World:
    """A job store, a clock, one schedule that is due every ten minutes, and the replicas that look at it."""

    store: SqlAlchemyJobStore
    schedule: Schedule
    now: dt.datetime = START
    failure: BridgeError | None = None
    told: list[tuple[Decision, str | None]] = field(default_factory=list)
    queue_limit: int = 1000

    def replica(self, skew: dt.timedelta = dt.timedelta(0), book: Any = None) -> Scheduler:
        return Scheduler(
            lambda: [self.schedule],
            book or self.store.schedules,
            self.store.get,
            self.launch,
            SchedulerOptions(queue_limit=self.queue_limit),
            on_decided=lambda _due, decision, reason: self.told.append((decision, reason)),
            clock=lambda: self.now + skew,
        )

    def launch(self, due: Due, commit: Commit) -> Job:
        if self.failure is not None:
            raise self.failure
        query = ResolvedQuery("q", "q.sql", "SELECT 1", "00")
        plan = ExtractionPlan(due.job_id, due.schedule.country, Destination("c", "s", "v"), (query,), "db")
        return commit(NewJob("robot", plan, (), "r"))

    @property
    def jobs(self) -> list[Job]:
        """The schedule's jobs, the oldest first."""
        return self.store.find(JobFilter(country=self.schedule.country), 1000)[::-1]

    @property
    def state(self) -> ScheduleState:
        (found,) = [state for state in self.store.schedules.states() if state.country == self.schedule.country]
        return found

    def id_at(self, hour: int, minute: int) -> str:
        return self.schedule.job_id(START.replace(hour=hour, minute=minute))

    def end_jobs(self) -> None:
        for job in self.jobs:
            if not job.ended:
                self.store.cancel(job.job_id)

    def later(self, minutes: float) -> World:
        self.now += minutes * MINUTE
        return self


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlAlchemyJobStore]:
    opened = SqlAlchemyJobStore(f"sqlite:///{tmp_path_factory.mktemp('scheduler') / 'jobs.sqlite3'}")
    opened.upgrade()
    yield opened
    opened.close()


def new_world(store: SqlAlchemyJobStore, missed: Missed = Missed.SKIP) -> World:
    """A world of its own in the store, which many share."""
    return World(store, Schedule(f"c{next(_countries)}", "s", "*/10 * * * *", missed=missed))


@pytest.fixture
def world(store: SqlAlchemyJobStore) -> World:
    """The schedule was first seen a minute after it was due."""
    found = new_world(store)
    found.replica().look()
    return found


def test_what_was_due_before_a_schedule_was_seen_does_not_count(world: World) -> None:
    assert (world.jobs, world.state.decision) == ([], Decision.NEW)


def test_a_due_moment_becomes_a_job_named_after_it(world: World) -> None:
    world.later(9).replica().look()
    (job,) = world.jobs
    assert (job.job_id, job.user_name) == (world.id_at(12, 10), "robot")
    assert world.told == [(Decision.QUEUED, None)]


def test_it_looks_again_when_the_next_one_is_due_or_files_may_have_changed(world: World) -> None:
    assert world.replica().look() == 5.0
    world.now = START.replace(minute=9, second=58)
    assert world.replica().look() == 2.0


def test_replicas_make_one_job_even_with_clocks_minutes_apart(world: World) -> None:
    world.later(9)
    for skew in (-3, 2, 0, -1, 4):
        world.replica(skew * MINUTE).look()
    assert [job.job_id for job in world.jobs] == [world.id_at(12, 10)]


def test_a_run_that_is_under_way_makes_the_next_one_skip(world: World) -> None:
    world.later(9).replica().look()
    with capture_logs() as logs:
        world.later(10).replica().look()
    assert [line["event"] for line in logs] == ["schedule.skipped"]
    assert f"job {world.id_at(12, 10)}" in logs[0]["why"]
    world.end_jobs()
    world.later(1).replica().look()
    assert [job.job_id for job in world.jobs] == [world.id_at(12, 10)]  # not made up for
    world.later(9).replica().look()
    assert [job.job_id for job in world.jobs] == [world.id_at(12, 10), world.id_at(12, 30)]


def test_missed_runs_are_skipped_by_default_and_counted(world: World) -> None:
    with capture_logs() as logs:
        world.later(65).replica().look()  # 13:06: six were due, the last one six minutes ago
    assert world.jobs == []
    assert [line.get("times") for line in logs if line["event"] == "schedule.missed"] == ["6"]
    assert world.told[0][0] is Decision.SKIPPED
    world.later(4).replica().look()
    assert [job.job_id for job in world.jobs] == [world.id_at(13, 10)]


def test_one_missed_run_is_caught_up_the_newest_and_the_others_are_counted(store: SqlAlchemyJobStore) -> None:
    world = new_world(store, Missed.CATCH_UP)
    world.replica().look()
    with capture_logs() as logs:
        world.later(66).replica().look()
    assert [job.job_id for job in world.jobs] == [world.id_at(13, 0)]
    assert [line.get("times") for line in logs if line["event"] == "schedule.missed"] == ["5"]


def test_within_the_grace_nothing_counts_as_missed(world: World) -> None:
    world.now = START.replace(minute=10) + GRACE
    world.replica().look()
    assert [job.job_id for job in world.jobs] == [world.id_at(12, 10)]


@pytest.mark.parametrize("failure", [SourceUnavailable("away"), AuditError("disk full")], ids=["source", "audit"])
def test_what_can_t_be_queued_yet_waits_however_long_it_takes(world: World, failure: BridgeError) -> None:
    """It was seen in time: when it can be queued it is, also by a replica that was just started."""
    world.failure = failure
    with capture_logs() as logs:
        world.later(9).replica().look()
    assert [line["event"] for line in logs] == ["schedule.waiting"]
    world.failure = None
    world.later(9).replica().look()  # 12:19
    assert [job.job_id for job in world.jobs] == [world.id_at(12, 10)]


def test_a_full_queue_is_tried_again(world: World) -> None:
    world.queue_limit = 0
    scheduler = world.later(9).replica()
    scheduler.look()
    world.queue_limit = 1000
    world.later(6).replica().look()
    assert [job.job_id for job in world.jobs] == [world.id_at(12, 10)]


def test_one_that_waits_gives_way_to_the_next(world: World) -> None:
    world.failure = SourceUnavailable("away")
    world.later(9).replica().look()
    world.failure = None
    with capture_logs() as logs:
        world.later(10).replica().look()
    assert [job.job_id for job in world.jobs] == [world.id_at(12, 20)]
    assert [line.get("times") for line in logs if line["event"] == "schedule.missed"] == ["1"]


def test_what_is_refused_is_told_and_not_tried_again(world: World) -> None:
    world.failure = NotPermitted("robot may not read dbo.t")
    with capture_logs() as logs:
        world.later(9).replica().look()
    assert [line["event"] for line in logs] == ["schedule.refused"]
    world.failure = None
    world.later(1).replica().look()
    assert (world.jobs, world.state.decision) == ([], Decision.REFUSED)
    world.later(9).replica().look()
    assert [job.job_id for job in world.jobs] == [world.id_at(12, 20)]


def test_a_changed_expression_counts_from_now_on(store: SqlAlchemyJobStore) -> None:
    """By the new one a run at 12:02 would have been missed, of which nobody spoke then."""
    world = new_world(store, Missed.CATCH_UP)
    world.replica().look()
    world.schedule = replace(world.schedule, cron="2 * * * *")
    world.later(40).replica().look()
    assert world.jobs == []
    world.later(21).replica().look()
    assert [job.job_id for job in world.jobs] == [world.id_at(13, 2)]


def test_while_replicas_have_different_files_none_loses_what_is_due(world: World) -> None:
    old, new = world.replica(), world.replica()
    schedule = world.schedule
    for _ in range(100):
        world.later(0.1)
        for replica, cron in ((new, "0 3 * * *"), (old, "*/10 * * * *")):
            world.schedule = replace(schedule, cron=cron)
            replica.look()
    world.schedule = schedule
    assert [job.job_id for job in world.jobs] == [world.id_at(12, 10)]


def test_trouble_with_one_schedule_does_not_keep_others_from_running(store: SqlAlchemyJobStore) -> None:
    sick, well = new_world(store), new_world(store)

    def launch(due: Due, commit: Commit) -> Job:
        if due.schedule == sick.schedule:
            raise RuntimeError("a fault")
        return well.launch(due, commit)

    def look(now: dt.datetime) -> None:
        both = [sick.schedule, well.schedule]
        Scheduler(lambda: both, store.schedules, store.get, launch, clock=lambda: now).look()

    look(START)
    with capture_logs() as logs:
        look(START + 9 * MINUTE)
    assert [line["event"] for line in logs] == ["schedule.failed", "schedule.queued"]
    assert (len(sick.jobs), len(well.jobs)) == (0, 1)


# Crashes between any two steps ---------------------------------------------------------------------------------------


class Mortal:
    """The store's book, in whose hands the process dies: before or after one of its writes is done."""

    WRITES = ("begin", "redefine", "want", "decide", "queue")

    def __init__(self, book: Any, dies_at: int, *, done: bool) -> None:
        self._book, self._left, self._done = book, dies_at, done

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._book, name)
        return self._mortal(found) if name in self.WRITES else found

    def _mortal(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def work(*arguments: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._done:
                raise Killed
            result = write(*arguments, **options)
            if self._left == 0:
                raise Killed
            return result

        return work


LOOK = st.tuples(st.just("look"), st.integers(-3, 3), st.none())
CRASH = st.tuples(st.just("look"), st.integers(-3, 3), st.tuples(st.integers(1, 3), st.booleans()))
STEPS = st.lists(
    st.one_of(
        *(LOOK, LOOK, CRASH, CRASH),
        st.tuples(st.just("later"), st.sampled_from((0.2, 1, 3, 7, 10, 40)), st.none()),
        st.tuples(st.just("end"), st.just(0), st.none()),
        st.tuples(st.sampled_from(("away", "back")), st.just(0), st.none()),
    ),
    max_size=18,
)


@given(STEPS, st.sampled_from(Missed), st.booleans())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_due_moment_is_run_twice_and_none_is_lost(
    store: SqlAlchemyJobStore, steps: Sequence[tuple[str, Any, Any]], missed: Missed, skewed: bool
) -> None:
    """After every step that is survived, what the newest due moment came to is what the rules say."""
    world = new_world(store, missed)
    cron = Cron(world.schedule.cron, "UTC")
    world.replica().look()
    for kind, value, crash in [*steps, ("back", 0, None), ("end", 0, None), ("later", 10, None), ("look", 0, None)]:
        if kind == "later":
            world.later(value)
        elif kind == "end":
            world.end_jobs()
        elif kind in ("away", "back"):
            world.failure = SourceUnavailable("away") if kind == "away" else None
        else:
            look(world, cron, value * MINUTE if skewed else dt.timedelta(0), crash)


def look(world: World, cron: Cron, skew: dt.timedelta, crash: tuple[int, bool] | None) -> None:
    """One look of a replica that was just started, and what must hold after it."""
    before, busy = world.state, any(not job.ended for job in world.jobs)
    made = {job.job_id for job in world.jobs}
    book = Mortal(world.store.schedules, crash[0], done=crash[1]) if crash else None
    try:
        world.replica(skew, book).look()
    except Killed:
        survived = False
    else:
        survived = True
    new = [job for job in world.jobs if job.job_id not in made]
    assert len(new) <= (0 if busy else 1), "never beside another, never two at once"
    newest = cron.newest(before.last_due, world.now + skew)
    if newest is None:
        assert not new
        return
    assert {job.job_id for job in new} <= {world.schedule.job_id(newest.due)}
    late = before.wanted_due != newest.due and world.now + skew - newest.due > GRACE
    if not survived:
        return
    after = world.state
    if busy or (late and world.schedule.missed is Missed.SKIP):
        assert (after.last_due, after.decision) == (newest.due, Decision.SKIPPED)
    elif world.failure is not None:
        assert (after.last_due, after.wanted_due) == (before.last_due, newest.due)
    else:
        assert [job.job_id for job in new] == [world.schedule.job_id(newest.due)]
        assert (after.last_due, after.decision) == (newest.due, Decision.QUEUED)
