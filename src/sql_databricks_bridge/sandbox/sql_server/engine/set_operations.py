"""UNION, EXCEPT, INTERSECT and VALUES."""

from __future__ import annotations

from . import nodes as n
from .bound import BoundQuery, Ex, OutColumn
from .convert import convert
from .errors import error
from .from_clause import FromBinder
from .scope import Scope
from .typing_rules import common_type, key, needs_key, unify, variants
from .variant_store import common_base


class SetOperationBinder(FromBinder):
    """Queries made of queries, under SQL Server's equality."""

    def _body(self, body: n.Node, scope: Scope | None) -> BoundQuery:
        raise NotImplementedError

    def _set_operation(self, node: n.SetOp, scope: Scope | None) -> BoundQuery:
        left, right = self._body(node.left, scope), self._body(node.right, scope)
        if len(left.columns) != len(right.columns):
            raise error(
                205,
                "All queries combined using a UNION, INTERSECT or EXCEPT operator must have an equal "
                "number of "
                "expressions in their target lists.",
                line=node.line,
            )
        columns = []
        for a, b in zip(left.columns, right.columns, strict=True):
            t = common_type([_probe(a), _probe(b)], node.line)
            base = common_base([_probe(a), _probe(b)]) if t.name == "sql_variant" else None
            columns.append(OutColumn(a.name, t, a.nullable or b.nullable, base=base,
                                     is_null=a.is_null and b.is_null))  # fmt: skip
        x, y = self._cast_to(left, columns), self._cast_to(right, columns)
        if node.op == "UNION ALL":
            return BoundQuery(f"SELECT * FROM ({x} UNION ALL {y}) {self.env.alias('q')}", columns)
        if not any(needs_key(c.type) for c in columns):
            return BoundQuery(f"SELECT * FROM ({x} {node.op} {y}) {self.env.alias('q')}", columns)
        if node.op == "UNION":
            return self._distinct(f"{x} UNION ALL {y}", columns)
        one, two = self.env.alias("q"), self.env.alias("q")
        test = " AND ".join(
            f"{key(output(one, i, c))} IS NOT DISTINCT FROM {key(output(two, i, c))}" for i, c in enumerate(columns)
        )
        negated = "NOT " if node.op == "EXCEPT" else ""
        outs = ", ".join(f"{one}.o{i + 1}" for i in range(len(columns)))
        sql = f"SELECT {outs} FROM ({x}) {one} WHERE {negated}EXISTS (SELECT 1 FROM ({y}) {two} WHERE {test})"
        return self._distinct(sql, columns)

    def _distinct(self, sql: str, columns: list[OutColumn]) -> BoundQuery:
        alias = self.env.alias("q")
        keys = ", ".join(key(output(alias, i, c)) for i, c in enumerate(columns))
        outs = ", ".join(f"{alias}.o{i + 1}" for i in range(len(columns)))
        return BoundQuery(f"SELECT DISTINCT ON ({keys}) {outs} FROM ({sql}) {alias}", columns)

    def _cast_to(self, bound: BoundQuery, columns: list[OutColumn]) -> str:
        alias = self.env.alias("q")
        outs = []
        for i, (have, want) in enumerate(zip(bound.columns, columns, strict=True)):
            ex = _probe(have).but(sql=f"{alias}.o{i + 1}")
            if want.type.name == "sql_variant":
                (made,) = variants([ex], want.base, self.env.dateformat)
            else:
                made = convert(ex, want.type, self.env.dateformat)
            outs.append(f"{made.sql} AS o{i + 1}")
        return f"(SELECT {', '.join(outs)} FROM ({bound.sql}) {alias})"

    def _values(self, node: n.Values, scope: Scope | None) -> BoundQuery:
        scope = scope or Scope()
        width = len(node.rows[0])
        if any(len(r) != width for r in node.rows):
            raise error(10709, "The number of columns for each row in a table value constructor must be the same.",
                        severity=15, line=node.line)  # fmt: skip
        rows = [[self.expressions.value(e, scope) for e in row] for row in node.rows]
        unified = [unify([r[i] for r in rows], node.line, self.env.dateformat) for i in range(width)]
        texts = [f"({', '.join(cells[at].sql for _, cells in unified)})" for at in range(len(rows))]
        columns = [
            OutColumn("", t, any(r[i].nullable for r in rows), base=cells[0].base)
            for i, (t, cells) in enumerate(unified)
        ]
        names = ", ".join(f"o{i + 1}" for i in range(width))
        return BoundQuery(f"SELECT * FROM (VALUES {', '.join(texts)}) {self.env.alias('q')}({names})", columns)


def _probe(c: OutColumn) -> Ex:
    return Ex("x", c.type, c.nullable, base=c.base, column=c.column, is_null=c.is_null)


def output(alias: str, i: int, c: OutColumn) -> Ex:
    return Ex(f"{alias}.o{i + 1}", c.type, c.nullable, base=c.base, column=c.column)
