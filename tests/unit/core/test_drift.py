"""Schema drift: every widening that Databricks documents is taken, and nothing else passes for one."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sql_databricks_bridge.core.drift import Drift, TypeChange, compare, delta_type, holds, settled_columns, widens
from sql_databricks_bridge.core.ports import ResultColumn
from sql_databricks_bridge.core.types import landed_field
from sql_databricks_bridge.models.publishing import RANGE_COLUMN, DeltaColumn

PLAIN = ["boolean", "tinyint", "smallint", "int", "bigint", "float", "double", "date", "timestamp", "timestamp_ntz"]
PLAIN += ["string", "binary", "void", "array<int>"]
INTEGERS = {"tinyint": 8, "smallint": 16, "int": 32, "bigint": 64}


@st.composite
def decimals(draw: st.DrawFn) -> tuple[int, int]:
    precision = draw(st.integers(1, 38))
    return precision, draw(st.integers(0, precision))


def decimal(shape: tuple[int, int]) -> str:
    return f"decimal({shape[0]},{shape[1]})"


TYPES = st.sampled_from(PLAIN) | decimals().map(decimal)


def documented(old: str, new: str) -> bool:
    """The table of "Type widening" and the notes under it, written once more as they stand there."""
    shape = tuple(map(int, new[8:-1].split(","))) if new.startswith("decimal") else None
    if shape is not None:
        precision, scale = shape
        if old in ("tinyint", "smallint", "int"):  # decimal(10 + k1, k2) where k1 >= k2 >= 0
            return precision - 10 >= scale >= 0
        if old == "bigint":  # decimal(20 + k1, k2)
            return precision - 20 >= scale >= 0
        if old.startswith("decimal"):  # decimal(p + k1, s + k2), and a change at all
            p, s = map(int, old[8:-1].split(","))
            return precision - p >= scale - s >= 0 and shape != (p, s)
        return False
    return new in {
        "tinyint": ["smallint", "int", "bigint", "double"],
        "smallint": ["int", "bigint", "double"],
        "int": ["bigint", "double"],
        "float": ["double"],
        "date": ["timestamp_ntz"],
    }.get(old, [])


def columns(**types: str) -> tuple[DeltaColumn, ...]:
    return tuple(DeltaColumn(name, kind) for name, kind in types.items())


@given(TYPES, TYPES)
def test_what_is_documented_widens_and_nothing_else(old: str, new: str) -> None:
    assert widens(old, new) == documented(old, new)


@given(st.sampled_from(PLAIN), st.sampled_from(PLAIN))
def test_every_pair_of_plain_types_is_one_of_four_things(old: str, new: str) -> None:
    drift = compare(columns(c=old), columns(c=new))
    change = TypeChange("c", old, new)
    found = [name for name in ("widened", "kept_wider", "changed") if getattr(drift, name) == (change,)]
    assert len(found) == (old != new)
    assert (drift == Drift()) == (old == new)
    assert ("widened" in found) == documented(old, new)


@pytest.mark.parametrize("old", ["string", "binary", "boolean", "timestamp", "timestamp_ntz", "double", "bigint"])
def test_a_change_of_kind_is_neither_widened_nor_kept(old: str) -> None:
    others = [kind for kind in ("string", "binary", "boolean", "timestamp", "timestamp_ntz") if kind != old]
    for new in others:
        assert compare(columns(c=old), columns(c=new)).changed == (TypeChange("c", old, new),)


@given(TYPES, TYPES)
def test_what_widens_one_way_is_kept_the_other_way(old: str, new: str) -> None:
    if widens(old, new):
        assert holds(new, old)
        assert not widens(new, old)


@settings(deadline=None)  # the first cast loads Arrow's kernels
@given(decimals(), decimals())
def test_a_decimal_holds_another_one_where_its_greatest_value_fits(
    outer: tuple[int, int], inner: tuple[int, int]
) -> None:
    assume(outer != inner)
    with localcontext(prec=80):
        greatest = pa.array([Decimal(10 ** inner[0] - 1).scaleb(-inner[1])], pa.decimal128(*inner))
    try:
        greatest.cast(pa.decimal128(*outer))
        fits = True
    except pa.ArrowInvalid:
        fits = False
    assert holds(decimal(outer), decimal(inner)) == fits


@given(decimals(), st.sampled_from(sorted(INTEGERS)))
def test_a_decimal_holds_an_integer_type_where_its_extremes_fit(outer: tuple[int, int], inner: str) -> None:
    bits = INTEGERS[inner]
    fits = 2 ** (bits - 1) < 10 ** (outer[0] - outer[1])
    assert holds(decimal(outer), inner) == fits


@pytest.mark.parametrize(("outer", "inner"), [("float", "smallint"), ("double", "int"), ("double", "float")])
def test_a_floating_type_holds_what_it_represents(outer: str, inner: str) -> None:
    assert holds(outer, inner)


@pytest.mark.parametrize(("outer", "inner"), [("float", "int"), ("double", "bigint"), ("double", "decimal(9,2)")])
def test_a_floating_type_does_not_pass_for_one_that_holds_more(outer: str, inner: str) -> None:
    assert not holds(outer, inner)


def test_a_difference_is_told_by_what_may_be_done() -> None:
    table = columns(id="int", Wide="bigint", old="string", flag="boolean", when="date", same="decimal(18,4)")
    landed = columns(
        ID="bigint", wide="smallint", flag="string", when="timestamp_ntz", same="decimal(18, 4)", new="int"
    )
    assert compare(table, landed) == Drift(
        added=columns(new="int"),
        dropped=columns(old="string"),
        widened=(TypeChange("id", "int", "bigint"), TypeChange("when", "date", "timestamp_ntz")),
        kept_wider=(TypeChange("Wide", "bigint", "smallint"),),
        changed=(TypeChange("flag", "boolean", "string"),),
    )


def test_the_bridges_own_columns_never_drift() -> None:
    table = (*columns(id="int", _deleted_at="timestamp"), DeltaColumn(RANGE_COLUMN, "bigint"))
    control = frozenset({RANGE_COLUMN, "_DELETED_AT"})
    assert compare(table, columns(id="int"), control=control) == Drift()
    assert compare(columns(id="int"), (*columns(id="int"), table[2]), control=control) == Drift()


def test_a_table_that_followed_keeps_its_order_spelling_wider_types_and_dropped_columns() -> None:
    table = columns(id="int", Wide="bigint", old="string", flag="boolean")
    landed = columns(new="int", flag="string", wide="smallint", ID="bigint")
    settled = settled_columns(table, compare(table, landed))
    assert settled == columns(id="bigint", Wide="bigint", old="string", flag="string", new="int")


TABLES = st.lists(st.tuples(st.sampled_from("abcdeF"), TYPES), unique_by=lambda each: each[0]).map(
    lambda pairs: [DeltaColumn(*each) for each in pairs]
)


@given(TABLES, TABLES)
def test_a_table_that_followed_a_result_takes_it_as_it_is(table: list[DeltaColumn], landed: list[DeltaColumn]) -> None:
    settled = settled_columns(table, compare(table, landed))
    again = compare(settled, landed)
    assert (again.added, again.widened, again.changed) == ((), (), ())
    assert settled_columns(settled, again) == settled
    assert {each.name.lower() for each in settled} == {each.name.lower() for each in [*table, *landed]}


@pytest.mark.parametrize(
    ("sql_type", "expected"),
    [
        ("bit", "boolean"),
        ("tinyint", "smallint"),
        ("smallint", "smallint"),
        ("int", "int"),
        ("bigint", "bigint"),
        ("real", "float"),
        ("float", "double"),
        ("money", "decimal(19,4)"),
        ("numeric(38,10)", "decimal(38,10)"),
        ("date", "date"),
        ("datetime2(7)", "timestamp_ntz"),
        ("datetimeoffset(3)", "timestamp"),
        ("time(7)", "string"),
        ("nvarchar(max)", "string"),
        ("uniqueidentifier", "string"),
        ("timestamp", "binary"),
        ("varbinary(8)", "binary"),
    ],
)
def test_every_type_that_lands_has_a_delta_type(sql_type: str, expected: str) -> None:
    column = ResultColumn("v", sql_type, True, 8, 0, 0)
    assert delta_type(landed_field(column).type) == expected


@pytest.mark.parametrize(
    "arrow", [pa.uint8(), pa.timestamp("ns"), pa.timestamp("ms", tz="UTC"), pa.time64("us"), pa.null()]
)
def test_a_type_that_never_lands_has_none(arrow: pa.DataType) -> None:
    with pytest.raises(ValueError, match="no type of a landed column"):
        delta_type(arrow)
