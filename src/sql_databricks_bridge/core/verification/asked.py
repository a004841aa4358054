"""What is compared, agreed upon once for both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sql_databricks_bridge.core.canonical.columns import CanonicalColumn, canonical_columns
from sql_databricks_bridge.core.manifest import ManifestColumn
from sql_databricks_bridge.core.suggestions import listed
from sql_databricks_bridge.errors import UsageError
from sql_databricks_bridge.models.jobs import ResolvedQuery
from sql_databricks_bridge.models.publishing import DELETED_COLUMN, RANGE_COLUMN
from sql_databricks_bridge.models.tables import find_named

GROUP_COLUMNS = 16
"""As many columns have one digest: fewer would cost more hashing, more would tell less."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The query, its columns as they landed, the key's (all columns where there is none), and the columns of each
    digest: the key stands in every one, so that values that two rows swapped are seen.
    """

    query: ResolvedQuery
    columns: tuple[CanonicalColumn, ...]
    key: tuple[CanonicalColumn, ...]
    groups: tuple[tuple[CanonicalColumn, ...], ...]
    has_key: bool

    @classmethod
    def of(cls, query: ResolvedQuery, schema: Sequence[ManifestColumn], key: Sequence[str]) -> Asked:
        """`UsageError` where the key names a column that the query has not."""
        control = (DELETED_COLUMN, RANGE_COLUMN)
        columns = canonical_columns(column for column in schema if column.name not in control)
        found = tuple(_found(query, columns, name) for name in key)
        if not found:
            return cls(query, columns, columns, (columns,), has_key=False)
        others = [column for column in columns if column not in found]
        parts = [others[at : at + GROUP_COLUMNS] for at in range(0, len(others), GROUP_COLUMNS)]
        return cls(query, columns, found, tuple((*found, *part) for part in parts or [[]]), has_key=True)


def _found(query: ResolvedQuery, columns: Sequence[CanonicalColumn], name: str) -> CanonicalColumn:
    known = {column.name: column for column in columns}
    spelled = find_named(name, known)
    if spelled is None:
        raise UsageError(
            f"{query.name} has no column {name!r} to be its key.", hint=f"It has {listed(known)}; name some by --key."
        )
    return known[spelled]
