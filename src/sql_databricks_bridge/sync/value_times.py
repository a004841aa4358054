"""Dates, timestamps and times of day on their way into SQL Server: exactly, or refused.

Ranges and accuracies: Microsoft, "Date and time data types and functions (Transact-SQL)". What Microsoft's driver
(mssql-python 1.16) does with a datetime was measured: it reads the ticks of 1/300 s as milliseconds that end in 0, 3 or
7, stores these as the same ticks, and rounds any other microseconds to the next tick, silently; beyond the digits of a
datetime2(n) or time(n) it cuts. So everything that it would change is refused here; but for a tick whose microseconds
are written out, .003333 or .006667, as SQL Server does when it casts a datetime to datetime2: that is the same tick.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from sql_databricks_bridge.sync.value_checks import (
    Conversion,
    Into,
    Misfit,
    Unfit,
    refuse,
    remainder,
    require_between,
    require_whole,
)
from sql_databricks_bridge.sync.value_zones import DAY_US, FIRST_US, LAST_US, SECOND_US, Zone

MOMENTS: Final = frozenset({"date", "datetime", "smalldatetime", "datetime2", "datetimeoffset"})
DIGITS: Final[Mapping[str, int]] = {"time": 7, "datetime2": 7, "datetimeoffset": 7}
"""Types that hold fractions of a second to a scale of their own, and the most digits of it."""

_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 (zoneless, as the types are)
_PER_SECOND: Final[Mapping[str, int]] = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_TICKS_US = {0: 0, 3_000: 3_000, 7_000: 7_000, 3_333: 3_000, 6_666: 7_000, 6_667: 7_000}
"""Microseconds in a hundredth of a second: how ticks of 1/300 s may be written, and how the driver writes them."""
_CALENDAR = "it is not within 0001-01-01 to 9999-12-31"
_CLOCK = r"^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?$"


def moment_conversion(source: pa.DataType, into: Into) -> Conversion:
    """Convert dates or timestamps into one of `MOMENTS`; `Unfit` for any other source."""
    read: Conversion
    if pa.types.is_date(source):
        read = _dates if into.type.name == "date" else _midnights
    elif pa.types.is_timestamp(source):
        read = _timestamps(source)
    else:
        raise Unfit("a value of that kind is not taken for a date")
    if into.type.name == "date" and pa.types.is_date(source):
        return read
    shift = _shift(source, into)
    store = _STORES[into.type.name](into)
    return lambda array: store(shift(read(array)))


def clock_conversion(source: pa.DataType, into: Into) -> Conversion:
    """Convert text like 13:30:59.25, or Arrow's times, into time(n), staged as time64[ns]; `Unfit` for any other."""
    digits = into.type.scale or 0
    if pa.types.is_string(source):
        read = _clock_texts
    elif pa.types.is_time(source):
        read = _clock_times
    else:
        raise Unfit("a time of day comes as a STRING like 13:30:59.25")

    def convert(array: pa.Array) -> pa.Array:
        times = read(array)
        require_whole(times.view(pa.int64()), 10 ** (9 - digits), digits_text(into, digits))
        return times

    return convert


# -- reading: int64 microseconds since 1970, of whatever zone the source has -------------------------------------------


def _dates(array: pa.Array) -> pa.Array:
    """As date32. A date64 that is no whole day is not one that Spark can send."""
    if pa.types.is_date64(array.type):
        require_whole(array.view(pa.int64()), 86_400_000, "it is not a whole day")
        array = array.cast(pa.date32())
    require_between(array.view(pa.int32()), FIRST_US // DAY_US, LAST_US // DAY_US, _CALENDAR)
    return array


def _midnights(array: pa.Array) -> pa.Array:
    return _dates(array).cast(pa.timestamp("us")).view(pa.int64())


def _timestamps(source: pa.DataType) -> Conversion:
    per_second = _PER_SECOND[source.unit]
    first, last = FIRST_US * per_second // SECOND_US, LAST_US * per_second // SECOND_US
    naive = pa.timestamp(source.unit)

    def read(array: pa.Array) -> pa.Array:
        units = array.view(pa.int64())
        if per_second <= SECOND_US:  # nanoseconds in 64 bits don't reach the calendar's ends
            require_between(units, first, last, _CALENDAR)
        else:
            require_whole(units, per_second // SECOND_US, "the bridge carries microseconds, and it has more digits")
        return units if per_second == SECOND_US else units.view(naive).cast(pa.timestamp("us")).view(pa.int64())

    return read


def _clock_texts(array: pa.Array) -> pa.Array:
    refuse(
        pc.invert(pc.match_substring_regex(array, _CLOCK)),
        "it is not a time of day between 00:00 and 23:59:59.999999999",
        "Write HH:MM, HH:MM:SS or HH:MM:SS.fffffff, with leading zeros.",
    )
    stamps = pc.binary_join_element_wise(pa.scalar("1970-01-01"), array, pa.scalar(" "))
    return stamps.cast(pa.timestamp("ns")).cast(pa.time64("ns"))


def _clock_times(array: pa.Array) -> pa.Array:
    times = array.cast(pa.time64("ns"))
    require_between(times.view(pa.int64()), 0, 86_400 * 10**9 - 1, "it is not within a day")
    return times


# -- between zones -----------------------------------------------------------------------------------------------------


def _shift(source: pa.DataType, into: Into) -> Conversion:
    """From the source's zone, or none, to the target's: microseconds to microseconds."""
    has_zone = pa.types.is_timestamp(source) and source.tz is not None
    keeps_zone = into.type.name == "datetimeoffset"
    if has_zone == keeps_zone:
        return lambda us: us
    if keeps_zone:
        if into.zone is None:
            raise Unfit("it has no time zone; metadata timezone can name the one that it is in")
        return _to_utc(into.zone)
    if into.zone is None:
        return lambda us: us  # UTC, of which `Inbound.warnings` tells
    return _to_local(into.zone)


def _to_local(zone: Zone) -> Conversion:
    def convert(utc_us: pa.Array) -> pa.Array:
        local_us = zone.to_local(utc_us)
        require_between(local_us, FIRST_US, LAST_US, f"in {zone.name} {_CALENDAR}")
        return local_us

    return convert


def _to_utc(zone: Zone) -> Conversion:
    def convert(local_us: pa.Array) -> pa.Array:
        utc_us, twice, never = zone.to_utc(local_us)
        hint = "Make it a TIMESTAMP in the source, which says which instant it is."
        refuse(never, f"{zone.name} skipped this local time when its clocks were put forward", hint)
        refuse(twice, f"{zone.name} had this local time twice, when its clocks were put back", hint)
        require_between(utc_us, FIRST_US, LAST_US, f"in UTC {_CALENDAR}")
        return utc_us

    return convert


# -- storing: from microseconds in the target's zone to the staged type ------------------------------------------------


def _microseconds(moment: dt.datetime) -> int:
    return (moment - _EPOCH) // dt.timedelta(microseconds=1)


def digits_text(into: Into, digits: int) -> str:
    """Why a value with more digits is refused."""
    return f"{into.column.sql_type} holds {digits} fractional digit{'' if digits == 1 else 's'} of a second"


def _store_date(into: Into) -> Conversion:
    def store(us: pa.Array) -> pa.Array:
        require_whole(us, DAY_US, "a date has no time of day, and it is not midnight")
        return us.view(pa.timestamp("us")).cast(into.staged)

    return store


def _store_fractional(into: Into) -> Conversion:
    """datetime2(n) and datetimeoffset(n); what is staged has six digits, so n = 7 asks for no check."""
    digits = into.type.scale or 0

    def store(us: pa.Array) -> pa.Array:
        if digits < 6:
            require_whole(us, 10 ** (6 - digits), digits_text(into, digits))
        return us.view(into.staged)

    return store


def _store_smalldatetime(into: Into) -> Conversion:
    bounds = _microseconds(dt.datetime(1900, 1, 1)), _microseconds(dt.datetime(2079, 6, 6, 23, 59, 59, 999_999))  # noqa: DTZ001

    def store(us: pa.Array) -> pa.Array:
        require_between(us, *bounds, "smalldatetime runs from 1900-01-01 to 2079-06-06 23:59")
        require_whole(us, 60 * SECOND_US, "smalldatetime holds whole minutes")
        return us.view(into.staged)

    return store


def _store_datetime(into: Into) -> Conversion:
    least = _microseconds(dt.datetime(1753, 1, 1))  # noqa: DTZ001

    def store(us: pa.Array) -> pa.Array:
        require_between(us, least, LAST_US, "datetime begins at 1753-01-01")
        try:
            require_whole(us, 10_000, "")  # mostly whole seconds: hundredths are ticks whatever follows
        except Misfit:
            us = _ticks(us)
        return us.view(into.staged)

    return store


def _ticks(us: pa.Array) -> pa.Array:
    """Ticks of 1/300 s as the driver reads and writes them; `Misfit` for what is none."""
    in_hundredth = remainder(pc.subtract(us, FIRST_US), 10_000)
    spelled = pc.index_in(in_hundredth, pa.array(_TICKS_US, pa.int64()))
    refuse(
        pc.and_(pc.is_valid(us), pc.is_null(spelled)),
        "datetime holds milliseconds that end in 0, 3 or 7 (thirds of a hundredth), and nothing finer",
        "Round it in the source, e.g. date_trunc('SECOND', ...), or make the target column a datetime2.",
    )
    milliseconds = pa.array(list(_TICKS_US.values()), pa.int64()).take(spelled)
    return pc.add(pc.subtract(us, in_hundredth), milliseconds)


_STORES: Final[Mapping[str, Callable[[Into], Conversion]]] = {
    "date": _store_date,
    "datetime": _store_datetime,
    "smalldatetime": _store_smalldatetime,
    "datetime2": _store_fractional,
    "datetimeoffset": _store_fractional,
}
