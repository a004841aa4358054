"""The table that UPDATE, DELETE or MERGE changes, among the tables it is joined with.

SQL Server waits for a row that somebody else is changing and reads it again; so does PostgreSQL, as long as that row
is the changed table's own: `UPDATE t SET ... FROM s WHERE ...` finds it again, a join of `t` with itself would not.
Inner joins are therefore taken apart. Other joins, and any join while others write to the table, lock their rows first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import nodes as n
from .bound import Source
from .errors import error, unsupported
from .execution import target_table
from .from_clause import table_source
from .query import QueryBinder
from .scope import Scope
from .table import Table

if TYPE_CHECKING:
    from .runner import Runner

_WRITING = "'RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'"
_PASSES = 20


@dataclass(slots=True)
class Joined:
    """A changed table under its alias; either `others` and `tests`, or the `whole` of FROM, alias included."""

    table: Table
    alias: str
    source: Source
    others: list[str] = field(default_factory=list)
    tests: list[str] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)  # without its own
    whole: str | None = None

    def locker(self, runner: Runner, prefix: str, where: list[str]) -> Callable[[], None] | None:
        """Locks the rows to be changed where the statement alone might miss one that changes meanwhile."""
        s = runner.session
        if self.table.pg_schema == "pg_temp" or s.options.isolation not in ("READ COMMITTED", "READ UNCOMMITTED"):
            return None
        rest = self.whole or ", ".join([f"{self.table.pg} {self.alias}", *self.others])
        tests = [*self.tests, *where]
        text = f" WHERE {' AND '.join(f'({t})' for t in tests)}" if tests else ""
        rows = f"{prefix}SELECT {self.alias}.ctid AS t FROM {rest}{text} FOR UPDATE OF {self.alias}"
        count = f"SELECT count(*)::int8, coalesce(sum(hashtext(q.t::text)::int8), 0)::int8 FROM ({rows}) q"

        def lock() -> None:
            busy = self._others_write(runner)
            if self.whole is None and not busy:
                return
            if self.source.outer:  # PostgreSQL can't lock the rows of an outer join's optional side
                s.pg.run(f"LOCK TABLE {self.table.pg} IN SHARE ROW EXCLUSIVE MODE")
                return
            seen = s.pg.rows(count)
            for _ in range(_PASSES if busy else 0):
                before, seen = seen, s.pg.rows(count)
                if seen == before:
                    return

        return lock

    def _others_write(self, runner: Runner) -> bool:
        return bool(
            runner.session.pg.rows(
                f"SELECT 1 FROM pg_locks WHERE locktype = 'relation' AND relation = '{self.table.pg}'::regclass "
                f"AND pid <> pg_backend_pid() AND mode IN ({_WRITING}) LIMIT 1"
            )
        )


def joined(
    binder: QueryBinder,
    target: tuple[str, ...],
    source: n.Node | None,
    scope: Scope,
    line: int,
    verb: str,
    hints: tuple[str, ...] = (),
) -> Joined:
    """Bind FROM into `scope`. An alias in FROM may be what is changed; a table that FROM lacks is joined to it."""
    if len(target) == 1 and scope.cte(target[0]) is not None:
        raise unsupported(f"{verb} of a common table expression", line)
    if source is None:
        return _alone(binder, target, scope, line, verb, hints)
    named = _named(source, target)
    if len(named) > 1:
        raise error(8154, f"The table '{target[-1]}' is ambiguous.", line=line)
    if not named:
        out = _alone(binder, target, scope, line, verb, hints)
        out.others.append(binder.from_sql(source, scope))
    elif _inner(source, named[0]):
        target_table(binder, named[0].parts, line, verb)
        others: list[str] = []
        tests: list[str] = []
        own = _take_apart(binder, source, named[0], scope, others, tests)
        out = Joined(_by_id(binder, own), own.alias, own, others, tests)
    else:
        target_table(binder, named[0].parts, line, verb)
        before = len(scope.sources)
        whole = binder.from_sql(source, scope)
        at = next(i for i, leaf in enumerate(_leaves(source)) if leaf is named[0])
        own = scope.sources[before:][at]
        out = Joined(_by_id(binder, own), own.alias, own, whole=whole)
    if hints:
        binder.note_target(out.table, hints, line)
    out.sources = [s for s in scope.sources if s is not out.source]
    return out


def _alone(
    binder: QueryBinder, target: tuple[str, ...], scope: Scope, line: int, verb: str, hints: tuple[str, ...]
) -> Joined:
    table = target_table(binder, target, line, verb)
    alias = binder.env.alias("a")
    shown = table_source(table, alias, n.TableName(line, target))
    scope.sources.append(shown)
    binder.note_target(table, hints, line)
    return Joined(table, alias, shown)


def _by_id(binder: QueryBinder, source: Source) -> Table:
    return next(t for t in binder.env.used_tables if t.id == source.table_id)


def _leaves(node: n.Node) -> list[n.Node]:
    """The tables of a join, in the order in which they are bound."""
    if isinstance(node, n.Join):
        return [*_leaves(node.left), *_leaves(node.right)]
    return [node]


def _named(source: n.Node, target: tuple[str, ...]) -> list[n.TableName]:
    """Which of FROM's tables is meant: by alias, by its exposed name, by its name behind an alias."""
    tables = [leaf for leaf in _leaves(source) if isinstance(leaf, n.TableName)]
    wanted = tuple(p.lower() for p in target if p)
    if len(wanted) == 1:
        by_alias = [t for t in tables if t.alias is not None and t.alias.lower() == wanted[0]]
        if by_alias:
            return by_alias
    same = [t for t in tables if _same_name(t.parts, wanted)]
    return [t for t in same if t.alias is None] or same


def _same_name(parts: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Whether two names agree as far as both go; a missing schema is dbo."""
    mine = [p.lower() or "dbo" for p in parts][::-1]
    other = [p or "dbo" for p in wanted][::-1]
    if len(mine) == 1 and len(other) > 1:
        mine.append("dbo")
    if len(other) == 1 and len(mine) > 1:
        other.append("dbo")
    return all(a == b for a, b in zip(mine, other, strict=False))


def _inner(node: n.Node, target: n.Node) -> bool:
    """Whether only inner and cross joins lie above the target."""
    if node is target:
        return True
    if not isinstance(node, n.Join):
        return False
    below = next((x for x in (node.left, node.right) if any(leaf is target for leaf in _leaves(x))), None)
    return below is not None and node.kind in ("INNER", "CROSS") and _inner(below, target)


def _take_apart(
    binder: QueryBinder, node: n.Node, target: n.Node, scope: Scope, others: list[str], tests: list[str]
) -> Source:
    """Bind the joins above the target one by one; returns the target's source."""
    if node is target:
        binder.from_sql(node, scope)
        return scope.sources[-1]
    assert isinstance(node, n.Join)
    own: Source | None = None
    for side in (node.left, node.right):
        if any(leaf is target for leaf in _leaves(side)):
            own = _take_apart(binder, side, target, scope, others, tests)
        else:
            others.append(binder.from_sql(side, scope))
    if node.on is not None:
        saved, scope.clause, scope.windows = scope.clause, "on", False
        tests.append(binder.expressions.condition(node.on, scope))
        scope.clause, scope.windows = saved, True
    if own is None:
        raise unsupported("this FROM clause", node.line)
    return own
