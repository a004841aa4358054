"""Dates and times on the way back: every type at its boundaries, and at random against Python's own calendar."""

# ruff: noqa: DTZ001, DTZ901 (SQL Server's zoneless types)

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .values_support import REFUSED, agrees, inbound, never, refused, stored

NAIVE = pa.timestamp("us")
UTC = pa.timestamp("us", "UTC")
EPOCH = dt.datetime(1970, 1, 1)
MICROSECOND = dt.timedelta(microseconds=1)


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("sql_type", "inside", "beyond", "why"),
    [
        ("date", "0001-01-01", None, None),
        ("date", "9999-12-31", "9999-12-31T00:00:00.000001", "a date has no time of day, and it is not midnight"),
        ("datetime", "1753-01-01", "1752-12-31T23:59:59.997", "datetime begins at 1753-01-01"),
        ("datetime", "9999-12-31T23:59:59.997", "9999-12-31T23:59:59.998", "datetime holds milliseconds that end in"),
        ("datetime", "1899-12-31T00:00:00.003", "1899-12-31T00:00:00.004", "datetime holds milliseconds that end in"),
        ("datetime", "2020-01-01T00:00:00.007", "2020-01-01T00:00:00.006668", "datetime holds milliseconds"),
        ("datetime", "2020-01-01T00:00:00.010", "2020-01-01T00:00:00.003334", "datetime holds milliseconds"),
        ("smalldatetime", "1900-01-01", "1899-12-31T23:59", "smalldatetime runs from 1900-01-01 to 2079-06-06 23:59"),
        ("smalldatetime", "2079-06-06T23:59", "2079-06-07", "smalldatetime runs from"),
        ("smalldatetime", "2020-01-01T12:30", "2020-01-01T12:30:30", "smalldatetime holds whole minutes"),
        ("datetime2(0)", "0001-01-01T00:00:01", "2020-01-01T00:00:00.5", "datetime2(0) holds 0 fractional digits"),
        ("datetime2(1)", "2020-01-01T00:00:00.5", "2020-01-01T00:00:00.55", "datetime2(1) holds 1 fractional digit of"),
        ("datetime2(3)", "1960-01-01T00:00:00.123", "1960-01-01T00:00:00.1234", "datetime2(3) holds 3 fractional"),
        ("datetime2(6)", "9999-12-31T23:59:59.999999", None, None),
        ("datetime2(7)", "0001-01-01T00:00:00.000001", None, None),
        ("datetime2", "2020-02-29T12:00:00.000001", None, None),
    ],
)
def test_local_times_are_stored_exactly_or_refused(
    sql_type: str, inside: str, beyond: str | None, why: str | None
) -> None:
    """TIMESTAMP_NTZ at the ends of each type, and one step beyond."""
    expected: Any = at(inside).date() if sql_type == "date" else at(inside)
    assert stored(sql_type, pa.array([at(inside), None], NAIVE)).to_pylist() == [expected, None]
    if beyond is not None:
        message = refused(sql_type, pa.array([None, at(beyond)], NAIVE)).message
        assert message.startswith("Row 2, column 'v': ")
        assert f"can't go into {sql_type}: {why}" in message


TICKS_MS = [round(tick * 1000 / 300) for tick in range(300)]  # .000 .003 .007 .010: as SQL Server prints them


def test_every_tick_of_a_datetime_goes_back_and_no_other_millisecond() -> None:
    """What the driver reads from a datetime column: 300 of 1,000 milliseconds."""
    milliseconds = [at("2020-01-01") + dt.timedelta(milliseconds=ms) for ms in range(1000)]
    agrees("datetime", pa.array([milliseconds[ms] for ms in TICKS_MS], NAIVE), [milliseconds[ms] for ms in TICKS_MS])
    others = [moment for ms, moment in enumerate(milliseconds) if ms not in TICKS_MS]
    assert "699 more rows" in refused("datetime", pa.array(others, NAIVE)).message


@pytest.mark.parametrize(
    ("sql_type", "inside", "beyond"),
    [
        ("date", ["0001-01-01", "9999-12-31"], []),
        ("datetime", ["1753-01-01", "9999-12-31"], ["1752-12-31", "0001-01-01"]),
        ("smalldatetime", ["1900-01-01", "2079-06-06"], ["1899-12-31", "2079-06-07"]),
        ("datetime2(0)", ["0001-01-01", "9999-12-31"], []),
    ],
)
@pytest.mark.parametrize("source", [pa.date32(), pa.date64()], ids=str)
def test_dates_go_into_everything_that_has_a_date(
    source: pa.DataType, sql_type: str, inside: list[str], beyond: list[str]
) -> None:
    """DATE into zoneless types is midnight."""
    days = [None, *map(dt.date.fromisoformat, inside)]
    moments = [None, *map(at, inside)]
    assert stored(sql_type, pa.array(days, source)).to_pylist() == (days if sql_type == "date" else moments)
    for day in beyond:
        assert f"column 'v': {day}" in refused(sql_type, pa.array([dt.date.fromisoformat(day)], source)).message


@pytest.mark.parametrize(
    ("array", "shown"),
    [
        (pa.array([-719_163], pa.int32()).cast(pa.date32()), "0000-12-31"),
        (pa.array([2_932_897], pa.int32()).cast(pa.date32()), "10000-01-01"),
        (pa.array([-62_135_596_800_000_001]).cast(NAIVE), "0000-12-31 23:59:59.999999"),
        (pa.array([253_402_300_800_000_000]).cast(NAIVE), "10000-01-01 00:00:00.000000"),
        (pa.array([253_402_300_800]).cast(pa.timestamp("s")), "10000-01-01 00:00:00"),
        (pa.array([2**62]).cast(pa.timestamp("ms")), ""),
        (pa.array([-(2**63)]).cast(UTC), ""),
    ],
)
def test_what_is_outside_of_the_calendar_is_refused(array: pa.Array, shown: str) -> None:
    """Spark's years go on beyond SQL Server's; whatever Arrow holds has a message."""
    for sql_type in ("date", "datetime2(7)"):
        message = refused(sql_type, array).message
        assert message.startswith(f"Row 1, column 'v': {shown}")
        assert message.endswith("it is not within 0001-01-01 to 9999-12-31.")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_any_unit_of_timestamps_is_read(unit: str) -> None:
    """Seconds to nanoseconds, with and without a zone; a fraction of a microsecond is refused."""
    moment = at("2020-05-06T07:08:09")
    assert stored("datetime2(6)", pa.array([moment, None], pa.timestamp(unit))).to_pylist() == [moment, None]
    assert stored("datetimeoffset(6)", pa.array([moment], pa.timestamp(unit, "UTC"))).to_pylist() == [
        moment.replace(tzinfo=dt.UTC)
    ]
    if unit == "ns":
        message = refused("datetime2(7)", pa.array([1_001], pa.int64()).cast(pa.timestamp("ns"))).message
        assert "the bridge carries microseconds" in message


def test_an_instant_goes_into_datetimeoffset_as_utc() -> None:
    """Whatever zone the source's Arrow type names; excess digits are refused."""
    moment = dt.datetime(2020, 7, 1, 12, 0, 0, 120_000, tzinfo=dt.UTC)
    for zone in ("UTC", "Etc/UTC", "+00:00", "Europe/Madrid"):
        array = pa.array([moment, None], pa.timestamp("us", zone))
        assert stored("datetimeoffset(2)", array).to_pylist() == [moment, None]
        message = refused("datetimeoffset(1)", array).message
        assert "2020-07-01 12:00:00.120000Z can't go into datetimeoffset(1): datetimeoffset(1) holds 1" in message


def test_an_instant_goes_into_a_zoneless_type_by_the_time_zone() -> None:
    """Local time by metadata timezone; UTC, with a warning, without."""
    array = pa.array([dt.datetime(2020, 7, 1, 22, tzinfo=dt.UTC), None], UTC)
    assert stored("datetime2(0)", array, timezone="Europe/Madrid").to_pylist() == [at("2020-07-02"), None]
    assert stored("date", array, timezone="Europe/Madrid").to_pylist() == [dt.date(2020, 7, 2), None]
    assert stored("datetime", array).to_pylist() == [at("2020-07-01T22:00"), None]
    assert inbound("datetime", UTC).warnings == ("no metadata timezone: v got UTC",)
    assert inbound("datetime", UTC, timezone="UTC").warnings == ()
    assert inbound("datetimeoffset(7)", UTC).warnings == ()
    assert inbound("datetime", NAIVE).warnings == ()


def test_local_time_that_leaves_the_calendar_is_refused() -> None:
    """The first and last hours of the calendar, seen from another zone."""
    first, last = dt.datetime(1, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 12, 31, 23, tzinfo=dt.UTC)
    assert (
        "in America/Bogota it is not" in refused("datetime2", pa.array([first], UTC), timezone="America/Bogota").message
    )
    assert "in Asia/Tokyo it is not" in refused("datetime2", pa.array([last], UTC), timezone="Asia/Tokyo").message
    local = pa.array([dt.datetime(1, 1, 1)], NAIVE)
    assert "in UTC it is not" in refused("datetimeoffset", local, timezone="Asia/Tokyo").message


def test_a_local_time_goes_into_datetimeoffset_by_the_time_zone_only() -> None:
    """Without one it could be any instant; with one, those that come twice or never are refused."""
    assert "metadata timezone can name the one" in never("datetimeoffset(7)", NAIVE).message
    assert "metadata timezone can name the one" in never("datetimeoffset(7)", pa.date32()).message
    good = pa.array([at("2020-07-01T12:00"), None, at("2020-01-01T12:00")], NAIVE)
    assert stored("datetimeoffset(0)", good, timezone="Europe/Madrid").to_pylist() == [
        dt.datetime(2020, 7, 1, 10, tzinfo=dt.UTC),
        None,
        dt.datetime(2020, 1, 1, 11, tzinfo=dt.UTC),
    ]
    skipped = refused("datetimeoffset", pa.array([at("2020-03-29T02:30")], NAIVE), timezone="Europe/Madrid").message
    twice = refused("datetimeoffset", pa.array([at("2020-10-25T02:30")], NAIVE), timezone="Europe/Madrid").message
    assert "Europe/Madrid skipped this local time" in skipped
    assert "Europe/Madrid had this local time twice" in twice


@pytest.mark.parametrize(
    ("sql_type", "text", "nanoseconds"),
    [
        ("time(0)", "00:00", 0),
        ("time(0)", "23:59:59", 86_399 * 10**9),
        ("time(0)", "12:30:00.000000000", 45_000 * 10**9),
        ("time(3)", "12:30:01.25", 45_001_250_000_000),
        ("time(7)", "23:59:59.9999999", 86_399_999_999_900),
        ("time", "00:00:00.0000001", 100),
        ("time(7)", "01:02:03.123456700", 3_723_123_456_700),
    ],
)
def test_times_of_day_are_read_from_text(sql_type: str, text: str, nanoseconds: int) -> None:
    """HH:MM, with seconds, with a fraction; zeros beyond the type's digits are none."""
    found = stored(sql_type, pa.array([text, None]))
    assert found.cast(pa.int64()).to_pylist() == [nanoseconds, None]


@pytest.mark.parametrize(
    "text",
    ["", "24:00", "12:60", "12:30:60", "1:30", "12:3", "12", "12:30 ", " 12:30", "12:30\n", "12:30:", "12:30:01.",
     "12:30:01.1234567890", "-1:00", "12:30Z", "12:30 PM", "2020-01-01 12:30", "１２:30", "12.30", "midnight"],
)  # fmt: skip
def test_text_that_is_no_time_of_day_is_refused(text: str) -> None:
    """Only the one form; nothing is guessed."""
    assert "it is not a time of day" in refused("time(7)", pa.array([text])).message


def test_digits_that_a_time_does_not_hold_are_refused() -> None:
    """The eighth digit of time(7), the fourth of time(3)."""
    assert "time(3) holds 3 fractional digits of a second" in refused("time(3)", pa.array(["12:30:01.1234"])).message
    assert "time(7) holds 7 fractional" in refused("time(7)", pa.array(["12:30:01.00000001"])).message


@pytest.mark.parametrize("source", [pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")], ids=str)
def test_arrows_own_times_are_read(source: pa.DataType) -> None:
    """Of any unit; digits are checked alike."""
    assert stored("time(0)", pa.array([dt.time(1, 2, 3), None], source)).to_pylist() == [dt.time(1, 2, 3), None]
    if source == pa.time64("us"):
        assert "time(0) holds 0" in refused("time(0)", pa.array([dt.time(1, 2, 3, 4)], source)).message
        outside = pa.array([86_400_000_000]).view(source)
        assert "it is not within a day" in refused("time(7)", outside).message


@pytest.mark.parametrize(
    ("source", "sql_type"),
    [
        (pa.string(), "date"),
        (pa.int64(), "date"),
        (pa.time64("us"), "datetime"),
        (NAIVE, "time(7)"),
        (pa.date32(), "time(7)"),
        (NAIVE, "nvarchar(30)"),
        (pa.duration("us"), "time(7)"),
        (pa.duration("us"), "bigint"),
        (pa.month_day_nano_interval(), "nvarchar(30)"),
    ],
    ids=str,
)
def test_what_is_no_date_or_time_is_never_taken_for_one(source: pa.DataType, sql_type: str) -> None:
    """Text is not parsed into dates, nor dates written as text."""
    assert f"can't go into {sql_type}, since " in never(sql_type, source).message


# -- at random ---------------------------------------------------------------------------------------------------------

FIRST = (dt.datetime(1, 1, 1) - EPOCH) // MICROSECOND
LAST = (dt.datetime.max - EPOCH) // MICROSECOND
MOMENTS_US = st.integers(FIRST, LAST) | st.builds(
    lambda base, step, unit: min(max(base + step * unit, FIRST), LAST),
    st.sampled_from(
        [
            (moment - EPOCH) // MICROSECOND
            for moment in (EPOCH, at("1753-01-01"), at("1900-01-01"), at("2079-06-07"), at("2020-02-29"))
        ]
    ),
    st.integers(-1_000, 1_000),
    st.sampled_from([1, 10, 100, 1_000, 3_000, 10_000, 100_000, 1_000_000, 60_000_000, 86_400_000_000]),
)


def held(us: int | None, sql_type: str) -> Any:
    """What SQL Server holds of a local time, by Python's calendar."""
    if us is None:
        return None
    moment = EPOCH + us * MICROSECOND
    if sql_type == "date":
        return moment.date() if moment.time() == dt.time() else REFUSED
    if sql_type == "datetime":
        milliseconds, rest = divmod(moment.microsecond, 1_000)
        return moment if moment.year >= 1753 and rest == 0 and milliseconds in TICKS_MS else REFUSED
    if sql_type == "smalldatetime":
        within = at("1900-01-01") <= moment <= at("2079-06-06T23:59")
        return moment if within and (moment.second, moment.microsecond) == (0, 0) else REFUSED
    digits = int(sql_type[-2])
    return moment if f"{moment.microsecond:06}0"[digits:].strip("0") == "" else REFUSED


@given(
    st.lists(st.none() | MOMENTS_US, max_size=6),
    st.sampled_from(["date", "datetime", "smalldatetime", *(f"datetime2({n})" for n in range(8))]),
)
def test_any_local_time_is_stored_exactly_or_refused(values: list[int | None], sql_type: str) -> None:
    """Microseconds of the whole calendar into every zoneless type."""
    agrees(sql_type, pa.array(values, pa.int64()).cast(NAIVE), [held(value, sql_type) for value in values])


@given(st.lists(st.none() | st.integers(0, 86_400 * 10**9 - 1), max_size=6), st.integers(0, 7), st.integers(0, 9))
def test_any_time_of_day_is_read_exactly_or_refused(values: list[int | None], digits: int, written: int) -> None:
    """Nanoseconds, cut to some digits and written as text."""
    cut = [None if value is None else value - value % 10 ** (9 - written) for value in values]

    def text(value: int | None) -> str | None:
        if value is None:
            return None
        seconds, fraction = divmod(value, 10**9)
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        return f"{clock}.{fraction:09}"[: 9 + written] if written else clock

    expected = [value if value is None or value % 10 ** (9 - digits) == 0 else REFUSED for value in cut]
    array = pa.array([text(value) for value in cut], pa.string())
    if REFUSED in expected:
        agrees(f"time({digits})", array, expected)
    else:
        assert stored(f"time({digits})", array).cast(pa.int64()).to_pylist() == expected
