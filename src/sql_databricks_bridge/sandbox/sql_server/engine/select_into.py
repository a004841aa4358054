"""SELECT ... INTO, and tables made outside CREATE TABLE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ..contract import Event
from . import definitions
from . import nodes as n
from .ddl import TableMaker, column_sql
from .errors import PgFailure, error, unsupported
from .execution import finish
from .inserts import note_identity
from .query import QueryBinder
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
        t = (
            with_collation(c.type, c.type.collation)
            if c.type.name != "timestamp"
            else replace(c.type, name="timestamp")
        )
        if t.name == "timestamp" or c.base is not None:
            raise unsupported(f"SELECT INTO of {t.name}", node.line)
        inherited = _inherited(binder, body, c.name, node.line) if c.identity else None
        columns.append(TableColumn(i, c.name, t, c.nullable, inherited))
    temporary = parts[-1].startswith("#")
    runner.check_snapshot(binder.env)
    try:
        with runner.protected(atomic=True):
            runner.lock(binder.env)
            definitions.refuse_existing(runner, parts, node.line)
            maker = TableMaker(runner.session)
            table = maker.define(parts, [], [], node.line, temporary=temporary)
            table.columns = columns
            texts = ", ".join(column_sql(c, table) for c in columns)
            runner.session.pg.run(f"CREATE {'TEMP ' if temporary else ''}TABLE {table.pg} ({texts})")
            names = ", ".join(c.pg for c in columns)
            rows = runner.session.pg.run(f"INSERT INTO {table.pg} ({names}) SELECT * FROM ({bound.sql}) s")
            definitions.register(runner, table)
            note_identity(runner, table, rows, explicit=True)
    except PgFailure as exc:
        raise runner.session.fail(exc) from exc
    yield from finish(runner, "SELECT INTO", rows)


def _inherited(binder: QueryBinder, body: n.Select, name: str, line: int) -> tuple[int, int] | None:
    """The identity property goes along, but not through a join or aggregate, nor twice ("INTO clause")."""
    if not isinstance(body.source, n.TableName):
        if isinstance(body.source, n.Join):
            return None
        raise unsupported("SELECT INTO of an identity column from a derived table (CAST it)", line)
    identities = [c for c in binder.env.used_tables[0].columns if c.identity is not None]
    wanted = next((c for c in identities if c.name.lower() == name.lower()), None)
    plain = [i.expr for i in body.items if isinstance(i.expr, n.ColumnRef | n.Star)]
    twice = len([e for e in plain if isinstance(e, n.Star) or e.parts[-1].lower() == name.lower()]) > 1
    if body.group is not None or body.distinct:
        return None
    if wanted is None or twice:
        raise unsupported("SELECT INTO of a renamed or repeated identity column (CAST it)", line)
    return wanted.identity


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
