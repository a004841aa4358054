"""A query as a derived table: T-SQL put around the user's SELECT, whose line n stays line n.

`WITH a AS (...) SELECT ... ORDER BY x OPTION (RECOMPILE)` becomes
`WITH a AS (...) <before> SELECT ... <after> OPTION (RECOMPILE)`. What T-SQL refuses in a derived table is refused here,
by name; a last ORDER BY is left out, since rows of a table have no order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import Token, TokenType

from sql_databricks_bridge.core.sql_tokens import QUOTED, Unclosed, parameter_uses, tokenize
from sql_databricks_bridge.core.text_files import position
from sql_databricks_bridge.errors import UsageError
from sql_databricks_bridge.models.jobs import ResolvedQuery

_SET_OPERATORS = frozenset({"UNION", "EXCEPT", "INTERSECT"})
_ROWS_OF = "an increment asks for some rows of the query, so the query has to be the same set of rows each time"


@dataclass(frozen=True, slots=True)
class Wrappable:
    """A query cut at its seams: `head` is its WITH list, `body` its SELECT, `options` its OPTION clause or ''.

    `head + body` has the lines of the query; `names` are the @names in it, in lower case.
    """

    head: str
    body: str
    options: str
    names: frozenset[str]

    def within(self, before: str, after: str) -> str:
        """Put the SELECT between two pieces of SQL; neither may be on lines before the query's."""
        assert "\n" not in before, "it would move the user's lines"
        ends = f"\n{self.options}" if self.options else ""
        return f"{self.head}{before}{self.body}\n{after}{ends}"  # the line end closes a comment of the query's

    def free_name(self, wanted: str) -> str:
        """A parameter's name that the query does not use: `wanted`, with as many underscores as it takes."""
        while wanted.lower() in self.names:
            wanted += "_"
        return wanted


def wrappable(query: ResolvedQuery) -> Wrappable:
    """Cut a query; `UsageError` with file and line for one that can't be a derived table."""
    sql = query.sql
    try:
        tokens = tokenize(sql)
    except Unclosed as exc:
        raise UsageError(f"{query.file}:{exc.line}: {exc.what}.", hint="Close the string, name or comment.") from exc
    tokens = [token for token in tokens if token.token_type is not TokenType.SEMICOLON]
    if not tokens:
        raise UsageError(f"{query.file} holds no SELECT.")
    first = _main_select(tokens)
    body_start = tokens[first].start
    order, options = _checked_clauses(query, tokens, first)
    characters = list(sql)
    if options is not None:
        _blank(characters, options.start, tokens[-1].end)
    if order is not None:
        _blank(characters, order.start, (options.start if options is not None else len(characters)) - 1)
    for semicolon in (token for token in tokenize(sql) if token.token_type is TokenType.SEMICOLON):
        characters[semicolon.start] = " "
    used = {use.name.lower() for use in parameter_uses(sql, tokens)}
    return Wrappable(
        head="".join(characters[:body_start]),
        body="".join(characters[body_start:]),
        options=sql[options.start : tokens[-1].end + 1] if options is not None else "",
        names=frozenset(used | {parameter.name.lower() for parameter in query.parameters}),
    )


def _main_select(tokens: Sequence[Token]) -> int:
    """Where the SELECT begins behind a WITH list: after the `)` that neither AS nor a comma follows."""
    if _word(tokens[0]) != "WITH":
        return 0
    depth = 0
    for index, token in enumerate(tokens):
        depth += _step(token)
        closes = depth == 0 and _step(token) < 0
        if closes and index + 1 < len(tokens) and _word(tokens[index + 1]) not in ("AS", ","):
            return index + 1
    return 0


def _checked_clauses(query: ResolvedQuery, tokens: Sequence[Token], first: int) -> tuple[Token | None, Token | None]:
    """The tokens that begin the last ORDER BY and the OPTION clause, None where there is none."""
    order: Token | None = None
    level: list[bool] = []  # of each open parenthesis: whether it holds a SELECT of the outermost level
    for index in range(first, len(tokens)):
        token, before = tokens[index], _word(tokens[index - 1]) if index > first else ""
        after = _word(tokens[index + 1]) if index + 1 < len(tokens) else ""
        word = _word(token)
        outermost = all(level)
        if word == "(":
            level.append(outermost and _holds_a_select(tokens[first:index]))
        elif word == ")" and level:
            level.pop()
        elif not outermost:
            continue
        elif word == "TOP" and before in ("SELECT", "ALL", "DISTINCT"):
            raise _refused(query, token, "TOP")
        elif word == "FOR" and after in ("XML", "JSON", "BROWSE"):
            raise _refused(query, token, f"FOR {after}")
        elif word.split(" ")[0] == "ORDER" and not level:
            order = token
        elif order is not None and word == "OFFSET" and before not in ("BY", "ORDER BY", ",", "."):
            raise _refused(query, token, "OFFSET")
        elif word == "OPTION" and after == "(" and not level:
            return order, token
    return order, None


def _holds_a_select(before: Sequence[Token]) -> bool:
    """Whether a parenthesis behind those tokens, at the outermost level, is about a whole SELECT."""
    words = [_word(token) for token in before[-2:]]
    if not before or words[-1] == "(":
        return True
    return words[-1] in _SET_OPERATORS or words[-2:] == ["UNION", "ALL"] or words[-1] == "UNION ALL"


def _refused(query: ResolvedQuery, token: Token, what: str) -> UsageError:
    line, _ = position(query.sql, token.start)
    return UsageError(
        f"{query.file}:{line}: a query with `incremental:` can't have {what} in its outermost SELECT: {_ROWS_OF}.",
        hint=f"Take {what} out, or take the query out of `incremental:` so that it is published in full.",
    )


def _blank(characters: list[str], start: int, end: int) -> None:
    """Turn characters from `start` to `end` (inclusive) into blanks; line ends stay."""
    for index in range(start, min(end + 1, len(characters))):
        if characters[index] not in "\r\n":
            characters[index] = " "


def _step(token: Token) -> int:
    return {"(": 1, ")": -1}.get(_word(token), 0)


def _word(token: Token) -> str:
    """The token in capitals, blanks between its words made one; '' for a string or a quoted name."""
    return "" if token.token_type in QUOTED else " ".join(token.text.upper().split())
