"""The one table of a query that is SELECT ... FROM table WHERE ..., found in its tokens."""

from __future__ import annotations

from dataclasses import dataclass

from sql_databricks_bridge.core.outermost import word
from sql_databricks_bridge.core.sql_tokens import Unclosed, tokenize

_NOT_PLAIN = frozenset({"WITH", "JOIN", "APPLY", "UNION", "EXCEPT", "INTERSECT", "PIVOT", "UNPIVOT", "TABLESAMPLE"})
_BEHIND_FROM = frozenset({"WHERE", "ORDER BY", "ORDER", "OPTION"})


@dataclass(frozen=True, slots=True)
class SingleTable:
    """`name` as the query writes it; `end` is the offset behind its alias, where TABLESAMPLE may stand."""

    name: str
    end: int


def single_table(sql: str) -> SingleTable | None:
    """The table; None for joins, subqueries, GROUP BY, set operators, table hints and whatever else is not plain."""
    try:
        tokens = tokenize(sql)
    except Unclosed:
        return None
    words = [word(token) for token in tokens]
    if words[:1] != ["SELECT"] or words.count("SELECT") != 1 or words.count("FROM") != 1:
        return None
    start = words.index("FROM") + 1
    ends = [at for at in range(start, len(words)) if words[at] in _BEHIND_FROM or words[at] == ";"]
    end = ends[0] if ends else len(words)
    if any(each in ("(", ",") or each.split(" ")[-1] in _NOT_PLAIN for each in words[start:end]):
        return None
    if any(each.split(" ")[0] in ("GROUP", "UNION", "EXCEPT", "INTERSECT") for each in words[start:]):
        return None
    if start >= end:
        return None
    last = start
    while last + 2 < end and words[last + 1] == ".":
        last += 2
    return SingleTable(sql[tokens[start].start : tokens[last].end + 1], tokens[end - 1].end + 1)
