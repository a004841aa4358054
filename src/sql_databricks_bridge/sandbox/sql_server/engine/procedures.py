"""Procedures: by RPC and by EXEC. Only system procedures exist; each is a function of (call) here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..contract import Done, Event, Message, ReturnStatus, ReturnValue, RpcCall, RpcParameter, SqlError, SqlType
from . import nodes as n
from .convert import Converter
from .environment import Variable
from .errors import PgFailure, error, unsupported
from .parse_base import Cursor
from .parse_statement import Parser
from .runner import BatchEnd, Runner
from .session import Cancelled, EngineSession
from .types import INT, normalise
from .values import literal, scalar, to_codepage

if TYPE_CHECKING:
    from .bound import Ex
    from .table import Table


@dataclass(slots=True)
class Parameter:
    """An argument as a procedure sees it."""

    name: str
    type: SqlType
    value: Any
    output: bool = False


@dataclass(slots=True)
class Call:
    """A procedure call under way; `outputs` are sent back by name and ordinal."""

    runner: Runner
    name: str
    parameters: list[Parameter]
    by_rpc: bool = False
    status: int = 0
    outputs: list[tuple[int, Parameter]] = field(default_factory=list)

    @property
    def session(self) -> EngineSession:
        return self.runner.session

    def take(self, position: int, *names: str) -> Parameter | None:
        """The argument by one of its names, else by position."""
        for p in self.parameters:
            if p.name.lower().lstrip("@") in names:
                return p
        if position < len(self.parameters) and not self.parameters[position].name:
            return self.parameters[position]
        return None

    def text(self, position: int, *names: str, required: bool = True) -> str | None:
        p = self.take(position, *names)
        if p is None or p.value is None:
            if required:
                raise error(
                    201, f"Procedure or function '{self.name}' expects parameter '@{names[0]}', which was not supplied."
                )
            return None
        if not isinstance(p.value, str):
            raise error(214, f"Procedure expects parameter '@{names[0]}' of type 'ntext/nchar/nvarchar'.", state=2)
        return p.value


@dataclass(slots=True)
class Prepared:
    """What a handle stands for."""

    sql: str
    declared: list[tuple[str, SqlType, bool]]


def _sent(p: RpcParameter) -> Any:
    """A parameter's value; text comes in the client's code page, and is the database's from here on."""
    found = p.value[0].as_py()
    return to_codepage(found) if isinstance(found, str) and p.type.name in ("char", "varchar", "text") else found


def call_procedure(session: EngineSession, rpc: RpcCall) -> Iterator[Event]:
    """An RPC request."""
    runner = Runner(session)
    parameters = [Parameter(p.name, normalise(p.type), _sent(p), p.output) for p in rpc.parameters]
    name = rpc.procedure.strip("[]").split(".")[-1].strip("[]").lower()
    call = Call(runner, name, parameters, by_rpc=True)
    try:
        yield from _dispatch(call)
    except BatchEnd as end:
        call.status = call.status or (session.last_error if end.aborted else 0)
    except Cancelled:
        return
    except (SqlError, PgFailure) as exc:
        failed = session.fail(exc) if isinstance(exc, PgFailure) else exc
        if isinstance(failed, Cancelled):
            return
        assert isinstance(failed, SqlError)
        if failed.message.severity >= 20:
            raise failed from None
        session.last_error = failed.message.number
        if not getattr(failed, "reported", False):
            m = failed.message
            yield m if m.line else Message(m.number, m.text, m.severity, m.state, 1, m.procedure)
        call.status = call.status or -6
        yield Done("", None)
    if session.doomed and session.trancount:
        yield from session.rollback()
        yield Message(
            3998, "Uncommittable transaction is detected at the end of the batch. The transaction is rolled back."
        )
    yield ReturnStatus(call.status)
    for ordinal, p in call.outputs:
        yield ReturnValue(p.name, ordinal, p.type, scalar(p.type, p.value))


def exec_statement(runner: Runner, node: n.Exec) -> Iterator[Event]:
    """EXEC proc args, EXEC (text)."""
    session = runner.session
    if node.text is not None:
        _, text = runner.evaluate(node.text)
        inner = Runner(session)
        yield from _nested(runner, inner, str(text or ""))
        return
    parameters = []
    for a in node.args:
        sql_type, value = runner.evaluate(a.value)
        parameters.append(Parameter(a.name, sql_type, value, a.output))
    _require_this_database(session, node.procedure)
    call = Call(runner, node.procedure[-1], parameters)
    yield from _dispatch(call)
    for ordinal, p in call.outputs:
        target = node.args[ordinal].value
        if isinstance(target, n.Variable):
            v = runner.variables.get(target.name.lower())
            if v is None:
                raise error(137, f'Must declare the scalar variable "{target.name}".', severity=15, line=node.line)
            v.value = _convert(runner, p, v.type)
    if node.result is not None:
        v = runner.variables.get(node.result.lower())
        if v is None:
            raise error(137, f'Must declare the scalar variable "{node.result}".', severity=15, line=node.line)
        v.value = call.status


def _require_this_database(session: EngineSession, procedure: Sequence[str]) -> None:
    """A procedure runs in the database that its name says, sp_executesql's text too ("System stored procedures")."""
    if len(procedure) == 4:
        raise unsupported("running a procedure of a linked server")
    if procedure[-1].lower() == "sp_tablecollations_100":  # goes by the database in its argument
        return
    if len(procedure) == 3 and procedure[0].lower() not in ("", session.database.lower()):
        raise unsupported(f"running a procedure of another database ({'.'.join(procedure)})")


def _nested(outer: Runner, inner: Runner, sql: str) -> Iterator[Event]:
    """Run text one level down; inside TRY its errors, compile errors too, are the caller's to catch."""
    session = outer.session
    if session.nest_level >= 32:
        raise error(217, "Maximum stored procedure, function, trigger, or view nesting level exceeded (limit 32).")
    session.nest_level += 1
    inner.tries = outer.tries
    database, temp, generation = session.database, dict(session.temp), session.generation
    # "If a SET statement runs in a stored procedure [or dynamic SQL], the value is restored after it" (SET Statements).
    options = dataclasses.replace(session.options)
    try:
        yield from inner.text(sql)
    except SqlError as exc:
        exc.inner = True  # type: ignore[attr-defined]
        if outer.tries or getattr(exc, "reported", False) or outer.session.nest_level > 32:
            raise
        session.last_error = exc.message.number
        raise
    except BatchEnd as end:
        if end.aborted:
            raise
    finally:
        session.nest_level -= 1
        session.database = database
        session.options = options
        _drop_new(session, temp, generation)


def _drop_new(session: EngineSession, before: dict[str, Table], generation: int) -> None:
    """A #temp table goes with the procedure or text that made it ("CREATE TABLE", temporary tables)."""
    for name in [name for name in session.temp if name not in before]:
        table = session.temp.pop(name)
        try:
            session.pg.run(f"DROP TABLE IF EXISTS {table.pg}")
        except PgFailure:  # the transaction has failed, or the connection: it is gone with that
            if session.generation == generation and session.trancount:
                session.doomed = True


def _dispatch(call: Call) -> Iterator[Event]:
    handler = PROCEDURES.get(call.name.lower())
    if handler is None:
        if call.name.lower().startswith(("sp_", "xp_")):
            raise unsupported(f"the procedure {call.name}")
        raise error(2812, f"Could not find stored procedure '{call.name}'.", state=62)
    yield from handler(call)


def _convert(runner: Runner, p: Parameter, target: SqlType) -> Any:
    """A parameter's value as another type."""
    from .bound import Ex

    if p.type == target or p.value is None:
        return p.value
    ex: Ex = Ex(literal(p.type, p.value), p.type, True)
    return runner.fetch(Converter(dateformat=runner.session.options.dateformat)(ex, target))


def parse_declaration(text: str | None) -> list[tuple[str, SqlType, bool]]:
    """'@a int, @b nvarchar(10) OUTPUT' as (name, type, is output)."""
    if not text or not text.strip():
        return []
    cursor = Cursor(text)
    out = []
    while True:
        t = cursor.token
        if t.kind != "variable":
            raise cursor.wrong()
        cursor.advance()
        cursor.accept("AS")
        sql_type = cursor.type()
        if cursor.accept_op("="):
            raise unsupported("defaults in a parameter declaration")
        out.append((t.text, sql_type, cursor.accept("OUTPUT") or cursor.accept("OUT")))
        cursor.accept("READONLY")
        if not cursor.accept_op(","):
            break
    if cursor.token.kind != "end":
        raise cursor.wrong()
    return out


def _run_parameterised(
    call: Call, sql: str, declared: list[tuple[str, SqlType, bool]], given: list[Parameter], base: int
) -> Iterator[Event]:
    """Bind arguments to declared parameters and run; `base` is the ordinal of the first argument."""
    variables: dict[str, Variable] = {}
    by_name = {p.name.lower(): (i, p) for i, p in enumerate(given) if p.name}
    wanted: list[tuple[int, Parameter, Variable]] = []
    for i, (name, sql_type, output) in enumerate(declared):
        found = by_name.get(name.lower())
        if found is None and i < len(given) and not given[i].name:
            found = (i, given[i])
        if found is None:
            raise error(
                8178,
                f"The parameterized query '{_query_text(declared, sql)}' expects the parameter '{name}', "
                f"which was not "
                "supplied.",
            )
        at, p = found
        v = Variable(name, sql_type, _convert(call.runner, p, sql_type))
        variables[name.lower()] = v
        if output and p.output:
            wanted.append((base + at, p, v))
    for p in given:
        if p.name and p.name.lower() not in variables:
            raise error(8144, "Procedure or function has too many arguments specified.", state=2)
    if len(given) > len(declared):
        raise error(8144, "Procedure or function has too many arguments specified.", state=2)
    inner = Runner(call.session, variables)
    yield from _nested(call.runner, inner, sql)
    for ordinal, p, v in wanted:
        call.outputs.append((ordinal, Parameter(p.name, v.type, v.value)))
    call.status = 0 if not call.session.last_error else call.session.last_error


def _query_text(declared: list[tuple[str, SqlType, bool]], sql: str) -> str:
    from .types import type_text

    head = ",".join(f"{name} {type_text(t)}" for name, t, _ in declared)
    return f"({head}){sql}"[:128]


def _sp_executesql(call: Call) -> Iterator[Event]:
    sql = call.text(0, "stmt", "statement") or ""
    declaration = call.take(1, "params", "parameters")
    declared = parse_declaration(None if declaration is None else declaration.value)
    yield from _run_parameterised(call, sql, declared, call.parameters[2:], 2)


def _store(call: Call, sql: str, declared: list[tuple[str, SqlType, bool]]) -> int:
    handle = next(call.session.handles)
    call.session.prepared[handle] = Prepared(sql, declared)
    return handle


def _handle_out(call: Call, handle: int | None) -> None:
    first = call.parameters[0]
    call.outputs.insert(0, (0, Parameter(first.name, INT, handle)))


def _sp_prepare(call: Call) -> Iterator[Event]:
    declared = parse_declaration(call.text(1, "params", required=False))
    sql = call.text(2, "stmt") or ""
    Parser(sql, call.session.options.quoted_identifier).batch()
    _handle_out(call, _store(call, sql, declared))
    return iter(())


def _sp_prepexec(call: Call) -> Iterator[Event]:
    declared = parse_declaration(call.text(1, "params", required=False))
    sql = call.text(2, "stmt") or ""
    old = call.parameters[0].value
    if old is not None:
        call.session.prepared.pop(old, None)
    yield from _run_parameterised(call, sql, declared, call.parameters[3:], 3)
    _handle_out(call, _store(call, sql, declared))


def _prepared(call: Call) -> Prepared:
    p = call.take(0, "handle")
    found = call.session.prepared.get(p.value) if p is not None else None
    if found is None:
        raise error(8179, f"Could not find prepared statement with handle {p.value if p else None}.", state=2)
    assert isinstance(found, Prepared)
    return found


def _sp_execute(call: Call) -> Iterator[Event]:
    found = _prepared(call)
    yield from _run_parameterised(call, found.sql, found.declared, call.parameters[1:], 1)


def _sp_unprepare(call: Call) -> Iterator[Event]:
    _prepared(call)
    del call.session.prepared[call.parameters[0].value]
    return iter(())


def _sp_reset_connection(call: Call) -> Iterator[Event]:
    call.session.reset()
    return iter(())


def _sp_describe_first_result_set(call: Call) -> Iterator[Event]:
    from .describe import first_result_set

    sql = call.text(0, "tsql") or ""
    declared = parse_declaration(call.text(1, "params", required=False))
    yield from first_result_set(call.runner, sql, declared)


def _sp_describe_undeclared_parameters(call: Call) -> Iterator[Event]:
    from .describe import undeclared_parameters

    sql = call.text(0, "tsql") or ""
    declared = parse_declaration(call.text(1, "params", required=False))
    yield from undeclared_parameters(call.runner, sql, declared)


def _sp_tablecollations_100(call: Call) -> Iterator[Event]:
    from .describe import table_collations

    yield from table_collations(call.runner, call.text(0, "object") or "")


def _sp_getapplock(call: Call) -> Iterator[Event]:
    from .app_locks import get

    call.status = get(call)
    return iter(())


def _sp_releaseapplock(call: Call) -> Iterator[Event]:
    from .app_locks import release

    call.status = release(call)
    return iter(())


def _cdc(name: str) -> Callable[[Call], Iterator[Event]]:
    def run(call: Call) -> Iterator[Event]:
        from . import cdc

        handler: Callable[[Call], Iterator[Event]] = getattr(cdc, name)
        return handler(call)

    return run


PROCEDURES: dict[str, Callable[[Call], Iterator[Event]]] = {
    "sp_executesql": _sp_executesql,
    "sp_prepare": _sp_prepare,
    "sp_prepexec": _sp_prepexec,
    "sp_execute": _sp_execute,
    "sp_unprepare": _sp_unprepare,
    "sp_reset_connection": _sp_reset_connection,
    "sp_describe_first_result_set": _sp_describe_first_result_set,
    "sp_describe_undeclared_parameters": _sp_describe_undeclared_parameters,
    "sp_tablecollations_100": _sp_tablecollations_100,
    "sp_getapplock": _sp_getapplock,
    "sp_releaseapplock": _sp_releaseapplock,
    "sp_cdc_enable_db": _cdc("enable_database"),
    "sp_cdc_disable_db": _cdc("disable_database"),
    "sp_cdc_enable_table": _cdc("enable_table"),
    "sp_cdc_disable_table": _cdc("disable_table"),
}
