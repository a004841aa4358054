"""A T-SQL query cut into its words by rules of our own, and held against sqlglot's: who may read what hangs on it.

Where SQL Server and a parser cut a text differently, a table can hide: in a comment that ends elsewhere, behind a blank
that only one of them takes for one, in a number that swallows FROM. So whatever could be read in two ways is refused.
Source: "Transact-SQL syntax conventions", "Database identifiers", "Constants", "Slash star (block comment)", which
nests.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from sqlglot import Token

from sql_databricks_bridge.core.sql_tokens import QUOTED
from sql_databricks_bridge.models.text import shown


class Unreadable(Exception):
    """The query, or a part of it, can't be read in one way only; the text says what."""


class Kind(Enum):
    """What a lexeme is. WORD is a keyword or a name without quotes, QUOTED a name in brackets or double quotes."""

    WORD = "word"
    QUOTED = "quoted name"
    STRING = "string"
    NUMBER = "number"
    MARK = "mark"


@dataclass(frozen=True, slots=True)
class Lexeme:
    """One piece of code. `text` is a name's value (quotes taken off), else as written; `end` is exclusive."""

    kind: Kind
    text: str
    start: int
    end: int

    @property
    def word(self) -> str:
        """A word in capitals; '' for anything that is not one, so that a quoted name is never taken for a keyword."""
        return self.text.upper() if self.kind is Kind.WORD else ""

    @property
    def is_name(self) -> bool:
        """Whether it may be part of a name."""
        return self.kind in (Kind.WORD, Kind.QUOTED)

    def is_mark(self, mark: str) -> bool:
        """Whether it is that punctuation mark."""
        return self.kind is Kind.MARK and self.text == mark


RESERVED = frozenset(
    """ADD ALL ALTER AND ANY AS ASC AUTHORIZATION BACKUP BEGIN BETWEEN BREAK BROWSE BULK BY CASCADE CASE CHECK
    CHECKPOINT CLOSE CLUSTERED COALESCE COLLATE COLUMN COMMIT COMPUTE CONSTRAINT CONTAINS CONTAINSTABLE CONTINUE
    CONVERT CREATE CROSS CURRENT CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER CURSOR DATABASE DBCC
    DEALLOCATE DECLARE DEFAULT DELETE DENY DESC DISK DISTINCT DISTRIBUTED DOUBLE DROP DUMP ELSE END ERRLVL ESCAPE
    EXCEPT EXEC EXECUTE EXISTS EXIT EXTERNAL FETCH FILE FILLFACTOR FOR FOREIGN FREETEXT FREETEXTTABLE FROM FULL
    FUNCTION GOTO GRANT GROUP HAVING HOLDLOCK IDENTITY IDENTITY_INSERT IDENTITYCOL IF IN INDEX INNER INSERT
    INTERSECT INTO IS JOIN KEY KILL LEFT LIKE LINENO LOAD MERGE NATIONAL NOCHECK NONCLUSTERED NOT NULL NULLIF OF
    OFF OFFSETS ON OPEN OPENDATASOURCE OPENQUERY OPENROWSET OPENXML OPTION OR ORDER OUTER OVER PERCENT PIVOT PLAN
    PRECISION PRIMARY PRINT PROC PROCEDURE PUBLIC RAISERROR READ READTEXT RECONFIGURE REFERENCES REPLICATION
    RESTORE RESTRICT RETURN REVERT REVOKE RIGHT ROLLBACK ROWCOUNT ROWGUIDCOL RULE SAVE SCHEMA SECURITYAUDIT SELECT
    SEMANTICKEYPHRASETABLE SEMANTICSIMILARITYDETAILSTABLE SEMANTICSIMILARITYTABLE SESSION_USER SET SETUSER
    SHUTDOWN SOME STATISTICS SYSTEM_USER TABLE TABLESAMPLE TEXTSIZE THEN TO TOP TRAN TRANSACTION TRIGGER TRUNCATE
    TRY_CONVERT TSEQUAL UNION UNIQUE UNPIVOT UPDATE UPDATETEXT USE USER VALUES VARYING VIEW WAITFOR WHEN WHERE
    WHILE WITH WITHIN WRITETEXT""".split()  # noqa: SIM905  a block of words reads better than a list of literals
)
"""Words that are no name unless quoted ("Reserved keywords (Transact-SQL)")."""

_PSEUDO_COLUMNS = frozenset({"$ACTION", "$IDENTITY", "$ROWGUID", "$NODE_ID", "$EDGE_ID", "$FROM_ID", "$TO_ID"})
_BLANK = re.compile(r"(?: |\t|\r?\n)+")
_LINE_COMMENT = re.compile(r"--[^\n]*")
_IN_BLOCK = re.compile(r"/\*|\*/")
_STRING = re.compile(r"[Nn]?'(?:[^']|'')*'")
_BRACKETED = re.compile(r"\[((?:[^\]]|\]\])+)\]")
_DOUBLE_QUOTED = re.compile(r'"((?:[^"]|"")+)"')
_NUMBER = re.compile(r"0[xX][0-9A-Fa-f]*|\$?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_WORD = re.compile(r"(?:@@?|##?|\$)?[^\W\d][\w@$#]*|[@#][\w@$#]+")
_MARK = re.compile(r"::|[(),.=<>!+\-*/%&|^~:]")
_NEVER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]|\r(?!\n)")


def lexemes(sql: str) -> tuple[Lexeme, ...]:
    """Cut a query into its code, comments left out. Raises `Unreadable`."""
    found: list[Lexeme] = []
    at = 0
    while at < len(sql):
        end = _past_blank_or_comment(sql, at)
        if end == at:
            lexeme = _lexeme(sql, at)
            if found and found[-1].kind is Kind.NUMBER and found[-1].end == at and lexeme.is_name:
                raise Unreadable(f"a blank is missing behind the number {shown(found[-1].text, 20)}")
            found.append(lexeme)
            end = lexeme.end
        at = end
    return tuple(found)


def require_same_cut(sql: str, ours: Sequence[Lexeme], theirs: Sequence[Token]) -> None:
    """Raise `Unreadable` unless sqlglot's tokens hold the same code, and the same strings and quoted names."""
    quoted = {(token.start, token.end + 1) for token in theirs if token.token_type in QUOTED}
    if quoted != {(piece.start, piece.end) for piece in ours if piece.kind in (Kind.STRING, Kind.QUOTED)}:
        raise Unreadable("its strings and quoted names can be read in two ways")
    code = {at for piece in ours for at in range(piece.start, piece.end)}
    covered = {at for token in theirs for at in range(token.start, token.end + 1)}
    # sqlglot makes one token of some pairs of words, with the blanks between them.
    if code - covered or any(not sql[at].isspace() for at in covered - code):
        raise Unreadable("it can be cut into words in two ways")


def _past_blank_or_comment(sql: str, at: int) -> int:
    if blank := _BLANK.match(sql, at):
        return blank.end()
    if sql.startswith("--", at):
        comment = _LINE_COMMENT.match(sql, at)
        end = comment.end() if comment else at
    elif sql.startswith("/*", at):
        end = _block_end(sql, at)
    else:
        return at
    if _NEVER.search(sql[at : end + 1]):
        raise Unreadable("a comment holds a character that may or may not end its line")
    return end


def _block_end(sql: str, at: int) -> int:
    depth = 0
    for mark in _IN_BLOCK.finditer(sql, at):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    raise Unreadable("a comment is not closed")


def _lexeme(sql: str, at: int) -> Lexeme:
    if match := _STRING.match(sql, at):
        return Lexeme(Kind.STRING, match[0], at, match.end())
    if match := _BRACKETED.match(sql, at):
        return Lexeme(Kind.QUOTED, match[1].replace("]]", "]"), at, match.end())
    if match := _DOUBLE_QUOTED.match(sql, at):
        return Lexeme(Kind.QUOTED, match[1].replace('""', '"'), at, match.end())
    if match := _NUMBER.match(sql, at):
        return Lexeme(Kind.NUMBER, match[0], at, match.end())
    if match := _WORD.match(sql, at):
        _check_word(match[0])
        return Lexeme(Kind.WORD, match[0], at, match.end())
    if match := _MARK.match(sql, at):
        return Lexeme(Kind.MARK, match[0], at, match.end())
    if sql[at] in "'\"[":
        raise Unreadable("a string or a quoted name is empty or not closed")
    raise Unreadable(f"the character U+{ord(sql[at]):04X} stands outside of strings, quoted names and comments")


def _check_word(word: str) -> None:
    if word.startswith("$") and word.upper() not in _PSEUDO_COLUMNS:
        raise Unreadable(f"{shown(word)} may be an amount of money and a word behind it")
    if word[0] not in "@#$" and any(part.upper() in RESERVED for part in re.split("[@#$]", word)[:-1]):
        raise Unreadable(f"a blank is missing in {shown(word)}")
    if word.isascii():
        return
    if any(not c.isascii() and unicodedata.category(c)[0] not in "LM" for c in word):
        raise Unreadable(f"the name {shown(word)} needs brackets")
    # A long s, a dotless i or full-width letters: for Python's upper() or a collation that may be a keyword.
    folded = unicodedata.normalize("NFKC", word)
    if {folded.upper(), folded.casefold().upper(), word.upper()} & RESERVED or folded.upper().isascii():
        raise Unreadable(f"the name {shown(word)} can be taken for {shown(folded.upper())}: put it into brackets")
