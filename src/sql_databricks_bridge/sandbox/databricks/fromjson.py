"""`from_json` as Spark reads JSON, where the engine reads it otherwise.

The engine fails on every TIMESTAMP in JSON, and lets integers that are too large wrap around. So such fields are read
as text or as the widest integer, and made their type by expressions around the call. Sources: Databricks SQL
reference, "from_json function" (a field that does not fit is NULL), "TIMESTAMP type" (what casts accept).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import sqlglot
from sqlglot import Token, TokenType, exp
from sqlglot.errors import SqlglotError

from .names import literal, quoted

_Type = exp.DataType.Type
_RANGES = {_Type.TINYINT: 7, _Type.SMALLINT: 15, _Type.INT: 31}
_AS_TEXT = {
    _Type.TIMESTAMP: "TIMESTAMP",
    _Type.TIMESTAMPTZ: "TIMESTAMP",
    _Type.TIMESTAMPLTZ: "TIMESTAMP",
    _Type.TIMESTAMPNTZ: "TIMESTAMP_NTZ",
    _Type.DATE: "DATE",
}


def rewritten(text: str, tokens: list[Token]) -> str:
    """The statement with each `from_json(value, 'schema')` made right for the engine; as it was if none needs it."""
    edits: list[tuple[int, int, str]] = []
    names = count()
    for index, token in enumerate(tokens):
        if token.text.lower() != "from_json" or token.token_type is TokenType.STRING:
            continue
        found = _second_argument(tokens, index + 1)
        if found is None:
            continue
        schema, closing = found
        wanted = _parsed(schema.text)
        if wanted is None or not _differs(wanted):
            continue
        before, after = _around(wanted, names)
        edits.append((token.start, token.start - 1, before))
        edits.append((schema.start, schema.end, literal(_engine_type(wanted))))
        edits.append((closing.end + 1, closing.end, after))
    for first, last, replacement in sorted(edits, reverse=True):
        text = text[:first] + replacement + text[last + 1 :]
    return text


def _second_argument(tokens: list[Token], opening: int) -> tuple[Token, Token] | None:
    """The schema and the closing parenthesis, where the call has two arguments and the second is one string."""
    depth, commas = 0, []
    for index in range(opening, len(tokens)):
        kind = tokens[index].token_type
        depth += (kind in (TokenType.L_PAREN, TokenType.L_BRACKET)) - (kind in (TokenType.R_PAREN, TokenType.R_BRACKET))
        if kind is TokenType.COMMA and depth == 1:
            commas.append(index)
        if depth == 0:
            is_plain = len(commas) == 1 and commas[0] == index - 2 and tokens[index - 1].token_type is TokenType.STRING
            return (tokens[index - 1], tokens[index]) if is_plain else None
    return None


def _parsed(schema: str) -> exp.DataType | None:
    for text in (schema, f"STRUCT<{schema}>"):
        try:
            found = sqlglot.parse_one(text, into=exp.DataType, dialect="databricks")
        except SqlglotError:
            continue
        if isinstance(found, exp.DataType) and isinstance(found.this, _Type) and found.this is not _Type.USERDEFINED:
            return found
    return None


def _differs(wanted: exp.DataType) -> bool:
    return any(each.this in _RANGES or each.this in _AS_TEXT for each in wanted.find_all(exp.DataType))


def _engine_type(wanted: exp.DataType) -> str:
    """The schema that the engine is given."""
    kind = wanted.this
    if kind in _RANGES:
        return "BIGINT"
    if kind in _AS_TEXT:
        return "STRING"
    if kind is _Type.ARRAY:
        return f"ARRAY<{_engine_type(wanted.expressions[0])}>"
    if kind is _Type.MAP:
        key, value = wanted.expressions
        return f"MAP<{_engine_type(key)},{_engine_type(value)}>"
    if kind is _Type.STRUCT:
        return f"STRUCT<{', '.join(f'{quoted(name)}: {_engine_type(each)}' for name, each in _fields(wanted))}>"
    return wanted.sql(dialect="spark")


def _around(wanted: exp.DataType, names: Iterator[int]) -> tuple[str, str]:
    """What to write before and after the call."""
    name = f"_json{next(names)}"
    element = wanted.expressions[0] if wanted.this is _Type.ARRAY else wanted
    inner = _converted(name, element, names)
    if wanted.this is _Type.ARRAY:
        return "transform(", f", {name} -> {inner})"
    return "element_at(transform(array(", f"), {name} -> {inner}), 1)"


def _converted(value: str, wanted: exp.DataType, names: Iterator[int]) -> str:
    """An expression that makes what the engine read the type that was asked for."""
    kind = wanted.this
    if not _differs(wanted):
        return value
    if kind in _RANGES:
        limit = 2 ** _RANGES[kind]
        return f"IF({value} BETWEEN {-limit} AND {limit - 1}, CAST({value} AS {wanted.sql(dialect='spark')}), NULL)"
    if kind in _AS_TEXT:
        return f"TRY_CAST({value} AS {_AS_TEXT[kind]})"
    if kind is _Type.ARRAY:
        name = f"_json{next(names)}"
        return f"transform({value}, {name} -> {_converted(name, wanted.expressions[0], names)})"
    if kind is _Type.MAP:
        name = f"_json{next(names)}"
        values = f"transform(map_values({value}), {name} -> {_converted(name, wanted.expressions[1], names)})"
        return f"map_from_arrays(map_keys({value}), {values})"
    fields = (
        f"{literal(name)}, {_converted(f'{value}.{quoted(name)}', each, names)}" for name, each in _fields(wanted)
    )
    return f"IF({value} IS NULL, NULL, named_struct({', '.join(fields)}))"


def _fields(wanted: exp.DataType) -> Iterator[tuple[str, exp.DataType]]:
    for each in wanted.expressions:
        yield each.this.name, each.args["kind"]
