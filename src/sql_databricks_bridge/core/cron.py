"""Cron expressions: when something is due in a time zone, by Debian cron's rules where an hour is skipped or repeated.

`cronsim` finds the moments. What runs at fixed times (neither minute nor hour begins with `*`) runs once a day: in an
hour that is left out right after it, in one that comes twice the first time. Everything else goes by real time.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from sql_databricks_bridge.core.suggestions import closest

_FIELDS = 5
_LOOK_BACK = tuple(dt.timedelta(hours=hours) for hours in (2, 48, 24 * 32, 24 * 370, 24 * 366 * 5))
_ANY_MOMENT = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
MOST_COUNTED = 1000
"""Due moments are counted up to so many."""


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest of several due moments, and how many there are (at most `MOST_COUNTED` are counted)."""

    due: dt.datetime
    count: int


class Cron:
    """Due moments of one expression.

    They don't depend on where one begins to look, so that all replicas find the same; but on Lord Howe Island, on the
    two days when its clocks are moved by half an hour, `*/7 3 * * *` and the like may begin late.
    """

    def __init__(self, expression: str, timezone: str) -> None:
        """`ValueError` says what is wrong with the expression or the zone."""
        self._zone = zone(timezone)
        self._expression = expression
        if len(fields := expression.split()) != _FIELDS:
            raise ValueError(
                f"{expression!r} has {len(fields)} fields, not 5: minute, hour, day of month, month, day of week"
            )
        try:
            found = next(CronSim(expression, _ANY_MOMENT), None)
        except CronSimError as exc:
            told = str(exc)
            raise ValueError(f"{expression!r} is no cron expression: {told[:1].lower()}{told[1:]}") from None
        if found is None:
            raise ValueError(f"{expression!r} is never due")

    def after(self, moment: dt.datetime) -> dt.datetime:
        """The first due moment after `moment`; both are aware, the result in UTC."""
        for found in CronSim(self._expression, moment.astimezone(self._zone)):
            due = found.astimezone(dt.UTC)
            if due > moment:  # begun in an hour that comes twice, cronsim may find what was due the first time
                return due
        raise AssertionError(f"{self._expression} is never due after {moment}, though it was due once")

    def newest(self, after: dt.datetime, until: dt.datetime) -> Newest | None:
        """The newest due moment in (after, until]; None where there is none. Years are looked through in no time."""
        count, due = 0, after
        while count < MOST_COUNTED and (due := self.after(due)) <= until:
            count, last = count + 1, due
        if not count:
            return None
        if count < MOST_COUNTED:
            return Newest(last, count)
        for span in _LOOK_BACK:
            begin = max(after, until - span)
            if (due := self.after(begin)) <= until:
                while due <= until:
                    last, due = due, self.after(due)
                break
        return Newest(last, count)

    def local(self, moment: dt.datetime) -> dt.datetime:
        """The same moment by the clock of the schedule's zone."""
        return moment.astimezone(self._zone)


def zone(name: str) -> ZoneInfo:
    """An IANA time zone; `ValueError` for a name that is none."""
    known = _zones()
    if name not in known:
        near = closest(name, known)
        raise ValueError(f"{name!r} is no IANA time zone" + (f" (did you mean {near}?)" if near else ""))
    return ZoneInfo(name)


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())  # it looks through the disk
