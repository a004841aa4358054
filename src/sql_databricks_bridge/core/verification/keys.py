"""The key of a query that names one table: that of the table, where the result has all of it."""

from __future__ import annotations

from collections.abc import Collection

from sql_databricks_bridge.core.ports import SqlServerConnection
from sql_databricks_bridge.core.single_table import single_table
from sql_databricks_bridge.models.jobs import BoundParameter, ResolvedQuery
from sql_databricks_bridge.models.tables import find_named

_UNIQUE = """
SELECT i.index_id AS [index], i.is_primary_key AS [is_primary], c.name AS [name]
FROM sys.indexes AS i
INNER JOIN sys.index_columns AS x ON x.object_id = i.object_id AND x.index_id = i.index_id
INNER JOIN sys.columns AS c ON c.object_id = x.object_id AND c.column_id = x.column_id
WHERE i.object_id = OBJECT_ID(@table) AND i.is_unique = 1 AND i.has_filter = 0 AND x.is_included_column = 0
ORDER BY i.index_id, x.key_ordinal
"""


def detected_key(connection: SqlServerConnection, query: ResolvedQuery, columns: Collection[str]) -> tuple[str, ...]:
    """The primary key's columns as the table spells them, else those of its only unique index; () where in doubt.

    A column that the query gives another's name misleads it: ranges are worse then, and keys are named that are none;
    what is equal and what differs stays right.
    """
    table = single_table(query.sql)
    if table is None:
        return ()
    found: dict[tuple[bool, int], list[str]] = {}
    for row in connection.ask(_UNIQUE, (BoundParameter("table", "nvarchar(600)", table.name),)):
        found.setdefault((not row["is_primary"], int(row["index"])), []).append(str(row["name"]))
    fitting = {at: key for at, key in found.items() if all(find_named(name, columns) is not None for name in key)}
    primary = [key for (is_other, _), key in fitting.items() if not is_other]
    (key,) = primary or (list(fitting.values()) if len(fitting) == 1 else [[]])
    return tuple(key)
