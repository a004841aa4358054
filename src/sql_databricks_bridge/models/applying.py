"""What is to be done to a target, decided; and what was done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sql_databricks_bridge.models.events import LedgerEntry, Operation
from sql_databricks_bridge.models.tables import Target, TargetColumn
from sql_databricks_bridge.models.type_policies import Companion, Form


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
class Assembly:
    """A column of the target whose values SQL Server makes of what is staged for it.

    `form` is how the column itself is staged: PLAIN as its own type, TEXT, BYTES (of a CLR type) or WKB. `companions`
    are staged beside it, by the names of `Companion.beside`. `base_types` are those of a sql_variant's values, known
    once they are staged.
    """

    column: TargetColumn
    form: Form = Form.PLAIN
    companions: tuple[Companion, ...] = ()
    base_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Staging:
    """A loaded staging table `bridge.name`: nullable copies of `columns` of `target`, named like them.

    Those of `assemblies` are staged in parts.
    """

    name: str
    target: Target
    columns: tuple[TargetColumn, ...]
    rows: int
    assemblies: tuple[Assembly, ...] = ()


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


@dataclass(frozen=True, slots=True)
class Example:
    """A row that stands for others of its kind: values as text, NULL as None, by column.

    They are its key, or of rows without keys their short columns. `differing` are the written columns that the target
    holds otherwise; `copies` of such a row are meant.
    """

    values: tuple[tuple[str, str | None], ...]
    differing: tuple[str, ...] = ()
    copies: int = 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the target holds of a plan's staged rows, as of one moment. Counts are of staged rows, with multiplicity.

    `staged` = `equal` + `differing` + `missing` + `remaining`. A DELETE has `remaining` keys that are still there
    (without a source: rows of the target that still match), the others are `equal`. `compared` are the columns whose
    values were compared. `examples` are by kind, the first ones by key.
    """

    staged: int | None
    equal: int = 0
    differing: int = 0
    missing: int = 0
    remaining: int = 0
    compared: tuple[str, ...] = ()
    differing_examples: tuple[Example, ...] = ()
    missing_examples: tuple[Example, ...] = ()
    remaining_examples: tuple[Example, ...] = ()
    isolation: str = "read committed"

    @property
    def same(self) -> bool:
        """Whether the target holds what the source held."""
        return not (self.differing or self.missing or self.remaining)
