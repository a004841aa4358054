"""RPCs, describe, the catalog, logins and the engine's life."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest

from sql_databricks_bridge.sandbox.sql_server.contract import (
    Engine,
    LoginRequest,
    RpcCall,
    RpcParameter,
    Session,
    SqlError,
    SqlType,
)
from sql_databricks_bridge.sandbox.sql_server.engine import create_engine

Run = Callable[[str], Any]
_TEXT = SqlType("nvarchar", -1)


def text(value: str, name: str = "") -> RpcParameter:
    return RpcParameter(name, _TEXT, pa.array([value], pa.large_string()))


def number(value: int | None, name: str = "", *, output: bool = False) -> RpcParameter:
    return RpcParameter(name, SqlType("int"), pa.array([value], pa.int32()), output)


def test_sp_executesql_binds_typed_parameters_and_returns_outputs(session: Session, gather: Callable[..., Any]) -> None:
    call = RpcCall(
        "sp_executesql",
        (
            text("SET @b = @a * 2; SELECT @a AS a"),
            text("@a int, @b int OUTPUT"),
            number(21, "@a"),
            number(None, "@b", output=True),
        ),
    )
    out = gather(session.rpc(call))
    assert out.rows == [[(21,)]]
    assert out.outputs == {"@b": 42}


def test_a_prepared_statement_runs_by_its_handle_until_unprepared(session: Session, gather: Callable[..., Any]) -> None:
    out = gather(
        session.rpc(
            RpcCall("sp_prepexec", (number(None, output=True), text("@p int"), text("SELECT @p + 1"), number(1, "@p")))
        )
    )
    assert out.rows == [[(2,)]]
    handle = out.outputs[""]
    assert gather(session.rpc(RpcCall("sp_execute", (number(handle), number(5, "@p"))))).rows == [[(6,)]]
    gather(session.rpc(RpcCall("sp_unprepare", (number(handle),))))
    assert gather(session.rpc(RpcCall("sp_execute", (number(handle), number(5, "@p"))))).errors == [8179]


def test_a_missing_parameter_is_8178(session: Session, gather: Callable[..., Any]) -> None:
    assert gather(session.rpc(RpcCall("sp_executesql", (text("SELECT @a"), text("@a int"))))).errors == [8178]


def test_describe_first_result_set_types_columns_without_running(session: Session, gather: Callable[..., Any]) -> None:
    sql = "SELECT carrier, dep_delay / 2.0 AS half, 1/0 AS z FROM Flights.dbo.flights WHERE month = @m"
    out = gather(session.rpc(RpcCall("sp_describe_first_result_set", (text(sql), text("@m int")))))
    names = [c.name for c in out.columns[0]]
    picked = [tuple(r[names.index(c)] for c in ("name", "system_type_name", "is_nullable")) for r in out.rows[0]]
    assert picked == [("carrier", "char(2)", False), ("half", "numeric(12,6)", True), ("z", "int", True)]


def test_describe_reports_the_query_s_own_error(session: Session, gather: Callable[..., Any]) -> None:
    out = gather(session.rpc(RpcCall("sp_describe_first_result_set", (text("SELECT nope FROM Flights.dbo.flights"),))))
    assert out.errors == [207]


def test_undeclared_parameters_take_their_columns_types_or_are_refused(run: Run) -> None:
    out = run("EXEC sp_describe_undeclared_parameters N'SELECT 1 FROM Flights.dbo.flights WHERE carrier = @c'")
    assert [r[3] for r in out.rows[0]] == ["char(2)"]
    assert run("EXEC sp_describe_undeclared_parameters N'SELECT @x'").errors == [50100]


def test_the_catalog_knows_tables_columns_and_keys(run: Run) -> None:
    out = run(
        "SELECT c.name, t.name, c.max_length, c.is_nullable FROM Flights.sys.columns c JOIN Flights.sys.types t "
        "ON t.user_type_id = c.user_type_id JOIN Flights.sys.tables x ON x.object_id = c.object_id WHERE "
        "x.name = 'AIRLINES' "
        "ORDER BY c.column_id; SELECT snapshot_isolation_state FROM sys.databases WHERE name = 'flights'"
    )
    assert out.rows == [[("carrier", "char", 2, False), ("name", "nvarchar", 200, False)], [(1,)]]


def test_application_locks_exclude_and_die_with_their_session(
    session: Session, connect: Callable[..., Session], on: Callable[..., Any]
) -> None:
    take = (
        "DECLARE @r int; EXEC @r = sp_getapplock @Resource = 'bridge:1', @LockMode = 'Exclusive', "
        "@LockOwner = 'Session', @LockTimeout = 0; SELECT @r"
    )
    other = connect()
    assert on(session, take).rows == [[(0,)]]
    assert on(other, take).rows == [[(-1,)]]
    session.close()
    assert on(other, take.replace("@LockTimeout = 0", "@LockTimeout = 5000")).rows[0][0][0] >= 0


def test_a_wrong_login_is_18456_and_an_unknown_database_4060(engine: Engine) -> None:
    with pytest.raises(SqlError, match="18456"):
        engine.login(LoginRequest("sa", "wrong", ""))
    with pytest.raises(SqlError, match="4060"):
        engine.login(LoginRequest("sa", "Secret!1", "nosuch"))


def test_hostile_names_are_only_names(run: Run) -> None:
    name = "a]\"';DROP TABLE x--é\u3000"
    quoted = "[" + name.replace("]", "]]") + "]"
    out = run(
        f"CREATE TABLE {quoted} ({quoted} int); INSERT INTO {quoted} VALUES (1); SELECT {quoted} FROM "
        f"{quoted}; DROP TABLE {quoted}"
    )
    assert not out.errors
    assert out.columns[0][0].name == name


def test_reset_drops_temporary_tables_options_and_transactions(session: Session, on: Callable[..., Any]) -> None:
    on(session, "CREATE TABLE #t (a int); SET XACT_ABORT ON; BEGIN TRAN")
    session.reset()
    assert on(session, "SELECT @@TRANCOUNT").rows == [[(0,)]]
    assert on(session, "SELECT * FROM #t").errors == [208]


def test_data_survives_and_no_postgres_outlives_a_killed_engine(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, time\n"
        "from sql_databricks_bridge.sandbox.sql_server.contract import LoginRequest\n"
        "from sql_databricks_bridge.sandbox.sql_server.engine import create_engine\n"
        "e = create_engine(pathlib.Path(sys.argv[1]), 'none', 'W', 'sa', 'p')\n"
        "list(e.login(LoginRequest('sa', 'p', 'W')).batch('CREATE TABLE t (a int); INSERT INTO t VALUES (7)'))\n"
        "print(e.postgres.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    server = psutil.Process(int(child.stdout.readline()))
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    psutil.wait_procs([server], timeout=20)
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
    engine = create_engine(tmp_path, "none", "w", "sa", "p")
    try:
        session = engine.login(LoginRequest("sa", "p", "W"))
        batches = [b for e in session.batch("SELECT a FROM t") if hasattr(e, "batches") for b in e.batches]
        assert [b.column(0).to_pylist() for b in batches] == [[7]]
    finally:
        engine.close()


_BEFORE_BULK_COPY = """SELECT @@TRANCOUNT;
DECLARE @Column_Names NVARCHAR(MAX) = NULL;
DECLARE @object_id INT = OBJECT_ID(N'[Flights].[dbo].[airlines]');
DECLARE @sql NVARCHAR(MAX);
SET @sql = N'SELECT @CN = COALESCE(@CN + N'', '', N'''') + QUOTENAME([name]) FROM [Flights].sys.all_columns WHERE
[object_id] = @ObjId';
IF EXISTS (SELECT TOP 1 * FROM sys.all_columns WHERE [object_id] = OBJECT_ID('sys.all_columns')
AND [name] = 'graph_type')
    SET @sql = @sql + N' AND COALESCE([graph_type], 0) NOT IN (1, 3, 4, 6, 7)';
SET @sql = @sql + N' ORDER BY [column_id] ASC';
EXEC sp_executesql @sql, N'@CN NVARCHAR(MAX) OUTPUT, @ObjId INT', @CN = @Column_Names OUTPUT, @ObjId = @object_id;
SELECT @Column_Names = COALESCE(@Column_Names, '*');
SET FMTONLY ON;
EXEC(N'SELECT ' + @Column_Names + N' FROM [Flights].[dbo].[airlines]');
SET FMTONLY OFF;
EXEC [Flights]..sp_tablecollations_100 N'[Flights].[dbo].[airlines]';"""


def test_the_batch_that_the_driver_sends_before_a_bulk_copy_runs(run: Run) -> None:
    # mssql-python 1.16 (mssql-tds, metadata_retriever), read from its binary
    out = run(_BEFORE_BULK_COPY)
    assert not out.errors, out.messages
    assert [c.name for c in out.columns[1]] == ["carrier", "name"]
    assert out.rows[1] == []
    assert [r[1] for r in out.rows[2]] == ["carrier", "name"]


def test_a_procedure_of_another_database_is_refused_by_name(gather: Callable[..., Any], session: Session) -> None:
    """Its text would run there; here it would answer for the wrong database."""
    out = gather(session.batch("EXEC other_db.sys.sp_executesql N'SELECT DB_NAME()'"))
    assert "another database (other_db.sys.sp_executesql)" in out.messages[0].text
    here = gather(session.batch("SELECT DB_NAME()")).rows[0][0][0]
    assert gather(session.batch(f"EXEC {here}.sys.sp_executesql N'SELECT DB_NAME()'")).rows == [[(here,)]]
