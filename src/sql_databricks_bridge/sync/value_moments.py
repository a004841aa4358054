"""SQL Server's own text of datetime2 and datetimeoffset, read whole: microseconds, seventh digit, offset.

Source: "CAST and CONVERT (Transact-SQL)", style 121: 2024-02-29 23:59:59.1234567 +05:30.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from sql_databricks_bridge.sync.value_checks import Misfit, refuse, refuse_by, require_between
from sql_databricks_bridge.sync.value_zones import FIRST_US, LAST_US, SECOND_US

_SECOND = r"[0-9]{4}-[01][0-9]-[0-3][0-9] (?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_MOMENT = rf"(?P<moment>{_SECOND})(?:\.(?P<fraction>[0-9]{{1,7}}))?"
_OFFSET = r" (?P<sign>[+-])(?P<hours>0[0-9]|1[0-4]):(?P<minutes>[0-5][0-9])"
_MOST_OFFSET = 840
_MINUTE_US = 60 * SECOND_US


@dataclass(frozen=True, slots=True)
class Moments:
    """`microseconds` since 1970 as a timestamp[us] (of UTC where there are offsets), and what it does not hold."""

    microseconds: pa.Array
    seventh_digit: pa.Array
    offset_minutes: pa.Array | None


def read_moments(texts: pa.Array, *, with_offset: bool) -> Moments:
    """Read texts like '2024-02-29 23:59:59.1234567', with an offset behind it or without; `Misfit` for any other."""
    found = pc.extract_regex(texts, f"^{_MOMENT}{_OFFSET if with_offset else ''}$")
    shape = "2024-02-29 23:59:59.1234567" + (" +05:30" if with_offset else "")
    reason, hint = "it is not a moment as SQL Server writes it", f"Write it as {shape}."
    refuse(pc.and_(pc.is_valid(texts), pc.is_null(found)), reason, hint)
    try:
        seconds = pc.struct_field(found, "moment").cast(pa.timestamp("s")).cast(pa.int64())
    except pa.ArrowInvalid:
        refuse_by(texts, _is_no_day, "there is no such day", hint)
        raise
    fraction = pc.utf8_rpad(pc.fill_null(pc.struct_field(found, "fraction"), ""), 7, "0").cast(pa.int64())
    tenth = pc.divide(fraction, 10)
    us = pc.add(pc.multiply(seconds, SECOND_US), tenth)
    digit = pc.if_else(pc.is_valid(us), pc.subtract(fraction, pc.multiply(tenth, 10)), None).cast(pa.int16())
    require_between(us, FIRST_US, LAST_US, "it is not within 0001-01-01 to 9999-12-31")
    if not with_offset:
        return Moments(us.view(pa.timestamp("us")), digit, None)
    minutes = pc.add(_number(found, "minutes"), pc.multiply(_number(found, "hours"), 60))
    offset = pc.if_else(pc.equal(pc.struct_field(found, "sign"), "-"), pc.negate(minutes), minutes)
    refuse(pc.greater(pc.abs(offset), _MOST_OFFSET), "offsets run from -14:00 to +14:00")
    us = pc.subtract(us, pc.multiply(offset, _MINUTE_US))
    require_between(us, FIRST_US, LAST_US, "in UTC it is not within 0001-01-01 to 9999-12-31")
    return Moments(us.view(pa.timestamp("us", tz="UTC")), digit, offset.cast(pa.int16()))


def local_within_calendar(instants: pa.Array, offset_minutes: pa.Array) -> None:
    """Raise `Misfit` where the local time of an instant is beyond the calendar, which SQL Server then refuses."""
    local = pc.add(instants.view(pa.int64()), pc.multiply(offset_minutes.cast(pa.int64()), _MINUTE_US))
    try:
        require_between(local, FIRST_US, LAST_US, "")
    except Misfit as exc:
        raise Misfit(exc.mask, "by its offset it is not within 0001-01-01 to 9999-12-31") from None


def _number(found: pa.Array, part: str) -> pa.Array:
    return pc.struct_field(found, part).cast(pa.int64())


def _is_no_day(text: str) -> bool:
    try:
        dt.date.fromisoformat(text[:10])
    except ValueError:
        return True
    return False
