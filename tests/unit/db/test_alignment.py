"""Batches that lie askew in memory come out where the driver can take them, equal."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from sql_databricks_bridge.db.alignment import aligned


@pytest.mark.parametrize("shift", range(16))
def test_a_stream_that_begins_anywhere_becomes_aligned(shift: int) -> None:
    table = pa.table(
        {
            "n": pa.array([1, None, 3], pa.int32()),
            "d": pa.array([Decimal("1.50"), None, Decimal("-2.25")], pa.decimal128(38, 2)),
            "s": ["a", None, "ccc"],
            "b": [True, False, None],
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    body = bytearray(shift) + sink.getvalue().to_pybytes()
    with pa.ipc.open_stream(pa.py_buffer(body).slice(shift)) as reader:
        (batch,) = list(reader)
    for original in (batch, batch.slice(1)):
        found = aligned(original)
        assert found.equals(original)
        assert all(b.address % 16 == 0 for column in found.columns for b in column.buffers() if b is not None)


def test_what_is_aligned_is_not_copied() -> None:
    batch = pa.record_batch({"n": pa.array([1, 2], pa.int64())})
    assert aligned(batch) is batch
