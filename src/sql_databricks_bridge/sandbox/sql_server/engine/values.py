"""Values between Arrow (contract.py's physical types), Python and PostgreSQL literals."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa

from ..contract import SqlType
from .errors import error, unsupported
from .pg import quote
from .types import BINARIES, DECIMALS, MONEYS, STRINGS, UDTS, pg_type

_FIXED = {
    "bit": pa.bool_(),
    "tinyint": pa.uint8(),
    "smallint": pa.int16(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "float": pa.float64(),
    "money": pa.decimal128(19, 4),
    "smallmoney": pa.decimal128(10, 4),
    "date": pa.date32(),
    "time": pa.int64(),
    "datetime2": pa.int64(),
    "datetime": pa.int64(),
    "smalldatetime": pa.int64(),
    "datetimeoffset": pa.struct([("utc", pa.int64()), ("offset", pa.int16())]),
    "uniqueidentifier": pa.binary(16),
    "sql_variant": pa.struct([("type", pa.string()), ("value", pa.large_binary())]),
}


def arrow_type(t: SqlType) -> pa.DataType:
    """contract.py's physical type."""
    if t.name in _FIXED:
        return _FIXED[t.name]
    if t.name in DECIMALS:
        return pa.decimal128(t.precision or 18, t.scale or 0)
    if t.name in BINARIES or t.name in UDTS:
        return pa.large_binary()
    return pa.large_string()


def check_text(text: str) -> str:
    """Text that PostgreSQL can hold, or a refusal."""
    if "\0" in text:
        raise unsupported("NUL characters (U+0000) in strings")
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise unsupported("lone surrogates in strings")
    return text


def to_codepage(text: str, codepage: str = "cp1252") -> str:
    """nvarchar to varchar. What the code page lacks becomes '?'; what may have a best-fit letter in it is refused.

    Microsoft's best-fit tables are not imitated: '?' stands for letters that no table has anything like
    (tsql.has_no_likeness is the same list).
    """
    if text.isascii():
        return text
    out = []
    for c in text:
        if _has_character(c, codepage):
            out.append(c)
        elif ord(c) > 0xFFFF or any(first <= ord(c) <= last for first, last in _WITHOUT_LIKENESS):
            out.append("?" * (2 if ord(c) > 0xFFFF else 1))
        else:
            raise unsupported(f"converting U+{ord(c):04X} to {codepage} (a best-fit character)")
    return "".join(out)


# Russian, Hebrew, Arabic and Thai letters, kana, ideographs, Korean syllables.
_WITHOUT_LIKENESS = (
    *((0x0401, 0x0401), (0x0410, 0x044F), (0x0451, 0x0451), (0x05D0, 0x05EA), (0x0621, 0x064A), (0x0E01, 0x0E3A)),
    *((0x3041, 0x3096), (0x30A1, 0x30FA), (0x3400, 0x9FFF), (0xAC00, 0xD7A3)),
)
_HOLES_OF_1252 = frozenset("\x81\x8d\x8f\x90\x9d")


def _has_character(c: str, codepage: str) -> bool:
    """Whether Windows' code page has this character (it keeps the five holes of 1252 as C1 controls)."""
    if (codepage == "cp1252" and c in _HOLES_OF_1252) or (codepage == "cp936" and c == "\u20ac"):
        return True
    try:
        return c.encode(codepage).decode(codepage) == c  # Python's 932 has letters that are like it for some
    except UnicodeEncodeError:
        return False


def literal(t: SqlType, value: Any) -> str:
    """A PostgreSQL expression of `pg_type(t)` for a value as `pa.Array.to_pylist` gives it."""
    pg = pg_type(t)
    if value is None:
        return f"NULL::{pg}"
    name = t.name
    if name == "sql_variant":
        raise unsupported("sql_variant variables and parameters")
    if name == "bit":
        return "true" if value else "false"
    if pg in ("int2", "int4", "int8"):
        return f"({int(value)})::{pg}" if value < 0 else f"{int(value)}::{pg}"
    if pg in ("float4", "float8"):
        if value != value or value in (float("inf"), float("-inf")):
            raise error(8023, "The supplied value is not a valid instance of data type float.")
        return f"'{value!r}'::{pg}"
    if name in DECIMALS or name in MONEYS:
        return f"'{value:f}'::numeric"
    if name == "date":
        if not isinstance(value, datetime.date):
            raise TypeError(value)
        return f"'{value.isoformat()}'::date"
    if name == "datetimeoffset":
        return f"ROW({int(value['utc'])},{int(value['offset'])})::tsql.dto"
    if name in STRINGS or name in ("xml", "json"):
        return f"{quote(check_text(value))}::text"
    if pg == "uuid":
        return f"'{value.hex()}'::uuid"
    return f"'\\x{value.hex()}'::bytea"


def scalar(t: SqlType, value: Any) -> pa.Array:
    """A one-row array."""
    return pa.array([value], arrow_type(t))
