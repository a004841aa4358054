"""The key that a query is split by: the one that is asked for, else that of the table's index.

Any column makes right ranges; one that leads an index makes fast ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sql_databricks_bridge.core.ports import ResultColumn, SqlServerConnection
from sql_databricks_bridge.core.single_table import SingleTable
from sql_databricks_bridge.core.suggestions import listed
from sql_databricks_bridge.errors import UsageError
from sql_databricks_bridge.models.jobs import BoundParameter, ResolvedQuery
from sql_databricks_bridge.models.tables import find_named

_INDEXES = """
SELECT i.index_id AS [index], i.type AS [kind], i.is_primary_key AS [is_primary], i.is_unique AS [is_unique],
    c.name AS [name]
FROM sys.indexes AS i
INNER JOIN sys.index_columns AS x ON x.object_id = i.object_id AND x.index_id = i.index_id
INNER JOIN sys.columns AS c ON c.object_id = x.object_id AND c.column_id = x.column_id
WHERE i.object_id = OBJECT_ID(@table) AND i.type IN (1, 2) AND i.has_filter = 0 AND i.is_disabled = 0
    AND x.key_ordinal > 0
ORDER BY i.index_id, x.key_ordinal
"""
_CLUSTERED = 1
_ROWS = """
SELECT SUM(p.rows) AS [rows] FROM sys.partitions AS p WHERE p.object_id = OBJECT_ID(@table) AND p.index_id IN (0, 1)
"""
_DECLARED_AS = {"timestamp": "binary(8)", "rowversion": "binary(8)"}
_PLAIN = frozenset(
    {
        *("tinyint", "smallint", "int", "bigint", "decimal", "numeric", "money", "smallmoney", "float", "real"),
        *("date", "time", "datetime", "smalldatetime", "datetime2", "datetimeoffset", "uniqueidentifier"),
        *("char", "varchar", "nchar", "nvarchar", "binary", "varbinary"),
    }
)


def rows_of(connection: SqlServerConnection, table: SingleTable) -> int | None:
    """How many rows the table has by the catalog, about; None for what is no table, or not to be seen."""
    (found,) = connection.ask(_ROWS, (_name(table),))
    return None if found["rows"] is None else int(found["rows"])


def asked_key(query: ResolvedQuery, columns: Sequence[ResultColumn], names: Iterable[str]) -> tuple[ResultColumn, ...]:
    """The columns that the caller names; `UsageError` for one that is not there, or that has no order."""
    known = {column.name: column for column in columns}
    found = []
    for name in names:
        spelled = find_named(name, known)
        if spelled is None:
            raise UsageError(
                f"{query.file}: the partition key {name!r} is no column of the result.",
                hint=f"The query has {listed(known)}.",
            )
        if declaration(known[spelled]) is None:
            raise UsageError(
                f"{query.file}: the partition key {spelled!r} is of type {known[spelled].sql_type}: it has no ranges.",
                hint="Choose a number, a date, a GUID, or a string or binary of bounded length.",
            )
        found.append(known[spelled])
    return tuple(found)


def index_key(
    connection: SqlServerConnection, table: SingleTable, columns: Sequence[ResultColumn]
) -> tuple[ResultColumn, ...]:
    """What the result has of the clustered index's key, from its first column on, else of the primary key, else of a
    unique index; () where that is nothing.
    """
    known = {column.name: column for column in columns}
    found: dict[tuple[int, int], list[str]] = {}
    for row in connection.ask(_INDEXES, (_name(table),)):
        rank = 0 if row["kind"] == _CLUSTERED else 1 if row["is_primary"] else 2 if row["is_unique"] else 3
        found.setdefault((rank, int(row["index"])), []).append(str(row["name"]))
    for (rank, _), names in sorted(found.items()):
        key = []
        for name in names:
            spelled = find_named(name, known)
            if spelled is None or declaration(known[spelled]) is None:
                break
            key.append(known[spelled])
        if key and rank < 3:
            return tuple(key)
    return ()


def declaration(column: ResultColumn) -> str | None:
    """The type of a @parameter that holds a bound of the column; None where the column can't be a key."""
    name = column.sql_type.split("(")[0].strip().lower()
    if name in _DECLARED_AS:
        return _DECLARED_AS[name]
    return column.sql_type if name in _PLAIN and column.max_length != -1 else None


def _name(table: SingleTable) -> BoundParameter:
    return BoundParameter("table", "nvarchar(600)", table.name)
