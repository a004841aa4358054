"""Text files that people write: UTF-8 or a clear error, and where in them something is."""

from __future__ import annotations

import codecs
from pathlib import Path

from sql_databricks_bridge.errors import UsageError

_FOREIGN_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),  # before UTF-16: its mark begins with UTF-16's
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def read_text(path: Path, shown_as: str, error: type[UsageError]) -> str:
    """Read a UTF-8 file, with or without a byte order mark; CRLF becomes LF, so that every clone reads the same text.

    Raises `error` naming the file as `shown_as`, for bytes that are not UTF-8 with the offset of the first wrong one.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise error(f"{shown_as} can't be read: {exc.strerror or exc}.") from exc
    for mark, encoding in _FOREIGN_MARKS:
        if data.startswith(mark):
            raise error(f"{shown_as} is {encoding}, not UTF-8.", hint="Save it as UTF-8.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise error(
            f"{shown_as}:{line} is not UTF-8: byte 0x{data[exc.start]:02X} at offset {exc.start}.",
            hint="Save it as UTF-8.",
        ) from exc
    if "\0" in text:
        offset = data.index(b"\0")
        raise error(
            f"{shown_as}:{data.count(bytes([10]), 0, offset) + 1} holds a NUL byte at offset {offset}.",
            hint="It may be UTF-16 without a mark; save it as UTF-8.",
        )
    return text.replace("\r\n", "\n")


def position(text: str, offset: int) -> tuple[int, int]:
    """Line and column of the character at `offset`, both from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
