"""Bulk loads: Microsoft's driver, and the messages that only a raw client would send."""

# ruff: noqa: DTZ001 (SQL Server's zoneless types)

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from sql_databricks_bridge.sandbox.sql_server.contract import (
    DEFAULT_COLLATION,
    BulkLoad,
    Collation,
    Column,
    SqlError,
    SqlType,
)
from sql_databricks_bridge.sandbox.sql_server.wire.bulk import read_bulk_load
from sql_databricks_bridge.sandbox.sql_server.wire.collations import UTF8_BIN2
from sql_databricks_bridge.sandbox.sql_server.wire.tokens import column_metadata

from .tds_fixed_engine import Served, serve


def _type(name: str, length: int | None = None, precision: int | None = None, scale: int | None = None) -> SqlType:
    return SqlType(name, length, precision, scale, DEFAULT_COLLATION if "char" in name else None)


TICKS = 864_000_000_000
# (type, what the client has, what the engine gets)
CASES: list[tuple[SqlType, pa.DataType, list[Any], list[Any]]] = [
    (_type("tinyint"), pa.uint8(), [0, 255], [0, 255]),
    (_type("smallint"), pa.int16(), [-32768, 32767], [-32768, 32767]),
    (_type("int"), pa.int32(), [-(2**31), 2**31 - 1], [-(2**31), 2**31 - 1]),
    (_type("bigint"), pa.int64(), [-(2**63), 2**63 - 1], [-(2**63), 2**63 - 1]),
    (_type("bit"), pa.bool_(), [True, False], [True, False]),
    (_type("real"), pa.float32(), [1.5, -0.25], [1.5, -0.25]),
    (_type("float"), pa.float64(), [1.1, -1e300], [1.1, -1e300]),
    (_type("decimal", None, 9, 2), pa.decimal128(9, 2), *[[Decimal("-9999999.99"), Decimal("0.01")]] * 2),
    (_type("decimal", None, 38, 0), pa.decimal128(38, 0), *[[Decimal("9" * 38), Decimal("-" + "9" * 38)]] * 2),
    (_type("money"), pa.decimal128(19, 4), *[[Decimal("-922337203685477.5808"), Decimal("0.0001")]] * 2),
    (_type("date"), pa.date32(), *[[dt.date(1, 1, 1), dt.date(9999, 12, 31)]] * 2),
    (
        _type("datetime2", scale=6),
        pa.timestamp("us"),
        [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)],
        [0, 3_652_058 * TICKS],
    ),
    (_type("datetime"), pa.timestamp("us"), [dt.datetime(1753, 1, 1)], [-53_690 * 86_400 * 300]),
    (
        _type("datetimeoffset", scale=6),
        pa.timestamp("us", "UTC"),
        [dt.datetime(1, 1, 2, tzinfo=dt.UTC)],
        [{"utc": TICKS, "offset": 0}],
    ),
    (_type("time", scale=6), pa.time64("us"), [dt.time(23, 59, 59, 999999)], [863_999_999_990]),
    (_type("varchar", 20), pa.string(), *[["", "é"]] * 2),
    (_type("nvarchar", 20), pa.string(), *[["", "é😀"]] * 2),
    (_type("varchar", -1), pa.string(), *[["", "é" * 100_000]] * 2),
    (_type("nvarchar", -1), pa.string(), *[["", "é😀", "x" * 1_500_000]] * 2),
    (_type("varbinary", 20), pa.binary(), *[[b"", b"\0\1"]] * 2),
    (_type("varbinary", -1), pa.binary(), *[[b"", b"\0\1" * 50_000]] * 2),
    (
        _type("uniqueidentifier"),
        pa.string(),
        ["00112233-4455-6677-8899-aabbccddeeff"],
        [bytes.fromhex("00112233445566778899aabbccddeeff")],
    ),
]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve() as running:
        yield running


@pytest.mark.parametrize(
    ("sql_type", "arrow", "values", "expected"), CASES, ids=[f"{t.name}-{t.length or ''}" for t, *_ in CASES]
)
@pytest.mark.parametrize("nullable", [True, False])
def test_the_driver_loads_every_type(
    served: Served, nullable: bool, sql_type: SqlType, arrow: pa.DataType, values: list[Any], expected: list[Any]
) -> None:
    """bulkcopy_arrow into one column: the engine gets each value exactly, NULLs too."""
    served.engine.bulk.clear()
    served.engine.bulk_target = (Column("v", sql_type, nullable),)
    nulls = [None] if nullable else []
    with served.connect() as connection:
        done = connection.cursor().bulkcopy_arrow("dbo.t", pa.table({"v": pa.array(values + nulls, arrow)}), timeout=20)
    assert done["rows_copied"] == len(values) + len(nulls)
    assert served.engine.bulk[0].column(0).to_pylist() == expected + nulls


def test_many_rows_arrive_in_order(served: Served) -> None:
    """More than a megabyte of rows: several batches, each row once."""
    served.engine.bulk.clear()
    served.engine.bulk_target = (Column("n", _type("int")), Column("s", _type("nvarchar", 50)))
    numbers = pa.array(range(150_000), pa.int32())
    texts = pa.array([None if n % 5 == 0 else f"ü{n}" for n in range(150_000)])
    with served.connect() as connection:
        connection.cursor().bulkcopy_arrow("dbo.t", pa.table({"n": numbers, "s": texts}), timeout=20)
    table = served.engine.bulk[0]
    assert table.column(0).num_chunks > 1
    assert table.column(0).to_pylist() == numbers.to_pylist()
    assert table.column(1).to_pylist() == texts.to_pylist()


@pytest.mark.parametrize(
    ("collation", "text"),
    [
        (Collation("Cyrillic_General_CI_AS", 0x0419, 0xD0, 0, 0, "cp1251"), "Привет"),
        (Collation("Greek_CI_AS", 0x0408, 0xD0, 0, 0, "cp1253"), "Ελλάδα"),
        (Collation("Polish_CI_AS", 0x0415, 0xD0, 0, 0, "cp1250"), "Łódź"),
        (Collation("Japanese_CI_AS", 0x0411, 0xD0, 0, 0, "cp932"), "日本語"),
    ],
    ids=lambda value: value.name if isinstance(value, Collation) else "",
)
@pytest.mark.parametrize("length", [40, -1])
def test_text_arrives_in_its_collation(served: Served, length: int, collation: Collation, text: str) -> None:
    """The driver encodes varchar in the column's code page."""
    served.engine.bulk.clear()
    served.engine.bulk_target = (Column("v", SqlType("varchar", length, collation=collation)),)
    with served.connect() as connection:
        connection.cursor().bulkcopy_arrow("dbo.t", pa.table({"v": [text, None, "", "plain"]}), timeout=20)
    assert served.engine.bulk[0].column(0).to_pylist() == [text, None, "", "plain"]


def test_the_driver_has_no_utf8(served: Served) -> None:
    """Into a UTF-8 collation it sends the language's code page, though it announces UTF-8: ASCII arrives, the rest is
    refused where it is no UTF-8. (What the code page lacks it sends as '?', which no server can tell.)
    """
    served.engine.bulk.clear()
    served.engine.bulk_target = (Column("v", SqlType("varchar", 40, collation=UTF8_BIN2)),)
    with served.connect() as connection, pytest.raises(RuntimeError, match=r"4815.*utf-8"):
        connection.cursor().bulkcopy_arrow("dbo.t", pa.table({"v": ["é"]}), timeout=20)
    with served.connect() as connection:
        connection.cursor().bulkcopy_arrow("dbo.t", pa.table({"v": ["plain", None]}), timeout=20)
    assert served.engine.bulk[-1].column(0).to_pylist() == ["plain", None]


# -- messages --------------------------------------------------------------------------------------------------------

NUMBER, TEXT, LONG = _type("int"), _type("nvarchar", 10), _type("varbinary", -1)
METADATA = column_metadata([Column("n", NUMBER), Column("s", TEXT), Column("b", LONG)], "", utf8=False)
DONE = b"\xfd" + b"\0" * 12


def _row(number: int, text: str, long: bytes, chunk: int | None = None) -> bytes:
    raw = text.encode("utf-16-le")
    chunk = chunk or len(long) or 1
    chunks = b"".join(
        len(long[at : at + chunk]).to_bytes(4, "little") + long[at : at + chunk] for at in range(0, len(long), chunk)
    )
    plp = b"\xfe" + b"\xff" * 7 + chunks + b"\0\0\0\0"
    return b"\xd1\x04" + number.to_bytes(4, "little") + len(raw).to_bytes(2, "little") + raw + plp


def _rows(load: BulkLoad) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for batch in load.batches for row in batch.to_pylist()]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_any_cut_into_packets_gives_the_same_rows(size: int) -> None:
    """COLMETADATA, plain rows, NBCROW and values in several chunks, whatever the packets' size."""
    nbc_row = b"\xd2\x05\x02\0z\0"  # number and bytes NULL
    message = METADATA + _row(1, "a", b"") + _row(2, "é😀", b"xyz" * 9, chunk=4) + nbc_row + _row(3, "", b"q") + DONE
    load = read_bulk_load(iter([message[at : at + size] for at in range(0, len(message), size)]))
    assert [column.name for column in load.columns] == ["n", "s", "b"]
    assert _rows(load) == [(1, "a", b""), (2, "é😀", b"xyz" * 9), (None, "z", None), (3, "", b"q")]


def test_a_row_that_breaks_off_is_error_4804() -> None:
    """The message ends within a row: the rows before it stand, then SqlError."""
    load = read_bulk_load(iter([METADATA + _row(1, "a", b"b") + _row(2, "cd", b"e")[:-9]]))
    batches = iter(load.batches)
    assert next(batches).num_rows == 1
    with pytest.raises(SqlError, match="Premature end-of-message") as caught:
        next(batches)
    assert caught.value.message.number == 4804


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (b"\xd1\x02\0\0" + b"\xff\xff" + b"\xff" * 8, "colid 1 (n), row 2"),
        (b"\xd1\0" + b"\x02\0\0\xd8" + b"\xff" * 8, "colid 2 (s), row 2"),
        (b"\xd1\0" + b"\x03\0a\0b" + b"\xff" * 8, "colid 2 (s), row 2"),
        (b"\xd1\0" + b"\x16\0" + b"a\0" * 11 + b"\xff" * 8, "22 bytes where 20 are the most"),
    ],
    ids=["length of int", "lone surrogate", "odd text", "longer than announced"],
)
def test_a_broken_value_is_error_4815_with_its_column_and_row(row: bytes, says: str) -> None:
    """Values that are none of their type name the column and the row."""
    load = read_bulk_load(iter([METADATA + _row(1, "a", b"b") + row + DONE]))
    with pytest.raises(SqlError) as caught:
        _rows(load)
    assert caught.value.message.number == 4815
    assert says in caught.value.message.text


def test_a_table_without_rows_loads_nothing() -> None:
    """COLMETADATA and DONE only."""
    assert _rows(read_bulk_load(iter([METADATA + DONE]))) == []


def test_utf8_text_is_read() -> None:
    """What a client with UTF-8 sends to a UTF-8 collation, of any number of bytes for a character."""
    metadata = column_metadata([Column("v", SqlType("varchar", 40, collation=UTF8_BIN2))], "", utf8=True)
    texts = ["", "é", "日本語 😀"]
    rows = b"".join(b"\xd1" + len(t.encode()).to_bytes(2, "little") + t.encode() for t in texts)
    assert _rows(read_bulk_load(iter([metadata + rows + DONE]))) == [(text,) for text in texts]
