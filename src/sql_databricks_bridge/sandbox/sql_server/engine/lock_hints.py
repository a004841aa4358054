"""What table hints lock ("Table hints (Transact-SQL)").

UPDLOCK, XLOCK and REPEATABLEREAD lock the rows that a plain SELECT returns. What PostgreSQL can't lock row by row
(aggregates, subqueries, unions, the optional side of an outer join), and the ranges that HOLDLOCK protects, are locked
as a whole table: more waits for it than in SQL Server, nothing slips through.
"""

from __future__ import annotations

from . import nodes as n
from .errors import unsupported
from .expr import has_aggregate, walk

_KNOWN = frozenset({"UPDLOCK", "HOLDLOCK", "SERIALIZABLE", "REPEATABLEREAD", "XLOCK", "TABLOCK", "TABLOCKX"})
_WRITERS = "SHARE ROW EXCLUSIVE"


def refuse_unknown(hints: tuple[str, ...], line: int) -> None:
    refused = set(hints) - _KNOWN
    if refused:
        raise unsupported(f"the table hint {sorted(refused)[0]}", line)


def table_mode(hints: tuple[str, ...]) -> str | None:
    """PostgreSQL's mode of the table lock that a read table's hints ask for."""
    given = set(hints)
    if "TABLOCKX" in given or {"TABLOCK", "XLOCK"} <= given:
        return "EXCLUSIVE"
    held = given & {"HOLDLOCK", "SERIALIZABLE"}
    if given & {"UPDLOCK", "XLOCK"} and (held or "TABLOCK" in given):
        return _WRITERS
    return "SHARE" if held else None


def row_mode(hints: tuple[str, ...]) -> str | None:
    """The row lock that they ask for where no table lock is."""
    if table_mode(hints) is not None:
        return None
    if set(hints) & {"UPDLOCK", "XLOCK"}:
        return "UPDATE"
    return "SHARE" if "REPEATABLEREAD" in hints else None


def instead_of_rows(mode: str) -> str:
    """The table lock that stands for row locks where PostgreSQL takes none."""
    return _WRITERS if mode == "UPDATE" else "SHARE"


def target_mode(hints: tuple[str, ...]) -> str | None:
    """The same for a table that is changed: its rows are locked anyway."""
    given = set(hints)
    if "TABLOCKX" in given:
        return "EXCLUSIVE"
    return _WRITERS if given & {"HOLDLOCK", "SERIALIZABLE", "TABLOCK"} else None


def row_by_row(node: n.Select) -> bool:
    """Whether a SELECT returns its tables' rows one by one."""
    parts = [*node.items, node.having]
    percent = node.top is not None and node.top.percent
    if node.distinct or node.group is not None or node.having is not None or percent:
        return False
    return not has_aggregate(parts) and not any(isinstance(x, n.Over) for x in walk(parts))
