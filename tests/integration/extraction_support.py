"""What the extraction tests share: plans of a few queries, and what is left in the volume after them."""

from __future__ import annotations

import hashlib
import io
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.extractor import Sizes
from sql_databricks_bridge.core.jobs import RunOptions
from sql_databricks_bridge.core.manifest import MANIFEST_NAME, Manifest
from sql_databricks_bridge.core.ports import Lakehouse
from sql_databricks_bridge.core.types import LandedSchema
from sql_databricks_bridge.db.sql_server import MssqlServer
from sql_databricks_bridge.errors import LakehouseNotFound
from sql_databricks_bridge.models.jobs import BoundParameter, ExtractionPlan, ResolvedQuery, RunReport
from sql_databricks_bridge.models.names import Destination

SMALL = Sizes(
    batch_bytes=1 << 18, queue_bytes=1 << 19, row_group_bytes=1 << 19, part_bytes=1 << 20, waiting_parts_bytes=1 << 20
)


def query(name: str, sql: str, *parameters: BoundParameter) -> ResolvedQuery:
    """A query as the planner would resolve it; its name stands in the SQL, where a fault can find it."""
    text = f"{sql} /* {name} */"
    return ResolvedQuery(name, f"queries/{name}.sql", text, hashlib.sha256(text.encode()).hexdigest(), (), parameters)


def plan(
    destination: Destination, country: str, settings: Settings, *queries: ResolvedQuery, **changes: Any
) -> ExtractionPlan:
    """A run of these queries under a run id of its own."""
    values: dict[str, Any] = {
        "run_id": f"20260101T020000-{secrets.token_hex(3)}",
        "database": settings.sqlserver_database or "",
    }
    return ExtractionPlan(country=country, destination=destination, queries=queries, **(values | changes))


def options(spool: Path, **changes: Any) -> RunOptions:
    """Small parts, so that a few rows make several."""
    values: dict[str, Any] = {"spool_dir": spool, "sizes": SMALL}
    return RunOptions(**(values | changes))


def source_table(settings: Settings, asked: ResolvedQuery) -> pa.Table:
    """What SQL Server holds, read past the extractor."""
    connection = MssqlServer(settings).connect()
    try:
        schema = LandedSchema.of(connection.describe(asked))
        with connection.stream(asked, batch_bytes=1 << 22) as batches:
            landed = [batch for raw in batches for batch in schema.convert(raw)]
        return pa.Table.from_batches(landed, schema=schema.schema)
    finally:
        connection.close()


def landed_table(lakehouse: Lakehouse, path: str) -> tuple[Manifest, pa.Table]:
    """What a published run holds, by its manifest; size and checksum of each part are checked on the way."""
    manifest = Manifest.from_json(lakehouse.read(f"{path}/{MANIFEST_NAME}"), path)
    tables = []
    for part in manifest.parts:
        content = lakehouse.read(f"{path}/{part.file}")
        assert (len(content), hashlib.sha256(content).hexdigest()) == (part.size_bytes, part.sha256)
        table = pq.read_table(io.BytesIO(content))
        assert table.num_rows == part.rows
        tables.append(table)
    assert sum(part.rows for part in manifest.parts) == manifest.rows
    return manifest, pa.concat_tables(tables)


def files_below(lakehouse: Lakehouse, path: str) -> list[str]:
    """Every file below a folder."""
    found: list[str] = []
    try:
        entries = lakehouse.list_directory(path)
    except LakehouseNotFound:
        return found
    for entry in entries:
        found += files_below(lakehouse, entry.path) if entry.is_directory else [entry.path]
    return found


def outcomes(report: RunReport) -> dict[str, str]:
    """Each query's status by its name."""
    return {outcome.name: outcome.status.value for outcome in report.queries}


def errors(report: RunReport) -> Sequence[str]:
    """The errors of a report, in the order of its queries."""
    return [outcome.error for outcome in report.queries if outcome.error]
