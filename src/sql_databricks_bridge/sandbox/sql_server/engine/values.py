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
    """nvarchar to varchar. What the code page lacks becomes '?'; where Windows has a best-fit letter it is refused."""
    if text.isascii():
        return text
    out = []
    for c in text:
        if is_single_byte(c, codepage):
            out.append(c)
        elif ord(c) >= 0x2E80 and not 0xFF00 <= ord(c) <= 0xFFEF:
            out.append("?" * (2 if ord(c) > 0xFFFF else 1))
        else:
            raise unsupported(f"converting U+{ord(c):04X} to {codepage} (a best-fit character)")
    return "".join(out)


def is_single_byte(c: str, codepage: str = "cp1252") -> bool:
    """Whether the code page has this character (Windows keeps its five holes as C1 controls)."""
    if ord(c) in (0x81, 0x8D, 0x8F, 0x90, 0x9D):
        return True
    try:
        c.encode(codepage)
    except UnicodeEncodeError:
        return False
    return True


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
