"""A database of a test's own: the bridge's schema has one name, so tests of it must not meet in one database."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import mssql_python
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.binding import Bound
from sql_databricks_bridge.db.connection_string import connection_string
from sql_databricks_bridge.db.session import Session
from sql_databricks_bridge.errors import SourceError, SourceRefused

_GONE_S = 20.0

Connect = Callable[[], Session]


@contextmanager
def own_database(settings: Settings) -> Iterator[Connect]:
    """Create it; give what opens sessions in it; close them and drop it. Needs the right to create databases."""
    name = f"bridge_test_{uuid.uuid4().hex[:12]}"
    opened: list[Session] = []

    def connect(database: str = name) -> Session:
        mssql_python.pooling(enabled=False)  # a pooled connection would keep its locks
        raw = mssql_python.connect(connection_string(settings, database=database), autocommit=True)
        opened.append(Session(raw))
        return opened[-1]

    owner = connect(settings.sqlserver_database or "master")
    owner.rows(f"CREATE DATABASE {name}")
    try:
        yield connect
    finally:
        for session in opened[1:]:
            session.close()
        _drop(owner, name)
        owner.close()


def _drop(owner: Session, name: str) -> None:
    """Drop it once the server has noticed that its sessions are gone."""
    sessions = f"SELECT COUNT(*) AS n FROM sys.dm_exec_sessions WHERE database_id = DB_ID(N'{name}')"
    give_up = time.monotonic() + _GONE_S
    while count(owner, sessions) and time.monotonic() < give_up:
        pass  # each turn is a question to the server
    try:
        owner.rows(f"DROP DATABASE {name}")
    except SourceError:  # who may not see other logins' sessions throws them out
        owner.rows(f"ALTER DATABASE {name} SET SINGLE_USER WITH ROLLBACK IMMEDIATE")
        owner.rows(f"DROP DATABASE {name}")


def ddl(session: Session, *statements: str) -> None:
    """Run statements, each in a batch of its own; skip the test where the stand-in says that it has no such thing."""
    for statement in statements:
        try:
            session.rows(statement)
        except SourceRefused as exc:
            if exc.message.startswith("The sandbox does not support"):
                pytest.skip(exc.message)
            raise


def count(session: Session, statement: str, bound: Bound | None = None) -> int:
    """The one number of a query that names it n."""
    (row,) = session.rows(statement, bound)
    return int(row["n"])
