"""Mathematical and logical functions, NULL handling, NEWID."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import nodes as n
from .bound import NULL, Ex, probe, typed_null, value
from .convert import convert
from .errors import error, unsupported
from .functions import function, raw
from .scope import Scope
from .types import DECIMALS, FLOAT, FLOATS, GUID, INT, INTEGERS, MONEY, MONEYS, NUMBERS, STRINGS, decimal, is_string
from .typing_rules import compare, unify
from .variant_store import stored

if TYPE_CHECKING:
    from .expr import ExpressionBinder as B


def _number(_b: B, ex: Ex, name: str) -> Ex:
    """A numeric argument; strings become float, as the conversions of these functions do."""
    if ex.is_null:
        return typed_null(INT)
    if is_string(ex.type):
        return convert(ex, FLOAT)
    if ex.type.name not in NUMBERS:
        raise error(8116, f"Argument data type {ex.type.name} is invalid for argument 1 of {name.lower()} function.")
    return ex


def _widened(ex: Ex) -> Ex:
    """The argument in the type these functions return: int and smaller as int, smallmoney as money, real as float."""
    t = ex.type.name
    if t in ("bit",):
        return convert(ex, FLOAT)
    if t in ("tinyint", "smallint"):
        return convert(ex, INT)
    if t == "smallmoney":
        return convert(ex, MONEY)
    if t == "real":
        return convert(ex, FLOAT)
    return ex


@function("ABS", 1)
def _abs(b: B, node: n.Func, args: list[Ex]) -> Ex:
    ex = _widened(_number(b, args[0], node.name))
    if ex.type.name in INTEGERS:
        return value(f"(CASE WHEN {ex.sql} < 0 THEN - ({ex.sql}) ELSE {ex.sql} END)", ex.type, ex)
    return value(f"abs({ex.sql})", ex.type, ex)


@function("CEILING FLOOR", 1)
def _ceiling(b: B, node: n.Func, args: list[Ex]) -> Ex:
    ex = _widened(_number(b, args[0], node.name))
    if ex.type.name in INTEGERS:
        return ex
    pg = "ceil" if node.name == "CEILING" else "floor"
    t = decimal(ex.type.precision or 18, 0, ex.type.name) if ex.type.name in DECIMALS else ex.type
    return value(f"{pg}({ex.sql})", t, ex)


@function("ROUND", 2, 3)
def _round(b: B, node: n.Func, args: list[Ex]) -> Ex:
    ex = _widened(_number(b, args[0], node.name))
    digits = b.integer(args[1]).sql
    cut = "false" if len(args) < 3 else f"({b.integer(args[2]).sql} <> 0)"
    t = ex.type
    if t.name in FLOATS:
        return value(f"tsql.round_float({ex.sql}, {digits}, {cut})", t, ex, args[1])
    pick = f"(CASE WHEN {cut} THEN trunc(({ex.sql})::numeric, {digits}) ELSE round(({ex.sql})::numeric, {digits}) END)"
    if cut == "false":
        pick = f"round(({ex.sql})::numeric, {digits})"
    if t.name in INTEGERS:
        sql = f"{pick}::{'int8' if t.name == 'bigint' else 'int4'}"
    elif t.name in DECIMALS:
        sql = f"tsql.num_dec({pick}, {t.precision}, {t.scale}, 'expression')"
    else:
        sql = f"tsql.num_money({pick}, '{t.name}')"
    return value(sql, t, ex, args[1])


@function("SIGN", 1)
def _sign(b: B, node: n.Func, args: list[Ex]) -> Ex:
    ex = _widened(_number(b, args[0], node.name))
    pg = {"int": "int4", "bigint": "int8"}.get(ex.type.name)
    sql = f"sign({ex.sql})"
    if ex.type.name in DECIMALS:
        sql = f"({sql})::numeric({ex.type.precision},{ex.type.scale})"
    return value(f"{sql}::{pg}" if pg else sql, ex.type, ex)


@function("POWER", 2)
def _power(b: B, node: n.Func, args: list[Ex]) -> Ex:
    ex, exponent = _widened(_number(b, args[0], node.name)), convert(_number(b, args[1], node.name), FLOAT)
    t = ex.type
    if t.name in DECIMALS:
        t = decimal(38, t.scale or 0, t.name)
    sql = f"tsql.power_num({convert(ex, FLOAT).sql}, {exponent.sql})"
    if t.name in INTEGERS:
        return value(f"tsql.float_int({sql}, '{t.name}')::{'int8' if t.name == 'bigint' else 'int4'}", t, ex, exponent)
    if t.name in DECIMALS:
        return value(f"tsql.num_dec(tsql.exact({sql}), 38, {t.scale}, 'float')", t, ex, exponent)
    if t.name in MONEYS:
        raise unsupported("POWER of money")
    return value(sql, FLOAT, ex, exponent)


_FLOAT_FUNCTIONS = {
    "SQRT": "sqrt", "EXP": "exp", "SIN": "sin", "COS": "cos", "TAN": "tan", "ASIN": "asin", "ACOS": "acos",
    "ATAN": "atan", "LOG10": "log", "COT": "cot",
}  # fmt: skip


@function(" ".join(_FLOAT_FUNCTIONS), 1)
def _float_function(b: B, node: n.Func, args: list[Ex]) -> Ex:
    ex = convert(_number(b, args[0], node.name), FLOAT)
    return value(f"{_FLOAT_FUNCTIONS[node.name]}({ex.sql})", FLOAT, ex)


@function("LOG", 1, 2)
def _log(b: B, node: n.Func, args: list[Ex]) -> Ex:
    ex = convert(_number(b, args[0], node.name), FLOAT)
    if len(args) == 1:
        return value(f"ln({ex.sql})", FLOAT, ex)
    base = convert(_number(b, args[1], node.name), FLOAT)
    return value(f"(ln({ex.sql}) / ln({base.sql}))", FLOAT, ex, base)


@function("ATN2", 2)
def _atn2(b: B, node: n.Func, args: list[Ex]) -> Ex:
    x, y = (convert(_number(b, a, node.name), FLOAT) for a in args)
    return value(f"atan2({x.sql}, {y.sql})", FLOAT, x, y)


@function("SQUARE", 1)
def _square(b: B, node: n.Func, args: list[Ex]) -> Ex:
    ex = convert(_number(b, args[0], node.name), FLOAT)
    return value(f"({ex.sql} * {ex.sql})", FLOAT, ex)


@function("PI", 0)
def _pi(_b: B, _node: n.Func, _args: list[Ex]) -> Ex:
    return value("pi()", FLOAT, nullable=False)


@function("DEGREES RADIANS", 1)
def _degrees(b: B, node: n.Func, args: list[Ex]) -> Ex:
    ex = _number(b, args[0], node.name)
    if ex.type.name not in FLOATS:
        raise unsupported(f"{node.name} of {ex.type.name} (CAST to float)")
    ex = convert(ex, FLOAT)
    return value(f"{node.name.lower()}({ex.sql})", FLOAT, ex)


@function("ISNULL", 2)
def _isnull(b: B, _node: n.Func, args: list[Ex]) -> Ex:
    a, other = args
    if a.is_null:
        return other.but(digits=None)
    filler = convert(other, a.type, b.env.dateformat)
    if a.type.name == "sql_variant":
        a, filler = stored(a), typed_null(a.type) if other.is_null else stored(filler)
    test = f"coalesce({a.sql}, {filler.sql})"
    if probe(a) != a.sql:
        test = f"(CASE WHEN {probe(a)} IS NULL THEN {filler.sql} ELSE {a.sql} END)"
    return value(test, a.type, a, filler, nullable=a.nullable and other.nullable)


@function("COALESCE", 1, 250)
def _coalesce(b: B, node: n.Func, args: list[Ex]) -> Ex:
    if all(a.is_null for a in args):
        raise error(
            4127, "At least one of the arguments to COALESCE must be an expression that is not the NULL constant."
        )
    t, converted = unify(args, node.line, b.env.dateformat)
    nullable = all(a.nullable for a in args)
    if any(probe(c) != c.sql for c in converted):
        arms = "".join(f" WHEN {probe(c)} IS NOT NULL THEN {c.sql}" for c in converted)
        return value(f"(CASE{arms} END)", t, *converted, nullable=nullable).but(base=converted[0].base)
    out = value(f"coalesce({', '.join(c.sql for c in converted)})", t, *converted, nullable=nullable)
    return out.but(base=converted[0].base)


@function("NULLIF", 2)
def _nullif(b: B, node: n.Func, args: list[Ex]) -> Ex:
    a, other = args
    if a.is_null:
        raise error(
            4151,
            "The type of the first argument to NULLIF cannot be the NULL constant because the "
            "type of the "
            "first argument has to be known.",
        )
    test = compare("=", a, other, node.line, b.env.dateformat)
    return value(f"(CASE WHEN {test} THEN NULL ELSE {a.sql} END)", a.type, a, nullable=True)


@raw("IIF")
def _iif(b: B, node: n.Func, scope: Scope) -> Ex:
    if len(node.args) != 3:
        raise error(174, "The iif function requires 3 argument(s).", severity=15, line=node.line)
    test = b.condition(node.args[0], scope)
    return b.choose([test], [b.value(node.args[1], scope), b.value(node.args[2], scope)], node.line)


@function("CHOOSE", 2, 254)
def _choose(b: B, node: n.Func, args: list[Ex]) -> Ex:
    index = b.integer(args[0]).sql
    tests = [f"({index} = {i})" for i in range(1, len(args))]
    return b.choose(tests, [*args[1:], NULL], node.line)


@function("NEWID", 0)
def _newid(_b: B, _node: n.Func, _args: list[Ex]) -> Ex:
    return value("gen_random_uuid()", GUID, nullable=False)


@function("GREATEST LEAST", 1, 254)
def _greatest(b: B, node: n.Func, args: list[Ex]) -> Ex:
    t, converted = unify(args, node.line, b.env.dateformat)
    if t.name in STRINGS or t.name in ("datetimeoffset", "uniqueidentifier", "bit"):
        raise unsupported(f"{node.name} of {t.name}")
    return value(f"{node.name.lower()}({', '.join(c.sql for c in converted)})", t, *converted,
                 nullable=all(c.nullable for c in converted))  # fmt: skip


@function("ISNUMERIC", 1)
def _isnumeric(_b: B, _node: n.Func, args: list[Ex]) -> Ex:
    ex = args[0]
    if ex.type.name in NUMBERS and ex.type.name != "bit":
        return value(f"(CASE WHEN {ex.sql} IS NULL THEN 0 ELSE 1 END)", INT, nullable=False)
    if not is_string(ex.type):
        return value("0", INT, nullable=False)
    pattern = r"^ *[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})? *$"
    plain = f"({ex.sql} ~ '{pattern}')"
    # currency signs, thousands marks, tabs, exponents written with d, lone signs: which of them count is not documented
    odd = f"(NOT {plain} AND {ex.sql} ~ '[^[:alpha:] ]' AND {ex.sql} !~ '[A-CF-Za-cf-z:/_#%&*=?@!]|[0-9]-[0-9]')"
    refused = "tsql.refuse('ISNUMERIC of text that is no plain number')::int4"
    sql = f"(CASE WHEN {ex.sql} IS NULL THEN 0 WHEN {odd} THEN {refused} WHEN {plain} THEN 1 ELSE 0 END)"
    return value(sql, INT, nullable=False)
