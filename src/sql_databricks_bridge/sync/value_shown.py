"""How types and values are written in messages."""

from __future__ import annotations

import codecs
from typing import Any

import pyarrow as pa

SHOWN_CHARACTERS = 60

_NAMES = {
    pa.null(): "VOID",
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INT",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.date32(): "DATE",
    pa.string(): "STRING",
    pa.large_string(): "STRING",
    pa.binary(): "BINARY",
    pa.large_binary(): "BINARY",
}


def shown_type(arrow: pa.DataType) -> str:
    """The type as Databricks calls it; Arrow's own name where Databricks has none."""
    if arrow in _NAMES:
        return _NAMES[arrow]
    if pa.types.is_dictionary(arrow):
        return shown_type(arrow.value_type)
    if pa.types.is_decimal(arrow):
        return f"DECIMAL({arrow.precision},{arrow.scale})"
    if pa.types.is_timestamp(arrow):
        return "TIMESTAMP_NTZ" if arrow.tz is None else "TIMESTAMP"
    if pa.types.is_map(arrow):
        return f"MAP<{shown_type(arrow.key_type)}, {shown_type(arrow.item_type)}>"
    if pa.types.is_list(arrow) or pa.types.is_large_list(arrow):
        return f"ARRAY<{shown_type(arrow.value_type)}>"
    if pa.types.is_struct(arrow):
        return f"STRUCT<{', '.join(f'{part.name}: {shown_type(part.type)}' for part in arrow)}>"
    if pa.types.is_duration(arrow) or pa.types.is_interval(arrow):
        return "INTERVAL"
    return str(arrow)


def shown_value(scalar: pa.Scalar) -> str:
    """A value, shortened to about `SHOWN_CHARACTERS`, its control characters escaped."""
    if not scalar.is_valid:
        return "NULL"
    if isinstance(scalar, pa.StringScalar):
        return _shown_text(scalar.as_buffer())
    if isinstance(scalar, pa.BinaryScalar):
        return _shown_bytes(scalar.as_buffer())
    if pa.types.is_temporal(scalar.type):
        return _shown_time(scalar)
    value = scalar.as_py()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown_text(raw: pa.Buffer) -> str:
    start = raw.slice(0, min(raw.size, 4 * (SHOWN_CHARACTERS + 1))).to_pybytes()
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start, final=len(start) == raw.size)
    except UnicodeDecodeError:
        return _shown_bytes(raw)
    return repr(text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}...")


def _shown_bytes(raw: pa.Buffer) -> str:
    most = SHOWN_CHARACTERS // 2
    digits = raw.slice(0, min(raw.size, most)).to_pybytes().hex().upper()
    return f"0x{digits}" if raw.size <= most else f"0x{digits}... ({raw.size:,} bytes)"


def _shown_time(scalar: pa.Scalar) -> str:
    """By Arrow, whose years don't end at 9999; an instant as UTC."""
    kind: Any = scalar.type
    array = pa.array([scalar.value], pa.int64() if kind.bit_width == 64 else pa.int32())
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return f"{array.view(pa.timestamp(kind.unit)).cast(pa.string())[0]}Z"
    return str(array.view(kind).cast(pa.string())[0])
