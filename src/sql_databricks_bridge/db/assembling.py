"""Columns that are staged in parts, and the T-SQL that has SQL Server put them together: `r` is the staging table.

Where SQL Server reads what it did not write in that form itself (the text of a sql_variant, well-known text and binary)
it is asked to write it again: a row whose value comes out otherwise is refused.

Sources, in the Transact-SQL reference: DATEADD, SWITCHOFFSET, CONVERT (styles), sql_variant, "hierarchyid data type
method reference", "OGC static geometry methods" (STGeomFromWKB, STGeomFromText), "Extended methods on geometry
instances" (AsBinaryZM, AsTextZM).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sql_databricks_bridge.core.types import SqlServerType
from sql_databricks_bridge.db.identifiers import sql_server_identifier
from sql_databricks_bridge.models.applying import Assembly
from sql_databricks_bridge.models.tables import TargetColumn
from sql_databricks_bridge.models.type_policies import Companion, Form

INCOMPARABLE: Final = frozenset({"geometry", "geography"})
"""Types of assembled columns that can't be keys."""

_COMPANIONS: Final[Mapping[Companion, str]] = {
    Companion.SEVENTH_DIGIT: "smallint",
    Companion.OFFSET: "smallint",
    Companion.BASE_TYPE: "nvarchar(60)",
    Companion.SRID: "int",
}
_FORMS: Final[Mapping[tuple[str, Form], str]] = {
    ("hierarchyid", Form.TEXT): "nvarchar(4000)",
    ("hierarchyid", Form.BYTES): "varbinary(892)",
}
_FORMS_ELSE: Final[Mapping[Form, str]] = {
    Form.TEXT: "nvarchar(max)",
    Form.BYTES: "varbinary(max)",
    Form.WKB: "varbinary(max)",
}


def physical(columns: Sequence[TargetColumn], assemblies: Sequence[Assembly]) -> tuple[TargetColumn, ...]:
    """The staging table's own columns: `columns` in the types that carry them, and behind them all companions."""
    carried = {assembly.column: _carried(assembly) for assembly in assemblies}
    beside = [
        TargetColumn(companion.beside(assembly.column.name), _COMPANIONS[companion], nullable=True)
        for assembly in assemblies
        for companion in assembly.companions
    ]
    return (*(carried.get(column, column) for column in columns), *beside)


def base_types(table: str, assembly: Assembly) -> str:
    """The query for the base types (`base_type`) of a sql_variant's staged values."""
    name = sql_server_identifier(Companion.BASE_TYPE.beside(assembly.column.name))
    return f"SELECT DISTINCT r.{name} AS base_type FROM {table} AS r WHERE r.{name} IS NOT NULL"


def assembled(table: str, columns: Sequence[TargetColumn], assemblies: Sequence[Assembly]) -> str:
    """What stands for the staging table in a FROM clause: itself, or a derived table with the target's columns."""
    if not assemblies:
        return table
    values = {assembly.column: _value(assembly) for assembly in assemblies}
    listed = ", ".join(
        f"{values[column]} AS {_name(column)}" if column in values else f"r.{_name(column)}" for column in columns
    )
    return f"(SELECT {listed} FROM {table} AS r)"


def unfaithful(assembly: Assembly) -> str | None:
    """The condition that SQL Server did not make of a row of `r` what was staged; None where it can't be so."""
    staged, again = f"r.{_name(assembly.column)}", _written_again(assembly)
    if again is None:
        return None
    if assembly.form is Form.TEXT:  # compared by bytes: a collation takes much for the same
        staged, again = f"CONVERT(varbinary(max), {staged})", f"CONVERT(varbinary(max), {again})"
    differs = f"{again} IS NULL OR {again} <> {staged} OR DATALENGTH({again}) <> DATALENGTH({staged})"
    return f"{staged} IS NOT NULL AND ({differs})"


def shown(assembly: Assembly) -> str:
    """An expression for the beginning of a staged value as text, its companion behind it."""
    name = f"r.{_name(assembly.column)}"
    text = f"CONVERT(nvarchar(100), {name})" if assembly.form is Form.TEXT else f"CONVERT(nvarchar(100), {name}, 1)"
    beside = [f"CONVERT(nvarchar(60), r.{_beside(assembly, companion)})" for companion in assembly.companions]
    return " + N' as ' + ".join([text, *beside])


def _carried(assembly: Assembly) -> TargetColumn:
    column = assembly.column
    if assembly.form is Form.PLAIN:
        return column
    kind = _FORMS.get((_kind(column), assembly.form), _FORMS_ELSE[assembly.form])
    return TargetColumn(column.name, kind, nullable=True)


def _value(assembly: Assembly) -> str:
    name = _name(assembly.column)
    return _VALUES[_kind(assembly.column)](assembly, f"r.{name}")


def _moment(assembly: Assembly, value: str) -> str:
    if Companion.SEVENTH_DIGIT in assembly.companions:
        value = f"DATEADD(nanosecond, r.{_beside(assembly, Companion.SEVENTH_DIGIT)} * 100, {value})"
    if Companion.OFFSET in assembly.companions:
        value = f"SWITCHOFFSET({value}, r.{_beside(assembly, Companion.OFFSET)})"
    return value


def _hierarchy(assembly: Assembly, value: str) -> str:
    return f"CONVERT(hierarchyid, {value})" if assembly.form is Form.BYTES else f"hierarchyid::Parse({value})"


def _spatial(assembly: Assembly, value: str) -> str:
    kind = _kind(assembly.column)
    if assembly.form is Form.BYTES:
        return f"CONVERT({kind}, {value})"
    if not assembly.companions:  # a column of VOID
        return f"CONVERT({kind}, NULL)"
    read = "STGeomFromWKB" if assembly.form is Form.WKB else "STGeomFromText"
    return f"{kind}::{read}({value}, r.{_beside(assembly, Companion.SRID)})"


def _variant(assembly: Assembly, value: str) -> str:
    return _by_base_type(assembly, lambda kind: f"CONVERT(sql_variant, {_converted(kind, value)})", "sql_variant")


_VALUES: Final[Mapping[str, Callable[[Assembly, str], str]]] = {
    "datetime2": _moment,
    "datetimeoffset": _moment,
    "hierarchyid": _hierarchy,
    "geometry": _spatial,
    "geography": _spatial,
    "sql_variant": _variant,
}


def _written_again(assembly: Assembly) -> str | None:
    """The staged form of what SQL Server made of it."""
    kind, value = _kind(assembly.column), _value(assembly)
    if kind == "sql_variant":
        staged = f"r.{_name(assembly.column)}"
        return _by_base_type(assembly, lambda base: _text(base, _converted(base, staged)), "nvarchar(max)")
    if kind not in INCOMPARABLE or not assembly.companions:
        return None
    return f"{value}.AsBinaryZM()" if assembly.form is Form.WKB else f"{value}.AsTextZM()"


# sql_variant -------------------------------------------------------------------------------------------------------

_STYLES: Final[Mapping[str, int]] = {
    "date": 23,
    **dict.fromkeys(("datetime", "smalldatetime", "datetime2", "time", "datetimeoffset"), 121),
    **dict.fromkeys(("binary", "varbinary"), 1),
}
_WRITTEN: Final[Mapping[str, str]] = {
    "float": "CONVERT(nvarchar(30), {0}, 3)",
    "real": "CONVERT(nvarchar(30), {0}, 3)",
    "money": "CONVERT(nvarchar(30), {0}, 2)",
    "smallmoney": "CONVERT(nvarchar(30), CONVERT(money, {0}), 2)",
    "date": "CONVERT(nvarchar(10), {0}, 23)",
    "datetime": "CONVERT(nvarchar(23), {0}, 121)",
    "smalldatetime": "CONVERT(nvarchar(23), {0}, 121)",
    "datetime2": "CONVERT(nvarchar(27), CONVERT(datetime2(7), {0}), 121)",
    "time": "CONVERT(nvarchar(16), CONVERT(time(7), {0}), 121)",
    "datetimeoffset": "CONVERT(nvarchar(34), CONVERT(datetimeoffset(7), {0}), 121)",
    "binary": "CONVERT(nvarchar(max), CONVERT(varbinary(8000), {0}), 1)",
    "varbinary": "CONVERT(nvarchar(max), CONVERT(varbinary(8000), {0}), 1)",
}
"""How a value's text is written on the way out, by its base type: docs/types.md."""


def _by_base_type(assembly: Assembly, branch: Callable[[SqlServerType], str], result: str) -> str:
    if not assembly.base_types:
        return f"CONVERT({result}, NULL)"
    whens = " ".join(f"WHEN N'{base.text}' THEN {branch(base)}" for base in map(_base, assembly.base_types))
    return f"CASE r.{_beside(assembly, Companion.BASE_TYPE)} {whens} END"


def _base(text: str) -> SqlServerType:
    """Parse a base type. Its text is then letters, digits, commas, blanks and parentheses: fit to stand in T-SQL."""
    return SqlServerType.parse(text)


def _converted(base: SqlServerType, value: str) -> str:
    """NULL where it can't be converted, and that is looked for."""
    declared = base.text if base.length != 0 else base.text.replace("0", "1")  # the type of ''
    style = f", {_STYLES[base.name]}" if base.name in _STYLES else ""
    return f"TRY_CONVERT({declared}, {value}{style})"


def _text(base: SqlServerType, value: str) -> str:
    return _WRITTEN.get(base.name, "CONVERT(nvarchar(max), {0})").format(value)


def _name(column: TargetColumn) -> str:
    return sql_server_identifier(column.name)


def _beside(assembly: Assembly, companion: Companion) -> str:
    return sql_server_identifier(companion.beside(assembly.column.name))


def _kind(column: TargetColumn) -> str:
    return column.sql_type.split("(")[0].lower()
