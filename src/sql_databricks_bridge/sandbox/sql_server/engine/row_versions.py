"""rowversion: where its values come from, and MIN_ACTIVE_ROWVERSION().

Every database counts by itself; a value is taken by PostgreSQL row by row (`next_value`). Before a statement takes one,
a trigger leaves a lock that tells every session the lowest value which this transaction may hold, and which goes with
the transaction, however that ends (support/81_row_versions.sql). Sources: "rowversion", "@@DBTS",
"MIN_ACTIVE_ROWVERSION".
"""

from __future__ import annotations

import threading

from .pg import PgSession, quote
from .table import Table


class RowVersions:
    """Asks, on a connection of its own: no snapshot of the asking transaction may hide or keep what others hold."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._lock = threading.Lock()
        self._pg: PgSession | None = None
        self._answers: dict[int, int] = {}

    def min_active(self, database: str) -> int:
        """The lowest value in `database` that an open transaction may hold, else the next one. `PgFailure` as it comes.

        It never goes back: a transaction that holds no lock yet can only take values that nobody had before.
        """
        with self._lock:
            if self._pg is None:
                self._pg = PgSession(self._uri)
            asked = f"SELECT counter, value FROM tsql.active_row_version({quote(database.lower())})"
            counter, value = (int(number) for number in self._pg.rows(asked)[0])
            self._answers[counter] = max(value, self._answers.get(counter, 0))
            return self._answers[counter]

    def close(self) -> None:
        with self._lock:
            if self._pg is not None:
                self._pg.close()
                self._pg = None


def next_value(table: Table) -> str:
    """A new value for a row of this table, as PostgreSQL text."""
    counter = "tsql" if table.pg_schema == "pg_temp" else table.pg_schema
    return f"int8send(nextval('{counter}.row_versions'))"


def install(pg: PgSession, table: Table) -> None:
    """Let the table's rowversion column, if it has one, count with its database."""
    column = next((c for c in table.columns if c.type.name == "timestamp"), None)
    if column is not None and table.pg_schema != "pg_temp":
        pg.rows(f"SELECT tsql.count_row_versions('{table.pg_schema}', '{table.pg_name}', '{column.pg}')::text")


def hold(pg: PgSession, table: Table) -> None:
    """Before values are taken where no trigger fires: a rowversion column that is added to rows."""
    if table.pg_schema != "pg_temp":
        pg.rows(f"SELECT tsql.hold_row_versions({table.pg_schema[1:]})::text")
