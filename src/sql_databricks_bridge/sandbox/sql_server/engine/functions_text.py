"""String functions ("String functions (Transact-SQL)")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..contract import DEFAULT_COLLATION, MAX_LENGTH, SqlType
from . import nodes as n
from .bound import Ex, probe, typed_null, value
from .code_pages import UTF8, counts_bytes, cut, data_length, on_page_of, text_bytes
from .collations import bytes_of_character, counts_characters, key_kind, page
from .convert import convert
from .errors import error, unsupported
from .functions import function
from .like import patindex
from .pg import quote
from .types import (
    BIGINT,
    BINARIES,
    DECIMALS,
    FLOAT,
    INT,
    STRINGS,
    UDTS,
    byte_length,
    is_unicode,
    nvarchar,
    varchar,
)
from .typing_rules import collation_of, told_apart

if TYPE_CHECKING:
    from .expr import ExpressionBinder as B


def _string(b: B, ex: Ex) -> Ex:
    """A string argument; numbers and dates convert, NULL is varchar."""
    if ex.is_null:
        return typed_null(varchar(1))
    return b.text(ex)


def _cuttable(ex: Ex) -> str:
    """Its SQL, refusing characters beyond U+FFFF where positions would count them twice."""
    may_have_them = is_unicode(ex.type) or page(ex.type) == UTF8
    return f"tsql.bmp({ex.sql})" if may_have_them and not counts_characters(ex.type) else ex.sql


def _limited(sql: str, t: SqlType) -> str:
    """Cut to what a type without (max) holds."""
    if t.length == MAX_LENGTH:
        return sql
    return cut(sql, t, t.length) if counts_bytes(t) else f"left({sql}, {t.length})"


def _taken(count: int, t: SqlType) -> int:
    """The length of `count` characters of a text of type `t`."""
    return min(count * bytes_of_character(t), t.length or 1)


def _sized(like: Ex, length: int | None) -> SqlType:
    """varchar or nvarchar of a length, under `like`'s collation."""
    t = like.type
    c = t.collation or DEFAULT_COLLATION
    n_ = MAX_LENGTH if length is None else max(length, 1) if length != MAX_LENGTH else MAX_LENGTH
    return nvarchar(n_, c) if is_unicode(t) else varchar(n_, c)


def _result(sql: str, like: Ex, length: int | None, *args: Ex, nullable: bool | None = None) -> Ex:
    out = value(sql, _sized(like, length), like, *args, nullable=nullable)
    return out.but(explicit_collation=like.explicit_collation)


def _big(b: B, ex: Ex) -> str:
    return b.integer(ex, "bigint").sql


def _constant(b: B, node: n.Func, at: int) -> int | None:
    from .scope import Scope

    return b.constant_int(node.args[at], Scope()) if at < len(node.args) else None


@function("LEN", 1)
def _len(b: B, _node: n.Func, args: list[Ex]) -> Ex:
    if args[0].type.name in BINARIES:
        return value(f"length({args[0].sql})", INT, args[0])
    ex = _string(b, args[0])
    t = BIGINT if ex.type.length == MAX_LENGTH else INT
    if ex.measure is not None:
        return value(f"({ex.measure})::int8" if t is BIGINT else ex.measure, t, ex)
    trimmed = f"rtrim({ex.sql}, ' ')"
    if is_unicode(ex.type):
        measure = f"char_length({trimmed})" if counts_characters(ex.type) else f"tsql.units({trimmed})"
    else:
        measure = f"char_length({_cuttable(ex.but(sql=trimmed))})"
    return value(f"{measure}::int8" if t is BIGINT else measure, t, ex)


@function("DATALENGTH", 1)
def _datalength(_b: B, _node: n.Func, args: list[Ex]) -> Ex:
    ex = args[0]
    t = ex.base or ex.type
    big = t.length == MAX_LENGTH and t.name != "hierarchyid"
    if ex.is_null:
        return typed_null(INT)
    if t.name in STRINGS:
        size = data_length(ex.sql, t)
    elif t.name in BINARIES:
        size = f"length({ex.sql})"
    elif t.name in DECIMALS and (t.precision or 18) > 9:
        raise unsupported("DATALENGTH of a decimal of more than 9 digits")
    elif t.name == "sql_variant":
        size = f"tsql.variant_bytes({ex.sql})"
    elif t.name in UDTS:
        size = f"length({ex.sql})"
    elif t.name in ("xml", "json"):
        raise unsupported(f"DATALENGTH of {t.name}")
    else:
        size = f"(CASE WHEN {probe(ex)} IS NOT NULL THEN {byte_length(t)} END)"
    return value(f"{size}::int8" if big else size, BIGINT if big else INT, ex)


@function("LEFT RIGHT", 2)
def _left(b: B, node: n.Func, args: list[Ex]) -> Ex:
    ex = _string(b, args[0])
    count = _constant(b, node, 1)
    length = ex.type.length
    if count is not None and count >= 0 and length != MAX_LENGTH:
        length = _taken(count, ex.type)
    name = "lefts" if node.name == "LEFT" else "rights"
    return _result(f"tsql.{name}({_cuttable(ex)}, {_big(b, args[1])})", ex, length, args[1])


@function("SUBSTRING", 3)
def _substring(b: B, node: n.Func, args: list[Ex]) -> Ex:
    count = _constant(b, node, 2)
    start, size = _big(b, args[1]), _big(b, args[2])
    if args[0].type.name in BINARIES:
        length = args[0].type.length
        if count is not None and length not in (None, MAX_LENGTH):
            length = min(max(count, 1), length or 1)
        first = _constant(b, node, 1)
        if first is not None and count is not None and first > 0 and count >= 0:
            return value(f"substr({args[0].sql}, {first}, {count})", SqlType("varbinary", length), args[0])
        return value(f"tsql.substr({args[0].sql}, {start}, {size})", SqlType("varbinary", length), *args)
    if args[0].is_null or args[0].type.name not in STRINGS:
        name = "NULL" if args[0].is_null else args[0].type.name
        raise error(8116, f"Argument data type {name} is invalid for argument 1 of substring function.")
    ex = _string(b, args[0])
    length = ex.type.length
    if count is not None and count >= 0 and length != MAX_LENGTH:
        length = _taken(count, ex.type)
    return _result(f"tsql.substr({_cuttable(ex)}, {start}, {size})", ex, length, args[1], args[2])


@function("CHARINDEX", 2, 3)
def _charindex(b: B, _node: n.Func, args: list[Ex]) -> Ex:
    needle, hay = _string(b, args[0]), _string(b, args[1])
    kind = key_kind(collation_of([needle, hay]))
    if kind.endswith("ai"):
        raise unsupported("CHARINDEX under an accent-insensitive collation")
    c = collation_of([needle, hay])
    x, y = told_apart(needle.sql, c), told_apart(_cuttable(hay), c)
    if kind == "ci":
        x, y = f"lower({x})", f"lower({y})"
    start = _big(b, args[2]) if len(args) > 2 else "1::int8"
    big = hay.type.length == MAX_LENGTH
    sql = f"tsql.charindex({x}, {y}, {start})"
    return value(f"{sql}::int8" if big else sql, BIGINT if big else INT, *args)


@function("PATINDEX", 2)
def _patindex(b: B, _node: n.Func, args: list[Ex]) -> Ex:
    ex = _string(b, args[1])
    big = ex.type.length == MAX_LENGTH
    sql = f"(CASE WHEN {ex.sql} IS NOT NULL THEN {patindex(args[0], ex.but(sql=_cuttable(ex)))} END)"
    return value(f"{sql}::int8" if big else sql, BIGINT if big else INT, *args)


@function("REPLACE", 3)
def _replace(b: B, _node: n.Func, args: list[Ex]) -> Ex:
    x, y, z = _on_one_page([_string(b, a) for a in args])
    unicode = any(is_unicode(e.type) for e in (x, y, z))
    kind = key_kind(collation_of([x, y, z]))
    if kind.endswith("ai"):
        raise unsupported("REPLACE under an accent-insensitive collation")
    c = x.type.collation or DEFAULT_COLLATION
    searched = told_apart(x.sql, c)
    sql = f"tsql.replace_ci({searched}, {y.sql}, {z.sql})" if kind == "ci" else f"replace({searched}, {y.sql}, {z.sql})"
    limit = MAX_LENGTH if x.type.length == MAX_LENGTH else 4000 if unicode else 8000
    t = nvarchar(limit, c) if unicode else varchar(limit, c)
    return value(_limited(sql, t), t, x, y, z)


@function("STUFF", 4)
def _stuff(b: B, _node: n.Func, args: list[Ex]) -> Ex:
    ex, other = _on_one_page([_string(b, args[0]), _string(b, args[3])])
    sql = f"tsql.stuff({_cuttable(ex)}, {_big(b, args[1])}, {_big(b, args[2])}, {other.sql})"
    lengths = (ex.type.length or 1, other.type.length or 1)
    wide = ex if is_unicode(ex.type) or not is_unicode(other.type) else other
    length = MAX_LENGTH if MAX_LENGTH in lengths else min(sum(lengths), 4000 if is_unicode(wide.type) else 8000)
    return _result(sql, wide, length, *args, nullable=True)


@function("UPPER LOWER", 1)
def _case(b: B, node: n.Func, args: list[Ex]) -> Ex:
    ex = _string(b, args[0])
    return _result(f"{node.name.lower()}({ex.sql})", ex, ex.type.length)


@function("LTRIM RTRIM", 1, 2)
def _trim_side(b: B, node: n.Func, args: list[Ex]) -> Ex:
    ex = _string(b, args[0])
    if len(args) > 1:
        raise unsupported(f"{node.name} with a set of characters")
    return _result(f"{node.name.lower()}({ex.sql}, ' ')", ex, ex.type.length)


@function("TRIM", 1, 2)
def _trim(b: B, _node: n.Func, args: list[Ex]) -> Ex:
    if len(args) == 2:  # TRIM(chars FROM x)
        ex, chars = _string(b, args[1]), _string(b, args[0])
        if key_kind(collation_of([ex])) != "bin" and (
            chars.constant is None or chars.constant.lower() != chars.constant.upper()
        ):
            raise unsupported("TRIM of letters (they match without case)")
        return _result(f"btrim({ex.sql}, {chars.sql})", ex, ex.type.length, chars)
    ex = _string(b, args[0])
    return _result(f"btrim({ex.sql}, ' ')", ex, ex.type.length)


@function("CONCAT", 2, 254)
def _concat(b: B, _node: n.Func, args: list[Ex]) -> Ex:
    parts = _on_one_page([_string(b, a) for a in args])
    t = _joined(parts)
    body = " || ".join(f"coalesce({p.sql}, '')" if p.nullable and p.constant is None else p.sql for p in parts)
    return value(f"({body})", t, *parts, nullable=False)


def _on_one_page(parts: list[Ex]) -> list[Ex]:
    """Strings under their common collation, as one that is made of them holds them."""
    if any(is_unicode(p.type) for p in parts):
        return parts
    return [on_page_of(p, varchar(1, collation_of(parts))) for p in parts]


def _joined(parts: list[Ex], gap: int = 0) -> SqlType:
    """The type of a concatenation of strings (sizes of converted numbers are their display sizes)."""
    unicode = any(is_unicode(p.type) for p in parts)
    limit = 4000 if unicode else 8000
    lengths = [p.type.length or 1 for p in parts]
    total = MAX_LENGTH if MAX_LENGTH in lengths else min(sum(lengths) + gap, limit)
    c = collation_of(parts)
    return nvarchar(total, c) if unicode else varchar(total, c)


@function("CONCAT_WS", 3, 254)
def _concat_ws(b: B, _node: n.Func, args: list[Ex]) -> Ex:
    gap, *parts = _on_one_page([_string(b, a) for a in args])
    t = _joined([gap, *parts], (gap.type.length or 1) * max(0, len(parts) - 2))
    return value(f"concat_ws(coalesce({gap.sql}, ''), {', '.join(p.sql for p in parts)})", t, *parts, nullable=False)


@function("REPLICATE", 2)
def _replicate(b: B, node: n.Func, args: list[Ex]) -> Ex:
    ex = _string(b, args[0])
    limit = MAX_LENGTH if ex.type.length == MAX_LENGTH else 4000 if is_unicode(ex.type) else 8000
    count = b.integer(args[1]).sql
    sql = f"(CASE WHEN {count} >= 0 THEN repeat({ex.sql}, {count}) END)"
    constant = _constant(b, node, 1)
    length = limit
    if constant is not None and limit != MAX_LENGTH:
        length = max(1, min(limit, constant * (ex.type.length or 1)))
    return _result(_limited(sql, _sized(ex, limit)), ex, length, args[1], nullable=True)


@function("SPACE", 1)
def _space(b: B, node: n.Func, args: list[Ex]) -> Ex:
    count = b.integer(args[0]).sql
    constant = _constant(b, node, 0)
    length = 8000 if constant is None else max(1, min(8000, constant))
    return value(f"(CASE WHEN {count} >= 0 THEN repeat(' ', least({count}, 8000)) END)", varchar(length), nullable=True)


@function("REVERSE", 1)
def _reverse(b: B, _node: n.Func, args: list[Ex]) -> Ex:
    ex = _string(b, args[0])
    return _result(f"reverse({_cuttable(ex)})", ex, ex.type.length)


@function("ASCII", 1)
def _ascii(b: B, _node: n.Func, args: list[Ex]) -> Ex:
    ex = _string(b, args[0])
    if is_unicode(ex.type):
        ex = convert(ex, varchar(MAX_LENGTH, ex.type.collation or DEFAULT_COLLATION))
    first = text_bytes(f"nullif(left({ex.sql}, 1), '')", ex.type)
    return value(f"get_byte({first}, 0)", INT, ex, nullable=True)


@function("UNICODE", 1)
def _unicode(b: B, _node: n.Func, args: list[Ex]) -> Ex:
    ex = _string(b, args[0])
    return value(f"tsql.unicode_of({ex.sql})", INT, ex, nullable=True)


@function("CHAR", 1)
def _char(b: B, node: n.Func, args: list[Ex]) -> Ex:
    t = SqlType("char", 1, collation=DEFAULT_COLLATION)
    return _code(b, args[0], "char_of", t, _constant(b, node, 0))


@function("NCHAR", 1)
def _nchar(b: B, node: n.Func, args: list[Ex]) -> Ex:
    t = SqlType("nchar", 1, collation=DEFAULT_COLLATION)
    return _code(b, args[0], "nchar_of", t, _constant(b, node, 0))


def _code(b: B, ex: Ex, name: str, t: SqlType, known: int | None) -> Ex:
    out = value(f"tsql.{name}({_big(b, ex)})", t, ex, nullable=True)
    if known is not None and 1 <= known < 128:
        return out.but(constant=chr(known), sql=f"{quote(chr(known))}::text")
    return out


@function("QUOTENAME", 1, 2)
def _quotename(b: B, _node: n.Func, args: list[Ex]) -> Ex:
    ex = _string(b, args[0])
    mark = _string(b, args[1]).sql if len(args) > 1 else "'['"
    return value(f"tsql.quotename({ex.sql}, {mark})", nvarchar(258), ex, nullable=True)


@function("STR", 1, 3)
def _str(b: B, node: n.Func, args: list[Ex]) -> Ex:
    number = convert(args[0], FLOAT, b.env.dateformat).sql
    size = b.integer(args[1]).sql if len(args) > 1 else "10"
    digits = b.integer(args[2]).sql if len(args) > 2 else "0"
    constant = _constant(b, node, 1) if len(args) > 1 else 10
    return value(f"tsql.str_of({number}, {size}, {digits})", varchar(constant or 8000), *args, nullable=True)


_HASHES = {"MD5": "decode(md5({}), 'hex')", "SHA2_256": "sha256({})", "SHA2_512": "sha512({})"}


@function("HASHBYTES", 2)
def _hashbytes(b: B, _node: n.Func, args: list[Ex]) -> Ex:
    algorithm = args[0].constant
    if algorithm is None:
        raise unsupported("HASHBYTES with an algorithm that is no constant")
    name = algorithm.upper()
    if name not in _HASHES:
        raise unsupported(f"HASHBYTES with {algorithm}")
    ex = args[1]
    if ex.type.name not in STRINGS and ex.type.name not in BINARIES:
        raise error(8116, f"Argument data type {ex.type.name} is invalid for argument 2 of hashbytes function.")
    raw = convert(ex, SqlType("varbinary", MAX_LENGTH)).sql if ex.type.name in BINARIES else text_bytes(ex.sql, ex.type)
    b.env.parallel = True
    return value(_HASHES[name].format(raw), SqlType("varbinary", 8000), ex, nullable=True)


@function("TRANSLATE", 3)
def _translate(b: B, _node: n.Func, args: list[Ex]) -> Ex:
    ex, chars, others = (_string(b, a) for a in args)
    if chars.constant is None or others.constant is None:
        raise unsupported("TRANSLATE with characters that are no constants")
    if len(chars.constant) != len(others.constant):
        raise error(
            9828,
            "The second and third arguments of the TRANSLATE built-in function must contain an "
            "equal number "
            "of characters.",
        )
    if chars.constant.lower() != chars.constant.upper() and key_kind(collation_of([ex])) != "bin":
        raise unsupported("TRANSLATE of letters (they match without case)")
    return _result(f"translate({ex.sql}, {chars.sql}, {others.sql})", ex, ex.type.length)
