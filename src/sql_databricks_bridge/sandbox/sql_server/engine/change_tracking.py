"""Change tracking switched on and off, its catalog, and what records the changes of a tracked table.

PostgreSQL's statement triggers record the keys: so every path counts (INSERT, UPDATE, DELETE, MERGE, cascades, T-SQL
triggers, COPY), and a table that is not tracked has nothing to pay. Sources: "ALTER DATABASE SET options", "ALTER
TABLE", "About change tracking", "Manage change tracking", "Change tracking functions".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..contract import SqlError
from . import catalog
from . import nodes as n
from .bound import Ex
from .errors import error
from .pg import PgSession
from .table import Table, TableColumn
from .types import BIGINT, pg_type

if TYPE_CHECKING:
    from .runner import Runner

_SYSTEM = frozenset({"master", "tempdb", "model", "msdb"})
_CODES = {"D": 0, "I": 1, "U": 2}
_TWO_DAYS = (2, 3)


# -- databases -------------------------------------------------------------------------------------------------------


def alter_database(runner: Runner, node: n.AlterDatabaseTracking, number: int, name: str) -> None:
    """ON, OFF or other options; Msg 5088, 5089, 5090, 22115."""
    pg = runner.session.pg
    if name.lower() in _SYSTEM:
        raise error(
            5090,
            f"Database '{name}' is a system database. Change tracking settings cannot be modified for system "
            "databases.",
            line=node.line,
        )
    tracked = bool(pg.rows(f"SELECT 1 FROM tsql.ct_databases WHERE dbid = {number}"))
    if node.on and tracked:
        raise error(5088, f"Change tracking is already enabled for database '{name}'.", line=node.line)
    if not node.on and not tracked:
        raise error(
            5089,
            f"Change tracking is disabled for database '{name}'. Change tracking must be enabled on a database to "
            "modify change tracking settings.",
            line=node.line,
        )
    if node.on:
        period, units = node.retention or _TWO_DAYS
        pg.run(f"CREATE SEQUENCE IF NOT EXISTS d{number}.ct_versions AS int8")
        pg.run(
            f"INSERT INTO tsql.ct_databases SELECT {number}, {period}, {units}, {node.auto_cleanup is not False}, "
            f"last_value - 1 + is_called::int FROM d{number}.ct_versions"
        )
    elif node.on is None:
        _change_options(pg, node, number)
    elif pg.rows(f"SELECT 1 FROM tsql.ct_tables WHERE dbid = {number} LIMIT 1"):
        raise error(
            22115,
            f"Change tracking is enabled for one or more tables in database '{name}'. Disable change tracking on each "
            "table before disabling it for the database. Use the sys.change_tracking_tables catalog view to obtain a "
            "list of tables for which change tracking is enabled.",
            line=node.line,
        )
    else:
        forget_database(pg, number)


def _change_options(pg: PgSession, node: n.AlterDatabaseTracking, number: int) -> None:
    sets = []
    if node.retention is not None:
        sets += [f"retention = {node.retention[0]}", f"units = {node.retention[1]}"]
    if node.auto_cleanup is not None:
        sets.append(f"auto_cleanup = {node.auto_cleanup}")
    pg.run(f"UPDATE tsql.ct_databases SET {', '.join(sets)} WHERE dbid = {number}")


def forget_database(pg: PgSession, number: int) -> None:
    """What is known of a database's tracked changes, its settings included."""
    for table in ("ct_commits", "ct_tables", "ct_databases"):
        pg.run(f"DELETE FROM tsql.{table} WHERE dbid = {number}")


# -- tables ----------------------------------------------------------------------------------------------------------


def alter_table(runner: Runner, node: n.AlterTableTracking) -> None:
    """ENABLE or DISABLE; Msg 1718, 4996, 4997, 4998, 4999."""
    pg = runner.session.pg
    table = runner.binder().table(node.table, node.line)
    tracked = is_tracked(pg, table)
    if not node.on:
        if not tracked:
            raise error(4998, f"Change tracking is not enabled on table '{table.name}'.", line=node.line)
        forget_table(pg, table)
        return
    if table.pg_schema == "pg_temp" or not pg.rows(f"SELECT 1 FROM tsql.ct_databases WHERE dbid = {_database(table)}"):
        raise error(
            1718,
            f"Change tracking must be enabled on database '{table.database}' before it can be enabled on table "
            f"'{table.name}'.",
            line=node.line,
        )
    if tracked:
        raise error(4996, f"Change tracking is already enabled for table '{table.name}'.", line=node.line)
    keys = key_columns(table)
    if not keys:
        raise error(
            4997,
            f"Cannot enable change tracking on table '{table.name}'. Change tracking requires a primary key on the "
            "table. Create a primary key on the table before enabling change tracking.",
            line=node.line,
        )
    if any(c.type.name == "timestamp" for c in keys):
        raise error(
            4999,
            f"Cannot enable change tracking on table '{table.name}'. Change tracking does not support a primary key of "
            "type timestamp on a table.",
            line=node.line,
        )
    _record(pg, table, keys)
    pg.run(
        f"INSERT INTO tsql.ct_tables VALUES ({table.id}, {_database(table)}, {node.columns_updated}, "
        f"tsql.ct_current({_database(table)}))"
    )


def columns_updated(pg: PgSession, table: Table) -> bool | None:
    """Whether a tracked table tracks columns; None for a table that is not tracked."""
    rows = pg.rows(f"SELECT columns_updated FROM tsql.ct_tables WHERE id = {table.id}")
    return bool(rows[0][0]) if rows else None


def is_tracked(pg: PgSession, table: Table) -> bool:
    return columns_updated(pg, table) is not None


def key_columns(table: Table) -> list[TableColumn]:
    """The primary key's columns in the table's order."""
    names = {name.lower() for i in table.indexes if i.primary for name, _ in i.columns}
    return [c for c in table.columns if c.name.lower() in names]


def _database(table: Table) -> int:
    return int(table.pg_schema[1:])


def side_table(table: Table) -> str:
    return f"{table.pg_schema}.ct{table.id}"


def _record(pg: PgSession, table: Table, keys: list[TableColumn]) -> None:
    """The side table and the triggers that fill it; they wait for open transactions that changed the table."""
    side, db = side_table(table), _database(table)
    shown = [c.pg for c in keys] + [c.key_pg for c in keys if c.keyed]
    types = [f"{c.pg} {pg_type(c.type)}" for c in keys] + [f"{c.key_pg} {c.key_type}" for c in keys if c.keyed]
    pg.run(
        f"CREATE TABLE {side} (seq int8 GENERATED ALWAYS AS IDENTITY, xid xid8 NOT NULL, op int2 NOT NULL, "
        f"{', '.join(types)})"
    )
    pg.run(f"CREATE INDEX ct{table.id}_xid ON {side} (xid)")
    same = " AND ".join(f"o.{c.key_pg} = n.{c.key_pg}" for c in keys)

    def insert(op: str, rows: str, where: str = "") -> str:
        columns = ", ".join(shown)
        read = f"SELECT pg_current_xact_id(), {_CODES[op]}, {columns} FROM {rows}{where}"
        return f"INSERT INTO {side} (xid, op, {columns}) {read};"

    moved = {
        "D": insert("D", "old_rows o", f" WHERE NOT EXISTS (SELECT 1 FROM new_rows n WHERE {same})"),
        "I": insert("I", "new_rows n", f" WHERE NOT EXISTS (SELECT 1 FROM old_rows o WHERE {same})"),
        "U": insert("U", "new_rows n", f" WHERE EXISTS (SELECT 1 FROM old_rows o WHERE {same})"),
    }
    bodies = {
        "INSERT": ("NEW TABLE AS new_rows", insert("I", "new_rows")),
        "UPDATE": ("OLD TABLE AS old_rows NEW TABLE AS new_rows", " ".join(moved.values())),
        "DELETE": ("OLD TABLE AS old_rows", insert("D", "old_rows")),
    }
    for event, (referencing, body) in bodies.items():
        function, trigger = f"{side}_{event.lower()}", f'"T_track_{event.lower()}"'
        some = "old_rows" if event == "DELETE" else "new_rows"
        pg.run(
            f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $track$ BEGIN "
            f"IF EXISTS (SELECT 1 FROM {some}) THEN {body} PERFORM tsql.ct_mark({db}); END IF; RETURN NULL; END $track$"
        )
        pg.run(
            f"CREATE TRIGGER {trigger} AFTER {event} ON {table.pg} REFERENCING {referencing} FOR EACH STATEMENT "
            f"EXECUTE FUNCTION {function}()"
        )
        # A bulk load goes past foreign keys by switching ordinary triggers off.
        pg.run(f"ALTER TABLE {table.pg} ENABLE ALWAYS TRIGGER {trigger}")


def forget_table(pg: PgSession, table: Table) -> None:
    """DISABLE, and DROP TABLE: its changes go too."""
    if not is_tracked(pg, table):
        return
    for event in ("insert", "update", "delete"):
        pg.run(f"DROP FUNCTION {side_table(table)}_{event}() CASCADE")
    pg.run(f"DROP TABLE {side_table(table)}")
    pg.run(f"DELETE FROM tsql.ct_tables WHERE id = {table.id}")


def restart(pg: PgSession, table: Table) -> None:
    """TRUNCATE TABLE: "as if change tracking has just been enabled on the table" ("CHANGETABLE")."""
    if is_tracked(pg, table):
        pg.run(f"DELETE FROM {side_table(table)}")
        current = f"tsql.ct_current({_database(table)})"
        pg.run(f"UPDATE tsql.ct_tables SET begin_version = {current} WHERE id = {table.id}")


def refuse_key_drop(pg: PgSession, table: Table, name: str, line: int) -> None:
    """Msg 3735: the primary key of a tracked table stays."""
    primary = next((i for i in table.indexes if i.primary and i.name.lower() == name.lower()), None)
    if primary is not None and is_tracked(pg, table):
        raise error(
            3735,
            f"The primary key constraint '{primary.name}' on table '{table.name}' cannot be dropped because change "
            "tracking is enabled on the table. Change tracking requires a primary key constraint on the table. Disable "
            "change tracking before dropping the constraint.",
            line=line,
        )


# -- functions -------------------------------------------------------------------------------------------------------


def current_version(pg: PgSession, database: str) -> Ex:
    """CHANGE_TRACKING_CURRENT_VERSION(): NULL where the database is not tracked; read in the statement's snapshot."""
    found = catalog.database_id(pg, database)
    assert found is not None
    return Ex(f"(SELECT tsql.ct_current({found[0]}))", BIGINT, True)


def min_valid_version(pg: PgSession, database: str, args: list[Ex], line: int) -> Ex:
    """CHANGE_TRACKING_MIN_VALID_VERSION(object id): NULL for what is not tracked."""
    if len(args) != 1:
        raise _argument_count("CHANGE_TRACKING_MIN_VALID_VERSION", 1, line)
    found = catalog.database_id(pg, database)
    assert found is not None
    return Ex(f"(SELECT tsql.ct_min_valid({found[0]}, ({args[0].sql})::int8))", BIGINT, True)


def _argument_count(name: str, count: int, line: int) -> SqlError:
    return error(174, f"The {name.lower()} function requires {count} argument(s).", severity=15, line=line)
