"""ROW tokens for whole record batches (MS-TDS 2.2.7.19), column by column.

Each column gives `Part`s: fixed-width ones write into a shared matrix of one line for each row, variable ones lend
their Arrow buffers. Neighbouring fixed parts become one block, and `binary_join_element_wise` interleaves blocks and
variable parts row by row in C. Python runs for each column and slice, never for each value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from .textdata import Offsets, Pieces

ROW_TOKEN = 0xD1

Matrix: TypeAlias = npt.NDArray[np.uint8]
Lengths: TypeAlias = "npt.NDArray[np.int64] | None"


@dataclass(frozen=True, slots=True)
class Fixed:
    """`width` bytes of each row. `fill(matrix, at)` writes them from byte `at` of each line.

    It returns how many of them count (NULLs are shorter), or None where all always do.
    """

    width: int
    fill: Callable[[Matrix, int], Lengths]


Part: TypeAlias = Fixed | Pieces


def field(matrix: Matrix, at: int, dtype: str) -> npt.NDArray[Any]:
    """One number of each line as an unaligned array on the matrix's own bytes."""
    if not matrix.size:
        return np.empty(0, dtype)
    return np.ndarray((matrix.shape[0],), np.dtype(dtype), matrix, at, (matrix.shape[1],))


def join_rows(count: int, parts: Sequence[Part]) -> memoryview:
    """The bytes of `count` rows, ROW tokens included."""
    segments = list(_segments(count, [_ROW_START, *parts]))
    if len(segments) == 1:
        return memoryview(segments[0].data)[int(segments[0].offsets[0]) : int(segments[0].offsets[-1])]
    arrays = [
        pa.Array.from_buffers(pa.large_binary(), count, [None, pa.py_buffer(_contiguous(s.offsets)), s.data])
        for s in segments
    ]
    joined = pc.binary_join_element_wise(*arrays, pa.scalar(b"", pa.large_binary()))
    if isinstance(joined, pa.ChunkedArray):  # pyarrow splits results over 2 GiB
        joined = joined.combine_chunks()
    _, offsets, data = joined.buffers()
    ends = np.frombuffer(offsets, np.int64)
    return memoryview(data)[int(ends[joined.offset]) : int(ends[joined.offset + count])]


def _write_row_token(matrix: Matrix, at: int) -> Lengths:
    matrix[:, at] = ROW_TOKEN
    return None


_ROW_START = Fixed(1, _write_row_token)


def _segments(count: int, parts: Sequence[Part]) -> Iterator[Pieces]:
    block: list[Fixed] = []
    for part in parts:
        if isinstance(part, Fixed):
            block.append(part)
            continue
        if block:
            yield _block(count, block)
            block = []
        yield part
    if block:
        yield _block(count, block)


def _block(count: int, parts: Sequence[Fixed]) -> Pieces:
    width = sum(part.width for part in parts)
    matrix = np.empty((count, width), np.uint8)
    shortened: list[tuple[int, int, npt.NDArray[np.int64]]] = []
    at = 0
    for part in parts:
        lengths = part.fill(matrix, at)
        if lengths is not None:
            shortened.append((at, part.width, lengths))
        at += part.width
    if not shortened:
        return Pieces(np.arange(count + 1, dtype=np.int64) * width, pa.py_buffer(matrix))
    keep = np.ones((count, width), np.bool_)
    totals = np.full(count, width, np.int64)
    for start, size, lengths in shortened:
        short = np.flatnonzero(lengths < size)
        keep[short, start : start + size] = np.arange(size) < lengths[short, None]
        totals[short] -= size - lengths[short]
    offsets: Offsets = np.zeros(count + 1, np.int64)
    np.cumsum(totals, out=offsets[1:])
    return Pieces(offsets, pa.py_buffer(matrix[keep]))


def _contiguous(offsets: Offsets) -> Offsets:
    return np.ascontiguousarray(offsets)
