"""One session of Microsoft's driver: statements run, rows fetched, errors translated, running calls cancelled.

What reads (`db/sql_server.py`) and what applies events (`db/target.py`) both stand on it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sql_databricks_bridge.core.ports import ServerInfo
from sql_databricks_bridge.db.binding import Bound, bind, bind_texts, declarations
from sql_databricks_bridge.db.sql_server_errors import require_no_error, translated
from sql_databricks_bridge.errors import Cancelled, SourceError, SourceUnavailable
from sql_databricks_bridge.models.jobs import BoundParameter

SQL = Path(__file__).parent / "sql"
_CANCEL_AGAIN_S = 0.2

Row = dict[str, Any]


class Session:
    """For one thread; `cancel` may come from any. Starts in autocommit mode; every call raises the bridge's errors."""

    def __init__(self, raw: Any) -> None:
        """Take over a connection of the driver."""
        self._raw = raw
        self._lock = threading.Lock()
        self._cursor: Any = None
        self._busy = False
        self._cancelled = False
        self._closed = False
        self._info: ServerInfo | None = None

    def info(self) -> ServerInfo:
        """Ask the server who it is; asked once."""
        if self._info is None:
            (row,) = self.rows((SQL / "server_info.sql").read_text())
            self._info = ServerInfo(
                server=row["server_name"] or "",
                database=row["database_name"] or "",
                version=row["product_version"] or "",
                login=row["login_name"] or "",
                snapshot=row["snapshot_state"] == 1,
            )
        return self._info

    # Running -------------------------------------------------------------------------------------------------------

    def run(self, statement: str, bound: Bound | None = None) -> Any:
        """Execute a batch and return its cursor, which lives until the next call."""
        self.close_cursor()
        with self.calling():
            cursor = self.cursor()
            if bound is None:
                return cursor.execute(statement)
            cursor.setinputsizes(list(bound.types))
            return cursor.execute(statement, bound.values)

    def rows(self, statement: str, bound: Bound | None = None) -> list[Row]:
        """Execute a batch and return the rows of its first result set, [] where it has none."""
        return self._first_result(statement, bound, ())

    def answer(self, statement: str, bound: Bound | None, *first_columns: str) -> Row | None:
        """Execute a batch; return the first row of the first result set whose first column is one of those.

        Others, such as those that a trigger sends, are passed over unread. None where the batch ends without.
        """
        found = self._first_result(statement, bound, first_columns)
        return found[0] if found else None

    def _first_result(self, statement: str, bound: Bound | None, first_columns: tuple[str, ...]) -> list[Row]:
        cursor = self.run(statement, bound)
        found: list[Row] = []
        with self.calling():
            more = True
            while more:
                names = [entry[0] for entry in cursor.description or ()]
                if names and (not first_columns or names[0] in first_columns):
                    found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
                    break
                require_no_error(cursor.messages)
                more = cursor.nextset()
            if not (first_columns and found):  # what comes behind an answer, such as error 266, can't change it
                require_no_error(cursor.messages)
        self.close_cursor()
        return found

    def cursor(self) -> Any:
        """Open the cursor that `cancel` reaches; within `calling`."""
        cursor = self._raw.cursor()
        with self._lock:
            self._cursor = cursor
        return cursor

    def close_cursor(self) -> None:
        """Let go of the last result."""
        with self._lock:
            cursor, self._cursor = self._cursor, None
        if cursor is not None:
            with suppress(Exception):
                cursor.close()

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Around every call that may wait for the server: `cancel` interrupts it, errors are translated."""
        with self._lock:
            if self._cancelled:
                raise Cancelled("The query was stopped.")
            if self._closed:
                raise SourceUnavailable("The connection to SQL Server is closed.", hint="Open another one.")
            self._busy = True
        try:
            with translated():
                yield
        except SourceError as exc:
            if self._cancelled:
                raise Cancelled("The query was stopped.") from exc
            raise
        finally:
            with self._lock:
                self._busy = False
        if self._cancelled:
            raise Cancelled("The query was stopped.")

    # Transactions --------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Leave autocommit mode: the driver opens a transaction with the next call, and again after each end of one."""
        self.close_cursor()
        with self.calling():
            self._raw.autocommit = False

    def commit(self) -> None:
        """Commit and return to autocommit mode. `cancel` does not reach it: it is done, or nobody knows.

        Any error leaves the outcome open, and the connection to be closed.
        """
        self.close_cursor()
        with translated():
            self._raw.commit()
        try:
            self._raw.autocommit = True
        except Exception:  # noqa: BLE001 (the commit stands, whatever becomes of the connection)
            self.close()

    def rollback(self) -> None:
        """Roll back what is open, and return to autocommit mode; a connection that can't is closed, which does it too.

        Works after `cancel` as well. Idempotent.
        """
        self.close_cursor()
        if self._closed:
            return
        try:
            self._raw.rollback()
            self._raw.autocommit = True  # after the rollback only: it would commit what is open
        except Exception:  # noqa: BLE001 (a dead link, as a rule)
            self.close()

    # Ending --------------------------------------------------------------------------------------------------------

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    @property
    def closed(self) -> bool:
        """Whether it is closed, by `close` or because it could not be cleaned."""
        return self._closed

    def cancel(self) -> None:
        """Stop the running call soon; it then raises `Cancelled`, as does every later one."""
        with self._lock:
            self._cancelled = True
            if self._busy:
                threading.Thread(target=self._interrupt, name="cancel", daemon=True).start()

    def close(self) -> None:
        """Close the connection, rolling back what is open. Idempotent; for the owning thread."""
        if self._closed:
            return
        self._closed = True
        with suppress(Exception):  # a dead link can't be closed better than it is
            self.close_cursor()
        with suppress(Exception):
            self._raw.close()

    def _interrupt(self) -> None:
        """Send SQLCancel, the one call that ODBC allows from another thread, until the running call gives way.

        Once is not enough: between `_busy` and the call itself the statement is idle, and cancelling it does nothing.
        """
        while True:
            with self._lock:  # held meanwhile, so that the statement is not freed under SQLCancel's feet
                if not self._busy:
                    return
                handle = getattr(self._cursor, "hstmt", None)
                if handle is not None:
                    with suppress(Exception):
                        handle._cancel()
            threading.Event().wait(_CANCEL_AGAIN_S)


def dynamic(sql: str, parameters: Sequence[BoundParameter] = ()) -> tuple[str, Bound]:
    """Return a batch that runs `sql` by sp_executesql, as a value: no layer of the driver takes a `?`, `{` or `%` in a
    name for its own.
    """
    values = bind(parameters)
    declared = declarations(parameters)
    texts = bind_texts(sql) if declared is None else bind_texts(sql, declared)
    markers = ", ".join(["?"] * len(texts.values) + [f"@{parameter.name} = ?" for parameter in parameters])
    return f"EXEC sp_executesql {markers}", Bound(texts.values + values.values, texts.types + values.types)
