"""A query's rows by ranges of a key: every row in exactly one of them, rows whose key is NULL among them.

With bounds b1 < b2 < ..., a row is of range n if it is at or above bn and not at or above the next bound. "Not at or
above" holds for NULL, too, which T-SQL's NOT would lose. Both sides of a bound compare with the same value under the
column's own rules, so that ranges neither overlap nor leave a gap, whatever those rules are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from sql_databricks_bridge.core.partitions.keys import declaration
from sql_databricks_bridge.core.partitions.sampling import Bound
from sql_databricks_bridge.core.ports import ResultColumn
from sql_databricks_bridge.core.rewriting import enclosed
from sql_databricks_bridge.core.sql_tokens import parameter_uses, tokenize
from sql_databricks_bridge.models.jobs import BoundParameter, ResolvedQuery
from sql_databricks_bridge.models.quoting import sql_server_identifier

_ALIAS = "q"


def range_queries(
    query: ResolvedQuery, key: Sequence[ResultColumn], bounds: Sequence[Bound]
) -> tuple[ResolvedQuery, ...]:
    """One query for each range, from the lowest on; `CantRewrite` where the query can't be a derived table."""
    used = {use.name.lower() for use in parameter_uses(query.sql, tokenize(query.sql))}
    used |= {parameter.name.lower() for parameter in query.parameters}
    prefix = "bridge_bound"
    while any(name.startswith(prefix) for name in used):
        prefix += "_"
    return tuple(_range(query, key, bounds, number, prefix) for number in range(len(bounds) + 1))


def _range(
    query: ResolvedQuery, key: Sequence[ResultColumn], bounds: Sequence[Bound], number: int, prefix: str
) -> ResolvedQuery:
    terms: list[str] = []
    parameters: list[BoundParameter] = []
    if number > 0:
        names = _bind(f"{prefix}_low", key, bounds[number - 1], parameters)
        terms.append(f"({_at_or_above(key, names)})")
    if number < len(bounds):
        names = _bind(f"{prefix}_high", key, bounds[number], parameters)
        terms.append(f"({_below(key, names)})")
    sql = enclosed(query.sql, f"SELECT {_ALIAS}.* FROM (", f") AS {_ALIAS} WHERE {' AND '.join(terms)}")
    return dataclasses.replace(query, sql=sql, parameters=(*query.parameters, *parameters))


def _bind(prefix: str, key: Sequence[ResultColumn], bound: Bound, parameters: list[BoundParameter]) -> list[str]:
    names = []
    for at, value in enumerate(bound):
        declared = declaration(key[at])
        assert declared is not None, "keys have types that can be bound"
        parameters.append(BoundParameter(f"{prefix}{at}", declared, value, "partition"))
        names.append(f"@{prefix}{at}")
    return names


def _at_or_above(key: Sequence[ResultColumn], names: Sequence[str]) -> str:
    """(a, b) >= (@a, @b), in a form that an index on a finds."""
    column = _column(key[0])
    if len(names) == 1:
        return f"{column} >= {names[0]}"
    rest = _at_or_above(key[1:], names[1:])
    return f"{column} >= {names[0]} AND ({column} > {names[0]} OR ({rest}))"


def _below(key: Sequence[ResultColumn], names: Sequence[str]) -> str:
    """The opposite: less, or not to be compared."""
    column = _column(key[0])
    missing = f" OR {column} IS NULL" if key[0].nullable else ""
    if len(names) == 1:
        return f"{column} < {names[0]}{missing}"
    rest = _below(key[1:], names[1:])
    return f"{column} < {names[0]} OR ({column} = {names[0]} AND ({rest})){missing}"


def _column(column: ResultColumn) -> str:
    return f"{_ALIAS}.{sql_server_identifier(column.name)}"
