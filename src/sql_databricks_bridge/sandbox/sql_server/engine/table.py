"""A table's definition: what the catalog keeps of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from ..contract import SqlType
from .collations import collation
from .types import BINARIES, STRINGS, SYSTEM_TYPES, byte_length, precision_scale


@dataclass(slots=True)
class TableColumn:
    """`id` names the PostgreSQL column: c{id}, and k{id} where `keyed` (the stored comparison key)."""

    id: int
    name: str
    type: SqlType
    nullable: bool
    identity: tuple[int, int] | None = None
    default: str | None = None  # T-SQL text
    default_name: str | None = None
    keyed: bool = False
    computed: str | None = None  # T-SQL text
    computed_pg: str | None = None  # the same for PostgreSQL
    persisted: bool = False
    generated: str | None = None  # ROW START, ROW END
    hidden: bool = False
    user_type: int | None = None  # an alias type's user_type_id

    @property
    def read_only(self) -> bool:
        """Whether its value is made by the server: computed, rowversion or a period's."""
        return self.computed is not None or self.generated is not None or self.type.name == "timestamp"

    @property
    def pg(self) -> str:
        return f"c{self.id}"

    @property
    def key_pg(self) -> str:
        return f"k{self.id}" if self.keyed else f"c{self.id}"

    @property
    def key_type(self) -> str:
        """PostgreSQL's type of the stored comparison key."""
        return "text" if self.type.name in STRINGS else "bytea" if self.type.name in BINARIES else "int8"


@dataclass(slots=True)
class Index:
    """An index or key; `pg` is its PostgreSQL name."""

    id: int
    name: str
    pg: str
    columns: list[tuple[str, bool]]
    unique: bool
    primary: bool = False
    constraint: bool = False
    clustered: bool = False
    include: list[str] = field(default_factory=list)
    object_id: int = 0
    filter: str | None = None


@dataclass(slots=True)
class Check:
    name: str
    pg: str
    text: str
    column: str | None = None
    object_id: int = 0


@dataclass(slots=True)
class ForeignKey:
    name: str
    pg: str
    columns: list[str]
    target_id: int
    target_columns: list[str]
    on_delete: str
    on_update: str
    object_id: int = 0
    trusted: bool = True  # False once a bulk load has passed it over


@dataclass(slots=True)
class Trigger:
    """A DML trigger; `text` is the batch that made it."""

    name: str
    object_id: int
    events: list[str]
    text: str
    instead_of: bool = False
    disabled: bool = False


@dataclass(slots=True)
class Table:
    """A user table, #temp table or table variable."""

    id: int
    database: str
    schema: str
    name: str
    pg_schema: str
    pg_name: str
    columns: list[TableColumn]
    indexes: list[Index] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    foreign_keys: list[ForeignKey] = field(default_factory=list)
    created: str = ""
    triggers: list[Trigger] = field(default_factory=list)
    period: tuple[str, str] | None = None

    @property
    def pg(self) -> str:
        return f"{self.pg_schema}.{self.pg_name}"

    @property
    def full_name(self) -> str:
        return f"{self.database}.{self.schema}.{self.name}"

    def column(self, name: str) -> TableColumn | None:
        lower = name.lower()
        return next((c for c in self.columns if c.name.lower() == lower), None)

    def to_json(self) -> str:
        """The definition as the catalog stores it."""
        d = asdict(self)
        for column, c in zip(d["columns"], self.columns, strict=True):
            system, user, *_ = SYSTEM_TYPES[c.type.name]
            column["sys"] = [system, c.user_type or user, byte_length(c.type), *precision_scale(c.type)]
        return json.dumps(d)

    @classmethod
    def from_json(cls, text: str) -> Table:
        d = json.loads(text)
        columns = [_column(c) for c in d.pop("columns")]
        indexes = [Index(**{**i, "columns": [tuple(c) for c in i["columns"]]}) for i in d.pop("indexes")]
        checks = [Check(**c) for c in d.pop("checks")]
        keys = [ForeignKey(**f) for f in d.pop("foreign_keys")]
        triggers = [Trigger(**t) for t in d.pop("triggers", [])]
        period = d.pop("period", None)
        return cls(
            **d,
            columns=columns,
            indexes=indexes,
            checks=checks,
            foreign_keys=keys,
            triggers=triggers,
            period=tuple(period) if period else None,
        )


def _column(d: dict[str, Any]) -> TableColumn:
    d.pop("sys", None)
    t = d.pop("type")
    c = t.pop("collation")
    sql_type = SqlType(**t, collation=collation(c["name"]) if c else None)
    identity = d.pop("identity")
    return TableColumn(**d, type=sql_type, identity=tuple(identity) if identity else None)
