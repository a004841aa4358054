"""The way back, on a server: the smallest, the largest, a typical value of each type and NULL go in as they were, what
is just beyond is refused by row and column, and keys find their rows however they were landed.

What is expected is written by SQL Server itself, from literals; both tables are read back as text of every digit.
"""

from __future__ import annotations

import datetime as dt
import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.errors import EventInvalid, SourceRefused, ValueRefused
from sql_databricks_bridge.models.applying import ApplyPlan, Counts
from sql_databricks_bridge.models.events import EventRow, Operation
from sql_databricks_bridge.models.tables import Target, TargetColumn
from sql_databricks_bridge.models.type_policies import Companion
from sql_databricks_bridge.sync.columns import match_columns
from sql_databricks_bridge.sync.validators import understand
from sql_databricks_bridge.sync.values import Inbound
from tests.contract.target_fixture import Bench, entry, reader, unless_the_stand_in_lacks_it

LOCAL, UTC = pa.timestamp("us"), pa.timestamp("us", tz="UTC")
REFUSED_BY_NAME = "The sandbox does not support"


@pytest.fixture(scope="module")
def connected(sqlserver_settings: Settings) -> Iterator[Bench]:
    with Bench(sqlserver_settings) as found:
        yield found


@pytest.fixture
def bench(connected: Bench) -> Bench:
    """The module's connections, in a schema of the test's own."""
    connected.schema = f"s_{uuid.uuid4().hex[:12]}"
    connected.run(f"CREATE SCHEMA {connected.schema}")
    return connected


@dataclass(frozen=True, slots=True)
class Case:
    """A column's type; what lands of a value, and the T-SQL of that value; what lands but does not fit."""

    sql_type: str
    arrow: dict[str, pa.DataType]
    values: list[tuple[Any, str]]
    beyond: list[Any]
    shown: str = "{0}"

    def batch(self, landed: list[Any]) -> pa.RecordBatch:
        """Rows as they come out of Delta: a number, the value, what stands beside it. One is a tuple where there is."""
        rows = [value if isinstance(value, tuple) else (value,) * len(self.arrow) for value in landed]
        columns = [pa.array([row[index] for row in rows], kind) for index, kind in enumerate(self.arrow.values())]
        return pa.record_batch([pa.array(range(1, len(rows) + 1), pa.int32()), *columns], ["id", *self.arrow])


BYTES, STYLE = "CONVERT(varbinary(max), {0})", "CONVERT(nvarchar(40), {0}, 121)"
EXACT = "CONVERT(nvarchar(40), {0}, 3)"  # 17 significant digits


def _us(text: str) -> int:
    """Microseconds since 1970, by hand: Python's datetimes end with the calendar, as the tests don't."""
    moment = dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


def _numbers(sql_type: str, arrow: pa.DataType, least: int, most: int) -> Case:
    values = [(least, str(least)), (most, str(most)), (1, "1")]
    return Case(sql_type, {"v": arrow}, values, [least - 1, most + 1])


def _decimals(sql_type: str, arrow: pa.DataType, values: list[str], beyond: list[str]) -> Case:
    return Case(
        sql_type, {"v": arrow}, [(Decimal(text), f"{text}") for text in values], [Decimal(text) for text in beyond]
    )


def _text(sql_type: str, values: list[str], beyond: list[str], collation: str = "") -> Case:
    literals = [(text, "N'" + text.replace("'", "''") + "'") for text in values]
    return Case(sql_type + collation, {"v": pa.string()}, literals, beyond, BYTES)


CASES = [
    Case("bit", {"v": pa.bool_()}, [(True, "1"), (False, "0")], []),
    _numbers("tinyint", pa.int16(), 0, 255),
    _numbers("smallint", pa.int32(), -(2**15), 2**15 - 1),
    _numbers("int", pa.int64(), -(2**31), 2**31 - 1),
    Case("bigint", {"v": pa.int64()}, [(-(2**63), "-9223372036854775808"), (2**63 - 1, "9223372036854775807")], []),
    _decimals("decimal(38,0)", pa.decimal128(38, 0), ["9" * 38, "-" + "9" * 38, "7"], []),
    _decimals("decimal(38,38)", pa.decimal128(38, 38), ["0." + "9" * 38, "-0." + "0" * 37 + "1"], []),
    _decimals("numeric(9,2)", pa.decimal128(12, 3), ["-9999999.99", "0.01"], ["10000000.00", "0.001"]),
    _decimals(
        "money",
        pa.decimal128(20, 5),
        ["-922337203685477.5808", "922337203685477.5807", "1.5"],
        ["922337203685477.5808", "-922337203685477.5809", "0.00001"],
    ),
    _decimals("smallmoney", pa.decimal128(10, 4), ["-214748.3648", "214748.3647"], ["214748.3648", "-214748.3649"]),
    Case(
        "float",
        {"v": pa.float64()},
        [
            (-1.7976931348623157e308, "-1.7976931348623157E+308"),
            (2.2250738585072014e-308, "2.2250738585072014E-308"),
            (0.1, "0.1E0"),
            (0.1 + 0.2, "0.30000000000000004E0"),
        ],
        [float("inf"), float("nan"), 5e-324],
        EXACT,
    ),
    Case(
        "real",
        {"v": pa.float64()},
        [(struct.unpack("f", struct.pack("f", 3.4028235e38))[0], "3.4028234663852886E+38"), (1.5, "1.5E0")],
        [3.5e38, 0.1],
        EXACT,
    ),
    Case(
        "date",
        {"v": pa.date32()},
        [(dt.date(1, 1, 1), "'00010101'"), (dt.date(9999, 12, 31), "'99991231'"), (dt.date(2024, 2, 29), "'20240229'")],
        [],
        STYLE,
    ),
    Case(
        "datetime",
        {"v": LOCAL},
        [
            (_us("1753-01-01"), "'17530101'"),
            (_us("9999-12-31T23:59:59.997"), "'99991231 23:59:59.997'"),
            (_us("2024-02-29T00:00:00.003"), "'20240229 00:00:00.003'"),
            (_us("2024-02-29T00:00:00.003333"), "'20240229 00:00:00.003'"),
            (_us("2024-02-29T00:00:00.006667"), "'20240229 00:00:00.007'"),
        ],
        [_us("1753-01-01") - 3_000, _us("9999-12-31T23:59:59.998"), _us("2024-02-29T00:00:00.001")],
        STYLE,
    ),
    Case(
        "smalldatetime",
        {"v": LOCAL},
        [(_us("1900-01-01"), "'19000101'"), (_us("2079-06-06T23:59"), "'20790606 23:59'")],
        [_us("1900-01-01") - 60_000_000, _us("2079-06-07"), _us("2024-01-01T00:00:01")],
        STYLE,
    ),
    Case(
        "datetime2(3)",
        {"v": LOCAL},
        [(_us("0001-01-01"), "'00010101'"), (_us("9999-12-31T23:59:59.999"), "'9999-12-31 23:59:59.999'")],
        [_us("0001-01-01") - 1_000, _us("9999-12-31T23:59:59.999") + 1_000, _us("2024-01-01T00:00:00.0001")],
        STYLE,
    ),
    Case(
        "datetime2(7)",
        {"v": LOCAL, "v__100ns": pa.int16()},
        [
            ((_us("0001-01-01"), 0), "'0001-01-01 00:00:00.0000000'"),
            ((_us("0001-01-01"), 1), "'0001-01-01 00:00:00.0000001'"),
            ((_us("9999-12-31T23:59:59.999999"), 9), "'9999-12-31 23:59:59.9999999'"),
            ((_us("1969-12-31T23:59:59.999999"), 9), "'1969-12-31 23:59:59.9999999'"),
            ((_us("2024-02-29T12:00:00.123456"), 7), "'2024-02-29 12:00:00.1234567'"),
        ],
        [(_us("2024-02-29"), 10), (_us("2024-02-29"), -1), (_us("2024-02-29"), None), (None, 1)],
        STYLE,
    ),
    Case(
        "datetime2(7)",
        {"v": pa.string()},
        [(text, f"'{text}'") for text in ("0001-01-01 00:00:00.0000000", "9999-12-31 23:59:59.9999999")],
        ["2024-02-30 00:00:00.0000000", "10000-01-01 00:00:00", "yesterday"],
        STYLE,
    ),
    Case(
        "datetimeoffset(7)",
        {"v": UTC, "v__offset_minutes": pa.int16(), "v__100ns": pa.int16()},
        [
            ((_us("0001-01-01"), 0, 0), "'0001-01-01 00:00:00.0000000 +00:00'"),
            ((_us("0001-01-01"), 840, 1), "'0001-01-01 14:00:00.0000001 +14:00'"),
            ((_us("9999-12-31T23:59:59.999999"), -840, 9), "'9999-12-31 09:59:59.9999999 -14:00'"),
            ((_us("2024-02-29T12:00:00.123456"), 330, 7), "'2024-02-29 17:30:00.1234567 +05:30'"),
        ],
        [
            (_us("2024-02-29"), 900, 0),
            (_us("2024-02-29"), 0, 10),
            (_us("0001-01-01"), -1, 0),
            (None, 0, None),
            (_us("9999-12-31T23:59:59"), 1, 0),
        ],
        STYLE,
    ),
    Case(
        "datetimeoffset(2)",
        {"v": UTC, "v__offset_minutes": pa.int32()},
        [((_us("2024-02-29T12:00:00.12"), -90), "'2024-02-29 10:30:00.12 -01:30'")],
        [(_us("2024-02-29T12:00:00.123"), 0)],
        STYLE,
    ),
    Case(
        "datetimeoffset(7)",
        {"v": pa.string()},
        [(text, f"'{text}'") for text in ("0001-01-01 14:00:00.0000001 +14:00", "9999-12-31 09:59:59.9999999 -14:00")],
        ["2024-02-29 00:00:00.0000000", "2024-02-29 00:00:00.0000000 +14:01"],
        STYLE,
    ),
    Case(
        "time(7)",
        {"v": pa.string()},
        [("00:00:00.0000000", "'00:00'"), ("23:59:59.9999999", "'23:59:59.9999999'")],
        ["24:00:00.0000000", "23:59:59.99999999"],
        STYLE,
    ),
    Case("time(0)", {"v": pa.string()}, [("23:59:59", "'23:59:59'")], ["23:59:59.1", "23:59:60"], STYLE),
    Case(
        "uniqueidentifier",
        {"v": pa.string()},
        [
            (text, f"'{text}'")
            for text in ("00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF")
        ]
        + [("00112233-4455-6677-8899-aabbccddeeff", "'00112233-4455-6677-8899-AABBCCDDEEFF'")],
        ["00112233-4455-6677-8899-AABBCCDDEEFG", ""],
        "CONVERT(nvarchar(36), {0})",
    ),
    _text("char(3)", ["abc", "a  ", "   "], ["abcd", "Ж"]),
    _text("varchar(5)", ["", " ", "a  ", "é€ßŸ", "it's"], ["123456", "Ж", "中", "\x81"]),
    _text("varchar(4)", ["", "ЖИЗН", "Ж ё", "№"], ["ЖИЗНЬ", "é", "中"], " COLLATE Cyrillic_General_CI_AS"),
    _text("varchar(4)", ["", "日本", "ｱｲｳｴ", "a日b"], ["日本語", "日本a", "é", "😀"], " COLLATE Japanese_CI_AS"),
    _text("varchar(6)", ["", "é€", "😀é", "日本"], ["日本a", "😀日"], " COLLATE Latin1_General_100_CI_AS_SC_UTF8"),
    _text("varchar(max)", ["", "x" * 9_000, " \t\r\n "], []),
    _text("nchar(2)", ["ab", "😀", "a "], ["abc", "😀a"]),
    _text("nvarchar(4)", ["", " ", "a\u0301  ", "😀😀", "日本語だ"], ["😀😀a", "12345"]),
    _text("nvarchar(max)", ["", "😀" * 5_000], []),
    Case(
        "nvarchar(5)",
        {"v": pa.string()},
        [("a\0b", "N'a' + NCHAR(0) + N'b'"), ("\0", "NCHAR(0)"), ("\ufffe\uffff", "NCHAR(65534) + NCHAR(65535)")],
        [],
        BYTES,
    ),
    Case(
        "varbinary(3)", {"v": pa.binary()}, [(b"", "0x"), (b"\0", "0x00"), (b"\xff" * 3, "0xFFFFFF")], [b"1234"], BYTES
    ),
    Case("binary(2)", {"v": pa.binary()}, [(b"\0\0", "0x0000"), (b"\x01\xff", "0x01FF")], [b"1", b"123"], BYTES),
    Case("varbinary(max)", {"v": pa.binary()}, [(b"", "0x"), (b"\0\xff", "0x00FF")], [], BYTES),
    Case(
        "hierarchyid",
        {"v": pa.string()},
        [(path, f"hierarchyid::Parse('{path}')") for path in ("/", "/1/", "/1/2/", "/3/7/1/")],
        ["1/2", "/01/", "/x/"],
        "{0}.ToString()",
    ),
    Case(
        "hierarchyid",
        {"v": pa.binary()},
        [(b"", "CAST(0x AS hierarchyid)"), (b"\x58", "CAST(0x58 AS hierarchyid)")],
        [bytes(893)],
        BYTES,
    ),
    Case(
        "geometry",
        {"v": pa.binary()},
        [(bytes.fromhex("00000000010C" + "000000000000F03F" + "0000000000000040"), "geometry::Point(1, 2, 0)")],
        [],
        BYTES,
    ),
    Case(
        "geography",
        {"v": pa.binary(), "v__srid": pa.int32()},
        [
            (
                (bytes.fromhex("0101000000" + "0000000000000040" + "000000000000F03F"), 4326),
                "geography::Point(1, 2, 4326)",
            )
        ],
        [(b"", -1)],
        BYTES,
    ),
    Case(
        "geometry",
        {"v": pa.string(), "v__srid": pa.int32()},
        [(("POINT (1 2)", 5), "geometry::Point(1, 2, 5)")],
        [("POINT (1 2)", None)],
        BYTES,
    ),
]


def _planned(bench: Bench, operation: Operation, target: Target, rows: pa.RecordBatch, *keys: str) -> ApplyPlan:
    """Stage rows of a source as an event does, and plan its statement."""
    event = understand(EventRow("e", operation.value, "a.b.c", str(target), primary_keys=keys or None))
    match = match_columns(event, target, rows.schema.names)
    inbound = Inbound.of(
        [rows.schema.field(ordinal) for ordinal in match.ordinals],
        match.staged,
        keys=match.keys,
        beside=[[(found, rows.schema.field(ordinal)) for found, ordinal in beside] for beside in match.companions],
    )
    staged = inbound.convert(rows.select(list(match.read)))
    with unless_the_stand_in_lacks_it():
        staging = bench.connection.stage(target, match.staged, match.keys, reader(staged), inbound.assemblies)
    bench.forget(staging)
    return ApplyPlan(
        operation,
        target,
        entry(),
        staging=staging,
        keys=match.keys,
        updates=match.updates,
        inserts=match.inserts,
    )


def _sent(bench: Bench, operation: Operation, target: Target, rows: pa.RecordBatch, *keys: str) -> Counts:
    try:
        with unless_the_stand_in_lacks_it():
            return bench.apply(_planned(bench, operation, target, rows, *keys))
    except SourceRefused as exc:
        _skip_if_lacking(exc)
        raise


def _made(bench: Bench, name: str, columns: str) -> Target:
    """A table; skipped, in its own words, where the stand-in has no such type."""
    try:
        return bench.target(name, columns)
    except Exception as exc:
        _skip_if_lacking(exc)
        raise


def _run(bench: Bench, sql: str) -> None:
    try:
        bench.run(sql)
    except Exception as exc:
        _skip_if_lacking(exc)
        raise


def _skip_if_lacking(exc: Exception) -> None:
    if REFUSED_BY_NAME in str(exc):
        pytest.skip(str(exc)[:300])


def _name(case: Case) -> str:
    beside = "+".join(name.removeprefix("v__") for name in case.arrow if name != "v")
    return f"{case.sql_type}<{case.arrow['v']}{'+' if beside else ''}{beside}>"


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_boundaries_of_each_type_are_stored_as_sql_server_would_write_them(bench: Bench, case: Case) -> None:
    """Every row equals the one that SQL Server made of a literal, to the last bit; NULL stays NULL."""
    columns = f"id int NOT NULL PRIMARY KEY, v {case.sql_type} NULL"
    target, expected = _made(bench, "t", columns), f"{bench.schema}.expected"
    _run(bench, f"CREATE TABLE {expected} ({columns})")
    literals = enumerate([*(literal for _, literal in case.values), "NULL"], 1)
    _run(
        bench, "; ".join(f"INSERT INTO {expected} (id, v) VALUES ({number}, {literal})" for number, literal in literals)
    )
    rows = case.batch([*(landed for landed, _ in case.values), None])
    assert _sent(bench, Operation.INSERT, target, rows).inserted == rows.num_rows
    read = f"SELECT id, {case.shown.format('v')} AS v FROM {{}} ORDER BY id"
    assert bench.tuples(read.format(f"{bench.schema}.t")) == bench.tuples(read.format(expected))


@pytest.mark.parametrize(
    ("case", "landed"),
    [(case, landed) for case in CASES for landed in case.beyond],
    ids=[f"{_name(case)}-{number}" for case in CASES for number, _ in enumerate(case.beyond)],
)
def test_what_is_just_beyond_is_refused_by_row_and_column(case: Case, landed: Any) -> None:
    """Before SQL Server hears of it."""
    sql_type, _, collation = case.sql_type.partition(" COLLATE ")
    pages = {"Cyrillic": 1251, "Japanese": 932, "Latin1_General_100_CI_AS_SC_UTF8": 65001}
    page = next((number for name, number in pages.items() if collation.startswith(name)), 1252)
    targets = [TargetColumn("id", "int", nullable=False), TargetColumn("v", sql_type, nullable=True, code_page=page)]
    batch = case.batch([case.values[0][0], landed])
    way = _way(targets, batch)
    with pytest.raises(ValueRefused, match=r"^Row 2, column 'v': "):
        way.convert(batch)


def _way(columns: list[TargetColumn], rows: pa.RecordBatch) -> Inbound:
    known = {companion.beside("v"): companion for companion in Companion}
    fields = list(rows.schema)
    return Inbound.of(fields[:2], columns, beside=[[], [(known[field.name], field) for field in fields[2:]]])


# keys -----------------------------------------------------------------------------------------------------------------

KEYS: list[tuple[str, str, dict[str, tuple[Any, pa.DataType]]]] = [
    ("datetime", "'20240229 12:00:00.003'", {"v": (_us("2024-02-29T12:00:00.003"), LOCAL)}),
    ("datetime", "'20240229 12:00:00.003'", {"v": (_us("2024-02-29T12:00:00.003333"), LOCAL)}),
    ("datetime", "'20240229 12:00:00.007'", {"v": (_us("2024-02-29T12:00:00.006667"), LOCAL)}),
    ("datetime", "'20240229 12:00:00.007'", {"v": (_us("2024-02-29T12:00:00.006666"), LOCAL)}),
    ("smalldatetime", "'20240229 12:34'", {"v": (_us("2024-02-29T12:34:00"), LOCAL)}),
    (
        "datetime2(7)",
        "'2024-02-29 12:00:00.1234567'",
        {"v": (_us("2024-02-29T12:00:00.123456"), LOCAL), "v__100ns": (7, pa.int16())},
    ),
    ("datetime2(7)", "'2024-02-29 12:00:00.1234567'", {"v": ("2024-02-29 12:00:00.1234567", pa.string())}),
    (
        "datetimeoffset(7)",
        "'2024-02-29 14:00:00.1234567 +02:00'",
        {
            "v": (_us("2024-02-29T12:00:00.123456"), UTC),
            "V__100NS": (7, pa.int16()),
            "V__OFFSET_MINUTES": (120, pa.int16()),
        },
    ),
    ("time(7)", "'12:00:00.1234567'", {"v": ("12:00:00.1234567", pa.string())}),
    ("float", "0.30000000000000004E0", {"v": (0.1 + 0.2, pa.float64())}),
    ("real", "1.1E0", {"v": (struct.unpack("f", struct.pack("f", 1.1))[0], pa.float32())}),
    (
        "decimal(38,10)",
        "1234567890123456789012345678.0123456789",
        {"v": (Decimal("1234567890123456789012345678.0123456789"), pa.decimal128(38, 10))},
    ),
    ("money", "0.0001", {"v": (Decimal("0.0001"), pa.decimal128(19, 4))}),
    (
        "uniqueidentifier",
        "'00112233-4455-6677-8899-AABBCCDDEEFF'",
        {"v": ("00112233-4455-6677-8899-aabbccddeeff", pa.string())},
    ),
    ("char(5)", "'ab'", {"v": ("ab", pa.string())}),
    ("char(5)", "'ab'", {"v": ("ab   ", pa.string())}),
    ("varchar(5) COLLATE Cyrillic_General_CI_AS", "N'Жё'", {"v": ("Жё", pa.string())}),
    ("nvarchar(5) COLLATE Latin1_General_BIN2", "N'😀'", {"v": ("😀", pa.string())}),
    ("binary(4)", "0x00FF0000", {"v": (b"\x00\xff\x00\x00", pa.binary())}),
    ("varbinary(4)", "0x00FF", {"v": (b"\x00\xff", pa.binary())}),
    ("hierarchyid", "hierarchyid::Parse('/1/2/')", {"v": ("/1/2/", pa.string())}),
]


@pytest.mark.parametrize(
    ("sql_type", "literal", "landed"), KEYS, ids=[f"{kind}-{n}" for n, (kind, *_) in enumerate(KEYS)]
)
def test_a_key_finds_its_row_however_it_was_landed(
    bench: Bench, sql_type: str, literal: str, landed: dict[str, tuple[Any, pa.DataType]]
) -> None:
    """UPDATE, UPSERT and DELETE meet the row that SQL Server wrote, and an INSERT of it is refused as there already."""
    unique = "" if sql_type == "hierarchyid" else "PRIMARY KEY"
    target = _made(bench, "t", f"v {sql_type} NOT NULL {unique}, n int NULL")
    _run(bench, f"INSERT INTO {bench.schema}.t (v, n) VALUES ({literal}, 1)")
    key = {name: pa.array([value], kind) for name, (value, kind) in landed.items()}
    rows = pa.record_batch({**key, "n": pa.array([2], pa.int32())})
    assert _sent(bench, Operation.UPDATE, target, rows, "v").updated == 1
    upserted = _sent(bench, Operation.UPSERT, target, rows, "v")
    assert (upserted.updated, upserted.inserted) == (1, 0)
    with pytest.raises(EventInvalid, match=r"are in .* already"):
        _sent(bench, Operation.INSERT, target, rows, "v")
    assert bench.tuples(f"SELECT n FROM {bench.schema}.t") == [(2,)]
    assert _sent(bench, Operation.DELETE, target, rows, "v").deleted == 1


def test_keys_that_differ_in_the_seventh_digit_are_two(bench: Bench) -> None:
    target = bench.target("t", "v datetime2(7) NOT NULL PRIMARY KEY, n int NULL")
    moment, n = pa.array([_us("2024-02-29")] * 2, LOCAL), pa.array([1, 2], pa.int32())

    def rows(*digits: int) -> pa.RecordBatch:
        return pa.record_batch([moment, pa.array(digits, pa.int16()), n], ["v", "v__100ns", "n"])

    assert _sent(bench, Operation.INSERT, target, rows(1, 2)).inserted == 2
    with pytest.raises(EventInvalid, match="stand in several rows"):
        _sent(bench, Operation.UPSERT, target, rows(3, 3), "v")
    assert bench.tuples(f"SELECT CONVERT(nvarchar(27), v, 121), n FROM {bench.schema}.t ORDER BY v") == [
        ("2024-02-29 00:00:00.0000001", 1),
        ("2024-02-29 00:00:00.0000002", 2),
    ]


# sql_variant ----------------------------------------------------------------------------------------------------------

VARIANTS = [
    ("bit", "1", "CAST(1 AS bit)"),
    ("tinyint", "255", "CAST(255 AS tinyint)"),
    ("int", "-2147483648", "CAST(-2147483648 AS int)"),
    ("bigint", "9223372036854775807", "CAST(9223372036854775807 AS bigint)"),
    ("decimal(10,2)", "1.50", "CAST(1.5 AS decimal(10,2))"),
    ("money", "922337203685477.5807", "CAST(922337203685477.5807 AS money)"),
    ("float", "1.0000000000000001e-001", "CAST(0.1 AS float)"),
    ("date", "0001-01-01", "CAST('00010101' AS date)"),
    ("datetime", "2024-02-29 12:00:00.003", "CAST('20240229 12:00:00.003' AS datetime)"),
    ("datetime2(7)", "9999-12-31 23:59:59.9999999", "CAST('9999-12-31 23:59:59.9999999' AS datetime2(7))"),
    (
        "datetimeoffset(7)",
        "2024-02-29 12:00:00.1234567 +05:30",
        "CAST('2024-02-29 12:00:00.1234567 +05:30' AS datetimeoffset(7))",
    ),
    ("time(3)", "23:59:59.9990000", "CAST('23:59:59.999' AS time(3))"),
    ("nvarchar(20)", "日本 😀 ", "CAST(N'日本 😀 ' AS nvarchar(20))"),
    ("varchar(20)", "a ", "CAST('a ' AS varchar(20))"),
    ("varbinary(4)", "0x00FF", "CAST(0x00FF AS varbinary(4))"),
    (
        "uniqueidentifier",
        "00112233-4455-6677-8899-AABBCCDDEEFF",
        "CAST('00112233-4455-6677-8899-AABBCCDDEEFF' AS uniqueidentifier)",
    ),
]


def _variants(*rows: tuple[str | None, str | None]) -> pa.RecordBatch:
    return pa.record_batch(
        [
            pa.array(range(1, len(rows) + 1), pa.int32()),
            pa.array([value for _, value in rows], pa.string()),
            pa.array([kind for kind, _ in rows], pa.string()),
        ],
        ["id", "v", "v__base_type"],
    )


def test_variants_of_every_base_type_are_stored_in_it(bench: Bench) -> None:
    target = _made(bench, "t", "id int NOT NULL PRIMARY KEY, v sql_variant NULL")
    for number, (_, _, literal) in enumerate(VARIANTS, 1):
        _run(bench, f"CREATE TABLE {bench.schema}.e{number} (v sql_variant NULL)")
        _run(bench, f"INSERT INTO {bench.schema}.e{number} (v) VALUES ({literal})")
    rows = _variants(*((kind, text) for kind, text, _ in VARIANTS), (None, None))
    assert _sent(bench, Operation.INSERT, target, rows).inserted == len(VARIANTS) + 1
    properties = "BaseType", "Precision", "Scale", "MaxLength"
    asked = ", ".join(f"CONVERT(nvarchar(40), SQL_VARIANT_PROPERTY(v, '{name}')) AS [{name}]" for name in properties)
    for number, (kind, _, _) in enumerate(VARIANTS, 1):
        expected = bench.tuples(f"SELECT {asked} FROM {bench.schema}.e{number}")
        assert bench.tuples(f"SELECT {asked} FROM {bench.schema}.t WHERE id = {number}") == expected, kind
        same = f"SELECT COUNT(*) AS n FROM {bench.schema}.t AS t INNER JOIN {bench.schema}.e{number} AS e ON t.v = e.v"
        assert bench.rows(f"{same} WHERE t.id = {number}")[0]["n"] == 1, kind


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int", "1.5"),
        ("int", "2147483648"),
        ("decimal(5,1)", "1.25"),
        ("nvarchar(2)", "abc"),
        ("char(3)", "a"),
        ("date", "x"),
    ],
)
def test_a_variant_that_its_base_type_would_change_is_refused_before_anything_is_applied(
    bench: Bench, kind: str, text: str
) -> None:
    target = _made(bench, "t", "id int NOT NULL PRIMARY KEY, v sql_variant NULL")
    with pytest.raises(EventInvalid, match=r"column 'v' can't go into sql_variant as they are, such as") as caught:
        _sent(bench, Operation.INSERT, target, _variants(("nvarchar(9)", "whole"), (kind, text)))
    assert f"{text} as {kind}" in caught.value.message
    assert bench.count(f"{bench.schema}.t") == 0
