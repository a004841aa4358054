"""The settings, from environment variables and a .env file. Only the composition roots read them."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from dotenv.parser import parse_stream
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from sql_databricks_bridge.errors import SettingsError
from sql_databricks_bridge.models.names import Destination


class Environment(StrEnum):
    """Where the bridge runs; some guards are stricter in production."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


SqlAuthentication = Literal[
    "sql",
    "ActiveDirectoryDefault",
    "ActiveDirectoryServicePrincipal",
    "ActiveDirectoryMSI",
    "ActiveDirectoryInteractive",
    "ActiveDirectoryPassword",
    "ActiveDirectoryDeviceCode",
]


class Settings(BaseSettings):
    """Every setting; the variable's name is the field's in upper case (`sqlserver_host` is SQLSERVER_HOST)."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", env_ignore_empty=True, frozen=True
    )

    environment: Environment = Field(Environment.DEVELOPMENT, description="development, staging or production")
    debug: bool = Field(False, description="show more of an error than its message")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least level that is logged")

    sqlserver_host: str | None = Field(None, description="SQL Server's host name or address")
    sqlserver_port: int = Field(1433, ge=1, le=65535, description="SQL Server's TCP port")
    sqlserver_database: str | None = Field(None, description="database, where a country names none")
    sqlserver_username: str | None = Field(None, description="SQL login, or the client id of a service principal")
    sqlserver_password: SecretStr | None = Field(None, description="its password or secret")
    sqlserver_encrypt: Literal["yes", "no", "strict"] = Field("yes", description="TLS: yes, no or strict (TDS 8)")
    sqlserver_trust_server_certificate: bool = Field(False, description="skip the check of the server's certificate")
    sqlserver_server_certificate: Path | None = Field(None, description="file of the one certificate to accept")
    sqlserver_authentication: SqlAuthentication = Field("sql", description="sql, or an Entra mode")
    sqlserver_login_timeout_s: int = Field(15, ge=1, description="seconds to wait for a sign-in")
    sqlserver_query_timeout_s: int = Field(0, ge=0, description="seconds that a query may take, 0 without limit")

    databricks_host: str | None = Field(None, description="workspace address, https://...")
    databricks_token: SecretStr | None = Field(None, description="personal access token")
    databricks_client_id: str | None = Field(None, description="service principal's client id (OAuth M2M)")
    databricks_client_secret: SecretStr | None = Field(None, description="service principal's secret")
    databricks_catalog: str | None = Field(None, description="catalog of the volume that takes the files")
    databricks_schema: str | None = Field(None, description="its schema")
    databricks_volume: str | None = Field(None, description="the volume")
    databricks_warehouse_id: str | None = Field(None, description="SQL warehouse for statements")
    databricks_retry_timeout_s: int = Field(60, ge=1, description="seconds that the SDK retries a request")

    polling_interval_seconds: int = Field(10, ge=1, description="seconds between two polls of the events table")
    max_events_per_poll: int = Field(100, ge=1, description="events taken in one poll")
    polling_idle_max_seconds: int = Field(10, ge=1, description="longest pause that an idle poller slows down to")
    sync_principal: str | None = Field(None, description="user of permissions.yaml that unsigned events run as")
    sync_allow_unsigned: bool = Field(False, description="accept unsigned events in production too")
    sync_workers: int = Field(8, ge=1, le=64, description="target tables that one poller works on at a time")
    audit_key: SecretStr | None = Field(None, description="key of the audit log's chain of HMACs")

    serve_host: str = Field("127.0.0.1", description="address that `bridge serve` listens on")
    serve_port: int = Field(8000, ge=0, le=65535, description="its TCP port; 0 takes a free one")
    poller_enabled: bool = Field(False, description="whether `bridge serve` applies sync events too")
    scheduler_enabled: bool = Field(True, description="whether `bridge serve` runs the countries' schedules")
    schedule_principal: str | None = Field(None, description="user of permissions.yaml that scheduled jobs run as")
    trusted_proxies: str = Field("", description="networks whose X-Forwarded-For is believed: 10.0.0.0/8, 192.0.2.7")
    max_body_bytes: int = Field(1_048_576, ge=1024, description="largest request body")
    header_timeout_s: float = Field(10.0, gt=0, description="seconds that a client has to send a request's headers")
    body_timeout_s: float = Field(30.0, gt=0, description="seconds that it has for the body")
    rate_limit_per_minute: int = Field(600, ge=1, description="requests a minute that one token may make")
    failed_sign_ins_per_minute: int = Field(10, ge=1, description="failed sign-ins a minute from one address")
    job_store_url: SecretStr = Field(
        SecretStr("sqlite:///bridge-jobs.sqlite3"), description="the job store, as SQLAlchemy writes addresses"
    )
    job_workers: int = Field(2, ge=1, le=64, description="jobs that one service runs at a time")
    job_parallel: int = Field(2, ge=1, le=64, description="queries of one job at a time")
    job_queue_limit: int = Field(100, ge=1, description="jobs that may wait; more are refused")
    job_lease_s: float = Field(30.0, ge=1, description="seconds without a sign of life after which a job is taken over")
    job_retention_days: int = Field(90, ge=1, description="days that ended jobs are kept")
    allow_insecure: str = Field("", description="in production, what is allowed by name: debug, plain_tokens, tls")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="json, console, or auto: console in development on a terminal"
    )

    bridge_queries_dir: Path = Field(
        Path("queries"), validation_alias=AliasChoices("BRIDGE_QUERIES_DIR"), description="folder of the .sql files"
    )
    bridge_config_dir: Path = Field(
        Path("config"), validation_alias=AliasChoices("BRIDGE_CONFIG_DIR"), description="folder of the YAML files"
    )
    bridge_permissions_file: Path = Field(
        Path("config/permissions.yaml"),
        validation_alias=AliasChoices("BRIDGE_PERMISSIONS_FILE"),
        description="users, tokens and what they may do",
    )
    bridge_events_table: str = Field(
        "bridge.events.bridge_events",
        validation_alias=AliasChoices("BRIDGE_EVENTS_TABLE"),
        description="the Delta table of sync events",
    )
    bridge_state_table: str = Field(
        "bridge.state.publications",
        validation_alias=AliasChoices("BRIDGE_STATE_TABLE"),
        description="the Delta table of published tables' states and watermarks",
    )
    bridge_audit_dir: Path = Field(
        Path("audit"), validation_alias=AliasChoices("BRIDGE_AUDIT_DIR"), description="folder of the audit log's files"
    )
    bridge_spool_dir: Path | None = Field(
        None,
        validation_alias=AliasChoices("BRIDGE_SPOOL_DIR"),
        description="folder for parts on their way; a temporary one",
    )

    @field_validator("databricks_host")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is None:
            return None
        value = value.rstrip("/")
        return value if "://" in value else f"https://{value}"

    @field_validator("databricks_token", "databricks_client_id", "databricks_client_secret")
    @classmethod
    def _for_a_header(cls, value: SecretStr | str | None) -> SecretStr | str | None:
        """Drop the line end of a secret that was read from a file; the libraries would show all of it in an error."""
        if value is None:
            return None
        text = (value.get_secret_value() if isinstance(value, SecretStr) else value).strip()
        if not text.isascii() or not text.isprintable():
            raise ValueError("holds a line break or another character that no credential of Databricks has")
        return SecretStr(text) if isinstance(value, SecretStr) else text

    def require(self, *names: str) -> None:
        """Raise `SettingsError` naming every variable of `names` (field names) that is not set."""
        missing = [name.upper() for name in names if getattr(self, name) in (None, "")]
        if missing:
            raise SettingsError(
                f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set.",
                hint=f"Set {'it' if len(missing) == 1 else 'them'} in the environment or in a .env file here; "
                "`bridge check` shows what is needed.",
            )

    @property
    def default_destination(self) -> Destination | None:
        """The volume that DATABRICKS_CATALOG, _SCHEMA and _VOLUME name, None unless all three are set."""
        if self.databricks_catalog and self.databricks_schema and self.databricks_volume:
            return Destination(self.databricks_catalog, self.databricks_schema, self.databricks_volume)
        return None


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; a wrong value raises `SettingsError` that names the variable but not a secret's value.

    BRIDGE_ENV_FILE names another file than .env; empty, none is read.
    """
    env_file = os.environ.get("BRIDGE_ENV_FILE", ".env") or None
    if env_file is not None:
        _check_env_file(Path(env_file), must_exist="BRIDGE_ENV_FILE" in os.environ)
    try:
        return Settings(_env_file=env_file, **overrides)  # type: ignore[call-arg]  # pydantic-settings' own argument
    except ValidationError as exc:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in error['loc']).upper()}: {error['msg']}"
            for error in exc.errors(include_input=False, include_url=False)
        )
        raise SettingsError(f"Settings are wrong: {problems}.", hint="Mend the variable or the .env file.") from None


def _check_env_file(path: Path, *, must_exist: bool) -> None:
    """Refuse a .env file with lines that python-dotenv would skip: a setting that silently has no effect."""
    try:
        with path.open(encoding="utf-8") as file:
            wrong = [str(entry.original.line) for entry in parse_stream(file) if entry.error]
    except FileNotFoundError:
        if must_exist:
            raise SettingsError(f"BRIDGE_ENV_FILE: there is no file {path}.") from None
        return
    except UnicodeDecodeError as exc:
        raise SettingsError(f"{path} is not UTF-8 (byte {exc.start}).", hint="Save it as UTF-8.") from exc
    except OSError as exc:
        raise SettingsError(f"{path} can't be read: {exc.strerror or exc}.") from exc
    if wrong:
        raise SettingsError(
            f"{path}: line{'s' if len(wrong) > 1 else ''} {', '.join(wrong)} can't be understood.",
            hint="Write NAME=value, one a line; quote a value with blanks or # in it, and close the quote.",
        )
