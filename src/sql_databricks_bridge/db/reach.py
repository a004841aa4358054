"""Whether SQL Server's address answers at all, asked first: the driver needs its whole login timeout for a no."""

from __future__ import annotations

import socket

from sql_databricks_bridge.db.sql_server_errors import REACH
from sql_databricks_bridge.errors import SourceError, SourceUnavailable


def knock(address: str, timeout_s: float) -> None:
    """Open a TCP connection to 'host,port' and close it; a named instance, whose port the driver finds, is let be.

    `SourceUnavailable` where nobody answers, `SourceError` where the host has no address: that is a wrong name.
    """
    host, _, port = address.removeprefix("tcp:").partition(",")
    if "\\" in host or not port.isdigit() or "[" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=timeout_s).close()
    except socket.gaierror as exc:
        kind = SourceUnavailable if exc.errno == socket.EAI_AGAIN else SourceError
        raise kind(f"SQL Server can't be reached: the host {host!r} is not known.", hint=REACH) from exc
    except (OSError, UnicodeError, OverflowError) as exc:
        why = (getattr(exc, "strerror", None) or str(exc) or type(exc).__name__).lower()
        raise SourceUnavailable(f"SQL Server can't be reached at {host}, port {port}: {why}.", hint=REACH) from exc
