"""CHANGETABLE(CHANGES t, version): the net change of each key since a version.

Relative to the baseline: deleted last is D; not there at first (its first change an insert) is I; all else is U, a
deletion followed by an insertion too ("CHANGETABLE (Transact-SQL)"). Changes of one key are recorded in the order of
their commits, since the row or its key is locked in between; of transactions, only those that the statement's snapshot
sees have a version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..contract import DEFAULT_COLLATION, SqlError, SqlType
from . import nodes as n
from .bound import Source, SourceColumn
from .change_tracking import key_columns, side_table
from .convert import convert
from .errors import error, unsupported
from .scope import Scope
from .types import BIGINT

if TYPE_CHECKING:
    from .from_clause import FromBinder
    from .table import Table

_NET = "CASE WHEN max(l.seq * 4 + l.op) % 4 = 0 THEN 'D' WHEN min(l.seq * 4 + l.op) % 4 = 1 THEN 'I' ELSE 'U' END"


def bind(binder: FromBinder, node: n.ChangeTable, scope: Scope, alias: str) -> tuple[str, Source]:
    """PostgreSQL's FROM item and the columns that it offers. Msg 208, 22105, 22107."""
    table = _tracked(binder, node)
    binder.env.used_tables.append(table)
    since = convert(binder.expressions.value(node.since, Scope(parent=scope.parent)), BIGINT).sql
    keys = key_columns(table)
    shown: list[str] = [
        "max(x.version)",
        "max(x.version) FILTER (WHERE l.op = 1)",
        _NET,
        _columns(binder, table),
        "NULL::bytea",
    ]
    # A key may have been written in several spellings that are one to its collation.
    shown += [f"(array_agg(l.{c.pg} ORDER BY l.seq))[1]" if c.keyed else f"l.{c.pg}" for c in keys]
    names = [f"o{i + 1}" for i in range(len(shown))]
    stored = [c for c in keys if c.keyed]
    names += [c.key_pg for c in stored]
    shown += [f"l.{c.key_pg}" for c in stored]
    database = table.pg_schema[1:]
    sql = (
        f"(SELECT {', '.join(shown)} FROM tsql.ct_commits x JOIN {side_table(table)} l ON l.xid = x.xid "
        f"WHERE x.dbid = {database} AND x.version > coalesce({since}, -1) "
        f"GROUP BY {', '.join(f'l.{c.key_pg}' for c in keys)}) {alias}({', '.join(names)})"
    )
    offered = [
        SourceColumn("SYS_CHANGE_VERSION", f"{alias}.o1", BIGINT, True),
        SourceColumn("SYS_CHANGE_CREATION_VERSION", f"{alias}.o2", BIGINT, True),
        SourceColumn("SYS_CHANGE_OPERATION", f"{alias}.o3", SqlType("nchar", 1, collation=DEFAULT_COLLATION), True),
        SourceColumn("SYS_CHANGE_COLUMNS", f"{alias}.o4", SqlType("varbinary", 4100), True),
        SourceColumn("SYS_CHANGE_CONTEXT", f"{alias}.o5", SqlType("varbinary", 128), True),
    ]
    for i, c in enumerate(keys, len(offered) + 1):
        key = f"{alias}.{c.key_pg}" if c.keyed else None
        offered.append(SourceColumn(c.name, f"{alias}.o{i}", c.type, False, key=key))
    _rename(offered, node)
    return sql, Source(alias, ((node.alias.lower(),),), offered)


def _tracked(binder: FromBinder, node: n.ChangeTable) -> Table:
    name = ".".join(node.table)
    unfit = error(
        22107,
        f"Object '{name}' is of a data type that is not supported by the CHANGETABLE function. The object must be a "
        "user-defined table.",
        line=node.line,
    )
    try:
        table = binder.table(node.table, node.line)
    except SqlError as exc:
        if exc.message.number == 208 and (binder.env.view(node.table) or binder.env.system_view(node.table)):
            raise unfit from exc
        raise
    if table.pg_schema == "pg_temp":
        raise unfit
    if binder.env.tracked(table) is None:
        raise error(22105, f"Change tracking is not enabled on table '{name}'.", line=node.line)
    return table


def _columns(binder: FromBinder, table: Table) -> str:
    """SYS_CHANGE_COLUMNS: NULL if columns are not tracked; else an update's can't be told, and reading it says so."""
    if not binder.env.tracked(table):
        return "NULL::bytea"
    return f"CASE WHEN {_NET} = 'U' THEN tsql.ct_columns(max(l.seq)) END"


def _rename(columns: list[SourceColumn], node: n.ChangeTable) -> None:
    if not node.columns:
        return
    if len(node.columns) != len(columns):
        more = len(columns) > len(node.columns)
        raise error(
            8158 if more else 8159,
            f"'{node.alias}' has {'more' if more else 'fewer'} columns than were specified in the column list.",
            line=node.line,
        )
    for column, name in zip(columns, node.columns, strict=True):
        column.name = name


def refuse_applied(node: n.ChangeTable) -> SqlError:
    return unsupported("APPLY of CHANGETABLE", node.line)
