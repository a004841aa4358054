"""Schedules of a running service: one job for each due moment, whichever replica sees it, with its user's rights."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.cron import Cron
from sql_databricks_bridge.db.job_store import SqlAlchemyJobStore
from sql_databricks_bridge.models.schedules import Decision, Schedule, ScheduleState
from tests.acceptance.service import Service, service, until

CRON = "0 0 * * *"


@pytest.fixture
def first(server_environment: dict[str, str], sqlserver_settings: Settings, tmp_path: Path) -> Iterator[Service]:
    """A service that is not started yet, with one query."""
    with service(server_environment, tmp_path, sqlserver_settings) as found:
        found.workspace.query("airlines", "SELECT carrier FROM dbo.airlines")
        found.workspace.query("flights", "SELECT TOP 1 flight FROM dbo.flights")
        yield found


def due_since_yesterday(running: Service, country: str, query: str) -> str:
    """Write a schedule that is due now: it was seen two days ago, and catches up. Its job's id."""
    schedule = Schedule(country, "default", CRON)
    now = dt.datetime.now(dt.UTC)
    with closing(SqlAlchemyJobStore(running.environment["JOB_STORE_URL"])) as store:
        store.upgrade()
        store.schedules.begin(schedule, now - dt.timedelta(days=2))
    running.workspace.yaml(
        country, f'database: Flights\nschedule: {{cron: "{CRON}", queries: [{query}], missed: catch_up}}\n'
    )
    newest = Cron(CRON, "UTC").newest(now - dt.timedelta(days=2), now)
    assert newest is not None
    return schedule.job_id(newest.due)


def state(running: Service, country: str) -> ScheduleState:
    with closing(SqlAlchemyJobStore(running.environment["JOB_STORE_URL"])) as store:
        (found,) = [item for item in store.schedules.states() if item.country == country]
        return found


def job_ids(running: Service) -> list[str]:
    return [job["job_id"] for job in running.client().get("/jobs").json()["jobs"]]


def test_of_two_replicas_one_queues_what_is_due(first: Service) -> None:
    """Both look at their start: one job, audited. A file that comes later is seen by the one that is left."""
    country = first.workspace.country
    job_id = due_since_yesterday(first, country, "airlines")
    second = replace(first, process=None, url="", clients={})
    try:
        with ThreadPoolExecutor(2) as at_once:
            list(at_once.map(lambda replica: replica.start(SCHEDULE_PRINCIPAL="alice"), (first, second)))
        until(lambda: job_id in job_ids(second), "queued")
        assert second.ended(job_id)["status"] == "completed"
        first.kill()
        later = f"{country}later"
        later_id = due_since_yesterday(first, later, "airlines")
        until(lambda: later_id in job_ids(second), "queued")  # so it has looked at both
        assert sorted(job_ids(second)) == sorted([job_id, later_id])
        lines = [line for line in first.audit("schedule_due") if line["resource"] == f"{country}/default"]
        done = [(line["job_id"], line["user_name"]) for line in lines if line["outcome"] == "done"]
        assert done == [(job_id, "alice")]
        assert lines[0]["outcome"] == "intent"
        assert 'bridge_schedule_dues_total{outcome="queued"}' in second.client(None).get("/metrics").text
        assert second.terminate() == 0
    finally:
        second.close()


def test_a_scheduled_job_has_the_rights_of_its_user_alone(first: Service) -> None:
    """bob may not read dbo.flights: nothing is queued, and the refusal is audited."""
    country = first.workspace.country
    due_since_yesterday(first, country, "flights")
    first.start(SCHEDULE_PRINCIPAL="bob")
    until(lambda: state(first, country).decision is Decision.REFUSED, "refused")
    assert job_ids(first) == []
    assert "dbo.flights" in (state(first, country).reason or "")
    refused = until(lambda: first.audit("schedule_due"), "audited")
    assert [(line["outcome"], line["user_name"], line["resource"]) for line in refused] == [
        ("refused", "bob", f"{country}/default")
    ]
    assert first.audit("permission_denied")[0]["user_name"] == "bob"
