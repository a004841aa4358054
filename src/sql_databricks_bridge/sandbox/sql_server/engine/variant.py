"""sql_variant cells: the base type's TDS bytes (MS-TDS 2.2.5.5.4)."""

from __future__ import annotations

import datetime
import struct
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ..contract import DEFAULT_COLLATION, SqlType
from .collations import page
from .errors import unsupported
from .types import BINARIES, DECIMALS, FLOATS, MONEYS, STRINGS, is_unicode, type_text

_PACK = {"bit": "<B", "tinyint": "<B", "smallint": "<h", "int": "<i", "bigint": "<q", "real": "<f", "float": "<d"}


def _ticks(value: int, scale: int) -> bytes:
    size = 3 if scale <= 2 else 4 if scale <= 4 else 5
    return int(value // 10 ** (7 - scale)).to_bytes(size, "little")


def _days(ticks: int) -> bytes:
    return int(ticks // 864_000_000_000).to_bytes(3, "little")


def read_stored(fields: Mapping[str, Any]) -> tuple[str, bytes]:
    """The same of a tsql.variant's fields (variant_store.FIELDS)."""
    name, size, scale = fields["base"], fields["size"], fields["scale"]
    if fields["coll"] not in (None, DEFAULT_COLLATION.name):
        raise unsupported(f"sending a sql_variant of collation {fields['coll']} (CONVERT it)")
    t = SqlType(name)
    if name in DECIMALS:
        return tds_bytes(SqlType(name, precision=fields["prec"], scale=scale), Decimal(fields["num"]))
    if name in STRINGS:
        length = size // 2 if name.startswith("n") else size
        return tds_bytes(SqlType(name, length, collation=DEFAULT_COLLATION), fields["txt"])
    if name in BINARIES:
        return tds_bytes(SqlType(name, size), fields["raw"])
    if name in FLOATS:
        return tds_bytes(t, fields["dbl"])
    if name in MONEYS:
        return tds_bytes(t, Decimal(fields["num"]))
    if fields["num"] is not None:
        return tds_bytes(t, int(fields["num"]))
    if name == "uniqueidentifier":
        return tds_bytes(t, uuid.UUID(fields["txt"]).bytes)
    if name == "date":
        return tds_bytes(t, datetime.date.fromordinal(fields["at"] // 864_000_000_000 + 1))
    if name == "datetimeoffset":
        return tds_bytes(SqlType(name, scale=scale), {"utc": fields["at"], "offset": fields["off"]})
    return tds_bytes(SqlType(name, scale=scale), fields["at"])


def tds_bytes(t: SqlType, value: Any) -> tuple[str, bytes]:
    """(type_text, bytes) of a value in contract.py's physical form."""
    name = t.name
    if name in _PACK:
        raw = struct.pack(_PACK[name], value)
    elif name in DECIMALS:
        unscaled = int(value.scaleb(t.scale or 0))
        p = t.precision or 18
        size = 4 if p <= 9 else 8 if p <= 19 else 12 if p <= 28 else 16
        raw = bytes([0 if unscaled < 0 else 1]) + abs(unscaled).to_bytes(size, "little")
    elif name in MONEYS:
        unscaled = int(value.scaleb(4))
        if name == "smallmoney":
            raw = struct.pack("<i", unscaled)
        else:
            raw = struct.pack("<iI", unscaled >> 32, unscaled & 0xFFFFFFFF)
    elif name == "date":
        raw = (value - datetime.date(1, 1, 1)).days.to_bytes(3, "little")
    elif name == "time":
        raw = _ticks(value, t.scale or 0)
    elif name == "datetime2":
        raw = _ticks(value % 864_000_000_000, t.scale or 0) + _days(value)
    elif name == "datetimeoffset":
        utc = value["utc"]
        raw = _ticks(utc % 864_000_000_000, t.scale or 0) + _days(utc) + struct.pack("<h", value["offset"])
    elif name == "datetime":
        raw = struct.pack("<iI", value // 25_920_000, value % 25_920_000)
    elif name == "smalldatetime":
        raw = struct.pack("<HH", value // 1440, value % 1440)
    elif name in STRINGS:
        if not is_unicode(t) and page(t) != 1252:
            raise unsupported(f"sending a sql_variant of code page {page(t)} (CONVERT it)")
        raw = value.encode("utf-16-le") if is_unicode(t) else value.encode("cp1252")
    elif name == "uniqueidentifier":
        raw = value[3::-1] + value[5:3:-1] + value[7:5:-1] + value[8:]
    else:
        assert name in BINARIES
        raw = bytes(value)
    return type_text(t), raw
