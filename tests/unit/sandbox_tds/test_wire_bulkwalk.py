"""Rows found all at once are the rows that reading value by value finds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sql_databricks_bridge.sandbox.sql_server.contract import DEFAULT_COLLATION, Column, SqlType
from sql_databricks_bridge.sandbox.sql_server.wire.bulk import read_bulk_load
from sql_databricks_bridge.sandbox.sql_server.wire.bulkwalk import Block, walk
from sql_databricks_bridge.sandbox.sql_server.wire.errors import MalformedError
from sql_databricks_bridge.sandbox.sql_server.wire.tokens import column_metadata
from sql_databricks_bridge.sandbox.sql_server.wire.typeread import Framing, WireType

COLUMNS = [
    Column("i", SqlType("int")),
    Column("f", SqlType("int"), nullable=False),
    Column("s", SqlType("varbinary", 300)),
    Column("p", SqlType("varbinary", -1)),
    Column("l", SqlType("image", -1)),
    Column("d", SqlType("decimal", None, 9, 2)),
    Column("t", SqlType("nvarchar", 20, collation=DEFAULT_COLLATION)),
]
# A client names an image column's table in one part, a server in several.
IMAGE = b"\0\0\0\0\x01\0" + b"\x22" + (2**31 - 1).to_bytes(4, "little") + b"\1\0t\0" + b"\1l\0"
METADATA = (
    b"\x81"
    + len(COLUMNS).to_bytes(2, "little")
    + b"".join(IMAGE if c.name == "l" else column_metadata([c], "", utf8=False)[3:] for c in COLUMNS)
)
DONE = b"\xfd" + b"\0" * 12

# Bytes that are tokens, lengths or NULL marks elsewhere.
LOADED = st.lists(st.sampled_from([0xD1, 0xD2, 0xFD, 0xFF, 0x00, 0x04, 0x41]), max_size=40).map(bytes)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "i": st.none() | st.sampled_from([0, -1, 0x00D1D1D1, -0x2E2E2E2F]),
            "f": st.sampled_from([0, -1, -0x2E2E2E2F]),
            "s": st.none() | LOADED,
            "p": st.none() | st.tuples(LOADED, st.integers(1, 50)),
            "l": st.none() | LOADED,
            "d": st.none() | st.sampled_from([0, 0xD1D1, 999_999_999]),
            "t": st.none() | st.text("aÑ\u04d1", max_size=20),
        }
    ),
    max_size=30,
)


def _number(value: int | None) -> bytes:
    return b"\0" if value is None else b"\4" + value.to_bytes(4, "little", signed=True)


def _row(row: dict[str, Any]) -> bytes:
    out: bytes = b"\xd1" + _number(row["i"]) + row["f"].to_bytes(4, "little", signed=True)
    out += b"\xff\xff" if row["s"] is None else len(row["s"]).to_bytes(2, "little") + row["s"]
    if row["p"] is None:
        out += b"\xff" * 8
    else:
        value, size = row["p"]
        pieces = [value[at : at + size] for at in range(0, len(value), size)]
        out += len(value).to_bytes(8, "little")
        out += b"".join(len(piece).to_bytes(4, "little") + piece for piece in pieces) + b"\0\0\0\0"
    if row["l"] is None:
        out += b"\0"
    else:
        out += b"\x10" + b"p" * 24 + len(row["l"]).to_bytes(4, "little") + row["l"]
    out += b"\0" if row["d"] is None else b"\5\1" + row["d"].to_bytes(4, "little")
    text = None if row["t"] is None else row["t"].encode("utf-16-le")
    return out + (b"\xff\xff" if text is None else len(text).to_bytes(2, "little") + text)


def _expected(row: dict[str, Any]) -> tuple[Any, ...]:
    number = None if row["d"] is None else row["d"]
    return row["i"], row["f"], row["s"], row["p"] and row["p"][0], row["l"], number, row["t"]


def _found(message: bytes, size: int) -> Iterator[tuple[Any, ...]]:
    pieces = (message[at : at + size] for at in range(0, len(message), size))
    for batch in read_bulk_load(pieces).batches:
        for row in batch.set_column(5, "d", batch["d"].cast(pa.decimal128(20, 2))).to_pylist():
            yield (*list(row.values())[:5], None if row["d"] is None else int(row["d"] * 100), row["t"])


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, size=st.integers(50, 5000))
def test_rows_of_confusing_bytes_are_found(rows: list[dict[str, Any]], size: int) -> None:
    """Whatever the values look like, and however the message is cut, each row comes once with its values."""
    message = METADATA + b"".join(map(_row, rows)) + DONE
    assert list(_found(message, size)) == [_expected(row) for row in rows]


def test_a_token_that_is_none_of_a_load_is_malformed() -> None:
    """After the last whole row there may be a row, DONE or nothing."""
    types = [WireType(SqlType("tinyint"), Framing.FIXED, 1)]
    assert walk(types, Block(b"\xd1\x07\xd1\x08\xfd")) is not None
    with pytest.raises(MalformedError, match="0x41"):
        walk(types, Block(b"\xd1\x07\x41"))
    with pytest.raises(MalformedError, match="0x00"):
        walk(types, Block(b"\x00"))


def test_an_unfinished_row_is_left_for_later() -> None:
    """What is whole is used, the rest is not."""
    types = [WireType(SqlType("int"), Framing.BYTE)]
    found = walk(types, Block(b"\xd1\x04\1\0\0\0\xd1\0\xd1\x04\1\0"))
    assert found is not None
    cells, used = found
    assert (len(cells[0].starts), used) == (2, 8)
