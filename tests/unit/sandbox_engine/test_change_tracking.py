"""Change tracking: its syntax and errors, keys under collations, isolation, what it leaves behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

from sql_databricks_bridge.sandbox.sql_server.contract import BulkLoad, Column, Engine, Session, SqlType

On = Callable[[Session, str], Any]
Run = Callable[[str], Any]
SINCE = "SELECT c.k, c.SYS_CHANGE_OPERATION FROM CHANGETABLE(CHANGES t, {0}) AS c ORDER BY c.k"


@pytest.fixture
def connect_own(connect: Callable[..., Session], on: On) -> Iterator[Callable[[], Session]]:
    owner = connect("Work")
    out = on(owner, "CREATE DATABASE Track; ALTER DATABASE Track SET ALLOW_SNAPSHOT_ISOLATION ON; ALTER DATABASE Track "
             "SET CHANGE_TRACKING = ON")  # fmt: skip
    assert not out.errors, out.messages
    opened: list[Session] = []

    def own() -> Session:
        opened.append(connect("Track"))
        return opened[-1]

    yield own
    for session in opened:
        session.close()
    assert not on(owner, "DROP DATABASE Track").errors


@pytest.fixture
def run(connect_own: Callable[[], Session], on: On) -> Run:
    session = connect_own()
    made = "CREATE TABLE t (k varchar(10) CONSTRAINT t_key PRIMARY KEY, v int NULL)"
    assert not on(
        session, f"{made}; INSERT INTO t VALUES ('a', 1), ('b', 2); ALTER TABLE t ENABLE CHANGE_TRACKING"
    ).errors
    return lambda sql: on(session, sql)


@pytest.mark.parametrize(
    ("sql", "number"),
    [
        ("ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON", 5088),
        ("ALTER DATABASE CURRENT SET CHANGE_TRACKING = OFF", 22115),
        ("ALTER DATABASE master SET CHANGE_TRACKING = ON", 5090),
        ("ALTER DATABASE Work SET CHANGE_TRACKING = OFF", 5089),
        ("ALTER DATABASE Work SET CHANGE_TRACKING (AUTO_CLEANUP = OFF)", 5089),
        ("ALTER DATABASE Nowhere SET CHANGE_TRACKING = ON", 5011),
        ("BEGIN TRAN; ALTER DATABASE CURRENT SET CHANGE_TRACKING (AUTO_CLEANUP = OFF)", 226),
        ("ALTER DATABASE Work SET CHANGE_TRACKING = ON (AUTO_CLEANUP = ON, AUTO_CLEANUP = ON)", 5091),
        ("ALTER DATABASE Work SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 0 DAYS)", 5092),
        ("ALTER DATABASE Work SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAY)", 155),
        ("ALTER DATABASE Work SET CHANGE_TRACKING = ON, READ_ONLY", 22114),
        ("ALTER TABLE t ENABLE CHANGE_TRACKING", 4996),
        ("CREATE TABLE h (id int NOT NULL); ALTER TABLE h ENABLE CHANGE_TRACKING", 4997),
        ("CREATE TABLE h (id int NOT NULL); ALTER TABLE h DISABLE CHANGE_TRACKING", 4998),
        ("CREATE TABLE h (rv rowversion NOT NULL PRIMARY KEY); ALTER TABLE h ENABLE CHANGE_TRACKING", 4999),
        ("CREATE TABLE #h (id int PRIMARY KEY); ALTER TABLE #h ENABLE CHANGE_TRACKING", 1718),
        ("ALTER TABLE t DROP CONSTRAINT t_key", 3735),
        ("SELECT * FROM CHANGETABLE(CHANGES t, 0)", 22104),
        ("SELECT * FROM CHANGETABLE(CHANGES nowhere, 0) AS c", 208),
        ("CREATE TABLE h (id int PRIMARY KEY); SELECT * FROM CHANGETABLE(CHANGES h, 0) AS c", 22105),
        ("SELECT * FROM CHANGETABLE(CHANGES sys.tables, 0) AS c", 22107),
        ("CREATE TABLE #h (id int PRIMARY KEY); SELECT * FROM CHANGETABLE(CHANGES #h, 0) AS c", 22107),
        ("SELECT * FROM CHANGETABLE(CHANGES t, 1 + 1) AS c", 102),
        ("SELECT * FROM CHANGETABLE(CHANGES t, 0) AS c (x, y)", 8158),
        ("SELECT * FROM CHANGETABLE(VERSION t, (k), ('a')) AS c", 50100),
        ("WITH CHANGE_TRACKING_CONTEXT (0x01) DELETE FROM t", 50100),
        ("SELECT CHANGE_TRACKING_IS_COLUMN_IN_MASK(1, 0x00)", 50100),
    ],
)
def test_what_is_wrong_has_its_number(run: Run, sql: str, number: int) -> None:
    out = run(sql)
    run("IF @@TRANCOUNT > 0 ROLLBACK; DROP TABLE IF EXISTS h")
    assert out.errors == [number], out.messages


def test_a_key_in_another_spelling_is_the_same_key(run: Run) -> None:
    run("UPDATE t SET k = 'A ' WHERE k = 'a'; DELETE FROM t WHERE k = 'B'; INSERT INTO t VALUES ('B', 3)")
    assert run(SINCE.format(0)).rows == [[("A ", "U"), ("b", "U")]]
    assert run("SELECT t.v FROM CHANGETABLE(CHANGES t, 2) AS c JOIN t ON t.k = c.k").rows == [[(3,)]]


def test_columns_have_the_given_names_and_the_documented_types(run: Run) -> None:
    out = run("SELECT * FROM CHANGETABLE(CHANGES dbo.t, NULL, FORCESEEK) c (a, b, o, m, x, k2)")
    assert [c.name for c in out.columns[-1]] == ["a", "b", "o", "m", "x", "k2"]
    assert out.types == ["bigint", "bigint", "nchar(1)", "varbinary(4100)", "varbinary(128)", "varchar(10)"]


def test_tracked_columns_are_refused_only_where_they_are_read(run: Run) -> None:
    run("ALTER TABLE t DISABLE CHANGE_TRACKING; ALTER TABLE t ENABLE CHANGE_TRACKING WITH (TRACK_COLUMNS_UPDATED = ON)")
    run("INSERT INTO t VALUES ('c', 3)")
    read = "SELECT SYS_CHANGE_COLUMNS FROM CHANGETABLE(CHANGES t, 0) AS c"
    assert run(read).rows == [[(None,)]]
    run("UPDATE t SET v = 0 WHERE k = 'a'")
    assert run(SINCE.format(0)).rows == [[("a", "U"), ("c", "I")]]
    assert run(read).errors == [50100]


def test_a_bulk_load_past_constraints_is_tracked(connect_own: Any, on: On, gather: Callable[..., Any]) -> None:
    s = connect_own()
    on(s, "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE t (k int PRIMARY KEY REFERENCES p (id))")
    on(s, "ALTER TABLE t ENABLE CHANGE_TRACKING; INSERT BULK t (k int)")
    batch = pa.RecordBatch.from_pydict({"k": pa.array([1, 2], pa.int32())})
    assert not gather(s.bulk_load(BulkLoad((Column("k", SqlType("int"), False),), iter([batch])))).errors
    assert on(s, SINCE.format(0)).rows == [[(1, "I"), (2, "I")]]
    assert on(s, "SELECT CHANGE_TRACKING_CURRENT_VERSION()").rows == [[(1,)]]


def test_changes_of_a_rolled_back_savepoint_do_not_count(run: Run) -> None:
    run("BEGIN TRAN; SAVE TRAN s; UPDATE t SET v = 0 WHERE k = 'a'; ROLLBACK TRAN s")
    run("UPDATE t SET v = 0 WHERE k = 'b'; COMMIT")
    assert run(SINCE.format(0)).rows == [[("b", "U")]]
    run("BEGIN TRAN; SAVE TRAN s; UPDATE t SET v = 0; ROLLBACK TRAN s; COMMIT")
    assert run("SELECT CHANGE_TRACKING_CURRENT_VERSION()").rows == [[(1,)]]


@pytest.mark.parametrize("level", ["READ COMMITTED", "SNAPSHOT", "SERIALIZABLE"])
def test_writers_of_different_rows_do_not_meet_at_their_commits(run: Run, connect_own: Any, on: On, level: str) -> None:
    run("CREATE TABLE w (k int PRIMARY KEY, v int); INSERT INTO w SELECT value, 0 FROM GENERATE_SERIES(1, 4)")
    run("ALTER TABLE w ENABLE CHANGE_TRACKING")
    failed: list[Any] = []

    def write(session: Session, key: int) -> None:
        on(session, f"SET TRANSACTION ISOLATION LEVEL {level}")
        for n in range(20):
            failed.extend(on(session, f"BEGIN TRAN; INSERT INTO w VALUES ({key * 100 + n}, 0); COMMIT").messages)

    threads = [threading.Thread(target=write, args=(connect_own(), key)) for key in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    out = run(
        "SELECT COUNT(*), COUNT(DISTINCT SYS_CHANGE_VERSION), MAX(SYS_CHANGE_VERSION) FROM CHANGETABLE(CHANGES w, 0) c"
    )
    assert out.rows == [[(60, 60, 60)]]


def test_versions_go_on_after_tracking_was_off(run: Run) -> None:
    run("UPDATE t SET v = 0; ALTER TABLE t DISABLE CHANGE_TRACKING; ALTER DATABASE CURRENT SET CHANGE_TRACKING = OFF")
    assert run("SELECT CHANGE_TRACKING_CURRENT_VERSION(), CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID('t'))").rows == [
        [(None, None)]
    ]
    run("ALTER DATABASE Track SET CHANGE_TRACKING = ON (AUTO_CLEANUP = OFF, CHANGE_RETENTION = 90 MINUTES)")
    assert run("SELECT * FROM sys.change_tracking_databases WHERE database_id = DB_ID()").rows[0][0][1:] == (
        False, 90, 1, "MINUTES", None,
    )  # fmt: skip
    run("ALTER TABLE t ENABLE CHANGE_TRACKING; UPDATE t SET v = 1 WHERE k = 'a'")
    assert run(SINCE.format(1)).rows == [[("a", "U")]]
    assert run("SELECT CHANGE_TRACKING_CURRENT_VERSION(), CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID('t'))").rows == [
        [(2, 1)]
    ]


def test_a_table_that_is_not_tracked_carries_nothing(run: Run, engine: Engine) -> None:
    from sql_databricks_bridge.sandbox.sql_server.engine.pg import PgSession

    run("CREATE TABLE free (id int PRIMARY KEY, v int); ALTER TABLE t DISABLE CHANGE_TRACKING")
    pg = PgSession(engine.postgres.uri)  # type: ignore[attr-defined]
    try:
        names = (run("SELECT OBJECT_ID('free')").rows[0][0][0], run("SELECT OBJECT_ID('t')").rows[0][0][0])
        triggers = "SELECT count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT tgisinternal"
        assert [pg.rows(f"{triggers} AND relname = 't{number}'") for number in names] == [[[0]], [[0]]]
    finally:
        pg.close()
