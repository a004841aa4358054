"""A table that Microsoft's driver copies into, and reads back from."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mssql_python
import pyarrow as pa

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.connection_string import connection_string


class Server:
    """Where the bulk copies go; `close` it."""

    def __init__(self, settings: Settings) -> None:
        mssql_python.pooling(enabled=False)
        self._settings = settings
        self.connection = self.connect()

    def connect(self, *, autocommit: bool = True) -> Any:
        """A connection of the driver's own."""
        return mssql_python.connect(connection_string(self._settings), autocommit=autocommit)

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """A batch; its rows, if it has any."""
        with contextlib.closing(self.connection.cursor()) as cursor:
            cursor.execute(sql)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def close(self) -> None:
        """Hang up."""
        self.connection.close()

    @contextlib.contextmanager
    def table(self, columns: str, schema: str = "dbo", name: str | None = None) -> Iterator[Target]:
        """A new table, dropped in the end; `name` is given with its brackets."""
        target = Target(self, schema, name or f"bulk_{uuid.uuid4().hex[:12]}")
        self.run(f"CREATE TABLE {target.name} ({columns})")
        try:
            yield target
        finally:
            self.run(f"DROP TABLE {target.name}")


@dataclass(frozen=True)
class Target:
    """One table under test."""

    server: Server
    schema: str
    short_name: str

    @property
    def name(self) -> str:
        return f"{self.schema}.{self.short_name}"

    def copy(self, source: Any, **options: Any) -> int:
        """Bulk copy, which opens a connection of its own; the rows that the driver counted."""
        options = {"timeout": 60, **options}
        with contextlib.closing(self.server.connection.cursor()) as cursor:
            return int(cursor.bulkcopy_arrow(self.name, source, **options)["rows_copied"])

    def read(self, columns: str = "*", order: str = "n") -> pa.Table:
        """Its rows as the driver gives them in Arrow."""
        with contextlib.closing(self.server.connection.cursor()) as cursor:
            cursor.execute(f"SELECT {columns} FROM {self.name} ORDER BY {order}")
            table: pa.Table = cursor.arrow()
            return table

    def rows(self, columns: str = "*", order: str = "n") -> list[tuple[Any, ...]]:
        """Its rows."""
        return [tuple(row.values()) for row in self.read(columns, order).to_pylist()]

    def count(self) -> int:
        """How many rows it has."""
        return int(self.server.run(f"SELECT COUNT(*) FROM {self.name}")[0][0])
