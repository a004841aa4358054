"""Ranges of a fingerprint: how keys are put into groups of some `range_rows` rows, and how changed ones are asked for.

One integer key is cut into intervals of a width that its density gives, so that an index finds a range. Any other key
is hashed into a number of buckets. Both are fixed at a full load and kept in the file of digests. A row whose key is
NULL, in all of its columns, is of the group `NULL_RANGE`.
"""

from __future__ import annotations

import bisect
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sql_databricks_bridge.core.increments.canonical import row_digest, type_name
from sql_databricks_bridge.core.increments.columns import ALIAS, is_integer, of_query, quoted
from sql_databricks_bridge.core.ports import ResultColumn
from sql_databricks_bridge.models.jobs import BoundParameter
from sql_databricks_bridge.models.publishing import NULL_RANGE

MOST_INTERVALS = 2000
"""As many intervals stand in one statement at most; more are joined over the gaps between them."""

_WIDEST = 2**62
_SPANS = {
    "tinyint": (0, 2**8 - 1),
    "smallint": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "bigint": (-(2**63), 2**63 - 1),
}


class Cut(StrEnum):
    """How keys become ranges."""

    INTERVALS = "intervals"
    BUCKETS = "buckets"


@dataclass(frozen=True, slots=True)
class Ranges:
    """`size` is the width of an interval, 2 or more, or the number of buckets."""

    cut: Cut
    size: int
    key: tuple[str, ...]

    @classmethod
    def intervals(cls, key: ResultColumn, least: int | None, most: int | None, rows: int, range_rows: int) -> Ranges:
        """Intervals that hold about `range_rows` rows each if the `rows` keys lie evenly from `least` to `most`."""
        span = 1 if least is None or most is None else most - least + 1
        width = range_rows * span // max(1, rows)
        return cls(Cut.INTERVALS, min(max(2, width), _WIDEST), (key.name,))

    @classmethod
    def buckets(cls, key: Sequence[ResultColumn], rows: int, range_rows: int) -> Ranges:
        """Buckets that hold about `range_rows` of the `rows` rows each."""
        return cls(Cut.BUCKETS, max(1, -(-rows // range_rows)), tuple(column.name for column in key))

    def to_json(self) -> str:
        """For the file's metadata."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Ranges:
        """Read them again; `ValueError`, `KeyError` or `TypeError` where they are none."""
        found: dict[str, Any] = json.loads(text)
        return cls(Cut(found["cut"]), int(found["size"]), tuple(found["key"]))

    def expression(self, key: Sequence[ResultColumn], size: str, null: str) -> str:
        """T-SQL for the range of a row of the wrapped query; `size` and `null` are parameters' names without '@'."""
        names = [of_query(column) for column in key]
        if self.cut is Cut.INTERVALS:
            (name,) = names
            # Division cuts towards zero; below zero a range begins further down. No sum here can overflow.
            number = f"{name} / @{size} - CASE WHEN {name} % @{size} < 0 THEN 1 ELSE 0 END"
        else:
            digest = row_digest(key, ALIAS, [quoted(column) for column in key])
            number = f"CONVERT(bigint, SUBSTRING({digest}, 1, 7)) % @{size}"
        if not all(column.nullable for column in key):
            return number
        missing = " AND ".join(f"{name} IS NULL" for name in names)
        return f"CASE WHEN {missing} THEN @{null} ELSE {number} END"

    def parameters(self, size: str, null: str) -> tuple[BoundParameter, ...]:
        """What `expression` wants bound."""
        return (
            BoundParameter(size, "bigint", self.size, "increment"),
            BoundParameter(null, "bigint", NULL_RANGE, "increment"),
        )

    def fits(self, key: Sequence[ResultColumn]) -> bool:
        """Whether these ranges are of that key still."""
        if tuple(column.name for column in key) != self.key:
            return False
        return self.cut is Cut.BUCKETS or (len(key) == 1 and is_integer(key[0]))


@dataclass(frozen=True, slots=True)
class Interval:
    """Ranges from `first` to `last`, both included."""

    first: int
    last: int


def intervals_of(ranges: Iterable[int], most: int = MOST_INTERVALS) -> tuple[Interval, ...]:
    """Join adjacent ranges (NULL_RANGE left out); where there are more than `most` pieces, over the smallest gaps."""
    numbers = sorted(set(ranges) - {NULL_RANGE})
    if not numbers:
        return ()
    gaps = [after - before for before, after in itertools.pairwise(numbers)]
    open_gaps = sorted((gap, at) for at, gap in enumerate(gaps) if gap > 1)
    kept = sorted(at for _, at in open_gaps[max(0, len(open_gaps) - (most - 1)) :]) if most > 1 else []
    starts = [0, *(at + 1 for at in kept)]
    ends = [*kept, len(numbers) - 1]
    return tuple(Interval(numbers[start], numbers[end]) for start, end in zip(starts, ends, strict=True))


def covered(ranges: Iterable[int], intervals: Sequence[Interval], known: Iterable[int]) -> tuple[int, ...]:
    """The ranges that a statement over these intervals reads: the changed ones, and known ones in joined gaps."""
    changed = set(ranges)
    firsts = [interval.first for interval in intervals]
    for number in set(known) - changed - {NULL_RANGE}:
        at = bisect.bisect_right(firsts, number) - 1
        if at >= 0 and number <= intervals[at].last:
            changed.add(number)
    return tuple(sorted(changed))


def key_bounds(interval: Interval, width: int, key: ResultColumn) -> tuple[int, int] | None:
    """The least and greatest key of an interval within the type of the key; None where the type holds none of them."""
    least, most = _SPANS[type_name(key)]
    low, high = max(least, interval.first * width), min(most, (interval.last + 1) * width - 1)
    return (low, high) if low <= high else None
