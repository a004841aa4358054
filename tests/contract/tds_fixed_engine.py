"""An engine behind the wire that knows no SQL: a batch's text names a prepared result.

What it gives is fixed, so that a test sees the wire alone: every type at its boundaries, streams, errors, waits.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mssql_python
import pyarrow as pa

from sql_databricks_bridge.sandbox.sql_server.contract import (
    BeginTransaction,
    BulkLoad,
    Column,
    CommitTransaction,
    DatabaseChanged,
    Done,
    Event,
    LoginRequest,
    Message,
    ReturnStatus,
    RollbackTransaction,
    RowSet,
    RpcCall,
    ServerOptions,
    SqlError,
    SqlType,
    TransactionChange,
    TransactionChanged,
    TransactionRequest,
)
from sql_databricks_bridge.sandbox.sql_server.wire.collations import pack_collation
from sql_databricks_bridge.sandbox.sql_server.wire.server import TdsServer
from sql_databricks_bridge.sandbox.sql_server.wire.tls import create_certificate

PASSWORD = "Wire!Pass€1"


# A pooled connection would outlive its test.
mssql_python.pooling(enabled=False)


@dataclass
class FixedEngine:
    """`results` maps the text of a batch to a function that makes its events."""

    results: dict[str, Callable[[FixedSession], Iterator[Event]]] = field(default_factory=dict)
    server_name: str = "STANDIN"
    version: tuple[int, int, int] = (16, 0, 4000)
    sessions: list[FixedSession] = field(default_factory=list)
    logins: list[LoginRequest] = field(default_factory=list)
    bulk: list[pa.Table] = field(default_factory=list)
    bulk_target: tuple[Column, ...] = ()

    def __post_init__(self) -> None:
        self._spids = itertools.count(51)

    def login(self, request: LoginRequest) -> FixedSession:
        self.logins.append(request)
        if (request.username, request.password) != ("sa", PASSWORD):
            raise SqlError(Message(18456, f"Login failed for user '{request.username}'.", severity=14))
        if request.database not in ("", "master", "Flights"):
            text = f'Cannot open database "{request.database}" requested by the login. The login failed.'
            raise SqlError(Message(4060, text, severity=11))
        session = FixedSession(self, request.database or "master", next(self._spids))
        self.sessions.append(session)
        return session

    def close(self) -> None:
        for session in self.sessions:
            session.close()


class FixedSession:
    """Records what it is asked."""

    def __init__(self, engine: FixedEngine, database: str, spid: int) -> None:
        self.engine = engine
        self.database = database
        self.spid = spid
        self.bulk_table = "dbo.t"
        self.login_events: Sequence[Event] = ()
        self.cancelled = threading.Event()
        self.closed = threading.Event()
        self.resets = 0
        self.calls: list[RpcCall] = []
        self.batches: list[str] = []
        self.requests: list[TransactionRequest] = []
        self.descriptor = 0

    def batch(self, sql: str) -> Iterator[Event]:
        self.cancelled.clear()
        self.batches.append(sql)
        made = self.engine.results.get(sql.strip())
        if made is not None:
            yield from made(self)
        elif "sp_tablecollations_100" in sql:
            yield from _bulk_target(self.engine.bulk_target)
        elif sql.upper().startswith("USE "):
            old, self.database = self.database, sql[4:].strip("[] ")
            yield DatabaseChanged(self.database, old)
            yield Message(5701, f"Changed database context to '{self.database}'.", severity=0, state=2)
            yield Done("")
        else:
            yield Done("")

    def rpc(self, call: RpcCall) -> Iterator[Event]:
        self.cancelled.clear()
        self.calls.append(call)
        statement = call.parameters[0].value[0].as_py() if call.parameters else None
        made = self.engine.results.get(str(statement)) or self.engine.results.get(call.procedure)
        if made is not None:
            yield from made(self)
        yield ReturnStatus(0)

    def transaction(self, request: TransactionRequest) -> Iterator[Event]:
        self.requests.append(request)
        if isinstance(request, BeginTransaction):
            self.descriptor = 0x1122334455667700 + self.spid
            yield TransactionChanged(TransactionChange.BEGIN, self.descriptor)
            yield Done("BEGIN TRANSACTION")
        elif isinstance(request, (CommitTransaction, RollbackTransaction)):
            change = TransactionChange.COMMIT if isinstance(request, CommitTransaction) else TransactionChange.ROLLBACK
            if self.descriptor:
                yield TransactionChanged(change, self.descriptor)
                self.descriptor = 0
            if request.begin is not None:
                yield from self.transaction(request.begin)
            else:
                yield Done("COMMIT TRANSACTION")
        else:
            yield Done("")

    def bulk_load(self, load: BulkLoad) -> Iterator[Event]:
        fields = [batch for batch in load.batches]  # noqa: C416
        table = pa.Table.from_batches(fields) if fields else pa.table({})
        self.engine.bulk.append(table)
        yield Done("BULK INSERT", table.num_rows)

    def cancel(self) -> None:
        self.cancelled.set()

    def reset(self) -> None:
        self.resets += 1
        self.descriptor = 0

    def close(self) -> None:
        self.closed.set()


def _bulk_target(columns: tuple[Column, ...]) -> Iterator[Event]:
    """What the driver asks before a bulk copy: @@TRANCOUNT, the columns without rows, their collations."""
    yield from rows([("", SqlType("int"), pa.array([0], pa.int32()))])
    yield RowSet(columns, iter(()))
    yield Done("SELECT", 0)
    named = SqlType("nvarchar", 128)
    count = len(columns)
    yield from rows(
        [
            ("colid", SqlType("int"), pa.array(range(1, count + 1), pa.int32())),
            ("name", named, pa.array([column.name for column in columns], pa.large_string())),
            (
                "tds_collation_100",
                SqlType("binary", 5),
                pa.array([pack_collation(column.type.collation) for column in columns], pa.large_binary()),
            ),
            ("collation_100", named, pa.array(["SQL_Latin1_General_CP1_CI_AS"] * count, pa.large_string())),
        ]
    )
    yield ReturnStatus(0)
    yield Done("")


def rows(columns: Sequence[tuple[str, SqlType, pa.Array]], nullable: bool = True) -> Iterator[Event]:
    """A result set of whole arrays, and its end."""
    described = tuple(Column(name, sql_type, nullable) for name, sql_type, _ in columns)
    batch = pa.RecordBatch.from_arrays([array for *_, array in columns], [f"c{i}" for i in range(len(columns))])
    yield RowSet(described, iter([batch]))
    yield Done("SELECT", batch.num_rows)


@dataclass(frozen=True)
class Served:
    """A running server over a fixed engine."""

    engine: FixedEngine
    server: TdsServer
    certificate: Path

    def connection_string(self, encrypt: str = "Encrypt=no", **changes: Any) -> str:
        """For Microsoft's driver; `changes` are keys of its connection string."""
        keys = {
            "Server": f"127.0.0.1,{self.server.port}",
            "Database": "Flights",
            "UID": "sa",
            "PWD": PASSWORD,
            **changes,
        }
        return ";".join(f"{key}={value}" for key, value in keys.items()) + f";{encrypt}"

    def connect(self, encrypt: str = "Encrypt=no", *, autocommit: bool = True, **changes: Any) -> Any:
        """A connection of Microsoft's driver."""
        return mssql_python.connect(self.connection_string(encrypt, **changes), autocommit=autocommit)

    def query(self, sql: str, made: Callable[[FixedSession], Iterator[Event]]) -> str:
        """Let the engine answer `sql` with `made`; returns `sql`."""
        self.engine.results[sql] = made
        return sql


@contextlib.contextmanager
def serve(encryption: str = "optional") -> Iterator[Served]:
    """Start it, and stop it whole."""
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = create_certificate(Path(folder))
        engine = FixedEngine()
        options = ServerOptions(encryption=encryption, certificate_file=str(certificate), key_file=str(key))
        server = TdsServer(engine, options)
        server.start()
        try:
            yield Served(engine, server, certificate)
        finally:
            server.stop()
            engine.close()
