"""MERGE, as PostgreSQL's: the same row matched twice is an error in both ("MERGE (Transact-SQL)", Msg 8672)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..contract import Event
from . import nodes as n
from .bound import Ex, Source
from .changes import bind_sets, stamps
from .ddl import TableMaker
from .errors import error, unsupported
from .execution import Change, execute, target_table
from .from_clause import table_source
from .inserts import explicit_targets, value_rows
from .output_clause import Output
from .query import QueryBinder
from .scope import Scope
from .table import Table
from .types import nvarchar

if TYPE_CHECKING:
    from .runner import Runner


def merge(runner: Runner, node: n.Merge) -> Iterator[Event]:
    binder = runner.binder()
    scope = Scope(clause="cte")
    prefix = binder.with_prefix(node.ctes, scope)
    table = target_table(binder, node.target.parts, node.line, "MERGE")
    binder.note_target(table, node.target.hints, node.line)
    alias = binder.env.alias("a")
    target = table_source(table, alias, node.target)
    given = Scope(parent=scope)
    using = binder.from_sql(node.source, given)
    both = Scope(parent=scope, sources=[target, *given.sources], clause="on")
    for source in given.sources:
        if source.qualifiers and source.qualifiers[0] == target.qualifiers[0]:
            raise error(
                1013,
                f'The objects "{node.target.parts[-1]}" and "{node.target.parts[-1]}" in the FROM clause have the same '
                "exposed names. Use correlation names to distinguish them.",
                line=node.line,
            )
    both.windows = False
    on = binder.expressions.condition(node.on, both)
    _check_order(node)
    columns: set[str] = set()
    whens = [_when(runner, binder, table, when, target, given.sources, scope, columns) for when in node.whens]
    sql = f"{prefix}MERGE INTO {table.pg} {alias} USING {using} ON {on} {' '.join(whens)}"
    output = None
    if node.output:
        if prefix:
            raise unsupported("MERGE with common table expressions and OUTPUT", node.line)
        binder.env.merge_action = Ex("merge_action()", nvarchar(10), False)
        output = Output(binder, node.output, table, node.output_into, "MERGE", given.sources)
    verbs = tuple(v for v in ("INSERT", "UPDATE", "DELETE") if any(w.action == v for w in node.whens))
    change = Change(table, verbs, sql, output, frozenset(columns), command="MERGE")
    _watch_identity(runner, table, change)
    yield from execute(runner, binder, change)


def _when(
    runner: Runner,
    binder: QueryBinder,
    table: Table,
    when: n.MergeWhen,
    target: Source,
    given: list[Source],
    outer: Scope,
    columns: set[str],
) -> str:
    """One WHEN; it sees the source, the target or both."""
    seen = {"MATCHED": [target, *given], "NOT MATCHED": given, "NOT MATCHED BY SOURCE": [target]}[when.matched]
    scope = Scope(parent=outer, sources=list(seen), clause="where")
    scope.windows = False
    head = "NOT MATCHED BY TARGET" if when.matched == "NOT MATCHED" else when.matched
    test = f" AND {binder.expressions.condition(when.condition, scope)}" if when.condition is not None else ""
    text = f"WHEN {head}{test} THEN {when.action}"
    maker = TableMaker(runner.session)
    if when.action == "UPDATE":
        sets = bind_sets(binder, maker, table, when.sets, scope, target, when.line)
        columns |= {c.name.lower() for c in table.columns if c.pg in sets}
        return f"{text} SET {', '.join(f'{k} = {v}' for k, v in [*sets.items(), *stamps(table)])}"
    if when.action == "INSERT":
        query = n.Query(when.line, n.Values(when.line, [when.values or []]))
        insert = n.Insert(when.line, (table.name,), when.columns, query)
        targets = explicit_targets(runner, table, insert)
        values = value_rows(binder, maker, table, targets, insert, scope)[0]
        for c in table.columns:
            if c not in targets and c.default is not None:
                targets.append(c)
                values.append(maker.default_sql(table, c))
        return f"{text} ({', '.join(c.pg for c in targets)}) VALUES ({', '.join(values)})"
    return text


def _check_order(node: n.Merge) -> None:
    """Msg 10714 and 5324: how often a WHEN may stand there, and in what order."""
    for kind in ("MATCHED", "NOT MATCHED", "NOT MATCHED BY SOURCE"):
        same = [w for w in node.whens if w.matched == kind]
        for i, when in enumerate(same):
            if i and same[i - 1].condition is None:
                raise error(
                    5324,
                    f"In a MERGE statement, a 'WHEN {kind}' clause with a search condition cannot appear after a 'WHEN "
                    f"{kind}' clause with no search condition.",
                    severity=15,
                    line=when.line,
                )
        for action in ("UPDATE", "DELETE", "INSERT"):
            if sum(w.action == action for w in same) > 1:
                raise error(
                    10714,
                    f"An action of type 'WHEN {kind}' cannot appear more than once in a '{action}' clause of a MERGE "
                    "statement.",
                    severity=15,
                    line=node.line,
                )


def _watch_identity(runner: Runner, table: Table, change: Change) -> None:
    """SCOPE_IDENTITY() moves if a row was inserted, which the row count does not tell."""
    column = next((c for c in table.columns if c.identity is not None), None)
    if column is None or "INSERT" not in change.verbs:
        return
    s = runner.session
    current = f"SELECT tsql.current_value(pg_get_serial_sequence('{table.pg}', '{column.pg}'))"
    before = s.pg.rows(current)[0][0]

    def after(_rows: int) -> None:
        now = s.pg.rows(current)[0][0]
        if now is not None and now != before:
            s.scope_identity = s.last_identity = int(now)

    change.after = after
