"""A source database of a test's own, and a mirror that applies increments as the publisher does."""

from __future__ import annotations

import decimal
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from sql_databricks_bridge.core import increments
from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.session import Session
from sql_databricks_bridge.db.sql_server import MssqlConnection
from sql_databricks_bridge.models.jobs import BoundParameter, ResolvedQuery
from sql_databricks_bridge.models.publishing import (
    DELETED_COLUMN,
    RANGE_COLUMN,
    Incremental,
    IncrementKind,
    Publication,
    PublishedState,
    Watermark,
    Way,
)
from sql_databricks_bridge.models.tables import SourceName
from tests.contract.own_database import ddl, own_database

TARGET = SourceName("main", "gold", "t")
_DIGESTS = "/Volumes/digests"

Row = dict[str, Any]


@dataclass
class Bench:
    """`connection` is under test, `writer` changes the source, and `open` makes more sessions of either kind."""

    connection: MssqlConnection
    writer: Session
    sessions: Any

    def write(self, *statements: str) -> None:
        """Run statements, each in a batch of its own; skips the test where the stand-in refuses one by name."""
        ddl(self.writer, *statements)

    def read(self, sql: str, *parameters: BoundParameter) -> list[Row]:
        """The rows of a SELECT, as the driver's Arrow has them."""
        return self.mirror(sql, None, *parameters).full()

    def mirror(self, sql: str, incremental: Incremental | None, *parameters: BoundParameter) -> Mirror:
        """A mirror of a query that knows nothing yet."""
        query = ResolvedQuery("t", "queries/t.sql", sql, "0" * 64, parameters=parameters)
        return Mirror(self.connection, query, Publication(TARGET, incremental=incremental))


@contextmanager
def bench(settings: Settings) -> Iterator[Bench]:
    """A database that allows SNAPSHOT, a connection to it, and a writer."""
    with own_database(settings) as connect:
        writer = connect()
        ddl(writer, "ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON")
        yield Bench(MssqlConnection(connect()), writer, connect)


@dataclass
class Mirror:
    """What a published table would hold; each `publish` brings it up to date by one way."""

    connection: MssqlConnection
    query: ResolvedQuery
    publication: Publication
    state: PublishedState | None = None
    rows: list[Row] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    streamed: int = 0

    def publish(self, force_full: str | None = None) -> Way:
        """Decide, stream, apply, settle: as core/publishing.py does, in memory."""
        with self.connection.view():
            columns = self.connection.describe(self.query)
            way = increments.decide(
                self.connection,
                self.query,
                columns,
                self.publication,
                self.state,
                self.files.get,
                force_full=force_full,
            )
            estimate = increments.estimate(self.connection, self.query, columns, self.publication, way)
            found = self._streamed(increments.statement(self.query, columns, self.publication, way))
        assert estimate == len(found)
        self.streamed = len(found)
        self._apply(way, found)
        self._settle(way)
        return way

    def full(self) -> list[Row]:
        """The query's rows as they are."""
        return self._streamed(self.query)

    def data(self) -> list[Row]:
        """The mirror's rows without the bridge's own column."""
        return [{name: value for name, value in row.items() if name != RANGE_COLUMN} for row in self.rows]

    def _streamed(self, query: ResolvedQuery) -> list[Row]:
        with self.connection.stream(query, batch_bytes=1 << 20) as batches:
            found = list(batches)
        return pa.Table.from_batches(found).to_pylist() if found else []

    def _apply(self, way: Way, found: list[Row]) -> None:
        if way.kind is None:
            self.rows = found
        elif way.kind is IncrementKind.FINGERPRINT:
            assert {row[RANGE_COLUMN] for row in found} <= set(way.ranges), "rows of ranges that are not replaced"
            self.rows = [row for row in self.rows if row[RANGE_COLUMN] not in way.ranges] + found
        else:
            incremental = self.publication.incremental
            assert incremental is not None
            keys = [tuple(row[name] for name in incremental.key) for row in found]
            assert len(set(keys)) == len(keys), "a key that comes twice makes a MERGE fail"
            kept = [row for row in self.rows if tuple(row[name] for name in incremental.key) not in set(keys)]
            self.rows = kept + [
                {name: value for name, value in row.items() if name != DELETED_COLUMN}
                for row in found
                if not row.get(DELETED_COLUMN)
            ]

    def _settle(self, way: Way) -> None:
        generation = 1 if self.state is None else self.state.generation + 1
        high = way.high
        if way.digests is not None:
            high = Watermark(IncrementKind.FINGERPRINT, f"{_DIGESTS}/{generation}")
            self.files = {high.value: way.digests}
        self.state = PublishedState(
            target=TARGET,
            table=TARGET,
            country="c",
            query="t",
            owner="o",
            generation=generation,
            definition=increments.definition(self.query, self.publication),
            watermark=high,
        )


def sorted_rows(rows: Sequence[Row]) -> list[Row]:
    """In an order that NULLs don't spoil."""
    return sorted(rows, key=lambda row: [(value is not None, str(value)) for value in row.values()])


@dataclass
class Changer:
    """Random changes of `dbo.t (id int, grp varchar(10), name nvarchar(40), amount decimal(9,2), ...)`, from a seed."""

    bench: Bench
    chance: random.Random
    table: str = "dbo.t"
    nullable_key: bool = False
    text_key: bool = False
    deletes: bool = True
    next_id: int = 1

    def round(self) -> None:
        """Some inserts, then some updates, key changes and deletes of rows that are there, or nothing at all."""
        if self.chance.random() < 0.1:
            return
        self.insert(self.chance.randint(0, 6))
        for _ in range(self.chance.randint(0, 3)):
            self._update()
        if self.deletes and self.chance.random() < 0.7:
            self.bench.write(f"DELETE FROM {self.table} WHERE id % {self.chance.randint(7, 13)} = 3")
        if self.deletes and self.chance.random() < 0.5:
            shift = self.next_id + 500
            self.bench.write(f"UPDATE {self.table} SET id = id + {shift} WHERE id = {self._id()}")
            self.next_id = shift + self.next_id

    def insert(self, rows: int) -> None:
        """Insert so many rows in one statement."""
        values = []
        for _ in range(rows):
            key = "NULL" if self.nullable_key and self.chance.random() < 0.15 else str(self._step())
            group = "'" + self.chance.choice("abc") + "'" if not self.nullable_key or key != "NULL" else "NULL"
            values.append(f"({key}, {group}, {self._name()}, {self._amount()})")
        if values:
            self.bench.write(f"INSERT INTO {self.table} (id, grp, name, amount) VALUES {', '.join(values)}")

    def _step(self) -> int:
        self.next_id += self.chance.randint(1, 3)
        return self.next_id if self.chance.random() < 0.7 or not self.nullable_key else -self.next_id

    def _update(self) -> None:
        where = self.chance.choice([f"id = {self._id()}", f"id % 5 = {self.chance.randint(0, 4)}"])
        if self.nullable_key and self.chance.random() < 0.3:
            where = "id IS NULL"
        self.bench.write(f"UPDATE {self.table} SET name = {self._name()}, amount = {self._amount()} WHERE {where}")

    def _id(self) -> int:
        return self.chance.randint(1, max(1, self.next_id))

    def _name(self) -> str:
        return self.chance.choice(["NULL", "N'N'", "N''", "N'ä;1:'", f"N'n{self.chance.randint(0, 99)} '"])

    def _amount(self) -> str:
        return self.chance.choice(["NULL", str(decimal.Decimal(self.chance.randint(-999, 999)).scaleb(-2))])
