"""Buffers where the driver can take them.

Its bulk copy is Rust, which ends in a panic on a decimal that does not begin at a multiple of 16 bytes; Arrow's streams
promise 8, and a stream that came by HTTP begins anywhere (m, mssql-python 1.16).
"""

from __future__ import annotations

import pyarrow as pa

_BYTES = 16


def aligned(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same batch of flat columns; a column is copied only where one of its buffers lies askew."""
    if all(_fits(buffer) for column in batch.columns for buffer in column.buffers()):
        return batch
    return pa.RecordBatch.from_arrays([_aligned(column) for column in batch.columns], schema=batch.schema)


def _aligned(array: pa.Array) -> pa.Array:
    buffers = array.buffers()
    if all(_fits(buffer) for buffer in buffers):
        return array
    copies = [buffer if _fits(buffer) else _copied(buffer) for buffer in buffers]
    return pa.Array.from_buffers(array.type, len(array), copies, array.null_count, array.offset)


def _fits(buffer: pa.Buffer | None) -> bool:
    return buffer is None or buffer.address % _BYTES == 0


def _copied(buffer: pa.Buffer) -> pa.Buffer:
    fresh = pa.allocate_buffer(buffer.size)  # Arrow allocates at multiples of 64
    with pa.FixedSizeBufferWriter(fresh) as writer:
        writer.write(buffer)
    return fresh
