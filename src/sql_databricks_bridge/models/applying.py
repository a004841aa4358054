"""What is to be done to a target, decided; and what was done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sql_databricks_bridge.models.events import LedgerEntry, Operation
from sql_databricks_bridge.models.tables import Target, TargetColumn


class OnConflict(StrEnum):
    """What INSERT with primary_keys does about rows that are there already."""

    ERROR = "error"
    SKIP = "skip"
    UPDATE = "update"


@dataclass(frozen=True, slots=True)
class Filter:
    """`column = value`, or IS NULL where `value` is None; a Python object of the T-SQL type `declaration`."""

    column: TargetColumn
    value: object | None
    declaration: str


@dataclass(frozen=True, slots=True)
class Staging:
    """A loaded staging table `bridge.name`: nullable copies of `columns` of `target`, named like them."""

    name: str
    target: Target
    columns: tuple[TargetColumn, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class ApplyPlan:
    """One event's statement. `staging` is None for a DELETE by filters alone.

    `keys` and `updates` are columns of the target that are staged; `inserts` those that an INSERT or UPSERT fills;
    `filters` are on the target and of DELETE only. `entry` is the ledger's row to commit with it, its counts open;
    `reopened` says that the generation's row is there as 'open'.
    """

    operation: Operation
    target: Target
    entry: LedgerEntry
    staging: Staging | None = None
    keys: tuple[TargetColumn, ...] = ()
    updates: tuple[TargetColumn, ...] = ()
    inserts: tuple[TargetColumn, ...] = ()
    filters: tuple[Filter, ...] = ()
    on_conflict: OnConflict = OnConflict.ERROR
    keep_identity: bool = False
    reopened: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """What the statements of one event counted, before commit."""

    updated: int = 0
    inserted: int = 0
    deleted: int = 0
    skipped: int = 0

    @property
    def affected(self) -> int:
        """Rows that changed."""
        return self.updated + self.inserted + self.deleted


@dataclass(frozen=True, slots=True)
class Matches:
    """What a plan would meet: staged rows, and rows of the target that its keys and filters name."""

    staged: int | None
    matching: int
