"""The connection string for Microsoft's driver, from the settings."""

from __future__ import annotations

import re

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.identifiers import odbc_value
from sql_databricks_bridge.errors import SettingsError

_SERVER = re.compile(r"(?P<host>[^,;{}\s]+)(?:,(?P<port>[0-9]{1,5}))?\Z")
_NEEDS_USER = ("sql", "ActiveDirectoryPassword", "ActiveDirectoryServicePrincipal")


def connection_string(settings: Settings, *, database: str | None = None, server: str | None = None) -> str:
    """Build it; `server` ('host' or 'host,port') and `database` win over the settings. Holds the password.

    `SettingsError` names what is missing.
    """
    settings.require(*(() if server else ("sqlserver_host",)))
    if settings.sqlserver_authentication in _NEEDS_USER:
        settings.require("sqlserver_username", "sqlserver_password")
    parts = {
        "Server": server_address(settings, server),
        "Database": database or settings.sqlserver_database,
        "Encrypt": settings.sqlserver_encrypt,
        "TrustServerCertificate": "yes" if settings.sqlserver_trust_server_certificate else "no",
        "ServerCertificate": str(settings.sqlserver_server_certificate or "") or None,
        "UID": settings.sqlserver_username,
        "PWD": settings.sqlserver_password.get_secret_value() if settings.sqlserver_password else None,
        "Authentication": None if settings.sqlserver_authentication == "sql" else settings.sqlserver_authentication,
        # A connection that comes back to life by itself would have lost its isolation level and its transaction.
        "ConnectRetryCount": "0",
    }
    if settings.sqlserver_authentication in ("ActiveDirectoryMSI", "ActiveDirectoryDefault"):
        del parts["PWD"]
    try:
        return ";".join(f"{key}={odbc_value(value)}" for key, value in parts.items() if value)
    except ValueError as exc:
        raise SettingsError(f"A SQLSERVER_ setting is not usable: {exc}.") from None


def server_address(settings: Settings, server: str | None = None) -> str:
    """Return 'host,port'; a named instance (host\\instance) finds its port by itself."""
    host, port = settings.sqlserver_host or "", str(settings.sqlserver_port)
    if server:
        match = _SERVER.match(server)
        if match is None:
            raise SettingsError(f"Server {server!r} is neither 'host' nor 'host,port'.", hint="Check `server:`.")
        host, port = match["host"], match["port"] or port
    elif "," in host:
        return host
    return host if "\\" in host else f"{host},{port}"
