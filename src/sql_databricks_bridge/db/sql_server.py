"""SQL Server through Microsoft's driver: connections, described result sets, and rows streamed as Arrow batches."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.ports import ResultColumn, ServerInfo
from sql_databricks_bridge.db.binding import Bound, bind, bind_texts, declarations
from sql_databricks_bridge.db.connection_string import connection_string, server_address
from sql_databricks_bridge.db.reach import knock
from sql_databricks_bridge.db.sql_server_errors import SNAPSHOT_NOT_ALLOWED, require_no_error, translated
from sql_databricks_bridge.errors import Cancelled, SettingsError, SourceError, SourceRefused, SourceSignInError
from sql_databricks_bridge.models.jobs import ResolvedQuery

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_SQL = Path(__file__).parent / "sql"
_FIRST_ROWS = 64
_MOST_ROWS = 65_536
_GROWTH = 4
_CANCEL_AGAIN_S = 0.2
_UNDESCRIBABLE = "metadata could not be determined"  # 11509 to 11529: a query that can run, but not be described


@dataclass(frozen=True, slots=True)
class _Sizing:
    """Rows of the first batch, and the most of any: what is not yet read may be bigger than all that was."""

    first_rows: int
    most_rows: int = _MOST_ROWS


_UNBOUNDED = _Sizing(first_rows=16, most_rows=128)
"""Where a column has no bound: 1 MiB values take 16 MiB before they are noticed, 128 MiB if they come late. The driver
reads such rows one by one anyway, so a bigger batch is hardly faster (m: 1.4 M rows/s at 256, 280,000 at 64)."""


class MssqlServer:
    """The SqlServer port: opens connections as the settings say. Nothing is pooled, since a pooled connection keeps
    its session's options and locks.
    """

    def __init__(self, settings: Settings) -> None:
        """Look at the settings only; `SettingsError` where the certificate to accept is no file."""
        certificate = settings.sqlserver_server_certificate
        if certificate is not None and not certificate.is_file():
            raise SettingsError(f"SQLSERVER_SERVER_CERTIFICATE: there is no file {certificate}.")
        self._settings = settings
        self._reached: set[str] = set()

    def connect(self, *, database: str | None = None, server: str | None = None) -> MssqlConnection:
        """Open a connection; None means what the settings say."""
        try:
            return self._open(database, server)
        except SourceSignInError as exc:
            wanted = database or self._settings.sqlserver_database
            if wanted and self._signs_in_elsewhere(server):
                raise SourceSignInError(
                    f"SQL Server accepts the sign-in, but not to database {wanted!r}.",
                    hint="Check SQLSERVER_DATABASE or `database:` in the country's YAML, and the login's rights there.",
                ) from exc
            raise

    def _open(self, database: str | None, server: str | None) -> MssqlConnection:
        settings = self._settings
        text = connection_string(settings, database=database, server=server)
        secrets = (settings.sqlserver_password.get_secret_value(),) if settings.sqlserver_password else ()
        address = server_address(settings, server)
        if address not in self._reached:
            knock(address, settings.sqlserver_login_timeout_s)
            self._reached.add(address)
        with translated(connecting=True, secrets=secrets):
            driver = _driver()
            raw = driver.connect(text, autocommit=True, timeout=settings.sqlserver_login_timeout_s)
            raw.timeout = settings.sqlserver_query_timeout_s
        return MssqlConnection(raw)

    def _signs_in_elsewhere(self, server: str | None) -> bool:
        """Tell a wrong database from a wrong password: the driver shows the server's "Login failed" for both."""
        try:
            self._open("master", server).close()
        except SourceError:
            return False
        return True


class MssqlConnection:
    """One connection, for one thread; `cancel` may come from any."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._lock = threading.Lock()
        self._cursor: Any = None
        self._busy = False
        self._cancelled = False
        self._closed = False
        self._limited = False
        self._isolation = "READ COMMITTED"
        self._info: ServerInfo | None = None
        self._described: dict[str, tuple[ResultColumn, ...]] = {}

    @property
    def isolation(self) -> str:
        """The isolation level of the last `stream`: 'snapshot' or 'read committed'."""
        return self._isolation.lower()

    def info(self) -> ServerInfo:
        """Ask the server who it is; asked once."""
        if self._info is None:
            (row,) = self._rows((_SQL / "server_info.sql").read_text())
            self._info = ServerInfo(
                server=row["server_name"] or "",
                database=row["database_name"] or "",
                version=row["product_version"] or "",
                login=row["login_name"] or "",
                snapshot=row["snapshot_state"] == 1,
            )
        return self._info

    def describe(self, query: ResolvedQuery) -> tuple[ResultColumn, ...]:
        """Describe the result set without running the query. `SourceRefused` has the server's words and the line."""
        try:
            rows = self._rows(
                "EXEC sp_describe_first_result_set @tsql = ?, @params = ?",
                bind_texts(query.sql, declarations(query.parameters)),
            )
        except SourceRefused as exc:
            raise self._diagnosed(query, exc) from exc
        columns = tuple(_column(row) for row in rows if not row.get("is_hidden"))
        self._described[query.sql] = columns
        return columns

    @contextmanager
    def stream(
        self, query: ResolvedQuery, *, batch_bytes: int, row_limit: int | None = None
    ) -> Iterator[Iterator[pa.RecordBatch]]:
        """Run the query and stream its rows as the driver types them, about `batch_bytes` of Arrow a batch.

        Isolation is SNAPSHOT where every database that the query touches allows it, else READ COMMITTED.
        """
        if row_limit == 0:  # SET ROWCOUNT 0 would mean all
            yield iter(())
            return
        try:
            cursor = self._started(query, row_limit)
            yield self._batches(cursor, batch_bytes, self._sizing(query, batch_bytes))
        finally:
            self._end_query()

    def frame(self, query: ResolvedQuery, rows: int) -> pl.DataFrame:
        """Return the first `rows` rows, as they would land, as a Polars frame without a copy: for people's eyes."""
        import polars as pl
        import pyarrow as pa

        from sql_databricks_bridge.core.types import LandedSchema

        schema = LandedSchema.of(self.describe(query))
        with self.stream(query, batch_bytes=8 << 20, row_limit=rows) as batches:
            landed = [batch for raw in batches for batch in schema.convert(raw)]
        frame = pl.from_arrow(pa.Table.from_batches(landed, schema=schema.schema))
        assert isinstance(frame, pl.DataFrame)  # from a table it is one
        return frame

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
            self._close_cursor()
        with suppress(Exception):
            self._raw.close()

    # Running -------------------------------------------------------------------------------------------------------

    def _started(self, query: ResolvedQuery, row_limit: int | None) -> Any:
        """Execute; fall back to READ COMMITTED where the query reaches a database without SNAPSHOT."""
        snapshot = self.info().snapshot
        try:
            return self._execute_query(query, row_limit, "SNAPSHOT" if snapshot else "READ COMMITTED")
        except SourceRefused as exc:
            if not snapshot or SNAPSHOT_NOT_ALLOWED not in exc.message.lower():
                raise
        self._end_query()
        return self._execute_query(query, row_limit, "READ COMMITTED")

    def _execute_query(self, query: ResolvedQuery, row_limit: int | None, isolation: str) -> Any:
        self._isolation = isolation
        self._run(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
        if row_limit is not None:
            self._limited = True
            self._run(f"SET ROWCOUNT {int(row_limit)}")
        with self._calling():
            self._raw.autocommit = False
        if not query.parameters:
            return self._run(query.sql)
        values = bind(query.parameters)
        texts = bind_texts(query.sql, declarations(query.parameters))
        named = ", ".join(f"@{parameter.name} = ?" for parameter in query.parameters)
        bound = Bound(texts.values + values.values, texts.types + values.types)
        return self._run(f"EXEC sp_executesql ?, ?, {named}", bound)

    def _run(self, statement: str, bound: Bound | None = None) -> Any:
        self._close_cursor()
        with self._calling():
            cursor = self._raw.cursor()
            with self._lock:
                self._cursor = cursor
            if bound is None:
                return cursor.execute(statement)
            cursor.setinputsizes(list(bound.types))
            return cursor.execute(statement, bound.values)

    def _rows(self, statement: str, bound: Bound | None = None) -> list[dict[str, Any]]:
        cursor = self._run(statement, bound)
        with self._calling():
            names = [entry[0] for entry in cursor.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()] if names else []
            require_no_error(cursor.messages)
        self._close_cursor()
        return rows

    def _batches(self, cursor: Any, batch_bytes: int, sizing: _Sizing) -> Iterator[pa.RecordBatch]:
        """Fetch until a batch comes empty, so that an error behind the last row is heard; join small ones.

        The driver takes a connection that is lost between two rows for the end of the result: it says so in
        `messages` only (m). Hence the look there, and a last question to the server before the result counts.
        """
        rows, held, held_bytes = sizing.first_rows, [], 0
        while True:
            with self._calling():
                batch = cursor.arrow_batch(rows)
                require_no_error(cursor.messages)
            if batch.num_rows == 0:
                break
            row_bytes = max(1, batch.nbytes // batch.num_rows)
            rows = max(1, min(batch_bytes // row_bytes, rows * _GROWTH, sizing.most_rows))
            held.append(batch)
            held_bytes += batch.nbytes
            del batch
            if held_bytes >= batch_bytes // _GROWTH:
                yield _compact(held)
                held, held_bytes = [], 0
        self._run("SELECT 1 AS still_there")
        if held:
            yield _compact(held)

    def _sizing(self, query: ResolvedQuery, batch_bytes: int) -> _Sizing:
        from sql_databricks_bridge.core.types import row_bound_bytes

        columns = self._described.get(query.sql)
        bound = row_bound_bytes(columns) if columns else None
        return _UNBOUNDED if bound is None else _Sizing(max(_FIRST_ROWS, min(batch_bytes // bound, _MOST_ROWS)))

    def _end_query(self) -> None:
        """Let go of the result, roll back, and take back what was set; a broken connection is left for `close`."""
        with suppress(Exception):
            self._close_cursor()
            self._raw.rollback()
            self._raw.autocommit = True
            if self._limited:
                with self._raw.cursor() as cursor:
                    cursor.execute("SET ROWCOUNT 0")
                self._limited = False

    def _diagnosed(self, query: ResolvedQuery, refused: SourceRefused) -> SourceRefused:
        """Have the server tell number and line of what it refuses, which the driver drops."""
        found = None
        with suppress(SourceError):  # it is an attempt to say more
            found = self._compiled(query, "SET NOEXEC ON; ")
            if found is None and _UNDESCRIBABLE not in refused.message:
                # A server that checks names only when it runs: this query was refused for good, so nothing runs here.
                found = self._compiled(query, "")
        number, line = (found["number"], found["line"]) if found else (None, None)
        said = " ".join(str(found["message"]).split()).rstrip(".") if found else refused.message
        where = f"{query.file}, line {line}" if line is not None else query.file
        what = f" (error {number})" if number is not None else ""
        return SourceRefused(
            f"SQL Server refused query {query.name!r} ({where}): {said}{what}.", number=number, line=line
        )

    def _compiled(self, query: ResolvedQuery, option: str) -> dict[str, Any] | None:
        declared = "".join(f"DECLARE @{p.name} {p.declaration}; " for p in query.parameters)
        try:
            rows = self._rows((_SQL / "diagnose.sql").read_text(), bind_texts(f"{option}{declared}{query.sql}"))
        finally:
            self._run("SET NOEXEC OFF")
        return rows[0] if rows and set(rows[0]) == {"number", "line", "message"} else None

    # Calling the driver --------------------------------------------------------------------------------------------

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """Around every call that may wait for the server: `cancel` interrupts it, errors are translated."""
        with self._lock:
            if self._cancelled:
                raise Cancelled("The query was stopped.")
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

    def _close_cursor(self) -> None:
        with self._lock:
            cursor, self._cursor = self._cursor, None
        if cursor is not None:
            with suppress(Exception):
                cursor.close()


def _compact(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Join batches into buffers of exact size: the driver's are twice as big as their content and more (m)."""
    import pyarrow as pa

    return pa.concat_batches([*batches, batches[0].slice(0, 0)])


@lru_cache(maxsize=1)
def _driver() -> Any:
    import mssql_python

    mssql_python.pooling(enabled=False)
    return mssql_python


def _column(row: dict[str, Any]) -> ResultColumn:
    """Read one row of sp_describe_first_result_set; a CLR type has no system_type_name there."""
    clr = row.get("assembly_qualified_type_name")
    return ResultColumn(
        name=row["name"] or "",
        sql_type=row["system_type_name"] or row.get("user_type_name") or "",
        nullable=bool(row["is_nullable"]),
        max_length=int(row["max_length"]),
        precision=int(row["precision"] or 0),
        scale=int(row["scale"] or 0),
        collation=row["collation_name"],
        user_type=clr or row.get("user_type_name"),
    )
