"""The `{name}` of a query file, found and replaced; `{{` and `}}` are literal braces."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sql_databricks_bridge.core.sql_tokens import QUOTED, Unclosed, tokenize
from sql_databricks_bridge.core.text_files import position

_NAME = re.compile(r"\w[\w-]*(\.\w[\w-]*)*\Z")
_BRACES = re.compile(r"\{\{|\}\}|\{|\}")
_ADVICE = "`{` begins a placeholder; write `{{` and `}}` for braces of SQL itself (ODBC escapes, JSON)"

_Context: TypeAlias = Literal["code", "quoted", "comment"]


@dataclass(frozen=True, slots=True)
class Slot:
    """A `{name}`; `raw` is how it is written. In a comment it is replaced where it can be and else left alone.

    `quoted`: it is inside a string or a quoted name.
    """

    name: str
    raw: str
    line: int
    column: int
    in_comment: bool
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class BraceProblem:
    """A brace that is neither a placeholder's nor doubled."""

    message: str
    line: int


@dataclass(frozen=True, slots=True)
class Template:
    """A query file cut at its braces: literal text and slots."""

    parts: tuple[str | Slot, ...]
    problems: tuple[BraceProblem, ...] = ()

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The placeholders in code, in order."""
        return tuple(part for part in self.parts if isinstance(part, Slot) and not part.in_comment)

    def fill(self, value_of: Callable[[Slot], str | None]) -> str:
        """The text with every slot replaced; None leaves it as it is written. Values are not expanded again."""
        pieces = []
        for part in self.parts:
            if isinstance(part, Slot):
                value = value_of(part)
                pieces.append(part.raw if value is None else value)
            else:
                pieces.append(part)
        return "".join(pieces)


def parse_template(text: str) -> Template:
    """Cut `text` at its braces. Strings count as code: `LIKE '{prefix}%'` holds a placeholder."""
    context_at = _context_finder(text)
    parts: list[str | Slot] = []
    problems: list[BraceProblem] = []
    at = 0
    while found := _BRACES.search(text, at):
        brace, start = found.group(), found.start()
        parts.append(text[at:start])
        at = found.end()
        if len(brace) == 2:
            parts.append(brace[0])
            continue
        line, column = position(text, start)
        end = _end_of_slot(text, start) if brace == "{" else None
        if end is not None and _NAME.match(text, start + 1, end):
            context = context_at(start)
            raw = text[start : end + 1]
            parts.append(Slot(raw[1:-1], raw, line, column, context == "comment", context == "quoted"))
            at = end + 1
            continue
        parts.append(brace)
        if context_at(start) != "comment":
            problems.append(BraceProblem(_describe(text, start, end, brace, column), line))
            if end is not None:
                parts.append(text[at : end + 1])
                at = end + 1
    parts.append(text[at:])
    return Template(tuple(part for part in parts if part != ""), tuple(problems))


def _end_of_slot(text: str, start: int) -> int | None:
    """Offset of the `}` on the same line with no brace between."""
    for offset in range(start + 1, len(text)):
        if text[offset] == "}":
            return offset
        if text[offset] in "{\n":
            return None
    return None


def _describe(text: str, start: int, end: int | None, brace: str, column: int) -> str:
    if brace == "}":
        return f"column {column}: a single `}}`; {_ADVICE}"
    shown = text[start : start + 20 if end is None else min(end + 1, start + 40)].split("\n")[0]
    return f"column {column}: `{shown}` is not a placeholder; {_ADVICE}"


def _context_finder(text: str) -> Callable[[int], _Context]:
    """Tell what an offset is in."""
    try:
        tokens = tokenize(text)
    except Unclosed:
        return lambda _: "code"  # the guard will say what is not closed
    starts = [token.start for token in tokens]

    def context_at(offset: int) -> _Context:
        index = bisect_right(starts, offset) - 1
        if index < 0 or offset > tokens[index].end:
            return "comment"
        return "quoted" if tokens[index].token_type in QUOTED else "code"

    return context_at
