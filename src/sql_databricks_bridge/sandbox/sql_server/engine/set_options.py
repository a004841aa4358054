"""SET statements ("SET statements (Transact-SQL)"): options with a meaning here, options without, options refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..contract import Done, Event
from . import catalog
from . import nodes as n
from .errors import error, unsupported

if TYPE_CHECKING:
    from .runner import Runner

# ON is how this engine always behaves; OFF would change results, and so is refused.
_ALWAYS_ON = {
    "ANSI_NULLS",
    "ANSI_PADDING",
    "ANSI_WARNINGS",
    "ARITHABORT",
    "CONCAT_NULL_YIELDS_NULL",
    "ANSI_NULL_DFLT_ON",
}
_ALWAYS_OFF = {
    "NUMERIC_ROUNDABORT",
    "ARITHIGNORE",
    "PARSEONLY",
    "REMOTE_PROC_TRANSACTIONS",
    "ANSI_NULL_DFLT_OFF",
    "FORCEPLAN",
    "SHOWPLAN_ALL",
    "SHOWPLAN_TEXT",
    "SHOWPLAN_XML",
}
_IGNORED = {
    "CURSOR_CLOSE_ON_COMMIT",
    "STATISTICS IO",
    "STATISTICS TIME",
    "STATISTICS XML",
    "STATISTICS PROFILE",
    "NO_BROWSETABLE",
    "DEADLOCK_PRIORITY",
    "QUERY_GOVERNOR_COST_LIMIT",
    "CONTEXT_INFO",
}
_FLAGS = {
    "NOCOUNT": "nocount",
    "XACT_ABORT": "xact_abort",
    "QUOTED_IDENTIFIER": "quoted_identifier",
    "FMTONLY": "fmtonly",
    "NOEXEC": "noexec",
    "IMPLICIT_TRANSACTIONS": "implicit_transactions",
}
_LANGUAGES = {
    "us_english": ("mdy", 7),
    "english": ("mdy", 7),
    "british": ("dmy", 1),
    "british english": ("dmy", 1),
}


def apply(runner: Runner, node: n.SetOption) -> Iterator[Event]:
    """Run one SET."""
    for name in node.names:
        _one(runner, name, node)
    yield Done("SET", None)


def _one(runner: Runner, name: str, node: n.SetOption) -> None:
    s = runner.session
    o = s.options
    on = node.value == "ON"
    if name == "ISOLATION":
        s.set_isolation(str(node.value))
    elif name == "ANSI_DEFAULTS":
        if not on:
            raise unsupported("SET ANSI_DEFAULTS OFF", node.line)
        o.quoted_identifier = True
    elif name in _FLAGS:
        setattr(o, _FLAGS[name], on)
    elif name in _ALWAYS_ON:
        if not on:
            raise unsupported(f"SET {name} OFF", node.line)
    elif name in _ALWAYS_OFF:
        if on:
            raise unsupported(f"SET {name} ON", node.line)
    elif name in _IGNORED:
        return
    elif name == "IDENTITY_INSERT":
        _identity_insert(runner, node, on)
    elif name in ("ROWCOUNT", "LOCK_TIMEOUT", "TEXTSIZE", "DATEFIRST"):
        _number(runner, name, _value(runner, node))
    elif name == "DATEFORMAT":
        form = str(_value(runner, node)).lower()
        if form not in ("mdy", "dmy", "ymd"):
            raise unsupported(f"SET DATEFORMAT {form}", node.line)
        o.dateformat = form
    elif name == "LANGUAGE":
        language = str(_value(runner, node)).lower()
        if language not in _LANGUAGES:  # month and day names and messages would be in that language
            raise unsupported(f"SET LANGUAGE {language} (use SET DATEFORMAT and SET DATEFIRST)", node.line)
        o.language = language
        o.dateformat, o.datefirst = _LANGUAGES[language]
    else:
        raise error(195, f"'{name}' is not a recognized SET option.", severity=15, line=node.line)


def _value(runner: Runner, node: n.SetOption) -> Any:
    if isinstance(node.value, str):
        return node.value
    return runner.evaluate(node.value)[1]


def _number(runner: Runner, name: str, number: Any) -> None:
    s = runner.session
    if not isinstance(number, int):
        raise error(1080, f"The integer value {number} is out of range.", severity=15)
    if name == "ROWCOUNT":
        s.options.rowcount = number
    elif name == "DATEFIRST":
        if not 1 <= number <= 7:
            raise error(2742, f"SET DATEFIRST {number} is out of range.")
        s.options.datefirst = number
    elif name == "LOCK_TIMEOUT":
        s.options.lock_timeout = number
        # 0 means "never wait" there and "wait for ever" here
        s.run(f"SET lock_timeout = {0 if number < 0 else max(number, 1)}")
    elif number not in (-1, 0, 2147483647):
        raise unsupported(f"SET TEXTSIZE {number}")


def _identity_insert(runner: Runner, node: n.SetOption, on: bool) -> None:
    s = runner.session
    table = s.lookup(node.tables, node.line)
    if not any(c.identity for c in table.columns):
        raise error(
            8106,
            f"Table '{table.name}' does not have the identity property. Cannot perform SET operation.",
            line=node.line,
        )
    if on and s.options.identity_insert not in (0, table.id):
        other = catalog.table_by_id(s.pg, s.options.identity_insert)
        raise error(
            8107,
            f"IDENTITY_INSERT is already ON for table '{other.full_name if other else '?'}'. Cannot "
            f"perform SET "
            f"operation for table '{table.name}'.",
            line=node.line,
        )
    s.options.identity_insert = table.id if on else 0
