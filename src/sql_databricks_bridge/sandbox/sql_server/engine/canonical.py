"""CONVERT with the styles that lose nothing, as PostgreSQL expressions without plpgsql ("CAST and CONVERT", styles).

A digest of a table converts every column of every row. What is not here goes the general way (convert.py).
"""

from __future__ import annotations

from ..contract import SqlType
from .types import FLOATS

_SPACE = frozenset({20, 21, 25, 120, 121})
_SHORT = frozenset({20, 120})
_DATE = _SPACE | {23, 126, 127}
_DIGITS = {1: 8, 2: 16, 3: 17}


def moment(sql: str, t: SqlType, style: int) -> str | None:
    """ISO text of a date or time (styles 20, 21, 23, 25, 120, 121, 126, and 127 without a zone), or None."""
    if t.name == "date":
        return f"tsql.iso_date({sql})" if style in _DATE else None
    if style not in _SPACE and style not in (126, 127):
        return None
    if t.name == "datetime":
        if style in (126, 127):
            return f"tsql.iso_datetime_t({sql})"
        return f"left(tsql.iso_datetime({sql}), 19)" if style in _SHORT else f"tsql.iso_datetime({sql})"
    if t.name == "smalldatetime":
        text = f"tsql.iso_seconds(59926608000 + {sql} * 60)"
        return _with_t(text) if style in (126, 127) else text if style in _SHORT else f"({text} || '.000')"
    digits = 0 if style in _SHORT else t.scale or 0
    if t.name == "time":
        return f"substr({_ticks(sql, digits)}, 12)"
    if t.name == "datetime2":
        text = _ticks(sql, digits)
        return _with_t(text) if style in (126, 127) else text
    if t.name == "datetimeoffset" and style != 127:
        text = _ticks(f"tsql.dto_local({sql})", digits)
        body, gap = (_with_t(text), "") if style == 126 else (text, " ")
        return f"({body} || '{gap}' || tsql.offset_text(({sql}).off))"
    return None


def _ticks(sql: str, digits: int) -> str:
    return f"tsql.iso_ticks({sql}, {digits})" if digits else f"tsql.iso_seconds(({sql}) / 10000000)"


def _with_t(text: str) -> str:
    return f"replace({text}, ' ', 'T')"


def exponent(sql: str, t: SqlType, style: int) -> str | None:
    """A float or real with 8, 16 or 17 digits (styles 1, 2, 3), or None. A real is the double that it equals."""
    digits = _DIGITS.get(style)
    if t.name not in FLOATS or digits is None:
        return None
    return f"tsql.float_exp(({sql})::float8, '9.{'9' * (digits - 1)}eeee')"


def width(sql: str, t: SqlType, style: int | None) -> str | None:
    """The length of what the functions above write, without writing it; None where it varies."""
    if t.name in FLOATS and style in _DIGITS:
        return f"({_DIGITS[style] + 6} + (({sql})::float8 < 0)::int4)"
    fixed = _fixed(t, style)
    probe = f"({sql}).utc" if t.name == "datetimeoffset" else sql
    return f"(CASE WHEN ({probe}) IS NOT NULL THEN {fixed} END)" if fixed else None


def _fixed(t: SqlType, style: int | None) -> int | None:
    if t.name == "uniqueidentifier":
        return 36
    if t.name == "bit":
        return 1
    if t.name == "date" and style in _DATE:
        return 10
    if style not in (121, 126) or (style == 126 and t.name == "datetime"):
        return None
    scale = t.scale or 0
    clock = 8 + (scale + 1 if scale else 0)
    sizes = {"datetime": 23, "smalldatetime": 23 if style == 121 else 19, "time": clock, "datetime2": 11 + clock}
    return sizes.get(t.name)
