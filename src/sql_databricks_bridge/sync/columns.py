"""Which columns of a source go where in a target: decided from the catalog, before any row is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sql_databricks_bridge.core.sql_values import parse_declaration
from sql_databricks_bridge.core.suggestions import closest
from sql_databricks_bridge.errors import EventInvalid
from sql_databricks_bridge.models.applying import Filter
from sql_databricks_bridge.models.events import Operation
from sql_databricks_bridge.models.tables import SQL_SERVER_NAME_LENGTH, Target, TargetColumn
from sql_databricks_bridge.models.text import utf16_length
from sql_databricks_bridge.models.type_policies import Companion
from sql_databricks_bridge.sync.validators import Event

Beside = tuple[Companion, int]
"""A companion, and its column's number in the source (from 0)."""

_ANY_TEXT = parse_declaration("nvarchar(max)")
_COMPANIONS: Final[Mapping[str, tuple[Companion, ...]]] = {
    "datetime2": (Companion.SEVENTH_DIGIT,),
    "datetimeoffset": (Companion.SEVENTH_DIGIT, Companion.OFFSET),
    "sql_variant": (Companion.BASE_TYPE,),
    "geometry": (Companion.SRID,),
    "geography": (Companion.SRID,),
}


@dataclass(frozen=True, slots=True)
class ColumnMatch:
    """`staged[i]` takes the source's column number `ordinals[i]` (from 0) and what `companions[i]` says of it.

    `keys`, `updates` and `inserts` are subsets of `staged`.
    """

    ordinals: tuple[int, ...]
    staged: tuple[TargetColumn, ...]
    companions: tuple[tuple[Beside, ...], ...]
    keys: tuple[TargetColumn, ...]
    updates: tuple[TargetColumn, ...]
    inserts: tuple[TargetColumn, ...]
    warnings: tuple[str, ...]

    @property
    def read(self) -> tuple[int, ...]:
        """The source's columns that are read: `ordinals`, then the companions' in the order of `companions`."""
        return (*self.ordinals, *(ordinal for beside in self.companions for _, ordinal in beside))

    @property
    def inserts_identity(self) -> bool:
        """Whether the identity column's values come from the source."""
        return any(column.is_identity for column in self.inserts)


def key_columns(event: Event, target: Target) -> tuple[TargetColumn, ...]:
    """The target's columns that primary_keys names."""
    return tuple(_column(name, target, "primary_keys") for name in event.keys)


def read_columns(event: Event, target: Target) -> list[str] | None:
    """The source's columns that a DELETE needs: its keys; None, for all, where a key may have companions there."""
    keys = key_columns(event, target)
    return None if any(_kind(key) in _COMPANIONS for key in keys) else [key.name for key in keys]


def target_filters(event: Event, target: Target) -> tuple[Filter, ...]:
    """The conditions of a DELETE, their values parsed to their columns' types, exactly."""
    return tuple(_filter(_column(name, target, "filter_conditions"), value) for name, value in event.filters)


def match_columns(event: Event, target: Target, source_columns: Sequence[str]) -> ColumnMatch:
    """Find a place for each column of the source; `EventInvalid` tells every one without.

    Columns that only the server writes are left out with a warning. So is an identity column of an UPDATE; INSERT and
    UPSERT take one with `metadata.keep_identity` only.
    """
    keys = key_columns(event, target)
    delete = event.operation is Operation.DELETE
    placed, beside = _placed(target, source_columns, keys if delete else None)
    missing_keys = [column.name for column in keys if column not in placed]
    if missing_keys:
        raise EventInvalid(f"The source has no column {_listed(missing_keys)}, which primary_keys names.")
    if delete:
        ordinals, companions = _where(keys, placed, beside)
        return ColumnMatch(ordinals, keys, companions, keys, (), (), _no_unique_key(target, keys))
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
    ordinals, companions = _where(staged, placed, beside)
    return ColumnMatch(ordinals, staged, companions, keys, updates, inserts, tuple(warnings))


_Placed = dict[TargetColumn, int]
_Companions = dict[tuple[TargetColumn, Companion], int]


def _where(
    columns: Sequence[TargetColumn], placed: _Placed, beside: _Companions
) -> tuple[tuple[int, ...], tuple[tuple[Beside, ...], ...]]:
    """The source's columns for these of the target, and those of their companions."""
    companions = [
        tuple((companion, ordinal) for (of, companion), ordinal in beside.items() if of == column) for column in columns
    ]
    return tuple(placed[column] for column in columns), tuple(companions)


def _placed(
    target: Target, source_columns: Sequence[str], only: Sequence[TargetColumn] | None
) -> tuple[_Placed, _Companions]:
    """The target's column for each of the source's, in the source's order; and the companions among these.

    `only` are the columns that matter; None: each must have a place.
    """
    placed: _Placed = {}
    beside: _Companions = {}
    known = _companion_names(target)
    problems = []
    for ordinal, name in enumerate(source_columns):
        column = target.column(name)
        companion = known.get(name.lower()) if column is None else None
        if only is not None and (column or (companion and companion[0])) not in only:
            continue
        if companion is not None:
            if companion in beside:
                problems.append(f"{name!r} and {source_columns[beside[companion]]!r} are one column to SQL Server")
            beside[companion] = ordinal
        elif column is None:
            near = closest(name, (known.name for known in target.columns))
            problems.append(f"{name!r}{f' (did you mean {near!r}?)' if near else ''} is not a column of {target}")
        elif column in placed:
            problems.append(f"{name!r} and {source_columns[placed[column]]!r} are one column of {target}")
        else:
            placed[column] = ordinal
    problems += [
        f"{source_columns[ordinal]!r} stands beside no column {column.name!r}"
        for (column, _), ordinal in beside.items()
        if column not in placed and only is None
    ]
    if problems:
        raise EventInvalid(
            f"The source does not fit: {'; '.join(problems)}.", hint="Leave the column out of the source table."
        )
    return placed, beside


def _companion_names(target: Target) -> dict[str, tuple[TargetColumn, Companion]]:
    """Names, in lower case, that a source's column may have to stand beside one of the target's."""
    return {
        name.lower(): (column, companion)
        for column in target.columns
        for companion in _COMPANIONS.get(_kind(column), ())
        if utf16_length(name := companion.beside(column.name)) <= SQL_SERVER_NAME_LENGTH
    }


def _kind(column: TargetColumn) -> str:
    return column.sql_type.split("(")[0].lower()


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
