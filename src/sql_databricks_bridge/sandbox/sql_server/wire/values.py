"""One value as a client frames it (TYPE_VARBYTE, MS-TDS 2.2.5.2.3)."""

from __future__ import annotations

from .bytecursor import ByteCursor
from .errors import MalformedError
from .typeread import Framing, WireType

_PLP_NULL = 0xFFFFFFFFFFFFFFFF
_PLP_UNKNOWN = 0xFFFFFFFFFFFFFFFE


def read_value(cursor: ByteCursor, wire_type: WireType, in_row: bool = False) -> bytes | None:
    """The bytes of a value, None for NULL. `in_row` expects text pointers before text, ntext and image."""
    framing = wire_type.framing
    if framing is Framing.FIXED:
        return cursor.take(wire_type.size)
    if framing is Framing.BYTE:
        return cursor.take(size) if (size := cursor.u8()) else None
    if framing is Framing.SHORT:
        return None if (size := cursor.u16()) == 0xFFFF else cursor.take(size)
    if framing is Framing.PLP:
        return _read_plp(cursor)
    if framing is Framing.VARIANT:
        return cursor.take(size) if (size := cursor.u32()) else None
    if in_row:
        if not (pointer := cursor.u8()):
            return None
        cursor.take(pointer + 8)
    return None if (size := cursor.u32()) == 0xFFFFFFFF else cursor.take(size)


def _read_plp(cursor: ByteCursor) -> bytes | None:
    total = cursor.u64()
    if total == _PLP_NULL:
        return None
    chunks: list[bytes] = []
    while size := cursor.u32():
        chunks.append(cursor.take(size))
    value = b"".join(chunks)
    if total not in (_PLP_UNKNOWN, len(value)):
        raise MalformedError(f"a PLP value of {total} bytes came in {len(value)}")
    return value
