"""Bulk load messages (MS-TDS 2.2.6.1): COLMETADATA, rows and DONE from the client, to Arrow batches.

Rows lie one behind the other with no index, so Python walks their lengths once; values are then cut out and decoded
a column at a time. Blocks with anything unusual in them (NBCROW, values in several chunks, text pointers, sql_variant)
are read value by value.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..contract import BulkLoad, Column, Message, SqlError
from .bytecursor import ByteCursor
from .decode import InvalidValueError, Valid, decode_pieces, decode_values
from .errors import MalformedError, TruncatedError
from .textdata import Pieces
from .typeread import Framing, WireType, read_type_info
from .values import read_value

_COLMETADATA, _ROW, _NBCROW, _DONE = 0x81, 0xD1, 0xD2, 0xFD
_BLOCK_BYTES = 1024 * 1024
_METADATA_LIMIT_BYTES = 4 * 1024 * 1024
_FLAG_NULLABLE, _FLAG_IDENTITY = 0x01, 0x10
_PLP_NULL = b"\xff" * 8


def read_bulk_load(payloads: Iterator[bytes]) -> BulkLoad:
    """Read the columns; the rows follow as the engine takes them.

    `SqlError` for types that can't be loaded, here; for a broken value (4815), an unfinished row (4804) or whatever
    `payloads` raises, from the batches.
    """
    buffer = b""
    for payload in payloads:
        buffer += payload
        try:
            cursor = ByteCursor(buffer)
            columns, types = _read_columns(cursor)
        except TruncatedError:
            if len(buffer) > _METADATA_LIMIT_BYTES:
                raise
            continue  # the rest of it may be in the next packet
        return BulkLoad(columns, _batches(columns, types, buffer[cursor.position :], payloads))
    raise MalformedError("a bulk load without COLMETADATA")


def _read_columns(cursor: ByteCursor) -> tuple[tuple[Column, ...], list[WireType]]:
    if (token := cursor.u8()) != _COLMETADATA:
        raise MalformedError(f"a bulk load starts with token 0x{token:02X}")
    columns, types = [], []
    for _ in range(cursor.u16()):
        cursor.u32()
        flags = cursor.u16()
        wire_type = read_type_info(cursor)
        if wire_type.framing is Framing.LONG:
            cursor.us_varchar()  # the table's name
        column = Column(
            cursor.b_varchar(), wire_type.type, bool(flags & _FLAG_NULLABLE), identity=bool(flags & _FLAG_IDENTITY)
        )
        columns.append(column)
        types.append(wire_type)
    return tuple(columns), types


def _batches(
    columns: tuple[Column, ...], types: list[WireType], buffer: bytes, payloads: Iterator[bytes]
) -> Iterator[pa.RecordBatch]:
    names = [column.name for column in columns]
    done = 0
    ended = False
    while not ended:
        parts, size = [buffer], len(buffer)
        wanted = max(_BLOCK_BYTES, 2 * size)  # a value that spans many blocks isn't walked again for each
        while size < wanted:
            payload = next(payloads, None)
            if payload is None:
                ended = True
                break
            parts.append(payload)
            size += len(payload)
        buffer = b"".join(parts)
        while True:
            count, arrays, used = _decode_block(columns, types, buffer, done)
            if count:
                yield pa.RecordBatch.from_arrays(arrays, names)
            done += count
            buffer = buffer[used:]
            if not count or not buffer:
                break
        if buffer[:1] == bytes((_DONE,)):
            for _ in payloads:
                pass
            return
    if buffer:
        text = "Premature end-of-message while reading current row from host. Host program may have terminated."
        raise SqlError(Message(4804, text))


def _decode_block(
    columns: tuple[Column, ...], types: list[WireType], buffer: bytes, done: int
) -> tuple[int, list[pa.Array], int]:
    """(rows, their columns, bytes used) of what is whole in `buffer`."""
    try:
        marks, used = _walk(types, buffer)
        if marks is None:
            return _decode_slowly(types, buffer)
        if not len(marks):
            return 0, [], used
        arrays = [_decode_column(wire_type, buffer, marks, index) for index, wire_type in enumerate(types)]
    except InvalidValueError as exc:
        index = next(i for i, wire_type in enumerate(types) if wire_type.type is exc.type)
        name = columns[index].name
        text = f"Received an invalid column length or value from the bcp client for colid {index + 1} ({name}), row "
        raise SqlError(Message(4815, text + f"{done + exc.row + 1}: {exc}.")) from exc
    return len(marks), arrays, used


_CODES = {Framing.FIXED: 0, Framing.BYTE: 1, Framing.SHORT: 2, Framing.PLP: 3}


def _walk(types: list[WireType], buffer: bytes) -> tuple[npt.NDArray[np.int64] | None, int]:
    """Where each value of the whole rows starts and each row ends, and where the last of them ends.

    None where a block is unusual.
    """
    plan = [(_CODES.get(wire_type.framing, 4), wire_type.size) for wire_type in types]
    if any(code == 4 for code, _ in plan):
        return None, 0
    marks: list[int] = []
    append = marks.append
    start = position = whole = 0
    size = len(buffer)
    try:
        while position < size:
            token = buffer[position]
            if token != _ROW:
                if token == _NBCROW:
                    return None, 0
                if token != _DONE:
                    raise MalformedError(f"token 0x{token:02X} among bulk rows")
                break
            start = position
            position += 1
            for code, width in plan:
                append(position)
                if code == 1:
                    position += buffer[position] + 1
                elif code == 2:
                    length = buffer[position] | buffer[position + 1] << 8
                    position += 2 if length == 0xFFFF else length + 2
                elif code == 0:
                    position += width
                else:
                    end = _walk_plp(buffer, position)
                    if end is None:
                        return None, 0
                    position = end
            append(position)
            if position > size:
                break
            whole += 1
    except IndexError:
        position = size + 1
    if position > size:
        position = start
    del marks[whole * (len(plan) + 1) :]
    return np.array(marks, np.int64).reshape(whole, len(plan) + 1), position


def _walk_plp(buffer: bytes, position: int) -> int | None:
    """The end of a PLP value of at most one chunk, or None."""
    if buffer[position : position + 8] == _PLP_NULL:
        return position + 8
    head = position + 12
    if head > len(buffer):
        raise IndexError
    length = int.from_bytes(buffer[position + 8 : head], "little")
    if length == 0:
        return head
    end = head + length + 4
    if end > len(buffer):
        raise IndexError
    return end if buffer[head + length : end] == b"\0\0\0\0" else None


def _decode_column(wire_type: WireType, buffer: bytes, marks: npt.NDArray[np.int64], index: int) -> pa.Array:
    starts, ends = marks[:, index], marks[:, index + 1]
    data = np.frombuffer(buffer, np.uint8)
    framing = wire_type.framing
    if framing is Framing.FIXED:
        valid: Valid = np.ones(len(marks), np.bool_)
    elif framing is Framing.BYTE:
        valid = ends - starts > 1
        starts = starts + 1
    elif framing is Framing.SHORT:
        valid = (data[starts] & data[starts + 1]) != 0xFF
        starts = starts + 2
    else:
        valid = ends - starts > 8
        empty = ends - starts == 12
        starts = np.where(valid, starts + 12, ends)
        ends = np.where(valid & ~empty, ends - 4, np.maximum(starts, ends))
    return decode_pieces(wire_type.type, _cut_out(buffer, starts, ends), valid)


def _cut_out(buffer: bytes, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> Pieces:
    """The values laid end to end. They alternate with what is between them, so that Arrow can take every other one."""
    count = len(starts)
    edges = np.empty(2 * count + 1, np.int64)
    edges[0:-1:2], edges[1::2], edges[-1] = starts, ends, len(buffer)
    everything = pa.Array.from_buffers(pa.large_binary(), 2 * count, [None, pa.py_buffer(edges), pa.py_buffer(buffer)])
    values = everything.take(pa.array(np.arange(0, 2 * count, 2)))
    _, offsets, data = values.buffers()
    if offsets is None or not count:
        return Pieces(np.zeros(count + 1, np.int64), pa.py_buffer(b""))
    return Pieces(np.frombuffer(offsets, np.int64)[: count + 1], data if data is not None else pa.py_buffer(b""))


def _decode_slowly(types: list[WireType], buffer: bytes) -> tuple[int, list[pa.Array], int]:
    """Value by value; for blocks that `_walk` gives up."""
    values: list[list[bytes | None]] = [[] for _ in types]
    cursor = ByteCursor(buffer)
    used = 0
    while cursor.remaining:
        token = cursor.u8()
        if token == _DONE:
            break
        if token not in (_ROW, _NBCROW):
            raise MalformedError(f"token 0x{token:02X} among bulk rows")
        try:
            nulls = cursor.take((len(types) + 7) // 8) if token == _NBCROW else bytes((len(types) + 7) // 8)
            row = [
                None if nulls[i // 8] >> (i % 8) & 1 else read_value(cursor, wire_type, in_row=True)
                for i, wire_type in enumerate(types)
            ]
        except TruncatedError:
            break  # the rest of the row is in the next packet
        for column, value in zip(values, row, strict=True):
            column.append(value)
        used = cursor.position
    arrays = [decode_values(wire_type.type, column) for wire_type, column in zip(types, values, strict=True)]
    return len(values[0]) if values else 0, arrays, used
