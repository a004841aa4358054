"""Constants to bound values ("Constants (Transact-SQL)")."""

from __future__ import annotations

from ..contract import MAX_LENGTH, SqlType
from . import lexer
from . import nodes as n
from .bound import Ex
from .errors import error
from .pg import quote
from .types import FLOAT, INT, MONEY, decimal, nvarchar, varchar
from .values import check_text, to_codepage


def bind_literal(node: n.Literal) -> Ex:
    """A literal's exact type: 1 int, 3000000000 numeric(10,0), 1.50 numeric(3,2), N'ab' nvarchar(2)."""
    text = node.text
    if node.kind == lexer.INTEGER:
        digits = text.lstrip("0") or "0"
        number = int(digits)
        if number <= 2_147_483_647:
            return Ex(f"{number}::int4", INT, False, digits=len(digits))
        return _exact(digits, "", node.line)
    if node.kind == lexer.DECIMAL:
        whole, _, fraction = text.partition(".")
        return _exact(whole.lstrip("0"), fraction, node.line)
    if node.kind == lexer.FLOAT:
        mantissa, _, exponent = text.lower().partition("e")
        number_text = f"{mantissa if mantissa != '.' else '0'}e{exponent if exponent.strip('+-') else '0'}"
        number_value = float(number_text)
        if number_value in (float("inf"), float("-inf")):
            raise error(
                168,
                f"The floating point value '{text}' is out of the range of computer representation (8 bytes).",
                severity=15,
                line=node.line,
            )
        return Ex(f"'{number_value!r}'::float8", FLOAT, False)
    if node.kind == lexer.MONEY:
        return Ex(f"round('{text or '0'}'::numeric, 4)", MONEY, False)
    if node.kind == lexer.BINARY:
        digits = text if len(text) % 2 == 0 else "0" + text
        size = len(digits) // 2
        return Ex(f"'\\x{digits}'::bytea", SqlType("varbinary", max(size, 1) if size <= 8000 else MAX_LENGTH), False)
    return string(text, unicode=node.kind == lexer.NSTRING)


def _exact(whole: str, fraction: str, line: int) -> Ex:
    precision = max(len(whole) + len(fraction), 1)
    if precision > 38:
        raise error(1007, f"The number '{whole}.{fraction}' is out of the range for numeric representation (maximum "
                    "precision 38).", severity=15, line=line)  # fmt: skip
    sql = f"'{whole or '0'}{'.' + fraction if fraction else ''}'::numeric"
    return Ex(sql, decimal(precision, len(fraction)), False)


def string(text: str, *, unicode: bool) -> Ex:
    """A string constant as varchar or nvarchar of its own length."""
    check_text(text)
    if unicode:
        units = len(text.encode("utf-16-le")) // 2
        return Ex(f"{quote(text)}::text", nvarchar(max(units, 1)), False, constant=text)
    text = to_codepage(text)
    return Ex(f"{quote(text)}::text", varchar(max(len(text), 1)), False, constant=text)
