"""What the core asks of the world outside: SQL Server and the lakehouse. Adapters are in `db`.

Every method raises only errors of `sql_databricks_bridge.errors`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sql_databricks_bridge.models.jobs import ResolvedQuery
from sql_databricks_bridge.models.names import Destination

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """A column of a result set as sp_describe_first_result_set reports it.

    `sql_type` is system_type_name ('decimal(18,4)', 'nvarchar(max)'); `max_length` counts bytes, -1 for (max).
    `user_type` is the assembly-qualified or alias name of a user-defined type, else None.
    """

    name: str
    sql_type: str
    nullable: bool
    max_length: int
    precision: int
    scale: int
    collation: str | None = None
    user_type: str | None = None


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Who answered. `snapshot` tells whether the database allows SNAPSHOT isolation."""

    server: str
    database: str
    version: str
    login: str
    snapshot: bool


class SqlServerConnection(Protocol):
    """One connection, for one thread; `cancel` may come from any."""

    @property
    def isolation(self) -> str:
        """The isolation level of the last `stream`: 'snapshot' or 'read committed'."""
        ...

    def info(self) -> ServerInfo:
        """Ask the server who it is."""
        ...

    def describe(self, query: ResolvedQuery) -> tuple[ResultColumn, ...]:
        """Describe the result set without running the query."""
        ...

    def stream(
        self, query: ResolvedQuery, *, batch_bytes: int, row_limit: int | None = None
    ) -> AbstractContextManager[Iterator[pa.RecordBatch]]:
        """Run the query and stream its rows as the driver types them, about `batch_bytes` of Arrow a batch."""
        ...

    def cancel(self) -> None:
        """Stop the running fetch soon; its iterator then raises `Cancelled`."""
        ...

    def close(self) -> None:
        """Close the connection. Idempotent."""
        ...


class SqlServer(Protocol):
    """Opens connections."""

    def connect(self, *, database: str | None = None, server: str | None = None) -> SqlServerConnection:
        """Open a connection; None means what the settings say."""
        ...


@dataclass(frozen=True, slots=True)
class FileEntry:
    """An entry of a folder in a volume; `path` is absolute, `modified_ms` is Unix time."""

    path: str
    is_directory: bool
    size_bytes: int
    modified_ms: int


class Lakehouse(Protocol):
    """Databricks: volumes now, tables with the sync flow. Safe to use from several threads."""

    def check_destination(self, destination: Destination) -> None:
        """Raise `LakehouseNotFound` (saying which of catalog, schema, volume) unless the volume is there."""
        ...

    def make_directory(self, path: str) -> None:
        """Create a folder and its parents; no error where it exists."""
        ...

    def upload(self, path: str, local_file: Path) -> None:
        """Upload a file to a path that must be free, else `AlreadyExists`."""
        ...

    def write_new(self, path: str, content: bytes) -> None:
        """Write a small file to a path that must be free, else `AlreadyExists`."""
        ...

    def read(self, path: str) -> bytes:
        """Read a small file."""
        ...

    def list_directory(self, path: str) -> tuple[FileEntry, ...]:
        """List a folder; `LakehouseNotFound` where there is none."""
        ...

    def delete_file(self, path: str) -> None:
        """Delete a file; no error where there is none."""
        ...

    def delete_directory(self, path: str) -> None:
        """Delete an empty folder; no error where there is none."""
        ...

    def execute(self, statement: str, parameters: Mapping[str, str | None] | None = None) -> pa.Table:
        """Run one SQL statement to its end and return every row, typed."""
        ...
