"""Events between Python and Databricks, without a warehouse."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pyarrow as pa
import pytest

from sql_databricks_bridge.db import event_rows
from sql_databricks_bridge.errors import EventInvalid
from sql_databricks_bridge.models.events import EventRow, EventStatus, Outcome

NOW = dt.datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=dt.UTC)
ARROW = {"INT": pa.int32(), "TIMESTAMP": pa.timestamp("us", "America/Bogota")}


def answer(*rows: dict[str, Any]) -> pa.Table:
    """A result as the warehouse sends it: nested columns as JSON text."""
    schema = pa.schema([(name, ARROW.get(kind, pa.string())) for name, kind in event_rows.COLUMNS.items()])
    return pa.Table.from_pylist(list(rows), schema=schema.append(pa.field("fingerprint", pa.string())))


def test_a_row_of_nulls_is_a_row() -> None:
    assert event_rows.rows_from(answer({})) == [EventRow(None)]


def test_null_and_empty_collections_are_kept_apart() -> None:
    (row,) = event_rows.rows_from(answer({"primary_keys": "[]", "filter_conditions": "{}"}))
    assert (row.primary_keys, row.filter_conditions, row.metadata) == ((), {}, None)


def test_null_elements_and_values_stay() -> None:
    (row,) = event_rows.rows_from(answer({"primary_keys": '["a",null]', "filter_conditions": '{"c":null,"":"x"}'}))
    assert row.primary_keys == ("a", None)
    assert row.filter_conditions == {"c": None, "": "x"}


def test_instants_are_aware_and_in_utc() -> None:
    (row,) = event_rows.rows_from(answer({"created_at": NOW}))
    assert row.created_at == NOW
    assert row.created_at is not None
    assert row.created_at.tzinfo is dt.UTC


@pytest.mark.parametrize("micros", [2**62, -(2**62)])
def test_a_year_that_python_does_not_have_is_none_and_breaks_nothing(micros: int) -> None:
    table = answer({"event_id": "e"})
    position = table.schema.get_field_index("created_at")
    strange = pa.array([micros], pa.int64()).cast(pa.timestamp("us", "UTC"))
    (row,) = event_rows.rows_from(table.set_column(position, "created_at", strange))
    assert (row.event_id, row.created_at) == ("e", None)


@pytest.mark.parametrize("text", [b"\xff", b'["\xff"]'])
def test_bytes_that_are_not_unicode_break_nothing(text: bytes) -> None:
    name = "primary_keys" if text.startswith(b"[") else "operation"
    table = answer({"event_id": "e"})
    strange = pa.array([text], pa.binary()).view(pa.string())
    (row,) = event_rows.rows_from(table.set_column(table.schema.get_field_index(name), name, strange))
    assert (row.event_id, row.primary_keys or row.operation) == (
        "e",
        ("\ufffd",) if name == "primary_keys" else "\ufffd",
    )


@pytest.mark.parametrize(("name", "text"), [("primary_keys", "{}"), ("primary_keys", "[1]"), ("metadata", '["a"]')])
def test_a_nested_column_of_another_type_is_an_error(name: str, text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        event_rows.rows_from(answer({name: text}))


def test_missing_and_different_columns_are_named() -> None:
    found = {name.upper(): kind.lower().replace(",", ", ") for name, kind in event_rows.COLUMNS.items()}
    assert event_rows.wrong_columns(found) == []
    del found["WARNING"]
    found["PRIORITY"] = "bigint"
    assert event_rows.wrong_columns(found) == ["priority is BIGINT and not INT", "warning STRING is missing"]


def test_an_unfinished_outcome_carries_its_status_only() -> None:
    (batch,) = event_rows.outcome_batches([Outcome("a", EventStatus.PROCESSING, rows_affected=1, warning="w")])
    assert json.loads(batch) == [{"event_id": "a", "status": "processing"}]


def test_a_final_outcome_carries_everything() -> None:
    outcome = Outcome(None, EventStatus.COMPLETED, 5, -1, "wärning", None, NOW)
    (batch,) = event_rows.outcome_batches([outcome])
    assert json.loads(batch) == [
        {
            "event_id": None,
            "status": "completed",
            "rows_affected": 5,
            "discrepancy": -1,
            "warning": "wärning",
            "error_message": None,
            "processed_at": "2024-02-29T12:00:00.123456+00:00",
            "fingerprint": None,
        }
    ]


@pytest.mark.parametrize(("length", "sent"), [(4000, "x" * 4000), (4001, "x" * 3999 + "…")])
def test_long_messages_are_cut_with_an_ellipsis(length: int, sent: str) -> None:
    (batch,) = event_rows.outcome_batches([Outcome("a", EventStatus.FAILED, error_message="x" * length)])
    assert json.loads(batch)[0]["error_message"] == sent


def test_a_message_with_a_lone_surrogate_is_written_with_a_mark_in_its_place() -> None:
    (batch,) = event_rows.outcome_batches([Outcome("a", EventStatus.FAILED, error_message="bad \ud800 text")])
    assert json.loads(batch)[0]["error_message"] == "bad ? text"


def test_many_outcomes_are_split_near_a_mebibyte_and_none_is_lost() -> None:
    outcomes = [Outcome(f"e{index}", EventStatus.FAILED, error_message="ñ" * 4000) for index in range(300)]
    batches = list(event_rows.outcome_batches(outcomes))
    assert len(batches) == 3
    assert all(len(batch.encode()) <= event_rows.BATCH_BYTES + 2 for batch in batches)
    assert [each["event_id"] for batch in batches for each in json.loads(batch)] == [each.event_id for each in outcomes]


def test_no_outcomes_are_no_batch() -> None:
    assert list(event_rows.outcome_batches([])) == []


@pytest.mark.parametrize("event_id", [None, ""])
def test_an_event_to_submit_needs_an_id(event_id: str | None) -> None:
    with pytest.raises(EventInvalid, match="event_id"):
        event_rows.event_parameter(EventRow(event_id))


def test_an_event_with_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(EventInvalid, match="surrogate"):
        event_rows.event_parameter(EventRow("e", metadata={"k": "\udfff"}))


def test_a_naive_instant_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="time zone"):
        event_rows.event_parameter(EventRow("e", created_at=NOW.replace(tzinfo=None)))
