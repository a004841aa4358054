"""Collation bytes (MS-TDS 2.2.5.1.2) and the code pages behind them."""

from __future__ import annotations

import codecs

from ..contract import DEFAULT_COLLATION, Collation

SIZE = 5
_LCID_MASK = 0x000FFFFF
_FLAG_UTF8 = 0x400  # bit 26 of the whole, counted from bit 16 as `Collation.flags` is

UTF8_BIN2 = Collation("Latin1_General_100_BIN2_UTF8", 0x0409, 0x600, 2, 0, "utf-8")


def pack_collation(collation: Collation | None) -> bytes:
    """The five bytes of a collation, of the server's default where there is none."""
    return (collation or DEFAULT_COLLATION).tds


def unpack_collation(raw: bytes) -> Collation:
    """The collation that five bytes mean; its name is known for the server's default only."""
    if raw == pack_collation(DEFAULT_COLLATION):
        return DEFAULT_COLLATION
    value = int.from_bytes(raw[:4], "little")
    lcid, flags, sort_id = value & _LCID_MASK, value >> 16 & 0xFF0, raw[4]
    return Collation("", lcid, flags, value >> 28, sort_id, _codepage(lcid & 0xFFFF, flags, sort_id))


def _codepage(lcid: int, flags: int, sort_id: int) -> str:
    if flags & _FLAG_UTF8:
        return "utf-8"
    for ids, codec in _SORT_ID_CODECS:
        if sort_id in ids:
            return codec
    if lcid in _LCID_CODECS:
        return _LCID_CODECS[lcid]
    return _LANGUAGE_CODECS.get(lcid & 0x3FF, "cp1252")


# Sort orders of SQL Server's own (SQL_*) collations.
_SORT_ID_CODECS: tuple[tuple[range, str], ...] = (
    (range(30, 36), "cp437"),
    (range(40, 46), "cp850"),
    (range(49, 50), "cp850"),
    (range(50, 55), "cp1252"),
    (range(55, 62), "cp850"),
    (range(71, 76), "cp1252"),
    (range(80, 99), "cp1250"),
    (range(104, 109), "cp1251"),
    (range(112, 125), "cp1253"),
    (range(128, 131), "cp1254"),
    (range(136, 139), "cp1255"),
    (range(144, 147), "cp1256"),
    (range(152, 161), "cp1257"),
    (range(183, 187), "cp1252"),
    (range(192, 194), "cp932"),
    (range(194, 196), "cp949"),
    (range(196, 198), "cp950"),
    (range(198, 200), "cp936"),
    (range(200, 201), "cp932"),
    (range(201, 202), "cp949"),
    (range(202, 203), "cp950"),
    (range(203, 204), "cp936"),
    (range(204, 207), "cp874"),
    (range(210, 218), "cp1252"),
)

# Languages (the low ten bits of an LCID) whose ANSI code page isn't 1252.
_LANGUAGE_CODECS: dict[int, str] = {
    0x01: "cp1256",
    0x02: "cp1251",
    0x04: "cp936",
    0x05: "cp1250",
    0x08: "cp1253",
    0x0D: "cp1255",
    0x0E: "cp1250",
    0x11: "cp932",
    0x12: "cp949",
    0x15: "cp1250",
    0x18: "cp1250",
    0x19: "cp1251",
    0x1A: "cp1250",
    0x1B: "cp1250",
    0x1C: "cp1250",
    0x1E: "cp874",
    0x1F: "cp1254",
    0x20: "cp1256",
    0x22: "cp1251",
    0x23: "cp1251",
    0x24: "cp1250",
    0x25: "cp1257",
    0x26: "cp1257",
    0x27: "cp1257",
    0x29: "cp1256",
    0x2A: "cp1258",
    0x2C: "cp1254",
    0x2F: "cp1251",
    0x3F: "cp1251",
    0x40: "cp1251",
    0x44: "cp1251",
    0x50: "cp1251",
}

_LCID_CODECS: dict[int, str] = {
    0x0404: "cp950",
    0x0C04: "cp950",
    0x1404: "cp950",
    0x0C1A: "cp1251",  # Serbian, Cyrillic
    0x1C1A: "cp1251",
    0x082C: "cp1251",  # Azeri, Cyrillic
    0x0843: "cp1251",  # Uzbek, Cyrillic
    0x0443: "cp1254",  # Uzbek, Latin
}


def _as_windows_does(error: UnicodeError) -> tuple[str | bytes, int]:
    """Python leaves a few bytes of the Windows code pages undefined; Windows maps them to C1 controls.

    Any other character that a code page lacks becomes '?', as SQL Server makes of it. Bytes that are no text of a code
    page of two bytes are an error, but for the one of 936 that stands for the euro sign.
    """
    if isinstance(error, UnicodeDecodeError):
        if error.encoding == "gbk" and error.object[error.start] == 0x80:
            return "\u20ac", error.start + 1
        if error.encoding in _SEVERAL_BYTES:
            raise error
        return "".join(map(chr, error.object[error.start : error.end])), error.end
    if isinstance(error, UnicodeEncodeError):
        if error.encoding == "gbk" and error.object[error.start] == "\u20ac":
            return b"\x80", error.start + 1
        text = error.object[error.start : error.end]
        return b"".join(bytes((ord(c),)) if 0x80 <= ord(c) <= 0x9F else b"?" for c in text), error.end
    raise error


_SEVERAL_BYTES = frozenset({"utf-8", "cp932", "gbk", "cp949", "cp950"})
WINDOWS = "tds-windows"
"""The name of the codec error handler that does as Windows does."""

codecs.register_error(WINDOWS, _as_windows_does)


def _of_ibm() -> dict[str, bytes]:
    """Kanji that code page 932 has twice: Windows writes IBM's bytes, Python those of NEC's copy."""
    doubles = {}
    for lead in (0xFA, 0xFB, 0xFC):
        for trail in range(0x40, 0xFD):
            raw = bytes((lead, trail))
            text = raw.decode("cp932", "ignore")
            if len(text) == 1 and text.encode("cp932")[0] in (0xED, 0xEE):
                doubles[text] = raw
    return doubles


_OF_IBM = _of_ibm()


def encode(text: str, codec: str) -> bytes:
    """Text in a Windows code page, as Windows writes it."""
    if codec == "cp932" and not _OF_IBM.keys().isdisjoint(text):
        return b"".join(_OF_IBM.get(c) or c.encode(codec, WINDOWS) for c in text)
    return text.encode(codec, WINDOWS)
