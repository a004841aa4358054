"""The token cursor that the parser's parts share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..contract import SqlError, SqlType
from . import lexer
from .errors import syntax_error, unsupported
from .lexer import Token
from .types import is_system_type, make_type

RESERVED = frozenset(
    [
        "ADD",
        "ALL",
        "ALTER",
        "AND",
        "ANY",
        "AS",
        "ASC",
        "AUTHORIZATION",
        "BACKUP",
        "BEGIN",
        "BETWEEN",
        "BREAK",
        "BROWSE",
        "BULK",
        "BY",
        "CASCADE",
        "CASE",
        "CHECK",
        "CHECKPOINT",
        "CLOSE",
        "CLUSTERED",
        "COALESCE",
        "COLLATE",
        "COLUMN",
        "COMMIT",
        "COMPUTE",
        "CONSTRAINT",
        "CONTAINS",
        "CONTAINSTABLE",
        "CONTINUE",
        "CONVERT",
        "CREATE",
        "CROSS",
        "CURRENT",
        "CURRENT_DATE",
        "CURRENT_TIME",
        "CURRENT_TIMESTAMP",
        "CURRENT_USER",
        "CURSOR",
        "DATABASE",
        "DBCC",
        "DEALLOCATE",
        "DECLARE",
        "DEFAULT",
        "DELETE",
        "DENY",
        "DESC",
        "DISTINCT",
        "DISTRIBUTED",
        "DOUBLE",
        "DROP",
        "ELSE",
        "END",
        "ERRLVL",
        "ESCAPE",
        "EXCEPT",
        "EXEC",
        "EXECUTE",
        "EXISTS",
        "EXIT",
        "EXTERNAL",
        "FETCH",
        "FILE",
        "FILLFACTOR",
        "FOR",
        "FOREIGN",
        "FREETEXT",
        "FREETEXTTABLE",
        "FROM",
        "FULL",
        "FUNCTION",
        "GOTO",
        "GRANT",
        "GROUP",
        "HAVING",
        "HOLDLOCK",
        "IDENTITY",
        "IDENTITY_INSERT",
        "IDENTITYCOL",
        "IF",
        "IN",
        "INDEX",
        "INNER",
        "INSERT",
        "INTERSECT",
        "INTO",
        "IS",
        "JOIN",
        "KEY",
        "KILL",
        "LEFT",
        "LIKE",
        "LINENO",
        "MERGE",
        "NATIONAL",
        "NOCHECK",
        "NONCLUSTERED",
        "NOT",
        "NULL",
        "NULLIF",
        "OF",
        "OFF",
        "OFFSETS",
        "ON",
        "OPEN",
        "OPENDATASOURCE",
        "OPENQUERY",
        "OPENROWSET",
        "OPENXML",
        "OPTION",
        "OR",
        "ORDER",
        "OUTER",
        "OVER",
        "PERCENT",
        "PIVOT",
        "PLAN",
        "PRECISION",
        "PRIMARY",
        "PRINT",
        "PROC",
        "PROCEDURE",
        "PUBLIC",
        "RAISERROR",
        "READ",
        "READTEXT",
        "RECONFIGURE",
        "REFERENCES",
        "REPLICATION",
        "RESTORE",
        "RESTRICT",
        "RETURN",
        "REVERT",
        "REVOKE",
        "RIGHT",
        "ROLLBACK",
        "ROWCOUNT",
        "ROWGUIDCOL",
        "RULE",
        "SAVE",
        "SCHEMA",
        "SELECT",
        "SESSION_USER",
        "SET",
        "SETUSER",
        "SHUTDOWN",
        "SOME",
        "STATISTICS",
        "SYSTEM_USER",
        "TABLE",
        "TABLESAMPLE",
        "TEXTSIZE",
        "THEN",
        "TO",
        "TOP",
        "TRAN",
        "TRANSACTION",
        "TRIGGER",
        "TRUNCATE",
        "TRY_CONVERT",
        "TSEQUAL",
        "UNION",
        "UNIQUE",
        "UNPIVOT",
        "UPDATE",
        "UPDATETEXT",
        "USE",
        "USER",
        "VALUES",
        "VARYING",
        "VIEW",
        "WAITFOR",
        "WHEN",
        "WHERE",
        "WHILE",
        "WITH",
        "WRITETEXT",
    ]
)
"""Source: "Reserved keywords (Transact-SQL)"."""


@dataclass(frozen=True, slots=True)
class AliasType:
    """A type made by CREATE TYPE ... FROM; `id` is its user_type_id."""

    id: int
    type: SqlType
    nullable: bool


AliasTypes = Callable[[tuple[str, ...]], AliasType | None]


class Cursor:
    """A position in the tokens, with the tests that a recursive-descent parser asks for."""

    def __init__(self, sql: str, quoted_identifier: bool = True, alias_types: AliasTypes | None = None) -> None:
        self.sql = sql
        self.alias_types = alias_types
        self.tokens = lexer.Lexer(sql, quoted_identifier).run()
        self.i = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.i]

    @property
    def line(self) -> int:
        return self.tokens[self.i].line

    def peek(self, ahead: int = 1) -> Token:
        return self.tokens[min(self.i + ahead, len(self.tokens) - 1)]

    def advance(self) -> Token:
        t = self.tokens[self.i]
        if t.kind != lexer.END:
            self.i += 1
        return t

    def at(self, *words: str) -> bool:
        """Whether the next token is one of these keywords (unquoted)."""
        t = self.tokens[self.i]
        return t.kind == lexer.ID and t.upper in words

    def at_seq(self, *words: str) -> bool:
        return all(
            self.peek(n).kind == lexer.ID and self.peek(n).upper == w if n else self.at(w) for n, w in enumerate(words)
        )

    def at_op(self, *ops: str) -> bool:
        t = self.tokens[self.i]
        return t.kind == lexer.OP and t.text in ops

    def accept(self, *words: str) -> bool:
        """Take these keywords in this order if they all come next."""
        if self.at_seq(*words):
            self.i += len(words)
            return True
        return False

    def accept_op(self, op: str) -> bool:
        if self.at_op(op):
            self.i += 1
            return True
        return False

    def expect(self, *words: str) -> None:
        for w in words:
            if not self.accept(w):
                raise self.wrong()

    def expect_op(self, op: str) -> None:
        if not self.accept_op(op):
            raise self.wrong()

    def wrong(self) -> SqlError:
        """Msg 102 or 156 at the present token."""
        t = self.token
        if t.kind == lexer.ID and t.upper in RESERVED:
            return syntax_error(f"Incorrect syntax near the keyword '{t.text}'.", t.line, number=156)
        near = t.text
        if t.kind == lexer.END and len(self.tokens) > 1:
            near = self.tokens[-2].text
        return syntax_error(f"Incorrect syntax near '{near}'.", t.line)

    def refuse(self, what: str) -> SqlError:
        return unsupported(what, self.line)

    # ---- names and types --------------------------------------------------------------------------------------------
    def at_name(self) -> bool:
        t = self.token
        return t.kind == lexer.QUOTED or (t.kind == lexer.ID and t.upper not in RESERVED)

    def name(self) -> str:
        t = self.token
        if not self.at_name():
            raise self.wrong()
        if t.kind == lexer.QUOTED and not t.text:
            raise syntax_error("An object or column name is missing or empty.", t.line, number=1038)
        if len(t.text) > 128:
            raise syntax_error(
                f"The identifier that starts with '{t.text[:128]}' is too long. Maximum length is 128.",
                t.line,
                number=103,
            )
        self.advance()
        return t.text

    def dotted(self) -> tuple[str, ...]:
        """A name of up to four parts; an omitted middle part ('db..t') is ''."""
        parts = [self.name()]
        while self.at_op("."):
            self.advance()
            parts.append("" if self.at_op(".") else self.name())
        if len(parts) > 4:
            raise self.wrong()
        return tuple(parts)

    def integer(self) -> int:
        negative = self.accept_op("-")
        if not negative:
            self.accept_op("+")
        t = self.token
        if t.kind != lexer.INTEGER:
            raise self.wrong()
        self.advance()
        return -int(t.text) if negative else int(t.text)

    def alias_type(self) -> AliasType | None:
        """An alias type's name, taken if one is there; system types have the first say."""
        name = self.token.text.lower()
        qualified = self.peek().kind == lexer.OP and self.peek().text == "."
        if self.alias_types is None or self.token.kind not in (lexer.ID, lexer.QUOTED):
            return None
        if not qualified and is_system_type(name):
            return None
        if qualified and name == "sys":
            return None
        mark = self.i
        found = self.alias_types(self.dotted()) if self.at_name() else None
        if found is None:
            self.i = mark
        return found

    def declared_type(self, position: int) -> tuple[SqlType, AliasType | None]:
        """A column's or variable's type, alias types included: Msg 2715 names what is none."""
        line = self.line
        alias = self.alias_type()
        if alias is not None:
            return alias.type, alias
        shown = self.token.text
        try:
            return self.type(), None
        except SqlError as exc:
            if exc.message.number != 243:
                raise
            raise syntax_error(
                f"Column, parameter, or variable #{position}: Cannot find data type {shown}.", line, 2715, 16
            ) from exc

    def type(self, default_length: int = 1) -> SqlType:
        """A type; strings without a length get `default_length` (30 in CAST and CONVERT, 1 elsewhere)."""
        line = self.line
        name = self.advance().text if self.token.kind in (lexer.ID, lexer.QUOTED) else ""
        if not name:
            raise self.wrong()
        if self.at_op(".") and name.lower() == "sys":
            self.advance()
            name = self.advance().text
        upper = name.upper()
        if upper == "DOUBLE":
            self.accept("PRECISION")
            name = "float"
        elif upper == "NATIONAL":
            name += " " + self.advance().text
        if self.accept("VARYING"):
            name += " varying"
        args: list[int | str] = []
        if self.accept_op("("):
            while True:
                if self.accept("MAX"):
                    args.append("max")
                elif self.token.kind == lexer.INTEGER:
                    args.append(int(self.advance().text))
                else:
                    raise self.wrong()
                if not self.accept_op(","):
                    break
            self.expect_op(")")
        made = make_type(name, args, line)
        if not args and made.length == 1 and default_length != 1:
            return replace(made, length=default_length)
        return made

    def source(self, first: int, last: int) -> str:
        """The text of tokens `first` up to but not including `last`."""
        return self.sql[self.tokens[first].start : self.tokens[last - 1].end]
