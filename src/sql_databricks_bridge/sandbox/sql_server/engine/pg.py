"""One PostgreSQL session over ADBC: statements, small results, streams, cancellation."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import adbc_driver_manager as manager
import adbc_driver_postgresql
import pyarrow as pa
from adbc_driver_manager._reader import AdbcRecordBatchReader

from .errors import PgFailure

BATCH_BYTES = 4 << 20
"""How much of a stream one batch may hold, before Arrow's own overhead."""


class PgSession:
    """A libpq connection in autocommit; BEGIN and COMMIT are statements like any other.

    Not for two threads at once, but for `cancel`.
    """

    def __init__(self, uri: str) -> None:
        self._database = adbc_driver_postgresql.connect(uri)
        self._connection = manager.AdbcConnection(self._database)
        self._lock = threading.Lock()
        self._closed = False
        self.pid = int(self.rows("SELECT pg_backend_pid()")[0][0])

    def _statement(self) -> Any:
        statement = manager.AdbcStatement(self._connection)
        statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
        return statement

    def run(self, sql: str) -> int:
        """Execute; the number of rows affected, -1 where PostgreSQL counts none."""
        statement = self._statement()
        try:
            statement.set_options(**{"adbc.postgresql.use_copy": "false"})
            statement.set_sql_query(sql)
            return int(statement.execute_update())
        except manager.Error as exc:
            raise PgFailure.from_adbc(exc) from exc
        finally:
            statement.close()

    def stream(self, sql: str) -> Iterator[pa.RecordBatch]:
        """The result in batches; closing the iterator early frees the session."""
        statement = self._statement()
        try:
            statement.set_sql_query(sql)
            handle, _ = statement.execute_query()
            reader = AdbcRecordBatchReader._import_from_c(handle.address)
        except manager.Error as exc:
            statement.close()
            raise PgFailure.from_adbc(exc) from exc
        return self._batches(statement, reader)

    def _batches(self, statement: Any, reader: Any) -> Iterator[pa.RecordBatch]:
        try:
            while True:
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    return
                except manager.Error as exc:
                    raise PgFailure.from_adbc(exc) from exc
                yield batch
        finally:
            reader.close()
            statement.close()

    def table(self, sql: str) -> pa.Table:
        """A small result, whole (no COPY, so that DML with RETURNING works)."""
        statement = self._statement()
        try:
            statement.set_options(**{"adbc.postgresql.use_copy": "false"})
            statement.set_sql_query(sql)
            handle, _ = statement.execute_query()
            with AdbcRecordBatchReader._import_from_c(handle.address) as reader:
                return reader.read_all()
        except manager.Error as exc:
            raise PgFailure.from_adbc(exc) from exc
        finally:
            statement.close()

    def rows(self, sql: str) -> list[list[Any]]:
        """A small result as Python rows (int, float, str, bool, bytes, None only)."""
        table = self.table(sql)
        columns = [c.to_pylist() for c in table.columns]
        return [list(r) for r in zip(*columns, strict=True)]

    def ingest(self, schema: str, table: str, reader: Any, *, temporary: bool = False) -> int:
        """COPY Arrow batches into an existing table whose columns have their names."""
        statement = self._statement()
        try:
            options = {
                "adbc.ingest.target_table": table,
                "adbc.ingest.mode": "adbc.ingest.mode.append",
            }
            if temporary:
                options["adbc.ingest.temporary"] = "true"
            else:
                options["adbc.ingest.target_db_schema"] = schema
            statement.set_options(**options)
            statement.bind_stream(reader)
            return int(statement.execute_update())
        except manager.Error as exc:
            raise PgFailure.from_adbc(exc) from exc
        finally:
            statement.close()

    def cancel(self) -> None:
        """Ask PostgreSQL to stop what this session runs; from any thread."""
        with self._lock:
            if not self._closed:
                self._connection.cancel()

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                self._connection.close()
                self._database.close()


def quote(text: str) -> str:
    """A PostgreSQL text literal; NUL can't be in one, which the caller has checked."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'" if "\\" in text else f"'{escaped}'"
