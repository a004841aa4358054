"""Which columns of a source go where in a target: decided from the catalog, before any row is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sql_databricks_bridge.core.sql_values import parse_declaration
from sql_databricks_bridge.core.suggestions import closest
from sql_databricks_bridge.errors import EventInvalid
from sql_databricks_bridge.models.applying import Filter
from sql_databricks_bridge.models.events import Operation
from sql_databricks_bridge.models.tables import Target, TargetColumn
from sql_databricks_bridge.sync.validators import Event

_ANY_TEXT = parse_declaration("nvarchar(max)")


@dataclass(frozen=True, slots=True)
class ColumnMatch:
    """`staged[i]` takes the source's column number `ordinals[i]` (from 0); the rest are subsets of `staged`."""

    ordinals: tuple[int, ...]
    staged: tuple[TargetColumn, ...]
    keys: tuple[TargetColumn, ...]
    updates: tuple[TargetColumn, ...]
    inserts: tuple[TargetColumn, ...]
    warnings: tuple[str, ...]

    @property
    def inserts_identity(self) -> bool:
        """Whether the identity column's values come from the source."""
        return any(column.is_identity for column in self.inserts)


def key_columns(event: Event, target: Target) -> tuple[TargetColumn, ...]:
    """The target's columns that primary_keys names."""
    return tuple(_column(name, target, "primary_keys") for name in event.keys)


def target_filters(event: Event, target: Target) -> tuple[Filter, ...]:
    """The conditions of a DELETE, their values parsed to their columns' types, exactly."""
    return tuple(_filter(_column(name, target, "filter_conditions"), value) for name, value in event.filters)


def match_columns(event: Event, target: Target, source_columns: Sequence[str]) -> ColumnMatch:
    """Find a place for each column of the source; `EventInvalid` tells every one without.

    Columns that only the server writes are left out with a warning. So is an identity column of an UPDATE; INSERT and
    UPSERT take one with `metadata.keep_identity` only.
    """
    placed = _placed(target, source_columns)
    keys = key_columns(event, target)
    missing_keys = [column.name for column in keys if column not in placed]
    if missing_keys:
        raise EventInvalid(f"The source has no column {_listed(missing_keys)}, which primary_keys names.")
    if event.operation is Operation.DELETE:
        return ColumnMatch(tuple(placed[key] for key in keys), keys, keys, (), (), _no_unique_key(target, keys))
    warnings: list[str] = []
    writable = tuple(column for column in placed if _writable(event, column, keys, warnings))
    inserts = writable if event.operation is not Operation.UPDATE else ()
    updates = tuple(column for column in writable if column not in keys and not column.is_identity)
    if event.operation is Operation.UPDATE and not updates:
        raise EventInvalid("The source has nothing to update: no writable column besides the primary_keys.")
    if event.operation is not Operation.UPDATE:
        _require_complete(target, inserts)
    if keys:
        warnings += _no_unique_key(target, keys)
    staged = tuple(column for column in placed if column in writable or column in keys)
    ordinals = tuple(placed[column] for column in staged)
    return ColumnMatch(ordinals, staged, keys, updates, inserts, tuple(warnings))


def _placed(target: Target, source_columns: Sequence[str]) -> dict[TargetColumn, int]:
    """The target's column for each of the source's, in the source's order."""
    placed: dict[TargetColumn, int] = {}
    problems = []
    for ordinal, name in enumerate(source_columns):
        column = target.column(name)
        if column is None:
            near = closest(name, (known.name for known in target.columns))
            problems.append(f"{name!r}{f' (did you mean {near!r}?)' if near else ''} is not a column of {target}")
        elif column in placed:
            problems.append(f"{name!r} and {source_columns[placed[column]]!r} are one column of {target}")
        else:
            placed[column] = ordinal
    if problems:
        raise EventInvalid(
            f"The source does not fit: {'; '.join(problems)}.", hint="Leave the column out of the source table."
        )
    return placed


def _writable(event: Event, column: TargetColumn, keys: Sequence[TargetColumn], warnings: list[str]) -> bool:
    if column.written_by_server is not None:
        if column not in keys:
            warnings.append(f"column {column.name!r} is {column.written_by_server}: the source's values are left out")
        return False
    if not column.is_identity:
        return True
    if event.operation is Operation.UPDATE:
        if column not in keys:
            warnings.append(f"column {column.name!r} is an identity: an UPDATE leaves it as it is")
        return False
    if not event.keep_identity:
        raise EventInvalid(
            f"Column {column.name!r} is an identity, which the server numbers.",
            hint="Leave it out of the source, or set metadata keep_identity to 'true' to insert the source's values.",
        )
    return True


def _require_complete(target: Target, inserts: Sequence[TargetColumn]) -> None:
    missing = [
        column.name
        for column in target.columns
        if column not in inserts
        and not (column.nullable or column.has_default or column.is_identity or column.written_by_server)
    ]
    if missing:
        raise EventInvalid(f"The source lacks {_listed(missing)} of {target}: NOT NULL and without a default.")


def _no_unique_key(target: Target, keys: Sequence[TargetColumn]) -> tuple[str, ...]:
    """A warning unless a unique index makes sure that a key names at most one row."""
    names = {column.name for column in keys}
    if any(unique <= names for unique in target.unique_keys):
        return ()
    return (f"{target} has no unique index on {_listed(column.name for column in keys)}: a key may match several rows",)


def _column(name: str, target: Target, where: str) -> TargetColumn:
    column = target.column(name)
    if column is None:
        near = closest(name, (known.name for known in target.columns))
        raise EventInvalid(
            f"{where} names {name!r}, which is not a column of {target}.",
            hint=f"Did you mean {near!r}?" if near else None,
        )
    return column


def _filter(column: TargetColumn, text: str | None) -> Filter:
    try:
        kind = parse_declaration(column.sql_type)
    except ValueError:
        raise EventInvalid(
            f"filter_conditions: column {column.name!r} is {column.sql_type}, which can't be compared with a value."
        ) from None
    try:
        # A declared varchar is taken to be of code page 1252; whether another one has the characters, `db` looks.
        coded = kind.name in ("char", "varchar") and column.code_page not in (None, 1252)
        return Filter(column, (_ANY_TEXT if coded else kind).parse(text), kind.declaration)
    except ValueError as exc:
        raise EventInvalid(f"filter_conditions: {column.name!r} ({column.sql_type}): {exc}.") from None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
