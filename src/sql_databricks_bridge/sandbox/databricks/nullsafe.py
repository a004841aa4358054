"""`<=>` in a MERGE's condition, made fast: the engine tries every pair of rows where nothing else tells it how to join.

Spark joins by hash there. So each `t.key <=> s.key` gets an equation beside it that is true whenever it is true.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp, parse_one

from .delta import Column

_ZEROS = {"string": "''", "binary": "X''", "boolean": "false", "date": "DATE'1970-01-01'"}
_NUMBERS = ("tinyint", "smallint", "int", "bigint", "float", "double", "decimal(")


def add_equations(merge: exp.Merge, columns: Sequence[Column]) -> None:
    """Add the equations to a MERGE whose target has these columns."""
    condition = merge.args["on"]
    types = {column.name.lower(): column.sql_type for column in columns}
    target = merge.this.alias_or_name.lower()
    for each in list(condition.flatten()) if isinstance(condition, exp.And) else [condition]:
        inner = each.unnest()
        if not isinstance(inner, exp.NullSafeEQ):
            continue
        sides = (inner.this, inner.expression)
        named = [side for side in sides if isinstance(side, exp.Column) and side.table.lower() == target]
        zero = _zero(types.get(named[0].name.lower(), "")) if len(named) == 1 else None
        if zero is None:
            continue
        left, right = (exp.Coalesce(this=side.copy(), expressions=[zero.copy()]) for side in sides)
        condition = exp.and_(condition, exp.EQ(this=left, expression=right), copy=False)
    merge.set("on", condition)


def _zero(sql_type: str) -> exp.Expression | None:
    """A value of a type that stands for NULL; None where it is not worth it."""
    if sql_type in _ZEROS:
        text = _ZEROS[sql_type]
    elif sql_type.startswith("timestamp"):
        text = f"CAST('1970-01-01' AS {sql_type})"
    elif sql_type.startswith(_NUMBERS):
        text = f"CAST(0 AS {sql_type})"
    else:
        return None
    found = parse_one(text, dialect="databricks")
    assert isinstance(found, exp.Expression)
    return found
