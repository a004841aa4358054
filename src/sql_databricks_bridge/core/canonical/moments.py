"""Texts of times from what landed: microseconds, with the seventh digit and the offset that stand beside them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sql_databricks_bridge.core.canonical.arrays import TEXT, written
from sql_databricks_bridge.core.canonical.columns import CanonicalColumn
from sql_databricks_bridge.errors import ResultShapeError
from sql_databricks_bridge.models.type_policies import Form

IMPOSSIBLE = pa.scalar(b"?", TEXT)
"""Stands for what no value of the type is written like."""

_SECOND_US, _MINUTE_US, _TICKS = 1_000_000, 60_000_000, 300
_MOST_OFFSET = 840
_OFFSETS = pa.array(
    [
        f" {'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}".encode()
        for minutes in range(-_MOST_OFFSET, _MOST_OFFSET + 1)
    ]
    + [b"?"],
    TEXT,
)
_MICROSECONDS = 6


def moment(column: CanonicalColumn, array: pa.Array, digit: pa.Array | None, offset: pa.Array | None) -> pa.Array:
    """Style 121 of a datetime, smalldatetime, datetime2 or datetimeoffset: large_binary, NULL for NULL.

    `array` is a timestamp, with a time zone or without: its instant counts. `ResultShapeError` where a companion is
    missing.
    """
    instants = _microseconds(array)
    if column.type_name in ("datetime", "smalldatetime"):
        return _ticks(instants)
    if column.form is not Form.PLAIN:
        return _with_digits(instants, min(column.digits, _MICROSECONDS))
    if column.digits > _MICROSECONDS and digit is None:
        raise _missing(column, "seventh digit")
    if column.type_name == "datetime2":
        return _with_digits(instants, column.digits, digit)
    if offset is None:
        raise _missing(column, "offset")
    minutes = offset.cast(pa.int64())
    local = pc.add(instants, pc.multiply(minutes.fill_null(0), _MINUTE_US))
    return together(_with_digits(local, column.digits, digit), _offset_text(minutes))


def together(value: pa.Array, beside: pa.Array) -> pa.Array:
    """A value's text and its companion's behind it; NULL where both are, impossible where one of them is."""
    if pc.is_valid(value).equals(pc.is_valid(beside)):
        return pc.binary_join_element_wise(value, beside, pa.scalar(b"", TEXT))
    joined = pc.binary_join_element_wise(
        value.fill_null(IMPOSSIBLE), beside.fill_null(IMPOSSIBLE), pa.scalar(b"", TEXT)
    )
    return pc.if_else(pc.or_(pc.is_valid(value), pc.is_valid(beside)), joined, pa.scalar(None, TEXT))


def _microseconds(array: pa.Array) -> pa.Array:
    """Since 1970, int64; of a timestamp in another unit too, whatever its zone."""
    zone = array.type.tz if pa.types.is_timestamp(array.type) else None
    return array.cast(pa.timestamp("us", tz=zone)).view(pa.int64())


def _with_digits(instants: pa.Array, digits: int, seventh: pa.Array | None = None) -> pa.Array:
    """With so many fractional digits, all six where the value has more than that."""
    text = _text(instants)
    if digits > _MICROSECONDS and seventh is not None:
        return together(text, written(seventh.cast(pa.int64())))
    return text if digits == _MICROSECONDS else _shortened(text, instants, digits)


def _shortened(text: pa.Array, instants: pa.Array, digits: int) -> pa.Array:
    unit = 10 ** (_MICROSECONDS - digits)
    short = pc.binary_slice(text, 0, 20 + digits if digits else 19)
    values = instants.fill_null(0).to_numpy(zero_copy_only=False)
    whole = values % unit == 0
    return short if whole.all() else pc.if_else(pa.array(whole), short, text)


def _ticks(instants: pa.Array) -> pa.Array:
    """Milliseconds of datetime's ticks of 1/300 s, as SQL Server rounds them: .000, .003, .007, .010.

    A tick may have landed as .003, .003333 or .003334; anything else is not of one, and keeps its six digits.
    """
    values = instants.fill_null(0).to_numpy(zero_copy_only=False)
    fraction = values % _SECOND_US
    ticks = (fraction * _TICKS + _SECOND_US // 2) // _SECOND_US
    milliseconds = (ticks * 10 + 1) // 3 * 1000
    down = ticks * 10_000 // 3
    on_tick = (fraction == milliseconds) | (fraction == down) | (fraction == down + (ticks % 3 != 0))
    rounded = pc.if_else(
        instants.is_valid(), pa.array(np.where(on_tick, values - fraction + milliseconds, values)), None
    )
    return _shortened(_text(rounded), rounded, 3)


def _text(instants: pa.Array) -> pa.Array:
    return written(instants.view(pa.timestamp("us")))


def _offset_text(minutes: pa.Array) -> pa.Array:
    known = pc.and_(pc.greater_equal(minutes, -_MOST_OFFSET), pc.less_equal(minutes, _MOST_OFFSET))
    return _OFFSETS.take(pc.if_else(known, pc.add(minutes, _MOST_OFFSET), len(_OFFSETS) - 1))


def _missing(column: CanonicalColumn, what: str) -> ResultShapeError:
    return ResultShapeError(
        f"Column {column.name!r} ({column.sql_type}) has no column beside it with its {what}.",
        hint="Extract the query again: its manifest names them.",
    )
