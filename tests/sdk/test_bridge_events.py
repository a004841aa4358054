"""`BridgeEvents` by a SQL warehouse (the real databricks-sdk over HTTP) and by Spark (the real client on Sail)."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.event_rows import COLUMNS
from sql_databricks_bridge.models.events import EventRow
from sql_databricks_bridge_sdk import (
    BridgeEvents,
    Event,
    EventBlocked,
    EventConflict,
    EventFailed,
    EventNotFound,
    StatementFailed,
    WaitTimeout,
)
from sql_databricks_bridge_sdk.statements import WarehouseStatements
from tests.conftest import StandIn
from tests.sdk.sail_session import SailSession, sail_session

KEY = "canary-signing-key-never-shown"
DEFINITION = ", ".join(f"{name} {sql_type}" for name, sql_type in COLUMNS.items())


@dataclass(frozen=True)
class Lake:
    """Somewhere with an events table and a source of its own. `run` runs SQL there by hand."""

    run: Callable[[str], list[list[Any]]]
    table: str
    source: str
    arguments: dict[str, Any]

    def events(self, **options: Any) -> BridgeEvents:
        return BridgeEvents(**self.arguments, table=self.table, **options)

    def count(self) -> int:
        return int(self.run(f"SELECT count(*) FROM {self.table}")[0][0])

    def end(self, event: Event, status: str, **columns: str) -> None:
        """Do what the poller does at the end."""
        sets = ", ".join(f"{name} = {value}" for name, value in {"status": f"'{status}'", **columns}.items())
        self.run(f"UPDATE {self.table} SET {sets} WHERE event_id = '{event.event_id}'")


@pytest.fixture(scope="module")
def sail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SailSession]:
    with sail_session(tmp_path_factory.mktemp("sail")) as session:
        yield session


@pytest.fixture(scope="module")
def workspace(lakehouse_settings: Settings) -> WorkspaceClient:
    token = lakehouse_settings.databricks_token
    config = Config(
        host=lakehouse_settings.databricks_host,
        token=None if token is None else token.get_secret_value(),
        auth_type="pat",
        retry_timeout_seconds=20,
    )
    return WorkspaceClient(config=config)


@pytest.fixture(scope="module", params=["warehouse", "spark"])
def home(request: pytest.FixtureRequest) -> Iterator[Lake]:
    tag = uuid.uuid4().hex[:12]
    if request.param == "spark":
        sail: SailSession = request.getfixturevalue("sail")
        table, source = f"bridge.events.events_{tag}", f"bridge.events.source_{tag}"
        sail.make(table, DEFINITION)
        sail.make(source, "id INT")
        yield Lake(lambda sql: [list(row) for row in sail.sql(sql).collect()], table, source, {"spark": sail})
        return
    settings: Settings = request.getfixturevalue("lakehouse_settings")
    client: WorkspaceClient = request.getfixturevalue("workspace")
    place = f"{settings.databricks_catalog}.{settings.databricks_schema}"
    table, source = f"{place}.events_{tag}", f"{place}.source_{tag}"
    warehouse_id = settings.databricks_warehouse_id or ""

    def run(sql: str) -> list[list[Any]]:
        answer = client.statement_execution.execute_statement(sql, warehouse_id, wait_timeout="30s")
        assert answer.status is not None
        assert answer.status.error is None, answer.status.error
        return (answer.result.data_array if answer.result else None) or []

    run(f"CREATE TABLE {table} ({DEFINITION})")
    run(f"CREATE TABLE {source} (id INT)")
    yield Lake(run, table, source, {"workspace_client": client, "warehouse_id": warehouse_id})
    run(f"DROP TABLE {table}")
    run(f"DROP TABLE {source}")


@pytest.fixture
def lake(home: Lake) -> Lake:
    home.run(f"DELETE FROM {home.table} WHERE true")
    return home


def test_what_is_stored_is_what_was_asked_for_and_signed(lake: Lake) -> None:
    """Quotes, backslashes, colons, line ends, other scripts: to the letter, or the signature would not hold."""
    odd = 'it\'s \\n a :event "x" {table} ${y}\n\tñ 漢 😀 --;'
    event = lake.events(user="sales-team", signing_key=KEY).submit(
        "update",
        lake.source,
        f"dbo.[{odd}]",
        keys=[odd, "id"],
        filters={odd: None, "b": odd, "c": ""},
        rows_expected=3,
        priority=-2,
        metadata={"note": odd, "nothing": None, "": "empty"},
        on_conflict="skip",
        timezone="America/Bogota",
        keep_identity=True,
        event_id=f"e {odd.split()[0]} é",
    )
    assert event.status == "pending"
    assert (event.operation, event.priority, event.rows_expected) == ("UPDATE", -2, 3)
    assert event.primary_keys == (odd, "id")
    assert event.filter_conditions == {odd: None, "b": odd, "c": ""}
    assert event.created_at is not None
    assert abs(event.created_at.timestamp() - time.time()) < 60
    metadata = dict(event.metadata or {})
    signature = metadata.pop("signature")
    assert metadata == {
        "note": odd,
        "nothing": None,
        "": "empty",
        "on_conflict": "skip",
        "timezone": "America/Bogota",
        "keep_identity": "true",
        "source_version": "0",
        "user": "sales-team",
    }
    stored = EventRow(**{name: getattr(event, name) for name in COLUMNS})
    assert stored.signature(KEY) == signature
    assert lake.count() == 1


def test_the_source_is_pinned_at_its_newest_version(lake: Lake) -> None:
    before = lake.events().submit("INSERT", lake.source, "dbo.T")
    lake.run(f"INSERT INTO {lake.source} VALUES (1)")
    after = lake.events().submit("INSERT", lake.source, "dbo.T")
    older = lake.events().submit("INSERT", lake.source, "dbo.T", source_version=0)
    found = [int((each.metadata or {})["source_version"] or "") for each in (before, after, older)]
    assert found == [found[0], found[0] + 1, 0]


def test_an_event_without_options_or_source_has_nothing_but_what_was_asked_for(lake: Lake) -> None:
    event = lake.events().submit("DELETE", None, "dbo.T", filters={"a": "1"})
    asked: dict[str, Any] = {"operation": "DELETE", "target_table": "dbo.T", "filter_conditions": {"a": "1"}}
    assert event == Event(event.event_id, priority=0, status="pending", created_at=event.created_at, **asked)


def test_the_same_event_sent_again_stands_once_even_after_its_source_has_changed(lake: Lake) -> None:
    events = lake.events(user="sales-team", signing_key=KEY)
    first = events.submit("INSERT", lake.source, "dbo.T", event_id="e1")
    lake.run(f"INSERT INTO {lake.source} VALUES (2)")
    lake.end(first, "completed", rows_affected="2")
    again = events.submit("INSERT", lake.source, "dbo.T", event_id="e1")
    assert (again.metadata, again.status, again.rows_affected) == (first.metadata, "completed", 2)
    assert lake.count() == 1


def test_an_event_id_that_is_taken_by_another_event_is_refused(lake: Lake) -> None:
    events = lake.events()
    first = events.submit("INSERT", lake.source, "dbo.T", event_id="e1")
    with pytest.raises(EventConflict, match=r"'e1' is there already \(pending\), with another target_table, priority"):
        events.submit("INSERT", lake.source, "dbo.Other", priority=1, event_id="e1")
    with pytest.raises(EventConflict, match="with another metadata"):
        events.submit("INSERT", lake.source, "dbo.T", event_id="e1", source_version=999)
    assert events.status("e1") == first
    assert lake.count() == 1


def test_events_are_waited_for_together_and_come_in_the_order_given(lake: Lake) -> None:
    events = lake.events()
    a, b = (events.submit("INSERT", lake.source, "dbo.T") for _ in range(2))
    lake.end(a, "completed", rows_affected="1", discrepancy="0", processed_at="current_timestamp()")
    later = threading.Timer(0.2, lake.end, (b, "completed"))
    later.start()
    found = events.wait_all([b, a.event_id, b], timeout_s=60)
    later.join()
    assert [(each.event_id, each.rows_affected) for each in found] == [
        (b.event_id, None),
        (a.event_id, 1),
        (b.event_id, None),
    ]
    assert found[1].processed_at is not None
    assert found[1].processed_at.timestamp() == pytest.approx(time.time(), abs=60)
    assert events.wait_all([]) == ()


def test_an_event_that_did_not_complete_is_an_error_that_holds_it(lake: Lake) -> None:
    events = lake.events()
    failed, blocked = (events.submit("INSERT", lake.source, "dbo.T") for _ in range(2))
    lake.end(failed, "failed", error_message="'no such column'")
    lake.end(blocked, "blocked", error_message="'over the limit'")
    with pytest.raises(EventFailed, match="is failed: no such column") as caught:
        events.wait(failed)
    assert type(caught.value) is EventFailed
    with pytest.raises(EventBlocked, match="is blocked: over the limit"):
        events.wait_all([blocked.event_id, failed])
    assert events.wait(blocked, check=False).status == "blocked"


def test_an_event_that_nobody_works_on_ends_the_wait_in_time(lake: Lake) -> None:
    event = lake.events().submit("INSERT", lake.source, "dbo.T")
    began = time.monotonic()
    with pytest.raises(WaitTimeout, match=r"1 of 1 events had not ended after 0\.2 s: .* is pending"):
        lake.events().wait(event, timeout_s=0.2)
    assert 0.2 <= time.monotonic() - began < 10


def test_an_event_that_is_not_there_is_not_waited_for(lake: Lake) -> None:
    for ask in (lake.events().status, lake.events().wait):
        with pytest.raises(EventNotFound, match="has no event 'nobody'"):
            ask("nobody")


@pytest.mark.parametrize(
    ("changes", "kind", "told"),
    [
        ({"operation": "TRUNCATE"}, ValueError, "operation 'TRUNCATE' is unknown"),
        (
            {"source": "two.parts", "source_version": None},
            ValueError,
            r"source 'two\.parts' is not catalog\.schema\.table",
        ),
        ({"keys": "id"}, TypeError, r"write a list: \['id'\]"),
        ({"priority": 2**31}, ValueError, "priority is no 32-bit integer"),
        ({"rows_expected": True}, ValueError, "rows_expected is no 32-bit integer"),
        ({"event_id": ""}, ValueError, "event_id is not 1 to 200 characters"),
        ({"event_id": "e "}, ValueError, "event_id is not 1 to 200 characters"),
        ({"metadata": {"user": "somebody"}}, ValueError, "'user' is written by signing"),
        ({"metadata": {"signature": None}}, ValueError, "'signature' is written by signing"),
        ({"metadata": {"timezone": "UTC"}, "timezone": "UTC"}, ValueError, "timezone is given twice"),
        ({"metadata": {"source_version": "1"}}, ValueError, "source_version is given twice"),
        ({"metadata": {"n": 1}}, TypeError, "is not text"),
        ({"metadata": {"n": "\udc80"}}, UnicodeEncodeError, "surrogates not allowed"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_sent(
    changes: dict[str, Any], kind: type[Exception], told: str
) -> None:
    nobody = BridgeEvents(spark=object())  # which has no `sql`
    asked: dict[str, Any] = {"operation": "INSERT", "source": "c.s.t", "target": "dbo.T", "source_version": 0}
    with pytest.raises(kind, match=told):
        nobody.submit(**(asked | changes))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"spark": object(), "workspace_client": object(), "warehouse_id": "w"},
        {"workspace_client": object()},
        {"spark": object(), "warehouse_id": "w"},
        {"spark": object(), "user": "u"},
        {"spark": object(), "signing_key": KEY},
        {"spark": object(), "user": "u", "signing_key": ""},
        {"spark": object(), "table": "events"},
    ],
)
def test_half_an_address_or_half_a_signer_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"together|give spark|table 'events' is not") as caught:
        BridgeEvents(**options)
    assert KEY not in str(caught.value)


def test_the_signing_key_is_shown_nowhere_and_sent_nowhere(sail: SailSession) -> None:
    table = f"bridge.events.events_{uuid.uuid4().hex[:12]}"
    sail.make(table, DEFINITION)
    sail.statements.clear()
    events = BridgeEvents(spark=sail, table=table, user="sales-team", signing_key=KEY)
    events.submit("DELETE", None, "dbo.T", filters={"a": "1"})
    assert len(sail.statements) == 2
    assert KEY not in f"{events!r} {vars(events)} {sail.statements}"


def test_values_travel_as_parameters_only(sail: SailSession) -> None:
    table = f"bridge.events.events_{uuid.uuid4().hex[:12]}"
    sail.make(table, DEFINITION)
    sail.statements.clear()
    BridgeEvents(spark=sail, table=table).submit("DELETE", None, "canary", filters={"canary": "canary"})
    assert all("canary" not in statement for statement, _ in sail.statements)
    assert "canary" in str(sail.statements[0][1])


class ConcurrentAppendException(Exception):
    """As delta-spark names it."""


@pytest.mark.parametrize("told", ["[DELTA_CONCURRENT_APPEND] Files were added.", "another word"])
def test_a_writer_that_came_first_on_spark_is_tried_again(sail: SailSession, told: str) -> None:
    table = f"bridge.events.events_{uuid.uuid4().hex[:12]}"
    sail.make(table, DEFINITION)
    sail.failures = [ConcurrentAppendException(told), ConcurrentAppendException(told)]
    event = BridgeEvents(spark=sail, table=table).submit("DELETE", None, "dbo.T", filters={"a": "1"})
    assert event.status == "pending"
    sail.failures = [RuntimeError("the cluster is gone")]
    with pytest.raises(RuntimeError, match="the cluster is gone"):
        BridgeEvents(spark=sail, table=table).submit("DELETE", None, "dbo.T", filters={"a": "1"})


@pytest.fixture
def warehouse(workspace: WorkspaceClient, lakehouse_settings: Settings) -> Iterator[BridgeEvents]:
    """An events table of the test's own on the warehouse."""
    place = f"{lakehouse_settings.databricks_catalog}.{lakehouse_settings.databricks_schema}"
    table, warehouse_id = f"{place}.events_{uuid.uuid4().hex[:12]}", lakehouse_settings.databricks_warehouse_id or ""
    run = workspace.statement_execution.execute_statement
    run(f"CREATE TABLE {table} ({DEFINITION})", warehouse_id, wait_timeout="30s")
    yield BridgeEvents(workspace_client=workspace, warehouse_id=warehouse_id, table=table)
    run(f"DROP TABLE {table}", warehouse_id, wait_timeout="30s")


@pytest.mark.parametrize("when", ["before", "after", "executed"])
def test_a_dropped_connection_to_the_warehouse_writes_the_event_once(
    lakehouse_faults: StandIn, warehouse: BridgeEvents, when: str
) -> None:
    rule = lakehouse_faults.fault(match={"statement_contains": "MERGE INTO"}, action={"drop": when})
    event = warehouse.submit("DELETE", None, "dbo.T", filters={"a": "1"}, event_id="e1")
    lakehouse_faults.wait_for(rule)
    assert event.status == "pending"
    assert len(warehouse._rows_of(["e1"])) == 1


def test_a_writer_that_came_first_on_the_warehouse_is_tried_again(
    lakehouse_faults: StandIn, warehouse: BridgeEvents
) -> None:
    error = {"error_code": "BAD_REQUEST", "message": "[DELTA_CONCURRENT_APPEND] no. SQLSTATE: 2D521"}
    rule = lakehouse_faults.fault(
        match={"statement_contains": "MERGE INTO"}, action={"statement_error": error}, times=2
    )
    assert warehouse.submit("DELETE", None, "dbo.T", filters={"a": "1"}).status == "pending"
    assert lakehouse_faults.hits(rule) == 2


def test_a_slow_statement_is_polled_to_its_end_and_every_chunk_is_read(
    lakehouse_faults: StandIn, workspace: WorkspaceClient, lakehouse_settings: Settings
) -> None:
    rule = lakehouse_faults.fault(match={"statement_contains": "unhurried"}, action={"slow_statement_s": 0.3})
    statements = WarehouseStatements(workspace, lakehouse_settings.databricks_warehouse_id or "", wait_s=0)
    rows = statements.rows("SELECT id, repeat('unhurried', 100000) FROM range(20) ORDER BY id", {})
    assert lakehouse_faults.hits(rule) == 1
    assert [int(row[0]) for row in rows] == list(range(20))
    assert any("/result/chunks/1" in each["path"] for each in lakehouse_faults.requests())


def test_a_failed_statement_tells_its_state_and_nothing_is_written(
    lakehouse_settings: Settings, workspace: WorkspaceClient
) -> None:
    events = BridgeEvents(
        workspace_client=workspace,
        warehouse_id=lakehouse_settings.databricks_warehouse_id,
        table=f"{lakehouse_settings.databricks_catalog}.{lakehouse_settings.databricks_schema}.nowhere",
    )
    with pytest.raises(StatementFailed, match="TABLE_OR_VIEW_NOT_FOUND") as caught:
        events.submit("DELETE", None, "dbo.T", filters={"a": "1"})
    assert caught.value.sqlstate == "42P01"
