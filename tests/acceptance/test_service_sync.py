"""Sync events through a running service: signed as their author, applied by its poller, seen by whom they concern."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import quote

import pytest

from sql_databricks_bridge import composition
from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.ports import EventTable
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from sql_databricks_bridge.models.events import EventRow
from tests.acceptance.service import Service, service
from tests.integration.sync_support import driver_connection

PROBLEM = "urn:sql-databricks-bridge:problem:"
APPLIED_S = 60


class Sync:
    """A service with a poller, a target table and a source of three rows."""

    def __init__(self, running: Service, settings: Settings, lakehouse: DatabricksLakehouse, source: str) -> None:
        self.running = running
        self.settings = settings
        self.source = source
        table = running.environment["BRIDGE_EVENTS_TABLE"]
        changed = settings.model_copy(update={"bridge_events_table": table, "databricks_warehouse_id": "set"})
        self.events: EventTable = composition.events_table(changed, lakehouse)

    @property
    def target(self) -> str:
        """The table that events write to."""
        return f"{self.running.schema}.orders"

    def submit(self, user: str = "alice", headers: dict[str, str] | None = None, **changes: Any) -> Any:
        """POST an INSERT of the source, changed as asked; None leaves a part out."""
        body = {"operation": "INSERT", "source_table": self.source, "target_table": self.target, **changes}
        body = {name: value for name, value in body.items() if value is not None}
        return self.running.client(user).post("/sync/events", json=body, headers=headers)

    def ended(self, location: str) -> dict[str, Any]:
        """The event once the poller has ended it."""
        deadline = time.monotonic() + APPLIED_S
        while True:
            found = self.running.client().get(location).json()
            if found["status"] not in ("pending", "processing"):
                return dict(found)
            assert time.monotonic() < deadline, found
            time.sleep(0.2)  # what is waited for is another process's to do, and is told nowhere else

    def rows(self) -> int:
        """How many rows the target has."""
        with closing(driver_connection(self.settings)) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(f"SELECT COUNT(*) FROM {self.target}")
            return int(cursor.fetchone()[0])


@pytest.fixture(scope="module")
def sync(
    server_environment: dict[str, str],
    sqlserver_settings: Settings,
    lakehouse_settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Sync]:
    """All of it, running."""
    lakehouse = DatabricksLakehouse(lakehouse_settings)
    home = f"{lakehouse_settings.databricks_catalog}.{lakehouse_settings.databricks_schema}"
    source = f"{home}.src_{uuid.uuid4().hex[:12]}"
    lakehouse.execute(f"CREATE TABLE {source} AS SELECT * FROM (VALUES (1, 'a'), (2, 'b'), (3, 'c')) AS t(id, name)")
    with service(server_environment, tmp_path_factory.mktemp("sync"), sqlserver_settings) as running:
        with closing(driver_connection(sqlserver_settings)) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(f"CREATE TABLE {running.schema}.orders (id int NOT NULL, name nvarchar(20) NULL)")
        found = Sync(running, sqlserver_settings, lakehouse, source)
        found.events.create()
        running.start(POLLER_ENABLED="true", POLLING_INTERVAL_SECONDS="1", SYNC_PRINCIPAL="bob")
        yield found
    for table in (source, running.environment["BRIDGE_EVENTS_TABLE"]):
        lakehouse.execute(f"DROP TABLE {table}")


def test_an_event_runs_as_its_author_and_is_applied_once(sync: Sync) -> None:
    """201, signed and pinned; the poller applies it; the same key answers the same event and applies nothing more."""
    key, before = {"Idempotency-Key": uuid.uuid4().hex}, sync.rows()
    made = sync.submit(headers=key, rows_expected=3, metadata={"note": "first"})
    assert made.status_code == 201, made.text
    event = made.json()
    assert event["metadata"]["user"] == "alice"
    assert set(event["metadata"]) == {"user", "signature", "source_version", "note"}
    ended = sync.ended(made.headers["Location"])
    assert (ended["status"], ended["rows_affected"], ended["discrepancy"]) == ("completed", 3, 0)
    assert ended["processed_at"].endswith("Z")
    again = sync.submit(headers=key, rows_expected=3, metadata={"note": "first"})
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
    assert again.json()["event_id"] == event["event_id"]
    assert sync.submit(headers=key, rows_expected=4).json()["type"] == f"{PROBLEM}idempotency-key-reused"
    assert sync.rows() == before + 3
    (intent, _) = [line for line in sync.running.audit("event_submit") if line["event_id"] == event["event_id"]]
    assert (intent["outcome"], intent["user_name"], intent["resource"]) == ("intent", "alice", sync.target)


@pytest.mark.parametrize(
    ("user", "changes", "said"),
    [
        ("alice", {"target_table": "dbo.airlines"}, "may not write to dbo.airlines"),
        ("alice", {"source_table": "elsewhere.a.b"}, "may not use elsewhere.a.b"),
        ("bob", {}, "may not write"),
        ("mute", {}, "no signing_key"),
    ],
)
def test_who_may_not_is_refused_at_once(sync: Sync, user: str, changes: dict[str, Any], said: str) -> None:
    """403 for the target, the source and a caller that no event can run as; nothing is inserted, the denial audited."""
    refused = sync.submit(user, **changes)
    assert refused.status_code == 403, refused.text
    assert said in refused.json()["detail"]
    assert sync.running.audit("permission_denied")[-1]["request_id"] == refused.json()["request_id"]
    submitted = {line["request_id"] for line in sync.running.audit("event_submit")}
    assert refused.json()["request_id"] not in submitted


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"metadata": {"user": "bob"}}, "body.metadata"),
        ({"metadata": {"signature": None}}, "body.metadata"),
        ({"metadata": {"User": "bob"}}, "body.metadata"),
        ({"metadata": {"timezone": "Mars/North"}}, "body"),
        ({"operation": "MERGE"}, "body.operation"),
        ({"operation": "UPDATE"}, "body"),
        ({"operation": "DELETE", "source_table": None}, "body"),
        ({"source_table": None}, "body"),
        ({"target_table": "orders"}, "body"),
        ({"event_id": " padded "}, "body"),
        ({"event_id": "a\u0000b"}, "body"),
        ({"primary_keys": ["a\u0000b"]}, "body"),
        ({"rows_expected": 2**31}, "body.rows_expected"),
        ({"priority": -(10**300)}, "body.priority"),
        ({"filter_conditions": {"id": 5}}, "body.filter_conditions.id"),
        ({"status": "completed"}, "body.status"),
    ],
    ids=str,
)
def test_an_event_that_makes_no_sense_is_not_submitted(sync: Sync, changes: dict[str, Any], where: str) -> None:
    """422 with the place."""
    answer = sync.submit(**changes)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["where"] == where


def test_a_source_that_is_not_there_is_told(sync: Sync) -> None:
    """422: its version can't be pinned."""
    answer = sync.submit(source_table=sync.source.rpartition(".")[0] + ".nosuch")
    assert answer.status_code == 422, answer.text
    assert "nosuch" in answer.json()["detail"]


def test_an_event_id_stands_for_one_event(sync: Sync) -> None:
    """The same event again is answered as it stands, another one is a 409; odd ids survive the path."""
    event_id = f"a/b?c#{uuid.uuid4()}'%ü"
    made = sync.submit(event_id=event_id)
    assert made.headers["Location"] == f"/sync/events/{quote(event_id, safe='')}"
    assert sync.running.client().get(made.headers["Location"]).json()["event_id"] == event_id
    assert sync.submit(event_id=event_id).status_code == 201
    other = sync.submit(event_id=event_id, priority=7)
    assert (other.status_code, other.json()["type"]) == (409, f"{PROBLEM}conflict")


def test_events_of_others_are_not_there(sync: Sync) -> None:
    """Who may neither read nor write the target gets 404, as for an id that never was; lists leave it out."""
    event_id = sync.submit().json()["event_id"]
    theirs = sync.running.client("bob")
    for method, path in (("GET", ""), ("POST", "/retry")):
        hidden = theirs.request(method, f"/sync/events/{event_id}{path}")
        never = theirs.request(method, f"/sync/events/{uuid.uuid4()}{path}")
        assert hidden.status_code == never.status_code == 404
        assert hidden.json() | {"request_id": ""} == never.json() | {"request_id": ""}
    assert theirs.get("/sync/events").json() == {"events": []}
    assert event_id in [event["event_id"] for event in sync.running.client("mute").get("/sync/events").json()["events"]]
    for odd in ("%00", "%ED%A0%80", "x" * 3000, "%20"):
        assert sync.running.client().get(f"/sync/events/{odd}").status_code == 404, odd


def test_a_list_reaches_past_events_that_are_not_the_callers(sync: Sync) -> None:
    """The newest of the caller's are found behind newer ones of others; the limit and the status hold."""
    mine = [sync.submit().json()["event_id"] for _ in range(2)]
    for event_id in mine:
        sync.ended(f"/sync/events/{event_id}")
    for number in range(5):
        sync.events.submit(EventRow(f"other-{uuid.uuid4()}", "INSERT", "a.b.c", "odd.table", priority=number))
    found = sync.running.client().get("/sync/events", params={"limit": 2, "status": "completed"}).json()["events"]
    assert {event["event_id"] for event in found} == set(mine)


def test_a_failed_event_goes_round_again(sync: Sync) -> None:
    """409 for one that is completed; one that failed is tried again once its key is sent, however often."""
    done = sync.submit().headers["Location"]
    assert sync.ended(done)["status"] == "completed"
    assert sync.running.client().post(f"{done}/retry").status_code == 409
    failed = sync.submit(operation="UPDATE", primary_keys=["nosuch"]).headers["Location"]
    assert sync.ended(failed)["status"] == "failed"
    key = {"Idempotency-Key": uuid.uuid4().hex}
    first = sync.running.client().post(f"{failed}/retry", headers=key)
    assert first.status_code == 200, first.text
    again = sync.running.client().post(f"{failed}/retry", headers=key)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert [line["outcome"] for line in sync.running.audit("event_retry")] == ["intent", "done"]
    assert sync.ended(failed)["status"] == "failed"
