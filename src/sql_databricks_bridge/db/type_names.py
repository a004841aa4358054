"""The name of a column's type, as the catalog's numbers tell it: 'decimal(18,4)', 'nvarchar(max)', 'datetime2(3)'."""

from __future__ import annotations

_BYTES = ("char", "varchar", "binary", "varbinary")
_UNITS = ("nchar", "nvarchar")
_SCALED = ("time", "datetime2", "datetimeoffset")
_DECIMALS = ("decimal", "numeric")


def type_name(name: str, max_length: int, precision: int, scale: int) -> str:
    """Put the name together; `max_length` counts bytes, -1 for (max). Source: sys.columns, sys.types."""
    if name in _BYTES or name in _UNITS:
        length = "max" if max_length == -1 else str(max_length // 2 if name in _UNITS else max_length)
        return f"{name}({length})"
    if name in _DECIMALS:
        return f"{name}({precision},{scale})"
    return f"{name}({scale})" if name in _SCALED else name
