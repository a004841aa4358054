"""Values in parts: what stands beside a column goes with it, or the row is refused by name."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest

from sql_databricks_bridge.errors import EventInvalid, ValueRefused
from sql_databricks_bridge.models.applying import Assembly
from sql_databricks_bridge.models.tables import TargetColumn
from sql_databricks_bridge.models.type_policies import Companion, Form
from sql_databricks_bridge.sync.value_parts import is_base_type
from sql_databricks_bridge.sync.values import Inbound
from tests.unit.sync.values_support import stored

LOCAL, UTC = pa.timestamp("us"), pa.timestamp("us", tz="UTC")
NOON = 1_709_208_000_000_000  # 2024-02-29 12:00 in microseconds since 1970
FIRST = -62_135_596_800_000_000  # 0001-01-01
LAST = 253_402_300_799_999_999  # 9999-12-31 23:59:59.999999
DIGIT, OFFSET, BASE, SRID = Companion


def _staged(sql_type: str, value: pa.Array, **beside: pa.Array) -> tuple[Mapping[str, list[Any]], tuple[Assembly, ...]]:
    companions = [(Companion[name], array) for name, array in beside.items()]
    fields = [(companion, pa.field(companion.beside("v"), array.type)) for companion, array in companions]
    way = Inbound.of([pa.field("v", value.type)], [TargetColumn("v", sql_type, True)], beside=[fields])
    batch = pa.record_batch([value, *beside.values()], ["v", *(field.name for _, field in fields)])
    found = way.convert(batch)
    found.validate(full=True)
    assert found.schema == way.schema
    return found.to_pydict(), way.assemblies


def _refused(sql_type: str, value: pa.Array, **beside: pa.Array) -> str:
    with pytest.raises(ValueRefused) as caught:
        _staged(sql_type, value, **beside)
    return caught.value.message


def _never(sql_type: str, value: pa.Array, **beside: pa.Array) -> str:
    with pytest.raises(EventInvalid) as caught:
        _staged(sql_type, value, **beside)
    return caught.value.message


def _us(*values: int | None, kind: pa.DataType = LOCAL) -> pa.Array:
    return pa.array(values, pa.int64()).cast(kind)


def test_a_seventh_digit_is_staged_beside_its_value() -> None:
    found, assemblies = _staged(
        "datetime2(7)", _us(FIRST, LAST, None), SEVENTH_DIGIT=pa.array([0, 9, None], pa.int32())
    )
    assert found == {"v": [dt.datetime.min, dt.datetime.max, None], "v__100ns": [0, 9, None]}  # noqa: DTZ901
    assert [(made.form, made.companions) for made in assemblies] == [(Form.PLAIN, (DIGIT,))]


def test_a_column_without_companions_is_staged_as_ever() -> None:
    assert _staged("datetime2(7)", _us(NOON))[1] == ()
    assert _staged("datetimeoffset(7)", _us(NOON, kind=UTC))[1] == ()


def test_an_offset_and_a_digit_are_staged_beside_the_instant() -> None:
    found, assemblies = _staged(
        "datetimeoffset(7)",
        _us(NOON, None, kind=UTC),
        SEVENTH_DIGIT=pa.array([7, None], pa.int16()),
        OFFSET=pa.array([-840, None], pa.int16()),
    )
    assert list(found) == ["v", "v__offset_minutes", "v__100ns"]
    assert (found["v__offset_minutes"], found["v__100ns"]) == ([-840, None], [7, None])
    assert assemblies[0].companions == (OFFSET, DIGIT)


def test_a_digit_that_the_scale_lacks_is_refused_and_a_zero_is_not_staged() -> None:
    assert "datetime2(6) holds 6" in _refused("datetime2(6)", _us(NOON), SEVENTH_DIGIT=pa.array([1], pa.int16()))
    found, assemblies = _staged("datetime2(6)", _us(NOON), SEVENTH_DIGIT=pa.array([0], pa.int16()))
    assert (list(found), assemblies) == (["v"], ())


@pytest.mark.parametrize(
    ("value", "digit", "why"),
    [
        (NOON, 10, "v__100ns beside it is 10, not 0 to 9"),
        (NOON, -1, "v__100ns beside it is -1, not 0 to 9"),
        (NOON, None, "v__100ns beside it is NULL"),
        (None, 3, "v__100ns beside it is 3, not NULL"),
    ],
)
def test_a_digit_that_says_nothing_of_its_value_is_refused_by_row(
    value: int | None, digit: int | None, why: str
) -> None:
    message = _refused("datetime2(7)", _us(NOON, value), SEVENTH_DIGIT=pa.array([1, digit], pa.int16()))
    assert message.startswith("Row 2, column 'v': ")
    assert why in message


@pytest.mark.parametrize("offset", [900, -841, 2**31 - 1])
def test_an_offset_beyond_fourteen_hours_is_refused(offset: int) -> None:
    message = _refused("datetimeoffset(7)", _us(NOON, kind=UTC), OFFSET=pa.array([offset], pa.int32()))
    assert f"v__offset_minutes beside it is {offset}, not -840 to 840" in message


@pytest.mark.parametrize(("instant", "offset"), [(FIRST, -1), (LAST, 1)])
def test_a_local_time_beyond_the_calendar_is_refused(instant: int, offset: int) -> None:
    beside = pa.array([offset], pa.int16())
    assert "by its offset" in _refused("datetimeoffset(7)", _us(instant, kind=UTC), OFFSET=beside)
    assert _staged("datetimeoffset(7)", _us(instant, kind=UTC), OFFSET=pa.array([-offset], pa.int16()))[0]


def test_the_first_refused_row_is_named_whichever_part_is_to_blame() -> None:
    message = _refused(
        "datetimeoffset(3)",
        _us(NOON, NOON + 1, NOON, NOON, kind=UTC),
        OFFSET=pa.array([0, 0, 0, 900], pa.int16()),
        SEVENTH_DIGIT=pa.array([0, 0, 1, 0], pa.int16()),
    )
    assert message.startswith("Row 2, column 'v': 2024-02-29 12:00:00.000001Z can't go into datetimeoffset(3)")


@pytest.mark.parametrize(
    ("sql_type", "value", "beside", "why"),
    [
        ("datetime2(7)", _us(NOON), pa.array(["1"]), "v__100ns beside it is no SMALLINT"),
        ("datetime2(7)", pa.array([dt.date(2024, 1, 1)]), pa.array([1]), "v__100ns belongs beside a TIMESTAMP_NTZ"),
        ("datetime2(7)", _us(NOON, kind=UTC), pa.array([1]), "v__100ns belongs beside a TIMESTAMP_NTZ"),
        ("datetimeoffset(7)", _us(NOON), pa.array([1]), "v__100ns belongs beside a TIMESTAMP"),
        ("datetime2(7)", pa.array(["2024-01-01 00:00:00"]), pa.array([1]), "beside text there is no place"),
    ],
)
def test_companions_of_another_kind_are_refused_before_the_first_row(
    sql_type: str, value: pa.Array, beside: pa.Array, why: str
) -> None:
    assert why in _never(sql_type, value, SEVENTH_DIGIT=beside)


def test_nulls_of_no_type_need_nulls_beside_them() -> None:
    found, _ = _staged("datetime2(7)", pa.nulls(2), SEVENTH_DIGIT=pa.nulls(2))
    assert found == {"v": [None, None]}
    assert "is not NULL" in _refused("datetime2(7)", pa.nulls(1), SEVENTH_DIGIT=pa.array([1], pa.int16()))
    assert _staged("geography", pa.nulls(1))[1][0].form is Form.TEXT


@pytest.mark.parametrize(
    ("sql_type", "text", "parts"),
    [
        ("datetime2(7)", "0001-01-01 00:00:00.0000000", {"v": FIRST, "v__100ns": 0}),
        ("datetime2(7)", "9999-12-31 23:59:59.9999999", {"v": LAST, "v__100ns": 9}),
        ("datetime2(7)", "2024-02-29 12:00:00", {"v": NOON, "v__100ns": 0}),
        ("datetime2(3)", "2024-02-29 12:00:00.120", {"v": NOON + 120_000}),
        (
            "datetimeoffset(7)",
            "2024-02-29 17:30:00.0000003 +05:30",
            {"v": NOON, "v__offset_minutes": 330, "v__100ns": 3},
        ),
        ("datetimeoffset(0)", "2024-02-28 22:00:00 -14:00", {"v": NOON, "v__offset_minutes": -840}),
        ("datetimeoffset(7)", "0001-01-01 14:00:00.0 +14:00", {"v": FIRST, "v__offset_minutes": 840, "v__100ns": 0}),
    ],
)
def test_sql_servers_text_of_a_moment_keeps_every_digit(sql_type: str, text: str, parts: dict[str, int]) -> None:
    found, _ = _staged(sql_type, pa.array([text, None]))
    kind = UTC if "offset" in sql_type else pa.timestamp("us")
    expected = {name: [value, None] for name, value in parts.items()} | {
        "v": pa.array([parts["v"], None], pa.int64()).cast(kind).to_pylist()
    }
    assert found == expected


@pytest.mark.parametrize(
    ("sql_type", "text", "why"),
    [
        ("datetime2(7)", "2024-02-30 00:00:00", "there is no such day"),
        ("datetime2(7)", "2024-13-01 00:00:00", "there is no such day"),
        ("datetime2(7)", "0000-01-01 00:00:00", "not within 0001"),
        ("datetime2(7)", "2024-01-01 24:00:00", "not a moment"),
        ("datetime2(7)", "2024-01-01 00:00:00.12345678", "not a moment"),
        ("datetime2(7)", "2024-01-01 00:00:00 +01:00", "not a moment"),
        ("datetime2(7)", "2024-01-01 00:00:00\n", "not a moment"),
        ("datetime2(7)", "", "not a moment"),
        ("datetime2(6)", "2024-01-01 00:00:00.0000001", "holds 6 fractional digits"),
        ("datetime2(3)", "2024-01-01 00:00:00.0001", "holds 3 fractional digits"),
        ("datetimeoffset(7)", "2024-01-01 00:00:00", "not a moment"),
        ("datetimeoffset(7)", "2024-01-01 00:00:00 +14:01", "offsets run"),
        ("datetimeoffset(7)", "0001-01-01 00:00:00 +00:01", "in UTC it is not within"),
    ],
)
def test_other_text_is_no_moment(sql_type: str, text: str, why: str) -> None:
    assert why in _refused(sql_type, pa.array([text]))


@pytest.mark.parametrize(
    ("us", "kept"), [(3_333, 3_000), (6_666, 7_000), (6_667, 7_000), (3_000, 3_000), (7_000, 7_000)]
)
@pytest.mark.parametrize("base", [-6_847_804_800_000_000, -10_000, 0, NOON + 990_000])
def test_a_tick_is_the_same_however_its_microseconds_are_written(base: int, us: int, kept: int) -> None:
    assert stored("datetime", _us(base + us)).cast(pa.int64()).to_pylist() == [base + kept]


@pytest.mark.parametrize("path", ["/", "/1/", "/-1/", "/1.2.-3/0/", "/281479271683151/"])
def test_a_path_is_staged_as_text(path: str) -> None:
    found, (assembly,) = _staged("hierarchyid", pa.array([path, None]))
    assert (found, assembly.form) == ({"v": [path, None]}, Form.TEXT)


@pytest.mark.parametrize("path", ["", "1/", "/1", "/01/", "/-0/", "/1..2/", "/a/", "/1/\n", "//"])
def test_what_is_no_path_as_sql_server_writes_it_is_refused(path: str) -> None:
    assert "no path" in _refused("hierarchyid", pa.array([path]))


def test_bytes_of_a_clr_type_are_staged_as_they_are() -> None:
    for sql_type in ("hierarchyid", "geometry", "geography"):
        found, (assembly,) = _staged(sql_type, pa.array([b"\x58", None]))
        assert (found, assembly.form) == ({"v": [b"\x58", None]}, Form.BYTES)
    assert "892" in _refused("hierarchyid", pa.array([b"\x00" * 893]))


def test_with_a_srid_beside_it_a_shape_is_well_known() -> None:
    srid = pa.array([4326], pa.int32())
    assert _staged("geography", pa.array([b"\x01"]), SRID=srid)[1][0].form is Form.WKB
    assert _staged("geometry", pa.array(["POINT (1 2 3 4)"]), SRID=srid)[1][0].form is Form.TEXT
    assert "v__srid (INT) beside it" in _never("geometry", pa.array(["POINT (1 2)"]))
    assert "is 1000000, not 0 to 999999" in _refused("geometry", pa.array([b"\x01"]), SRID=pa.array([1_000_000]))


def test_a_variant_needs_the_type_of_each_value() -> None:
    types = pa.array(["decimal(10,2)", "nvarchar(20)", None])
    found, (assembly,) = _staged("sql_variant", pa.array(["1.50", "a", None]), BASE_TYPE=types)
    assert found == {"v": ["1.50", "a", None], "v__base_type": types.to_pylist()}
    assert (assembly.form, assembly.companions) == (Form.TEXT, (BASE,))
    assert "needs v__base_type (STRING)" in _never("sql_variant", pa.array(["1"]))
    assert "is 'xml', no type" in _refused("sql_variant", pa.array(["1"]), BASE_TYPE=pa.array(["xml"]))


@pytest.mark.parametrize(
    "text", ["int", "decimal(38,38)", "nvarchar(4000)", "varbinary(8000)", "time(0)", "nvarchar(0)"]
)
def test_a_base_type_is_one_that_a_variant_holds(text: str) -> None:
    assert is_base_type(text)


@pytest.mark.parametrize(
    "text",
    ["int(3)", "decimal(39,0)", "decimal(5,6)", "nvarchar(4001)", "varchar(max)", "time(8)", "xml", "x' OR 1=1", ""],
)
def test_what_a_variant_does_not_hold_is_no_base_type(text: str) -> None:
    assert not is_base_type(text)
