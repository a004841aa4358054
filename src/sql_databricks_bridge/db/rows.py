"""What the catalog, the ledger and the locks ask of a connection, and the types of what they send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sql_databricks_bridge.db.binding import Bound, SqlTypeTriple

Rows = Callable[[str, Bound | None], list[dict[str, Any]]]
"""Run one T-SQL batch with `?` markers bound; return the rows of its first result set as dicts, [] where it has none.

It raises errors of `sql_databricks_bridge.errors` only.
"""

BIGINT: SqlTypeTriple = (-5, 0, 0)  # SQL_BIGINT
INT: SqlTypeTriple = (4, 0, 0)  # SQL_INTEGER


def nvarchar(length: int) -> SqlTypeTriple:
    """The ODBC type of nvarchar(length), 1 to 4000 UTF-16 units: one that an index on such a column serves."""
    return (-9, length, 0)  # SQL_WVARCHAR


def binary(length: int) -> SqlTypeTriple:
    """The ODBC type of binary(length), 1 to 8000 bytes."""
    return (-2, length, 0)  # SQL_BINARY


def bound(*pairs: tuple[object, SqlTypeTriple]) -> Bound:
    """Put values and their types together, in the order of the markers."""
    return Bound(tuple(value for value, _ in pairs), tuple(kind for _, kind in pairs))
