"""Whole runs that go well: what lands is what SQL Server holds, and the manifest tells it all."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from pathlib import Path

import pyarrow as pa
import pytest

import sql_databricks_bridge
from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.jobs import run
from sql_databricks_bridge.core.ports import Lakehouse
from sql_databricks_bridge.core.runs import latest
from sql_databricks_bridge.core.types import LandedSchema
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from sql_databricks_bridge.db.sql_server import MssqlServer
from sql_databricks_bridge.models.jobs import BoundParameter, QueryProgress, QueryStatus, RunStatus
from sql_databricks_bridge.models.names import Destination
from sql_databricks_bridge.models.type_policies import TypePolicies
from tests.integration.extraction_support import (
    files_below,
    landed_table,
    options,
    outcomes,
    plan,
    query,
    source_table,
)

FLIGHTS = "SELECT * FROM dbo.flights WHERE month = 1"
PLANES = "SELECT * FROM dbo.planes"


@pytest.fixture(scope="module")
def lakehouse(lakehouse_settings: Settings) -> Lakehouse:
    return DatabricksLakehouse(lakehouse_settings)


def test_what_lands_is_what_the_source_holds(
    lakehouse: Lakehouse, sqlserver_settings: Settings, destination: Destination, country: str, tmp_path: Path
) -> None:
    """Rows, types and values of several queries, two at once, in several parts, equal the source's."""
    queries = query("flights", FLIGHTS), query("planes", PLANES), query("airlines", "SELECT * FROM dbo.airlines")
    asked = plan(destination, country, sqlserver_settings, *queries)
    report = run(asked, MssqlServer(sqlserver_settings), lakehouse, options=options(tmp_path, parallel=2))
    assert report.status is RunStatus.COMPLETED, report
    for outcome, each in zip(report.queries, queries, strict=True):
        assert outcome.path == f"{destination.root}/{country}/{each.name}/run={asked.run_id}-1"
        manifest, table = landed_table(lakehouse, outcome.path)
        expected = source_table(sqlserver_settings, each)
        assert table.schema.equals(expected.schema, check_metadata=True)
        order = [(name, "ascending") for name in expected.column_names]
        assert table.sort_by(order).equals(expected.sort_by(order))
        assert (outcome.rows, outcome.bytes, outcome.parts) == (
            expected.num_rows,
            manifest.size_bytes,
            len(manifest.parts),
        )
    assert report.queries[0].parts > 1
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_tells_the_whole_story(
    lakehouse: Lakehouse, sqlserver_settings: Settings, destination: Destination, country: str, tmp_path: Path
) -> None:
    """SQL hash, parameters, source, times, schema with SQL Server types, losses, limit and version stand in it."""
    asked = query(
        "typed",
        "SELECT CAST(@p AS decimal(9,2)) AS d, CAST(SYSUTCDATETIME() AS datetime2(7)) AS t, N'é' AS s",
        BoundParameter("p", "decimal(9,2)", None, "request"),
    )
    started = dt.datetime.now(dt.UTC)
    report = run(
        plan(destination, country, sqlserver_settings, asked, limit=10),
        MssqlServer(sqlserver_settings),
        lakehouse,
        options=options(tmp_path),
    )
    assert report.status is RunStatus.COMPLETED, report
    assert report.queries[0].path is not None
    manifest, _ = landed_table(lakehouse, report.queries[0].path)
    assert manifest.query_sha256 == hashlib.sha256(asked.sql.encode()).hexdigest()
    (parameter,) = manifest.parameters
    assert (parameter.name, parameter.declaration, parameter.value) == ("p", "decimal(9,2)", None)
    assert (manifest.query, manifest.country, manifest.run_id) == ("typed", country, report.run_id)
    assert manifest.source_database == sqlserver_settings.sqlserver_database
    assert manifest.source_server
    assert started - dt.timedelta(seconds=1) <= manifest.started_at <= manifest.finished_at <= dt.datetime.now(dt.UTC)
    assert [(column.name, column.sql_type, column.arrow_type) for column in manifest.schema] == [
        ("d", "decimal(9,2)", "decimal128(9, 2)"),
        ("t", "datetime2(7)", "timestamp[us]"),
        ("t__100ns", "smallint", "int16"),
        ("s", "nvarchar(1)", "string"),
    ]
    assert manifest.losses == ()
    assert (manifest.row_limit, manifest.rows) == (10, 1)
    assert manifest.tool_version == sql_databricks_bridge.__version__


def test_an_empty_result_lands_with_its_schema(
    lakehouse: Lakehouse, sqlserver_settings: Settings, destination: Destination, country: str, tmp_path: Path
) -> None:
    """No rows is one part without rows whose types are the query's."""
    asked = query("nothing", f"SELECT * FROM ({FLIGHTS}) AS f WHERE 1 = 0")
    report = run(
        plan(destination, country, sqlserver_settings, asked),
        MssqlServer(sqlserver_settings),
        lakehouse,
        options=options(tmp_path),
    )
    (outcome,) = report.queries
    assert (outcome.status, outcome.rows, outcome.parts) == (QueryStatus.COMPLETED, 0, 1)
    assert outcome.path is not None
    _, table = landed_table(lakehouse, outcome.path)
    assert table.schema.equals(source_table(sqlserver_settings, asked).schema, check_metadata=True)


def test_a_limit_holds_for_every_query(
    lakehouse: Lakehouse, sqlserver_settings: Settings, destination: Destination, country: str, tmp_path: Path
) -> None:
    """No query lands more rows than the run's limit."""
    asked = plan(
        destination, country, sqlserver_settings, query("flights", FLIGHTS), query("planes", PLANES), limit=100
    )
    report = run(asked, MssqlServer(sqlserver_settings), lakehouse, options=options(tmp_path))
    assert [outcome.rows for outcome in report.queries] == [100, 100]


def test_progress_counts_up_to_the_outcome(
    lakehouse: Lakehouse, sqlserver_settings: Settings, destination: Destination, country: str, tmp_path: Path
) -> None:
    """Queued, running with counts that never fall, completed with the outcome's counts; not more often than asked."""
    seen: list[QueryProgress] = []
    asked = plan(destination, country, sqlserver_settings, query("flights", FLIGHTS))
    report = run(
        asked,
        MssqlServer(sqlserver_settings),
        lakehouse,
        options=options(tmp_path, progress_interval_s=0.02),
        on_progress=seen.append,
    )
    (outcome,) = report.queries
    statuses = [progress.status for progress in seen]
    assert statuses[0] is QueryStatus.QUEUED
    assert set(statuses[1:-1]) == {QueryStatus.RUNNING}
    assert statuses[-1] is QueryStatus.COMPLETED
    assert [progress.rows for progress in seen] == sorted(progress.rows for progress in seen)
    last = seen[-1]
    assert (last.rows, last.uploaded_bytes, last.parts) == (outcome.rows, outcome.bytes, outcome.parts)
    assert len(seen) <= 3 + (outcome.seconds / 0.02)


def test_a_callback_that_fails_harms_nobody(
    lakehouse: Lakehouse, sqlserver_settings: Settings, destination: Destination, country: str, tmp_path: Path
) -> None:
    """An error in who watches is not an error of the run."""

    def broken(progress: QueryProgress) -> None:
        raise RuntimeError(progress.name)

    asked = plan(destination, country, sqlserver_settings, query("planes", PLANES))
    report = run(asked, MssqlServer(sqlserver_settings), lakehouse, options=options(tmp_path), on_progress=broken)
    assert outcomes(report) == {"planes": "completed"}


def test_latest_finds_what_was_published(
    lakehouse: Lakehouse, sqlserver_settings: Settings, destination: Destination, country: str, tmp_path: Path
) -> None:
    """The newest run of each query is found with its files, whose rows add up."""
    for run_id in ("20260101T000000-a", "20260102T000000-a"):
        asked = plan(destination, country, sqlserver_settings, query("planes", PLANES), run_id=run_id)
        run(asked, MssqlServer(sqlserver_settings), lakehouse, options=options(tmp_path))
    (found,) = latest(lakehouse, destination, country)
    assert (found.folder.run_id, found.manifest.query) == ("20260102T000000-a", "planes")
    assert set(found.files) == set(files_below(lakehouse, found.folder.path)) - {found.folder.manifest_path}
    assert found.manifest.rows == source_table(sqlserver_settings, query("planes", PLANES)).num_rows


def test_the_first_published_attempt_of_a_run_stands(
    lakehouse: Lakehouse, sqlserver_settings: Settings, destination: Destination, country: str, tmp_path: Path
) -> None:
    """A second attempt at a published run leaves nothing of its own and tells whose result counts."""
    source = MssqlServer(sqlserver_settings)
    first = plan(destination, country, sqlserver_settings, query("planes", PLANES), run_id="r", attempt=2)
    published = run(first, source, lakehouse, options=options(tmp_path)).queries[0].path
    second = plan(destination, country, sqlserver_settings, query("planes", PLANES), run_id="r", attempt=1, limit=5)
    (outcome,) = run(second, source, lakehouse, options=options(tmp_path)).queries
    assert (outcome.status, outcome.path) == (QueryStatus.COMPLETED, published)
    assert "attempt 2" in outcome.warnings[0]
    assert outcome.rows > 5
    assert files_below(lakehouse, f"{destination.root}/{country}/planes/run=r-1") == []


def test_schemas_read_without_the_bridge(
    lakehouse: Lakehouse, sqlserver_settings: Settings, destination: Destination, country: str, tmp_path: Path
) -> None:
    """No column of a landed file has a type that Spark refuses, and each says what it was in SQL Server."""
    asked = plan(destination, country, sqlserver_settings, query("flights", FLIGHTS))
    (outcome,) = run(asked, MssqlServer(sqlserver_settings), lakehouse, options=options(tmp_path)).queries
    assert outcome.path is not None
    _, table = landed_table(lakehouse, outcome.path)
    connection = MssqlServer(sqlserver_settings).connect()
    described = LandedSchema.of(connection.describe(asked.queries[0]))
    connection.close()
    for field, column in zip(table.schema, described.columns, strict=True):
        assert not pa.types.is_unsigned_integer(field.type)
        assert field.metadata[b"sqlserver.type"] == column.sql_type.encode()


def test_half_a_surrogate_pair_is_declared_or_refused(
    lakehouse: Lakehouse, sqlserver_settings: Settings, destination: Destination, country: str, tmp_path: Path
) -> None:
    """The driver gives U+FFFD for it in silence: where that lands the manifest and a warning say so; strict fails."""
    asked = query("halves", "SELECT N'a' + NCHAR(65533) AS s, N'ab' AS whole")
    kept = run(
        plan(destination, country, sqlserver_settings, asked),
        MssqlServer(sqlserver_settings),
        lakehouse,
        options=options(tmp_path),
    )
    (outcome,) = kept.queries
    assert outcome.path is not None
    manifest, _ = landed_table(lakehouse, outcome.path)
    assert [(loss.column, "U+FFFD" in loss.reason) for loss in manifest.losses] == [("s", True)]
    assert "column s" in outcome.warnings[0]
    strict = dataclasses.replace(asked, types=TypePolicies(strict=True))
    refused = run(
        plan(destination, country, sqlserver_settings, strict),
        MssqlServer(sqlserver_settings),
        lakehouse,
        options=options(tmp_path),
    )
    assert refused.queries[0].status is QueryStatus.FAILED
    assert "column s" in (refused.queries[0].error or "")
