"""The job store among many: threads, processes, and processes that are killed while they write."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest

from sql_databricks_bridge.db.job_store import SqlAlchemyJobStore
from sql_databricks_bridge.errors import QueueFull
from sql_databricks_bridge.models.job_records import Anchor, JobFilter
from sql_databricks_bridge.models.jobs import QueryStatus, RunStatus
from tests.contract import job_store_process
from tests.contract.job_store_fixture import add, empty_url, new_job, store, url

__all__ = ["empty_url", "store", "url"]

T = TypeVar("T")
THREADS = 8


def at_once(work: Callable[[int], T], threads: int = THREADS) -> list[T]:
    """Run it in threads that begin together."""
    barrier = threading.Barrier(threads)

    def begin(number: int) -> T:
        barrier.wait(30)
        return work(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(begin, range(threads)))


def start(what: str, url: str, name: str) -> subprocess.Popen[str]:
    """Start a process of `job_store_process`."""
    command = [sys.executable, str(Path(job_store_process.__file__)), what, url, name]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def begin_together(processes: list[subprocess.Popen[str]]) -> list[list[str]]:
    """Wait till all are ready, let them go, and return what each said."""
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return said


def test_eight_threads_and_two_processes_share_200_jobs_without_a_job_taken_twice(
    store: SqlAlchemyJobStore, url: str
) -> None:
    wanted = {f"j{number:03}" for number in range(200)}
    add(store, *wanted)
    processes = [start("claim", url, f"process{number}") for number in range(2)]
    others: list[list[str]] = []
    waiter = threading.Thread(target=lambda: others.extend(begin_together(processes)))

    def work(number: int) -> list[str]:
        taken = []
        while claim := store.claim(f"thread{number}", 3600):
            taken.append(claim.job.job_id)
        return taken

    waiter.start()
    mine = at_once(work)
    waiter.join(60)
    taken = Counter(job_id for one in mine + others for job_id in one)
    assert set(taken) == wanted
    assert set(taken.values()) == {1}
    assert {job.attempt for job in store.find(JobFilter(), 200)} == {1}


def test_a_lease_that_ran_out_goes_to_one_of_those_who_want_it(store: SqlAlchemyJobStore) -> None:
    add(store, "j1")
    assert store.claim("dead", 0) is not None
    claims = at_once(lambda number: store.claim(f"r{number}", 3600))
    assert [claim.lease.attempt for claim in claims if claim] == [2]


def test_the_queue_is_never_longer_than_its_limit_however_many_add_at_once(store: SqlAlchemyJobStore) -> None:
    def work(number: int) -> int:
        added = 0
        for turn in range(4):
            try:
                store.add(new_job(f"j{number}-{turn}"), queue_limit=10)
                added += 1
            except QueueFull:
                pass
        return added

    assert sum(at_once(work)) == 10
    assert store.counts()[RunStatus.QUEUED] == 10


def test_one_job_added_by_many_is_one_job(store: SqlAlchemyJobStore) -> None:
    jobs = at_once(lambda _: store.add(new_job(), queue_limit=1))
    assert len({job.created_at for job in jobs}) == 1


def test_a_job_that_is_cancelled_while_it_is_taken_is_cancelled_or_told_so(store: SqlAlchemyJobStore) -> None:
    for turn in range(10):
        add(store, f"j{turn}")
        seen = at_once(
            lambda number, job=f"j{turn}": store.cancel(job) if number else store.claim("r", 3600),  # type: ignore[misc]
            threads=2,
        )
        job = store.get(f"j{turn}")
        assert job is not None
        assert job.cancel_requested
        assert job.status == (RunStatus.RUNNING if seen[0] else RunStatus.CANCELLED)


def test_a_key_that_many_reserve_at_once_stands_for_one_thing(store: SqlAlchemyJobStore) -> None:
    found = at_once(lambda number: store.reserve("ann", "key", "f", f"r{number}"))
    assert len({reservation.resource_id for reservation in found}) == 1


def test_of_many_ends_of_an_audit_file_the_newest_stays(store: SqlAlchemyJobStore) -> None:
    def work(number: int) -> None:
        for turn in range(5):
            store.anchor(Anchor("f", THREADS * turn + number, "d"))

    at_once(work)
    assert store.anchor_of("f") == Anchor("f", 39, "d")


def test_services_that_start_at_once_make_the_tables_once(empty_url: str) -> None:
    names = [f"service{number}" for number in range(3)]
    assert begin_together([start("upgrade", empty_url, name) for name in names]) == [["done"]] * len(names)
    store = SqlAlchemyJobStore(empty_url)
    assert {store.reserve(name, "key", "f", "").resource_id for name in names} == set(names)
    store.close()


def test_stores_of_one_process_can_be_upgraded_at_once(empty_url: str) -> None:
    stores = [SqlAlchemyJobStore(empty_url) for _ in range(4)]
    at_once(lambda number: stores[number].upgrade(), threads=4)
    for opened in stores:
        opened.ping()
        opened.close()


@pytest.mark.parametrize("after", [1, 4, 9])
def test_a_process_killed_while_it_writes_leaves_the_sqlite_store_whole(tmp_path: Path, after: int) -> None:
    file = tmp_path / "jobs.sqlite3"
    store = SqlAlchemyJobStore(f"sqlite:///{file}")
    store.upgrade()
    process = start("write", f"sqlite:///{file}", "w")
    assert process.stdout is not None
    said = [process.stdout.readline().strip() for _ in range(after)]
    process.kill()
    said += process.communicate()[0].split()
    with closing(sqlite3.connect(file)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
    jobs = {job.job_id: job for job in store.find(JobFilter(), 10_000)}
    assert len(said) >= after
    for job_id in said:
        assert jobs[job_id].status is RunStatus.COMPLETED
    assert len(jobs) - len(said) in (0, 1, 2)  # what was being written, and what was written but not yet said
    for job in jobs.values():
        states = {query.status for query in job.queries}
        assert len(job.queries) == 2
        assert states == {QueryStatus.COMPLETED if job.status is RunStatus.COMPLETED else QueryStatus.QUEUED}
    add(store, "afterwards")
    store.close()


def test_the_files_of_a_sqlite_store_are_the_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "jobs.sqlite3"
    file.touch(mode=0o666)
    before = os.umask(0)
    try:
        store = SqlAlchemyJobStore(f"sqlite:///{file}")
        store.upgrade()
        add(store, "j1")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        store.close()
    finally:
        os.umask(before)
    assert set(modes) == {"jobs.sqlite3", "jobs.sqlite3-wal", "jobs.sqlite3-shm"}
    assert set(modes.values()) == {0o600}
