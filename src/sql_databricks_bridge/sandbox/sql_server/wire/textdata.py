"""Whole string columns from Arrow's UTF-8 to UTF-16LE or a code page, without a Python object for each value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .collations import encode

Offsets: TypeAlias = npt.NDArray[np.int64]
_MULTIBYTE = {"cp932", "cp936", "cp949", "cp950"}


@dataclass(frozen=True, slots=True)
class Pieces:
    """Byte strings laid end to end: value i is data[offsets[i]:offsets[i + 1]]. `offsets` may start above 0."""

    offsets: Offsets
    data: pa.Buffer

    @property
    def lengths(self) -> Offsets:
        """Bytes of each value."""
        return np.diff(self.offsets)


def raw_pieces(array: pa.Array) -> Pieces:
    """A large_string or large_binary array's own buffers; a NULL has no bytes."""
    if array.null_count:
        array = array.fill_null(b"" if pa.types.is_large_binary(array.type) else "")
    _, offsets, data = array.buffers()
    values = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return Pieces(values, data if data is not None else pa.py_buffer(b""))


def utf16_pieces(array: pa.Array) -> Pieces:
    """UTF-16LE of a large_string array."""
    source = raw_pieces(array)
    start, used = _used(source)
    if _is_ascii(used):
        wide = used.astype("<u2")
        return Pieces((source.offsets - start) * 2, pa.py_buffer(wide))
    # Each character's UTF-16 units are counted at its first byte: one, or two from U+10000 on.
    units = ((used & 0xC0) != 0x80).astype(np.int64)
    units += used >= 0xF0
    text = used.tobytes().decode("utf-8").encode("utf-16-le")
    return Pieces(_positions(units, source.offsets - start) * 2, pa.py_buffer(text))


def codepage_pieces(array: pa.Array, codec: str) -> Pieces:
    """Bytes of a large_string array in a collation's code page; what it lacks becomes '?' as on a real server."""
    source = raw_pieces(array)
    start, used = _used(source)
    if codec == "utf-8" or _is_ascii(used):
        return source
    if codec in _MULTIBYTE:
        values = [encode(value, codec) for value in array.fill_null("").to_pylist()]
        offsets = np.zeros(len(values) + 1, np.int64)
        np.cumsum([len(value) for value in values], out=offsets[1:])
        return Pieces(offsets, pa.py_buffer(b"".join(values)))
    characters = ((used & 0xC0) != 0x80).astype(np.int64)
    text = encode(used.tobytes().decode("utf-8"), codec)
    return Pieces(_positions(characters, source.offsets - start), pa.py_buffer(text))


def _used(pieces: Pieces) -> tuple[int, npt.NDArray[np.uint8]]:
    start, end = int(pieces.offsets[0]), int(pieces.offsets[-1])
    return start, np.frombuffer(pieces.data, np.uint8)[start:end]


def _is_ascii(used: npt.NDArray[np.uint8]) -> bool:
    return used.size == 0 or bool(used.max() < 0x80)


def _positions(counts: Offsets, offsets: Offsets) -> Offsets:
    """How much of `counts` lies before each byte offset."""
    sums = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=sums[1:])
    return sums[offsets]
