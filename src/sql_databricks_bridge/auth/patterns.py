"""Patterns of tables in permissions.yaml: SQL Server's and Unity Catalog's.

A pattern is dotted like a table's name, each part a name or `*` alone. The one grammar serves people who write names
with anything in them: inside brackets or backticks nothing is special but their own closing mark, doubled.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from itertools import pairwise

from sql_databricks_bridge.models.tables import SQL_SERVER_NAME_LENGTH, UNITY_NAME_LENGTH, SourceName
from sql_databricks_bridge.models.text import CONTROL, FORBIDDEN_IN_UNITY_NAMES, shown, utf16_length

_SQL_SERVER_PART = re.compile(r"\[(?P<quoted>(?:[^\]]|\]\])+)\]|(?P<plain>[^\W\d][\w@$#]*|[@#][\w@$#]+)|(?P<any>\*)")
_PLAIN = re.compile(r"[^\W\d][\w@$#]*")
_UNITY_PART = re.compile(r"`(?P<quoted>(?:[^`]|``)+)`|(?P<plain>[\w-]+)|(?P<any>\*)")
_TABLE_FORMS = "schema.table, database.schema.table or server.database.schema.table"


@dataclass(frozen=True, slots=True)
class Home:
    """What a table pattern means by the parts it leaves out: SQLSERVER_HOST and SQLSERVER_DATABASE."""

    server: str | None
    database: str | None


@dataclass(frozen=True, slots=True)
class TablePattern:
    """A pattern of SQL Server tables; equal patterns match the same tables. `text` is as its author wrote it.

    `parts` are server, database, schema and table, folded to be compared without case; None is `*`. `names_server`: its
    author wrote the server, which is neither left out nor `*`.
    """

    text: str = field(compare=False)
    parts: tuple[str | None, str | None, str | None, str | None]
    names_server: bool = field(default=False, compare=False)

    @property
    def names_table(self) -> bool:
        """Whether it is about one table name and not about all of a schema."""
        return self.parts[3] is not None

    @classmethod
    def parse(cls, text: str, home: Home) -> TablePattern:
        """Parse 'dbo.Orders', 'dbo.*', 'Sales.dbo.*' or '[sql01.corp].Sales.[odd name].*'.

        Raises `ValueError`, saying what is wrong and how it is written, for anything else and where a part that is
        left out is not known.
        """
        parts = _split(text, _SQL_SERVER_PART, "]")
        if parts is None or not 2 <= len(parts) <= 4:
            raise ValueError(
                f"the table pattern {shown(text, 160)} is not {_TABLE_FORMS}"
                f" (each part is a name or * alone, and other names go into brackets: {_example(text)})"
            )
        for part in parts:
            if part is not None and (utf16_length(part) > SQL_SERVER_NAME_LENGTH or CONTROL.search(part)):
                raise ValueError(
                    f"the table pattern {shown(text, 160)} holds {shown(part, 160)}, no name of SQL Server, which "
                    f"ends at {SQL_SERVER_NAME_LENGTH} characters and takes no control characters"
                )
        left_out = [("SQLSERVER_HOST", home.server), ("SQLSERVER_DATABASE", home.database)][: 4 - len(parts)]
        for variable, value in left_out:
            if not value:
                raise ValueError(f"the table pattern {shown(text, 160)} means the one of {variable}, which is not set")
        server, database, schema, table = ([value for _, value in left_out] + parts)[:4]
        folded = (_fold(server), _fold(database), _fold(schema), _fold(table))
        return cls(text, folded, names_server=len(parts) == 4 and server is not None)

    @property
    def specificity(self) -> tuple[bool, ...]:
        """Orders patterns that match one table: a named table counts most, then schema, database, server.

        Two different patterns that match the same table never tie, and one that matches less never loses.
        """
        return tuple(part is not None for part in reversed(self.parts))

    def matches(self, server: str, database: str, schema: str, table: str) -> bool:
        """Whether the table is one of the pattern's."""
        names = (server, database, schema, table)
        return all(part is None or part == _fold(name) for part, name in zip(self.parts, names, strict=True))


@dataclass(frozen=True, slots=True)
class SourcePattern:
    """A pattern of Unity Catalog tables. `parts` are catalog, schema and table in lower case; None is `*`."""

    text: str = field(compare=False)
    parts: tuple[str | None, str | None, str | None]

    @classmethod
    def parse(cls, text: str) -> SourcePattern:
        """Parse 'main.sales.orders', 'main.sales.*', 'main.*.*' or '*.*.*'; else `ValueError`."""
        parts = _split(text, _UNITY_PART, "`")
        if parts is None or len(parts) != 3 or any(a is None and b is not None for a, b in pairwise(parts)):
            raise ValueError(
                f"the source pattern {shown(text, 160)} is none of catalog.schema.table, catalog.schema.*, catalog.*.* "
                "and *.*.* (other names go into backticks: main.`my+schema`.orders)"
            )
        for part in parts:
            if part is not None and (len(part) > UNITY_NAME_LENGTH or FORBIDDEN_IN_UNITY_NAMES.search(part)):
                raise ValueError(
                    f"the source pattern {shown(text, 160)} holds {shown(part, 160)}, no name of Unity Catalog"
                )
        catalog, schema, table = (part if part is None else part.lower() for part in parts)
        return cls(text, (catalog, schema, table))

    def matches(self, source: SourceName) -> bool:
        """Whether the table is one of the pattern's."""
        # Lower case and no more: Unity Catalog stores names so, and what differs there must not be one thing here.
        names = (source.catalog.lower(), source.schema.lower(), source.table.lower())
        return all(part is None or part == name for part, name in zip(self.parts, names, strict=True))


def dotted(*parts: str) -> str:
    """A table's name as a pattern of just that table is written: dbo.Orders, dbo.[odd name]."""
    return ".".join(part if _PLAIN.fullmatch(part) else f"[{part.replace(']', ']]')}]" for part in parts)


def _split(text: str, grammar: re.Pattern[str], closing: str) -> list[str | None] | None:
    """The parts of a dotted pattern, None in it for `*`; None where it is not one from end to end."""
    parts: list[str | None] = []
    position = 0
    while match := grammar.match(text, position):
        quoted = match["quoted"]
        parts.append(match["plain"] if quoted is None else quoted.replace(closing * 2, closing))
        position = match.end()
        if position == len(text):
            return parts
        if text[position] != ".":
            return None
        position += 1
    return None


def _fold(name: str | None) -> str | None:
    """A name as it is compared without case: Unicode's canonical caseless matching (The Unicode Standard, D145).

    More than `lower()`: ΟΔΟΣ and οδος, and the two ways to write é, must not slip past the entry that restricts them.
    """
    if name is None:
        return None
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def _example(text: str) -> str:
    """How a pattern whose parts need brackets would be written."""
    parts = [part.strip("[]") for part in text.split(".")]
    if 2 <= len(parts) <= 4 and all(part.isprintable() and 0 < len(part) < 40 and "*" not in part for part in parts):
        return ".".join(f"[{part}]" if not _SQL_SERVER_PART.fullmatch(part) else part for part in parts)
    return "dbo.[odd name]"
