"""Canonical text of a described result's columns, as they are: `core.canonical` for what increments have in hand."""

from __future__ import annotations

from collections.abc import Sequence

from sql_databricks_bridge.core.canonical import server
from sql_databricks_bridge.core.canonical.columns import CANONICAL_VERSION, CanonicalColumn
from sql_databricks_bridge.core.canonical.server import FORMS
from sql_databricks_bridge.core.ports import ResultColumn

__all__ = ["CANONICAL_VERSION", "FORMS", "canonical_text", "row_digest", "type_name"]


def canonical_text(columns: Sequence[ResultColumn], alias: str, quoted: Sequence[str]) -> str:
    """T-SQL for the text of some columns, see `server.row_text`; `UsageError` for a type that has none."""
    return server.row_text([_whole(column) for column in columns], alias, quoted)


def row_digest(columns: Sequence[ResultColumn], alias: str, quoted: Sequence[str]) -> str:
    """T-SQL for the SHA-256 of a row's canonical text: binary, 32 bytes."""
    return server.row_digest([_whole(column) for column in columns], alias, quoted)


def type_name(column: ResultColumn) -> str:
    """The name of a column's type without its size, in lower case; '' where it is none of SQL Server's own."""
    return _whole(column).type_name


def _whole(column: ResultColumn) -> CanonicalColumn:
    return CanonicalColumn(column.name, column.sql_type, collation=column.collation, user_type=column.user_type)
