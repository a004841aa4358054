"""Job stores to test: on SQLite, and on a PostgreSQL server of the session's own. Import the fixtures by name."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sql_databricks_bridge.db.job_store import SqlAlchemyJobStore
from sql_databricks_bridge.models.job_records import Job, NewJob
from sql_databricks_bridge.models.jobs import ExtractionPlan, ResolvedQuery
from sql_databricks_bridge.models.names import Destination
from sql_databricks_bridge.sandbox.sql_server.engine.postgres import Postgres

_numbers = itertools.count(1)


class PostgresServer:
    """A running server; databases are dropped with it."""

    def __init__(self, server: Postgres) -> None:
        self.server = server
        self.run("CREATE DATABASE migrated")
        store = SqlAlchemyJobStore(self.url("migrated"))
        store.upgrade()
        store.close()

    def run(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement of the test's own; its rows."""
        with self._connect(database) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def url(self, database: str, more: str = "") -> str:
        """The address of a database of it."""
        return f"postgresql://postgres@/{database}?host={self.server.socket_dir}{more}"

    def database(self, *, migrated: bool = True) -> str:
        """Make a new database; return its name."""
        name = f"store{next(_numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {'migrated' if migrated else 'template1'}")
        return name

    def _connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(host=str(self.server.socket_dir), user="postgres", dbname=database, autocommit=True)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """The session's server."""
    server = Postgres(tmp_path_factory.mktemp("postgres") / "data")
    try:
        yield PostgresServer(server)
    finally:
        os.kill(server.pid, signal.SIGQUIT)  # at once: nobody wants its data written down
        server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty job store with its tables."""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        return server.url(server.database())
    address = f"sqlite:///{tmp_path / 'jobs.sqlite3'}"
    with_tables = SqlAlchemyJobStore(address)
    with_tables.upgrade()
    with_tables.close()
    return address


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database without tables."""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        return server.url(server.database(migrated=False))
    return f"sqlite:///{tmp_path / 'jobs.sqlite3'}"


@pytest.fixture
def store(url: str) -> Iterator[SqlAlchemyJobStore]:
    """An open store without jobs."""
    opened = SqlAlchemyJobStore(url)
    yield opened
    opened.close()


def new_job(job_id: str = "j1", *, user: str = "ann", country: str = "co", queries: tuple[str, ...] = ("q",)) -> NewJob:
    """A job to add."""
    resolved = tuple(ResolvedQuery(name, f"{name}.sql", "SELECT 1", "00") for name in queries)
    plan = ExtractionPlan(job_id, country, Destination("c", "s", "v"), resolved, "db", warnings=("of the plan",))
    return NewJob(user, plan, ("srv.db.dbo.t",), f"request-{job_id}")


def add(store: SqlAlchemyJobStore, *job_ids: str) -> list[Job]:
    """Add jobs one after the other."""
    return [store.add(new_job(job_id), queue_limit=1000) for job_id in job_ids]
