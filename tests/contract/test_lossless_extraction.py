"""What the driver would lose is kept by SQL Server itself: forms of each type by policy, in any kind of query."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator

import pyarrow as pa
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.shaping import Shape, shape
from sql_databricks_bridge.db.sql_server import MssqlConnection, MssqlServer
from sql_databricks_bridge.errors import ResultShapeError
from sql_databricks_bridge.models.jobs import ResolvedQuery
from sql_databricks_bridge.models.type_policies import TypePolicies

UTC = dt.UTC


def at(text: str) -> dt.datetime:
    """A time without a zone."""
    return dt.datetime.fromisoformat(text)


@pytest.fixture(scope="module")
def connection(sqlserver_settings: Settings) -> Iterator[MssqlConnection]:
    found = MssqlServer(sqlserver_settings).connect()
    yield found
    found.close()


def query(sql: str, *, strict: bool = False, **policies: str) -> ResolvedQuery:
    types = TypePolicies(tuple(policies.items()), strict=strict)
    return ResolvedQuery("q", "queries/q.sql", sql, hashlib.sha256(sql.encode()).hexdigest(), types=types)


def landed(connection: MssqlConnection, asked: ResolvedQuery) -> tuple[Shape, pa.Table]:
    """Shape, run and land a query."""
    found = shape(connection, asked)
    schema = found.schema
    with connection.stream(found.query, batch_bytes=1 << 20) as batches:
        arrived = [batch for raw in batches for batch in schema.convert(raw)]
    return found, pa.Table.from_batches(arrived, schema=schema.schema)


@pytest.mark.parametrize(
    ("policy", "expression", "expected"),
    [
        (
            "exact",
            "CAST('2024-02-29T23:59:59.9999999' AS datetime2(7))",
            {"v": at("2024-02-29T23:59:59.999999"), "v__100ns": 9},
        ),
        ("exact", "CAST('0001-01-01' AS datetime2(7))", {"v": at("0001-01-01T00:00:00"), "v__100ns": 0}),
        (
            "exact",
            "CAST('9999-12-31T23:59:59.9999999' AS datetime2(7))",
            {"v": at("9999-12-31T23:59:59.999999"), "v__100ns": 9},
        ),
        (
            "exact",
            "CAST('1969-12-31T23:59:59.0000001' AS datetime2(7))",
            {"v": at("1969-12-31T23:59:59"), "v__100ns": 1},
        ),
        ("exact", "CAST(NULL AS datetime2(7))", {"v": None, "v__100ns": None}),
        (
            "microseconds",
            "CAST('2024-02-29T23:59:59.1234567' AS datetime2(7))",
            {"v": at("2024-02-29T23:59:59.123456")},
        ),
        (
            "string",
            "CAST('2024-02-29T23:59:59.1234567' AS datetime2(7))",
            {"v": "2024-02-29 23:59:59.1234567"},
        ),
        ("string", "CAST('2024-02-29T23:59:59' AS datetime2(3))", {"v": "2024-02-29 23:59:59.000"}),
    ],
)
def test_datetime2_keeps_its_seventh_digit(
    connection: MssqlConnection, policy: str, expression: str, expected: dict[str, object]
) -> None:
    """Exact: microseconds, and the digit beside them; a string holds it by itself; else its loss is declared."""
    found, table = landed(connection, query(f"SELECT {expression} AS v", datetime2=policy))
    assert table.to_pylist() == [expected]
    assert bool(found.schema.losses) == (policy == "microseconds")


@pytest.mark.parametrize(
    ("policy", "expression", "expected"),
    [
        (
            "exact",
            "CAST('2024-03-01T00:29:59.1234567 +05:30' AS datetimeoffset(7))",
            {
                "v": dt.datetime(2024, 2, 29, 18, 59, 59, 123456, UTC),
                "v__offset_minutes": 330,
                "v__100ns": 7,
            },
        ),
        (
            "exact",
            "CAST('0001-01-01T14:00:00 +14:00' AS datetimeoffset(0))",
            {"v": dt.datetime(1, 1, 1, tzinfo=UTC), "v__offset_minutes": 840},
        ),
        (
            "exact",
            "CAST('9999-12-31T09:59:59.999 -14:00' AS datetimeoffset(3))",
            {"v": dt.datetime(9999, 12, 31, 23, 59, 59, 999000, UTC), "v__offset_minutes": -840},
        ),
        (
            "exact",
            "CAST(NULL AS datetimeoffset(7))",
            {"v": None, "v__offset_minutes": None, "v__100ns": None},
        ),
        (
            "utc",
            "CAST('2024-03-01T00:29:59.5 +05:30' AS datetimeoffset(1))",
            {"v": dt.datetime(2024, 2, 29, 18, 59, 59, 500000, UTC)},
        ),
        (
            "string",
            "CAST('2024-03-01T00:29:59.1234567 -05:30' AS datetimeoffset(7))",
            {"v": "2024-03-01 00:29:59.1234567 -05:30"},
        ),
    ],
)
def test_datetimeoffset_keeps_its_offset(
    connection: MssqlConnection, policy: str, expression: str, expected: dict[str, object]
) -> None:
    """Exact: the instant, and the offset in minutes beside it; a string is the local time with its offset."""
    found, table = landed(connection, query(f"SELECT {expression} AS v", datetimeoffset=policy))
    assert table.to_pylist() == [expected]
    assert bool(found.schema.losses) == (policy == "utc")


@pytest.mark.parametrize(
    ("expression", "text", "base_type"),
    [
        ("CAST(-12.50 AS decimal(10,2))", "-12.50", "decimal(10,2)"),
        ("CAST(2147483647 AS int)", "2147483647", "int"),
        ("CAST(1.1 AS float)", "1.1000000000000001e+000", "float"),
        ("CAST(12.3456 AS money)", "12.3456", "money"),
        ("CAST(N'Zoë 🛫' AS nvarchar(20))", "Zoë 🛫", "nvarchar(20)"),
        ("CAST('abc ' AS varchar(10))", "abc ", "varchar(10)"),
        ("CAST(0x00FF AS varbinary(8))", "0x00FF", "varbinary(8)"),
        ("CAST('2024-02-29T23:59:59.1234567' AS datetime2(7))", "2024-02-29 23:59:59.1234567", "datetime2(7)"),
        ("CAST('2024-02-29T23:59:59.997' AS datetime)", "2024-02-29 23:59:59.997", "datetime"),
        ("CAST('2024-02-29' AS date)", "2024-02-29", "date"),
        ("CAST(1 AS bit)", "1", "bit"),
        ("NULL", None, None),
    ],
)
def test_a_sql_variant_lands_as_text_with_its_type(
    connection: MssqlConnection, expression: str, text: str | None, base_type: str | None
) -> None:
    """The text loses nothing of the value, and says of which type it was."""
    _, table = landed(connection, query(f"SELECT CAST({expression} AS sql_variant) AS v"))
    assert table.to_pylist() == [{"v": text, "v__base_type": base_type}]


def test_a_hierarchyid_lands_as_its_path_or_its_bytes(connection: MssqlConnection) -> None:
    """The text that ToString gives, which Parse takes; the serialization where the policy says so."""
    sql = "SELECT CAST('/1/2.1/-3/' AS hierarchyid) AS v UNION ALL SELECT NULL"
    _, table = landed(connection, query(sql))
    assert sorted(table["v"].to_pylist(), key=str) == ["/1/2.1/-3/", None]
    _, table = landed(connection, query("SELECT CAST('/1/2/' AS hierarchyid) AS v", hierarchyid="bytes"))
    assert table["v"].to_pylist() == [bytes.fromhex("5b40")]


def test_a_geometry_lands_as_bytes_wkb_or_text(connection: MssqlConnection) -> None:
    """WKB and WKT have the SRID beside them, which neither of them holds."""
    sql = "SELECT geometry::STGeomFromText('POINT(1 2)', 4326) AS v"
    _, table = landed(connection, query(sql, geometry="wkb"))
    wkb = bytes.fromhex("0101000000000000000000f03f0000000000000040")
    assert table.to_pylist() == [{"v": wkb, "v__srid": 4326}]
    _, table = landed(connection, query(sql, geometry="wkt"))
    assert table.to_pylist() == [{"v": "POINT (1 2)", "v__srid": 4326}]


MOMENTS = """
    SELECT n AS id, DATEADD(nanosecond, 100 * n, CAST('2024-01-01' AS datetime2(7))) AS v
    FROM (VALUES (1), (2), (3), (4), (5), (6)) AS t (n)"""


@pytest.mark.parametrize(
    ("sql", "digits"),
    [
        (f"SELECT id, v FROM ({MOMENTS}) AS m ORDER BY v DESC", [6, 5, 4, 3, 2, 1]),
        (f"SELECT id, v FROM ({MOMENTS}) AS m ORDER BY -m.id", [6, 5, 4, 3, 2, 1]),
        (f"SELECT TOP (2) id, v FROM ({MOMENTS}) AS m ORDER BY m.id % 4, id", [4, 1]),
        (f"SELECT v FROM ({MOMENTS}) AS m ORDER BY id OFFSET 1 ROWS FETCH NEXT 2 ROWS ONLY", [2, 3]),
        (f"WITH m AS ({MOMENTS}), e AS (SELECT * FROM m WHERE id > 4) SELECT * FROM e ORDER BY 1", [5, 6]),
        (f"SELECT DISTINCT v FROM ({MOMENTS}) AS m WHERE id < 3 ORDER BY v", [1, 2]),
        (
            f"SELECT v FROM ({MOMENTS}) AS m WHERE id = 1 UNION SELECT v FROM ({MOMENTS}) AS m WHERE id < 3 ORDER BY v",
            [1, 2],
        ),
        (f"SELECT MAX(v) AS v FROM ({MOMENTS}) AS m GROUP BY id % 2 ORDER BY MAX(id) -- last", [5, 6]),
    ],
)
def test_a_rewritten_query_has_the_same_rows_in_the_same_order(
    connection: MssqlConnection, sql: str, digits: list[int]
) -> None:
    """ORDER BY, TOP, OFFSET, CTEs, DISTINCT, UNION and GROUP BY mean what they meant."""
    found, table = landed(connection, query(sql))
    assert "bridge_order_" not in "".join(table.column_names)
    assert table["v__100ns"].to_pylist() == digits
    assert found.schema.losses == ()


def test_what_cant_be_rewritten_lands_with_its_loss_or_is_refused(connection: MssqlConnection) -> None:
    """Declared and warned about; under `strict` nothing is run."""
    sql = f"SELECT DISTINCT m.id AS n, v FROM ({MOMENTS}) AS m ORDER BY m.id, v"
    found = shape(connection, query(sql))
    assert [loss.column for loss in found.schema.losses] == ["v"]
    assert "m.id" in found.warnings[0]
    with pytest.raises(ResultShapeError, match=r"v: datetime2\(7\): the seventh"):
        _ = shape(connection, query(sql, strict=True)).schema


def test_strict_takes_what_keeps_everything(connection: MssqlConnection) -> None:
    """The defaults keep a datetime2(7), a datetimeoffset and a hierarchyid whole."""
    sql = "SELECT CAST(NULL AS datetime2(7)) AS a, CAST(NULL AS datetimeoffset(7)) AS b, CAST(NULL AS hierarchyid) AS c"
    assert shape(connection, query(sql, strict=True)).schema.losses == ()


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/0/", "/3/", "/4/7/8/", "/15/16/79/80/", "/1103/1104/5199/5200/", "/4294972495/4294972496/"),
        *("/-1/-8/-9/", "/-72/-73/-4168/", "/1.1/", "/1.0.5/2/", "/0.3/3.4/", "/-1.-1/"),
    ],
)
def test_any_path_of_a_hierarchy_comes_back_as_it_was(connection: MssqlConnection, path: str) -> None:
    """Every range of numbers, negative ones, and levels with dots: as text, and through the bytes."""
    node = f"hierarchyid::Parse('{path}')"
    _, table = landed(
        connection, query(f"SELECT {node} AS v, CONVERT(hierarchyid, CONVERT(varbinary(892), {node})) AS w")
    )
    assert table.to_pylist() == [{"v": path, "w": path}]


def test_points_keep_their_third_and_fourth_coordinate(connection: MssqlConnection) -> None:
    """Z and M stand in WKB and WKT, as OGC writes them, and through both comes the same point again."""
    sql = "SELECT geography::STGeomFromText('POINT(-0.1 51.5 7 8.25)', 4326) AS v"
    _, table = landed(connection, query(sql, geography="wkt"))
    assert table.to_pylist() == [{"v": "POINT (-0.1 51.5 7 8.25)", "v__srid": 4326}]
    _, binary = landed(connection, query(sql, geography="wkb"))
    (row,) = binary.to_pylist()
    again = f"SELECT geography::STGeomFromWKB(0x{row['v'].hex()}, {row['v__srid']}) AS v"
    assert landed(connection, query(again))[1].to_pylist() == landed(connection, query(sql))[1].to_pylist()
