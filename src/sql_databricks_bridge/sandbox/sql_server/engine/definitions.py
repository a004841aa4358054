"""CREATE, ALTER and DROP of tables, schemas, databases and indexes; TRUNCATE; INSERT BULK's announcement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..contract import Done, Event
from . import cascades, catalog, cdc, change_tracking, objects, row_versions
from . import nodes as n
from .bound import Source, SourceColumn
from .computed import bind_computed, check_period, not_immutable, uses
from .ddl import TableMaker, column_sql, key_expression
from .errors import PgFailure, error, invalid_object, unsupported
from .objects import missing
from .pg import quote
from .query import QueryBinder
from .scope import Scope
from .table import Check, ForeignKey, Index, Table
from .typing_rules import needs_key

if TYPE_CHECKING:
    from .runner import Runner

_SYSTEM = frozenset({"master", "tempdb", "model", "msdb"})


def run(runner: Runner, node: Any) -> Iterator[Event]:
    """One definition."""
    if isinstance(node, n.InsertBulk):
        runner.session.bulk = (runner.binder().table(node.table, node.line), node)
        yield Done("INSERT BULK", None)
        return
    with runner.protected(atomic=True):
        if isinstance(node, n.CreateTable):
            _create_table(runner, node)
        elif isinstance(node, n.Truncate):
            _truncate(runner, node)
        elif isinstance(node, n.Drop):
            _drop(runner, node)
        elif isinstance(node, n.CreateSchema):
            catalog.create_schema(runner.session.pg, _database(runner), node.name)
        elif isinstance(node, n.CreateDatabase):
            _no_transaction(runner, "CREATE DATABASE", node.line)
            if node.collation is not None and node.collation.upper() != "SQL_LATIN1_GENERAL_CP1_CI_AS":
                raise unsupported(f"databases with collation {node.collation}", node.line)
            catalog.create_database(runner.session.pg, node.name)
        elif isinstance(node, n.AlterDatabase):
            _alter_database(runner, node)
        elif isinstance(node, n.AlterDatabaseTracking):
            _no_transaction(runner, "ALTER DATABASE", node.line)
            change_tracking.alter_database(runner, node, *_altered_database(runner, node))
        elif isinstance(node, n.AlterTableTracking):
            change_tracking.alter_table(runner, node)
        elif isinstance(node, n.AlterTable):
            _alter_table(runner, node)
        elif isinstance(node, n.CreateIndex):
            _create_index(runner, node)
        elif isinstance(node, n.CreateTrigger):
            objects.create_trigger(runner, node)
        elif isinstance(node, n.SwitchTrigger):
            objects.switch_trigger(runner, node)
        elif isinstance(node, n.CreateView):
            objects.create_view(runner, node)
        elif isinstance(node, n.CreateSynonym):
            objects.create_synonym(runner, node)
        elif isinstance(node, n.CreateType):
            objects.create_type(runner, node)
        else:
            raise unsupported(type(node).__name__, node.line)
    yield Done(type(node).__name__.upper(), None)


def _no_transaction(runner: Runner, what: str, line: int) -> None:
    if runner.session.trancount:
        raise error(226, f"{what} statement not allowed within multi-statement transaction.", line=line)


def _database(runner: Runner) -> int:
    found = catalog.database_id(runner.session.pg, runner.session.database)
    if found is None:
        raise error(911, f"Database '{runner.session.database}' does not exist.")
    return found[0]


def refuse_existing(runner: Runner, parts: tuple[str, ...], line: int) -> None:
    """Msg 2714 for a name that is taken."""
    s = runner.session
    if not parts[-1].startswith("#"):
        objects.refuse_taken(runner, parts, line)
    elif parts[-1].lower() in s.temp:
        raise objects.taken(parts, line)


def register(runner: Runner, table: Table) -> None:
    """Make a new table known."""
    s = runner.session
    if table.pg_schema == "pg_temp":
        s.temp[table.name.lower()] = table
        return
    found = catalog.database_id(s.pg, table.database)
    assert found is not None
    catalog.add_table(s.pg, table, found[0])


def _create_table(runner: Runner, node: n.CreateTable) -> None:
    temporary = node.table[-1].startswith("#")
    if node.table[-1].startswith("##"):
        raise unsupported("global temporary tables (##)", node.line)
    refuse_existing(runner, node.table, node.line)
    maker = TableMaker(runner.session)
    table = maker.define(node.table, node.columns, node.constraints, node.line, temporary=temporary)
    check_period(table, node.period, node.line)
    maker.create(table, node.columns, node.constraints)
    register(runner, table)


def _save(runner: Runner, table: Table) -> None:
    if table.pg_schema != "pg_temp":
        catalog.save_table(runner.session.pg, table)


def _truncate(runner: Runner, node: n.Truncate) -> None:
    table = runner.binder().table(node.table, node.line)
    cdc.refuse_truncate(runner.session.pg, table, node.line)
    try:
        runner.session.pg.run(f"TRUNCATE {table.pg} RESTART IDENTITY")
    except PgFailure as exc:
        if exc.sqlstate == "0A000":
            raise error(
                4712,
                f"Cannot truncate table '{table.name}' because it is being referenced by a FOREIGN KEY constraint.",
                line=node.line,
            ) from exc
        raise
    change_tracking.restart(runner.session.pg, table)


def _drop(runner: Runner, node: n.Drop) -> None:
    for parts in node.names:
        if node.kind == "TABLE":
            _drop_table(runner, parts, node)
        elif node.kind == "DATABASE":
            _drop_database(runner, parts[-1], node)
        elif node.kind == "SCHEMA":
            _drop_schema(runner, parts[-1], node)
        elif node.kind in ("TRIGGER", "VIEW", "SYNONYM", "TYPE"):
            objects.drop(runner, parts, node)
        else:
            _drop_index(runner, parts, node)


def _drop_table(runner: Runner, parts: tuple[str, ...], node: n.Drop) -> None:
    s = runner.session
    table = s.temp.get(parts[-1].lower()) if parts[-1].startswith("#") else catalog.find_table(s.pg, parts, s.database)
    if table is None:
        if node.if_exists:
            return
        raise missing("table", ".".join(parts), node.line)
    change_tracking.forget_table(s.pg, table)
    cdc.forget_table(s.pg, table)
    try:
        s.pg.run(f"DROP TABLE {table.pg}")
    except PgFailure as exc:
        if exc.sqlstate == "2BP01":
            raise error(
                3726,
                f"Could not drop object '{'.'.join(parts)}' because it is referenced by a FOREIGN KEY constraint.",
                line=node.line,
            ) from exc
        raise
    for key in table.foreign_keys:
        cascades.remove(s.pg, table, key)
    if table.pg_schema == "pg_temp":
        del s.temp[parts[-1].lower()]
    else:
        catalog.remove_table(s.pg, table)


def _drop_database(runner: Runner, name: str, node: n.Drop) -> None:
    s = runner.session
    _no_transaction(runner, "DROP DATABASE", node.line)
    found = catalog.database_id(s.pg, name)
    if found is None:
        if node.if_exists:
            return
        raise missing("database", name, node.line)
    if found[1].lower() in _SYSTEM:
        raise error(3708, f"Cannot drop the database '{name}' because it is a system database.", line=node.line)
    if any(other.database == found[1] for other in s.engine.sessions()):
        raise error(3702, f'Cannot drop database "{name}" because it is currently in use.', state=4, line=node.line)
    change_tracking.forget_database(s.pg, found[0])
    cdc.forget_database(s.pg, found[0])
    catalog.drop_database(s.pg, found[0])


def _drop_schema(runner: Runner, name: str, node: n.Drop) -> None:
    s = runner.session
    dbid = _database(runner)
    if catalog.schema_name(s.pg, dbid, name) is None:
        if node.if_exists:
            return
        raise error(
            15151,
            f"Cannot drop the schema '{name}', because it does not exist or you do not have permission.",
            line=node.line,
        )
    lower = quote(name.lower())
    held = " UNION ALL ".join(
        f"SELECT 1 FROM tsql.{kind} WHERE dbid = {dbid} AND lschema = {lower}" for kind in ("tables", "objects")
    )
    if s.pg.rows(held):
        raise error(3729, f"Cannot drop schema '{name}' because it is being referenced by an object.", line=node.line)
    s.pg.run(f"DELETE FROM tsql.schemas WHERE dbid = {dbid} AND lname = {lower}")


def _drop_index(runner: Runner, parts: tuple[str, ...], node: n.Drop) -> None:
    target = node.on or parts[:-1]
    table = runner.binder().table(tuple(target), node.line)
    index = next((i for i in table.indexes if i.name.lower() == parts[-1].lower()), None)
    if index is None:
        if node.if_exists:
            return
        raise missing("index", f"{table.name}.{parts[-1]}", node.line)
    if index.constraint:
        raise error(
            3723,
            f"An explicit DROP INDEX is not allowed on index '{table.name}.{index.name}'. It is "
            f"being used "
            f"for constraint "
            "enforcement.",
            line=node.line,
        )
    runner.session.pg.run(f"DROP INDEX {table.pg_schema}.{index.pg}")
    table.indexes.remove(index)
    _save(runner, table)


def _altered_database(runner: Runner, node: n.AlterDatabase | n.AlterDatabaseTracking) -> tuple[int, str]:
    """(id, name) of the database that ALTER DATABASE names, or Msg 5011."""
    s = runner.session
    found = catalog.database_id(s.pg, node.name or s.database)
    if found is None:
        raise error(
            5011,
            f"User does not have permission to alter database '{node.name}', the database does not "
            f"exist, or "
            f"the database "
            "is not in a state that allows access checks.",
            severity=14,
            line=node.line,
        )
    return found


def _alter_database(runner: Runner, node: n.AlterDatabase) -> None:
    s = runner.session
    found = _altered_database(runner, node)
    if node.option == "ALLOW_SNAPSHOT_ISOLATION" and node.value in ("ON", "OFF"):
        s.pg.run(f"UPDATE tsql.databases SET snapshot = {node.value == 'ON'} WHERE id = {found[0]}")
    elif (node.option, node.value) != ("READ_COMMITTED_SNAPSHOT", "ON"):
        raise unsupported(f"ALTER DATABASE ... SET {node.option} {node.value}", node.line)


def _ensure_keys(runner: Runner, table: Table, names: list[str], line: int) -> None:
    """Give columns that become keys later their stored comparison key."""
    for name in names:
        column = TableMaker.required(table, name, line)
        if needs_key(column.type) and not column.keyed:
            kind = {"datetimeoffset": "int8"}.get(column.type.name, "bytea" if "binary" in column.type.name else "text")
            column.keyed = True
            runner.session.pg.run(
                f"ALTER TABLE {table.pg} ADD COLUMN {column.key_pg} {kind} GENERATED ALWAYS AS "
                f"({key_expression(column)}) STORED"
            )


def _alter_table(runner: Runner, node: n.AlterTable) -> None:
    s = runner.session
    table = runner.binder().table(node.table, node.line)
    maker = TableMaker(s)
    if node.action == "ADD":
        for c in node.columns:
            _add_column(maker, table, c)
            for k in c.constraints:
                _ensure_keys(
                    runner, table, [x for x, _ in k.columns] if k.kind not in ("CHECK", "DEFAULT") else [], k.line
                )
                maker.constrain(table, k, c.name)
        for k in node.constraints:
            if k.kind in ("PRIMARY KEY", "UNIQUE", "FOREIGN KEY"):
                _ensure_keys(runner, table, [c for c, _ in k.columns], k.line)
            if k.kind == "PRIMARY KEY" and any(
                (found := table.column(x)) is not None and found.nullable for x, _ in k.columns
            ):
                raise error(
                    8111,
                    f"Cannot define PRIMARY KEY constraint on nullable column in table '{table.name}'.",
                    line=k.line,
                )
            maker.constrain(table, k, None)
    else:
        for name in node.names:
            if node.action == "DROP COLUMN":
                _drop_column(s, table, name, node)
            else:
                _drop_constraint(s, table, name, node)
    for key in table.foreign_keys:  # their actions depend on defaults and on a rowversion
        target = table if key.target_id == table.id else catalog.table_by_id(s.pg, key.target_id)
        if target is not None:
            cascades.install(maker, table, target, key)
    _save(runner, table)


def _add_column(maker: TableMaker, table: Table, c: n.ColumnDef) -> None:
    if table.column(c.name) is not None:
        raise error(
            2705,
            f"Column names in each table must be unique. Column name '{c.name}' in table "
            f"'{table.name}' is "
            f"specified more "
            "than once.",
            line=c.line,
        )
    column = maker.column(c, max((x.id for x in table.columns), default=0) + 1, table.name)
    if c.computed is not None:
        bind_computed(maker, table, column, c)
    if column.generated is not None:
        raise unsupported("adding period columns to a table", c.line)
    empty = not maker.pg.rows(f"SELECT 1 FROM {table.pg} LIMIT 1")
    filled = column.default is not None or column.identity is not None or column.read_only
    if not column.nullable and not filled and not empty:
        raise error(
            4901,
            "ALTER TABLE only allows columns to be added that can contain nulls, or have a DEFAULT "
            "definition specified, or "
            f"the column being added is an identity or timestamp column. Column '{c.name}' cannot be added to "
            f"non-empty table "
            f"'{table.name}'.",
            line=c.line,
        )
    text = column_sql(column, table)
    if column.type.name == "timestamp":
        row_versions.hold(maker.pg, table)
    if column.default is not None and not column.nullable:
        maker.pg.run(f"ALTER TABLE {table.pg} ADD COLUMN {text} DEFAULT {maker.default_sql(table, column)}")
        maker.pg.run(f"ALTER TABLE {table.pg} ALTER COLUMN {column.pg} DROP DEFAULT")
    else:
        try:
            maker.pg.run(f"ALTER TABLE {table.pg} ADD COLUMN {text}")
        except PgFailure as exc:
            if not_immutable(exc):
                raise unsupported("a computed column of this expression", c.line) from exc
            raise
    table.columns.append(column)
    row_versions.install(maker.pg, table)


def _drop_column(s: Any, table: Table, name: str, node: n.AlterTable) -> None:
    column = table.column(name)
    if column is None:
        if node.if_exists:
            return
        raise error(
            4924,
            f"ALTER TABLE DROP COLUMN failed because column '{name}' does not exist in table '{table.name}'.",
            line=node.line,
        )
    cdc.refuse_column(s.pg, table, column, node.line)
    used = any(name.lower() in [c.lower() for c, _ in i.columns] for i in table.indexes) or column.default is not None
    used = used or any(name.lower() in [c.lower() for c in k.columns] for k in table.foreign_keys) or bool(table.checks)
    used = used or any(c.computed is not None and uses(c.computed, name) for c in table.columns)
    if used or column.generated is not None:
        raise error(5074, f"The object is dependent on column '{name}'.", line=node.line)
    s.pg.run(f"ALTER TABLE {table.pg} DROP COLUMN {column.pg}")
    table.columns.remove(column)


def _drop_constraint(s: Any, table: Table, name: str, node: n.AlterTable) -> None:
    lower = name.lower()
    change_tracking.refuse_key_drop(s.pg, table, name, node.line)
    listed: list[Index | Check | ForeignKey] = [*table.checks, *table.foreign_keys]
    listed += [i for i in table.indexes if i.constraint]
    for found in listed:
        if found.name.lower() == lower:
            s.pg.run(f"ALTER TABLE {table.pg} DROP CONSTRAINT {found.pg}")
            if isinstance(found, ForeignKey):
                cascades.remove(s.pg, table, found)
            table.indexes = [i for i in table.indexes if i is not found]
            table.checks = [c for c in table.checks if c is not found]
            table.foreign_keys = [k for k in table.foreign_keys if k is not found]
            return
    for c in table.columns:
        if c.default_name is not None and c.default_name.lower() == lower:
            c.default = c.default_name = None
            return
    if not node.if_exists:
        raise error(3728, f"'{name}' is not a constraint.", line=node.line)


def _create_index(runner: Runner, node: n.CreateIndex) -> None:
    s = runner.session
    table = runner.binder().table(node.table, node.line)
    if table is None:
        raise invalid_object(".".join(node.table), node.line)
    if any(i.name.lower() == node.name.lower() for i in table.indexes):
        raise error(
            1913,
            f"The operation failed because an index or statistics with name '{node.name}' already exists "
            f"on table "
            f"'{'.'.join(node.table)}'.",
            line=node.line,
        )
    k = n.Constraint(node.line, "INDEX", node.name, node.columns, node.clustered, unique=node.unique)
    _ensure_keys(runner, table, [c for c, _ in node.columns], node.line)
    if node.where is None:
        TableMaker(s)._key(table, k)
    else:
        _filtered(runner, table, k, node)
    table.indexes[-1].include = node.include
    _save(runner, table)


def _filtered(runner: Runner, table: Table, k: n.Constraint, node: n.CreateIndex) -> None:
    binder: QueryBinder = runner.binder()
    columns = [SourceColumn(c.name, c.pg, c.type, c.nullable) for c in table.columns]
    assert node.where is not None
    test = binder.expressions.condition(node.where, Scope(sources=[Source("", ((table.name.lower(),),), columns)]))
    TableMaker(runner.session)._key(table, k)
    index = table.indexes[-1]
    pg = runner.session.pg
    pg.run(f"DROP INDEX {table.pg_schema}.{index.pg}")
    names = ", ".join(TableMaker.required(table, c, k.line).key_pg for c, _ in k.columns)
    unique = "UNIQUE " if k.unique else ""
    tail = " NULLS NOT DISTINCT" if k.unique else ""
    pg.run(f"CREATE {unique}INDEX {index.pg} ON {table.pg} ({names}){tail} WHERE {test}")
    index.filter = f"({node.where_text})"
