"""SELECT ... INTO, and tables made outside CREATE TABLE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ..contract import Event
from . import definitions
from . import nodes as n
from .ddl import TableMaker, column_sql
from .dml import finish
from .errors import PgFailure, error, unsupported
from .table import Table, TableColumn
from .types import with_collation

if TYPE_CHECKING:
    from .runner import Runner


def select_into(runner: Runner, node: n.QueryStatement) -> Iterator[Event]:
    """SELECT ... INTO t: the columns' names, types and nullability become a table's."""
    body = node.query.body
    assert isinstance(body, n.Select)
    assert body.into is not None
    if runner.session.options.rowcount:
        raise unsupported("SELECT INTO under SET ROWCOUNT (use TOP)", node.line)
    parts, body.into = body.into, None
    binder = runner.binder()
    bound = binder.query(node.query)
    body.into = parts
    seen = set()
    columns = []
    for i, c in enumerate(bound.columns, 1):
        if not c.name:
            raise error(
                1038,
                "An object or column name is missing or empty. For SELECT INTO statements, verify "
                "each column "
                "has a name.",
                severity=15,
                line=node.line,
            )
        if c.name.lower() in seen:
            raise error(
                2705,
                f"Column names in each table must be unique. Column name '{c.name}' in table '{parts[-1]}' is "
                f"specified "
                "more than once.",
                line=node.line,
            )
        seen.add(c.name.lower())
        if c.identity:
            raise unsupported("SELECT INTO of an identity column (CAST it to leave the property behind)", node.line)
        t = (
            with_collation(c.type, c.type.collation)
            if c.type.name != "timestamp"
            else replace(c.type, name="timestamp")
        )
        if t.name in ("timestamp", "sql_variant"):
            raise unsupported(f"SELECT INTO of {t.name}", node.line)
        columns.append(TableColumn(i, c.name, t, c.nullable))
    temporary = parts[-1].startswith("#")
    runner.check_snapshot(binder.env)
    try:
        with runner.protected(atomic=True):
            runner.lock(binder.env)
            definitions.refuse_existing(runner, parts, node.line)
            maker = TableMaker(runner.session)
            table = maker.define(parts, [], [], node.line, temporary=temporary)
            table.columns = columns
            texts = ", ".join(column_sql(c) for c in columns)
            runner.session.pg.run(f"CREATE {'TEMP ' if temporary else ''}TABLE {table.pg} ({texts})")
            names = ", ".join(c.pg for c in columns)
            rows = runner.session.pg.run(f"INSERT INTO {table.pg} ({names}) SELECT * FROM ({bound.sql}) s")
            definitions.register(runner, table)
    except PgFailure as exc:
        raise runner.session.fail(exc) from exc
    yield from finish(runner, "SELECT INTO", rows)


def create_table(
    runner: Runner,
    parts: tuple[str, ...],
    columns: list[n.ColumnDef],
    constraints: list[n.Constraint],
    line: int,
    *,
    temporary: bool,
) -> Table:
    """A new table, made but not registered (table variables live in the batch only)."""
    with runner.protected(atomic=True):
        maker = TableMaker(runner.session)
        table = maker.define(parts, columns, constraints, line, temporary=temporary)
        maker.create(table, columns, constraints)
    return table
