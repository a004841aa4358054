"""Rows on their way into a staging table: many by a bulk copy, a few by one INSERT.

A bulk copy has to sign in and to ask for the table first, which costs more than a few rows do. The rows come out the
same: each value in the type of its column, or none of them at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Final

from sql_databricks_bridge.core.types import SqlServerType
from sql_databricks_bridge.db.binding import bind
from sql_databricks_bridge.db.error_numbers import bulk_errors, by_number
from sql_databricks_bridge.db.session import Session
from sql_databricks_bridge.errors import Cancelled, EventInvalid, SourceRefused, SourceUnavailable
from sql_databricks_bridge.models.jobs import BoundParameter
from sql_databricks_bridge.models.tables import TargetColumn

if TYPE_CHECKING:
    import pyarrow as pa

FEW_VALUES: Final = 300
"""Up to so many values (rows x columns) one INSERT costs both ends less than a bulk copy. On the sandbox they met at
700 on a quiet machine and near 490 on a busy one (benchmarks/apply.py). SQL Server's limit is 2,100."""
_FEW_BYTES: Final = 1 << 20
_BATCH_ROWS: Final = 1_048_576
"""Rows of one commit of a bulk copy. Its driver stands still until each is done: at 102,400 that took a fifth of the
load's time. Committed or not, the rows are in a table that nobody reads before it is whole; this bounds the log."""
_LOADED, _CAUGHT = "bridge_loaded", "bridge_error"
_INSERT: Final = f"""
BEGIN TRY
INSERT INTO {{table}} VALUES {{rows}};
SELECT ROWCOUNT_BIG() AS {_LOADED};
END TRY
BEGIN CATCH
SELECT ERROR_NUMBER() AS {_CAUGHT}, ERROR_MESSAGE() AS message;
END CATCH
"""
_MONEY: Final = frozenset({"money", "smallmoney"})


def load(session: Session, table: str, columns: Sequence[TargetColumn], source: pa.RecordBatchReader) -> int:
    """Load every row of the reader into an empty table that has just these columns in this order; return how many.

    `table` is quoted. What the reader raises comes out unchanged; after any error the table holds a part of the rows.
    """
    feed = _Feed(session, source)
    with feed.own_errors():
        begun = feed.begin(FEW_VALUES // max(1, len(columns)))
        if feed.ended:
            loaded = insert(session, table, columns, begun) if begun else 0
        else:
            loaded = bulk_copy(session, table, columns, source.schema, feed.batches(begun))
    if loaded != feed.rows:
        raise SourceUnavailable(f"{feed.rows:,} rows were sent to SQL Server, {loaded:,} arrived.", hint="Try again.")
    return feed.rows


def insert(session: Session, table: str, columns: Sequence[TargetColumn], batches: Sequence[pa.RecordBatch]) -> int:
    """Load a few rows by one statement; return how many it counted.

    It names no column: the driver would take what stands in a name for its own markers.
    """
    import pyarrow as pa

    rows = pa.Table.from_batches(batches)
    row = f"({', '.join(_marker(column) for column in columns)})"
    statement = _INSERT.format(table=table, rows=", ".join([row] * rows.num_rows))
    by_column = [_parameters(column, values) for column, values in zip(columns, rows.columns, strict=True)]
    bound = bind(tuple(chain.from_iterable(zip(*by_column, strict=True))))
    answer = session.answer(statement, bound, _LOADED, _CAUGHT)
    if answer is None:
        raise SourceRefused("The INSERT into a staging table ended without its count.")
    if _CAUGHT in answer:
        error = by_number(int(answer[_CAUGHT]), answer["message"])
        if isinstance(error, SourceRefused):
            raise EventInvalid(f"A value can't be loaded: {error.message}") from error
        raise error
    return int(answer[_LOADED])


def _parameters(column: TargetColumn, values: pa.ChunkedArray) -> list[BoundParameter]:
    """The values of a column as parameters, NULL of a type that fits too.

    Dates and times go as text where that is read alike under every language: the driver refuses years before 1753 as
    parameters (m), and Python's time has no seventh digit.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    name = SqlServerType.parse(column.sql_type).name
    if name in ("date", "datetime2", "time"):
        values = values.cast(pa.string())
    if name == "time":
        values = pc.utf8_slice_codeunits(values, 0, len("23:59:59.9999999"))
    binary = pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type)
    return [BoundParameter(column.name, "varbinary(max)" if binary else "", value) for value in values.to_pylist()]


def _marker(column: TargetColumn) -> str:
    """SQL Server makes of text, as which a decimal is sent, every type that is staged but these (error 257)."""
    return "CONVERT(decimal(19,4), ?)" if SqlServerType.parse(column.sql_type).name in _MONEY else "?"


def bulk_copy(
    session: Session,
    table: str,
    columns: Sequence[TargetColumn],
    schema: pa.Schema,
    batches: Iterator[pa.RecordBatch],
) -> int:
    """Load any number of rows by a connection of the driver's own, to which the table is committed; return how many."""
    import pyarrow as pa

    with session.calling(), bulk_errors():
        copied = session.cursor().bulkcopy_arrow(
            table,
            pa.RecordBatchReader.from_batches(schema, batches),
            batch_size=_BATCH_ROWS,
            timeout=0,
            column_mappings=[(ordinal, column.name) for ordinal, column in enumerate(columns)],
            table_lock=True,  # a heap, locked: minimally logged where the recovery model allows it
            keep_nulls=True,
        )
    session.close_cursor()
    return int(copied["rows_copied"])


class _Feed:
    """The source's batches on their way into the driver, which keeps only the text of what they raise."""

    def __init__(self, session: Session, source: pa.RecordBatchReader) -> None:
        self.rows = 0
        """Rows handed out."""
        self.ended = False
        """Whether `begin` returned all that there are."""
        self._session = session
        self._source = source
        self._raised: BaseException | None = None

    def begin(self, few: int) -> list[pa.RecordBatch]:
        """Read on until there are more than `few` rows, or `_FEW_BYTES`, or no more; return the batches with rows."""
        begun: list[pa.RecordBatch] = []
        rows = size_bytes = 0
        for batch in self._source:
            if not batch.num_rows:
                continue
            begun.append(batch)
            rows, size_bytes = rows + batch.num_rows, size_bytes + batch.nbytes
            if rows > few or size_bytes > _FEW_BYTES:
                return begun
        self.ended = True
        self.rows = rows
        return begun

    def batches(self, begun: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Count and yield what `begin` returned and the rest; a cancel takes hold between two batches."""
        try:
            while begun:
                yield self._counted(begun.pop(0))
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
