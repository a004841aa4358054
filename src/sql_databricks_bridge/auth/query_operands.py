"""What a query reads and calls, by its words alone: the first of the two nets of `extraction_access`.

It follows T-SQL's reserved words, parenthesis by parenthesis, to where a table may stand: behind FROM, JOIN, APPLY and
each comma of a FROM clause. It knows no expressions; `query_tree` does, and where the two disagree a query is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sql_databricks_bridge.auth.builtin_functions import CLR_TYPES, OF_A_TABLE, TABLE_HINTS
from sql_databricks_bridge.auth.query_lexemes import RESERVED, Kind, Lexeme, Unreadable
from sql_databricks_bridge.models.text import shown

_ENDS_FROM = frozenset({"WHERE", "HAVING", "UNION", "EXCEPT", "INTERSECT", "OPTION", "ORDER"})
_OPERAND_WORDS = frozenset(
    """CONTAINSTABLE FREETEXTTABLE OPENDATASOURCE OPENQUERY OPENROWSET OPENXML SEMANTICKEYPHRASETABLE
    SEMANTICSIMILARITYDETAILSTABLE SEMANTICSIMILARITYTABLE""".split()  # noqa: SIM905  a block of words reads better
)


@dataclass(frozen=True, slots=True)
class Name:
    """A dotted name in code. `parts` are without quotes, None where one is left out (`db..t`).

    `word` is a single word without quotes, in capitals, else ''. `start` is its offset.
    """

    parts: tuple[str | None, ...]
    word: str
    start: int

    def __str__(self) -> str:
        return ".".join(part or "" for part in self.parts)


@dataclass(frozen=True, slots=True)
class Operand:
    """A name where a table stands. `called`: with arguments; `history`: FOR SYSTEM_TIME follows.

    `argument`: it is the table that CONTAINSTABLE and the like read.
    """

    name: Name
    called: bool = False
    history: bool = False
    argument: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What a query's words say. `references` are dotted names in expressions, `sequences` follow NEXT VALUE FOR."""

    operands: tuple[Operand, ...]
    calls: tuple[Name, ...]
    references: tuple[Name, ...]
    sequences: tuple[Name, ...]


def read_words(pieces: Sequence[Lexeme]) -> Reading:
    """Find every operand, call, dotted name and sequence. Raises `Unreadable`."""
    return _Reader(pieces).read()


@dataclass(slots=True)
class _Level:
    """One parenthesis: whether its SELECT came, its FROM clause is open, a table is next; what it was opened behind."""

    opener: str = ""
    selects: bool = False
    in_from: bool = False
    expecting: bool = False
    last: int | None = None


@dataclass(slots=True)
class _Reader:
    pieces: Sequence[Lexeme]
    at: int = 0
    levels: list[_Level] = field(default_factory=lambda: [_Level()])
    operands: list[Operand] = field(default_factory=list)
    calls: list[Name] = field(default_factory=list)
    references: list[Name] = field(default_factory=list)
    sequences: list[Name] = field(default_factory=list)

    def read(self) -> Reading:
        while self.at < len(self.pieces):
            piece = self.pieces[self.at]
            if piece.kind is Kind.MARK:
                self._mark(piece)
            elif piece.is_name and not self._keyword(piece.word):
                self._name()
            elif piece.kind in (Kind.STRING, Kind.NUMBER):
                self._no_table_expected(piece)
                self.at += 1
        if len(self.levels) != 1 or self.levels[0].expecting:
            raise Unreadable("it ends where something must follow")
        return Reading(tuple(self.operands), tuple(self.calls), tuple(self.references), tuple(self.sequences))

    # Marks ---------------------------------------------------------------------------------------------------------

    def _mark(self, piece: Lexeme) -> None:
        level = self.levels[-1]
        if piece.text == "(":
            inner = _Level(self._word(-1), in_from=level.expecting, expecting=level.expecting)
            level.expecting = False
            self.levels.append(inner)
        elif piece.text == ")":
            self._no_table_expected(piece)
            if len(self.levels) == 1:
                raise Unreadable("a parenthesis is closed that was never opened")
            self.levels.pop()
        elif piece.text == "," and level.in_from:
            self._no_table_expected(piece)
            level.expecting = True
        elif piece.text == ".":
            self._behind_a_value()
            return
        elif piece.text == "::":
            self._static_method()
            return
        else:
            self._no_table_expected(piece)
        self.at += 1

    def _behind_a_value(self) -> None:
        """`f(x).Method()`, `OPENDATASOURCE(...).db.dbo.t`: what follows belongs to what was called."""
        if not self._piece(-1).is_mark(")"):
            raise Unreadable("a full stop stands where no name is")
        self.at += 1
        name = self._chain()
        if self._piece(0).is_mark("("):
            self.calls.append(replace(name, parts=("", *name.parts), word=""))

    def _static_method(self) -> None:
        if self._word(-1) not in CLR_TYPES or self._piece(-2).is_mark(".") or not self._piece(1).is_name:
            raise Unreadable("`::` stands behind another type than geometry, geography and hierarchyid")
        self.at += 2

    # Words ---------------------------------------------------------------------------------------------------------

    def _keyword(self, word: str) -> bool:
        """Follow a word of the grammar; False where it is none."""
        level = self.levels[-1]
        if word == "SELECT":
            level.selects, level.in_from, level.expecting = True, False, False
        elif word == "VALUES":
            if not level.expecting:
                raise Unreadable("VALUES stands where no table is expected")
            level.in_from = level.expecting = False
        elif word == "FROM":
            if not self._from_of_an_expression(level):
                self._expect_table(level)
        elif word == "JOIN" or (word == "APPLY" and self._word(-1) in ("CROSS", "OUTER")):
            self._expect_table(level)
        elif word == "FOR":
            return self._for(level)
        elif word in _ENDS_FROM or (word == "GROUP" and self._word(-1) != "WITHIN"):
            self._no_table_expected(self._piece(0))
            level.in_from = False
        else:
            return False
        self.at += 1
        return True

    def _expect_table(self, level: _Level) -> None:
        self._no_table_expected(self._piece(0))
        level.in_from = level.expecting = True

    def _from_of_an_expression(self, level: _Level) -> bool:
        """IS [NOT] DISTINCT FROM, TRIM(x FROM y)."""
        if self._word(-1) == "DISTINCT" and self._word(-2) in ("IS", "NOT"):
            return True
        return level.opener == "TRIM" and not level.selects

    def _for(self, level: _Level) -> bool:
        if self._word(-1) == "VALUE" and self._word(-2) == "NEXT":
            self.at += 1
            if not self._piece(0).is_name:
                raise Unreadable("NEXT VALUE FOR names nothing")
            self.sequences.append(self._chain())
            return True
        if self._word(1) == "SYSTEM_TIME" and level.in_from:
            if level.last is None or level.expecting:
                raise Unreadable("FOR SYSTEM_TIME stands behind no table")
            self.operands[level.last] = replace(self.operands[level.last], history=True)
            self.at += 2 if self._word(2) != "FROM" else 3
            return True
        self._no_table_expected(self._piece(0))
        level.in_from = False
        self.at += 1
        return True

    # Names ---------------------------------------------------------------------------------------------------------

    def _name(self) -> None:
        level = self.levels[-1]
        name = self._chain()
        called = self._piece(0).is_mark("(")
        if level.expecting:
            if name.word in RESERVED - _OPERAND_WORDS:
                raise Unreadable(f"{name.word} stands where a table is expected")
            level.expecting = False
            level.last = len(self.operands)
            if name.word in OF_A_TABLE and called:
                self._table_argument()
            self.operands.append(Operand(name, called=called and not self._hints_only()))
        elif called and level.opener == "FORCESEEK" and name.word:
            pass  # the index in a hint
        elif called:
            self.calls.append(name)
        elif len(name.parts) > 1:
            self.references.append(name)

    def _table_argument(self) -> None:
        """CONTAINSTABLE(dbo.t, ...), CHANGETABLE(CHANGES dbo.t, ...): the table is an operand like any other."""
        opening = self.at
        self.at += 2 if self._word(1) in ("CHANGES", "VERSION") and self._piece(2).is_name else 1
        if not self._piece(0).is_name:
            raise Unreadable("a function of a table names no table")
        self.operands.append(Operand(self._chain(), argument=True))
        self.levels[-1].last = len(self.operands)
        self.at = opening

    def _hints_only(self) -> bool:
        """Whether the parenthesis that begins here holds table hints: `FROM dbo.t (NOLOCK)`."""
        at = self.at + 1
        while at < len(self.pieces) and (self.pieces[at].word in TABLE_HINTS or self.pieces[at].is_mark(",")):
            at += 1
        return at > self.at + 1 and at < len(self.pieces) and self.pieces[at].is_mark(")")

    def _chain(self) -> Name:
        """Read a dotted name; a `*` may end it (`t.*`)."""
        first = self._piece(0)
        parts: list[str | None] = [first.text]
        self.at += 1
        while self._piece(0).is_mark("."):
            self.at += 1
            after = self._piece(0)
            if after.is_mark("."):
                parts.append(None)
                continue
            if after.word in RESERVED or not (after.is_name or after.is_mark("*")):
                raise Unreadable(f"no name stands behind {shown('.'.join(part or '' for part in parts))} and its dot")
            self.at += 1
            parts.append(after.text)
            if after.kind is Kind.MARK:
                break
        return Name(tuple(parts), first.word if len(parts) == 1 else "", first.start)

    # Looking around ------------------------------------------------------------------------------------------------

    def _no_table_expected(self, piece: Lexeme) -> None:
        if self.levels[-1].expecting:
            raise Unreadable(f"{shown(piece.text, 40)} stands where a table is expected")

    def _piece(self, offset: int) -> Lexeme:
        at = self.at + offset
        return self.pieces[at] if 0 <= at < len(self.pieces) else Lexeme(Kind.MARK, "", -1, -1)

    def _word(self, offset: int) -> str:
        return self._piece(offset).word
