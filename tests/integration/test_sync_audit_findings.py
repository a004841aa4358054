"""What an adversary of the sync flow found once, each as the claim that holds since."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sql_databricks_bridge import composition
from sql_databricks_bridge.auth.signing import sign
from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.session import Session
from sql_databricks_bridge.db.sql_server import MssqlServer
from sql_databricks_bridge.db.target import MssqlTarget
from sql_databricks_bridge.models.applying import ApplyPlan, Counts
from sql_databricks_bridge.models.events import EventRow, LedgerEntry
from sql_databricks_bridge.sync import authoring
from sql_databricks_bridge.sync.poller import Poller, PollerOptions
from tests.conftest import StandIn
from tests.integration.sync_support import SyncBench, sync_bench

ONE = "SELECT CAST(1 AS INT) AS id"
TWO = "SELECT CAST(2 AS INT) AS id"
AWAY = {"statement_error": {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "made to fail", "sqlstate": "XX000"}}
BROKEN = {"statement_error": {"error_code": "INTERNAL_ERROR", "message": "made to fail", "sqlstate": "XX000"}}


@pytest.fixture
def bench(sqlserver_settings: Settings, lakehouse_settings: Settings, tmp_path: Path) -> Iterator[SyncBench]:
    with sync_bench(sqlserver_settings, lakehouse_settings, tmp_path) as made:
        yield made


def decisions(bench: SyncBench) -> list[tuple[str | None, str]]:
    """(event_id, outcome) of every line of the audit log."""
    lines = [
        line for file in sorted(bench.settings.bridge_audit_dir.iterdir()) for line in file.read_text().splitlines()
    ]
    return [(record["request_id"], record["outcome"]) for record in map(json.loads, lines)]


# Order and progress ------------------------------------------------------------------------------------------------


def test_another_spelling_of_a_busy_target_does_not_overtake_the_events_that_wait_for_it(bench: SyncBench) -> None:
    bench.sql("CREATE TABLE {s}.t (id int NOT NULL, turn int IDENTITY NOT NULL)")
    ((object_id,),) = bench.sql("SELECT OBJECT_ID(N'{s}.t')")
    poller = bench.poller(max_events_per_poll=1)
    first = bench.submit("INSERT", "{s}.t", bench.source(ONE), priority=9)
    with bench.target() as other:
        assert other.lock(object_id)
        assert poller.cycle().busy == (f"{bench.schema}.t",)
        second = bench.submit("INSERT", "[{s}].[T]", bench.source(TWO), priority=0)
        other.unlock(object_id)
    for _ in range(6):
        assert poller.cycle().problem is None
    assert [bench.event(event_id).status for event_id in (first, second)] == ["completed", "completed"]
    assert bench.sql("SELECT id FROM {s}.t ORDER BY turn") == [(1,), (2,)]


def test_a_table_whose_events_can_not_be_worked_on_does_not_starve_the_others(
    bench: SyncBench, lakehouse_faults: StandIn
) -> None:
    bench.sql("CREATE TABLE {s}.stuck (id int NOT NULL)")
    bench.sql("CREATE TABLE {s}.fine (id int NOT NULL)")
    source = bench.source(ONE)
    stuck = bench.submit("INSERT", "{s}.stuck", source, priority=9)
    fine = bench.submit("INSERT", "{s}.fine", bench.source(TWO), priority=0)
    lakehouse_faults.fault(match={"statement_contains": source.split(".")[-1]}, times=None, action=AWAY)
    poller = bench.poller(max_events_per_poll=1)
    assert poller.cycle().problem is not None
    assert poller.cycle().problem is None
    assert [bench.event(event_id).status for event_id in (stuck, fine)] == ["pending", "completed"]
    lakehouse_faults.clear()
    poller.cycle()
    assert bench.event(stuck).status == "completed"


def test_a_source_at_which_databricks_always_breaks_fails_after_three_attempts(
    bench: SyncBench, lakehouse_faults: StandIn
) -> None:
    bench.sql("CREATE TABLE {s}.t (id int NOT NULL)")
    source = bench.source(ONE)
    event_id = bench.submit("INSERT", "{s}.t", source)
    rule = lakehouse_faults.fault(match={"statement_contains": source.split(".")[-1]}, times=None, action=BROKEN)
    assert bench.cycle().problem is None
    assert lakehouse_faults.hits(rule) == 3
    row = bench.event(event_id)
    assert row.status == "failed"
    assert (row.error_message or "").startswith("Tried 3 times. The statement ended FAILED: made to fail")


def test_a_staging_table_that_can_not_be_dropped_does_not_keep_the_poller_from_working(bench: SyncBench) -> None:
    bench.sql("CREATE TABLE {s}.t (id int NOT NULL)")
    bench.sql("CREATE TABLE bridge.stg_00000000000000aa (id int NOT NULL PRIMARY KEY)")
    bench.sql(
        "CREATE TABLE {s}.holder (id int NULL, CONSTRAINT holds FOREIGN KEY (id) "
        "REFERENCES bridge.stg_00000000000000aa (id))"
    )
    try:
        row = bench.done("INSERT", "{s}.t", bench.source(ONE))
    finally:
        bench.sql("DROP TABLE {s}.holder")
        bench.sql("DROP TABLE bridge.stg_00000000000000aa")
    assert (row.status, row.rows_affected) == ("completed", 1)


# Deleting no more than was asked -----------------------------------------------------------------------------------


class AlteredMeanwhile(MssqlServer):
    """A server where somebody changes a table between the look into the catalog and the work on it.

    `late` is after the second look, just before the event's transaction begins.
    """

    def __init__(self, bench: SyncBench, statements: Sequence[str], *, late: bool) -> None:
        super().__init__(bench.settings)
        self._bench = bench
        self._statements = list(statements)
        self._late = late
        self._connections = 0

    def connect_target(self) -> MssqlTarget:
        self._connections += 1
        if self._connections == 3 and not self._late:  # 1 sweeps, 2 looks targets up, 3 works
            self.alter()
        return AlteredBeforeApplying(self._signed_in(None, None), self)

    def alter(self) -> None:
        while self._statements:
            self._bench.sql(self._statements.pop(0))


class AlteredBeforeApplying(MssqlTarget):
    def __init__(self, session: Session, server: AlteredMeanwhile) -> None:
        super().__init__(session)
        self._server = server

    def apply(self, plan: ApplyPlan, before_commit: Callable[[Counts], LedgerEntry]) -> LedgerEntry:
        self._server.alter()
        return super().apply(plan, before_commit)


def altered_poller(bench: SyncBench, *statements: str, late: bool = False) -> Poller:
    permissions = composition.permissions_file(bench.settings)
    operations = composition.operations(bench.settings, bench.lakehouse, permissions)
    return Poller(AlteredMeanwhile(bench, statements, late=late), bench.events, operations, PollerOptions())


@pytest.mark.parametrize("late", [False, True])
def test_a_cascade_that_came_after_the_first_look_blocks_a_delete(bench: SyncBench, late: bool) -> None:
    bench.sql("CREATE TABLE {s}.parent (id int NOT NULL PRIMARY KEY)")
    bench.sql("CREATE TABLE {s}.child (id int NOT NULL)")
    bench.sql("INSERT INTO {s}.parent VALUES (1)")
    bench.sql("INSERT INTO {s}.child VALUES (1), (1)")
    event_id = bench.submit("DELETE", "{s}.parent", filters={"id": "1"})
    poller = altered_poller(
        bench,
        "ALTER TABLE {s}.child ADD CONSTRAINT late FOREIGN KEY (id) REFERENCES {s}.parent (id) ON DELETE CASCADE",
        late=late,
    )
    assert poller.cycle().problem is None
    assert bench.event(event_id).status == "blocked"
    assert bench.sql("SELECT COUNT(*) FROM {s}.child") == [(2,)]
    assert bench.ledger(event_id) == [(1, "blocked", None)]


def test_a_table_that_was_replaced_while_its_events_waited_is_looked_at_anew(bench: SyncBench) -> None:
    bench.sql("CREATE TABLE {s}.t (id int NOT NULL)")
    event_id = bench.submit("INSERT", "{s}.t", bench.source(ONE))
    poller = altered_poller(bench, "DROP TABLE {s}.t", "CREATE TABLE {s}.t (id int NOT NULL, more int NULL)")
    report = poller.cycle()
    assert (report.problem, report.handled, report.left) == (None, (), 1)
    poller.cycle()
    assert bench.event(event_id).status == "completed"
    assert bench.sql("SELECT id, more FROM {s}.t") == [(1, None)]


def test_a_filter_beyond_ascii_finds_its_rows_in_a_varchar_column_and_no_likeness(bench: SyncBench) -> None:
    bench.sql("CREATE TABLE {s}.t (word varchar(10) COLLATE Latin1_General_CI_AS NOT NULL)")
    bench.sql("INSERT INTO {s}.t VALUES (N'Café'), (N'Cafe'), (N'Caf?')")
    row = bench.done("DELETE", "{s}.t", filters={"word": "café"}, rows_expected=1)
    assert (row.status, row.rows_affected, row.error_message) == ("completed", 1, None)
    assert bench.sql("SELECT word FROM {s}.t ORDER BY word") == [("Caf?",), ("Cafe",)]


# Audit -------------------------------------------------------------------------------------------------------------


def test_events_that_the_ledger_can_not_hold_and_used_ids_are_audited_too(bench: SyncBench) -> None:
    bench.sql("CREATE TABLE {s}.t (id int NOT NULL)")
    source = bench.source(ONE)
    long_id, used_id = "x" * 300, "used"
    bench.submit("INSERT", "{s}.t", source, event_id=long_id)
    bench.submit("INSERT", "{s}.t", source, event_id=used_id)
    table = bench.settings.bridge_events_table
    bench.lakehouse.execute(f"INSERT INTO {table} (event_id, operation, status) VALUES (NULL, 'INSERT', 'pending')")
    bench.cycle()
    bench.lakehouse.execute(f"UPDATE {table} SET rows_expected = 7, status = 'pending' WHERE event_id = '{used_id}'")
    bench.cycle()
    lines = decisions(bench)
    assert (long_id, "failed") in lines
    assert (None, "failed") in lines
    assert [outcome for event_id, outcome in lines if event_id == used_id] == ["intent", "applied", "failed"]


# Signatures --------------------------------------------------------------------------------------------------------


def test_an_event_signed_without_a_priority_is_signed_as_it_is_stored(bench: SyncBench) -> None:
    bench.sql("CREATE TABLE {s}.t (id int NOT NULL)")
    key = "a key of more than sixteen characters"
    permitted = bench.settings.bridge_permissions_file.read_text()
    signing = permitted.replace("- name: tester", f"- name: tester\n    signing_key: {key}")
    bench.settings.bridge_permissions_file.write_text(signing)
    draft = EventRow("e", "INSERT", bench.source(ONE), f"{bench.schema}.t")
    authoring.submit(bench.lakehouse, bench.events, draft, lambda row: sign(row, "tester", key))
    bench.cycle()
    row = bench.event("e")
    assert (row.status, row.error_message) == ("completed", None)


# Reach and reading ------------------------------------------------------------------------------------------------


def test_an_update_that_a_foreign_key_passes_on_needs_the_right_to_cascade(bench: SyncBench) -> None:
    bench.sql("CREATE TABLE {s}.p (id int NOT NULL PRIMARY KEY, code int NOT NULL UNIQUE, note int NULL)")
    bench.sql("CREATE TABLE {s}.c (code int NOT NULL REFERENCES {s}.p (code) ON UPDATE CASCADE)")
    bench.sql("INSERT INTO {s}.p VALUES (1, 10, 0)")
    bench.sql("INSERT INTO {s}.c VALUES (10)")
    source = bench.source("SELECT CAST(1 AS INT) AS id, CAST(11 AS INT) AS code")
    blocked = bench.done("UPDATE", "{s}.p", source, keys=["id"])
    assert blocked.status == "blocked"
    assert f"code to {bench.schema}.c" in (blocked.error_message or "")
    harmless = bench.done("UPDATE", "{s}.p", bench.source("SELECT 1 AS id, CAST(5 AS INT) AS note"), keys=["id"])
    assert harmless.status == "completed"
    assert bench.sql("SELECT code FROM {s}.c") == [(10,)]
    bench.permit(more=['- {table: "{s}.p", access: write, allow_cascade: true}'])
    assert bench.done("UPDATE", "{s}.p", source, keys=["id"]).status == "completed"
    assert bench.sql("SELECT code FROM {s}.c") == [(11,)]


@pytest.mark.parametrize("status", ["NULL", "'Pending'", "' pending '", "''"])
def test_a_status_that_means_pending_is_read_as_such(bench: SyncBench, status: str) -> None:
    bench.sql("CREATE TABLE {s}.t (id int NOT NULL)")
    event_id = bench.submit("INSERT", "{s}.t", bench.source(ONE))
    bench.lakehouse.execute(f"UPDATE {bench.settings.bridge_events_table} SET status = {status}")
    assert bench.cycle().found == 1
    assert bench.event(event_id).status == "completed"
    assert bench.cycle().found == 0
