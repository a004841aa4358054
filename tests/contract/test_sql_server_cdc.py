"""Change data capture, seen through the driver. On a real server it needs sysadmin and the SQL Server Agent.

The real server captures some time after the commit, so each test waits until the changes that it made are there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.session import Session
from sql_databricks_bridge.errors import SourceError
from tests.contract.own_database import Connect, own_database

CAPTURE_S = 60.0
NET = (
    "SELECT __$operation AS op, id, v FROM cdc.fn_cdc_get_net_changes_dbo_t(sys.fn_cdc_get_min_lsn('dbo_t'), "
    "sys.fn_cdc_get_max_lsn(), N'all') ORDER BY id"
)
ALL = (
    "SELECT __$operation AS op, id, v, __$update_mask AS mask FROM cdc.fn_cdc_get_all_changes_dbo_t("
    "sys.fn_cdc_get_min_lsn('dbo_t'), sys.fn_cdc_get_max_lsn(), N'{}') ORDER BY __$start_lsn, __$seqval, __$operation"
)


@pytest.fixture(scope="module")
def connect(sqlserver_settings: Settings) -> Iterator[Connect]:
    with own_database(sqlserver_settings) as connect:
        session = connect()
        try:
            agent = session.rows("SELECT COUNT(*) AS n FROM sys.dm_server_services WHERE servicename LIKE '%Agent%' "
                                 "AND status <> 4")  # fmt: skip
        except SourceError:  # no right to see it, or the stand-in, which needs none
            agent = [{"n": 0}]
        if agent[0]["n"]:
            pytest.skip("the SQL Server Agent, which captures, does not run")
        session.rows("ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON")
        try:
            session.rows("EXEC sys.sp_cdc_enable_db")
        except SourceError as exc:
            if "22902" in str(exc) or "sysadmin" in str(exc):
                pytest.skip(f"change data capture can't be enabled: {exc}")
            raise
        yield connect


@pytest.fixture
def session(connect: Connect) -> Iterator[Session]:
    made = connect()
    made.rows("CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY, v nvarchar(20) NULL, w int NULL)")
    made.rows("EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N't', @role_name = NULL")
    yield made
    made.rows("IF @@TRANCOUNT > 0 ROLLBACK")
    made.rows("EXEC sys.sp_cdc_disable_table @source_schema = N'dbo', @source_name = N't', @capture_instance = N'all'")
    made.rows("DROP TABLE dbo.t")


def wait_for(session: Session, sql: str, wanted: list[tuple[Any, ...]]) -> None:
    """Ask until the capture has come so far; the last answer is compared, whatever it is."""
    give_up = time.monotonic() + CAPTURE_S
    while True:
        try:
            found = [tuple(row.values()) for row in session.rows(sql)]
        except SourceError as exc:  # before the first capture there is no range
            if "313" not in str(exc) and "insufficient number of arguments" not in str(exc):
                raise
            found = []
        if found == wanted or time.monotonic() > give_up:
            break
    assert found == wanted


def test_net_changes_are_the_last_state_of_each_key(session: Session) -> None:
    session.rows("INSERT INTO dbo.t VALUES (1, N'a', 1), (2, N'b', 2), (3, N'c', 3)")
    session.rows("UPDATE dbo.t SET v = N'B' WHERE id = 2")
    session.rows("DELETE FROM dbo.t WHERE id = 3")
    wait_for(session, NET, [(2, 1, "a"), (2, 2, "B")])


def test_all_changes_are_each_change_with_its_mask(session: Session) -> None:
    session.rows("INSERT INTO dbo.t VALUES (1, N'a', 1)")
    session.rows("UPDATE dbo.t SET v = N'b' WHERE id = 1")
    session.rows("DELETE FROM dbo.t")
    wait_for(session, ALL.format("all"), [(2, 1, "a", b"\x07"), (4, 1, "b", b"\x02"), (1, 1, "b", b"\x07")])
    old = [(2, 1, "a", b"\x07"), (3, 1, "a", b"\x02"), (4, 1, "b", b"\x02"), (1, 1, "b", b"\x07")]
    wait_for(session, ALL.format("all update old"), old)


def test_a_range_after_the_last_one_has_what_came_since(session: Session) -> None:
    session.rows("INSERT INTO dbo.t VALUES (1, N'a', 1), (2, N'b', 2)")
    wait_for(session, NET, [(2, 1, "a"), (2, 2, "b")])
    (before,) = session.rows("SELECT sys.fn_cdc_increment_lsn(sys.fn_cdc_get_max_lsn()) AS lsn")
    session.rows(
        "UPDATE dbo.t SET v = NULL WHERE id = 1; DELETE FROM dbo.t WHERE id = 2; INSERT INTO dbo.t (id) VALUES (3)"
    )
    text = f"0x{before['lsn'].hex()}"
    later = f"DECLARE @from binary(10) = {text}, @to binary(10) = sys.fn_cdc_get_max_lsn(); " + NET.replace(
        "sys.fn_cdc_get_min_lsn('dbo_t')", "@from").replace("sys.fn_cdc_get_max_lsn(), N'all'",
        "@to, N'all'")  # fmt: skip
    wait_for(session, later, [(4, 1, None), (1, 2, "b"), (2, 3, None)])


def test_a_deleted_and_inserted_key_is_an_update_and_a_moved_key_two_changes(session: Session) -> None:
    session.rows("INSERT INTO dbo.t VALUES (1, N'a', 1), (2, N'b', 2)")
    wait_for(session, NET, [(2, 1, "a"), (2, 2, "b")])
    (before,) = session.rows("SELECT sys.fn_cdc_increment_lsn(sys.fn_cdc_get_max_lsn()) AS lsn")
    session.rows(
        "DELETE FROM dbo.t WHERE id = 1; INSERT INTO dbo.t VALUES (1, N'z', 1); UPDATE dbo.t SET id = 5 WHERE id = 2"
    )
    later = NET.replace("sys.fn_cdc_get_min_lsn('dbo_t')", f"0x{before['lsn'].hex()}")
    wait_for(session, later, [(4, 1, "z"), (1, 2, "b"), (2, 5, "b")])


def test_a_range_outside_the_validity_interval_is_error_313(session: Session) -> None:
    session.rows("INSERT INTO dbo.t VALUES (1, N'a', 1)")
    wait_for(session, NET, [(2, 1, "a")])
    for low, high in (("0x00000000000000000001", "sys.fn_cdc_get_max_lsn()"),
                      ("sys.fn_cdc_get_min_lsn('dbo_t')", "0xFFFFFFFFFFFFFFFFFFFF"),
                      ("sys.fn_cdc_get_min_lsn('no_such')", "sys.fn_cdc_get_max_lsn()")):  # fmt: skip
        with pytest.raises(SourceError, match="insufficient number of arguments"):
            session.rows(f"SELECT * FROM cdc.fn_cdc_get_net_changes_dbo_t({low}, {high}, N'all')")


def test_the_catalog_tells_what_is_captured(session: Session) -> None:
    (database,) = session.rows("SELECT is_cdc_enabled AS x FROM sys.databases WHERE database_id = DB_ID()")
    (table,) = session.rows("SELECT is_tracked_by_cdc AS x FROM sys.tables WHERE name = N't'")
    (change,) = session.rows(
        "SELECT capture_instance, supports_net_changes, start_lsn, OBJECT_NAME(source_object_id) AS source "
        "FROM cdc.change_tables"
    )
    assert (database["x"], table["x"]) == (True, True)
    assert (change["capture_instance"], change["supports_net_changes"], change["source"]) == ("dbo_t", True, "t")
    assert len(change["start_lsn"]) == 10


def test_a_snapshot_sees_no_lsn_of_a_later_commit(connect: Connect, session: Session) -> None:
    session.rows("INSERT INTO dbo.t VALUES (1, N'a', 1)")
    wait_for(session, NET, [(2, 1, "a")])
    other = connect()
    other.rows("SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRANSACTION")
    rows = other.rows("SELECT sys.fn_cdc_get_max_lsn() AS lsn, (SELECT COUNT(*) FROM dbo.t) AS n")
    session.rows("INSERT INTO dbo.t VALUES (2, N'b', 2)")
    wait_for(session, NET, [(2, 1, "a"), (2, 2, "b")])
    assert other.rows("SELECT sys.fn_cdc_get_max_lsn() AS lsn, (SELECT COUNT(*) FROM dbo.t) AS n") == rows
    assert [tuple(row.values()) for row in other.rows(NET)] == [(2, 1, "a")]
    other.rows("ROLLBACK")


def test_net_changes_join_the_query_they_belong_to_through_parameters(session: Session) -> None:
    session.rows("INSERT INTO dbo.t VALUES (1, N'a', 1), (2, N'b', 2); DELETE FROM dbo.t WHERE id = 2; "
                 "UPDATE dbo.t SET w = 7")  # fmt: skip
    wait_for(session, NET, [(2, 1, "a")])
    text = (
        "SELECT c.[__$operation] AS op, c.id AS k, q.* "
        "FROM cdc.fn_cdc_get_net_changes_dbo_t(@from, @to, N''all'') AS c "
        "LEFT JOIN (SELECT id, w FROM dbo.t) AS q ON q.id = c.id"
    )
    head = "DECLARE @a binary(10) = sys.fn_cdc_get_min_lsn('dbo_t'), @b binary(10) = sys.fn_cdc_get_max_lsn(); "
    run = f"{head}EXEC sp_executesql N'{text}', N'@from binary(10), @to binary(10)', @from = @a, @to = @b"
    assert [tuple(row.values()) for row in session.rows(run)] == [(2, 1, 1, 7)]
    described = session.rows(f"EXEC sp_describe_first_result_set N'{text}', N'@from binary(10), @to binary(10)'")
    assert [(d["name"], d["system_type_name"]) for d in described] == [
        ("op", "int"), ("k", "int"), ("id", "int"), ("w", "int"),
    ]  # fmt: skip


def test_a_bulk_copy_is_captured_and_a_rollback_is_not(session: Session) -> None:
    session.rows("BEGIN TRANSACTION; INSERT INTO dbo.t (id) VALUES (8); ROLLBACK")
    rows = {"id": pa.array([40], pa.int32()), "v": pa.array(["x"]), "w": pa.array([None], pa.int32())}
    session.cursor().bulkcopy_arrow("dbo.t", pa.table(rows))
    wait_for(session, NET, [(2, 40, "x")])


def test_truncate_of_a_captured_table_is_refused(session: Session) -> None:
    with pytest.raises(SourceError, match="Cannot truncate table"):
        session.rows("TRUNCATE TABLE dbo.t")


def test_merge_cascades_and_triggers_are_captured(session: Session) -> None:
    session.rows("CREATE TABLE dbo.parent (id int PRIMARY KEY)")
    try:
        session.rows("INSERT INTO dbo.parent VALUES (1), (2), (3)")
        session.rows(
            "ALTER TABLE dbo.t ADD CONSTRAINT t_parent FOREIGN KEY (id) REFERENCES dbo.parent ON DELETE CASCADE"
        )
        session.rows(
            "CREATE TRIGGER parent_t ON dbo.parent AFTER INSERT AS INSERT INTO dbo.t (id) SELECT id FROM inserted"
        )
        session.rows("MERGE dbo.t AS t USING (VALUES (1, N'a'), (2, N'b')) AS s(id, v) ON t.id = s.id "
                     "WHEN NOT MATCHED THEN INSERT (id, v) VALUES (s.id, s.v);")  # fmt: skip
        session.rows("INSERT INTO dbo.parent VALUES (9)")
        session.rows("DELETE FROM dbo.parent WHERE id = 2")
        wait_for(session, NET, [(2, 1, "a"), (2, 9, None)])
        wait_for(session, ALL.format("all"), [(2, 1, "a", b"\x07"), (2, 2, "b", b"\x07"), (2, 9, None, b"\x07"),
                                              (1, 2, "b", b"\x07")])  # fmt: skip
    finally:
        session.rows("ALTER TABLE dbo.t DROP CONSTRAINT IF EXISTS t_parent; DROP TABLE dbo.parent")


def test_a_table_that_is_not_captured_can_be_neither_disabled_nor_read(session: Session) -> None:
    session.rows("CREATE TABLE dbo.plain (id int)")
    try:
        with pytest.raises(SourceError, match="not been enabled for source table"):
            session.rows("EXEC sys.sp_cdc_disable_table N'dbo', N'plain', N'all'")
        with pytest.raises(SourceError, match="supports_net_changes is set to 1"):
            session.rows("EXEC sys.sp_cdc_enable_table N'dbo', N'plain', NULL, @supports_net_changes = 1")
        with pytest.raises(SourceError, match="does not exist"):
            session.rows("EXEC sys.sp_cdc_enable_table N'dbo', N'no_such', NULL")
    finally:
        session.rows("DROP TABLE dbo.plain")
