"""Changing data, seen through the driver: triggers, cascades, MERGE, locks. Each test names the page that says so."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import mssql_python
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.connection_string import connection_string

TABLES = ("DROP TABLE IF EXISTS chg_child, chg_audit, chg_parent",)
MAKE = (
    "CREATE TABLE chg_parent (code varchar(10) NOT NULL CONSTRAINT chg_pk PRIMARY KEY, v int NULL, rv rowversion)",
    "CREATE TABLE chg_child (id int PRIMARY KEY, code varchar(10) NULL CONSTRAINT chg_fk REFERENCES chg_parent (code) "
    "ON DELETE CASCADE ON UPDATE CASCADE)",
    "CREATE TABLE chg_audit (n int IDENTITY PRIMARY KEY, code varchar(10) NULL, was int NULL, [is] int NULL)",
    "INSERT INTO chg_parent (code, v) VALUES ('a', 1), ('b', 2)",
    "INSERT INTO chg_child VALUES (1, 'A'), (2, 'a'), (3, 'b')",
)


@pytest.fixture
def connect(sqlserver_settings: Settings) -> Iterator[Any]:
    opened: list[Any] = []

    def connect() -> Any:
        opened.append(mssql_python.connect(connection_string(sqlserver_settings), autocommit=True))
        return opened[-1].cursor()

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def cursor(connect: Any) -> Iterator[Any]:
    made = connect()
    for sql in (*TABLES, *MAKE):
        made.execute(sql)
    yield made
    for sql in ("IF @@TRANCOUNT > 0 ROLLBACK", *TABLES):
        made.execute(sql)


def rows(cursor: Any, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    cursor.execute(sql, *parameters)
    return [tuple(row) for row in cursor.fetchall()]


def run_all(cursor: Any, sql: str) -> None:
    cursor.execute(sql)
    while cursor.nextset():
        pass


def failure(cursor: Any, sql: str) -> str:
    with pytest.raises(mssql_python.Error) as caught:
        run_all(cursor, sql)
    return str(caught.value)


def test_a_trigger_audits_and_the_row_count_is_the_statements(cursor: Any) -> None:
    """Microsoft Learn, "Use the inserted and deleted tables"."""
    cursor.execute(
        "CREATE TRIGGER chg_t ON chg_parent AFTER UPDATE AS SET NOCOUNT ON; INSERT INTO chg_audit (code, was, [is]) "
        "SELECT i.code, d.v, i.v FROM inserted i JOIN deleted d ON d.code = i.code"
    )
    cursor.execute("UPDATE chg_parent SET v = v + ?", 10)
    assert cursor.rowcount == 2
    assert rows(cursor, "SELECT code, was, [is] FROM chg_audit ORDER BY code") == [("a", 1, 11), ("b", 2, 12)]


def test_a_throwing_trigger_undoes_the_transaction(cursor: Any) -> None:
    """Microsoft Learn, "CREATE TRIGGER" and "SET XACT_ABORT" (ON in a trigger)."""
    cursor.execute(
        "CREATE TRIGGER chg_t ON chg_parent AFTER UPDATE AS IF EXISTS (SELECT 1 FROM inserted WHERE v < 0) "
        "THROW 50001, 'v may not be negative', 1"
    )
    assert "v may not be negative" in failure(
        cursor, "BEGIN TRANSACTION; DELETE chg_child; UPDATE chg_parent SET v = -1 WHERE code = 'a'"
    )
    assert rows(cursor, "SELECT @@TRANCOUNT, COUNT(*) FROM chg_child") == [(0, 3)]


def test_rollback_in_a_trigger_is_3609(cursor: Any) -> None:
    """Microsoft Learn, "Database engine events and errors", 3609."""
    cursor.execute("CREATE TRIGGER chg_t ON chg_parent AFTER DELETE AS ROLLBACK TRANSACTION")
    assert "The transaction ended in the trigger" in failure(cursor, "DELETE chg_parent WHERE code = 'b'")
    assert rows(cursor, "SELECT COUNT(*) FROM chg_parent") == [(2,)]


def test_cascades_on_a_string_key_count_the_parent_alone(cursor: Any) -> None:
    """Microsoft Learn, "Primary and foreign key constraints"."""
    cursor.execute("UPDATE chg_parent SET code = 'q' WHERE code = 'A'")
    assert cursor.rowcount == 1
    assert rows(cursor, "SELECT id, code FROM chg_child ORDER BY id") == [(1, "q"), (2, "q"), (3, "b")]
    cursor.execute("DELETE chg_parent WHERE code = ?", "Q")
    assert cursor.rowcount == 1
    assert rows(cursor, "SELECT id FROM chg_child") == [(3,)]


def test_merge_tells_what_it_did(cursor: Any) -> None:
    """Microsoft Learn, "MERGE"."""
    found = rows(
        cursor,
        "MERGE chg_parent WITH (HOLDLOCK) AS t USING (VALUES ('B', 20), ('c', 30)) AS s (code, v) ON t.code = s.code "
        "WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT (code, v) VALUES (s.code, s.v) "
        "OUTPUT $action, deleted.v, inserted.v;",
    )
    assert sorted(found) == [("INSERT", None, 30), ("UPDATE", 2, 20)]
    assert "more than once" in failure(
        cursor,
        "MERGE chg_parent AS t USING chg_child AS s ON t.code = s.code WHEN MATCHED THEN UPDATE SET v = s.id;",
    )


def test_a_joined_update_waits_for_a_row_and_reads_it_again(cursor: Any, connect: Any) -> None:
    """Microsoft Learn, "Transaction locking and row versioning guide": updates read the current row."""
    other = connect()
    cursor.execute("BEGIN TRANSACTION; UPDATE chg_parent SET v = 100 WHERE code = 'a'")
    update = "UPDATE p SET v = p.v + c.id FROM chg_parent p JOIN chg_child c ON c.code = p.code WHERE c.id > 1"
    thread = threading.Thread(target=other.execute, args=(update,))
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    cursor.execute("COMMIT")
    thread.join(30)
    assert rows(cursor, "SELECT v FROM chg_parent ORDER BY code") == [(102,), (5,)]


def test_an_application_lock_is_one_connections_until_released(connect: Any, cursor: Any) -> None:
    """Microsoft Learn, "sp_getapplock"."""
    take = (
        "DECLARE @r int; EXEC @r = sp_getapplock @Resource = 'chg', @LockMode = 'Exclusive', @LockOwner = 'Session', "
        "@LockTimeout = ?; SELECT @r"
    )
    owner = connect()
    assert rows(owner, take, 0) == [(0,)]
    assert rows(cursor, take, 0) == [(-1,)]
    assert rows(cursor, "SELECT APPLOCK_TEST('public', 'chg', 'Shared', 'Session')") == [(0,)]
    owner.execute("EXEC sp_releaseapplock 'chg', 'Session'")
    assert rows(cursor, take, 0) == [(0,)]
    cursor.execute("EXEC sp_releaseapplock 'chg', 'Session'")
