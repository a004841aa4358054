"""Connections to a job store on PostgreSQL that give up a server which says nothing.

libpq and the server have time-outs of their own, but none for a server that is frozen while its machine still
acknowledges packets. Nobody should wait for such a one until somebody wakes up.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from psycopg.rows import TupleRow

LOCK_S = 5
STATEMENT_S = 10
PATIENCE_S = 15.0
"""Seconds of silence; more than the server's own time-outs, which leave the connection whole."""
_T = TypeVar("_T")

CONNECT_ARGUMENTS = {
    "connect_timeout": "5",
    "application_name": "sql-databricks-bridge",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "options": f"-c lock_timeout={LOCK_S}s -c statement_timeout={STATEMENT_S}s "
    "-c idle_in_transaction_session_timeout=60s",
}
"""libpq's parameters, "Parameter Key Words" in PostgreSQL's manual; what the address sets itself goes before them."""


class PatientConnection(psycopg.Connection[TupleRow]):
    """psycopg's connection, closed with `OperationalError` where one call takes longer than `patience_s`."""

    patience_s = PATIENCE_S

    def wait(self, gen: Generator[Any, Any, _T], *args: Any, **kwargs: Any) -> _T:
        """Drive a generator of psycopg's to its end; every call to the server passes here."""
        return super().wait(self._bounded(gen), *args, **kwargs)

    def _bounded(self, gen: Generator[Any, Any, _T]) -> Generator[Any, Any, _T]:
        give_up = time.monotonic() + self.patience_s
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted  # psycopg comes back at least every 0.1 s, with 0 where nothing has arrived
                if not ready and time.monotonic() > give_up:
                    self.close()
                    raise psycopg.OperationalError(f"no answer for {self.patience_s:g} seconds")
                wanted = gen.send(ready)
        except StopIteration as end:
            result: _T = end.value
            return result


def connect(*arguments: Any, **parameters: Any) -> PatientConnection:
    """Open one, as `psycopg.connect` does."""
    return PatientConnection.connect(*arguments, **parameters)
