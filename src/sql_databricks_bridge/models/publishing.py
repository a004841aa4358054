"""Publishing: which Delta table a query becomes, how it is kept up to date, and what stands there."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sql_databricks_bridge.models.tables import SourceName

DELETED_COLUMN = "_bridge_deleted"
"""Bit column of a keyed increment's files: true where the row is gone, and only its key is there."""

RANGE_COLUMN = "_bridge_range"
"""Bigint column of a table kept by fingerprints: the range that the row belongs to, `NULL_RANGE` for a NULL key."""

NULL_RANGE = -(2**63)


class IncrementKind(StrEnum):
    """How it is found out what changed since the last publication."""

    ROWVERSION = "rowversion"
    CURSOR = "cursor"
    CHANGE_TRACKING = "change_tracking"
    CDC = "cdc"
    FINGERPRINT = "fingerprint"

    @property
    def sees_deletes(self) -> bool:
        """Whether rows that are gone are noticed."""
        return self in (IncrementKind.CHANGE_TRACKING, IncrementKind.CDC, IncrementKind.FINGERPRINT)


class DriftPolicy(StrEnum):
    """What becomes of a published table when its query's columns change."""

    EVOLVE = "evolve"
    FAIL = "fail"
    NEW_TABLE = "new_table"


@dataclass(frozen=True, slots=True)
class Incremental:
    """A query's `incremental:` in YAML.

    `key` are columns of the result. `column` is the rowversion or cursor column of the result; `lag` is taken off the
    cursor, in seconds for times, in units for numbers. `table` (schema.table) is the tracked table of change_tracking,
    `capture` the capture instance of cdc; their key columns have the names of `key` in both table and result.
    `range_rows` is about how many rows a fingerprint stands for.
    """

    kind: IncrementKind
    key: tuple[str, ...]
    column: str | None = None
    lag: int = 0
    table: str | None = None
    capture: str | None = None
    range_rows: int = 64


@dataclass(frozen=True, slots=True)
class Publication:
    """Where a query's rows go, and how; `soft_delete` names the timestamp column that marks rows which are gone."""

    table: SourceName
    drift: DriftPolicy = DriftPolicy.EVOLVE
    soft_delete: str | None = None
    incremental: Incremental | None = None


@dataclass(frozen=True, slots=True)
class Watermark:
    """How far the source is in the table, as text that means something to its kind alone.

    rowversion and cdc: '0x' and hexadecimal digits; change_tracking: a number; cursor: the value as T-SQL's style 126
    or plain digits; fingerprint: the path of the file of digests in the volume.
    """

    kind: IncrementKind
    value: str


@dataclass(frozen=True, slots=True)
class PublishedState:
    """What stands for a published table. `target` is the name that the YAML gives, `table` where the rows are now.

    They differ once the policy new_table made another one. `generation` counts publications, 0 before the first;
    `owner` is the token of who publishes now, or did last: only the owner's statements do anything. `definition` is a
    digest of what the rows were asked by: an increment goes only on top of rows of the same definition.
    `columns` are the names and SQL Server types of the published result. `unsettled`: the owner (for who has just
    claimed: the one before) has not come to its end; unless it still works, it died and may have written rows.
    """

    target: SourceName
    table: SourceName
    country: str
    query: str
    owner: str
    generation: int = 0
    definition: str = ""
    run_id: str | None = None
    manifest: str | None = None
    watermark: Watermark | None = None
    columns: tuple[tuple[str, str], ...] = ()
    rows: int | None = None
    published_at: dt.datetime | None = None
    unsettled: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class DeltaColumn:
    """A column of a Delta table; `type` in lower case as DESCRIBE TABLE has it: 'decimal(18,4)', 'timestamp_ntz'."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Load:
    """Files of one landed run on their way into a table; every path is absolute in a volume.

    `columns` are those that the table gets, in order; one that is not in `landed` (the files' own columns, control
    columns included) becomes NULL. `target` and `owner` are the fence: without that owner in the state's row the
    statement fails. `properties` and `comment` are the table's, written by a full load only.
    """

    table: SourceName
    target: SourceName
    owner: str
    files: tuple[str, ...]
    columns: tuple[DeltaColumn, ...]
    landed: frozenset[str]
    key: tuple[str, ...] = ()
    soft_delete: str | None = None
    comment: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Rows that a publication changed; `total` are those that a full one wrote."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    total: int | None = None


@dataclass(frozen=True, slots=True)
class PublicationOutcome:
    """What a run did to a table. `way` is 'full' or an increment's kind, `changes` what happened to its columns."""

    table: str
    way: str
    reason: str
    rows: RowCounts
    watermark: str | None = None
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Way:
    """How a query goes this time: in full (`kind` None) or by an increment, and why.

    `low` is the watermark that stands, `high` the one that stands afterwards, None where the kind needs none (a full
    load of a query without `incremental:`). `ranges` are the changed ranges of a fingerprint, those that are gone
    included; `digests` is the content of the file of digests to be kept beside the rows.
    """

    kind: IncrementKind | None
    reason: str
    low: Watermark | None = None
    high: Watermark | None = None
    ranges: tuple[int, ...] = ()
    digests: bytes | None = None
    estimated_rows: int | None = None
    warnings: tuple[str, ...] = ()
