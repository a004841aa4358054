"""Queries: SELECT, set operators, CTEs, FROM. Output columns are named o1, o2, ... in PostgreSQL."""

from __future__ import annotations

from itertools import product

from ..contract import SqlType
from . import nodes as n
from .aggregates import grouped_value, order_sql
from .bound import BoundQuery, Ex, OutColumn, Source, SourceColumn
from .convert import convert
from .environment import Environment
from .errors import error, unsupported
from .expr import ExpressionBinder, has_aggregate, walk
from .lock_hints import row_by_row
from .same_tree import same_tree
from .scope import CteInfo, Scope
from .set_operations import SetOperationBinder
from .set_operations import output as _at
from .types import BIGINT, FLOAT, INTEGERS, type_text
from .typing_rules import key, needs_key, sort_keys


class QueryBinder(SetOperationBinder):
    """Binds queries; the expressions in them go through `self.expressions`."""

    def __init__(self, env: Environment) -> None:
        self.env = env
        self.recursion = []
        self.expressions = ExpressionBinder(env)
        self.expressions.queries = self

    # ---- entry points -----------------------------------------------------------------------------------------------
    def nested(self, query: n.Query, scope: Scope | None, *, star_ok: bool = False) -> BoundQuery:
        """A subquery: ORDER BY needs TOP or OFFSET there (Msg 1033)."""
        if query.order and query.offset is None and not (isinstance(query.body, n.Select) and query.body.top):
            raise error(
                1033,
                "The ORDER BY clause is invalid in views, inline functions, derived tables, subqueries, and "
                "common table "
                "expressions, unless TOP, OFFSET or FOR XML is also specified.",
                severity=15,
                line=query.line,
            )
        return self.query(query, scope, exists=star_ok)

    def query(self, query: n.Query, scope: Scope | None = None, *, exists: bool = False) -> BoundQuery:
        """A query expression with its CTEs."""
        if query.ctes:
            scope = Scope(parent=scope, clause="cte")
            withs = [self._cte(c, scope, query.max_recursion) for c in query.ctes]
            bound = self._ordered(query, scope, exists)
            recursive = "RECURSIVE " if any(r for _, r in withs) else ""
            return BoundQuery(f"WITH {recursive}{', '.join(w for w, _ in withs)} {bound.sql}", bound.columns)
        return self._ordered(query, scope, exists)

    def with_prefix(self, ctes: list[n.Cte], scope: Scope) -> str:
        """WITH ... before a data-changing statement; the CTEs are in `scope` afterwards."""
        if not ctes:
            return ""
        withs = [self._cte(c, scope, 100) for c in ctes]
        return f"WITH {'RECURSIVE ' if any(r for _, r in withs) else ''}{', '.join(w for w, _ in withs)} "

    def _ordered(self, query: n.Query, scope: Scope | None, exists: bool) -> BoundQuery:
        if isinstance(query.body, n.Select):
            return self._select(query.body, query, scope, exists, alone=scope is None and not exists)
        bound = self._body(query.body, scope)
        if not query.order:
            return bound
        alias = self.env.alias("q")
        inner = Scope(parent=scope, sources=[self.as_source(bound, alias, None)], clause="order")
        terms = []
        for item in query.order:
            ex = self._order_output(item, bound.columns, alias) or self.expressions.value(item.expr, inner)
            terms.append(order_sql(sort_keys(ex), item.descending))
        outs = ", ".join(f"{alias}.o{i + 1}" for i in range(len(bound.columns)))
        sql = f"SELECT {outs} FROM ({bound.sql}) {alias} ORDER BY {', '.join(terms)}{self._limit(query, None, scope)}"
        return BoundQuery(sql, bound.columns)

    def _body(self, body: n.Node, scope: Scope | None) -> BoundQuery:
        if isinstance(body, n.Select):
            return self._select(body, n.Query(body.line, body), scope, False)
        if isinstance(body, n.Values):
            return self._values(body, scope)
        if isinstance(body, n.SetOp):
            return self._set_operation(body, scope)
        assert isinstance(body, n.Query)
        return self.query(body, scope)

    # ---- CTEs -------------------------------------------------------------------------------------------------------
    def _cte(self, cte: n.Cte, scope: Scope, limit: int) -> tuple[str, bool]:
        name = cte.name.lower()
        if name in scope.ctes:
            raise error(239, f"Duplicate common table expression name '{cte.name}' was specified.", line=cte.line)
        alias = self.env.alias("w")
        body = cte.query.body
        recursive = isinstance(body, n.SetOp) and any(
            isinstance(x, n.TableName) and x.parts == (x.parts[-1],) and x.parts[-1].lower() == name
            for x in walk(body, into_queries=True)
        )
        if recursive:
            assert isinstance(body, n.SetOp)
            return self._recursive(cte, body, scope, alias, limit), True
        bound = self.nested(cte.query, scope)
        columns = self._named(bound.columns, cte.columns, cte.name, cte.line)
        scope.ctes[name] = CteInfo(cte.name, alias, columns)
        return f"{alias} AS ({bound.sql})", False

    def _recursive(self, cte: n.Cte, body: n.SetOp, scope: Scope, alias: str, limit: int) -> str:
        if body.op != "UNION ALL":
            raise error(
                252,
                f"Recursive common table expression '{cte.name}' does not contain a top-level UNION ALL operator.",
                line=cte.line,
            )
        anchor = self._body(body.left, scope)
        columns = self._named(anchor.columns, cte.columns, cte.name, cte.line)
        outs = [OutColumn(c.name, c.type, True) for c in columns]
        level = f"{alias}.lvl"
        scope.ctes[cte.name.lower()] = CteInfo(cte.name, alias, outs, level)
        self.recursion.append((alias, ""))
        step = self._body(body.right, scope)
        _, used = self.recursion.pop()
        if len(step.columns) != len(columns):
            raise error(
                205,
                "All queries combined using a UNION, INTERSECT or EXCEPT operator must have an equal "
                "number of "
                "expressions in their target lists.",
                line=cte.line,
            )
        for a, b in zip(columns, step.columns, strict=True):
            if not b.is_null and type_text(a.type) != type_text(b.type):
                raise error(
                    240,
                    f"Types don't match between the anchor and the recursive part in column "
                    f'"{a.name}" of '
                    f'recursive query "{cte.name}".',
                    line=cte.line,
                )
        x = self.env.alias("q")
        first = ", ".join(f"{x}.o{i + 1}" for i in range(len(columns)))
        if not used:
            raise unsupported("a recursive CTE that refers to itself in a subquery", cte.line)
        marker, _, rest = step.sql.partition("SELECT ")
        if marker:
            raise unsupported("this form of recursive CTE", cte.line)
        names = ", ".join(f"o{i + 1}" for i in range(len(columns)))
        scope.ctes[cte.name.lower()] = CteInfo(cte.name, alias, outs)
        recursive_part = f"SELECT tsql.next_level({used}.lvl, {limit}), {rest}"
        return f"{alias}(lvl, {names}) AS (SELECT 0, {first} FROM ({anchor.sql}) {x} UNION ALL ({recursive_part}))"

    def _named(self, columns: list[OutColumn], names: tuple[str, ...], owner: str, line: int) -> list[OutColumn]:
        """The columns of a derived table or CTE under their given names; each must have one (8155), once (8156)."""
        if names:
            if len(names) != len(columns):
                more = "more" if len(columns) > len(names) else "fewer"
                raise error(
                    8158 if more == "more" else 8159,
                    f"'{owner}' has {more} columns than were specified in the column list.",
                    line=line,
                )
            columns = [_renamed(c, name) for c, name in zip(columns, names, strict=True)]
        seen: set[str] = set()
        for i, c in enumerate(columns, 1):
            if not c.name:
                raise error(8155, f"No column name was specified for column {i} of '{owner}'.", line=line)
            if c.name.lower() in seen:
                raise error(8156, f"The column '{c.name}' was specified multiple times for '{owner}'.", line=line)
            seen.add(c.name.lower())
        return columns

    # ---- SELECT -----------------------------------------------------------------------------------------------------
    def _select(
        self, node: n.Select, query: n.Query, parent: Scope | None, exists: bool, *, alone: bool = False
    ) -> BoundQuery:
        """`alone`: no part of a union, no subquery; its rows can be locked as they are read."""
        scope = Scope(parent=parent, row_locks=[] if alone and row_by_row(node) else None)
        source = self.from_sql(node.source, scope) if node.source is not None else ""
        where = ""
        if node.where is not None:
            scope.clause, scope.windows = "where", False
            where = f" WHERE {self.expressions.condition(node.where, scope)}"
        group = self._group(node, query, scope)
        having = ""
        if node.having is not None:
            scope.clause, scope.windows = "having", False
            having = f" HAVING {self.expressions.condition(node.having, scope)}"
        scope.clause, scope.windows = "select", True
        outputs = self._outputs(node, scope, exists)
        columns = [column for column, _ in outputs]
        selected = [ex for _, ex in outputs]
        order = self._order(query, node, columns, selected, scope)
        texts = ", ".join(f"{ex.sql} AS o{i + 1}" for i, ex in enumerate(selected))
        frm = f" FROM {source}" if source else ""
        core = f"{texts}{frm}{where}{group}{having}"
        if self.recursion and self.recursion[-1][1] == "" and source:
            self._note_recursion(scope)
        return BoundQuery(self._assemble(node, query, core, columns, order, scope), columns)

    def _note_recursion(self, scope: Scope) -> None:
        alias, _ = self.recursion[-1]
        for s in scope.sources:
            if s.columns and s.columns[0].sql.startswith(s.alias + ".") and s.table_id == -1 and s.rowid == alias:
                self.recursion[-1] = (alias, s.alias)

    def _assemble(
        self, node: n.Select, query: n.Query, core: str, columns: list[OutColumn], order: list[str], scope: Scope
    ) -> str:
        by = f" ORDER BY {', '.join(order)}" if order else ""
        limit = self._limit(query, node.top, scope)
        percent = node.top is not None and node.top.percent
        if node.distinct:
            sql = self._distinct_select(core, columns)
            if by or limit or percent:
                alias = self.env.alias("q")
                terms = self._distinct_order(query, node, columns, alias)
                by = f" ORDER BY {', '.join(terms)}" if terms else ""
                sql = f"SELECT * FROM ({sql}) {alias}{by}{limit}"
        else:
            sql = f"SELECT {core}{by}{limit}{self.row_locks(scope)}"
        if percent:
            sql = self._percent(node, sql, columns, scope)
        return sql

    def _distinct_select(self, core: str, columns: list[OutColumn]) -> str:
        if not any(needs_key(c.type) for c in columns):
            for c in columns:
                key(_at("x", 0, c))
            return f"SELECT DISTINCT {core}"
        return self._distinct(f"SELECT {core}", columns).sql

    def _distinct_order(self, query: n.Query, node: n.Select, columns: list[OutColumn], alias: str) -> list[str]:
        terms = []
        listed = [] if any(isinstance(i.expr, n.Star) for i in node.items) else [i.expr for i in node.items]
        for item in query.order:
            ex = self._order_output(item, columns, alias)
            if ex is None:
                at = next((i for i, expr in enumerate(listed) if same_tree(expr, item.expr)), None)
                ex = _at(alias, at, columns[at]) if at is not None else None
            if ex is None:
                raise error(145, "ORDER BY items must appear in the select list if SELECT DISTINCT is specified.",
                            severity=15, line=item.line)  # fmt: skip
            terms.append(order_sql(sort_keys(ex), item.descending))
        return terms

    def _percent(self, node: n.Select, sql: str, columns: list[OutColumn], _scope: Scope) -> str:
        assert node.top is not None
        if node.top.ties:
            raise unsupported("TOP ... PERCENT WITH TIES", node.line)
        share = convert(self.expressions.value(node.top.count, Scope()), FLOAT).sql
        a, b = self.env.alias("q"), self.env.alias("q")
        outs = ", ".join(f"{b}.o{i + 1}" for i in range(len(columns)))
        return (
            f"SELECT {outs} FROM (SELECT {a}.*, row_number() OVER () AS rn, count(*) OVER () AS cnt FROM "
            f"({sql}) {a}) {b} "
            f"WHERE {b}.rn <= ceil({b}.cnt * {share} / 100) ORDER BY {b}.rn"
        )

    def row_count(self, node: n.Node, scope: Scope, kind: str) -> str:
        """How many rows TOP, OFFSET or FETCH say ("TOP", "ORDER BY clause"): an integer, never NULL or negative."""
        ex = self.expressions.value(node, scope)
        if ex.is_null or ex.type.name not in INTEGERS | {"bit"}:
            raise error(
                1060,
                "The number of rows provided for a TOP or FETCH clauses row count parameter must be an integer.",
                severity=15,
                line=node.line,
            )
        if kind == "top" and (self.expressions.constant_int(node, scope) or 0) < 0:
            raise error(127, "A TOP N or FETCH rowcount value may not be negative.", severity=15, line=node.line)
        return f"tsql.row_count({convert(ex, BIGINT).sql}, '{kind}')"

    def _limit(self, query: n.Query, top: n.Top | None, scope: Scope | None) -> str:
        out = ""
        plain = Scope(parent=scope.parent if scope else None)
        if query.offset is not None:
            if top is not None:
                raise error(
                    10741,
                    "A TOP can not be used in the same query or sub-query as a OFFSET.",
                    severity=15,
                    line=top.line,
                )
            out += f" OFFSET {self.row_count(query.offset, plain, 'offset')}"
            if query.fetch is not None:
                out += f" LIMIT {self.row_count(query.fetch, plain, 'fetch')}"
        elif top is not None and not top.percent:
            count = self.row_count(top.count, plain, "top")
            if top.ties:
                if not query.order:
                    raise error(
                        1062,
                        "The TOP N WITH TIES clause is not allowed without a corresponding ORDER BY clause.",
                        severity=15,
                        line=top.line,
                    )
                return f" FETCH FIRST ({count}) ROWS WITH TIES"
            out = f" LIMIT {count}"
        return out

    def _outputs(self, node: n.Select, scope: Scope, exists: bool) -> list[tuple[OutColumn, Ex]]:
        out: list[tuple[OutColumn, Ex]] = []
        for item in node.items:
            if isinstance(item.expr, n.Star):
                if exists:
                    one = Ex("1", SqlType("int"), False)
                    out.append((OutColumn("", one.type, False), one))
                    continue
                out.extend(self._star(item.expr, scope))
                continue
            ex = self.expressions.value(item.expr, scope)
            name = item.alias or (item.expr.parts[-1] if isinstance(item.expr, n.ColumnRef) else "")
            out.append((_out(name, ex), ex))
        return out

    def _star(self, star: n.Star, scope: Scope) -> list[tuple[OutColumn, Ex]]:
        qualifier = tuple(p.lower() for p in star.parts)
        sources = [s for s in scope.sources if not qualifier or qualifier in s.qualifiers]
        if not sources:
            if qualifier:
                raise error(
                    107,
                    f"The column prefix '{'.'.join(star.parts)}' does not match with a table name or "
                    f"alias name "
                    "used in the query.",
                    severity=15,
                    line=star.line,
                )
            raise error(263, "Must specify table to select from.", line=star.line)
        out = []
        for s in sources:
            for c in [c for c in s.columns if not c.hidden]:
                ex = scope._grouped(
                    Ex(
                        c.sql,
                        c.type,
                        c.nullable,
                        base=c.base,
                        identity=c.identity,
                        computed=c.computed,
                        column=True,
                        key=c.key,
                    ),
                    (c.name,),
                    star.line,
                )
                out.append((_out(c.name, ex), ex))
        return out

    # ---- GROUP BY ---------------------------------------------------------------------------------------------------
    def _group(self, node: n.Select, query: n.Query, scope: Scope) -> str:
        """GROUP BY's text; leaves in `scope.group` what each grouped expression becomes."""
        aggregated = (
            has_aggregate([i.expr for i in node.items]) or node.having is not None or has_aggregate(query.order)
        )
        if node.group is None:
            if aggregated:
                scope.group = {}
            return ""
        scope.clause, scope.windows = "group", False
        made: dict[str, Ex] = {}
        if node.group.sets is None:
            keys = []
            for item in node.group.items:
                ex = self._group_item(item, scope)
                keys.append(key(ex))
                made[ex.sql] = grouped_value(ex, sets=False)
            scope.group = made
            return f" GROUP BY {', '.join(keys)}"
        factors = []
        for factor in node.group.sets:
            sets = []
            for one in factor:
                exs = [self._group_item(item, scope) for item in one]
                for ex in exs:
                    made[ex.sql] = grouped_value(ex, sets=True)
                sets.append([key(ex) for ex in exs])
            factors.append(sets)
        texts = [f"({', '.join(dict.fromkeys(k for part in combo for k in part))})" for combo in product(*factors)]
        scope.group = made
        return f" GROUP BY GROUPING SETS ({', '.join(texts)})"

    def _group_item(self, item: n.Node, scope: Scope) -> Ex:
        if isinstance(item, n.Literal) or not any(isinstance(x, n.ColumnRef) for x in walk(item)):
            raise error(
                164,
                "Each GROUP BY expression must contain at least one column that is not an outer reference.",
                severity=15,
                line=item.line,
            )
        if any(isinstance(x, n.Scalar | n.Exists | n.InQuery) for x in walk(item)) or has_aggregate(item):
            raise error(
                144,
                "Cannot use an aggregate or a subquery in an expression used for the group by list of a "
                "GROUP BY "
                "clause.",
                severity=15,
                line=item.line,
            )
        return self.expressions.value(item, scope)

    # ---- ORDER BY ---------------------------------------------------------------------------------------------------
    def _order(
        self, query: n.Query, node: n.Select, columns: list[OutColumn], selected: list[Ex], scope: Scope
    ) -> list[str]:
        scope.clause = "order"
        terms = []
        for item in query.order:
            at = self._position(item, columns)
            if at is not None:
                ex = selected[at]
                keys = sort_keys(ex)
                if keys == [ex.sql] and not node.distinct:
                    keys = [f"{at + 1}"]
                terms.append(order_sql(keys, item.descending))
                continue
            if node.distinct:
                terms.append("1")  # checked and rebuilt over the outputs
                continue
            ex = self.expressions.value(item.expr, scope)
            terms.append(order_sql(sort_keys(ex), item.descending))
        return terms

    def _position(self, item: n.OrderItem, columns: list[OutColumn]) -> int | None:
        """The select-list position that an ORDER BY item names by number or alias."""
        e = item.expr
        if isinstance(e, n.Literal) and e.kind == "integer":
            at = int(e.text)
            if not 1 <= at <= len(columns):
                raise error(
                    108,
                    f"The ORDER BY position number {at} is out of range of the number of items in the select list.",
                    severity=15,
                    line=item.line,
                )
            return at - 1
        if isinstance(e, n.Literal | n.Null):
            raise error(
                408,
                f"A constant expression was encountered in the ORDER BY list, position {columns and 1}.",
                line=item.line,
            )
        if isinstance(e, n.ColumnRef):
            name = e.parts[-1].lower()
            found = [i for i, c in enumerate(columns) if c.name.lower() == name]
            if len(e.parts) == 1 and found:
                if len(found) > 1 and not all(columns[i] == columns[found[0]] for i in found):
                    raise error(209, f"Ambiguous column name '{e.parts[0]}'.", line=item.line)
                return found[0]
        return None

    def _order_output(self, item: n.OrderItem, columns: list[OutColumn], alias: str) -> Ex | None:
        at = self._position(item, columns)
        if at is None and isinstance(item.expr, n.ColumnRef):
            found = [i for i, c in enumerate(columns) if c.name.lower() == item.expr.parts[-1].lower()]
            at = found[0] if found else None
        return None if at is None else _at(alias, at, columns[at])

    # ---- as a table -------------------------------------------------------------------------------------------------
    def as_source(self, bound: BoundQuery, alias: str, name: str | None) -> Source:
        """A bound query under an alias, as FROM offers it."""
        columns = [
            SourceColumn(c.name, f"{alias}.o{i + 1}", c.type, c.nullable, c.identity, c.computed, c.base)
            for i, c in enumerate(bound.columns)
        ]
        return Source(alias, ((name.lower(),),) if name else ((),), columns)


def _renamed(c: OutColumn, name: str) -> OutColumn:
    return OutColumn(name, c.type, c.nullable, c.identity, c.computed, c.base, c.column, c.is_null)


def _out(name: str, ex: Ex) -> OutColumn:
    return OutColumn(name, ex.type, ex.nullable, ex.identity, ex.computed, ex.base, ex.column, ex.is_null)
