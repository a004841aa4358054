"""Running statements: control flow, errors, transactions around each statement."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..contract import Column, DatabaseChanged, Done, Event, Message, RowSet, SqlError, SqlType
from . import catalog, results, set_options
from . import nodes as n
from .assignment import assign_variables
from .bound import BoundQuery, Ex
from .convert import convert
from .environment import CaughtError, Variable
from .errors import PgFailure, aborts_batch, at_line, dooms_transaction, error, unsupported
from .parse_statement import parse
from .query import QueryBinder
from .scope import Scope
from .session import Cancelled, EngineSession
from .streams import Stream, outer, parallel

if TYPE_CHECKING:
    from .environment import Environment
    from .table import Table

_COMPILE = {102, 156, 105, 207, 208, 209, 4104, 8120, 8121, 8127, 195, 137, 1087, 263, 107}
"""Errors found while a statement compiles: TRY in the same batch does not catch them."""


class BatchEnd(Exception):
    """RETURN, or (`aborted`) the end of a batch that an error cut short (the error has been reported)."""

    def __init__(self, *, aborted: bool = False) -> None:
        self.aborted = aborted


class Jump(Exception):
    """BREAK or CONTINUE."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


@dataclass(slots=True)
class TriggerScope:
    """What a trigger's statements see of the change that fired it."""

    tables: dict[str, Table]  # inserted, deleted
    updated: Callable[[str], bool]
    generation: int  # of the transaction that holds the tables


class Runner:
    """One batch (or EXEC'ed text) on a session, with its variables."""

    def __init__(self, session: EngineSession, variables: dict[str, Variable] | None = None) -> None:
        self.session = session
        self.variables = variables if variables is not None else {}
        self.tables: dict[str, Any] = {}
        self.caught: CaughtError | None = None
        self.tries = 0
        self.procedure = ""
        self.firing: TriggerScope | None = None

    # ---- whole batches ----------------------------------------------------------------------------------------------
    def batch(self, sql: str) -> Iterator[Event]:
        """Run a client's batch: every error becomes a Message."""
        s = self.session
        try:
            yield from self.text(sql)
        except BatchEnd:
            pass
        except Cancelled:
            s.last_error = 0
        except SqlError as exc:
            if exc.message.severity >= 20:
                raise
            s.last_error = exc.message.number
            yield exc.message
            yield Done("", None)
        if s.doomed and s.trancount:
            yield from s.rollback()
            yield Message(
                3998, "Uncommittable transaction is detected at the end of the batch. The transaction is rolled back."
            )
            yield Done("", None)

    def text(self, sql: str) -> Iterator[Event]:
        """Parse and run; errors of statements outside TRY are reported, compile errors raise SqlError."""
        for statement in parse(sql, self.session.options.quoted_identifier, self.session.alias_type):
            yield from self.statement(statement)

    def block(self, body: list[n.Statement]) -> Iterator[Event]:
        for statement in body:
            yield from self.statement(statement)

    def statement(self, node: n.Statement) -> Iterator[Event]:
        """One statement, its errors handled."""
        s = self.session
        if s.cancelled.is_set():
            raise Cancelled
        if s.options.noexec and not isinstance(node, n.SetOption):
            yield from self._compiled_only(node)
            return
        method: Callable[[Any], Iterator[Event]] | None = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            raise unsupported(type(node).__name__, node.line)
        try:
            yield from method(node)
            if not isinstance(node, n.If | n.While | n.Block | n.TryCatch):
                s.last_error = 0
        except PgFailure as exc:
            failed = s.fail(exc)
            if not isinstance(failed, SqlError):
                raise failed from exc
            yield from self._failed(at_line(failed, node.line, self.procedure))
        except SqlError as exc:
            yield from self._failed(at_line(exc, node.line, self.procedure))

    def _compiled_only(self, node: n.Statement) -> Iterator[Event]:
        """NOEXEC: a query is compiled; a missing table waits for a run that never comes (deferred name resolution)."""
        if not isinstance(node, n.QueryStatement):
            return
        try:
            self.binder().query(node.query)
        except SqlError as exc:
            if exc.message.number != 208:
                yield from self._failed(at_line(exc, node.line))

    def _failed(self, exc: SqlError) -> Iterator[Event]:
        s = self.session
        number = exc.message.number
        s.last_error = number
        if exc.message.severity >= 20 or self.tries:
            raise exc
        if getattr(exc, "reported", False) is False:
            yield exc.message
        if number in (515, 547, 2601, 2627, 2628):
            yield Message(3621, "The statement has been terminated.", 0, 0, exc.message.line)
        s.rowcount = 0
        if number == 1205 or number == 3960 or (s.trancount and (s.options.xact_abort or dooms_transaction(number))):
            if s.trancount:
                yield from s.rollback()
            yield Done("", None)
            raise BatchEnd(aborted=True)
        yield Done("", None)
        if aborts_batch(number) or s.options.xact_abort:
            raise BatchEnd(aborted=True)

    # ---- binding helpers --------------------------------------------------------------------------------------------
    def environment(self) -> Environment:
        env = self.session.environment(self.variables)
        env.caught = self.caught
        env.tables = self.tables
        if self.firing is not None:
            env.pseudo = self.firing.tables
            env.pseudo_gone = self.firing.generation != self.session.generation
            env.updated = self.firing.updated
        return env

    def binder(self) -> QueryBinder:
        return QueryBinder(self.environment())

    def evaluate(self, node: n.Node, target: SqlType | None = None) -> tuple[SqlType, Any]:
        """A value of an expression without FROM, in contract.py's physical form."""
        binder = self.binder()
        ex = binder.expressions.value(node, Scope())
        if target is not None:
            ex = convert(ex, target, self.session.options.dateformat)
        return ex.type, self.fetch(ex)

    def fetch(self, ex: Ex) -> Any:
        """Compute a bound value."""
        t = ex.base or ex.type
        parts = results.projection(ex.sql, t)
        texts = ", ".join(f"{p} AS p{i}" for i, p in enumerate(parts))
        with self.protected():
            table = self.session.pg.table(f"SELECT {texts}")
        batch = table.combine_chunks().to_batches()
        if not batch:
            return None
        out = results.convert(batch[0], [Column("", t)], [None])
        return out.column(0)[0].as_py()

    def test(self, node: n.Node) -> bool:
        """A condition; UNKNOWN is false."""
        binder = self.binder()
        sql = binder.expressions.condition(node, Scope())
        with self.protected():
            return bool(self.session.pg.rows(f"SELECT coalesce({sql}, false)")[0][0])

    @contextlib.contextmanager
    def protected(self, *, atomic: bool = False) -> Iterator[None]:
        """Keep the transaction alive when a statement fails; `atomic` makes several PostgreSQL statements one."""
        s = self.session
        if s.doomed and atomic:
            raise error(
                3930,
                "The current transaction cannot be committed and cannot support operations that write "
                "to the log "
                "file. Roll back the transaction.",
            )
        if not s.trancount and not atomic:
            yield
            return
        inside = s.trancount > 0
        s.pg.run("SAVEPOINT st" if inside else "BEGIN")
        try:
            yield
        except BaseException:
            try:
                s.pg.run("ROLLBACK TO SAVEPOINT st" if inside else "ROLLBACK")
            except PgFailure:
                s.doomed = inside
            raise
        s.pg.run("RELEASE SAVEPOINT st" if inside else "COMMIT")

    def implicit(self) -> Iterator[Event]:
        """SET IMPLICIT_TRANSACTIONS ON begins one before statements that touch data."""
        s = self.session
        if s.options.implicit_transactions and s.trancount == 0:
            yield from s.begin()

    # ---- queries ----------------------------------------------------------------------------------------------------
    def _querystatement(self, node: n.QueryStatement) -> Iterator[Event]:
        body = node.query.body
        if isinstance(body, n.Select):
            if body.into is not None:
                from .select_into import select_into

                yield from self.implicit()
                yield from select_into(self, node)
                return
            assigned = [i for i in body.items if i.variable is not None]
            if assigned:
                if len(assigned) != len(body.items):
                    raise error(141, "A SELECT statement that assigns a value to a variable must not be combined with "
                                "data-retrieval operations.", severity=15, line=node.line)  # fmt: skip
                yield from assign_variables(self, node, body)
                return
        binder = self.binder()
        bound = binder.query(node.query)
        yield from self.rowset(bound, binder.env)

    def rowset(self, bound: BoundQuery, env: Environment, command: str = "SELECT") -> Iterator[Event]:
        """Send a query's rows."""
        s = self.session
        columns = tuple(Column(c.name, c.type, c.nullable, c.identity, c.computed) for c in bound.columns)
        if s.options.fmtonly:
            yield RowSet(columns, iter(()))
            yield Done(command, 0)
            return
        if env.used_tables:
            yield from self.implicit()
        self.check_snapshot(env)
        limit = f" LIMIT {s.options.rowcount}" if s.options.rowcount else ""
        sql = f"{outer(bound)}{limit}"
        bases = [c.base for c in bound.columns]
        lock = bool(env.locks)
        with self.protected(atomic=lock), parallel(s.pg, env.parallel):
            self.lock(env)
            stream = s.pg.stream(sql)
            first = next(stream, None)
            state = Stream(self, stream, first, columns, bases)
            yield RowSet(columns, state.batches())
            state.close()
            if state.failure is not None:
                raise state.failure
        s.rowcount = state.rows
        yield Done(command, None if s.options.nocount else state.rows)

    def lock(self, env: Environment) -> None:
        """The table locks that hints asked for, held to the transaction's end."""
        for table, mode in dict.fromkeys((t.pg, mode) for t, mode in env.locks):
            self.session.pg.run(f"LOCK TABLE {table} IN {mode} MODE")

    def check_snapshot(self, env: Environment) -> None:
        """Msg 3952: SNAPSHOT where the database does not allow it."""
        s = self.session
        if s.options.isolation != "SNAPSHOT" or not s.trancount or not env.used_tables:
            return
        for name in {t.database for t in env.used_tables if t.pg_schema != "pg_temp"}:
            rows = s.pg.rows(
                f"SELECT snapshot FROM tsql.databases WHERE lname = '{name.lower()}'"
                if name.isidentifier()
                else f"SELECT snapshot FROM tsql.databases WHERE name = {_q(name)}"
            )
            if rows and not rows[0][0]:
                raise error(
                    3952,
                    f"Snapshot isolation transaction failed accessing database '{name}' because snapshot "
                    f"isolation "
                    "is not allowed in this database. Use ALTER DATABASE to allow snapshot isolation.",
                )

    # ---- variables and options --------------------------------------------------------------------------------------
    def _declare(self, node: n.Declare) -> Iterator[Event]:
        for name, sql_type, start in node.items:
            self.variables[name.lower()] = Variable(name, sql_type)
            if start is not None:
                self.variables[name.lower()].value = self.evaluate(start, sql_type)[1]
        return iter(())

    def _declaretable(self, node: n.DeclareTable) -> Iterator[Event]:
        from .select_into import create_table

        self.tables[node.name.lower()] = create_table(
            self, (node.name,), node.columns, node.constraints, node.line, temporary=True
        )
        return iter(())

    def _setvariable(self, node: n.SetVariable) -> Iterator[Event]:
        v = self.variables.get(node.name.lower())
        if v is None:
            raise error(137, f'Must declare the scalar variable "{node.name}".', severity=15, state=1, line=node.line)
        value = (
            node.value
            if node.op == "="
            else n.Binary(node.line, node.op[0], n.Variable(node.line, node.name), node.value)
        )
        v.value = self.evaluate(value, v.type)[1]
        return iter(())

    def _setoption(self, node: n.SetOption) -> Iterator[Event]:
        yield from set_options.apply(self, node)

    def _use(self, node: n.Use) -> Iterator[Event]:
        s = self.session
        found = catalog.database_id(s.pg, node.database)
        if found is None:
            raise error(
                911,
                f"Database '{node.database}' does not exist. Make sure that the name is entered correctly.",
                line=node.line,
            )
        old, s.database = s.database, found[1]
        yield DatabaseChanged(s.database, old)
        yield Message(5701, f"Changed database context to '{s.database}'.", 0, 2, node.line)
        yield Done("USE", None)

    def _print(self, node: n.Print) -> Iterator[Event]:
        _, value = self.evaluate(node.value, SqlType("nvarchar", 4000))
        yield Message(0, value if value else " ", 0, 1, node.line)
        yield Done("PRINT", None)

    # ---- control flow -----------------------------------------------------------------------------------------------
    def _if(self, node: n.If) -> Iterator[Event]:
        if self.test(node.condition):
            yield from self.statement(node.then)
        elif node.otherwise is not None:
            yield from self.statement(node.otherwise)

    def _while(self, node: n.While) -> Iterator[Event]:
        while self.test(node.condition):
            try:
                yield from self.statement(node.body)
            except Jump as jump:
                if jump.kind == "BREAK":
                    return

    def _block(self, node: n.Block) -> Iterator[Event]:
        yield from self.block(node.body)

    def _jump(self, node: n.Jump) -> Iterator[Event]:
        if node.kind == "RETURN":
            raise BatchEnd
        raise Jump(node.kind)

    def _trycatch(self, node: n.TryCatch) -> Iterator[Event]:
        s = self.session
        self.tries += 1
        try:
            yield from self.block(node.body)
            self.tries -= 1
            return
        except SqlError as caught:
            self.tries -= 1
            exc, m = caught, caught.message
            if m.severity >= 20 or (m.number in _COMPILE and not getattr(exc, "inner", False)):
                raise
        except BaseException:
            self.tries -= 1
            raise
        fatal = s.options.xact_abort or dooms_transaction(m.number) or getattr(exc, "in_trigger", False)
        if s.trancount and fatal:
            if m.number in (1205, 3960):
                yield from s.rollback()
            else:
                s.doomed = True
        saved, self.caught = self.caught, CaughtError(m.number, m.text, m.severity, m.state, m.line, m.procedure)
        s.last_error = m.number
        try:
            yield from self.block(node.handler)
        finally:
            self.caught = saved

    def _throw(self, node: n.Throw) -> Iterator[Event]:
        if not node.args:
            c = self.caught
            if c is None:
                raise error(
                    10704,
                    "To rethrow an error, a THROW statement must be used inside a CATCH block.",
                    severity=15,
                    line=node.line,
                )
            raise SqlError(Message(c.number, c.text, c.severity, c.state, c.line, c.procedure))
        number = self.evaluate(node.args[0], SqlType("int"))[1]
        text = self.evaluate(node.args[1], SqlType("nvarchar", 2048))[1]
        state = self.evaluate(node.args[2], SqlType("int"))[1]
        if number is None or number < 50000:
            raise error(
                35100,
                f"Error number {number} in the THROW statement is outside the valid range. Specify an "
                f"error number "
                "in the valid range of 50000 to 2147483647.",
                line=node.line,
            )
        exc = at_line(error(number, text or "", state=state or 0), node.line, self.procedure)
        if not self.tries:
            s = self.session
            s.last_error = number
            yield exc.message
            if s.options.xact_abort and s.trancount:
                yield from s.rollback()
            yield Done("", None)
            raise BatchEnd(aborted=True)
        raise exc

    def _raiseerror(self, node: n.RaiseError) -> Iterator[Event]:
        from .messages import raise_error

        yield from raise_error(self, node)

    def _transactionstatement(self, node: n.TransactionStatement) -> Iterator[Event]:
        s = self.session
        name = node.name
        if name.startswith("@"):
            name = str(self.evaluate(n.Variable(node.line, name))[1] or "")
        if node.kind == "BEGIN":
            yield from s.begin()
        elif node.kind == "COMMIT":
            yield from s.commit()
        elif node.kind == "SAVE":
            s.save(name)
        else:
            yield from s.rollback(name)
        yield Done(f"{node.kind} TRANSACTION", None)

    def _waitfor(self, node: n.WaitFor) -> Iterator[Event]:
        ticks = self.evaluate(node.delay, SqlType("time", scale=7))[1] or 0
        deadline = time.monotonic() + ticks / 10_000_000
        if self.session.cancelled.wait(max(0.0, deadline - time.monotonic())):
            raise Cancelled
        yield Done("WAITFOR", None)

    def _exec(self, node: n.Exec) -> Iterator[Event]:
        from .procedures import exec_statement

        yield from exec_statement(self, node)

    # ---- data and definitions ---------------------------------------------------------------------------------------
    def _change(self, node: Any) -> Iterator[Event]:
        from . import dml

        yield from self.implicit()
        yield from dml.run(self, node)

    _insert = _update = _delete = _merge = _truncate = _change
    _createtable = _altertable = _altertabletracking = _createindex = _drop = _createschema = _change
    _createtrigger = _switchtrigger = _createview = _createsynonym = _createtype = _change

    def _createdatabase(self, node: n.CreateDatabase) -> Iterator[Event]:
        from . import dml

        yield from dml.run(self, node)

    _alterdatabase = _alterdatabasetracking = _insertbulk = _createdatabase


def _q(text: str) -> str:
    from .pg import quote

    return quote(text)
