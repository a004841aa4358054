"""Binding expressions: names resolved, types computed bottom-up, PostgreSQL text emitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from ..contract import DEFAULT_COLLATION, SqlType
from . import nodes as n
from .arithmetic import bind_binary, bind_unary
from .bound import NULL, BoundQuery, Ex, probe, value
from .code_pages import on_page_of
from .collations import check_legacy, collation
from .convert import Converter, convert, display_size
from .environment import Environment
from .errors import at_line, error, unsupported
from .like import bind_like
from .literals import bind_literal
from .scope import Scope
from .types import STRINGS, UDT_PROPERTIES, UDTS, is_string, with_collation
from .typing_rules import compare, key, needs_key, unify

if TYPE_CHECKING:
    from .query import QueryBinder

AGGREGATES = frozenset(
    [
        "COUNT",
        "COUNT_BIG",
        "SUM",
        "AVG",
        "MIN",
        "MAX",
        "STDEV",
        "STDEVP",
        "VAR",
        "VARP",
        "STRING_AGG",
        "GROUPING",
        "GROUPING_ID",
        "CHECKSUM_AGG",
        "APPROX_COUNT_DISTINCT",
    ]
)
_PREDICATES = (
    n.Compare, n.Quantified, n.Logic, n.Not, n.Between, n.InList, n.InQuery, n.Exists, n.Like, n.IsNull, n.IsDistinct,
    n.Updated,
)  # fmt: skip
_QUERIES = (n.Scalar, n.Exists, n.InQuery, n.Quantified)
_PLAIN = (n.Literal, n.Null, n.Variable, n.ColumnRef, n.Star)


def walk(node: Any, *, into_queries: bool = False) -> Any:
    """Every node below and including `node`; subqueries are left out unless asked for."""
    if isinstance(node, n.Query) and not into_queries:
        return
    if is_dataclass(node) and isinstance(node, n.Node):
        yield node
        for f in fields(node):
            yield from walk(getattr(node, f.name), into_queries=into_queries)
    elif isinstance(node, list | tuple):
        for item in node:
            yield from walk(item, into_queries=into_queries)


def has_aggregate(node: Any) -> bool:
    """Whether an aggregate (not a window function) is called, subqueries aside."""
    return any(isinstance(x, n.Func) and x.over is None and x.name in AGGREGATES for x in walk(node))


class ExpressionBinder:
    """Expressions and conditions; `queries` binds the subqueries in them."""

    queries: QueryBinder

    def __init__(self, env: Environment) -> None:
        self.env = env

    # ---- values -----------------------------------------------------------------------------------------------------
    def value(self, node: n.Node, scope: Scope) -> Ex:
        """A bound value; errors without a line get this node's."""
        try:
            grouped = self._grouped(node, scope)
            return grouped if grouped is not None else self._value(node, scope)
        except Exception as exc:
            from ..contract import SqlError

            if isinstance(exc, SqlError) and not exc.message.line:
                raise at_line(exc, node.line) from exc
            raise

    def _grouped(self, node: n.Node, scope: Scope) -> Ex | None:
        """The grouped expression that `node` is, if it is one."""
        if not scope.group or scope.in_aggregate or isinstance(node, (*_PLAIN, *_QUERIES)):
            return None
        if isinstance(node, n.Func) and (node.over is not None or node.name in AGGREGATES):
            return None
        if has_aggregate(node) or any(isinstance(x, (*_QUERIES, n.Over)) for x in walk(node)):
            return None
        saved, scope.group = scope.group, None
        before = self.env.aliases
        try:
            raw = self.value(node, scope)
        finally:
            scope.group = saved
            self.env.aliases = before
        return saved.get(raw.sql)

    def _value(self, node: n.Node, scope: Scope) -> Ex:
        method: Callable[[Any, Scope], Ex] | None = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None or isinstance(node, _PREDICATES):
            if isinstance(node, _PREDICATES):
                raise error(
                    102, "Incorrect syntax: a condition stands where a value is expected.", severity=15, line=node.line
                )
            raise unsupported(f"{type(node).__name__} here", node.line)
        return method(node, scope)

    def _literal(self, node: n.Literal, _scope: Scope) -> Ex:
        return bind_literal(node)

    def _null(self, _node: n.Null, _scope: Scope) -> Ex:
        return NULL

    def _default(self, node: n.Default, _scope: Scope) -> Ex:
        raise error(156, "Incorrect syntax near the keyword 'DEFAULT'.", severity=15, line=node.line)

    def _star(self, node: n.Star, _scope: Scope) -> Ex:
        raise error(102, "Incorrect syntax near '*'.", severity=15, line=node.line)

    def _variable(self, node: n.Variable, _scope: Scope) -> Ex:
        made = self.env.globals.get(node.name.upper())
        if made is not None:
            return made()
        if node.name.startswith("@@"):
            raise unsupported(node.name, node.line)
        return self.env.variable(node.name, node.line)

    def _columnref(self, node: n.ColumnRef, scope: Scope) -> Ex:
        name = node.parts[-1].lower()
        if name == "$action" and self.env.merge_action is not None:
            return self.env.merge_action
        if name in ("$action", "$identity", "$rowguid", "$partition"):
            raise unsupported(node.parts[-1], node.line)
        if len(node.parts) > 1 and node.parts[-1] in UDT_PROPERTIES:
            owner = scope.find(node.parts[:-1], node.line)
            if owner is not None and owner.type.name in UDTS:
                from .spatial import of_value

                return of_value(owner, node.parts[-1], node.line)
        return scope.column(node.parts, node.line)

    def _unary(self, node: n.Unary, scope: Scope) -> Ex:
        return bind_unary(node.op, self.value(node.operand, scope))

    def _binary(self, node: n.Binary, scope: Scope) -> Ex:
        left, right = self.value(node.left, scope), self.value(node.right, scope)
        return bind_binary(node.op, left, right, self.env.dateformat)

    def _cast(self, node: n.Cast, scope: Scope) -> Ex:
        ex = self.value(node.operand, scope)
        style = self._style(node.style, scope)
        target = node.type
        if is_string(target) and is_string(ex.type):
            target = with_collation(target, ex.type.collation)
        if ex.constant is not None and target.name == "json":
            from .spatial import constant_cast

            return constant_cast(ex.constant, target)
        if node.attempt and ex.is_null:
            return convert(ex, target)
        converter = Converter(style=style, attempt=node.attempt, explicit=True, dateformat=self.env.dateformat)
        out = converter(ex, target)
        return out.but(explicit_collation=ex.explicit_collation)

    def _style(self, node: n.Node | None, scope: Scope) -> int | None:
        if node is None:
            return None
        style = self.constant_int(node, scope)
        if style is None:
            raise unsupported("a CONVERT style that is no constant", node.line)
        return style

    def constant_int(self, node: n.Node, scope: Scope) -> int | None:
        """The integer that a literal (signed, perhaps) or a variable holds."""
        if isinstance(node, n.Unary) and node.op in "+-":
            inner = self.constant_int(node.operand, scope)
            return None if inner is None else -inner if node.op == "-" else inner
        if isinstance(node, n.Literal) and node.kind == "integer":
            return int(node.text)
        if isinstance(node, n.Variable) and not node.name.startswith("@@"):
            v = self.env.variables.get(node.name.lower())
            if v is not None and isinstance(v.value, int) and not isinstance(v.value, bool):
                return v.value
        return None

    def _case(self, node: n.Case, scope: Scope) -> Ex:
        base = self.value(node.base, scope) if node.base is not None else None
        tests, results = [], []
        for test, result in node.whens:
            if base is None:
                tests.append(self.condition(test, scope))
            else:
                tests.append(compare("=", base, self.value(test, scope), node.line, self.env.dateformat))
            results.append(self.value(result, scope))
        results.append(self.value(node.otherwise, scope) if node.otherwise is not None else NULL)
        return self.choose(tests, results, node.line)

    def choose(self, tests: list[str], results: list[Ex], line: int) -> Ex:
        """CASE WHEN tests[i] THEN results[i] ... ELSE results[-1] END, typed."""
        if all(r.is_null for r in results):
            raise error(
                8133,
                "At least one of the result expressions in a CASE specification must be an "
                "expression other "
                "than the NULL constant.",
                line=line,
            )
        t, converted = unify(results, line, self.env.dateformat)
        arms = "".join(f" WHEN {c} THEN {r.sql}" for c, r in zip(tests, converted, strict=False))
        out = value(
            f"(CASE{arms} ELSE {converted[-1].sql} END)", t, *converted, nullable=any(r.nullable for r in results)
        )
        return out.but(explicit_collation=any(r.explicit_collation for r in results), base=converted[0].base)

    def _scalar(self, node: n.Scalar, scope: Scope) -> Ex:
        bound = self.queries.nested(node.query, scope)
        if len(bound.columns) != 1:
            raise error(
                116,
                "Only one expression can be specified in the select list when the subquery is not "
                "introduced "
                "with EXISTS.",
                line=node.line,
            )
        column = bound.columns[0]
        return Ex(f"({bound.sql})", column.type, True, base=column.base, is_null=False)

    def _collate(self, node: n.Collate, scope: Scope) -> Ex:
        ex = self.value(node.operand, scope)
        if not is_string(ex.type):
            raise error(447, f"Expression type {ex.type.name} is invalid for COLLATE clause.", line=node.line)
        wanted = collation(node.name)
        check_legacy(ex.type, wanted, node.line)
        return on_page_of(ex, with_collation(ex.type, wanted)).but(explicit_collation=True, key=None)

    def _attimezone(self, node: n.AtTimeZone, scope: Scope) -> Ex:
        from .functions_time import at_time_zone

        return at_time_zone(self, self.value(node.operand, scope), self.value(node.zone, scope))

    def _method(self, node: n.Method, scope: Scope) -> Ex:
        from .spatial import bind_method

        return bind_method(self, node, scope)

    def _func(self, node: n.Func, scope: Scope) -> Ex:
        from .functions import bind_function

        return bind_function(self, node, scope)

    # ---- conditions -------------------------------------------------------------------------------------------------
    def condition(self, node: n.Node, scope: Scope) -> str:
        """A PostgreSQL boolean expression."""
        from ..contract import SqlError

        try:
            return self._condition(node, scope)
        except SqlError as exc:
            raise at_line(exc, node.line) from exc

    def _condition(self, node: n.Node, scope: Scope) -> str:
        env = self.env
        if isinstance(node, n.Logic):
            return f"({self.condition(node.left, scope)} {node.op} {self.condition(node.right, scope)})"
        if isinstance(node, n.Not):
            return f"(NOT {self.condition(node.operand, scope)})"
        if isinstance(node, n.Compare):
            left, right = self.value(node.left, scope), self.value(node.right, scope)
            return compare(node.op, left, right, node.line, env.dateformat)
        if isinstance(node, n.IsNull):
            ex = self.value(node.operand, scope)
            return f"({probe(ex)} IS NULL)"
        if isinstance(node, n.Between):
            ex = self.value(node.operand, scope)
            low = compare(">=", ex, self.value(node.low, scope), node.line, env.dateformat)
            high = compare("<=", ex, self.value(node.high, scope), node.line, env.dateformat)
            return f"({low} AND {high})"
        if isinstance(node, n.InList):
            return self._in_list(node, scope)
        if isinstance(node, n.Like):
            escape = self.value(node.escape, scope) if node.escape is not None else None
            return bind_like(self.value(node.operand, scope), self.value(node.pattern, scope), escape)
        if isinstance(node, n.Exists):
            return f"EXISTS ({self.queries.nested(node.query, scope, star_ok=True).sql})"
        if isinstance(node, n.InQuery):
            bound = self.queries.nested(node.query, scope)
            return self._quantified("=", False, self.value(node.operand, scope), bound, node.line)
        if isinstance(node, n.Quantified):
            bound = self.queries.nested(node.query, scope)
            return self._quantified(node.op, node.all, self.value(node.left, scope), bound, node.line)
        if isinstance(node, n.IsDistinct):
            left, right = self.value(node.left, scope), self.value(node.right, scope)
            _, (a, b) = unify([left, right], node.line, env.dateformat)
            return f"({key(a)} IS DISTINCT FROM {key(b)})"
        if isinstance(node, n.Updated):
            if env.updated is None:
                raise error(157, "UPDATE(column) is allowed in a trigger only.", severity=15, line=node.line)
            return "true" if env.updated(node.column) else "false"
        raise error(
            4145,
            "An expression of non-boolean type specified in a context where a condition is expected.",
            severity=15,
            line=node.line,
        )

    def _in_list(self, node: n.InList, scope: Scope) -> str:
        ex = self.value(node.operand, scope)
        items = [self.value(i, scope) for i in node.items]
        plain = not needs_key(ex.type) and all(i.type == ex.type and not i.is_null for i in items)
        if plain:
            return f"({ex.sql} IN ({', '.join(i.sql for i in items)}))"
        if is_string(ex.type) and all(i.constant is not None and is_string(i.type) for i in items) and len(items) > 1:
            first = compare("=", ex, items[0], node.line)
            left = first[1 : first.index(" = ")] if first.count(" = ") == 1 else None
            if left is not None:
                rights = [compare("=", ex, i, node.line)[len(left) + 4 : -1] for i in items]
                return f"({left} IN ({', '.join(rights)}))"
        return "(" + " OR ".join(compare("=", ex, i, node.line, self.env.dateformat) for i in items) + ")"

    def _quantified(self, op: str, every: bool, left: Ex, bound: BoundQuery, line: int) -> str:
        if len(bound.columns) != 1:
            raise error(
                116,
                "Only one expression can be specified in the select list when the subquery is not "
                "introduced "
                "with EXISTS.",
                line=line,
            )
        column = bound.columns[0]
        alias = self.env.alias("q")
        inner = Ex(f"{alias}.o1", column.type, column.nullable, base=column.base, column=column.column)
        test = compare(op, left, inner, line, self.env.dateformat)
        if op == "=" and not every and test.startswith("(") and test.count(f"{alias}.o1") == 1:
            # left IN (SELECT key(right)) can be hashed
            a, _, b = test[1:-1].partition(" = ")
            if f"{alias}.o1" in b and alias not in a:
                return f"({a} IN (SELECT {b} FROM ({bound.sql}) {alias}))"
        if every:
            return f"coalesce((SELECT bool_and({test}) FROM ({bound.sql}) {alias}), true)"
        return f"coalesce((SELECT bool_or({test}) FROM ({bound.sql}) {alias}), false)"

    # ---- helpers for functions --------------------------------------------------------------------------------------
    def text(self, ex: Ex) -> Ex:
        """A value as a string, for a string function's argument."""
        if is_string(ex.type):
            return ex
        target = SqlType("varchar", display_size(ex.base or ex.type), collation=DEFAULT_COLLATION)
        if ex.is_null:
            target = SqlType("varchar", 1, collation=DEFAULT_COLLATION)
        if ex.type.name in STRINGS or ex.type.name in UDTS:
            raise error(8116, f"Argument data type {ex.type.name} is invalid for argument 1 of a string function.")
        return convert(ex, target, self.env.dateformat)

    def integer(self, ex: Ex, name: str = "int") -> Ex:
        return convert(ex, SqlType(name), self.env.dateformat)
