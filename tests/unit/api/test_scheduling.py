"""Whether a service schedules at all: what SCHEDULER_ENABLED and SCHEDULE_PRINCIPAL say of it. Nothing is connected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from sql_databricks_bridge.api import dependencies, scheduling
from sql_databricks_bridge.core.config import load_settings
from sql_databricks_bridge.core.scheduler import Scheduler

Build = Callable[..., Scheduler | None]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    """Builds the scheduler of a service with one schedule and the user `robot`."""
    monkeypatch.setenv("BRIDGE_ENV_FILE", "")
    permissions = tmp_path / "permissions.yaml"
    permissions.write_text(f"users:\n- name: robot\n  token: sha256:{'0' * 64}\n")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "Peru.yaml").write_text('schedule: {cron: "0 2 * * *"}\n')
    with ExitStack() as stack:

        def scheduler(**changes: Any) -> Scheduler | None:
            settings = load_settings(
                sqlserver_host="127.0.0.1",
                sqlserver_database="d",
                databricks_host="http://127.0.0.1:9",
                databricks_token="t",
                job_store_url=f"sqlite:///{tmp_path / 'jobs.sqlite3'}",
                bridge_permissions_file=permissions,
                bridge_config_dir=tmp_path / "config",
                bridge_audit_dir=tmp_path / "audit",
                **changes,
            )
            service = dependencies.build(settings)
            stack.enter_context(closing(service.store))
            return scheduling.scheduler(service)

        yield scheduler


def warnings(build: Build, **changes: Any) -> tuple[Scheduler | None, list[str]]:
    with capture_logs() as logs:
        found = build(**changes)
    return found, [line["event"] for line in logs if line["event"].startswith("scheduler.")]


def test_with_a_user_to_run_as_schedules_are_run(build: Build) -> None:
    found, told = warnings(build, schedule_principal="robot")
    assert isinstance(found, Scheduler)
    assert told == []


def test_without_a_user_they_are_not_and_the_log_says_so(build: Build) -> None:
    assert warnings(build) == (None, ["scheduler.off"])


def test_a_replica_may_leave_them_to_others(build: Build) -> None:
    assert warnings(build, schedule_principal="robot", scheduler_enabled=False) == (None, [])


def test_a_user_who_is_not_there_is_told_at_the_start(build: Build) -> None:
    """It may come yet: permissions.yaml is read again when it changes."""
    found, told = warnings(build, schedule_principal="ghost")
    assert isinstance(found, Scheduler)
    assert told == ["scheduler.unknown_principal"]
