"""The way to the job store's database: its address, its connections, its transactions, its clock, its errors.

SQLite serves one machine, PostgreSQL (by psycopg 3) several replicas; any other URL of SQLAlchemy is taken as it is.
Nothing here shows an address's password or query.
"""

from __future__ import annotations

import datetime as dt
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import URL, make_url

from sql_databricks_bridge.errors import JobError, JobStoreUnavailable, SettingsError

_BUSY_S = 10
_POOL_S = 5
_MIGRATION_S = 600
_CONNECTIONS = 8
_RECYCLE_S = 1800
_ADVISORY_LOCK = 0x62726964_67656A73  # 'bridgejs'
_PSYCOPG = "postgresql+psycopg"
_BEGIN = "bridge_sqlite_begin"
_SECRET_PARAMETERS = ("pass", "pwd", "secret", "token", "key")
_REACH = "Check JOB_STORE_URL and that the database behind it runs."

_NOW = {
    "postgresql": sa.select(sa.func.clock_timestamp(type_=sa.DateTime(timezone=True))),
    "mysql": sa.select(sa.func.utc_timestamp(6, type_=sa.DateTime())),
    "mariadb": sa.select(sa.func.utc_timestamp(6, type_=sa.DateTime())),
    "mssql": sa.select(sa.func.sysutcdatetime(type_=sa.DateTime())),
}


class Overtaken(JobStoreUnavailable):
    """Another transaction has inserted a row of the same key: look again."""


class JobEngine:
    """A pool of connections to one job store; safe to use from several threads. Connects when first used."""

    def __init__(self, address: str) -> None:
        """Take SQLAlchemy's form of an address; `SettingsError` where it is none or its driver is not installed."""
        self._url = _parsed(address)
        self._secrets = _secrets(self._url)
        self._file = _sqlite_file(self._url)
        options: dict[str, Any] = {"max_overflow": 0, "pool_recycle": _RECYCLE_S}
        if self._file is not None:
            options["connect_args"] = {"timeout": _BUSY_S, "check_same_thread": False}
        try:
            if patient := self._url.drivername == _PSYCOPG:
                from sql_databricks_bridge.db import job_postgres  # its driver is an extra

                defaults = job_postgres.CONNECT_ARGUMENTS
                options["connect_args"] = {key: defaults[key] for key in defaults.keys() - self._url.query.keys()}
            self._engine = sa.create_engine(
                self._url,
                pool_size=_CONNECTIONS,
                pool_timeout=_POOL_S,
                pool_pre_ping=True,
                pool_use_lifo=True,
                hide_parameters=True,
                **options,
            )
        except (ImportError, exc.NoSuchModuleError):
            raise SettingsError(
                f"JOB_STORE_URL: the driver of {self._url.drivername} is not installed.",
                hint="For PostgreSQL: pip install 'sql-databricks-bridge[postgres]'.",
            ) from None
        if self._engine.dialect.is_async:
            raise SettingsError(
                f"JOB_STORE_URL: {self._url.drivername} is an asynchronous driver.", hint="Name another."
            )
        if self._file is not None:
            event.listen(self._engine, "do_connect", self._make_file)
            event.listen(self._engine, "connect", _set_sqlite_up)
            event.listen(self._engine, "begin", _begin_sqlite)
        if patient:
            event.listen(self._engine, "do_connect", lambda _d, _r, args, kwargs: job_postgres.connect(*args, **kwargs))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shown!r})"

    @property
    def shown(self) -> str:
        """The address without user, password and query, for messages."""
        if self._file is not None:
            return f"sqlite:///{self._file}"
        port = f":{self._url.port}" if self._url.port else ""
        return f"{self.dialect}://{self._url.host or ''}{port}/{self._url.database or ''}"

    @property
    def dialect(self) -> str:
        """SQLAlchemy's name of the database system: 'sqlite', 'postgresql', ..."""
        return self._url.get_backend_name()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that writes nothing. Errors of the database come out as the bridge's."""
        with self._transaction("DEFERRED") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that commits at its end; `Overtaken` where somebody else inserted the same key."""
        with self._transaction("IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def migrating(self) -> Iterator[sa.Connection]:
        """A writing transaction that nobody else is in, and that may take its time."""
        with self.writing() as connection:  # SQLite: nobody else writes till the commit
            if self.dialect == "postgresql":
                if self._url.drivername == _PSYCOPG:
                    raw: Any = connection.connection.driver_connection
                    raw.patience_s = 2.0 * _MIGRATION_S
                connection.detach()  # so patient a connection does not go back to the pool
                connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_MIGRATION_S}s'"))
                connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
            yield connection

    def require_file(self) -> None:
        """`SettingsError` where SQLite's file is not there and can't be made: waiting does not mend that."""
        if self._file is not None:
            try:
                self._make_file()
            except JobStoreUnavailable as error:
                raise SettingsError(error.message, hint=error.hint) from error

    def now(self, connection: sa.Connection) -> dt.datetime:
        """The store's clock, aware UTC: the server's, or with SQLite the machine's, which all its users share."""
        statement = _NOW.get(self.dialect)
        if statement is None:
            return dt.datetime.now(dt.UTC)
        now: dt.datetime = connection.execute(statement).scalar_one()
        return now.replace(tzinfo=dt.UTC) if now.tzinfo is None else now.astimezone(dt.UTC)

    def close(self) -> None:
        """Close the connections. Idempotent; used again, it connects again."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sa.Connection]:
        with self._translated(), self._engine.connect() as connection:
            connection.execution_options(**{_BEGIN: begin})
            with connection.begin():
                yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise the bridge's errors. Theirs are not chained: their text and frames may hold the address."""
        try:
            yield
        except exc.IntegrityError:
            raise Overtaken(
                f"The job store {self.shown}: somebody else wrote the same row.", hint="Try again."
            ) from None
        except exc.TimeoutError:
            raise JobStoreUnavailable(
                f"The job store {self.shown}: all {_CONNECTIONS} connections were in use for {_POOL_S} seconds.",
                hint="Try again soon.",
            ) from None
        except exc.DBAPIError as error:
            told = f"The job store {self.shown} {{}}: {self._reason(error)}."
            kinds = (exc.OperationalError, exc.InterfaceError, exc.InternalError)
            if error.connection_invalidated or isinstance(error, kinds):
                raise JobStoreUnavailable(told.format("can't be used"), hint=_REACH) from None
            raise JobError(told.format("refused a statement"), hint=_REACH) from None

    def _make_file(self, *_: object) -> None:
        """Make the file, or its mode, the owner's alone; SQLite gives its -wal and -shm files the same mode."""
        assert self._file is not None
        try:
            os.close(os.open(self._file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            with suppress(OSError):  # another user's file that we may write
                if stat.S_IMODE(self._file.stat().st_mode) & 0o077:
                    self._file.chmod(0o600)
        except OSError as error:
            raise JobStoreUnavailable(
                f"The job store {self.shown} can't be made: {error.strerror}.",
                hint="The folder must be there and writable; JOB_STORE_URL names it.",
            ) from error

    def _reason(self, error: exc.DBAPIError) -> str:
        """The first line of what the driver says; the lines below may show values."""
        reason = (str(error.orig).splitlines() or [type(error.orig).__name__])[0]
        for secret in self._secrets:
            reason = reason.replace(secret, "***")
        return reason.rstrip(". ")


def _parsed(address: str) -> URL:
    try:
        url = make_url(address)
        url.get_backend_name()
    except (exc.ArgumentError, ValueError):
        raise SettingsError(
            "JOB_STORE_URL is no address as SQLAlchemy writes them.",
            hint="Write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE, special characters %-escaped.",
        ) from None
    if url.drivername in ("postgresql", "postgres"):
        return url.set(drivername=_PSYCOPG)
    return url


def _secrets(url: URL) -> tuple[str, ...]:
    """What must not be shown, as it is and %-escaped; the longest first."""
    found = {str(url.password)} if url.password else set()
    for name, value in url.query.items():
        if any(part in name.lower() for part in _SECRET_PARAMETERS):
            found.update([value] if isinstance(value, str) else value)
    escaped = {URL.create("x", password=secret).render_as_string(hide_password=False) for secret in found}
    found |= {text.removeprefix("x://:").rpartition("@")[0] for text in escaped}
    return tuple(sorted(found - {""}, key=len, reverse=True))


def _sqlite_file(url: URL) -> Path | None:
    if url.get_backend_name() != "sqlite":
        return None
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise SettingsError(
            "JOB_STORE_URL: a job store in SQLite needs a file of its own.", hint="Write sqlite:///bridge-jobs.sqlite3."
        )
    return Path(url.database)


def _set_sqlite_up(connection: Any, _: object) -> None:
    connection.isolation_level = None  # sqlite3 would begin transactions by itself, and deferred ones only
    cursor = connection.cursor()
    _use_wal(cursor)
    cursor.execute("PRAGMA synchronous = FULL")  # what was answered with 202 outlives a loss of power
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _use_wal(cursor: Any) -> None:
    """Switch the file over, which stays so. SQLite does not wait for others with that, whatever the timeout."""
    deadline = time.monotonic() + _BUSY_S
    while cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: sa.Connection) -> None:
    # A deferred transaction that begins to write fails at once where another one wrote meanwhile, whatever the timeout.
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get(_BEGIN, 'IMMEDIATE')}")
