"""T-SQL as tokens, by sqlglot: where code is, where comments are, which @parameters are used."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot import Token, TokenType
from sqlglot.errors import TokenError

QUOTED = frozenset(
    {
        TokenType.STRING,
        TokenType.NATIONAL_STRING,
        TokenType.IDENTIFIER,
        TokenType.RAW_STRING,
        TokenType.UNICODE_STRING,
    }
)
_FIRST_OF_NAME = re.compile(r"[\w$#@]*")
_UNCLOSED = re.compile(r"Missing (\S+) from (\d+):")


class Unclosed(Exception):
    """A string, a quoted name or a comment that is not closed; `line` is where it begins."""

    def __init__(self, what: str, line: int) -> None:
        super().__init__(what)
        self.what = what
        self.line = line


@dataclass(frozen=True, slots=True)
class ParameterUse:
    """An `@name` in code; `start` is the offset of its '@'."""

    name: str
    start: int


def tokenize(sql: str) -> list[Token]:
    """T-SQL tokens, comments left out; `token.start` and `token.end` (inclusive) are offsets in `sql`.

    Raises `Unclosed`.
    """
    # sqlglot reads Jinja comments and optimizer hints in every dialect, T-SQL has neither. The stand-ins are as long.
    plain = sql.replace("{#", "{ ").replace("/*+", "/* ")
    try:
        return list(sqlglot.tokenize(plain, read="tsql"))
    except TokenError as exc:
        found = _UNCLOSED.search(str(exc.__cause__))
        if found:
            raise Unclosed(f"{found.group(1)} is missing", int(found.group(2))) from exc
        raise Unclosed("*/ is missing", sql.count("\n", 0, max(sql.rfind("/*"), 0)) + 1) from exc


def parameter_uses(sql: str, tokens: Sequence[Token]) -> tuple[ParameterUse, ...]:
    """Every use of an `@name` in code, in order; `@@ROWCOUNT` and the like are functions and not meant."""
    uses = []
    previous_end = -2
    for token in tokens:
        if token.token_type is TokenType.PARAMETER:
            name = _FIRST_OF_NAME.match(sql, token.start + 1)
            text = name.group() if name else ""
            if text and not text.startswith("@") and previous_end != token.start - 1:
                uses.append(ParameterUse(text, token.start))
            previous_end = token.end
    return tuple(uses)


def one_line(text: str) -> str:
    """`text` with its line ends turned into blanks, so that pasting it moves no later line.

    Left as it is where that would change its meaning: a line end inside a string or quoted name, or a `--` comment.
    """
    if "\n" not in text:
        return text
    try:
        tokens = tokenize(text)
    except Unclosed:
        return text
    pieces = []
    at = 0
    for token in tokens:
        gap = text[at : token.start]
        if "--" in gap or "\n" in text[token.start : token.end + 1]:
            return text
        pieces += [gap.replace("\n", " "), text[token.start : token.end + 1]]
        at = token.end + 1
    tail = text[at:]
    return text if "--" in tail else "".join([*pieces, tail.replace("\n", " ")])


def ends_in_comment(text: str) -> bool:
    """Whether what follows `text` on its line would be part of a `--` comment."""
    try:
        return len(tokenize(f"{text} x")) == len(tokenize(text))
    except Unclosed:
        return False
