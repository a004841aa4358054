"""Values of declared `@parameters`: a T-SQL type by its declaration, and the exact parsing of what a caller gives.

A value arrives as text (CLI `--param k=v`, a YAML default) or as a JSON value (API), and becomes the Python object that
holds exactly it, or `ValueError` says why not. Nothing is rounded, cut or padded. NULL is JSON's null, never a word.
Ranges: Microsoft, "Data types (Transact-SQL)".
"""

from __future__ import annotations

import datetime as dt
import math
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact
from typing import Final

_DECLARATION = re.compile(r"\s*([a-z][a-z0-9]*)\s*(?:\(\s*(max|[0-9]{1,5})\s*(?:,\s*([0-9]{1,5})\s*)?\))?\s*\Z", re.I)
_INTEGER = re.compile(r"[+-]?[0-9]+\Z")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?\Z")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_TIME = re.compile(r"([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?\Z")
_OFFSET = re.compile(r"(.*?) ?(Z|z|[+-][0-9]{2}:[0-9]{2})\Z")
_GUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")
_HEX = re.compile(r"0[xX](?:[0-9A-Fa-f]{2})*\Z")
_EXACT = Context(prec=200, traps=[Inexact])

_INTEGER_RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "tinyint": (0, 255),
    "smallint": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "bigint": (-(2**63), 2**63 - 1),
}
_MONEY_RANGES: Final[Mapping[str, tuple[Decimal, Decimal]]] = {
    "money": (Decimal("-922337203685477.5808"), Decimal("922337203685477.5807")),
    "smallmoney": (Decimal("-214748.3648"), Decimal("214748.3647")),
}
_FLOAT_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "float": (2.2250738585072014e-308, 1.7976931348623157e308),
    "real": (1.1754943508222875e-38, 3.4028234663852886e38),
}
_LONGEST: Final[Mapping[str, int]] = {
    "char": 8000,
    "varchar": 8000,
    "nchar": 4000,
    "nvarchar": 4000,
    "binary": 8000,
    "varbinary": 8000,
}
_PLAIN_TYPES = frozenset(
    {*_INTEGER_RANGES, *_MONEY_RANGES, "bit", "real", "date", "datetime", "smalldatetime", "uniqueidentifier"}
)
_FRACTIONAL = frozenset({"time", "datetime2", "datetimeoffset"})
_SYNONYMS = {"integer": "int", "dec": "decimal", "numeric": "decimal"}
DECLARABLE_TYPES = (
    "bit, tinyint, smallint, int, bigint, real, float, decimal(p,s), money, smallmoney, date, time(n), datetime, "
    "smalldatetime, datetime2(n), datetimeoffset(n), [n]char(n), [n]varchar(n|max), uniqueidentifier, binary(n), "
    "varbinary(n|max)"
)


@dataclass(frozen=True, slots=True)
class ParameterType:
    """A declared type; `size` is a precision, a length (None for max) or the digits of a second's fraction."""

    name: str
    size: int | None = None
    scale: int = 0

    @property
    def declaration(self) -> str:
        """The type as T-SQL declares it, in lower case: 'decimal(18,4)', 'nvarchar(max)', 'date'."""
        if self.name == "decimal":
            return f"decimal({self.size},{self.scale})"
        if self.name in _LONGEST:
            return f"{self.name}({'max' if self.size is None else self.size})"
        return f"{self.name}({self.size})" if self.name in _FRACTIONAL else self.name

    def parse(self, given: object) -> object | None:
        """The Python value of `given`, exactly; raises `ValueError` saying why it is none of this type."""
        return None if given is None else _PARSERS[self.name](self, given)


def parse_declaration(text: str) -> ParameterType:
    """Parse a declared type, case-insensitive; raises `ValueError` saying what is wrong with it."""
    found = _DECLARATION.match(text)
    if not found:
        raise ValueError(f"{text!r} is not one of {DECLARABLE_TYPES}")
    written, first, second = found.group(1).lower(), found.group(2), found.group(3)
    name = _SYNONYMS.get(written, written)
    if name in _PLAIN_TYPES:
        _require(first is None, f"{name} takes no size")
        return ParameterType(name)
    _require(second is None or name == "decimal", f"{name} takes one size")
    if name == "float":
        bits = _number(first, 53, 1, 53, "float's size")
        return ParameterType("real" if bits <= 24 else "float")
    if name == "decimal":
        precision = _number(first, 18, 1, 38, "the precision")
        return ParameterType(name, precision, _number(second, 0, 0, precision, "the scale"))
    if name in _FRACTIONAL:
        return ParameterType(name, _number(first, 7, 0, 7, "the number of fractional digits"))
    if name in _LONGEST:
        _require(first is not None, f"{written} without a length means length 1 to SQL Server: write {written}(n)")
        if first is not None and first.lower() == "max":
            _require("var" in name, f"{name} can't be max")
            return ParameterType(name)
        return ParameterType(name, _number(first, 1, 1, _LONGEST[name], "the length"))
    raise ValueError(f"{text!r} is not one of {DECLARABLE_TYPES}")


def _number(text: str | None, default: int, least: int, most: int, what: str) -> int:
    _require(text is None or text.lower() != "max", f"{what} can't be max")
    value = default if text is None else int(text)
    _require(least <= value <= most, f"{what} must be {least} to {most}, not {value}")
    return value


def _require(condition: bool, why: str) -> None:
    if not condition:
        raise ValueError(why)


def _text(given: object, example: str) -> str:
    if not isinstance(given, str):
        raise ValueError(f"it takes text like {example}, not a JSON {_json_type(given)}")
    return given


def _json_type(given: object) -> str:
    if isinstance(given, bool):
        return "boolean"
    if isinstance(given, int | float | Decimal):
        return "number"
    return {"dict": "object", "list": "array", "str": "string"}.get(type(given).__name__, type(given).__name__)


def _bit(_: ParameterType, given: object) -> bool:
    if isinstance(given, bool):
        return given
    word = str(given).lower() if isinstance(given, str | int) else ""
    _require(word in ("true", "false", "1", "0"), "it must be true, false, 1 or 0")
    return word in ("true", "1")


def _integer(kind: ParameterType, given: object) -> int:
    if isinstance(given, str):
        _require(bool(_INTEGER.match(given)), "it is not a whole number in digits")
        digits = given.lstrip("+-").lstrip("0")
        value = int(f"{'-' if given.startswith('-') else ''}{digits[:40] or '0'}")  # 40 digits are out of range as well
    elif isinstance(given, int) and not isinstance(given, bool):
        value = given
    else:
        raise ValueError(f"it takes a whole number, not a JSON {_json_type(given)}{_fraction_note(given)}")
    least, most = _INTEGER_RANGES[kind.name]
    _require(least <= value <= most, f"it must be {least} to {most}")
    return value


def _fraction_note(given: object) -> str:
    return " with a fraction or exponent" if isinstance(given, float) else ""


def _float(kind: ParameterType, given: object) -> float:
    if isinstance(given, str):
        _require(bool(_NUMBER.match(given)), "it is not a number like -12.5 or 1e6")
        value = float(given)
        _require(value != 0 or not any(digit in "123456789" for digit in re.split("[eE]", given)[0]), "it is too small")
    elif isinstance(given, int | float | Decimal) and not isinstance(given, bool):
        try:
            value = float(given)
        except OverflowError as exc:
            raise ValueError("it is too large") from exc
        _require(not isinstance(given, int) or int(value) == given, "it has more digits than a float holds")
    else:
        raise ValueError(f"it takes a number, not a JSON {_json_type(given)}")
    least, most = _FLOAT_RANGES[kind.name]
    _require(math.isfinite(value) and abs(value) <= most, "it is too large")
    _require(value == 0 or abs(value) >= least, "it is too small")
    return value


def _decimal_number(given: object) -> Decimal:
    if isinstance(given, str):
        _require(bool(_NUMBER.match(given)), "it is not a number like -12.5")
        return _EXACT.create_decimal(given) if len(given) <= 80 else _too_many_digits()
    if isinstance(given, bool) or not isinstance(given, int | float | Decimal):
        raise ValueError(f"it takes a number, not a JSON {_json_type(given)}")
    if isinstance(given, float):
        _require(math.isfinite(given), "it is not a number")
        value = Decimal(repr(given))
        _require(len(value.as_tuple().digits) <= 15, "a JSON number of so many digits is not exact: send it as text")
        return value
    value = Decimal(given)
    _require(value.is_finite(), "it is not a number")
    return value


def _too_many_digits() -> Decimal:
    raise ValueError("it has too many digits")


def _to_scale(value: Decimal, scale: int) -> Decimal:
    """`value` with exactly `scale` fractional digits; more than those is refused, zeros excepted."""
    _require(value == 0 or -60 < value.adjusted() < 60, "it is out of range")
    if value == 0:
        return Decimal(0).scaleb(-scale)
    try:
        return value.quantize(Decimal(1).scaleb(-scale), context=_EXACT)
    except Inexact as exc:
        raise ValueError(f"it has more than {scale} fractional digits") from exc


def _decimal(kind: ParameterType, given: object) -> Decimal:
    value = _to_scale(_decimal_number(given), kind.scale)
    precision = kind.size or 18
    _require(
        len(value.as_tuple().digits) <= precision, f"it has more than {precision - kind.scale} digits before the point"
    )
    return value


def _money(kind: ParameterType, given: object) -> Decimal:
    value = _to_scale(_decimal_number(given), 4)
    least, most = _MONEY_RANGES[kind.name]
    _require(least <= value <= most, f"it must be {least} to {most}")
    return value


def _date(_: ParameterType, given: object) -> dt.date:
    text = _text(given, "2013-01-31")
    _require(bool(_DATE.match(text)), "it is not a date like 2013-01-31")
    return dt.date.fromisoformat(text)


def _time_of_day(text: str, digits: int) -> dt.time:
    """Parse HH:MM[:SS[.f]] with at most `digits` significant fractional digits."""
    found = _TIME.match(text)
    if not found:
        raise ValueError("its time is not like 13:30 or 13:30:59.25")
    fraction = (found.group(4) or "").rstrip("0")
    _require(len(fraction) <= digits, f"it has more than {digits} fractional digits")
    _require(len(fraction) <= 6, "a parameter carries microseconds: the seventh digit must be 0")
    hour, minute, second = (int(found.group(n) or 0) for n in (1, 2, 3))
    return dt.time(hour, minute, second, int(fraction.ljust(6, "0") or 0))


def _time(kind: ParameterType, given: object) -> dt.time:
    return _time_of_day(_text(given, "13:30:00"), kind.size or 0)


def _moment(text: str, digits: int) -> dt.datetime:
    """Parse an ISO date, alone (midnight) or followed by 'T' or a blank and a time."""
    if _DATE.match(text):
        return dt.datetime.combine(dt.date.fromisoformat(text), dt.time())
    date, time = text[:10], text[11:]
    _require(bool(_DATE.match(date)) and text[10:11] in ("T", " "), "it is not like 2013-01-31T13:30:00")
    _require(not _OFFSET.match(time), "it has an offset, which this type can't hold")
    return dt.datetime.combine(dt.date.fromisoformat(date), _time_of_day(time, digits))


def _datetime2(kind: ParameterType, given: object) -> dt.datetime:
    return _moment(_text(given, "2013-01-31T13:30:00"), kind.size or 0)


def _datetime(_: ParameterType, given: object) -> dt.datetime:
    value = _moment(_text(given, "2013-01-31T13:30:00"), 3)
    _require(value.year >= 1753, "datetime begins in 1753")
    _require(value.microsecond // 1000 % 10 in (0, 3, 7), "datetime's milliseconds end in 0, 3 or 7: use datetime2")
    return value


def _smalldatetime(_: ParameterType, given: object) -> dt.datetime:
    value = _moment(_text(given, "2013-01-31T13:30"), 0)
    _require(value.second == 0, "smalldatetime holds whole minutes")
    _require(dt.datetime(1900, 1, 1) <= value <= dt.datetime(2079, 6, 6, 23, 59), "it must be 1900 to 2079-06-06")  # noqa: DTZ001
    return value


def _datetimeoffset(kind: ParameterType, given: object) -> dt.datetime:
    text = _text(given, "2013-01-31T13:30:00-05:00")
    found = _OFFSET.match(text) if len(text) > 10 else None
    if not found:
        raise ValueError("its offset is missing: end it with Z or like -05:00")
    value = _moment(found.group(1), kind.size or 0)
    zone = found.group(2)
    minutes = 0 if zone in "Zz" else (int(zone[1:3]) * 60 + int(zone[4:6])) * (-1 if zone[0] == "-" else 1)
    _require(abs(minutes) <= 14 * 60 and int(zone[4:6] or 0) < 60, "its offset must be -14:00 to +14:00")
    offset = dt.timedelta(minutes=minutes)
    try:
        _ = value - offset
    except OverflowError as exc:
        raise ValueError("in UTC it is outside of the years 1 to 9999") from exc
    return value.replace(tzinfo=dt.timezone(offset) if minutes else dt.UTC)


def _string(kind: ParameterType, given: object) -> str:
    text = _text(given, "'abc'")
    national = kind.name.startswith("n")
    try:
        units = len(text.encode("utf-16-le")) // 2 if national else len(text.encode("cp1252"))
    except UnicodeEncodeError as exc:
        character = f"U+{ord(text[exc.start]):04X}"
        if 0xD800 <= ord(text[exc.start]) <= 0xDFFF:
            raise ValueError(f"it holds half a surrogate pair ({character})") from exc
        raise ValueError(f"{kind.name} may not hold {character}: declare n{kind.name}") from exc
    _require(kind.size is None or units <= kind.size, f"it has {units} characters, more than {kind.size}")
    return text


def _guid(_: ParameterType, given: object) -> uuid.UUID:
    text = _text(given, "6f9619ff-8b86-d011-b42d-00c04fc964ff")
    _require(bool(_GUID.match(text)), "it is not like 6f9619ff-8b86-d011-b42d-00c04fc964ff")
    return uuid.UUID(text)


def _binary(kind: ParameterType, given: object) -> bytes:
    text = _text(given, "0x00FF")
    _require(bool(_HEX.match(text)), "it is not like 0x00FF, two digits a byte")
    value = bytes.fromhex(text[2:])
    _require(kind.size is None or len(value) <= kind.size, f"it has {len(value)} bytes, more than {kind.size}")
    _require(kind.name != "binary" or len(value) == kind.size, f"it has {len(value)} bytes, not {kind.size}")
    return value


_PARSERS: Mapping[str, Callable[[ParameterType, object], object]] = {
    "bit": _bit,
    **dict.fromkeys(_INTEGER_RANGES, _integer),
    **dict.fromkeys(_FLOAT_RANGES, _float),
    **dict.fromkeys(_MONEY_RANGES, _money),
    "decimal": _decimal,
    "date": _date,
    "time": _time,
    "datetime": _datetime,
    "smalldatetime": _smalldatetime,
    "datetime2": _datetime2,
    "datetimeoffset": _datetimeoffset,
    **dict.fromkeys(("char", "varchar", "nchar", "nvarchar"), _string),
    "uniqueidentifier": _guid,
    **dict.fromkeys(("binary", "varbinary"), _binary),
}
