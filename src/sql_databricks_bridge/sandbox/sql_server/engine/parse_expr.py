"""Expressions and predicates of T-SQL ("Operator precedence", "Expressions", "Search condition")."""

from __future__ import annotations

from . import lexer
from . import nodes as n
from .errors import syntax_error
from .parse_base import RESERVED, Cursor

_COMPARE = {"=": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "!<": ">=", "!>": "<="}
_KEYWORD_FUNCTIONS = frozenset({"LEFT", "RIGHT", "COALESCE", "NULLIF", "IDENTITY", "CONTAINS", "USER", "UPDATE"})
_BARE_FUNCTIONS = frozenset(
    {"CURRENT_TIMESTAMP", "CURRENT_USER", "SESSION_USER", "SYSTEM_USER", "USER", "CURRENT_DATE"}
)
_DATE_FUNCTIONS = frozenset({"DATEADD", "DATEDIFF", "DATEDIFF_BIG", "DATEPART", "DATENAME", "DATETRUNC", "DATE_BUCKET"})


class ExpressionParser(Cursor):
    """Precedence climbing; predicates and values share it, the binder tells them apart."""

    def query_expression(self) -> n.Query:
        raise NotImplementedError

    def order_items(self) -> list[n.OrderItem]:
        items = [self._order_item()]
        while self.accept_op(","):
            items.append(self._order_item())
        return items

    def _order_item(self) -> n.OrderItem:
        line = self.line
        e = self.expression()
        descending = False
        if self.accept("DESC"):
            descending = True
        else:
            self.accept("ASC")
        return n.OrderItem(line, e, descending)

    # ---- predicates -------------------------------------------------------------------------------------------------
    def condition(self) -> n.Node:
        left = self._and()
        while self.at("OR"):
            line = self.advance().line
            left = n.Logic(line, "OR", left, self._and())
        return left

    def _and(self) -> n.Node:
        left = self._not()
        while self.at("AND"):
            line = self.advance().line
            left = n.Logic(line, "AND", left, self._not())
        return left

    def _not(self) -> n.Node:
        if self.at("NOT"):
            line = self.advance().line
            return n.Not(line, self._not())
        return self._predicate()

    def _predicate(self) -> n.Node:
        line = self.line
        if self.at("UPDATE") and self.peek().text == "(":
            self.i += 2
            name = self.name()
            self.expect_op(")")
            return n.Updated(line, name)
        if self.accept("EXISTS"):
            self.expect_op("(")
            query = self.query_expression()
            self.expect_op(")")
            return n.Exists(line, query)
        left = self.expression()
        while True:
            line = self.line
            if self.token.kind == lexer.OP and self.token.text in _COMPARE:
                left = self._comparison(left)
            elif self.at("IS"):
                self.advance()
                negated = self.accept("NOT")
                if self.accept("DISTINCT"):
                    self.expect("FROM")
                    node: n.Node = n.IsDistinct(line, left, self.expression())
                else:
                    self.expect("NULL")
                    node = n.IsNull(line, left)
                left = n.Not(line, node) if negated else node
            elif self.at("BETWEEN", "IN", "LIKE") or (
                self.at("NOT") and self.peek().kind == lexer.ID and self.peek().upper in ("BETWEEN", "IN", "LIKE")
            ):
                negated = self.accept("NOT")
                node = self._postfix(left, line)
                left = n.Not(line, node) if negated else node
            else:
                return left

    def _comparison(self, left: n.Node) -> n.Node:
        t = self.advance()
        op = _COMPARE[t.text]
        if self.at("ALL", "ANY", "SOME") and self.peek().text == "(":
            every = self.advance().upper == "ALL"
            self.expect_op("(")
            query = self.query_expression()
            self.expect_op(")")
            return n.Quantified(t.line, op, every, left, query)
        return n.Compare(t.line, op, left, self.expression())

    def _postfix(self, left: n.Node, line: int) -> n.Node:
        if self.accept("BETWEEN"):
            low = self.expression()
            self.expect("AND")
            return n.Between(line, left, low, self.expression())
        if self.accept("LIKE"):
            pattern = self.expression()
            escape = self.expression() if self.accept("ESCAPE") else None
            return n.Like(line, left, pattern, escape)
        self.expect("IN")
        self.expect_op("(")
        if self._at_query():
            query = self.query_expression()
            self.expect_op(")")
            return n.InQuery(line, left, query)
        items = [self.expression()]
        while self.accept_op(","):
            items.append(self.expression())
        self.expect_op(")")
        return n.InList(line, left, items)

    def _at_query(self) -> bool:
        """Whether a SELECT follows, perhaps behind parentheses."""
        ahead = 0
        while self.peek(ahead).kind == lexer.OP and self.peek(ahead).text == "(":
            ahead += 1
        t = self.peek(ahead)
        return t.kind == lexer.ID and t.upper in ("SELECT", "WITH")

    # ---- values -----------------------------------------------------------------------------------------------------
    def expression(self) -> n.Node:
        left = self._term()
        while self.at_op("+", "-", "&", "|", "^", "||"):
            t = self.advance()
            if t.text == "||":
                raise self.refuse("the || operator")
            left = n.Binary(t.line, t.text, left, self._term())
        return left

    def _term(self) -> n.Node:
        left = self._unary()
        while self.at_op("*", "/", "%"):
            t = self.advance()
            left = n.Binary(t.line, t.text, left, self._unary())
        return left

    def _unary(self) -> n.Node:
        if self.at_op("-", "+", "~"):
            t = self.advance()
            return n.Unary(t.line, t.text, self._unary())
        return self._suffixed()

    def _suffixed(self) -> n.Node:
        node = self._primary()
        while True:
            line = self.line
            if self.accept("COLLATE"):
                node = n.Collate(line, node, self.advance().text)
            elif self.at_seq("AT", "TIME", "ZONE"):
                self.i += 3
                node = n.AtTimeZone(line, node, self._suffixed())
            elif self.at_op(".") and self.peek(2).text == "(" and not isinstance(node, n.Literal):
                self.advance()
                name = self.advance().text
                node = n.Method(line, node, "", name, self.arguments())
            elif (
                self.at_op(".")
                and isinstance(node, n.Method | n.Cast | n.Variable | n.Func)
                and self.peek().kind == lexer.ID
            ):
                self.advance()
                node = n.Method(line, node, "", self.advance().text, [])
            else:
                return node

    def arguments(self) -> list[n.Node]:
        self.expect_op("(")
        args: list[n.Node] = []
        if not self.at_op(")"):
            args.append(self.condition())
            while self.accept_op(","):
                args.append(self.condition())
        self.expect_op(")")
        return args

    def _primary(self) -> n.Node:
        t = self.token
        if t.kind in (
            lexer.STRING,
            lexer.NSTRING,
            lexer.BINARY,
            lexer.INTEGER,
            lexer.DECIMAL,
            lexer.FLOAT,
            lexer.MONEY,
        ):
            self.advance()
            return n.Literal(t.line, t.kind, t.text)
        if t.kind == lexer.VARIABLE:
            self.advance()
            return n.Variable(t.line, t.text)
        if t.kind == lexer.OP:
            if t.text == "(":
                return self._parenthesis()
            if t.text == "*":
                self.advance()
                return n.Star(t.line)
            raise self.wrong()
        if t.kind == lexer.END:
            raise self.wrong()
        return self._word() if t.kind == lexer.ID else self._column_or_call()

    def _parenthesis(self) -> n.Node:
        line = self.line
        if self._at_query():
            mark = self.i
            self.advance()
            query = self.query_expression()
            if self.accept_op(")"):
                return n.Scalar(line, query)
            self.i = mark
        self.advance()
        inner = self.condition()
        self.expect_op(")")
        return inner

    def _word(self) -> n.Node:
        t = self.token
        call = self.peek().text == "(" and self.peek().kind == lexer.OP
        if t.upper == "NULL":
            self.advance()
            return n.Null(t.line)
        if t.upper == "DEFAULT":
            self.advance()
            return n.Default(t.line)
        if t.upper == "CASE":
            return self._case()
        if t.upper in ("CAST", "TRY_CAST") and call:
            self.i += 2
            operand = self.expression()
            self.expect("AS")
            node = n.Cast(t.line, operand, self.type(30), t.upper == "TRY_CAST")
            self.expect_op(")")
            return node
        if t.upper in ("CONVERT", "TRY_CONVERT") and call:
            self.i += 2
            target = self.type(30)
            self.expect_op(",")
            operand = self.expression()
            style = self.expression() if self.accept_op(",") else None
            self.expect_op(")")
            return n.Cast(t.line, operand, target, t.upper == "TRY_CONVERT", style, convert=True)
        if t.upper in ("PARSE", "TRY_PARSE") and call:
            raise self.refuse(t.upper)
        if t.upper in _DATE_FUNCTIONS and call:
            self.i += 2
            part = self.advance()
            if part.kind in (lexer.STRING, lexer.NSTRING):
                raise syntax_error(f"Invalid parameter 1 specified for {t.text.lower()}.", part.line, 1023)
            args: list[n.Node] = [n.Literal(part.line, lexer.STRING, part.text.lower())]
            while self.accept_op(","):
                args.append(self.expression())
            self.expect_op(")")
            return n.Func(t.line, t.upper, args)
        if t.upper in _BARE_FUNCTIONS and not call:
            self.advance()
            return n.Func(t.line, t.upper, [])
        if t.upper == "NEXT" and self.peek().upper == "VALUE":
            raise self.refuse("sequences (NEXT VALUE FOR)")
        if t.upper in RESERVED and not (t.upper in _KEYWORD_FUNCTIONS and call):
            raise self.wrong()
        return self._column_or_call()

    def _column_or_call(self) -> n.Node:
        first = self.token
        if self.peek().text == "::" and self.peek().kind == lexer.OP:
            self.i += 2
            method = self.advance()
            args = self.arguments() if self.at_op("(") else []
            return n.Method(first.line, None, first.text.lower(), method.text, args)
        self.advance()
        parts = [first.text]
        while self.at_op("."):
            following = self.peek()
            if following.kind == lexer.OP and following.text == "*":
                self.i += 2
                return n.Star(first.line, tuple(parts))
            if following.kind == lexer.OP and following.text == ".":
                self.advance()
                parts.append("")
                continue
            if following.kind not in (lexer.ID, lexer.QUOTED):
                raise self.wrong()
            self.i += 2
            parts.append(following.text)
            if self.at_op("(") and len(parts) > 1:
                if parts[0].lower() == "sys" and len(parts) == 2 and following.text.lower().startswith("fn_cdc_"):
                    return n.Func(first.line, ".".join(parts).upper(), self.arguments())
                # dbo.f(x), or column.Method(x): only a binder could tell; UDT methods are ST..., To..., Get...
                args = self.arguments()
                if parts[0].lower() in ("dbo", "sys") or len(parts) > 3:
                    raise self.refuse(f"the user-defined function {'.'.join(parts)}")
                base = n.ColumnRef(first.line, tuple(parts[:-1]))
                return n.Method(first.line, base, "", parts[-1], args)
        if self.at_op("(") and len(parts) == 1:
            return self._call(first)
        return n.ColumnRef(first.line, tuple(parts))

    def _call(self, name: lexer.Token) -> n.Func:
        self.expect_op("(")
        func = n.Func(name.line, name.text.upper(), [])
        if self.accept("DISTINCT"):
            func.distinct = True
        else:
            self.accept("ALL")
        if self.at_op("*") and self.peek().text == ")":
            self.advance()
            func.star = True
        elif func.name == "TRIM" and not self.at_op(")"):
            self._trim_arguments(func)
        elif not self.at_op(")"):
            func.args.append(self.condition())
            while self.accept_op(","):
                func.args.append(self.condition())
        self.expect_op(")")
        if self.at_seq("WITHIN", "GROUP"):
            self.i += 2
            self.expect_op("(")
            self.expect("ORDER", "BY")
            func.within = self.order_items()
            self.expect_op(")")
        if self.at("IGNORE", "RESPECT") and self.peek().upper == "NULLS":
            func.nulls = self.advance().upper
            self.advance()
        if self.accept("OVER"):
            func.over = self._over()
        return func

    def _trim_arguments(self, func: n.Func) -> None:
        if self.at("LEADING", "TRAILING", "BOTH"):
            raise self.refuse("TRIM with LEADING, TRAILING or BOTH")
        func.args.append(self.expression())
        if self.accept("FROM"):
            func.args.append(self.expression())

    def _case(self) -> n.Case:
        line = self.advance().line
        base = None if self.at("WHEN") else self.expression()
        whens: list[tuple[n.Node, n.Node]] = []
        while self.accept("WHEN"):
            test = self.condition() if base is None else self.expression()
            self.expect("THEN")
            whens.append((test, self.expression()))
        if not whens:
            raise self.wrong()
        otherwise = self.expression() if self.accept("ELSE") else None
        self.expect("END")
        return n.Case(line, base, whens, otherwise)

    def _over(self) -> n.Over:
        line = self.line
        if not self.at_op("("):
            raise self.refuse("named windows (the WINDOW clause)")
        self.expect_op("(")
        over = n.Over(line, [], [], None)
        if self.accept("PARTITION", "BY"):
            over.partition.append(self.expression())
            while self.accept_op(","):
                over.partition.append(self.expression())
        if self.accept("ORDER", "BY"):
            over.order = self.order_items()
        if self.at("ROWS", "RANGE"):
            unit = self.advance().upper
            if self.accept("BETWEEN"):
                start = self._bound()
                self.expect("AND")
                end = self._bound()
            else:
                start, end = self._bound(), ("CURRENT ROW", None)
            over.frame = n.Frame(line, unit, start, end)
        self.expect_op(")")
        return over

    def _bound(self) -> tuple[str, n.Node | None]:
        if self.accept("UNBOUNDED"):
            return f"UNBOUNDED {self._direction()}", None
        if self.accept("CURRENT", "ROW"):
            return "CURRENT ROW", None
        count = self.expression()
        return self._direction(), count

    def _direction(self) -> str:
        if not self.at("PRECEDING", "FOLLOWING"):
            raise self.wrong()
        return self.advance().upper
