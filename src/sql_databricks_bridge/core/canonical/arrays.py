"""Texts of whole Arrow columns at once: every function takes an array and gives a large_binary one, NULL for NULL."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TEXT = pa.large_binary()
"""Texts are UTF-8 bytes here: Arrow slices and joins bytes several times as fast as it does strings."""

_HEX = np.frombuffer("".join(f"{byte:02X}" for byte in range(256)).encode(), dtype=np.uint16)
"""The two digits of each byte."""


def written(array: pa.Array) -> pa.Array:
    """As Arrow writes values: integers, dates, timestamps (with all digits of their unit), strings as they are."""
    if not pa.types.is_string(array.type) and not pa.types.is_large_string(array.type):
        array = array.cast(pa.string())
    return array.cast(pa.binary() if pa.types.is_string(array.type) else TEXT).cast(TEXT)


def decimals(array: pa.Array) -> pa.Array:
    """decimal128 with all its fractional digits; Arrow itself would write '1E-7' and '0E-10'."""
    text = array.cast(pa.string())
    scale = array.type.scale
    if scale == 0 or not pc.any(pc.match_substring(text, "E")).as_py():
        return written(text)
    digits = pc.utf8_lpad(_unscaled(pc.abs(array)).cast(pa.string()), scale + 1, "0")
    sign = pc.if_else(pc.starts_with(text, "-"), "-", "")
    whole, fraction = pc.utf8_slice_codeunits(digits, 0, -scale), pc.utf8_slice_codeunits(digits, -scale)
    return written(pc.binary_join_element_wise(sign, whole, ".", fraction, ""))


def _unscaled(array: pa.Array) -> pa.Array:
    """The same digits without the point."""
    return pa.Array.from_buffers(
        pa.decimal128(38, 0), len(array), array.buffers(), null_count=array.null_count, offset=array.offset
    )


def hexadecimal(array: pa.Array) -> pa.Array:
    """Two upper-case digits for each byte of a large_binary array."""
    offsets, data = parts(array)
    digits = _HEX[data]
    return rebuilt(array, offsets * 2, pa.py_buffer(digits))


def ieee(array: pa.Array) -> pa.Array:
    """A float's bytes, the most significant first, in hexadecimal. NULL's stand for nothing."""
    values = array.fill_null(0).to_numpy(zero_copy_only=False)
    raw = values.astype(values.dtype.newbyteorder(">"))
    width = raw.dtype.itemsize
    digits = _HEX[raw.view(np.uint8)]
    offsets = np.arange(len(array) + 1, dtype=np.int64) * (2 * width)
    return rebuilt(array, offsets, pa.py_buffer(digits))


def utf16_bytes(array: pa.Array) -> np.ndarray:
    """How many bytes each text takes in UTF-16, without a mark in front; int64, 0 for NULL."""
    offsets, data = parts(array)
    return np.diff(utf16_offsets(offsets, data))


def utf16_offsets(offsets: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Where the texts that begin at `offsets` of UTF-8 `data` begin in the same data as UTF-16."""
    if not len(data) or data.max() < 0x80:
        return offsets * 2
    # A unit for each byte that begins a character, two for a character of four bytes.
    units = ((data & 0xC0) != 0x80).view(np.uint8) + (data >= 0xF0).view(np.uint8)
    ends = np.zeros(len(data) + 1, np.int64)
    np.cumsum(units, out=ends[1:])
    return np.asarray(ends[offsets] * 2)


def parts(array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Offsets, int64, one more than rows, from 0, and the bytes that they point into, of a large_binary array."""
    _, offset_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64, len(array) + 1, array.offset * 8)
    data = np.frombuffer(data_buffer or b"", np.uint8)[offsets[0] : offsets[-1]]
    return offsets - offsets[0], data


def rebuilt(like: pa.Array, offsets: np.ndarray, data: pa.Buffer) -> pa.Array:
    """A large_binary array of other texts where `like` has values."""
    valid = None if like.null_count == 0 else pc.is_valid(like).buffers()[1]
    return pa.Array.from_buffers(TEXT, len(like), [valid, pa.py_buffer(offsets.astype(np.int64)), data])
