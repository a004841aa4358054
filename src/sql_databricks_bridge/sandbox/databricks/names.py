"""Names of tables, and how they are written in SQL."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TableName:
    """A three-part name in lower case."""

    catalog: str
    schema: str
    table: str

    @property
    def sql(self) -> str:
        """In backticks."""
        return quoted(self.catalog, self.schema, self.table)


@dataclass(frozen=True, slots=True)
class Place:
    """Where names without a catalog or schema are looked up."""

    catalog: str
    schema: str


def quoted(*parts: str) -> str:
    """A name in backticks, part by part."""
    return ".".join("`" + part.replace("`", "``") + "`" for part in parts)


def literal(text: str) -> str:
    """An SQL string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
