"""What keeps every value exact, said in T-SQL: IEEE bytes, all digits of a second, offsets, derived tables.

Through Microsoft's driver, on the stand-in or a real server. Sources: "CAST and CONVERT (Transact-SQL)", "DATEPART",
"SWITCHOFFSET", "TODATETIMEOFFSET", "DATEADD", "FROM clause" (derived tables), each quoted at its test.
"""

from __future__ import annotations

import hashlib
import struct
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


def one(cursor: Any, expression: str) -> Any:
    """The value of an expression."""
    ((value,),) = rows(cursor, f"SELECT {expression} AS x")
    return value


# -- bytes of numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "literal", ["0.1E0", "-1.5E0", "0E0", "1.7976931348623157E308", "-2.2250738585072014E-308", "1E100"]
)
def test_a_float_has_the_bytes_of_ieee_754(cursor: Any, literal: str) -> None:
    """The sign's byte first, as binary, varbinary and hexadecimal text."""
    expected = struct.pack(">d", float(literal))
    asked = f"CONVERT(binary(8), {literal}), CAST({literal} AS varbinary(8)), CONVERT(varbinary(max), {literal})"
    assert rows(cursor, f"SELECT {asked}") == [(expected, expected, expected)]
    assert one(cursor, f"CONVERT(nvarchar(16), CONVERT(binary(8), {literal}), 2)") == expected.hex().upper()


@pytest.mark.parametrize("literal", ["1.5", "-0.1", "3.4028235E38", "1.1754944E-38"])
def test_a_real_has_four_bytes(cursor: Any, literal: str) -> None:
    """Its own, not those of the double that it equals."""
    assert one(cursor, f"CONVERT(binary(4), CONVERT(real, {literal}))") == struct.pack(">f", float(literal))


@pytest.mark.parametrize("target", ["float", "real"])
def test_no_bytes_become_a_float(cursor: Any, target: str) -> None:
    """The conversion chart has no way back: error 529."""
    with pytest.raises(DatabaseError, match=f"Explicit conversion from data type varbinary to {target} is not allowed"):
        one(cursor, f"CONVERT({target}, CAST(0x3FF8000000000000 AS varbinary(8)))")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("CONVERT(binary(8), CONVERT(bigint, -2))", "fffffffffffffffe"),
        ("CONVERT(binary(8), -2)", "fffffffffffffffe"),
        ("CONVERT(binary(4), 258)", "00000102"),
        ("CONVERT(binary(2), CONVERT(smallint, -2))", "fffe"),
        ("CONVERT(binary(1), CONVERT(tinyint, 255))", "ff"),
        ("CONVERT(varbinary(8), 7)", "00000007"),
    ],
)
def test_an_integer_has_its_bytes_highest_first(cursor: Any, expression: str, expected: str) -> None:
    """Padded on the left, two's complement."""
    assert one(cursor, expression) == bytes.fromhex(expected)


# -- dates and times -------------------------------------------------------------------------------------------------

OFFSET = "CAST('2024-02-29T23:59:59.1234567-05:30' AS datetimeoffset(7))"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # DATEPART: the offset in minutes, nanoseconds of the declared digits
        (f"DATEPART(tzoffset, {OFFSET})", -330),
        (f"DATEPART(nanosecond, {OFFSET})", 123456700),
        (f"DATEPART(microsecond, {OFFSET})", 123456),
        ("DATEPART(nanosecond, CAST('23:59:59.1234567' AS time(7)))", 123456700),
        ("DATEPART(nanosecond, CAST('0001-01-01T00:00:00.0000009' AS datetime2(7)))", 900),
        ("DATEPART(nanosecond, CAST('2024-02-29T23:59:59.997' AS datetime))", 997000000),
    ],
)
def test_a_part_of_a_moment(cursor: Any, expression: str, expected: int) -> None:
    assert one(cursor, expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # style 121: all declared digits
        (f"{OFFSET}, 121", "2024-02-29 23:59:59.1234567 -05:30"),
        ("CAST('2024-02-29T23:59:59.12-05:30' AS datetimeoffset(2)), 121", "2024-02-29 23:59:59.12 -05:30"),
        ("CAST('2024-02-29T23:59:59-05:30' AS datetimeoffset(0)), 121", "2024-02-29 23:59:59 -05:30"),
        ("CAST('2024-02-29T12:34:56.7' AS datetime2(7)), 121", "2024-02-29 12:34:56.7000000"),
        ("CAST('2024-02-29T12:34:56.7' AS datetime2(1)), 121", "2024-02-29 12:34:56.7"),
        ("CAST('2024-02-29T12:34:56' AS datetime2(0)), 121", "2024-02-29 12:34:56"),
        ("CAST('2024-02-29T12:34:56.997' AS datetime), 121", "2024-02-29 12:34:56.997"),
        ("CAST('2024-02-29T12:34:00' AS smalldatetime), 121", "2024-02-29 12:34:00.000"),
        ("CAST('23:59:59.9999999' AS time(7)), 121", "23:59:59.9999999"),
        ("CAST('23:59:59.12' AS time(2))", "23:59:59.12"),
        ("CAST('23:59:59' AS time(0))", "23:59:59"),
        # style 23 has the date only
        ("CAST('0001-01-01' AS date), 23", "0001-01-01"),
        ("CAST('2024-02-29T12:34:56.997' AS datetime), 23", "2024-02-29"),
        # SWITCHOFFSET keeps the instant, TODATETIMEOFFSET the clock; minutes or a text, of each row
        (f"SWITCHOFFSET({OFFSET}, '+00:00'), 121", "2024-03-01 05:29:59.1234567 +00:00"),
        (f"SWITCHOFFSET({OFFSET}, 840), 121", "2024-03-01 19:29:59.1234567 +14:00"),
        (
            "TODATETIMEOFFSET(CAST('2024-02-29T12:34:56.12' AS datetime2(2)), -330), 121",
            "2024-02-29 12:34:56.12 -05:30",
        ),
        ("TODATETIMEOFFSET(CAST('2024-02-29T12:34:56' AS datetime2(0)), '-02:30'), 121", "2024-02-29 12:34:56 -02:30"),
        # CONVERT of a datetimeoffset: the clock, or under style 1 the instant
        (f"CONVERT(datetime2(7), {OFFSET}), 121", "2024-02-29 23:59:59.1234567"),
        (f"CONVERT(datetime2(7), {OFFSET}, 0), 121", "2024-02-29 23:59:59.1234567"),
        (f"CONVERT(datetime2(7), {OFFSET}, 1), 121", "2024-03-01 05:29:59.1234567"),
        (f"CONVERT(date, {OFFSET}, 1), 23", "2024-03-01"),
        # DATEADD of nanoseconds
        (
            "DATEADD(nanosecond, 900, CAST('2024-02-29T23:59:59.999999' AS datetime2(7))), 121",
            "2024-02-29 23:59:59.9999999",
        ),
        (
            "DATEADD(nanosecond, 100, CAST('2024-02-29T23:59:59.9999999' AS datetime2(7))), 121",
            "2024-03-01 00:00:00.0000000",
        ),
    ],
)
def test_a_moment_as_text(cursor: Any, expression: str, expected: str) -> None:
    assert one(cursor, f"CONVERT(nvarchar(40), {expression})") == expected


def test_an_offset_may_come_from_each_row(cursor: Any) -> None:
    """Minutes and texts that are columns."""
    source = f"(SELECT {OFFSET}, 60, N'-02:30' UNION ALL SELECT {OFFSET}, NULL, NULL) AS q ([d], [minutes], [text])"
    asked = "CONVERT(nvarchar(40), SWITCHOFFSET(q.d, q.minutes), 121), DATEPART(tzoffset, SWITCHOFFSET(q.d, q.text))"
    assert rows(cursor, f"SELECT {asked} FROM {source}") == [
        ("2024-03-01 06:29:59.1234567 +01:00", -150),
        (None, None),
    ]


@pytest.mark.parametrize("offset", ["'+14:01'", "841", "-841"])
def test_no_offset_is_beyond_fourteen_hours(cursor: Any, offset: str) -> None:
    """Error 9812."""
    with pytest.raises(DatabaseError, match="timezone provided to builtin function switchoffset is invalid"):
        one(cursor, f"SWITCHOFFSET({OFFSET}, {offset})")


# -- derived tables --------------------------------------------------------------------------------------------------

DERIVED = [
    ("SELECT q.[b c], q.a FROM (SELECT 1, N'x' UNION ALL SELECT 2, N'y') AS q ([a], [b c])", ["b c", "a"]),
    ("SELECT q.a FROM (SELECT TOP (2) x FROM (VALUES (3), (1), (2)) AS v (x) ORDER BY x) AS q ([a])", ["a"]),
    ("SELECT q.a FROM (SELECT x FROM (VALUES (3), (1)) AS v (x) ORDER BY x OFFSET 0 ROWS) AS q ([a])", ["a"]),
    (
        "WITH c AS (SELECT 1 AS a), d ([p], [q]) AS (SELECT a, a + 1 FROM c) "
        "SELECT r.x FROM (SELECT s.y FROM (SELECT q FROM d) AS s ([y])) AS r ([x]) OPTION (MAXDOP 1)",
        ["x"],
    ),
]


@pytest.mark.parametrize(("sql", "names"), DERIVED)
def test_a_derived_table_runs_and_is_described_alike(cursor: Any, sql: str, names: list[str]) -> None:
    """Names given behind the alias, an ORDER BY that TOP or OFFSET allows, CTEs in front."""
    cursor.execute(sql)
    assert [column[0] for column in cursor.description] == names
    assert cursor.fetchall()
    quoted = sql.replace("'", "''")
    described = rows(cursor, f"EXEC sp_describe_first_result_set N'{quoted}'")
    assert [row[2] for row in described] == names


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT q.a FROM (SELECT x FROM (VALUES (1)) AS v (x) ORDER BY x) AS q ([a])", "ORDER BY clause is invalid"),
        ("SELECT q.a FROM (SELECT 1) AS q ([a], [b])", "fewer columns"),
        ("SELECT q.a FROM (SELECT 1, 2) AS q ([a])", "more columns"),
        ("SELECT q.a FROM (SELECT 1, 2) AS q ([a], [A])", "specified multiple times"),
        ("SELECT 1 FROM (SELECT 1) AS q", "No column name was specified"),
    ],
)
def test_what_no_derived_table_may_be(cursor: Any, sql: str, message: str) -> None:
    """The FROM clause's own rules."""
    with pytest.raises(DatabaseError, match=message):
        rows(cursor, sql)


# -- hierarchyid and shapes where no method is called ----------------------------------------------------------------


def test_a_hierarchyid_takes_texts_and_bytes_unasked_and_is_a_key(cursor: Any) -> None:
    """ "Tutorial: Using the hierarchyid Data Type" inserts '/1/' into a column and asks for MAX of one."""
    run(cursor, "CREATE TABLE nodes (h hierarchyid NOT NULL PRIMARY KEY, name nvarchar(10))")
    run(
        cursor,
        "INSERT INTO nodes VALUES ('/1/', N'a'), (N'/1/1/', N'b'), ('/-1/', N'c'), (hierarchyid::GetRoot(), N'r')",
    )
    run(cursor, "INSERT INTO nodes VALUES (0x68, N'd')")
    with pytest.raises(DatabaseError, match="PRIMARY KEY"):
        run(cursor, "INSERT INTO nodes VALUES (0x58, N'a again')")
    assert rows(cursor, "SELECT name FROM nodes ORDER BY h") == [("r",), ("c",), ("a",), ("b",), ("d",)]
    assert rows(cursor, "SELECT name FROM nodes WHERE h = '/1/1/'") == [("b",)]
    assert rows(cursor, "SELECT MAX(h).ToString(), MIN(h).ToString() FROM nodes") == [("/2/", "/")]
    assert rows(cursor, "SELECT DATALENGTH(h), CONVERT(nvarchar(4000), h) FROM nodes WHERE name = N'b'") == [
        (2, "/1/1/")
    ]


def test_a_shape_takes_texts_and_bytes_unasked(cursor: Any) -> None:
    """As scripts of a whole database write them: INSERT ... VALUES (0xE6100000010C...)."""
    run(cursor, "CREATE TABLE places (id int, g geography)")
    raw = bytes.fromhex("e6100000010c") + struct.pack("<dd", 51.5, -0.1)
    run(
        cursor,
        f"INSERT INTO places VALUES (1, 0x{raw.hex()}), (2, geography::Point(51.5, -0.1, 4326))",
    )
    run(cursor, "INSERT INTO places VALUES (3, 'POINT (-0.1 51.5)')")
    assert rows(cursor, "SELECT CONVERT(varbinary(max), g), DATALENGTH(g) FROM places") == [(raw, len(raw))] * 3


# -- columns of sql_variant ------------------------------------------------------------------------------------------

VARIANTS = [
    # value, base type, precision, scale, bytes at most, its text
    ("CAST(-7 AS int)", "int", 10, 0, 4, "-7"),
    ("CAST(255 AS tinyint)", "tinyint", 3, 0, 1, "255"),
    ("CAST(-9223372036854775808 AS bigint)", "bigint", 19, 0, 8, "-9223372036854775808"),
    ("CAST(1 AS bit)", "bit", 1, 0, 1, "1"),
    ("CAST(1.50 AS decimal(10,2))", "decimal", 10, 2, 9, "1.50"),
    ("CAST(-0.5 AS numeric(38,10))", "numeric", 38, 10, 17, "-0.5000000000"),
    ("CAST('2024-02-29T23:59:59.1234567' AS datetime2(7))", "datetime2", 27, 7, 8, "2024-02-29 23:59:59.1234567"),
    ("CAST('2024-02-29T23:59:59' AS datetime2(0))", "datetime2", 19, 0, 6, "2024-02-29 23:59:59"),
    (
        "CAST('2024-02-29T23:59:59.12-05:30' AS datetimeoffset(2))",
        "datetimeoffset",
        29,
        2,
        8,
        "2024-02-29 23:59:59.12 -05:30",
    ),
    ("CAST('23:59:59.1' AS time(1))", "time", 10, 1, 3, "23:59:59.1"),
    ("CAST('2024-02-29' AS date)", "date", 10, 0, 3, "2024-02-29"),
    ("CAST('2024-02-29T23:59:59.997' AS datetime)", "datetime", 23, 3, 8, "2024-02-29 23:59:59.997"),
    ("CAST(N'aé漢' AS nvarchar(20))", "nvarchar", 0, 0, 40, "aé漢"),
    ("CAST('ab' AS char(4))", "char", 0, 0, 4, "ab  "),
    ("CAST('a0b1c2d3-0000-4000-8000-00000000000f' AS uniqueidentifier)", "uniqueidentifier", 0, 0, 16,
     "A0B1C2D3-0000-4000-8000-00000000000F"),
]  # fmt: skip


@pytest.fixture(scope="module")
def variants(cursor: Any) -> Any:
    run(cursor, "CREATE TABLE variants (id int PRIMARY KEY, v sql_variant NULL)")
    for number, (value, *_) in enumerate(VARIANTS):
        run(cursor, f"INSERT INTO variants VALUES ({number}, {value})")
    run(cursor, "INSERT INTO variants VALUES (100, NULL)")
    run(cursor, "INSERT INTO variants VALUES (101, 0xDEAD), (102, CAST(0x01 AS varbinary(8)))")
    run(cursor, "INSERT INTO variants VALUES (103, 0.1E0)")
    run(cursor, "INSERT INTO variants VALUES (104, CAST(1.2345 AS money))")
    return cursor


def _property(name: str, kind: str) -> str:
    return f"CONVERT({kind}, SQL_VARIANT_PROPERTY(v, '{name}'))"


def test_each_row_of_a_variant_column_has_its_own_type(variants: Any) -> None:
    """SQL_VARIANT_PROPERTY of every base type, and the text that CONVERT makes of it; NULL has neither."""
    asked = [_property("BaseType", "nvarchar(128)")]
    asked += [_property(name, "int") for name in ("Precision", "Scale", "MaxLength")]
    sql = f"SELECT {', '.join(asked)}, CONVERT(nvarchar(4000), v, 121) FROM variants WHERE id <= 100 ORDER BY id"
    assert rows(variants, sql) == [*(tuple(row[1:]) for row in VARIANTS), (None,) * 5]
    collations = rows(variants, f"SELECT id, {_property('Collation', 'nvarchar(128)')} FROM variants WHERE id < 101")
    texts = {number for number, row in enumerate(VARIANTS) if row[1] in ("nvarchar", "char")}
    assert {id_ for id_, name in collations if name is not None} == texts


@pytest.mark.parametrize(
    ("id_", "expression", "expected"),
    [
        (101, "CONVERT(nvarchar(max), CONVERT(varbinary(8000), v), 1)", "0xDEAD"),
        (102, "DATALENGTH(v)", 1),
        (103, "CONVERT(nvarchar(60), CONVERT(float, v), 3)", "1.0000000000000001e-001"),
        (103, "CONVERT(nvarchar(16), CONVERT(binary(8), CONVERT(float, v)), 2)", struct.pack(">d", 0.1).hex().upper()),
        (104, "CONVERT(nvarchar(60), CONVERT(money, v), 2)", "1.2345"),
        (4, "CONVERT(bigint, v)", 1),
        (6, "CONVERT(nvarchar(30), CONVERT(datetime2(3), v), 121)", "2024-02-29 23:59:59.123"),
        (100, "CONVERT(int, v)", None),
    ],
)
def test_a_variant_converts_by_the_type_of_its_row(variants: Any, id_: int, expression: str, expected: object) -> None:
    assert rows(variants, f"SELECT {expression} FROM variants WHERE id = {id_}") == [(expected,)]


def test_only_the_rows_branch_converts(variants: Any) -> None:
    """CASE by base type passes over what other types would not become; without it the row's type is an error."""
    base = _property("BaseType", "nvarchar(128)")
    sql = f"SELECT COUNT(CASE {base} WHEN N'int' THEN CONVERT(int, v) WHEN N'float' THEN CONVERT(float, v) END)"
    assert rows(variants, f"{sql} FROM variants") == [(2,)]
    with pytest.raises(DatabaseError, match="datetime2 to int is not allowed"):
        rows(variants, "SELECT CONVERT(int, v) FROM variants WHERE id = 6")


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        ("-7", [0]),
        ("CAST(-7.00 AS decimal(9,2))", [0]),
        ("N'-7'", []),
        ("N'AÉ漢'", [12]),
        ("CAST('2024-02-29' AS date)", [10]),
        ("0xDEAD", [101]),
        ("0.1E0", [103]),
    ],
)
def test_a_variant_equals_values_of_its_family(variants: Any, value: str, ids: list[int]) -> None:
    """ "sql_variant (Transact-SQL)": families never meet."""
    assert [row[0] for row in rows(variants, f"SELECT id FROM variants WHERE v = {value}")] == ids


def test_variants_are_copied_counted_and_joined_as_they_are(variants: Any) -> None:
    """A copy has the same types and values, row by row; NULL joins nothing."""
    run(variants, "SELECT id, v INTO copied FROM variants")
    base = "CONVERT(nvarchar(128), SQL_VARIANT_PROPERTY({}.v, 'BaseType'))"
    same = f"a.v = b.v AND {base.format('a')} = {base.format('b')}"
    everything = len(VARIANTS) + 4
    assert rows(variants, f"SELECT COUNT(*) FROM variants a JOIN copied b ON a.id = b.id AND {same}") == [(everything,)]
    assert rows(variants, "SELECT COUNT(v), COUNT(*) FROM copied") == [(everything, everything + 1)]
    run(variants, "UPDATE copied SET v = CAST(1 AS smallint) WHERE v IS NULL")
    assert rows(variants, f"SELECT {base.format('c')} FROM copied AS c WHERE id = 100") == [("smallint",)]
    digest = "HASHBYTES('SHA2_256', CONVERT(nvarchar(4000), v))"
    expected = hashlib.sha256("aé漢".encode("utf-16-le")).digest()
    assert rows(variants, f"SELECT {digest} FROM copied WHERE id = 12") == [(expected,)]


@pytest.mark.parametrize("value", ["CAST(N'x' AS nvarchar(max))", "CAST('<a/>' AS xml)", "CAST('/1/' AS hierarchyid)"])
def test_what_no_variant_holds_is_refused(variants: Any, value: str) -> None:
    """Error 206: (max) types, xml and CLR types."""
    with pytest.raises(DatabaseError, match="is incompatible with sql_variant"):
        run(variants, f"INSERT INTO variants VALUES (200, {value})")


def test_nothing_becomes_of_a_variant_unasked(variants: Any) -> None:
    """Error 257."""
    run(variants, "CREATE TABLE plain (n int)")
    with pytest.raises(DatabaseError, match="Implicit conversion from data type sql_variant to int"):
        run(variants, "INSERT INTO plain SELECT v FROM variants WHERE id = 0")
