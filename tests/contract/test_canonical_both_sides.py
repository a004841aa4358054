"""The same row has the same digest on both sides: SQL Server's of the query, and Arrow's of what landed of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pytest

from sql_databricks_bridge.core.canonical import landed, server
from sql_databricks_bridge.core.canonical.columns import CanonicalColumn, canonical_columns
from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.manifest import ManifestColumn
from sql_databricks_bridge.core.shaping import Shape, shape
from sql_databricks_bridge.db.sql_server import MssqlConnection, MssqlServer
from sql_databricks_bridge.models.jobs import ResolvedQuery
from sql_databricks_bridge.models.quoting import sql_server_identifier
from sql_databricks_bridge.models.type_policies import TypePolicies

_NINES, _LONG = "9" * 38, "REPLICATE(CAST(N'é' AS nvarchar(max)), 9001)"

# declared type, T-SQL values; NULL is added to each
_VALUES: dict[str, Sequence[str]] = {
    "bit": ["0", "1"],
    "tinyint": ["0", "7", "255"],
    "smallint": ["-32768", "0", "32767"],
    "int": ["-2147483648", "-1", "0", "2147483647"],
    "bigint": ["-9223372036854775808", "0", "9223372036854775807"],
    "real": ["-3.4028235E38", "3.4028235E38", "1.1754944E-38", "0E0", "0.1E0", "16777216E0"],
    "float": ["-1.7976931348623157E308", "1.7976931348623157E308", "2.2250738585072014E-308", "0E0", "0.1E0", "-1E-5"],
    "decimal(18,4)": ["-99999999999999.9999", "99999999999999.9999", "-0.5", "-0.0001", "0", "12"],
    "decimal(38,0)": [_NINES, f"-{_NINES}", "0", "-1"],
    "decimal(38,10)": ["0.0000000001", "-0.0000000001", "0", "1234567890123456789012345678.0123456789"],
    "numeric(38,38)": [f"0.{'0' * 37}1", f"-0.{_NINES}", "0"],
    "money": ["-922337203685477.5808", "922337203685477.5807", "-0.0001", "0.5", "0", "1234567.8"],
    "smallmoney": ["-214748.3648", "214748.3647", "-0.01", "0"],
    "date": ["'00010101'", "'99991231'", "'15821010'", "'20240229'"],
    "datetime": [
        "'17530101'",
        "'9999-12-31T23:59:59.997'",
        "'2013-01-01T00:00:00.003'",
        "'2013-01-01T00:00:00.007'",
        "'2013-01-01T00:00:00.010'",
        "'2013-01-01T00:00:00'",
    ],
    "smalldatetime": ["'19000101'", "'2079-06-06T23:59:00'"],
    "datetime2(0)": ["'0001-01-01T00:00:00'", "'9999-12-31T23:59:59'"],
    "datetime2(3)": ["'0001-01-01T00:00:00.001'", "'9999-12-31T23:59:59.999'", "'2024-02-29T12:00:00'"],
    "datetime2(6)": ["'0001-01-01T00:00:00.000001'", "'9999-12-31T23:59:59.999999'"],
    "datetime2(7)": ["'0001-01-01T00:00:00.0000001'", "'9999-12-31T23:59:59.9999999'", "'2024-02-29T12:00:00.1234560'"],
    "datetimeoffset(0)": ["'0001-01-01T14:00:00+14:00'", "'9999-12-31T09:59:59-14:00'", "'2024-02-29T12:00:00+05:30'"],
    "datetimeoffset(4)": ["'2024-02-29T12:00:00.0001-00:30'", "'2024-02-29T12:00:00+00:00'"],
    "datetimeoffset(7)": ["'0001-01-01T00:00:00+00:00'", "'2024-02-29T23:59:59.1234567-05:45'"],
    "time(0)": ["'00:00:00'", "'23:59:59'"],
    "time(3)": ["'00:00:00.120'", "'23:59:59.999'"],
    "time(7)": ["'00:00:00'", "'23:59:59.9999999'", "'12:34:56.0000001'"],
    "char(5)": ["'ab'", "''", "' N; '"],
    "varchar(50)": ["''", "' '", "'it''s '", "'ñÑáéü€'", "'N'", "'1;'"],
    "varchar(max)": ["''", "REPLICATE(CAST('x' AS varchar(max)), 9001)"],
    "nchar(3)": ["N'é'", "N''"],
    "nvarchar(40)": ["N''", "N' '", "N'日本語 😀'", "N'😀😀'", "N'e\u0301'", "N'é'", "N'a '", "N'\t\r\n'"],
    "nvarchar(max)": ["N''", _LONG, f"{_LONG} + N'😀'"],
    "xml": ["N'<a b=\"1\">é</a>'"],
    "uniqueidentifier": ["'6f9619ff-8b86-d011-b42d-00c04fc964ff'", "'00000000-0000-0000-0000-000000000000'"],
    "binary(4)": ["0x", "0x01", "0xFFFFFFFF"],
    "varbinary(9)": ["0x", "0x00", "0x0000", "0x4E3B"],
    "varbinary(max)": ["0x", "CAST(REPLICATE(CAST('x' AS varchar(max)), 9001) AS varbinary(max))"],
    "hierarchyid": ["'/'", "'/1/2/'"],
}
_POLICIES = [
    ("datetime2(7)", {"datetime2": "microseconds"}),
    ("datetime2(7)", {"datetime2": "string"}),
    ("datetime2(3)", {"datetime2": "string"}),
    ("datetimeoffset(7)", {"datetimeoffset": "utc"}),
    ("datetimeoffset(0)", {"datetimeoffset": "utc"}),
    ("datetimeoffset(4)", {"datetimeoffset": "utc"}),
    ("datetimeoffset(7)", {"datetimeoffset": "string"}),
    ("hierarchyid", {"hierarchyid": "bytes"}),
]


@pytest.fixture(scope="module")
def connection(sqlserver_settings: Settings) -> Iterator[MssqlConnection]:
    found = MssqlServer(sqlserver_settings).connect()
    yield found
    found.close()


def query(sql: str, **policies: str) -> ResolvedQuery:
    """A query as it is resolved from a file."""
    types = TypePolicies(tuple(policies.items()))
    return ResolvedQuery("q", "queries/q.sql", sql, hashlib.sha256(sql.encode()).hexdigest(), types=types)


def of_type(kind: str, values: Sequence[str]) -> str:
    """A SELECT of a row for each value, and one for NULL."""
    rows = [f"SELECT {at} AS [at], CAST({value} AS {kind}) AS v" for at, value in enumerate([*values, "NULL"])]
    return " UNION ALL ".join(rows)


def of_shape(found: Shape) -> tuple[CanonicalColumn, ...]:
    """The columns as the manifest has them."""
    return canonical_columns(
        ManifestColumn(
            column.name,
            column.sql_type if origin.companion is not None else origin.column.sql_type,
            "",
            column.nullable,
            origin.column.collation,
            origin.column.user_type,
            origin.form,
            origin.companion,
            origin.column.name if origin.companion is not None else None,
        )
        for column, origin in zip(found.columns, found.origins, strict=True)
    )


def both_sides(connection: MssqlConnection, asked: ResolvedQuery) -> tuple[list[str], list[str], int]:
    """Texts with their digests of the server, and of what landed; sorted. And how many are different."""
    found = shape(connection, asked)
    columns, schema = of_shape(found), found.schema
    with connection.stream(found.query, batch_bytes=1 << 20) as batches:
        arrived = [batch for raw in batches for batch in schema.convert(raw)]
    (batch,) = pa.Table.from_batches(arrived, schema=schema.schema).combine_chunks().to_batches()
    names = [sql_server_identifier(column.name) for column in columns]
    rows = connection.ask(
        f"SELECT {server.row_text(columns, 'q', names)} AS [text], "
        f"{server.row_digest(columns, 'q', names)} AS [digest] FROM ({asked.sql}) AS q",
        (),
    )
    texts, digests = landed.row_texts(batch, columns).to_pylist(), landed.row_digests(batch, columns)
    here = [f"{text} {digest.tobytes().hex()}" for text, digest in zip(texts, digests, strict=True)]
    there = [f"{row['text']} {bytes(row['digest']).hex()}" for row in rows]
    return sorted(here), sorted(there), len(set(here))


@pytest.mark.parametrize("kind", _VALUES)
def test_the_server_and_what_landed_have_the_same_digests(connection: MssqlConnection, kind: str) -> None:
    """Boundary values of each type, its default form."""
    here, there, different = both_sides(connection, query(of_type(kind, _VALUES[kind])))
    assert (here, different) == (there, len(_VALUES[kind]) + 1)


@pytest.mark.parametrize(("kind", "policy"), _POLICIES)
def test_other_forms_have_the_same_digests(connection: MssqlConnection, kind: str, policy: dict[str, str]) -> None:
    """What a form does not keep is in neither side's text."""
    here, there, _ = both_sides(connection, query(of_type(kind, _VALUES[kind]), **policy))
    assert here == there


def test_zero_and_minus_zero_have_different_digests_on_both_sides(connection: MssqlConnection) -> None:
    """They compare equal, and are not the same bytes."""
    rows = "SELECT CAST(0E0 AS float) AS v UNION ALL SELECT CAST(-1E0 AS float) * CAST(0E0 AS float)"
    here, there, different = both_sides(connection, query(rows))
    assert (here, different) == (there, 2)


@pytest.mark.parametrize("policy", ["exact", "string"])
def test_sql_variants_have_the_same_digests(connection: MssqlConnection, policy: str) -> None:
    """The value's text, and its type where that landed."""
    values = ("CAST(-12.50 AS decimal(10,2))", "CAST(1.1 AS float)", "N'Zoë 🛫'", "CAST(0x00FF AS varbinary(8))")
    rows = " UNION ALL ".join(f"SELECT CAST({value} AS sql_variant) AS v" for value in values)
    here, there, different = both_sides(connection, query(rows, sql_variant=policy))
    assert (here, different) == (there, len(values))


@pytest.mark.parametrize("policy", ["bytes", "wkb", "wkt"])
def test_geometries_have_the_same_digests(connection: MssqlConnection, policy: str) -> None:
    """Bytes, or a text with its SRID."""
    sql = "SELECT geometry::STGeomFromText('POINT(1 2)', 4326) AS v UNION ALL SELECT NULL"
    here, there, different = both_sides(connection, query(sql, geometry=policy))
    assert (here, different) == (there, 2)


@pytest.mark.parametrize("strings", [True, False])
def test_a_row_of_every_type_has_the_same_digest(connection: MssqlConnection, strings: bool) -> None:
    """One row of typical values and one of NULLs; with strings it is hashed as UTF-16, without them as ASCII."""
    kept = [kind for kind in _VALUES if kind != "hierarchyid" and (strings or ("char" not in kind and kind != "xml"))]
    rows = [
        ", ".join(
            f"CAST({value} AS {kind}) AS [c{at} é]" for at, (kind, value) in enumerate(zip(kept, row, strict=True))
        )
        for row in ([_VALUES[kind][-1] for kind in kept], ["NULL"] * len(kept))
    ]
    here, there, _ = both_sides(connection, query(" UNION ALL ".join(f"SELECT {row}" for row in rows)))
    assert here == there
