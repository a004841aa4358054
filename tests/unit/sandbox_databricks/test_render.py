"""Values as the API writes them."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from sql_databricks_bridge.sandbox.databricks import render
from sql_databricks_bridge.sandbox.databricks.failures import SqlFailure
from sql_databricks_bridge.sandbox.databricks.sqltypes import describe

UTC = dt.UTC


@pytest.mark.parametrize(
    ("arrow", "value", "text"),
    [
        (pa.bool_(), True, "true"),
        (pa.int64(), -(2**63), "-9223372036854775808"),
        (pa.decimal128(38, 10), Decimal("0.0000000001"), "0.0000000001"),
        (pa.decimal128(10, 2), Decimal("-1.50"), "-1.50"),
        (pa.date32(), dt.date(1, 1, 1), "0001-01-01"),
        (pa.timestamp("us", "Etc/UTC"), dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), "2024-01-02T03:04:05.000Z"),
        (pa.timestamp("us", "Etc/UTC"), dt.datetime(2024, 1, 2, 3, 4, 5, 120000, UTC), "2024-01-02T03:04:05.120Z"),
        (pa.timestamp("us", "Etc/UTC"), dt.datetime(2024, 1, 2, 3, 4, 5, 1, UTC), "2024-01-02T03:04:05.000001Z"),
        (
            pa.timestamp("us"),
            dt.datetime(2024, 1, 2, 3, 4, 5, 500, UTC).replace(tzinfo=None),
            "2024-01-02T03:04:05.000500",
        ),
        (pa.binary(), b"\x00\xff", "AP8="),
        (pa.list_(pa.string()), ["a", None, 'q"'], '["a",null,"q\\""]'),
        (pa.map_(pa.string(), pa.int32()), [("a", 1), ("b", None)], '{"a":"1","b":null}'),
        (pa.map_(pa.int32(), pa.date32()), [(1, dt.date(2024, 1, 1))], '{"1":"2024-01-01"}'),
        (pa.struct([("x", pa.int32()), ("y", pa.list_(pa.bool_()))]), {"x": 1, "y": [True]}, '{"x":"1","y":["true"]}'),
        (pa.string(), None, None),
        (pa.list_(pa.string()), None, None),
        (pa.null(), None, None),
    ],
)
def test_each_value_is_a_string_or_null(arrow: Any, value: Any, text: str | None) -> None:
    assert render.rows(pa.table({"c": pa.array([value], arrow)})) == [[text]]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.0"),
        (0.1, "0.1"),
        (-0.0, "-0.0"),
        (9999999.0, "9999999.0"),
        (1e7, "1.0E7"),
        (0.001, "0.001"),
        (0.0001, "1.0E-4"),
        (1.7976931348623157e308, "1.7976931348623157E308"),
        (-1234.5e10, "-1.2345E13"),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
    ],
)
def test_doubles_are_written_as_java_writes_them(value: float, text: str) -> None:
    assert render.java_double(value) == text


def test_floats_have_no_more_digits_than_they_hold() -> None:
    assert render.rows(pa.table({"c": pa.array([1.1], pa.float32())})) == [["1.1"]]


def test_csv_has_a_header_in_the_first_chunk_only_and_null_for_null() -> None:
    table = pa.table({"a": ["x,y", None], "b": [1, 2]})
    assert render.as_csv(table, header=True) == b'a,b\r\n"x,y",1\r\nnull,2\r\n'
    assert render.as_csv(table, header=False) == b'"x,y",1\r\nnull,2\r\n'


def test_the_manifest_names_types_as_the_api_does() -> None:
    schema = pa.schema(
        [
            ("a", pa.int8()),
            ("b", pa.decimal128(10, 2)),
            ("c", pa.timestamp("us")),
            ("d", pa.map_(pa.string(), pa.list_(pa.int64()))),
            ("e", pa.struct([("x", pa.float32())])),
        ]
    )
    assert [(each["type_name"], each["type_text"]) for each in describe(schema)] == [
        ("BYTE", "TINYINT"),
        ("DECIMAL", "DECIMAL(10,2)"),
        ("TIMESTAMP_NTZ", "TIMESTAMP_NTZ"),
        ("MAP", "MAP<STRING, ARRAY<BIGINT>>"),
        ("STRUCT", "STRUCT<x: FLOAT>"),
    ]
    assert describe(schema)[1]["type_precision"] == 10


def test_a_type_that_the_stand_in_cannot_return_is_refused_by_name() -> None:
    with pytest.raises(SqlFailure, match=r"duration\[us\]"):
        describe(pa.schema([("a", pa.duration("us"))]))
