"""Scheduled jobs: made as POST /extract makes them, for the user that SCHEDULE_PRINCIPAL names."""

from __future__ import annotations

import dataclasses
import uuid

import structlog

from sql_databricks_bridge import composition
from sql_databricks_bridge.api import auditing
from sql_databricks_bridge.api.dependencies import Service
from sql_databricks_bridge.api.planning import own_folders
from sql_databricks_bridge.api.sign_in import Caller
from sql_databricks_bridge.core.schedule_files import ScheduleFiles
from sql_databricks_bridge.core.scheduler import Commit, Due, Scheduler, SchedulerOptions
from sql_databricks_bridge.errors import NotPermitted
from sql_databricks_bridge.models.job_records import Job, NewJob
from sql_databricks_bridge.models.schedules import Decision

log = structlog.get_logger(__name__)

EVENT_TYPE = "schedule_due"
"""What the audit log calls a due moment."""


def scheduler(service: Service) -> Scheduler | None:
    """The scheduler of this service; None where the settings want none. Schedules that nobody runs are warned of."""
    settings = service.settings
    if not settings.scheduler_enabled:
        return None
    files = ScheduleFiles(settings.bridge_config_dir)
    if not settings.schedule_principal:
        if found := files.read().schedules:
            log.warning(
                "scheduler.off",
                schedules=[schedule.label for schedule in found],
                hint="Set SCHEDULE_PRINCIPAL to the user of permissions.yaml that they run as.",
            )
        return None
    if service.permissions.current().user(settings.schedule_principal) is None:
        log.error("scheduler.unknown_principal", user=settings.schedule_principal, effect="what is due is refused")

    def decided(due: Due, decision: Decision, reason: str | None) -> None:
        service.metrics.schedule_decided(decision)
        if decision is not Decision.QUEUED:  # that one is told when it happens
            service.note(
                EVENT_TYPE,
                user_name=settings.schedule_principal,
                resource=due.schedule.label,
                action=EVENT_TYPE,
                outcome=decision.value,
                due=due.moment.isoformat(),
                reason=reason,
            )

    return Scheduler(
        lambda: files.read().schedules,
        service.store.schedules,
        service.store.get,
        lambda due, commit: launch(service, due, commit),
        SchedulerOptions(queue_limit=settings.job_queue_limit),
        on_decided=decided,
        stop=service.stopping,
    )


def launch(service: Service, due: Due, commit: Commit) -> Job:
    """Plan, authorize and queue the job of a due moment.

    `UsageError` where it can't be planned, `NotPermitted` where its user may not read a table or is not there, a
    `Transient` or `AuditError` where it may be made later, and what `commit` raises.
    """
    settings, schedule = service.settings, due.schedule
    caller = _principal(service)
    own_folders(settings)
    request = composition.Request(
        country=schedule.country, queries=schedule.queries, publish=schedule.publish, today=due.today
    )
    plan = dataclasses.replace(composition.plan(settings, request), run_id=due.job_id)
    with auditing.denials(service, caller, "extract", schedule.label):
        tables = service.authorization.tables(caller.user, caller.permissions, plan)
    with auditing.mutation(
        service,
        caller,
        EVENT_TYPE,
        schedule.label,
        job_id=due.job_id,
        due=due.moment.isoformat(),
        tables=", ".join(tables),
    ):
        job = commit(NewJob(caller.user.name, plan, tables, caller.request_id))
    service.runner.wake()
    return job


def _principal(service: Service) -> Caller:
    permissions = service.permissions.current()
    name = service.settings.schedule_principal or ""
    user = permissions.user(name)
    if user is None:
        raise NotPermitted(
            f"SCHEDULE_PRINCIPAL: there is no user {name!r} in permissions.yaml.", hint="Name one that is there."
        )
    return Caller(user, permissions, uuid.uuid4().hex, None)
