"""Names that people type, parsed and validated once."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sql_databricks_bridge.errors import UsageError
from sql_databricks_bridge.models.text import FORBIDDEN_IN_UNITY_NAMES

_SIMPLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*\Z")


def require_simple_name(value: str, what: str) -> str:
    """Return `value` if it is a legal query or country name, else raise `UsageError` naming `what`."""
    if not _SIMPLE.match(value):
        raise UsageError(
            f"{what} {value!r} is not a legal name.",
            hint="Use letters, digits, '_' and '-', not starting with '-'.",
        )
    return value


@dataclass(frozen=True, slots=True)
class Destination:
    """A Unity Catalog volume.

    Source of the naming rule: Databricks SQL reference, "Names": no full stop, space, forward slash or control
    character in an object's name.
    """

    catalog: str
    schema: str
    volume: str

    def __post_init__(self) -> None:
        for part in (self.catalog, self.schema, self.volume):
            if not part or len(part) > 255 or FORBIDDEN_IN_UNITY_NAMES.search(part):
                raise UsageError(
                    f"Destination {self.catalog}.{self.schema}.{self.volume}: {part!r} is not a legal name.",
                    hint="Write CATALOG.SCHEMA.VOLUME without blanks and slashes.",
                )

    @classmethod
    def parse(cls, text: str) -> Destination:
        """Parse 'catalog.schema.volume'."""
        parts = text.split(".")
        if len(parts) != 3:
            raise UsageError(f"Destination {text!r} has {len(parts)} parts.", hint="Write CATALOG.SCHEMA.VOLUME.")
        return cls(*parts)

    @property
    def root(self) -> str:
        """The volume's absolute path, without a trailing slash."""
        return f"/Volumes/{self.catalog}/{self.schema}/{self.volume}"

    def __str__(self) -> str:
        return f"{self.catalog}.{self.schema}.{self.volume}"
