"""Parameters on their way to SQL Server: bound by the driver, typed by sp_executesql's declaration.

Left to itself the driver binds ASCII text as varchar, which sp_executesql refuses for its statement (error 214), and
asks the server about each NULL. So each value's ODBC type is given, and one that has no exact ODBC form here (decimal,
time, offsets, GUIDs) goes as Unicode text in the one form that SQL Server reads alike under every language setting.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sql_databricks_bridge.errors import ParameterError
from sql_databricks_bridge.models.jobs import BoundParameter

# ODBC's numbers for SQL types (sql.h, sqlext.h), with the size and digits that the driver wants beside them.
_TEXT = (-9, 0, 0)  # SQL_WVARCHAR of size 0 is nvarchar(max)
_BYTES = (-3, 0, 0)  # SQL_VARBINARY
_BIT = (-7, 0, 0)
_BIGINT = (-5, 0, 0)
_DOUBLE = (8, 0, 0)
_DATE = (91, 0, 0)  # SQL_TYPE_DATE
_DATETIME2 = (93, 27, 7)  # SQL_TYPE_TIMESTAMP

SqlTypeTriple = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Bound:
    """Values and their ODBC types, one for each parameter marker."""

    values: tuple[object, ...]
    types: tuple[SqlTypeTriple, ...]


def bind_texts(*texts: str | None) -> Bound:
    """Bind texts as nvarchar(max)."""
    return Bound(texts, (_TEXT,) * len(texts))


def bind(parameters: Sequence[BoundParameter]) -> Bound:
    """Bind declared parameters; `ParameterError` for a value that can't be sent."""
    pairs = [_bound(parameter) for parameter in parameters]
    return Bound(tuple(value for value, _ in pairs), tuple(kind for _, kind in pairs))


def declarations(parameters: Sequence[BoundParameter]) -> str | None:
    """Return what sp_executesql's @params wants ('@since date, @carrier varchar(2)'), None without parameters."""
    return ", ".join(f"@{parameter.name} {parameter.declaration}" for parameter in parameters) or None


def _bound(parameter: BoundParameter) -> tuple[object, SqlTypeTriple]:
    match parameter.value:
        case None:
            # NULL of nvarchar becomes NULL of every declared type but the binary ones.
            return None, _BYTES if "binary" in parameter.declaration.lower() else _TEXT
        case bool(value):
            return value, _BIT
        case int(value):
            return (value, _BIGINT) if -(2**63) <= value < 2**63 else (str(value), _TEXT)
        case float(value):
            return value, _DOUBLE
        case str(value):
            return value, _TEXT
        case bytes(value):
            return value, _BYTES
        case decimal.Decimal() as value:
            return format(value, "f"), _TEXT
        case dt.datetime(tzinfo=None) as value:
            return value, _DATETIME2
        case dt.datetime() as value:
            return value.isoformat(timespec="microseconds"), _TEXT
        case dt.date() as value:
            return value, _DATE
        case dt.time() as value:
            return value.isoformat(timespec="microseconds"), _TEXT
        case uuid.UUID() as value:
            return str(value), _TEXT
        case value:
            raise ParameterError(f"@{parameter.name}: a {type(value).__name__} can't be sent to SQL Server.")
