"""rowversion's counter: one for each database, and held by whatever takes a value from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

from sql_databricks_bridge.sandbox.sql_server.contract import BulkLoad, Column, Session, SqlType

On = Callable[[Session, str], Any]
NOW = "SELECT CONVERT(bigint, MIN_ACTIVE_ROWVERSION()), CONVERT(bigint, @@DBTS)"


@pytest.fixture
def connect_own(connect: Callable[..., Session], on: On) -> Iterator[Callable[[], Session]]:
    owner = connect("Work")
    assert not on(owner, "CREATE DATABASE Versions; ALTER DATABASE Versions SET ALLOW_SNAPSHOT_ISOLATION ON").errors
    opened: list[Session] = []

    def own() -> Session:
        opened.append(connect("Versions"))
        return opened[-1]

    yield own
    for session in opened:
        session.close()
    assert not on(owner, "DROP DATABASE Versions").errors


def now(on: On, session: Session) -> tuple[int, int]:
    lowest, last = on(session, NOW).rows[-1][0]
    return lowest, last


def test_each_database_counts_by_itself(connect: Callable[..., Session], connect_own: Any, on: On) -> None:
    work, own = connect("Work"), connect_own()
    before = now(on, work)
    assert now(on, own) == (2001, 2000)
    assert not on(own, "BEGIN TRAN; CREATE TABLE t (id int, rv rowversion); INSERT INTO t (id) VALUES (1), (2)").errors
    assert now(on, own) == (2001, 2002)
    assert now(on, work) == before
    on(own, "ROLLBACK")
    assert now(on, own) == (2003, 2002)


def test_a_temporary_tables_values_are_tempdbs(connect_own: Any, on: On) -> None:
    own = connect_own()
    assert not on(own, "BEGIN TRAN; CREATE TABLE #t (id int, rv rowversion); INSERT INTO #t (id) VALUES (1)").errors
    assert now(on, own) == (2001, 2000)


def test_a_column_added_to_rows_holds_their_values(connect_own: Any, on: On) -> None:
    own, other = connect_own(), connect_own()
    on(own, "CREATE TABLE t (id int); INSERT INTO t VALUES (1), (2); BEGIN TRAN; ALTER TABLE t ADD rv rowversion")
    assert now(on, other) == (2001, 2002)
    on(own, "COMMIT")
    assert now(on, other) == (2003, 2002)
    assert not on(own, "INSERT INTO t (id) VALUES (3)").errors
    assert now(on, other) == (2004, 2003)


def test_a_value_of_a_rolled_back_savepoint_is_let_go(connect_own: Any, on: On) -> None:
    own, other = connect_own(), connect_own()
    on(own, "CREATE TABLE t (id int, rv rowversion); BEGIN TRAN; SAVE TRAN s; INSERT INTO t (id) VALUES (1)")
    assert now(on, other) == (2001, 2001)
    on(own, "ROLLBACK TRAN s")
    assert now(on, other) == (2002, 2001)
    on(own, "INSERT INTO t (id) VALUES (1)")
    assert now(on, other) == (2002, 2002)
    on(own, "COMMIT")
    assert now(on, other) == (2003, 2002)


def test_a_bulk_load_past_foreign_keys_holds_its_values(connect_own: Any, on: On, gather: Callable[..., Any]) -> None:
    own, other = connect_own(), connect_own()
    on(own, "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE t (id int REFERENCES p (id), rv rowversion)")
    on(own, "BEGIN TRAN; INSERT BULK t (id int)")
    batch = pa.RecordBatch.from_pydict({"id": pa.array([1, 2, 3], pa.int32())})
    out = gather(own.bulk_load(BulkLoad((Column("id", SqlType("int"), True),), iter([batch]))))
    assert not out.errors, out.messages
    assert now(on, other) == (2001, 2003)
    on(own, "ROLLBACK")
    assert now(on, other) == (2004, 2003)


def test_a_cascade_takes_values_of_its_own_and_holds_them(connect_own: Any, on: On) -> None:
    own, other = connect_own(), connect_own()
    on(own, "CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p VALUES (1)")
    child = "CREATE TABLE c (id int PRIMARY KEY, p int NULL REFERENCES p (id) ON DELETE SET NULL, rv rowversion)"
    on(own, f"{child}; INSERT INTO c (id, p) VALUES (1, 1)")
    on(own, "BEGIN TRAN; DELETE FROM p")
    assert now(on, other) == (2002, 2002)
    assert on(own, "COMMIT; SELECT CONVERT(bigint, rv) FROM c").rows == [[(2002,)]]


def test_the_bound_of_a_snapshots_first_statement_is_taken_before_its_snapshot(connect_own: Any, on: On) -> None:
    """What commits between the two would else be below the bound and unseen."""
    own, other = connect_own(), connect_own()
    on(own, "CREATE TABLE t (id int, rv rowversion); BEGIN TRAN; INSERT INTO t (id) VALUES (1)")
    on(other, "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN")
    environment = other.environment()
    on(own, "COMMIT")
    assert environment.row_version == 2001
    assert now(on, other) == (2002, 2001)
