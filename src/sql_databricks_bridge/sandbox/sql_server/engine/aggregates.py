"""Aggregate and window functions ("Aggregate functions", "Ranking functions", "Analytic functions")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..contract import MAX_LENGTH, SqlType
from . import nodes as n
from .bound import Ex, probe, value
from .code_pages import bytes_text, counts_bytes, text_bytes
from .collations import alphabet, key_kind
from .convert import convert
from .errors import error, unsupported
from .functions import raw
from .scope import Scope
from .types import (
    BIGINT,
    DECIMALS,
    FLOAT,
    FLOATS,
    INT,
    INTEGERS,
    MONEY,
    MONEYS,
    NUMBERS,
    STRINGS,
    decimal,
    is_unicode,
    nvarchar,
)
from .typing_rules import key, needs_key, sort_keys, word_sort

if TYPE_CHECKING:
    from .expr import ExpressionBinder as B


def order_sql(keys: list[str], descending: bool) -> str:
    """ORDER BY terms; SQL Server sorts NULL lowest."""
    tail = " DESC NULLS LAST" if descending else " ASC NULLS FIRST"
    return ", ".join(k + tail for k in keys)


def _over(b: B, node: n.Func, scope: Scope, *, frame: bool = True) -> str:
    """The OVER (...) text, or ''."""
    over = node.over
    if over is None:
        return ""
    if not scope.windows:
        raise error(
            4108, "Windowed functions can only appear in the SELECT or ORDER BY clauses.", severity=15, line=node.line
        )
    parts = []
    if over.partition:
        parts.append("PARTITION BY " + ", ".join(key(b.value(p, scope)) for p in over.partition))
    if over.order:
        terms = []
        for item in over.order:
            if isinstance(item.expr, n.Literal):
                raise error(
                    5308,
                    "Windowed functions, aggregates and NEXT VALUE FOR functions do not support "
                    "integer indices "
                    "as ORDER BY clause expressions.",
                    line=node.line,
                )
            if isinstance(item.expr, n.Scalar):
                continue  # ORDER BY (SELECT NULL): any order
            terms.append(order_sql(sort_keys(b.value(item.expr, scope)), item.descending))
        if terms:
            parts.append("ORDER BY " + ", ".join(terms))
    if over.frame is not None:
        if not over.order:
            raise error(
                10756, "Window frame with ROWS or RANGE must have an ORDER BY clause.", severity=15, line=node.line
            )
        if frame:
            parts.append(_frame(b, over.frame, scope))
    return f" OVER ({' '.join(parts)})"


def _frame(b: B, frame: n.Frame, scope: Scope) -> str:
    def bound(at: tuple[str, n.Node | None]) -> str:
        if at[1] is None:
            return at[0]
        if frame.unit == "RANGE":
            raise error(
                4194, "RANGE is only supported with UNBOUNDED and CURRENT ROW window frame delimiters.", severity=15
            )
        count = b.constant_int(at[1], scope)
        if count is None or count < 0:
            raise unsupported("a window frame bound that is no constant")
        return f"{count} {at[0]}"

    return f"{frame.unit} BETWEEN {bound(frame.start)} AND {bound(frame.end)}"


def _argument(b: B, node: n.Func, scope: Scope) -> Ex:
    """The one argument of an aggregate, bound inside it."""
    if len(node.args) != 1 or node.star:
        raise error(174, f"The {node.name} function requires 1 argument(s).", severity=15, line=node.line)
    if node.over is not None:
        if node.distinct:
            raise error(10759, "Use of DISTINCT is not allowed with the OVER clause.", severity=15, line=node.line)
        return b.value(node.args[0], scope)
    return _inside(b, node, scope, node.args[0])


def _inside(b: B, node: n.Func, scope: Scope, arg: n.Node) -> Ex:
    from .expr import AGGREGATES, walk

    if scope.clause == "where":
        raise error(
            147,
            "An aggregate may not appear in the WHERE clause unless it is in a subquery contained in "
            "a HAVING "
            "clause or a select list, and the column being aggregated is an outer "
            "reference.",
            severity=15,
            line=node.line,
        )
    if scope.clause in ("on", "group"):
        raise error(
            144,
            "Cannot use an aggregate or a subquery in an expression used for the group by list of a GROUP BY clause.",
            severity=15,
            line=node.line,
        )
    for x in walk(arg):
        if isinstance(x, n.Func) and x.name in AGGREGATES and x.over is None:
            raise error(
                130,
                "Cannot perform an aggregate function on an expression containing an aggregate or a subquery.",
                severity=15,
                line=node.line,
            )
        if isinstance(x, n.Scalar | n.Exists | n.InQuery):
            raise error(
                130,
                "Cannot perform an aggregate function on an expression containing an aggregate or a subquery.",
                severity=15,
                line=node.line,
            )
    saved, scope.in_aggregate = scope.in_aggregate, True
    try:
        return b.value(arg, scope)
    finally:
        scope.in_aggregate = saved


def _agg(sql: str, t: SqlType, nullable: bool = True) -> Ex:
    return Ex(sql, t, nullable, aggregate=True)


@raw("COUNT COUNT_BIG")
def _count(b: B, node: n.Func, scope: Scope) -> Ex:
    t, cast = (INT, "int4") if node.name == "COUNT" else (BIGINT, "int8")
    if node.star:
        if node.over is None and scope.clause in ("where", "on", "group"):
            _inside(b, node, scope, n.Null(node.line))
        inner = "*"
    else:
        ex = _argument(b, node, scope)
        if ex.is_null:
            raise error(8117, f"Operand data type NULL is invalid for {node.name.lower()} operator.", line=node.line)
        inner = probe(ex)
        if node.distinct:
            inner = "DISTINCT " + key(ex)
    sql = f"count({inner}){_over(b, node, scope)}"
    return _agg(f"tsql.to_int({sql})" if cast == "int4" else sql, t, nullable=node.over is not None)


def _check_number(node: n.Func, ex: Ex) -> None:
    t = ex.type
    if ex.is_null:
        raise error(8117, f"Operand data type NULL is invalid for {node.name.lower()} operator.", line=node.line)
    if t.name not in NUMBERS or t.name == "bit":
        raise error(8117, f"Operand data type {t.name} is invalid for {node.name.lower()} operator.", line=node.line)


@raw("SUM")
def _sum(b: B, node: n.Func, scope: Scope) -> Ex:
    ex = _argument(b, node, scope)
    _check_number(node, ex)
    t = ex.type
    over = _over(b, node, scope)
    distinct = "DISTINCT " if node.distinct else ""
    if t.name == "bigint":
        return _agg(f"tsql.to_big(sum({distinct}{ex.sql}){over})", BIGINT)
    if t.name in INTEGERS:
        return _agg(f"tsql.to_int(sum({distinct}{ex.sql}){over})", INT)
    if t.name in DECIMALS:
        return _agg(f"(sum({distinct}{ex.sql}){over})::numeric(38,{t.scale})", decimal(38, t.scale or 0, t.name))
    if t.name in MONEYS:
        return _agg(f"tsql.num_money(sum({distinct}{ex.sql}){over}, 'money')", MONEY)
    return _agg(f"sum({distinct}({ex.sql})::float8){over}", FLOAT)


@raw("AVG")
def _avg(b: B, node: n.Func, scope: Scope) -> Ex:
    ex = _argument(b, node, scope)
    _check_number(node, ex)
    t = ex.type
    over = _over(b, node, scope)
    d = "DISTINCT " if node.distinct else ""
    if t.name in FLOATS:
        return _agg(f"avg({d}({ex.sql})::float8){over}", FLOAT)
    total, count = f"sum({d}{ex.sql}){over}", f"nullif(count({d}{ex.sql}){over}, 0)"
    if t.name == "bigint":
        return _agg(f"tsql.avg_big({total}, {count})", BIGINT)
    if t.name in INTEGERS:
        return _agg(f"tsql.avg_int({total}, {count})", INT)
    if t.name in MONEYS:
        return _agg(f"trunc(div({total} * 10000, {count}) / 10000::numeric, 4)", MONEY)
    scale = max(t.scale or 0, 6)
    return _agg(f"tsql.dec_div({total}, {count}::numeric, 38, {scale})", decimal(38, scale, t.name))


@raw("MIN MAX")
def _min(b: B, node: n.Func, scope: Scope) -> Ex:
    ex = _argument(b, node, scope)
    t = ex.type
    over = _over(b, node, scope)
    pg = node.name.lower()
    if ex.is_null or t.name in ("bit", "text", "ntext", "image", "xml", "json") or ex.base is not None:
        raise error(
            8117, f"Operand data type {'NULL' if ex.is_null else t.name} is invalid for {pg} operator.", line=node.line
        )
    if t.name in STRINGS:
        kind = key_kind(t.collation)
        if kind == "bin" and is_unicode(t):
            return _agg(f"{pg}({ex.sql}){over}", t)
        if kind == "bin":
            return _agg(bytes_text(f"{pg}({text_bytes(ex.sql, t)}){over}", t), t)
        if kind != "ci" or alphabet(t.collation) != "latin":
            raise unsupported(f"{node.name} of strings under this collation", node.line)
        return _agg(f"tsql.{'word' if word_sort(t) else 'ci'}_{pg}({ex.sql}){over}", t)
    if t.name == "datetimeoffset":
        return _agg(f"tsql.dto_{pg}({ex.sql}){over}", t)
    if t.name == "uniqueidentifier":
        return _agg(f"tsql.key_guid({pg}(tsql.guid_key({ex.sql})){over})", t)
    if t.name == "sql_variant":
        raise unsupported(f"{node.name} of sql_variant", node.line)
    if t.name in ("geometry", "geography"):
        raise error(8117, f"Operand data type {t.name} is invalid for {pg} operator.", line=node.line)
    return _agg(f"{pg}({ex.sql}){over}", t)


@raw("STDEV STDEVP VAR VARP")
def _spread(b: B, node: n.Func, scope: Scope) -> Ex:
    ex = _argument(b, node, scope)
    _check_number(node, ex)
    pg = {"STDEV": "stddev_samp", "STDEVP": "stddev_pop", "VAR": "var_samp", "VARP": "var_pop"}[node.name]
    d = "DISTINCT " if node.distinct else ""
    return _agg(f"{pg}({d}({ex.sql})::float8){_over(b, node, scope)}", FLOAT)


@raw("STRING_AGG")
def _string_agg(b: B, node: n.Func, scope: Scope) -> Ex:
    if len(node.args) != 2 or node.over is not None or node.distinct:
        raise error(174, "The STRING_AGG function requires 2 argument(s).", severity=15, line=node.line)
    given = _inside(b, node, scope, node.args[0])
    # "STRING_AGG (Transact-SQL)": what is no string becomes nvarchar(4000)
    ex = b.text(given) if given.type.name in STRINGS else convert(given, nvarchar(4000), b.env.dateformat)
    gap = b.text(b.value(node.args[1], scope))
    order = ""
    if node.within:
        keys = [order_sql(sort_keys(_inside(b, node, scope, i.expr)), i.descending) for i in node.within]
        order = " ORDER BY " + ", ".join(keys)
    limit = MAX_LENGTH if ex.type.length == MAX_LENGTH else 4000 if is_unicode(ex.type) else 8000
    sql = f"string_agg({ex.sql}, coalesce({gap.sql}, ''){order})"
    if limit != MAX_LENGTH and counts_bytes(ex.type):
        raise unsupported("STRING_AGG of varchar of several bytes a character (CONVERT it to varchar(max))", node.line)
    if limit != MAX_LENGTH:
        sql = f"tsql.agg_limit({sql}, {limit})"
    return _agg(sql, SqlType("nvarchar" if is_unicode(ex.type) else "varchar", limit, collation=ex.type.collation))


@raw("GROUPING GROUPING_ID")
def _grouping(b: B, node: n.Func, scope: Scope) -> Ex:
    saved, scope.group = scope.group, None
    try:
        keys = [key(b.value(a, scope)) for a in node.args]
    finally:
        scope.group = saved
    if saved is None:
        raise error(
            8161, "Argument 1 of the GROUPING function does not match any of the expressions in the GROUP BY clause."
        )
    sql = f"grouping({', '.join(keys)})"
    if node.name == "GROUPING":
        return _agg(f"({sql})::int2", SqlType("tinyint"), nullable=True)
    return _agg(sql, INT)


# ---- ranking and analytic functions ---------------------------------------------------------------------------------
def _needs_over(node: n.Func, *, order: bool = True) -> None:
    if node.over is None:
        raise error(10753, f"The function '{node.name}' must have an OVER clause.", severity=15, line=node.line)
    if order and not node.over.order:
        raise error(
            4112, f"The function '{node.name}' must have an OVER clause with ORDER BY.", severity=15, line=node.line
        )


@raw("ROW_NUMBER RANK DENSE_RANK")
def _rank(b: B, node: n.Func, scope: Scope) -> Ex:
    _needs_over(node)
    return Ex(f"{node.name.lower()}(){_over(b, node, scope)}", BIGINT, True)


@raw("PERCENT_RANK CUME_DIST")
def _percent(b: B, node: n.Func, scope: Scope) -> Ex:
    _needs_over(node)
    return Ex(f"{node.name.lower()}(){_over(b, node, scope)}", FLOAT, True)


@raw("NTILE")
def _ntile(b: B, node: n.Func, scope: Scope) -> Ex:
    _needs_over(node)
    count = convert(b.value(node.args[0], scope), INT)
    return Ex(f"ntile({count.sql}){_over(b, node, scope)}::int8", BIGINT, True)


@raw("LAG LEAD")
def _lag(b: B, node: n.Func, scope: Scope) -> Ex:
    _needs_over(node)
    if node.nulls == "IGNORE":
        raise unsupported(f"{node.name} IGNORE NULLS", node.line)
    ex = b.value(node.args[0], scope)
    offset = convert(b.value(node.args[1], scope), INT).sql if len(node.args) > 1 else "1"
    sql = f"{ex.sql}, tsql.lag_offset({offset})"
    nullable = True
    if len(node.args) > 2:
        filler = convert(b.value(node.args[2], scope), ex.type, b.env.dateformat)
        sql += f", {filler.sql}"
        nullable = ex.nullable or filler.nullable
    return Ex(f"{node.name.lower()}({sql}){_over(b, node, scope)}", ex.type, nullable)


@raw("FIRST_VALUE LAST_VALUE")
def _first(b: B, node: n.Func, scope: Scope) -> Ex:
    _needs_over(node)
    if node.nulls == "IGNORE":
        raise unsupported(f"{node.name} IGNORE NULLS", node.line)
    ex = b.value(node.args[0], scope)
    return value(f"{node.name.lower()}({ex.sql}){_over(b, node, scope)}", ex.type, ex, nullable=True)


def grouped_value(ex: Ex, *, sets: bool) -> Ex:
    """What a grouped expression is after grouping: itself, or any of its equal spellings."""
    k = key(ex)
    if not needs_key(ex.type):
        return ex.but(nullable=True) if sets else ex
    sql = f"any_value({ex.sql})"
    if sets:
        sql = f"(CASE WHEN grouping({k}) = 0 THEN {sql} END)"
    return ex.but(sql=sql, aggregate=True, key=None, nullable=ex.nullable or sets)
