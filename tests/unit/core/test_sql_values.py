"""Values of declared parameters: exactly what was given, or why not."""

# ruff: noqa: DTZ001  # SQL Server's zoneless types are the point here
from __future__ import annotations

import datetime as dt
import struct
import uuid
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql_databricks_bridge.core.sql_values import parse_declaration


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("date", "date"),
        ("INTEGER", "int"),
        ("numeric(10, 4)", "decimal(10,4)"),
        ("decimal", "decimal(18,0)"),
        ("dec(5)", "decimal(5,0)"),
        ("float", "float"),
        ("float(24)", "real"),
        ("datetime2", "datetime2(7)"),
        (" Time ( 3 ) ", "time(3)"),
        ("datetimeoffset(0)", "datetimeoffset(0)"),
        ("NVARCHAR(MAX)", "nvarchar(max)"),
        ("varchar(8000)", "varchar(8000)"),
        ("varbinary(max)", "varbinary(max)"),
        ("uniqueidentifier", "uniqueidentifier"),
        ("smallmoney", "smallmoney"),
    ],
)
def test_a_declaration_has_one_canonical_form(written: str, canonical: str) -> None:
    assert parse_declaration(written).declaration == canonical


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("datte", "is not one of bit"),
        ("xml", "is not one of"),
        ("int; DROP TABLE t", "is not one of"),
        ("", "is not one of"),
        ("date(3)", "date takes no size"),
        ("decimal(39,0)", "1 to 38"),
        ("decimal(5,6)", "the scale must be 0 to 5"),
        ("decimal(max)", "can't be max"),
        ("time(8)", "0 to 7"),
        ("varchar", "means length 1"),
        ("nvarchar(4001)", "1 to 4000"),
        ("char(max)", "can't be max"),
        ("varchar(0)", "1 to 8000"),
        ("varchar(5,2)", "takes one size"),
        ("float(54)", "1 to 53"),
    ],
)
def test_a_wrong_declaration_says_why(written: str, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("(", r"\(")):
        parse_declaration(written)


EST = dt.timezone(dt.timedelta(hours=-5))


@pytest.mark.parametrize(
    ("type_", "given", "value"),
    [
        ("bit", "TRUE", True),
        ("bit", "0", False),
        ("bit", 1, True),
        ("bit", False, False),
        ("tinyint", "255", 255),
        ("smallint", "-32768", -32768),
        ("int", "+007", 7),
        ("int", 5, 5),
        ("bigint", "-9223372036854775808", -(2**63)),
        ("float", "1e308", 1e308),
        ("float", 3, 3.0),
        ("float", "0e-999", 0.0),
        ("real", "-3.4028234e38", -3.4028234e38),
        ("decimal(5,2)", "1e2", Decimal("100.00")),
        ("decimal(5,2)", "999.990", Decimal("999.99")),
        ("decimal(5,2)", 12.5, Decimal("12.50")),
        ("decimal(2,2)", "-.99", Decimal("-0.99")),
        ("decimal(38,38)", "0." + "9" * 38, Decimal("0." + "9" * 38)),
        ("decimal(38,0)", "9" * 38, Decimal("9" * 38)),
        ("money", "922337203685477.5807", Decimal("922337203685477.5807")),
        ("smallmoney", "-214748.3648", Decimal("-214748.3648")),
        ("date", "0001-01-01", dt.date(1, 1, 1)),
        ("time(2)", "23:59:59.990", dt.time(23, 59, 59, 990000)),
        ("time", "13:30", dt.time(13, 30)),
        ("datetime", "2013-01-31 13:30:59.997", dt.datetime(2013, 1, 31, 13, 30, 59, 997000)),
        ("smalldatetime", "2079-06-06T23:59", dt.datetime(2079, 6, 6, 23, 59)),
        ("datetime2(6)", "9999-12-31T23:59:59.999999", dt.datetime(9999, 12, 31, 23, 59, 59, 999999)),
        ("datetime2", "2013-01-31", dt.datetime(2013, 1, 31)),
        ("datetimeoffset(3)", "2013-01-31 10:00:00.120 -05:00", dt.datetime(2013, 1, 31, 10, 0, 0, 120000, EST)),
        ("datetimeoffset", "2013-01-31T10:00Z", dt.datetime(2013, 1, 31, 10, tzinfo=dt.UTC)),
        ("nvarchar(2)", "😀", "😀"),
        ("varchar(6)", "Bogotá", "Bogotá"),
        ("varchar(4)", "null", "null"),
        ("nvarchar(max)", "x" * 5000, "x" * 5000),
        ("uniqueidentifier", "6F9619FF-8B86-D011-B42D-00C04FC964FF", uuid.UUID("6f9619ff8b86d011b42d00c04fc964ff")),
        ("binary(2)", "0x00FF", b"\x00\xff"),
        ("varbinary(5)", "0x", b""),
        ("int", None, None),
    ],
)
def test_a_value_is_taken_exactly(type_: str, given: object, value: object) -> None:
    parsed = parse_declaration(type_).parse(given)
    assert parsed == value
    assert type(parsed) is type(value)
    assert str(parsed) == str(value)


@pytest.mark.parametrize(
    ("type_", "given", "why"),
    [
        ("bit", "yes", "true, false, 1 or 0"),
        ("bit", 2, "true, false, 1 or 0"),
        ("tinyint", "-1", "0 to 255"),
        ("int", "2147483648", "-2147483648 to 2147483647"),
        ("bigint", "9" * 6000, "it must be"),
        ("int", "1_000", "not a whole number"),
        ("int", " 5", "not a whole number"),
        ("int", "٣", "not a whole number"),
        ("int", "1.0", "not a whole number"),
        ("int", "null", "not a whole number"),
        ("int", 3.0, "with a fraction or exponent"),
        ("int", True, "JSON boolean"),
        ("int", [1], "JSON array"),
        ("float", "nan", "not a number"),
        ("float", "1e309", "too large"),
        ("float", "1e-400", "too small"),
        ("float", 2**53 + 1, "more digits than a float holds"),
        ("float", 10**400, "too large"),
        ("real", "1e39", "too large"),
        ("decimal(5,2)", "0.001", "more than 2 fractional digits"),
        ("decimal(5,2)", "1000", "more than 3 digits before the point"),
        ("decimal(38,38)", "1e59", "more than 0 digits before the point"),
        ("decimal(5,2)", "1e60", "out of range"),
        ("decimal(5,2)", "1e-999999", "out of range"),
        ("decimal(38,0)", "1" * 90, "too many digits"),
        ("decimal(38,2)", float("nan"), "not a number"),
        ("decimal(38,20)", 0.1 + 0.2, "send it as text"),
        ("decimal(5,2)", "1,5", "not a number"),
        ("money", "922337203685477.5808", "it must be"),
        ("money", "0.00001", "more than 4 fractional digits"),
        ("date", "2013-02-30", "day"),
        ("date", "20130131", "not a date like 2013-01-31"),
        ("date", "31/01/2013", "not a date like 2013-01-31"),
        ("date", "2013-01-31T00:00:00", "not a date like"),
        ("date", 20130131, "it takes text"),
        ("time(2)", "10:00:00.001", "more than 2 fractional digits"),
        ("time", "10:00:00.0000001", "the seventh digit must be 0"),
        ("time", "24:00", "hour"),
        ("datetime", "1752-12-31", "begins in 1753"),
        ("datetime", "2013-01-01T00:00:00.001", "end in 0, 3 or 7"),
        ("smalldatetime", "2013-01-01T00:00:30", "whole minutes"),
        ("smalldatetime", "2079-06-07", "1900 to 2079"),
        ("datetime2", "2013-01-01T00:00Z", "has an offset"),
        ("datetime2", "2013-01-01X00:00", "is not like"),
        ("datetimeoffset", "2013-01-01T10:00", "offset is missing"),
        ("datetimeoffset", "2013-01-01", "offset is missing"),
        ("datetimeoffset", "2013-01-01T10:00+14:01", "-14:00 to"),
        ("datetimeoffset", "0001-01-01T00:00+05:00", "in UTC it is outside"),
        ("nvarchar(1)", "😀", "2 characters, more than 1"),
        ("varchar(2)", "abc", "3 characters, more than 2"),
        ("varchar(9)", "日本", "U\\+65E5: declare nvarchar"),
        ("nvarchar(9)", "\ud800", "half a surrogate pair"),
        ("nvarchar(9)", 5, "not a JSON number"),
        ("uniqueidentifier", "6f9619ff8b86d011b42d00c04fc964ff", "is not like"),
        ("binary(2)", "0x00", "1 bytes, not 2"),
        ("varbinary(2)", "0x000000", "3 bytes, more than 2"),
        ("varbinary(2)", "0x0", "two digits a byte"),
        ("varbinary(2)", "00", "two digits a byte"),
    ],
)
def test_a_value_that_does_not_fit_says_why(type_: str, given: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_declaration(type_).parse(given)


@given(st.integers(1, 38), st.data())
def test_every_decimal_of_a_type_comes_back_unchanged(precision: int, data: st.DataObject) -> None:
    scale = data.draw(st.integers(0, precision))
    unscaled = data.draw(st.integers(-(10**precision) + 1, 10**precision - 1))
    value = Decimal(f"{unscaled}e-{scale}")
    parsed = parse_declaration(f"decimal({precision},{scale})").parse(f"{value:f}")
    assert isinstance(parsed, Decimal)
    assert parsed == value
    assert parsed.as_tuple().exponent == -scale


@given(st.integers(1, 37), st.integers(1, 9))
def test_a_digit_too_many_on_either_side_is_refused(precision: int, digit: int) -> None:
    type_ = parse_declaration(f"decimal({precision},{precision})")
    for given_text in (f"0.{'0' * precision}{digit}", f"{digit}.0"):
        with pytest.raises(ValueError, match="digits"):
            type_.parse(given_text)


@given(st.datetimes(), st.sampled_from("T "))
def test_every_microsecond_comes_back_unchanged(moment: dt.datetime, separator: str) -> None:
    assert parse_declaration("datetime2(6)").parse(moment.isoformat(separator)) == moment
    assert parse_declaration("date").parse(moment.date().isoformat()) == moment.date()
    assert parse_declaration("time(6)").parse(moment.time().isoformat()) == moment.time()


@given(st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False))
def test_every_float_comes_back_with_its_bits(value: float) -> None:
    parsed = parse_declaration("float").parse(repr(value))
    assert isinstance(parsed, float)
    assert struct.pack("d", parsed) == struct.pack("d", value)


@given(st.text(max_size=12))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    for declaration in ("int", "float", "decimal(9,2)", "date", "time", "datetime2", "datetimeoffset", "binary(3)"):
        type_ = parse_declaration(declaration)
        try:
            parsed = type_.parse(text)
        except ValueError:
            continue
        assert parsed is not None
