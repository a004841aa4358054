"""Sums of digests: exact, the same in any order, and whole when ranges are joined."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict

import numpy as np
import pytest

from sql_databricks_bridge.core.verification.sums import LANES, Compared, RangeSum, RangeSums, folded, whole
from sql_databricks_bridge.models.publishing import NULL_RANGE

GROUPS = 2


def digests(rng: random.Random, rows: int) -> list[bytes]:
    """Random ones, and the extremes of a lane."""
    extremes = [b"\x7f" + b"\xff" * 7, b"\x80" + b"\x00" * 7, b"\xff" * 8, b"\x00" * 8]
    return [b"".join(rng.choice([*extremes, rng.randbytes(8)]) for _ in range(LANES)) for _ in range(rows)]


def as_array(raw: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(raw), np.uint8).reshape(-1, 32)


def exactly(ranges: list[int], groups: list[list[bytes]]) -> dict[int, RangeSum]:
    """The same by Python's integers, one by one."""
    rows: dict[int, int] = defaultdict(int)
    lanes: dict[int, list[int]] = defaultdict(lambda: [0] * (GROUPS * LANES))
    for at, number in enumerate(ranges):
        rows[number] += 1
        for group, raw in enumerate(groups):
            for lane in range(LANES):
                value = int.from_bytes(raw[at][8 * lane : 8 * lane + 8], "big", signed=True)
                lanes[number][group * LANES + lane] += value
    return {number: RangeSum(rows[number], tuple(lanes[number])) for number in rows}


@pytest.fixture(scope="module")
def sample() -> tuple[list[int], list[list[bytes]]]:
    rng = random.Random(6)
    ranges = [rng.choice([NULL_RANGE, -3, -1, 0, 1, 7]) for _ in range(2_000)]
    return ranges, [digests(rng, len(ranges)) for _ in range(GROUPS)]


def test_sums_are_exact_whatever_the_batches_and_the_order(sample: tuple[list[int], list[list[bytes]]]) -> None:
    ranges, groups = sample
    order = list(range(len(ranges)))
    random.Random(7).shuffle(order)
    sums = RangeSums(GROUPS)
    for start in range(0, len(order), 300):
        some = order[start : start + 300]
        sums.add(np.array([ranges[at] for at in some]), [as_array([raw[at] for at in some]) for raw in groups])
    assert sums.result() == exactly(ranges, groups)
    assert sums.rows == len(ranges)


def test_joined_ranges_are_the_sums_of_their_rows(sample: tuple[list[int], list[list[bytes]]]) -> None:
    ranges, groups = sample

    def half(number: int) -> int:
        return number if number == NULL_RANGE else number // 2

    wanted = exactly([half(number) for number in ranges], groups)
    sums = RangeSums(GROUPS)
    sums.add(np.array(ranges), [as_array(raw) for raw in groups])
    assert folded(sums.result(), half) == wanted
    sums.fold(half)
    assert sums.result() == wanted
    assert whole(wanted.values(), GROUPS) == whole(exactly(ranges, groups).values(), GROUPS)


def test_a_doubled_a_missing_and_another_row_are_seen(sample: tuple[list[int], list[list[bytes]]]) -> None:
    ranges, groups = sample
    one = exactly(ranges, groups)
    assert Compared.of(one, exactly(ranges, groups)) == Compared((), len(one))
    doubled = exactly([*ranges, ranges[0]], [[*raw, raw[0]] for raw in groups])
    missing = exactly(ranges[1:], [raw[1:] for raw in groups])
    other = exactly(ranges, [[b"\x01" * 32, *raw[1:]] for raw in groups])
    for each in (doubled, missing, other):
        assert Compared.of(one, each).differing == (ranges[0],)
        assert whole(one.values(), GROUPS).digests != whole(each.values(), GROUPS).digests
    assert Compared.of(one, {}).differing == tuple(sorted(one))


def test_the_digest_of_a_whole_is_what_the_documentation_says() -> None:
    """SHA-256 of 'rows;lane;lane;lane;lane': anyone can check it."""
    (digest,) = whole([RangeSum(2, (1, -2, 3, 0)), RangeSum(1, (4, 0, 0, 2**70))], 1).digests
    assert digest == hashlib.sha256(b"3;5;-2;3;1180591620717411303424").hexdigest()
