"""sql_variant as a value of its own: what a column holds, where each row may have another base type.

An expression of one base type stays that type as long as it can (`Ex.base`). Where types meet (a column, CASE, UNION)
it becomes a tsql.variant, which carries its type with it; support/47_variant.sql reads one. CONVERT of such a value
picks the conversion of the row's own base type. Source: "sql_variant (Transact-SQL)", and "SQL_VARIANT_PROPERTY".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..contract import DEFAULT_COLLATION, SqlType
from .bound import Ex
from .collations import page_of_name
from .errors import error, unsupported
from .pg import quote
from .types import BINARIES, DECIMALS, FLOATS, MONEYS, NUMBERS, STRINGS, byte_length, pg_type, precision_scale

VARIANT = SqlType("sql_variant")
FIELDS = ("base", "size", "prec", "scale", "coll", "num", "txt", "raw", "dbl", "at", "off")
"""tsql.variant's: sys.types' name, MaxLength, Precision, Scale, Collation, and where the value is by its kind."""

_ISO_STYLES = frozenset({None, 21, 25, 121})


def is_stored(ex: Ex) -> bool:
    """Whether it is a tsql.variant rather than a value of one known base type."""
    return ex.type.name == "sql_variant" and ex.base is None


def stored(ex: Ex) -> Ex:
    """A sql_variant of either sort as a tsql.variant."""
    if ex.base is None:
        return ex
    precision, scale = precision_scale(ex.base)
    collation = quote((ex.base.collation or DEFAULT_COLLATION).name) if ex.base.name in STRINGS else "NULL"
    values = {"num": "NULL", "txt": "NULL", "raw": "NULL", "dbl": "NULL", "at": "NULL", "off": "NULL"} | _held(ex)
    head = f"{quote(ex.base.name)}, {byte_length(ex.base)}, {precision}, {scale}, {collation}"
    row = f"ROW({head}, {', '.join(values.values())})::tsql.variant"
    probe = f"({ex.sql}).utc" if ex.base.name == "datetimeoffset" else f"({ex.sql})"
    return replace(ex, sql=f"(CASE WHEN {probe} IS NOT NULL THEN {row} END)", base=None, constant=None, digits=None)


def _held(ex: Ex) -> dict[str, str]:
    """The fields that hold the value of a known base type."""
    t, sql = ex.base or ex.type, f"({ex.sql})"
    if t.name == "bit":
        return {"num": f"{sql}::int4::numeric"}
    if t.name in DECIMALS:
        return {"num": f"{sql}::numeric({t.precision},{t.scale})"}
    if t.name in FLOATS:
        return {"dbl": f"{sql}::float8"}
    if t.name in NUMBERS:
        return {"num": f"{sql}::numeric"}
    if t.name in STRINGS:
        return {"txt": sql}
    if t.name in BINARIES:
        return {"raw": sql}
    if t.name == "uniqueidentifier":
        return {"txt": f"{sql}::text"}
    if t.name == "date":
        return {"at": f"tsql.date_ticks{sql}"}
    if t.name == "datetimeoffset":
        return {"at": f"{sql}.utc", "off": f"{sql}.off"}
    return {"at": sql}


def common_base(exs: Sequence[Ex]) -> SqlType | None:
    """The one base type of values of which one is a sql_variant at least, NULLs aside; None where they differ."""
    bases = {e.base if e.type.name == "sql_variant" else None for e in exs if not e.is_null}
    return next(iter(bases)) if len(bases) == 1 else None


def property_of(ex: Ex, name: str) -> Ex:
    """SQL_VARIANT_PROPERTY of a tsql.variant."""
    text, number = SqlType("nvarchar", 128, collation=DEFAULT_COLLATION), SqlType("int")
    fields = {
        "basetype": ("base", text),
        "collation": ("coll", text),
        "precision": ("prec", number),
        "scale": ("scale", number),
        "maxlength": ("size", number),
    }
    if name not in fields:
        raise unsupported(f"SQL_VARIANT_PROPERTY of {name}")
    field, base = fields[name]
    return Ex(f"({ex.sql}).{field}", VARIANT, True, aggregate=ex.aggregate, base=base)


def unpacked(ex: Ex, target: SqlType, style: int | None, convert: Callable[[Ex, SqlType], Ex]) -> Ex:
    """CONVERT of a tsql.variant; `convert` takes a sql_variant of a known base type."""
    v, pg = f"({ex.sql})", pg_type(target)
    arms = []
    for t, sql in _readings(v):
        if target.name in STRINGS and t.name in ("time", "datetime2", "datetimeoffset"):
            made = _moment_text(v, t, target, style, convert)
        elif t.name in ("char", "varchar") and target.name not in ("nchar", "nvarchar", "ntext"):
            made = convert(_of_default_page(v, sql, t), target)
        else:
            made = convert(Ex(sql, VARIANT, True, base=t), target)
        arms.append(f" WHEN '{t.name}' THEN ({made.sql})::{pg}")
    return Ex(f"(CASE {v}.base{''.join(arms)} END)", target, True, aggregate=ex.aggregate)


def _readings(v: str) -> list[tuple[SqlType, str]]:
    """Each base type, at its widest where it has a size, with how its value is read. A decimal has its own digits."""
    integers = {"tinyint": "int2", "smallint": "int2", "int": "int4", "bigint": "int8"}
    found = [(SqlType(name), f"{v}.num::{pg}") for name, pg in integers.items()]
    found += [
        (SqlType("bit"), f"({v}.num <> 0)"),
        (SqlType("float"), f"{v}.dbl"),
        (SqlType("real"), f"{v}.dbl::float4"),
    ]
    found += [(SqlType(name, precision=38), f"{v}.num") for name in sorted(DECIMALS)]
    found += [(SqlType(name), f"{v}.num") for name in sorted(MONEYS)]
    found += [(SqlType(name), f"{v}.at") for name in ("datetime", "smalldatetime")]
    found += [(SqlType(name, scale=7), f"{v}.at") for name in ("time", "datetime2")]
    found.append((SqlType("date"), f"tsql.ticks_date({v}.at)"))
    found.append((SqlType("datetimeoffset", scale=7), f"ROW({v}.at, {v}.off)::tsql.dto"))
    for name, length in (("char", 8000), ("varchar", 8000), ("nchar", 4000), ("nvarchar", 4000)):
        found.append((SqlType(name, length, collation=DEFAULT_COLLATION), f"{v}.txt"))
    found += [(SqlType(name, 8000), f"{v}.raw") for name in ("binary", "varbinary")]
    found.append((SqlType("uniqueidentifier"), f"{v}.txt::uuid"))
    return found


def _moment_text(v: str, t: SqlType, target: SqlType, style: int | None, convert: Callable[[Ex, SqlType], Ex]) -> Ex:
    """A time's text has as many digits as its declared scale, which only the row knows."""
    text = SqlType("varchar", 40, collation=DEFAULT_COLLATION)
    sql = f"tsql.variant_moment({v})"
    if style not in _ISO_STYLES:
        sql = f"tsql.refuse({quote(f'CONVERT of a sql_variant of {t.name} with style {style}')})"
    return convert(Ex(sql, VARIANT, True, base=text), target)


def _of_default_page(v: str, sql: str, t: SqlType) -> Ex:
    """A text and its bytes are of its own code page; others than the server's are refused."""
    refusal = "tsql.refuse('the text of a sql_variant in another code page than the default one')"
    known = f"(CASE WHEN {page_of_name(f'{v}.coll')} = 1252 THEN {sql} ELSE {refusal} END)"
    return Ex(known, VARIANT, True, base=t)


def implicit(target: SqlType) -> Exception:
    """Msg 257: nothing becomes of a sql_variant unasked."""
    return error(
        257,
        f"Implicit conversion from data type sql_variant to {target.name} is not allowed. Use the CONVERT function to "
        "run this query.",
        state=3,
    )
