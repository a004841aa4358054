"""Values of filter_conditions against a source column's type."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql_databricks_bridge.db.source_filters import comparable
from sql_databricks_bridge.errors import EventInvalid


@pytest.mark.parametrize(
    ("type_text", "value", "cast"),
    [
        ("TINYINT", "-128", "-128"),
        ("SMALLINT", "+32767", "32767"),
        ("INT", "007", "7"),
        ("BIGINT", "-9223372036854775808", "-9223372036854775808"),
        ("DECIMAL(5, 2)", "-123.4500", "-123.4500"),
        ("DECIMAL(5,2)", ".5", "0.5"),
        ("DECIMAL(2,2)", "0.25", "0.25"),
        ("DOUBLE", "-1.5e3", "-1.5e3"),
        ("FLOAT", "3.4e38", "3.4e38"),
        ("BOOLEAN", "TRUE", "true"),
        ("BOOLEAN", "0", "false"),
        ("DATE", "0001-01-01", "0001-01-01"),
        ("TIMESTAMP", "2024-02-29", "2024-02-29T00:00:00+00:00"),
        ("TIMESTAMP", "2024-02-29 12:30", "2024-02-29T12:30:00+00:00"),
        ("TIMESTAMP", "2024-02-29T12:30:00.5+02:00", "2024-02-29T10:30:00.500000+00:00"),
        ("TIMESTAMP", "2024-02-29T12:30:00Z", "2024-02-29T12:30:00+00:00"),
        ("TIMESTAMP_NTZ", "2024-02-29 12:30:01.123456", "2024-02-29T12:30:01.123456"),
    ],
)
def test_a_value_that_the_type_parses_is_cast_in_one_form(type_text: str, value: str, cast: str) -> None:
    assert comparable("c", type_text, value) == (type_text.replace(" ", ""), cast)


@pytest.mark.parametrize("type_text", ["STRING", "VARCHAR(10)", "CHAR(3)"])
@pytest.mark.parametrize("value", ["", " a ", "it's \\ `x`\n", "1.0", "\U0001f600"])
def test_texts_compare_as_they_are(type_text: str, value: str) -> None:
    assert comparable("c", type_text, value) == ("STRING", value)


@pytest.mark.parametrize(
    ("type_text", "value"),
    [
        *[("INT", text) for text in ("", " 1 ", "1.5", "1e3", "2147483648", "0x10", "1_000", "١", "9" * 5000)],
        ("TINYINT", "128"),
        ("SMALLINT", "-32769"),
        ("BIGINT", "9223372036854775808"),
        *[("DECIMAL(5,2)", text) for text in ("", ".", "1.005", "1000", "1e2", "NaN", " 1", "1,5", "0" * 200)],
        *[("DOUBLE", text) for text in ("", "NaN", "Infinity", "1e999", "1d", "0x1p3", " 1.0")],
        ("FLOAT", "3.5e38"),
        *[("BOOLEAN", text) for text in ("", "yes", "t", "2", " true")],
        *[("DATE", text) for text in ("", "2023-02-29", "2024-1-1", "20240101", "0000-01-01", "2024-01-01 00:00:00")],
        *[("TIMESTAMP", text) for text in ("now", "2024-01-01 25:00", "2024-01-01T00:00:00.1234567", "12:00")],
        ("TIMESTAMP", "0001-01-01T00:00:00+14:00"),
        ("TIMESTAMP_NTZ", "2024-01-01T00:00:00Z"),
    ],
)
def test_a_value_that_the_type_does_not_parse_is_refused_by_name(type_text: str, value: str) -> None:
    with pytest.raises(EventInvalid, match=r"column amount of the source") as caught:
        comparable("amount", type_text, value)
    assert repr(value[:40])[1:-1] in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "type_text",
    [
        "ARRAY<INT>",
        "MAP<STRING, INT>",
        "STRUCT<x: INT>",
        "BINARY",
        "VARIANT",
        "VOID",
        "STRING COLLATE UTF8_LCASE",
        "INT) --",
    ],
)
def test_a_type_that_can_not_be_compared_is_refused_by_name(type_text: str) -> None:
    with pytest.raises(EventInvalid, match=r"column c of the source is .*can't be compared"):
        comparable("c", type_text, "1")


@given(st.text(max_size=40), st.sampled_from(["INT", "DECIMAL(9,3)", "DOUBLE", "BOOLEAN", "DATE", "TIMESTAMP"]))
def test_no_text_breaks_the_parser_and_what_passes_is_plain_ascii(value: str, type_text: str) -> None:
    try:
        _, cast = comparable("c", type_text, value)
    except EventInvalid:
        return
    assert cast.isascii()
    assert set(cast) <= set("0123456789+-.:eETtruefalsTZ")
