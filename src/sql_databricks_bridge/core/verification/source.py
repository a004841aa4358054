"""SQL Server's side: one statement that digests every row and sums them up by range, and one that names keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from sql_databricks_bridge.core.canonical.columns import CanonicalColumn
from sql_databricks_bridge.core.canonical.server import row_digest, row_text
from sql_databricks_bridge.core.outermost import CantRewrite
from sql_databricks_bridge.core.ports import SqlServerConnection
from sql_databricks_bridge.core.rewriting import enclosed
from sql_databricks_bridge.core.verification.asked import Asked
from sql_databricks_bridge.core.verification.cuts import ALIAS, Cut
from sql_databricks_bridge.core.verification.sums import LANES, RangeSum
from sql_databricks_bridge.errors import UsageError
from sql_databricks_bridge.models.jobs import ResolvedQuery
from sql_databricks_bridge.models.quoting import sql_server_identifier

_BATCH_BYTES = 8 << 20


def range_sums(connection: SqlServerConnection, asked: Asked, cut: Cut) -> Iterator[tuple[int, RangeSum]]:
    """Rows and lanes of each range. One statement, which reads the query's rows once; rows of ranges travel."""
    digests = ", ".join(f"{_digest(group)} AS [h{number}]" for number, group in enumerate(asked.groups))
    sums = ", ".join(
        f"SUM(CONVERT(decimal(38,0), CONVERT(bigint, SUBSTRING(r.[h{group}], {1 + 8 * lane}, 8)))) AS [h{group}_{lane}]"
        for group in range(len(asked.groups))
        for lane in range(LANES)
    )
    query = _around(
        asked.query,
        f"SELECT r.[range], COUNT_BIG(*) AS [rows], {sums} FROM (SELECT {cut.expression} AS [range], {digests} FROM (",
        f") AS {ALIAS}) AS r GROUP BY r.[range]",
    )
    with _streamed(connection, query) as batches:
        for batch in batches:
            numbers, rows, *lanes = (column.to_pylist() for column in batch.columns)
            for at, number in enumerate(numbers):
                yield number, RangeSum(rows[at], tuple(int(lane[at]) for lane in lanes))


def rows_of(
    connection: SqlServerConnection, asked: Asked, cut: Cut, ranges: Collection[int]
) -> Iterator[pa.RecordBatch]:
    """Each row of some ranges: `range`, the text of each key column (k0, ...), and of each column (c0, ...) the first
    eight bytes of its digest as bigint. Without a key there are no texts, and c0 is of the whole row.
    """
    keys = [f"{row_text([column], ALIAS, [_quoted(column)])} AS [k{at}]" for at, column in enumerate(key_of(asked))]
    values = [f"CONVERT(bigint, SUBSTRING({_digest(group)}, 1, 8)) AS [c{at}]" for at, group in enumerate(told(asked))]
    query = _around(
        asked.query,
        f"SELECT {', '.join([f'{cut.expression} AS [range]', *keys, *values])} FROM (",
        f") AS {ALIAS} WHERE {cut.predicate(ranges)}",
    )
    with _streamed(connection, query) as batches:
        yield from batches


def key_of(asked: Asked) -> Sequence[CanonicalColumn]:
    """The columns whose texts name a row; none without a key, since rows are not to be printed."""
    return asked.key if asked.has_key else ()


def told(asked: Asked) -> Sequence[Sequence[CanonicalColumn]]:
    """The columns of each digest by which two rows of one key are compared."""
    return [[column] for column in asked.columns if column not in asked.key] if asked.has_key else [asked.columns]


def _digest(columns: Sequence[CanonicalColumn]) -> str:
    return row_digest(columns, ALIAS, [_quoted(column) for column in columns])


def _quoted(column: CanonicalColumn) -> str:
    return sql_server_identifier(column.name)


def _around(query: ResolvedQuery, before: str, after: str) -> ResolvedQuery:
    try:
        return dataclasses.replace(query, sql=enclosed(query.sql, before, after))
    except CantRewrite as exc:
        raise UsageError(
            f"{query.file}: {exc}, so SQL Server can't be asked for digests of its rows.",
            hint="Verify queries without it, or compare two runs by `bridge runs diff`.",
        ) from exc


@contextmanager
def _streamed(connection: SqlServerConnection, query: ResolvedQuery) -> Iterator[Iterator[pa.RecordBatch]]:
    connection.describe(query)  # so that the stream knows how long its rows can get
    with connection.stream(query, batch_bytes=_BATCH_BYTES) as batches:
        yield batches
