"""Reading a Delta table as of one version: chunk by chunk to the last one, the next one fetched ahead.

Source: Databricks SQL reference, "SELECT" (temporal_spec) and "DESCRIBE HISTORY"; error conditions and their SQLSTATEs
as in "SQLSTATE error codes".
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pyarrow as pa

from sql_databricks_bridge.db.databricks_errors import condition, words
from sql_databricks_bridge.db.identifiers import databricks_identifier
from sql_databricks_bridge.db.source_filters import comparable
from sql_databricks_bridge.db.statements import Result, Warehouse
from sql_databricks_bridge.errors import EventInvalid, StatementFailed
from sql_databricks_bridge.models.tables import SourceName, find_named

_AT_FAULT = ("42", "22", "0A")
"""SQLSTATE classes of what the table or its columns are to blame for, the statements' form being ours: 42 names that
are not there, kinds of table that can't, privileges; 22 versions that are not there; 0A features that a table lacks."""
_BATCH_ROWS = 65_536
_MOST_FILTERS, _MOST_FILTER_BYTES = 255, 4 << 20  # Databricks takes 256 parameters and a request of 16 MiB
_VACUUMED = ("FAILED_READ_FILE.DBR_FILE_NOT_EXIST", "DELTA_FILE_NOT_FOUND_DETAILED")


def newest_version(warehouse: Warehouse, table: SourceName) -> int:
    """The newest version of a Delta table. 1 statement.

    `EventInvalid` for what is not there, may not be seen, or has no history: a view, or a table that is not Delta.
    """
    with _at_the_events_fault(table, "has no version to read"):
        history = warehouse.execute(
            f"DESCRIBE HISTORY {_quoted(table)} LIMIT 1", None, f"Asking for the version of {table}"
        )
    versions = history["version"].to_pylist() if "version" in history.column_names else []
    if not versions:
        raise EventInvalid(f"Source table {table} has no history.", hint="Only Delta tables can be sources.")
    return int(versions[0])


@contextmanager
def open_source(
    warehouse: Warehouse,
    table: SourceName,
    version: int,
    *,
    columns: Sequence[str] | None,
    where: Mapping[str, str | None],
) -> Iterator[ChunkedRows]:
    """Select some or all columns of a version, where every `column = value` holds. 1 statement, 2 with a `where`.

    `EventInvalid` for a table, version, column or privilege that is not there, and for a value that does not parse.
    A statement that Databricks refuses for another reason stays a `LakehouseError`.
    """
    if columns is not None and not columns:
        raise ValueError("no column is asked for")
    what = f"Reading {table} at version {version}"
    source = f"{_quoted(table)} VERSION AS OF {int(version)}"
    selected = "*" if columns is None else ", ".join(databricks_identifier(name) for name in columns)
    with _at_the_events_fault(table, f"can't be read at version {version}"):
        statement = f"SELECT {selected} FROM {source}"
        parameters: dict[str, str | None] = {}
        if where:
            shape = warehouse.run(f"SELECT * FROM {source} LIMIT 0", None, what)
            types = {column.name or "": column.type_text or "" for column in shape.columns}
            predicate, parameters = _predicate(table, types, where)
            statement += f" WHERE {predicate}"
        result = warehouse.run(statement, parameters, what)
    rows = ChunkedRows(warehouse, result, what)
    try:
        yield rows
    finally:
        rows.close()


class ChunkedRows:
    """The SourceStream port over a statement's result. For one thread; two chunks are held at most.

    Databricks' chunks are of about 20 MB. One is read whole before its first batch is handed out, so that a chunk
    whose download breaks can be fetched again and no row comes twice.
    """

    def __init__(self, warehouse: Warehouse, result: Result, what: str) -> None:
        """Start to fetch the first chunk."""
        self._warehouse = warehouse
        self._result = result
        self._what = what
        self._stop = threading.Event()
        self._chunks = result.chunks(self._stop)
        self._fetcher = ThreadPoolExecutor(1, thread_name_prefix="bridge-read")
        self._ahead: Future[pa.Table | None] | None = self._fetcher.submit(self._next_chunk)
        self._schema: pa.Schema | None = None
        self._begun = self._ended = False

    @property
    def schema(self) -> pa.Schema:
        """Names and Arrow types: the first chunk's (waits for it), else what the manifest says of an empty result."""
        if self._schema is None:
            first = self._arrived()
            self._schema = self._result.schema if first is None else first.schema
        return self._schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Every row, once; `StatementFailed` where fewer arrived than were announced."""
        if self._begun:
            raise ValueError("the rows of a source can be read once only")
        schema = self.schema
        self._begun = True
        while (chunk := self._arrived()) is not None:
            self._ahead = self._fetcher.submit(self._next_chunk)
            yield from _as(chunk, schema).to_batches(max_chunksize=_BATCH_ROWS)
            del chunk  # before the one after the next is asked for
        self._ended = True

    def close(self) -> None:
        """Stop fetching; a result that was not read to its end is given up on the warehouse too. Idempotent."""
        if self._stop.is_set():
            return
        self._stop.set()
        if not self._ended:
            self._result.abandon()
        self._ahead = None
        self._fetcher.shutdown(wait=True, cancel_futures=True)

    def _next_chunk(self) -> pa.Table | None:
        """Fetch a chunk and lay its batches together: Databricks' may be of a thousand rows, and each costs every check
        of every column.
        """
        chunk = next(self._chunks, None)
        return None if chunk is None else chunk.combine_chunks()

    def _arrived(self) -> pa.Table | None:
        """The chunk that was asked for, None after the last one; waits."""
        if self._ahead is None:
            raise ValueError("the source is closed")
        with self._warehouse.translated(self._what):
            return self._ahead.result()


def _as(chunk: pa.Table, schema: pa.Schema) -> pa.Table:
    """The chunk under the first one's schema; they differ in what is nullable, if at all."""
    if chunk.schema.equals(schema):
        return chunk
    try:
        return chunk.cast(schema)
    except (pa.ArrowException, ValueError) as exc:
        raise StatementFailed(f"The result changes its columns from {schema} to {chunk.schema}.") from exc


def _predicate(
    table: SourceName, types: Mapping[str, str], where: Mapping[str, str | None]
) -> tuple[str, dict[str, str | None]]:
    """The WHERE clause and its parameters; `types` are the table's columns."""
    size_bytes = sum(len(value.encode("utf-8", "replace")) for value in where.values() if value is not None)
    if len(where) > _MOST_FILTERS or size_bytes > _MOST_FILTER_BYTES:
        raise EventInvalid(
            f"filter_conditions: {len(where):,} of them with {size_bytes:,} bytes are too much for one statement, "
            f"which takes {_MOST_FILTERS} and {_MOST_FILTER_BYTES:,} bytes.",
            hint="Put the wanted rows into a table of their own and name that one as the source.",
        )
    terms: list[str] = []
    parameters: dict[str, str | None] = {}
    for name, value in where.items():
        column = find_named(name, types)
        if column is None:
            raise EventInvalid(f"filter_conditions: source table {table} has no column {name[:200]!r}.")
        quoted = databricks_identifier(column)
        if value is None:
            terms.append(f"{quoted} IS NULL")
            continue
        sql_type, text = comparable(column, types[column], value)
        parameter = f"w{len(parameters)}"
        terms.append(f"{quoted} = CAST(:{parameter} AS {sql_type})")
        parameters[parameter] = text
    return " AND ".join(terms), parameters


@contextmanager
def _at_the_events_fault(table: SourceName, what: str) -> Iterator[None]:
    """Make `EventInvalid` of a failure that the named table is to blame for; others stay what they are."""
    try:
        yield
    except StatementFailed as failure:
        named = condition(failure)
        if (failure.sqlstate or "").startswith(_AT_FAULT) or named in _VACUUMED:
            raise EventInvalid(
                f"Source table {table} {what}: {words(failure)}.", hint=_hint(failure, named)
            ) from failure
        raise


def _hint(failure: StatementFailed, named: str) -> str | None:
    if failure.sqlstate == "42501":
        return "Grant SELECT on it, USE SCHEMA and USE CATALOG to the bridge's identity."
    if named == "DELTA_VERSION_NOT_FOUND" or named in _VACUUMED:
        return "Versions end with the table's retention or VACUUM: submit the event again with a newer version."
    return None


def _quoted(table: SourceName) -> str:
    return databricks_identifier(table.catalog, table.schema, table.table)
