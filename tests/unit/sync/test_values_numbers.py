"""Numbers on the way back: every type at its boundaries, and at random against Python's own arithmetic."""

from __future__ import annotations

import math
import struct
from decimal import Context, Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .values_support import REFUSED, agrees, never, refused, stored

INTEGER_RANGES = {
    "bit": (0, 1),
    "tinyint": (0, 255),
    "smallint": (-32768, 32767),
    "int": (-2147483648, 2147483647),
    "bigint": (-9223372036854775808, 9223372036854775807),
}
MONEY_RANGES = {
    "money": (Decimal("-922337203685477.5808"), Decimal("922337203685477.5807")),
    "smallmoney": (Decimal("-214748.3648"), Decimal("214748.3647")),
}
ARROW_INTEGERS = {
    pa.int8(): (-(2**7), 2**7 - 1),
    pa.int16(): (-(2**15), 2**15 - 1),
    pa.int32(): (-(2**31), 2**31 - 1),
    pa.int64(): (-(2**63), 2**63 - 1),
    pa.uint8(): (0, 2**8 - 1),
    pa.uint16(): (0, 2**16 - 1),
    pa.uint32(): (0, 2**32 - 1),
    pa.uint64(): (0, 2**64 - 1),
}
EXACT = Context(prec=200)


@pytest.mark.parametrize("source", ARROW_INTEGERS, ids=str)
@pytest.mark.parametrize("sql_type", INTEGER_RANGES)
def test_integers_go_into_integer_types_up_to_their_ends_and_not_beyond(sql_type: str, source: pa.DataType) -> None:
    """Smallest, largest, NULL and typical values pass; one beyond is refused, where the source can hold it."""
    least, most = INTEGER_RANGES[sql_type]
    lowest, highest = ARROW_INTEGERS[source]
    inside: list[int | None] = [max(least, lowest), min(most, highest), 1, None, 0]
    agrees(sql_type, pa.array(inside, source), [None if n is None else n for n in inside])
    for beyond in (least - 1, most + 1):
        if lowest <= beyond <= highest:
            error = refused(sql_type, pa.array([1, None, beyond, beyond], source))
            reason = "a bit is 0 or 1" if sql_type == "bit" else f"{sql_type} holds {least} to {most}"
            assert error.message == (
                f"Row 3, column 'v': {beyond} can't go into {sql_type}: {reason}. 1 more row of this batch likewise."
            )


@pytest.mark.parametrize(
    ("sql_type", "inside", "beyond"),
    [
        ("decimal(5,2)", 999, 1000),
        ("decimal(5,2)", -999, -1000),
        ("decimal(18,0)", 10**18 - 1, 10**18),
        ("numeric(38,19)", 2**63 - 1, None),
        ("numeric(38,30)", 99_999_999, 100_000_000),
        ("decimal(38,38)", 0, 1),
        ("decimal(1,1)", 0, -1),
        ("money", 922_337_203_685_477, 922_337_203_685_478),
        ("money", -922_337_203_685_477, -922_337_203_685_478),
        ("smallmoney", 214_748, 214_749),
        ("real", 2**24, 2**24 + 1),
        ("real", -(2**62), 2**62 + 2**38),
        ("float", 2**53, 2**53 + 1),
        ("float", -(2**63), 2**63 - 1),
    ],
)
def test_integers_go_into_other_numbers_exactly(sql_type: str, inside: int, beyond: int | None) -> None:
    """Into decimals, money and floats: the same number, or a refusal."""
    assert stored(sql_type, pa.array([inside, None], pa.int64())).to_pylist() == [inside, None]
    if beyond is not None:
        assert f"column 'v': {beyond} can't go into {sql_type}" in refused(sql_type, pa.array([beyond])).message


@pytest.mark.parametrize(
    ("sql_type", "inside", "beyond", "why"),
    [
        ("decimal(18,2)", "1.2300", "1.2301", "decimal(18,2) holds 2 digits after the point"),
        ("decimal(5,2)", "999.9900", "1000.0000", "decimal(5,2) holds 3 digits before the point"),
        ("decimal(5,2)", "-999.9900", "-1000.0000", "decimal(5,2) holds 3 digits before the point"),
        ("decimal(38,10)", "-0.0001", None, None),
        ("decimal(4,4)", "0.9999", "1.0000", "decimal(4,4) holds 0 digits before the point"),
        ("numeric(19,1)", "0.1000", "0.1100", "numeric(19,1) holds 1 digit after the point"),
        ("int", "2147483647.0000", "2147483648.0000", "int holds -2147483648 to 2147483647"),
        ("int", "5.0000", "5.0001", "int holds no fraction"),
        ("tinyint", "255.0000", "-1.0000", "tinyint holds 0 to 255"),
        ("bigint", "-9223372036854775808.0000", "-9223372036854775809.0000", "bigint holds -9"),
        ("money", "922337203685477.5807", "922337203685477.5808", "money holds -922337203685477.5808 to 9"),
        ("money", "-922337203685477.5808", "-922337203685477.5809", "money holds"),
        ("smallmoney", "214748.3647", "214748.3648", "smallmoney holds -214748.3648 to 214748.3647"),
        ("smallmoney", "-214748.3648", "1000000.0000", "smallmoney holds"),
    ],
)
@pytest.mark.parametrize("source", [pa.decimal128(38, 4), pa.decimal256(60, 4)], ids=str)
def test_decimals_keep_every_digit_or_are_refused(
    source: pa.DataType, sql_type: str, inside: str, beyond: str | None, why: str | None
) -> None:
    """Excess digits on either side of the point are refused with the reason; zeros there are none."""
    assert stored(sql_type, pa.array([Decimal(inside), None], source)).to_pylist() == [Decimal(inside), None]
    if beyond is not None and why is not None:
        message = refused(sql_type, pa.array([None, Decimal(beyond)], source)).message
        assert message.startswith(f"Row 2, column 'v': {beyond} can't go into {sql_type}: {why}")


def test_a_decimal_that_is_the_target_type_is_passed_on_as_it_is() -> None:
    """No copy and no check where types are equal."""
    array = pa.array([Decimal("1.25")], pa.decimal128(18, 2))
    assert stored("decimal(18,2)", array).buffers()[1].address == array.buffers()[1].address


@pytest.mark.parametrize(
    ("sql_type", "values"),
    [
        ("float", [1.7976931348623157e308, 2.2250738585072014e-308, -0.1, 0.0, None]),
        ("real", [3.4028234663852886e38, 1.1754943508222875e-38, -0.5, 0.0, None]),
    ],
)
def test_floats_are_kept_bit_by_bit(sql_type: str, values: list[float | None]) -> None:
    """The ends of the range, and doubles into real that need no more than 24 bits."""
    found = stored(sql_type, pa.array(values, pa.float64())).to_pylist()
    assert [None if value is None else struct.pack("<d", value) for value in found] == [
        None if value is None else struct.pack("<d", value) for value in values
    ]


def test_the_sign_of_zero_is_kept() -> None:
    """-0.0 is not 0.0."""
    assert math.copysign(1, stored("real", pa.array([-0.0], pa.float64()))[0].as_py()) == -1


@pytest.mark.parametrize("source", [pa.float16(), pa.float32(), pa.float64()], ids=str)
@pytest.mark.parametrize("sql_type", ["real", "float"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_refused(sql_type: str, source: pa.DataType, value: float) -> None:
    """SQL Server has neither."""
    error = refused(sql_type, pa.array([0.5, value], source))
    assert (
        error.message == f"Row 2, column 'v': {value} can't go into {sql_type}: SQL Server has no NaN and no infinity."
    )


@pytest.mark.parametrize(
    ("sql_type", "source", "value"),
    [
        ("real", pa.float64(), 0.1),
        ("real", pa.float64(), 1e39),
        ("real", pa.float64(), 1e-50),
        ("real", pa.float64(), 1e-40),
        ("real", pa.float32(), 1e-40),
        ("float", pa.float64(), 5e-324),
    ],
)
def test_floats_that_would_be_changed_are_refused(sql_type: str, source: pa.DataType, value: float) -> None:
    """More bits than a real has, beyond its range, or below the smallest normal number."""
    assert refused(sql_type, pa.array([None, value], source)).message.startswith("Row 2, column 'v': ")


@pytest.mark.parametrize(
    ("source", "sql_type"),
    [
        (pa.bool_(), "int"),
        (pa.bool_(), "decimal(1,0)"),
        (pa.int32(), "nvarchar(10)"),
        (pa.int32(), "date"),
        (pa.int64(), "datetime2(7)"),
        (pa.int32(), "varbinary(4)"),
        (pa.decimal128(9, 0), "bit"),
        (pa.decimal128(9, 2), "float"),
        (pa.decimal128(9, 2), "real"),
        (pa.decimal128(9, 2), "varchar(20)"),
        (pa.float64(), "int"),
        (pa.float64(), "decimal(18,4)"),
        (pa.float32(), "money"),
        (pa.float64(), "bit"),
        (pa.string(), "int"),
        (pa.string(), "float"),
        (pa.binary(), "bigint"),
        (pa.date32(), "int"),
        (pa.timestamp("us"), "bigint"),
    ],
    ids=str,
)
def test_kinds_are_never_changed(source: pa.DataType, sql_type: str) -> None:
    """A number is not parsed, a truth value not counted: the type is refused before any row."""
    assert f"can't go into {sql_type}, since " in never(sql_type, source).message


# -- at random ---------------------------------------------------------------------------------------------------------


@st.composite
def integer_columns(draw: st.DrawFn) -> tuple[pa.DataType, list[int | None]]:
    source = draw(st.sampled_from(list(ARROW_INTEGERS)))
    lowest, highest = ARROW_INTEGERS[source]
    near = st.sampled_from([0, *(sign * 2**n for n in range(64) for sign in (1, -1)), *(10**n for n in range(19))])
    value = st.integers(lowest, highest) | st.builds(
        lambda base, step: min(max(base + step, lowest), highest), near, st.integers(-1, 1)
    )
    return source, draw(st.lists(st.none() | value, max_size=6))


@st.composite
def decimal_types(draw: st.DrawFn) -> str:
    precision = draw(st.integers(1, 38))
    return f"decimal({precision},{draw(st.integers(0, precision))})"


NUMBER_TYPES = st.sampled_from([*INTEGER_RANGES, *MONEY_RANGES]) | decimal_types()


def exact_number(value: Decimal | int | None, sql_type: str) -> Any:
    """What SQL Server holds of a number, by Python's decimals."""
    if value is None:
        return None
    number = Decimal(value)
    if sql_type in INTEGER_RANGES:
        least, most = INTEGER_RANGES[sql_type]
        return number if number == number.to_integral_value() and least <= number <= most else REFUSED
    if sql_type in MONEY_RANGES:
        low, high = MONEY_RANGES[sql_type]
        return number if low <= number <= high and EXACT.multiply(number, Decimal(10000)) % 1 == 0 else REFUSED
    precision, scale = (int(part) for part in sql_type[len("decimal(") : -1].split(","))
    with_digits = EXACT.multiply(number, Decimal(10) ** scale)
    return number if EXACT.remainder(with_digits, Decimal(1)) == 0 and abs(with_digits) < 10**precision else REFUSED


@given(integer_columns(), NUMBER_TYPES)
def test_any_integer_is_stored_exactly_or_refused(drawn: tuple[pa.DataType, list[int | None]], sql_type: str) -> None:
    """Every Arrow integer type into every exact number type."""
    source, values = drawn
    agrees(sql_type, pa.array(values, source), [exact_number(value, sql_type) for value in values])


@st.composite
def decimal_columns(draw: st.DrawFn) -> tuple[pa.DataType, list[Decimal | None]]:
    wide = draw(st.booleans())
    precision = draw(st.integers(1, 76 if wide else 38))
    scale = draw(st.integers(0, precision))
    most = 10**precision - 1
    unscaled = st.integers(-most, most) | st.builds(
        lambda digits, zeros: min(max(digits * 10**zeros, -most), most),
        st.integers(-999, 999),
        st.integers(0, precision),
    )
    values = draw(st.lists(st.none() | unscaled.map(lambda n: EXACT.scaleb(Decimal(n), -scale)), max_size=6))
    return (pa.decimal256 if wide else pa.decimal128)(precision, scale), values


@given(decimal_columns(), NUMBER_TYPES.filter(lambda sql_type: sql_type != "bit"))
def test_any_decimal_is_stored_exactly_or_refused(
    drawn: tuple[pa.DataType, list[Decimal | None]], sql_type: str
) -> None:
    """Decimals of up to 76 digits into every exact number type."""
    source, values = drawn
    agrees(sql_type, pa.array(values, source), [exact_number(value, sql_type) for value in values])


def as_real(value: float) -> float | None:
    """The nearest single; None where it is beyond its range."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return None


@given(st.lists(st.none() | st.floats() | st.floats(width=32), max_size=6), st.sampled_from(["real", "float"]))
def test_any_double_is_stored_exactly_or_refused(values: list[float | None], sql_type: str) -> None:
    """Doubles into float and real: the same value, and a normal one."""

    def expected(value: float | None) -> Any:
        if value is None or value == 0:
            return value
        smallest = 2.0**-126 if sql_type == "real" else 2.0**-1022
        fits = math.isfinite(value) and abs(value) >= smallest and (sql_type == "float" or as_real(value) == value)
        return value if fits else REFUSED

    agrees(sql_type, pa.array(values, pa.float64()), [expected(value) for value in values])


@given(integer_columns(), st.sampled_from(["real", "float"]))
def test_any_integer_goes_into_a_float_exactly_or_not(
    drawn: tuple[pa.DataType, list[int | None]], sql_type: str
) -> None:
    """A number of n significant bits fits where n is no more than 24 or 53."""
    source, values = drawn
    bits = {"real": 24, "float": 53}[sql_type]

    def expected(value: int | None) -> Any:
        if not value:
            return value
        significant = abs(value) >> ((value & -value).bit_length() - 1)
        return value if significant.bit_length() <= bits else REFUSED

    agrees(sql_type, pa.array(values, source), [expected(value) for value in values])
