"""Every type of the contract at its boundaries, through the SqlServer port, on the stand-in or a real server.

Each value is made by T-SQL that any SQL Server accepts, read by the driver and landed by the type contract.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from decimal import Decimal

import pyarrow as pa
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.ports import ResultColumn
from sql_databricks_bridge.core.types import LandedSchema
from sql_databricks_bridge.db.sql_server import MssqlConnection, MssqlServer
from sql_databricks_bridge.errors import ResultShapeError
from sql_databricks_bridge.models.jobs import ResolvedQuery


@pytest.fixture(scope="module")
def connection(sqlserver_settings: Settings) -> Iterator[MssqlConnection]:
    found = MssqlServer(sqlserver_settings).connect()
    yield found
    found.close()


def query(sql: str) -> ResolvedQuery:
    return ResolvedQuery("q", "queries/q.sql", sql, hashlib.sha256(sql.encode()).hexdigest())


def read(connection: MssqlConnection, sql: str) -> tuple[tuple[ResultColumn, ...], pa.Table]:
    """Describe, run and land a query."""
    columns = connection.describe(query(sql))
    schema = LandedSchema.of(columns)
    with connection.stream(query(sql), batch_bytes=1 << 20) as batches:
        landed = [batch for raw in batches for batch in schema.convert(raw)]
    return columns, pa.Table.from_batches(landed, schema=schema.schema)


def microseconds(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


UTC = dt.UTC
VALUES: list[tuple[str, list[tuple[str, object]]]] = [
    # declared type, [(T-SQL value, what lands)]
    ("bit", [("0", False), ("1", True)]),
    ("tinyint", [("0", 0), ("255", 255)]),
    ("smallint", [("-32768", -32768), ("32767", 32767)]),
    ("int", [("-2147483648", -(2**31)), ("2147483647", 2**31 - 1)]),
    ("bigint", [("-9223372036854775808", -(2**63)), ("9223372036854775807", 2**63 - 1)]),
    ("real", [("-3.4028235E38", -3.4028234663852886e38), ("1.1754944E-38", 1.1754943508222875e-38)]),
    (
        "float",
        [
            ("-1.7976931348623157E308", -1.7976931348623157e308),
            ("2.2250738585072014E-308", 2.2250738585072014e-308),
            ("0.1E0", 0.1),
        ],
    ),
    (
        "decimal(18,4)",
        [
            ("99999999999999.9999", Decimal("99999999999999.9999")),
            ("-0.0001", Decimal("-0.0001")),
            ("0", Decimal("0.0000")),
        ],
    ),
    (
        "decimal(38,0)",
        [
            ("99999999999999999999999999999999999999", Decimal("9" * 38)),
            ("-99999999999999999999999999999999999999", Decimal("-" + "9" * 38)),
        ],
    ),
    ("numeric(38,38)", [("0.00000000000000000000000000000000000001", Decimal("1E-38"))]),
    (
        "money",
        [
            ("-922337203685477.5808", Decimal("-922337203685477.5808")),
            ("922337203685477.5807", Decimal("922337203685477.5807")),
        ],
    ),
    ("smallmoney", [("-214748.3648", Decimal("-214748.3648")), ("214748.3647", Decimal("214748.3647"))]),
    (
        "date",
        [
            ("'00010101'", dt.date(1, 1, 1)),
            ("'99991231'", dt.date(9999, 12, 31)),
            ("'15821010'", dt.date(1582, 10, 10)),
        ],
    ),
    (
        "datetime",
        [
            ("'17530101'", microseconds("1753-01-01")),
            ("'9999-12-31T23:59:59.997'", microseconds("9999-12-31T23:59:59.997")),
            ("'2013-01-01T00:00:00.003'", microseconds("2013-01-01T00:00:00.003")),
        ],
    ),
    (
        "smalldatetime",
        [("'19000101'", microseconds("1900-01-01")), ("'2079-06-06T23:59:00'", microseconds("2079-06-06T23:59"))],
    ),
    ("datetime2(0)", [("'0001-01-01T00:00:00'", microseconds("0001-01-01"))]),
    ("datetime2(3)", [("'2013-01-01T00:00:00.123'", microseconds("2013-01-01T00:00:00.123"))]),
    ("datetime2(6)", [("'9999-12-31T23:59:59.999999'", microseconds("9999-12-31T23:59:59.999999"))]),
    (
        "datetime2(7)",
        [
            ("'9999-12-31T23:59:59.9999999'", microseconds("9999-12-31T23:59:59.999999")),
            ("'2013-01-01T00:00:00.1234567'", microseconds("2013-01-01T00:00:00.123456")),
        ],
    ),
    ("datetimeoffset(0)", [("'2013-01-01T00:00:00-05:00'", dt.datetime(2013, 1, 1, 5, tzinfo=UTC))]),
    (
        "datetimeoffset(7)",
        [
            ("'2013-01-01T00:00:00.1234567+14:00'", dt.datetime(2012, 12, 31, 10, 0, 0, 123456, tzinfo=UTC)),
            ("'0001-01-01T00:00:00+00:00'", dt.datetime(1, 1, 1, tzinfo=UTC)),
            ("'9999-12-31T23:59:59.9999990+00:00'", dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        ],
    ),
    ("time(0)", [("'23:59:59'", "23:59:59")]),
    ("time(3)", [("'00:00:00.120'", "00:00:00.120")]),
    ("time(7)", [("'23:59:59.9999999'", "23:59:59.9999999"), ("'00:00:00'", "00:00:00.0000000")]),
    ("char(5)", [("'ab'", "ab   "), ("''", "     ")]),
    ("varchar(8000)", [("REPLICATE('x', 8000)", "x" * 8000), ("''", ""), ("'it''s '", "it's ")]),
    ("varchar(50)", [("'ñÑáéü€'", "ñÑáéü€")]),
    ("nchar(3)", [("N'é'", "é  ")]),
    ("nvarchar(4000)", [("REPLICATE(N'é', 4000)", "é" * 4000), ("N''", ""), ("N'日本語 😀'", "日本語 😀")]),
    ("varchar(max)", [("REPLICATE(CAST('x' AS varchar(max)), 100000)", "x" * 100_000), ("''", "")]),
    ("nvarchar(max)", [("REPLICATE(CAST(N'é' AS nvarchar(max)), 100000)", "é" * 100_000), ("N''", "")]),
    ("xml", [("N'<a b=\"1\">x</a>'", '<a b="1">x</a>')]),
    (
        "uniqueidentifier",
        [
            ("'6f9619ff-8b86-d011-b42d-00c04fc964ff'", "6F9619FF-8B86-D011-B42D-00C04FC964FF"),
            ("'00000000-0000-0000-0000-000000000001'", "00000000-0000-0000-0000-000000000001"),
        ],
    ),
    ("binary(4)", [("0x01", b"\x01\x00\x00\x00"), ("0x00FF00FF", b"\x00\xff\x00\xff")]),
    ("varbinary(10)", [("0x", b""), ("0x00FF", b"\x00\xff")]),
    ("varbinary(max)", [("CAST(REPLICATE(CAST('x' AS varchar(max)), 100000) AS varbinary(max))", b"x" * 100_000)]),
]


@pytest.mark.parametrize(("declared", "cases"), VALUES, ids=[row[0] for row in VALUES])
def test_a_type_lands_exactly(connection: MssqlConnection, declared: str, cases: list[tuple[str, object]]) -> None:
    """The type is described as declared, and boundary values and NULL land as they are."""
    rows = [*(f"CAST({value} AS {declared})" for value, _ in cases), f"CAST(NULL AS {declared})"]
    sql = " UNION ALL ".join(f"SELECT {number} AS n, {value} AS v" for number, value in enumerate(rows))
    if declared == "xml":  # not comparable, but UNION ALL does not compare
        sql = f"SELECT n, v FROM ({sql}) AS t"
    columns, table = read(connection, f"SELECT n, v FROM ({sql}) AS u ORDER BY n")
    assert columns[1].sql_type == declared
    assert table["v"].to_pylist() == [*(expected for _, expected in cases), None]


@pytest.mark.parametrize(
    ("declared", "value", "expected"),
    [("text", "'ab'", "ab"), ("ntext", "N'é😀'", "é😀"), ("image", "0x00FF", b"\x00\xff")],
)
def test_the_old_types_land(connection: MssqlConnection, declared: str, value: str, expected: object) -> None:
    """text, ntext and image are read as what they are now."""
    columns, table = read(connection, f"SELECT CAST({value} AS {declared}) AS v, CAST(NULL AS {declared}) AS w")
    assert columns[0].sql_type == declared
    assert table.to_pylist() == [{"v": expected, "w": None}]


def test_losses_are_declared(connection: MssqlConnection) -> None:
    """What datetime2(7) and datetimeoffset lose is known from the description."""
    columns = connection.describe(
        query(
            "SELECT CAST(NULL AS datetime2(7)) AS a, CAST(NULL AS datetimeoffset(3)) AS b, CAST(NULL AS time(7)) AS c"
        )
    )
    assert [loss.column for loss in LandedSchema.of(columns).losses] == ["a", "b"]


@pytest.mark.parametrize(
    ("expression", "sql_type", "expected"),
    [
        ("CAST(0x00000000000007D1 AS rowversion)", "timestamp", bytes.fromhex("00000000000007d1")),
        ("hierarchyid::Parse('/1/2/')", "hierarchyid", bytes.fromhex("5b40")),
        (
            "geometry::STGeomFromText('POINT(1 2)', 0)",
            "geometry",
            bytes.fromhex("00000000010c000000000000f03f0000000000000040"),
        ),
    ],
)
def test_binary_types_land_as_serialized(
    connection: MssqlConnection, expression: str, sql_type: str, expected: bytes
) -> None:
    """rowversion and the built-in CLR types land as their bytes ([MS-SSCLRT]), under the type's name; NULL is NULL."""
    columns, table = read(connection, f"SELECT {expression} AS v UNION ALL SELECT NULL AS v")
    assert columns[0].sql_type == sql_type
    assert table.schema.field("v").type == pa.binary()
    assert sorted(table["v"].to_pylist(), key=str) == sorted([expected, None], key=str)


def test_sql_variant_is_refused_with_a_way_out(connection: MssqlConnection) -> None:
    """A sql_variant is refused before the query runs; cast, it lands."""
    columns = connection.describe(query("SELECT CAST(1 AS sql_variant) AS v"))
    with pytest.raises(ResultShapeError, match="CAST"):
        LandedSchema.of(columns)
    _, table = read(connection, "SELECT CAST(CAST(1 AS sql_variant) AS nvarchar(10)) AS v")
    assert table.to_pylist() == [{"v": "1"}]


def test_names_come_as_written(connection: MssqlConnection) -> None:
    """Blanks, brackets and letters of any script in a column's name arrive."""
    columns = connection.describe(query("SELECT 1 AS [a b], 2 AS [x]]y], 3 AS [añó], 4"))
    assert [column.name for column in columns] == ["a b", "x]y", "añó", ""]


def test_a_column_knows_its_collation(connection: MssqlConnection) -> None:
    """Text has a collation, numbers have none."""
    text, number = connection.describe(query("SELECT CAST('a' AS varchar(5)) AS t, 1 AS n"))
    assert text.collation
    assert number.collation is None
    assert (text.max_length, number.max_length) == (5, 4)


def test_a_megabyte_in_every_row_is_whole(connection: MssqlConnection) -> None:
    """Twenty values of 1 MiB arrive whole, in batches that stay near the size asked for after the first."""
    sql = (
        "SELECT TOP (20) ROW_NUMBER() OVER (ORDER BY object_id) AS n, "
        "REPLICATE(CAST('x' AS varchar(max)), 1048576) AS v FROM sys.all_columns"
    )
    connection.describe(query(sql))
    sizes, rows = [], 0
    with connection.stream(query(sql), batch_bytes=4 << 20) as batches:
        for batch in batches:
            rows += batch.num_rows
            sizes.append(batch.nbytes)
            assert all(len(value) == 1 << 20 for value in batch.column(1).to_pylist())
    assert rows == 20
    assert max(sizes[1:], default=0) <= 6 << 20


def test_two_hundred_columns_land(connection: MssqlConnection) -> None:
    """A wide row arrives column for column."""
    wide = ", ".join(f"CAST(N'value {number}' AS nvarchar(4000)) AS c{number}" for number in range(200))
    _, table = read(connection, f"SELECT {wide}")
    assert table.to_pylist() == [{f"c{number}": f"value {number}" for number in range(200)}]
