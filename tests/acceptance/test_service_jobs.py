"""Jobs of a running service: seen by their own user, listed in pages, cancelled, and finished whatever happens."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sql_databricks_bridge.core.config import Settings
from tests.acceptance.service import Service, service
from tests.conftest import StandIn


@pytest.fixture(scope="module")
def running(
    server_environment: dict[str, str], sqlserver_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A service that runs one job at a time."""
    with service(server_environment, tmp_path_factory.mktemp("jobs"), sqlserver_settings) as found:
        found.workspace.query("airlines", "SELECT carrier FROM dbo.airlines")
        found.start(JOB_WORKERS="1")
        yield found


def queued(running: Service, user: str = "alice", **body: Any) -> str:
    """Queue an extraction; its id."""
    answer = running.client(user).post("/extract", json={"country": running.workspace.country, **body})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def test_a_user_sees_its_own_jobs_alone(running: Service) -> None:
    """Another user's job is 404 by every way, as one that never was; the attempt is audited."""
    job_id = queued(running)
    theirs, nobody = running.client("bob"), "20200101T000000Z-000000"
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/events")):
        other = theirs.request(method, f"/jobs/{job_id}{path}")
        never = theirs.request(method, f"/jobs/{nobody}{path}")
        assert other.status_code == never.status_code == 404
        assert other.json() | {"request_id": ""} == never.json() | {"request_id": ""}
    assert job_id not in json.dumps(theirs.get("/jobs").json())
    assert running.audit("permission_denied")[-1]["resource"] == f"/jobs/{job_id}"
    assert running.ended(job_id)["status"] == "completed"


def test_jobs_are_listed_newest_first_in_pages(running: Service) -> None:
    """Every job comes once, the newest first, however small the pages; filters hold on each."""
    made = [queued(running) for _ in range(5)]
    for job_id in made:
        running.ended(job_id)
    client, seen, cursor = running.client(), [], None
    while True:
        query = {"limit": "2", "status": "completed", "country": running.workspace.country}
        page = client.get("/jobs", params=query | ({"cursor": cursor} if cursor else {})).json()
        seen += [job["job_id"] for job in page["jobs"]]
        assert len(page["jobs"]) <= 2
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen[: len(made)] == made[::-1]
    assert len(set(seen)) == len(seen)
    assert client.get("/jobs", params={"status": "failed"}).json() == {"jobs": [], "next_cursor": None}


@pytest.mark.parametrize(
    "query",
    [
        *({"cursor": "x"}, {"cursor": "é"}, {"cursor": "W10"}, {"cursor": "WyIyMDI2LTAxLTAxIiwgIngiXQ"}),
        *({"limit": "0"}, {"limit": "201"}, {"limit": "9" * 5000}),
        *({"status": "done"}, {"statsu": "failed"}, {"country": ""}),
    ],
    ids=lambda query: str(query)[:40],
)
def test_a_wrong_query_string_is_told(running: Service, query: dict[str, str]) -> None:
    """422 with its place: made-up cursors, limits out of range, unknown names."""
    answer = running.client().get("/jobs", params=query)
    assert answer.status_code == 422
    (name,) = query
    assert answer.json()["errors"][0]["where"] == f"query.{name}"


def test_odd_ids_are_not_found(running: Service) -> None:
    """404 without asking the store, whatever stands in the path."""
    for odd in ("%00", "%ED%A0%80", "x" * 3000, "%27%3B--", "..%2F..", "a%20b"):
        assert running.client().get(f"/jobs/{odd}").status_code == 404, odd


def test_a_running_job_is_stopped_and_a_waiting_one_ends_at_once(running: Service, lakehouse_faults: StandIn) -> None:
    """DELETE answers 202 for both, again for a cancelled one, and 409 for one that had ended otherwise."""
    client = running.client()
    done = queued(running)
    assert running.ended(done)["status"] == "completed"
    rule = lakehouse_faults.fault(match={"method": "PUT", "path_contains": running.workspace.country},
                                  times=None, action={"delay_s": 60})  # fmt: skip
    busy, waiting = queued(running), queued(running)
    lakehouse_faults.wait_for(rule)
    ended = client.delete(f"/jobs/{waiting}")
    assert (ended.status_code, ended.json()["status"]) == (202, "cancelled")
    asked = client.delete(f"/jobs/{busy}")
    assert (asked.status_code, asked.json()["cancel_requested"]) == (202, True)
    assert running.ended(busy)["status"] == "cancelled"
    assert client.delete(f"/jobs/{busy}").status_code == 202
    assert client.delete(f"/jobs/{done}").status_code == 409
    assert [line["outcome"] for line in running.audit("job_cancel")] == ["intent", "done"] * 2


def test_a_stream_begins_with_the_job_as_it_stands_and_counts_on(running: Service) -> None:
    """`event: job`, ids that follow Last-Event-ID, one state for one that has ended, then the end."""
    job_id = queued(running)
    running.ended(job_id)
    with running.client().stream("GET", f"/jobs/{job_id}/events", headers={"Last-Event-ID": "41"}) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line]
    fields = dict(line.split(": ", 1) for line in lines)
    assert (fields["event"], fields["id"], len(lines)) == ("job", "42", 3)
    assert json.loads(fields["data"])["status"] == "completed"


def test_the_service_ends_in_order_and_the_next_one_finishes_its_job(
    server_environment: dict[str, str],
    sqlserver_settings: Settings,
    lakehouse_faults: StandIn,
    tmp_path: Path,
) -> None:
    """SIGTERM with a job and a stream under way: code 0, the stream ends; the job is done by the next service."""
    with service(server_environment, tmp_path, sqlserver_settings) as found:
        found.workspace.query("airlines", "SELECT carrier FROM dbo.airlines")
        found.start()
        rule = lakehouse_faults.fault(match={"method": "PUT", "path_contains": f"{found.workspace.country}/airlines"},
                                      action={"delay_s": 60})  # fmt: skip
        job_id = queued(found)
        lakehouse_faults.wait_for(rule)
        stream = found.follow(job_id)
        assert next(stream)["status"] in ("queued", "running")
        began = time.monotonic()
        assert found.terminate() == 0
        assert time.monotonic() - began < 25
        assert all(state["status"] != "completed" for state in stream)
        found.start()
        job = found.ended(job_id)
        assert (job["status"], job["attempt"]) == ("completed", 2)
        assert job["queries"][0]["rows"] == 16


def test_a_right_that_was_taken_back_stops_a_job_that_waits(
    server_environment: dict[str, str],
    sqlserver_settings: Settings,
    lakehouse_faults: StandIn,
    tmp_path: Path,
) -> None:
    """The job is checked again when it is taken up: it fails, and lands nothing."""
    with service(server_environment, tmp_path, sqlserver_settings) as found:
        found.workspace.query("airlines", "SELECT carrier FROM dbo.airlines")
        found.start(JOB_WORKERS="1")
        rule = lakehouse_faults.fault(match={"method": "PUT", "path_contains": found.workspace.country},
                                      action={"delay_s": 60})  # fmt: skip
        first = queued(found)
        lakehouse_faults.wait_for(rule)
        second = queued(found, "bob")
        permissions = tmp_path / "permissions.yaml"
        permissions.write_text(permissions.read_text().replace('"dbo.airlines"', '"dbo.planes"'))
        found.client().delete(f"/jobs/{first}")
        job = found.ended(second, "bob")
        assert job["status"] == "failed"
        assert "airlines" in job["error"]
        assert job["queries"][0]["path"] is None
