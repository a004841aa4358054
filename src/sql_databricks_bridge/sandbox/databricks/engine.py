"""The SQL engine behind the stand-in: one Sail server in this process and one Spark Connect session to it.

Sail's memory catalogs belong to a session, so that there is one session for everybody, and the tables of the data
folder are registered in it again at each start.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from .catalog import UnityCatalog
from .failures import from_engine
from .names import TableName, literal, quoted

_log = logging.getLogger(__name__)

_START_LIMIT_S = 120


class Engine:
    """Starts in the background; everything waits for it where it must."""

    def __init__(self, catalog: UnityCatalog) -> None:
        self._catalog = catalog
        self._session: Future[Any] = Future()
        self._server: Any = None
        threading.Thread(target=self._start, daemon=True, name="sail").start()

    def rows(self, sql: str, parameters: dict[str, Any], tag: str) -> tuple[Any, Iterator[Any]]:
        """Run a query: its Arrow schema, and its rows as a stream of Arrow tables. Raises `SqlFailure`."""
        session = self._tagged(tag)
        try:
            frame = session.sql(sql, args=parameters)
            schema = _arrow_schema(frame.schema)
        except Exception as error:
            raise from_engine(error) from error
        return schema, _stream(session, frame, schema)

    def run(self, sql: str, tag: str) -> None:
        """Run a command; the engine takes no parameters there. Raises `SqlFailure`."""
        session = self._tagged(tag)
        try:
            session.sql(sql).toArrow()
        except Exception as error:
            raise from_engine(error) from error

    def column_names(self, sql: str) -> list[str]:
        """The result columns of a query, without running it. Raises `SqlFailure`."""
        try:
            return list(self._session.result(_START_LIMIT_S).sql(sql).schema.names)
        except Exception as error:
            raise from_engine(error) from error

    def register(self, name: TableName, folder: Path) -> None:
        """Make a table whose Delta log exists known to the session, in place of one of that name."""
        _register(self._session.result(_START_LIMIT_S), name, folder)

    def unregister(self, name: TableName) -> None:
        """Take a table out of the session."""
        self.run(f"DROP TABLE IF EXISTS {name.sql}", "ddl")

    def interrupt(self, tag: str) -> None:
        """Stop what runs under a tag, as far as it still runs."""
        if self._session.done() and self._session.exception() is None:
            try:
                self._session.result().interruptTag(tag)
            except Exception:  # noqa: BLE001 - a cancel may silently fail; the statement's own end tells
                _log.info("interrupt of %s failed", tag, exc_info=True)

    def stop(self) -> None:
        """Stop the server."""
        if self._server is not None:
            self._server.stop()

    def _tagged(self, tag: str) -> Any:
        session = self._session.result(_START_LIMIT_S)
        session.clearTags()  # tags belong to the thread
        session.addTag(tag)
        return session

    def _start(self) -> None:
        try:
            catalogs = self._catalog.catalogs()
            os.environ.setdefault("RUST_LOG", "off")
            os.environ["SAIL_CATALOG__LIST"] = _toml(catalogs)
            os.environ["SAIL_CATALOG__DEFAULT_CATALOG"] = catalogs[0]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pyspark has no word yet for the newest pandas
                from pysail.spark import SparkConnectServer
                from pyspark.sql import SparkSession

                self._server = SparkConnectServer("127.0.0.1", 0)
                self._server.start(background=True)
                host, port = self._server.listening_address
                session = SparkSession.builder.remote(f"sc://{host}:{port}").getOrCreate()
            for catalog in self._catalog.catalogs():
                for schema in self._catalog.schemas(catalog):
                    session.sql(f"CREATE SCHEMA IF NOT EXISTS {quoted(catalog, schema.name)}")
            for catalog, schema_name, table in self._catalog.tables():
                _register(session, TableName(catalog, schema_name, table.name), self._catalog.table_folder(table))
            self._session.set_result(session)
        except BaseException as error:
            _log.exception("the SQL engine did not start")
            self._session.set_exception(error)
            raise


def _register(session: Any, name: TableName, folder: Path) -> None:
    session.sql(f"CREATE SCHEMA IF NOT EXISTS {quoted(name.catalog, name.schema)}")
    session.sql(f"DROP TABLE IF EXISTS {name.sql}")
    session.sql(f"CREATE TABLE {name.sql} USING DELTA LOCATION {literal(str(folder))}")


def _arrow_schema(schema: Any) -> Any:
    from pyspark.sql.pandas.types import to_arrow_schema

    return to_arrow_schema(schema, timezone="Etc/UTC")


def _stream(session: Any, frame: Any, schema: Any) -> Iterator[Any]:
    # The client's own streaming call: toArrow() would hold the whole result in memory.
    client = session.client
    try:
        for item in client.to_table_as_iterator(frame._plan.to_proto(client), {}):
            if hasattr(item, "num_rows"):
                yield item.cast(schema)
    except Exception as error:
        raise from_engine(error) from error


def _toml(catalogs: list[str]) -> str:
    entries = (f'{{name={json.dumps(each)}, type="memory", initial_database=["default"]}}' for each in catalogs)
    return f"[{', '.join(entries)}]"
