"""The type contract, without a server: what the driver gives becomes what lands, or is refused by name."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql_databricks_bridge.core.ports import ResultColumn
from sql_databricks_bridge.core.types import LandedSchema, SqlServerType, landed_field, row_bound_bytes
from sql_databricks_bridge.errors import ResultShapeError, ValueRefused

UTC_US = pa.timestamp("us", tz="UTC")


def column(sql_type: str, name: str = "v", *, max_length: int = 8, user_type: str | None = None) -> ResultColumn:
    return ResultColumn(name, sql_type, True, max_length, 0, 0, user_type=user_type)


def landed(sql_type: str, array: pa.Array) -> pa.Array:
    """Convert one column as the driver gave it."""
    schema = LandedSchema.of([column(sql_type)])
    (batch,) = schema.convert(pa.record_batch([array], names=["v"]))
    batch.validate(full=True)
    assert batch.schema.equals(schema.schema, check_metadata=True)
    return batch.column(0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int", ("int", None, None, None)),
        ("DECIMAL(18,4)", ("decimal", None, 18, 4)),
        ("decimal", ("decimal", None, 18, 0)),
        ("numeric(38)", ("numeric", None, 38, 0)),
        ("nvarchar(max)", ("nvarchar", -1, None, None)),
        ("varchar(8000)", ("varchar", 8000, None, None)),
        ("datetime2(3)", ("datetime2", None, None, 3)),
        ("datetime2", ("datetime2", None, None, 7)),
        ("time(0)", ("time", None, None, 0)),
        ("uniqueidentifier", ("uniqueidentifier", None, None, None)),
    ],
)
def test_a_type_name_is_parsed(text: str, expected: tuple[object, ...]) -> None:
    """Name, length, precision and scale are what the server wrote, defaults included."""
    found = SqlServerType.parse(text)
    assert (found.name, found.length, found.precision, found.scale) == expected
    assert found.text == text


@pytest.mark.parametrize("text", ["", "decimal(18,4", "two words", "int(1,2)", "varchar(-1)", "Ω"])
def test_what_is_no_type_name_is_refused(text: str) -> None:
    """A text that is none is an error, not a guess."""
    with pytest.raises(ValueError, match=r"is not a SQL Server type name|one argument too many"):
        SqlServerType.parse(text)


@pytest.mark.parametrize(
    ("sql_type", "expected"),
    [
        ("bit", pa.bool_()),
        ("tinyint", pa.int16()),
        ("smallint", pa.int16()),
        ("int", pa.int32()),
        ("bigint", pa.int64()),
        ("real", pa.float32()),
        ("float", pa.float64()),
        ("decimal(18,4)", pa.decimal128(18, 4)),
        ("numeric(38,0)", pa.decimal128(38, 0)),
        ("money", pa.decimal128(19, 4)),
        ("smallmoney", pa.decimal128(10, 4)),
        ("date", pa.date32()),
        ("datetime", pa.timestamp("us")),
        ("smalldatetime", pa.timestamp("us")),
        ("datetime2(6)", pa.timestamp("us")),
        ("datetime2(7)", pa.timestamp("us")),
        ("datetimeoffset(7)", UTC_US),
        ("time(7)", pa.string()),
        ("char(10)", pa.string()),
        ("varchar(max)", pa.string()),
        ("nchar(10)", pa.string()),
        ("nvarchar(50)", pa.string()),
        ("text", pa.string()),
        ("ntext", pa.string()),
        ("xml", pa.string()),
        ("json", pa.string()),
        ("uniqueidentifier", pa.string()),
        ("binary(8)", pa.binary()),
        ("varbinary(max)", pa.binary()),
        ("image", pa.binary()),
        ("timestamp", pa.binary()),
        ("hierarchyid", pa.binary()),
        ("geometry", pa.binary()),
        ("geography", pa.binary()),
    ],
)
def test_every_type_has_its_place(sql_type: str, expected: pa.DataType) -> None:
    """Section 7's table: each SQL Server type has one Arrow type, none of them one that Spark refuses."""
    field = landed_field(column(sql_type))
    assert field.type == expected
    assert field.nullable
    assert field.metadata[b"sqlserver.type"] == sql_type.encode()
    assert not pa.types.is_unsigned_integer(field.type)
    assert not pa.types.is_time(field.type)
    assert not pa.types.is_timestamp(field.type) or field.type.unit == "us"


def test_metadata_keeps_what_the_server_said() -> None:
    """Collation, NULLability and a user-defined type's name travel with the field."""
    field = landed_field(ResultColumn("c", "nvarchar(50)", False, 100, 0, 0, "Latin1_General_CI_AS", "dbo.Name"))
    assert field.metadata == {
        b"sqlserver.type": b"nvarchar(50)",
        b"sqlserver.nullable": b"false",
        b"sqlserver.collation": b"Latin1_General_CI_AS",
        b"sqlserver.user_type": b"dbo.Name",
    }


def test_a_clr_type_lands_as_its_bytes() -> None:
    """A user's own CLR type has no system type: its serialized bytes land, its name stays in the metadata."""
    assert landed_field(column("Point", user_type="Points.Point, Points")).type == pa.binary()


@pytest.mark.parametrize("sql_type", ["sql_variant", "vector(3)", "cursor", "table"])
def test_a_type_without_a_place_is_refused_with_a_way_out(sql_type: str) -> None:
    """What has no place in Parquet is refused before the query runs, by ordinal and name, and CAST is named."""
    with pytest.raises(ResultShapeError) as caught:
        LandedSchema.of([column("int", "a"), column(sql_type, "b")])
    assert "column 2 ('b')" in caught.value.message
    assert "CAST" in (caught.value.hint or "")


def test_all_untypable_columns_are_told_together() -> None:
    """Two bad columns make one message with both."""
    with pytest.raises(ResultShapeError, match=r"column 1 .*column 3"):
        LandedSchema.of([column("sql_variant", "a"), column("int", "b"), column("sql_variant", "c")])


def test_unnamed_columns_are_told_by_ordinal() -> None:
    """Columns without a name are refused by their place, and what to write is said."""
    with pytest.raises(ResultShapeError, match=r"Columns 2, 3 of the result have no name\. .*AS flights"):
        LandedSchema.of([column("int", "a"), column("int", ""), column("int", "")])


@pytest.mark.parametrize("names", [("id", "x", "id"), ("Id", "x", "ID"), ("ÄB", "x", "äb")])
def test_names_that_differ_in_case_only_are_repeated(names: tuple[str, str, str]) -> None:
    """Spark takes such names for one, so they are refused with both ordinals."""
    with pytest.raises(ResultShapeError, match=r"columns 1, 3"):
        LandedSchema.of([column("int", name) for name in names])


def test_a_query_without_a_result_is_refused() -> None:
    """No columns is no SELECT."""
    with pytest.raises(ResultShapeError, match="no result set"):
        LandedSchema.of([])


def test_losses_are_declared_before_the_first_row() -> None:
    """datetime2(7) and datetimeoffset say what they lose; datetime2(6) and time(7) lose nothing."""
    schema = LandedSchema.of(
        [
            column("datetime2(7)", "a"),
            column("datetime2(6)", "b"),
            column("datetimeoffset(7)", "c"),
            column("time", "d"),
        ]
    )
    assert [(loss.column, loss.reason.split(":")[0]) for loss in schema.losses] == [
        ("a", "datetime2(7)"),
        ("c", "datetimeoffset(7)"),
        ("c", "datetimeoffset(7)"),
    ]


def test_tinyint_becomes_signed() -> None:
    """uint8's whole range arrives in int16, NULL too."""
    assert landed("tinyint", pa.array([0, 255, None], pa.uint8())).to_pylist() == [0, 255, None]


def test_text_keeps_every_character() -> None:
    """Supplementary characters, NUL, empty strings and NULLs stay apart and whole."""
    values = ["", "a\x00b", "😀𝔘", "ñ", None, " trailing "]
    assert landed("nvarchar(20)", pa.array(values, pa.large_string())).to_pylist() == values


def test_text_that_is_not_utf8_is_refused() -> None:
    """Bytes that no UTF-8 reader could read never land; the row is named."""
    bad = pa.Array.from_buffers(
        pa.large_string(), 2, [None, pa.array([0, 1, 3], pa.int64()).buffers()[1], pa.py_buffer(b"a\xed\xa0")]
    )
    with pytest.raises(ValueRefused, match=r"Column 'v' \(nvarchar\(20\)\), row 2"):
        landed("nvarchar(20)", bad)


@pytest.mark.parametrize("digits", range(8))
def test_time_is_text_with_its_declared_digits(digits: int) -> None:
    """time(n) lands as HH:MM:SS and exactly n fractional digits, its boundaries included."""
    unit = 10 ** (9 - digits)
    last = 86_400 * 10**9 - unit
    found = landed(f"time({digits})", pa.array([0, last, None, unit], pa.time64("ns"))).to_pylist()
    fraction = "." if digits else ""
    one = f".{'1'.rjust(digits, '0')}" if digits else ""
    assert found == [
        f"00:00:00{fraction}{'0' * digits}",
        f"23:59:59{fraction}{'9' * digits}",
        None,
        f"00:00:00{one}" if digits else "00:00:01",
    ]


@given(st.integers(0, 864_000_000_000 - 1))
def test_every_time_of_day_is_told_exactly(ticks: int) -> None:
    """Any count of 100 ns since midnight is written digit by digit."""
    (found,) = landed("time(7)", pa.array([ticks * 100], pa.time64("ns"))).to_pylist()
    seconds, fraction = divmod(ticks, 10**7)
    assert found == f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{fraction:07d}"


def test_digits_beyond_the_declared_ones_are_refused() -> None:
    """A time(3) with microseconds is no time(3): nothing is cut off silently."""
    with pytest.raises(ValueRefused, match=r"row 2.*more than 3 fractional digits"):
        landed("time(3)", pa.array([1_000_000, 1_001_000], pa.time64("ns")))


@given(st.data(), st.integers(1, 38))
def test_decimals_keep_every_digit(data: st.DataObject, precision: int) -> None:
    """Every decimal(p,s) passes unchanged."""
    scale = data.draw(st.integers(0, precision))
    digits = data.draw(st.integers(-(10**precision) + 1, 10**precision - 1))
    value = Decimal(digits).scaleb(-scale) if digits else Decimal(0).scaleb(-scale)
    value = Decimal((int(digits < 0), Decimal(abs(digits)).as_tuple().digits, -scale))
    array = pa.array([value, None], pa.decimal128(precision, scale))
    assert landed(f"decimal({precision},{scale})", array).to_pylist() == [value, None]


def test_a_decimal_of_another_scale_is_checked() -> None:
    """A driver's decimal of a wider scale is rescaled where that is exact and refused where it is not."""
    assert landed("money", pa.array([Decimal("1.50")], pa.decimal128(19, 2))).to_pylist() == [Decimal("1.5000")]
    with pytest.raises(ValueRefused, match="row 1"):
        landed("smallmoney", pa.array([Decimal("1.23456")], pa.decimal128(19, 5)))


def test_timestamps_keep_their_boundaries() -> None:
    """From year 1 to the last microsecond of 9999, without a zone."""
    values = [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999_999), None]  # noqa: DTZ001 zoneless types
    assert landed("datetime2(6)", pa.array(values, pa.timestamp("us"))).to_pylist() == values


def test_nanoseconds_that_do_not_fit_are_refused() -> None:
    """Should a driver give nanoseconds, those below a microsecond are refused, not cut."""
    with pytest.raises(ValueRefused):
        landed("datetime2(7)", pa.array([100], pa.timestamp("ns")))


def test_offsets_are_utc() -> None:
    """The driver's '+00:00' becomes Spark's UTC; a column in another zone is refused."""
    moment = dt.datetime(2013, 1, 1, 5, tzinfo=dt.UTC)
    found = landed("datetimeoffset(0)", pa.array([moment], pa.timestamp("us", tz="+00:00")))
    assert found.type == UTC_US
    assert found.to_pylist() == [moment]
    with pytest.raises(ResultShapeError, match="the driver gave"):
        landed("datetimeoffset(0)", pa.array([moment], pa.timestamp("us", tz="America/Lima")))


@pytest.mark.parametrize(
    ("sql_type", "array"),
    [
        ("int", pa.array(["1"])),
        ("float", pa.array([Decimal("1.5")])),
        ("nvarchar(5)", pa.array([1])),
        ("date", pa.array([dt.datetime(2020, 1, 1)])),  # noqa: DTZ001
        ("datetime2(6)", pa.array([dt.datetime(2020, 1, 1, tzinfo=dt.UTC)], UTC_US)),
        ("decimal(5,2)", pa.array([1.5])),
    ],
)
def test_another_kind_than_declared_is_refused(sql_type: str, array: pa.Array) -> None:
    """The server's declaration rules: a driver's column of another kind is never converted by guess."""
    with pytest.raises(ResultShapeError, match="is declared"):
        landed(sql_type, array)


def test_another_number_of_columns_is_refused() -> None:
    """A table altered between describing and running is noticed."""
    schema = LandedSchema.of([column("int", "a")])
    with pytest.raises(ResultShapeError, match="2 columns"):
        list(schema.convert(pa.record_batch([pa.array([1]), pa.array([2])], names=["a", "b"])))


def test_the_row_is_counted_over_batches() -> None:
    """The row that is named counts from the first batch, from 1."""
    schema = LandedSchema.of([column("int", "a")])
    batch = pa.record_batch([pa.array([1, 2, 2**40], pa.int64())], names=["a"])
    with pytest.raises(ValueRefused, match="row 1003"):
        list(schema.convert(batch, 1000))


def test_a_row_without_bound_is_known() -> None:
    """(max), xml and UDTs have no bound; the rest adds up."""
    assert row_bound_bytes([column("int", max_length=4), column("nvarchar(50)", max_length=100)]) == 120
    for unbounded in ("nvarchar(max)", "xml", "geometry"):
        assert row_bound_bytes([column("int"), column(unbounded, max_length=-1)]) is None
    assert row_bound_bytes([column("text", max_length=16)]) is None
