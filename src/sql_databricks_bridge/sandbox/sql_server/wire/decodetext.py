"""Character columns from UTF-16LE or a code page to Arrow's UTF-8, without a Python object for each value."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..contract import SqlType
from .collations import WINDOWS
from .textdata import Offsets, Pieces

Invalid = Callable[[SqlType, int, str], Exception]

_MULTIBYTE = {"cp932", "cp936", "cp949", "cp950"}


def decode_utf16(sql_type: SqlType, pieces: Pieces, valid: npt.NDArray[np.bool_], invalid: Invalid) -> pa.Array:
    """UTF-16LE to large_string; `invalid` for an odd length or a lone surrogate, which Arrow can't hold."""
    offsets, data = _used(pieces)
    odd = pieces.lengths % 2 == 1
    if odd.any():
        raise invalid(sql_type, int(np.argmax(odd)), "an odd number of bytes")
    units = np.frombuffer(data, "<u2")
    starts = offsets // 2
    if not units.size or units.max() < 0x80:
        return _strings(starts, units.astype(np.uint8), valid)
    low = (units & 0xFC00) == 0xDC00
    firsts = starts[:-1][np.diff(starts) > 0]
    try:
        text = data.decode("utf-16-le")
    except UnicodeDecodeError as exc:
        raise invalid(sql_type, _first_lone(offsets, data), "a lone surrogate") from exc
    # A value that begins with a low surrogate would pair up with the end of the one before it.
    if low[firsts].any():
        raise invalid(sql_type, _first_lone(offsets, data), "a lone surrogate")
    sizes = np.where(units < 0x80, 1, np.where(units < 0x800, 2, 3))
    sizes[(units & 0xFC00) == 0xD800] = 4
    sizes[low] = 0
    return _strings(_positions(sizes, starts), np.frombuffer(text.encode(), np.uint8), valid)


def _first_lone(offsets: Offsets, data: bytes) -> int:
    """The first row that isn't UTF-16 on its own."""
    for row in range(len(offsets) - 1):
        try:
            data[offsets[row] : offsets[row + 1]].decode("utf-16-le")
        except UnicodeDecodeError:
            return row
    return 0


def decode_codepage(sql_type: SqlType, pieces: Pieces, valid: npt.NDArray[np.bool_], invalid: Invalid) -> pa.Array:
    """A collation's code page to large_string."""
    offsets, data = _used(pieces)
    codec = sql_type.collation.codepage if sql_type.collation else "cp1252"
    raw = np.frombuffer(data, np.uint8)
    if not raw.size or raw.max() < 0x80:
        return _strings(offsets, raw, valid)
    if codec == "utf-8" or codec in _MULTIBYTE:
        return _value_by_value(sql_type, offsets, data, valid, codec, invalid)
    table = [bytes((byte,)).decode(codec, WINDOWS) for byte in range(256)]
    sizes = np.array([len(character.encode()) for character in table])[raw]
    return _strings(_positions(sizes, offsets), np.frombuffer(data.decode(codec, WINDOWS).encode(), np.uint8), valid)


def _value_by_value(
    sql_type: SqlType, offsets: Offsets, data: bytes, valid: npt.NDArray[np.bool_], codec: str, invalid: Invalid
) -> pa.Array:
    texts: list[str | None] = []
    for row, there in enumerate(valid):
        try:
            texts.append(data[offsets[row] : offsets[row + 1]].decode(codec, WINDOWS) if there else None)
        except UnicodeDecodeError as exc:
            raise invalid(sql_type, row, f"bytes that code page {codec} lacks") from exc
    return pa.array(texts, pa.large_string())


def _used(pieces: Pieces) -> tuple[Offsets, bytes]:
    start, end = int(pieces.offsets[0]), int(pieces.offsets[-1])
    return pieces.offsets - start, bytes(memoryview(pieces.data)[start:end])


def _positions(sizes: npt.NDArray[np.int64], offsets: Offsets) -> Offsets:
    sums = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=sums[1:])
    return sums[offsets]


def _strings(offsets: Offsets, data: npt.NDArray[np.uint8], valid: npt.NDArray[np.bool_]) -> pa.Array:
    validity = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    buffers = [validity, pa.py_buffer(np.ascontiguousarray(offsets, np.int64)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_string(), len(valid), buffers)
