"""Fingerprints: digests of the query's ranges, asked in the view that the rows are read in, and what they tell.

A row's digest is the SHA-256 of its canonical text, a range's that of its rows' digests in hexadecimal, sorted. The
server reads every row for it, but only two numbers and 32 bytes a range travel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from sql_databricks_bridge.core.increments.asked import Asked
from sql_databricks_bridge.core.increments.canonical import row_digest
from sql_databricks_bridge.core.increments.columns import ALIAS, is_integer, of_query, quoted
from sql_databricks_bridge.core.increments.digests import Digests
from sql_databricks_bridge.core.increments.ranges import Ranges, covered, intervals_of

_BATCH_BYTES = 8 << 20
_SKEW = 16
"""A range with so many times the rows that were wanted makes intervals a bad choice: keys lie too unevenly."""


def first_digests(asked: Asked) -> Digests:
    """Digests for a full load, of ranges that are chosen anew by the keys that are there."""
    key, rows_wanted = asked.chosen.key, asked.range_rows
    integer = len(key) == 1 and is_integer(key[0])
    bounds = f", MIN({of_query(key[0])}) AS [least], MAX({of_query(key[0])}) AS [most]" if integer else ""
    sql = asked.wrapped.within(f"SELECT COUNT_BIG(*) AS [rows]{bounds} FROM (", f") AS {ALIAS}")
    (found,) = asked.connection.ask(sql, asked.query.parameters)
    buckets = Ranges.buckets(key, int(found["rows"]), rows_wanted)
    if not integer:
        return digests(asked, buckets)
    even = digests(asked, Ranges.intervals(key[0], found["least"], found["most"], int(found["rows"]), rows_wanted))
    return even if even.most_rows <= _SKEW * max(rows_wanted, 2) else digests(asked, buckets)


def digests(asked: Asked, ranges: Ranges) -> Digests:
    """Ask for the digest of each range."""
    size, null = (asked.wrapped.free_name(name) for name in ("bridge_size", "bridge_null"))
    names = [quoted(column) for column in asked.columns]
    before = (
        "SELECT r.[range], COUNT_BIG(*) AS [rows], HASHBYTES('SHA2_256', STRING_AGG("
        "CONVERT(varchar(max), CONVERT(varchar(64), r.[digest], 2)), '') WITHIN GROUP (ORDER BY r.[digest])) "
        f"AS [digest] FROM (SELECT {ranges.expression(asked.chosen.key, size, null)} AS [range], "
        f"{row_digest(asked.columns, ALIAS, names)} AS [digest] FROM ("
    )
    sql = asked.wrapped.within(before, f") AS {ALIAS}) AS r GROUP BY r.[range]")
    query = dataclasses.replace(
        asked.query, sql=sql, parameters=(*asked.query.parameters, *ranges.parameters(size, null))
    )
    with asked.connection.stream(query, batch_bytes=_BATCH_BYTES) as batches:
        return Digests.of(ranges, asked.definition, list(batches))


@dataclass(frozen=True, slots=True)
class Difference:
    """The ranges to read again, and how many of their rows there are; `share` of all ranges, 0 to 1."""

    ranges: tuple[int, ...]
    rows: int
    share: float


def difference(now: Digests, then: Digests) -> Difference:
    """What changed from one to the other, as ranges that one statement can ask for."""
    changed = now.changed_since(then)
    known: Sequence[int] = sorted({*now.numbers, *then.numbers})
    ranges = covered(changed, intervals_of(changed), known)
    return Difference(ranges, now.rows_of(ranges), len(ranges) / max(1, len(known)))
