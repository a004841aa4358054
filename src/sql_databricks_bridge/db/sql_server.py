"""SQL Server through Microsoft's driver: connections, described result sets, and rows streamed as Arrow batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.ports import NamedObject, ResultColumn, ServerInfo
from sql_databricks_bridge.db.app_locks import acquire
from sql_databricks_bridge.db.connection_string import connection_string, server_address
from sql_databricks_bridge.db.describing import described
from sql_databricks_bridge.db.object_names import find_objects
from sql_databricks_bridge.db.reach import knock
from sql_databricks_bridge.db.session import Session, dynamic
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
from sql_databricks_bridge.models.jobs import BoundParameter, ResolvedQuery

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from sql_databricks_bridge.core.types import LandedSchema

_SNAPSHOT, _READ_COMMITTED = "SNAPSHOT", "READ COMMITTED"
_FIRST_ROWS = 64
_MOST_ROWS = 65_536
_GROWTH = 4


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
        self._isolation = _READ_COMMITTED
        self._viewing = False
        self._oldest: bytes | None = None
        self._described: dict[str, tuple[ResultColumn, ...]] = {}

    @property
    def isolation(self) -> str:
        """The isolation level of the last `stream` or `view`: 'snapshot' or 'read committed'."""
        return self._isolation.lower()

    @property
    def oldest_rowversion(self) -> bytes | None:
        """MIN_ACTIVE_ROWVERSION() from just before the last `view` began."""
        return self._oldest

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
        columns = described(self._session, query)
        self._described[query.sql] = columns
        return columns

    @contextmanager
    def stream(
        self, query: ResolvedQuery, *, batch_bytes: int, row_limit: int | None = None
    ) -> Iterator[Iterator[pa.RecordBatch]]:
        """Run the query and stream its rows as the driver types them, about `batch_bytes` of Arrow a batch.

        Isolation is SNAPSHOT where every database that the query touches allows it, else READ COMMITTED; inside a
        `view` the rows are of its transaction.
        """
        if row_limit == 0:  # SET ROWCOUNT 0 would mean all
            yield iter(())
            return
        try:
            cursor = self._started(query, row_limit)
            yield self._batches(cursor, batch_bytes, self._sizing(query, batch_bytes))
        finally:
            self._end_query()

    def hold(self, resource: str) -> bool:
        """Take a session application lock of that name without waiting; False where another session has it."""
        return acquire(self._session.rows, resource)

    @contextmanager
    def view(self) -> Iterator[None]:
        """One transaction for everything asked inside; rolled back at the end. They don't nest.

        Where something in it reaches a database that does not allow SNAPSHOT it begins anew as READ COMMITTED: what was
        asked until then is of an earlier moment, as it would be under READ COMMITTED anyway.
        """
        if self._viewing:
            raise RuntimeError("a view is open on this connection")
        snapshot = self.info().snapshot
        self._oldest = self._before_the_view()
        self._viewing = True
        try:
            self._set_isolation(_SNAPSHOT if snapshot else _READ_COMMITTED)
            self._session.begin()
            yield
        finally:
            self._viewing = False
            self._end_query()

    @contextmanager
    def locked(self, sql: str, wait_s: float) -> Iterator[None]:
        """Hold the locks that a small SELECT with lock hints takes; for a connection that does nothing else."""
        self._session.run(f"SET LOCK_TIMEOUT {int(wait_s * 1000)}")
        self._set_isolation(_READ_COMMITTED)
        self._session.begin()
        try:
            self._session.rows(*dynamic(sql))
            yield
        finally:
            self._session.rollback()

    def ask(self, sql: str, parameters: Sequence[BoundParameter] = ()) -> list[dict[str, Any]]:
        """Run a small SELECT, with typed `@name` parameters, and return its rows by column name."""
        batch, bound = dynamic(sql, parameters)
        if not self._viewing:
            return self._session.rows(batch, bound)
        try:
            return self._session.rows(batch, bound)
        except SourceRefused as exc:
            self._require_no_snapshot_here(exc)
        self._begin_anew()
        return self._session.rows(batch, bound)

    def frame(self, query: ResolvedQuery, schema: LandedSchema, rows: int) -> pl.DataFrame:
        """Return the first `rows` rows, as they would land, as a Polars frame without a copy: for people's eyes."""
        import polars as pl
        import pyarrow as pa

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
        if not self._viewing:
            self._set_isolation(_SNAPSHOT if self.info().snapshot else _READ_COMMITTED)
        try:
            return self._execute_query(query, row_limit)
        except SourceRefused as exc:
            self._require_no_snapshot_here(exc)
        self._begin_anew()
        return self._execute_query(query, row_limit)

    def _execute_query(self, query: ResolvedQuery, row_limit: int | None) -> Any:
        if row_limit is not None:
            self._limited = True
            self._session.run(f"SET ROWCOUNT {int(row_limit)}")
        self._session.begin()
        if not query.parameters:
            return self._session.run(query.sql)
        return self._session.run(*dynamic(query.sql, query.parameters))

    def _set_isolation(self, isolation: str) -> None:
        self._isolation = isolation
        self._session.run(f"SET TRANSACTION ISOLATION LEVEL {isolation}")

    def _require_no_snapshot_here(self, refused: SourceRefused) -> None:
        """Raise what was refused, unless it is SNAPSHOT, which READ COMMITTED is the remedy for."""
        if self._isolation != _SNAPSHOT or SNAPSHOT_NOT_ALLOWED not in refused.message.lower():
            raise refused

    def _begin_anew(self) -> None:
        """Start the transaction again as READ COMMITTED."""
        self._session.rollback()
        self._unlimit()
        self._set_isolation(_READ_COMMITTED)
        self._session.begin()

    def _before_the_view(self) -> bytes | None:
        """Ask for the lowest rowversion in flight, while no transaction of ours has a view of its own.

        Asked inside, it could pass over rows that were committed after the view began: below it, and not to be seen.
        None where the server has no such function.
        """
        try:
            (row,) = self._session.rows("SELECT MIN_ACTIVE_ROWVERSION() AS oldest")
        except SourceRefused:
            return None
        return bytes(row["oldest"])

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
        """Let go of the result, roll back unless a view goes on, and take back what was set.

        A broken connection closes itself.
        """
        if self._viewing:
            self._session.close_cursor()
        else:
            self._session.rollback()
        self._unlimit()

    def _unlimit(self) -> None:
        if self._limited:
            with suppress(BridgeError):
                self._session.run("SET ROWCOUNT 0")
                self._limited = False


def _compact(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Join batches into buffers of exact size: the driver's are twice as big as their content and more (m)."""
    import pyarrow as pa

    return pa.concat_batches([*batches, batches[0].slice(0, 0)])


@lru_cache(maxsize=1)
def _driver() -> Any:
    import mssql_python

    mssql_python.pooling(enabled=False)
    return mssql_python
