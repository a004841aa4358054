"""A target database for tests of the TargetConnection port: a schema of the test's own, and SQL beside the port."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any

import mssql_python
import pyarrow as pa
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.ports import TargetConnection
from sql_databricks_bridge.db.connection_string import connection_string
from sql_databricks_bridge.db.sql_server import MssqlServer
from sql_databricks_bridge.errors import EventInvalid
from sql_databricks_bridge.models.applying import ApplyPlan, Counts, Staging
from sql_databricks_bridge.models.events import LedgerEntry, LedgerOutcome, Operation
from sql_databricks_bridge.models.tables import Target, TargetColumn, TargetName

mssql_python.pooling(enabled=False)


@contextmanager
def unless_the_stand_in_lacks_it() -> Iterator[None]:
    """Skip the test, in the stand-in's own words, where it refuses something of SQL Server by name."""
    try:
        yield
    except EventInvalid as exc:
        if "The sandbox does not support" in exc.message:
            pytest.skip(exc.message)
        raise


def reader(*batches: pa.RecordBatch) -> pa.RecordBatchReader:
    """Batches of one schema as the port takes them."""
    return pa.RecordBatchReader.from_batches(batches[0].schema, batches)


class Bench:
    """A connection under test, and another one that looks at what it did. Use as a context manager."""

    def __init__(self, settings: Settings) -> None:
        """Open both and make the schema; the ledger is made where it is missing."""
        self.server = MssqlServer(settings)
        self.connection: TargetConnection = self.server.connect_target()
        self.connection.create_ledger()
        self._raw = mssql_python.connect(connection_string(settings), autocommit=True)
        self.schema = f"s_{uuid.uuid4().hex[:12]}"
        self.run(f"CREATE SCHEMA {self.schema}")
        self._before = frozenset(self._staging_names())
        self._staged: list[Staging] = []

    def target(self, name: str, columns: str, suffix: str = "") -> Target:
        """Create a table in the schema (`columns` as CREATE TABLE has them) and look it up by the port."""
        self.run(f"CREATE TABLE {self.schema}.[{name.replace(']', ']]')}] ({columns}){suffix}")
        return self.connection.find(TargetName(self.schema, name))

    def run(self, sql: str) -> None:
        """Run a batch beside the port."""
        with self._raw.cursor() as cursor:
            cursor.execute(sql)
            while cursor.nextset():
                pass

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a SELECT."""
        with self._raw.cursor() as cursor:
            cursor.execute(sql)
            names = [entry[0] for entry in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def tuples(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a SELECT, without names."""
        return [tuple(row.values()) for row in self.rows(sql)]

    def count(self, table: str, where: str = "1 = 1") -> int:
        """How many rows a table has."""
        return int(self.rows(f"SELECT COUNT_BIG(*) AS n FROM {table} WHERE {where}")[0]["n"])

    def stage(
        self, target: Target, columns: Sequence[TargetColumn], keys: Sequence[TargetColumn], *rows: pa.RecordBatch
    ) -> Staging:
        """Stage by the connection under test; dropped when the test ends."""
        staged = self.connection.stage(target, columns, keys, reader(*rows))
        self.forget(staged)
        return staged

    def forget(self, staged: Staging) -> None:
        """Drop it when the test ends."""
        self._staged.append(staged)

    def plan(self, operation: Operation, target: Target, rows: pa.RecordBatch, *keys: str, **more: Any) -> ApplyPlan:
        """Stage rows, whose columns are named like the target's, and plan an event of its own for them."""
        columns = [_found(target, name) for name in rows.schema.names]
        key_columns = [_found(target, name) for name in keys]
        staged = self.stage(target, columns, key_columns, rows)
        others = tuple(column for column in columns if column not in key_columns)
        changes: dict[str, Any] = {"inserts": tuple(columns), "updates": others, "entry": entry()}
        return ApplyPlan(operation, target, staging=staged, keys=tuple(key_columns), **(changes | more))

    def apply(self, plan: ApplyPlan) -> Counts:
        """Apply by the connection under test; return what was counted."""
        applied = Applied(plan)
        stands = self.connection.apply(plan, applied)
        assert applied.counts is not None, f"nothing was applied: {stands}"
        assert stands.rows_affected == applied.counts.affected
        return applied.counts

    def staging_tables(self) -> list[str]:
        """Names of the staging tables that came since the test began, but for those of `stage`."""
        known = self._before | {staged.name for staged in self._staged}
        return [name for name in self._staging_names() if name not in known]

    def await_release(self, staging_table: str) -> None:
        """Wait until the session that holds the name of a staging table is gone."""
        resource = f"bridge:staging:{staging_table}"
        (row,) = self.rows(
            f"DECLARE @r int; EXEC @r = sp_getapplock '{resource}', 'Exclusive', 'Session', 30000; SELECT @r AS result"
        )
        assert row["result"] >= 0
        self.run(f"EXEC sp_releaseapplock '{resource}', 'Session'")

    def _staging_names(self) -> list[str]:
        found = self.rows(
            "SELECT t.name FROM sys.tables AS t INNER JOIN sys.schemas AS s ON s.schema_id = t.schema_id "
            "WHERE s.name = 'bridge' AND t.name LIKE 'stg[_]%' ORDER BY t.name"
        )
        return [row["name"] for row in found]

    def ledger(self, event_id: str) -> list[Mapping[str, Any]]:
        """The ledger's rows of an event."""
        return list(self.rows(f"SELECT * FROM bridge.applied_events WHERE event_id = N'{event_id}'"))

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        for staged in self._staged:
            self.connection.discard(staged)
        self.connection.close()
        self._raw.close()


def _found(target: Target, name: str) -> TargetColumn:
    column = target.column(name)
    assert column is not None, f"{target} has no column {name}"
    return column


class Applied:
    """A `before_commit` that takes note of the counts and puts them into the ledger's row."""

    def __init__(self, plan: ApplyPlan, raises: BaseException | None = None) -> None:
        self.counts: Counts | None = None
        self._plan = plan
        self._raises = raises

    def __call__(self, counts: Counts) -> LedgerEntry:
        self.counts = counts
        if self._raises is not None:
            raise self._raises
        return replace(self._plan.entry, rows_affected=counts.affected, message="as counted")


def entry(event_id: str | None = None, generation: int = 1) -> LedgerEntry:
    """A ledger's row to commit, of an event of its own unless one is named."""
    return LedgerEntry(event_id or uuid.uuid4().hex, generation, bytes(32), LedgerOutcome.APPLIED, source_version=3)
