"""hierarchyid, geometry, geography and sql_variant by Microsoft's own methods, through Microsoft's driver.

The T-SQL is such that any SQL Server accepts it ("hierarchyid data type method reference", "Spatial types", MS-SSCLRT).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from mssql_python.exceptions import DatabaseError

from sql_databricks_bridge.core.config import Settings
from tests.contract.driver_database import driver_database, rows, run


@pytest.fixture(scope="module")
def cursor(sqlserver_settings: Settings) -> Iterator[Any]:
    with driver_database(sqlserver_settings) as cursors:
        yield cursors()


PATHS = ["/", "/-9/", "/-3/", "/0/", "/1/", "/1/1/", "/1.1/", "/1.2.3/", "/2/", "/8/", "/16/5200/", "/80/", "/1104/"]


def test_a_hierarchyid_column_keeps_every_path_and_its_order(cursor: Any) -> None:
    """Negative ordinals, dots and every depth come back from ToString(), depth first; the root is the empty bytes."""
    run(cursor, "CREATE TABLE tree (id int PRIMARY KEY, path nvarchar(100), h hierarchyid NULL)")
    for number, path in enumerate(reversed(PATHS)):
        run(cursor, "INSERT INTO tree (id, path) VALUES (?, ?)", number, path)
    run(cursor, "UPDATE tree SET h = CAST(path AS hierarchyid)")
    run(cursor, "INSERT INTO tree (id) VALUES (100)")
    found = rows(cursor, "SELECT t.h.ToString(), t.[path] FROM tree AS t WHERE t.h IS NOT NULL ORDER BY t.h")
    assert found == [(path, path) for path in PATHS]
    same = "t.h = hierarchyid::Parse(t.path) AND CONVERT(hierarchyid, CONVERT(varbinary(892), t.h)).ToString() = t.path"
    assert rows(cursor, f"SELECT COUNT(*) FROM tree AS t WHERE {same}") == [(len(PATHS),)]
    assert rows(cursor, "SELECT h.ToString() FROM tree WHERE id = 100") == [(None,)]
    assert rows(cursor, "SELECT COUNT(*) FROM tree WHERE h < hierarchyid::Parse('/1.1/')") == [(PATHS.index("/1.1/"),)]


@pytest.mark.parametrize(("path", "serialized"), [("/", ""), ("/1/", "58"), ("/1/2/", "5b40")])
def test_a_path_has_the_documented_bytes(cursor: Any, path: str, serialized: str) -> None:
    """The serialization of MS-SSCLRT 2.2."""
    sql = "SELECT CONVERT(varbinary(892), hierarchyid::Parse(CAST(? AS nvarchar(100))))"
    assert rows(cursor, sql, path) == [(bytes.fromhex(serialized),)]


POINTS = ["POINT (1 2)", "POINT (-1.5 2.25 3)", "POINT (1 2 3 4)", "POINT (1 2 NULL 4)"]


@pytest.mark.parametrize("kind", ["geometry", "geography"])
def test_a_point_keeps_its_coordinates_and_srid(cursor: Any, kind: str) -> None:
    """Z and M go through AsTextZM and AsBinaryZM; the open forms leave them out; the bytes make the value again."""
    table = f"points_{kind}"
    run(cursor, f"CREATE TABLE {table} (id int PRIMARY KEY, wkt nvarchar(100), g {kind} NULL, b varbinary(max))")
    for number, wkt in enumerate(POINTS):
        run(cursor, f"INSERT INTO {table} (id, wkt) VALUES (?, ?)", number, wkt)
    run(cursor, f"UPDATE {table} SET g = {kind}::STGeomFromText(wkt, 4326)")
    run(cursor, f"UPDATE {table} SET b = CONVERT(varbinary(max), g)")
    run(cursor, f"INSERT INTO {table} (id) VALUES (100)")
    everything = f"SELECT p.g.AsTextZM(), p.[g].STSrid, CONVERT({kind}, p.b).AsTextZM() FROM {table} AS p ORDER BY id"
    assert rows(cursor, everything) == [*((wkt, 4326, wkt) for wkt in POINTS), (None, None, None)]
    assert rows(cursor, f"SELECT g.STAsText() FROM {table} WHERE id = 2") == [("POINT (1 2)",)]
    ((plain, full),) = rows(cursor, f"SELECT g.STAsBinary(), g.AsBinaryZM() FROM {table} WHERE id = 2")
    assert plain == bytes.fromhex("0101000000000000000000f03f0000000000000040")
    assert full == bytes.fromhex("01b90b0000") + plain[5:] + bytes.fromhex("00000000000008400000000000001040")
    again = (
        f"SELECT COUNT(*) FROM {table} WHERE CONVERT(varbinary(max), {kind}::STGeomFromWKB(g.AsBinaryZM(), 4326)) = b"
    )
    assert rows(cursor, again) == [(len(POINTS),)]


def test_another_shape_is_kept_as_bytes_and_its_methods_are_refused(cursor: Any) -> None:
    """A line's bytes pass through a column; what would need its coordinates says so."""
    line = bytes.fromhex("e6100000") + bytes([1, 0x14]) + bytes(32)
    run(cursor, "CREATE TABLE shapes (g geometry)")
    run(cursor, "INSERT INTO shapes SELECT CONVERT(geometry, CAST(? AS varbinary(max)))", line)
    assert rows(cursor, "SELECT CONVERT(varbinary(max), g), g.STSrid FROM shapes") == [(line, 4326)]
    with pytest.raises(DatabaseError, match="no point"):
        rows(cursor, "SELECT g.STAsText() FROM shapes")


@pytest.mark.parametrize("text", ["1/2/", "/1/2", "/a/", "/1//"])
def test_what_is_no_path_is_refused(cursor: Any, text: str) -> None:
    """Error 6522 with the CLR type's own 24001."""
    with pytest.raises(DatabaseError, match="24001"):
        rows(cursor, "SELECT CAST(CAST(? AS nvarchar(20)) AS hierarchyid).ToString()", text)


def _property(value: str, name: str, kind: str) -> str:
    return f"CONVERT({kind}, SQL_VARIANT_PROPERTY(CAST({value} AS sql_variant), '{name}'))"


@pytest.mark.parametrize(
    ("value", "base_type", "precision", "scale", "max_length"),
    [
        ("1", "int", 10, 0, 4),
        ("CAST(1.5 AS decimal(10,2))", "decimal", 10, 2, 9),
        ("CAST(N'ab' AS nvarchar(20))", "nvarchar", 0, 0, 40),
        ("CAST(0x01 AS varbinary(8))", "varbinary", 0, 0, 8),
        ("CAST('2024-01-01' AS datetime2(7))", "datetime2", 27, 7, 8),
        ("NULL", None, None, None, None),
    ],
)
def test_a_variant_tells_its_type(
    cursor: Any, value: str, base_type: str | None, precision: int | None, scale: int | None, max_length: int | None
) -> None:
    """SQL_VARIANT_PROPERTY of BaseType, Precision, Scale and MaxLength; NULL of a NULL."""
    asked = [
        _property(value, "BaseType", "nvarchar(128)"),
        _property(value, "Precision", "int"),
        _property(value, "Scale", "int"),
        _property(value, "MaxLength", "int"),
    ]
    assert rows(cursor, f"SELECT {', '.join(asked)}") == [(base_type, precision, scale, max_length)]


def test_a_variant_of_text_tells_its_collation(cursor: Any) -> None:
    """Text has one, a number has none."""
    text, number = (_property(value, "Collation", "nvarchar(128)") for value in ("CAST('a' AS varchar(5))", "1"))
    wanted = rows(cursor, "SELECT CONVERT(nvarchar(128), DATABASEPROPERTYEX(DB_NAME(), 'Collation'))")[0][0]
    assert rows(cursor, f"SELECT {text}, {number}") == [(wanted, None)]


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [("1", "1", 1), ("1", "CAST(1.0 AS decimal(5,1))", 1), ("1", "2", 0), ("1", "N'1'", 0), ("'a'", "N'a'", 1)],
)
def test_variants_are_equal_within_a_family_only(cursor: Any, left: str, right: str, equal: int) -> None:
    """A number is never equal to text, however it reads."""
    condition = f"CAST({left} AS sql_variant) = CAST({right} AS sql_variant)"
    assert rows(cursor, f"SELECT CASE WHEN {condition} THEN 1 ELSE 0 END") == [(equal,)]


def test_only_the_branch_that_is_taken_converts(cursor: Any) -> None:
    """What the value would not become is no error of a branch for other types."""
    base = "CONVERT(nvarchar(128), SQL_VARIANT_PROPERTY(v, 'BaseType'))"
    text = (
        f"CASE {base} WHEN N'float' THEN CONVERT(nvarchar(60), CONVERT(float, v), 3) ELSE CONVERT(nvarchar(60), v) END"
    )
    assert rows(cursor, f"SELECT {text} FROM (SELECT CAST(N'abc' AS sql_variant) AS v) AS t") == [("abc",)]
    with pytest.raises(DatabaseError, match="float"):
        rows(cursor, "SELECT CONVERT(float, CAST(N'abc' AS sql_variant))")
