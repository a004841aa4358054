"""Values as bytes: each SQL Server type against the encodings of MS-TDS 2.2.5.5, and back."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sql_databricks_bridge.sandbox.sql_server.contract import DEFAULT_COLLATION, Collation, SqlError, SqlType
from sql_databricks_bridge.sandbox.sql_server.wire import columns
from sql_databricks_bridge.sandbox.sql_server.wire.bytecursor import ByteCursor
from sql_databricks_bridge.sandbox.sql_server.wire.collations import pack_collation, unpack_collation
from sql_databricks_bridge.sandbox.sql_server.wire.columns import encode_rows
from sql_databricks_bridge.sandbox.sql_server.wire.decode import InvalidValueError, decode_values
from sql_databricks_bridge.sandbox.sql_server.wire.typeinfo import encode_type_info, is_fixed
from sql_databricks_bridge.sandbox.sql_server.wire.typeread import read_type_info
from sql_databricks_bridge.sandbox.sql_server.wire.values import read_value

OFFSET = pa.struct([("utc", pa.int64()), ("offset", pa.int16())])
VARIANT = pa.struct([("type", pa.string()), ("value", pa.large_binary())])
NAME = DEFAULT_COLLATION
LAST_TICK = 3_155_378_975_999_999_999
GUID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff").bytes


def _type(name: str, length: int | None = None, precision: int | None = None, scale: int | None = None) -> SqlType:
    return SqlType(name, length, precision, scale, NAME if "char" in name or "text" in name else None)


def _rows(types: Sequence[SqlType], arrays: Sequence[pa.Array], nullable: bool = True) -> bytes:
    batch = pa.RecordBatch.from_arrays(list(arrays), [f"c{i}" for i in range(len(arrays))])
    return b"".join(bytes(data) for _, data in encode_rows(batch, list(types), [nullable] * len(types)))


# Bytes written out by hand from the specification: (type, Arrow type, value, bytes after the length byte).
FIXED: list[tuple[SqlType, pa.DataType, Any, str]] = [
    (_type("bit"), pa.bool_(), True, "01"),
    (_type("bit"), pa.bool_(), False, "00"),
    (_type("tinyint"), pa.uint8(), 255, "ff"),
    (_type("smallint"), pa.int16(), -32768, "0080"),
    (_type("int"), pa.int32(), -2, "feffffff"),
    (_type("bigint"), pa.int64(), 2**63 - 1, "ffffffffffffff7f"),
    (_type("real"), pa.float32(), 1.5, "0000c03f"),
    (_type("float"), pa.float64(), -0.0, "0000000000000080"),
    (_type("decimal", None, 9, 2), pa.decimal128(9, 2), Decimal("-9999999.99"), "00ffc99a3b"),
    (_type("decimal", None, 10, 0), pa.decimal128(10, 0), Decimal(1), "010100000000000000"),
    (_type("numeric", None, 19, 0), pa.decimal128(19, 0), Decimal(10**19 - 1), "01ffffe7890423c78a"),
    (_type("decimal", None, 20, 0), pa.decimal128(20, 0), Decimal(-(2**64)), "00000000000000000001000000"),
    (_type("decimal", None, 38, 0), pa.decimal128(38, 0), Decimal(-1), "00" + "01" + "00" * 15),
    (_type("money"), pa.decimal128(19, 4), Decimal("-922337203685477.5808"), "0000008000000000"),
    (_type("money"), pa.decimal128(19, 4), Decimal("0.0001"), "0000000001000000"),
    (_type("money"), pa.decimal128(19, 4), Decimal("-0.0001"), "ffffffffffffffff"),
    (_type("smallmoney"), pa.decimal128(10, 4), Decimal("214748.3647"), "ffffff7f"),
    (_type("date"), pa.date32(), dt.date(1, 1, 1), "000000"),
    (_type("date"), pa.date32(), dt.date(9999, 12, 31), "dab937"),
    (_type("time", scale=0), pa.int64(), 86_399 * 10**7, "7f5101"),
    (_type("time", scale=4), pa.int64(), 863_999_999_000, "ff977f33"),
    (_type("time", scale=7), pa.int64(), 863_999_999_999, "ffbf692ac9"),
    (_type("datetime2", scale=7), pa.int64(), LAST_TICK, "ffbf692ac9dab937"),
    (_type("datetime2", scale=0), pa.int64(), 0, "000000000000"),
    (_type("datetime2", scale=3), pa.int64(), 10_000, "01000000000000"),
    (_type("datetime"), pa.int64(), 0, "0000000000000000"),
    (_type("datetime"), pa.int64(), -53_690 * 86_400 * 300, "462effff00000000"),
    (_type("datetime"), pa.int64(), -1, "ffffffff" + "ff818b01"),
    (_type("smalldatetime"), pa.int64(), 65_535 * 1440 + 1439, "ffff9f05"),
    (_type("datetimeoffset", scale=7), OFFSET, {"utc": LAST_TICK, "offset": -840}, "ffbf692ac9dab937b8fc"),
    (_type("uniqueidentifier"), pa.binary(16), GUID, "33221100554477668899aabbccddeeff"),
]


@pytest.mark.parametrize(("sql_type", "arrow", "value", "expected"), FIXED)
def test_a_fixed_width_value_has_the_bytes_of_the_specification(
    sql_type: SqlType, arrow: pa.DataType, value: Any, expected: str
) -> None:
    """With a length byte where the column is nullable, bare where it isn't and the type has a bare form; NULL is 00."""
    body = bytes.fromhex(expected)
    array = pa.array([value, None, value], arrow)
    counted = b"\xd1" + bytes((len(body),)) + body
    assert _rows([sql_type], [array]) == counted + b"\xd1\x00" + counted
    bare = b"\xd1" + (body if is_fixed(sql_type, nullable=False) else bytes((len(body),)) + body)
    assert _rows([sql_type], [array.slice(2)], nullable=False) == bare


@pytest.mark.parametrize(("sql_type", "arrow", "value", "expected"), FIXED)
def test_a_parameter_is_read_as_the_value_it_was_written_from(
    sql_type: SqlType, arrow: pa.DataType, value: Any, expected: str
) -> None:
    """Decoding undoes encoding, in the contract's Arrow type."""
    decoded = decode_values(sql_type, [bytes.fromhex(expected), None])
    assert decoded.type == arrow
    assert decoded.to_pylist() == [value, None]


# (type, value, bytes after ROW)
VARIABLE: list[tuple[SqlType, Any, str]] = [
    (_type("varchar", 10), "", "0000"),
    (_type("varchar", 10), "aé€", "0300" + "61e980"),
    (_type("varchar", 10), "日", "0100" + "3f"),
    (_type("char", 3), "a  ", "0300" + "612020"),
    (_type("nvarchar", 10), "aé", "0400" + "6100e900"),
    (_type("nvarchar", 10), "😀", "0400" + "3dd800de"),
    (_type("nchar", 2), "a ", "0400" + "61002000"),
    (_type("varbinary", 10), b"\0\xff", "0200" + "00ff"),
    (_type("binary", 2), b"\0\0", "0200" + "0000"),
    (_type("timestamp"), b"\0\0\0\0\0\0\x07\xd1", "0800" + "00000000000007d1"),
    (_type("varchar", -1), "", "0000000000000000" + "00000000"),
    (_type("varchar", -1), "ab", "0200000000000000" + "02000000" + "6162" + "00000000"),
    (_type("nvarchar", -1), "é", "0200000000000000" + "02000000" + "e900" + "00000000"),
    (_type("varbinary", -1), b"\1", "0100000000000000" + "01000000" + "01" + "00000000"),
    (_type("xml", -1), "<a/>", "0800000000000000" + "08000000" + "3c0061002f003e00" + "00000000"),
    (_type("geometry", -1), b"\1\2", "0200000000000000" + "02000000" + "0102" + "00000000"),
    (_type("text"), "é", "10" + b"dummy textptr\0\0\0dummyTS\0".hex() + "01000000" + "e9"),
    (_type("ntext"), "é", "10" + b"dummy textptr\0\0\0dummyTS\0".hex() + "02000000" + "e900"),
    (_type("image"), b"", "10" + b"dummy textptr\0\0\0dummyTS\0".hex() + "00000000"),
]
NULLS = {"text": "00", "ntext": "00", "image": "00", "sql_variant": "00000000", "xml": "ff" * 8, "geometry": "ff" * 8}


@pytest.mark.parametrize(("sql_type", "value", "expected"), VARIABLE)
def test_a_variable_value_has_the_bytes_of_the_specification(sql_type: SqlType, value: Any, expected: str) -> None:
    """USHORTLEN, PARTLENTYPE or a text pointer before it, the collation's code page or UTF-16LE in it."""
    null = NULLS.get(sql_type.name, "ff" * 8 if sql_type.length == -1 else "ffff")
    array = pa.array([value, None, value], pa.large_binary() if isinstance(value, bytes) else pa.large_string())
    one = b"\xd1" + bytes.fromhex(expected)
    assert _rows([sql_type], [array]) == one + b"\xd1" + bytes.fromhex(null) + one


@pytest.mark.parametrize(
    ("type_text", "value", "expected"),
    [
        ("int", b"\1\0\0\0", "06000000" + "3800" + "01000000"),
        ("decimal(9,2)", b"\1\1\0\0\0", "09000000" + "6a02" + "0902" + "0101000000"),
        ("datetime2(3)", b"\1\0\0\0\0\0\0", "0a000000" + "2a01" + "03" + "01000000000000"),
        ("varchar(5)", b"ab", "0b000000" + "a707" + "0904d00034" + "0500" + "6162"),
        ("nvarchar(5)", b"a\0", "0b000000" + "e707" + "0904d00034" + "0a00" + "6100"),
        ("varbinary(8)", b"\7", "05000000" + "a502" + "0800" + "07"),
        ("uniqueidentifier", GUID, "12000000" + "2400" + GUID.hex()),
    ],
)
def test_a_variant_carries_its_base_type(type_text: str, value: bytes, expected: str) -> None:
    """MS-TDS 2.2.5.5.4: total length, base type, property bytes, properties, value; and it is read back as it was."""
    array = pa.array([{"type": type_text, "value": value}, None], VARIANT)
    assert _rows([_type("sql_variant")], [array]) == b"\xd1" + bytes.fromhex(expected) + b"\xd1\0\0\0\0"
    decoded = decode_values(_type("sql_variant"), [bytes.fromhex(expected)[4:], None])
    assert decoded.to_pylist() == [{"type": type_text, "value": value}, None]


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 131_072, 200_001])
def test_a_long_value_goes_in_chunks_that_add_up(size: int) -> None:
    """No chunk is over 64 KiB, whatever lies before and after in the column, and the reader gets the value whole."""
    sql_type = _type("varbinary", -1)
    values = [b"", bytes(i % 256 for i in range(size)), None, b"x" * 70_000, b"y"]
    stream = _rows([sql_type], [pa.array(values, pa.large_binary())])
    cursor = ByteCursor(stream)
    wire_type = read_type_info(ByteCursor(encode_type_info(sql_type, True)))
    got = []
    for _ in values:
        assert cursor.u8() == 0xD1
        got.append(read_value(cursor, wire_type, in_row=True))
    assert got == values
    assert cursor.remaining == 0
    assert (65_537).to_bytes(4, "little") not in stream[9:13]


def test_an_unknown_length_value_is_read_by_its_chunks() -> None:
    """PLP_UNKNOWN_LEN: what counts is the chunks, up to the empty one."""
    wire_type = read_type_info(ByteCursor(encode_type_info(_type("varbinary", -1), True)))
    raw = b"\xfe" + b"\xff" * 7 + b"\2\0\0\0ab" + b"\1\0\0\0c" + b"\0\0\0\0"
    assert read_value(ByteCursor(raw), wire_type) == b"abc"


def test_slices_and_offsets_of_arrow_arrays_are_respected() -> None:
    """A sliced batch gives exactly its rows: values, NULLs, booleans, decimals and strings with an offset."""
    types = [_type("int"), _type("bit"), _type("decimal", None, 18, 2), _type("nvarchar", 9), _type("uniqueidentifier")]
    arrays = [
        pa.array([1, None, 3, 4] * 5, pa.int32()),
        pa.array([True, None, False, True] * 5, pa.bool_()),
        pa.array([Decimal("1.10"), None, Decimal("-3.30"), Decimal("0.00")] * 5, pa.decimal128(18, 2)),
        pa.array(["a", None, "é😀", ""] * 5, pa.large_string()),
        pa.array([GUID, None, GUID[::-1], GUID] * 5, pa.binary(16)),
    ]
    whole = _rows(types, arrays)
    parts = b"".join(_rows(types, [array.slice(i, 1) for array in arrays]) for i in range(20))
    assert parts == whole
    assert _rows(types, [array.slice(3, 9) for array in arrays]) in whole


def test_rows_are_the_same_in_any_slicing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of the slices that bound memory doesn't show in the stream."""
    types = [_type("int"), _type("nvarchar", 50), _type("varchar", -1)]
    arrays = [
        pa.array(range(1000), pa.int32()),
        pa.array([None if i % 7 == 0 else "ü" * (i % 40) for i in range(1000)], pa.large_string()),
        pa.array([None if i % 5 == 0 else "x" * (i % 300) for i in range(1000)], pa.large_string()),
    ]
    whole = _rows(types, arrays)
    monkeypatch.setattr(columns, "SLICE_BYTES", 500)
    assert _rows(types, arrays) == whole


@pytest.mark.parametrize(
    ("sql_type", "array", "nullable", "says"),
    [
        (_type("nvarchar", 2), pa.array(["abc"], pa.large_string()), True, "6 bytes where 4 fit"),
        (_type("int"), pa.array([None], pa.int32()), False, "NULL in a column announced as NOT NULL"),
    ],
)
def test_a_result_that_does_not_fit_its_columns_is_an_error(
    sql_type: SqlType, array: pa.Array, nullable: bool, says: str
) -> None:
    """An engine that contradicts its own metadata gets an error, not a cut value or a broken stream."""
    with pytest.raises(SqlError, match=says):
        _rows([sql_type], [array], nullable)


@given(st.lists(st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"])))))
@settings(max_examples=100, deadline=None)
def test_any_text_survives_utf16(values: list[str | None]) -> None:
    """Unicode columns go out as Python's own codec has them, and come back equal."""
    encoded = [None if value is None else value.encode("utf-16-le") for value in values]
    array = pa.array(values, pa.large_string())
    expected = b"".join(b"\xd1" + _short(raw) for raw in encoded)
    assert _rows([_type("nvarchar", 4000)], [array]) == expected
    assert decode_values(_type("nvarchar", 4000), encoded).to_pylist() == values


IBMS_KANJI = sorted(
    text
    for lead in (0xED, 0xEE)
    for trail in range(0x40, 0xFD)
    if len(text := bytes((lead, trail)).decode("cp932", "ignore")) == 1
)
"""Kanji of NEC's copy of IBM's, which Windows reads and never writes."""


@pytest.mark.parametrize("codec", ["cp1252", "cp1250", "cp1251", "cp437", "cp932", "cp949", "utf-8"])
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_text_of_a_code_page_survives_it(codec: str, data: st.DataObject) -> None:
    """(var)char columns go out in their collation's code page and come back equal."""
    # Python's cp932 has them, but not back; and it has other bytes than Windows for the kanji that it has twice
    ambiguous = "¢£¬‖−〜" + "".join(IBMS_KANJI) if codec == "cp932" else ""
    alphabet = st.characters(
        codec=codec if codec != "utf-8" else None, exclude_categories=["Cs"], exclude_characters=ambiguous
    )
    values = data.draw(st.lists(st.one_of(st.none(), st.text(alphabet))))
    sql_type = SqlType("varchar", 8000, collation=Collation(codepage=codec))
    encoded = [None if value is None else value.encode(codec) for value in values]
    assert _rows([sql_type], [pa.array(values, pa.large_string())]) == b"".join(
        b"\xd1" + _short(raw) for raw in encoded
    )
    assert decode_values(sql_type, encoded).to_pylist() == values


@pytest.mark.parametrize(
    ("codec", "text", "raw"),
    [
        ("cp932", "纊黑Ⅱ㈱", "fa5c" + "fc4b" + "8755" + "878a"),  # IBM's kanji, and NEC's row 13 before IBM's
        ("cp936", "€中", "80d6d0"),
        ("cp1251", "\x98Ж", "98c6"),
    ],
)
def test_a_code_page_has_windows_bytes_where_pythons_differ(codec: str, text: str, raw: str) -> None:
    """ "Conversion problem between Shift-JIS and Unicode" (Microsoft KB 170559), and the single bytes of Windows."""
    sql_type = SqlType("varchar", 40, collation=Collation(codepage=codec))
    data = bytes.fromhex(raw)
    assert _rows([sql_type], [pa.array([text], pa.large_string())]) == b"\xd1" + _short(data)
    assert decode_values(sql_type, [data]).to_pylist() == [text]


def _short(raw: bytes | None) -> bytes:
    return b"\xff\xff" if raw is None else len(raw).to_bytes(2, "little") + raw


@pytest.mark.parametrize("raw", [b"\x00\xd8", b"\x00\xdc", b"a\0\x00\xd8", b"\x00"])
def test_text_that_is_no_utf16_is_refused_with_its_row(raw: bytes) -> None:
    """A lone surrogate (also where the next value begins with its other half) and half a unit have a row number."""
    with pytest.raises(InvalidValueError) as caught:
        decode_values(_type("nvarchar", 10), [b"a\0", None, raw, b"\x00\xdc"])
    assert caught.value.row == 2


@pytest.mark.parametrize(
    ("sql_type", "raw"),
    [
        (_type("float"), "000000000000f07f"),
        (_type("real"), "0000c07f"),
        (_type("decimal", None, 3, 0), "01e8030000"),
        (_type("date"), "dbb937"),
        (_type("time", scale=7), "00c0692ac9"),
        (_type("datetime2", scale=0), "805101000000"),
        (_type("datetime"), "00000000" + "00828b01"),
        (_type("smalldatetime"), "0000a005"),
        (_type("datetimeoffset", scale=0), "000000" + "000000" + "ffff"),
        (_type("datetimeoffset", scale=0), "000000" + "010000" + "4903"),
        (_type("int"), "0000"),
    ],
    ids=["inf", "nan", "digits", "date", "time", "datetime2", "datetime", "smalldatetime", "year 0", "15 h", "length"],
)
def test_bytes_that_are_no_value_of_their_type_are_refused(sql_type: SqlType, raw: str) -> None:
    """What SQL Server answers with 8023 never becomes a value; the first such row is named."""
    with pytest.raises(InvalidValueError) as caught:
        decode_values(sql_type, [None, bytes.fromhex(raw)])
    assert caught.value.row == 1


def test_every_type_info_is_read_as_it_is_written() -> None:
    """TYPE_INFO of parameters is the inverse of TYPE_INFO of columns, for all types that can be parameters."""
    types = [sql_type for sql_type, *_ in FIXED] + [t for t, *_ in VARIABLE if t.name not in ("geometry", "timestamp")]
    for sql_type in types:
        for nullable in (True, False):
            read = read_type_info(ByteCursor(encode_type_info(sql_type, nullable))).type
            legacy = sql_type.name in ("text", "ntext", "image")
            assert read == (replace(sql_type, length=-1) if legacy else sql_type)


@pytest.mark.parametrize("raw", ["f0ffff000000", "f3", "f4", "f5", "1f", "2f", "27"])
def test_types_that_can_not_be_parameters_are_refused_by_name(raw: str) -> None:
    """UDT, table, json, vector, NULL and the types before TDS 7: an error that names the type."""
    with pytest.raises(SqlError, match="can't be"):
        read_type_info(ByteCursor(bytes.fromhex(raw)))


def test_the_default_collation_has_sql_servers_bytes() -> None:
    """SQL_Latin1_General_CP1_CI_AS is 09 04 D0 00 34, and known collations name the right code page."""
    assert pack_collation(DEFAULT_COLLATION).hex() == "0904d00034"
    assert unpack_collation(bytes.fromhex("0904d00034")) == DEFAULT_COLLATION
    assert unpack_collation(bytes.fromhex("1904d00000")).codepage == "cp1251"
    assert unpack_collation(bytes.fromhex("1104d00000")).codepage == "cp932"
    assert unpack_collation(bytes.fromhex("0904002600")).codepage == "utf-8"
