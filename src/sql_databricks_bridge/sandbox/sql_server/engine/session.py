"""A connection's state, and the calls of contract.py's Session."""

from __future__ import annotations

import datetime
import itertools
import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..contract import (
    BeginTransaction,
    BulkLoad,
    CommitTransaction,
    DatabaseChanged,
    Event,
    Isolation,
    LoginRequest,
    Message,
    RollbackTransaction,
    RpcCall,
    SaveTransaction,
    SqlError,
    TransactionChange,
    TransactionChanged,
    TransactionRequest,
)
from . import catalog, cdc_functions, system_views
from .app_locks import Held, Resource, end_transaction
from .change_tracking import columns_updated
from .describe import function_table
from .environment import Environment, Variable, ViewDefinition
from .errors import PgFailure, error, translate, unsupported
from .parse_base import AliasType
from .pg import PgSession
from .session_functions import call as session_function
from .session_functions import global_variables
from .table import Table

if TYPE_CHECKING:
    from .engine import TsqlEngine

_DESCRIPTORS = itertools.count(0x3900000001)
_PG_LEVEL = {
    "READ UNCOMMITTED": "READ COMMITTED",
    "READ COMMITTED": "READ COMMITTED",
    "REPEATABLE READ": "REPEATABLE READ",
    "SNAPSHOT": "REPEATABLE READ",
    "SERIALIZABLE": "SERIALIZABLE",
}


@dataclass(slots=True)
class Options:
    """SET options, as a login leaves them."""

    nocount: bool = False
    xact_abort: bool = False
    isolation: str = "READ COMMITTED"
    implicit_transactions: bool = False
    quoted_identifier: bool = True
    fmtonly: bool = False
    noexec: bool = False
    rowcount: int = 0
    lock_timeout: int = -1
    dateformat: str = "mdy"
    datefirst: int = 7
    language: str = "us_english"
    identity_insert: int = 0  # the table's object id


class Cancelled(Exception):
    """The running call was cancelled by an attention."""


class EngineSession:
    """See contract.Session."""

    def __init__(self, engine: TsqlEngine, login: LoginRequest, database: str, spid: int) -> None:
        self.engine = engine
        self.login = login
        self.spid = spid
        self.database = database
        self.home = database
        self.pg = PgSession(engine.postgres.uri)
        self.options = Options()
        self.trancount = 0
        self.doomed = False
        self.descriptor = 0
        self.savepoints: list[str] = []
        self.savepoint_floor = 0
        self.temp: dict[str, Table] = {}
        self._temp_before: dict[str, Table] = {}
        self.rowcount = 0
        self.last_error = 0
        self.scope_identity: int | None = None
        self.last_identity: int | None = None
        self.generation = 0  # moves on when a transaction ends
        self._unread = False  # a transaction has begun and no statement has run in it
        self.firing: list[int] = []  # the triggers under way, innermost last
        self.nest_level = 0
        self.prepared: dict[int, Any] = {}
        self.handles = itertools.count(1)
        self.bulk: Any = None
        self.app_locks: dict[Resource, Held] = {}
        self.cancelled = threading.Event()
        self._closed = False
        self.login_events: Sequence[Event] = ()

    def at_home(self, database: str) -> EngineSession:
        """The session in the database that its login chose."""
        self.database = self.home = database
        self.login_events = (
            DatabaseChanged(database, "master"),
            Message(5701, f"Changed database context to '{database}'.", 0, 2),
            Message(5703, "Changed language setting to us_english.", 0, 1),
        )
        return self

    # ---- contract.Session -------------------------------------------------------------------------------------------
    def batch(self, sql: str) -> Iterator[Event]:
        from .runner import Runner

        self.cancelled.clear()
        return Runner(self).batch(sql)

    def rpc(self, call: RpcCall) -> Iterator[Event]:
        from .procedures import call_procedure

        self.cancelled.clear()
        return call_procedure(self, call)

    @property
    def bulk_table(self) -> str:
        if self.bulk is None:
            return ""
        table, _ = self.bulk
        return f"{table.schema}.{table.name}"

    def bulk_load(self, load: BulkLoad) -> Iterator[Event]:
        from .bulk import load_rows

        self.cancelled.clear()
        return load_rows(self, load)

    def transaction(self, request: TransactionRequest) -> Iterator[Event]:
        self.cancelled.clear()
        try:
            yield from self._transaction(request)
        except SqlError as exc:
            yield exc.message

    def _transaction(self, request: TransactionRequest) -> Iterator[Event]:
        if isinstance(request, BeginTransaction):
            if request.isolation is not Isolation.CURRENT:
                self.set_isolation(request.isolation.name.replace("_", " "))
            yield from self.begin()
        elif isinstance(request, CommitTransaction):
            yield from self.commit()
            if request.begin is not None:
                yield from self._transaction(request.begin)
        elif isinstance(request, RollbackTransaction):
            yield from self.rollback(request.name)
            if request.begin is not None:
                yield from self._transaction(request.begin)
        else:
            assert isinstance(request, SaveTransaction)
            self.save(request.name)

    def cancel(self) -> None:
        self.cancelled.set()
        self.pg.cancel()

    def reset(self) -> None:
        if self.trancount:
            list(self.rollback())
        self.release_app_locks()
        self.run("DISCARD TEMP")
        self.temp.clear()
        self.options = Options()
        self.prepared.clear()
        self.bulk = None
        self.database = self.home
        self.rowcount = self.last_error = 0
        self.scope_identity = self.last_identity = None
        self.run("SET lock_timeout = 0")

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.pg.close()
            self.engine.forget(self)

    # ---- PostgreSQL -------------------------------------------------------------------------------------------------
    def fail(self, failure: PgFailure) -> Exception:
        """What a PostgreSQL failure is to this session."""
        if failure.sqlstate == "57014" and self.cancelled.is_set():
            return Cancelled()
        if failure.sqlstate in ("57P01", "08006", "08000", "08003"):
            return error(6005, "SHUTDOWN is in progress.", severity=20)
        if failure.sqlstate == "40001" and self.options.isolation != "SNAPSHOT":
            from .errors import deadlock

            return deadlock()
        return translate(failure)

    def run(self, sql: str) -> int:
        try:
            return self.pg.run(sql)
        except PgFailure as exc:
            raise self.fail(exc) from exc

    # ---- transactions -----------------------------------------------------------------------------------------------
    def begin(self) -> Iterator[Event]:
        """BEGIN TRANSACTION, nested ones included."""
        if self.trancount == 0:
            self.run(f"BEGIN ISOLATION LEVEL {_PG_LEVEL[self.options.isolation]}")
            self.doomed, self._unread = False, True
            self._temp_before = dict(self.temp)
            self.descriptor = next(_DESCRIPTORS)
            self.trancount = 1
            yield TransactionChanged(TransactionChange.BEGIN, self.descriptor)
            return
        self.trancount += 1

    def commit(self) -> Iterator[Event]:
        if self.trancount == 0:
            raise error(3902, "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION.")
        if self.doomed:
            raise error(
                3930,
                "The current transaction cannot be committed and cannot support operations that write "
                "to the log "
                "file. Roll back the transaction.",
            )
        self.trancount -= 1
        if self.trancount == 0:
            old, self.descriptor = self.descriptor, 0
            self.savepoints.clear()
            self.generation += 1
            try:
                self.run("COMMIT")
            except SqlError:
                self.pg.run("ROLLBACK")
                self.end_locks()
                if old:
                    yield TransactionChanged(TransactionChange.ROLLBACK, old)
                raise
            self.end_locks()
            if old:
                yield TransactionChanged(TransactionChange.COMMIT, old)

    def enter(self) -> None:
        """Begin the transaction of one statement that runs others within it: no BEGIN TRANSACTION to the client."""
        self.run(f"BEGIN ISOLATION LEVEL {_PG_LEVEL[self.options.isolation]}")
        self.doomed = False
        self._temp_before = dict(self.temp)
        self.trancount = 1

    def leave(self, *, commit: bool) -> None:
        """End what `enter` began."""
        self.trancount = 0
        self.generation += 1
        self.savepoints.clear()
        self.doomed = False
        if not commit:
            self.temp = self._temp_before
        try:
            self.pg.run("COMMIT" if commit else "ROLLBACK")
        finally:
            self.end_locks()

    def end_locks(self) -> None:
        """Let go of the application locks that the transaction owned."""
        if self.app_locks:
            end_transaction(self)

    def rollback(self, name: str = "") -> Iterator[Event]:
        """ROLLBACK of everything, or to a savepoint."""
        if name and name.lower() in self.savepoints:
            at = self.savepoints.index(name.lower())
            if at < self.savepoint_floor:
                raise unsupported("rolling back to a savepoint that is older than the trigger under way")
            self.run(f"ROLLBACK TO SAVEPOINT u{at}")
            return
        if self.trancount == 0:
            raise error(3903, "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION.")
        self.trancount = 0
        old, self.descriptor = self.descriptor, 0
        self.doomed = False
        self.savepoints.clear()
        self.temp = self._temp_before
        self.generation += 1
        self.pg.run("ROLLBACK")
        self.end_locks()
        if old:
            yield TransactionChanged(TransactionChange.ROLLBACK, old)

    def save(self, name: str) -> None:
        """SAVE TRANSACTION: a name may be used again, the newest counts."""
        if self.trancount == 0:
            raise error(628, "Cannot issue SAVE TRANSACTION when there is no active transaction.")
        if name.lower() in self.savepoints:
            at = self.savepoints.index(name.lower())
            self.savepoints[at] = "\0" + self.savepoints[at]
        self.savepoints.append(name.lower())
        self.run(f"SAVEPOINT u{len(self.savepoints) - 1}")

    def set_isolation(self, level: str) -> None:
        if self.trancount and level != self.options.isolation:
            if level == "SNAPSHOT":
                raise error(
                    3951,
                    f"Transaction failed in database '{self.database}' because the statement was "
                    f"run under "
                    "snapshot isolation but the transaction did not start in snapshot isolation. You "
                    "cannot change "
                    "the isolation level of the transaction to snapshot after the transaction has "
                    "started unless "
                    "the transaction was originally started under snapshot isolation level.",
                )
            if _PG_LEVEL[level] != _PG_LEVEL[self.options.isolation]:
                raise error(50100, "The sandbox does not support changing the isolation level within a transaction.")
        self.options.isolation = level

    def release_app_locks(self) -> None:
        if self.app_locks:
            self.run("SELECT pg_advisory_unlock_all()")
            self.app_locks.clear()

    # ---- binding ----------------------------------------------------------------------------------------------------
    def environment(self, variables: dict[str, Variable] | None = None) -> Environment:
        """The view of this session that a statement is bound with."""
        stamp = time.time_ns()
        now = datetime.datetime.fromtimestamp(stamp // 1_000_000_000, datetime.UTC)
        env = Environment(
            database=self.database,
            lookup=self.lookup,
            system_view=lambda parts: system_views.find(self, parts),
            functions=lambda name, args, line: session_function(self, env, name, args, line),
            variables=variables if variables is not None else {},
            describe=lambda sql, params: function_table(self, sql, params),
            globals=global_variables(self),
            view=self.view,
            captured=lambda node, args, alias: cdc_functions.table_function(self, node, args, alias),
            tracked=lambda table: columns_updated(self.pg, table),
            dateformat=self.options.dateformat,
            datefirst=self.options.datefirst,
            now=now.replace(microsecond=stamp % 1_000_000_000 // 1000),
            nanos100=stamp % 1000 // 100,
        )
        if self._unread:
            # The first look at the catalog takes the transaction's snapshot: what is committed after it must not count
            # as ended in a MIN_ACTIVE_ROWVERSION() of the same statement.
            self._unread = False
            if self.trancount and self.options.isolation == "SNAPSHOT":
                env.row_version = self.min_active_row_version()
        return env

    def min_active_row_version(self) -> int:
        """MIN_ACTIVE_ROWVERSION() of the current database, now."""
        try:
            return self.engine.row_versions.min_active(self.database)
        except PgFailure as exc:
            raise self.fail(exc) from exc

    def lookup(self, parts: tuple[str, ...], line: int) -> Table:
        """A user or #temp table by name."""
        name = parts[-1]
        if name.startswith("#"):
            found = self.temp.get(name.lower())
            if found is not None:
                return found
            raise error(208, f"Invalid object name '{name}'.", line=line)
        try:
            found = catalog.find_table(self.pg, parts, self.database)
            if found is not None:
                return found
            target = self._synonym(parts)
            return catalog.get_table(self.pg, target or parts, self.database, line)
        except PgFailure as exc:
            raise self.fail(exc) from exc

    def _synonym(self, parts: tuple[str, ...]) -> tuple[str, ...] | None:
        """What a synonym stands for, its database always named."""
        found = catalog.find_object(self.pg, parts, self.database)
        if found is None or found.kind != "SN":
            return None
        target = tuple(found.definition["target"])
        return (found.definition["database"], "dbo", "")[: 3 - len(target)] + target

    def alias_type(self, parts: tuple[str, ...]) -> AliasType | None:
        """A type made by CREATE TYPE."""
        try:
            found = catalog.find_object(self.pg, (*parts[:-1], f"type:{parts[-1]}"), self.database)
        except PgFailure as exc:
            raise self.fail(exc) from exc
        if found is None:
            return None
        d = dict(found.definition)
        number, _ = d.pop("user_type_id"), d.pop("text")
        column = Table.from_json(json.dumps(d)).columns[0]
        return AliasType(number, column.type, column.nullable)

    def view(self, parts: tuple[str, ...]) -> ViewDefinition | None:
        """A view by its name or by a synonym's."""
        from . import nodes as n
        from .parse_statement import parse

        if parts[-1].startswith(("#", "@")) or len(parts) > 3:
            return None
        try:
            found = catalog.find_object(self.pg, self._synonym(parts) or parts, self.database)
        except PgFailure as exc:
            raise self.fail(exc) from exc
        if found is None or found.kind != "V":
            return None
        made = parse(found.definition["text"], True)[0]
        assert isinstance(made, n.CreateView)
        d = found.definition
        return ViewDefinition(d["name"], d["database"], d["schema"], made.query, made.columns)
