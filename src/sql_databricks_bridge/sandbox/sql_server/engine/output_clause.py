"""OUTPUT: what a changing statement returns, or puts into another table."""

from __future__ import annotations

from . import nodes as n
from . import results
from .bound import Ex, OutColumn, Source
from .convert import assign
from .errors import error
from .from_clause import table_source
from .query import QueryBinder
from .scope import Scope
from .table import Table


class Output:
    """An OUTPUT clause over PostgreSQL's RETURNING old/new."""

    def __init__(
        self,
        binder: QueryBinder,
        items: list[n.SelectItem],
        table: Table,
        into: tuple[str, ...] | None,
        verb: str,
        extra: list[Source],
    ):
        self.binder = binder
        scope = Scope(sources=list(extra))
        for alias, name in (("new", "inserted"), ("old", "deleted")):
            if (verb == "INSERT" and alias == "old") or (verb == "DELETE" and alias == "new"):
                continue
            source = table_source(table, alias, n.TableName(0, (name,), name))
            for c in source.columns:
                c.key = None
                c.nullable = c.nullable or verb == "MERGE"
            scope.sources.append(source)
        self.columns: list[OutColumn] = []
        self.values: list[str] = []
        for item in items:
            exs: list[tuple[str, Ex]]
            if isinstance(item.expr, n.Star):
                exs = [(c.name, ex) for c, ex in binder._star(item.expr, scope)]
            else:
                name = item.alias or (item.expr.parts[-1] if isinstance(item.expr, n.ColumnRef) else "")
                exs = [(name, binder.expressions.value(item.expr, scope))]
            for name, ex in exs:
                self.columns.append(OutColumn(name, ex.type, ex.nullable, base=ex.base))
                self.values.append(ex.sql)
        self.into = binder.table(into, items[0].line) if into else None

    def wrap(self, sql: str) -> tuple[str, list[OutColumn] | None]:
        outs = ", ".join(f"{v} AS o{i + 1}" for i, v in enumerate(self.values))
        body = f"WITH d AS ({sql} RETURNING {outs})"
        if self.into is not None:
            targets = [c for c in self.into.columns if c.identity is None and c.type.name != "timestamp"]
            if len(targets) != len(self.columns):
                raise error(213, "Column name or number of supplied values does not match table definition.")
            values = [
                assign(
                    Ex(f"d.o{i + 1}", c.type, c.nullable), t.type, f"table '{self.into.full_name}', column '{t.name}'"
                ).sql
                for i, (c, t) in enumerate(zip(self.columns, targets, strict=True))
            ]
            names = ", ".join(t.pg for t in targets)
            return f"{body} INSERT INTO {self.into.pg} ({names}) SELECT {', '.join(values)} FROM d", None
        parts: list[str] = []
        for i, c in enumerate(self.columns):
            for p in results.projection(f"d.o{i + 1}", c.base or c.type):
                parts.append(f"{p} AS p{len(parts)}")
        return f"{body} SELECT {', '.join(parts)} FROM d", self.columns
