"""Columns of every type for round trips: T-SQL literals of their values, and how a value is read back bit by bit."""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from hypothesis import strategies as st

PLAIN, BYTES = "{0}", "CONVERT(varbinary(max), {0})"
OLD_TEXT = "CONVERT(varbinary(max), CONVERT(nvarchar(max), {0}))"
VARIANT = (
    "CONCAT(CONVERT(nvarchar(40), SQL_VARIANT_PROPERTY({0}, 'BaseType')), N' ', "
    "CONVERT(int, SQL_VARIANT_PROPERTY({0}, 'Precision')), N' ', "
    "CONVERT(int, SQL_VARIANT_PROPERTY({0}, 'Scale')), N' ', "
    "CONVERT(int, SQL_VARIANT_PROPERTY({0}, 'MaxLength')), N' ', "
    "CASE WHEN CONVERT(nvarchar(40), SQL_VARIANT_PROPERTY({0}, 'BaseType')) IN (N'binary', N'varbinary') "
    "THEN CONVERT(nvarchar(max), CONVERT(varbinary(8000), {0}), 2) ELSE CONVERT(nvarchar(max), {0}) END)"
)
STYLE, EXACT = "CONVERT(nvarchar(40), {0}, 121)", "CONVERT(nvarchar(40), {0}, 3)"
_TEXT = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


@dataclass(frozen=True, slots=True)
class Kind:
    """A column's type, T-SQL literals of its values, and an expression of T-SQL that shows every bit of one."""

    sql_type: str
    literals: st.SearchStrategy[str]
    edges: tuple[str, ...]
    shown: str = PLAIN

    @property
    def values(self) -> st.SearchStrategy[str]:
        """Literals, boundaries and NULL often among them."""
        return st.one_of(self.literals, st.sampled_from((*self.edges, "NULL")))


def _integers(sql_type: str, least: int, most: int) -> Kind:
    return Kind(sql_type, st.integers(least, most).map(str), (str(least), str(most), "0" if least < 0 else "1"))


def _decimals(sql_type: str, precision: int, scale: int, least: int | None = None, most: int | None = None) -> Kind:
    """`least` and `most` are counted in units of the last digit."""
    top = 10**precision - 1 if most is None else most
    low = -top if least is None else least

    def written(units: int) -> str:
        digits = f"{abs(units):0{scale + 1}}"
        whole, fraction = digits[: len(digits) - scale], digits[len(digits) - scale :]
        return f"{'-' if units < 0 else ''}{whole}{'.' if fraction else ''}{fraction}"

    return Kind(sql_type, st.integers(low, top).map(written), (written(low), written(top), "0"))


def _quoted(texts: st.SearchStrategy[str], prefix: str = "N") -> st.SearchStrategy[str]:
    return texts.map(lambda text: f"{prefix}'{text.replace(chr(39), chr(39) * 2)}'")


def _strings(sql_type: str, codec: str, most: int, collation: str = "") -> Kind:
    """Strings of at most `most` code units or bytes, of what the codec has."""

    def fits(text: str) -> bool:
        return len(text.encode(codec, "replace")) <= most * (2 if codec == "utf-16-le" else 1)

    alphabet, beyond = _TEXT, "é€😀"
    if codec.startswith("cp"):
        single = (*range(1, 128), *range(0xA1, 0xE0)) if codec == "cp932" else range(1, 256)
        every = (bytes([byte]).decode(codec, "ignore") for byte in single)
        known = sorted({character for character in every if character} | set("日本語表ソ" if codec == "cp932" else ""))
        alphabet, beyond = st.sampled_from(known), "".join(known[-2:])
    texts = st.text(alphabet, max_size=max(1, most // 3)).filter(fits)
    edges = ("N''", "N' '", "N'a  '", "N''''", f"N'{beyond}'")
    return Kind(f"{sql_type}{collation and f' COLLATE {collation}'}", _quoted(texts), edges, BYTES)


def _bytes(sql_type: str, least: int, most: int) -> Kind:
    edges = {bytes(least), b"\xff" * most, b"\x00" * most}
    literals = st.binary(min_size=least, max_size=most).map(lambda raw: f"0x{raw.hex().upper()}")
    return Kind(sql_type, literals, tuple(sorted(f"0x{raw.hex().upper()}" for raw in edges)), BYTES)


_DAYS = st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 31)).map(dt.date.isoformat)
_CLOCK = st.integers(0, 86_399).map(lambda s: f"{s // 3600:02}:{s // 60 % 60:02}:{s % 60:02}")


def _fraction(digits: int) -> st.SearchStrategy[str]:
    return st.integers(0, 10**digits - 1).map(lambda number: f".{number:0{digits}}" if digits else "")


def _moments(digits: int, days: st.SearchStrategy[str] = _DAYS) -> st.SearchStrategy[str]:
    return st.tuples(days, _CLOCK, _fraction(digits)).map(lambda parts: f"{parts[0]} {parts[1]}{parts[2]}")


def _datetime2(digits: int) -> Kind:
    nines = f".{'9' * digits}" if digits else ""
    edges = ("'0001-01-01 00:00:00'", f"'9999-12-31 23:59:59{nines}'", f"'1969-12-31 23:59:59{nines}'")
    return Kind(f"datetime2({digits})", _quoted(_moments(digits), ""), edges, STYLE)


def _datetimeoffset(digits: int) -> Kind:
    days = st.dates(dt.date(1, 1, 3), dt.date(9999, 12, 29)).map(dt.date.isoformat)
    offsets = st.integers(-840, 840).map(lambda m: f" {'-' if m < 0 else '+'}{abs(m) // 60:02}:{abs(m) % 60:02}")
    literals = st.tuples(_moments(digits, days), offsets).map("".join)
    edges = ("'0001-01-01 00:00:00 +00:00'", "'0001-01-01 14:00:00 +14:00'", "'9999-12-31 09:59:59 -14:00'")
    return Kind(f"datetimeoffset({digits})", _quoted(literals, ""), edges, STYLE)


def _time(digits: int) -> Kind:
    literals = st.tuples(_CLOCK, _fraction(digits)).map("".join)
    return Kind(f"time({digits})", _quoted(literals, ""), ("'00:00:00'", "'23:59:59'"), STYLE)


def _double(value: float) -> str:
    return f"{value!r}E0" if "e" not in repr(value) else repr(value).upper()


def _single(value: float) -> str:
    return _double(struct.unpack("f", struct.pack("f", value))[0])


def _ticks(parts: tuple[dt.date, str, int, str]) -> str:
    day, clock, hundredths, third = parts
    return f"'{day.isoformat().replace('-', '')} {clock}.{hundredths:02}{third}'"


_VARIANTS = st.one_of(
    st.integers(-(2**31), 2**31 - 1).map(lambda number: f"CAST({number} AS int)"),
    st.integers(-(10**9), 10**9).map(lambda number: f"CAST({Decimal(number).scaleb(-2):f} AS decimal(10,2))"),
    _quoted(_moments(7), "").map(lambda text: f"CAST({text} AS datetime2(7))"),
    _quoted(st.text(_TEXT, max_size=12).filter(lambda text: len(text.encode("utf-16-le")) <= 40)).map(
        lambda text: f"CAST({text} AS nvarchar(20))"
    ),
    st.binary(max_size=8).map(lambda raw: f"CAST(0x{raw.hex()} AS varbinary(8))"),
)
_LEVELS = st.lists(st.integers(-80, 1200), min_size=1, max_size=3).map(lambda level: ".".join(map(str, level)))
_PATHS = st.lists(_LEVELS, max_size=5).map(lambda levels: "/" + "".join(f"{level}/" for level in levels))
_POINTS = st.tuples(st.integers(-80, 80), st.integers(-80, 80))

KINDS: Sequence[Kind] = (
    Kind("bit", st.sampled_from("01"), ("0", "1")),
    _integers("tinyint", 0, 255),
    _integers("smallint", -(2**15), 2**15 - 1),
    _integers("int", -(2**31), 2**31 - 1),
    _integers("bigint", -(2**63), 2**63 - 1),
    _decimals("decimal(38,0)", 38, 0),
    _decimals("decimal(38,38)", 38, 38),
    _decimals("numeric(9,2)", 9, 2),
    _decimals("money", 19, 4, -(2**63), 2**63 - 1),
    _decimals("smallmoney", 10, 4, -(2**31), 2**31 - 1),
    Kind(
        "float",
        st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False).map(_double),
        ("-1.7976931348623157E+308", "2.2250738585072014E-308", "0.0E0"),
        EXACT,
    ),
    Kind(
        "real",
        st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False, width=32).map(_single),
        ("-3.4028234663852886E+38", "1.1754943508222875E-38", "0.0E0"),
        EXACT,
    ),
    Kind("date", _quoted(_DAYS, ""), ("'0001-01-01'", "'9999-12-31'"), STYLE),
    Kind(
        "datetime",
        st.tuples(
            st.dates(dt.date(1753, 1, 1), dt.date(9999, 12, 31)), _CLOCK, st.integers(0, 99), st.sampled_from("037")
        ).map(_ticks),
        ("'17530101'", "'99991231 23:59:59.997'"),
        STYLE,
    ),
    Kind(
        "smalldatetime",
        st.tuples(st.dates(dt.date(1900, 1, 1), dt.date(2079, 6, 5)), st.integers(0, 1439)).map(
            lambda parts: f"'{parts[0].isoformat().replace('-', '')} {parts[1] // 60:02}:{parts[1] % 60:02}'"
        ),
        ("'19000101'", "'20790606 23:59'"),
        STYLE,
    ),
    *map(_datetime2, (0, 3, 6, 7)),
    *map(_datetimeoffset, (0, 3, 7)),
    *map(_time, (0, 3, 7)),
    _strings("char(5)", "cp1252", 5),
    _strings("varchar(40)", "cp1252", 40),
    _strings("varchar(40)", "cp1251", 40, "Cyrillic_General_CI_AS"),
    _strings("varchar(40)", "cp932", 40, "Japanese_CI_AS"),
    _strings("varchar(40)", "utf-8", 40, "Latin1_General_100_CI_AS_SC_UTF8"),
    _strings("varchar(max)", "cp1252", 60),
    _strings("nchar(6)", "utf-16-le", 6),
    _strings("nvarchar(30)", "utf-16-le", 30),
    _strings("nvarchar(30)", "utf-16-le", 30, "Latin1_General_BIN2"),
    _strings("nvarchar(max)", "utf-16-le", 60),
    Kind(
        "uniqueidentifier",
        st.uuids().map(lambda value: f"'{value}'"),
        ("'00000000-0000-0000-0000-000000000000'", "'FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF'"),
        "CONVERT(nvarchar(36), {0})",
    ),
    _bytes("binary(4)", 4, 4),
    _bytes("varbinary(9)", 0, 9),
    _bytes("varbinary(max)", 0, 30),
    Kind(
        "hierarchyid",
        _PATHS.map(lambda path: f"hierarchyid::Parse('{path}')"),
        ("hierarchyid::Parse('/')", "hierarchyid::Parse('/1/2.1/-3/')"),
        "{0}.ToString()",
    ),
    Kind(
        "geometry",
        _POINTS.map(lambda point: f"geometry::STGeomFromText('POINT ({point[0]} {point[1]})', 0)"),
        ("geometry::STGeomFromText('POINT (0 0)', 4326)",),
        BYTES,
    ),
    Kind(
        "geography",
        _POINTS.map(lambda point: f"geography::STGeomFromText('POINT ({point[0]} {point[1]})', 4326)"),
        (),
        BYTES,
    ),
    Kind("text", _quoted(st.text("ab é€", max_size=20)), ("N''", "N'a  '"), OLD_TEXT),
    Kind("ntext", _quoted(st.text(_TEXT, max_size=20)), ("N''", "N'a  '"), OLD_TEXT),
    Kind("image", st.binary(max_size=20).map(lambda raw: f"0x{raw.hex()}"), ("0x", "0x00"), BYTES),
    Kind(
        "xml",
        st.text("ab é€日😀", max_size=9).map(lambda text: f"N'<a b=\"{text}\">{text}</a>'"),
        ("N''", "N'<a/>'"),
        "CONVERT(nvarchar(max), {0})",
    ),
    Kind("sql_variant", _VARIANTS, ("CAST(1 AS bit)", "CAST(N'' AS nvarchar(1))"), VARIANT),
)
