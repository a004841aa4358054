"""SQL Server through Microsoft's driver: connections, described result sets, and rows streamed as Arrow batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.ports import NamedObject, ResultColumn, ServerInfo
from sql_databricks_bridge.db.binding import bind_texts, declarations
from sql_databricks_bridge.db.connection_string import connection_string, server_address
from sql_databricks_bridge.db.object_names import find_objects
from sql_databricks_bridge.db.reach import knock
from sql_databricks_bridge.db.session import SQL, Session, dynamic
from sql_databricks_bridge.db.sql_server_errors import SNAPSHOT_NOT_ALLOWED, require_no_error, translated
from sql_databricks_bridge.db.target import MssqlTarget
from sql_databricks_bridge.errors import (
    BridgeError,
    SettingsError,
    SourceError,
    SourceRefused,
    SourceSignInError,
    SourceUnavailable,
)
from sql_databricks_bridge.models.jobs import ResolvedQuery

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_FIRST_ROWS = 64
_MOST_ROWS = 65_536
_GROWTH = 4
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
        return MssqlConnection(self._signed_in(database, server))

    def connect_target(self) -> MssqlTarget:
        """Open a connection to SQLSERVER_DATABASE, to apply events."""
        self._settings.require("sqlserver_database")
        return MssqlTarget(self._signed_in(None, None))

    def _signed_in(self, database: str | None, server: str | None) -> Session:
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

    def _open(self, database: str | None, server: str | None) -> Session:
        settings = self._settings
        text = connection_string(settings, database=database, server=server)
        secrets = (settings.sqlserver_password.get_secret_value(),) if settings.sqlserver_password else ()
        address = server_address(settings, server)
        if address not in self._reached:
            knock(address, settings.sqlserver_login_timeout_s)
            self._reached.add(address)
        try:
            with translated(connecting=True, secrets=secrets):
                driver = _driver()
                raw = driver.connect(text, autocommit=True, timeout=settings.sqlserver_login_timeout_s)
                raw.timeout = settings.sqlserver_query_timeout_s
        except SourceUnavailable:
            self._reached.discard(address)  # while it is away, the next one shall hear that at once
            raise
        return Session(raw)

    def _signs_in_elsewhere(self, server: str | None) -> bool:
        """Tell a wrong database from a wrong password: the driver shows the server's "Login failed" for both."""
        try:
            self._open("master", server).close()
        except SourceError:
            return False
        return True


class MssqlConnection:
    """One connection, for one thread; `cancel` may come from any."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._limited = False
        self._isolation = "READ COMMITTED"
        self._described: dict[str, tuple[ResultColumn, ...]] = {}

    @property
    def isolation(self) -> str:
        """The isolation level of the last `stream`: 'snapshot' or 'read committed'."""
        return self._isolation.lower()

    def info(self) -> ServerInfo:
        """Ask the server who it is; asked once."""
        return self._session.info()

    def ping(self) -> None:
        """Ask for a sign of life: one short batch."""
        self._session.rows("SELECT 1 AS alive")

    def find_objects(self, names: Sequence[tuple[str | None, str | None, str]]) -> tuple[NamedObject | None, ...]:
        """Look `(database, schema, name)` up in the catalog, as a query's names are resolved."""
        return find_objects(self._session.rows, self.info(), names)

    def describe(self, query: ResolvedQuery) -> tuple[ResultColumn, ...]:
        """Describe the result set without running the query. `SourceRefused` has the server's words and the line."""
        try:
            rows = self._session.rows(
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
        self._session.cancel()

    def close(self) -> None:
        """Close the connection, rolling back what is open. Idempotent; for the owning thread."""
        self._session.close()

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
        self._session.run(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
        if row_limit is not None:
            self._limited = True
            self._session.run(f"SET ROWCOUNT {int(row_limit)}")
        self._session.begin()
        if not query.parameters:
            return self._session.run(query.sql)
        return self._session.run(*dynamic(query.sql, query.parameters))

    def _batches(self, cursor: Any, batch_bytes: int, sizing: _Sizing) -> Iterator[pa.RecordBatch]:
        """Fetch until a batch comes empty, so that an error behind the last row is heard; join small ones.

        The driver takes a connection that is lost between two rows for the end of the result: it says so in
        `messages` only (m). Hence the look there, and a last question to the server before the result counts.
        """
        rows, held, held_bytes = sizing.first_rows, [], 0
        while True:
            with self._session.calling():
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
        self._session.run("SELECT 1 AS still_there")
        if held:
            yield _compact(held)

    def _sizing(self, query: ResolvedQuery, batch_bytes: int) -> _Sizing:
        from sql_databricks_bridge.core.types import row_bound_bytes

        columns = self._described.get(query.sql)
        bound = row_bound_bytes(columns) if columns else None
        return _UNBOUNDED if bound is None else _Sizing(max(_FIRST_ROWS, min(batch_bytes // bound, _MOST_ROWS)))

    def _end_query(self) -> None:
        """Let go of the result, roll back, and take back what was set; a broken connection closes itself."""
        self._session.rollback()
        if self._limited:
            with suppress(BridgeError):
                self._session.run("SET ROWCOUNT 0")
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
            rows = self._session.rows((SQL / "diagnose.sql").read_text(), bind_texts(f"{option}{declared}{query.sql}"))
        finally:
            self._session.run("SET NOEXEC OFF")
        return rows[0] if rows and set(rows[0]) == {"number", "line", "message"} else None


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
