"""The EventTable port, on the stand-in or on the workspace that DATABRICKS_* names.

Each test works on a table of its own in the schema of the settings, and drops it.
"""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.ports import EventTable, Lakehouse
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from sql_databricks_bridge.db.event_rows import COLUMNS
from sql_databricks_bridge.db.identifiers import databricks_identifier
from sql_databricks_bridge.errors import (
    BridgeError,
    EventInvalid,
    LakehouseError,
    LakehouseNotFound,
    LakehouseSignInError,
    LakehouseUnavailable,
    StatementFailed,
    StatementInterrupted,
)
from sql_databricks_bridge.models.events import EventRow, EventStatus, Outcome
from sql_databricks_bridge.models.tables import SourceName
from tests.conftest import StandIn

NOW = dt.datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=dt.UTC)
HOSTILE = 'it\'s "q" `b` ]]\\n\\ \n\r\t; DROP TABLE x -- /* {table} :event ${x} ñ\u2028\U0001f600'
CONFLICT = {"error_code": "ABORTED", "message": "[DELTA_CONCURRENT_APPEND] Conflict.", "sqlstate": "2D521"}


@pytest.fixture(scope="module")
def lakehouse(lakehouse_settings: Settings) -> Lakehouse:
    if not lakehouse_settings.databricks_warehouse_id:
        pytest.skip("DATABRICKS_WAREHOUSE_ID is not set")
    return DatabricksLakehouse(lakehouse_settings)


@pytest.fixture
def name(lakehouse: Lakehouse, lakehouse_settings: Settings) -> Iterator[SourceName]:
    """A table name of this test's own; nothing is there yet."""
    catalog, schema = lakehouse_settings.databricks_catalog, lakehouse_settings.databricks_schema
    assert catalog
    assert schema
    made = SourceName(catalog, schema, f"ev-{uuid.uuid4().hex[:12]}")
    yield made
    lakehouse.execute(f"DROP TABLE IF EXISTS {quoted(made)}")


@pytest.fixture
def events(lakehouse: Lakehouse, name: SourceName) -> EventTable:
    table = lakehouse.events(name)
    table.create()
    return table


def quoted(name: SourceName) -> str:
    return databricks_identifier(name.catalog, name.schema, name.table)


def drop(lakehouse: Lakehouse, name: SourceName) -> None:
    """Drop a table and its schema."""
    lakehouse.execute(f"DROP TABLE IF EXISTS {quoted(name)}")
    lakehouse.execute(f"DROP SCHEMA IF EXISTS {databricks_identifier(name.catalog, name.schema)}")


def insert(lakehouse: Lakehouse, name: SourceName, columns: str, *values: str) -> None:
    """Write rows past the port, as a notebook would."""
    lakehouse.execute(f"INSERT INTO {quoted(name)} ({columns}) VALUES {', '.join(f'({each})' for each in values)}")


def statements(server: StandIn, call: Callable[[], object]) -> list[str]:
    """The first words of the statements that a call sends."""
    before = len(server.requests())
    call()
    sent = [each["statement"] for each in server.requests()[before:] if each["path"] == "/api/2.0/sql/statements"]
    return [str(statement).split()[0] for statement in sent]


def status_of(events: EventTable, event_id: str) -> list[str | None]:
    return [row.status for row in events.rows_of(event_id)]


def test_a_created_table_has_the_seeds_columns_and_defaults(
    lakehouse: Lakehouse, name: SourceName, events: EventTable
) -> None:
    described = lakehouse.execute(f"DESCRIBE TABLE {quoted(name)}")
    types = dict(zip(described["col_name"].to_pylist(), described["data_type"].to_pylist(), strict=True))
    assert {column: kind.replace(" ", "") for column, kind in list(types.items())[:16]} == {
        "event_id": "string",
        "operation": "string",
        "source_table": "string",
        "target_table": "string",
        "primary_keys": "array<string>",
        "priority": "int",
        "status": "string",
        "rows_expected": "int",
        "rows_affected": "int",
        "discrepancy": "int",
        "warning": "string",
        "error_message": "string",
        "filter_conditions": "map<string,string>",
        "metadata": "map<string,string>",
        "created_at": "timestamp",
        "processed_at": "timestamp",
    }
    insert(lakehouse, name, "event_id", "'e'")
    assert events.rows_of("e") == [EventRow("e", priority=0, status="pending")]


def test_creating_twice_changes_nothing(events: EventTable) -> None:
    events.submit(EventRow("e"))
    events.create()
    assert status_of(events, "e") == ["pending"]


def test_creating_makes_the_schema_too(lakehouse: Lakehouse, name: SourceName) -> None:
    there = replace(name, schema=f"ev_{uuid.uuid4().hex[:12]}")
    try:
        lakehouse.events(there).create()
        assert lakehouse.events(there).unfinished(10) == []
    finally:
        drop(lakehouse, there)


def test_a_missing_catalog_is_named(lakehouse: Lakehouse, name: SourceName) -> None:
    nowhere = replace(name, catalog=f"no_{uuid.uuid4().hex[:12]}")
    with pytest.raises(LakehouseNotFound, match=f"no catalog {nowhere.catalog}.*BRIDGE_EVENTS_TABLE"):
        lakehouse.events(nowhere).create()


@pytest.mark.parametrize(
    "call",
    [
        lambda table: table.unfinished(10),
        lambda table: table.list(None, 10),
        lambda table: table.rows_of("e"),
        lambda table: table.reset("e"),
        lambda table: table.submit(EventRow("e")),
        lambda table: table.report([Outcome("e", EventStatus.FAILED)]),
    ],
    ids=["unfinished", "list", "rows_of", "reset", "submit", "report"],
)
def test_a_missing_table_says_how_to_make_it(
    lakehouse: Lakehouse, name: SourceName, call: Callable[[EventTable], object]
) -> None:
    for missing in (name, replace(name, schema="no_such_schema")):
        with pytest.raises(LakehouseNotFound, match="bridge events init"):
            call(lakehouse.events(missing))


@pytest.mark.parametrize("operation", ["unfinished", "create", "report"])
def test_a_table_of_another_shape_names_every_wrong_column(
    lakehouse: Lakehouse, name: SourceName, operation: str
) -> None:
    columns = "event_id STRING, operation STRING, source_table STRING, target_table STRING, primary_keys STRING, "
    columns += "priority BIGINT, status STRING, rows_expected INT, rows_affected INT, discrepancy INT, "
    columns += "filter_conditions MAP<STRING, STRING>, metadata MAP<STRING, STRING>, created_at TIMESTAMP"
    lakehouse.execute(f"CREATE TABLE {quoted(name)} ({columns})")
    table = lakehouse.events(name)
    calls: dict[str, Callable[[], object]] = {
        "unfinished": lambda: table.unfinished(1),
        "create": table.create,
        "report": lambda: table.report([Outcome("e", EventStatus.FAILED)]),
    }
    with pytest.raises(LakehouseError) as caught:
        calls[operation]()
    told = caught.value.message
    assert "primary_keys is STRING and not ARRAY<STRING>, priority is BIGINT and not INT" in told
    assert "error_message STRING is missing" in told
    assert "processed_at TIMESTAMP is missing" in told


@pytest.mark.parametrize(
    ("column", "kind"), [("priority", "BIGINT"), ("created_at", "STRING"), ("primary_keys", "ARRAY<INT>")]
)
def test_one_column_of_another_type_is_named(lakehouse: Lakehouse, name: SourceName, column: str, kind: str) -> None:
    types = {**COLUMNS, column: kind}
    columns = ", ".join(f"{each} {each_kind}" for each, each_kind in types.items())
    lakehouse.execute(f"CREATE TABLE {quoted(name)} ({columns})")
    insert(
        lakehouse, name, "event_id, status, primary_keys", f"'e', 'pending', CAST(array(1) AS {types['primary_keys']})"
    )
    with pytest.raises(LakehouseError, match=f"{column} is {kind} and not"):
        lakehouse.events(name).unfinished(10)


def test_what_is_submitted_is_read_back_whole(events: EventTable) -> None:
    row = EventRow(
        event_id=HOSTILE,
        operation=HOSTILE,
        source_table=HOSTILE,
        target_table=HOSTILE,
        primary_keys=(HOSTILE, "", None),
        priority=-7,
        rows_expected=2**31 - 1,
        filter_conditions={HOSTILE: HOSTILE, "n": None, "": ""},
        metadata={HOSTILE: None, "k": "x" * 1_000_000},
        created_at=NOW,
    )
    events.submit(row)
    (found,) = events.unfinished(10)
    assert found == replace(row, status="pending")
    assert found.payload_hash == row.payload_hash
    assert found.created_at is not None
    assert found.created_at.tzinfo is dt.UTC
    assert events.rows_of(HOSTILE) == [found]
    assert events.list(EventStatus.PENDING, 10) == [found]


def test_null_and_empty_collections_are_kept_apart(events: EventTable) -> None:
    events.submit(EventRow("empty", primary_keys=(), filter_conditions={}, metadata={}))
    events.submit(EventRow("null"))
    (empty,), (null,) = events.rows_of("empty"), events.rows_of("null")
    assert (empty.primary_keys, empty.filter_conditions, empty.metadata) == ((), {}, {})
    assert (null.primary_keys, null.filter_conditions, null.metadata) == (None, None, None)


def test_an_event_without_a_time_or_priority_gets_the_present_and_zero(events: EventTable) -> None:
    events.submit(EventRow("e"))
    (row,) = events.rows_of("e")
    assert row.priority == 0
    assert row.created_at is not None
    assert abs(row.created_at - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=10)


def test_an_event_id_is_submitted_once(events: EventTable) -> None:
    events.submit(EventRow("e", operation="INSERT"))
    events.submit(EventRow("e", operation="DELETE"))
    assert [row.operation for row in events.rows_of("e")] == ["INSERT"]


def test_an_event_without_an_id_is_not_submitted(events: EventTable) -> None:
    with pytest.raises(EventInvalid, match="event_id"):
        events.submit(EventRow(None))
    assert events.list(None, 10) == []


def test_unfinished_events_come_in_the_order_of_their_turn(
    lakehouse: Lakehouse, name: SourceName, events: EventTable
) -> None:
    early, late = "TIMESTAMP'2024-01-01 00:00:00Z'", "TIMESTAMP'2024-01-01 00:00:00.000001Z'"
    insert(
        lakehouse,
        name,
        "event_id, priority, status, created_at",
        f"'zero-late', 0, 'pending', {late}",
        f"'null-early', NULL, 'processing', {early}",
        "'zero-b', 0, 'pending', NULL",
        "NULL, 0, 'pending', NULL",
        "'zero-a', 0, 'pending', NULL",
        f"'low', -1, 'pending', {early}",
        "'high', 5, 'pending', NULL",
        f"'zero-early', 0, 'pending', {early}",
    )
    order = ["high", "null-early", "zero-early", "zero-late", "zero-a", "zero-b", None, "low"]
    assert [row.event_id for row in events.unfinished(100)] == order
    assert [row.event_id for row in events.unfinished(3)] == order[:3]


def test_a_status_that_means_pending_or_processing_counts_as_unfinished(
    lakehouse: Lakehouse, name: SourceName, events: EventTable
) -> None:
    """Whoever writes a status by hand, or none, should not wait for ever."""
    strange = ["completed", "failed", "blocked", "Pending", "PROCESSING", "pending ", "", "nonsense"]
    insert(lakehouse, name, "event_id, status", *(f"'{index}', '{text}'" for index, text in enumerate(strange)))
    insert(lakehouse, name, "event_id, status", "'null', NULL", "'p', 'pending'", "'q', 'processing'")
    assert [row.event_id for row in events.unfinished(100)] == ["3", "4", "5", "6", "null", "p", "q"]


def test_skipped_targets_leave_their_places_to_others(
    lakehouse: Lakehouse, name: SourceName, events: EventTable
) -> None:
    values = ["'a', 'dbo.Busy'", "'b', 'DBO.BUSY'", "'c', 'dbo.free'", "'d', NULL", "'e', '[it''s]'"]
    insert(lakehouse, name, "event_id, target_table", *[each.replace("''", "\\'") for each in values])
    assert [row.event_id for row in events.unfinished(2, ["dbo.busy", HOSTILE])] == ["c", "d"]
    assert [row.event_id for row in events.unfinished(9, ["dbo.busy", "[it's]"])] == ["c", "d"]
    assert len(events.unfinished(9)) == 5


def test_outcomes_are_written_to_their_events(events: EventTable) -> None:
    for event_id in ("done", "failed", "blocked", "taken", "other"):
        events.submit(EventRow(event_id))
    events.report(
        [
            Outcome("done", EventStatus.COMPLETED, 5, -2, HOSTILE, None, NOW),
            Outcome("failed", EventStatus.FAILED, None, None, None, "m" * 5000, NOW),
            Outcome("blocked", EventStatus.BLOCKED, 0, 0, None, HOSTILE, NOW),
            Outcome("taken", EventStatus.PROCESSING, 9, 9, "not written", "not written", NOW),
            Outcome("unknown", EventStatus.FAILED),
        ]
    )
    found = {row.event_id: row for row in events.list(None, 10)}
    assert found["done"].status == "completed"
    assert (found["done"].rows_affected, found["done"].discrepancy) == (5, -2)
    assert (found["done"].warning, found["done"].error_message, found["done"].processed_at) == (HOSTILE, None, NOW)
    assert found["failed"].error_message == "m" * 3999 + "…"
    assert (found["blocked"].status, found["blocked"].error_message) == ("blocked", HOSTILE)
    assert found["taken"] == replace(found["taken"], status="processing", rows_affected=None, processed_at=None)
    assert found["taken"].warning is None
    assert found["other"].status == "pending"
    assert "unknown" not in found


def test_finished_events_never_change(events: EventTable) -> None:
    for status in (EventStatus.COMPLETED, EventStatus.FAILED, EventStatus.BLOCKED):
        events.submit(EventRow(status.value))
        events.report([Outcome(status.value, status, 1, 0, "first", None, NOW)])
        (first,) = events.rows_of(status.value)
        for later in EventStatus:
            events.report([Outcome(status.value, later, 2, 3, "second", "second", NOW)])
        assert events.rows_of(status.value) == [first]


def test_handing_back_makes_a_taken_event_pending(events: EventTable) -> None:
    events.submit(EventRow("e"))
    events.report([Outcome("e", EventStatus.PROCESSING)])
    assert status_of(events, "e") == ["processing"]
    events.report([Outcome("e", EventStatus.PENDING)])
    assert status_of(events, "e") == ["pending"]


def test_rows_without_an_id_and_repeated_ids_are_all_reported(
    lakehouse: Lakehouse, name: SourceName, events: EventTable
) -> None:
    insert(lakehouse, name, "event_id, operation", "NULL, 'a'", "NULL, 'b'", "'twice', 'c'", "'twice', 'd'", "'', 'e'")
    failed = EventStatus.FAILED
    events.report([Outcome(None, failed, error_message="no id"), Outcome("twice", failed, error_message="repeated")])
    told = {row.operation: (row.status, row.error_message) for row in events.list(None, 10)}
    assert told["a"] == told["b"] == ("failed", "no id")
    assert told["c"] == told["d"] == ("failed", "repeated")
    assert told["e"] == ("pending", None)


def test_two_outcomes_of_one_event_are_a_programming_error(events: EventTable) -> None:
    for event_id in ("e", None):
        with pytest.raises(ValueError, match="more than one outcome"):
            events.report([Outcome(event_id, EventStatus.FAILED), Outcome(event_id, EventStatus.COMPLETED)])


@pytest.mark.parametrize("status", [EventStatus.FAILED, EventStatus.BLOCKED])
def test_a_reset_event_is_pending_as_if_new(events: EventTable, status: EventStatus) -> None:
    events.submit(EventRow(HOSTILE, operation="INSERT", created_at=NOW))
    events.report([Outcome(HOSTILE, status, 1, 2, "w", "e", NOW)])
    events.reset(HOSTILE)
    assert events.rows_of(HOSTILE) == [
        EventRow(HOSTILE, operation="INSERT", priority=0, status="pending", created_at=NOW)
    ]


def test_only_failed_and_blocked_events_are_reset(events: EventTable) -> None:
    for event_id, status in (("c", EventStatus.COMPLETED), ("p", EventStatus.PROCESSING)):
        events.submit(EventRow(event_id))
        events.report([Outcome(event_id, status, 1, 0)])
        events.reset(event_id)
        assert status_of(events, event_id) == [status.value]


def test_the_newest_events_are_listed_first(events: EventTable) -> None:
    for day in (2, 1, 3):
        events.submit(EventRow(f"e{day}", created_at=NOW.replace(month=1, day=day)))
    events.report([Outcome("e3", EventStatus.FAILED)])
    assert [row.event_id for row in events.list(None, 2)] == ["e3", "e2"]
    assert [row.event_id for row in events.list(EventStatus.PENDING, 9)] == ["e2", "e1"]
    assert [row.event_id for row in events.list(EventStatus.BLOCKED, 9)] == []


def test_each_method_sends_as_many_statements_as_it_says(
    lakehouse: Lakehouse, name: SourceName, lakehouse_faults: StandIn
) -> None:
    table = lakehouse.events(name)
    big = [Outcome(f"e{index}", EventStatus.FAILED, error_message="x" * 4000) for index in range(300)]
    small = [Outcome(f"e{index}", EventStatus.PROCESSING) for index in range(100)]
    elsewhere = replace(name, schema=f"ev_{uuid.uuid4().hex[:12]}")
    assert statements(lakehouse_faults, lakehouse.events(elsewhere).create) == ["CREATE"] * 3 + ["DESCRIBE"]
    drop(lakehouse, elsewhere)
    assert statements(lakehouse_faults, table.create) == ["CREATE", "DESCRIBE"]
    assert statements(lakehouse_faults, lambda: table.unfinished(100, ["dbo.t"])) == ["SELECT"]
    assert statements(lakehouse_faults, lambda: table.submit(EventRow("e1"))) == ["MERGE"]
    assert statements(lakehouse_faults, lambda: table.report(small)) == ["MERGE"]
    assert statements(lakehouse_faults, lambda: table.report(big)) == ["MERGE", "MERGE"]
    assert statements(lakehouse_faults, lambda: table.report([])) == []
    assert statements(lakehouse_faults, lambda: table.list(None, 10)) == ["SELECT"]
    assert statements(lakehouse_faults, lambda: table.rows_of("e1")) == ["SELECT"]
    assert statements(lakehouse_faults, lambda: table.reset("e1")) == ["UPDATE"]
    assert status_of(table, "e1") == ["pending"]


@pytest.mark.parametrize("moment", ["before", "after", "executed"])
def test_a_write_that_the_sdk_sends_again_happens_once(
    events: EventTable, lakehouse_faults: StandIn, moment: str
) -> None:
    rule = lakehouse_faults.fault(match={"kind": "MERGE"}, action={"drop": moment})
    events.submit(EventRow("e"))
    assert lakehouse_faults.hits(rule) == 1
    assert status_of(events, "e") == ["pending"]
    rule = lakehouse_faults.fault(match={"kind": "MERGE"}, action={"drop": moment})
    events.report([Outcome("e", EventStatus.COMPLETED, 1, 0, None, None, NOW)])
    assert lakehouse_faults.hits(rule) == 1
    assert [(row.status, row.rows_affected) for row in events.rows_of("e")] == [("completed", 1)]


@pytest.mark.parametrize("status", [429, 503])
def test_a_throttled_poll_is_sent_again(events: EventTable, lakehouse_faults: StandIn, status: int) -> None:
    events.submit(EventRow("e"))
    rule = lakehouse_faults.fault(
        match={"method": "POST", "statement_contains": "ORDER BY"}, action={"status": status, "retry_after": 1}
    )
    assert [row.event_id for row in events.unfinished(1)] == ["e"]
    assert lakehouse_faults.hits(rule) == 1


def test_a_conflict_is_tried_again(events: EventTable, lakehouse_faults: StandIn) -> None:
    rule = lakehouse_faults.fault(match={"kind": "MERGE"}, times=3, action={"statement_error": CONFLICT})
    events.submit(EventRow("e"))
    assert lakehouse_faults.hits(rule) == 3
    assert status_of(events, "e") == ["pending"]


def test_conflicts_without_end_are_transient(
    events: EventTable, lakehouse_faults: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sql_databricks_bridge.db.delta_writes._LONGEST_PAUSE_S", 0.001)
    events.submit(EventRow("e"))
    rule = lakehouse_faults.fault(match={"kind": "MERGE"}, times=None, action={"statement_error": CONFLICT})
    with pytest.raises(LakehouseUnavailable, match=r"9 times: .*Conflict"):
        events.report([Outcome("e", EventStatus.FAILED)])
    assert lakehouse_faults.hits(rule) == 9


@pytest.mark.parametrize(
    ("error_code", "sqlstate", "kind"),
    [
        ("TEMPORARILY_UNAVAILABLE", "XX000", LakehouseUnavailable),
        ("INTERNAL_ERROR", "XX000", StatementInterrupted),
        ("BAD_REQUEST", "42501", LakehouseSignInError),
        ("BAD_REQUEST", "22012", StatementFailed),
    ],
)
def test_other_failures_are_told_apart_and_not_tried_again(
    events: EventTable, lakehouse_faults: StandIn, error_code: str, sqlstate: str, kind: type[BridgeError]
) -> None:
    error = {"error_code": error_code, "message": "[SOME_CONDITION] It went wrong.", "sqlstate": sqlstate}
    rule = lakehouse_faults.fault(match={"kind": "MERGE"}, times=None, action={"statement_error": error})
    with pytest.raises(kind, match="It went wrong") as caught:
        events.report([Outcome("e", EventStatus.FAILED)])
    assert type(caught.value) is kind
    assert lakehouse_faults.hits(rule) == 1


def in_threads(count: int, work: Callable[[int], None]) -> list[BaseException]:
    """Run `work(index)` in threads that start together; what they raised."""
    raised: list[BaseException] = []
    start = threading.Barrier(count)

    def run(index: int) -> None:
        start.wait()
        try:
            work(index)
        except BaseException as exc:  # noqa: BLE001 told to the test
            raised.append(exc)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_four_writers_of_the_same_events_leave_whole_outcomes(events: EventTable) -> None:
    ids = [f"e{index}" for index in range(20)]
    for event_id in ids:
        events.submit(EventRow(event_id))

    def report(writer: int) -> None:
        events.report([Outcome(each, EventStatus.COMPLETED, writer, 0, f"by {writer}", None, NOW) for each in ids])

    assert in_threads(4, report) == []
    rows = events.list(None, 100)
    assert len(rows) == 20
    assert all((row.status, row.warning) == ("completed", f"by {row.rows_affected}") for row in rows)


def test_four_submitters_of_one_event_id_leave_one_row(events: EventTable) -> None:
    assert in_threads(4, lambda writer: events.submit(EventRow("e", operation=f"by {writer}"))) == []
    assert len(events.rows_of("e")) == 1
