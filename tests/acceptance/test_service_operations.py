"""What an operator meets: a service that can't start, tokens that come and go, a full disk, counters that count."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sql_databricks_bridge import composition
from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from tests.acceptance.conftest import Bridge
from tests.acceptance.service import TOKENS, WAIT_S, Service, service, until
from tests.conftest import StandIn
from tests.integration.sync_support import driver_connection


@pytest.fixture(scope="module")
def running(
    server_environment: dict[str, str],
    sqlserver_settings: Settings,
    lakehouse_settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    """A service with a poller, a target table, and a query."""
    with service(server_environment, tmp_path_factory.mktemp("operations"), sqlserver_settings) as found:
        found.workspace.query("airlines", "SELECT carrier, name FROM dbo.airlines")
        with closing(driver_connection(sqlserver_settings)) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(f"CREATE TABLE {found.schema}.orders (id int NOT NULL, name nvarchar(20) NULL)")
        lakehouse = DatabricksLakehouse(lakehouse_settings)
        changed = sqlserver_settings.model_copy(
            update={"bridge_events_table": found.environment["BRIDGE_EVENTS_TABLE"], "databricks_warehouse_id": "set"}
        )
        composition.events_table(changed, lakehouse).create()
        found.start(
            POLLER_ENABLED="true", POLLING_INTERVAL_SECONDS="1", HEADER_TIMEOUT_S="1", SCHEDULE_PRINCIPAL="alice"
        )
        yield found
    lakehouse.execute(f"DROP TABLE {found.environment['BRIDGE_EVENTS_TABLE']}")


def samples(running: Service) -> dict[str, float]:
    """Every sample of /metrics by its name, labels added up."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(running.client(None).get("/metrics").text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def raw(running: Service, sent: bytes) -> bytes:
    """All that comes back for those bytes, until the server closes."""
    url = httpx.URL(running.url)
    with socket.create_connection((url.host, url.port or 80), timeout=WAIT_S) as opened:
        opened.sendall(sent)
        pieces = []
        while piece := opened.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


@contextlib.contextmanager
def permissions(running: Service, change: Callable[[str], str]) -> Iterator[Path]:
    """permissions.yaml changed, as editors do it: another file takes its place; put back afterwards."""
    file = Path(running.environment["BRIDGE_PERMISSIONS_FILE"])
    before = file.read_text()

    def put(text: str) -> None:
        fresh = file.with_name("permissions.new")
        fresh.write_text(text)
        fresh.replace(file)

    put(change(before))
    try:
        yield file
    finally:
        put(before)


@contextlib.contextmanager
def no_audit_log(running: Service) -> Iterator[None]:
    """A file stands where the audit log's folder was."""
    folder, away = running.directory / "audit", running.directory / "audit-away"
    folder.rename(away)
    folder.write_text("")
    try:
        yield
    finally:
        folder.unlink()
        away.rename(folder)


# Starting --------------------------------------------------------------------------------------------------------


def test_an_audit_log_that_cannot_be_written_is_told_at_the_start(bridge: Bridge, running: Service) -> None:
    """Exit code 1, the folder, what to do: else the first to learn of it is who wants to change something."""
    changes: dict[str, str | None] = {
        "BRIDGE_PERMISSIONS_FILE": running.environment["BRIDGE_PERMISSIONS_FILE"],
        "BRIDGE_AUDIT_DIR": "/dev/null/audit",
    }
    done = bridge("serve", "--port", "0", **changes)
    assert (done.code, done.out) == (1, "")
    assert "The audit log in /dev/null/audit can't be written" in done.err
    assert "BRIDGE_AUDIT_DIR" in done.err


def test_a_start_and_an_end_are_in_the_audit_log(running: Service) -> None:
    """So that a log which says nothing can be told from a service that was down."""
    assert [line["outcome"] for line in running.audit("service")] == ["started"]


# Tokens ----------------------------------------------------------------------------------------------------------


def test_a_withdrawn_token_ends_its_streams_while_its_user_goes_on(running: Service, lakehouse_faults: StandIn) -> None:
    """The leaked one of two live tokens is taken out: its stream ends, its requests are 401; the other one works."""
    leaked = f"leaked-{uuid.uuid4().hex}"
    old = hashlib.sha256(TOKENS["alice"].encode()).hexdigest()
    new = hashlib.sha256(leaked.encode()).hexdigest()
    both = f'tokens: ["sha256:{old}", "sha256:{new}"]'
    with permissions(running, lambda text: text.replace(f'token: "sha256:{old}"', both)):
        thief = {"Authorization": f"Bearer {leaked}"}
        stranger = running.client(None)
        until(lambda: stranger.get("/jobs", headers=thief).status_code == 200, "taken over")
        held = lakehouse_faults.fault(match={"path_contains": "part-", "method": "PUT"}, on=1, action={"delay_s": 8})
        job = running.client().post("/extract", json={"country": running.workspace.country}).json()["job_id"]
        lakehouse_faults.wait_for(held)
        with stranger.stream("GET", f"/jobs/{job}/events", headers=thief) as stream:
            lines = stream.iter_lines()
            next(lines)
            with permissions(running, lambda text: text.replace(f', "sha256:{new}"', "")):
                told = "\n".join(lines)  # ends by itself
                assert '"status":"completed"' not in told
                assert running.client().get(f"/jobs/{job}").json()["finished_at"] is None
                assert stranger.get("/jobs", headers=thief).status_code == 401
    running.client().delete(f"/jobs/{job}")


def test_a_broken_permissions_file_is_told_and_keeps_the_last_good_one(running: Service) -> None:
    """Who could sign in still can; readiness stays 200, so that no typo takes every replica away, and names it."""

    def found() -> dict[str, Any]:
        answer = running.client(None).get("/health/ready")
        (one,) = [one for one in answer.json()["dependencies"] if one["name"] == "permissions"]
        return {"http": answer.status_code, **one}

    until(lambda: found()["http"] == 200, "ready")
    with permissions(running, lambda text: text.replace("end: true", "")):
        until(lambda: found()["problem"] == "settings", "told")
        assert (found()["http"], found()["status"]) == (200, "up")
        assert running.client().get("/jobs").status_code == 200
        up = 'bridge_dependency_up{name="permissions"} 0.0'
        assert up in running.client(None).get("/metrics").text
    until(lambda: found()["problem"] is None, "mended")


# The audit log ---------------------------------------------------------------------------------------------------


def test_reading_goes_on_while_the_audit_log_is_full(running: Service) -> None:
    """Its lines go to the service's log, and are counted; a refusal stays a refusal; a change is refused."""
    before = samples(running)["bridge_audit_lines_lost_total"]
    with no_audit_log(running):
        answers = [
            running.client().get("/jobs"),
            running.client(None).get("/jobs"),
            running.client("bob").post("/extract", json={"country": running.workspace.country, "queries": ["x"]}),
            running.client().post("/extract", json={"country": running.workspace.country}),
        ]
    assert [answer.status_code for answer in answers] == [200, 401, 422, 503]
    assert samples(running)["bridge_audit_lines_lost_total"] >= before + 4
    lost = [json.loads(line) for line in running.log.splitlines() if '"audit.line_lost"' in line]
    assert {("auth_success", "alice"), ("auth_failure", None)} <= {
        (one["line"]["event_type"], one["line"]["user_name"]) for one in lost
    }


# What is counted -------------------------------------------------------------------------------------------------


def test_what_is_refused_before_a_request_is_read_has_an_id_a_line_and_a_count(running: Service) -> None:
    """No HTTP, and headers that do not come: the response's id is the log's, the status is counted."""
    for sent, status in ((b"\x16\x03\x01\r\n\r\n", 400), (b"GET / HTTP/1.1\r\n", 408)):
        head, _, body = raw(running, sent).partition(b"\r\n\r\n")
        problem = json.loads(body)
        assert f"X-Request-ID: {problem['request_id']}".encode() in head
        lines = [json.loads(line) for line in running.log.splitlines() if problem["request_id"] in line]
        assert [(line["event"], line["status"], line["client"]) for line in lines] == [
            ("connection.refused", status, "127.0.0.1")
        ]
        count = f'bridge_http_requests_total{{method="other",route="other",status="{status}"}}'
        assert count in running.client(None).get("/metrics").text


def test_every_documented_metric_moves(
    running: Service, sqlserver_settings: Settings, sqlserver_faults: StandIn
) -> None:
    """A job, an event that is tried again, refusals and a lost line: no metric of docs/service.md stays at nothing."""
    documented = {
        line.split("`")[1]
        for line in Path(__file__).parents[2].joinpath("docs/service.md").read_text().splitlines()
        if line.startswith("| `bridge_")
    }
    job = running.client().post("/extract", json={"country": running.workspace.country}).json()["job_id"]
    assert running.ended(job)["status"] == "completed"
    assert running.client("mute").post("/extract", json={"country": running.workspace.country}).status_code == 403
    assert running.client(None).get("/jobs").status_code == 401
    with no_audit_log(running):
        running.client().get("/jobs")
    deadlock = {"error": 1205, "message": "Chosen as the deadlock victim.", "severity": 13}
    ledger_row = {"kind": "rpc", "statement_contains": "INSERT INTO bridge.applied_events"}
    sqlserver_faults.fault(match=ledger_row, on=1, action=deadlock)
    with closing(driver_connection(sqlserver_settings)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute(f"INSERT INTO {running.schema}.orders VALUES (7, 'seven')")
    event = running.client().post(
        "/sync/events",
        json={
            "operation": "DELETE",
            "target_table": f"{running.schema}.orders",
            "filter_conditions": {"id": "7"},
        },
    )
    assert event.status_code == 201, event.text
    where = event.headers["Location"]
    ended = until(
        lambda: (found := running.client().get(where).json())["status"] not in ("pending", "processing") and found,
        "applied",
    )
    assert ended["status"] == "completed", ended
    country = f"{running.workspace.country}Due"  # what is newly seen looks back a few minutes
    running.workspace.yaml(country, 'database: Flights\nschedule: {cron: "* * * * *", queries: [airlines]}\n')
    until(lambda: _unmoved(running, documented) <= {"bridge_job_queue"}, "counted")  # that one is a moment's
    (running.workspace.directory / "config" / f"{country}.yaml").unlink()
    assert 'bridge_retries_total{cause="SourceBusy"}' in running.client(None).get("/metrics").text


def _unmoved(running: Service, names: set[str]) -> set[str]:
    """Those that no sample of says more than 0."""
    found = samples(running)
    return {name for name in names if not (found.get(name) or found.get(f"{name}_count"))}
