"""From a row that anybody may have written to an event that makes sense: everything that needs no server."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from sql_databricks_bridge.core.suggestions import closest
from sql_databricks_bridge.errors import EventBlocked, EventInvalid
from sql_databricks_bridge.models.applying import OnConflict
from sql_databricks_bridge.models.events import (
    EVENT_ID_LENGTH,
    KEEP_IDENTITY,
    METADATA_KEYS,
    ON_CONFLICT,
    SOURCE_VERSION,
    TIMEZONE,
    EventRow,
    Operation,
)
from sql_databricks_bridge.models.tables import SourceName, TargetName
from sql_databricks_bridge.models.text import shown, utf16_length

Given = TypeVar("Given")
Found = TypeVar("Found")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_VERSION = re.compile(r"[0-9]{1,18}")
_KEYED = frozenset({Operation.UPDATE, Operation.UPSERT})
_LONGEST_COLUMN_NAME = 255


@dataclass(frozen=True, slots=True)
class Event:
    """An event that makes sense by itself; whether its tables and columns exist is not known yet.

    `source` is None where no source is read: a DELETE by filters alone. `filters` are on the target for DELETE, on the
    source else; a value None means IS NULL. `notes` are warnings for the author.
    """

    row: EventRow
    event_id: str
    operation: Operation
    target: TargetName
    source: SourceName | None
    keys: tuple[str, ...] = ()
    filters: tuple[tuple[str, str | None], ...] = ()
    source_version: int | None = None
    timezone: str | None = None
    keep_identity: bool = False
    on_conflict: OnConflict = OnConflict.ERROR
    notes: tuple[str, ...] = ()


def event_id_problem(event_id: str) -> str | None:
    """Say why an event_id can't stand in the ledger, None where it can.

    SQL Server ignores trailing blanks when it compares, so such names would not be told apart there.
    """
    if not event_id:
        return "event_id is empty"
    if utf16_length(event_id) > EVENT_ID_LENGTH:
        return f"event_id is longer than {EVENT_ID_LENGTH} characters"
    if event_id != event_id.strip():
        return "event_id begins or ends with a blank"
    return "event_id holds a control character" if _CONTROL.search(event_id) else None


def understand(row: EventRow) -> Event:
    """Make sense of a row; `EventInvalid` tells every problem at once, `EventBlocked` a DELETE without a predicate."""
    if row.event_id is None or (problem := event_id_problem(row.event_id)):
        raise EventInvalid(f"{problem if row.event_id is not None else 'event_id is NULL'}.", hint="Use a UUID.")
    problems = _Problems()
    operation = problems.caught(_operation, row.operation)
    target = problems.caught(_target, row.target_table)
    keys = problems.caught(_keys, row.primary_keys)
    filters = problems.caught(_filters, row.filter_conditions)
    metadata = problems.caught(_metadata, row.metadata)
    source = None
    if row.rows_expected is not None and row.rows_expected < 0:
        problems.append(f"rows_expected is {row.rows_expected}, less than 0")
    if operation in _KEYED and keys is not None and not keys:
        problems.append(f"{operation} needs primary_keys")
    if operation is not Operation.DELETE or keys:
        source = problems.caught(_source, row.source_table)
    if problems:
        raise EventInvalid(f"{'; '.join(problems)}.")
    assert operation is not None  # a parser either returns or leaves a problem
    assert target is not None
    assert keys is not None
    assert filters is not None
    assert metadata is not None
    if operation is Operation.DELETE and not keys and not filters:
        raise EventBlocked(
            "DELETE without primary_keys and filter_conditions would empty the table.",
            hint="Name the key columns of the source's rows, or column = value conditions.",
        )
    return Event(
        row=row,
        event_id=row.event_id,
        operation=operation,
        target=target,
        source=source,
        keys=keys,
        filters=filters,
        source_version=metadata.source_version,
        timezone=metadata.timezone,
        keep_identity=metadata.keep_identity,
        on_conflict=metadata.on_conflict,
        notes=(*metadata.notes, *_unread(operation, row, source)),
    )


def _unread(operation: Operation, row: EventRow, source: SourceName | None) -> tuple[str, ...]:
    """A note where a source is named and not read: its author may have meant its rows to be those that go."""
    if operation is Operation.DELETE and source is None and row.source_table:
        return ("source_table was not read: without primary_keys a DELETE goes by filter_conditions alone",)
    return ()


class _Problems(list[str]):
    """What is wrong with an event, collected."""

    def caught(self, parse: Callable[[Given], Found], given: Given) -> Found | None:
        """Parse; None where that raised, which is now among the problems."""
        try:
            return parse(given)
        except EventInvalid as exc:
            self.append(str(exc).rstrip("."))
            return None


@dataclass(frozen=True, slots=True)
class _Metadata:
    source_version: int | None = None
    timezone: str | None = None
    keep_identity: bool = False
    on_conflict: OnConflict = OnConflict.ERROR
    notes: tuple[str, ...] = ()


def _operation(text: str | None) -> Operation:
    if text is None:
        raise EventInvalid("operation is NULL: use INSERT, UPDATE, DELETE or UPSERT")
    try:
        return Operation(text.upper())
    except ValueError:
        raise EventInvalid(f"operation {shown(text)} is unknown: use INSERT, UPDATE, DELETE or UPSERT") from None


def _target(text: str | None) -> TargetName:
    if not text:
        raise EventInvalid("target_table is missing")
    return TargetName.parse(text)


def _source(text: str | None) -> SourceName:
    if not text:
        raise EventInvalid("source_table is missing")
    return SourceName.parse(text)


def _keys(names: tuple[str | None, ...] | None) -> tuple[str, ...]:
    found: dict[str, str] = {}  # by lower case: a row with a hundred thousand names must not take minutes
    for name in names or ():
        checked = _column_name(name, "primary_keys")
        if checked.lower() in found:
            raise EventInvalid(f"primary_keys has {shown(checked)} twice")
        found[checked.lower()] = checked
    return tuple(found.values())


def _filters(conditions: Mapping[str, str | None] | None) -> tuple[tuple[str, str | None], ...]:
    found: dict[str, tuple[str, str | None]] = {}
    for name, value in (conditions or {}).items():
        checked = _column_name(name, "filter_conditions")
        if checked.lower() in found:
            raise EventInvalid(f"filter_conditions has {shown(checked)} twice")
        found[checked.lower()] = (checked, value)
    return tuple(found.values())


def _column_name(name: str | None, where: str) -> str:
    """A name that may be a column's; whether it is one, the catalog says."""
    if name is None:
        raise EventInvalid(f"{where} has a NULL name")
    if not name.strip() or len(name) > _LONGEST_COLUMN_NAME or _CONTROL.search(name):
        raise EventInvalid(f"{where}: {shown(name)} is no column name")
    return name


def _metadata(given: Mapping[str, str | None] | None) -> _Metadata:
    metadata = given or {}
    notes = tuple(
        f"metadata key {shown(key)} means nothing to the bridge: {near!r} would"
        for key in metadata
        if key not in METADATA_KEYS and (near := closest(key.strip(), METADATA_KEYS))
    )
    version = metadata.get(SOURCE_VERSION)
    if version is not None and not _VERSION.fullmatch(version):
        raise EventInvalid(f"metadata {SOURCE_VERSION} {shown(version)} is no version of a Delta table")
    return _Metadata(
        source_version=None if version is None else int(version),
        timezone=_timezone(metadata.get(TIMEZONE)),
        keep_identity=_switch(KEEP_IDENTITY, metadata.get(KEEP_IDENTITY)),
        on_conflict=_on_conflict(metadata.get(ON_CONFLICT)),
        notes=notes,
    )


def _timezone(name: str | None) -> str | None:
    if name is None:
        return None
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise EventInvalid(f"metadata {TIMEZONE} {shown(name)} is no IANA time zone such as America/Bogota") from None
    return name


def _switch(key: str, text: str | None) -> bool:
    if text is None or text.lower() == "false":
        return False
    if text.lower() == "true":
        return True
    raise EventInvalid(f"metadata {key} {shown(text)} is neither true nor false")


def _on_conflict(text: str | None) -> OnConflict:
    try:
        return OnConflict.ERROR if text is None else OnConflict(text.lower())
    except ValueError:
        raise EventInvalid(f"metadata {ON_CONFLICT} {shown(text or '')} is none of error, skip, update") from None
