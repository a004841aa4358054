"""RAISERROR and sp-style message formatting ("RAISERROR (Transact-SQL)")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..contract import Done, Event, Message, SqlError, SqlType
from . import nodes as n
from .errors import unsupported

if TYPE_CHECKING:
    from .runner import Runner


def format_message(text: str, args: list[Any]) -> str:
    """%s, %d, %i, %u, %x, %X, %o and %%; widths and flags as C's printf has them."""
    out, i, rest = "", 0, list(args)
    while i < len(text):
        if text[i] != "%":
            out += text[i]
            i += 1
            continue
        j = i + 1
        while j < len(text) and text[j] in "-+0 #123456789.*":
            j += 1
        if j < len(text) and text[j] == "%":
            out += "%"
        elif j < len(text) and text[j] in "sdiuxXo":
            flags = text[i + 1 : j]
            if "*" in flags:
                raise unsupported("RAISERROR with * widths")
            value = rest.pop(0) if rest else None
            if value is None:
                out += "(null)"
            else:
                kind = {"i": "d", "u": "d"}.get(text[j], text[j])
                out += f"%{flags}{kind}" % value
        else:
            out += text[i : j + 1]
        i = j + 1
    return out


def raise_error(runner: Runner, node: n.RaiseError) -> Iterator[Event]:
    """Severity up to 10 informs; 11 to 18 is an error that TRY catches; more ends the connection."""
    if len(node.args) < 3:
        raise unsupported("RAISERROR with a message id alone", node.line)
    _, first = runner.evaluate(node.args[0])
    severity = runner.evaluate(node.args[1], SqlType("int"))[1] or 0
    state = runner.evaluate(node.args[2], SqlType("int"))[1] or 0
    if not isinstance(first, str):
        raise unsupported("RAISERROR with a message id", node.line)
    values = [runner.evaluate(a)[1] for a in node.args[3:]]
    message = Message(50000, format_message(first, values), max(severity, 0), max(0, min(state, 255)), node.line)
    if severity > 18:
        raise unsupported("RAISERROR with a severity above 18", node.line)
    if severity <= 10:
        # "Database Engine error severities": 10 is sent as 0
        yield replace(message, severity=0) if severity == 10 else message
        yield Done("RAISERROR", None)
        return
    runner.session.last_error = 50000
    if runner.tries:
        raise SqlError(message)
    yield message
    yield Done("RAISERROR", None)
