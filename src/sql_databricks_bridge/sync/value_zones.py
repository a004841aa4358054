"""Local time and UTC, for whole columns, by Python's zoneinfo.

Neither Arrow nor Polars can be used for that: Arrow reads no rule beyond the transitions that a time zone file lists
(with pyarrow 26 summer time ends in 2037), Polars' built-in table ends in 2100.

In UTC no zone changes its offset twice within three days (a test looks at all of them). So a day has one offset, or one
before and one after an instant; these are looked up once for each day that occurs, and then taken for every row.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from sql_databricks_bridge.errors import EventInvalid

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
FIRST_US = -62_135_596_800 * SECOND_US
"""0001-01-01T00:00:00 in microseconds since 1970, in whatever zone."""
LAST_US = 253_402_300_800 * SECOND_US - 1
"""9999-12-31T23:59:59.999999."""

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_FIRST_DAY = FIRST_US // DAY_US
_NOT_ZONES = frozenset({"localtime", "Factory"})  # what the machine's owner chose; a placeholder


class _Day(NamedTuple):
    """Offsets to UTC in microseconds: `before` the instant `change_us` (UTC), and `after` it."""

    before: int
    after: int
    change_us: int


@dataclass(frozen=True, slots=True)
class Zone:
    """A time zone of the IANA database."""

    name: str
    _zone: zoneinfo.ZoneInfo
    _utc_days: dict[int, _Day] = field(default_factory=dict)
    _local_days: dict[int, _Day] = field(default_factory=dict)

    @classmethod
    def named(cls, name: str) -> Zone:
        """Look a zone up; `EventInvalid` where there is none of that name."""
        if name in _NOT_ZONES or name not in zoneinfo.available_timezones():
            raise EventInvalid(
                f"metadata timezone {name[:80]!r} is not a time zone of the IANA database.",
                hint="Write it as Europe/Madrid, America/Bogota or UTC, upper and lower case as they are.",
            )
        return cls(name, zoneinfo.ZoneInfo(name))

    def to_local(self, utc_us: pa.Array) -> pa.Array:
        """Local time of instants; int64 microseconds both, FIRST_US to LAST_US going in."""
        before, after, change_us = self._taken(utc_us, self._utc_days, self._utc_day)
        return pc.add(utc_us, pc.if_else(pc.less(utc_us, change_us), before, after))

    def to_utc(self, local_us: pa.Array) -> tuple[pa.Array, pa.Array, pa.Array]:
        """Instants of local times, and two masks: where a local time comes twice, and where it never comes."""
        before, after, change_us = self._taken(local_us, self._local_days, self._local_day)
        early, late = pc.subtract(local_us, before), pc.subtract(local_us, after)
        is_before, is_after = pc.less(early, change_us), pc.greater_equal(late, change_us)
        twice = pc.and_(pc.and_(is_before, is_after), pc.not_equal(before, after))
        never = pc.invert(pc.or_(is_before, is_after))
        return pc.if_else(is_before, early, late), twice, never

    def _taken(
        self, us: pa.Array, known: dict[int, _Day], look_up: Callable[[int], _Day]
    ) -> tuple[pa.Array, pa.Array, pa.Array]:
        """The `_Day` of each row, as three arrays."""
        days = pc.divide(pc.subtract(us, FIRST_US), DAY_US).dictionary_encode()
        for day in days.dictionary.to_pylist():
            if day not in known:
                known[day] = look_up(day + _FIRST_DAY)
        found = [known[day] for day in days.dictionary.to_pylist()]
        columns = [pa.array([day[part] for day in found], pa.int64()) for part in range(3)]
        before, after, change_us = (column.take(days.indices) for column in columns)
        return before, after, change_us

    def _utc_day(self, day: int) -> _Day:
        start, end = day * DAY_US, (day + 1) * DAY_US
        before, after = self._offset_at(start - 1), self._offset_at(end - 1)
        return _Day(before, after, self._change(before, start - 1, end - 1) if before != after else start)

    def _local_day(self, day: int) -> _Day:
        """Of a local day. In a gap fold 0 means the offset before it, fold 1 the one after it (PEP 495)."""
        start = day * DAY_US
        midnight = (_EPOCH + dt.timedelta(days=day)).replace(tzinfo=self._zone)
        last = midnight.replace(hour=23, minute=59, second=59, microsecond=999_999, fold=1)
        before, after = _microseconds(midnight.utcoffset()), _microseconds(last.utcoffset())
        if before == after:
            return _Day(before, after, start - before)
        low, high = start - max(before, after) - SECOND_US, start + DAY_US - min(before, after) + SECOND_US
        return _Day(before, after, self._change(before, low, high))

    def _change(self, before: int, low: int, high: int) -> int:
        """The first instant whose offset is no longer `before`: it is so at `low`, and not at `high`."""
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._offset_at(middle) == before else (low, middle)
        return high

    def _offset_at(self, utc_us: int) -> int:
        """Offset at an instant. No zone changes in the first or the last days of the calendar, so they count as one."""
        within = min(max(utc_us, FIRST_US + 2 * DAY_US), LAST_US - 2 * DAY_US)
        return _microseconds((_EPOCH + dt.timedelta(microseconds=within)).astimezone(self._zone).utcoffset())


def _microseconds(offset: dt.timedelta | None) -> int:
    assert offset is not None  # a ZoneInfo always knows
    return offset // dt.timedelta(microseconds=1)
