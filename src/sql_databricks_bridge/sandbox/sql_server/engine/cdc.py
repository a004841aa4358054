"""Change data capture: its procedures.

Row triggers of PostgreSQL record the changes: so every path counts (INSERT, UPDATE, DELETE, MERGE, cascades, T-SQL
triggers, COPY), and a table that is not captured has nothing to pay. SQL Server's capture job reads the log some time
after the commit; here a change can be read as soon as it is committed. Sources: "sys.sp_cdc_enable_db",
"..._disable_db", "..._enable_table", "..._disable_table", "cdc.change_tables", "cdc.<capture_instance>_CT".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..contract import Event, SqlError
from . import catalog
from .cdc_capture import drop, record
from .errors import error, unsupported
from .pg import PgSession, quote
from .table import Table, TableColumn

if TYPE_CHECKING:
    from .procedures import Call


# -- procedures ------------------------------------------------------------------------------------------------------


def enable_database(call: Call) -> Iterator[Event]:
    """sys.sp_cdc_enable_db."""
    pg, number = call.session.pg, _database(call)
    if number <= 4:
        raise unsupported("change data capture in a system database")
    if is_enabled(pg, number):
        raise unsupported("sys.sp_cdc_enable_db in a database that is enabled already")
    with call.runner.protected(atomic=True):
        pg.run(f"CREATE SEQUENCE IF NOT EXISTS d{number}.cdc_lsns AS int8")
        pg.run(f"INSERT INTO tsql.cdc_databases VALUES ({number})")
    return iter(())


def disable_database(call: Call) -> Iterator[Event]:
    """sys.sp_cdc_disable_db: all capture instances go with it."""
    pg, number = call.session.pg, _required(call)
    with call.runner.protected(atomic=True):
        drop(pg, f"dbid = {number}")
        forget_database(pg, number)
    return iter(())


def enable_table(call: Call) -> Iterator[Event]:
    """sys.sp_cdc_enable_table."""
    number = _required(call)
    table = _source(call)
    for position, name in enumerate(("filegroup_name", "allow_partition_switch"), 7):
        if call.take(position, name) is not None:
            raise unsupported(f"@{name} of sys.sp_cdc_enable_table")
    if call.take(2, "role_name") is None:
        raise error(201, f"Procedure or function '{call.name}' expects parameter '@role_name', which was not supplied.")
    instance = call.text(3, "capture_instance", required=False) or f"{table.schema}_{table.name}"
    index = call.text(5, "index_name", required=False)
    keys = _keys(table, index)
    asked = call.take(4, "supports_net_changes")
    net = bool(keys) if asked is None or asked.value is None else bool(int(asked.value))
    if net and not keys:
        raise error(
            22939,
            "The parameter @supports_net_changes is set to 1, but the source table does not have a primary key defined "
            "and no alternate unique index has been specified.",
        )
    columns = _captured(table, call.text(6, "captured_column_list", required=False))
    if not all(any(k.id == c.id for c in columns) for k in keys):
        raise unsupported("a @captured_column_list without the key")
    pg = call.session.pg
    _refuse_instance(pg, number, table, instance)
    role = call.text(2, "role_name", required=False)
    with call.runner.protected(atomic=True):
        shown = index if index or not keys else _primary(table)
        record(pg, number, table, columns, keys, instance, role, shown, net)
    return iter(())


def disable_table(call: Call) -> Iterator[Event]:
    """sys.sp_cdc_disable_table; @capture_instance 'all' is every instance of the table."""
    number = _required(call)
    table = _source(call)
    instance = call.text(2, "capture_instance") or ""
    pg = call.session.pg
    where = f"dbid = {number} AND source = {table.id}"
    if not pg.rows(f"SELECT 1 FROM tsql.cdc_instances WHERE {where}"):
        raise error(
            22985,
            f"Change data capture has not been enabled for source table '{table.schema}.{table.name}'. Specify the "
            "name of a table enabled for Change Data Capture. To report on the tables enabled for Change Data Capture, "
            "query the is_tracked_by_cdc column in the sys.tables catalog view.",
        )
    if instance.lower() != "all":
        where += f" AND lower(name) = {quote(instance.lower())}"
    with call.runner.protected(atomic=True):
        if not drop(pg, where):
            raise error(
                22960,
                f"Change data capture instance '{instance}' has not been enabled for the source table "
                f"'{table.schema}.{table.name}'. Use sys.sp_cdc_help_change_data_capture to verify the capture "
                "instance name and retry the operation.",
            )
    return iter(())


# -- what definitions.py asks ----------------------------------------------------------------------------------------


def is_enabled(pg: PgSession, number: int) -> bool:
    return bool(pg.rows(f"SELECT 1 FROM tsql.cdc_databases WHERE dbid = {number}"))


def is_captured(pg: PgSession, table: Table) -> bool:
    return bool(pg.rows(f"SELECT 1 FROM tsql.cdc_instances WHERE source = {table.id}"))


def refuse_truncate(pg: PgSession, table: Table, line: int) -> None:
    """Msg 4711."""
    if is_captured(pg, table):
        raise error(
            4711,
            f"Cannot truncate table '{table.name}' because it is published for replication or enabled for Change Data "
            "Capture.",
            line=line,
        )


def refuse_column(pg: PgSession, table: Table, column: TableColumn, line: int) -> None:
    """A captured column that is dropped: SQL Server goes on with NULL in the change table."""
    rows = pg.rows(f"SELECT columns::text FROM tsql.cdc_instances WHERE source = {table.id}")
    if any(column.id in json.loads(text) for (text,) in rows):
        raise unsupported("dropping a column that change data capture captures", line)


def forget_table(pg: PgSession, table: Table) -> None:
    """DROP TABLE."""
    drop(pg, f"source = {table.id}")


def forget_database(pg: PgSession, number: int) -> None:
    """DROP DATABASE, whose schema takes the change tables along."""
    for name in ("instances", "commits", "databases"):
        pg.run(f"DELETE FROM tsql.cdc_{name} WHERE dbid = {number}")


# -- arguments -------------------------------------------------------------------------------------------------------


def _database(call: Call) -> int:
    found = catalog.database_id(call.session.pg, call.session.database)
    assert found is not None
    return found[0]


def _required(call: Call) -> int:
    number = _database(call)
    if not is_enabled(call.session.pg, number):
        raise error(
            22901,
            f"The database '{call.session.database}' is not enabled for Change Data Capture. Ensure that the correct "
            "database context is set and retry the operation. To report on the databases enabled for Change Data "
            "Capture, query the is_cdc_enabled column in the sys.databases catalog view.",
        )
    return number


def _source(call: Call) -> Table:
    schema, name = call.text(0, "source_schema") or "", call.text(1, "source_name") or ""
    try:
        table = call.runner.binder().table((schema, name), 0)
    except SqlError as exc:
        if exc.message.number != 208:
            raise
        raise error(
            22931,
            f"Source table '{schema}.{name}' does not exist in the current database. Ensure that the correct database "
            "context is set. Specify a valid schema and table name for the database.",
        ) from exc
    return table


def _primary(table: Table) -> str | None:
    return next((i.name for i in table.indexes if i.primary), None)


def _keys(table: Table, index: str | None) -> list[TableColumn]:
    """What identifies a row: the unique index that is named, else the primary key; none where there is neither."""
    found = next((i for i in table.indexes if (i.name.lower() == index.lower() if index else i.primary)), None)
    if index and (found is None or not found.unique or found.filter):
        raise unsupported(f"@index_name = '{index}': it is no unique index of {table.schema}.{table.name}")
    if found is None:
        return []
    columns = [table.column(name) for name, _ in found.columns]
    return [c for c in columns if c is not None]


def _captured(table: Table, listed: str | None) -> list[TableColumn]:
    if listed is None:
        return [c for c in table.columns if not c.hidden]
    names = [name.strip().strip("[]") for name in listed.split(",")]
    columns = [table.column(name) for name in names]
    if None in columns:
        raise unsupported(f"@captured_column_list = '{listed}': a column that {table.schema}.{table.name} lacks")
    wanted = {c.id for c in columns if c is not None}
    return [c for c in table.columns if c.id in wanted]


def _refuse_instance(pg: PgSession, number: int, table: Table, instance: str) -> None:
    if pg.rows(f"SELECT 1 FROM tsql.cdc_instances WHERE dbid = {number} AND lower(name) = {quote(instance.lower())}"):
        raise error(
            22926,
            f"Could not create a capture instance because the capture instance name '{instance}' already exists in the "
            "current database. Specify an explicit unique name for the parameter @capture_instance.",
        )
    if len(pg.rows(f"SELECT 1 FROM tsql.cdc_instances WHERE source = {table.id}")) > 1:
        raise error(
            22962,
            f"Two capture instances already exist for source table '{table.schema}.{table.name}'. A table can have at "
            "most two capture instances. If the current tracking options are not appropriate, disable change tracking "
            "for the obsolete instance by using sys.sp_cdc_disable_table and retry the operation.",
        )
