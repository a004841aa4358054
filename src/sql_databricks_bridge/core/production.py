"""What the settings must not say in production, checked before the service starts."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from sql_databricks_bridge.core.config import Environment, Settings
from sql_databricks_bridge.errors import SettingsError

DEBUG = "debug"
PLAIN_TOKENS = "plain_tokens"
TLS = "tls"
INSECURE_NAMES = (DEBUG, PLAIN_TOKENS, TLS)
"""What ALLOW_INSECURE may name: DEBUG, plain tokens in permissions.yaml, connections that are not proven by TLS."""

_THIS_MACHINE = frozenset({"", "localhost", "127.0.0.1", "::1"})


def insecure_allowed(settings: Settings) -> frozenset[str]:
    """The names that ALLOW_INSECURE lists, separated by commas; `SettingsError` for one that means nothing."""
    names = [name.strip().lower() for name in settings.allow_insecure.split(",") if name.strip()]
    for name in names:
        if name not in INSECURE_NAMES:
            raise SettingsError(
                f"ALLOW_INSECURE: {name!r} is not known.",
                hint=f"It takes {', '.join(INSECURE_NAMES)}, separated by commas.",
            )
    return frozenset(names)


def plain_tokens_allowed(settings: Settings) -> bool:
    """Whether permissions.yaml may hold a token as it is; the reader of that file refuses it otherwise."""
    return settings.environment is not Environment.PRODUCTION or PLAIN_TOKENS in insecure_allowed(settings)


def check(settings: Settings) -> tuple[str, ...]:
    """Return warnings for the log; `SettingsError` naming everything at once that production does not allow.

    ALLOW_INSECURE is read everywhere, so that a misspelt name is told before production. Outside of it nothing is
    refused or warned about.
    """
    allowed = insecure_allowed(settings)
    if settings.environment is not Environment.PRODUCTION:
        return ()
    wrong = [(name, told) for name, told in _insecure(settings) if name not in allowed]
    if wrong:
        names = ", ".join(sorted({name for name, _ in wrong}))
        raise SettingsError(
            f"ENVIRONMENT is production, and {'; '.join(told for _, told in wrong)}.",
            hint=f"Mend it, or accept the risk by name: ALLOW_INSECURE={names.replace(' ', '')}.",
        )
    warnings = [f"ALLOW_INSECURE: {told}" for _, told in _insecure(settings)]
    if settings.audit_key is None:
        warnings.append("AUDIT_KEY is not set: who can write the audit log can also forge its chain of digests")
    return tuple(warnings)


def _insecure(settings: Settings) -> list[tuple[str, str]]:
    """Everything that needs a name in ALLOW_INSECURE, with what is wrong about it."""
    found: list[tuple[str, str]] = []
    if settings.debug:
        found.append((DEBUG, "DEBUG is on, which shows the inside of errors"))
    if settings.sqlserver_encrypt == "no":
        found.append((TLS, "SQLSERVER_ENCRYPT is no: rows and the password travel in the clear"))
    elif settings.sqlserver_trust_server_certificate:
        found.append((TLS, "SQLSERVER_TRUST_SERVER_CERTIFICATE is on: anybody can pose as SQL Server"))
    if settings.databricks_host is not None and urlsplit(settings.databricks_host).scheme.lower() != "https":
        found.append((TLS, "DATABRICKS_HOST is no https address: the token travels in the clear"))
    if _unproven_store(settings.job_store_url.get_secret_value()):
        found.append((TLS, "JOB_STORE_URL has no sslmode=verify-full: anybody can pose as the job store"))
    return found


def _unproven_store(address: str) -> bool:
    """Whether the job store is a PostgreSQL on another machine whose certificate nobody checks (libpq's default)."""
    try:
        url = urlsplit(address)
        query, host = parse_qs(url.query), url.hostname or ""
    except ValueError:
        return False  # the store says what is wrong with it
    host = host or query.get("host", [""])[-1]
    if not url.scheme.startswith("postgresql") or host.startswith("/") or host in _THIS_MACHINE:
        return False
    return query.get("sslmode", [""])[-1] not in ("verify-full", "verify-ca")
