"""Date and time functions ("Date and time data types and functions (Transact-SQL)")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..contract import SqlType
from . import nodes as n
from .bound import Ex, typed_null, value
from .convert import Converter, convert, to_ticks
from .errors import error, unsupported
from .functions import function
from .types import BIGINT, DATE, DATETIME, DATETIMES, INT, NUMBERS, is_string, nvarchar, type_text

if TYPE_CHECKING:
    from .expr import ExpressionBinder as B

_PARTS = {
    "year": "yy yyyy", "quarter": "qq q", "month": "mm m", "dayofyear": "dy y", "day": "dd d", "week": "wk ww",
    "weekday": "dw w", "hour": "hh", "minute": "mi n", "second": "ss s", "millisecond": "ms", "microsecond": "mcs",
    "nanosecond": "ns", "tzoffset": "tz", "iso_week": "isowk isoww",
}  # fmt: skip
_NAMES = {alias: part for part, aliases in _PARTS.items() for alias in [part, *aliases.split()]}
_CLOCK = frozenset(["hour", "minute", "second", "millisecond", "microsecond", "nanosecond"])
_DATE = frozenset(["year", "quarter", "month", "dayofyear", "day", "week", "weekday", "iso_week"])
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def _part(node: n.Func) -> str:
    first = node.args[0]
    assert isinstance(first, n.Literal)
    part = _NAMES.get(first.text.lower())
    if part is None:
        raise error(155, f"'{first.text}' is not a recognized {node.name.lower()} option.", severity=15, line=node.line)
    return part


def _moment(b: B, ex: Ex, *, text_as: SqlType = DATETIME) -> Ex:
    """A date or time argument; strings and numbers become `text_as`."""
    if ex.is_null:
        return typed_null(DATETIME)
    if is_string(ex.type):
        return convert(ex, text_as, b.env.dateformat)
    if ex.type.name in NUMBERS:
        return convert(ex, DATETIME)
    if ex.type.name not in DATETIMES:
        raise error(8116, f"Argument data type {ex.type.name} is invalid for argument 2 of a date function.")
    return ex


_WIDE = SqlType("datetime2", scale=7)


def _check(part: str, t: SqlType, name: str) -> None:
    """Msg 9810: a part that the type does not have."""
    wrong = (t.name == "date" and part in _CLOCK | {"tzoffset"}) or (t.name == "time" and part in _DATE | {"tzoffset"})
    if wrong or (part == "tzoffset" and t.name not in ("datetime2", "datetimeoffset")):
        raise error(9810, f"The datepart {part} is not supported by date function {name} for data type {t.name}.")


@function("GETDATE CURRENT_TIMESTAMP GETUTCDATE", 0)
def _getdate(b: B, _node: n.Func, _args: list[Ex]) -> Ex:
    return value(f"tsql.ticks_datetime({b.env.now_ticks}::int8, 'datetime2')", DATETIME, nullable=False)


@function("SYSDATETIME SYSUTCDATETIME", 0)
def _sysdatetime(b: B, _node: n.Func, _args: list[Ex]) -> Ex:
    return value(f"{b.env.now_ticks}::int8", _WIDE, nullable=False)


@function("SYSDATETIMEOFFSET", 0)
def _sysdatetimeoffset(b: B, _node: n.Func, _args: list[Ex]) -> Ex:
    return value(f"ROW({b.env.now_ticks},0)::tsql.dto", SqlType("datetimeoffset", scale=7), nullable=False)


@function("DATEADD", 3)
def _dateadd(b: B, node: n.Func, args: list[Ex]) -> Ex:
    part, ex = _part(node), _moment(b, args[2])
    if part in ("tzoffset", "iso_week"):
        raise error(
            9810, f"The datepart {part} is not supported by date function dateadd for data type {ex.type.name}."
        )
    _check(part, ex.type, "dateadd")
    if part in ("microsecond", "nanosecond") and ex.type.name in ("datetime", "smalldatetime"):
        raise error(
            9810, f"The datepart {part} is not supported by date function dateadd for data type {ex.type.name}."
        )
    count = convert(args[1], INT, b.env.dateformat)
    t = ex.type
    if t.scale is not None and t.scale < {"millisecond": 3, "microsecond": 6, "nanosecond": 7}.get(part, 0):
        raise unsupported(f"DATEADD of a {part} to {type_text(t)} (CAST to a finer scale)", node.line)
    kind = "datetime2" if t.name == "datetimeoffset" else t.name
    ticks = f"tsql.date_add({to_ticks(ex.sql, t)}, '{part}', {count.sql}::int8, '{kind}')"
    return value(_back(ticks, ex), t, ex, count, nullable=ex.nullable or count.nullable or is_string(args[2].type))


def _back(ticks: str, ex: Ex) -> str:
    """Local ticks as the type of `ex` again."""
    t = ex.type
    if t.name == "date":
        return f"tsql.ticks_date({ticks})"
    if t.name == "time":
        return f"({ticks} - 599266080000000000)"
    if t.name == "datetime":
        return f"tsql.ticks_datetime({ticks}, 'datetime2')"
    if t.name == "smalldatetime":
        return f"tsql.ticks_small({ticks}, 'datetime2')"
    if t.name == "datetimeoffset":
        return f"tsql.make_dto({ticks}, ({ex.sql}).off)"
    return ticks


@function("DATEDIFF DATEDIFF_BIG", 3)
def _datediff(b: B, node: n.Func, args: list[Ex]) -> Ex:
    part = _part(node)
    if part in ("tzoffset", "iso_week"):
        raise error(9806, f"The datepart {part} is not supported by date function datediff.")
    part = "day" if part == "weekday" else part
    x, y = (_moment(b, a, text_as=SqlType("datetimeoffset", scale=7)) for a in args[1:])
    if part not in ("minute", "second", "millisecond", "microsecond", "nanosecond") and any(
        a.type.name == "datetimeoffset" for a in args[1:]
    ):
        raise unsupported("DATEDIFF in hours or more of datetimeoffset (CAST to datetime2)")
    ticks = [f"({e.sql}).utc" if e.type.name == "datetimeoffset" else to_ticks(e.sql, e.type) for e in (x, y)]
    sql = f"tsql.date_diff('{part}', {ticks[0]}, {ticks[1]})"
    if node.name == "DATEDIFF":
        return value(f"tsql.diff_int({sql})", INT, x, y)
    return value(sql, BIGINT, x, y)


def _datepart_sql(b: B, part: str, ex: Ex) -> str:
    if part == "tzoffset":
        return f"({ex.sql}).off::int4" if ex.type.name == "datetimeoffset" else "0"
    ticks = to_ticks(ex.sql, ex.type)
    simple = {
        "hour": f"({ticks} / 36000000000 % 24)::int4",
        "minute": f"({ticks} / 600000000 % 60)::int4",
        "second": f"({ticks} / 10000000 % 60)::int4",
        "day": f"extract(day FROM tsql.ticks_date({ticks}))::int4",
        "month": f"extract(month FROM tsql.ticks_date({ticks}))::int4",
        "year": f"extract(year FROM tsql.ticks_date({ticks}))::int4",
    }
    if ex.type.name == "date" and part in ("day", "month", "year"):
        return f"extract({part} FROM {ex.sql})::int4"
    if ex.type.name == "datetime" and part in ("millisecond", "microsecond", "nanosecond"):
        factor = {"millisecond": 1, "microsecond": 1000, "nanosecond": 1_000_000}[part]
        return f"(round((({ex.sql}) + 17977982400000) % 300 * 10 / 3.0, 0)::int4 * {factor})"
    return simple.get(part) or f"tsql.part({ticks}, '{part}', {b.env.datefirst})"


@function("DATEPART", 2)
def _datepart(b: B, node: n.Func, args: list[Ex]) -> Ex:
    part, ex = _part(node), _moment(b, args[1], text_as=_WIDE)
    _check(part, ex.type, "datepart")
    return value(_datepart_sql(b, part, ex), INT, ex)


@function("YEAR MONTH DAY", 1)
def _year(b: B, node: n.Func, args: list[Ex]) -> Ex:
    ex = _moment(b, args[0], text_as=_WIDE)
    _check(node.name.lower(), ex.type, "datepart")
    return value(_datepart_sql(b, node.name.lower(), ex), INT, ex)


@function("DATENAME", 2)
def _datename(b: B, node: n.Func, args: list[Ex]) -> Ex:
    part, ex = _part(node), _moment(b, args[1], text_as=_WIDE)
    _check(part, ex.type, "datename")
    t = nvarchar(30)
    if part == "month":
        names = ",".join(f"'{m}'" for m in _MONTHS)
        return value(f"(ARRAY[{names}])[{_datepart_sql(b, 'month', ex)}]", t, ex)
    if part == "weekday":
        names = ",".join(f"'{d}'" for d in _DAYS)
        return value(
            f"(ARRAY[{names}])[extract(isodow FROM tsql.ticks_date({to_ticks(ex.sql, ex.type)}))::int4]", t, ex
        )
    if part == "tzoffset":
        return value(f"tsql.offset_text({_datepart_sql(b, part, ex)})", t, ex)
    return value(f"({_datepart_sql(b, part, ex)})::text", t, ex)


@function("DATETRUNC", 2)
def _datetrunc(b: B, node: n.Func, args: list[Ex]) -> Ex:
    part, ex = _part(node), _moment(b, args[1], text_as=_WIDE)
    _check(part, ex.type, "datetrunc")
    if part in ("weekday", "tzoffset", "nanosecond"):
        raise error(
            9810, f"The datepart {part} is not supported by date function datetrunc for data type {ex.type.name}."
        )
    ticks = f"tsql.truncate_to({to_ticks(ex.sql, ex.type)}, '{part}', {b.env.datefirst})"
    return value(_back(ticks, ex), ex.type, ex)


@function("EOMONTH", 1, 2)
def _eomonth(b: B, _node: n.Func, args: list[Ex]) -> Ex:
    ex = convert(_moment(b, args[0], text_as=DATE), DATE, b.env.dateformat)
    months = convert(args[1], INT).sql if len(args) > 1 else "0"
    return value(f"tsql.eomonth({ex.sql}, {months}::int8)", DATE, ex, nullable=True)


def _ints(b: B, args: list[Ex]) -> list[str]:
    return [f"{b.integer(a).sql}::int8" for a in args]


@function("DATEFROMPARTS", 3)
def _datefromparts(b: B, _node: n.Func, args: list[Ex]) -> Ex:
    return value(f"tsql.date_of({', '.join(_ints(b, args))})", DATE, *args)


@function("DATETIMEFROMPARTS", 7)
def _datetimefromparts(b: B, _node: n.Func, args: list[Ex]) -> Ex:
    p = _ints(b, args)
    ticks = f"(tsql.date_ticks(tsql.date_of({', '.join(p[:3])})) + tsql.clock_of({', '.join(p[3:])}, 3, 'datetime'))"
    return value(f"tsql.ticks_datetime({ticks}, 'datetime2')", DATETIME, *args)


@function("SMALLDATETIMEFROMPARTS", 5)
def _smalldatetimefromparts(b: B, _node: n.Func, args: list[Ex]) -> Ex:
    p = _ints(b, args)
    clock = f"tsql.clock_of({', '.join(p[3:])}, 0, 0, 0, 'smalldatetime')"
    ticks = f"(tsql.date_ticks(tsql.date_of({', '.join(p[:3])})) + {clock})"
    return value(f"tsql.ticks_small({ticks}, 'datetime2')", SqlType("smalldatetime"), *args)


def _scale(b: B, node: n.Func, at: int) -> int:
    from .scope import Scope

    scale = b.constant_int(node.args[at], Scope())
    if scale is None or not 0 <= scale <= 7:
        raise error(
            10760,
            "Scale argument is not valid. Valid expressions for scale argument are integer "
            "constants and "
            "integer constant expressions.",
            line=node.line,
        )
    return scale


@function("DATETIME2FROMPARTS", 8)
def _datetime2fromparts(b: B, node: n.Func, args: list[Ex]) -> Ex:
    p, scale = _ints(b, args), _scale(b, node, 7)
    clock = f"tsql.clock_of({', '.join(p[3:7])}, {scale}, 'datetime2')"
    return value(
        f"(tsql.date_ticks(tsql.date_of({', '.join(p[:3])})) + {clock})", SqlType("datetime2", scale=scale), *args
    )


@function("TIMEFROMPARTS", 5)
def _timefromparts(b: B, node: n.Func, args: list[Ex]) -> Ex:
    p, scale = _ints(b, args), _scale(b, node, 4)
    return value(f"tsql.clock_of({', '.join(p[:4])}, {scale}, 'time')", SqlType("time", scale=scale), *args)


@function("ISDATE", 1)
def _isdate(b: B, _node: n.Func, args: list[Ex]) -> Ex:
    ex = args[0]
    if ex.type.name in ("datetime", "smalldatetime"):
        return value(f"(CASE WHEN {ex.sql} IS NULL THEN 0 ELSE 1 END)", INT, nullable=False)
    if not is_string(ex.type):
        raise error(8116, f"Argument data type {ex.type.name} is invalid for argument 1 of isdate function.")
    test = Converter(attempt=True, dateformat=b.env.dateformat)(ex, DATETIME).sql
    return value(
        f"(CASE WHEN {ex.sql} IS NULL OR btrim({ex.sql}, ' ') = '' OR {test} IS NULL THEN 0 ELSE 1 END)",
        INT,
        nullable=False,
    )


def _offset(b: B, ex: Ex, function_name: str) -> str:
    """Minutes from an int or a '+hh:mm' text."""
    return f"tsql.offset_minutes({ex.sql}, '{function_name}')" if is_string(ex.type) else b.integer(ex).sql


@function("SWITCHOFFSET", 2)
def _switchoffset(b: B, _node: n.Func, args: list[Ex]) -> Ex:
    t = args[0].type if args[0].type.name == "datetimeoffset" else SqlType("datetimeoffset", scale=7)
    ex = convert(args[0], t, b.env.dateformat)
    return value(f"tsql.switch_offset({ex.sql}, {_offset(b, args[1], 'switchoffset')})", t, ex, args[1])


@function("TODATETIMEOFFSET", 2)
def _todatetimeoffset(b: B, _node: n.Func, args: list[Ex]) -> Ex:
    ex = args[0]
    if ex.type.name == "datetimeoffset" or is_string(ex.type):
        ex = convert(ex, _WIDE, b.env.dateformat)
    scale = {"date": 0, "datetime": 3, "smalldatetime": 0}.get(ex.type.name, ex.type.scale or 0)
    ticks = to_ticks(ex.sql, ex.type)
    off = _offset(b, args[1], "todatetimeoffset")
    return value(f"tsql.make_dto({ticks}, {off})", SqlType("datetimeoffset", scale=scale), ex, args[1])


# A small map of Windows zone names (CLDR windowsZones): enough for reports; others are refused.
_ZONES = {
    "utc": "UTC",
    "eastern standard time": "America/New_York",
    "central standard time": "America/Chicago",
    "mountain standard time": "America/Denver",
    "us mountain standard time": "America/Phoenix",
    "pacific standard time": "America/Los_Angeles",
    "alaskan standard time": "America/Anchorage",
    "hawaiian standard time": "Pacific/Honolulu",
    "sa pacific standard time": "America/Bogota",
    "se asia standard time": "Asia/Bangkok",
    "central europe standard time": "Europe/Budapest",
    "w. europe standard time": "Europe/Berlin",
    "romance standard time": "Europe/Paris",
    "gmt standard time": "Europe/London",
    "e. south america standard time": "America/Sao_Paulo",
    "argentina standard time": "America/Buenos_Aires",
    "pacific sa standard time": "America/Santiago",
    "central standard time (mexico)": "America/Mexico_City",
    "tokyo standard time": "Asia/Tokyo",
    "china standard time": "Asia/Shanghai",
    "india standard time": "Asia/Kolkata",
}


def at_time_zone(_b: B, ex: Ex, zone: Ex) -> Ex:
    """x AT TIME ZONE 'name': an offset given to a zoneless value, or a datetimeoffset moved to the zone."""
    if zone.constant is None:
        raise unsupported("AT TIME ZONE with a name that is no constant")
    name = _ZONES.get(zone.constant.lower())
    if name is None:
        raise unsupported(f"the time zone '{zone.constant}'")
    if ex.type.name == "datetimeoffset":
        sql = f"tsql.utc_to_zone(({ex.sql}).utc, '{name}')"
        return value(sql, ex.type, ex)
    if ex.type.name not in ("datetime", "datetime2", "smalldatetime"):
        raise error(8116, f"Argument data type {ex.type.name} is invalid for argument 1 of AT TIME ZONE function.")
    scale = {"datetime": 3, "smalldatetime": 0}.get(ex.type.name, ex.type.scale or 0)
    return value(f"tsql.zone_to_dto({to_ticks(ex.sql, ex.type)}, '{name}')", SqlType("datetimeoffset", scale=scale), ex)
