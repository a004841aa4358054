"""What a finished query's manifest says."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence

import pyarrow as pa

import sql_databricks_bridge
from sql_databricks_bridge.core.manifest import (
    Manifest,
    ManifestColumn,
    ManifestIncrement,
    ManifestLoss,
    ManifestParameter,
    ManifestPart,
    ManifestPartitions,
    ManifestPublication,
)
from sql_databricks_bridge.core.param_resolver import shown_value
from sql_databricks_bridge.core.ports import ResultColumn, SqlServerConnection
from sql_databricks_bridge.core.types import DOUBTFUL, DeclaredLoss, LandedSchema, Origin
from sql_databricks_bridge.models.jobs import ExtractionPlan, ResolvedQuery


def manifest_of(
    plan: ExtractionPlan,
    query: ResolvedQuery,
    connection: SqlServerConnection,
    schema: LandedSchema,
    parts: Sequence[ManifestPart],
    started_at: dt.datetime,
    *,
    doubtful: Collection[str] = (),
    increment: ManifestIncrement | None = None,
    publication: ManifestPublication | None = None,
    partitions: ManifestPartitions | None = None,
) -> Manifest:
    """Put together the manifest of a query whose parts are all uploaded; it is finished now.

    `doubtful` are columns that may hold something else than SQL Server does, known only from their values.
    """
    info = connection.info()
    found = [DeclaredLoss(column.name, f"{column.sql_type}: {DOUBTFUL}") for column in schema.columns]
    losses = (*schema.losses, *(loss for loss in found if loss.column in doubtful))
    return Manifest(
        run_id=plan.run_id,
        attempt=plan.attempt,
        country=plan.country,
        query=query.name,
        query_file=query.file,
        query_sha256=query.sha256,
        parameters=_parameters(query),
        source_server=info.server,
        source_database=info.database,
        isolation=connection.isolation,
        started_at=started_at,
        finished_at=dt.datetime.now(dt.UTC),
        rows=sum(part.rows for part in parts),
        size_bytes=sum(part.size_bytes for part in parts),
        parts=tuple(parts),
        schema=tuple(
            _column(column, origin, field.type)
            for column, origin, field in zip(schema.columns, schema.origins, schema.schema, strict=True)
        ),
        losses=tuple(ManifestLoss(loss.column, loss.reason) for loss in losses),
        row_limit=plan.limit,
        tool_version=sql_databricks_bridge.__version__,
        increment=increment,
        publication=publication,
        partitions=partitions,
    )


def _column(column: ResultColumn, origin: Origin, arrow_type: pa.DataType) -> ManifestColumn:
    is_value = origin.companion is None
    was = origin.column if is_value else column
    return ManifestColumn(
        name=column.name,
        sql_type=was.sql_type,
        arrow_type=str(arrow_type),
        nullable=column.nullable,
        collation=was.collation,
        user_type=was.user_type,
        form=origin.form,
        companion=origin.companion,
        companion_of=None if is_value else origin.column.name,
    )


def _parameters(query: ResolvedQuery) -> tuple[ManifestParameter, ...]:
    placeholders = [ManifestParameter(p.name, p.text, p.origin) for p in query.placeholders]
    bound = [
        ManifestParameter(p.name, None if p.value is None else shown_value(p.name, p.value), p.origin, p.declaration)
        for p in query.parameters
    ]
    return (*placeholders, *bound)
