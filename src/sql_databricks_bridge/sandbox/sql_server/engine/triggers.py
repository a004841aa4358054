"""AFTER triggers: what a statement changed is captured, then each trigger's T-SQL runs over it.

PostgreSQL's statement triggers (support/85_triggers.sql) put their transition tables, those of cascades too, into
temporary tables that the statement made beforehand; a statement that made none (bulk load) fires nothing. Sources:
"CREATE TRIGGER", "SET XACT_ABORT" (ON in a trigger), "Create nested triggers", "Use the inserted and deleted tables".
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..contract import Event, SqlError
from .errors import PgFailure, error, unsupported
from .pg import PgSession
from .table import Table, Trigger

if TYPE_CHECKING:
    from .runner import Runner
    from .session import EngineSession

_NAMES = itertools.count(1)
CAPTURED = {"INSERT": ("new",), "DELETE": ("old",), "UPDATE": ("old", "new")}


@dataclass(slots=True)
class Firing:
    """A table whose triggers for `verb` are to run; `columns` are those that an UPDATE set, lower case."""

    table: Table
    verb: str
    columns: frozenset[str]
    captured: dict[str, Table] = dataclasses.field(default_factory=dict)

    def after(self) -> list[Trigger]:
        return [t for t in self.table.triggers if self.verb in t.events and not t.disabled and not t.instead_of]


def has_enabled(table: Table) -> bool:
    return any(not t.disabled for t in table.triggers)


def plan(runner: Runner, table: Table, verbs: tuple[str, ...], columns: frozenset[str]) -> list[Firing] | None:
    """What a statement on `table` fires, cascades included; None if nothing."""
    if table.pg_schema == "pg_temp":
        return None
    pg = runner.session.pg
    some = "jsonb_array_length(coalesce(def->'triggers', '[]')) > 0"
    if not pg.rows(f"SELECT 1 FROM tsql.tables WHERE dbid = {table.pg_schema[1:]} AND {some} LIMIT 1"):
        return None
    reached = [Firing(table, verb, columns if verb == "UPDATE" else frozenset()) for verb in verbs]
    for firing in reached:  # grows as cascades are found
        for found in _cascades(pg, firing):
            if not any(f.table.id == found.table.id and f.verb == found.verb for f in reached):
                reached.append(found)
    for f in reached:
        if any(t.instead_of and not t.disabled and f.verb in t.events for t in f.table.triggers):
            raise unsupported(f"firing INSTEAD OF triggers (on {f.table.schema}.{f.table.name})")
    return [f for f in reached if f.after()] or None


def referencing(pg: PgSession, table: Table) -> list[Table]:
    """The tables with a foreign key to this one."""
    rows = pg.rows(
        f'SELECT def::text FROM tsql.tables WHERE def @> \'{{"foreign_keys": [{{"target_id": {table.id}}}]}}\' '
        "ORDER BY id"
    )
    return [Table.from_json(str(r[0])) for r in rows]


def _cascades(pg: PgSession, firing: Firing) -> Iterator[Firing]:
    if firing.verb == "INSERT":
        return
    for child in referencing(pg, firing.table):
        for key in child.foreign_keys:
            action = key.on_delete if firing.verb == "DELETE" else key.on_update
            if key.target_id != firing.table.id or action == "NO ACTION":
                continue
            if firing.verb == "UPDATE" and not firing.columns & {c.lower() for c in key.target_columns}:
                continue
            verb = "DELETE" if firing.verb == "DELETE" and action == "CASCADE" else "UPDATE"
            yield Firing(child, verb, frozenset(c.lower() for c in key.columns) if verb == "UPDATE" else frozenset())


def fire(runner: Runner, firings: list[Firing], work: Callable[[], int]) -> Generator[Event, None, int]:
    """Run `work` (it returns its row count) and then the triggers, all or nothing; the row count is returned.

    An error in a trigger dooms the transaction; Msg 3609 if a trigger ended it.
    """
    s = runner.session
    own = s.trancount == 0
    if own:
        s.enter()
    else:
        s.pg.run("SAVEPOINT st")
    generation, level, floor, in_trigger = s.generation, s.trancount, s.savepoint_floor, False
    base = s.savepoint_floor = len(s.savepoints)
    try:
        _prepare(s.pg, firings)
        rows = work()
        _collect(s.pg, firings)
        scope_identity, in_trigger = s.scope_identity, True
        for firing in firings:
            for trigger in firing.after():
                if not (s.firing and s.firing[-1] == trigger.object_id):  # RECURSIVE_TRIGGERS is OFF
                    yield from _run(runner, firing, trigger, rows, generation)
                if s.generation != generation:
                    raise error(3609, "The transaction ended in the trigger. The batch has been aborted.")
        s.scope_identity = scope_identity
        if s.trancount != level:
            raise unsupported("a trigger that leaves a transaction open")
        if s.doomed:
            raise error(
                3616,
                "An error was raised during trigger execution. The batch has been aborted and the user transaction, if "
                "any, has been rolled back.",
            )
        for firing in firings:
            for table in firing.captured.values():
                s.pg.run(f"DROP TABLE {table.pg}")
    except BaseException as exc:
        if s.generation == generation:
            del s.savepoints[base:]
            _undo(s, own=own)
            if isinstance(exc, SqlError) and in_trigger:
                exc.in_trigger = True  # type: ignore[attr-defined]
                if exc.message.number == 3616 and s.trancount:
                    yield from s.rollback()
        raise
    finally:
        s.savepoint_floor = floor
    if own:
        s.leave(commit=True)
    else:
        del s.savepoints[base:]
        s.pg.run("RELEASE SAVEPOINT st")
    return rows


def _undo(s: EngineSession, *, own: bool) -> None:
    if own:
        s.leave(commit=False)
        return
    try:
        s.pg.run("ROLLBACK TO SAVEPOINT st")
    except PgFailure:
        s.doomed = True


def _prepare(pg: PgSession, firings: list[Firing]) -> None:
    """The tables that PostgreSQL's triggers fill."""
    for f in firings:
        for kind in CAPTURED[f.verb]:
            name = f"cap_{kind}_{f.verb.lower()}_{f.table.pg_name}"
            pg.run(f"CREATE TEMP TABLE {name} (LIKE {f.table.pg}) ON COMMIT DROP")


def _collect(pg: PgSession, firings: list[Firing]) -> None:
    """Give them names of their own, so that a nested statement can make its own."""
    for f in firings:
        empty: Table | None = None
        for kind in CAPTURED[f.verb]:
            name, new = f"cap_{kind}_{f.verb.lower()}_{f.table.pg_name}", f"fired{next(_NAMES)}"
            pg.run(f"ALTER TABLE pg_temp.{name} RENAME TO {new}")
            shown = "inserted" if kind == "new" else "deleted"
            f.captured[shown] = dataclasses.replace(f.table, name=shown, pg_schema="pg_temp", pg_name=new, indexes=[])
        for shown in ("inserted", "deleted"):
            if shown not in f.captured:
                new = f"fired{next(_NAMES)}"
                pg.run(f"CREATE TEMP TABLE {new} (LIKE {f.table.pg}) ON COMMIT DROP")
                empty = dataclasses.replace(f.table, name=shown, pg_schema="pg_temp", pg_name=new, indexes=[])
                f.captured[shown] = empty


def _updated(firing: Firing) -> Callable[[str], bool]:
    """UPDATE(column): always true for INSERT, never for DELETE."""

    def updated(name: str) -> bool:
        if firing.table.column(name) is None:
            raise error(207, f"Invalid column name '{name}'.")
        return firing.verb == "INSERT" or (firing.verb == "UPDATE" and name.lower() in firing.columns)

    return updated


def _run(runner: Runner, firing: Firing, trigger: Trigger, rows: int, generation: int) -> Iterator[Event]:
    """One trigger: its own variables, its own SET options (XACT_ABORT is ON), its own temporary tables."""
    from . import nodes as n
    from .parse_statement import parse
    from .runner import BatchEnd, Runner, TriggerScope

    s = runner.session
    if s.nest_level >= 32:
        raise error(217, "Maximum stored procedure, function, trigger, or view nesting level exceeded (limit 32).")
    statement = parse(trigger.text, s.options.quoted_identifier, s.alias_type)[0]
    assert isinstance(statement, n.CreateTrigger)
    inner = Runner(s)
    inner.tries, inner.procedure = runner.tries, trigger.name
    inner.firing = TriggerScope(firing.captured, _updated(firing), generation)
    options, database, temp = s.options, s.database, dict(s.temp)
    s.options = dataclasses.replace(options, xact_abort=True)
    s.database = firing.table.database
    s.nest_level += 1
    s.firing.append(trigger.object_id)
    s.rowcount, s.last_error = rows, 0
    try:
        yield from inner.block(statement.body)
    except BatchEnd as end:
        if end.aborted:
            raise
    finally:
        s.firing.pop()
        s.nest_level -= 1
        s.options, s.database = options, database
    if s.generation == generation:
        for name in [name for name in s.temp if name not in temp]:
            s.pg.run(f"DROP TABLE {s.temp.pop(name).pg}")
