"""PostgreSQL text that treats char and varchar as SQL Server does: in the bytes of their collation's code page.

PostgreSQL holds all text in UTF-8. Where a code page has one byte for each character its lengths are characters; else
support/21_code_pages.sql counts. nchar and nvarchar count UTF-16 units.
"""

from __future__ import annotations

from dataclasses import replace

from ..contract import DEFAULT_COLLATION, MAX_LENGTH, SqlType
from .bound import Ex
from .collations import bytes_of_character, page, same_page
from .pg import quote
from .types import is_string, is_unicode, with_collation
from .values import to_codepage

UTF8 = 65001
_DEFAULT = 1252


def counts_bytes(t: SqlType) -> bool:
    """Whether a char or varchar type may take several bytes for a character."""
    return is_string(t) and not is_unicode(t) and bytes_of_character(t) > 1


def to_page(sql: str, t: SqlType) -> str:
    """Text in the code page of char or varchar `t`: what that lacks is '?', or refused."""
    if page(t) == UTF8:
        return sql
    return f"tsql.to_ansi({sql})" if page(t) == _DEFAULT else f"tsql.to_page({sql}, {page(t)})"


def text_bytes(sql: str, t: SqlType) -> str:
    """The bytes of a text of type `t`, as CONVERT to varbinary and HASHBYTES see them."""
    if is_unicode(t):
        return f"tsql.utf16_bytes({sql})"
    return f"tsql.ansi_bytes({sql})" if page(t) == _DEFAULT else f"tsql.page_bytes({sql}, {page(t)})"


def bytes_text(sql: str, t: SqlType) -> str:
    """The text that bytes are under type `t`."""
    if is_unicode(t):
        return f"tsql.bytes_utf16({sql})"
    return f"tsql.bytes_ansi({sql})" if page(t) == _DEFAULT else f"tsql.bytes_page({sql}, {page(t)})"


def data_length(sql: str, t: SqlType) -> str:
    """DATALENGTH."""
    if is_unicode(t):
        return f"(2 * tsql.units({sql}))"
    return f"tsql.page_length({sql}, {page(t)})" if counts_bytes(t) else f"char_length({sql})"


def cut(sql: str, t: SqlType, n: int | None, *, ascii_only: bool = False) -> str:
    """At most `n` bytes or UTF-16 units of it, never half a character."""
    if n in (None, MAX_LENGTH):
        return sql
    if counts_bytes(t) and not ascii_only:
        return f"tsql.left_page({sql}, {n}, {page(t)})"
    return f"left({sql}, {n})" if ascii_only or not is_unicode(t) else f"tsql.left_units({sql}, {n})"


def padded(sql: str, t: SqlType) -> str:
    """Blank-padded to the length of char or nchar."""
    if is_unicode(t):
        return f"tsql.pad_units({sql}, {t.length})"
    return f"tsql.pad_page({sql}, {t.length}, {page(t)})" if counts_bytes(t) else f"rpad({sql}, {t.length})"


def fitted(sql: str, t: SqlType, where: str) -> str:
    """Text that goes into a column of type `t` whole, or Msg 2628."""
    if is_unicode(t):
        return f"tsql.fit_unicode_column({sql}, {t.length}, {quote(where)})"
    if counts_bytes(t):
        return f"tsql.fit_page_column({sql}, {t.length}, {quote(where)}, {page(t)})"
    return f"tsql.fit_ansi_column({sql}, {t.length}, {quote(where)})"


def constant_on_page(text: str, source: SqlType, target: SqlType) -> str | None:
    """What a constant of type `source` is as `target`; None where only PostgreSQL knows."""
    if not is_unicode(target) and (is_unicode(source) or not same_page(source, target)):
        text = to_codepage(text, (target.collation or DEFAULT_COLLATION).codepage)
    if target.length in (None, MAX_LENGTH):
        return text
    return None if bytes_of_character(target) > 1 or is_unicode(target) else text[: target.length]


def on_page_of(ex: Ex, target: SqlType) -> Ex:
    """A string under `target`'s collation: char and varchar change to its code page, nchar and nvarchar stay."""
    if not is_string(ex.type):
        return ex
    t = with_collation(ex.type, target.collation)
    if same_page(ex.type, t):
        return ex.but(type=t)
    wide, constant = widened(t, ex.type), None
    if ex.constant is not None:
        codec = (t.collation or DEFAULT_COLLATION).codepage
        constant = to_codepage(ex.constant, codec)
        if t.name == "varchar" and t.length != MAX_LENGTH:
            wide = replace(t, length=max(len(constant.encode(codec, "replace")), 1))
    return ex.but(sql=to_page(ex.sql, t), type=wide, key=None, constant=constant)


def widened(t: SqlType, source: SqlType) -> SqlType:
    """`t` with room for what it holds in another code page than `source`'s."""
    if t.length in (None, MAX_LENGTH) or not counts_bytes(t) or same_page(t, source):
        return t
    length = (t.length or 1) * (3 if page(t) == UTF8 else 2)
    return SqlType(t.name, min(length, 8000), collation=t.collation)
