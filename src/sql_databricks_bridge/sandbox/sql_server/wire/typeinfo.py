"""TYPE_INFO (MS-TDS 2.2.5.4 to 2.2.5.6): how a `SqlType` is announced to the client."""

from __future__ import annotations

from enum import IntEnum

from ..contract import DEFAULT_COLLATION, MAX_LENGTH, Message, SqlError, SqlType
from . import collations

PLP_MARK = 0xFFFF


class Token(IntEnum):
    """Data type bytes."""

    NULL = 0x1F
    IMAGE = 0x22
    TEXT = 0x23
    GUID = 0x24
    OLD_VARBINARY = 0x25
    INTN = 0x26
    OLD_VARCHAR = 0x27
    DATE = 0x28
    TIME = 0x29
    DATETIME2 = 0x2A
    DATETIMEOFFSET = 0x2B
    OLD_BINARY = 0x2D
    OLD_CHAR = 0x2F
    INT1 = 0x30
    BIT = 0x32
    INT2 = 0x34
    OLD_DECIMAL = 0x37
    INT4 = 0x38
    DATETIME4 = 0x3A
    FLOAT4 = 0x3B
    MONEY = 0x3C
    DATETIME = 0x3D
    FLOAT8 = 0x3E
    OLD_NUMERIC = 0x3F
    VARIANT = 0x62
    NTEXT = 0x63
    BITN = 0x68
    DECIMALN = 0x6A
    NUMERICN = 0x6C
    FLOATN = 0x6D
    MONEYN = 0x6E
    DATETIMEN = 0x6F
    MONEY4 = 0x7A
    INT8 = 0x7F
    VARBINARY = 0xA5
    VARCHAR = 0xA7
    BINARY = 0xAD
    CHAR = 0xAF
    NVARCHAR = 0xE7
    NCHAR = 0xEF
    UDT = 0xF0
    XML = 0xF1
    TABLE = 0xF3
    JSON = 0xF4
    VECTOR = 0xF5


SIZED: dict[str, tuple[Token, Token, int]] = {
    # name: (token where nullable, token where not, bytes)
    "tinyint": (Token.INTN, Token.INT1, 1),
    "smallint": (Token.INTN, Token.INT2, 2),
    "int": (Token.INTN, Token.INT4, 4),
    "bigint": (Token.INTN, Token.INT8, 8),
    "bit": (Token.BITN, Token.BIT, 1),
    "real": (Token.FLOATN, Token.FLOAT4, 4),
    "float": (Token.FLOATN, Token.FLOAT8, 8),
    "smallmoney": (Token.MONEYN, Token.MONEY4, 4),
    "money": (Token.MONEYN, Token.MONEY, 8),
    "smalldatetime": (Token.DATETIMEN, Token.DATETIME4, 4),
    "datetime": (Token.DATETIMEN, Token.DATETIME, 8),
}
SCALED = {"time": Token.TIME, "datetime2": Token.DATETIME2, "datetimeoffset": Token.DATETIMEOFFSET}
CHARACTER = {"char": Token.CHAR, "varchar": Token.VARCHAR, "nchar": Token.NCHAR, "nvarchar": Token.NVARCHAR}
_BINARY = {"binary": Token.BINARY, "varbinary": Token.VARBINARY, "timestamp": Token.BINARY}
LEGACY_LOB = {"text": (Token.TEXT, 0x7FFFFFFF), "ntext": (Token.NTEXT, 0x7FFFFFFE), "image": (Token.IMAGE, 0x7FFFFFFF)}
_UDT_MAX_BYTES = {"hierarchyid": 892, "geometry": 0xFFFF, "geography": 0xFFFF}
_UDT_CLASSES = {"hierarchyid": "SqlHierarchyId", "geometry": "SqlGeometry", "geography": "SqlGeography"}
_UDT_ASSEMBLY = (
    "Microsoft.SqlServer.Types.{}, Microsoft.SqlServer.Types, Version=11.0.0.0, Culture=neutral, "
    "PublicKeyToken=89845dcd8080cc91"
)
_VARIANT_MAX = 8009

TIMESTAMP_USER_TYPE = 0x50


def is_fixed(sql_type: SqlType, nullable: bool) -> bool:
    """Whether values go without a length byte."""
    return sql_type.name in SIZED and not nullable


def decimal_size(precision: int) -> int:
    """Bytes of a decimal with its sign: 5, 9, 13 or 17."""
    return 5 if precision <= 9 else 9 if precision <= 19 else 13 if precision <= 28 else 17


def time_size(scale: int) -> int:
    """Bytes of the time part at a scale: 3, 4 or 5."""
    return 3 if scale <= 2 else 4 if scale <= 4 else 5


def is_plp(sql_type: SqlType) -> bool:
    """Whether values go in PARTLENTYPE chunks."""
    if sql_type.name in ("varchar", "nvarchar", "varbinary"):
        return sql_type.length == MAX_LENGTH
    return sql_type.name in ("xml", *_UDT_CLASSES)


def encode_type_info(sql_type: SqlType, nullable: bool, database: str = "") -> bytes:
    """TYPE_INFO of a type that the wire can carry ('json' isn't one: see `wire_type`); `database` names UDTs."""
    name = sql_type.name
    if name in SIZED:
        token, fixed, size = SIZED[name]
        return bytes((token, size)) if nullable else bytes((fixed,))
    if name in ("decimal", "numeric"):
        precision, scale = sql_type.precision or 18, sql_type.scale or 0
        token = Token.DECIMALN if name == "decimal" else Token.NUMERICN
        return bytes((token, decimal_size(precision), precision, scale))
    if name == "date":
        return bytes((Token.DATE,))
    if name in SCALED:
        return bytes((SCALED[name], 7 if sql_type.scale is None else sql_type.scale))
    if name == "uniqueidentifier":
        return bytes((Token.GUID, 16))
    if name in CHARACTER:
        return bytes((CHARACTER[name],)) + _max_bytes(sql_type) + collations.pack_collation(sql_type.collation)
    if name in _BINARY:
        return bytes((_BINARY[name],)) + (b"\x08\0" if name == "timestamp" else _max_bytes(sql_type))
    if name in LEGACY_LOB:
        lob, longest = LEGACY_LOB[name]
        collation = b"" if name == "image" else collations.pack_collation(sql_type.collation)
        return bytes((lob,)) + longest.to_bytes(4, "little") + collation
    if name == "xml":
        return bytes((Token.XML, 0))
    if name == "sql_variant":
        return bytes((Token.VARIANT,)) + _VARIANT_MAX.to_bytes(4, "little")
    if name in _UDT_CLASSES:
        assembly = _UDT_ASSEMBLY.format(_UDT_CLASSES[name])
        names = _b_varchar(database) + _b_varchar("sys") + _b_varchar(name)
        longest = _UDT_MAX_BYTES[name]
        return bytes((Token.UDT,)) + longest.to_bytes(2, "little") + names + _us_varchar(assembly)
    raise SqlError(Message(40001, f"The wire can't send columns of type '{name}'."))


def wire_type(sql_type: SqlType, utf8: bool) -> SqlType:
    """The type as a client without the json feature sees it: text, in UTF-8 where it took that feature.

    `SqlError` for text in UTF-8 where it did not (MS-TDS 2.2.6.4, UTF8_SUPPORT): it would read another code page.
    """
    if sql_type.name != "json":
        page = sql_type.collation.codepage if sql_type.collation and sql_type.name in ("char", "varchar") else ""
        if page == "utf-8" and not utf8:
            raise SqlError(Message(40001, "A client that has not asked for UTF8_SUPPORT gets no text in UTF-8."))
        return sql_type
    if utf8:
        return SqlType("varchar", MAX_LENGTH, collation=collations.UTF8_BIN2)
    return SqlType("nvarchar", MAX_LENGTH, collation=DEFAULT_COLLATION)


def _max_bytes(sql_type: SqlType) -> bytes:
    length = sql_type.length
    if length == MAX_LENGTH:
        return PLP_MARK.to_bytes(2, "little")
    size = (length or 1) * (2 if sql_type.name.startswith("n") else 1)
    return size.to_bytes(2, "little")


def _b_varchar(text: str) -> bytes:
    raw = text.encode("utf-16-le")
    return bytes((len(raw) // 2,)) + raw


def _us_varchar(text: str) -> bytes:
    raw = text.encode("utf-16-le")
    return (len(raw) // 2).to_bytes(2, "little") + raw
