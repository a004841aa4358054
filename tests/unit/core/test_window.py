"""The time window: from the first day of a month to the run's day."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql_databricks_bridge.core.window import make_window, parse_lookback_months
from sql_databricks_bridge.errors import ParameterError


def test_the_default_example_is_written_as_sql_text() -> None:
    assert make_window(24, dt.date(2026, 11, 23)).texts() == {
        "lookback_months": "24",
        "start_period": "202411",
        "end_period": "202611",
        "start_year": "2024",
        "end_year": "2026",
        "start_date": "'20241101'",
        "end_date": "'20261123'",
    }


def test_no_lookback_is_the_month_so_far() -> None:
    assert make_window(0, dt.date(2024, 2, 29)).start == dt.date(2024, 2, 1)


@given(st.integers(0, 1200), st.dates(dt.date(200, 1, 1)))
def test_the_window_begins_on_a_first_so_many_months_ago(months: int, today: dt.date) -> None:
    start = make_window(months, today).start
    assert start.day == 1
    assert (today.year - start.year) * 12 + today.month - start.month == months


@pytest.mark.parametrize("months", [-1, 1201])
def test_a_window_out_of_range_is_refused(months: int) -> None:
    with pytest.raises(ParameterError, match="0 to 1200"):
        make_window(months, dt.date(2026, 1, 1))


def test_a_window_before_year_one_is_refused() -> None:
    with pytest.raises(ParameterError, match="before year 1"):
        make_window(1200, dt.date(50, 1, 1))


@pytest.mark.parametrize("text", ["", "x", "1.5", "-1", "1201", "٣", "9" * 5000, None])
def test_a_yaml_value_that_is_no_number_of_months_is_refused_with_its_place(text: str | None) -> None:
    with pytest.raises(ParameterError, match=r"Peru\.yaml:3: lookback_months"):
        parse_lookback_months(text, "Peru.yaml:3")
