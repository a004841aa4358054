"""Canonical text: each value of a row as one text that no other value has, so that equal digests mean equal rows.

A row's text is its columns' one after the other. Each begins with `N` for NULL, or else ends where its own text says:
numbers, times and hexadecimal digits hold no `;` and end with one; strings come behind their length. So no two rows
have the same text, as long as no two values of a type have the same in `FORMS`.
Sources: CAST and CONVERT (Transact-SQL), styles for money, float, date and time, and binary; HASHBYTES.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sql_databricks_bridge.core.ports import ResultColumn
from sql_databricks_bridge.core.types import SqlServerType
from sql_databricks_bridge.errors import UsageError

CANONICAL_VERSION = 1
"""To be raised with every change of a text here: digests of another version are worth nothing."""

_MOST_ARGUMENTS = 250  # CONCAT takes 254
_SEMICOLON, _LENGTH = "a semicolon behind it", "its length in bytes before it"


@dataclass(frozen=True, slots=True)
class Form:
    """How values of a type are written: `expression` is T-SQL with `{}` for the column; `ends` is how a reader knows
    where the text ends; `keeps` is what it tells apart, for people.
    """

    expression: str
    ends: str
    keeps: str


def _plain(length: int, keeps: str, style: int | None = None) -> Form:
    return Form(f"CONVERT(nvarchar({length}), {{}}{'' if style is None else f', {style}'})", _SEMICOLON, keeps)


_HEX = Form("CONVERT(nvarchar(max), CONVERT(varbinary(max), {}), 2)", _SEMICOLON, "every byte, trailing zeros too")
# One collation for all: CONCAT refuses two columns of different ones. It changes no character.
_STRING = Form(
    "CONVERT(nvarchar(max), {}) COLLATE Latin1_General_100_BIN2",
    _LENGTH,
    "every character: case, accents, trailing blanks",
)

FORMS: Mapping[str, Form] = {
    "bit": _plain(1, "0 and 1"),
    **dict.fromkeys(("tinyint", "smallint", "int", "bigint"), _plain(20, "every number")),
    **dict.fromkeys(("decimal", "numeric"), _plain(41, "every digit of the declared scale")),
    **dict.fromkeys(("money", "smallmoney"), _plain(30, "all four digits", 2)),
    **dict.fromkeys(("real", "float"), _plain(30, "every number, by 17 digits", 3)),
    "date": _plain(10, "every day", 126),
    **dict.fromkeys(("datetime", "smalldatetime"), _plain(30, "every tick of 1/300 s", 126)),
    "datetime2": _plain(30, "all seven digits", 126),
    "time": _plain(16, "all seven digits", 126),
    "datetimeoffset": _plain(40, "all seven digits, and the offset", 126),
    "uniqueidentifier": _plain(36, "every value"),
    **dict.fromkeys(("binary", "varbinary", "image", "timestamp", "rowversion"), _HEX),
    **dict.fromkeys(("hierarchyid", "geometry", "geography"), _HEX),
    **dict.fromkeys(("char", "varchar", "nchar", "nvarchar", "text", "ntext", "xml", "json"), _STRING),
}
"""By the type's name; every type that can land in Parquet is here."""


def canonical_text(columns: Sequence[ResultColumn], alias: str, quoted: Sequence[str]) -> str:
    """T-SQL for the text of some columns, never NULL; `alias` is their table's, `quoted` their names in brackets.

    `UsageError` for a type that has none.
    """
    pairs = zip(columns, quoted, strict=True)
    return _concatenated([piece for column, name in pairs for piece in _pieces(column, f"{alias}.{name}")])


def _pieces(column: ResultColumn, value: str) -> tuple[str, ...]:
    """What CONCAT, which takes NULL for '', makes a column's text of."""
    form = FORMS.get(type_name(column))
    if form is None:
        if column.user_type is None:
            raise UsageError(
                f"Column {column.name!r} is of type {column.sql_type}, which has no canonical text.",
                hint="CAST it in the query, or choose another kind of increment.",
            )
        form = _HEX  # a CLR type of the user's own: its serialized bytes
    text = form.expression.format(value)
    if form.ends == _LENGTH:
        return f"ISNULL(CONVERT(nvarchar(20), DATALENGTH({text})) + N':', N'N')", text
    return (f"ISNULL({text}, N'N') + N';'",)


def row_digest(columns: Sequence[ResultColumn], alias: str, quoted: Sequence[str]) -> str:
    """T-SQL for the SHA-256 of a row's canonical text: binary, 32 bytes."""
    return f"HASHBYTES('SHA2_256', {canonical_text(columns, alias, quoted)})"


def type_name(column: ResultColumn) -> str:
    """The name of a column's type without its size, in lower case; '' where it is none of SQL Server's own."""
    try:
        return SqlServerType.parse(column.sql_type).name
    except ValueError:
        return ""


def _concatenated(texts: Sequence[str]) -> str:
    """CONCAT of any number of texts. The first one makes it nvarchar(max): else it would be cut at 4000 characters."""
    if len(texts) > _MOST_ARGUMENTS:
        parts = [_concatenated(texts[at : at + _MOST_ARGUMENTS]) for at in range(0, len(texts), _MOST_ARGUMENTS)]
        return _concatenated(parts)
    return f"CONCAT(CONVERT(nvarchar(max), N''), {', '.join(texts)})"
