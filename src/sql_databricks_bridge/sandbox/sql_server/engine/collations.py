"""Collations by name: their numbers on the wire, their code pages, and how strings compare under them.

Names and what their parts mean: "Collation and Unicode support", "Windows collation name", "SQL Server collation name".
A family whose order the stand-in does not know is refused by name; what SQL Server has no collation of is Msg 448.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..contract import DEFAULT_COLLATION, Collation, SqlType
from .errors import error, unsupported
from .types import is_string, is_unicode

_IGNORE_CASE, _IGNORE_ACCENT, _IGNORE_KANA, _IGNORE_WIDTH = 0x10, 0x20, 0x40, 0x80
_BINARY, _BINARY2, _UTF8 = 0x100, 0x200, 0x400


@dataclass(frozen=True, slots=True)
class _Family:
    """Windows collations of one language; `versions` are those that it comes in (0, 1 and 2: 80, 90 and 100)."""

    name: str
    lcid: int
    codepage: str
    versions: tuple[int, ...] = (0, 2)


_FAMILIES = {
    family.name.upper(): family
    for family in (
        _Family("Latin1_General", 0x0409, "cp1252"),
        _Family("Modern_Spanish", 0x0C0A, "cp1252"),
        _Family("Cyrillic_General", 0x0419, "cp1251"),
        _Family("Japanese", 0x0411, "cp932", (0, 1)),
        _Family("Chinese_PRC", 0x0804, "cp936", (0, 1)),
    )
}
_LATIN = (0x0409, 0x0C0A)
_CYRILLIC = 0x0419
_VERSIONS = {"": 0, "_90": 1, "_100": 2}
_WINDOWS = re.compile(
    rf"({'|'.join(_FAMILIES)})(_90|_100|)_(?:(BIN2?)|(C[IS])_(A[IS])(_KS)?(_WS)?(_SC)?)(_UTF8)?", re.ASCII
)
_OWN = {  # SQL Server's own, by flags and sort order
    "SQL_LATIN1_GENERAL_CP1_CI_AS": (0xD0, 52),
    "SQL_LATIN1_GENERAL_CP1_CS_AS": (0xC0, 51),
    "SQL_LATIN1_GENERAL_CP1_CI_AI": (0xF0, 54),
}
_LACKING = (
    *("ALBANIAN_", "ARABIC_", "ASSAMESE_", "AZERI_", "BASHKIR_", "BENGALI_", "BOSNIAN_", "BRETON_", "CHINESE_"),
    *("CORSICAN_", "CROATIAN_", "CZECH_", "DANISH_", "DARI_", "DIVEHI_", "ESTONIAN_", "FINNISH_SWEDISH_", "FRENCH_"),
    *("FRISIAN_", "GEORGIAN_", "GERMAN_", "GREEK_", "HEBREW_", "HUNGARIAN_", "ICELANDIC_", "INDIC_GENERAL_"),
    *("JAPANESE_BUSHU_", "JAPANESE_UNICODE_", "JAPANESE_XJIS_", "KAZAKH_", "KHMER_", "KOREAN_", "LAO_", "LATVIAN_"),
    *("LITHUANIAN_", "MACEDONIAN_", "MALTESE_", "MAORI_", "MAPUDUNGAN_", "MOHAWK_", "NEPALI_", "NORWEGIAN_", "PASHTO_"),
    *("PERSIAN_", "POLISH_", "ROMANIAN_", "ROMANSH_", "SAMI_", "SERBIAN_", "SLOVAK_", "SLOVENIAN_", "SQL_", "SYRIAC_"),
    *("TAMAZIGHT_", "TATAR_", "THAI_", "TIBETAN_", "TRADITIONAL_SPANISH_", "TURKISH_", "TURKMEN_", "UIGHUR_"),
    *("UKRAINIAN_", "UPPER_SORBIAN_", "URDU_", "UZBEK_", "VIETNAMESE_", "WELSH_", "YAKUT_"),
)
"""How names of sys.fn_helpcollations begin that SQL Server has and the stand-in has not."""


def collation(name: str) -> Collation:
    """The collation of that name, or SqlError 448; names with rules the stand-in lacks are refused."""
    upper = name.upper()
    if upper in ("DATABASE_DEFAULT", "CATALOG_DEFAULT"):
        return DEFAULT_COLLATION
    if upper in _OWN:
        flags, sort = _OWN[upper]
        return Collation("SQL_Latin1_General_CP1_" + upper[-5:], 0x0409, flags, 0, sort, "cp1252")
    match = _WINDOWS.fullmatch(upper)
    if match is not None:
        return _windows(name, match)
    if upper.startswith(_LACKING):
        raise unsupported(f"the collation {name}")
    raise error(448, f"Invalid collation '{name}'.")


def _windows(name: str, match: re.Match[str]) -> Collation:
    family, version = _FAMILIES[match[1]], _VERSIONS[match[2]]
    binary, case, accent, kana, width, supplementary, utf8 = match.groups()[2:]
    sole = "".join(match.groups("")) == "LATIN1_GENERAL_100BIN2_UTF8"  # the one of UTF-8 that is binary
    if version not in family.versions or (supplementary and version == 0) or (utf8 and not supplementary and not sole):
        raise error(448, f"Invalid collation '{name}'.")
    if accent == "AI" and family.lcid not in _LATIN:
        raise unsupported(f"the collation {name} (accents of letters that are not Latin)")
    flags = {"BIN": _BINARY, "BIN2": _BINARY2}.get(binary or "", 0)
    if not binary:
        flags |= _IGNORE_CASE if case == "CI" else 0
        flags |= _IGNORE_ACCENT if accent == "AI" else 0
        flags |= 0 if kana else _IGNORE_KANA
        flags |= 0 if width else _IGNORE_WIDTH
    tail = match[0][len(family.name) :]
    codepage = "utf-8" if utf8 else family.codepage
    return Collation(family.name + tail, family.lcid, flags | (_UTF8 if utf8 else 0), version, 0, codepage)


def property_of(c: Collation, name: str) -> int | None:
    """COLLATIONPROPERTY; None for a property that it has not."""
    if name == "codepage":
        return page_number(c)
    if name == "lcid":
        return c.lcid
    if name == "version":
        return c.version
    if name == "comparisonstyle":
        bits = ((_IGNORE_CASE, 1), (_IGNORE_ACCENT, 2), (_IGNORE_KANA, 0x10000), (_IGNORE_WIDTH, 0x20000))
        return sum(style for flag, style in bits if c.flags & flag)
    return None


def page_of_name(sql: str) -> str:
    """PostgreSQL's text for the code page of a collation whose name is computed; NULL for a name that is none."""
    pages = [("_UTF8$", "65001"), ("^SQL_Latin1_General_CP1_", "1252")]
    pages += [(f"^{family.name}_", family.codepage[2:]) for family in _FAMILIES.values()]
    arms = " ".join(f"WHEN {sql} ~* '{pattern}' THEN {number}" for pattern, number in pages)
    return f"(CASE {arms} END)"


# -- what a collation means for its strings ---------------------------------------------------------------------------


def key_kind(c: Collation | None) -> str:
    """How strings of this collation compare: 'ci', 'cs', 'ciai', 'csai' or 'bin'."""
    flags = (c or DEFAULT_COLLATION).flags
    if flags & (_BINARY | _BINARY2):
        return "bin"
    return ("ci" if flags & _IGNORE_CASE else "cs") + ("ai" if flags & _IGNORE_ACCENT else "")


def alphabet(c: Collation | None) -> str:
    """Whose order it sorts by: 'latin', 'cyrillic' or 'eastern'."""
    lcid = (c or DEFAULT_COLLATION).lcid
    return "cyrillic" if lcid == _CYRILLIC else "latin" if lcid in _LATIN else "eastern"


def blurs_forms(c: Collation | None) -> bool:
    """Whether kana, or letters of full and half width, are one to it that PostgreSQL tells apart."""
    kind, flags = key_kind(c), (c or DEFAULT_COLLATION).flags
    one = kind == "ci" or bool(flags & (_IGNORE_KANA | _IGNORE_WIDTH))
    return kind != "bin" and one and alphabet(c) == "eastern"


def counts_characters(t: SqlType) -> bool:
    """Whether a character beyond U+FFFF counts once, in LEN and positions: under _SC."""
    return "_SC" in (t.collation or DEFAULT_COLLATION).name


def page_number(c: Collation | None) -> int:
    """The Windows code page of char and varchar."""
    codec = (c or DEFAULT_COLLATION).codepage
    return 65001 if codec == "utf-8" else int(codec.removeprefix("cp"))


def page(t: SqlType) -> int:
    """The code page of a char, varchar or text type."""
    return page_number(t.collation)


def bytes_of_character(t: SqlType) -> int:
    """How many units of a type's length one character takes at most."""
    if is_unicode(t):
        return 2 if counts_characters(t) else 1
    return {65001: 4, 932: 2, 936: 2}.get(page(t), 1)


def same_page(a: SqlType, b: SqlType) -> bool:
    """Whether text goes from one to the other without a change of code page."""
    if not is_string(a) or not is_string(b) or is_unicode(a) or is_unicode(b):
        return True
    return page(a) == page(b)


def check_legacy(t: SqlType, c: Collation, line: int = 0) -> None:
    """Msg 4189: text and ntext know neither UTF-8 nor supplementary characters."""
    if t.name in ("text", "ntext") and ("_SC" in c.name or c.flags & _UTF8):
        raise error(
            4189,
            f"Cannot convert to text/ntext or collate to '{c.name}' because these legacy LOB types do not support "
            "UTF-8 or UTF-16 encodings. Use types varchar(max), nvarchar(max) or a collation which does not have the "
            "_SC or _UTF8 flags.",
            line=line,
        )
