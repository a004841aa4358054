"""What the TDS front (``wire``) and the T-SQL engine (``engine``) say to each other.

The wire turns packets into calls on a `Session` and the `Event` stream that comes back into tokens. It knows types and
encodings, never SQL. The engine knows SQL and never bytes on a socket.

Row values travel as Arrow, one fixed physical type for each SQL Server type:

==================================  =====================================================================
SQL Server type                     Arrow type of the column in `RowSet.batches`
==================================  =====================================================================
bit                                 bool
tinyint                             uint8
smallint, int, bigint               int16, int32, int64
real, float                         float32, float64
decimal, numeric (p,s)              decimal128(p, s)
money, smallmoney                   decimal128(19, 4), decimal128(10, 4)
date                                date32
time(n)                             int64, 100 ns since midnight
datetime2(n)                        int64, 100 ns since 0001-01-01T00:00
datetime                            int64, 1/300 s since 1900-01-01T00:00 (negative before)
smalldatetime                       int64, minutes since 1900-01-01T00:00
datetimeoffset(n)                   struct<utc: int64 (100 ns since 0001-01-01T00:00 UTC), offset: int16 (minutes)>
(n)char, (n)varchar, (n)text, xml,  large_string (char(n) and nchar(n) already blank-padded; a lone surrogate, which
json                                UTF-8 can't hold, is refused by the engine)
binary, varbinary, image,           large_binary
rowversion
uniqueidentifier                    fixed_size_binary(16), in the byte order of RFC 4122 text (the wire reorders)
sql_variant                         struct<type: string (a type_text like 'decimal(9,2)'), value: large_binary>,
                                    value being that base type's TDS bytes, made by the engine
hierarchyid, geometry, geography    large_binary (UDT bytes)
==================================  =====================================================================

NULL is Arrow NULL in every column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias

import pyarrow as pa

MAX_LENGTH = -1
"""`SqlType.length` of the (max) types, xml, json and the UDTs."""


@dataclass(frozen=True, slots=True)
class Collation:
    """A collation by name, with what the wire puts into COLMETADATA.

    `lcid`, `flags` and `sort_id` are MS-TDS 2.2.5.1.2; `codepage` is a Python codec for (var)char bytes.
    """

    name: str = "SQL_Latin1_General_CP1_CI_AS"
    lcid: int = 0x0409
    flags: int = 0xD0
    version: int = 0
    sort_id: int = 52
    codepage: str = "cp1252"

    @property
    def tds(self) -> bytes:
        """Five bytes: 20 bits of LCID, flags from bit 16 up (four bits are shared), version, then the sort id."""
        value = (self.lcid & 0xFFFFF) | (self.flags & 0xFFF) << 16 | (self.version & 0xF) << 28
        return value.to_bytes(4, "little") + bytes((self.sort_id,))


DEFAULT_COLLATION = Collation()


@dataclass(frozen=True, slots=True)
class SqlType:
    """A SQL Server type: `name` in lower case as sys.types has it ('int', 'nvarchar', 'timestamp' for rowversion).

    `length` counts bytes for char, varchar, binary, varbinary, UTF-16 units for nchar and nvarchar, `MAX_LENGTH` for
    (max). `scale` is the fractional-second digits for time, datetime2 and datetimeoffset.
    """

    name: str
    length: int | None = None
    precision: int | None = None
    scale: int | None = None
    collation: Collation | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a result set; `name` is '' where the query gives none."""

    name: str
    type: SqlType
    nullable: bool = True
    identity: bool = False
    computed: bool = False


@dataclass(frozen=True, slots=True)
class RowSet:
    """A result set. The wire must exhaust or close `batches` before it asks for the next event.

    The iterator may raise `SqlError`: the rows already sent stand, then the error follows, as on a real server.
    """

    columns: tuple[Column, ...]
    batches: Iterator[pa.RecordBatch]


@dataclass(frozen=True, slots=True)
class Done:
    """A statement has ended. `rows` is None for statements without a count (and under NOCOUNT)."""

    command: str  # 'SELECT', 'INSERT', 'UPDATE', 'DELETE', 'MERGE', 'BEGIN TRANSACTION', ... or ''
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """An INFO (severity 10 or less) or ERROR token."""

    number: int
    text: str
    severity: int = 16
    state: int = 1
    line: int = 1
    procedure: str = ""


class SqlError(Exception):
    """An error that ends the statement, or, with severity 20 and up, the connection."""

    def __init__(self, message: Message) -> None:
        super().__init__(f"Msg {message.number}, Level {message.severity}, Line {message.line}: {message.text}")
        self.message = message


@dataclass(frozen=True, slots=True)
class DatabaseChanged:
    """USE or login chose a database (ENVCHANGE 1)."""

    new: str
    old: str


class TransactionChange(Enum):
    """ENVCHANGE 8, 9 and 10."""

    BEGIN = 8
    COMMIT = 9
    ROLLBACK = 10


@dataclass(frozen=True, slots=True)
class TransactionChanged:
    """A transaction began or ended; `descriptor` is its non-zero 8-byte number."""

    change: TransactionChange
    descriptor: int


@dataclass(frozen=True, slots=True)
class ReturnStatus:
    """The integer that a procedure returns (RPC only)."""

    value: int


@dataclass(frozen=True, slots=True)
class ReturnValue:
    """An OUTPUT parameter's value after an RPC, as a one-row Arrow array of the physical type above."""

    name: str
    ordinal: int
    type: SqlType
    value: pa.Array


Event: TypeAlias = RowSet | Done | Message | DatabaseChanged | TransactionChanged | ReturnStatus | ReturnValue


@dataclass(frozen=True, slots=True)
class RpcParameter:
    """A parameter of an RPC, its value decoded from the wire to a one-row Arrow array of the physical type above."""

    name: str  # '' or '@name'
    type: SqlType
    value: pa.Array
    output: bool = False
    default: bool = False


@dataclass(frozen=True, slots=True)
class RpcCall:
    """A remote procedure call; well-known procedure ids arrive as their names ('sp_executesql', ...)."""

    procedure: str
    parameters: tuple[RpcParameter, ...]
    no_metadata: bool = False


class Isolation(Enum):
    """Isolation levels by their numbers in a TM_BEGIN_XACT request (0 keeps the session's)."""

    CURRENT = 0
    READ_UNCOMMITTED = 1
    READ_COMMITTED = 2
    REPEATABLE_READ = 3
    SERIALIZABLE = 4
    SNAPSHOT = 5


@dataclass(frozen=True, slots=True)
class BeginTransaction:
    """TM_BEGIN_XACT."""

    isolation: Isolation = Isolation.CURRENT
    name: str = ""


@dataclass(frozen=True, slots=True)
class CommitTransaction:
    """TM_COMMIT_XACT; `begin` where the flag asks for a new transaction at once."""

    begin: BeginTransaction | None = None


@dataclass(frozen=True, slots=True)
class RollbackTransaction:
    """TM_ROLLBACK_XACT; `name` of a savepoint or ''."""

    name: str = ""
    begin: BeginTransaction | None = None


@dataclass(frozen=True, slots=True)
class SaveTransaction:
    """TM_SAVE_XACT."""

    name: str


TransactionRequest: TypeAlias = BeginTransaction | CommitTransaction | RollbackTransaction | SaveTransaction


@dataclass(frozen=True, slots=True)
class BulkLoad:
    """The rows that follow an INSERT BULK batch, decoded to Arrow."""

    columns: tuple[Column, ...]
    batches: Iterator[pa.RecordBatch]


@dataclass(frozen=True, slots=True)
class LoginRequest:
    """LOGIN7, password in clear."""

    username: str
    password: str
    database: str
    application: str = ""
    hostname: str = ""
    language: str = ""
    read_only_intent: bool = False


class Session(Protocol):
    """One connection's state in the engine. Calls come from one thread at a time, `cancel` from any."""

    database: str
    spid: int
    login_events: Sequence[Event]

    @property
    def bulk_table(self) -> str:
        """'schema.name' of the table that an INSERT BULK has announced, '' where none has."""
        ...

    def batch(self, sql: str) -> Iterator[Event]:
        """Run a SQL batch. Statement errors are yielded as `Message`; only severity 20 and up raises `SqlError`."""
        ...

    def rpc(self, call: RpcCall) -> Iterator[Event]:
        """Run a procedure: sp_executesql, sp_prepexec, sp_execute, sp_unprepare, sp_describe_..., the catalog's."""
        ...

    def transaction(self, request: TransactionRequest) -> Iterator[Event]:
        """Run a transaction manager request."""
        ...

    def bulk_load(self, load: BulkLoad) -> Iterator[Event]:
        """Take the rows of the INSERT BULK that the last batch announced."""
        ...

    def cancel(self) -> None:
        """Stop the running call soon (attention): its iterator ends. Harmless when nothing runs."""
        ...

    def reset(self) -> None:
        """sp_reset_connection: roll back, drop #temp tables, restore options, as the RESETCONNECTION bit asks."""
        ...

    def close(self) -> None:
        """Roll back and let go of everything. Idempotent."""
        ...


class Engine(Protocol):
    """The server behind the wire."""

    server_name: str
    version: tuple[int, int, int]  # major, minor, build, as @@VERSION and LOGINACK say, e.g. (16, 0, 4000)

    def login(self, request: LoginRequest) -> Session:
        """Open a session, or raise `SqlError` 18456 (login failed) or 4060 (cannot open database)."""
        ...

    def close(self) -> None:
        """End every session and stop what was started."""
        ...


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How the wire listens."""

    host: str = "127.0.0.1"
    port: int = 0
    encryption: str = (
        "optional"  # 'off' (answers NOT_SUP), 'optional', 'required'; strict (TLS first) works in all but 'off'
    )
    certificate_file: str | None = None
    key_file: str | None = None
    packet_size: int = 8000
    log_file: str | None = None
