"""Where the command line builds its clients: the only place that reads settings."""

from __future__ import annotations

import datetime as dt
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sql_databricks_bridge.auth.loader import PermissionsFile
    from sql_databricks_bridge.core.config import Settings
    from sql_databricks_bridge.core.ports import EventTable
    from sql_databricks_bridge.db.databricks import DatabricksLakehouse
    from sql_databricks_bridge.db.sql_server import MssqlServer
    from sql_databricks_bridge.models.jobs import ExtractionPlan
    from sql_databricks_bridge.models.names import Destination
    from sql_databricks_bridge.models.tables import SourceName
    from sql_databricks_bridge.sync.operations import Operations
    from sql_databricks_bridge.sync.poller import Poller

CountryOption = Annotated[str, typer.Option("--country", "-c", metavar="NAME", help="Country: config/NAME.yaml.")]
QueriesDirOption = Annotated[
    Path | None, typer.Option("--queries-dir", metavar="DIR", help="Folder of the .sql files.", show_default="queries")
]
ConfigDirOption = Annotated[
    Path | None, typer.Option("--config-dir", metavar="DIR", help="Folder of the YAML files.", show_default="config")
]
DestinationOption = Annotated[
    str | None,
    typer.Option("--destination", metavar="CATALOG.SCHEMA.VOLUME", help="One of the volumes that the YAML allows."),
]
ParamOption = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="K=V", help="Value of a declared @K; repeat for several."),
]
LookbackOption = Annotated[
    int | None, typer.Option("--lookback-months", metavar="N", help="Length of the time window, 0 to 1200.")
]
SYNC_SETTINGS = ("sqlserver_host", "sqlserver_database", "databricks_host", "databricks_warehouse_id")
"""What every command that brings an event to SQL Server needs, told together where several are missing."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]


def settings(log_level: str = "WARNING") -> Settings:
    """Read the settings and set the log up: from `log_level` on, unless LOG_LEVEL says otherwise."""
    from sql_databricks_bridge.core.config import load_settings
    from sql_databricks_bridge.observability.logging import configure

    config = load_settings()
    configure(config.log_level if "log_level" in config.model_fields_set else log_level)
    return config


def sql_server(config: Settings, server: str | None = None) -> MssqlServer:
    """Build the SQL Server client; it connects when asked to, to `server` where a country names one."""
    from sql_databricks_bridge.db.sql_server import MssqlServer

    if server is None:
        config.require("sqlserver_host")
    return MssqlServer(config)


def lakehouse(config: Settings) -> DatabricksLakehouse:
    """Build the Databricks client; it signs in when first used."""
    from sql_databricks_bridge.db.databricks import DatabricksLakehouse

    return DatabricksLakehouse(config)


def events_table(config: Settings, lake: DatabricksLakehouse) -> EventTable:
    """The table of sync events that BRIDGE_EVENTS_TABLE names."""
    config.require("databricks_warehouse_id")
    return lake.events(events_table_name(config))


def events_table_name(config: Settings) -> SourceName:
    """What BRIDGE_EVENTS_TABLE names; `SettingsError` where that is no table's name."""
    from sql_databricks_bridge.errors import EventInvalid, SettingsError
    from sql_databricks_bridge.models.tables import SourceName

    try:
        return SourceName.parse(config.bridge_events_table, "BRIDGE_EVENTS_TABLE")
    except EventInvalid as exc:
        raise SettingsError(exc.message, hint=exc.hint) from exc


def permissions_file(config: Settings) -> PermissionsFile:
    """The users and what they may do; `SettingsError` where the file is missing or wrong."""
    from sql_databricks_bridge.auth.loader import PermissionsFile

    file = PermissionsFile(
        config.bridge_permissions_file,
        config.environment,
        server=config.sqlserver_host,
        database=config.sqlserver_database,
    )
    file.current()  # wrong from the start is told at the start, not when the first event comes
    return file


def operations(config: Settings, lake: DatabricksLakehouse, permissions: PermissionsFile) -> Operations:
    """What applies events, with the permissions and the audit log that the settings name."""
    from sql_databricks_bridge.auth.audit import AuditLog
    from sql_databricks_bridge.sync.operations import Operations, Policy

    key = config.audit_key.get_secret_value() if config.audit_key else None
    return Operations(
        lakehouse=lake,
        permissions=permissions.current,
        audit=AuditLog(config.bridge_audit_dir, key=key),
        policy=Policy(
            config.sync_principal,
            allow_unsigned=accepts_unsigned(config),
            server=config.sqlserver_host or "",
        ),
    )


def accepts_unsigned(config: Settings) -> bool:
    """Whether events that nobody signed may run at all."""
    from sql_databricks_bridge.core.config import Environment

    return config.sync_allow_unsigned or config.environment is not Environment.PRODUCTION


def poller(config: Settings, stop: threading.Event) -> Poller:
    """The poller, as the settings say; it connects when it runs."""
    from sql_databricks_bridge.core.config import Environment
    from sql_databricks_bridge.sync.poller import Poller, PollerOptions

    config.require(*SYNC_SETTINGS)
    lake = lakehouse(config)
    options = PollerOptions(
        max_events=config.max_events_per_poll,
        workers=config.sync_workers,
        interval_s=config.polling_interval_seconds,
        idle_max_s=max(config.polling_idle_max_seconds, config.polling_interval_seconds),
        create_ledger=config.environment is Environment.DEVELOPMENT,
    )
    events = events_table(config, lake)
    return Poller(sql_server(config), events, operations(config, lake, permissions_file(config)), options, stop=stop)


def destination_of(country: str, chosen: str | None, config: Settings, config_dir: Path | None) -> Destination:
    """The volume of a country's runs: `chosen` where the YAML allows it, else the YAML's first, else the settings'."""
    from sql_databricks_bridge.core.country_config import choose_destination, load_country

    loaded = load_country(config_dir or config.bridge_config_dir, country)
    return choose_destination(loaded, chosen, config.default_destination)


@dataclass(frozen=True, slots=True)
class Request:
    """What the options of `extract` and its relatives say about a run."""

    country: str
    queries: Sequence[str] = ()
    queries_dir: Path | None = None
    config_dir: Path | None = None
    destination: str | None = None
    param: Sequence[str] = ()
    lookback_months: int | None = None
    limit: int | None = None


def plan(config: Settings, request: Request, *, default_destination: Destination | None = None) -> ExtractionPlan:
    """Resolve a request into a plan: the clock, the random source and the settings meet here."""
    from sql_databricks_bridge.core import planning

    now = dt.datetime.now(dt.UTC)
    return planning.plan_extraction(
        queries_dir=request.queries_dir or config.bridge_queries_dir,
        config_dir=request.config_dir or config.bridge_config_dir,
        country=request.country,
        today=dt.date.today(),  # noqa: DTZ011  # the analyst's today, as a calendar on the wall has it
        run_id=planning.new_run_id(now, random.SystemRandom()),
        queries=request.queries,
        destination=request.destination,
        parameters=planning.parse_assignments(request.param),
        lookback_months=request.lookback_months,
        limit=request.limit,
        default_database=config.sqlserver_database,
        default_destination=config.default_destination or default_destination,
    )
