"""What Microsoft's driver raises, told in the bridge's terms. The only place that reads its texts.

Its exceptions carry a text made from the SQLSTATE (`driver_error`) and the server's or driver's own words
(`ddbc_error`), neither the SQLSTATE nor the native number itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sql_databricks_bridge.errors import (
    BridgeError,
    Cancelled,
    SourceBusy,
    SourceError,
    SourceRefused,
    SourceSignInError,
    SourceUnavailable,
)

_ORIGIN = re.compile(r"\A(?:\[[^\]]*\])+")
_SQLSTATE_PREFIX = re.compile(r"\ASQLSTATE:\w{5}:")
REACH = (
    "Check SQLSERVER_HOST and SQLSERVER_PORT (or `server:` in the country's YAML) and that this machine can reach it."
)


@dataclass(frozen=True, slots=True)
class _Rule:
    """The first rule that has one of its `signs` in the text, letter case aside, names the error."""

    signs: tuple[str, ...]
    kind: type[SourceError]
    what: str
    hint: str | None = None


_TLS = _Rule(
    ("ssl provider", "ssl routines", "certificate", "encryption not supported", "tls handshake", "ssl handshake"),
    SourceError,
    "No secure connection to SQL Server",
    "Check SQLSERVER_ENCRYPT (yes, no or strict), and for a certificate of its own SQLSERVER_SERVER_CERTIFICATE or "
    "SQLSERVER_TRUST_SERVER_CERTIFICATE.",
)
_LOST = _Rule(
    (
        "communication link failure",
        "connection not open",
        "connection failure during transaction",
        "disconnect error",
        "tcp provider",
        "connection is broken",
        "connection handle not allocated",
        "connection is closed",
        "transport-level error",
        "is not currently available",
    ),
    SourceUnavailable,
    "The connection to SQL Server was lost",
    "Try again; if it happens every time, look at the server's log and the network.",
)
_UNREACHABLE = _Rule(
    (
        "login timeout expired",
        "connection timeout expired",
        "client unable to establish connection",
        "server rejected the connection",
        "server is not found or not accessible",
        "tcp provider",
        "communication link failure",
        "adaptive server connection",
        "is not currently available",
    ),
    SourceUnavailable,
    "SQL Server can't be reached",
    REACH,
)
_SIGN_IN = (
    _Rule(
        ("cannot open database", "cannot open server", "invalid catalog name"),
        SourceSignInError,
        "SQL Server refused the database",
        "Check SQLSERVER_DATABASE or `database:` in the country's YAML, and the login's rights there.",
    ),
    _Rule(
        ("login failed", "invalid authorization specification", "password of the account", "account is disabled"),
        SourceSignInError,
        "SQL Server refused the sign-in",
        "Check SQLSERVER_USERNAME and SQLSERVER_PASSWORD (and SQLSERVER_AUTHENTICATION for Entra).",
    ),
    _Rule(
        ("authentication failed", "azure identity", "azure-identity", "token", "credential"),
        SourceSignInError,
        "The sign-in with Entra failed",
        "Check SQLSERVER_AUTHENTICATION, SQLSERVER_USERNAME and SQLSERVER_PASSWORD.",
    ),
)
_BUSY = (
    _Rule(
        ("serialization failure", "deadlock victim", "snapshot isolation transaction aborted"),
        SourceBusy,
        "SQL Server chose this query as the victim of a deadlock or conflict",
        "Try again.",
    ),
    _Rule(
        (
            "lock request time out",
            "resource limit",
            "resource id",
            "insufficient system memory",
            "cannot obtain a lock",
        ),
        SourceBusy,
        "SQL Server is too busy",
        "Try again later.",
    ),
    _Rule(
        ("timeout expired",),
        SourceBusy,
        "The query took longer than allowed",
        "Check SQLSERVER_QUERY_TIMEOUT_S (0 is without limit).",
    ),
)
_DRIVER_MISSING = _Rule(
    ("failed to load the driver", "libltdl", "cannot open shared object", "specified driver could not be loaded"),
    SourceError,
    "Microsoft's driver can't be loaded",
    "Install its system libraries: on Debian and Ubuntu libltdl7 libkrb5-3 libgssapi-krb5-2.",
)
_WINSOCK = {
    "0x2746": "the connection was reset",
    "0x2749": "there is no connection",
    "0x274C": "no answer in time",
    "0x274D": "the connection was refused",
    "0x2AF9": "the host is not known",
}
"""The driver shows the network's errors by Windows' numbers, on Linux too."""
_STATE_TEXTS = {
    "08S01": "Communication link failure",
    "40001": "Serialization failure",
    "HY008": "Operation canceled",
    "HYT00": "Timeout expired",
}
"""What the driver's exceptions say for these SQLSTATEs; its messages have the SQLSTATE instead."""
SNAPSHOT_NOT_ALLOWED = "snapshot isolation is not allowed in this database"
"""Of error 3952: the query reaches into a database that does not allow SNAPSHOT."""


@contextmanager
def translated(*, connecting: bool = False, secrets: tuple[str, ...] = ()) -> Iterator[None]:
    """Run one call on the driver."""
    try:
        yield
    except BridgeError:
        raise
    except Exception as exc:
        raise classify(exc, connecting=connecting, secrets=secrets) from exc


def classify(exc: Exception, *, connecting: bool = False, secrets: tuple[str, ...] = ()) -> BridgeError:
    """Name the error that the driver raised; never raises. `connecting` tells signing in from running a query."""
    state = str(getattr(exc, "driver_error", ""))
    native = str(getattr(exc, "ddbc_error", "") or exc)
    detail = _clean(native, secrets)
    text = f"{state} {native}".lower()
    if "operation canceled" in text:
        return Cancelled("The query was stopped.")
    if connecting:
        rules: tuple[_Rule, ...] = (_DRIVER_MISSING, _TLS, *_SIGN_IN[:2], _UNREACHABLE, _SIGN_IN[2])
    else:
        rules = (*_BUSY[:2], _LOST, _BUSY[2], _SIGN_IN[0])
    for rule in rules:
        if any(sign in text for sign in rule.signs):
            return rule.kind(f"{rule.what}: {detail}.", hint=rule.hint)
    if connecting:
        return SourceError(f"Connecting to SQL Server failed: {detail}.", hint=REACH)
    return SourceRefused(detail)


def require_no_error(messages: list[tuple[str, str]]) -> None:
    """Raise what a fetch reported beside its rows, and forget the rest.

    `messages` is a cursor's, e.g. ('[08S01] (10054)', '[Microsoft]...Communication link failure'). SQLSTATEs of class
    01 are information, except that a value was cut.
    """
    found, messages[:] = list(messages), []
    for code, text in found:
        sqlstate = code[1:6]
        if not sqlstate.startswith("01") or sqlstate == "01004":
            raise classify(_Reported(_STATE_TEXTS.get(sqlstate, ""), text))


class _Reported(Exception):
    """A diagnostic record in the form of the driver's exceptions."""

    def __init__(self, driver_error: str, ddbc_error: str) -> None:
        super().__init__(ddbc_error)
        self.driver_error = driver_error
        self.ddbc_error = ddbc_error


def _clean(text: str, secrets: tuple[str, ...]) -> str:
    """The words without the layers they came through ('[Microsoft][SQL Server]'), on one line."""
    text = _ORIGIN.sub("", _SQLSTATE_PREFIX.sub("", text.strip())).strip()
    for secret in secrets:
        text = text.replace(secret, "***").replace(secret.replace("}", "}}"), "***")
    for code, words in _WINSOCK.items():
        text = text.replace(f"Error code {code}", words)
    return " ".join(text.split()).rstrip(".")
