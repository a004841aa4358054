"""Connections of Microsoft's driver itself to a database of a test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mssql_python

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.connection_string import connection_string
from tests.contract.own_database import own_database

Cursors = Callable[[], Any]


@contextmanager
def driver_database(settings: Settings) -> Iterator[Cursors]:
    """Give what opens cursors, each on an autocommit connection of its own; SNAPSHOT is allowed there."""
    with own_database(settings) as connect:
        (row,) = connect().rows("SELECT DB_NAME() AS n")
        opened: list[Any] = []

        def cursors() -> Any:
            opened.append(mssql_python.connect(connection_string(settings, database=row["n"]), autocommit=True))
            return opened[-1].cursor()

        run(cursors(), "ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON")
        try:
            yield cursors
        finally:
            for connection in opened:
                connection.close()


def run(cursor: Any, sql: str, *values: object) -> None:
    """Execute a batch to its end."""
    cursor.execute(sql, *values)
    while cursor.nextset():
        pass


def rows(cursor: Any, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows of a batch's first result."""
    cursor.execute(sql, *values)
    return [tuple(row) for row in cursor.fetchall()]
