"""Canonical texts of what landed: as SQL Server writes them, whatever Arrow type holds the values."""

from __future__ import annotations

import datetime as dt
import hashlib
import struct
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql_databricks_bridge.core.canonical import server
from sql_databricks_bridge.core.canonical.columns import CanonicalColumn, canonical_columns, one_byte
from sql_databricks_bridge.core.canonical.landed import row_digests, row_texts
from sql_databricks_bridge.core.manifest import ManifestColumn
from sql_databricks_bridge.errors import ResultShapeError, UsageError
from sql_databricks_bridge.models.type_policies import Companion, Form

_US, _UTC = pa.timestamp("us"), pa.timestamp("us", tz="UTC")
_GUID = "6F9619FF-8B86-D011-B42D-00C04FC964FF"


def at(text: str) -> dt.datetime:
    """A time without a zone."""
    return dt.datetime.fromisoformat(text)


def texts(sql_type: str, values: pa.Array, form: Form = Form.PLAIN, **beside: pa.Array) -> list[str]:
    """The texts of one column, whose companions are given by the fields' names."""
    column = CanonicalColumn("v", sql_type, form, **{name: name for name in beside})
    found: list[str] = row_texts(pa.record_batch({"v": values, **beside}), [column]).to_pylist()
    return found


@pytest.mark.parametrize(
    ("sql_type", "arrow", "values", "expected"),
    [
        ("bit", pa.bool_(), [True, False], ["1;", "0;"]),
        ("tinyint", pa.int16(), [255], ["255;"]),
        ("bigint", pa.int64(), [-(2**63)], ["-9223372036854775808;"]),
        ("decimal(38,0)", pa.decimal128(38, 0), [Decimal("-" + "9" * 38)], ["-" + "9" * 38 + ";"]),
        ("decimal(9,4)", pa.decimal128(9, 4), [Decimal("-0.5000"), Decimal("12.0000")], ["-0.5000;", "12.0000;"]),
        (
            "decimal(38,10)",
            pa.decimal128(38, 10),
            [Decimal("1E-10"), Decimal("-1E-10"), Decimal("0E-10"), Decimal("-12.5")],
            ["0.0000000001;", "-0.0000000001;", "0.0000000000;", "-12.5000000000;"],
        ),
        ("numeric(38,38)", pa.decimal128(38, 38), [Decimal("-1E-38")], [f"-0.{'0' * 37}1;"]),
        ("money", pa.decimal128(19, 4), [Decimal("-0.0001"), Decimal("1.0000")], ["-0.0001;", "1.0000;"]),
        ("float", pa.float64(), [0.1, -0.0, 0.0], ["3FB999999999999A;", "8000000000000000;", "0000000000000000;"]),
        ("real", pa.float32(), [0.1, -1.0], ["3DCCCCCD;", "BF800000;"]),
        ("date", pa.date32(), [dt.date(1, 1, 1), dt.date(9999, 12, 31)], ["0001-01-01;", "9999-12-31;"]),
        (
            "datetime",
            _US,
            [at("2024-05-01T10:00:00"), at("2024-05-01T10:00:00.003"), at("2024-05-01T10:00:00.006667")],
            ["2024-05-01 10:00:00.000;", "2024-05-01 10:00:00.003;", "2024-05-01 10:00:00.007;"],
        ),
        ("datetime", _US, [at("1753-01-01T23:59:59.996666")], ["1753-01-01 23:59:59.997;"]),
        ("smalldatetime", _US, [at("2079-06-06T23:59:00")], ["2079-06-06 23:59:00.000;"]),
        ("datetime2(0)", _US, [at("0001-01-01T00:00:00")], ["0001-01-01 00:00:00;"]),
        ("datetime2(3)", _US, [at("9999-12-31T23:59:59.999000")], ["9999-12-31 23:59:59.999;"]),
        ("datetime2(6)", _US, [at("1969-12-31T23:59:59.999999")], ["1969-12-31 23:59:59.999999;"]),
        ("time(3)", pa.string(), ["10:00:00.120"], ["10:00:00.120;"]),
        ("uniqueidentifier", pa.string(), [_GUID], [f"{_GUID};"]),
        ("varbinary(9)", pa.binary(), [b"", b"\0\xff", b"N;"], [";", "00FF;", "4E3B;"]),
        ("geography", pa.binary(), [b"\1"], ["01;"]),
        ("nvarchar(9)", pa.string(), ["", "a ", "é", "\0😀"], ["0:", "4:a ", "2:é", "6:\0😀"]),
        ("char(3)", pa.string(), ["N  "], ["6:N  "]),
    ],
)
def test_a_value_is_written_as_sql_server_writes_it(
    sql_type: str, arrow: pa.DataType, values: list[Any], expected: list[str]
) -> None:
    """Goldens for each type, and NULL as N."""
    null = "N" if CanonicalColumn("v", sql_type).is_string else "N;"
    assert texts(sql_type, pa.array([None, *values, None], arrow)) == [null, *expected, null]


def test_the_seventh_digit_and_the_offset_come_from_their_companions() -> None:
    """A datetimeoffset is written as its local time; forms without companions say what they keep."""
    instants = pa.array([at("2024-02-29T18:29:59.123456"), at("2024-02-29T00:10:00"), None], _UTC)
    digits, offsets = pa.array([7, 0, None], pa.int16()), pa.array([330, -45, None], pa.int16())
    assert texts("datetimeoffset(7)", instants, seventh_digit=digits, offset=offsets) == [
        "2024-02-29 23:59:59.1234567 +05:30;",
        "2024-02-28 23:25:00.0000000 -00:45;",
        "N;",
    ]
    assert texts("datetimeoffset(0)", instants[1:], offset=offsets[1:]) == ["2024-02-28 23:25:00 -00:45;", "N;"]
    assert texts("datetimeoffset(7)", instants[:1], Form.UTC) == ["2024-02-29 18:29:59.123456;"]
    assert texts("datetime2(7)", instants[:1], seventh_digit=digits[:1]) == ["2024-02-29 18:29:59.1234567;"]
    assert texts("datetime2(7)", instants[:1], Form.MICROSECONDS) == ["2024-02-29 18:29:59.123456;"]


def test_other_forms_are_written_as_what_landed() -> None:
    """Texts behind their length, bytes in hexadecimal, and what stands beside them."""
    assert texts("datetime2(7)", pa.array(["2024-02-29 10:00:00.1234567"]), Form.TEXT) == [
        "54:2024-02-29 10:00:00.1234567"
    ]
    base = pa.array(["int", None])
    assert texts("sql_variant", pa.array(["12", None]), Form.TEXT, base_type=base) == ["4:126:int", "NN"]
    srid = pa.array([4326, None], pa.int32())
    assert texts("geometry", pa.array([b"\1\2", None]), Form.WKB, srid=srid) == ["0102;4326;", "N;N;"]
    assert texts("geometry", pa.array(["POINT (1 2)", None]), Form.TEXT, srid=srid) == ["22:POINT (1 2)4326;", "NN;"]
    assert texts("hierarchyid", pa.array([b"\x5b\x40"]), Form.BYTES) == ["5B40;"]


@pytest.mark.parametrize(
    ("sql_type", "usual", "other"),
    [
        ("tinyint", pa.array([1, None], pa.int16()), pa.array([1, None], pa.int64())),
        ("bit", pa.array([True, None]), pa.array([1, None], pa.int8())),
        ("varchar(9)", pa.array(["é", None]), pa.array(["é", None], pa.large_string())),
        ("varchar(9)", pa.array(["é", None]), pa.array(["é", None], pa.string_view())),
        ("varchar(9)", pa.array(["é", None]), pa.array(["é", None]).dictionary_encode()),
        ("date", pa.array([dt.date(2024, 1, 2)]), pa.array([dt.date(2024, 1, 2)]).dictionary_encode()),
        ("binary(2)", pa.array([b"ab", None], pa.binary()), pa.array([b"ab", None], pa.large_binary())),
        ("binary(2)", pa.array([b"ab", None], pa.binary()), pa.array([b"ab", None], pa.binary(2))),
        ("money", pa.array([Decimal("1.5000")], pa.decimal128(19, 4)), pa.array([Decimal("1.5")])),
        ("real", pa.array([0.5, None], pa.float32()), pa.array([0.5, None], pa.float64())),
        ("datetime2(6)", pa.array([at("2024-01-02")], _US), pa.array([at("2024-01-02")], _UTC)),
        ("datetime2(6)", pa.array([at("2024-01-02")], _US), pa.array([at("2024-01-02")], pa.timestamp("ns"))),
        ("datetime", pa.array([at("2024-01-02")], _US), pa.array([at("2024-01-02")], pa.timestamp("ms"))),
    ],
)
def test_equivalent_arrow_types_have_the_same_texts(sql_type: str, usual: pa.Array, other: pa.Array) -> None:
    """What a Delta table is read back as need not be of the type that was written."""
    assert texts(sql_type, usual) == texts(sql_type, other)


_DAY = "2024-01-02 00:00:00"


@pytest.mark.parametrize(
    ("sql_type", "values", "beside", "expected"),
    [
        ("datetime2(3)", pa.array([at("2024-01-02T00:00:00.000001")], _US), {}, f"{_DAY}.000001;"),
        ("datetime", pa.array([at("2024-01-02T00:00:00.001")], _US), {}, f"{_DAY}.001;"),
        ("datetime", pa.array([at("2024-01-02T00:00:00.003001")], _US), {}, f"{_DAY}.003001;"),
        ("datetime", pa.array([at("2024-01-02T00:00:00.999")], _US), {}, f"{_DAY}.999;"),
        (
            "datetime2(7)",
            pa.array([at("2024-01-02"), None, at("2024-01-02")], _US),
            {"seventh_digit": pa.array([None, 1, 10], pa.int16())},
            f"{_DAY}.000000?;?1;{_DAY}.00000010;",
        ),
        (
            "datetimeoffset(3)",
            pa.array([at("2024-01-02"), at("2024-01-02"), None], _UTC),
            {"offset": pa.array([0, None, 0], pa.int16())},
            f"{_DAY}.000 +00:00;{_DAY}.000?;? +00:00;",
        ),
        (
            "datetimeoffset(3)",
            pa.array([at("2024-01-02")], _UTC),
            {"offset": pa.array([841], pa.int16())},
            "2024-01-02 14:01:00.000?;",
        ),
        ("time(0)", pa.array(["10:00", "N", None, "10:00:00"]), {}, "?;?;N;10:00:00;"),
        ("uniqueidentifier", pa.array(["N;" + "0" * 34]), {}, "?;"),
        ("decimal(9,2)", pa.array([Decimal("1.005"), Decimal("1.010"), None]), {}, "?;1.01;N;"),
        ("real", pa.array([0.1, 0.5, None], pa.float64()), {}, "?;3F000000;N;"),
    ],
)
def test_what_the_type_cant_hold_has_a_text_of_no_value(
    sql_type: str, values: pa.Array, beside: dict[str, pa.Array], expected: str
) -> None:
    """It is found as a difference, whatever stood there before; its neighbours are left as they are."""
    assert "".join(texts(sql_type, values, **beside)) == expected


def test_a_slice_of_a_batch_has_the_texts_of_its_rows() -> None:
    """Offsets into buffers and bits of validity are those of the slice."""
    columns = [
        CanonicalColumn("a", "nvarchar(9)"),
        CanonicalColumn("b", "varbinary(9)"),
        CanonicalColumn("c", "float"),
        CanonicalColumn("d", "decimal(38,10)"),
    ]
    numbers = range(40)
    batch = pa.record_batch(
        {
            "a": pa.array([None if n % 3 == 0 else "é" * n for n in numbers]),
            "b": pa.array([None if n % 5 == 0 else bytes([n] * n) for n in numbers]),
            "c": pa.array([None if n % 7 == 0 else n / 3 for n in numbers]),
            "d": pa.array([None if n % 2 == 0 else Decimal(n).scaleb(-10) for n in numbers], pa.decimal128(38, 10)),
        }
    )
    assert row_texts(batch.slice(11, 17), columns).to_pylist() == row_texts(batch, columns).to_pylist()[11:28]
    assert row_texts(batch.slice(40), columns).to_pylist() == []
    assert row_digests(batch.slice(40), columns).shape == (0, 32)


@given(st.lists(st.none() | st.text(max_size=5) | st.text(st.sampled_from("aé€😀\0 :;N"), max_size=9), max_size=20))
def test_strings_are_digested_as_utf16(values: list[str | None]) -> None:
    """Their length counts UTF-16 bytes, surrogate pairs and NUL characters included."""
    batch = pa.record_batch({"id": pa.array(range(len(values)), pa.int32()), "v": pa.array(values, pa.string())})
    expected = [
        f"{at};" + ("N" if value is None else f"{len(value.encode('utf-16-le'))}:{value}")
        for at, value in enumerate(values)
    ]
    columns = [CanonicalColumn("ID", "int"), CanonicalColumn("v", "nvarchar(max)")]
    assert row_texts(batch, columns).to_pylist() == expected
    digests = [hashlib.sha256(text.encode("utf-16-le")).digest() for text in expected]
    assert [digest.tobytes() for digest in row_digests(batch, columns)] == digests


@given(st.lists(st.none() | st.floats(allow_nan=False) | st.floats(width=32, allow_nan=False), max_size=20))
def test_floats_are_written_as_their_bytes(values: list[float | None]) -> None:
    """So that 0 and -0 differ, and no digits are lost; without strings the text is hashed as ASCII."""
    columns = [CanonicalColumn("v", "float")]
    batch = pa.record_batch({"v": pa.array(values, pa.float64())})
    expected = ["N;" if value is None else struct.pack(">d", value).hex().upper() + ";" for value in values]
    assert row_texts(batch, columns).to_pylist() == expected
    digests = [hashlib.sha256(text.encode("ascii")).digest() for text in expected]
    assert [digest.tobytes() for digest in row_digests(batch, columns)] == digests


@pytest.mark.parametrize(
    ("sql_type", "form", "is_one_byte"),
    [
        ("int", Form.PLAIN, True),
        ("uniqueidentifier", Form.PLAIN, True),
        ("geometry", Form.WKB, True),
        ("datetime2(7)", Form.TEXT, False),
        ("varchar(3)", Form.PLAIN, False),
        ("sql_variant", Form.TEXT, False),
    ],
)
def test_rows_without_strings_are_hashed_one_byte_a_character(sql_type: str, form: Form, is_one_byte: bool) -> None:
    """The rule is of the columns alone, and the server's T-SQL is of the same kind."""
    column = CanonicalColumn("v", sql_type, form)
    assert one_byte([column]) is is_one_byte
    assert ("nvarchar" not in server.row_text([column], "q", ["[v]"])) is is_one_byte


def test_companions_are_found_by_the_manifest() -> None:
    """By what it says of each column, not by names."""
    columns = [
        ManifestColumn("v", "datetimeoffset(7)", "timestamp[us, tz=UTC]", nullable=True),
        ManifestColumn("x", "smallint", "int16", True, companion=Companion.OFFSET, companion_of="v"),
        ManifestColumn("v__100ns", "smallint", "int16", True, companion=Companion.SEVENTH_DIGIT, companion_of="v"),
        ManifestColumn("w__offset_minutes", "smallint", "int16", nullable=True),
        ManifestColumn("g", "geometry", "binary", True, form=Form.WKB),
        ManifestColumn("g__srid", "int", "int32", True, companion=Companion.SRID, companion_of="g"),
    ]
    assert canonical_columns(columns) == (
        CanonicalColumn("v", "datetimeoffset(7)", seventh_digit="v__100ns", offset="x"),
        CanonicalColumn("w__offset_minutes", "smallint"),
        CanonicalColumn("g", "geometry", Form.WKB, srid="g__srid"),
    )


@pytest.mark.parametrize(
    ("column", "values", "error", "said"),
    [
        (CanonicalColumn("w", "int"), pa.array([1]), ResultShapeError, "no column 'w'.*it has v"),
        (CanonicalColumn("v", "geometry", Form.WKB, srid="s"), pa.array([b""]), ResultShapeError, "'s', which stands"),
        (CanonicalColumn("v", "int"), pa.array(["x"]), ResultShapeError, "'v' was int on SQL Server and is string"),
        (CanonicalColumn("v", "date"), pa.array([b"x"]), ResultShapeError, "'v' was date on SQL Server and is binary"),
        (CanonicalColumn("v", "datetime2(7)"), pa.array([at("2024-01-02")], _US), ResultShapeError, "seventh digit"),
        (CanonicalColumn("v", "datetimeoffset(3)"), pa.array([at("2024-01-02")], _UTC), ResultShapeError, "offset"),
        (CanonicalColumn("v", "sql_variant"), pa.array(["x"]), UsageError, "no canonical text"),
    ],
)
def test_columns_that_have_no_text_are_named(
    column: CanonicalColumn, values: pa.Array, error: type[Exception], said: str
) -> None:
    """Missing ones, ones of another kind, and ones without their companions."""
    with pytest.raises(error, match=said):
        row_texts(pa.record_batch({"v": values}), [column])
