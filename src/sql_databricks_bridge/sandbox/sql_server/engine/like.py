"""LIKE ("LIKE (Transact-SQL)"): %, _, [set], [^set], ESCAPE; PATINDEX uses the same patterns."""

from __future__ import annotations

import unicodedata

from ..contract import DEFAULT_COLLATION
from .bound import Ex
from .collations import blurs_forms, key_kind
from .convert import convert
from .errors import error, unsupported
from .pg import quote
from .types import is_string, is_unicode, nvarchar, varchar
from .typing_rules import collation_of, told_apart

_SPECIAL = set("\\.^$*+?()[]{}|")
_LETTERS = [chr(i) for i in range(0x20, 0x250) if chr(i).isalpha()]


def _base(c: str) -> str:
    return unicodedata.normalize("NFD", c.lower())[0]


def _class(body: str, negated: bool, ci: bool) -> str:
    """A [...] set as a regular-expression class; letter ranges hold accented letters, as collations sort them."""
    out: list[str] = []
    i = 0
    while i < len(body):
        if i + 2 < len(body) and body[i + 1] == "-":
            low, high = body[i], body[i + 2]
            out.extend(_range(low, high, ci))
            i += 3
            continue
        out.extend({body[i].lower(), body[i].upper()} if ci else {body[i]})
        i += 1
    singles = sorted({c for c in out if len(c) == 1})
    text = "".join("\\" + c if c in "\\]^-[" else c for c in singles)
    if not text:
        return "(?!)" if not negated else "."
    return f"[{'^' if negated else ''}{text}]"


def _range(low: str, high: str, ci: bool) -> list[str]:
    if low.isdigit() and high.isdigit() and low.isascii() and high.isascii():
        return [chr(c) for c in range(ord(low), ord(high) + 1)]
    if low.isascii() and high.isascii() and low.isalpha() and high.isalpha():
        a, b = low.lower(), high.lower()
        if not ci and (low.isupper() != high.isupper()):
            raise unsupported(f"the LIKE range [{low}-{high}] under a case-sensitive collation")
        inside = [c for c in _LETTERS if a <= _base(c) <= b and not (_base(c) == b and c.lower() != b)]
        if ci:
            return inside
        # Case-sensitive ranges follow the sort order aAbBcC, which the two kinds of collation order differently.
        raise unsupported(f"the LIKE range [{low}-{high}] under a case-sensitive collation")
    raise unsupported(f"the LIKE range [{low}-{high}]")


def to_regex(pattern: str, escape: str | None, *, ci: bool) -> str:
    """The pattern as a PostgreSQL ARE, without anchors."""
    out = []
    i = 0
    while i < len(pattern):
        c = pattern[i]
        if escape and c == escape:
            i += 1
            if i == len(pattern):
                return "(?!)"  # "LIKE (Transact-SQL)": an escape character without one after it makes LIKE false
            out.append("\\" + pattern[i] if pattern[i] in _SPECIAL else pattern[i])
        elif c == "%":
            out.append(".*")
        elif c == "_":
            out.append(".")
        elif c == "[":
            end = pattern.find("]", i + 1)
            if end < 0:
                return "(?!)"  # an unclosed set matches nothing
            body = pattern[i + 1 : end]
            negated = body.startswith("^")
            out.append(_class(body[1:] if negated else body, negated, ci))
            i = end
        else:
            out.append("\\" + c if c in _SPECIAL else c)
        i += 1
    return "".join(out)


def _escape_of(escape: Ex | None) -> str | None:
    if escape is None:
        return None
    if escape.constant is None or len(escape.constant) > 1:
        raise error(
            506, f'The invalid escape character "{escape.constant}" was specified in a LIKE predicate.', severity=15
        )
    return escape.constant or None


def bind_like(ex: Ex, pattern: Ex, escape: Ex | None) -> str:
    """A PostgreSQL condition for `ex LIKE pattern`."""
    if ex.is_null or pattern.is_null:
        return "NULL::bool"
    unicode = is_unicode(ex.type) or is_unicode(pattern.type)
    wide = nvarchar(-1) if unicode else varchar(-1)
    text = ex if is_string(ex.type) else convert(ex, wide)
    shape = pattern if is_string(pattern.type) else convert(pattern, wide)
    c = collation_of([text, shape], operation="like")
    kind = key_kind(c)
    if kind.endswith("ai"):
        raise unsupported("LIKE under an accent-insensitive collation")
    ci = kind == "ci"
    mark = _escape_of(escape)
    searched, sought = told_apart(text.sql, c), told_apart(shape.sql, c)
    subject = f"lower({searched})" if ci else searched
    if shape.constant is None or searched != text.sql:
        if shape.constant is not None and (mark is not None or "[" in shape.constant):
            raise unsupported("LIKE with ESCAPE or a set of characters under an East Asian collation")
        other = f"lower({sought})" if ci else sought
        ansi = "false" if unicode else "true"
        return (
            f"tsql.like_dynamic({subject}, {other}, {quote(mark.lower() if ci else mark) if mark else 'NULL'}, {ansi})"
        )
    constant = shape.constant
    simple = "[" not in constant and mark is None and "\\" not in constant
    if simple and (unicode or constant.endswith("%")):
        return f"({subject} LIKE {quote(constant.lower() if ci else constant)})"
    regex = to_regex(constant.lower() if ci and "[" not in constant else constant, mark, ci=ci)
    if ci:
        regex = to_regex(_lower_outside_sets(constant), mark.lower() if mark else None, ci=True)
    tail = "" if unicode else " *"
    return f"({subject} ~ {quote('^(?:' + regex + ')' + tail + '$')})"


def _lower_outside_sets(pattern: str) -> str:
    """Lower case is safe inside sets too: the class holds both cases."""
    return pattern.lower()


def patindex(pattern: Ex, ex: Ex) -> str:
    """PATINDEX: 1-based position of the first match, 0 if none."""
    if pattern.constant is None:
        raise unsupported("PATINDEX with a pattern that is not a constant or a variable")
    text, c = ex, ex.type.collation or DEFAULT_COLLATION
    if blurs_forms(c):
        raise unsupported(f"PATINDEX under {c.name}")
    ci = key_kind(c) == "ci"
    constant = pattern.constant
    head = constant.startswith("%")
    tail = constant.endswith("%") and len(constant) > 1
    body = constant[1 if head else 0 : -1 if tail else None]
    regex = to_regex(body.lower() if ci else body, None, ci=ci)
    full = ("" if head else "^") + "(?:" + regex + ")" + ("" if tail else "$")
    subject = f"lower({text.sql})" if ci else text.sql
    return f"coalesce(regexp_instr({subject}, {quote(full)}), 0)"
