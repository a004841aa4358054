"""From a query to what it lands as: described, rewritten where a type needs it, described again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sql_databricks_bridge.core.ports import ResultColumn, SqlServerConnection
from sql_databricks_bridge.core.rewriting import rewritten
from sql_databricks_bridge.core.types import LandedSchema, Origin
from sql_databricks_bridge.errors import ResultShapeError
from sql_databricks_bridge.models.jobs import ResolvedQuery


@dataclass(frozen=True, slots=True)
class Shape:
    """The query to be sent, its described columns, and what each of them is of."""

    query: ResolvedQuery
    columns: tuple[ResultColumn, ...]
    origins: tuple[Origin, ...]
    warnings: tuple[str, ...] = ()

    @property
    def schema(self) -> LandedSchema:
        """What lands; `ResultShapeError` where a column can't, or loses something under `strict`."""
        schema = LandedSchema.of(self.columns, self.origins)
        if self.query.types.strict and schema.losses:
            told = "; ".join(f"{loss.column}: {loss.reason}" for loss in schema.losses)
            raise ResultShapeError(
                f"{self.query.file}: not everything would be kept, and the run is strict: {told}.",
                hint="Choose policies that keep it, under `types:` in the YAML (docs/types.md), CAST in the query, or "
                "run without --strict.",
            )
        return schema

    def of(self, connection: SqlServerConnection, query: ResolvedQuery) -> Shape:
        """The shape of another query around this one: the same columns by name, and some more."""
        columns = connection.describe(query)
        known = {column.name: origin for column, origin in zip(self.columns, self.origins, strict=True)}
        origins = tuple(known.get(column.name) or Origin.as_driven(column) for column in columns)
        return Shape(query, columns, origins, self.warnings)


def shape(connection: SqlServerConnection, query: ResolvedQuery) -> Shape:
    """Describe a query, and rewrite it by its `types` where its columns need that. One or two describe calls."""
    columns = connection.describe(query)
    found = rewritten(query, columns)
    warnings = (found.left_out,) if found.left_out is not None else ()
    if found.query is not query:
        columns = _described_again(connection, found.query, found.origins)
    return Shape(found.query, columns, found.origins, warnings)


def _described_again(
    connection: SqlServerConnection, query: ResolvedQuery, origins: Sequence[Origin]
) -> tuple[ResultColumn, ...]:
    columns = connection.describe(query)
    if len(columns) != len(origins):
        raise ResultShapeError(
            f"{query.file}: the result has {len(columns)} columns now, {len(origins)} a moment ago.",
            hint="A table was probably altered meanwhile: run the query again.",
        )
    return columns
