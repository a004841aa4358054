"""What is staged in parts is put together by T-SQL that names nothing but the staging table's columns."""

from __future__ import annotations

import pytest

from sql_databricks_bridge.db.assembling import assembled, base_types, physical, unfaithful
from sql_databricks_bridge.models.applying import Assembly
from sql_databricks_bridge.models.tables import TargetColumn
from sql_databricks_bridge.models.type_policies import Companion, Form

ID = TargetColumn("id", "int", nullable=False)


def _of(sql_type: str, form: Form, *companions: Companion, base_types: tuple[str, ...] = ()) -> Assembly:
    return Assembly(TargetColumn("a]b", sql_type, nullable=True), form, companions, base_types)


def test_a_table_without_parts_is_itself() -> None:
    assert assembled("[bridge].[stg]", [ID], ()) == "[bridge].[stg]"
    assert physical([ID], ()) == (ID,)


@pytest.mark.parametrize(
    ("made", "expression"),
    [
        (
            _of("datetime2(7)", Form.PLAIN, Companion.SEVENTH_DIGIT),
            "DATEADD(nanosecond, r.[a]]b__100ns] * 100, r.[a]]b])",
        ),
        (
            _of("datetimeoffset(7)", Form.PLAIN, Companion.OFFSET, Companion.SEVENTH_DIGIT),
            "SWITCHOFFSET(DATEADD(nanosecond, r.[a]]b__100ns] * 100, r.[a]]b]), r.[a]]b__offset_minutes])",
        ),
        (_of("hierarchyid", Form.TEXT), "hierarchyid::Parse(r.[a]]b])"),
        (_of("hierarchyid", Form.BYTES), "CONVERT(hierarchyid, r.[a]]b])"),
        (_of("geometry", Form.BYTES), "CONVERT(geometry, r.[a]]b])"),
        (_of("geography", Form.WKB, Companion.SRID), "geography::STGeomFromWKB(r.[a]]b], r.[a]]b__srid])"),
        (_of("geometry", Form.TEXT, Companion.SRID), "geometry::STGeomFromText(r.[a]]b], r.[a]]b__srid])"),
        (_of("geometry", Form.TEXT), "CONVERT(geometry, NULL)"),
        (
            _of("sql_variant", Form.TEXT, Companion.BASE_TYPE, base_types=("decimal(5,2)", "nvarchar(0)")),
            "CASE r.[a]]b__base_type] "
            "WHEN N'decimal(5,2)' THEN CONVERT(sql_variant, TRY_CONVERT(decimal(5,2), r.[a]]b])) "
            "WHEN N'nvarchar(0)' THEN CONVERT(sql_variant, TRY_CONVERT(nvarchar(1), r.[a]]b])) END",
        ),
    ],
    ids=lambda value: f"{value.column.sql_type}-{value.form}" if isinstance(value, Assembly) else "",
)
def test_each_type_is_put_together_by_its_own_function(made: Assembly, expression: str) -> None:
    derived = assembled("[bridge].[stg]", [ID, made.column], [made])
    assert derived == f"(SELECT r.[id], {expression} AS [a]]b] FROM [bridge].[stg] AS r)"


def test_companions_are_staged_behind_all_columns() -> None:
    made = _of("geography", Form.WKB, Companion.SRID)
    columns = physical([made.column, ID], [made])
    assert [(column.name, column.sql_type) for column in columns] == [
        ("a]b", "varbinary(max)"),
        ("id", "int"),
        ("a]b__srid", "int"),
    ]


def test_only_what_sql_server_reads_from_others_is_compared_with_what_it_writes() -> None:
    assert unfaithful(_of("datetime2(7)", Form.PLAIN, Companion.SEVENTH_DIGIT)) is None
    assert unfaithful(_of("geometry", Form.BYTES)) is None
    assert ".AsBinaryZM() <> r.[a]]b]" in (unfaithful(_of("geometry", Form.WKB, Companion.SRID)) or "")
    assert ".AsTextZM()" in (unfaithful(_of("geography", Form.TEXT, Companion.SRID)) or "")


@pytest.mark.parametrize("text", ["int') --", "x' OR 1=1", "nvarchar(max", ""])
def test_a_base_type_that_is_none_never_stands_in_a_statement(text: str) -> None:
    with pytest.raises(ValueError, match="not a SQL Server type name"):
        assembled("[t]", [], [_of("sql_variant", Form.TEXT, Companion.BASE_TYPE, base_types=(text,))])


def test_base_types_are_asked_of_the_staged_rows() -> None:
    sql = base_types("[bridge].[stg]", _of("sql_variant", Form.TEXT, Companion.BASE_TYPE))
    assert sql.startswith("SELECT DISTINCT r.[a]]b__base_type] AS base_type FROM [bridge].[stg] AS r")
