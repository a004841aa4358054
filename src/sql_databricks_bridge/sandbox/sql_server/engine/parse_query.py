"""SELECT and what it is made of."""

from __future__ import annotations

from . import lexer, parse_tracking
from . import nodes as n
from .parse_base import RESERVED
from .parse_expr import ExpressionParser

_HINTS_WITHOUT_EFFECT = frozenset(
    [
        "NOLOCK",
        "READUNCOMMITTED",
        "READCOMMITTED",
        "READCOMMITTEDLOCK",
        "ROWLOCK",
        "PAGLOCK",
        "NOEXPAND",
        "FORCESEEK",
        "FORCESCAN",
        "KEEPIDENTITY",
        "KEEPDEFAULTS",
    ]
)
_NO_ALIASES = frozenset({"OUTPUT", "WINDOW", "USING", "TABLESAMPLE"})
_HINTS_WITH_EFFECT = frozenset(
    [
        "UPDLOCK",
        "HOLDLOCK",
        "SERIALIZABLE",
        "REPEATABLEREAD",
        "XLOCK",
        "TABLOCK",
        "TABLOCKX",
        "READPAST",
        "NOWAIT",
        "SNAPSHOT",
    ]
)
_OPTIONS_IGNORED = frozenset(
    [
        "RECOMPILE",
        "MAXDOP",
        "FAST",
        "HASH",
        "LOOP",
        "MERGE",
        "CONCAT",
        "ORDER",
        "FORCE",
        "KEEP",
        "KEEPFIXED",
        "OPTIMIZE",
        "ROBUST",
        "EXPAND",
        "USE",
        "LABEL",
        "MIN_GRANT_PERCENT",
        "MAX_GRANT_PERCENT",
        "NO_PERFORMANCE_SPOOL",
        "QUERYTRACEON",
    ]
)


class QueryParser(ExpressionParser):
    """Query expressions with CTEs, set operators, ORDER BY, OFFSET."""

    def query_expression(self) -> n.Query:
        line = self.line
        ctes = self.common_tables() if self.at("WITH") else []
        query = self._ordered(line)
        query.ctes = ctes + query.ctes
        return query

    def common_tables(self) -> list[n.Cte]:
        self.expect("WITH")
        if self.at("XMLNAMESPACES"):
            raise self.refuse("WITH XMLNAMESPACES")
        if self.at("CHANGE_TRACKING_CONTEXT"):
            raise self.refuse("WITH CHANGE_TRACKING_CONTEXT")
        out = []
        while True:
            line, name = self.line, self.name()
            columns = self.name_list() if self.at_op("(") else ()
            self.expect("AS")
            self.expect_op("(")
            query = self.query_expression()
            self.expect_op(")")
            out.append(n.Cte(line, name, columns, query))
            if not self.accept_op(","):
                return out

    def name_list(self) -> tuple[str, ...]:
        self.expect_op("(")
        names = [self.name()]
        while self.accept_op(","):
            names.append(self.name())
        self.expect_op(")")
        return tuple(names)

    def _ordered(self, line: int) -> n.Query:
        query = n.Query(line, self._union())
        if self.accept("ORDER", "BY"):
            query.order = self.order_items()
            if self.accept("OFFSET"):
                query.offset = self.expression()
                if not self.accept("ROWS"):
                    self.expect("ROW")
                if self.accept("FETCH"):
                    if not self.accept("NEXT"):
                        self.expect("FIRST")
                    query.fetch = self.expression()
                    if not self.accept("ROWS"):
                        self.expect("ROW")
                    self.expect("ONLY")
        if self.at("FOR") and self.peek().upper in ("XML", "JSON", "BROWSE"):
            if self.peek().upper == "BROWSE":
                self.i += 2
            else:
                raise self.refuse(f"FOR {self.peek().upper}")
        if self.at("OPTION") and self.peek().text == "(":
            query.max_recursion = self.options()
        return query

    def options(self) -> int:
        """OPTION (...): MAXRECURSION matters, the others change plans only and are taken note of."""
        self.expect("OPTION")
        self.expect_op("(")
        limit = 100
        while True:
            word = self.token.upper
            if word == "MAXRECURSION":
                self.advance()
                limit = self.integer()
            elif word in _OPTIONS_IGNORED:
                depth = 0
                while depth or not self.at_op(",", ")"):
                    t = self.advance()
                    if t.kind == lexer.END:
                        raise self.wrong()
                    depth += {"(": 1, ")": -1}.get(t.text, 0) if t.kind == lexer.OP else 0
            else:
                raise self.refuse(f"the query hint {word}")
            if not self.accept_op(","):
                break
        self.expect_op(")")
        return limit

    def _union(self) -> n.Node:
        left = self._intersect()
        while self.at("UNION", "EXCEPT"):
            t = self.advance()
            op = t.upper
            if op == "UNION" and self.accept("ALL"):
                op = "UNION ALL"
            left = n.SetOp(t.line, op, left, self._intersect())
        return left

    def _intersect(self) -> n.Node:
        left = self._term_query()
        while self.at("INTERSECT"):
            line = self.advance().line
            left = n.SetOp(line, "INTERSECT", left, self._term_query())
        return left

    def _term_query(self) -> n.Node:
        if self.at_op("("):
            self.advance()
            inner = self._ordered(self.line)
            self.expect_op(")")
            plain = not inner.order and inner.offset is None
            return inner.body if plain else inner
        if self.at("VALUES"):
            return self.values()
        return self.select()

    def values(self) -> n.Values:
        line = self.line
        self.expect("VALUES")
        rows = [self._row()]
        while self.accept_op(","):
            rows.append(self._row())
        return n.Values(line, rows)

    def _row(self) -> list[n.Node]:
        self.expect_op("(")
        row = [self.expression()]
        while self.accept_op(","):
            row.append(self.expression())
        self.expect_op(")")
        return row

    def select(self) -> n.Select:
        line = self.line
        self.expect("SELECT")
        out = n.Select(line, [])
        if self.accept("DISTINCT"):
            out.distinct = True
        else:
            self.accept("ALL")
        out.top = self.top()
        out.items = self.select_items()
        if self.accept("INTO"):
            out.into = self.dotted()
        if self.accept("FROM"):
            out.source = self.from_clause()
        if self.accept("WHERE"):
            out.where = self.condition()
        if self.accept("GROUP", "BY"):
            out.group = self._group_by()
        if self.accept("HAVING"):
            out.having = self.condition()
        if self.at("WINDOW"):
            raise self.refuse("the WINDOW clause")
        return out

    def top(self) -> n.Top | None:
        line = self.line
        if not self.accept("TOP"):
            return None
        if self.accept_op("("):
            count = self.expression()
            self.expect_op(")")
        elif self.token.kind in (lexer.INTEGER, lexer.DECIMAL, lexer.FLOAT, lexer.VARIABLE):
            count = self._primary()
        else:
            raise self.wrong()
        percent = self.accept("PERCENT")
        ties = self.accept("WITH", "TIES")
        return n.Top(line, count, percent, ties)

    def select_items(self) -> list[n.SelectItem]:
        items = [self._select_item()]
        while self.accept_op(","):
            items.append(self._select_item())
        return items

    def _select_item(self) -> n.SelectItem:
        line, following = self.line, self.peek()
        if following.kind == lexer.OP and following.text in ("=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^="):
            if self.token.kind == lexer.VARIABLE:
                name = self.advance().text
                op = self.advance().text
                return n.SelectItem(line, self.expression(), variable=name, op=op)
            if following.text == "=" and (self.at_name() or self.token.kind == lexer.STRING):
                alias = self.advance().text
                self.advance()
                return n.SelectItem(line, self.expression(), alias)
        value = self.expression()
        return n.SelectItem(line, value, None if isinstance(value, n.Star) else self.column_alias())

    def column_alias(self) -> str | None:
        if self.accept("AS"):
            if self.token.kind in (lexer.STRING, lexer.NSTRING):
                return self.advance().text
            return self.name()
        if self.token.kind == lexer.STRING:
            return self.advance().text
        return self.name() if self.at_name() and not self.at("WINDOW", "OUTPUT") else None

    def _group_by(self) -> n.GroupBy:
        group = n.GroupBy(self.line, [])
        factors: list[list[list[n.Node]]] = []
        while True:
            if self.at("ROLLUP", "CUBE") and self.peek().text == "(":
                factors.append(self._rollup())
            elif self.at("GROUPING") and self.peek().upper == "SETS":
                self.i += 2
                factors.append(self._grouping_sets())
            elif self.at_op("(") and self.peek().text == ")":
                self.i += 2
                factors.append([[]])
            else:
                node = self.expression()
                group.items.append(node)
                factors.append([[node]])
            if not self.accept_op(","):
                break
        if self.at("WITH") and self.peek().upper in ("ROLLUP", "CUBE"):
            raise self.refuse("GROUP BY ... WITH ROLLUP or WITH CUBE (write GROUP BY ROLLUP (...))")
        if any(len(f) != 1 or len(f[0]) != 1 for f in factors):
            group.sets = factors
        return group

    def _group_tuple(self) -> list[n.Node]:
        if self.accept_op("("):
            out: list[n.Node] = []
            if not self.at_op(")"):
                out.append(self.expression())
                while self.accept_op(","):
                    out.append(self.expression())
            self.expect_op(")")
            return out
        return [self.expression()]

    def _rollup(self) -> list[list[n.Node]]:
        kind = self.advance().upper
        self.expect_op("(")
        parts = [self._group_tuple()]
        while self.accept_op(","):
            parts.append(self._group_tuple())
        self.expect_op(")")
        if kind == "ROLLUP":
            return [[x for part in parts[:size] for x in part] for size in range(len(parts), -1, -1)]
        subsets = range(1 << len(parts))
        return [[x for i, part in enumerate(parts) if not s >> i & 1 for x in part] for s in subsets]

    def _grouping_sets(self) -> list[list[n.Node]]:
        self.expect_op("(")
        sets: list[list[n.Node]] = []
        while True:
            sets.extend(self._rollup() if self.at("ROLLUP", "CUBE") else [self._group_tuple()])
            if not self.accept_op(","):
                break
        self.expect_op(")")
        return sets

    # ---- FROM -------------------------------------------------------------------------------------------------------
    def from_clause(self) -> n.Node:
        left = self._joined()
        while self.at_op(","):
            line = self.advance().line
            left = n.Join(line, "CROSS", left, self._joined(), None)
        return left

    def _joined(self) -> n.Node:
        left = self._table()
        while True:
            line = self.line
            if self.accept("CROSS", "JOIN"):
                left = n.Join(line, "CROSS", left, self._table(), None)
            elif self.accept("CROSS", "APPLY"):
                left = n.Join(line, "CROSS APPLY", left, self._table(), None)
            elif self.accept("OUTER", "APPLY"):
                left = n.Join(line, "OUTER APPLY", left, self._table(), None)
            elif self.at("INNER", "LEFT", "RIGHT", "FULL", "JOIN"):
                kind = "INNER" if self.at("JOIN") else self.advance().upper
                self.accept("OUTER")
                if self.at("HASH", "LOOP", "MERGE", "REMOTE"):
                    self.advance()
                self.expect("JOIN")
                right = self._joined()
                self.expect("ON")
                left = n.Join(line, kind, left, right, self.condition())
            elif self.at("PIVOT", "UNPIVOT"):
                raise self.refuse(self.token.upper)
            elif self.at("TABLESAMPLE"):
                raise self.refuse("TABLESAMPLE")
            else:
                return left

    def _table(self) -> n.Node:
        line = self.line
        if self.at_op("("):
            if self._at_query() or self.peek().upper == "VALUES":
                mark = self.i
                self.advance()
                query = self.query_expression()
                if self.at_op(")"):
                    self.advance()
                    self.accept("AS")
                    if not self.at_name():
                        raise self.wrong()
                    alias = self.name()
                    return n.Derived(line, query, alias, self.name_list() if self.at_op("(") else ())
                self.i = mark
            self.advance()
            inner = self.from_clause()
            self.expect_op(")")
            return inner
        if self.token.kind == lexer.VARIABLE:
            name: tuple[str, ...] = (self.advance().text,)
        elif self.at("OPENQUERY", "OPENROWSET", "OPENDATASOURCE", "OPENXML", "CONTAINSTABLE", "FREETEXTTABLE"):
            raise self.refuse(self.token.upper)
        else:
            name = self.dotted()
            if len(name) == 1 and name[0].upper() == "CHANGETABLE" and self.at_op("("):
                return parse_tracking.change_table(self, line)
        if self.at_op("(") and not self._at_bare_hint():
            return self._function_table(name, line)
        given = self._table_alias()
        sample = self._sample()
        table = n.TableName(line, name, given, self.hints(), sample)
        if table.alias is None:
            table.alias = self._table_alias()
        return table

    def _sample(self) -> tuple[str, str | None] | None:
        """TABLESAMPLE [SYSTEM] (n PERCENT) [REPEATABLE (seed)] ("FROM clause plus JOIN, APPLY, PIVOT")."""
        if not self.accept("TABLESAMPLE"):
            return None
        self.accept("SYSTEM")
        self.expect_op("(")
        percent = self._number()
        if self.at("ROWS"):
            raise self.refuse("TABLESAMPLE (n ROWS)")
        self.expect("PERCENT")
        self.expect_op(")")
        if not self.accept("REPEATABLE"):
            return percent, None
        self.expect_op("(")
        seed = self._number()
        self.expect_op(")")
        return percent, seed

    def _number(self) -> str:
        if not self.token.text.replace(".", "", 1).isdigit():
            raise self.refuse("TABLESAMPLE and REPEATABLE of anything but a number")
        return self.advance().text

    def _at_bare_hint(self) -> bool:
        """FROM t (NOLOCK): a hint without WITH ("Table hints (Transact-SQL)")."""
        return self.peek().upper in ("NOLOCK", "READUNCOMMITTED") and self.peek(2).text == ")"

    def _function_table(self, name: tuple[str, ...], line: int) -> n.FunctionTable:
        first = lexer.Token(lexer.ID, ".".join(name), line, ".".join(name).upper(), 0, 0)
        func = self._call(first)
        if self.at("WITH") and self.peek().text == "(":
            raise self.refuse(f"{func.name} ... WITH (...)")
        alias = self._table_alias()
        return n.FunctionTable(line, func, alias, self.name_list() if alias and self.at_op("(") else ())

    def _table_alias(self) -> str | None:
        if self.accept("AS"):
            return self.name()
        return self.name() if self.at_name() and self.token.upper not in _NO_ALIASES else None

    def hints(self) -> tuple[str, ...]:
        """WITH (NOLOCK, ...); hints whose meaning the engine honours are returned."""
        if not (self.at("WITH") and self.peek().text == "("):
            if self.at_op("(") and self._at_bare_hint():
                self.i += 3
            return ()
        self.expect("WITH")
        self.expect_op("(")
        found = []
        while True:
            t = self.advance()
            if t.upper in _HINTS_WITH_EFFECT:
                found.append(t.upper)
            elif t.upper == "INDEX":
                while not self.at_op(",", ")"):
                    if self.advance().text == "(":
                        while self.advance().text != ")":
                            pass
            elif t.upper not in _HINTS_WITHOUT_EFFECT:
                if t.upper in RESERVED or t.kind != lexer.ID:
                    self.i -= 1
                    raise self.wrong()
                raise self.refuse(f"the table hint {t.text}")
            if not self.accept_op(","):
                if self.at_op(")"):
                    break
                continue
        self.expect_op(")")
        return tuple(found)
