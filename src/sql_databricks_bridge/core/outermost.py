"""The outermost SELECT of a T-SQL query, found in its tokens: its list, its last ORDER BY, its OPTION clause.

Read from tokens and not rebuilt from a syntax tree: what is not touched stays the user's own text, to the last
comment, and T-SQL that no parser but SQL Server's knows passes through.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlglot import Token, TokenType

from sql_databricks_bridge.core.sql_tokens import QUOTED, Unclosed, tokenize

_SET_OPERATORS = frozenset({"UNION", "EXCEPT", "INTERSECT"})
_AFTER_LIST = frozenset({"FROM", "WHERE", "GROUP", "HAVING", "WINDOW", *_SET_OPERATORS})
_NAMES = frozenset({TokenType.VAR, TokenType.IDENTIFIER})


class CantRewrite(Exception):
    """Why this query's outermost SELECT can't have anything put around it; a phrase for people."""


@dataclass(frozen=True, slots=True)
class OrderItem:
    """One item of the last ORDER BY: its text, its direction ('', 'ASC' or 'DESC'), and what it is.

    `name` is a plain column's or alias's name, unquoted; `ordinal` a position from 1; `text` alone for anything else.
    """

    text: str
    direction: str
    name: str | None = None
    ordinal: int | None = None


@dataclass(frozen=True, slots=True)
class Outermost:
    """Offsets in `sql`: `select` is where the SELECT begins behind the WITH list, `list_end` where an item can be added
    to its list (None for UNION and the like), `order` and `options` are the spans of those clauses, end excluded.

    `keeps_order`: TOP or OFFSET make the ORDER BY part of what the result is.
    """

    sql: str
    select: int
    list_end: int | None
    is_distinct: bool
    keeps_order: bool
    items: tuple[OrderItem, ...]
    order: tuple[int, int] | None
    options: tuple[int, int] | None

    @property
    def head(self) -> str:
        """The WITH list, '' where there is none."""
        return self.sql[: self.select]


def outermost(sql: str) -> Outermost:
    """Find it; `CantRewrite` for FOR XML, FOR JSON, FOR BROWSE and for what is no SELECT at all."""
    try:
        tokens = [token for token in tokenize(sql) if token.token_type is not TokenType.SEMICOLON]
    except Unclosed as exc:
        raise CantRewrite(f"{exc.what} in line {exc.line}") from exc
    if not tokens:
        raise CantRewrite("it holds no SELECT")
    first = main_select(tokens)
    level = [index for index, _ in _outer(tokens, first)]
    words = {index: word(tokens[index]) for index in level}
    begins = words[first]
    if begins not in ("SELECT", "("):
        raise CantRewrite(f"it begins with {tokens[first].text.upper()}")
    for index in level:
        after = word(tokens[index + 1]) if index + 1 < len(tokens) else ""
        if words[index] == "FOR" and after in ("XML", "JSON", "BROWSE"):
            raise CantRewrite(f"it has FOR {after}")
    order = next((index for index in reversed(level) if words[index].split(" ")[0] == "ORDER"), None)
    options = next(
        (index for index in level if words[index] == "OPTION" and index + 1 in words and words[index + 1] == "("), None
    )
    is_set = begins == "(" or any(words[index].split(" ")[0] in _SET_OPERATORS for index in level)
    end = tokens[options].start if options is not None else tokens[-1].end + 1
    item_end = options if options is not None else len(tokens)
    offset = None if order is None else _offset(tokens, level, order)
    if offset is not None:
        item_end = offset
    introduction = [words[index] for index in level[:3]]
    return Outermost(
        sql=sql,
        select=tokens[first].start,
        list_end=None if is_set else _list_end(tokens, level, words),
        is_distinct="DISTINCT" in introduction,
        keeps_order=offset is not None or (not is_set and "TOP" in introduction),
        items=() if order is None else tuple(_items(sql, tokens, order, item_end)),
        order=None if order is None else (tokens[order].start, end),
        options=None if options is None else (tokens[options].start, tokens[-1].end + 1),
    )


def main_select(tokens: Sequence[Token]) -> int:
    """Where the SELECT begins behind a WITH list: after the `)` that neither AS nor a comma follows."""
    if word(tokens[0]) != "WITH":
        return 0
    depth = 0
    for index, token in enumerate(tokens):
        depth += _step(token)
        closes = depth == 0 and _step(token) < 0
        if closes and index + 1 < len(tokens) and word(tokens[index + 1]) not in ("AS", ","):
            return index + 1
    return 0


def word(token: Token) -> str:
    """The token in capitals, blanks between its words made one; '' for a string or a quoted name."""
    return "" if token.token_type in QUOTED else " ".join(token.text.upper().split())


def _outer(tokens: Sequence[Token], first: int) -> Iterator[tuple[int, Token]]:
    """Tokens outside of all parentheses, the opening and closing ones included."""
    depth = 0
    for index in range(first, len(tokens)):
        step = _step(tokens[index])
        if depth == 0 or (depth == 1 and step < 0):
            yield index, tokens[index]
        depth += step


def _list_end(tokens: Sequence[Token], level: Sequence[int], words: dict[int, str]) -> int:
    """Behind the last token of the SELECT list: before it may stand a comment, behind it nothing of the list."""
    for index in level[1:]:
        name = words[index].split(" ")[0]
        after = words.get(index + 1, "")
        if name in _AFTER_LIST or name == "ORDER" or (name == "OPTION" and after == "("):
            return tokens[index - 1].end + 1
    return tokens[-1].end + 1


def _offset(tokens: Sequence[Token], level: Sequence[int], order: int) -> int | None:
    """Where OFFSET n ROWS begins: not a column of that name."""
    for index in level:
        if index > order and word(tokens[index]) == "OFFSET":
            before = word(tokens[index - 1])
            if before not in ("BY", "ORDER BY", ",", "."):
                return index
    return None


def _items(sql: str, tokens: Sequence[Token], order: int, end: int) -> Iterator[OrderItem]:
    start = order + (1 if word(tokens[order]) == "ORDER BY" else 2)
    depth, begun = 0, start
    for index in range(start, end + 1):
        closes = index == end
        if closes or (depth == 0 and word(tokens[index]) == ","):
            if index > begun:
                yield _item(sql, tokens[begun:index])
            begun = index + 1
        if not closes:
            depth += _step(tokens[index])


def _item(sql: str, tokens: Sequence[Token]) -> OrderItem:
    direction = word(tokens[-1]) if word(tokens[-1]) in ("ASC", "DESC") else ""
    parts = tokens[:-1] if direction else tokens
    if not parts:
        raise CantRewrite("its ORDER BY can't be read")
    text = sql[parts[0].start : parts[-1].end + 1]
    if len(parts) == 1 and parts[0].token_type is TokenType.NUMBER and text.isdigit():
        return OrderItem(text, direction, ordinal=int(text))
    if len(parts) == 1 and (parts[0].token_type in _NAMES or text.replace("_", "").isalnum()):
        return OrderItem(text, direction, name=parts[0].text)
    return OrderItem(text, direction)


def _step(token: Token) -> int:
    return {"(": 1, ")": -1}.get(word(token), 0)
