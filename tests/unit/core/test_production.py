"""What production refuses at the start."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from sql_databricks_bridge.core.config import Settings, load_settings
from sql_databricks_bridge.core.production import INSECURE_NAMES, check, plain_tokens_allowed
from sql_databricks_bridge.errors import SettingsError

SAFE: dict[str, Any] = {
    "environment": "production",
    "debug": False,
    "sqlserver_host": "sql.example.com",
    "sqlserver_encrypt": "yes",
    "sqlserver_trust_server_certificate": False,
    "databricks_host": "https://dbc.example.com",
    "audit_key": SecretStr("k" * 32),
}
INSECURE: list[tuple[dict[str, Any], str, str]] = [
    ({"debug": True}, "debug", "DEBUG"),
    ({"sqlserver_encrypt": "no"}, "tls", "SQLSERVER_ENCRYPT"),
    ({"sqlserver_trust_server_certificate": True}, "tls", "SQLSERVER_TRUST_SERVER_CERTIFICATE"),
    ({"databricks_host": "http://127.0.0.1:8080"}, "tls", "DATABRICKS_HOST"),
    ({"job_store_url": SecretStr("postgresql+psycopg://b:pw@db.corp/bridge")}, "tls", "JOB_STORE_URL"),
    ({"job_store_url": SecretStr("postgresql://b:pw@db.corp/bridge?sslmode=require")}, "tls", "JOB_STORE_URL"),
]


def settings(**changes: Any) -> Settings:
    return load_settings(**(SAFE | changes))


def test_safe_settings_pass_without_a_warning() -> None:
    """Production as it should be."""
    assert check(settings()) == ()


@pytest.mark.parametrize(("changes", "name", "variable"), INSECURE)
def test_production_refuses_each_insecure_setting_unless_it_is_allowed_by_name(
    changes: dict[str, Any], name: str, variable: str
) -> None:
    """The error names the variable and the name that would allow it; allowed, it is a warning; no other name helps."""
    with pytest.raises(SettingsError, match=variable) as caught:
        check(settings(**changes))
    assert f"ALLOW_INSECURE={name}" in (caught.value.hint or "")
    others = ",".join(other for other in INSECURE_NAMES if other != name)
    with pytest.raises(SettingsError, match=variable):
        check(settings(**changes, allow_insecure=others))
    (warning,) = check(settings(**changes, allow_insecure=f" {name.upper()} ,"))
    assert variable in warning


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg://b:pw@db.corp/bridge?sslmode=verify-full",
        "postgresql://b:pw@localhost/bridge",
        "postgresql://b@/bridge?host=/var/run/postgresql",
        "sqlite:////var/lib/bridge/jobs.sqlite3",
    ],
)
def test_a_job_store_that_is_here_or_proven_passes(address: str) -> None:
    """A file, a socket, loopback, a certificate that is checked."""
    assert check(settings(job_store_url=SecretStr(address))) == ()


def test_everything_insecure_is_told_at_once() -> None:
    """One start is enough to know all that is to be mended."""
    changes = {key: value for changes, _, _ in INSECURE for key, value in changes.items()}
    with pytest.raises(SettingsError) as caught:
        check(settings(**changes | {"sqlserver_encrypt": "yes"}))
    for variable in ("DEBUG", "SQLSERVER_TRUST_SERVER_CERTIFICATE", "DATABRICKS_HOST"):
        assert variable in caught.value.message
    assert "ALLOW_INSECURE=debug,tls" in (caught.value.hint or "")


@pytest.mark.parametrize("environment", ["development", "staging"])
def test_elsewhere_nothing_is_refused(environment: str) -> None:
    """A developer's sandbox is plain http with a certificate of its own."""
    changes = {key: value for changes, _, _ in INSECURE for key, value in changes.items()}
    assert check(settings(**changes, environment=environment, audit_key=None)) == ()


@pytest.mark.parametrize("environment", ["development", "production"])
def test_an_unknown_name_is_an_error_everywhere(environment: str) -> None:
    """A misspelt name must not wait for production to be noticed."""
    with pytest.raises(SettingsError, match="'tsl'"):
        check(settings(environment=environment, allow_insecure="debug, tsl"))


def test_a_missing_audit_key_is_a_warning() -> None:
    """The service runs; the log says what it costs."""
    (warning,) = check(settings(audit_key=None))
    assert "AUDIT_KEY" in warning


def test_plain_tokens_need_their_name_in_production_only() -> None:
    """What the reader of permissions.yaml asks."""
    assert plain_tokens_allowed(settings(environment="development"))
    assert not plain_tokens_allowed(settings(allow_insecure="tls,debug"))
    assert plain_tokens_allowed(settings(allow_insecure="plain_tokens"))
