"""A real Spark Connect session to a Sail server in this process, with Delta tables.

Sail 0.7 takes no parameters in commands and has no DESCRIBE HISTORY; Databricks has both. For those two this session
does what Spark would: it puts a parameter's literal into the command, and reads the versions from the Delta log.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_HISTORY = re.compile(r"DESCRIBE HISTORY (\S+) LIMIT 1")


class SailSession:
    """The part of a SparkSession that the SDK uses. `statements` are those it was given, with their args."""

    def __init__(self, session: Any, folder: Path) -> None:
        self._session = session
        self._folder = folder
        self.statements: list[tuple[str, Mapping[str, Any]]] = []
        self.failures: list[Exception] = []

    def sql(self, statement: str, args: Mapping[str, Any] | None = None) -> Any:
        self.statements.append((statement, dict(args or {})))
        if self.failures:
            raise self.failures.pop(0)
        if history := _HISTORY.fullmatch(statement):
            return self._history(history[1].replace("`", ""))
        if statement.startswith("MERGE") and args:
            for name, value in args.items():
                literal = value.replace("\\", "\\\\").replace("'", "\\'")
                statement = statement.replace(f":{name}", f"'{literal}'")
            return self._session.sql(statement)
        return self._session.sql(statement, args=args) if args else self._session.sql(statement)

    def make(self, name: str, definition: str) -> None:
        """Make a Delta table; `definition` is its columns."""
        self._session.sql(f"CREATE TABLE {name} ({definition}) USING DELTA LOCATION '{self._folder / name}'")

    def _history(self, name: str) -> Any:
        versions = [int(file.stem) for file in (self._folder / name / "_delta_log").glob("*.json")]
        return self._session.sql(f"SELECT {max(versions)} AS version, current_timestamp() AS timestamp")


@contextmanager
def sail_session(folder: Path) -> Iterator[SailSession]:
    """Start both; catalog `bridge`, schema `events`."""
    os.environ.setdefault("RUST_LOG", "off")
    os.environ["SAIL_CATALOG__LIST"] = '[{name="bridge", type="memory", initial_database=["default"]}]'
    os.environ["SAIL_CATALOG__DEFAULT_CATALOG"] = "bridge"
    with warnings.catch_warnings(), _main_module_of_a_file():
        warnings.simplefilter("ignore")  # pyspark has no word yet for the newest pandas
        from pysail.spark import SparkConnectServer
        from pyspark.sql import SparkSession

        server = SparkConnectServer("127.0.0.1", 0)
        server.start(background=True)
        host, port = server.listening_address
        session = SparkSession.builder.remote(f"sc://{host}:{port}").getOrCreate()
    session.sql("CREATE SCHEMA bridge.events")
    try:
        yield SailSession(session, folder)
    finally:
        session.stop()
        server.stop()


@contextmanager
def _main_module_of_a_file() -> Iterator[None]:
    """pyspark takes a main module without a file, such as pytest-xdist's workers have, for a doctest of its own."""
    main: Any = sys.modules["__main__"]
    if hasattr(main, "__file__"):
        yield
        return
    main.__file__ = __file__
    try:
        yield
    finally:
        del main.__file__
