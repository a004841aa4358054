"""Bounds of ranges that hold about as many rows each, however skewed the keys are: quantiles of a sample of them.

SQL Server sorts and picks: only the bounds travel. Sources: "TABLESAMPLE" in FROM (Transact-SQL); ROW_NUMBER.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sql_databricks_bridge.core.ports import ResultColumn, SqlServerConnection
from sql_databricks_bridge.core.rewriting import enclosed
from sql_databricks_bridge.core.single_table import SingleTable
from sql_databricks_bridge.errors import SourceRefused
from sql_databricks_bridge.models.jobs import ResolvedQuery
from sql_databricks_bridge.models.quoting import sql_server_identifier

SAMPLE_ROWS = 50_000
"""Of a sample taken by pages: some hundreds of pages, which put a quantile of eight within a few per cent."""
_LEAST_A_RANGE = 100
_SEED = 7

Bound = tuple[Any, ...]


def bounds_of(
    connection: SqlServerConnection,
    query: ResolvedQuery,
    key: Sequence[ResultColumn],
    count: int,
    table: tuple[SingleTable, int] | None,
    *,
    may_scan: bool,
) -> list[Bound]:
    """Where the second range begins, and each later one: ascending, at most `count` - 1, fewer where keys are few.

    A big table is sampled, by pages; else, or where the sample shows too few rows, every key is looked at, where
    `may_scan`. [] where nothing tells ranges apart.
    """
    if table is not None and table[1] > SAMPLE_ROWS:
        percent = max(0.001, 100 * SAMPLE_ROWS / table[1])
        sampled = f" TABLESAMPLE SYSTEM ({percent:.3f} PERCENT) REPEATABLE ({_SEED})"
        end = table[0].end
        try:
            rows, found = _quantiles(connection, query, query.sql[:end] + sampled + query.sql[end:], key, count)
        except SourceRefused:  # a view, for one, has no pages
            rows, found = 0, []
        if rows >= _LEAST_A_RANGE * count:
            return found
    return _quantiles(connection, query, query.sql, key, count)[1] if may_scan else []


def _quantiles(
    connection: SqlServerConnection, query: ResolvedQuery, sql: str, key: Sequence[ResultColumn], count: int
) -> tuple[int, list[Bound]]:
    """How many keys there are in it, and the bounds."""
    names = [sql_server_identifier(column.name) for column in key]
    order = ", ".join(f"q.{name}" for name in names)
    there = " AND ".join(f"q.{name} IS NOT NULL" for name in names)
    picked = ", ".join(f"r.{name} AS [b{at}]" for at, name in enumerate(names))
    asked = enclosed(
        sql,
        f"SELECT {picked}, r.[bridge_c] AS [c] FROM (SELECT {order}, "
        f"ROW_NUMBER() OVER (ORDER BY {order}) AS [bridge_n], COUNT_BIG(*) OVER () AS [bridge_c] FROM (",
        f") AS q WHERE {there}) AS r WHERE r.[bridge_n] > 1 AND (r.[bridge_n] - 1) * {count} / r.[bridge_c] > "
        f"(r.[bridge_n] - 2) * {count} / r.[bridge_c]",
    )
    rows = connection.ask(asked, query.parameters)
    bounds = [tuple(row[f"b{at}"] for at in range(len(names))) for row in rows]
    return (int(rows[0]["c"]) if rows else 0), _shortest(_usable(bounds, key))


def _usable(bounds: list[Bound], key: Sequence[ResultColumn]) -> list[Bound]:
    """Those that arrive at the server as they were: a bound that changed on the way could be out of its order.

    A varchar is sent in the database's code page, whatever the column's: ASCII is the same in all of them.
    """
    narrow = {at for at, column in enumerate(key) if column.sql_type.lower().startswith(("char", "varchar"))}
    return [bound for bound in bounds if all(at not in narrow or str(bound[at]).isascii() for at in range(len(bound)))]


def _shortest(bounds: list[Bound]) -> list[Bound]:
    """No bound twice, and no more columns than tell them apart."""
    distinct = list(dict.fromkeys(bounds))
    for width in range(1, len(distinct[0]) if distinct else 0):
        cut = list(dict.fromkeys(bound[:width] for bound in distinct))
        if len(cut) == len(distinct):
            return cut
    return distinct
