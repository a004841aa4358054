"""SQL Server's error numbers, where they are to be had: from T-SQL's CATCH, and in the texts of the bulk copy.

What is worth a retry: Microsoft, "Troubleshoot transient connection errors" and "Transient fault handling"
(Azure SQL); the message texts of sys.messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sql_databricks_bridge.db.sql_server_errors import classify
from sql_databricks_bridge.errors import (
    BridgeError,
    EventInvalid,
    SourceBusy,
    SourceError,
    SourceRefused,
    SourceSignInError,
    SourceUnavailable,
)

_BUSY = frozenset(
    # deadlocks, locks, snapshots
    {1204, 1205, 1222, 3960, 41302, 41305, 41325, 41839}
    # memory, log and disk: somebody will make room, and the event is not to blame
    | {701, 802, 1101, 1105, 8645, 8651, 9002}
    # limits and throttling of Azure SQL
    | {10928, 10929, 40501, 49918, 49919, 49920}
)
# 4060 is no wrong name here: whoever asks is signed in to that database already.
_UNAVAILABLE = frozenset(
    {64, 233, 997, 4060, 4221, 6005, 9001, 10053, 10054, 10060, 40143, 40197, 40540, 40613, 42108, 42109}
)
_SIGN_IN = frozenset({18452, 18456, 18470, 18486, 18487, 18488})

_BULK_ERROR = re.compile(
    r"Sql Error: (?P<number>\d+): Class \d+: State \d+: (?P<words>.*?)(?: on \S* in \S* at line \d+)?$", re.M
)
_LOST_SIGNS = (
    "connection closed",
    "connection error",
    "io error",
    "protocol error",
    "timeout error",
    "failed to connect",
)


def by_number(number: int, message: str) -> SourceError:
    """Return the error that a number stands for; `message` is the server's own."""
    said = f"{' '.join(message.split()).rstrip('.')} (error {number})"
    if number in _BUSY:
        return SourceBusy(f"SQL Server gave up for now: {said}.", hint="Try again.")
    if number in _UNAVAILABLE:
        return SourceUnavailable(f"SQL Server is not available: {said}.", hint="Try again.")
    if number in _SIGN_IN:
        return SourceSignInError(f"SQL Server refused the sign-in: {said}.")
    return SourceRefused(f"{said}.", number=number)


@contextmanager
def bulk_errors() -> Iterator[None]:
    """Around `bulkcopy_arrow`, which raises ValueError for a value and RuntimeError for everything else (m)."""
    try:
        yield
    except BridgeError:
        raise
    except ValueError as exc:
        raise EventInvalid(f"A value can't be loaded: {_one_line(exc)}.") from exc
    except Exception as exc:
        raise _bulk_failure(exc) from exc
    except BaseException as exc:
        if type(exc).__module__ != "pyo3_runtime":
            raise
        # A defect of the driver: its PanicException is no Exception, and would end the poller for one event's sake.
        raise SourceRefused(f"The driver's bulk copy failed: {_one_line(exc)}.") from exc


def _bulk_failure(exc: Exception) -> BridgeError:
    found = [by_number(int(error["number"]), error["words"]) for error in _BULK_ERROR.finditer(str(exc))]
    if found:
        return next((error for error in found if not isinstance(error, SourceRefused)), found[0])
    if any(sign in str(exc).lower() for sign in _LOST_SIGNS):
        return SourceUnavailable(f"The connection of the bulk copy was lost: {_one_line(exc)}.", hint="Try again.")
    return classify(exc)


def _one_line(exc: BaseException) -> str:
    return " ".join(str(exc).split()).rstrip(".")
