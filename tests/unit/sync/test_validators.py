"""An event that makes no sense is told so, every problem at once, before any server is asked."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql_databricks_bridge.errors import EventBlocked, EventInvalid
from sql_databricks_bridge.models.applying import OnConflict
from sql_databricks_bridge.models.events import EventRow, Operation
from sql_databricks_bridge.models.tables import SourceName, TargetName
from sql_databricks_bridge.sync.validators import understand

GOOD = EventRow(
    event_id="e-1",
    operation="UPDATE",
    source_table="main.sales.orders",
    target_table="dbo.orders",
    primary_keys=("id",),
)


def event_row(**changes: Any) -> EventRow:
    return dataclasses.replace(GOOD, **changes)


def test_a_sound_event_is_understood() -> None:
    event = understand(
        event_row(
            operation="upsert",
            target_table="[my schema].[a]]b]",
            source_table="main.`my-schema`.`a``b`",
            filter_conditions={"region": "EU", "closed": None},
            metadata={
                "source_version": "7",
                "timezone": "America/Bogota",
                "keep_identity": "TRUE",
                "on_conflict": "Skip",
            },
        )
    )
    assert event.operation is Operation.UPSERT
    assert event.target == TargetName("my schema", "a]b")
    assert event.source == SourceName("main", "my-schema", "a`b")
    assert event.filters == (("region", "EU"), ("closed", None))
    assert (event.source_version, event.timezone, event.keep_identity) == (7, "America/Bogota", True)
    assert event.on_conflict is OnConflict.SKIP


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"event_id": None}, "event_id is NULL"),
        ({"event_id": ""}, "event_id is empty"),
        ({"event_id": "e "}, "begins or ends with a blank"),
        ({"event_id": "e\x00"}, "control character"),
        ({"event_id": "x" * 201}, "longer than 200"),
        ({"operation": None}, "operation is NULL"),
        ({"operation": "TRUNCATE"}, "'TRUNCATE' is unknown"),
        ({"target_table": None}, "target_table is missing"),
        ({"target_table": "orders"}, "is not schema.table"),
        ({"target_table": "Sales.dbo.orders"}, "is not schema.table"),
        ({"target_table": "dbo.orders; DROP TABLE x"}, "is not schema.table"),
        ({"target_table": "dbo." + "x" * 129}, "no name of SQL Server"),
        ({"source_table": None}, "source_table is missing"),
        ({"source_table": "sales.orders"}, "is not catalog.schema.table"),
        ({"source_table": "main.sales.`a b`"}, "no name of Unity Catalog"),
        ({"primary_keys": ()}, "UPDATE needs primary_keys"),
        ({"primary_keys": None}, "UPDATE needs primary_keys"),
        ({"primary_keys": (None,)}, "NULL name"),
        ({"primary_keys": ("id", "ID")}, "'ID' twice"),
        ({"primary_keys": (" ",)}, "no column name"),
        ({"filter_conditions": {"a": "1", "A": "2"}}, "'A' twice"),
        ({"rows_expected": -1}, "less than 0"),
        ({"metadata": {"source_version": "-1"}}, "no version"),
        ({"metadata": {"timezone": "Bogota"}}, "no IANA time zone"),
        ({"metadata": {"timezone": "../../etc/passwd"}}, "no IANA time zone"),
        ({"metadata": {"keep_identity": "yes"}}, "neither true nor false"),
        ({"metadata": {"on_conflict": "ignore"}}, "none of error, skip, update"),
    ],
)
def test_what_makes_no_sense_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(EventInvalid) as caught:
        understand(event_row(**changes))
    assert said in str(caught.value)


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(EventInvalid) as caught:
        understand(event_row(operation="X", target_table="x", primary_keys=(None,), metadata={"timezone": "x"}))
    for said in ("operation", "target_table", "primary_keys", "timezone"):
        assert said in str(caught.value)


@pytest.mark.parametrize("keys", [None, ()])
@pytest.mark.parametrize("filters", [None, {}])
def test_a_delete_without_any_predicate_is_blocked(keys: Any, filters: Any) -> None:
    with pytest.raises(EventBlocked, match="would empty the table"):
        understand(event_row(operation="DELETE", primary_keys=keys, filter_conditions=filters))


def test_a_delete_by_filters_reads_no_source() -> None:
    event = understand(
        event_row(operation="DELETE", primary_keys=None, source_table=None, filter_conditions={"id": "1"})
    )
    assert event.source is None


def test_a_mistyped_metadata_key_is_noted() -> None:
    assert "'on_conflict' would" in understand(event_row(metadata={"on_conflct": "skip"})).notes[0]


@given(st.text(max_size=140))
def test_a_name_is_refused_or_comes_back_as_it_was_written(text: str) -> None:
    """Whatever a target_table says: two names exactly, or an error, never something cut off."""
    try:
        name = TargetName.parse(text)
    except EventInvalid:
        return
    assert TargetName.parse(str(name)) == name
    assert "." in text


@given(st.text(min_size=1, max_size=128), st.text(min_size=1, max_size=128))
def test_any_two_names_in_brackets_are_those_names(schema: str, table: str) -> None:
    quoted = f"[{schema.replace(']', ']]')}].[{table.replace(']', ']]')}]"
    sound = all(len(n.encode("utf-16-le", "surrogatepass")) <= 256 and n.isprintable() for n in (schema, table))
    try:
        parsed = TargetName.parse(quoted)
    except EventInvalid:
        assert not sound
    else:
        assert parsed == TargetName(schema, table)


@given(st.text(max_size=40), st.text(max_size=40))
def test_the_payload_tells_any_two_filter_values_apart(one: str, other: str) -> None:
    hashes = {event_row(filter_conditions={"a": value}).payload_hash for value in (one, other)}
    assert (len(hashes) == 1) == (one == other)


def test_the_payload_leaves_out_what_the_bridge_or_the_clock_writes() -> None:
    changed = event_row(status="failed", rows_affected=3, warning="w", metadata=None)
    assert changed.payload_hash == GOOD.payload_hash
    assert event_row(metadata={"signature": "x"}).payload_hash == event_row(metadata={}).payload_hash
    assert event_row(metadata={}).payload_hash != GOOD.payload_hash
    assert event_row(priority=1).payload_hash != GOOD.payload_hash


def test_a_row_with_many_key_names_is_understood_in_one_pass() -> None:
    class Counted(str):
        lowered = 0

        def lower(self) -> str:
            Counted.lowered += 1
            return super().lower()

    names = tuple(Counted(f"k{number}") for number in range(1_000))
    assert understand(event_row(primary_keys=names)).keys == names
    assert Counted.lowered <= 3 * len(names)


def test_a_delete_that_does_not_read_the_source_it_names_says_so() -> None:
    by_filters = event_row(operation="DELETE", primary_keys=None, filter_conditions={"region": "EU"})
    (note,) = understand(by_filters).notes
    assert "source_table was not read" in note
    assert understand(event_row(operation="DELETE")).notes == ()
    assert understand(dataclasses.replace(by_filters, source_table=None)).notes == ()
