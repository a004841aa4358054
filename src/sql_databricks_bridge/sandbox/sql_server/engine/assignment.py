"""SELECT @v = expression: the last row's values stay in the variables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..contract import Column, Done, Event
from . import nodes as n
from . import results
from .bound import Ex
from .convert import convert
from .environment import Variable
from .errors import error, unsupported
from .running import running_concatenation
from .types import STRINGS

if TYPE_CHECKING:
    from .runner import Runner


def assign_variables(runner: Runner, node: n.QueryStatement, body: n.Select) -> Iterator[Event]:
    """SELECT @a = x, ...: the last row's values stay."""
    if runner.session.options.rowcount:
        raise unsupported("SELECT @variable = ... under SET ROWCOUNT (use TOP)", node.line)
    from .expr import walk

    targets = []
    if len(body.items) == 1 and body.source is not None:
        running = running_concatenation(body.items[0])
        v = runner.variables.get((body.items[0].variable or "").lower())
        if running is not None and v is not None and v.type.name in STRINGS and v.type.length == -1:
            _append(runner, node, body, v, running)
            yield Done("SELECT", None)
            return
    for item in body.items:
        v = runner.variables.get((item.variable or "").lower())
        if v is None:
            raise error(
                137, f'Must declare the scalar variable "{item.variable}".', severity=15, state=2, line=item.line
            )
        used = {x.name.lower() for x in walk(item.expr) if isinstance(x, n.Variable)}
        if body.source is not None and (used & {(i.variable or "").lower() for i in body.items}):
            raise unsupported("SELECT @v = ... @v ... FROM (a running assignment over rows)", item.line)
        targets.append(v)
    binder = runner.binder()
    for item in body.items:
        if item.op != "=":
            item.expr = n.Binary(item.line, item.op[0], n.Variable(item.line, item.variable or ""), item.expr)
            if body.source is not None:
                raise unsupported("a compound assignment over rows", item.line)
    bound = binder.query(node.query)
    if binder.env.used_tables:
        yield from runner.implicit()
    runner.check_snapshot(binder.env)
    outs: list[Column] = []
    parts: list[str] = []
    for i, (c, v) in enumerate(zip(bound.columns, targets, strict=True)):
        ex = convert(
            Ex(f"q.o{i + 1}", c.type, c.nullable, base=c.base, is_null=c.is_null),
            v.type,
            runner.session.options.dateformat,
        )
        for p in results.projection(ex.sql, v.type):
            parts.append(f"{p} AS p{len(parts)}")
        outs.append(Column("", v.type))
    rows, last = 0, None
    with runner.protected(atomic=bool(binder.env.locks)):
        runner.lock(binder.env)
        for batch in runner.session.pg.stream(f"SELECT {', '.join(parts)} FROM ({bound.sql}) q"):
            rows += batch.num_rows
            last = batch.slice(batch.num_rows - 1, 1) if batch.num_rows else last
    if last is not None:
        converted = results.convert(last, outs, [None] * len(outs))
        for v, column in zip(targets, converted.columns, strict=True):
            v.value = column[0].as_py()
    runner.session.rowcount = rows
    yield Done("SELECT", None)


def _append(
    runner: Runner, node: n.QueryStatement, body: n.Select, v: Variable, parts: tuple[n.Node | None, n.Node]
) -> None:
    """SELECT @v = COALESCE(@v + sep, '') + x: row after row, in ORDER BY's order."""
    gap, appended = parts
    separator = None if gap is None else runner.evaluate(gap, v.type)[1]
    body.items = [n.SelectItem(node.line, appended, "x")]
    bound = runner.binder().query(node.query)
    c = bound.columns[0]
    ex = convert(Ex("q.o1", c.type, c.nullable, is_null=c.is_null), v.type, runner.session.options.dateformat)
    with runner.protected():
        rows = runner.session.pg.rows(f"SELECT {ex.sql} AS p0 FROM ({bound.sql}) q")
    for (text,) in rows:
        if gap is None:
            v.value = None if v.value is None or text is None else v.value + text
        elif text is None:
            v.value = None
        else:
            v.value = text if v.value is None or separator is None else v.value + separator + text
    runner.session.rowcount = len(rows)
