"""Bound expressions: a SQL Server type with the PostgreSQL text that computes it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..contract import Collation, SqlType
from .types import INT, pg_type


@dataclass(frozen=True, slots=True)
class Ex:
    """A bound value. `sql` is PostgreSQL text of type `pg_type(type)`, safe to parenthesise-free concatenation."""

    sql: str
    type: SqlType
    nullable: bool = True
    digits: int | None = None  # of an integer literal: it counts as decimal(digits, 0)
    is_null: bool = False  # the untyped NULL
    constant: str | None = None  # a string literal's (or variable's) text
    explicit_collation: bool = False
    aggregate: bool = False
    base: SqlType | None = None  # of a sql_variant: what it holds; `sql` is of that type
    identity: bool = False
    computed: bool = False
    column: bool = False  # a bare column
    key: str | None = None  # a stored comparison key of that column
    measure: str | None = None  # LEN of it, where that is cheaper to compute than from the text

    def but(self, **changes: object) -> Ex:
        return replace(self, **changes)  # type: ignore[arg-type]


NULL = Ex("NULL::int4", INT, True, is_null=True)


def value(sql: str, t: SqlType, *args: Ex, nullable: bool | None = None) -> Ex:
    """A computed value; NULL where an argument may be, if not said otherwise."""
    may = any(a.nullable for a in args) if nullable is None else nullable
    return Ex(sql, t, may, aggregate=any(a.aggregate for a in args))


def probe(ex: Ex) -> str:
    """What is NULL exactly where the value is: a composite is not, as PostgreSQL sees it, once a field of it is."""
    if ex.type.name == "datetimeoffset" or (ex.base is not None and ex.base.name == "datetimeoffset"):
        return f"({ex.sql}).utc"
    return f"({ex.sql}).base" if ex.type.name == "sql_variant" and ex.base is None else ex.sql


def typed_null(t: SqlType) -> Ex:
    return Ex(f"NULL::{pg_type(t)}", t, True)


@dataclass(slots=True)
class OutColumn:
    """A column that a query puts out."""

    name: str
    type: SqlType
    nullable: bool
    identity: bool = False
    computed: bool = False
    base: SqlType | None = None
    column: bool = False
    is_null: bool = False


@dataclass(slots=True)
class SourceColumn:
    """A column that a FROM clause offers."""

    name: str
    sql: str
    type: SqlType
    nullable: bool
    identity: bool = False
    computed: bool = False
    base: SqlType | None = None
    key: str | None = None  # a stored key column's SQL, where the table has one
    hidden: bool = False  # left out of *


@dataclass(slots=True)
class Source:
    """A table in FROM under its alias; `qualifiers` are the names it answers to, lower-cased."""

    alias: str
    qualifiers: tuple[tuple[str, ...], ...]
    columns: list[SourceColumn]
    table_id: int | None = None
    rowid: str | None = None
    outer: bool = False  # on the optional side of an outer join


@dataclass(slots=True)
class BoundQuery:
    """PostgreSQL text whose columns are named o1, o2, ... in order."""

    sql: str
    columns: list[OutColumn]
    collation: Collation | None = field(default=None)
