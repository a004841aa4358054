"""The service's composition root: what all requests share, built once from the settings."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from dataclasses import dataclass, field
from functools import partial

import structlog
from fastapi import Request

from sql_databricks_bridge import __version__, composition
from sql_databricks_bridge.api import health_checks
from sql_databricks_bridge.api.authorization import Authorization
from sql_databricks_bridge.api.health_checks import HealthChecks, StillWorks
from sql_databricks_bridge.api.request_context import Network, parse_networks
from sql_databricks_bridge.api.threads import Threads
from sql_databricks_bridge.auth.audit import AuditLog
from sql_databricks_bridge.auth.audit_chain import FieldValue
from sql_databricks_bridge.auth.loader import PermissionsFile
from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.job_runner import JobHooks, JobRunner, RunnerOptions
from sql_databricks_bridge.core.ports import EventTable, Lakehouse, SqlServer
from sql_databricks_bridge.core.query_task import RunOptions
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from sql_databricks_bridge.db.job_store import SqlAlchemyJobStore
from sql_databricks_bridge.errors import AuditError
from sql_databricks_bridge.observability.metrics import Metrics, watch_retries
from sql_databricks_bridge.sync.poller import Poller

log = structlog.get_logger(__name__)

NEEDED = ("sqlserver_host", "sqlserver_database", "databricks_host")
"""Settings that the service can't do without; sync needs DATABRICKS_WAREHOUSE_ID too."""

_THREADS, _MOST_WAITING = 16, 64


@dataclass(frozen=True, slots=True)
class Service:
    """What all requests share. Nothing is connected before it is used.

    `near` are the threads for what is at hand (job store, permissions.yaml, audit log, query files), `far` those for
    SQL Server and Databricks. `poller` is None where this service applies no events. `started` is set once the job
    store is ready, `stopping` when the service begins to shut down.
    """

    settings: Settings
    sql_server: SqlServer
    lakehouse: DatabricksLakehouse
    store: SqlAlchemyJobStore
    permissions: PermissionsFile
    audit: AuditLog
    metrics: Metrics
    authorization: Authorization
    runner: JobRunner
    poller: Poller | None
    health: HealthChecks
    trusted_proxies: tuple[Network, ...]
    near: Threads = field(default_factory=lambda: Threads(_THREADS, _MOST_WAITING))
    far: Threads = field(default_factory=lambda: Threads(_THREADS, _MOST_WAITING))
    started: threading.Event = field(default_factory=threading.Event)
    stopping: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        """Take up nothing new; returns at once. What is in hand goes on: `Background.stop` waits for it."""
        self.stopping.set()
        self.runner.stop.set()
        if self.poller is not None:
            self.poller.stop.set()

    def note(self, event_type: str, *, action: str, outcome: str, **fields: FieldValue) -> None:
        """Add a line to the audit log that nothing depends on: a sign-in, a refusal, what came of a change.

        Where the log can't take it, reading goes on: the line goes to the service's own log, and is counted.
        """
        try:
            self.audit.write(event_type, action=action, outcome=outcome, durable=False, **fields)  # type: ignore[arg-type]  # `write` names them
        except AuditError as exc:
            self.metrics.audit_line_lost()
            lost = {"event_type": event_type, "action": action, "outcome": outcome, **fields}
            log.error("audit.line_lost", line=lost, why=str(exc))

    @property
    def events(self) -> EventTable:
        """The table of sync events; `SettingsError` where DATABRICKS_WAREHOUSE_ID is not set."""
        return composition.events_table(self.settings, self.lakehouse)


def build(settings: Settings) -> Service:
    """Build the service; `SettingsError` where the settings, or permissions.yaml, can't be right."""
    settings.require(*NEEDED)
    metrics = Metrics(__version__)
    watch_retries(metrics.retried)
    sql_server = composition.sql_server(settings)
    lakehouse = composition.lakehouse(settings, on_statement=metrics.statement, on_upload=metrics.uploaded)
    store = SqlAlchemyJobStore(settings.job_store_url)
    permissions = composition.permissions_file(settings)
    audit = composition.audit_log(settings)
    authorization = Authorization(sql_server, permissions, settings.sqlserver_host or "")
    poller = None
    if settings.poller_enabled:
        poller = composition.poller(
            settings,
            threading.Event(),
            lake=lakehouse,
            permissions=permissions,
            audit=audit,
            on_retry=metrics.retried,
        )
    return Service(
        settings=settings,
        sql_server=sql_server,
        lakehouse=lakehouse,
        store=store,
        permissions=permissions,
        audit=audit,
        metrics=metrics,
        authorization=authorization,
        runner=_runner(settings, store, sql_server, lakehouse, authorization, metrics),
        poller=poller,
        health=_health(settings, store, permissions, metrics),
        trusted_proxies=parse_networks(settings.trusted_proxies),
    )


def service_of(request: Request) -> Service:
    """The service that the request came to."""
    found: Service = request.app.state.service
    return found


def _runner(
    settings: Settings,
    store: SqlAlchemyJobStore,
    sql_server: SqlServer,
    lakehouse: Lakehouse,
    authorization: Authorization,
    metrics: Metrics,
) -> JobRunner:
    return JobRunner(
        store,
        sql_server,
        lakehouse,
        RunnerOptions(
            workers=settings.job_workers,
            lease_s=settings.job_lease_s,
            run=RunOptions(
                parallel=settings.job_parallel,
                spool_dir=settings.bridge_spool_dir,
                states=composition.states_name(settings),
            ),
        ),
        runner_name=f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}",
        authorize=authorization.again,
        hooks=JobHooks(query_ended=metrics.query_ended, job_ended=lambda job: metrics.job_ended(job.status)),
    )


def _health(
    settings: Settings, store: SqlAlchemyJobStore, permissions: PermissionsFile, metrics: Metrics
) -> HealthChecks:
    """Looks by clients of their own: the others have time to wait for work that takes long."""
    looking = health_checks.impatient(settings)
    watched = health_checks.dependencies(
        sql_server=composition.sql_server(looking),
        databricks=composition.lakehouse(looking).ping,
        job_store=store.ping,
        permissions=partial(_look_at, permissions),
    )
    return HealthChecks(watched, on_look=metrics.dependency)


def _look_at(permissions: PermissionsFile) -> None:
    if permissions.look().problem is not None:
        raise StillWorks("settings")  # the loader has logged what is wrong
