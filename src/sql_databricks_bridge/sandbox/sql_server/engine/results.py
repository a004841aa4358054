"""PostgreSQL result columns to contract.py's Arrow columns.

`projection` says what to ask PostgreSQL for, `convert` makes the contract's batch of what ADBC yields. Decimals of up
to 18 digits travel as scaled integers (a numeric would arrive as text), wider ones as text parsed by Arrow's kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..contract import Column, SqlType
from .types import DECIMALS, MONEYS
from .values import arrow_type
from .variant import read_stored, tds_bytes
from .variant_store import FIELDS


def _scaled(t: SqlType) -> int | None:
    """The scale of a decimal that fits 64 bits as an integer, else None."""
    if t.name in MONEYS:
        return 4
    if t.name in DECIMALS and (t.precision or 18) <= 18:
        return t.scale or 0
    return None


def projection(sql: str, t: SqlType) -> list[str]:
    """The PostgreSQL expressions that carry one column."""
    scale = _scaled(t)
    if scale is not None:
        return [f"({sql} * {10**scale}::numeric)::int8" if scale else f"({sql})::int8"]
    if t.name in DECIMALS:
        return [f"({sql})::text"]
    if t.name == "datetimeoffset":
        return [f"({sql}).utc", f"({sql}).off"]
    if t.name == "sql_variant":
        return [f"({sql}).{field}{'::text' if field == 'num' else ''}" for field in FIELDS]
    return [sql]


def _width(t: SqlType) -> int:
    """How many of them."""
    return {"datetimeoffset": 2, "sql_variant": len(FIELDS)}.get(t.name, 1)


def _decimal_from_int64(array: pa.Array, t: pa.DataType) -> pa.Array:
    """Scaled int64 as decimal128 of the same digits: sign-extend to 128 bits, keep the validity."""
    size = len(array)
    low = np.frombuffer(array.buffers()[1], dtype=np.int64)[array.offset : array.offset + size]
    wide = np.empty((size, 2), dtype=np.int64)
    wide[:, 0] = low
    np.right_shift(low, 63, out=wide[:, 1])
    validity = None
    if array.null_count:
        validity = pc.is_valid(array).buffers()[1]
    return pa.Array.from_buffers(t, size, [validity, pa.py_buffer(wide)], array.null_count)


def _column(arrays: Sequence[pa.Array], column: Column, base: SqlType | None) -> pa.Array:
    t, target, array = column.type, arrow_type(column.type), arrays[0]
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if t.name == "sql_variant" and base is None:
        rows = zip(*(a.to_pylist() for a in arrays), strict=True)
        cells = [None if row[0] is None else read_stored(dict(zip(FIELDS, row, strict=True))) for row in rows]
        return pa.array([None if c is None else {"type": c[0], "value": c[1]} for c in cells], target)
    if t.name == "sql_variant":
        assert base is not None
        values = _column(arrays, Column(column.name, base), None).to_pylist()
        cells = [None if v is None else tds_bytes(base, v) for v in values]
        return pa.array([None if c is None else {"type": c[0], "value": c[1]} for c in cells], target)
    if _scaled(t) is not None:
        return _decimal_from_int64(array, target)
    if t.name == "datetimeoffset":
        mask = pc.is_null(array)
        offset = arrays[1].cast(pa.int16())
        return pa.StructArray.from_arrays([array, offset], fields=list(target), mask=mask)
    return array if array.type == target else array.cast(target)


def convert(batch: pa.RecordBatch, columns: Sequence[Column], bases: Sequence[SqlType | None]) -> pa.RecordBatch:
    """One batch as the contract wants it."""
    arrays: list[Any] = []
    at = 0
    for column, base in zip(columns, bases, strict=True):
        width = _width(base or column.type)
        arrays.append(_column(batch.columns[at : at + width], column, base))
        at += width
    fields = [pa.field(c.name, a.type) for c, a in zip(columns, arrays, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
