"""The columns that an increment goes by, found in the described result and checked before anything is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sql_databricks_bridge.core.increments.canonical import FORMS, type_name
from sql_databricks_bridge.core.ports import ResultColumn
from sql_databricks_bridge.core.suggestions import listed
from sql_databricks_bridge.core.types import SqlServerType
from sql_databricks_bridge.errors import UsageError
from sql_databricks_bridge.models.jobs import ResolvedQuery
from sql_databricks_bridge.models.publishing import DELETED_COLUMN, RANGE_COLUMN, Incremental, IncrementKind
from sql_databricks_bridge.models.quoting import sql_server_identifier
from sql_databricks_bridge.models.tables import find_named

THERE_COLUMN = "_bridge_there"
"""1 in the wrapped query's rows: what tells a row that is there from one that a LEFT JOIN made up."""

ALIAS = "q"
"""The wrapped query's name. It hides nothing: a derived table's inside does not see it."""

_TEXT_KEYS = frozenset({"char", "varchar", "nchar", "nvarchar"})
_NOT_COMPARED = frozenset({"text", "ntext", "image", "xml", "json", "geometry", "geography", "sql_variant"})
_INTEGERS = frozenset({"tinyint", "smallint", "int", "bigint"})
_DATES = frozenset({"date", "datetime", "smalldatetime", "datetime2", "datetimeoffset"})
_NUMBERS = _INTEGERS | {"decimal", "numeric", "money", "smallmoney"}


@dataclass(frozen=True, slots=True)
class Chosen:
    """The key's columns in the key's order, and the rowversion or cursor column, as the result spells them."""

    key: tuple[ResultColumn, ...]
    column: ResultColumn | None = None


def chosen(query: ResolvedQuery, columns: Sequence[ResultColumn], incremental: Incremental) -> Chosen:
    """Find and check them; `UsageError` names the file, and what is known or would do."""
    for column in columns:
        if column.name.lower() in (DELETED_COLUMN, RANGE_COLUMN, THERE_COLUMN):
            raise UsageError(
                f"{query.file}: the column {column.name!r} has a name that increments need themselves.",
                hint="Give it another one: SELECT x AS other_name.",
            )
    key = tuple(_found(query, columns, name, "key") for name in incremental.key)
    if not key:
        raise UsageError(
            f"{query.file}: `incremental:` has no `key`.",
            hint=f"Name the columns that tell its rows apart; the query has {_names(columns)}.",
        )
    for column in key:
        if type_name(column) in _NOT_COMPARED or type_name(column) not in FORMS:
            raise UsageError(
                f"{query.file}: the key column {column.name!r} is of type {column.sql_type}, which can't be compared.",
                hint="Choose another key, or CAST it in the query.",
            )
    if incremental.column is None:
        if incremental.kind in (IncrementKind.ROWVERSION, IncrementKind.CURSOR):
            raise UsageError(f"{query.file}: kind {incremental.kind.value} needs `column`, one of {_names(columns)}.")
        return Chosen(key)
    column = _found(query, columns, incremental.column, "column")
    if incremental.kind is IncrementKind.ROWVERSION and not _is_rowversion(column):
        raise UsageError(
            f"{query.file}: the column {column.name!r} of kind rowversion is of type {column.sql_type}.",
            hint="It must be the table's rowversion (timestamp) column, or that CAST to binary(8).",
        )
    if incremental.kind is IncrementKind.CURSOR and type_name(column) not in _DATES | _NUMBERS:
        raise UsageError(
            f"{query.file}: the cursor {column.name!r} is of type {column.sql_type}.",
            hint="It must be a date, a date with time, or an exact number.",
        )
    return Chosen(key, column)


def quoted(column: ResultColumn) -> str:
    """`[name]`."""
    return sql_server_identifier(column.name)


def of_query(column: ResultColumn) -> str:
    """`q.[name]`."""
    return f"{ALIAS}.{quoted(column)}"


def is_integer(column: ResultColumn) -> bool:
    """Whether ranges of it can be counted."""
    return type_name(column) in _INTEGERS


def is_date(column: ResultColumn) -> bool:
    """Whether it holds dates, with a time or without."""
    return type_name(column) in _DATES


def spellings_of_keys(key: Sequence[ResultColumn]) -> tuple[str, ...]:
    """Names of key columns of which SQL Server takes several spellings for one value, as 'a' and 'A' or 'a '."""
    return tuple(
        column.name
        for column in key
        if type_name(column) in _TEXT_KEYS and "_BIN" not in (column.collation or "").upper()
    )


def as_declared(column: ResultColumn, expression: str) -> str:
    """T-SQL that gives a value of another source the column's own type and collation."""
    declared = SqlServerType.parse(column.sql_type).text.strip()  # parsed: it is a type and nothing else
    converted = f"CONVERT({declared}, {expression})"
    if type_name(column) in _TEXT_KEYS and column.collation and column.collation.replace("_", "").isalnum():
        return f"{converted} COLLATE {column.collation}"
    return converted


def same_key(key: Sequence[ResultColumn], left: str, right: str) -> str:
    """T-SQL: two rows have the same key, NULLs taken for equal where the key may hold any."""
    return " AND ".join(_same(column, f"{left}.{quoted(column)}", f"{right}.{quoted(column)}") for column in key)


def _same(column: ResultColumn, left: str, right: str) -> str:
    equal = f"{left} = {right}"
    return f"({equal} OR ({left} IS NULL AND {right} IS NULL))" if column.nullable else equal


def _is_rowversion(column: ResultColumn) -> bool:
    return type_name(column) in ("timestamp", "rowversion") or column.sql_type.lower() == "binary(8)"


def _found(query: ResolvedQuery, columns: Sequence[ResultColumn], name: str, what: str) -> ResultColumn:
    known = {column.name: column for column in columns}
    spelled = find_named(name, known)
    if spelled is None:
        raise UsageError(
            f"{query.file}: `incremental:` names the {what} {name!r}, which is no column of the result.",
            hint=f"The query has {_names(columns)}.",
        )
    return known[spelled]


def _names(columns: Sequence[ResultColumn]) -> str:
    return listed([column.name for column in columns])
