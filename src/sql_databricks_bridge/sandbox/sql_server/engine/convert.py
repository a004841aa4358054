"""Conversions between SQL Server types, implicit and explicit ("CAST and CONVERT (Transact-SQL)").

`convert` covers what the documentation's conversion chart allows; Msg 529 (explicit) or 206 (implicit) is what it does
not allow. Strings are cut by CAST, checked on assignment (see `assign`).
"""

from __future__ import annotations

from ..contract import MAX_LENGTH, SqlError, SqlType
from . import canonical, variant_store
from .bound import Ex, probe, typed_null, value
from .code_pages import bytes_text, constant_on_page, counts_bytes, cut, fitted, padded, text_bytes, to_page
from .collations import check_legacy, same_page
from .errors import error, unsupported
from .types import (
    BINARIES,
    DATETIMES,
    DECIMALS,
    FLOATS,
    INTEGERS,
    MONEYS,
    NUMBERS,
    STRINGS,
    UDTS,
    byte_length,
    is_string,
    is_unicode,
    pg_type,
    type_text,
)

_LAST = {"time": 863_999_999_999, "datetime2": 3_155_378_975_999_999_999}
_LEGACY_FLOAT_STYLES = frozenset({126, 128, 129})
_INT_BYTES = {"bit": 1, "tinyint": 1, "smallint": 2, "int": 4, "bigint": 8}
_PG_INT = {"tinyint": "int2", "smallint": "int2", "int": "int4", "bigint": "int8"}


def same(a: SqlType, b: SqlType) -> bool:
    """The same type as far as values go (collation aside)."""
    return (a.name, a.length, a.precision, a.scale) == (b.name, b.length, b.precision, b.scale)


def fail_conversion(source: SqlType, target: SqlType, explicit: bool) -> Exception:
    if explicit:
        return error(529, f"Explicit conversion from data type {source.name} to {target.name} is not allowed.", state=2)
    number = 257 if {source.name, target.name} & set(NUMBERS | DATETIMES | BINARIES) else 206
    if number == 257:
        return error(
            257,
            f"Implicit conversion from data type {source.name} to {target.name} is not allowed. Use the CONVERT "
            "function to run this query.",
            state=3,
        )
    return error(206, f"Operand type clash: {source.name} is incompatible with {target.name}", state=2)


class Converter:
    """One conversion's settings."""

    def __init__(
        self, *, style: int | None = None, attempt: bool = False, explicit: bool = False, dateformat: str = "mdy"
    ):
        self.style = style
        self.try_ = "try_" if attempt else ""
        self.explicit = explicit
        self.dateformat = dateformat

    def __call__(self, ex: Ex, target: SqlType) -> Ex:
        """`ex` as `target`."""
        if ex.base is not None:
            return self._of_variant(ex, target)
        if target.name == "sql_variant":
            return ex if variant_store.is_stored(ex) else self._variant(ex)
        if variant_store.is_stored(ex) and not ex.is_null:
            if not self.explicit:
                raise variant_store.implicit(target)
            return variant_store.unpacked(ex, target, self.style, self._of_variant)
        if ex.is_null:
            return typed_null(target)
        source = ex.type
        if is_string(target) and target.collation is not None:
            check_legacy(target, target.collation)
        if same(source, target) and same_page(source, target) and not (source.name == target.name == "timestamp"):
            return ex.but(type=target, digits=None) if self.style is None or source.name == target.name else ex
        if source.name in ("text", "ntext", "image") and self.explicit is False and source.name == target.name:
            return ex
        handler = self._handler(source, target)
        sql = handler(ex.sql, source, target)
        # "CREATE TABLE": an expression that may overflow counts as nullable, whatever its operands are.
        nullable = ex.nullable or bool(self.try_) or self.explicit
        constant = None
        if ex.constant is not None and is_string(target) and is_string(source):
            constant = constant_on_page(ex.constant, source, target)
        out = value(sql, target, ex, nullable=nullable)
        return out.but(constant=constant, measure=self._measure(ex, out))

    def _measure(self, ex: Ex, out: Ex) -> str | None:
        """LEN of the text of a number, a date or bytes: no blank to leave out, no character beyond ASCII."""
        if out.type.name not in ("varchar", "nvarchar") or out.type.length != MAX_LENGTH:
            return None
        source = ex.type
        if _family(source) in ("num", "time", "guid") or (_family(source) == "bin" and self.style in (1, 2)):
            return canonical.width(ex.sql, source, self.style) or f"octet_length({out.sql})"
        return ex.measure

    def _handler(self, s: SqlType, t: SqlType):  # type: ignore[no-untyped-def]
        family = _family(t)
        handler = getattr(self, f"_{_family(s)}_{family}", None)
        if handler is None:
            raise fail_conversion(s, t, self.explicit)
        if not self.explicit and not _implicit(s, t):
            raise fail_conversion(s, t, explicit=False)
        return handler

    def _of_variant(self, ex: Ex, target: SqlType) -> Ex:
        """What a variant's own type does not become is an error of the row that asks for it, not of the statement."""
        held = Ex(ex.sql, ex.base or ex.type, ex.nullable, aggregate=ex.aggregate)
        try:
            return self(held, target)
        except SqlError as exc:
            said = exc.message
            failing = f"tsql.fail({said.number}, {_quote(said.text)}, {said.severity}, {said.state})"
            return Ex(f"(CASE WHEN {probe(ex)} IS NULL THEN NULL ELSE {failing} END)::{pg_type(target)}", target, True)

    def _variant(self, ex: Ex) -> Ex:
        if ex.is_null:
            return typed_null(variant_store.VARIANT)
        t = ex.type
        big = t.length == MAX_LENGTH and (t.name in STRINGS or t.name in BINARIES)
        if big or t.name in ("text", "ntext", "image", "xml", "json", "timestamp") or t.name in UDTS:
            raise error(206, f"Operand type clash: {type_text(t)} is incompatible with sql_variant", state=2)
        return Ex(ex.sql, SqlType("sql_variant"), ex.nullable, aggregate=ex.aggregate, base=t)

    # ---- to numbers -------------------------------------------------------------------------------------------------
    def _num_num(self, sql: str, s: SqlType, t: SqlType) -> str:
        if t.name == "bit":
            return sql if s.name == "bit" else f"({sql} <> 0)"
        if s.name == "bit":
            sql = f"({sql})::int4"
        if t.name in INTEGERS:
            return self._to_integer(sql, s, t)
        if t.name in DECIMALS:
            number = f"tsql.float_digits({sql}::float8, {t.scale})" if s.name in FLOATS else f"({sql})::numeric"
            if s.name in FLOATS or self.try_:
                source = "float" if s.name in FLOATS else "numeric"
                return f"tsql.{self.try_}num_dec({number}, {t.precision}, {t.scale}, '{source}')"
            return f"({number})::numeric({t.precision},{t.scale})"
        if t.name in MONEYS:
            number = f"tsql.float_digits({sql}::float8, 4)" if s.name in FLOATS else f"({sql})::numeric"
            return f"tsql.{self.try_}num_money({number}, '{t.name}')"
        if t.name == "real" and s.name == "float" and self.try_:
            raise unsupported("TRY_CAST of float to real")
        return f"({sql})::{pg_type(t)}"

    def _to_integer(self, sql: str, s: SqlType, t: SqlType) -> str:
        if s.name in FLOATS:
            return f"tsql.{self.try_}float_int(({sql})::float8, '{t.name}')::{_PG_INT[t.name]}"
        order = ("bit", "tinyint", "smallint", "int", "bigint")
        if s.name in order and order.index(s.name) <= order.index(t.name):
            return f"({sql})::{_PG_INT[t.name]}"
        if t.name in ("tinyint", "smallint") or self.try_:
            short = {"tinyint": "tiny", "smallint": "small", "int": "int", "bigint": "big"}[t.name]
            number = f"round({sql}, 0)" if s.name in MONEYS else f"({sql})::numeric"
            return f"tsql.{self.try_}to_{short}({number})"
        if s.name in MONEYS:
            return f"round({sql}, 0)::{_PG_INT[t.name]}"
        return f"trunc({sql})::{_PG_INT[t.name]}" if s.name in DECIMALS else f"({sql})::{_PG_INT[t.name]}"

    def _str_num(self, sql: str, s: SqlType, t: SqlType) -> str:
        f = f"tsql.{self.try_}"
        if t.name == "bit":
            return f"{f}str_bit({sql}, '{s.name}')"
        if t.name in INTEGERS:
            return f"{f}str_int({sql}, '{t.name}', '{s.name}')::{_PG_INT[t.name]}"
        if t.name in DECIMALS:
            return f"{f}str_dec({sql}, {t.precision}, {t.scale}, '{s.name}')"
        if t.name in MONEYS:
            return f"{f}str_money({sql}, '{t.name}', '{s.name}')"
        return f"{f}str_float({sql}, '{t.name}', '{s.name}')::{pg_type(t)}"

    def _bin_num(self, sql: str, s: SqlType, t: SqlType) -> str:
        if t.name == "bit":
            return f"(tsql.bytes_int({sql}, 1) <> 0)"
        if t.name in INTEGERS:
            size = _INT_BYTES[t.name]
            if size in (4, 8) and s.length != MAX_LENGTH and 0 < (s.length or 0) <= size:
                return f"({sql})::{_PG_INT[t.name]}"  # PostgreSQL's cast pads with zeros on the left too
            return f"tsql.bytes_int({sql}, {size})::{_PG_INT[t.name]}"
        if t.name in FLOATS:
            raise fail_conversion(s, t, self.explicit)
        raise unsupported(f"converting {s.name} to {t.name}")

    def _time_num(self, sql: str, s: SqlType, t: SqlType) -> str:
        if s.name not in ("datetime", "smalldatetime"):
            raise fail_conversion(s, t, explicit=True)
        per_day = 25_920_000 if s.name == "datetime" else 1440
        if t.name == "float":
            return f"(({sql})::float8 / {per_day})"
        if t.name in INTEGERS:
            return f"round(({sql})::numeric / {per_day}, 0)::{_PG_INT[t.name]}"
        raise unsupported(f"converting {s.name} to {t.name}")

    # ---- to strings -------------------------------------------------------------------------------------------------
    def _cut(self, sql: str, t: SqlType, *, known: int | None = None, ascii_only: bool = True) -> str:
        """Cut to the target's length; pad char and nchar."""
        n = t.length
        if n in (None, MAX_LENGTH):
            return sql
        if known is None or known > (n or 0):
            sql = cut(sql, t, n, ascii_only=ascii_only)
        if t.name in ("char", "nchar") and known != n:
            return padded(sql, t)
        return sql

    def _str_str(self, sql: str, s: SqlType, t: SqlType) -> str:
        if not is_unicode(t) and (is_unicode(s) or not same_page(s, t)):
            sql = to_page(sql, t)
        known = None if s.length in (None, MAX_LENGTH) or _may_grow(s, t) else s.length
        if t.name in ("char", "nchar") and s.name in ("varchar", "nvarchar") and known == t.length:
            return padded(sql, t)
        plain = not is_unicode(s) and not counts_bytes(s) and not counts_bytes(t)
        if t.name in ("char", "nchar") and counts_bytes(s):
            known = None  # char(5) may be padded to 5 bytes, and to fewer characters
        return self._cut(sql, t, known=known, ascii_only=plain)

    def _num_str(self, sql: str, s: SqlType, t: SqlType) -> str:
        style = self.style or 0
        if s.name == "bit":
            text = f"({sql})::int4::text"
        elif s.name in MONEYS:
            exact = f"({sql})::numeric(19,4)::text"
            text = exact if style == 2 else f"tsql.money_text({sql}, {style if style == 1 else 0})"
        elif s.name in FLOATS:
            written = canonical.exponent(sql, s, style)
            if written is None and style in _LEGACY_FLOAT_STYLES:  # other ones "are processed as 0"
                raise unsupported(f"CONVERT of {s.name} with style {style}")
            wide = f"({sql})::float8" if s.name == "float" else f"({sql})::text::float8"
            text = written or f"tsql.float_text({wide}, 6)"
        elif s.name in DECIMALS:
            text = f"({sql})::numeric({s.precision},{s.scale})::text" if s.scale is not None else f"({sql})::text"
        else:
            text = f"({sql})::text"
        if t.length in (None, MAX_LENGTH) or (t.length or 0) >= display_size(s):
            return f"rpad({text}, {t.length})" if t.name in ("char", "nchar") else text
        source = "money" if s.name in MONEYS else s.name
        text = f"tsql.{self.try_}fit_text({text}, {t.length}, '{source}', '{t.name}')"
        return f"rpad({text}, {t.length})" if t.name in ("char", "nchar") else text

    def _time_str(self, sql: str, s: SqlType, t: SqlType) -> str:
        default = 0 if s.name in ("datetime", "smalldatetime") else 121
        style = default if self.style is None else self.style
        fast = canonical.moment(sql, s, style)
        if fast is not None:
            return self._cut(fast, t)
        ticks = to_ticks(sql, s)
        scale = 0 if s.name == "smalldatetime" else (s.scale or 0)
        if s.name == "datetimeoffset":
            raise unsupported(f"CONVERT of datetimeoffset with style {style}")
        return self._cut(f"tsql.moment_text({ticks}, {scale}, '{s.name}', {style})", t)

    def _guid_str(self, sql: str, _s: SqlType, t: SqlType) -> str:
        text = f"upper(({sql})::text)"
        if t.length in (None, MAX_LENGTH) or (t.length or 0) >= 36:
            return f"rpad({text}, {t.length})" if t.name in ("char", "nchar") else text
        text = f"tsql.{self.try_}fit_text({text}, {t.length}, 'uniqueidentifier', '{t.name}')"
        return f"rpad({text}, {t.length})" if t.name in ("char", "nchar") else text

    def _bin_str(self, sql: str, _s: SqlType, t: SqlType) -> str:
        if self.style in (1, 2):
            prefix = "'0x' || " if self.style == 1 else ""
            return self._cut(f"({prefix}upper(encode({sql}, 'hex')))", t)
        return self._cut(bytes_text(sql, t), t, ascii_only=False)

    def _xml_str(self, sql: str, _s: SqlType, t: SqlType) -> str:
        return self._cut(sql if is_unicode(t) else to_page(sql, t), t, ascii_only=False)

    # ---- to dates and times -----------------------------------------------------------------------------------------
    def _str_time(self, sql: str, s: SqlType, t: SqlType) -> str:
        f, style = f"tsql.{self.try_}", self.style or 0
        form = f"{style}, '{self.dateformat}'"
        if t.name == "date":
            return f"{f}str_date({sql}, {form})"
        if t.name == "datetimeoffset":
            return self._round_dto(f"{f}str_dto({sql}, {form})", 7, t)
        ticks = f"{f}str_ticks({sql}, '{t.name}', {form})"
        return self._from_ticks(ticks, t, s.name, 7)

    def _time_time(self, sql: str, s: SqlType, t: SqlType) -> str:
        if (t.name == "time" and s.name == "date") or (s.name == "time" and t.name == "date"):
            raise fail_conversion(s, t, self.explicit)
        scale = {"date": 0, "datetime": 7, "smalldatetime": 0}.get(s.name, s.scale or 0)
        if s.name == "datetimeoffset" and t.name != s.name:
            return self._without_offset(sql, t, scale)
        if t.name == "datetimeoffset":
            if s.name == "datetimeoffset":
                return self._round_dto(sql, scale, t)
            return self._round_dto(f"tsql.make_dto({to_ticks(sql, s)}, 0)", scale, t)
        if s.name == t.name:
            return self._from_ticks(sql, t, s.name, scale)
        return self._part_of_ticks(to_ticks(sql, s), t, s.name, scale)

    def _without_offset(self, sql: str, t: SqlType, scale: int) -> str:
        """The local time, or under style 1 the time in UTC (the type's authors: blogs.msdn.microsoft.com/qingsongyao,
        2008-08-18, "Conversion from string to datetime2, time, date")."""
        if self.style not in (None, 0, 1):
            raise unsupported(f"CONVERT of datetimeoffset to {t.name} with style {self.style}")
        ticks = f"({sql}).utc" if self.style == 1 else f"tsql.dto_local({sql})"
        return self._part_of_ticks(ticks, t, "datetimeoffset", scale)

    def _part_of_ticks(self, ticks: str, t: SqlType, source: str, scale: int) -> str:
        """Ticks since 0001 as any type but datetimeoffset."""
        if t.name == "date":
            return f"tsql.ticks_date({ticks})"
        if t.name == "time":
            return self._from_ticks(f"({ticks} % 864000000000)", t, source, scale)
        return self._from_ticks(ticks, t, source, scale)

    def _from_ticks(self, ticks: str, t: SqlType, source: str, scale: int) -> str:
        if t.name == "datetime":
            return f"tsql.{self.try_}ticks_datetime({ticks}, '{source}')"
        if t.name == "smalldatetime":
            return f"tsql.{self.try_}ticks_small({ticks}, '{source}')"
        if scale <= (t.scale or 0):
            return ticks
        return f"tsql.{self.try_}fit_ticks({ticks}, {t.scale}, {_LAST[t.name]})"

    def _round_dto(self, sql: str, scale: int, t: SqlType) -> str:
        if scale <= (t.scale or 0):
            return sql
        local = f"tsql.{self.try_}fit_ticks(tsql.dto_local({sql}), {t.scale}, {_LAST['datetime2']})"
        return f"tsql.make_dto({local}, ({sql}).off)"

    def _num_time(self, sql: str, s: SqlType, t: SqlType) -> str:
        if t.name not in ("datetime", "smalldatetime"):
            raise fail_conversion(s, t, self.explicit)
        if s.name in FLOATS or s.name in DECIMALS or s.name in MONEYS:
            ticks = f"(599266080000000000::numeric + round(({sql})::text::numeric * 25920000, 0) * 100000 / 3)"
        else:
            ticks = f"(599266080000000000::numeric + ({sql})::int4 * 864000000000::numeric)"
        return self._from_ticks(f"tsql.{self.try_}number_ticks({ticks}, '{t.name}')", t, s.name, 7)

    # ---- to the rest ------------------------------------------------------------------------------------------------
    def _str_guid(self, sql: str, _s: SqlType, _t: SqlType) -> str:
        return f"tsql.{self.try_}str_guid({sql})"

    def _bin_guid(self, _sql: str, s: SqlType, _t: SqlType) -> str:
        raise unsupported(f"converting {s.name} to uniqueidentifier")

    def _guid_bin(self, sql: str, _s: SqlType, t: SqlType) -> str:
        b = f"uuid_send({sql})"
        order = (4, 3, 2, 1, 6, 5, 8, 7, 9, 10, 11, 12, 13, 14, 15, 16)
        return self._fit("(" + " || ".join(f"substr({b}, {i}, 1)" for i in order) + ")", t)

    def _fit(self, sql: str, t: SqlType) -> str:
        if t.length in (None, MAX_LENGTH):
            return sql
        return f"tsql.fit_bytes({sql}, {t.length}, {'true' if t.name in ('binary', 'timestamp') else 'false'})"

    def _bin_bin(self, sql: str, _s: SqlType, t: SqlType) -> str:
        return self._fit(sql, t)

    def _str_bin(self, sql: str, s: SqlType, t: SqlType) -> str:
        if self.style in (1, 2):
            return self._fit(f"tsql.{self.try_}str_bin({sql}, {self.style})", t)
        return self._fit(text_bytes(sql, s), t)

    def _num_bin(self, sql: str, s: SqlType, t: SqlType) -> str:
        if s.name in FLOATS:
            return self._float_bin(sql, s, t)
        size = _INT_BYTES.get(s.name)
        if size is None:
            raise unsupported(f"converting {s.name} to {t.name}")
        number = f"({sql})::int4::int8" if s.name == "bit" else f"({sql})::int8"
        n = t.length if t.length not in (None, MAX_LENGTH) else size
        raw = f"tsql.int_bytes({number}, {min(n or size, 8) if t.name == 'binary' else min(size, n or size)})"
        if t.name == "binary" and (n or 0) > 8:
            raise unsupported(f"converting {s.name} to {type_text(t)}")
        return raw

    def _float_bin(self, sql: str, s: SqlType, t: SqlType) -> str:
        """The IEEE bytes, the sign's first; there is no way back (Msg 529)."""
        size, send = (8, "float8send") if s.name == "float" else (4, "float4send")
        if t.length not in (None, size) and not (t.name == "varbinary" and (t.length or 0) not in range(1, size)):
            raise unsupported(f"converting {s.name} to {type_text(t)}")
        return f"{send}({sql})"

    def _time_bin(self, _sql: str, s: SqlType, t: SqlType) -> str:
        raise unsupported(f"converting {s.name} to {t.name}")

    def _str_xml(self, sql: str, _s: SqlType, t: SqlType) -> str:
        if t.name == "xml" and self.style not in (None, 0):
            raise unsupported(f"CONVERT to xml with style {self.style}")
        return sql if t.name == "json" else f"tsql.{self.try_}xml_text({sql})"

    def _xml_xml(self, sql: str, s: SqlType, t: SqlType) -> str:
        if s.name != t.name:
            raise fail_conversion(s, t, self.explicit)
        return sql

    def _udt_str(self, sql: str, s: SqlType, t: SqlType) -> str:
        if s.name != "hierarchyid":
            raise unsupported(f"converting {s.name} to {t.name} (call .ToString())")
        return self._cut(f"tsql.hid_text({sql})", t)

    def _udt_bin(self, sql: str, _s: SqlType, t: SqlType) -> str:
        return self._fit(sql, t)

    def _str_udt(self, sql: str, _s: SqlType, t: SqlType) -> str:
        if t.name == "hierarchyid":
            return f"tsql.hid_bytes({sql})"
        return f"tsql.geo_of_text({sql}, {0 if t.name == 'geometry' else 4326}, '{t.name}')"

    def _bin_udt(self, sql: str, _s: SqlType, t: SqlType) -> str:
        return f"tsql.hid_checked({sql})" if t.name == "hierarchyid" else sql

    def _udt_udt(self, sql: str, s: SqlType, t: SqlType) -> str:
        if s.name != t.name:
            raise fail_conversion(s, t, self.explicit)
        return sql


def _family(t: SqlType) -> str:
    if t.name in NUMBERS:
        return "num"
    if t.name in STRINGS:
        return "str"
    if t.name in BINARIES:
        return "bin"
    if t.name in DATETIMES:
        return "time"
    if t.name == "uniqueidentifier":
        return "guid"
    return "xml" if t.name in ("xml", "json") else "udt"


def _implicit(s: SqlType, t: SqlType) -> bool:
    """Whether the conversion may happen unasked."""
    a, b = _family(s), _family(t)
    if a == b:
        return True
    if s.name == "timestamp" or t.name == "timestamp":
        return ({a, b} <= {"num", "bin", "str"} and a != "num") or (a == "bin" and b == "num")
    if a == "str":
        if t.name in MONEYS and is_unicode(s):
            return True
        return b in ("num", "time", "guid", "xml", "udt")
    if b == "str":
        return a in ("num", "time", "guid") or (a == "bin" and t.name not in ("text", "ntext"))
    if a == "num" and b == "bin":
        return s.name not in FLOATS
    if a == "bin" and b == "num":
        return t.name not in FLOATS
    if a == "num" and b == "time":
        return True
    return (a == "guid" and b == "bin") or (a == "bin" and b in ("guid", "udt"))


def to_ticks(sql: str, t: SqlType) -> str:
    """A date or time as local 100 ns since 0001 (time on 1900-01-01)."""
    if t.name == "date":
        return f"tsql.date_ticks({sql})"
    if t.name == "datetime":
        return f"tsql.datetime_ticks({sql})"
    if t.name == "smalldatetime":
        return f"tsql.small_ticks({sql})"
    if t.name == "time":
        return f"(599266080000000000 + {sql})"
    if t.name == "datetimeoffset":
        return f"tsql.dto_local({sql})"
    return sql


def convert(ex: Ex, target: SqlType, dateformat: str = "mdy") -> Ex:
    """An implicit conversion."""
    return Converter(dateformat=dateformat)(ex, target)


def assign(ex: Ex, target: SqlType, where: str, dateformat: str = "mdy") -> Ex:
    """The conversion of INSERT and UPDATE: like an implicit one, but a string that does not fit is Msg 2628, not cut.

    `where` is "table 'db.schema.t', column 'c'" for the message.
    """
    if target.name == "sql_variant" and not ex.is_null:
        return variant_store.stored(convert(ex, target, dateformat))
    if ex.base is not None or ex.is_null:
        return convert(ex, target, dateformat)
    source = ex.type
    limit = target.length
    if (
        _family(source) in ("str", "bin", "xml")
        and _family(target) in ("str", "bin")
        and limit not in (None, MAX_LENGTH)
    ):
        longest = source.length if source.length not in (None, MAX_LENGTH) else None
        if longest is None or longest > (limit or 0) or _may_grow(source, target):
            wide = SqlType(
                {"char": "varchar", "nchar": "nvarchar", "binary": "varbinary"}.get(target.name, target.name),
                MAX_LENGTH,
                collation=target.collation,
            )
            if target.name == "timestamp":
                raise error(273, "Cannot insert an explicit value into a timestamp column.")
            whole = convert(ex, wide, dateformat)
            if _family(target) == "str":
                sql = fitted(whole.sql, target, where)
                return value(padded(sql, target) if target.name in ("char", "nchar") else sql, target, ex)
            sql = f"tsql.fit_bytes_column({whole.sql}, {limit}, {_quote(where)})"
            if target.name == "binary":
                sql = f"tsql.fit_bytes({sql}, {limit}, true)"
            return value(sql, target, ex)
    if _family(source) in ("num", "time", "guid") and target.name in ("varchar", "nvarchar", "char", "nchar"):
        room = {"guid": 36, "time": 34, "num": 48}[_family(source)]
        if limit not in (None, MAX_LENGTH) and (limit or 0) < room and _family(source) == "time":
            whole = convert(ex, SqlType(target.name.replace("char", "varchar").replace("varvar", "var"), MAX_LENGTH,
                                        collation=target.collation), dateformat)  # fmt: skip
            sql = f"tsql.fit_ansi_column({whole.sql}, {limit}, {_quote(where)})"
            return value(f"rpad({sql}, {limit})" if target.name in ("char", "nchar") else sql, target, ex)
    return convert(ex, target, dateformat)


def _may_grow(s: SqlType, t: SqlType) -> bool:
    """Whether text may take more of `t`'s length than it took of `s`'s."""
    return counts_bytes(t) and (is_unicode(s) or not same_page(s, t))


def _quote(text: str) -> str:
    from .pg import quote

    return quote(text)


def display_size(t: SqlType) -> int:
    """Characters that a value of `t` takes as a varchar, for the type of CONCAT and the like."""
    sizes = {
        "bit": 1, "tinyint": 3, "smallint": 6, "int": 12, "bigint": 24, "real": 24, "float": 53, "money": 30,
        "smallmoney": 30, "date": 10, "time": 16, "datetime": 19, "smalldatetime": 19, "datetime2": 27,
        "datetimeoffset": 34, "uniqueidentifier": 36,
    }  # fmt: skip
    if t.name in DECIMALS:
        return 41
    return sizes.get(t.name) or byte_length(t)
