"""What the tests of the Publisher port share: files in the volume, a claimed target, and its rows."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.drift import delta_type
from sql_databricks_bridge.core.ports import Lakehouse, Publisher
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from sql_databricks_bridge.db.identifiers import databricks_identifier
from sql_databricks_bridge.models.names import Destination
from sql_databricks_bridge.models.publishing import DELETED_COLUMN, RANGE_COLUMN, DeltaColumn, Load
from sql_databricks_bridge.models.tables import SourceName
from tests.conftest import StandIn

CONTROL = {DELETED_COLUMN, RANGE_COLUMN}


def quoted(name: SourceName) -> str:
    return databricks_identifier(name.catalog, name.schema, name.table)


def statements(server: StandIn, call: Callable[[], object]) -> list[str]:
    """The first words of the statements that a call sends."""
    before = len(server.requests())
    call()
    sent = [each["statement"] for each in server.requests()[before:] if each["path"] == "/api/2.0/sql/statements"]
    return [str(statement).split()[0] for statement in sent]


@dataclass(slots=True)
class Desk:
    """A target of one test's own, claimed by `owner`, and what is needed to publish to it."""

    lakehouse: Lakehouse
    destination: Destination
    states: SourceName
    target: SourceName
    owner: str = "first-1"
    landed: list[str] = field(default_factory=list)

    @property
    def publisher(self) -> Publisher:
        return self.lakehouse.publisher(self.states)

    def claim(self, owner: str | None = None) -> None:
        self.owner = owner or self.owner
        self.publisher.claim(self.target, "co", "q", self.owner)

    def land(self, *parts: pa.Table) -> tuple[str, ...]:
        """Upload each table as a Parquet file of a new folder that is named as runs are."""
        folder = f"{self.destination.root}/pub-{uuid.uuid4().hex[:12]}/run=r-1"
        self.lakehouse.make_directory(folder)
        paths = []
        with tempfile.TemporaryDirectory() as local:
            for number, part in enumerate(parts):
                file = Path(local) / f"part-{number:05}.parquet"
                pq.write_table(part, file)
                paths.append(f"{folder}/{file.name}")
                self.lakehouse.upload(paths[-1], file)
        self.landed += [*paths, folder, folder.rpartition("/")[0]]
        return tuple(paths)

    def clear(self) -> None:
        """Drop the table and what was landed for it."""
        self.lakehouse.execute(f"DROP TABLE IF EXISTS {quoted(self.target)}")
        for path in self.landed:
            (self.lakehouse.delete_file if path.endswith(".parquet") else self.lakehouse.delete_directory)(path)

    def load(self, *parts: pa.Table, **changes: Any) -> Load:
        """A load of those rows, with the columns that they have."""
        schema = parts[0].schema
        made = Load(
            table=self.target,
            target=self.target,
            owner=self.owner,
            files=self.land(*parts),
            columns=tuple(DeltaColumn(each.name, delta_type(each.type)) for each in schema if each.name not in CONTROL),
            landed=frozenset(schema.names),
        )
        return replace(made, **changes)

    def full(self, *parts: pa.Table, **changes: Any) -> Load:
        """Replace the table by those rows; return the load."""
        load = self.load(*parts, **changes)
        self.publisher.replace(load)
        return load

    def rows(self, columns: str = "*", order: str = "1") -> list[dict[str, Any]]:
        statement = f"SELECT {columns} FROM {quoted(self.target)} ORDER BY {order} NULLS FIRST"
        return list(self.lakehouse.execute(statement).to_pylist())

    def version(self) -> int:
        return self.lakehouse.table_version(self.target)


def people(*rows: tuple[Any, ...], deleted: bool = False) -> pa.Table:
    """Rows (id, name), with the mark of deleted ones where `deleted` is set: (id, name, gone)."""
    fields: list[tuple[str, pa.DataType]] = [("id", pa.int64()), ("name", pa.string())]
    if deleted:
        fields.append((DELETED_COLUMN, pa.bool_()))
    return pa.table(
        [pa.array([row[at] for row in rows], kind) for at, (_, kind) in enumerate(fields)], schema=pa.schema(fields)
    )


def ranged(*rows: tuple[int, int | None, str]) -> pa.Table:
    """Rows (range, id, name)."""
    schema = pa.schema([(RANGE_COLUMN, pa.int64()), ("id", pa.int64()), ("name", pa.string())])
    return pa.table([pa.array([row[at] for row in rows], schema.types[at]) for at in range(3)], schema=schema)


@pytest.fixture(scope="module")
def lakehouse(lakehouse_settings: Settings) -> Lakehouse:
    if not lakehouse_settings.databricks_warehouse_id:
        pytest.skip("DATABRICKS_WAREHOUSE_ID is not set")
    return DatabricksLakehouse(lakehouse_settings)


@pytest.fixture(scope="module")
def states(lakehouse: Lakehouse, destination: Destination) -> Iterator[SourceName]:
    """A table of states of this module's own."""
    made = SourceName(destination.catalog, destination.schema, f"states-{uuid.uuid4().hex[:12]}")
    lakehouse.publisher(made).create()
    yield made
    lakehouse.execute(f"DROP TABLE IF EXISTS {quoted(made)}")


@pytest.fixture
def desk(lakehouse: Lakehouse, destination: Destination, states: SourceName) -> Iterator[Desk]:
    """A target of this test's own; nothing is there yet, and nobody has claimed it."""
    target = SourceName(destination.catalog, destination.schema, f"pub-{uuid.uuid4().hex[:12]}")
    made = Desk(lakehouse, destination, states, target)
    yield made
    made.clear()


@pytest.fixture
def claimed(desk: Desk) -> Desk:
    """The same, claimed."""
    desk.claim()
    return desk
