"""One column through `Inbound`: what came out, or the refusal."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from sql_databricks_bridge.core.types import staged_type
from sql_databricks_bridge.errors import EventInvalid, ValueRefused
from sql_databricks_bridge.models.tables import TargetColumn
from sql_databricks_bridge.sync.values import Inbound


def column(sql_type: str, name: str = "v", *, nullable: bool = True, code_page: int | None = 1252) -> TargetColumn:
    """A target's column."""
    return TargetColumn(name, sql_type, nullable, code_page=code_page)


def inbound(
    sql_type: str, source: pa.DataType, *, timezone: str | None = None, code_page: int | None = 1252
) -> Inbound:
    """The way of one column."""
    return Inbound.of([pa.field("v", source)], [column(sql_type, code_page=code_page)], timezone=timezone)


def stored(sql_type: str, array: pa.Array, *, timezone: str | None = None, code_page: int | None = 1252) -> pa.Array:
    """Convert one column; what comes out is valid and of the type that is staged."""
    way = inbound(sql_type, array.type, timezone=timezone, code_page=code_page)
    batch = way.convert(pa.record_batch([array], names=["v"]))
    batch.validate(full=True)
    assert batch.schema == way.schema == pa.schema([("v", staged_type(sql_type))])
    return batch.column(0)


def refused(
    sql_type: str, array: pa.Array, *, timezone: str | None = None, code_page: int | None = 1252
) -> ValueRefused:
    """The refusal of one column's values."""
    with pytest.raises(ValueRefused) as caught:
        stored(sql_type, array, timezone=timezone, code_page=code_page)
    return caught.value


def never(sql_type: str, source: pa.DataType, **options: Any) -> EventInvalid:
    """The refusal of one column's type."""
    with pytest.raises(EventInvalid) as caught:
        inbound(sql_type, source, **options)
    return caught.value


def agrees(
    sql_type: str,
    array: pa.Array,
    expected: list[Any],
    *,
    timezone: str | None = None,
    code_page: int | None = 1252,
) -> None:
    """`expected` has, for each value, what is to be stored, or `REFUSED`: the first one of those must be named."""
    first = next((row for row, value in enumerate(expected) if value is REFUSED), None)
    if first is None:
        assert stored(sql_type, array, timezone=timezone, code_page=code_page).to_pylist() == expected
    else:
        error = refused(sql_type, array, timezone=timezone, code_page=code_page)
        assert error.message.startswith(f"Row {first + 1}, column 'v': "), error.message


REFUSED = object()
