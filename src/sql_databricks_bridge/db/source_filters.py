"""Values of filter_conditions on a Databricks column: text that its type parses, and nothing more lenient. Pure.

CAST in Databricks takes ' 1 ', '1.5' for an INT, rounds decimals and reads a zoneless timestamp in the session's time
zone, so each value is checked here and handed over in one form that CAST can only read one way.
"""

from __future__ import annotations

import datetime as dt
import re
import sys
from decimal import Decimal

from sql_databricks_bridge.errors import EventInvalid

_INTEGERS = {"TINYINT": 8, "SMALLINT": 16, "INT": 32, "BIGINT": 64}
_LARGEST = {"FLOAT": 3.4028234663852886e38, "DOUBLE": sys.float_info.max}
_BOOLEANS = {"true": "true", "1": "true", "false": "false", "0": "false"}
_DECIMAL_TYPE = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_TEXT_TYPE = re.compile(r"STRING|(?:VAR)?CHAR\(\d+\)")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_FLOAT = re.compile(_DECIMAL.pattern + r"(?:[eE][+-]?[0-9]{1,4})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIMESTAMP = re.compile(
    _DATE.pattern + r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?P<zone>Z|[+-][0-9]{2}:[0-9]{2})?)?"
)
_MOST_DIGITS = 100  # int() refuses thousands of digits with an error of its own


def comparable(column: str, type_text: str, value: str) -> tuple[str, str]:
    """The SQL type to cast to, and the text to cast, so that `column = CAST(text AS type)` compares exactly.

    `type_text` is the column's type as the result's manifest has it ('DECIMAL(18,4)'). A TIMESTAMP without a zone is
    UTC. `EventInvalid` names column and value where the type doesn't parse it, or where the type can't be compared.
    """
    sql_type = "".join(type_text.split()).upper()
    if _TEXT_TYPE.fullmatch(sql_type):
        return "STRING", value
    parsed = _parsed(sql_type, value, column)
    if parsed is None:
        shown = value if len(value) <= 100 else f"{value[:99]}…"
        raise EventInvalid(f"filter_conditions: {shown!r} is no {sql_type}, which column {column} of the source is.")
    return sql_type, parsed


def _parsed(sql_type: str, value: str, column: str) -> str | None:
    """The text to cast; None where the type doesn't parse the value."""
    if sql_type in _INTEGERS:
        return _integer(value, _INTEGERS[sql_type])
    if match := _DECIMAL_TYPE.fullmatch(sql_type):
        return _decimal(value, int(match[1]), int(match[2]))
    if sql_type in _LARGEST:
        return _float(value, _LARGEST[sql_type])
    if sql_type == "BOOLEAN":
        return _BOOLEANS.get(value.lower())
    if sql_type == "DATE":
        moment = _moment(value) if _DATE.fullmatch(value) else None
        return None if moment is None else moment.date().isoformat()
    if sql_type in ("TIMESTAMP", "TIMESTAMP_NTZ"):
        return _timestamp(value, zoned=sql_type == "TIMESTAMP")
    raise EventInvalid(
        f"filter_conditions: column {column} of the source is {sql_type}, which can't be compared with a value.",
        hint="Leave it out, or make the source a table that holds the wanted rows only.",
    )


def _integer(value: str, bits: int) -> str | None:
    if not _INTEGER.fullmatch(value) or len(value) > _MOST_DIGITS:
        return None
    number = int(value)
    return str(number) if -(2 ** (bits - 1)) <= number < 2 ** (bits - 1) else None


def _decimal(value: str, precision: int, scale: int) -> str | None:
    if not _DECIMAL.fullmatch(value) or len(value) > _MOST_DIGITS:
        return None
    whole, _, fraction = value.lstrip("+-").partition(".")
    fits = len(whole.lstrip("0")) <= precision - scale and len(fraction.rstrip("0")) <= scale
    return format(Decimal(value), "f") if fits else None


def _float(value: str, largest: float) -> str | None:
    fits = _FLOAT.fullmatch(value) and len(value) <= _MOST_DIGITS and abs(float(value)) <= largest
    return value if fits else None


def _timestamp(value: str, *, zoned: bool) -> str | None:
    match = _TIMESTAMP.fullmatch(value)
    moment = _moment(value) if match else None
    if match is None or moment is None or (match["zone"] and not zoned):
        return None
    if not zoned:
        return moment.isoformat()
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).astimezone(dt.UTC).isoformat()
    except OverflowError:
        return None


def _moment(value: str) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(value)
    except ValueError:
        return None
