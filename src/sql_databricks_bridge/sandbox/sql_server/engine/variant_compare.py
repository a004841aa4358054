"""Equality of sql_variant values ("sql_variant (Transact-SQL)": comparing sql_variant values).

Base types of one family are compared by that family's own rules; values of two families are never equal.
"""

from __future__ import annotations

from ..contract import SqlType
from .bound import Ex
from .errors import unsupported

_FAMILIES = (
    frozenset({"datetime2", "datetimeoffset", "datetime", "smalldatetime", "date", "time"}),
    frozenset({"float", "real"}),
    frozenset({"decimal", "numeric", "money", "smallmoney", "bigint", "int", "smallint", "tinyint", "bit"}),
    frozenset({"nvarchar", "varchar", "nchar", "char"}),
    frozenset({"varbinary", "binary"}),
    frozenset({"uniqueidentifier"}),
)


def _family(t: SqlType) -> frozenset[str]:
    return next((family for family in _FAMILIES if t.name in family), frozenset())


def held(ex: Ex) -> Ex:
    """A variant as what it holds; another value as it is."""
    return ex if ex.base is None else ex.but(type=ex.base, base=None)


def of_two_families(op: str, left: Ex, right: Ex, line: int) -> str | None:
    """The answer where the families differ, None where the values held are to be compared."""
    a, b = held(left), held(right)
    if _family(a.type) & _family(b.type):
        return None
    if op not in ("=", "<>"):
        raise unsupported("ordering sql_variant values of two families of types", line)
    answer = "false" if op == "=" else "true"
    return f"(CASE WHEN ({a.sql}) IS NOT NULL AND ({b.sql}) IS NOT NULL THEN {answer} END)"
