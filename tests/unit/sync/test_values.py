"""`Inbound` as a whole: types judged together, the first bad row named, whatever shape the batches have."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql_databricks_bridge.errors import EventInvalid, ValueRefused
from sql_databricks_bridge.models.tables import TargetColumn
from sql_databricks_bridge.sync.values import Inbound

from .values_support import column, stored

ID = TargetColumn("id", "int", nullable=False)
REGION = TargetColumn("region", "nvarchar(200)", nullable=False)
AMOUNT = TargetColumn("amount", "decimal(5,2)", nullable=True)
NOTE = TargetColumn("note", "nvarchar(5)", nullable=True)
FIELDS = [
    pa.field("ID", pa.int64()),
    pa.field("region", pa.string()),
    pa.field("amount", pa.decimal128(10, 3)),
    pa.field("note", pa.string()),
]
SCHEMA = pa.schema(FIELDS)


def batch(*rows: tuple[Any, ...]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], schema=SCHEMA)


def good(number: int) -> tuple[Any, ...]:
    return number, f"r{number}", None, "note"


@pytest.fixture
def orders() -> Inbound:
    return Inbound.of(FIELDS, [ID, REGION, AMOUNT, NOTE], keys=[ID, REGION])


def refusal(way: Inbound, rows: pa.RecordBatch, first_row: int = 0) -> ValueRefused:
    with pytest.raises(ValueRefused) as caught:
        way.convert(rows, first_row)
    return caught.value


def test_the_schema_is_the_targets() -> None:
    """Names as the target writes them, in the order given, types as they are staged, all nullable."""
    way = Inbound.of(FIELDS, [ID, REGION, AMOUNT, NOTE])
    assert way.schema == pa.schema(
        [("id", pa.int32()), ("region", pa.string()), ("amount", pa.decimal128(5, 2)), ("note", pa.string())]
    )
    assert way.warnings == ()
    converted = way.convert(batch(good(1)))
    assert converted.schema == way.schema
    assert converted.to_pylist() == [{"id": 1, "region": "r1", "amount": None, "note": "note"}]


def test_every_type_that_can_never_go_is_named_at_once() -> None:
    """ARRAY, MAP, STRUCT, INTERVAL into anything, and kinds that differ: column, both types, why."""
    sources = [
        pa.list_(pa.int32()),
        pa.map_(pa.string(), pa.int64()),
        pa.struct([("a", pa.string())]),
        pa.duration("us"),
        pa.string(),
        pa.date32(),
        pa.int32(),
    ]
    targets = ["nvarchar(max)", "nvarchar(max)", "xml", "bigint", "int", "int", "int"]
    names = "abcdefg"
    with pytest.raises(EventInvalid) as caught:
        Inbound.of(
            [pa.field(name, source) for name, source in zip(names, sources, strict=True)],
            [column(target, name) for name, target in zip(names, targets, strict=True)],
        )
    assert caught.value.message == (
        "The source's types don't fit the target: "
        "column 'a': ARRAY<INT> can't go into nvarchar(max), since only single values can; "
        "column 'b': MAP<STRING, BIGINT> can't go into nvarchar(max), since only single values can; "
        "column 'c': STRUCT<a: STRING> can't go into xml, since only single values can; "
        "column 'd': INTERVAL can't go into bigint, since only single values can; "
        "column 'e': STRING can't go into int, since a value of that kind is not taken for a number; "
        "column 'f': DATE can't go into int, since a value of that kind is not taken for a number."
    )
    assert caught.value.hint is not None


def test_a_nested_type_that_arrives_as_text_is_refused_by_its_own_name() -> None:
    """Databricks names a column's type in its metadata, also where it sends JSON text for it."""
    field = pa.field("v", pa.string(), metadata={"Spark:DataType:SqlName": "ARRAY<INT>"})
    with pytest.raises(EventInvalid, match=r"ARRAY<INT> can't go into nvarchar\(max\)"):
        Inbound.of([field], [column("nvarchar(max)")])
    plain = pa.field("v", pa.string(), metadata={"Spark:DataType:SqlName": "STRING"})
    assert Inbound.of([plain], [column("nvarchar(max)")]).schema.names == ["v"]


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (TargetColumn("v", "rowversion", False), "rowversion"),
        (TargetColumn("v", "int", True, is_computed=True), "computed"),
        (TargetColumn("v", "datetime2(7)", False, is_generated=True), "generated always"),
        (TargetColumn("v", "dbo.Point", True), "the driver can't load that type"),
        (TargetColumn("v", "vector(3)", True), "the driver can't load that type"),
        (TargetColumn("v", "no type at all", True), "the driver can't load that type"),
    ],
    ids=lambda value: getattr(value, "sql_type", value),
)
def test_what_cannot_be_loaded_is_refused_even_for_nulls(target: TargetColumn, why: str) -> None:
    """Columns that the server writes, and types that the driver has no loading for."""
    with pytest.raises(EventInvalid, match=why):
        Inbound.of([pa.field("v", pa.null())], [target])


def test_an_unknown_time_zone_is_refused_even_where_none_is_needed() -> None:
    """A mistake in the event is told before any row."""
    with pytest.raises(EventInvalid, match="'Europe/Atlantis' is not a time zone"):
        Inbound.of(FIELDS, [ID, REGION, AMOUNT, NOTE], timezone="Europe/Atlantis")


@pytest.mark.parametrize("sql_type", ["bit", "int", "decimal(5,2)", "real", "date", "time(7)", "datetimeoffset(7)",
                                      "nvarchar(5)", "uniqueidentifier", "binary(8)"])  # fmt: skip
def test_a_column_of_void_is_all_null(sql_type: str) -> None:
    """VOID goes into every type, as NULLs of it."""
    assert stored(sql_type, pa.nulls(3)).to_pylist() == [None] * 3


def test_the_message_names_row_key_column_value_and_reason(orders: Inbound) -> None:
    """Counted from 1 over all batches; the hint says what to do."""
    rows = batch(good(6), good(7), (8, "north", None, "too long"), (9, "south", None, "longer"), good(10))
    error = refusal(orders, rows, first_row=1_000)
    assert error.message == (
        "Row 1003 (key id=8, region='north'), column 'note': 'too long' can't go into nvarchar(5): "
        "it has 8 characters (UTF-16 code units), and 5 fit. 1 more row of this batch likewise."
    )
    assert error.hint is not None


def test_the_first_row_is_named_and_of_it_the_first_column(orders: Inbound) -> None:
    """Whatever order the columns and their checks come in."""
    late, early = (2, "x", "1000.000", None), (1, "x", "1.001", "too long")
    rows = [(i, r, a and pa.scalar(a).cast(pa.decimal128(10, 3)).as_py(), n) for i, r, a, n in (good(0), early, late)]
    assert "column 'amount': 1.001 can't go into decimal(5,2)" in refusal(orders, batch(*rows)).message
    rows[1] = (1, "x", None, "too long")
    assert "Row 2 (key id=1, region='x'), column 'note'" in refusal(orders, batch(*rows)).message


def test_a_check_that_comes_later_can_name_an_earlier_row() -> None:
    """A real is first checked for NaN, then for its digits; row 1 fails the second check, row 3 the first."""
    way = Inbound.of([pa.field("v", pa.float64())], [column("real")])
    error = refusal(way, pa.record_batch([pa.array([0.1, 0.5, float("nan")])], names=["v"]))
    assert error.message.startswith("Row 1, column 'v': 0.1 can't go into real: real can't hold it exactly")
    assert "likewise" not in error.message


def test_null_is_refused_in_a_key_and_where_the_column_is_not_null() -> None:
    """A default does not help: the source says NULL."""
    not_null = TargetColumn("v", "int", nullable=False, has_default=True)
    key = TargetColumn("k", "int", nullable=True)
    way = Inbound.of([pa.field("k", pa.int32()), pa.field("v", pa.int32())], [key, not_null], keys=[key])

    def rows(keys: list[int | None], values: list[int | None]) -> pa.RecordBatch:
        return pa.record_batch([pa.array(keys, pa.int32()), pa.array(values, pa.int32())], names=["k", "v"])

    assert refusal(way, rows([1, None], [1, 1])).message == (
        "Row 2 (key k=NULL), column 'k': NULL can't go into int: a key can't be NULL."
    )
    assert refusal(way, rows([1, 2, 3], [1, None, None])).message == (
        "Row 2 (key k=2), column 'v': NULL can't go into int: the column is NOT NULL. "
        "1 more row of this batch likewise."
    )


def test_null_that_stands_in_a_dictionary_is_null_too() -> None:
    """Arrow counts only NULL indices."""
    array = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["a", None]))
    way = Inbound.of([pa.field("v", array.type)], [column("nvarchar(5)", nullable=False)])
    assert "Row 2, column 'v': NULL" in refusal(way, pa.record_batch([array], names=["v"])).message


def test_void_into_not_null_is_refused_with_the_first_row() -> None:
    """An empty batch of it is none."""
    way = Inbound.of([pa.field("v", pa.null())], [column("int", nullable=False)])
    assert way.convert(pa.record_batch([pa.nulls(0)], names=["v"])).num_rows == 0
    assert "Row 1, column 'v': NULL" in refusal(way, pa.record_batch([pa.nulls(2)], names=["v"])).message


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a\nb\t\0\x1b[31m", r"'a\nb\t\x00\x1b[31m'"),
        ("x" * 60 + "y", f"'{'x' * 57}...'"),
        ("é" * 100_000, f"'{'é' * 57}...'"),
        ("😀" * 300, f"'{'😀' * 57}...'"),
        ("'quoted'", "\"'quoted'\""),
        ("\u202eevil", r"'\u202eevil'"),
    ],
)
def test_a_shown_text_is_short_and_has_no_control_characters(value: str, shown: str) -> None:
    """Messages end up in a table, a log and a terminal."""
    way = Inbound.of([pa.field("v", pa.string())], [column("nvarchar(1)")])
    assert f"column 'v': {shown} can't go into" in refusal(way, pa.record_batch([[value]], names=["v"])).message


@pytest.mark.parametrize(
    ("array", "shown"),
    [
        (pa.array([b"\0\xff" * 100]), f"0x{'00FF' * 15}... (200 bytes)"),
        (pa.array([True]), "true"),
        (pa.array([-1.5]), "-1.5"),
        (pa.array([2**62]).cast(pa.timestamp("us", "UTC")), "Z"),
        (pa.array([2**31 - 1], pa.int32()).cast(pa.date32()), ""),
        (pa.array([5], pa.time64("ns")), "00:00:00.000000005"),
        (pa.array([b"\xff"]).view(pa.string()), "0xFF"),
    ],
    ids=str,
)
def test_keys_of_every_type_are_shown(array: pa.Array, shown: str) -> None:
    """Whatever it holds, naming a row's key never fails."""
    sql_type = {"binary": "varbinary(max)", "bool": "bit", "double": "float", "string": "nvarchar(9)"}.get(
        str(array.type), "time(7)" if pa.types.is_time(array.type) else "datetime2(7)"
    )
    key = column(sql_type, "k")
    fields = [pa.field("v", pa.int32()), pa.field("k", array.type)]
    way = Inbound.of(fields, [column("bit"), key], keys=[key])
    message = refusal(way, pa.record_batch([pa.array([2], pa.int32()), array], names=["v", "k"])).message
    assert message.startswith("Row 1 (key k=")
    assert f"{shown}), column " in message


def test_batches_of_no_rows_pass(orders: Inbound) -> None:
    """With their schema."""
    empty = orders.convert(batch())
    assert (empty.num_rows, empty.schema) == (0, orders.schema)


def test_a_batch_of_other_types_than_announced_is_refused(orders: Inbound) -> None:
    """The stream's schema is a promise."""
    other = pa.record_batch([[1], ["a"], [None], ["x"]], names=SCHEMA.names)
    with pytest.raises(EventInvalid, match="The source changed its types on the way"):
        orders.convert(other)


def test_an_array_that_is_broken_is_told_with_its_rows() -> None:
    """Offsets that go backwards: not a value's fault, and no crash."""
    offsets = pa.array([0, 2, 1], pa.int32()).buffers()[1]
    for source, target, shown in ((pa.string(), "nvarchar(5)", "STRING"), (pa.binary(), "varbinary(5)", "BINARY")):
        array = pa.Array.from_buffers(source, 2, [None, offsets, pa.py_buffer(b"ab")])
        way = Inbound.of([pa.field("v", source)], [column(target)])
        message = refusal(way, pa.RecordBatch.from_arrays([array], names=["v"]), 10).message
        assert message.startswith(f"Rows 11 to 12, column 'v': {shown} can't be converted: ")
        before = Inbound.of([pa.field("n", pa.int32()), pa.field("v", source)], [column("bit", "n"), column(target)])
        both = pa.RecordBatch.from_arrays([pa.array([1, 2], pa.int32()), array], names=["n", "v"])
        assert refusal(before, both).message.startswith("Row 2, column 'n': 2 can't go into bit")


ROWS = st.lists(
    st.tuples(
        st.integers(-(2**33), 2**33) | st.integers(0, 9),
        st.text(max_size=3) | st.none(),
        st.decimals(-2000, 2000, places=3)
        | st.decimals(-9, 9, places=2).map(lambda d: d.quantize(d.scaleb(-1)))
        | st.none(),
        st.text("abc", max_size=7) | st.none(),
    ),
    max_size=8,
)


@given(ROWS, st.integers(0, 8), st.integers(0, 8), st.integers(0, 10**12))
def test_slices_are_judged_as_if_they_were_whole(rows: list[Any], start: int, length: int, first_row: int) -> None:
    """A slice (its buffers begin elsewhere) gives what a copy of its rows gives, the refusal's text included."""
    way = Inbound.of(FIELDS, [ID, REGION, AMOUNT, NOTE], keys=[ID])
    part, copy = batch(*rows).slice(start, length), batch(*rows[start : start + length])

    def outcome(of: pa.RecordBatch) -> Any:
        try:
            return way.convert(of, first_row).to_pylist()
        except ValueRefused as exc:
            return exc.message

    assert outcome(part) == outcome(copy)


@given(ROWS)
def test_the_named_row_is_the_first_that_fails_alone(rows: list[Any]) -> None:
    """A batch passes where each of its rows does; else the first that does not is named, by its own column."""
    way = Inbound.of(FIELDS, [ID, REGION, AMOUNT, NOTE])

    def alone(number: int, row: Any) -> str | None:
        try:
            way.convert(batch(row), number)
        except ValueRefused as exc:
            return exc.message
        return None

    alone_messages = [message for number, row in enumerate(rows) if (message := alone(number, row))]
    if alone_messages:
        assert refusal(way, batch(*rows)).message.startswith(alone_messages[0])
    else:
        assert way.convert(batch(*rows)).num_rows == len(rows)
