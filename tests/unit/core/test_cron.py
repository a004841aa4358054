"""Cron expressions: due once a day where an hour is skipped or repeated, by real time else, from wherever one looks."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql_databricks_bridge.core.cron import MOST_COUNTED, Cron, zone

MADRID = "Europe/Madrid"
ZONES = (MADRID, "America/New_York", "America/Santiago", "Asia/Beirut", "Antarctica/Troll", "Pacific/Apia", "UTC")
EXPRESSIONS = (
    *("30 2 * * *", "15,45 2 * * *", "0 0 * * *", "30 0,1,2,3 * * 1-5", "59 23 L * *"),
    *("0 * * * *", "*/10 * * * *", "*/7 3 * * *", "5 */2 * * *", "0 12 1 */3 *"),
)


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def dues(cron: Cron, after: str, until: str) -> list[str]:
    """Due moments in (after, until], both UTC, by the schedule's clock with its offset."""
    found, due = [], cron.after(utc(after))
    while due <= utc(until):
        found.append(cron.local(due).strftime("%d %H:%M %z"))
        due = cron.after(due)
    return found


def test_a_time_is_the_zone_s_in_summer_and_winter() -> None:
    cron = Cron("0 2 * * *", MADRID)
    assert cron.after(utc("2026-07-01")) == utc("2026-07-02 00:00")
    assert cron.after(utc("2026-12-01")) == utc("2026-12-01 01:00")


def test_what_falls_into_a_skipped_hour_is_due_right_after_it_and_once() -> None:
    """29 March 2026: 02:00 to 03:00 is left out in Madrid."""
    span = ("2026-03-28 12:00", "2026-03-30 12:00")
    assert dues(Cron("30 2 * * *", MADRID), *span) == ["29 03:00 +0200", "30 02:30 +0200"]
    assert dues(Cron("15,45 2 * * *", MADRID), *span) == ["29 03:00 +0200", "30 02:15 +0200", "30 02:45 +0200"]


def test_what_falls_into_a_repeated_hour_is_due_the_first_time_alone() -> None:
    """25 October 2026: 02:00 to 03:00 comes twice in Madrid."""
    cron = Cron("30 2 * * *", MADRID)
    assert dues(cron, "2026-10-24 12:00", "2026-10-26 12:00") == ["25 02:30 +0200", "26 02:30 +0100"]
    assert cron.local(cron.after(utc("2026-10-25 01:10"))).day == 26  # 02:10 for the second time: nothing is due again


def test_what_is_due_every_hour_goes_by_real_time() -> None:
    """23 hours in spring, 25 in autumn: hourly work runs so often."""
    cron = Cron("0 * * * *", MADRID)
    assert len(dues(cron, "2026-03-28 23:00", "2026-03-29 22:00")) == 23
    assert len(dues(cron, "2026-10-24 22:00", "2026-10-25 23:00")) == 25


@given(
    expression=st.sampled_from(EXPRESSIONS),
    timezone=st.sampled_from(ZONES),
    start=st.integers(0, 25 * 365 * 86400).map(lambda seconds: utc("2010-01-01") + dt.timedelta(seconds=seconds)),
    share=st.floats(0, 0.999),
)
def test_due_moments_do_not_depend_on_where_one_begins_to_look(
    expression: str, timezone: str, start: dt.datetime, share: float
) -> None:
    cron = Cron(expression, timezone)
    due = cron.after(start)
    assert due > start
    assert cron.after(start + (due - start) * share) == due
    assert cron.newest(start, due) is not None


@pytest.mark.parametrize("switch", [utc("2026-03-29 01:00"), utc("2026-10-25 01:00")], ids=["spring", "autumn"])
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_nor_around_the_days_when_the_clocks_change(expression: str, switch: dt.datetime) -> None:
    cron = Cron(expression, MADRID)
    moments = [switch + dt.timedelta(minutes=7 * step) for step in range(-250, 250)]
    expected = cron.after(moments[0])
    for moment in moments:
        while moment >= expected:
            expected = cron.after(expected)
        assert cron.after(moment) == expected, moment


def test_the_newest_of_many_is_found_without_walking_through_years() -> None:
    until = utc("2026-01-01 00:00:30")
    newest = Cron("* * * * *", "UTC").newest(utc("1990-01-01"), until)
    assert newest is not None
    assert (newest.due, newest.count) == (utc("2026-01-01"), MOST_COUNTED)


@pytest.mark.parametrize("count", [1, 2, MOST_COUNTED - 1, MOST_COUNTED, MOST_COUNTED + 1])
def test_the_newest_is_the_last_one_however_many_there_are(count: int) -> None:
    begin = utc("2026-01-01")
    newest = Cron("0 * * * *", "UTC").newest(begin, begin + dt.timedelta(hours=count, minutes=59))
    assert newest is not None
    assert newest.due == begin + dt.timedelta(hours=count)
    assert newest.count == min(count, MOST_COUNTED)


def test_nothing_is_due_up_to_the_moment_that_is_decided() -> None:
    cron = Cron("0 2 * * *", "UTC")
    assert cron.newest(utc("2026-01-01 02:00"), utc("2026-01-02 01:59:59")) is None
    assert cron.newest(utc("2026-01-02 02:00"), utc("2026-01-01")) is None  # a clock that was set back


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("0 25 * * *", "no cron expression: bad hour"),
        ("* * * *", "has 4 fields, not 5"),
        ("0 0 2 * * *", "has 6 fields, not 5"),
        ("@daily", "has 1 fields, not 5"),
        ("0 0 31 2,4 *", "no cron expression: bad day-of-month"),
        ("x * * * *", "no cron expression: bad minute"),
    ],
)
def test_a_wrong_expression_is_told(expression: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Cron(expression, "UTC")


@pytest.mark.parametrize("name", ["Europe/Madird", "", "../etc/passwd", "/etc/localtime", "CEST+1"])
def test_a_wrong_zone_is_told(name: str) -> None:
    with pytest.raises(ValueError, match="is no IANA time zone"):
        zone(name)
