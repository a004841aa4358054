"""sql_variant on the wire (MS-TDS 2.2.5.5.4): base type, its properties, its bytes."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa

from ..contract import DEFAULT_COLLATION, MAX_LENGTH, Collation, Message, SqlError, SqlType
from . import collations
from .bytecursor import ByteCursor
from .errors import MalformedError
from .textdata import Pieces
from .typeinfo import Token

_TYPE_TEXT = re.compile(r"\s*(\w+)\s*(?:\(\s*(\w+)\s*(?:,\s*(\d+)\s*)?\))?\s*")

_PLAIN = {
    "tinyint": Token.INT1,
    "smallint": Token.INT2,
    "int": Token.INT4,
    "bigint": Token.INT8,
    "bit": Token.BIT,
    "real": Token.FLOAT4,
    "float": Token.FLOAT8,
    "money": Token.MONEY,
    "smallmoney": Token.MONEY4,
    "datetime": Token.DATETIME,
    "smalldatetime": Token.DATETIME4,
    "uniqueidentifier": Token.GUID,
    "date": Token.DATE,
}
_SCALED = {"time": Token.TIME, "datetime2": Token.DATETIME2, "datetimeoffset": Token.DATETIMEOFFSET}
_DECIMAL = {"decimal": Token.DECIMALN, "numeric": Token.NUMERICN}
_BINARY = {"varbinary": Token.VARBINARY, "binary": Token.BINARY}
_CHARACTER = {"varchar": Token.VARCHAR, "char": Token.CHAR, "nvarchar": Token.NVARCHAR, "nchar": Token.NCHAR}


def parse_type_text(text: str, collation: Collation = DEFAULT_COLLATION) -> SqlType:
    """'decimal(9,2)', 'varchar(max)', 'datetime2(3)' ... as a `SqlType`."""
    match = _TYPE_TEXT.fullmatch(text)
    if match is None:
        raise SqlError(Message(2715, f"Cannot find data type {text}."))
    name, first, second = match[1].lower(), match[2], match[3]
    if name in _DECIMAL:
        return SqlType(name, precision=int(first or 18), scale=int(second or 0))
    if name in _SCALED:
        return SqlType(name, scale=int(first or 7))
    if name in _BINARY or name in _CHARACTER:
        length = MAX_LENGTH if first and first.lower() == "max" else int(first or 1)
        return SqlType(name, length, collation=collation if name in _CHARACTER else None)
    return SqlType(name)


def variant_pieces(array: pa.Array) -> Pieces:
    """struct<type, value> to SSVARIANT values; NULL is a length of 0."""
    heads: dict[str, bytes] = {}
    values: list[bytes] = []
    offsets = np.zeros(len(array) + 1, np.int64)
    for index, item in enumerate(array.to_pylist()):
        if item is None or item["value"] is None:
            values.append(b"\0\0\0\0")
        else:
            head = heads.get(item["type"])
            if head is None:
                head = heads[item["type"]] = _head(parse_type_text(item["type"]))
            values.append((len(head) + len(item["value"])).to_bytes(4, "little") + head + item["value"])
        offsets[index + 1] = offsets[index] + len(values[-1])
    return Pieces(offsets, pa.py_buffer(b"".join(values)))


def _head(sql_type: SqlType) -> bytes:
    name = sql_type.name
    if name in _PLAIN:
        return bytes((_PLAIN[name], 0))
    if name in _SCALED:
        return bytes((_SCALED[name], 1, sql_type.scale or 0))
    if name in _DECIMAL:
        return bytes((_DECIMAL[name], 2, sql_type.precision or 18, sql_type.scale or 0))
    length = sql_type.length or 1
    if name in _BINARY and 0 < length <= 8000:
        return bytes((_BINARY[name], 2)) + length.to_bytes(2, "little")
    if name in _CHARACTER and 0 < length <= 8000:
        size = length * (2 if name.startswith("n") else 1)
        head = bytes((_CHARACTER[name], 7)) + collations.pack_collation(sql_type.collation)
        return head + size.to_bytes(2, "little")
    raise SqlError(Message(206, f"Operand type clash: {name} is incompatible with sql_variant"))


_FROM_PLAIN = {token: name for name, token in _PLAIN.items()}
_FROM_NAMED = {token: name for table in (_SCALED, _DECIMAL, _BINARY, _CHARACTER) for name, token in table.items()}


def read_variant(raw: bytes) -> tuple[str, bytes]:
    """(type text, TDS bytes) of an SSVARIANT value without its length."""
    cursor = ByteCursor(raw)
    code = cursor.u8()
    properties = ByteCursor(cursor.take(cursor.u8()))
    value = cursor.take(cursor.remaining)
    try:
        token = Token(code)
        name = _FROM_PLAIN.get(token) or _FROM_NAMED[token]
    except (ValueError, KeyError):
        raise MalformedError(f"sql_variant of type 0x{code:02X}") from None
    if name in _PLAIN:
        return name, value
    if name in _SCALED:
        return f"{name}({properties.u8()})", value
    if name in _DECIMAL:
        return f"{name}({properties.u8()},{properties.u8()})", value
    if name in _CHARACTER:
        properties.take(collations.SIZE)
    length = properties.u16()
    return f"{name}({length // 2 if name.startswith('n') else length})", value
