"""Arrow types as Databricks names them in a result's manifest.

Source: Databricks REST API, "Statement Execution: Execute a SQL statement" (manifest.schema.columns). TIMESTAMP_NTZ
has no entry in the documented list of `type_name`; it is written as such, and `type_text` tells.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from .failures import unsupported

_SIMPLE: tuple[tuple[Any, str, str], ...] = (
    (pa.bool_(), "BOOLEAN", "BOOLEAN"),
    (pa.int8(), "BYTE", "TINYINT"),
    (pa.int16(), "SHORT", "SMALLINT"),
    (pa.int32(), "INT", "INT"),
    (pa.int64(), "LONG", "BIGINT"),
    (pa.float32(), "FLOAT", "FLOAT"),
    (pa.float64(), "DOUBLE", "DOUBLE"),
    (pa.string(), "STRING", "STRING"),
    (pa.large_string(), "STRING", "STRING"),
    (pa.binary(), "BINARY", "BINARY"),
    (pa.large_binary(), "BINARY", "BINARY"),
    (pa.date32(), "DATE", "DATE"),
    (pa.null(), "NULL", "VOID"),
)


_VARIANT = pa.struct([pa.field("value", pa.binary(), False), pa.field("metadata", pa.binary(), False)])
"""What the engine makes of a VARIANT."""


def describe(schema: Any) -> list[dict[str, object]]:
    """`manifest.schema.columns` for an Arrow schema."""
    columns = []
    for position, field in enumerate(schema):
        name, text = type_name(field.type), type_text(field.type)
        column: dict[str, object] = {"name": field.name, "type_text": text, "type_name": name, "position": position}
        if pa.types.is_decimal(field.type):
            column.update(type_precision=field.type.precision, type_scale=field.type.scale)
        columns.append(column)
    return columns


def type_name(arrow: Any) -> str:
    """The base type, such as DECIMAL or ARRAY. Raises `SqlFailure` for a type that the stand-in can't return."""
    for known, name, _ in _SIMPLE:
        if arrow == known:
            return name
    if pa.types.is_decimal(arrow):
        return "DECIMAL"
    if pa.types.is_timestamp(arrow):
        return "TIMESTAMP" if arrow.tz else "TIMESTAMP_NTZ"
    if pa.types.is_list(arrow) or pa.types.is_large_list(arrow):
        return "ARRAY"
    if pa.types.is_map(arrow):
        return "MAP"
    if arrow == _VARIANT:
        raise unsupported("result columns of the type VARIANT")
    if pa.types.is_struct(arrow):
        return "STRUCT"
    raise unsupported(f"result columns of its engine's type {arrow}")


def type_text(arrow: Any) -> str:
    """The full SQL type, such as DECIMAL(10,2) or MAP<STRING, INT>."""
    for known, _, text in _SIMPLE:
        if arrow == known:
            return text
    name = type_name(arrow)
    if name == "DECIMAL":
        return f"DECIMAL({arrow.precision},{arrow.scale})"
    if name == "ARRAY":
        return f"ARRAY<{type_text(arrow.value_type)}>"
    if name == "MAP":
        return f"MAP<{type_text(arrow.key_type)}, {type_text(arrow.item_type)}>"
    if name == "STRUCT":
        fields = (arrow.field(index) for index in range(arrow.num_fields))
        return f"STRUCT<{', '.join(f'{field.name}: {type_text(field.type)}' for field in fields)}>"
    return name
