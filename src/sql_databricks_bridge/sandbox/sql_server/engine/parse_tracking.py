"""Change tracking's syntax: ALTER DATABASE ... SET CHANGE_TRACKING, ALTER TABLE ... CHANGE_TRACKING, CHANGETABLE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import lexer
from . import nodes as n
from .errors import error

if TYPE_CHECKING:
    from .parse_query import QueryParser

_UNITS = {"MINUTES": 1, "HOURS": 2, "DAYS": 3}
_MINUTES = (1, 60, 1440)
_LONGEST = 2**31 - 1


def alter_database(p: QueryParser, line: int, database: str | None) -> n.AlterDatabaseTracking:
    """After ALTER DATABASE d SET CHANGE_TRACKING: { = ON [(options)] | = OFF | (options) }."""
    out = n.AlterDatabaseTracking(line, database, None)
    if p.accept_op("="):
        if not p.at("ON", "OFF"):
            raise p.wrong()
        out.on = p.advance().upper == "ON"
    if out.on is not False and p.accept_op("("):
        _options(p, out)
    elif out.on is None:
        raise p.wrong()
    if p.at_op(","):
        raise error(
            22114, "Change tracking options for ALTER DATABASE cannot be combined with other ALTER DATABASE options."
        )
    return out


def _options(p: QueryParser, out: n.AlterDatabaseTracking) -> None:
    seen = set()
    while True:
        if not p.at("CHANGE_RETENTION", "AUTO_CLEANUP"):
            raise p.wrong()
        name = p.advance().upper
        if name in seen:
            raise error(
                5091,
                f"ALTER DATABASE change tracking option '{name}' was specified more than once. Each option can be "
                "specified only once.",
                severity=15,
            )
        seen.add(name)
        p.expect_op("=")
        if name == "AUTO_CLEANUP":
            if not p.at("ON", "OFF"):
                raise p.wrong()
            out.auto_cleanup = p.advance().upper == "ON"
        else:
            out.retention = _retention(p)
        if not p.accept_op(","):
            p.expect_op(")")
            return


def _retention(p: QueryParser) -> tuple[int, int]:
    """(period, its unit's number in sys.change_tracking_databases)."""
    period = p.integer()
    unit = p.token.upper
    if unit not in _UNITS:
        raise error(
            155, f"'{p.token.text}' is not a recognized CHANGE RETENTION UNIT option.", severity=15, line=p.line
        )
    p.advance()
    if not 1 <= period * _MINUTES[_UNITS[unit] - 1] <= _LONGEST:
        raise error(
            5092,
            f"The value for change tracking option 'CHANGE_RETENTION' is not valid. The value must be between 1 and "
            f"{_LONGEST} minutes.",
            severity=15,
        )
    return period, _UNITS[unit]


def alter_table(p: QueryParser, line: int, table: tuple[str, ...]) -> n.AlterTableTracking:
    """At ENABLE or DISABLE CHANGE_TRACKING [WITH (TRACK_COLUMNS_UPDATED = { ON | OFF })]."""
    out = n.AlterTableTracking(line, table, p.advance().upper == "ENABLE")
    p.expect("CHANGE_TRACKING")
    if out.on and p.accept("WITH"):
        p.expect_op("(")
        p.expect("TRACK_COLUMNS_UPDATED")
        p.expect_op("=")
        if not p.at("ON", "OFF"):
            raise p.wrong()
        out.columns_updated = p.advance().upper == "ON"
        p.expect_op(")")
    return out


def change_table(p: QueryParser, line: int) -> n.ChangeTable:
    """After CHANGETABLE, at its parenthesis. The version is a value or a variable: an expression is a syntax error."""
    p.expect_op("(")
    if p.at("VERSION"):
        raise p.refuse("CHANGETABLE(VERSION ...)")
    p.expect("CHANGES")
    table = p.dotted()
    p.expect_op(",")
    since = _scalar(p)
    if p.accept_op(","):
        p.expect("FORCESEEK")  # a plan hint
    p.expect_op(")")
    p.accept("AS")
    if not p.at_name():
        raise error(22104, "A table returned by the CHANGETABLE function must be aliased.", line=line)
    alias = p.name()
    return n.ChangeTable(line, table, since, alias, p.name_list() if p.at_op("(") else ())


def _scalar(p: QueryParser) -> n.Node:
    negative = p.accept_op("-")
    t = p.token
    value: n.Node
    if t.kind == lexer.VARIABLE and not negative:
        value = n.Variable(t.line, t.text)
    elif t.kind in (lexer.INTEGER, lexer.DECIMAL):
        value = n.Literal(t.line, t.kind, t.text)
    elif p.at("NULL") and not negative:
        value = n.Null(t.line)
    else:
        raise p.wrong()
    p.advance()
    return n.Unary(t.line, "-", value) if negative else value
