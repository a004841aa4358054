"""Staging tables: nullable copies of a target's columns, each loaded once by bulk copy and never used again.

The loader holds an application lock on the table's name from before the table exists until it is dropped; who can
have that lock knows that the loader is gone. The bulk copy is a connection of the driver's own, so the table is
committed before it starts.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from sql_databricks_bridge.core.types import MAX, SqlServerType, staged_type
from sql_databricks_bridge.db import app_locks
from sql_databricks_bridge.db.error_numbers import bulk_errors
from sql_databricks_bridge.db.identifiers import sql_server_identifier
from sql_databricks_bridge.db.session import Session, dynamic
from sql_databricks_bridge.errors import (
    BridgeError,
    Cancelled,
    EventInvalid,
    SourceBusy,
    SourceRefused,
    SourceUnavailable,
)
from sql_databricks_bridge.models.applying import Staging
from sql_databricks_bridge.models.tables import Target, TargetColumn

if TYPE_CHECKING:
    import pyarrow as pa

STAGING_SCHEMA = "bridge"
_NAME = re.compile(r"stg_[0-9a-f]{16}\Z")
_LIST = (
    "SELECT t.name FROM sys.tables AS t INNER JOIN sys.schemas AS s ON s.schema_id = t.schema_id "
    "WHERE s.name = N'bridge' AND t.name LIKE N'stg[_]%' ORDER BY t.name"
)
_BATCH_ROWS = 102_400  # a full rowgroup's worth: the server answers now and then, and no one commit gets huge
_INDEX_FROM_ROWS = 1_000
_INDEX_BYTES, _INDEX_COLUMNS = 1_700, 32  # "Maximum capacity specifications": a nonclustered index's key
_COLLATION = re.compile(r"[A-Za-z0-9_]+\Z")
_CARRIERS = {
    "text": "varchar(max)",
    "ntext": "nvarchar(max)",
    "image": "varbinary(max)",
    "xml": "nvarchar(max)",  # parsed when it is applied, inside the transaction
    "json": "nvarchar(max)",
    "timestamp": "binary(8)",
    "rowversion": "binary(8)",
}
_DRIVERS_OWN = 1252
_LONGEST_UNICODE = 4_000
_INCOMPARABLE = frozenset({"text", "ntext", "image", "xml", "json"})
_KEY_BYTES = {"uniqueidentifier": 16, "datetimeoffset": 10, "decimal": 17, "numeric": 17}
_BYTES_PER_LENGTH = {"char": 1, "varchar": 1, "binary": 1, "varbinary": 1, "nchar": 2, "nvarchar": 2}


class StagingArea:
    """The staging tables of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._held: set[str] = set()

    def stage(
        self,
        target: Target,
        columns: Sequence[TargetColumn],
        keys: Sequence[TargetColumn],
        source: pa.RecordBatchReader,
    ) -> Staging:
        """Create a staging table and bulk copy the reader's rows into it; columns are in the reader's order.

        `EventInvalid` for a type that can't be loaded or compared; what the reader raises comes out unchanged.
        """
        declared = ", ".join(f"{sql_server_identifier(column.name)} {declaration(column)} NULL" for column in columns)
        for key in keys:
            _require_comparable(key)
        if len(source.schema) != len(columns):
            raise ValueError(f"{len(source.schema)} columns to load into {len(columns)}")
        name = f"stg_{secrets.token_hex(8)}"
        table = sql_server_identifier(STAGING_SCHEMA, name)
        if not app_locks.acquire(self._session.rows, app_locks.staging_resource(name)):
            raise SourceBusy(f"The lock of a new staging table {name} is taken.", hint="Try again.")
        self._held.add(name)
        try:
            self._session.run(*dynamic(f"CREATE TABLE {table} ({declared})"))
            rows = self._load(table, columns, source)
            if keys and rows >= _INDEX_FROM_ROWS and _indexable(keys):
                listed = ", ".join(sql_server_identifier(key.name) for key in keys)
                self._session.run(*dynamic(f"CREATE INDEX [keys] ON {table} ({listed})"))
        except BaseException:
            self._drop(name)
            raise
        return Staging(name, target, tuple(columns), rows)

    def discard(self, staging: Staging) -> None:
        """Drop it and release its lock; what fails is left to `sweep`."""
        self._drop(staging.name)

    def sweep(self) -> int:
        """Drop the staging tables whose loader is gone; return how many. Safe beside loaders and other sweepers."""
        names = [row["name"] for row in self._session.rows(_LIST)]
        swept = 0
        # A dead loader's bulk copy may still be at work on its table: the next sweep finds it again.
        self._session.run("SET LOCK_TIMEOUT 0")
        try:
            for name in names:
                if name in self._held or not _NAME.match(name):  # one's own lock would be granted twice
                    continue
                if not app_locks.acquire(self._session.rows, app_locks.staging_resource(name)):
                    continue
                try:
                    swept += self._dropped(name)
                finally:
                    app_locks.release(self._session.rows, app_locks.staging_resource(name))
        finally:
            with suppress(BridgeError):
                self._session.run("SET LOCK_TIMEOUT -1")
        return swept

    def _dropped(self, name: str) -> bool:
        """Drop a table that may have been dropped meanwhile, or still be in use; one that can't be is left alone."""
        table = sql_server_identifier(STAGING_SCHEMA, name)
        try:
            found = self._session.rows(
                f"IF OBJECT_ID(N'{STAGING_SCHEMA}.{name}', N'U') IS NULL SELECT 0 AS dropped "
                f"ELSE BEGIN DROP TABLE {table}; SELECT 1 AS dropped; END"
            )
        except (SourceBusy, SourceRefused):  # somebody's foreign key on it, say: no reason to apply no events
            return False
        return bool(found[0]["dropped"])

    def _drop(self, name: str) -> None:
        with suppress(BridgeError):
            self._session.run(f"DROP TABLE IF EXISTS {sql_server_identifier(STAGING_SCHEMA, name)}")
        with suppress(BridgeError):  # a table that could not be dropped is then anybody's to sweep
            app_locks.release(self._session.rows, app_locks.staging_resource(name))
            self._held.discard(name)

    def _load(self, table: str, columns: Sequence[TargetColumn], source: pa.RecordBatchReader) -> int:
        import pyarrow as pa

        feed = _Feed(self._session, source)
        with feed.own_errors():
            first = feed.first()
            if first is None:
                return 0
            with self._session.calling(), bulk_errors():
                copied = self._session.cursor().bulkcopy_arrow(
                    table,
                    pa.RecordBatchReader.from_batches(source.schema, feed.batches(first)),
                    batch_size=_BATCH_ROWS,
                    timeout=0,
                    column_mappings=[(ordinal, column.name) for ordinal, column in enumerate(columns)],
                    table_lock=True,
                    keep_nulls=True,
                )
        self._session.close_cursor()
        if copied["rows_copied"] != feed.rows:
            raise SourceUnavailable(
                f"{feed.rows:,} rows were sent to SQL Server, {copied['rows_copied']:,} arrived.", hint="Try again."
            )
        return feed.rows


class _Feed:
    """The source's batches on their way into the driver, which keeps only the text of what they raise."""

    def __init__(self, session: Session, source: pa.RecordBatchReader) -> None:
        self.rows = 0
        self._session = session
        self._source = source
        self._raised: BaseException | None = None

    def first(self) -> pa.RecordBatch | None:
        """Return the first batch with rows, None where there is none."""
        return next((batch for batch in self._source if batch.num_rows), None)

    def batches(self, first: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Count and yield `first` and the rest; a cancel takes hold between two batches."""
        try:
            yield self._counted(first)
            del first
            for batch in self._source:
                if self._session.cancelled:
                    raise Cancelled("The load was stopped.")
                yield self._counted(batch)
        except GeneratorExit:  # the driver has given up, for a reason of its own
            raise
        except BaseException as exc:
            self._raised = exc
            raise

    @contextmanager
    def own_errors(self) -> Iterator[None]:
        """Raise what the source raised in place of what the driver made of it."""
        try:
            yield
        except Exception as exc:
            if self._raised is None or exc is self._raised:
                raise
            raise self._raised from None

    def _counted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        from sql_databricks_bridge.db.alignment import aligned

        self.rows += batch.num_rows
        return aligned(batch)


def declaration(column: TargetColumn) -> str:
    """Return a column's type in staging: the target's own or one that carries its values, its collation spelled out."""
    try:
        staged_type(column.sql_type)  # refuses what can't be loaded, and anything that is not a type's name
    except EventInvalid as exc:
        raise EventInvalid(f"Column {column.name!r}: {exc.message}", hint=exc.hint) from exc
    kind = _carrier(column)
    return kind if column.collation is None else f"{kind} COLLATE {collation(column)}"


def collation(column: TargetColumn) -> str:
    """Return the name of a text column's collation, fit to stand in a statement, where nothing can quote it."""
    if column.collation is None or not _COLLATION.match(column.collation):
        raise ValueError(f"{column.collation!r} is not a collation's name")
    return column.collation


def _carrier(column: TargetColumn) -> str:
    """The type that carries the column's values in staging.

    Text of any code page but 1252 goes as Unicode: the driver's bulk copy encodes by the collation's language, also
    under UTF-8, and sends '?' for what that lacks (m).
    """
    kind = SqlServerType.parse(column.sql_type)
    if kind.name in ("char", "varchar", "text") and column.collation is not None and column.code_page != _DRIVERS_OWN:
        fits = kind.length is not None and 0 < kind.length <= _LONGEST_UNICODE
        return f"nvarchar({kind.length if fits else 'max'})"
    return _CARRIERS.get(kind.name, column.sql_type)


def _require_comparable(key: TargetColumn) -> None:
    if SqlServerType.parse(key.sql_type).name in _INCOMPARABLE:
        raise EventInvalid(
            f"Column {key.name!r} is of type {key.sql_type}, which can't be compared, so it can't be a key.",
            hint="Name other primary_keys.",
        )


def _indexable(keys: Sequence[TargetColumn]) -> bool:
    sizes = [_key_bytes(SqlServerType.parse(_carrier(key))) for key in keys]
    return len(sizes) <= _INDEX_COLUMNS and all(sizes) and sum(sizes) <= _INDEX_BYTES


def _key_bytes(kind: SqlServerType) -> int:
    """Most bytes of a key column, 0 for a (max) type, which no index takes."""
    if kind.name in _BYTES_PER_LENGTH:
        return 0 if kind.length == MAX else (kind.length or 1) * _BYTES_PER_LENGTH[kind.name]
    return _KEY_BYTES.get(kind.name, 8)
