"""Fixed-width values: numbers, money, decimals, dates, times and GUIDs (MS-TDS 2.2.5.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..contract import SqlType
from .rows import Fixed, Lengths, Matrix, field
from .typeinfo import decimal_size, time_size

Numbers: TypeAlias = npt.NDArray[Any]
Writer: TypeAlias = Callable[[Matrix, int], None]

DAYS_TO_1970 = 719_162
"""Days from 0001-01-01 to 1970-01-01."""
_TICKS_PER_DAY = 864_000_000_000
_THIRDS_PER_DAY = 300 * 86_400


def fixed_part(array: pa.Array, sql_type: SqlType, with_length: bool) -> Fixed | None:
    """The part of one column, or None where its type has no fixed width.

    `with_length` puts the length byte before each value, 0 alone for NULL.
    """
    made = _writer(array, sql_type)
    if made is None:
        return None
    size, write = made
    if not with_length:
        return Fixed(size, lambda matrix, at: write(matrix, at))
    valid = array.is_valid().to_numpy(zero_copy_only=False) if array.null_count else None

    def fill(matrix: Matrix, at: int) -> Lengths:
        matrix[:, at] = size
        write(matrix, at + 1)
        if valid is None:
            return None
        matrix[~valid, at] = 0
        return np.where(valid, size + 1, 1)

    return Fixed(size + 1, fill)


def numbers(array: pa.Array, dtype: str) -> Numbers:
    """The values buffer of a primitive array; what stands at NULLs is whatever Arrow left there."""
    buffer = array.buffers()[1]
    if buffer is None or buffer.size == 0:
        return np.zeros(len(array), dtype)
    return np.frombuffer(buffer, dtype)[array.offset : array.offset + len(array)]


def _writer(array: pa.Array, sql_type: SqlType) -> tuple[int, Writer] | None:
    name = sql_type.name
    if name == "bit":
        # NULLs become 0 here and are cut off by their length.
        bits = (array.fill_null(False) if array.null_count else array).to_numpy(zero_copy_only=False)
        return 1, _number(bits, "u1")
    if name in _PLAIN:
        source, size = _PLAIN[name]
        return size, _number(numbers(array, source), source)
    if name in ("decimal", "numeric"):
        size = decimal_size(sql_type.precision or 18)
        return size, _decimal(array, size)
    if name == "money":
        return 8, _money(numbers_128(array)[:, 0])
    if name == "smallmoney":
        return 4, _number(numbers_128(array)[:, 0].astype(np.int32), "<i4")
    if name == "uniqueidentifier":
        return 16, _guid(array)
    if name == "date":
        return 3, _date(numbers(array, "<i4").astype(np.int64) + DAYS_TO_1970)
    return _temporal(array, sql_type)


_PLAIN = {
    "tinyint": ("u1", 1),
    "smallint": ("<i2", 2),
    "int": ("<i4", 4),
    "bigint": ("<i8", 8),
    "real": ("<f4", 4),
    "float": ("<f8", 8),
}


def _temporal(array: pa.Array, sql_type: SqlType) -> tuple[int, Writer] | None:
    name, scale = sql_type.name, 7 if sql_type.scale is None else sql_type.scale
    size = time_size(scale)
    if name == "time":
        return size, _time(numbers(array, "<i8"), scale)
    if name == "datetime2":
        return size + 3, _datetime2(numbers(array, "<i8"), scale)
    if name == "datetimeoffset":
        return size + 5, _datetimeoffset(array, scale)
    if name == "datetime":
        return 8, _pair(numbers(array, "<i8"), _THIRDS_PER_DAY, "<i4", "<u4")
    if name == "smalldatetime":
        return 4, _pair(numbers(array, "<i8"), 1440, "<u2", "<u2")
    return None


def numbers_128(array: pa.Array) -> npt.NDArray[np.int64]:
    """A decimal128 array's values as (low, high) 64-bit halves."""
    buffer = array.buffers()[1]
    if buffer is None or buffer.size == 0:
        return np.zeros((len(array), 2), np.int64)
    return np.frombuffer(buffer, np.int64).reshape(-1, 2)[array.offset : array.offset + len(array)]


def _number(values: Numbers, dtype: str) -> Writer:
    def write(matrix: Matrix, at: int) -> None:
        field(matrix, at, dtype)[:] = values

    return write


def _decimal(array: pa.Array, size: int) -> Writer:
    halves = numbers_128(array)
    negative = halves[:, 1] < 0
    low, high = halves[:, 0].view(np.uint64), halves[:, 1].view(np.uint64)
    if negative.any():
        # Two's complement over both halves: the carry reaches the high one only where the low one is 0.
        borrowed = (low != 0).astype(np.uint64)
        high = np.where(negative, ~high + (np.uint64(1) - borrowed), high)
        low = np.where(negative, ~low + np.uint64(1), low)

    def write(matrix: Matrix, at: int) -> None:
        field(matrix, at, "u1")[:] = ~negative
        if size == 5:
            field(matrix, at + 1, "<u4")[:] = low
            return
        field(matrix, at + 1, "<u8")[:] = low
        if size > 9:
            field(matrix, at + 9, "<u4" if size == 13 else "<u8")[:] = high

    return write


def _money(values: npt.NDArray[np.int64]) -> Writer:
    """The high four bytes go first, each half little-endian."""

    def write(matrix: Matrix, at: int) -> None:
        field(matrix, at, "<i4")[:] = values >> 32
        field(matrix, at + 4, "<u4")[:] = values & 0xFFFFFFFF

    return write


def _guid(array: pa.Array) -> Writer:
    """The first three groups of a GUID are little-endian on the wire."""
    start = array.offset * 16
    source = np.frombuffer(array.buffers()[1], np.uint8)[start : start + len(array) * 16].reshape(len(array), 16)

    def write(matrix: Matrix, at: int) -> None:
        if not len(source):
            return
        field(matrix, at, "<u4")[:] = field(source, 0, ">u4")
        field(matrix, at + 4, "<u2")[:] = field(source, 4, ">u2")
        field(matrix, at + 6, "<u2")[:] = field(source, 6, ">u2")
        field(matrix, at + 8, "<u8")[:] = field(source, 8, "<u8")

    return write


def _date(days: Numbers) -> Writer:
    def write(matrix: Matrix, at: int) -> None:
        field(matrix, at, "<u2")[:] = days & 0xFFFF
        field(matrix, at + 2, "u1")[:] = days >> 16

    return write


def _time(ticks: Numbers, scale: int) -> Writer:
    """100 ns counts, at the scale's own unit."""
    counts = ticks // 10 ** (7 - scale) if scale < 7 else ticks
    size = time_size(scale)

    def write(matrix: Matrix, at: int) -> None:
        if size == 3:
            field(matrix, at, "<u2")[:] = counts & 0xFFFF
            field(matrix, at + 2, "u1")[:] = counts >> 16
            return
        field(matrix, at, "<u4")[:] = counts & 0xFFFFFFFF
        if size == 5:
            field(matrix, at + 4, "u1")[:] = counts >> 32

    return write


def _datetime2(ticks: Numbers, scale: int) -> Writer:
    days = ticks // _TICKS_PER_DAY
    time, date = _time(ticks - days * _TICKS_PER_DAY, scale), _date(days)

    def write(matrix: Matrix, at: int) -> None:
        time(matrix, at)
        date(matrix, at + time_size(scale))

    return write


def _datetimeoffset(array: pa.Array, scale: int) -> Writer:
    """UTC time and date, then the offset in minutes."""
    # StructArray.field() ignores nothing but the parent's validity; flatten() would turn parent NULLs into child ones.
    utc, offset = (array.field(i) for i in range(2))
    moment, minutes = _datetime2(numbers(utc, "<i8"), scale), numbers(offset, "<i2")

    def write(matrix: Matrix, at: int) -> None:
        moment(matrix, at)
        field(matrix, at + time_size(scale) + 3, "<i2")[:] = minutes

    return write


def _pair(units: Numbers, per_day: int, day_type: str, unit_type: str) -> Writer:
    """datetime and smalldatetime: days since 1900, then the rest of the day."""
    days = units // per_day

    def write(matrix: Matrix, at: int) -> None:
        field(matrix, at, day_type)[:] = days
        field(matrix, at + int(day_type[-1]), unit_type)[:] = units - days * per_day

    return write
