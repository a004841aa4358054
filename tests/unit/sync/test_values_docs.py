"""docs/values.md says what goes in: its table against the code, every source type into every target type."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest

from sql_databricks_bridge.core.types import staged_type
from sql_databricks_bridge.errors import EventInvalid
from sql_databricks_bridge.sync.value_parts import ASSEMBLED

from .values_support import inbound

SOURCES = {
    "BOOLEAN": pa.bool_(),
    "TINYINT": pa.int8(),
    "SMALLINT": pa.int16(),
    "INT": pa.int32(),
    "BIGINT": pa.int64(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "DECIMAL": pa.decimal128(10, 2),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us", "Etc/UTC"),
    "TIMESTAMP_NTZ": pa.timestamp("us"),
    "STRING": pa.string(),
    "BINARY": pa.binary(),
    "ARRAY": pa.list_(pa.string()),
    "MAP": pa.map_(pa.string(), pa.string()),
    "STRUCT": pa.struct([("a", pa.int32())]),
    "INTERVAL": pa.duration("us"),
}
TABLE = {
    sql_type: set() if sources.strip() == "nothing" else set(sources.strip().split(", "))
    for targets, sources in re.findall(
        r"^\| (`.*?`) \| ([^|]*)\|", (Path(__file__).parents[3] / "docs" / "values.md").read_text(), re.MULTILINE
    )
    for sql_type in re.findall(r"`(.*?)`", targets)
}


@pytest.mark.parametrize("sql_type", TABLE)
def test_the_table_of_values_says_what_the_code_takes(sql_type: str) -> None:
    """A source type is taken where the table lists it, and nowhere else; VOID where anything is."""

    def taken(source: pa.DataType) -> bool:
        try:
            inbound(sql_type, source, timezone="Europe/Madrid")
        except EventInvalid:
            return False
        return True

    alone = {name for name in TABLE[sql_type] if "(" not in name}
    assert {name for name, source in SOURCES.items() if taken(source)} == alone
    assert taken(pa.null()) == bool(TABLE[sql_type])


def test_every_type_that_can_be_staged_is_in_the_table() -> None:
    """A type that is added to the contract gets a line."""
    names = {sql_type.split("(")[0] for sql_type in TABLE}
    assert names >= {"bit", "money", "time", "ntext", "image", "json", "sql_variant"}
    for sql_type, sources in TABLE.items():
        if sources and sql_type not in ASSEMBLED:
            staged_type(sql_type)
    from sql_databricks_bridge.core import types

    assert set(types._STAGED) - names == {"timestamp"}  # rowversion's other name
