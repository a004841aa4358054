"""Type policies: in which form values land that no one type of Databricks holds, and what stands beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Form(StrEnum):
    """How a column's values stand in the landed files.

    PLAIN: as its type does, see docs/types.md. MICROSECONDS: a datetime2(7) without its seventh digit, declared lost.
    UTC: a datetimeoffset as its instant, the offset declared lost. TEXT: SQL Server's own text. BYTES: a CLR type's
    serialization. WKB: well-known binary with Z and M.
    """

    PLAIN = "plain"
    MICROSECONDS = "microseconds"
    UTC = "utc"
    TEXT = "text"
    BYTES = "bytes"
    WKB = "wkb"


class Companion(StrEnum):
    """A column beside another one, named `<column>__<companion>`: what its type alone can't hold. NULL with the value.

    SEVENTH_DIGIT: 0 to 9, hundreds of nanoseconds, SMALLINT. OFFSET: minutes from UTC, -840 to 840, SMALLINT.
    BASE_TYPE: a sql_variant's type as T-SQL writes it, 'decimal(10,2)', STRING. SRID: INT.
    """

    SEVENTH_DIGIT = "100ns"
    OFFSET = "offset_minutes"
    BASE_TYPE = "base_type"
    SRID = "srid"

    def beside(self, column: str) -> str:
        """The companion's name."""
        return f"{column}__{self}"


POLICIES: Mapping[str, tuple[str, ...]] = {
    "datetime2": ("exact", "microseconds", "string"),
    "datetimeoffset": ("exact", "utc", "string"),
    "sql_variant": ("exact", "string"),
    "hierarchyid": ("string", "bytes"),
    "geometry": ("bytes", "wkb", "wkt"),
    "geography": ("bytes", "wkb", "wkt"),
    "vector": ("string",),
}
"""What the YAML's `types:` may say of a type; the first is the default. Other types have one form each."""


@dataclass(frozen=True, slots=True)
class TypePolicies:
    """The chosen policies: pairs of a type's name and a policy of `POLICIES`; types that are left out have the default.

    `strict`: a query whose result would lose anything is refused.
    """

    chosen: tuple[tuple[str, str], ...] = ()
    strict: bool = False

    def of(self, type_name: str) -> str | None:
        """The policy for a type; None for one that has no choice."""
        known = POLICIES.get(type_name)
        return dict(self.chosen).get(type_name, known[0]) if known else None
