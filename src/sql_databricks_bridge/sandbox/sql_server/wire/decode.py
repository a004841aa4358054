"""Value bytes from clients to the contract's Arrow types, a whole column at a time (a parameter is a column of one)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..contract import SqlType
from .decodetext import decode_codepage, decode_utf16
from .fixedtypes import DAYS_TO_1970
from .rows import Matrix, field
from .textdata import Pieces
from .typeinfo import time_size
from .variants import read_variant

_TICKS_PER_DAY = 864_000_000_000
_THIRDS_PER_DAY = 300 * 86_400
_LAST_DAY = 3_652_058
"""9999-12-31 as days from 0001-01-01."""

OFFSET_TYPE = pa.struct([("utc", pa.int64()), ("offset", pa.int16())])
VARIANT_TYPE = pa.struct([("type", pa.string()), ("value", pa.large_binary())])

Valid = npt.NDArray[np.bool_]


class InvalidValueError(ValueError):
    """Bytes that are no value of their type; `row` counts from 0."""

    def __init__(self, sql_type: SqlType, row: int, why: str) -> None:
        super().__init__(f"row {row + 1}: {why} ({sql_type.name})")
        self.type = sql_type
        self.row = row


def decode_values(sql_type: SqlType, values: Sequence[bytes | None]) -> pa.Array:
    """Values as bytes (None is NULL) to one Arrow array."""
    valid = np.fromiter((value is not None for value in values), np.bool_, len(values))
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum([len(value) if value else 0 for value in values], out=offsets[1:])
    data = b"".join(value for value in values if value)
    return decode_pieces(sql_type, Pieces(offsets, pa.py_buffer(data)), valid)


def decode_pieces(sql_type: SqlType, pieces: Pieces, valid: Valid) -> pa.Array:
    """Values laid end to end, NULLs without bytes, to the contract's Arrow type for `sql_type`."""
    name = sql_type.name
    if name in ("nchar", "nvarchar", "ntext"):
        return decode_utf16(sql_type, pieces, valid, InvalidValueError)
    if name == "xml":
        text = decode_utf16(sql_type, pieces, valid, InvalidValueError)
        return pc.replace_substring_regex(text, "^\ufeff", "") if len(text) else text
    if name in ("char", "varchar", "text"):
        return decode_codepage(sql_type, pieces, valid, InvalidValueError)
    if name in ("binary", "varbinary", "image", "timestamp"):
        return _with_nulls(pa.large_binary(), [pa.py_buffer(pieces.offsets), pieces.data], valid)
    if name == "sql_variant":
        return _variants(pieces, valid)
    return decode_matrix(sql_type, _matrix(sql_type, pieces, valid), valid)


def fixed_width(sql_type: SqlType) -> int:
    """Bytes of a value of a fixed-width type (the most that a decimal may have)."""
    name = sql_type.name
    if name in _PLAIN:
        return _PLAIN[name][1]
    if name in ("decimal", "numeric"):
        return 17  # clients may send more bytes than the precision needs, or fewer
    time = time_size(7 if sql_type.scale is None else sql_type.scale)
    return {"time": time, "datetime2": time + 3, "datetimeoffset": time + 5}.get(name) or _OTHER[name]


_PLAIN: dict[str, tuple[str, int, pa.DataType]] = {
    "tinyint": ("u1", 1, pa.uint8()),
    "smallint": ("<i2", 2, pa.int16()),
    "int": ("<i4", 4, pa.int32()),
    "bigint": ("<i8", 8, pa.int64()),
    "real": ("<f4", 4, pa.float32()),
    "float": ("<f8", 8, pa.float64()),
}
_OTHER = {"bit": 1, "smallmoney": 4, "money": 8, "smalldatetime": 4, "datetime": 8, "date": 3, "uniqueidentifier": 16}
FIXED_TYPES = frozenset({*_PLAIN, *_OTHER, "decimal", "numeric", "time", "datetime2", "datetimeoffset"})
"""Types whose values have one width, or, for decimals, a few."""


def _matrix(sql_type: SqlType, pieces: Pieces, valid: Valid) -> Matrix:
    """One line for each row, zeros where NULL and where a decimal is shorter than its type."""
    width = fixed_width(sql_type)
    lengths = pieces.lengths
    least = 1 if sql_type.name in ("decimal", "numeric") else width
    wrong = valid & ((lengths > width) | (lengths < least))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InvalidValueError(sql_type, row, f"{int(lengths[row])} bytes where {width} are due")
    data = np.frombuffer(pieces.data, np.uint8)[int(pieces.offsets[0]) : int(pieces.offsets[-1])]
    if len(lengths) and bool((lengths == lengths[0]).all()) and lengths[0]:
        return data.reshape(len(valid), int(lengths[0]))
    out = np.zeros((len(valid), width), np.uint8)
    out[np.arange(width) < lengths[:, None]] = data
    return out


def matrix_fits(sql_type: SqlType, matrix: Matrix) -> bool:
    """Whether lines of this width are values of the type; decimals may be shorter than theirs."""
    width = fixed_width(sql_type)
    return matrix.shape[1] == width or (sql_type.name in ("decimal", "numeric") and 1 <= matrix.shape[1] < width)


def decode_matrix(sql_type: SqlType, matrix: Matrix, valid: Valid) -> pa.Array:
    """Values of a fixed-width type, one line for each, to the contract's Arrow type; lines of NULLs are zeros."""
    name = sql_type.name
    if name in _PLAIN:
        dtype, _, arrow = _PLAIN[name]
        values = np.ascontiguousarray(field(matrix, 0, dtype)) if len(valid) else np.zeros(0, dtype)
        if name in ("real", "float"):
            _check(sql_type, np.isfinite(values) | ~valid, "not a number that SQL Server has")
        return _with_nulls(arrow, [pa.py_buffer(values)], valid)
    if name == "bit":
        return pa.array(matrix[:, 0] != 0, pa.bool_(), mask=~valid)
    if name in ("decimal", "numeric"):
        return _decimals(sql_type, matrix, valid)
    if name == "money":
        high, low = field(matrix, 0, "<i4").astype(np.int64), field(matrix, 4, "<u4").astype(np.int64)
        return _small_decimals(pa.decimal128(19, 4), high << 32 | low, valid)
    if name == "smallmoney":
        return _small_decimals(pa.decimal128(10, 4), field(matrix, 0, "<i4").astype(np.int64), valid)
    if name == "uniqueidentifier":
        order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15]
        return _with_nulls(pa.binary(16), [pa.py_buffer(np.ascontiguousarray(matrix[:, order]))], valid)
    if name == "date":
        days = _days(sql_type, matrix, 0, valid) - DAYS_TO_1970
        return _with_nulls(pa.date32(), [pa.py_buffer(days.astype(np.int32))], valid)
    if name == "datetimeoffset":
        return _offsets(sql_type, matrix, valid)
    return _with_nulls(pa.int64(), [pa.py_buffer(_moments(sql_type, matrix, valid))], valid)


def _moments(sql_type: SqlType, matrix: Matrix, valid: Valid) -> npt.NDArray[np.int64]:
    name, scale = sql_type.name, 7 if sql_type.scale is None else sql_type.scale
    if name == "datetime":
        days, thirds = field(matrix, 0, "<i4").astype(np.int64), field(matrix, 4, "<u4").astype(np.int64)
        fits = (thirds < _THIRDS_PER_DAY) & (days >= -53_690) & (days <= 2_958_463)
        _check(sql_type, fits | ~valid, "out of range")
        return days * _THIRDS_PER_DAY + thirds
    if name == "smalldatetime":
        days, minutes = field(matrix, 0, "<u2").astype(np.int64), field(matrix, 2, "<u2").astype(np.int64)
        _check(sql_type, (minutes < 1440) | ~valid, "out of range")
        return days * 1440 + minutes
    size = time_size(scale)
    counts = field(matrix, 0, "<u2" if size == 3 else "<u4").astype(np.int64)
    if size != 4:
        counts |= matrix[:, size - 1].astype(np.int64) << (8 * (size - 1))
    ticks: npt.NDArray[np.int64] = counts * 10 ** (7 - scale)
    _check(sql_type, (ticks < _TICKS_PER_DAY) | ~valid, "a time past midnight")
    if name == "time":
        return ticks
    return _days(sql_type, matrix, size, valid) * _TICKS_PER_DAY + ticks


def _days(sql_type: SqlType, matrix: Matrix, at: int, valid: Valid) -> npt.NDArray[np.int64]:
    days: npt.NDArray[np.int64] = field(matrix, at, "<u2").astype(np.int64) | matrix[:, at + 2].astype(np.int64) << 16
    _check(sql_type, (days <= _LAST_DAY) | ~valid, "a date past 9999-12-31")
    return days


def _offsets(sql_type: SqlType, matrix: Matrix, valid: Valid) -> pa.Array:
    utc = _moments(sql_type, matrix, valid)
    minutes = field(matrix, fixed_width(sql_type) - 2, "<i2").astype(np.int16)
    _check(sql_type, (np.abs(minutes) <= 840) | ~valid, "an offset over 14 hours")
    local = utc + minutes.astype(np.int64) * 600_000_000
    _check(sql_type, ((local >= 0) & (local < (_LAST_DAY + 1) * _TICKS_PER_DAY)) | ~valid, "local time out of range")
    return pa.StructArray.from_arrays(
        [pa.array(utc), pa.array(minutes)], fields=list(OFFSET_TYPE), mask=pa.array(~valid)
    )


def _decimals(sql_type: SqlType, matrix: Matrix, valid: Valid) -> pa.Array:
    precision, scale = sql_type.precision or 18, sql_type.scale or 0
    padded = np.zeros((len(valid), 16), np.uint8)
    padded[:, : matrix.shape[1] - 1] = matrix[:, 1:]
    low, high = field(padded, 0, "<u8").copy(), field(padded, 8, "<u8").copy()
    limit = 10**precision
    limit_low, limit_high = np.uint64(limit & 0xFFFFFFFFFFFFFFFF), np.uint64(limit >> 64)
    fits = (high < limit_high) | ((high == limit_high) & (low < limit_low))
    _check(sql_type, fits | ~valid, f"more than {precision} digits")
    negative = matrix[:, 0] == 0
    carry = (low == 0).astype(np.uint64)
    halves = np.empty((len(valid), 2), np.uint64)
    halves[:, 0] = np.where(negative, ~low + np.uint64(1), low)
    halves[:, 1] = np.where(negative, ~high + carry, high)
    return _with_nulls(pa.decimal128(precision, scale), [pa.py_buffer(halves)], valid)


def _small_decimals(arrow: pa.DataType, values: npt.NDArray[np.int64], valid: Valid) -> pa.Array:
    halves = np.empty((len(valid), 2), np.int64)
    halves[:, 0], halves[:, 1] = values, values >> 63
    return _with_nulls(arrow, [pa.py_buffer(halves)], valid)


def _variants(pieces: Pieces, valid: Valid) -> pa.Array:
    raw = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(valid), [None, pa.py_buffer(pieces.offsets), pieces.data]
    )
    items = [read_variant(value) if there else None for value, there in zip(raw.to_pylist(), valid, strict=True)]
    return pa.array([{"type": i[0], "value": i[1]} if i else None for i in items], VARIANT_TYPE)


def _with_nulls(arrow: pa.DataType, buffers: list[Any], valid: Valid) -> pa.Array:
    validity = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(arrow, len(valid), [validity, *buffers])


def _check(sql_type: SqlType, fits: npt.NDArray[np.bool_], why: str) -> None:
    if not fits.all():
        raise InvalidValueError(sql_type, int(np.argmin(fits)), why)
