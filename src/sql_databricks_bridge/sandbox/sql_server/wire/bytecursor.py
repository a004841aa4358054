"""A position in a byte string that can't be read past its end."""

from __future__ import annotations

import struct

from .errors import MalformedError, TruncatedError

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_I32 = struct.Struct("<i")
_U64 = struct.Struct("<Q")


class ByteCursor:
    """Reads little-endian numbers and counted strings; every overrun is a `TruncatedError`."""

    __slots__ = ("data", "position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data = data
        self.position = position

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return len(self.data) - self.position

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        start = self.position
        end = start + count
        if count < 0 or end > len(self.data):
            raise TruncatedError(f"{count} bytes wanted at offset {start}, {self.remaining} there")
        self.position = end
        return self.data[start:end]

    def u8(self) -> int:
        """One byte."""
        return self.take(1)[0]

    def u16(self) -> int:
        """USHORT."""
        value: int = _U16.unpack(self.take(2))[0]
        return value

    def u32(self) -> int:
        """ULONG."""
        value: int = _U32.unpack(self.take(4))[0]
        return value

    def i32(self) -> int:
        """LONG."""
        value: int = _I32.unpack(self.take(4))[0]
        return value

    def u64(self) -> int:
        """ULONGLONG."""
        value: int = _U64.unpack(self.take(8))[0]
        return value

    def peek(self) -> int:
        """The next byte, left in place."""
        if self.remaining < 1:
            raise TruncatedError(f"a byte wanted at offset {self.position}, none there")
        return self.data[self.position]

    def utf16(self, units: int) -> str:
        """`units` UTF-16 code units; a lone surrogate is malformed here (names and statements)."""
        raw = self.take(units * 2)
        try:
            return raw.decode("utf-16-le")
        except UnicodeDecodeError as exc:
            raise MalformedError(f"text at offset {self.position - units * 2} is not UTF-16: {exc.reason}") from exc

    def b_varchar(self) -> str:
        """B_VARCHAR: a byte of length in code units, then UTF-16LE."""
        return self.utf16(self.u8())

    def us_varchar(self) -> str:
        """US_VARCHAR: two bytes of length in code units, then UTF-16LE."""
        return self.utf16(self.u16())
