"""What the tests of publication share: a source that changes at random, runs of it, and the table that must follow."""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sql_databricks_bridge.core import jobs
from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.jobs import RunOptions
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from sql_databricks_bridge.db.identifiers import databricks_identifier
from sql_databricks_bridge.db.session import Session
from sql_databricks_bridge.db.sql_server import MssqlServer
from sql_databricks_bridge.models.jobs import QueryOutcome, ResolvedQuery
from sql_databricks_bridge.models.names import Destination
from sql_databricks_bridge.models.publishing import (
    DELETED_COLUMN,
    RANGE_COLUMN,
    DriftPolicy,
    Incremental,
    IncrementKind,
    Publication,
    PublicationOutcome,
    PublishedState,
)
from sql_databricks_bridge.models.tables import SourceName
from tests.contract.own_database import ddl, own_database
from tests.integration.extraction_support import options, plan, query, source_table

COUNTRY = "Publica"
FIRST = dt.datetime(2026, 1, 1)  # noqa: DTZ001  # a datetime2 has no zone

CREATE: Mapping[IncrementKind | None, str] = {
    None: "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY, name nvarchar(20) NULL, amount decimal(10,2) NULL)",
    IncrementKind.ROWVERSION: "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY, name nvarchar(20) NULL,"
    " amount decimal(10,2) NULL, rv rowversion)",
    IncrementKind.CURSOR: "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY, name nvarchar(20) NULL,"
    " amount decimal(10,2) NULL, changed_at datetime2(3) NULL)",
    IncrementKind.CHANGE_TRACKING: "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY, name nvarchar(20) NULL,"
    " amount decimal(10,2) NULL)",
    IncrementKind.CDC: "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY, name nvarchar(20) NULL,"
    " amount decimal(10,2) NULL)",
    IncrementKind.FINGERPRINT: "CREATE TABLE dbo.t (id int NULL, name nvarchar(20) NULL, amount decimal(10,2) NULL)",
}

PREPARE: Mapping[IncrementKind | None, Sequence[str]] = {
    IncrementKind.CHANGE_TRACKING: (
        "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = OFF)",
        "ALTER TABLE dbo.t ENABLE CHANGE_TRACKING",
    ),
    IncrementKind.CDC: (
        "EXEC sys.sp_cdc_enable_db",
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N't', @role_name = NULL,"
        " @supports_net_changes = 1",
    ),
}

SETTINGS_OF = {
    IncrementKind.ROWVERSION: Incremental(IncrementKind.ROWVERSION, ("id",), column="rv"),
    IncrementKind.CURSOR: Incremental(IncrementKind.CURSOR, ("id",), column="changed_at", lag=60),
    IncrementKind.CHANGE_TRACKING: Incremental(IncrementKind.CHANGE_TRACKING, ("id",), table="dbo.t"),
    IncrementKind.CDC: Incremental(IncrementKind.CDC, ("id",), capture="dbo_t"),
    IncrementKind.FINGERPRINT: Incremental(IncrementKind.FINGERPRINT, ("id",), range_rows=8),
}


@dataclass(slots=True)
class Bench:
    """A source table `dbo.t` in a database of its own, and the Delta table that follows it."""

    session: Session
    settings: Settings
    lakehouse: DatabricksLakehouse
    destination: Destination
    spool: Path
    kind: IncrementKind | None
    rng: random.Random
    states: SourceName
    target: SourceName
    drift: DriftPolicy = DriftPolicy.EVOLVE
    soft_delete: str | None = None
    query: ResolvedQuery = field(default_factory=lambda: query("q", "SELECT * FROM dbo.t"))
    tick: int = 0

    @property
    def asked(self) -> ResolvedQuery:
        """The query with its table."""
        incremental = SETTINGS_OF[self.kind] if self.kind is not None else None
        publication = Publication(self.target, self.drift, self.soft_delete, incremental)
        return dataclasses.replace(self.query, publish=publication)

    def run(self, **changes: Any) -> QueryOutcome:
        """One run of the query, as `bridge extract` does it."""
        report = jobs.run(
            plan(self.destination, COUNTRY, self.settings, self.asked, **changes),
            MssqlServer(self.settings),
            self.lakehouse,
            options=self.options,
        )
        return report.queries[0]

    @property
    def options(self) -> RunOptions:
        """Small parts, and the test's own table of states."""
        return options(self.spool, states=self.states)

    def published(self, **changes: Any) -> PublicationOutcome:
        """The same, which must end well; what it did to the table."""
        outcome = self.run(**changes)
        assert outcome.error is None, outcome.error
        assert outcome.publication is not None
        return outcome.publication

    def state(self) -> PublishedState:
        """What stands for the table."""
        found = self.lakehouse.publisher(self.states).find(self.target)
        assert found is not None
        return found

    def source(self) -> Counter[tuple[tuple[str, Any], ...]]:
        """The source's rows, without NULLs: a column that is not there is as good as one that is NULL."""
        return _rows(source_table(self.settings, self.query).to_pylist())

    def table(self, name: SourceName | None = None) -> Counter[tuple[tuple[str, Any], ...]]:
        """The published rows, without the bridge's own columns and marked rows."""
        found = name or self.target
        rows = self.lakehouse.execute(
            f"SELECT * FROM {databricks_identifier(found.catalog, found.schema, found.table)}"
        ).to_pylist()
        if self.soft_delete is not None:
            rows = [row for row in rows if row.pop(self.soft_delete) is None]
        return _rows(rows)

    def require_equal(self) -> None:
        """The table holds exactly the source's rows."""
        source, table = self.source(), self.table()
        assert source == table, (
            f"missing {list((source - table).elements())[:5]}, extra {list((table - source).elements())[:5]}"
        )

    def change(self, statements: int) -> None:
        """Some random inserts, updates, and, where the kind notices them, deletes and changes of keys."""
        for _ in range(statements):
            self.session.rows(self._statement())

    def _statement(self) -> str:
        rng, ident = self.rng, self.rng.randrange(1, 400)
        name = rng.choice(["NULL", "N''", "N'a'", "N'A'", "N'N'", "N'ñandú'", "N'trailing '", f"N'{ident}'"])
        amount = rng.choice(["NULL", "0", "0.10", "-12345678.90", f"{ident}.5"])
        self.tick += 1
        stamp = f"'{FIRST + dt.timedelta(seconds=self.tick):%Y%m%d %H:%M:%S}'"
        clock = self.kind is IncrementKind.CURSOR
        updated, inserted = (f", changed_at = {stamp}", f", {stamp}") if clock else ("", "")
        into = "id, name, amount" + (", changed_at" if clock else "")
        sees_deletes = self.kind is None or self.kind.sees_deletes
        what = rng.choice(["insert", "insert", "update", "update", "many"] + ["delete", "move", "null"] * sees_deletes)
        if what == "insert":
            low = rng.randrange(1, 400)
            return (
                f"INSERT INTO dbo.t ({into}) SELECT v.id, {name}, {amount}{inserted} FROM (VALUES ({low}), ({low + 1}),"
                f" ({low + 2})) AS v(id) WHERE NOT EXISTS (SELECT 1 FROM dbo.t WHERE t.id = v.id)"
            )
        if what == "update":
            return f"UPDATE dbo.t SET name = {name}, amount = {amount}{updated} WHERE id = {ident}"
        if what == "many":
            return f"UPDATE dbo.t SET amount = {amount}{updated} WHERE id BETWEEN {ident} AND {ident + 9}"
        if what == "delete":
            return f"DELETE FROM dbo.t WHERE id BETWEEN {ident} AND {ident + rng.choice([0, 0, 5, 40])}"
        if what == "null" and self.kind is IncrementKind.FINGERPRINT:
            return rng.choice(
                [f"INSERT INTO dbo.t (id, name) VALUES (NULL, {name})", "DELETE FROM dbo.t WHERE id IS NULL"]
            )
        return f"UPDATE dbo.t SET id = {1000 + self.tick} WHERE id = {ident}"


@contextmanager
def bench(
    settings: Settings,
    lakehouse: DatabricksLakehouse,
    spool: Path,
    kind: IncrementKind | None,
    seed: int = 0,
    **changes: Any,
) -> Iterator[Bench]:
    """A bench whose database and tables go with it; `settings` is the whole, with both ends."""
    with own_database(settings) as connect:
        session = connect()
        ddl(session, "ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON", CREATE[kind], *PREPARE.get(kind, ()))
        destination = Destination(
            settings.databricks_catalog or "", settings.databricks_schema or "", settings.databricks_volume or ""
        )
        tag = secrets.token_hex(4)
        catalog, schema = destination.catalog, destination.schema
        made = Bench(
            session,
            settings.model_copy(update={"sqlserver_database": session.info().database}),
            lakehouse,
            destination,
            spool,
            kind,
            random.Random(seed),
            SourceName(catalog, schema, f"states_{tag}"),
            SourceName(catalog, schema, f"published-{tag}"),
            **changes,
        )
        try:
            yield made
        finally:
            for name in (made.states, made.target):
                lakehouse.execute(
                    f"DROP TABLE IF EXISTS {databricks_identifier(name.catalog, name.schema, name.table)}"
                )


def _rows(rows: list[dict[str, Any]]) -> Counter[tuple[tuple[str, Any], ...]]:
    own = {DELETED_COLUMN, RANGE_COLUMN}
    return Counter(
        tuple(sorted((name, value) for name, value in row.items() if value is not None and name not in own))
        for row in rows
    )
