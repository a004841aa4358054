"""Digests of ranges that no order of rows changes: four sums of 64-bit pieces of the rows' SHA-256.

A sum, and not an exclusive or, so that a row that is there twice is seen. It tells apart what differs by accident; who
wants to forge rows whose digests add up to the same has 2^128 to try.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sql_databricks_bridge.models.verification import SideDigest

LANES = 4
_HALF = 32


@dataclass(frozen=True, slots=True)
class RangeSum:
    """A range's row count, and for each group of columns the sums of its LANES lanes, one group after the other."""

    rows: int
    lanes: tuple[int, ...]

    def plus(self, other: RangeSum) -> RangeSum:
        """The sums of both ranges' rows."""
        return RangeSum(self.rows + other.rows, tuple(map(sum, zip(self.lanes, other.lanes, strict=True))))


class RangeSums:
    """Sums by range, for `groups` groups of columns; exact for 2^31 rows of a range."""

    def __init__(self, groups: int) -> None:
        self._groups = groups
        self._slots: dict[int, int] = {}
        self._rows = np.zeros(0, np.int64)
        self._high = np.zeros((0, groups * LANES), np.int64)
        self._low = np.zeros((0, groups * LANES), np.int64)

    def add(self, ranges: npt.NDArray[np.int64], digests: Sequence[npt.NDArray[np.uint8]]) -> None:
        """Add rows: the range of each, and of each group the digests, (rows, 32)."""
        if len(ranges) == 0:
            return
        numbers, positions = np.unique(ranges, return_inverse=True)
        slots = np.array([self._slots.setdefault(int(number), len(self._slots)) for number in numbers], np.int64)
        self._grow(len(self._slots))
        count = len(numbers)
        self._rows[slots] += np.bincount(positions, minlength=count)
        for group, found in enumerate(digests):
            lanes = np.ascontiguousarray(found).view(">i8").astype(np.int64)
            for lane in range(LANES):
                values, at = lanes[:, lane], group * LANES + lane
                # Halves, since bincount adds floats: exact below 2^53, which is 2^21 rows of a batch.
                high = np.bincount(positions, (values >> _HALF).astype(np.float64), count)
                low = np.bincount(positions, (values & 0xFFFFFFFF).astype(np.float64), count)
                self._high[slots, at] += high.astype(np.int64)
                self._low[slots, at] += low.astype(np.int64)

    def result(self) -> dict[int, RangeSum]:
        """Everything added so far, by range."""
        high, low, rows = self._high.tolist(), self._low.tolist(), self._rows.tolist()
        return {
            number: RangeSum(
                rows[slot], tuple((one << _HALF) + other for one, other in zip(high[slot], low[slot], strict=True))
            )
            for number, slot in self._slots.items()
        }

    def __len__(self) -> int:
        """How many ranges there are."""
        return len(self._slots)

    @property
    def rows(self) -> int:
        """How many rows were added."""
        return int(self._rows.sum())

    def fold(self, into: Callable[[int], int]) -> None:
        """Put each range into the one that `into` gives for its number."""
        before, folded = len(self._slots), dict[int, int]()
        slots = np.array([folded.setdefault(into(number), len(folded)) for number in self._slots], np.int64)
        self._slots = folded
        self._rows, self._high, self._low = (
            _added(each[:before], slots, len(folded)) for each in (self._rows, self._high, self._low)
        )

    def _grow(self, size: int) -> None:
        missing = size - len(self._rows)
        if missing > 0:
            spare = max(missing, len(self._rows))  # doubling: rows come in many batches
            self._rows = np.concatenate([self._rows, np.zeros(spare, np.int64)])
            more = np.zeros((spare, self._groups * LANES), np.int64)
            self._high, self._low = np.concatenate([self._high, more]), np.concatenate([self._low, more])


def _added(values: npt.NDArray[np.int64], slots: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    found = np.zeros((size, *values.shape[1:]), np.int64)
    np.add.at(found, slots, values)
    return found


def folded(sums: dict[int, RangeSum], into: Callable[[int], int]) -> dict[int, RangeSum]:
    """Sums of the ranges that `into` gives for their numbers."""
    found: dict[int, RangeSum] = {}
    for number, each in sums.items():
        other = found.get(into(number))
        found[into(number)] = each if other is None else each.plus(other)
    return found


def whole(sums: Iterable[RangeSum], groups: int) -> SideDigest:
    """One digest for each group over all ranges: the SHA-256 of the row count and the lanes' sums as decimal text."""
    rows, lanes = 0, [0] * (groups * LANES)
    for each in sums:
        rows += each.rows
        for at, lane in enumerate(each.lanes):
            lanes[at] += lane
    texts = (";".join(map(str, [rows, *lanes[at : at + LANES]])) for at in range(0, len(lanes), LANES))
    return SideDigest(rows, tuple(hashlib.sha256(text.encode()).hexdigest() for text in texts))


@dataclass(frozen=True, slots=True)
class Compared:
    """Numbers of the ranges that differ, in order, and how many were compared."""

    differing: tuple[int, ...] = ()
    ranges: int = 0

    @classmethod
    def of(cls, one: dict[int, RangeSum], other: dict[int, RangeSum]) -> Compared:
        """Compare two sides."""
        numbers = one.keys() | other.keys()
        return cls(tuple(sorted(n for n in numbers if one.get(n) != other.get(n))), len(numbers))
