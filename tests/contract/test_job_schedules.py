"""What the job store remembers of schedules: one decides each due moment, together with its job or not at all."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from sql_databricks_bridge.db.job_schedules import ScheduleBook
from sql_databricks_bridge.db.job_store import SqlAlchemyJobStore
from sql_databricks_bridge.errors import DueDecided, JobStoreUnavailable, QueueFull
from sql_databricks_bridge.models.job_records import JobFilter
from sql_databricks_bridge.models.schedules import Decision, Schedule, ScheduleState
from tests.contract.job_store_fixture import add, new_job, postgres, store, url

__all__ = ["postgres", "store", "url"]

NIGHTLY = Schedule("co", "nightly", "0 2 * * *", "Europe/Madrid")
SINCE = dt.datetime(2026, 11, 23, 12, 0, 0, 1, tzinfo=dt.UTC)
DUE = dt.datetime(2026, 11, 24, 1, tzinfo=dt.UTC)


@pytest.fixture
def book(store: SqlAlchemyJobStore) -> ScheduleBook:
    return store.schedules


@pytest.fixture
def state(book: ScheduleBook) -> ScheduleState:
    """A schedule that was seen, and has not been due since."""
    return book.begin(NIGHTLY, SINCE)


def test_a_schedule_is_known_from_the_moment_it_was_first_seen(book: ScheduleBook) -> None:
    assert book.states() == []
    first = book.begin(NIGHTLY, SINCE)
    assert first == ScheduleState("co", "nightly", "0 2 * * * Europe/Madrid", SINCE)
    assert book.begin(NIGHTLY, SINCE + dt.timedelta(days=1)) == first
    assert book.states() == [first]


def test_names_are_told_apart_by_case_and_by_country(book: ScheduleBook) -> None:
    for schedule in (NIGHTLY, replace(NIGHTLY, name="Nightly"), replace(NIGHTLY, country="Co")):
        book.begin(schedule, SINCE)
    assert len(book.states()) == 3


def test_a_job_and_its_due_moment_are_noted_together(
    book: ScheduleBook, state: ScheduleState, store: SqlAlchemyJobStore
) -> None:
    job = book.queue(state, DUE, new_job("j1"), queue_limit=1)
    assert store.get("j1") == job
    (now,) = book.states()
    assert now == replace(state, last_due=DUE, decision=Decision.QUEUED, job_id="j1")


def test_a_full_queue_leaves_the_due_moment_undecided(
    book: ScheduleBook, state: ScheduleState, store: SqlAlchemyJobStore
) -> None:
    add(store, "other")
    with pytest.raises(QueueFull):
        book.queue(state, DUE, new_job("j1"), queue_limit=1)
    assert book.states() == [state]
    assert store.get("j1") is None
    store.cancel("other")
    assert book.queue(state, DUE, new_job("j1"), queue_limit=1).job_id == "j1"


DECISIONS: dict[str, Callable[[ScheduleBook, ScheduleState], object]] = {
    "queue": lambda book, state: book.queue(state, DUE, new_job("late"), queue_limit=9),
    "decide": lambda book, state: book.decide(state, DUE, Decision.SKIPPED, "missed"),
    "want": lambda book, state: book.want(state, DUE),
    "redefine": lambda book, state: book.redefine(state, "0 3 * * * UTC", DUE),
}


@pytest.mark.parametrize("late", DECISIONS)
@pytest.mark.parametrize("first", [name for name in DECISIONS if name != "want"])
def test_who_comes_second_changes_nothing(
    first: str, late: str, book: ScheduleBook, state: ScheduleState, store: SqlAlchemyJobStore
) -> None:
    DECISIONS[first](book, state)
    before = book.states(), [job.job_id for job in store.find(JobFilter(), 9)]
    with pytest.raises(DueDecided, match="co/nightly: another replica"):
        DECISIONS[late](book, state)
    assert (book.states(), [job.job_id for job in store.find(JobFilter(), 9)]) == before


def test_of_many_at_once_one_queues_its_job(
    book: ScheduleBook, state: ScheduleState, store: SqlAlchemyJobStore
) -> None:
    """Each thread would queue a job of its own: exactly one is there, and all others learn that it was decided."""
    together, told = threading.Barrier(6), []

    def queue(number: int) -> None:
        together.wait()
        try:
            book.queue(state, DUE, new_job(f"j{number}"), queue_limit=9)
        except DueDecided:
            told.append(number)

    threads = [threading.Thread(target=queue, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (job,) = store.find(JobFilter(), 9)
    assert book.states()[0].job_id == job.job_id
    assert sorted([*told, int(job.job_id[1:])]) == list(range(6))


def test_many_that_see_a_new_schedule_at_once_agree_on_its_beginning(book: ScheduleBook) -> None:
    together, seen = threading.Barrier(6), []

    def begin(number: int) -> None:
        together.wait()
        seen.append(book.begin(NIGHTLY, SINCE + dt.timedelta(seconds=number)))

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == book.states() * 6


def test_a_due_moment_that_waits_is_remembered_until_it_is_decided(book: ScheduleBook, state: ScheduleState) -> None:
    book.want(state, DUE)
    assert book.states() == [replace(state, wanted_due=DUE)]
    book.decide(state, DUE, Decision.REFUSED, "no \x00 rights")
    (now,) = book.states()
    assert now == replace(state, last_due=DUE, decision=Decision.REFUSED, reason="no \\x00 rights")


def test_the_last_job_stays_known_when_later_moments_are_skipped(book: ScheduleBook, state: ScheduleState) -> None:
    book.queue(state, DUE, new_job("j1"), queue_limit=9)
    (queued,) = book.states()
    book.decide(queued, DUE + dt.timedelta(days=1), Decision.SKIPPED, "still running")
    (now,) = book.states()
    assert (now.job_id, now.decision, now.reason) == ("j1", Decision.SKIPPED, "still running")


def test_the_clock_is_the_store_s_and_aware(book: ScheduleBook) -> None:
    before, now, after = dt.datetime.now(dt.UTC), book.now(), dt.datetime.now(dt.UTC)
    slack = dt.timedelta(seconds=1)
    assert now.tzinfo is dt.UTC
    assert before - slack <= now <= after + slack


def test_a_store_that_is_away_is_told(tmp_path_factory: pytest.TempPathFactory) -> None:
    away = SqlAlchemyJobStore(f"sqlite:///{tmp_path_factory.mktemp('x') / 'nowhere' / 'jobs.sqlite3'}")
    with pytest.raises(JobStoreUnavailable):
        away.schedules.states()
    away.close()
