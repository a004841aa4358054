"""Canonical text as SQL Server writes it, of the columns of a user's query in a derived table: T-SQL, versions 2016 on.

Sources: CAST and CONVERT (Transact-SQL), styles for money, date and time, and binary; HASHBYTES; SWITCHOFFSET.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sql_databricks_bridge.core.canonical.columns import STRINGS, CanonicalColumn, one_byte
from sql_databricks_bridge.core.forms import Output, outputs
from sql_databricks_bridge.core.ports import ResultColumn
from sql_databricks_bridge.core.types import CLR_TYPES
from sql_databricks_bridge.errors import UsageError
from sql_databricks_bridge.models.type_policies import POLICIES, Companion, Form, TypePolicies

_MOST_ARGUMENTS = 250  # CONCAT takes 254


@dataclass(frozen=True, slots=True)
class Text:
    """How values of a type are written: T-SQL with `{value}` for the column and `{char}` for nvarchar or varchar;
    `keeps` is what it tells apart, for people. A string stands behind its length, any other text before a semicolon.
    """

    expression: str
    keeps: str
    is_string: bool = False


def _plain(length: int, keeps: str, style: int | None = None) -> Text:
    return Text(f"CONVERT({{char}}({length}), {{value}}{'' if style is None else f', {style}'})", keeps)


def _ieee(size: int) -> Text:
    keeps = "every number, 0 and -0, by its IEEE 754 bytes"
    return Text(f"CONVERT({{char}}({2 * size}), CONVERT(binary({size}), {{value}}), 2)", keeps)


_HEX = Text(
    "CONVERT({char}(max), CONVERT(varbinary(max), {value}), 2)", "every byte, trailing zeros too, in hexadecimal"
)
# One collation for all: CONCAT refuses two columns of different ones. It changes no character.
_STRING = Text(
    "CONVERT(nvarchar(max), {value}) COLLATE Latin1_General_100_BIN2",
    "every character: case, accents, trailing blanks",
    is_string=True,
)

FORMS: Mapping[str, Text] = {
    "bit": _plain(1, "0 and 1"),
    **dict.fromkeys(("tinyint", "smallint", "int", "bigint"), _plain(20, "every number")),
    **dict.fromkeys(("decimal", "numeric"), _plain(41, "every digit of the declared scale")),
    **dict.fromkeys(("money", "smallmoney"), _plain(30, "all four digits", 2)),
    "real": _ieee(4),
    "float": _ieee(8),
    "date": _plain(10, "every day", 23),
    # Not style 126, which leaves zero milliseconds out.
    **dict.fromkeys(("datetime", "smalldatetime"), _plain(23, "every tick of 1/300 s", 121)),
    "datetime2": _plain(27, "all declared digits", 121),
    "time": _plain(16, "all declared digits", 121),
    "datetimeoffset": _plain(34, "all declared digits of the local time, and the offset", 121),
    "uniqueidentifier": _plain(36, "every value, in upper case"),
    **dict.fromkeys(("binary", "varbinary", "image", "timestamp", "rowversion", *sorted(CLR_TYPES)), _HEX),
    **dict.fromkeys(sorted(STRINGS), _STRING),
}
"""The texts of `Form.PLAIN` by the type's name; every type that can land in Parquet as it is is here."""

_MICROSECONDS = Text("LEFT(CONVERT({char}(27), {value}, 121), 26)", "microseconds")
_UTC = Text(
    "LEFT(CONVERT({{char}}(27), CONVERT(datetime2({digits}), SWITCHOFFSET({{value}}, '+00:00')), 121), 26)",
    "microseconds of the instant",
)
_SRID = Text("CONVERT({char}(20), {value})", "the number")


def column_text(column: CanonicalColumn, value: str, *, one_byte: bool = False) -> tuple[str, ...]:
    """What CONCAT, which takes NULL for '', makes a column's text of: T-SQL, `value` is that for the column.

    `one_byte`: as varchar; only for columns that are no strings. `UsageError` for a type that has no text.
    """
    char = "varchar" if one_byte else "nvarchar"
    return tuple(
        piece
        for text, of in _texts(column, value)
        for piece in _ended(text, text.expression.format(value=of, char=char), "" if one_byte else "N")
    )


def row_text(columns: Sequence[CanonicalColumn], alias: str, quoted: Sequence[str]) -> str:
    """T-SQL for the text of some columns, never NULL: varchar(max) if `one_byte(columns)`, else nvarchar(max).

    `alias` is their table's, `quoted` their names in brackets. `UsageError` for a type that has none.
    """
    narrow = one_byte(columns)
    pairs = zip(columns, quoted, strict=True)
    pieces = [piece for column, name in pairs for piece in column_text(column, f"{alias}.{name}", one_byte=narrow)]
    return _concatenated(pieces, "varchar" if narrow else "nvarchar")


def row_digest(columns: Sequence[CanonicalColumn], alias: str, quoted: Sequence[str]) -> str:
    """T-SQL for the SHA-256 of a row's canonical text: binary, 32 bytes."""
    return f"HASHBYTES('SHA2_256', {row_text(columns, alias, quoted)})"


def _texts(column: CanonicalColumn, value: str) -> list[tuple[Text, str]]:
    """The texts that stand for a column one behind the other, each with the T-SQL that it is of."""
    if column.form is Form.MICROSECONDS:
        return [(_MICROSECONDS, value)]
    if column.form is Form.UTC:
        return [(Text(_UTC.expression.format(digits=column.digits), _UTC.keeps), value)]
    if column.form is Form.PLAIN or column.form is Form.BYTES:
        return [(_own_text(column), value)]
    text = _HEX if column.form is Form.WKB else _STRING
    found = [(text, _landed_as(column, None).format(value))]
    for companion, name, beside in (
        (Companion.BASE_TYPE, column.base_type, _STRING),
        (Companion.SRID, column.srid, _SRID),
    ):
        if name is not None:
            found.append((beside, _landed_as(column, companion).format(value)))
    return found


def _own_text(column: CanonicalColumn) -> Text:
    text = _HEX if column.form is Form.BYTES else FORMS.get(column.type_name)
    if text is None and column.user_type is not None and column.type_name != "sql_variant":
        return _HEX  # a CLR type of the user's own: its serialized bytes
    if text is None:
        raise _no_text(column)
    return text


def _landed_as(column: CanonicalColumn, companion: Companion | None) -> str:
    """The T-SQL by which extraction has the server write the value, or the companion, with {0} for the column."""
    name = column.type_name
    described = ResultColumn(column.name, column.sql_type, True, 0, 0, 0)
    for policy in POLICIES.get(name, ()):
        found: tuple[Output, ...] = outputs(described, TypePolicies(((name, policy),)))
        if found[0].origin.form is column.form:
            for output in found:
                if output.origin.companion is companion and output.expression is not None:
                    return output.expression
    raise _no_text(column)


def _no_text(column: CanonicalColumn) -> UsageError:
    return UsageError(
        f"Column {column.name!r} is of type {column.sql_type}, which has no canonical text in form {column.form}.",
        hint="CAST it in the query, or choose another kind of increment.",
    )


def _ended(text: Text, expression: str, mark: str) -> tuple[str, ...]:
    """`mark` is what a literal of the text's kind begins with."""
    if text.is_string:
        return f"ISNULL(CONVERT(nvarchar(20), DATALENGTH({expression})) + N':', N'N')", expression
    return (f"ISNULL({expression}, {mark}'N') + {mark}';'",)


def _concatenated(texts: Sequence[str], kind: str) -> str:
    """CONCAT of any number of texts. The first one makes it (max): else it would be cut at 8000 bytes."""
    if len(texts) > _MOST_ARGUMENTS:
        parts = [_concatenated(texts[at : at + _MOST_ARGUMENTS], kind) for at in range(0, len(texts), _MOST_ARGUMENTS)]
        return _concatenated(parts, kind)
    return f"CONCAT(CONVERT({kind}(max), ''), {', '.join(texts)})"
