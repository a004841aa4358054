"""Where the values of bulk rows lie: found for all rows of a block at once.

Rows have no index and no fixed length, so where one ends is known only once its values' lengths have been read, one
after the other. To read them in NumPy, every byte that could begin a row (0xD1) is taken for one, all of these are
walked column by column together, and then the true rows are those that are reached from the first: each begins where
the one before it ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .errors import MalformedError
from .rows import Matrix
from .textdata import Pieces
from .typeread import Framing, WireType

ROW, NBCROW, DONE = 0xD1, 0xD2, 0xFD

Positions: TypeAlias = npt.NDArray[np.int64]
_PADDING = 32
_PLP_NULL, _PLP_UNKNOWN = 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFE


@dataclass(frozen=True, slots=True)
class Cells:
    """The values of one column: `valid` rows have theirs from `starts` to `ends`, the others nothing."""

    starts: Positions
    ends: Positions
    valid: npt.NDArray[np.bool_]


class Block:
    """Bytes that begin with a row's token, readable at any position and a little past their end."""

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self.raw = np.zeros(self.size + _PADDING, np.uint8)
        self.raw[: self.size] = np.frombuffer(data, np.uint8)

    def numbers(self, dtype: str) -> npt.NDArray[Any]:
        """A number of that type at every position."""
        return np.ndarray((self.size + _PADDING - int(dtype[-1]) + 1,), dtype, self.raw.data, strides=(1,))

    def matrix(self, cells: Cells, width: int) -> Matrix | None:
        """Values of one width, a line for each, zeros where NULL; None where they differ or pass `width`."""
        valid, lengths = cells.valid, cells.ends - cells.starts
        whole = bool(valid.all())
        present = lengths if whole else lengths[valid]
        if len(present):
            if present[0] > width or (present != present[0]).any():
                return None
            width = int(present[0])
        at_every = np.ndarray((self.size + _PADDING - width + 1,), f"V{width}", self.raw.data, strides=(1,))
        lines = at_every[cells.starts].view(np.uint8).reshape(len(lengths), width)
        if not whole:
            lines[~valid] = 0
        return lines

    def pieces(self, cells: Cells) -> Pieces:
        """The values laid end to end."""
        count = len(cells.starts)
        if not count:
            return Pieces(np.zeros(1, np.int64), pa.py_buffer(b""))
        # They alternate with what is between them, so that Arrow can take every other one. A NULL's place follows the
        # value before it, so that the edges never run backwards.
        edges = np.empty(2 * count + 1, np.int64)
        edges[0:-1:2], edges[1::2], edges[-1] = cells.starts, cells.ends, self.size + _PADDING
        everything = pa.Array.from_buffers(
            pa.large_binary(), 2 * count, [None, pa.py_buffer(edges), pa.py_buffer(self.raw)]
        )
        values = everything.take(pa.array(np.arange(0, 2 * count, 2)))
        _, offsets, data = values.buffers()
        return Pieces(np.frombuffer(offsets, np.int64)[: count + 1], data if data is not None else pa.py_buffer(b""))


def walk(types: Sequence[WireType], block: Block) -> tuple[list[Cells], int] | None:
    """The columns' values in the whole rows at the block's start, and where the last of these rows ends.

    None where the first row needs reading value by value: an NBCROW, a value in several chunks.
    """
    first = int(block.raw[0])
    if first == DONE or not block.size:
        return [Cells(*_NO_CELLS) for _ in types], 0
    if first == NBCROW:
        return None
    if first != ROW:
        raise MalformedError(f"token 0x{first:02X} among bulk rows")
    candidates = np.flatnonzero(block.raw[: block.size] == ROW)
    walker = _Walker(block, candidates + 1)
    columns = [walker.column(wire_type) for wire_type in types]
    chain, used = _chain(candidates, walker)
    if not len(chain) and walker.odd[0]:
        return None
    if used < block.size and block.raw[used] not in (ROW, NBCROW, DONE):
        raise MalformedError(f"token 0x{int(block.raw[used]):02X} among bulk rows")
    return [Cells(c.starts[chain], c.ends[chain], c.valid[chain]) for c in columns], used


_NO_CELLS = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.bool_))


def _chain(candidates: Positions, walker: _Walker) -> tuple[Positions, int]:
    """The true rows among the candidates, and where they end."""
    ends = walker.position
    following = np.searchsorted(candidates, ends)
    found = candidates[np.minimum(following, len(candidates) - 1)] == ends
    # -1: it is whole and no row follows; -2: it is not whole, or not to be read here.
    steps = np.where(found, following, -1)
    steps[(ends > walker.block.size) | walker.odd] = -2
    follow = steps.tolist()
    chain: list[int] = []
    at = 0
    while (step := follow[at]) >= 0:
        chain.append(at)
        at = step
    if step == -1:
        chain.append(at)
        return np.array(chain, np.int64), int(ends[at])
    return np.array(chain, np.int64), int(candidates[at])


class _Walker:
    """All candidates at once; one that runs out of the block stays at `size + 1`."""

    def __init__(self, block: Block, position: Positions) -> None:
        self.block = block
        self.position = position
        self.odd = np.zeros(len(position), np.bool_)

    def column(self, wire_type: WireType) -> Cells:
        """Step over one value; where it lies."""
        framing = wire_type.framing
        if framing is Framing.FIXED:
            return self._cells(self.position, np.int64(wire_type.size), None)
        if framing is Framing.BYTE:
            length = self.block.raw[self.position].astype(np.int64)
            return self._cells(self.position + 1, length, length != 0)
        if framing is Framing.SHORT:
            length = self.block.numbers("<u2")[self.position].astype(np.int64)
            valid = length != 0xFFFF
            return self._cells(self.position + 2, np.where(valid, length, 0), valid)
        if framing is Framing.PLP:
            return self._plp()
        if framing is Framing.VARIANT:
            length = self.block.numbers("<u4")[self.position].astype(np.int64)
            return self._cells(self.position + 4, length, length != 0)
        return self._long()

    def _plp(self) -> Cells:
        total = self.block.numbers("<u8")[self.position]
        valid = total != _PLP_NULL
        words = self.block.numbers("<u4")
        length = np.where(valid, words[np.minimum(self.position + 8, self.block.size)].astype(np.int64), 0)
        starts = self.position + np.where(valid, 12, 8)
        after = starts + length
        ended = words[np.minimum(after, self.block.size)] == 0
        known = total != _PLP_UNKNOWN
        # A second chunk, or a length that isn't what was announced, is for the reader of single values.
        self.odd |= valid & (length > 0) & ~ended & (after + 4 <= self.block.size)
        self.odd |= valid & known & (total != length.astype(np.uint64)) & (after <= self.block.size)
        return self._cells(starts, length, valid, np.where(valid & (length > 0), 4, 0))

    def _long(self) -> Cells:
        """A text pointer of any length, 8 bytes of time stamp, then the value; a pointer without length is NULL."""
        pointer = self.block.raw[self.position].astype(np.int64)
        valid = pointer != 0
        at = self.position + np.where(valid, 9 + pointer, 0)
        length = self.block.numbers("<u4")[np.minimum(at, self.block.size)].astype(np.int64)
        self.odd |= valid & (length == 0xFFFFFFFF)
        return self._cells(np.where(valid, at + 4, at + 1), np.where(valid, length, 0), valid)

    def _cells(
        self, starts: Positions, length: Any, valid: npt.NDArray[np.bool_] | None, trailer: Positions | None = None
    ) -> Cells:
        ends = starts + length
        position = ends if trailer is None else ends + trailer
        self.position = np.minimum(position, self.block.size + 1)
        return Cells(starts, ends, np.ones(len(starts), np.bool_) if valid is None else valid)
