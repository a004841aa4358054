"""What a canonical text is of: columns as SQL Server called them, and in which form and beside what they landed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sql_databricks_bridge.core.types import SqlServerType
from sql_databricks_bridge.models.type_policies import Companion, Form

CANONICAL_VERSION = 2
"""To be raised with every change of a text: digests of another version are worth nothing.

1: real and float in style 3, times in style 126. 2: texts that both sides can write.
"""

STRINGS = frozenset({"char", "varchar", "nchar", "nvarchar", "text", "ntext", "xml", "json"})
"""Types whose text is any string; the others' texts are ASCII."""


@dataclass(frozen=True)
class CanonicalColumn:
    """A column of the user's query. `sql_type` is SQL Server's own, from before any rewriting.

    `seventh_digit`, `offset`, `base_type` and `srid` name the landed companions, None where there is none.
    """

    name: str
    sql_type: str
    form: Form = Form.PLAIN
    seventh_digit: str | None = None
    offset: str | None = None
    base_type: str | None = None
    srid: str | None = None
    collation: str | None = None
    user_type: str | None = None

    @property
    def type_name(self) -> str:
        """The type without its size, in lower case; '' where it is none of SQL Server's own."""
        try:
            return SqlServerType.parse(self.sql_type).name
        except ValueError:
            return ""

    @property
    def digits(self) -> int:
        """Fractional digits of time, datetime2 and datetimeoffset, or of a decimal; 0 where the type has none."""
        try:
            return SqlServerType.parse(self.sql_type).scale or 0
        except ValueError:
            return 0

    @property
    def is_string(self) -> bool:
        """Whether its text is a string behind its length."""
        return self.form is Form.TEXT or (self.form is Form.PLAIN and self.type_name in STRINGS)


class LandedColumn(Protocol):
    """What `canonical_columns` reads of a column; `core.manifest.ManifestColumn` has it."""

    @property
    def name(self) -> str: ...
    @property
    def sql_type(self) -> str: ...
    @property
    def form(self) -> Form: ...
    @property
    def companion(self) -> Companion | None: ...
    @property
    def companion_of(self) -> str | None: ...
    @property
    def collation(self) -> str | None: ...
    @property
    def user_type(self) -> str | None: ...


def canonical_columns(manifest_columns: Iterable[LandedColumn]) -> tuple[CanonicalColumn, ...]:
    """The value columns, each with its companions' names, in their order."""
    columns = list(manifest_columns)
    beside = {(column.companion_of, column.companion): column.name for column in columns if column.companion}
    return tuple(
        CanonicalColumn(
            column.name,
            column.sql_type,
            Form(column.form),
            seventh_digit=beside.get((column.name, Companion.SEVENTH_DIGIT)),
            offset=beside.get((column.name, Companion.OFFSET)),
            base_type=beside.get((column.name, Companion.BASE_TYPE)),
            srid=beside.get((column.name, Companion.SRID)),
            collation=column.collation,
            user_type=column.user_type,
        )
        for column in columns
        if column.companion is None
    )


def one_byte(columns: Sequence[CanonicalColumn]) -> bool:
    """Whether a row's text is hashed one byte a character: no column of the row is a string."""
    return not any(column.is_string for column in columns)
