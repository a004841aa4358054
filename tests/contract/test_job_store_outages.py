"""The job store when its database is away, frozen, busy or wrong: told soon, as the bridge's errors, no secrets."""

from __future__ import annotations

import socket
import sqlite3
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from sql_databricks_bridge.db import job_engine
from sql_databricks_bridge.db.job_engine import JobEngine
from sql_databricks_bridge.db.job_postgres import PatientConnection
from sql_databricks_bridge.db.job_store import SqlAlchemyJobStore
from sql_databricks_bridge.errors import BridgeError, JobError, JobStoreUnavailable, SettingsError
from tests.contract.job_store_fixture import PostgresServer, add, new_job, store, url

__all__ = ["store", "url"]

SECRET = "hunter2/%40"
ESCAPED = "hunter2%2F%2540"


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    """Stop every process of the server in its tracks; its sockets still take what is sent."""
    postmaster = psutil.Process(server.server.pid)
    stopped = [postmaster]
    postmaster.suspend()
    for child in postmaster.children(recursive=True):
        child.suspend()
        stopped.append(child)
    try:
        yield
    finally:
        for process in reversed(stopped):
            process.resume()


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql://ann:{ESCAPED}@127.0.0.1:1/jobs",
        f"postgresql://ann@127.0.0.1:1/jobs?password={ESCAPED}",
        f"postgresql://127.0.0.1:1/jobs?sslpassword={ESCAPED}&sslmode=disable",
        f"postgresql://127.0.0.1:1/jobs?no_such_option={ESCAPED}&password={ESCAPED}",
        f"postgresql://ann:{ESCAPED}@127.0.0.1:port/jobs",
        f"nosuchdatabase://ann:{ESCAPED}@127.0.0.1/jobs",
        f"postgresql+asyncpg://ann:{ESCAPED}@127.0.0.1/jobs",
        f"sqlite+aiosqlite://ann:{ESCAPED}@/jobs",
        f"ann:{ESCAPED}",
    ],
)
def test_no_error_and_no_repr_shows_a_password(address: str) -> None:
    shown = ""
    try:
        store = SqlAlchemyJobStore(SecretStr(address))
        shown = repr(store) + repr(vars(store))
        store.add(new_job(), queue_limit=1)
    except BridgeError as error:
        shown += "".join(traceback.format_exception(error))
    assert "JOB_STORE_URL" in shown
    assert "hunter2" not in shown


def test_a_server_that_is_not_there_is_told_at_once() -> None:
    store = SqlAlchemyJobStore(f"postgresql://ann:{ESCAPED}@127.0.0.1:1/jobs")
    with pytest.raises(JobStoreUnavailable, match=r"postgresql://127\.0\.0\.1:1/jobs can't be used: .*refused"):
        store.get("j1")


def test_a_server_that_takes_connections_and_says_nothing_is_given_up() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        store = SqlAlchemyJobStore(f"postgresql://127.0.0.1:{silent.getsockname()[1]}/jobs?connect_timeout=2")
        begun = time.monotonic()
        with pytest.raises(JobStoreUnavailable):
            store.ping()
        assert time.monotonic() - begun < 10


def test_a_frozen_server_hangs_nobody_and_is_used_again_when_it_wakes_up(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqlAlchemyJobStore(postgres.url(postgres.database(), "&connect_timeout=2"))
    jobs = add(store, "j1")
    monkeypatch.setattr(PatientConnection, "patience_s", 0.3)
    with frozen(postgres):
        begun = time.monotonic()
        with pytest.raises(JobStoreUnavailable, match="can't be used"):
            store.claim("r1", 3600)
        assert time.monotonic() - begun < 10
    monkeypatch.undo()
    assert store.get("j1") == jobs[0]
    store.close()


def test_a_connection_that_the_server_has_cut_is_replaced_unseen(postgres: PostgresServer) -> None:
    database = postgres.database()
    store = SqlAlchemyJobStore(postgres.url(database))
    jobs = add(store, "j1")
    cut = postgres.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
    assert cut == [(True,)]
    assert store.get("j1") == jobs[0]
    store.close()


def test_a_row_that_somebody_keeps_locked_is_not_waited_for_for_ever(postgres: PostgresServer) -> None:
    database = postgres.database()
    store = SqlAlchemyJobStore(postgres.url(database, "&options=-clock_timeout%3D200ms"))
    holder = JobEngine(postgres.url(database))
    with holder.writing() as connection:
        connection.exec_driver_sql("UPDATE bridge_queue_gate SET passed = 0")
        with pytest.raises(JobStoreUnavailable, match="lock timeout"):
            store.add(new_job(), queue_limit=1)
    assert store.add(new_job(), queue_limit=1).job_id == "j1"
    store.close()
    holder.close()


def test_a_sqlite_store_that_another_process_keeps_locked_is_unavailable_and_then_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_engine, "_BUSY_S", 0.2)
    file = tmp_path / "jobs.sqlite3"
    store = SqlAlchemyJobStore(f"sqlite:///{file}")
    store.upgrade()
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JobStoreUnavailable, match="database is locked"):
            store.add(new_job(), queue_limit=1)
        assert store.get("j1") is None  # readers don't wait for writers
        other.execute("ROLLBACK")
    assert store.add(new_job(), queue_limit=1).job_id == "j1"
    store.close()


def test_who_finds_every_connection_in_use_is_told_soon(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_engine, "_POOL_S", 0.2)
    engine = JobEngine(url)
    with ExitStack() as held:
        for _ in range(8):
            held.enter_context(engine.reading())
        with pytest.raises(JobStoreUnavailable, match="all 8 connections were in use"), engine.reading():
            pass
    with engine.reading():
        pass
    engine.close()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    store = SqlAlchemyJobStore(f"sqlite:///{tmp_path / 'nowhere' / 'jobs.sqlite3'}")
    with pytest.raises(SettingsError, match=r"nowhere/jobs.sqlite3 can't be made: No such file or directory"):
        store.upgrade()


def test_a_file_that_is_no_database_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "jobs.sqlite3"
    file.write_text("a letter to my aunt, and more than sixteen bytes of it\n" * 100)
    store = SqlAlchemyJobStore(f"sqlite:///{file}")
    with pytest.raises(JobError, match="not a database"):
        store.upgrade()
    assert file.read_text().startswith("a letter to my aunt")
    store.close()


@pytest.mark.parametrize("address", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:jobs?mode=memory&uri=true"])
def test_a_store_that_would_be_lost_with_the_process_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="needs a file of its own"):
        SqlAlchemyJobStore(address)


def test_a_job_whose_plan_can_not_be_read_fails_and_holds_nobody_up(store: SqlAlchemyJobStore, url: str) -> None:
    add(store, "j1", "j2")
    engine = JobEngine(url)
    with engine.writing() as connection:
        connection.exec_driver_sql("UPDATE bridge_jobs SET plan = '{}' WHERE job_id = 'j1'")
    engine.close()
    claim = store.claim("r1", 3600)
    assert claim is not None
    assert claim.job.job_id == "j2"
    broken = store.get("j1")
    assert broken is not None
    assert (broken.status, broken.queries[0].status) == ("failed", "cancelled")
    assert broken.error is not None
    assert "can't be read" in broken.error
