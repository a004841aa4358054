"""UPDATE and DELETE."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..contract import Event
from . import nodes as n
from . import row_versions
from .bound import Source
from .convert import assign
from .ddl import TableMaker
from .errors import PgFailure, error, unsupported
from .execution import Change, execute, place
from .inserts import computed_written
from .key_moves import KeyMove
from .output_clause import Output
from .query import QueryBinder
from .scope import Scope
from .table import Table, TableColumn
from .targets import Joined, joined

if TYPE_CHECKING:
    from .runner import Runner


def update(runner: Runner, node: n.Update) -> Iterator[Event]:
    binder, prefix, inner, target, maker = _bound(runner, node, "UPDATE")
    table = target.table
    sets = bind_sets(binder, maker, table, node.sets, inner, target.source, node.line)
    where = _where(binder, node.where, inner)
    text = ", ".join(f"{k} = {v}" for k, v in [*sets.items(), *stamps(table)])
    if target.whole is not None:
        _refuse_top(node, "UPDATE")
        new = binder.env.alias("t")
        tests = [f"{new}.ctid = {target.alias}.ctid", *where]
        sql = f"{prefix}UPDATE {table.pg} {new} SET {text} FROM {target.whole}{_and(tests)}"
    else:
        rest = f" FROM {', '.join(target.others)}" if target.others else ""
        sql = f"{prefix}UPDATE {table.pg} {target.alias} SET {text}{rest}{_limited(binder, node, target, where)}"
    columns = frozenset(c.name.lower() for c in table.columns if c.pg in sets)
    tables = target.whole or ", ".join([f"{table.pg} {target.alias}", *target.others])
    move = KeyMove(table, target.alias, sets, f"FROM {tables}{_and([*target.tests, *where])}")
    try:
        yield from _run(runner, binder, node, target, prefix, where, sql, columns)
    except PgFailure as exc:
        if not prefix and node.top is None and not runner.session.doomed:
            move.explain(runner, exc)
        raise


def delete(runner: Runner, node: n.Delete) -> Iterator[Event]:
    binder, prefix, inner, target, _ = _bound(runner, node, "DELETE")
    table = target.table
    where = _where(binder, node.where, inner)
    if target.whole is not None:
        _refuse_top(node, "DELETE")
        old = binder.env.alias("t")
        tests = [f"{old}.ctid = {target.alias}.ctid", *where]
        sql = f"{prefix}DELETE FROM {table.pg} {old} USING {target.whole}{_and(tests)}"
    else:
        rest = f" USING {', '.join(target.others)}" if target.others else ""
        sql = f"{prefix}DELETE FROM {table.pg} {target.alias}{rest}{_limited(binder, node, target, where)}"
    yield from _run(runner, binder, node, target, prefix, where, sql, frozenset())


def _bound(runner: Runner, node: n.Update | n.Delete, verb: str) -> tuple[QueryBinder, str, Scope, Joined, TableMaker]:
    binder = runner.binder()
    scope = Scope(clause="cte")
    prefix = binder.with_prefix(node.ctes, scope)
    inner = Scope(parent=scope)
    target = joined(binder, node.target, node.source, inner, node.line, verb, node.hints)
    return binder, prefix, inner, target, TableMaker(runner.session)


def _run(
    runner: Runner,
    binder: QueryBinder,
    node: n.Update | n.Delete,
    target: Joined,
    prefix: str,
    where: list[str],
    sql: str,
    columns: frozenset[str],
) -> Iterator[Event]:
    verb = "UPDATE" if isinstance(node, n.Update) else "DELETE"
    output = None
    if node.output:
        if prefix:
            raise unsupported(f"{verb} with common table expressions and OUTPUT", node.line)
        output = Output(binder, node.output, target.table, node.output_into, verb, target.sources)
    change = Change(target.table, (verb,), sql, output, columns)
    if node.source is not None:
        change.before = target.locker(runner, prefix, where)
    yield from execute(runner, binder, change)


def stamps(table: Table) -> list[tuple[str, str]]:
    """What every UPDATE sets by itself: the rowversion and the period's start."""
    out = [(c.pg, row_versions.next_value(table)) for c in table.columns if c.type.name == "timestamp"]
    return out + [(c.pg, "DEFAULT") for c in table.columns if c.generated == "ROW START"]


def bind_sets(
    binder: QueryBinder,
    maker: TableMaker,
    table: Table,
    assignments: list[tuple[str | None, str | None, str, n.Node]],
    scope: Scope,
    own: Source,
    line: int,
) -> dict[str, str]:
    """SET's columns and values for PostgreSQL; `own` is the changed table in `scope`."""
    sets: dict[str, str] = {}
    form = binder.env.dateformat
    for column_name, variable, op, value in assignments:
        if variable is not None or column_name is None:
            raise unsupported("UPDATE ... SET @variable = ...", line)
        column = table.column(column_name)
        if column is None:
            raise error(207, f"Invalid column name '{column_name}'.", line=line)
        _refuse_set(table, column, line)
        if column.pg in sets:
            raise error(
                264,
                f"The column name '{column.name}' is specified more than once in the SET clause or column list of an "
                "INSERT. A column cannot be assigned more than one value in the same clause. Modify the clause to make "
                "sure that a column is updated only once.",
                line=line,
            )
        if isinstance(value, n.Default):
            sets[column.pg] = maker.default_sql(table, column) if column.default else "NULL"
            continue
        if op != "=":
            value = n.Binary(line, op[0], n.ColumnRef(line, (*own.qualifiers[0], column.name)), value)
        scope.clause, scope.windows = "where", False
        ex = binder.expressions.value(value, scope)
        sets[column.pg] = assign(ex, column.type, place(table, column.name), form).sql
    return sets


def _refuse_set(table: Table, column: TableColumn, line: int) -> None:
    if column.identity is not None:
        raise error(8102, f"Cannot update identity column '{column.name}'.", line=line)
    if column.type.name == "timestamp":
        raise error(272, "Cannot update a timestamp column.", line=line)
    if column.computed is not None:
        raise computed_written(column, line)
    if column.generated is not None:
        raise error(13537, f"Cannot update GENERATED ALWAYS columns in table '{table.full_name}'.", line=line)


def _refuse_top(node: n.Update | n.Delete, verb: str) -> None:
    if node.top is not None:
        raise unsupported(f"{verb} TOP with FROM", node.line)


def _where(binder: QueryBinder, node: n.Node | None, scope: Scope) -> list[str]:
    if node is None:
        return []
    scope.clause, scope.windows = "where", False
    return [binder.expressions.condition(node, scope)]


def _and(tests: list[str]) -> str:
    return f" WHERE {' AND '.join(f'({t})' for t in tests)}" if tests else ""


def _limited(binder: QueryBinder, node: n.Update | n.Delete, target: Joined, where: list[str]) -> str:
    """WHERE, and TOP where there is one."""
    text = _and([*target.tests, *where])
    if node.top is None:
        return text
    if target.others:
        _refuse_top(node, "UPDATE" if isinstance(node, n.Update) else "DELETE")
    if node.top.percent or node.top.ties:
        raise unsupported("TOP ... PERCENT in UPDATE or DELETE", node.top.line)
    count = binder.row_count(node.top.count, Scope(), "top")
    a = target.alias
    return f" WHERE {a}.ctid IN (SELECT {a}.ctid FROM {target.table.pg} {a}{text} LIMIT {count} FOR UPDATE)"
