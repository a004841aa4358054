"""+ - * / % & | ^ ~ with SQL Server's result types ("Arithmetic operators", "Precision, scale, and length")."""

from __future__ import annotations

from ..contract import DEFAULT_COLLATION, MAX_LENGTH, SqlType
from .bound import Ex, typed_null, value
from .code_pages import cut, on_page_of
from .convert import convert
from .errors import error, unsupported
from .types import (
    BINARIES,
    DATETIMES,
    DECIMALS,
    FLOATS,
    INT,
    INTEGERS,
    MONEYS,
    NUMBERS,
    RANK,
    STRINGS,
    arithmetic,
    as_decimal,
    decimal,
    is_unicode,
    pg_type,
    varchar,
)
from .typing_rules import collation_of

_NAMES = {
    "+": "add",
    "-": "subtract",
    "*": "multiply",
    "/": "divide",
    "%": "modulo",
    "&": "'&'",
    "|": "'|'",
    "^": "'^'",
}


def _incompatible(op: str, a: Ex, b: Ex) -> Exception:
    return error(402, f"The data types {a.type.name} and {b.type.name} are incompatible in the {_NAMES[op]} operator.")


def _invalid(op: str, a: Ex) -> Exception:
    return error(8117, f"Operand data type {a.type.name} is invalid for {_NAMES[op]} operator.")


def bind_unary(op: str, ex: Ex) -> Ex:
    """-x, +x, ~x."""
    t = ex.type
    if op == "~":
        if t.name == "bit":
            return value(f"(NOT {ex.sql})", t, ex)
        if t.name not in INTEGERS:
            raise error(8117, f"Operand data type {t.name} is invalid for '~' operator.")
        return value(f"(255 - {ex.sql})::int2" if t.name == "tinyint" else f"(~ {ex.sql})", t, ex)
    if op == "+":
        return ex
    if t.name == "tinyint":
        return value(f"(- {ex.sql})::int2", SqlType("smallint"), ex)
    if t.name not in NUMBERS or t.name == "bit":
        raise error(8117, f"Operand data type {t.name} is invalid for minus operator.")
    return value(f"(- {ex.sql})", t, ex).but(digits=ex.digits)


def bind_binary(op: str, a: Ex, b: Ex, dateformat: str = "mdy") -> Ex:
    """a op b."""
    if "sql_variant" in (a.type.name, b.type.name):
        raise error(
            402, f"The data types {a.type.name} and {b.type.name} are incompatible in the {_NAMES[op]} operator."
        )
    if a.is_null and b.is_null:
        return typed_null(INT)
    if a.is_null or b.is_null:
        other = b if a.is_null else a
        if other.type.name in STRINGS and op == "+":
            filler = typed_null(SqlType("varchar", 1, collation=DEFAULT_COLLATION))
        elif other.type.name in DATETIMES:
            filler = typed_null(INT)
        else:
            filler = typed_null(other.type)
        a, b = (filler, b) if a.is_null else (a, filler)
    if op == "+" and a.type.name in STRINGS and b.type.name in STRINGS:
        return _concat(a, b)
    if op == "+" and a.type.name in BINARIES and b.type.name in BINARIES:
        return _concat_bytes(a, b)
    if a.type.name in DATETIMES or b.type.name in DATETIMES:
        return _dates(op, a, b, dateformat)
    t = a.type if RANK[a.type.name] >= RANK[b.type.name] else b.type
    if t.name not in NUMBERS:
        if t.name in BINARIES and op in "&|^":
            raise unsupported("bitwise operators on binary values")
        raise _invalid(op, a if a.type.name == t.name else b) if t.name in STRINGS else _incompatible(op, a, b)
    if op in "&|^":
        return _bitwise(op, a, b, t, dateformat)
    if t.name == "bit":
        raise _incompatible(op, a, b)
    if t.name in FLOATS:
        return _floats(op, a, b, t, dateformat)
    if t.name in DECIMALS:
        return _decimals(op, a, b, dateformat)
    x, y = convert(a, t, dateformat), convert(b, t, dateformat)
    if t.name in MONEYS:
        return _moneys(op, x, y, t)
    sql = f"({x.sql} {op} {y.sql})"
    if t.name == "tinyint":
        sql = f"tsql.tiny_result({x.sql}::int4 {op} {y.sql}::int4)"
    elif t.name == "smallint":
        sql = f"({x.sql} {op} {y.sql})"
    return value(sql, t, x, y, nullable=True)


def _floats(op: str, a: Ex, b: Ex, t: SqlType, dateformat: str) -> Ex:
    if op == "%":
        raise _incompatible(op, a, b)
    x, y = convert(a, t, dateformat), convert(b, t, dateformat)
    return value(f"({x.sql} {op} {y.sql})", t, x, y, nullable=True)


def _decimals(op: str, a: Ex, b: Ex, dateformat: str) -> Ex:
    sides: list[Ex] = []
    pairs: list[tuple[int, int]] = []
    for e, other in ((a, b), (b, a)):
        if e.type.name in STRINGS:  # takes the other's type
            e = convert(e, other.type, dateformat)
        pair = as_decimal(e.type, e.digits)
        if e.type.name not in DECIMALS:
            e = Ex(f"({e.sql})::int4::numeric" if e.type.name == "bit" else f"({e.sql})::numeric", e.type, e.nullable,
                   aggregate=e.aggregate)  # fmt: skip
        sides.append(e)
        pairs.append(pair)
    x, y = sides
    p, s = arithmetic(op, pairs[0], pairs[1])
    name = "decimal" if "decimal" in (a.type.name, b.type.name) else "numeric"
    t = decimal(p, s, name)
    nullable = True  # overflow, says "CREATE TABLE", may make any arithmetic NULL
    if op == "/":
        return value(f"tsql.dec_div({x.sql}, {y.sql}, {p}, {s})", t, x, y, nullable=nullable)
    raw = f"({x.sql} {op} {y.sql})"
    exact = {"+": max(pairs[0][1], pairs[1][1]), "-": max(pairs[0][1], pairs[1][1]), "*": pairs[0][1] + pairs[1][1]}
    if p == 38 or exact.get(op, s) != s:
        raw = f"{raw}::numeric({p},{s})"
    return value(raw, t, x, y, nullable=nullable)


def _moneys(op: str, x: Ex, y: Ex, t: SqlType) -> Ex:
    if op == "%":
        return value(f"({x.sql} % {y.sql})", t, x, y, nullable=True)
    if op == "/":
        return value(
            f"tsql.num_money(trunc(div({x.sql} * 10000, {y.sql}) / 10000::numeric, 4), '{t.name}')",
            t,
            x,
            y,
            nullable=True,
        )
    return value(f"tsql.num_money({x.sql} {op} {y.sql}, '{t.name}')", t, x, y)


def _bitwise(op: str, a: Ex, b: Ex, t: SqlType, dateformat: str) -> Ex:
    if t.name not in INTEGERS and t.name != "bit":
        raise _incompatible(op, a, b)
    x, y = convert(a, t, dateformat), convert(b, t, dateformat)
    pg_op = "#" if op == "^" else op
    if t.name == "bit":
        sql = {"&": f"({x.sql} AND {y.sql})", "|": f"({x.sql} OR {y.sql})", "^": f"({x.sql} <> {y.sql})"}[op]
        return value(sql, t, x, y)
    return value(f"({x.sql} {pg_op} {y.sql})", t, x, y)


def _concat(a: Ex, b: Ex) -> Ex:
    for e in (a, b):
        if e.type.name in ("text", "ntext"):
            raise _invalid("+", e)
    unicode = is_unicode(a.type) or is_unicode(b.type)
    c, limit = collation_of([a, b]), 4000 if unicode else 8000
    if not unicode:
        a, b = on_page_of(a, varchar(1, c)), on_page_of(b, varchar(1, c))
    lengths = [e.type.length if e.type.length is not None else MAX_LENGTH for e in (a, b)]
    variable = any(e.type.name in ("varchar", "nvarchar") for e in (a, b))
    name = ("n" if unicode else "") + ("varchar" if variable else "char")
    sql = f"({a.sql} || {b.sql})"
    if MAX_LENGTH in lengths:
        length = MAX_LENGTH
    else:
        length = sum(lengths)
        if length > limit:
            sql, length = cut(sql, SqlType(name, limit, collation=c), limit, ascii_only=unicode), limit
    t = SqlType(name, length, collation=c)
    constant = a.constant + b.constant if a.constant is not None and b.constant is not None else None
    return value(sql, t, a, b).but(constant=constant, explicit_collation=a.explicit_collation or b.explicit_collation)


def _concat_bytes(a: Ex, b: Ex) -> Ex:
    lengths = [e.type.length if e.type.length is not None else MAX_LENGTH for e in (a, b)]
    length = MAX_LENGTH if MAX_LENGTH in lengths else min(sum(lengths), 8000)
    name = "binary" if a.type.name == b.type.name == "binary" else "varbinary"
    sql = f"({a.sql} || {b.sql})"
    return value(sql if length == MAX_LENGTH else f"substr({sql}, 1, {length})", SqlType(name, length), a, b)


def _dates(op: str, a: Ex, b: Ex, dateformat: str) -> Ex:
    """datetime + 1 is a day later; only datetime and smalldatetime do arithmetic."""
    t = a.type if RANK[a.type.name] >= RANK[b.type.name] else b.type
    for e, other in ((a, b), (b, a)):
        if e.type.name in DATETIMES and e.type.name not in ("datetime", "smalldatetime"):
            if other.type.name in NUMBERS:
                raise error(206, f"Operand type clash: {e.type.name} is incompatible with {other.type.name}", state=2)
            if other.type.name in STRINGS:
                raise _incompatible(op, a, b)
            if e.type.name != other.type.name:
                raise _incompatible(op, a, b)
            raise error(8117, f"Operand data type {e.type.name} is invalid for {_NAMES[op]} operator.")
    if op not in "+-":
        raise _incompatible(op, a, b)
    unit = 25_920_000 if t.name == "datetime" else 1440
    numbers = []
    for e in (a, b):
        if e.type.name in NUMBERS:
            if e.type.name in INTEGERS or e.type.name == "bit":
                whole = f"({e.sql})::int4" if e.type.name == "bit" else f"({e.sql})"
                numbers.append(f"({whole}::int8 * {unit})")
            else:
                numbers.append(f"round(({e.sql})::text::numeric * {unit}, 0)::int8")
        else:
            numbers.append(convert(e, t, dateformat).sql)
    sql = f"({numbers[0]} {op} {numbers[1]})"
    ticks = f"tsql.datetime_ticks{sql}" if t.name == "datetime" else f"tsql.small_ticks{sql}"
    check = "ticks_datetime" if t.name == "datetime" else "ticks_small"
    return value(
        f"tsql.{check}({ticks}, '{pg_type(t)}')" if t.name == "smalldatetime" else f"tsql.check_datetime{sql}", t, a, b
    )
