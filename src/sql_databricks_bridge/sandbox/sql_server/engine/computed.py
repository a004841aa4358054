"""Columns that the server makes: computed ones, and the two of a PERIOD FOR SYSTEM_TIME.

Both kinds of computed column are stored, since only deterministic expressions are taken: their value is the same then.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from . import nodes as n
from .bound import Ex, Source, SourceColumn
from .errors import PgFailure, error, unsupported
from .expr import walk
from .query import QueryBinder
from .scope import Scope
from .table import Table, TableColumn
from .types import NUMBERS

if TYPE_CHECKING:
    from .ddl import TableMaker

_LAST_TICK = 3155378975999999999  # 9999-12-31T23:59:59.9999999


def bind_computed(maker: TableMaker, table: Table, column: TableColumn, definition: n.ColumnDef) -> None:
    """Fill in the column's type, nullability and PostgreSQL expression."""
    node = definition.computed
    assert node is not None
    _refuse(table, definition, node)
    first, second = (_bind(maker, table, node, year) for year in (2001, 2002))
    if first.sql != second.sql:
        raise unsupported("computed columns that are not deterministic", definition.line)
    if first.is_null or first.base is not None:
        raise unsupported("a computed column of this expression", definition.line)
    column.type, column.computed_pg = first.type, first.sql
    arithmetic = any(isinstance(x, n.Binary) for x in walk(node)) and first.type.name in NUMBERS
    column.nullable = definition.nullable is not False and (first.nullable or arithmetic)


def _refuse(table: Table, definition: n.ColumnDef, node: n.Node) -> None:
    for x in walk(node):
        if isinstance(x, n.Scalar | n.Exists | n.InQuery | n.Quantified):
            raise error(
                1046, "Subqueries are not allowed in this context. Only scalar expressions are allowed.", severity=15,
                line=definition.line,
            )  # fmt: skip
        found = table.column(x.parts[-1]) if isinstance(x, n.ColumnRef) else None
        if found is not None and found.computed is not None:
            raise error(
                1759,
                f"Computed column '{found.name}' in table '{table.name}' is not allowed to be used in another "
                "computed-column definition.",
                line=definition.line,
            )


def _bind(maker: TableMaker, table: Table, node: n.Node, year: int) -> Ex:
    env = maker.session.environment()

    def refuse(name: str, _args: list[Any], line: int) -> Ex | None:
        if maker.session.environment().functions(name, _args, line) is not None:
            raise unsupported(f"computed columns with {name}", line)
        return None

    env.functions, env.globals = refuse, {}
    env.now = datetime.datetime(year, 1, 1, tzinfo=datetime.UTC)
    plain = [SourceColumn(c.name, c.pg, c.type, c.nullable) for c in table.columns if c.computed is None]
    scope = Scope(sources=[Source("", ((table.name.lower(),),), plain)])
    scope.clause, scope.windows = "where", False
    return QueryBinder(env).expressions.value(node, scope)


def uses(text: str, name: str) -> bool:
    """Whether an expression reads a column."""
    from .parse_statement import Parser

    node = Parser(text).expression()
    return any(isinstance(x, n.ColumnRef) and x.parts[-1].lower() == name.lower() for x in walk(node))


def not_immutable(failure: PgFailure) -> bool:
    """Whether PostgreSQL would not store this expression."""
    return failure.sqlstate == "42P17"


# ---- periods --------------------------------------------------------------------------------------------------------
def check_period(table: Table, period: tuple[str, str] | None, line: int) -> None:
    """The period's columns and the generated ones are the same two."""
    generated = [c for c in table.columns if c.generated is not None]
    if period is None:
        if generated:
            raise error(
                13509, "Cannot create generated always column when SYSTEM_TIME period is not defined.", line=line
            )
        return
    pair = [table.column(name) for name in period]
    if [c.generated if c else None for c in pair] != ["ROW START", "ROW END"] or len(generated) != 2:
        raise unsupported("a PERIOD over other than its two GENERATED ALWAYS columns, start first", line)
    for c in generated:
        if c.type.name != "datetime2":
            raise unsupported("period columns of other types than datetime2", line)
        c.nullable = False
    table.period = period


def period_default(column: TableColumn) -> str:
    """The start of the transaction, or the end of time, in ticks of 100 ns at the column's precision."""
    unit = 10 ** (7 - (column.type.scale if column.type.scale is not None else 7))
    if column.generated == "ROW END":
        return f"{_LAST_TICK // unit * unit}"
    return f"(((extract(epoch FROM now()) * 10000000)::int8 + 621355968000000000) / {unit} * {unit})"
