"""The time window that every query may use without declaring it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from sql_databricks_bridge.errors import ParameterError

DEFAULT_LOOKBACK_MONTHS = 24
MAX_LOOKBACK_MONTHS = 1200
WINDOW_NAMES = (
    "lookback_months",
    "start_period",
    "end_period",
    "start_year",
    "end_year",
    "start_date",
    "end_date",
)


@dataclass(frozen=True, slots=True)
class Window:
    """From the first day of the month `lookback_months` before `end`'s month, to `end`, both included."""

    lookback_months: int
    start: dt.date
    end: dt.date

    def texts(self) -> Mapping[str, str]:
        """The window as SQL text by placeholder name.

        Dates are 'yyyymmdd' with their quotes, the only form that every SQL Server language setting reads alike.
        """
        return {
            "lookback_months": str(self.lookback_months),
            "start_period": f"{self.start.year:04}{self.start.month:02}",
            "end_period": f"{self.end.year:04}{self.end.month:02}",
            "start_year": str(self.start.year),
            "end_year": str(self.end.year),
            "start_date": f"'{self.start.year:04}{self.start.month:02}{self.start.day:02}'",
            "end_date": f"'{self.end.year:04}{self.end.month:02}{self.end.day:02}'",
        }


def make_window(lookback_months: int, today: dt.date) -> Window:
    """The window of `lookback_months` (0 to 1200; 0 is the current month so far) that ends `today`.

    Raises `ParameterError` where it is out of range or would begin before year 1.
    """
    if not 0 <= lookback_months <= MAX_LOOKBACK_MONTHS:
        raise ParameterError(f"lookback_months is {lookback_months}, not a number from 0 to {MAX_LOOKBACK_MONTHS}.")
    year, month = divmod(today.year * 12 + today.month - 1 - lookback_months, 12)
    if year < 1:
        raise ParameterError(f"lookback_months {lookback_months} before {today} is before year 1.")
    return Window(lookback_months, dt.date(year, month + 1, 1), today)


def parse_lookback_months(text: str | None, where: str) -> int:
    """Read the YAML value of `lookback_months`; raises `ParameterError` naming `where`."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 9:
        shown = "empty" if text is None else repr(text)
        raise ParameterError(f"{where}: lookback_months is {shown}, not a number from 0 to {MAX_LOOKBACK_MONTHS}.")
    months = int(text)
    if months > MAX_LOOKBACK_MONTHS:
        raise ParameterError(f"{where}: lookback_months is {months}, not a number from 0 to {MAX_LOOKBACK_MONTHS}.")
    return months
