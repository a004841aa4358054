"""T-SQL text to tokens.

Hand-written because line numbers, `N''` literals, `[bracketed]` names and nested comments all have to survive exactly:
sqlglot's T-SQL reader folds distinct functions into one node and reads control flow as opaque commands.
Source: "Transact-SQL syntax conventions", "Database identifiers" and "Constants" in Microsoft's documentation.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import syntax_error

ID = "id"  # regular identifier or keyword
QUOTED = "quoted"  # [x] or "x"
STRING = "string"
NSTRING = "nstring"
BINARY = "binary"
INTEGER = "integer"
DECIMAL = "decimal"
FLOAT = "float"
MONEY = "money"
VARIABLE = "variable"
OP = "op"
END = "end"

_TWO = {"<>", "!=", "<=", ">=", "!<", "!>", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "::", "||"}
_ONE = set("+-*/%&|^~=<>(),.;:!{}?\\$")


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `text` is the value (quotes undone), `upper` its upper case for keyword tests."""

    kind: str
    text: str
    line: int
    upper: str
    start: int
    end: int


def _is_start(c: str) -> bool:
    return c.isalpha() or c in "_#"


def _is_part(c: str) -> bool:
    return c.isalnum() or c in "_#@$"


class Lexer:
    """Turns one batch into tokens; raises SqlError 102, 105 or 113."""

    def __init__(self, sql: str, quoted_identifier: bool = True) -> None:
        self.sql = sql
        self.quoted_identifier = quoted_identifier
        self.pos = 0
        self.line = 1
        self.tokens: list[Token] = []

    def run(self) -> list[Token]:
        """All tokens, an END token last."""
        while True:
            self._skip_blank()
            if self.pos >= len(self.sql):
                self.tokens.append(Token(END, "", self.line, "", len(self.sql), len(self.sql)))
                return self.tokens
            self._one()

    def _skip_blank(self) -> None:
        sql, size = self.sql, len(self.sql)
        while self.pos < size:
            c = sql[self.pos]
            if c == "\n":
                self.line += 1
                self.pos += 1
            elif c.isspace() or c in "\ufeff\u200b":
                self.pos += 1
            elif sql.startswith("--", self.pos):
                end = sql.find("\n", self.pos)
                self.pos = size if end < 0 else end
            elif sql.startswith("/*", self.pos):
                self._comment()
            else:
                return

    def _comment(self) -> None:
        depth, started = 0, self.line
        while self.pos < len(self.sql):
            if self.sql.startswith("/*", self.pos):
                depth += 1
                self.pos += 2
            elif self.sql.startswith("*/", self.pos):
                depth -= 1
                self.pos += 2
                if depth == 0:
                    return
            else:
                if self.sql[self.pos] == "\n":
                    self.line += 1
                self.pos += 1
        raise syntax_error("Missing end comment mark '*/'.", started, number=113)

    def _add(self, kind: str, text: str, start: int, line: int) -> None:
        self.tokens.append(Token(kind, text, line, text.upper() if kind == ID else text, start, self.pos))

    def _one(self) -> None:
        sql, start, line = self.sql, self.pos, self.line
        c = sql[start]
        following = sql[start + 1] if start + 1 < len(sql) else ""
        if c in "nN" and following == "'":
            self.pos += 1
            self._add(NSTRING, self._quoted("'"), start, line)
        elif c == "'":
            self._add(STRING, self._quoted("'"), start, line)
        elif c == '"':
            self._add(QUOTED if self.quoted_identifier else STRING, self._quoted('"'), start, line)
        elif c == "[":
            self._add(QUOTED, self._quoted("]"), start, line)
        elif c == "0" and following in ("x", "X"):
            self.pos += 2
            while self.pos < len(sql) and sql[self.pos] in "0123456789abcdefABCDEF":
                self.pos += 1
            self._add(BINARY, sql[start + 2 : self.pos], start, line)
        elif c.isdigit() or (c == "." and following.isdigit()):
            self._number(start, line)
        elif c == "$" and (following.isdigit() or following == "."):
            self.pos += 1
            while self.pos < len(sql) and (sql[self.pos].isdigit() or sql[self.pos] == "."):
                self.pos += 1
            self._add(MONEY, sql[start + 1 : self.pos], start, line)
        elif c == "@" or _is_start(c):
            while self.pos < len(sql) and _is_part(sql[self.pos]):
                self.pos += 1
            self._add(VARIABLE if c == "@" else ID, sql[start : self.pos], start, line)
        elif sql[start : start + 2] in _TWO:
            self.pos += 2
            self._add(OP, sql[start : self.pos], start, line)
        elif c in _ONE:
            self.pos += 1
            if c == "$" and _is_start(following):
                while self.pos < len(sql) and _is_part(sql[self.pos]):
                    self.pos += 1
                self._add(ID, sql[start : self.pos], start, line)
                return
            self._add(OP, c, start, line)
        else:
            raise syntax_error(f"Incorrect syntax near '{c}'.", line)

    def _quoted(self, close: str) -> str:
        """The text up to `close`, a doubled `close` being one; `self.pos` is at the opening mark."""
        line = self.line
        parts: list[str] = []
        begin = self.pos + 1
        while True:
            end = self.sql.find(close, begin)
            if end < 0:
                near = self.sql[self.pos + 1 : self.pos + 129]
                raise syntax_error(
                    f"Unclosed quotation mark after the character string '{near}'.", line, number=105, severity=15
                )
            parts.append(self.sql[begin:end])
            if self.sql.startswith(close, end + 1):
                parts.append(close)
                begin = end + 2
                continue
            self.line += self.sql.count("\n", self.pos, end)
            self.pos = end + 1
            return "".join(parts)

    def _number(self, start: int, line: int) -> None:
        sql, kind = self.sql, INTEGER
        while self.pos < len(sql) and sql[self.pos].isdigit():
            self.pos += 1
        if self.pos < len(sql) and sql[self.pos] == ".":
            kind = DECIMAL
            self.pos += 1
            while self.pos < len(sql) and sql[self.pos].isdigit():
                self.pos += 1
        if self.pos < len(sql) and sql[self.pos] in "eE":
            kind = FLOAT
            self.pos += 1
            if self.pos < len(sql) and sql[self.pos] in "+-":
                self.pos += 1
            while self.pos < len(sql) and sql[self.pos].isdigit():
                self.pos += 1
        self._add(kind, sql[start : self.pos], start, line)
