"""Running a changing statement: locks, OUTPUT, triggers, @@ROWCOUNT."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..contract import Column, Done, Event, RowSet, SqlError
from . import catalog, results, triggers
from .errors import error, unsupported
from .output_clause import Output
from .query import QueryBinder
from .table import Table

if TYPE_CHECKING:
    from .runner import Runner


@dataclass(slots=True)
class Change:
    """A changing statement ready to run: PostgreSQL's text and what its triggers need to know."""

    table: Table
    verbs: tuple[str, ...]
    sql: str
    output: Output | None = None
    columns: frozenset[str] = frozenset()  # an UPDATE's, lower case
    before: Callable[[], None] | None = None  # what must run first, in the same transaction
    after: Callable[[int], None] | None = None  # gets the number of rows
    command: str = ""


def lookup(runner: Runner) -> Callable[[int], Table | None]:
    """Tables by id, #temp ones and table variables too."""

    def find(number: int) -> Table | None:
        local = [*runner.session.temp.values(), *runner.tables.values()]
        return next((t for t in local if t.id == number), None) or catalog.table_by_id(runner.session.pg, number)

    return find


def place(table: Table, column: str) -> str:
    """How an error names a column."""
    return f"table '{table.full_name}', column '{column}'"


def target_table(binder: QueryBinder, parts: tuple[str, ...], line: int, verb: str) -> Table:
    """The table that a statement changes: Msg 286 for a trigger's own, views are refused."""
    if len(parts) == 1 and parts[0].lower() in binder.env.pseudo:
        raise error(286, "The logical tables INSERTED and DELETED cannot be updated.", line=line)
    try:
        return binder.table(parts, line)
    except SqlError as exc:
        if exc.message.number == 208 and binder.env.view(parts) is not None:
            raise unsupported(f"{verb} of a view", line) from exc
        raise


def finish(runner: Runner, command: str, rows: int) -> Iterator[Event]:
    runner.session.rowcount = rows
    yield Done(command, None if runner.session.options.nocount else rows)


def execute(runner: Runner, binder: QueryBinder, change: Change) -> Iterator[Event]:
    """Run a change, sending OUTPUT's rows where there are any."""
    runner.check_snapshot(binder.env)
    command = change.command or change.verbs[0]
    firings = triggers.plan(runner, change.table, change.verbs, change.columns)
    output = change.output
    if firings is not None:
        if output is not None and output.into is None and triggers.has_enabled(change.table):
            raise error(
                334,
                f"The target table '{change.table.name}' of the DML statement cannot have any enabled triggers if the "
                "statement contains an OUTPUT clause without INTO clause.",
            )
        if output is None or output.into is not None:
            rows = yield from _fired(runner, binder, change, firings)
            yield from finish(runner, command, rows)
            return
        raise unsupported("OUTPUT to the client where a cascade fires triggers")
    if output is None or output.into is not None:
        several = output is not None or change.before is not None or bool(binder.env.locks)
        with runner.protected(atomic=several):
            rows = _work(runner, binder, change)
        yield from finish(runner, command, rows)
        return
    full, columns = output.wrap(change.sql)
    assert columns is not None
    with runner.protected(atomic=True):
        runner.lock(binder.env)
        if change.before is not None:
            change.before()
        table = runner.session.pg.table(full)
        if change.after is not None:
            change.after(table.num_rows)
    shown = tuple(Column(c.name, c.type, c.nullable) for c in columns)
    bases = [c.base for c in columns]
    yield RowSet(shown, (results.convert(b, shown, bases) for b in table.to_batches()))
    yield from finish(runner, command, table.num_rows)


def _work(runner: Runner, binder: QueryBinder, change: Change) -> int:
    runner.lock(binder.env)
    if change.before is not None:
        change.before()
    sql = change.sql if change.output is None else change.output.wrap(change.sql)[0]
    rows = max(runner.session.pg.run(sql), 0)
    if change.after is not None:
        change.after(rows)
    return rows


def _fired(
    runner: Runner, binder: QueryBinder, change: Change, firings: list[triggers.Firing]
) -> Generator[Event, None, int]:
    rows = yield from triggers.fire(runner, firings, lambda: _work(runner, binder, change))
    return rows
