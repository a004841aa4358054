"""A database schema, an events table and permissions of a test's own, and the poller that the command line builds."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sql_databricks_bridge import composition
from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.ports import EventTable, TargetConnection
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from sql_databricks_bridge.db.sql_server import MssqlServer
from sql_databricks_bridge.models.events import EventRow
from sql_databricks_bridge.models.tables import SourceName
from sql_databricks_bridge.sync.poller import CycleReport, Poller

PERMISSIONS = """\
users:
  - name: tester
    sources: ["*.*.*"]
    permissions:
      - table: "{schema}.*"
        access: read_write
        max_delete_rows: {limit}
{more}
end: true
"""


@dataclass(slots=True)
class SyncBench:
    """Both ends of a test. `schema` is the SQL Server schema, `events` the events table; both are the test's own."""

    settings: Settings
    schema: str
    lakehouse: DatabricksLakehouse
    events: EventTable
    connection: Any
    sources: list[str] = field(default_factory=list)

    # SQL Server ----------------------------------------------------------------------------------------------------

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run T-SQL by the driver alone; `{s}` stands for the test's schema."""
        with closing(self.connection.cursor()) as cursor:
            cursor.execute(statement.replace("{s}", self.schema))
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def ledger(self, event_id: str) -> list[tuple[Any, ...]]:
        """(generation, outcome, rows_affected) of an event, oldest first."""
        return self.sql(
            "SELECT generation, outcome, rows_affected FROM bridge.applied_events "
            f"WHERE event_id = N'{event_id}' ORDER BY generation"
        )

    def staging_tables(self) -> list[tuple[Any, ...]]:
        """The staging tables that are there."""
        return self.sql("SELECT name FROM sys.tables WHERE name LIKE 'stg[_]%'")

    # Databricks ----------------------------------------------------------------------------------------------------

    @property
    def home(self) -> str:
        """catalog.schema of the test's tables."""
        return f"{self.settings.databricks_catalog}.{self.settings.databricks_schema}"

    def source(self, select: str) -> str:
        """Make a Delta table of a SELECT; return its name."""
        name = f"{self.home}.src_{uuid.uuid4().hex[:12]}"
        self.lakehouse.execute(f"CREATE TABLE {name} AS {select}")
        self.sources.append(name)
        return name

    def version(self, source: str) -> str:
        """The newest version of a source, as metadata has it."""
        return str(self.lakehouse.table_version(SourceName.parse(source)))

    def submit(self, operation: str, target: str, source: str | None = None, **changes: Any) -> str:
        """Insert an event as the SDK does, its source pinned; return its event_id."""
        metadata = dict(changes.pop("metadata", None) or {})
        if source is not None and "source_version" not in metadata:
            metadata["source_version"] = self.version(source)
        row = EventRow(
            event_id=changes.pop("event_id", None) or str(uuid.uuid4()),
            operation=operation,
            source_table=source,
            target_table=target.replace("{s}", self.schema),
            primary_keys=tuple(changes.pop("keys", ())) or None,
            priority=changes.pop("priority", 0),
            filter_conditions=changes.pop("filters", None),
            metadata=metadata,
            created_at=changes.pop("created_at", dt.datetime.now(dt.UTC)),
            **changes,
        )
        self.events.submit(row)
        assert row.event_id is not None
        return row.event_id

    def event(self, event_id: str) -> EventRow:
        """The event's one row."""
        (row,) = self.events.rows_of(event_id)
        return row

    # The poller ----------------------------------------------------------------------------------------------------

    def poller(self, **changes: Any) -> Poller:
        """The poller that `bridge sync` would build with these settings."""
        return composition.poller(self.settings.model_copy(update=changes), threading.Event())

    def cycle(self, **changes: Any) -> CycleReport:
        """One round, which must come to its end."""
        report = self.poller(**changes).cycle()
        assert report.problem is None, report.problem
        return report

    def done(self, operation: str, target: str, source: str | None = None, **changes: Any) -> EventRow:
        """Submit one event, do one round, return the event's row."""
        event_id = self.submit(operation, target, source, **changes)
        self.cycle()
        return self.event(event_id)

    @contextmanager
    def target(self) -> Iterator[TargetConnection]:
        """A connection as the poller uses it."""
        with closing(MssqlServer(self.settings).connect_target()) as connection:
            yield connection

    def permit(self, limit: int = 10_000, more: Sequence[str] = ()) -> None:
        """Write the permissions file anew; `more` are lines for the user's `permissions:` list."""
        text = PERMISSIONS.format(schema=self.schema, limit=limit, more="\n".join(f"      {line}" for line in more))
        self.settings.bridge_permissions_file.write_text(text.replace("{s}", self.schema))


@contextmanager
def sync_bench(sqlserver: Settings, lakehouse: Settings, folder: Path) -> Iterator[SyncBench]:
    """Make all of it, and drop the schema's tables and the Delta tables at the end."""
    tag = uuid.uuid4().hex[:12]
    wanted = {
        name: getattr(lakehouse, name)
        for name in Settings.model_fields
        if name.startswith("databricks_") and getattr(lakehouse, name) is not None
    }
    settings = sqlserver.model_copy(
        update=wanted
        | {
            "bridge_events_table": f"{lakehouse.databricks_catalog}.{lakehouse.databricks_schema}.events_{tag}",
            "bridge_permissions_file": folder / "permissions.yaml",
            "bridge_audit_dir": folder / "audit",
            "sync_principal": "tester",
        }
    )
    lake = DatabricksLakehouse(settings)
    with closing(driver_connection(settings)) as connection:
        bench = SyncBench(settings, f"s{tag}", lake, composition.events_table(settings, lake), connection)
        bench.permit()
        bench.events.create()
        bench.sql("CREATE SCHEMA {s}")
        with bench.target() as target:
            target.create_ledger()
        try:
            yield bench
        finally:
            _tidy(bench)


def driver_connection(settings: Settings) -> Any:
    """Microsoft's driver alone, in autocommit mode."""
    import mssql_python

    assert settings.sqlserver_password is not None
    return mssql_python.connect(
        f"SERVER={settings.sqlserver_host},{settings.sqlserver_port};DATABASE={settings.sqlserver_database};"
        f"UID={settings.sqlserver_username};PWD={{{settings.sqlserver_password.get_secret_value()}}};"
        "Encrypt=yes;TrustServerCertificate=yes",
        autocommit=True,
    )


def environment_of(settings: Settings) -> Mapping[str, str]:
    """The variables that make a process of its own have these settings."""
    found: dict[str, str] = {"BRIDGE_ENV_FILE": ""}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if value is not None:
            text = value.get_secret_value() if hasattr(value, "get_secret_value") else value
            found[name.upper()] = str(text).lower() if isinstance(text, bool) else str(text)
    return found


def _tidy(bench: SyncBench) -> None:
    keys = bench.sql(
        "SELECT t.name, f.name FROM sys.foreign_keys f INNER JOIN sys.tables t ON t.object_id = f.parent_object_id "
        "WHERE t.schema_id = SCHEMA_ID(N'{s}')"
    )
    for table, key in keys:
        bench.sql(f"ALTER TABLE {{s}}.[{table}] DROP CONSTRAINT [{key}]")
    for (table,) in bench.sql("SELECT name FROM sys.tables WHERE schema_id = SCHEMA_ID(N'{s}')"):
        bench.sql(f"DROP TABLE {{s}}.[{table.replace(']', ']]')}]")
    bench.sql("DROP SCHEMA {s}")
    for name in (*bench.sources, bench.settings.bridge_events_table):
        bench.lakehouse.execute(f"DROP TABLE IF EXISTS {name}")
