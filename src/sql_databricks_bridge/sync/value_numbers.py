"""Booleans and numbers on their way into SQL Server: exactly, or refused.

Ranges: Microsoft, "Data types (Transact-SQL)": int and bigint, decimal, money, float and real.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Context, Decimal
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from sql_databricks_bridge.sync.value_checks import (
    Conversion,
    Into,
    Unfit,
    refuse,
    refuse_by,
    require_between,
    unchanged,
)

INTEGERS: Final[Mapping[str, tuple[int, int]]] = {
    "tinyint": (0, 255),
    "smallint": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "bigint": (-(2**63), 2**63 - 1),
}
MONEY: Final[Mapping[str, tuple[Decimal, Decimal]]] = {
    "money": (Decimal("-922337203685477.5808"), Decimal("922337203685477.5807")),
    "smallmoney": (Decimal("-214748.3648"), Decimal("214748.3647")),
}
DECIMALS: Final = frozenset({"decimal", "numeric"})
FLOATS: Final[Mapping[str, tuple[int, float]]] = {
    # bits of the significand, the smallest positive normal number
    "real": (24, 1.1754943508222875e-38),
    "float": (53, 2.2250738585072014e-308),
}
NUMBERS: Final = frozenset({"bit", *INTEGERS, *MONEY, *DECIMALS, *FLOATS})

_WIDE = Context(prec=120)  # room for every digit of a decimal256 beside those of any target


def number_conversion(source: pa.DataType, into: Into) -> Conversion:
    """Convert booleans, integers, decimals or floats into one of `NUMBERS`; `Unfit` for any other source."""
    name = into.type.name
    if pa.types.is_boolean(source) and name == "bit":
        return unchanged
    if pa.types.is_integer(source):
        return _from_integers(source, into)
    if pa.types.is_decimal(source) and name in INTEGERS:
        return _decimals_to_integers(into)
    if pa.types.is_decimal(source) and (name in DECIMALS or name in MONEY):
        return _decimals_to_decimals(into)
    if pa.types.is_floating(source) and name in FLOATS:
        return _floats_to_floats(into)
    raise Unfit(_KINDS_APART.get((_kind(source), _kind(into.staged)), "a value of that kind is not taken for a number"))


_KINDS_APART = {
    ("boolean", "integer"): "true and false are no numbers; say 1 and 0",
    ("decimal", "boolean"): "only 0 and 1 of an integer type are truth values",
    ("decimal", "float"): "most decimal fractions have no exact binary value",
    ("float", "integer"): "a binary fraction is not taken for a whole number",
    ("float", "decimal"): "a binary fraction has no exact decimal digits",
    ("float", "boolean"): "only 0 and 1 of an integer type are truth values",
}


def _kind(arrow: pa.DataType) -> str:
    tests: tuple[tuple[Callable[[pa.DataType], Any], str], ...] = (
        (pa.types.is_boolean, "boolean"),
        (pa.types.is_integer, "integer"),
        (pa.types.is_decimal, "decimal"),
        (pa.types.is_floating, "float"),
    )
    return next((kind for test, kind in tests if test(arrow)), "other")


def _range_of(integer: pa.DataType) -> tuple[int, int]:
    if pa.types.is_unsigned_integer(integer):
        return 0, 2**integer.bit_width - 1
    return -(2 ** (integer.bit_width - 1)), 2 ** (integer.bit_width - 1) - 1


def _from_integers(source: pa.DataType, into: Into) -> Conversion:
    name = into.type.name
    if name == "bit":
        return _within(source, 0, 1, "a bit is 0 or 1", lambda array: array.cast(pa.bool_()))
    if name in INTEGERS:
        return _within(
            source, *INTEGERS[name], _range_text(name, *INTEGERS[name]), lambda array: array.cast(into.staged)
        )
    if name in MONEY:
        least, most = (int(bound) for bound in MONEY[name])  # towards zero: the whole numbers within
        return _within(source, least, most, _range_text(name, *MONEY[name]), _to_decimals(source, into.staged))
    if name in DECIMALS:
        most = 10 ** (into.staged.precision - into.staged.scale) - 1
        return _within(source, -most, most, _digits_text(into), _to_decimals(source, into.staged))
    return _integers_to_floats(source, into)


def _within(source: pa.DataType, least: int, most: int, reason: str, convert: Conversion) -> Conversion:
    """Convert what is between the bounds; unchecked where the source's type can hold nothing else."""
    lowest, highest = _range_of(source)
    if least <= lowest and highest <= most:
        return convert

    def checked(array: pa.Array) -> pa.Array:
        require_between(array, least, most, reason)
        return convert(array)

    return checked


def _range_text(name: str, least: int | Decimal, most: int | Decimal) -> str:
    return f"{name} holds {least} to {most}"


def _digits_text(into: Into) -> str:
    digits = into.staged.precision - into.staged.scale
    return f"{into.column.sql_type} holds {digits} digit{'' if digits == 1 else 's'} before the point"


def _to_decimals(source: pa.DataType, target: pa.DataType) -> Conversion:
    """By way of a decimal in which every integer of the type fits, as Arrow's cast demands."""
    digits = len(str(_range_of(source)[1])) + target.scale
    roomy = pa.decimal128(digits, target.scale) if digits <= 38 else pa.decimal256(digits, target.scale)

    def convert(array: pa.Array) -> pa.Array:
        return array.cast(roomy).cast(target)

    return convert


def _integers_to_floats(source: pa.DataType, into: Into) -> Conversion:
    bits, _ = FLOATS[into.type.name]
    lowest, highest = _range_of(source)
    reason = f"{into.type.name} holds {bits} significant bits, and this number needs more"

    def convert(array: pa.Array) -> pa.Array:
        floats = array.cast(into.staged, safe=False)
        found = pc.min_max(array).as_py()
        if found["min"] is not None and (found["min"] < -(2**bits) or found["max"] > 2**bits):
            inside = pc.less(floats, float(highest))  # the nearest float to 2**63 - 1 is 2**63: it goes nowhere back
            back = pc.if_else(inside, floats, pa.scalar(0.0, into.staged)).cast(source, safe=False)
            refuse(pc.invert(pc.and_(inside, pc.equal(back, array))), reason)
        return floats

    if -(2**bits) <= lowest and highest <= 2**bits:
        return lambda array: array.cast(into.staged)
    return convert


def _decimals_to_integers(into: Into) -> Conversion:
    name = into.type.name
    least, most = INTEGERS[name]

    def convert(array: pa.Array) -> pa.Array:
        try:
            return array.cast(into.staged)
        except pa.ArrowInvalid:
            refuse_by(array, lambda value: value != value.to_integral_value(), f"{name} holds no fraction")
            refuse_by(array, lambda value: not least <= value <= most, _range_text(name, least, most))
            raise

    return convert


def _decimals_to_decimals(into: Into) -> Conversion:
    staged = into.staged
    unit = Decimal(1).scaleb(-staged.scale)
    too_many = f"{into.column.sql_type} holds {staged.scale} digit{'' if staged.scale == 1 else 's'} after the point"
    limit = Decimal(1).scaleb(staged.precision - staged.scale)
    bounds = MONEY.get(into.type.name)

    def convert(array: pa.Array) -> pa.Array:
        try:
            decimals = array if array.type.equals(staged) else array.cast(staged)
        except pa.ArrowInvalid:
            refuse_by(array, lambda value: _WIDE.quantize(value, unit) != value, too_many)
            refuse_by(array, lambda value: abs(value) >= limit, _too_large(into))
            raise
        if bounds is not None:
            require_between(decimals, *bounds, _too_large(into))
        return decimals

    return convert


def _too_large(into: Into) -> str:
    name = into.type.name
    return _range_text(name, *MONEY[name]) if name in MONEY else _digits_text(into)


def _floats_to_floats(into: Into) -> Conversion:
    bits, smallest = FLOATS[into.type.name]

    def convert(array: pa.Array) -> pa.Array:
        refuse(pc.invert(pc.is_finite(array)), "SQL Server has no NaN and no infinity", "Make it NULL in the source.")
        floats = array.cast(into.staged, safe=False)
        if array.type.bit_width > into.staged.bit_width:
            refuse(
                pc.not_equal(floats.cast(array.type), array),
                f"{into.type.name} can't hold it exactly, having {bits} significant bits and ending at 3.4028235E+38",
                "Write CAST(... AS FLOAT) in the source to have it rounded there, or make the target column a float.",
            )
        refuse(
            pc.and_(pc.less(pc.abs(floats), smallest), pc.not_equal(floats, 0.0)),
            f"{into.type.name} begins at {smallest!r} beside 0",
        )
        return floats

    return convert
