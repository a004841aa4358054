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
_BY_SERVER = re.compile(r"(?:SQLSTATE:\w{5}:)?(?:\[[^\]]*\])*\[SQL Server\]")
_SQLSTATE_PREFIX = re.compile(r"\ASQLSTATE:\w{5}:")
REACH = (
    "Check SQLSERVER_HOST and SQLSERVER_PORT (or `server:` in the country's YAML) and that this machine can reach it."
)


@dataclass(frozen=True, slots=True)
class _Told:
    """What the driver raised: a text that stands for the SQLSTATE, and the words of the driver or of the server."""

    state: str
    words: str
    by_server: bool


@dataclass(frozen=True, slots=True)
class _Rule:
    """The first rule that knows the error names it, letter case aside.

    `signs` may stand anywhere in what the driver says itself, which holds no data of anybody's. The server's own
    sentences quote names and values, so they are known by how they begin: `openings`, one pattern for each message.
    """

    kind: type[SourceError]
    what: str
    hint: str | None = None
    signs: tuple[str, ...] = ()
    openings: tuple[str, ...] = ()

    def knows(self, error: _Told) -> bool:
        driver_said = error.state if error.by_server else f"{error.state} {error.words}"
        return any(sign in driver_said.lower() for sign in self.signs) or any(
            re.match(opening, error.words, re.IGNORECASE) for opening in self.openings
        )


_TLS = _Rule(
    SourceError,
    "No secure connection to SQL Server",
    "Check SQLSERVER_ENCRYPT (yes, no or strict), and for a certificate of its own SQLSERVER_SERVER_CERTIFICATE or "
    "SQLSERVER_TRUST_SERVER_CERTIFICATE.",
    signs=("ssl provider", "ssl routines", "certificate", "encryption not supported", "tls handshake", "ssl handshake"),
)
_AWAY = (
    "The client was unable to establish a connection because of an error during connection initialization",  # 233
    "A connection was successfully established with the server, but then an error occurred during ",  # 64, 233, 997
    "A network-related or instance-specific error occurred while establishing a connection",  # 10060 and others
    "A transport-level error has occurred ",  # 10053, 10054
    "Login to read-secondary failed due to long wait ",  # 4221
    "The service has encountered an error processing your request",  # 40143, 40197, 40540
    "Connection could not be initialized",  # 40143 of older servers
    r"Database '.*' on server '.*' is not currently available",  # 40613
    "Can ?not connect to the SQL pool since it is paused",  # 42108
    "The SQL pool is warming up",  # 42109
    "Database '.*' has not been recovered yet",  # 921
    "Cannot continue the execution because the session is in the kill state",  # 596
    "SHUTDOWN is in progress",  # 6005
)
"""What a server, or the gateway before it, says of itself when it is there again soon."""
_LOST = _Rule(
    SourceUnavailable,
    "The connection to SQL Server was lost",
    "Try again; if it happens every time, look at the server's log and the network.",
    signs=(
        "communication link failure",
        "connection not open",
        "connection failure during transaction",
        "disconnect error",
        "tcp provider",
        "connection is broken",
        "connection handle not allocated",
        "connection is closed",
        "transport-level error",
    ),
    openings=(*_AWAY, r'Cannot open database ".*" requested by the login'),  # 4060: it was open a moment ago
)
_UNREACHABLE = _Rule(
    SourceUnavailable,
    "SQL Server can't be reached",
    REACH,
    signs=(
        "login timeout expired",
        "connection timeout expired",
        "client unable to establish connection",
        "server rejected the connection",
        "server is not found or not accessible",
        "tcp provider",
        "communication link failure",
        "adaptive server connection",
    ),
    openings=_AWAY,
)
_NO_DATABASE = _Rule(
    SourceSignInError,
    "SQL Server refused the database",
    "Check SQLSERVER_DATABASE or `database:` in the country's YAML, and the login's rights there.",
    signs=("invalid catalog name",),
    openings=("Cannot open database ", "Cannot open server "),
)
_NO_LOGIN = _Rule(
    SourceSignInError,
    "SQL Server refused the sign-in",
    "Check SQLSERVER_USERNAME and SQLSERVER_PASSWORD (and SQLSERVER_AUTHENTICATION for Entra).",
    signs=("login failed", "invalid authorization specification"),
    openings=("Login failed", "The password of the account", ".*account is disabled"),
)
_NO_ENTRA = _Rule(
    SourceSignInError,
    "The sign-in with Entra failed",
    "Check SQLSERVER_AUTHENTICATION, SQLSERVER_USERNAME and SQLSERVER_PASSWORD.",
    signs=("authentication failed", "azure identity", "azure-identity", "token", "credential"),
)
_CONFLICT = _Rule(
    SourceBusy,
    "SQL Server chose this query as the victim of a deadlock or conflict",
    "Try again.",
    signs=("serialization failure",),
    openings=(
        r"Transaction \(Process ID \d+\) was deadlocked on ",  # 1205
        "Snapshot isolation transaction aborted due to update conflict",  # 3960
        "Snapshot isolation transaction failed in database '.*' because the object accessed",  # 3961
    ),
)
_BUSY = _Rule(
    SourceBusy,
    "SQL Server is too busy",
    "Try again later.",
    openings=(
        "The instance of the SQL Server Database Engine cannot obtain a LOCK resource",  # 1204
        "Lock request time ?out period exceeded",  # 1222
        "There is insufficient system memory ",  # 701
        "A time ?out occurred while waiting for memory resources",  # 8645
        "Could not perform the operation because the requested memory grant was not available",  # 8651
        r"Resource ID ?: ?\d+\. The ",  # 10928, 10929
        "The service is currently busy",  # 40501
        r"Cannot process (create or update )?request\. (Not enough|Too many) ",  # 49918, 49919, 49920
    ),
)
_TIMED_OUT = _Rule(
    SourceBusy,
    "The query took longer than allowed",
    "Check SQLSERVER_QUERY_TIMEOUT_S (0 is without limit).",
    signs=("timeout expired",),
)
_DRIVER_MISSING = _Rule(
    SourceError,
    "Microsoft's driver can't be loaded",
    "Install its system libraries: on Debian and Ubuntu libltdl7 libkrb5-3 libgssapi-krb5-2.",
    signs=(
        "failed to load the driver",
        "libltdl",
        "cannot open shared object",
        "specified driver could not be loaded",
    ),
)
_CANCELLED = _Rule(SourceError, "The query was stopped", signs=("operation canceled",))
_CONNECTING = (_DRIVER_MISSING, _TLS, _NO_DATABASE, _NO_LOGIN, _CONFLICT, _BUSY, _UNREACHABLE, _NO_ENTRA)
_RUNNING = (_CONFLICT, _BUSY, _LOST, _TIMED_OUT, _NO_DATABASE)
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
    """Name the error that the driver raised; never raises. `connecting` tells signing in from running a query.

    The server's sentences are known in English only; a login of another language is told by the SQLSTATE alone.
    """
    native = str(getattr(exc, "ddbc_error", "") or exc)
    detail = _clean(native, secrets)
    error = _Told(str(getattr(exc, "driver_error", "")), detail, by_server=_BY_SERVER.match(native.strip()) is not None)
    if _CANCELLED.knows(error):
        return Cancelled("The query was stopped.")
    for rule in _CONNECTING if connecting else _RUNNING:
        if rule.knows(error):
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
