"""One big query read as several ranges of its key at once: whether, by which key, between which bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sql_databricks_bridge.core.outermost import CantRewrite, outermost
from sql_databricks_bridge.core.partitions.keys import asked_key, index_key, rows_of
from sql_databricks_bridge.core.partitions.ranges import range_queries
from sql_databricks_bridge.core.partitions.sampling import bounds_of
from sql_databricks_bridge.core.ports import ResultColumn, SqlServerConnection
from sql_databricks_bridge.core.single_table import SingleTable, single_table
from sql_databricks_bridge.errors import SourceRefused
from sql_databricks_bridge.models.jobs import ResolvedQuery

AUTO_COUNT = 4
AUTO_LEAST_ROWS = 1_000_000
"""Below, a query is read in seconds, and connections, sampling and more files cost more than ranges gain."""

_READ_ONLY = "SELECT d.is_read_only AS [fixed] FROM sys.databases AS d WHERE d.name = DB_NAME()"


@dataclass(frozen=True, slots=True)
class Split:
    """A query for each range, in the key's order. `table` is what all of them read, where that is one table."""

    queries: tuple[ResolvedQuery, ...]
    key: tuple[str, ...]
    table: SingleTable | None


@dataclass(frozen=True, slots=True)
class Whole:
    """Why the query is read in one piece."""

    reason: str


def split(connection: SqlServerConnection, query: ResolvedQuery, columns: Sequence[ResultColumn]) -> Split | Whole:
    """Split a query as its `partitions` ask; `columns` are its result as described.

    `UsageError` for a key that is no column of it, or that has no order.
    """
    wanted = query.partitions
    is_auto = wanted.count is None
    key = asked_key(query, columns, wanted.key)
    try:
        found = outermost(query.sql)
    except CantRewrite as exc:
        return Whole(str(exc))
    if found.keeps_order:
        return Whole("TOP or OFFSET choose its rows")
    if is_auto and found.order is not None:
        return Whole("it has an ORDER BY, and ranges are not read in its order")
    table = single_table(query.sql)
    rows = None if table is None else rows_of(connection, table)
    if is_auto and (rows is None or rows < AUTO_LEAST_ROWS):
        return Whole("it is no plain query of a big table")
    if not key and table is not None:
        key = index_key(connection, table, columns)
    if not key:
        return Whole("no index says by which column; name one by --partition-key")
    known = None if table is None or rows is None else (table, rows)
    try:
        bounds = bounds_of(connection, query, key, wanted.count or AUTO_COUNT, known, may_scan=not is_auto)
    except SourceRefused as exc:
        return Whole(f"its keys can't be asked for: {exc.message.rstrip('.')}")
    if not bounds:
        return Whole("its keys are too few, or all alike")
    return Split(range_queries(query, key, bounds), tuple(column.name for column in key[: len(bounds[0])]), table)


def is_fixed(connection: SqlServerConnection) -> bool:
    """Whether nobody can change the database meanwhile: a database snapshot, or one that is read-only."""
    try:
        found = connection.ask(_READ_ONLY)
    except SourceRefused:
        return False
    return bool(found and found[0]["fixed"])


def first_read(table: SingleTable) -> str:
    """T-SQL that reads one row of the table, whose answer is one row: with it a SNAPSHOT begins."""
    return f"SELECT COUNT(*) AS [rows] FROM (SELECT TOP (1) 1 AS [x] FROM {table.name}) AS q"


def shared_lock(table: SingleTable) -> str:
    """The same with a shared lock on the whole table, until the transaction ends."""
    return f"SELECT COUNT(*) AS [rows] FROM (SELECT TOP (1) 1 AS [x] FROM {table.name} WITH (TABLOCK, HOLDLOCK)) AS q"
