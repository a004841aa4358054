"""The common type of several values, and how values compare and sort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..contract import DEFAULT_COLLATION, MAX_LENGTH, Collation, SqlType
from .bound import Ex, typed_null
from .code_pages import on_page_of, text_bytes, widened
from .collations import alphabet, blurs_forms, key_kind
from .convert import convert, display_size
from .errors import error, unsupported
from .types import (
    BINARIES,
    DECIMALS,
    INT,
    INTEGERS,
    MONEYS,
    NUMBERS,
    RANK,
    STRINGS,
    as_decimal,
    common_decimal,
    decimal,
    is_unicode,
    with_collation,
)
from .variant_compare import held, of_two_families
from .variant_store import VARIANT, common_base, is_stored, stored


def collation_of(exs: Sequence[Ex], line: int = 0, operation: str = "equal to") -> Collation:
    """ "Collation precedence": an explicit COLLATE wins, then what came of columns; two different ones are Msg 468.

    Literals and variables have the database's collation and give way ("coercible-default").
    """
    texts = [e for e in exs if e.type.name in STRINGS]
    pick = [e for e in texts if e.explicit_collation]
    pick = pick or [e for e in texts if e.column or (e.type.collation or DEFAULT_COLLATION) != DEFAULT_COLLATION]
    found = {c.name: c for c in (e.type.collation or DEFAULT_COLLATION for e in pick)}
    if len(found) > 1:
        a, b = sorted(found)[:2]
        raise error(
            468,
            f'Cannot resolve the collation conflict between "{a}" and "{b}" in the {operation} operation.',
            state=9,
            line=line,
        )
    return next(iter(found.values()), DEFAULT_COLLATION)


def common_type(exs: Sequence[Ex], line: int = 0) -> SqlType:
    """The type of CASE, COALESCE, UNION, IN and comparisons over these values."""
    known = [e for e in exs if not e.is_null]
    if not known:
        return INT
    top = max((e.type for e in known), key=lambda t: RANK[t.name])
    if top.name in STRINGS:
        return _common_string(known, top, line)
    if top.name in BINARIES:
        lengths = [e.type.length if e.type.length is not None else MAX_LENGTH for e in known]
        longest = MAX_LENGTH if MAX_LENGTH in lengths else max(lengths)
        return SqlType(top.name, longest) if top.name != "timestamp" else top
    if top.name in DECIMALS:
        out: tuple[int, int] | None = None
        for e in known:
            if e.type.name in NUMBERS and e.type.name not in ("real", "float"):
                pair = as_decimal(e.type, e.digits)
                out = pair if out is None else common_decimal(out, pair)
        assert out is not None
        name = "decimal" if any(e.type.name == "decimal" for e in known) else "numeric"
        return decimal(*out, name=name)
    if top.name in ("time", "datetime2", "datetimeoffset"):
        scales = [_seconds_scale(e.type) for e in known if e.type.name not in STRINGS]
        return SqlType(top.name, scale=max(scales))
    return top


def _seconds_scale(t: SqlType) -> int:
    return {"datetime": 3, "smalldatetime": 0, "date": 0}.get(t.name, t.scale if t.scale is not None else 7)


def _common_string(known: Sequence[Ex], top: SqlType, line: int) -> SqlType:
    if top.name in ("text", "ntext"):
        return top
    unicode, c = is_unicode(top), collation_of(known, line)
    lengths = []
    for e in known:
        own = e.type if unicode else widened(with_collation(e.type, c), e.type)
        n = own.length if e.type.name in STRINGS or e.type.name in BINARIES else display_size(e.type)
        lengths.append(MAX_LENGTH if n is None else n)
    longest = MAX_LENGTH if MAX_LENGTH in lengths else max(lengths)
    if longest > (4000 if unicode else 8000):
        longest = MAX_LENGTH
    variable = any(e.type.name in ("varchar", "nvarchar") for e in known) or any(
        e.type.name not in STRINGS for e in known
    )
    name = ("n" if unicode else "") + ("varchar" if variable or longest == MAX_LENGTH else "char")
    return SqlType(name, longest, collation=c)


def unify(exs: Sequence[Ex], line: int = 0, dateformat: str = "mdy") -> tuple[SqlType, list[Ex]]:
    """The common type and the values converted to it."""
    t = common_type(exs, line)
    if t.name == "sql_variant":
        return t, variants(exs, common_base(exs), dateformat)
    return t, [convert(e, t, dateformat) for e in exs]


def variants(exs: Sequence[Ex], base: SqlType | None, dateformat: str = "mdy") -> list[Ex]:
    """Values as sql_variants of one sort: all of this base type, or each with its own."""
    if base is None:
        return [typed_null(VARIANT) if e.is_null else stored(convert(e, VARIANT, dateformat)) for e in exs]
    return [typed_null(base).but(type=VARIANT, base=base) if e.is_null else e for e in exs]


def key(ex: Ex) -> str:
    """What stands for a value in =, GROUP BY, DISTINCT, joins and unique keys."""
    t = ex.type
    if t.name == "sql_variant":
        return f"tsql.variant_key({ex.sql})" if ex.base is None else key(held(ex))
    if t.name in STRINGS:
        if ex.key is not None and not ex.explicit_collation:
            return ex.key
        return string_key(ex.sql, t.collation)
    if t.name in BINARIES:
        return ex.key or f"rtrim({ex.sql}, '\\x00'::bytea)"
    if t.name == "datetimeoffset":
        return ex.key or f"({ex.sql}).utc"
    if t.name in ("xml", "json", "geometry", "geography"):
        raise error(
            305, f"The {t.name} data type cannot be compared or sorted, except when using the IS NULL operator."
        )
    return ex.sql


def string_key(sql: str, c: Collation | None) -> str:
    """The comparison key of a string under a collation; trailing blanks never count."""
    kind = key_kind(c)
    trimmed = f"rtrim({told_apart(sql, c)}, ' ')"
    if kind.endswith("ai"):
        trimmed = f"tsql.unaccent({trimmed})"
    return f"lower({trimmed})" if kind.startswith("ci") else trimmed


def told_apart(sql: str, c: Collation | None) -> str:
    """Text, refused where the collation may take characters in it for one that PostgreSQL tells apart."""
    return f"tsql.plain_forms({sql})" if blurs_forms(c) else sql


def needs_key(t: SqlType) -> bool:
    """Whether equality is not PostgreSQL's own."""
    return t.name in STRINGS or t.name in BINARIES or t.name in ("datetimeoffset", "sql_variant")


def word_sort(t: SqlType) -> bool:
    """Whether hyphens and apostrophes count last ("Collation and Unicode support", SQL Server collations)."""
    return is_unicode(t) or not (t.collation or DEFAULT_COLLATION).name.startswith("SQL_")


def sort_keys(ex: Ex) -> list[str]:
    """What a value sorts by, most significant first."""
    t = ex.type
    if t.name == "sql_variant":
        if ex.base is None:
            raise unsupported("sorting by a sql_variant (CONVERT it)")
        return sort_keys(held(ex))
    if t.name in STRINGS:
        kind = key_kind(t.collation)
        if kind == "bin":
            return [key(ex) if is_unicode(t) else text_bytes(key(ex), t)]
        words, letters = word_sort(t), alphabet(t.collation)
        if letters == "eastern":
            ex = ex.but(sql=f"tsql.ascii_only({ex.sql})")
        first = f"tsql.cyrillic_order({ex.sql})" if letters == "cyrillic" else ex.sql
        keys = [f"tsql.sort_word({first})" if words else f"tsql.sort_ci({first})"]
        if kind.endswith("as") or kind in ("ci", "cs"):
            keys.append(f"tsql.word_tie({ex.sql})" if words else f"lower(rtrim({ex.sql}, ' '))")
        if kind.startswith("cs"):
            keys.append(f"rtrim({ex.sql}, ' ')")
        return keys
    if t.name == "uniqueidentifier":
        return [f"tsql.guid_key({ex.sql})"]
    return [key(ex)]


# Windows collations compare each of these with two letters (and full-width forms with plain ones).
_EXPANDING = frozenset("\u00df\u1e9e\u00e6\u00c6\u0153\u0152\u00fe\u00de\u00bd\u00bc\u00be") | frozenset(
    chr(c) for c in range(0xFF01, 0xFF5F)
)
ROWVERSION_BYTES = 8
_NOT_COMPARABLE = frozenset({"text", "ntext", "image"})


def compare(op: str, left: Ex, right: Ex, line: int = 0, dateformat: str = "mdy") -> str:
    """A PostgreSQL condition for `left op right`."""
    for e, other in ((left, right), (right, left)):
        if e.type.name in _NOT_COMPARABLE and not e.is_null:
            raise error(
                402,
                f"The data types {e.type.name} and {other.type.name} are incompatible in the {_OP_NAMES[op]} operator.",
                line=line,
            )
    if left.is_null or right.is_null:
        return "NULL::bool"
    if is_stored(left) or is_stored(right):
        if op not in ("=", "<>"):
            raise unsupported(f"sql_variant columns in the {_OP_NAMES[op]} operator", line)
        a, b = variants([left, right], None, dateformat)
        return f"({key(a)} {op} {key(b)})"
    if left.base is not None or right.base is not None:
        apart = of_two_families(op, left, right, line)
        if apart is not None:
            return apart
        left, right = held(left), held(right)
    if _fixed_bytes(left.type) == _fixed_bytes(right.type) is not None:
        return f"({left.sql} {op} {right.sql})"  # both are padded to one length already, and an index knows the bytes
    t = common_type([left, right], line)
    if t.name in DECIMALS or t.name in MONEYS:
        # No rounding to a common scale: numerics compare exactly.
        if all(e.type.name in NUMBERS and e.type.name not in ("real", "float") for e in (left, right)):
            x, y = (e.sql if e.type.name != "bit" else f"({e.sql})::int4" for e in (left, right))
            return f"({x} {op} {y})"
        other = left if left.type.name in STRINGS else right
        number = right if other is left else left
        t = number.type if other.type.name in STRINGS else t
    if t.name in INTEGERS and left.type.name in INTEGERS and right.type.name in INTEGERS:
        return f"({left.sql} {op} {right.sql})"
    if t.name in STRINGS:
        t = with_collation(t, collation_of([left, right], line, _OP_NAMES[op]))
        for e in (left, right):
            if word_sort(t) and key_kind(t.collation) != "bin" and _EXPANDING & set(e.constant or ""):
                raise unsupported("comparing with letters that stand for two (\u00df, \u00e6, \u0153, \u00fe)", line)
        a, b = (_as_string(e, t, dateformat) for e in (left, right))
    elif t.name == "datetime2" and {left.type.name, right.type.name} == {"datetime2", "datetime"}:
        t = SqlType("datetime2", scale=7)
        a, b = convert(left, t, dateformat), convert(right, t, dateformat)
    else:
        a, b = convert(left, t, dateformat), convert(right, t, dateformat)
    if op in ("=", "<>"):
        return f"({key(a)} {op} {key(b)})"
    ka, kb = sort_keys(a), sort_keys(b)
    return f"({ka[0]} {op} {kb[0]})" if len(ka) == 1 else f"(({', '.join(ka)}) {op} ({', '.join(kb)}))"


def _fixed_bytes(t: SqlType) -> int | None:
    """The length that every value of a fixed-length binary type has; None for other types."""
    if t.name == "timestamp":
        return ROWVERSION_BYTES
    return t.length if t.name == "binary" else None


def _as_string(e: Ex, t: SqlType, dateformat: str) -> Ex:
    """A string for comparison: never cut, under the comparison's collation."""
    if e.type.name in STRINGS:
        own = (e.type.collation or DEFAULT_COLLATION).name
        wanted = (t.collation or DEFAULT_COLLATION).name
        stored = e.key if own == wanted else None
        same = e if is_unicode(t) else on_page_of(e, t)
        return replace(same, type=with_collation(same.type, t.collation), key=stored, explicit_collation=False)
    return convert(
        e, SqlType("nvarchar" if is_unicode(t) else "varchar", MAX_LENGTH, collation=t.collation), dateformat
    )


_OP_NAMES = {
    "=": "equal to",
    "<>": "not equal to",
    "<": "less than",
    "<=": "less than or equal to",
    ">": "greater than",
    ">=": "greater than or equal to",
}
