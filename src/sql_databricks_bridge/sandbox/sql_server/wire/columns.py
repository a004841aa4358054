"""From one Arrow column to the parts of its values in a ROW token."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..contract import Message, SqlError, SqlType
from .fixedtypes import fixed_part
from .rows import Fixed, Lengths, Matrix, Part, field, join_rows
from .textdata import Pieces, codepage_pieces, raw_pieces, utf16_pieces
from .typeinfo import is_fixed, is_plp
from .variants import variant_pieces

PLP_CHUNK = 64 * 1024
"""Bytes of one PARTLENTYPE chunk at most."""
SLICE_BYTES = 1024 * 1024
"""Rows are encoded in slices of about this many bytes of Arrow, whatever the batch's size."""

_UNICODE = ("nchar", "nvarchar", "ntext", "xml")
_CODEPAGE = ("char", "varchar", "text")
_LEGACY_LOB = ("text", "ntext", "image")
_TEXT_POINTER = bytes((16,)) + b"dummy textptr\0\0\0" + b"dummyTS\0"


def encode_rows(batch: pa.RecordBatch, types: list[SqlType], nullable: list[bool]) -> Iterator[tuple[int, memoryview]]:
    """(rows, their ROW tokens), slice by slice."""
    count = batch.num_rows
    if count == 0:
        return
    step = max(1, min(count, int(count * SLICE_BYTES / max(batch.nbytes, 1))))
    for start in range(0, count, step):
        part = batch.slice(start, min(step, count - start))
        parts = [
            piece
            for array, sql_type, null in zip(part.columns, types, nullable, strict=True)
            for piece in column_parts(array, sql_type, null)
        ]
        yield part.num_rows, join_rows(part.num_rows, parts)


def column_parts(array: pa.Array, sql_type: SqlType, nullable: bool) -> list[Part]:
    """The parts of a column, in order. `SqlError` for a NULL or a value that its announced type can't hold."""
    if array.null_count and not nullable:
        raise _misfit(sql_type, "a NULL in a column announced as NOT NULL")
    if (part := fixed_part(array, sql_type, with_length=not is_fixed(sql_type, nullable))) is not None:
        return [part]
    if sql_type.name == "sql_variant":
        return [variant_pieces(array)]
    pieces = value_pieces(array, sql_type)
    valid = array.is_valid().to_numpy(zero_copy_only=False) if array.null_count else None
    if is_plp(sql_type):
        return _plp(pieces, valid)
    if sql_type.name in _LEGACY_LOB:
        return [_text_pointers(pieces, valid), pieces]
    return [_short_lengths(pieces, valid, sql_type), pieces]


def value_pieces(array: pa.Array, sql_type: SqlType) -> Pieces:
    """The bytes of a variable-length column."""
    if sql_type.name in _UNICODE:
        return utf16_pieces(array)
    if sql_type.name in _CODEPAGE:
        return codepage_pieces(array, sql_type.collation.codepage if sql_type.collation else "cp1252")
    return raw_pieces(array)


def _short_lengths(pieces: Pieces, valid: npt.NDArray[np.bool_] | None, sql_type: SqlType) -> Fixed:
    """USHORTLEN, 0xFFFF for NULL."""
    lengths = pieces.lengths
    longest = (8 if sql_type.name == "timestamp" else sql_type.length or 1) * (2 if sql_type.name in _UNICODE else 1)
    if lengths.size and (found := int(lengths.max())) > longest:
        raise _misfit(sql_type, f"a value of {found} bytes where {longest} fit")

    def fill(matrix: Matrix, at: int) -> Lengths:
        field(matrix, at, "<u2")[:] = lengths if valid is None else np.where(valid, lengths, 0xFFFF)
        return None

    return Fixed(2, fill)


def _text_pointers(pieces: Pieces, valid: npt.NDArray[np.bool_] | None) -> Fixed:
    """text, ntext, image: a text pointer with its timestamp, then LONGLEN; a NULL is one zero byte."""
    head = len(_TEXT_POINTER)

    def fill(matrix: Matrix, at: int) -> Lengths:
        matrix[:, at : at + head] = np.frombuffer(_TEXT_POINTER, np.uint8)
        field(matrix, at + head, "<u4")[:] = pieces.lengths
        if valid is None:
            return None
        matrix[~valid, at] = 0
        return np.where(valid, head + 4, 1)

    return Fixed(head + 4, fill)


def _plp(pieces: Pieces, valid: npt.NDArray[np.bool_] | None) -> list[Part]:
    """PARTLENTYPE: total, chunks each with its length, a zero. NULL is a total of all ones and nothing more."""
    lengths = pieces.lengths
    firsts = np.minimum(lengths, PLP_CHUNK)
    if lengths.size and int(lengths.max()) > PLP_CHUNK:
        pieces = _chunked(pieces)

    def head(matrix: Matrix, at: int) -> Lengths:
        field(matrix, at, "<i8")[:] = lengths if valid is None else np.where(valid, lengths, -1)
        # An empty value has no chunk: these four zero bytes are its end, and `tail` drops out.
        field(matrix, at + 8, "<u4")[:] = firsts
        return None if valid is None else np.where(valid, 12, 8)

    def tail(matrix: Matrix, at: int) -> Lengths:
        field(matrix, at, "<u4")[:] = 0
        return None if lengths.size and lengths.min() > 0 else np.where(lengths > 0, 4, 0)

    return [Fixed(12, head), pieces, Fixed(4, tail)]


def _chunked(pieces: Pieces) -> Pieces:
    """Put a length before each chunk but the first (that one stands in the fixed head).

    Python sees only values longer than a chunk, and each of their chunks once.
    """
    view = memoryview(pieces.data)
    output: list[memoryview | bytes] = []
    offsets = pieces.offsets
    added = np.zeros(len(offsets), np.int64)
    copied = int(offsets[0])
    for index in np.flatnonzero(pieces.lengths > PLP_CHUNK):
        start, end = int(offsets[index]), int(offsets[index + 1])
        for chunk in range(start + PLP_CHUNK, end, PLP_CHUNK):
            output += [view[copied:chunk], min(PLP_CHUNK, end - chunk).to_bytes(4, "little")]
            copied = chunk
            added[index + 1] += 4
    output.append(view[copied : int(offsets[-1])])
    return Pieces(offsets - offsets[0] + np.cumsum(added), pa.py_buffer(b"".join(output)))


def _misfit(sql_type: SqlType, what: str) -> SqlError:
    return SqlError(Message(682, f"Internal error: {what} ({sql_type.name}).", severity=16))
