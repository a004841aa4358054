"""Verification: the same digests asked of SQL Server and made of what landed, compared range by range.

Each side is read once. Only where ranges differ are their rows looked at again, to name the keys.
"""

from __future__ import annotations

import datetime as dt
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sql_databricks_bridge.core.canonical.landed import row_digests
from sql_databricks_bridge.core.ports import SqlServerConnection
from sql_databricks_bridge.core.verification import source
from sql_databricks_bridge.core.verification.asked import Asked
from sql_databricks_bridge.core.verification.cuts import Cut
from sql_databricks_bridge.core.verification.differences import differences, landed_rows, source_rows
from sql_databricks_bridge.core.verification.landed import LandedRows
from sql_databricks_bridge.core.verification.sums import Compared, RangeSum, RangeSums, folded, whole
from sql_databricks_bridge.models.verification import KeyDifference, RangeDifference, Verification

_SNAPSHOT = "snapshot"
_NO_ROWS = RangeSum(0, ())
_LEAST_RANGES = 8  # intervals end with one on each side of 0, one for NULL and two at the ends of bigint


@dataclass(frozen=True, slots=True)
class Limits:
    """`range_rows` rows a range, about, but no more ranges than `sums` sums make; at most so many `ranges` and `keys`
    are named, out of `looked_at` rows.
    """

    range_rows: int = 1_000
    ranges: int = 20
    keys: int = 100
    sums: int = 100_000
    looked_at: int = 200_000

    def most_ranges(self, asked: Asked, rows: int) -> int:
        """How many ranges so many rows may have."""
        return max(_LEAST_RANGES, min(2 * rows // self.range_rows, self.sums // len(asked.groups)))


def verify(
    connection: SqlServerConnection, asked: Asked, landed: LandedRows, run_id: str, limits: Limits
) -> Verification:
    """Compare one query; everything that SQL Server is asked is of one view, which begins once what landed is read."""
    began = time.monotonic()
    cut, theirs = _landed_sums(asked, landed, limits)
    with connection.view():
        at = dt.datetime.now(dt.UTC)
        coarser, ours = _source_sums(connection, asked, cut, limits.most_ranges(asked, sys.maxsize))
        for cut in coarser:  # the last one is that of both sides now
            theirs = folded(theirs, cut.from_finer)
        compared = Compared.of(ours, theirs)
        named = compared.differing[: limits.ranges]
        looked = _looked_at(named, ours, theirs, limits.looked_at)
        keys = _keys(connection, asked, landed, cut, looked, limits.keys) if looked else ()
    groups = len(asked.groups)
    return Verification(
        query=asked.query.name,
        run_id=run_id,
        against=landed.against,
        place=landed.place,
        key=tuple(column.name for column in asked.key) if asked.has_key else (),
        groups=tuple(tuple(column.name for column in group) for group in asked.groups),
        source=whole(ours.values(), groups),
        landed=whole(theirs.values(), groups),
        compared_ranges=compared.ranges,
        differing=len(compared.differing),
        at=at,
        seconds=round(time.monotonic() - began, 3),
        isolation=connection.isolation,
        ranges=tuple(
            RangeDifference(n, cut.shown(n), ours.get(n, _NO_ROWS).rows, theirs.get(n, _NO_ROWS).rows) for n in named
        ),
        keys=keys,
        warnings=tuple(_warnings(connection, asked, has_unlooked=bool(theirs) and len(looked) < len(named))),
    )


def _landed_sums(asked: Asked, landed: LandedRows, limits: Limits) -> tuple[Cut, dict[int, RangeSum]]:
    """The ranges that so many rows want, and what landed in each."""
    cut, sums = Cut.finest(asked.key), RangeSums(len(asked.groups))
    for batch in landed.batches():
        if batch.num_rows:
            digests = [row_digests(batch, group) for group in asked.groups]  # first: they know a wrong type
            sums.add(cut.numbers(batch), digests)
        cut = _folded(cut, sums, limits.most_ranges(asked, sys.maxsize))
    # Not sooner: the first rows may lie far apart.
    cut = _folded(cut, sums, limits.most_ranges(asked, sums.rows))
    return cut, sums.result()


def _source_sums(
    connection: SqlServerConnection, asked: Asked, cut: Cut, most: int
) -> tuple[list[Cut], dict[int, RangeSum]]:
    """SQL Server's ranges, folded as they come so that no more than `most` are kept, and the cuts that this took.

    What landed says how fine the cut is: where little or nothing did, SQL Server may answer a range for each key.
    """
    coarser: list[Cut] = []
    sums: dict[int, RangeSum] = {}
    for finest, found in source.range_sums(connection, asked, cut):
        number = finest
        for each in coarser:
            number = each.from_finer(number)
        before = sums.get(number)
        sums[number] = found if before is None else before.plus(found)
        while len(sums) > most and not cut.is_coarsest:
            cut = cut.coarser()
            coarser.append(cut)
            sums = folded(sums, cut.from_finer)
    return coarser, sums


def _folded(cut: Cut, sums: RangeSums, most: int) -> Cut:
    while len(sums) > most and not cut.is_coarsest:
        cut = cut.coarser()
        sums.fold(cut.from_finer)
    return cut


def _looked_at(
    differing: Sequence[int], ours: dict[int, RangeSum], theirs: dict[int, RangeSum], most_rows: int
) -> Sequence[int]:
    """Of the ranges to be named, those whose rows are few enough to be looked at."""
    looked = []
    for number in differing:
        rows = ours.get(number, _NO_ROWS).rows + theirs.get(number, _NO_ROWS).rows
        if rows <= most_rows:
            looked.append(number)
            most_rows -= rows
    return looked


def _keys(
    connection: SqlServerConnection,
    asked: Asked,
    landed: LandedRows,
    cut: Cut,
    ranges: Sequence[int],
    most: int,
) -> tuple[KeyDifference, ...]:
    ours = source_rows(source.rows_of(connection, asked, cut, ranges), asked)
    theirs = landed_rows(landed.batches(), asked, cut, ranges)
    return tuple(itertools.islice(differences(asked, ours, theirs), most))


def _warnings(connection: SqlServerConnection, asked: Asked, *, has_unlooked: bool) -> Iterator[str]:
    if not asked.has_key:
        yield "it has no key: differing rows are told by digests, name columns by --key to have them named"
    if has_unlooked:
        yield "ranges that differ have too many rows to name keys: give another --key, or less --range-rows"
    if connection.isolation != _SNAPSHOT:
        yield f"SQL Server was read under {connection.isolation}: rows that changed meanwhile may show as differences"
