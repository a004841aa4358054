"""`bridge schedule`: what a person, cron or Airflow sees of it."""

from __future__ import annotations

import datetime as dt
from contextlib import closing
from zoneinfo import ZoneInfo

import pytest

from sql_databricks_bridge.db.job_store import SqlAlchemyJobStore
from sql_databricks_bridge.models.schedules import Decision, Schedule
from tests.acceptance.conftest import Bridge, Workspace, statuses

YAML = """
database: Flights
schedule:
  - {name: night, cron: "30 2 * * *", timezone: Europe/Madrid, queries: [airlines]}
  - {name: all, cron: "0 * * * *"}
"""


@pytest.fixture
def scheduled(workspace: Workspace) -> Workspace:
    """A country with two schedules."""
    workspace.query("airlines", "SELECT carrier FROM dbo.airlines")
    workspace.yaml(workspace.country, YAML)
    return workspace


def test_list_shows_the_next_moments_by_both_clocks_and_the_last_one(bridge: Bridge, scheduled: Workspace) -> None:
    url = f"sqlite:///{scheduled.directory / 'jobs.sqlite3'}"
    due = dt.datetime(2026, 11, 24, 1, 30, tzinfo=dt.UTC)
    with closing(SqlAlchemyJobStore(url)) as store:
        store.upgrade()
        state = store.schedules.begin(Schedule(scheduled.country, "night", "30 2 * * *"), due - dt.timedelta(days=1))
        store.schedules.decide(state, due, Decision.SKIPPED, "job x is still running")
    document = bridge("schedule", "list", "--json", JOB_STORE_URL=url).document
    night, other = document["schedules"]
    assert [night["name"], other["name"], other["last"], document["problems"]] == ["night", "all", None, []]
    assert len(night["next"]) == 3
    for moment in night["next"]:
        local, utc = (dt.datetime.fromisoformat(moment[name]) for name in ("local", "utc"))
        assert local == utc
        assert utc > dt.datetime.now(dt.UTC)
        assert local.replace(tzinfo=None) == utc.astimezone(ZoneInfo("Europe/Madrid")).replace(tzinfo=None)
        assert (local.hour, local.minute) in ((2, 30), (3, 0))
    assert night["last"] == {
        "due": "2026-11-24T01:30:00+00:00",
        "outcome": "skipped",
        "reason": "job x is still running",
        "job_id": None,
        "job_status": None,
    }
    shown = bridge("schedule", "list", "-c", scheduled.country, JOB_STORE_URL="sqlite:///none.sqlite3").out
    assert f"{scheduled.country}/night" in shown
    assert not (scheduled.directory / "none.sqlite3").exists()  # to look for a job store does not make one


def test_check_tells_every_problem_and_exits_2(bridge: Bridge, scheduled: Workspace) -> None:
    scheduled.yaml("wrong", 'database: d\nschedule: [{cron: "x"}, {cron: "0 2 * * *", missed: y}]\n')
    scheduled.yaml("missing", 'database: d\nschedule: {cron: "0 2 * * *", queries: [nowhere]}\n')
    permissions = scheduled.directory / "permissions.yaml"
    permissions.write_text("users: []\n")
    done = bridge(
        *("schedule", "check", "--json"), SCHEDULE_PRINCIPAL="ghost", BRIDGE_PERMISSIONS_FILE=str(permissions)
    )
    assert (done.code, done.document["status"]) == (2, "wrong")
    told = "\n".join(done.document["problems"])
    for part in ("wrong.yaml:2: `cron`", "wrong.yaml:2: `missed`", "missing.yaml:2: missing/default", "'nowhere'"):
        assert part in told
    assert "no user 'ghost'" in told


def test_run_runs_a_schedule_s_queries_at_once_with_the_exit_codes_of_extract(
    bridge: Bridge, scheduled: Workspace
) -> None:
    """0 where all landed, 2 where there is nothing to run; 1 comes from the very function that `extract` calls."""
    country = scheduled.country
    done = bridge("schedule", "run", "-c", country, "--name", "night", "--json")
    assert (done.code, statuses(done.document)) == (0, {"airlines": "completed"})
    done = bridge("schedule", "run", "-c", country, "--name", "noon", "--json")
    assert done.code == 2
    assert "Its schedules: all, night." in done.document["error"]["hint"]
