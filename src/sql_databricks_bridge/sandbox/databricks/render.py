"""Values as the API writes them in JSON_ARRAY and CSV results: every value a string, NULL as null.

Sources: Databricks REST API, "Statement Execution" (format); Java's Double.toString for floating point, which Spark
uses. Times have three digits behind the second, or six where microseconds are not zero. Arrays, maps and structs
are JSON texts whose leaves are strings again: array(1, NULL) is ["1",null].
"""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .sqltypes import type_name


def rows(table: Any) -> list[list[str | None]]:
    """`data_array` for an Arrow table."""
    columns = [_column(column) for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)] if columns else []


def as_json(table: Any) -> bytes:
    """A chunk in JSON_ARRAY format."""
    return json.dumps(rows(table), separators=(",", ":"), ensure_ascii=False).encode()


def as_csv(table: Any, *, header: bool) -> bytes:
    """A chunk in CSV format (RFC 4180, NULL as "null", a header row in the first chunk only)."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    if header:
        writer.writerow(table.column_names)
    writer.writerows([["null" if value is None else value for value in row] for row in rows(table)])
    return out.getvalue().encode()


def _column(column: Any) -> list[str | None]:
    kind = type_name(column.type)
    if kind == "STRING":
        values: list[str | None] = column.to_pylist()
        return values
    if kind in ("BYTE", "SHORT", "INT", "LONG", "BOOLEAN", "DATE"):
        texts: list[str | None] = pc.cast(column, pa.string()).to_pylist()
        return texts
    if kind in ("TIMESTAMP", "TIMESTAMP_NTZ"):
        zone = "Z" if kind == "TIMESTAMP" else ""
        texts = pc.strftime(pc.cast(column, pa.timestamp("us", column.type.tz)), "%Y-%m-%dT%H:%M:%S").to_pylist()
        return [None if text is None else _shorten(text) + zone for text in texts]
    render = _scalar(column.type)
    return [None if value is None else render(value) for value in column.to_pylist()]


def _shorten(moment: str) -> str:
    return moment.removesuffix("000")


def _scalar(arrow: Any) -> Callable[[Any], str]:
    kind = type_name(arrow)
    if kind in ("DOUBLE", "FLOAT"):
        return lambda value: java_double(value, single=kind == "FLOAT")
    if kind == "DECIMAL":
        return lambda value: format(value, "f")
    if kind == "BINARY":
        return lambda value: base64.b64encode(value).decode()
    return lambda value: json.dumps(_nested(arrow, value), separators=(",", ":"), ensure_ascii=False)


def java_double(value: float, *, single: bool = False) -> str:
    """Text of a floating point number as Java writes it: 1.0, 1.0E10, NaN, -Infinity."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0:
        return "-0.0" if math.copysign(1, value) < 0 else "0.0"
    digits = Decimal(str(np.float32(value)) if single else repr(value)).normalize()
    if 1e-3 <= abs(value) < 1e7:
        text = format(digits, "f")
        return text if "." in text else f"{text}.0"
    sign, mantissa, _ = digits.as_tuple()
    head, tail = mantissa[0], "".join(map(str, mantissa[1:])) or "0"
    return f"{'-' if sign else ''}{head}.{tail}E{digits.adjusted()}"


def _nested(arrow: Any, value: Any) -> Any:
    """A value inside a complex one, as JSON."""
    if value is None:
        return None
    kind = type_name(arrow)
    if kind == "ARRAY":
        return [_nested(arrow.value_type, item) for item in value]
    if kind == "MAP":
        pairs = value.items() if isinstance(value, dict) else value
        return {_text(arrow.key_type, key): _nested(arrow.item_type, item) for key, item in pairs}
    if kind == "STRUCT":
        fields = (arrow.field(index) for index in range(arrow.num_fields))
        return {field.name: _nested(field.type, value[field.name]) for field in fields}
    return _text(arrow, value)


def _text(arrow: Any, value: Any) -> str:
    return str(_column(pa.chunked_array([pa.array([value], arrow)]))[0])
