"""What comes twice is applied once: rows, statements that the SDK sends again, and events that people retry.

The target is a heap, where a second INSERT of the same rows would show.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.errors import BridgeError, EventInvalid
from sql_databricks_bridge.models.events import EventRow
from sql_databricks_bridge.sync import authoring
from tests.conftest import StandIn
from tests.integration.sync_support import SyncBench, sync_bench

COPIED = (
    "event_id",
    "operation",
    "source_table",
    "target_table",
    "primary_keys",
    "priority",
    "rows_expected",
    "filter_conditions",
    "metadata",
    "created_at",
)
FIVE = "SELECT CAST(id AS INT) AS id FROM range(5)"
FAILS = {"statement_error": {"error_code": "INTERNAL_ERROR", "message": "made to fail", "sqlstate": "XX000"}}


@pytest.fixture
def bench(sqlserver_settings: Settings, lakehouse_settings: Settings, tmp_path: Path) -> Iterator[SyncBench]:
    with sync_bench(sqlserver_settings, lakehouse_settings, tmp_path) as made:
        made.sql("CREATE TABLE {s}.heap (id int NOT NULL)")
        yield made


def again(bench: SyncBench, event_id: str, **changes: str) -> None:
    """Insert a pending copy of an event's row; `changes` are SQL expressions for some of its columns."""
    table = bench.settings.bridge_events_table
    selected = ", ".join(changes.get(name, name) for name in COPIED)
    bench.lakehouse.execute(
        f"INSERT INTO {table} ({', '.join(COPIED)}, status) SELECT {selected}, 'pending' FROM {table} "
        f"WHERE event_id = '{event_id}' LIMIT 1"
    )


def mend(bench: SyncBench, event_id: str, change: str) -> None:
    """Change an event's row as its author would, by SQL."""
    bench.lakehouse.execute(f"UPDATE {bench.settings.bridge_events_table} SET {change} WHERE event_id = '{event_id}'")


def told(bench: SyncBench, event_id: str) -> list[tuple[str | None, int | None]]:
    """(status, rows_affected) of each row of an event, in an order that does not depend on when it was made."""
    return sorted((row.status, row.rows_affected) for row in bench.events.rows_of(event_id))


def rows_in(bench: SyncBench) -> int:
    return int(bench.sql("SELECT COUNT(*) FROM {s}.heap")[0][0])


def retry(bench: SyncBench, event_id: str) -> int:
    with bench.target() as connection:
        return authoring.retry(bench.events, connection, event_id)


# The same event again ----------------------------------------------------------------------------------------------


def test_two_equal_rows_in_one_round_are_one_event_and_both_are_told(bench: SyncBench) -> None:
    event_id = bench.submit("INSERT", "{s}.heap", bench.source(FIVE))
    again(bench, event_id)
    report = bench.cycle()
    assert (report.found, len(report.handled)) == (2, 1)
    assert rows_in(bench) == 5
    assert told(bench, event_id) == [("completed", 5), ("completed", 5)]
    assert bench.ledger(event_id) == [(1, "applied", 5)]


def test_an_equal_row_that_comes_later_is_told_what_became_of_the_first(bench: SyncBench) -> None:
    applied = bench.submit("INSERT", "{s}.heap", bench.source(FIVE), rows_expected=6)
    failed = bench.submit("INSERT", "{s}.heap", bench.source("SELECT 'x' AS id"))
    blocked = bench.submit("DELETE", "{s}.heap")
    bench.cycle()
    first = {event_id: bench.event(event_id) for event_id in (applied, failed, blocked)}
    assert [row.status for row in first.values()] == ["completed", "failed", "blocked"]
    for event_id in first:
        again(bench, event_id)
    assert bench.cycle().found == 3
    assert rows_in(bench) == 5
    for event_id, row in first.items():
        one, two = bench.events.rows_of(event_id)
        for name in ("status", "rows_affected", "discrepancy", "warning", "error_message"):
            assert getattr(one, name) == getattr(two, name) == getattr(row, name), (event_id, name)
        assert len(bench.ledger(event_id)) == 1


# Another event of the same id --------------------------------------------------------------------------------------


def test_rows_of_one_id_that_differ_are_both_refused_and_nothing_is_applied(bench: SyncBench) -> None:
    event_id = bench.submit("INSERT", "{s}.heap", bench.source(FIVE))
    again(bench, event_id, filter_conditions="map('id', '1')")
    other = bench.submit("INSERT", "{s}.heap", bench.source(FIVE), filters={"id": "3"})
    bench.cycle()
    assert told(bench, event_id) == [("failed", None), ("failed", None)]
    assert all("used by 2 rows" in (row.error_message or "") for row in bench.events.rows_of(event_id))
    assert bench.ledger(event_id) == [(1, "failed", None)]
    assert told(bench, other) == [("completed", 1)]
    assert bench.sql("SELECT id FROM {s}.heap") == [(3,)]


def test_a_later_row_that_asks_for_anything_else_is_refused_and_the_first_stays_completed(bench: SyncBench) -> None:
    source, other = bench.source(FIVE), bench.source(FIVE)
    changes = [
        {"operation": "'DELETE'"},
        {"source_table": f"'{other}'"},
        {"target_table": f"'{bench.schema.upper()}.heap'"},
        {"primary_keys": "array('id')"},
        {"priority": "1"},
        {"rows_expected": "4"},
        {"filter_conditions": "map('id', '1')"},
        {"metadata": "map('note', 'x')"},
    ]
    ids = [bench.submit("INSERT", "{s}.heap", source) for _ in changes]
    bench.cycle()
    for event_id, change in zip(ids, changes, strict=True):
        again(bench, event_id, **change)
    assert bench.cycle().found == len(changes)
    for event_id, change in zip(ids, changes, strict=True):
        assert told(bench, event_id) == [("completed", 5), ("failed", None)], change
        (refused,) = [row for row in bench.events.rows_of(event_id) if row.status == "failed"]
        assert "used before for another event, which ended applied" in (refused.error_message or "")
        assert bench.ledger(event_id) == [(1, "applied", 5)]
    assert rows_in(bench) == 5 * len(changes)


def test_a_row_that_differs_is_never_told_completed_by_the_other_ones_report(bench: SyncBench) -> None:
    """Rounds take MAX_EVENTS_PER_POLL rows: the second row of the id is not seen when the first is reported."""
    event_id = bench.submit("INSERT", "{s}.heap", bench.source(FIVE))
    again(bench, event_id, priority="-1", filter_conditions="map('id', '1')")
    bench.cycle(max_events_per_poll=1)
    assert rows_in(bench) == 5
    bench.cycle()
    assert told(bench, event_id) == [("completed", 5), ("failed", None)]
    assert rows_in(bench) == 5


def test_a_row_that_differs_and_comes_while_the_first_is_worked_on_is_refused(
    bench: SyncBench, lakehouse_faults: StandIn
) -> None:
    event_id = bench.submit("INSERT", "{s}.heap", bench.source(FIVE))
    held = lakehouse_faults.fault(match={"statement_contains": "VERSION AS OF"}, action={"hold_statement": True})
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bench.cycle)
        lakehouse_faults.wait_for(held)
        again(bench, event_id, filter_conditions="map('id', '1')")
        lakehouse_faults.clear()
        running.result()
    bench.cycle()
    assert told(bench, event_id) == [("completed", 5), ("failed", None)]
    assert bench.ledger(event_id) == [(1, "applied", 5)]
    assert rows_in(bench) == 5


def test_a_row_that_differs_and_comes_before_the_first_ones_report_arrives_is_refused(
    bench: SyncBench, lakehouse_faults: StandIn
) -> None:
    """The first was applied and not told: both wait, and only one of them is what the ledger knows."""
    event_id = bench.submit("INSERT", "{s}.heap", bench.source(FIVE))
    lakehouse_faults.fault(match={"kind": "MERGE"}, times=None, action=FAILS)
    assert bench.poller().cycle().problem is not None
    lakehouse_faults.clear()
    assert told(bench, event_id) == [("pending", None)]
    again(bench, event_id, filter_conditions="map('id', '1')")
    bench.cycle()
    bench.cycle()
    assert told(bench, event_id) == [("completed", 5), ("failed", None)]
    assert bench.ledger(event_id) == [(1, "applied", 5)]
    assert rows_in(bench) == 5


# A statement again -------------------------------------------------------------------------------------------------


def test_statements_that_the_sdk_sends_again_change_nothing_twice(bench: SyncBench, lakehouse_faults: StandIn) -> None:
    """Submit, report and reset lose their answers once each when they have been executed."""
    source = bench.source("SELECT 'x' AS id")
    lost = lakehouse_faults.fault(match={"kind": "MERGE"}, action={"drop": "executed"})
    event_id = bench.submit("INSERT", "{s}.heap", source)
    assert lakehouse_faults.hits(lost) == 1
    assert told(bench, event_id) == [("pending", None)]
    lost = lakehouse_faults.fault(match={"kind": "MERGE"}, action={"drop": "executed"})
    bench.cycle()
    assert lakehouse_faults.hits(lost) == 1
    assert told(bench, event_id) == [("failed", None)]
    mend(bench, event_id, f"source_table = '{bench.source(FIVE)}', metadata = map()")
    lost = lakehouse_faults.fault(match={"kind": "UPDATE"}, action={"drop": "executed"})
    assert retry(bench, event_id) == 2
    assert lakehouse_faults.hits(lost) == 1
    bench.cycle()
    assert told(bench, event_id) == [("completed", 5)]
    assert bench.ledger(event_id) == [(1, "failed", None), (2, "applied", 5)]
    assert rows_in(bench) == 5


def test_an_event_that_is_submitted_twice_by_its_author_is_one_row(bench: SyncBench) -> None:
    event_id = bench.submit("INSERT", "{s}.heap", bench.source(FIVE))
    bench.submit("INSERT", "{s}.heap", bench.source(FIVE), event_id=event_id)
    bench.cycle()
    bench.submit("INSERT", "{s}.heap", bench.source(FIVE), event_id=event_id)
    assert bench.cycle().found == 0
    assert told(bench, event_id) == [("completed", 5)]
    assert rows_in(bench) == 5


# Retry -------------------------------------------------------------------------------------------------------------


def refused_by_value(bench: SyncBench) -> tuple[str, str]:
    """A failed event, and how its author mends the row."""
    event_id = bench.submit("INSERT", "{s}.heap", bench.source("SELECT 'x' AS id"))
    return event_id, f"source_table = '{bench.source(FIVE)}'"


def refused_by_permission(bench: SyncBench) -> tuple[str, str]:
    """A blocked event, and how its author mends the row; what blocks it is that the table is not permitted."""
    bench.permit(more=['- {table: "{s}.heap", access: read}'])
    return bench.submit("INSERT", "{s}.heap", bench.source(FIVE)), "priority = 1"


def refused_before_the_target(bench: SyncBench) -> tuple[str, str]:
    """A failed event that makes no sense by itself, and how its author mends the row."""
    return bench.submit("INSURT", "{s}.heap", bench.source(FIVE)), "operation = 'INSERT'"


@pytest.mark.parametrize("mended", [False, True], ids=["as it was", "mended"])
def test_a_blocked_event_is_retried_when_the_permission_came(bench: SyncBench, mended: bool) -> None:
    event_id, change = refused_by_permission(bench)
    bench.cycle()
    assert told(bench, event_id) == [("blocked", None)]
    bench.permit()
    if mended:
        mend(bench, event_id, change)
    assert retry(bench, event_id) == 2
    row = bench.event(event_id)
    assert (row.status, row.error_message, row.processed_at) == ("pending", None, None)
    bench.cycle()
    assert told(bench, event_id) == [("completed", 5)]
    assert bench.event(event_id).error_message is None
    assert bench.ledger(event_id) == [(1, "blocked", None), (2, "applied", 5)]
    assert bench.cycle().found == 0


@pytest.mark.parametrize("refused", [refused_by_value, refused_before_the_target])
def test_a_mended_event_is_applied_once_though_its_report_is_lost(
    bench: SyncBench, lakehouse_faults: StandIn, refused: Callable[[SyncBench], tuple[str, str]]
) -> None:
    """The next round knows from the ledger that the mended payload was applied, not the one that failed."""
    event_id, change = refused(bench)
    bench.cycle()
    assert told(bench, event_id) == [("failed", None)]
    mend(bench, event_id, change)
    assert retry(bench, event_id) == 2
    lost = lakehouse_faults.fault(match={"kind": "MERGE"}, times=None, action=FAILS)
    assert bench.poller().cycle().problem is not None
    assert lakehouse_faults.hits(lost) >= 1
    lakehouse_faults.clear()
    assert rows_in(bench) == 5
    bench.cycle()
    assert told(bench, event_id) == [("completed", 5)], bench.event(event_id).error_message
    again(bench, event_id)
    bench.cycle()
    assert told(bench, event_id) == [("completed", 5), ("completed", 5)]
    assert bench.ledger(event_id) == [(1, "failed", None), (2, "applied", 5)]
    assert rows_in(bench) == 5


def test_an_event_that_fails_again_says_why_this_time_and_can_be_retried_again(bench: SyncBench) -> None:
    event_id, _ = refused_by_value(bench)
    bench.cycle()
    mend(bench, event_id, f"source_table = '{bench.source('SELECT CAST(NULL AS INT) AS id')}'")
    assert retry(bench, event_id) == 2
    bench.cycle()
    row = bench.event(event_id)
    assert row.status == "failed"
    assert "NOT NULL" in (row.error_message or "")
    mend(bench, event_id, "target_table = 'nowhere.heap'")
    assert retry(bench, event_id) == 3
    bench.cycle()
    assert "nowhere" in (bench.event(event_id).error_message or "")
    mend(bench, event_id, f"target_table = '{bench.schema}.heap', source_table = '{bench.source(FIVE)}'")
    assert retry(bench, event_id) == 4
    bench.cycle()
    assert told(bench, event_id) == [("completed", 5)]
    assert [entry[1] for entry in bench.ledger(event_id)] == ["failed", "failed", "failed", "applied"]


def test_an_applied_event_is_never_retried_whatever_its_row_says(bench: SyncBench) -> None:
    event_id = bench.submit("INSERT", "{s}.heap", bench.source(FIVE))
    with pytest.raises(EventInvalid, match="is pending"):
        retry(bench, event_id)
    bench.cycle()
    with pytest.raises(EventInvalid, match="is completed"):
        retry(bench, event_id)
    mend(bench, event_id, "status = 'failed'")
    with pytest.raises(EventInvalid, match="applied already"):
        retry(bench, event_id)
    assert told(bench, event_id) == [("failed", 5)]
    mend(bench, event_id, "status = 'pending'")
    bench.cycle()
    assert told(bench, event_id) == [("completed", 5)]
    mend(bench, event_id, "status = 'completed'")
    again(bench, event_id, priority="9")
    bench.cycle()
    with pytest.raises(EventInvalid, match="ask for different things"):
        retry(bench, event_id)
    assert bench.ledger(event_id) == [(1, "applied", 5)]
    assert rows_in(bench) == 5


def test_a_retry_that_dies_half_way_is_retried_to_the_same_generation(
    bench: SyncBench, lakehouse_faults: StandIn
) -> None:
    """It dies behind the ledger's new generation and before the events table's reset."""
    event_id, change = refused_by_value(bench)
    bench.cycle()
    mend(bench, event_id, change)
    died = lakehouse_faults.fault(match={"kind": "UPDATE"}, action=FAILS)
    with pytest.raises(BridgeError, match="made to fail"):
        retry(bench, event_id)
    assert lakehouse_faults.hits(died) == 1
    assert bench.ledger(event_id) == [(1, "failed", None), (2, "open", None)]
    assert bench.cycle().found == 0
    assert retry(bench, event_id) == 2
    bench.cycle()
    assert told(bench, event_id) == [("completed", 5)]
    assert bench.ledger(event_id) == [(1, "failed", None), (2, "applied", 5)]
    assert rows_in(bench) == 5


def test_operators_who_retry_at_once_open_one_generation(bench: SyncBench) -> None:
    event_id, change = refused_by_value(bench)
    bench.cycle()
    mend(bench, event_id, change)
    row = bench.event(event_id)
    operators = 4
    start = threading.Barrier(operators)

    class Held:
        """The events table as each of them saw it: failed."""

        def rows_of(self, _: str) -> list[EventRow]:
            start.wait(20)
            return [row]

        def reset(self, event_id: str) -> None:
            bench.events.reset(event_id)

    def operator() -> int:
        with bench.target() as connection:
            return authoring.retry(Held(), connection, event_id)  # type: ignore[arg-type]  # what retry asks of it

    with ThreadPoolExecutor(operators) as pool:
        opened = [future.result() for future in [pool.submit(operator) for _ in range(operators)]]
    assert opened == [2] * operators
    bench.cycle()
    assert told(bench, event_id) == [("completed", 5)]
    assert bench.ledger(event_id) == [(1, "failed", None), (2, "applied", 5)]
    assert rows_in(bench) == 5


def test_two_equal_rows_that_failed_are_retried_as_one_event(bench: SyncBench) -> None:
    bench.permit(more=['- {table: "{s}.heap", access: read}'])
    event_id = bench.submit("INSERT", "{s}.heap", bench.source(FIVE))
    again(bench, event_id)
    bench.cycle()
    assert told(bench, event_id) == [("blocked", None), ("blocked", None)]
    bench.permit()
    assert retry(bench, event_id) == 2
    bench.cycle()
    assert told(bench, event_id) == [("completed", 5), ("completed", 5)]
    assert bench.ledger(event_id) == [(1, "blocked", None), (2, "applied", 5)]
    assert rows_in(bench) == 5
