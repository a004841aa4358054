"""TYPE_INFO as a client sends it (MS-TDS 2.2.5.6), for RPC parameters and bulk columns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from ..contract import MAX_LENGTH, Collation, Message, SqlError, SqlType
from . import collations
from .bytecursor import ByteCursor
from .errors import MalformedError
from .typeinfo import CHARACTER, LEGACY_LOB, PLP_MARK, SCALED, SIZED, Token


class Framing(Enum):
    """How the length of a value is written before it."""

    FIXED = auto()  # not at all
    BYTE = auto()  # BYTELEN, 0 for NULL
    SHORT = auto()  # USHORTLEN, 0xFFFF for NULL
    PLP = auto()  # PARTLENTYPE
    LONG = auto()  # LONGLEN, 0xFFFFFFFF for NULL; in rows a text pointer goes before it
    VARIANT = auto()  # LONGLEN, 0 for NULL


@dataclass(frozen=True, slots=True)
class WireType:
    """A type and how its values are framed; `size` is the bytes of FIXED values."""

    type: SqlType
    framing: Framing
    size: int = 0


_BY_SIZED_TOKEN = {(n, size): name for name, (n, _, size) in SIZED.items()}
_BY_FIXED_TOKEN = {fixed: name for name, (_, fixed, _) in SIZED.items()}


def read_type_info(cursor: ByteCursor) -> WireType:
    """The type that a client announces for a parameter or a bulk column.

    `SqlError` for table-valued and user-defined types, vectors and the types before TDS 7.
    """
    code = cursor.u8()
    try:
        token = Token(code)
    except ValueError:
        raise MalformedError(f"unknown data type 0x{code:02X}") from None
    if token in _BY_FIXED_TOKEN:
        name = _BY_FIXED_TOKEN[token]
        return WireType(SqlType(name), Framing.FIXED, SIZED[name][2])
    if token in (Token.INTN, Token.BITN, Token.FLOATN, Token.MONEYN, Token.DATETIMEN):
        return WireType(_sized_type(token, cursor.u8()), Framing.BYTE)
    if token in (Token.DECIMALN, Token.NUMERICN):
        return WireType(_decimal_type(token, cursor), Framing.BYTE)
    if token is Token.DATE:
        return WireType(SqlType("date"), Framing.BYTE)
    for name, scaled in SCALED.items():
        if token is scaled:
            return WireType(SqlType(name, scale=_checked("scale", cursor.u8(), 7)), Framing.BYTE)
    if token is Token.GUID:
        _expect("length of uniqueidentifier", cursor.u8(), (0, 16))
        return WireType(SqlType("uniqueidentifier"), Framing.BYTE)
    for name, character in CHARACTER.items():
        if token is character:
            return _string_type(name, cursor.u16(), collations.unpack_collation(cursor.take(collations.SIZE)))
    if token in (Token.VARBINARY, Token.BINARY):
        return _string_type("varbinary" if token is Token.VARBINARY else "binary", cursor.u16(), None)
    for name, (lob, _) in LEGACY_LOB.items():
        if token is lob:
            cursor.u32()
            collation = None if name == "image" else collations.unpack_collation(cursor.take(collations.SIZE))
            return WireType(SqlType(name, MAX_LENGTH, collation=collation), Framing.LONG)
    if token is Token.XML:
        if cursor.u8():
            raise _refused("xml with a schema collection")
        return WireType(SqlType("xml", MAX_LENGTH), Framing.PLP)
    if token is Token.VARIANT:
        cursor.u32()
        return WireType(SqlType("sql_variant"), Framing.VARIANT)
    raise _refused(_REFUSED_TOKENS.get(token, f"type 0x{code:02X}"))


_REFUSED_TOKENS = {
    Token.TABLE: "a table-valued parameter",
    Token.UDT: "a CLR user-defined type",
    Token.JSON: "the json type (its feature was not acknowledged)",
    Token.VECTOR: "the vector type (its feature was not acknowledged)",
    Token.NULL: "the NULL type",
    Token.OLD_CHAR: "char of before TDS 7",
    Token.OLD_VARCHAR: "varchar of before TDS 7",
    Token.OLD_BINARY: "binary of before TDS 7",
    Token.OLD_VARBINARY: "varbinary of before TDS 7",
    Token.OLD_DECIMAL: "decimal of before TDS 7",
    Token.OLD_NUMERIC: "numeric of before TDS 7",
}


def _refused(what: str) -> SqlError:
    return SqlError(Message(40002, f"Parameters and bulk columns of this server can't be {what}."))


def _sized_type(token: Token, size: int) -> SqlType:
    name = _BY_SIZED_TOKEN.get((token, size))
    if name is None:
        raise MalformedError(f"type {token.name} has no length {size}")
    return SqlType(name)


def _decimal_type(token: Token, cursor: ByteCursor) -> SqlType:
    cursor.u8()  # the length follows from the precision; Microsoft's bulk copy sends the type byte in its place
    precision, scale = cursor.u8(), cursor.u8()
    if not 1 <= precision <= 38 or scale > precision:
        raise MalformedError(f"decimal({precision},{scale})")
    return SqlType("decimal" if token is Token.DECIMALN else "numeric", precision=precision, scale=scale)


def _string_type(name: str, size: int, collation: Collation | None) -> WireType:
    if size == PLP_MARK:
        if name not in ("varchar", "nvarchar", "varbinary"):
            raise MalformedError(f"{name} has no (max) form")
        return WireType(SqlType(name, MAX_LENGTH, collation=collation), Framing.PLP)
    length = size // 2 if name.startswith("n") else size
    return WireType(SqlType(name, length, collation=collation), Framing.SHORT)


def _checked(what: str, value: int, largest: int) -> int:
    if value > largest:
        raise MalformedError(f"{what} {value} is over {largest}")
    return value


def _expect(what: str, value: int, allowed: tuple[int, ...]) -> None:
    if value not in allowed:
        raise MalformedError(f"{what} is {value}, not one of {allowed}")
