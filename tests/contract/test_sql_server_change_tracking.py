"""Change tracking through the driver. Sources: "CHANGETABLE", "About change tracking", "Work with change tracking"."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from typing import Any

import mssql_python
import pyarrow as pa
import pytest

from sql_databricks_bridge.core.config import Settings
from tests.contract.driver_database import Cursors, driver_database, rows, run

ON = "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = ON)"
VERSION = "SELECT CHANGE_TRACKING_CURRENT_VERSION()"
OLDEST = "SELECT CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID('ct_rows'))"
NET = "SELECT ct.id, ct.SYS_CHANGE_OPERATION FROM CHANGETABLE(CHANGES dbo.ct_rows, ?) AS ct ORDER BY ct.id"


@pytest.fixture(scope="module")
def cursors(sqlserver_settings: Settings) -> Iterator[Cursors]:
    with driver_database(sqlserver_settings) as opens:
        assert rows(opens(), VERSION) == [(None,)]
        run(opens(), ON)
        yield opens


@pytest.fixture
def one(cursors: Cursors) -> Iterator[Any]:
    cursor = cursors()
    run(cursor, "CREATE TABLE ct_rows (id int CONSTRAINT ct_rows_key PRIMARY KEY, v int NULL)")
    run(cursor, "INSERT INTO ct_rows VALUES (1, 1), (2, 2), (3, 3)")
    run(cursor, "ALTER TABLE ct_rows ENABLE CHANGE_TRACKING WITH (TRACK_COLUMNS_UPDATED = OFF)")
    yield cursor
    run(cursor, "IF @@TRANCOUNT > 0 ROLLBACK")
    run(cursor, "DROP TABLE IF EXISTS ct_child, ct_rows")


@pytest.fixture
def other(one: Any, cursors: Cursors) -> Iterator[Any]:  # noqa: ARG001 - it is torn down before the table
    cursor = cursors()
    yield cursor
    run(cursor, "IF @@TRANCOUNT > 0 ROLLBACK")


def since(cursor: Any, version: int | None) -> list[tuple[int, str]]:
    return [(key, op) for key, op in rows(cursor, NET, version)]


def current(cursor: Any) -> int:
    return int(rows(cursor, VERSION)[0][0])


def failure(cursor: Any, sql: str) -> str:
    with pytest.raises(mssql_python.Error) as caught:
        run(cursor, sql)
    return str(caught.value)


def test_changes_are_net_and_relative_to_the_baseline(one: Any) -> None:
    start = current(one)
    run(one, "INSERT INTO ct_rows VALUES (4, 4), (5, 5)")
    inserted = current(one)
    assert inserted == start + 1
    run(one, "UPDATE ct_rows SET v = 0 WHERE id IN (1, 4)")
    run(one, "DELETE FROM ct_rows WHERE id IN (2, 5)")
    run(one, "DELETE FROM ct_rows WHERE id = 3")
    run(one, "INSERT INTO ct_rows VALUES (3, 30)")
    # a row that was deleted and inserted again is an update; one that came and went since is a deletion
    assert since(one, start) == [(1, "U"), (2, "D"), (3, "U"), (4, "I"), (5, "D")]
    assert since(one, inserted) == [(1, "U"), (2, "D"), (3, "U"), (4, "U"), (5, "D")]
    assert since(one, None) == since(one, start)
    assert since(one, current(one)) == []
    versions = (
        "SELECT SYS_CHANGE_VERSION, SYS_CHANGE_CREATION_VERSION FROM CHANGETABLE(CHANGES ct_rows, ?) c WHERE id = 4"
    )
    assert rows(one, versions, start) == [(inserted + 1, inserted)]


def test_a_statement_that_changes_no_row_makes_no_version(one: Any) -> None:
    start = current(one)
    run(one, "UPDATE ct_rows SET v = 0 WHERE id = 99")
    run(one, "BEGIN TRANSACTION; UPDATE ct_rows SET v = 0; ROLLBACK")
    assert current(one) == start


def test_a_changed_key_is_a_deletion_and_an_insertion(one: Any) -> None:
    start = current(one)
    run(one, "UPDATE ct_rows SET id = 7 WHERE id = 1")
    assert since(one, start) == [(1, "D"), (7, "I")]


def test_every_path_of_change_counts(one: Any, cursors: Cursors) -> None:
    run(one, "CREATE TABLE ct_child (id int PRIMARY KEY, parent int REFERENCES ct_rows (id) ON DELETE CASCADE)")
    run(one, "INSERT INTO ct_child VALUES (10, 1), (20, 2)")
    run(one, "ALTER TABLE ct_child ENABLE CHANGE_TRACKING")
    start = current(one)
    run(one, "DELETE FROM ct_rows WHERE id = 1")
    children = "SELECT id, SYS_CHANGE_OPERATION FROM CHANGETABLE(CHANGES ct_child, ?) AS c"
    assert rows(one, children, start) == [(10, "D")]
    run(
        one,
        "MERGE ct_rows AS t USING (VALUES (2, 20), (8, 80)) AS s (id, v) ON t.id = s.id WHEN MATCHED THEN UPDATE SET "
        "v = s.v WHEN NOT MATCHED THEN INSERT (id, v) VALUES (s.id, s.v) WHEN NOT MATCHED BY SOURCE THEN DELETE;",
    )
    run(one, "CREATE TRIGGER ct_t ON ct_child AFTER INSERT AS INSERT INTO ct_rows SELECT id, 0 FROM inserted")
    run(one, "INSERT INTO ct_child VALUES (30, 2)")
    copied = cursors()
    copied.bulkcopy_arrow("dbo.ct_rows", pa.table({"id": pa.array([40], pa.int32()), "v": pa.array([4], pa.int32())}))
    assert since(one, start) == [(1, "D"), (2, "U"), (3, "D"), (8, "I"), (30, "I"), (40, "I")]


def test_changes_join_a_query_of_the_table_with_parameters(one: Any) -> None:
    start = current(one)
    run(one, "UPDATE ct_rows SET v = 50 WHERE id = 2; DELETE FROM ct_rows WHERE id = 3")
    joined = (
        "SELECT ct.SYS_CHANGE_OPERATION AS op, ct.id, q.id AS kept, q.v FROM CHANGETABLE(CHANGES dbo.ct_rows, @since) "
        "AS ct LEFT JOIN (SELECT id, v FROM ct_rows WHERE v < @most) AS q ON q.id = ct.id ORDER BY ct.id"
    )
    declared = "@since bigint, @most int"
    sent = "EXEC sp_executesql ?, ?, @since = ?, @most = ?"
    assert rows(one, sent, joined, declared, start, 60) == [("U", 2, 2, 50), ("D", 3, None, None)]
    assert rows(one, sent, joined, declared, start, 10) == [("U", 2, None, None), ("D", 3, None, None)]
    one.execute("EXEC sp_describe_first_result_set ?, ?", joined, declared)
    names = [entry[0] for entry in one.description]
    described = [dict(zip(names, row, strict=True)) for row in one.fetchall()]
    assert [(c["name"], c["system_type_name"]) for c in described] == [
        ("op", "nchar(1)"),
        ("id", "int"),
        ("kept", "int"),
        ("v", "int"),
    ]


def test_truncation_starts_tracking_anew(one: Any) -> None:
    start = current(one)
    run(one, "UPDATE ct_rows SET v = 0 WHERE id = 1")
    run(one, "TRUNCATE TABLE ct_rows")
    assert rows(one, OLDEST)[0][0] > start
    assert since(one, start) == []


def test_disabling_and_enabling_starts_tracking_anew(one: Any) -> None:
    start = current(one)
    run(one, "UPDATE ct_rows SET v = 0 WHERE id = 1")
    run(one, "ALTER TABLE ct_rows DISABLE CHANGE_TRACKING")
    assert rows(one, OLDEST) == [(None,)]
    run(one, "UPDATE ct_rows SET v = 0 WHERE id = 2")
    run(one, "ALTER TABLE ct_rows ENABLE CHANGE_TRACKING")
    assert rows(one, OLDEST)[0][0] > start
    assert since(one, start) == []


def test_the_catalog_tells_what_is_tracked(one: Any) -> None:
    settings = (
        "SELECT is_auto_cleanup_on, retention_period, retention_period_units_desc FROM sys.change_tracking_databases "
        "WHERE database_id = DB_ID()"
    )
    assert rows(one, settings) == [(True, 2, "DAYS")]
    tables = (
        "SELECT is_track_columns_updated_on, min_valid_version, begin_version FROM sys.change_tracking_tables "
        "WHERE object_id = OBJECT_ID('ct_rows')"
    )
    oldest = rows(one, OLDEST)[0][0]
    assert rows(one, tables) == [(False, oldest, oldest)]


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("ALTER TABLE ct_rows ENABLE CHANGE_TRACKING", "Change tracking is already enabled for table 'ct_rows'"),
        ("ALTER TABLE ct_child DISABLE CHANGE_TRACKING", "Change tracking is not enabled on table 'ct_child'"),
        ("ALTER TABLE ct_child ENABLE CHANGE_TRACKING", "Change tracking requires a primary key on the table"),
        ("SELECT * FROM CHANGETABLE(CHANGES ct_child, 0) AS c", "Change tracking is not enabled on table"),
        ("SELECT * FROM CHANGETABLE(CHANGES ct_rows, 0)", "must be aliased"),
        ("ALTER TABLE ct_rows DROP CONSTRAINT ct_rows_key", "because change tracking is enabled on the table"),
        (ON, "Change tracking is already enabled for database"),
        ("ALTER DATABASE CURRENT SET CHANGE_TRACKING = OFF", "Disable change tracking on each table"),
    ],
)
def test_what_may_not_be_is_refused(one: Any, sql: str, text: str) -> None:
    run(one, "CREATE TABLE ct_child (id int NOT NULL)")
    assert text in failure(one, sql)


def test_a_version_is_given_at_commit(one: Any, other: Any) -> None:
    start = current(one)
    run(one, "BEGIN TRANSACTION; UPDATE ct_rows SET v = 0 WHERE id = 1")
    run(other, "UPDATE ct_rows SET v = 0 WHERE id = 2")
    assert current(other) == start + 1
    assert since(other, start) == [(2, "U")]
    run(one, "COMMIT")
    assert since(other, start + 1) == [(1, "U")]


def test_a_snapshot_agrees_with_itself(one: Any, other: Any) -> None:
    start = current(one)
    run(other, "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRANSACTION")
    assert rows(other, "SELECT v FROM ct_rows WHERE id = 1") == [(1,)]
    run(one, "UPDATE ct_rows SET v = 0 WHERE id = 1")
    assert current(other) == start
    assert since(other, start) == []
    assert rows(other, "SELECT v FROM ct_rows WHERE id = 1") == [(1,)]
    run(other, "COMMIT")
    assert since(other, start) == [(1, "U")]


def test_increments_of_a_table_in_use_add_up_to_it(one: Any, cursors: Cursors) -> None:
    """Writers change it all the time; each increment reads version, changes and rows in one snapshot."""
    copy = dict(rows(one, "SELECT id, v FROM ct_rows"))
    last, writers, done = current(one), 3, threading.Semaphore(0)

    def write(cursor: Any, seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(40):
            key, new = (seed + 1) * 100 + chance.randrange(6), chance.randrange(1000)
            run(cursor, f"BEGIN TRANSACTION; UPDATE ct_rows SET v = {new} WHERE id = {key}")
            if chance.random() < 0.4:
                run(cursor, f"DELETE FROM ct_rows WHERE id = {key}")
            run(cursor, f"IF NOT EXISTS (SELECT 1 FROM ct_rows WHERE id = {key + 10}) INSERT INTO ct_rows VALUES "
                f"({key + 10}, {new}) ELSE UPDATE ct_rows SET id = {key} WHERE id = {key + 10} AND NOT EXISTS "
                f"(SELECT 1 FROM ct_rows WHERE id = {key}); COMMIT")  # fmt: skip
        done.release()

    threads = [threading.Thread(target=write, args=(cursors(), seed)) for seed in range(writers)]
    for thread in threads:
        thread.start()
    reader, finished, last_turn = cursors(), 0, False
    run(reader, "SET TRANSACTION ISOLATION LEVEL SNAPSHOT")
    while not last_turn:
        while done.acquire(blocking=False):
            finished += 1
        last_turn = finished == writers
        run(reader, "BEGIN TRANSACTION")
        until = current(reader)
        changed = rows(
            reader,
            "SELECT ct.id, ct.SYS_CHANGE_OPERATION, t.v FROM CHANGETABLE(CHANGES ct_rows, ?) AS ct "
            "LEFT JOIN ct_rows AS t ON t.id = ct.id",
            last,
        )
        run(reader, "COMMIT")
        for key, op, v in changed:
            if op == "D":
                copy.pop(key, None)
            else:
                copy[key] = v
        last = until
    for thread in threads:
        thread.join()
    assert copy == dict(rows(one, "SELECT id, v FROM ct_rows"))
