"""Bulk load messages (MS-TDS 2.2.6.1): COLMETADATA, rows and DONE from the client, to Arrow batches.

Blocks of rows are cut into columns by `bulkwalk`; the columns are decoded whole. Where something unusual is in the way
(NBCROW, values in several chunks) a block is read value by value.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from ..contract import BulkLoad, Column, Message, SqlError, SqlType
from .bulkwalk import DONE, NBCROW, ROW, Block, Cells, walk
from .bytecursor import ByteCursor
from .decode import (
    FIXED_TYPES,
    InvalidValueError,
    decode_matrix,
    decode_pieces,
    decode_values,
    fixed_width,
    matrix_fits,
)
from .errors import MalformedError, TruncatedError
from .typeread import Framing, WireType, read_type_info
from .values import read_value

_COLMETADATA = 0x81
_BLOCK_BYTES = 1024 * 1024
_METADATA_LIMIT_BYTES = 4 * 1024 * 1024
_FLAG_NULLABLE, _FLAG_IDENTITY = 0x01, 0x10


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
        if buffer[:1] == bytes((DONE,)):
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
        block = Block(buffer)
        found = walk(types, block)
        if found is None:
            return _decode_slowly(types, buffer)
        cells, used = found
        count = len(cells[0].starts) if cells else 0
        arrays = [_decode_column(each, block, cells[index]) for index, each in enumerate(types)]
    except InvalidValueError as exc:
        index = next(i for i, wire_type in enumerate(types) if wire_type.type is exc.type)
        name = columns[index].name
        text = f"Received an invalid column length or value from the bcp client for colid {index + 1} ({name}), row "
        raise SqlError(Message(4815, text + f"{done + exc.row + 1}: {exc}.")) from exc
    return count, arrays, used


def _decode_column(wire_type: WireType, block: Block, cells: Cells) -> pa.Array:
    sql_type = wire_type.type
    if sql_type.name in FIXED_TYPES:
        matrix = block.matrix(cells, fixed_width(sql_type))
        if matrix is not None and matrix_fits(sql_type, matrix):
            return decode_matrix(sql_type, matrix, cells.valid)
    elif wire_type.framing is Framing.SHORT:
        _check_lengths(sql_type, cells)
    return decode_pieces(sql_type, block.pieces(cells), cells.valid)


def _check_lengths(sql_type: SqlType, cells: Cells) -> None:
    """No value may pass the length that COLMETADATA gave."""
    most = (sql_type.length or 0) * (2 if sql_type.name in ("nchar", "nvarchar") else 1)
    lengths = cells.ends - cells.starts
    if len(lengths) and lengths.max() > most:
        row = int((lengths > most).argmax())
        raise InvalidValueError(sql_type, row, f"{int(lengths[row])} bytes where {most} are the most")


def _decode_slowly(types: list[WireType], buffer: bytes) -> tuple[int, list[pa.Array], int]:
    """Value by value; for blocks that `walk` gives up."""
    values: list[list[bytes | None]] = [[] for _ in types]
    cursor = ByteCursor(buffer)
    used = 0
    while cursor.remaining:
        token = cursor.u8()
        if token == DONE:
            break
        if token not in (ROW, NBCROW):
            raise MalformedError(f"token 0x{token:02X} among bulk rows")
        try:
            nulls = cursor.take((len(types) + 7) // 8) if token == NBCROW else bytes((len(types) + 7) // 8)
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
