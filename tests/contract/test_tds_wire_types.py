"""Every column type through Microsoft's driver: by rows and as Arrow, at the boundaries, with NULLs."""

# ruff: noqa: DTZ001 (SQL Server's zoneless types)

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from sql_databricks_bridge.sandbox.sql_server.contract import DEFAULT_COLLATION, Column, Done, Event, RowSet, SqlType

from .tds_arrow_client import ArrowClient
from .tds_fixed_engine import FixedSession, Served, rows, serve

OFFSET = pa.struct([("utc", pa.int64()), ("offset", pa.int16())])
EPOCH = dt.datetime(1, 1, 1)
GUID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve() as running:
        yield running


@pytest.fixture(scope="module")
def client() -> Iterator[ArrowClient]:
    with ArrowClient() as running:
        yield running


def _ticks(moment: dt.datetime) -> int:
    return (moment - EPOCH) // dt.timedelta(microseconds=1) * 10


def _type(name: str, length: int | None = None, precision: int | None = None, scale: int | None = None) -> SqlType:
    return SqlType(name, length, precision, scale, DEFAULT_COLLATION if "char" in name or "text" in name else None)


def _widest(precision: int, scale: int) -> list[Decimal]:
    """The largest, the smallest and zero. Made from text: Decimal's arithmetic would round at 28 digits."""
    digits = "9" * (precision - scale) + ("." + "9" * scale if scale else "")
    return [Decimal(digits), Decimal("-" + digits), Decimal(0)]


LAST = dt.datetime(9999, 12, 31, 23, 59, 59, 999999)
BMP = "áçñ€"
WIDE = "日本😀\u0000x"

# (type, contract values, what the driver gives by rows, what it gives as Arrow where that differs)
CASES: list[tuple[SqlType, pa.Array, list[Any], list[Any] | None]] = [
    (_type("bit"), pa.array([True, False]), [True, False], None),
    (_type("tinyint"), pa.array([0, 255], pa.uint8()), [0, 255], None),
    (_type("smallint"), pa.array([-32768, 32767], pa.int16()), [-32768, 32767], None),
    (_type("int"), pa.array([-(2**31), 2**31 - 1], pa.int32()), [-(2**31), 2**31 - 1], None),
    (_type("bigint"), pa.array([-(2**63), 2**63 - 1], pa.int64()), [-(2**63), 2**63 - 1], None),
    (
        _type("real"),
        pa.array([-3.4028234663852886e38, 1.401298464324817e-45], pa.float32()),
        [-3.4028234663852886e38, 1.401298464324817e-45],
        None,
    ),
    (_type("float"), pa.array([-1.7976931348623157e308, 5e-324]), [-1.7976931348623157e308, 5e-324], None),
    *(
        (_type("decimal", None, p, s), pa.array(_widest(p, s), pa.decimal128(p, s)), _widest(p, s), None)
        for p, s in [(1, 0), (9, 9), (10, 2), (19, 0), (20, 20), (28, 5), (29, 1), (38, 0), (38, 38)]
    ),
    (
        _type("money"),
        pa.array(
            [Decimal("-922337203685477.5808"), Decimal("922337203685477.5807"), Decimal("-0.0001")],
            pa.decimal128(19, 4),
        ),
        [Decimal("-922337203685477.5808"), Decimal("922337203685477.5807"), Decimal("-0.0001")],
        None,
    ),
    (
        _type("smallmoney"),
        pa.array([Decimal("-214748.3648"), Decimal("214748.3647")], pa.decimal128(10, 4)),
        [Decimal("-214748.3648"), Decimal("214748.3647")],
        None,
    ),
    (
        _type("date"),
        pa.array([dt.date(1, 1, 1), dt.date(9999, 12, 31)]),
        [dt.date(1, 1, 1), dt.date(9999, 12, 31)],
        None,
    ),
    (_type("datetime2", scale=6), pa.array([0, _ticks(LAST)]), [EPOCH, LAST], None),
    (_type("datetime2", scale=7), pa.array([1, _ticks(LAST) + 9]), [EPOCH, LAST], None),
    (
        _type("datetime2", scale=0),
        pa.array([_ticks(dt.datetime(2000, 2, 29, 1, 2, 3))]),
        [dt.datetime(2000, 2, 29, 1, 2, 3)],
        None,
    ),
    (
        _type("datetime2", scale=3),
        pa.array([_ticks(dt.datetime(1969, 12, 31, 23, 59, 59, 999000))]),
        [dt.datetime(1969, 12, 31, 23, 59, 59, 999000)],
        None,
    ),
    (
        _type("datetime"),
        pa.array([-53_690 * 86_400 * 300, 2_958_463 * 86_400 * 300 + 25_919_999]),
        [dt.datetime(1753, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 997000)],
        None,
    ),
    (
        _type("smalldatetime"),
        pa.array([0, 65_535 * 1440 + 1439]),
        [dt.datetime(1900, 1, 1), dt.datetime(2079, 6, 6, 23, 59)],
        None,
    ),
    (
        _type("time", scale=6),
        pa.array([0, 863_999_999_990]),
        [dt.time(0), dt.time(23, 59, 59, 999999)],
        None,
    ),
    (
        _type("datetimeoffset", scale=6),
        pa.array(
            [
                {"utc": _ticks(dt.datetime(2020, 1, 1, 12)), "offset": -300},
                {"utc": _ticks(dt.datetime(2020, 1, 1)), "offset": 840},
            ],
            OFFSET,
        ),
        [
            dt.datetime(2020, 1, 1, 7, tzinfo=dt.timezone(dt.timedelta(hours=-5))),
            dt.datetime(2020, 1, 1, 14, tzinfo=dt.timezone(dt.timedelta(hours=14))),
        ],
        [dt.datetime(2020, 1, 1, 12, tzinfo=dt.UTC), dt.datetime(2020, 1, 1, tzinfo=dt.UTC)],
    ),
    (_type("char", 5), pa.array(["é    ", "abcde"], pa.large_string()), ["é    ", "abcde"], None),
    (_type("varchar", 8000), pa.array(["", BMP, "x" * 8000], pa.large_string()), ["", BMP, "x" * 8000], None),
    (_type("nchar", 3), pa.array(["日  "], pa.large_string()), ["日  "], None),
    (_type("nvarchar", 4000), pa.array(["", WIDE, "ß" * 4000], pa.large_string()), ["", WIDE, "ß" * 4000], None),
    (_type("varchar", -1), pa.array(["", BMP, "y" * 1_048_577], pa.large_string()), ["", BMP, "y" * 1_048_577], None),
    (_type("nvarchar", -1), pa.array(["", WIDE, "😀" * 300_000], pa.large_string()), ["", WIDE, "😀" * 300_000], None),
    (_type("text"), pa.array(["", BMP, "t" * 70_000], pa.large_string()), ["", BMP, "t" * 70_000], None),
    (_type("ntext"), pa.array(["", WIDE], pa.large_string()), ["", WIDE], None),
    (_type("xml", -1), pa.array(["<a/>", "<b>日</b>"], pa.large_string()), ["<a/>", "<b>日</b>"], None),
    (_type("json"), pa.array(['{"a": "日"}'], pa.large_string()), ['{"a": "日"}'], None),
    (_type("binary", 3), pa.array([b"\0\1\2"], pa.large_binary()), [b"\0\1\2"], None),
    (_type("varbinary", 8000), pa.array([b"", b"\xff" * 8000], pa.large_binary()), [b"", b"\xff" * 8000], None),
    (
        _type("varbinary", -1),
        pa.array([b"", bytes(range(256)) * 5000], pa.large_binary()),
        [b"", bytes(range(256)) * 5000],
        None,
    ),
    (_type("image"), pa.array([b"", b"\1" * 70_000], pa.large_binary()), [b"", b"\1" * 70_000], None),
    (_type("timestamp"), pa.array([b"\0\0\0\0\0\0\x07\xd1"], pa.large_binary()), [b"\0\0\0\0\0\0\x07\xd1"], None),
    (_type("uniqueidentifier"), pa.array([GUID.bytes], pa.binary(16)), [GUID], [str(GUID).upper()]),
    (_type("hierarchyid", -1), pa.array([b"\x58"], pa.large_binary()), [b"\x58"], None),
    (_type("geometry", -1), pa.array([b"\0" * 22], pa.large_binary()), [b"\0" * 22], None),
    (_type("geography", -1), pa.array([b"\1" * 22], pa.large_binary()), [b"\1" * 22], None),
]


@pytest.mark.parametrize(
    ("sql_type", "values", "by_rows", "by_arrow"),
    CASES,
    ids=[f"{t.name}-{t.length or t.precision or t.scale or ''}" for t, *_ in CASES],
)
def test_the_driver_reads_every_value_exactly(
    served: Served,
    client: ArrowClient,
    sql_type: SqlType,
    values: pa.Array,
    by_rows: list[Any],
    by_arrow: list[Any] | None,
) -> None:
    """Nullable with NULLs between, and NOT NULL: `fetchall` and `arrow_reader` both give what the engine gave."""
    nulls = pa.nulls(1, values.type)
    spread = pa.concat_arrays([part for i in range(len(values)) for part in (nulls, values.slice(i, 1))])
    expected = [item for value in by_rows for item in (None, value)]
    nullable = served.query("nullable", lambda _: rows([("v", sql_type, spread)]))
    bare = served.query("bare", lambda _: rows([("v", sql_type, values)], nullable=False))
    with served.connect() as connection:
        assert [row[0] for row in connection.cursor().execute(nullable).fetchall()] == expected
        assert [row[0] for row in connection.cursor().execute(bare).fetchall()] == by_rows
    arrow = client.read(served.connection_string(), nullable).column(0).to_pylist()
    assert arrow == ([item for value in by_arrow for item in (None, value)] if by_arrow else expected)
    assert client.read(served.connection_string(), bare).column(0).to_pylist() == (by_arrow or by_rows)


def test_a_variant_is_read_by_its_base_type(served: Served) -> None:
    """sql_variant values of several base types, one of them NULL, in one column."""
    variant = pa.struct([("type", pa.string()), ("value", pa.large_binary())])
    values = pa.array(
        [{"type": "int", "value": b"\7\0\0\0"}, None, {"type": "nvarchar(5)", "value": "é".encode("utf-16-le")}],
        variant,
    )
    sql = served.query("variant", lambda _: rows([("v", _type("sql_variant"), values)]))
    with served.connect() as connection:
        assert [row[0] for row in connection.cursor().execute(sql).fetchall()] == [7, None, "é"]


def test_a_wide_mixed_result_streams_whole(served: Served, client: ArrowClient) -> None:
    """Many batches of all kinds of columns, long enough for the encoding thread, arrive complete and in order."""
    count = 50_000
    kinds: list[tuple[SqlType, Callable[[int], pa.Array]]] = [
        (_type("int"), lambda i: pa.array(range(i, i + count), pa.int32())),
        (
            _type("nvarchar", 20),
            lambda i: pa.array([None if n % 3 == 0 else f"é{n}" for n in range(i, i + count)], pa.large_string()),
        ),
        (
            _type("decimal", None, 18, 4),
            lambda i: pa.array(range(i, i + count)).cast(pa.decimal128(38, 4)).cast(pa.decimal128(18, 4), safe=False),
        ),
        (_type("varchar", -1), lambda i: pa.array([f"v{n}" for n in range(i, i + count)], pa.large_string())),
    ]

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, 4 * count, count):
            yield pa.RecordBatch.from_arrays([make(start) for _, make in kinds], ["a", "b", "c", "d"])

    def made(_: FixedSession) -> Iterator[Event]:
        yield RowSet(tuple(Column(f"c{i}", sql_type) for i, (sql_type, _) in enumerate(kinds)), batches())
        yield Done("SELECT", 4 * count)

    sql = served.query("wide", made)
    table = client.read(served.connection_string(), sql, 10_000)
    expected = pa.Table.from_batches(list(batches()))
    for index in range(4):
        assert table.column(index).to_pylist() == expected.column(index).to_pylist()


def test_several_results_and_counts_keep_their_order(served: Served) -> None:
    """Two result sets and an update count of one batch are walked by nextset in order."""

    def made(_: FixedSession) -> Iterator[Event]:
        yield from rows([("a", _type("int"), pa.array([1], pa.int32()))])
        yield Done("UPDATE", 7)
        yield from rows([("b", _type("int"), pa.array([2, 3], pa.int32()))])

    sql = served.query("several", made)
    with served.connect() as connection:
        cursor = connection.cursor()
        cursor.execute(sql)
        assert [tuple(row) for row in cursor.fetchall()] == [(1,)]
        assert cursor.nextset()
        assert cursor.description is None
        assert cursor.nextset()
        assert [tuple(row) for row in cursor.fetchall()] == [(2,), (3,)]
        assert not cursor.nextset()


def test_column_names_and_nullability_are_described(served: Served) -> None:
    """Empty, long and non-ASCII names and NOT NULL arrive in the description; a result may have no rows."""
    name = "N" * 128

    def made(_: FixedSession) -> Iterator[Event]:
        columns = (
            Column("", _type("int")),
            Column("größe 日", _type("int"), nullable=False),
            Column(name, _type("date")),
        )
        yield RowSet(columns, iter(()))
        yield Done("SELECT", 0)

    sql = served.query("described", made)
    with served.connect() as connection:
        cursor = connection.cursor()
        cursor.execute(sql)
        assert [column[0] for column in cursor.description] == ["", "größe 日", name]
        assert [bool(column[6]) for column in cursor.description] == [True, False, True]
        assert cursor.fetchall() == []
