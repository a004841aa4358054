"""Names and shapes of tables: what an event copies from (Databricks) and into (SQL Server)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from sql_databricks_bridge.errors import EventInvalid
from sql_databricks_bridge.models.text import CONTROL, FORBIDDEN_IN_UNITY_NAMES, shown, utf16_length

SQL_SERVER_NAME_LENGTH = 128
UNITY_NAME_LENGTH = 255

_BRACKETED = re.compile(r"\[((?:[^\]]|\]\])+)\]")
_REGULAR = re.compile(r"[^\W\d][\w@$#]*|[@#][\w@$#]+")
_BACKTICKED = re.compile(r"`((?:[^`]|``)+)`")
_PLAIN = re.compile(r"[\w-]+")

Named = TypeVar("Named", "TargetColumn", str)


@dataclass(frozen=True, slots=True)
class TargetName:
    """A SQL Server table as an event names it: `schema.table`, each part regular or in brackets."""

    schema: str
    table: str

    @classmethod
    def parse(cls, text: str) -> TargetName:
        """Parse 'dbo.orders' or '[odd schema].[a]]b]'; `EventInvalid` where it is not two names."""
        parts = _split(text, _BRACKETED, "]]", "]", _REGULAR)
        if parts is None or len(parts) != 2:
            raise EventInvalid(
                f"target_table {shown(text, 160)} is not schema.table.",
                hint="Write it as dbo.orders; put a part with other characters into brackets: dbo.[odd name].",
            )
        for part in parts:
            if utf16_length(part) > SQL_SERVER_NAME_LENGTH or CONTROL.search(part):
                raise EventInvalid(
                    f"target_table {shown(text, 160)}: {shown(part, 160)} is no name of SQL Server, which ends at "
                    f"{SQL_SERVER_NAME_LENGTH} characters and takes no control characters."
                )
        return cls(*parts)

    def __str__(self) -> str:
        return ".".join(
            part if _REGULAR.fullmatch(part) else f"[{part.replace(']', ']]')}]" for part in (self.schema, self.table)
        )


@dataclass(frozen=True, slots=True)
class SourceName:
    """A Unity Catalog table: `catalog.schema.table`, each part plain or in backticks."""

    catalog: str
    schema: str
    table: str

    @classmethod
    def parse(cls, text: str, what: str = "source_table") -> SourceName:
        """Parse 'main.sales.orders' or 'main.`odd+name`.orders'; `EventInvalid` where it is not three names."""
        parts = _split(text, _BACKTICKED, "``", "`", _PLAIN)
        if parts is None or len(parts) != 3:
            raise EventInvalid(
                f"{what} {shown(text, 160)} is not catalog.schema.table.",
                hint="Write it as main.sales.orders; put a part with other characters into backticks.",
            )
        for part in parts:
            if len(part) > UNITY_NAME_LENGTH or FORBIDDEN_IN_UNITY_NAMES.search(part):
                raise EventInvalid(f"{what} {shown(text, 160)}: {shown(part, 160)} is no name of Unity Catalog.")
        return cls(*parts)

    def __str__(self) -> str:
        return ".".join(
            part if _PLAIN.fullmatch(part) else f"`{part.replace('`', '``')}`"
            for part in (self.catalog, self.schema, self.table)
        )


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """A column of a target table, as sys.columns tells it.

    `sql_type` is the base type ('decimal(18,4)', 'nvarchar(max)'; an alias type is resolved). `code_page` is that of
    a (var)char or text column's collation (65001 is UTF-8), else None. `has_default` counts DEFAULT constraints.
    """

    name: str
    sql_type: str
    nullable: bool
    collation: str | None = None
    code_page: int | None = None
    has_default: bool = False
    is_identity: bool = False
    is_computed: bool = False
    is_generated: bool = False

    @property
    def is_rowversion(self) -> bool:
        """Whether the server numbers it by itself."""
        return self.sql_type in ("timestamp", "rowversion")

    @property
    def written_by_server(self) -> str | None:
        """Why nobody can write it: 'computed', 'rowversion', 'generated always'; None where one can."""
        if self.is_computed:
            return "computed"
        if self.is_rowversion:
            return "rowversion"
        return "generated always" if self.is_generated else None


@dataclass(frozen=True, slots=True)
class Target:
    """A base table to apply to. `unique_keys` are the column sets of its enabled, unfiltered unique indexes.

    `cascades` names what a DELETE reaches besides: tables by cascading foreign keys (transitively; SET NULL and SET
    DEFAULT too). `delete_triggers` names its enabled triggers for DELETE; `instead_of` those that replace a statement.
    `passes_on` has (column, other table) for each column whose UPDATE changes rows there: ON UPDATE CASCADE and others.
    """

    object_id: int
    schema: str
    name: str
    columns: tuple[TargetColumn, ...]
    unique_keys: tuple[frozenset[str], ...] = ()
    cascades: tuple[str, ...] = ()
    delete_triggers: tuple[str, ...] = ()
    instead_of: tuple[str, ...] = ()
    passes_on: tuple[tuple[str, str], ...] = ()
    database: str = field(default="", compare=False)

    def __str__(self) -> str:
        return str(TargetName(self.schema, self.name))

    def column(self, name: str) -> TargetColumn | None:
        """Find a column as SQL Server would, without regard to case; None where there is none."""
        return find_named(name, self.columns)


def find_named(name: str, among: Iterable[Named]) -> Named | None:
    """Find by exact name, else by the one name that is the same without case."""
    candidates = list(among)
    for candidate in candidates:
        if _name_of(candidate) == name:
            return candidate
    same = [candidate for candidate in candidates if _name_of(candidate).lower() == name.lower()]
    return same[0] if len(same) == 1 else None


def _name_of(candidate: TargetColumn | str) -> str:
    return candidate if isinstance(candidate, str) else candidate.name


def _split(
    text: str, quoted: re.Pattern[str], doubled: str, quote: str, plain: re.Pattern[str]
) -> tuple[str, ...] | None:
    """Split a dotted name; None where it is not one from its first to its last character."""
    parts, position = [], 0
    while True:
        if match := quoted.match(text, position):
            parts.append(match[1].replace(doubled, quote))
        elif match := plain.match(text, position):
            parts.append(match[0])
        else:
            return None
        position = match.end()
        if position == len(text):
            return tuple(parts)
        if text[position] != ".":
            return None
        position += 1
