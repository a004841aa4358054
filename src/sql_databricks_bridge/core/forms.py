"""In which forms a column lands: the T-SQL that has SQL Server itself keep what the driver or Parquet would lose.

Sources: DATEPART, CONVERT (styles), SQL_VARIANT_PROPERTY, "hierarchyid data type method reference", "OGC methods on
geometry instances" (AsBinaryZM, AsTextZM, STSrid) in the Transact-SQL reference.
"""

from __future__ import annotations

from dataclasses import dataclass

from sql_databricks_bridge.core.ports import ResultColumn
from sql_databricks_bridge.core.types import Origin, SqlServerType, is_utf8
from sql_databricks_bridge.models.type_policies import Companion, Form, TypePolicies

LOST_BASE_TYPE = "the type of each value is not kept"
LOST_NINTH_DIGIT = "SQL Server writes 8 significant digits, and a float32 can need 9"
LOST_COLLATION = "the collation of strings in it is not kept"

_LONGEST_UNICODE = 4000
_SEVENTH_DIGIT = "CONVERT(smallint, DATEPART(nanosecond, {0}) / 100 % 10)"
_OFFSET = "CONVERT(smallint, DATEPART(tzoffset, {0}))"
_SRID = "{0}.STSrid"
_VARIANT_TEXTS = {
    "float": "CONVERT(nvarchar(30), CONVERT(float, {0}), 3)",
    "real": "CONVERT(nvarchar(30), CONVERT(real, {0}), 3)",
    "money": "CONVERT(nvarchar(30), CONVERT(money, {0}), 2)",
    "smallmoney": "CONVERT(nvarchar(30), CONVERT(money, {0}), 2)",
    "date": "CONVERT(nvarchar(10), CONVERT(date, {0}), 23)",
    "datetime": "CONVERT(nvarchar(23), CONVERT(datetime, {0}), 121)",
    "smalldatetime": "CONVERT(nvarchar(23), CONVERT(smalldatetime, {0}), 121)",
    "datetime2": "CONVERT(nvarchar(27), CONVERT(datetime2(7), {0}), 121)",
    "time": "CONVERT(nvarchar(16), CONVERT(time(7), {0}), 121)",
    "datetimeoffset": "CONVERT(nvarchar(34), CONVERT(datetimeoffset(7), {0}), 121)",
    "binary": "CONVERT(nvarchar(max), CONVERT(varbinary(8000), {0}), 1)",
    "varbinary": "CONVERT(nvarchar(max), CONVERT(varbinary(8000), {0}), 1)",
}


@dataclass(frozen=True, slots=True)
class Output:
    """A column of the rewritten query: `expression` is T-SQL with {0} for the user's column, None for that itself."""

    name: str
    origin: Origin
    expression: str | None = None


def outputs(column: ResultColumn, policies: TypePolicies) -> tuple[Output, ...]:
    """What a column becomes under the policies: its value first, companions behind it."""
    try:
        found = SqlServerType.parse(column.sql_type)
    except ValueError:
        return (Output(column.name, Origin.as_driven(column)),)
    if is_utf8(column):
        return (_in_utf16(column, found),)
    policy = policies.of(found.name)
    if policy is None:
        return (Output(column.name, Origin.as_driven(column)),)
    return _OF_TYPE[found.name](column, found, policy)


def _in_utf16(column: ResultColumn, found: SqlServerType) -> Output:
    """Text in UTF-8 as nvarchar: the driver's Arrow may lose a character beyond U+FFFF of UTF-8, without a word (m).

    It does where a row has a column of (max), which it reads in pieces. A byte of UTF-8 is one UTF-16 unit at most.
    """
    length = found.length if found.length is not None and 0 < found.length <= _LONGEST_UNICODE else "max"
    return Output(column.name, Origin(column), f"CONVERT(nvarchar({length}), {{0}})")


def _datetime2(column: ResultColumn, found: SqlServerType, policy: str) -> tuple[Output, ...]:
    if policy == "string":
        return (_text(column, "CONVERT(nvarchar(27), {0}, 121)"),)
    if policy == "microseconds" or found.scale != 7:
        return (Output(column.name, Origin.as_driven(column)),)
    return (Output(column.name, Origin(column)), _beside(column, Companion.SEVENTH_DIGIT, _SEVENTH_DIGIT))


def _datetimeoffset(column: ResultColumn, found: SqlServerType, policy: str) -> tuple[Output, ...]:
    if policy == "string":
        return (_text(column, "CONVERT(nvarchar(34), {0}, 121)"),)
    if policy == "utc":
        return (Output(column.name, Origin.as_driven(column)),)
    digit = (_beside(column, Companion.SEVENTH_DIGIT, _SEVENTH_DIGIT),) if found.scale == 7 else ()
    return (Output(column.name, Origin(column)), _beside(column, Companion.OFFSET, _OFFSET), *digit)


def _sql_variant(column: ResultColumn, _found: SqlServerType, policy: str) -> tuple[Output, ...]:
    if policy == "string":
        return (_text(column, _variant_text(), LOST_BASE_TYPE),)
    return (
        _text(column, _variant_text(), LOST_COLLATION),
        _beside(column, Companion.BASE_TYPE, _variant_type()),
    )


def _hierarchyid(column: ResultColumn, _found: SqlServerType, policy: str) -> tuple[Output, ...]:
    if policy == "bytes":
        return (Output(column.name, Origin.as_driven(column)),)
    return (_text(column, "{0}.ToString()"),)


def _spatial(column: ResultColumn, _found: SqlServerType, policy: str) -> tuple[Output, ...]:
    if policy == "bytes":
        return (Output(column.name, Origin.as_driven(column)),)
    if policy == "wkt":
        value = _text(column, "{0}.AsTextZM()")
    else:
        value = Output(column.name, Origin(column, Form.WKB), "{0}.AsBinaryZM()")
    return (value, _beside(column, Companion.SRID, _SRID))


def _vector(column: ResultColumn, _found: SqlServerType, _policy: str) -> tuple[Output, ...]:
    return (_text(column, "CONVERT(nvarchar(max), {0})", LOST_NINTH_DIGIT),)


_OF_TYPE = {
    "datetime2": _datetime2,
    "datetimeoffset": _datetimeoffset,
    "sql_variant": _sql_variant,
    "hierarchyid": _hierarchyid,
    "geometry": _spatial,
    "geography": _spatial,
    "vector": _vector,
}


def _text(column: ResultColumn, expression: str, *losses: str) -> Output:
    return Output(column.name, Origin(column, Form.TEXT, losses=losses), expression)


def _beside(column: ResultColumn, companion: Companion, expression: str) -> Output:
    return Output(companion.beside(column.name), Origin(column, companion=companion), expression)


def _base(name: str) -> str:
    return f"CONVERT(nvarchar(128), SQL_VARIANT_PROPERTY({{0}}, '{name}'))"


def _variant_text() -> str:
    """The value's text, by its own type: styles that lose nothing, where the default style would."""
    cases = " ".join(f"WHEN N'{name}' THEN {text}" for name, text in _VARIANT_TEXTS.items())
    return f"CASE {_base('BaseType')} {cases} ELSE CONVERT(nvarchar(max), {{0}}) END"


def _variant_type() -> str:
    """The value's type as a declaration. MaxLength counts bytes; NULL has no type."""
    name, bytes_, scale = _base("BaseType"), _base("MaxLength"), _base("Scale")
    sized = f"{name} + N'(' + {bytes_} + N')'"
    characters = (
        f"{name} + N'(' + CONVERT(nvarchar(10), CONVERT(int, SQL_VARIANT_PROPERTY({{0}}, 'MaxLength')) / 2) + N')'"
    )
    exact = f"{name} + N'(' + {_base('Precision')} + N',' + {scale} + N')'"
    fractional = f"{name} + N'(' + {scale} + N')'"
    cases = (
        [(kind, exact) for kind in ("decimal", "numeric")]
        + [(kind, sized) for kind in ("char", "varchar", "binary", "varbinary")]
        + [(kind, characters) for kind in ("nchar", "nvarchar")]
        + [(kind, fractional) for kind in ("time", "datetime2", "datetimeoffset")]
    )
    whens = " ".join(f"WHEN N'{kind}' THEN {text}" for kind, text in cases)
    return f"CONVERT(nvarchar(60), CASE {name} {whens} ELSE {name} END)"
