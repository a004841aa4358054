"""Where clients are built, for the command line and the service: the only place that reads settings."""

from __future__ import annotations

import datetime as dt
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sql_databricks_bridge.auth.audit import AuditLog
    from sql_databricks_bridge.auth.loader import PermissionsFile
    from sql_databricks_bridge.core.config import Settings
    from sql_databricks_bridge.core.ports import EventTable, Publisher
    from sql_databricks_bridge.db.databricks import DatabricksLakehouse
    from sql_databricks_bridge.db.sql_server import MssqlServer
    from sql_databricks_bridge.errors import BridgeError
    from sql_databricks_bridge.models.jobs import ExtractionPlan
    from sql_databricks_bridge.models.names import Destination
    from sql_databricks_bridge.models.partitions import AskedPartitions
    from sql_databricks_bridge.models.tables import SourceName
    from sql_databricks_bridge.sync.operations import Operations
    from sql_databricks_bridge.sync.poller import Poller

SYNC_SETTINGS = ("sqlserver_host", "sqlserver_database", "databricks_host", "databricks_warehouse_id")
"""What every command that brings an event to SQL Server needs, told together where several are missing."""


def settings(log_level: str = "WARNING") -> Settings:
    """Read the settings and set the log up: from `log_level` on, unless LOG_LEVEL says otherwise."""
    from sql_databricks_bridge.core.config import Environment, load_settings
    from sql_databricks_bridge.observability.logging import configure, style_of
    from sql_databricks_bridge.observability.redaction import secrets_of

    config = load_settings()
    configure(
        config.log_level if "log_level" in config.model_fields_set else log_level,
        style=style_of(config.log_format, production=config.environment is Environment.PRODUCTION),
        secrets=secrets_of(config),
    )
    return config


def redacted(text: str) -> str:
    """The text with every secret starred that this process knows, for what is kept beside the log."""
    from sql_databricks_bridge.observability.logging import redactor

    return redactor().text(text)


def sql_server(config: Settings, server: str | None = None) -> MssqlServer:
    """Build the SQL Server client; it connects when asked to, to `server` where a country names one."""
    from sql_databricks_bridge.db.sql_server import MssqlServer

    if server is None:
        config.require("sqlserver_host")
    return MssqlServer(config)


def lakehouse(
    config: Settings,
    *,
    on_statement: Callable[[str], None] | None = None,
    on_upload: Callable[[int, float], None] | None = None,
) -> DatabricksLakehouse:
    """Build the Databricks client; it signs in when first used. The hooks are for those who count."""
    from sql_databricks_bridge.db.databricks import DatabricksLakehouse

    return DatabricksLakehouse(config, on_statement=on_statement, on_upload=on_upload)


def events_table(config: Settings, lake: DatabricksLakehouse) -> EventTable:
    """The table of sync events that BRIDGE_EVENTS_TABLE names."""
    config.require("databricks_warehouse_id")
    return lake.events(events_table_name(config))


def events_table_name(config: Settings) -> SourceName:
    """What BRIDGE_EVENTS_TABLE names; `SettingsError` where that is no table's name."""
    return _table_name(config.bridge_events_table, "BRIDGE_EVENTS_TABLE")


def states_name(config: Settings) -> SourceName:
    """What BRIDGE_STATE_TABLE names; `SettingsError` where that is no table's name."""
    return _table_name(config.bridge_state_table, "BRIDGE_STATE_TABLE")


def publisher(config: Settings, lake: DatabricksLakehouse) -> Publisher:
    """What publishes Delta tables, with the table of states that the settings name."""
    config.require("databricks_warehouse_id")
    return lake.publisher(states_name(config))


def _table_name(text: str, variable: str) -> SourceName:
    from sql_databricks_bridge.errors import EventInvalid, SettingsError
    from sql_databricks_bridge.models.tables import SourceName

    try:
        return SourceName.parse(text, variable)
    except EventInvalid as exc:
        raise SettingsError(exc.message, hint=exc.hint) from exc


def permissions_file(config: Settings) -> PermissionsFile:
    """The users and what they may do; `SettingsError` where the file is missing or wrong."""
    from sql_databricks_bridge.auth.loader import PermissionsFile
    from sql_databricks_bridge.core.production import plain_tokens_allowed
    from sql_databricks_bridge.observability.logging import redactor

    file = PermissionsFile(
        config.bridge_permissions_file,
        config.environment,
        server=config.sqlserver_host,
        database=config.sqlserver_database,
        allow_plain_tokens=plain_tokens_allowed(config),
        on_secrets=lambda secrets: redactor().add(secrets),
    )
    file.current()  # wrong from the start is told at the start, not when the first event comes
    return file


def audit_log(config: Settings) -> AuditLog:
    """The audit log of this process; its first line makes the file."""
    from sql_databricks_bridge.auth.audit import AuditLog

    key = config.audit_key.get_secret_value() if config.audit_key else None
    return AuditLog(config.bridge_audit_dir, key=key)


def operations(
    config: Settings,
    lake: DatabricksLakehouse,
    permissions: PermissionsFile,
    audit: AuditLog | None = None,
    on_retry: Callable[[BridgeError], None] = lambda _: None,
) -> Operations:
    """What applies events, with the permissions and the audit log that the settings name, or a process shares."""
    from sql_databricks_bridge.sync.operations import Operations, Policy

    return Operations(
        lakehouse=lake,
        permissions=permissions.current,
        audit=audit or audit_log(config),
        policy=Policy(
            config.sync_principal,
            allow_unsigned=accepts_unsigned(config),
            server=config.sqlserver_host or "",
        ),
        on_retry=on_retry,
    )


def accepts_unsigned(config: Settings) -> bool:
    """Whether events that nobody signed may run at all."""
    from sql_databricks_bridge.core.config import Environment

    return config.sync_allow_unsigned or config.environment is not Environment.PRODUCTION


def poller(
    config: Settings,
    stop: threading.Event,
    *,
    lake: DatabricksLakehouse | None = None,
    permissions: PermissionsFile | None = None,
    audit: AuditLog | None = None,
    on_retry: Callable[[BridgeError], None] = lambda _: None,
) -> Poller:
    """The poller, as the settings say; it connects when it runs. A service hands it what it has of these already."""
    from sql_databricks_bridge.core.config import Environment
    from sql_databricks_bridge.sync.poller import Poller, PollerOptions

    config.require(*SYNC_SETTINGS)
    lake = lake or lakehouse(config)
    options = PollerOptions(
        max_events=config.max_events_per_poll,
        workers=config.sync_workers,
        interval_s=config.polling_interval_seconds,
        idle_max_s=max(config.polling_idle_max_seconds, config.polling_interval_seconds),
        create_ledger=config.environment is Environment.DEVELOPMENT,
    )
    events = events_table(config, lake)
    applying = operations(config, lake, permissions or permissions_file(config), audit, on_retry)
    return Poller(sql_server(config), events, applying, options, stop=stop)


def destination_of(country: str, chosen: str | None, config: Settings, config_dir: Path | None) -> Destination:
    """The volume of a country's runs: `chosen` where the YAML allows it, else the YAML's first, else the settings'."""
    from sql_databricks_bridge.core.country_config import choose_destination, load_country

    loaded = load_country(config_dir or config.bridge_config_dir, country)
    return choose_destination(loaded, chosen, config.default_destination)


@dataclass(frozen=True, slots=True)
class Request:
    """What the options of `extract`, its relatives and POST /extract say about a run."""

    country: str
    queries: Sequence[str] = ()
    queries_dir: Path | None = None
    config_dir: Path | None = None
    destination: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    lookback_months: int | None = None
    limit: int | None = None
    publish: bool | None = None
    strict: bool = False
    partitions: AskedPartitions | None = None
    today: dt.date | None = None
    """End of the time window; None means the calendar on this machine's wall."""


def plan(config: Settings, request: Request, *, default_destination: Destination | None = None) -> ExtractionPlan:
    """Resolve a request into a plan: the clock, the random source and the settings meet here."""
    from sql_databricks_bridge.core import planning

    now = dt.datetime.now(dt.UTC)
    resolved = planning.plan_extraction(
        queries_dir=request.queries_dir or config.bridge_queries_dir,
        config_dir=request.config_dir or config.bridge_config_dir,
        country=request.country,
        today=request.today or dt.date.today(),  # noqa: DTZ011  # the analyst's today
        run_id=planning.new_run_id(now, random.SystemRandom()),
        queries=request.queries,
        destination=request.destination,
        parameters=request.parameters,
        lookback_months=request.lookback_months,
        limit=request.limit,
        publish=request.publish,
        strict=request.strict,
        partitions=request.partitions,
        default_database=config.sqlserver_database,
        default_destination=config.default_destination or default_destination,
    )
    if any(query.publish for query in resolved.queries):
        config.require("databricks_warehouse_id")
    return resolved
