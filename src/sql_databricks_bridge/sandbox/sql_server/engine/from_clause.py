"""FROM: tables, system views, derived tables, joins, APPLY, table functions."""

from __future__ import annotations

from ..contract import SqlError
from . import change_table, lock_hints
from . import nodes as n
from .bound import BoundQuery, Ex, OutColumn, Source, SourceColumn
from .convert import convert
from .environment import Environment, ViewDefinition
from .errors import error, invalid_object, unsupported
from .expr import ExpressionBinder, walk
from .scope import Scope
from .table import Table
from .types import BIGINT, INT, INTEGERS, is_string


class FromBinder:
    """What a FROM clause turns into."""

    env: Environment
    expressions: ExpressionBinder
    recursion: list[tuple[str, str]]  # (recursive CTE being bound, the alias it is read under in its own part)

    def nested(self, query: n.Query, scope: Scope | None, *, star_ok: bool = False) -> BoundQuery:
        raise NotImplementedError

    def as_source(self, bound: BoundQuery, alias: str, name: str | None) -> Source:
        raise NotImplementedError

    def _named(self, columns: list[OutColumn], names: tuple[str, ...], owner: str, line: int) -> list[OutColumn]:
        raise NotImplementedError

    def from_sql(self, node: n.Node, scope: Scope) -> str:
        """PostgreSQL's FROM text; the sources are added to `scope`."""
        if isinstance(node, n.TableName):
            return self._table_name(node, scope)
        if isinstance(node, n.Derived):
            return self._derived(node, scope, scope.parent)
        if isinstance(node, n.FunctionTable):
            return self._function(node, scope)
        if isinstance(node, n.ChangeTable):
            sql, source = change_table.bind(self, node, scope, self.env.alias("a"))
            self._add(scope, source, node.line)
            return sql
        if isinstance(node, n.Join):
            return self._join(node, scope)
        raise unsupported(type(node).__name__, node.line)

    def _add(self, scope: Scope, source: Source, line: int) -> None:
        shown = source.qualifiers[0] if source.qualifiers else ()
        for other in scope.sources:
            if shown and other.qualifiers and other.qualifiers[0] == shown:
                name = ".".join(shown)
                raise error(
                    1013,
                    f'The objects "{name}" and "{name}" in the FROM clause have the same exposed '
                    f"names. Use "
                    "correlation names to distinguish them.",
                    line=line,
                )
        scope.sources.append(source)

    def _table_name(self, node: n.TableName, scope: Scope) -> str:
        parts = node.parts
        alias = self.env.alias("a")
        if len(parts) == 1:
            cte = scope.cte(parts[0])
            if cte is not None:
                columns = [
                    SourceColumn(c.name, f"{alias}.o{i + 1}", c.type, c.nullable, base=c.base)
                    for i, c in enumerate(cte.columns)
                ]
                source = Source(alias, (((node.alias or parts[0]).lower(),),), columns)
                if cte.level is not None:
                    source.table_id, source.rowid = -1, cte.alias
                self._add(scope, source, node.line)
                _require_no_sample(node)
                return f"{cte.alias} {alias}"
        view = self.env.system_view(parts)
        if view is not None:
            _require_no_sample(node)
            sql, columns = view
            offered = [SourceColumn(c.name, f"{alias}.{c.sql}", c.type, c.nullable) for c in columns]
            self._add(scope, Source(alias, _qualifiers(node), offered), node.line)
            return f"({sql}) {alias}"
        try:
            table = self.table(parts, node.line)
        except SqlError as exc:
            defined = self.env.view(parts) if exc.message.number == 208 else None
            if defined is None:
                raise
            return self._view(node, defined, alias, scope)
        self._add(scope, table_source(table, alias, node), node.line)
        self.note(table, node.hints, node.line, scope)
        return f"{table.pg} {alias}{_sampled(node)}"

    def _view(self, node: n.TableName, view: ViewDefinition, alias: str, scope: Scope) -> str:
        """A view is its query, bound in the view's own database."""
        _require_no_sample(node)
        if node.hints:
            raise unsupported("table hints on a view", node.line)
        if view.database.lower() != self.env.database.lower():
            raise unsupported("views of another database than the current one", node.line)
        if self.env.view_depth >= 32:
            raise error(217, "Maximum stored procedure, function, trigger, or view nesting level exceeded (limit 32).")
        self.env.view_depth += 1
        bound = self.nested(view.query, Scope())
        self.env.view_depth -= 1
        columns = self._named(bound.columns, view.columns, view.name, node.line)
        source = self.as_source(BoundQuery(bound.sql, columns), alias, None)
        source.qualifiers = _qualifiers(node, None, (view.schema, view.database))
        self._add(scope, source, node.line)
        return f"({bound.sql}) {alias}"

    def table(self, parts: tuple[str, ...], line: int) -> Table:
        """A user table by name, or Msg 208."""
        if len(parts) == 1 and parts[0].startswith("@"):
            found = self.env.tables.get(parts[0].lower())
            if found is None:
                raise error(1087, f'Must declare the table variable "{parts[0]}".', severity=15, line=line)
            return found
        if len(parts) == 1 and parts[0].lower() in self.env.pseudo:
            if self.env.pseudo_gone:
                raise unsupported("reading inserted or deleted after the trigger ended the transaction", line)
            return self.env.pseudo[parts[0].lower()]
        return self.env.lookup(parts, line)

    def note(self, table: Table, hints: tuple[str, ...], line: int, scope: Scope) -> None:
        """Remember what a statement reads and locks; the table is the last of `scope`'s sources."""
        self.env.used_tables.append(table)
        lock_hints.refuse_unknown(hints, line)
        if table.pg_schema == "pg_temp":
            return
        mode, rows = lock_hints.table_mode(hints), lock_hints.row_mode(hints)
        if rows is not None and scope.row_locks is not None:
            scope.row_locks.append((scope.sources[-1], table, rows))
        elif rows is not None:
            self.env.locks.append((table, lock_hints.instead_of_rows(rows)))
        elif mode is not None:
            self.env.locks.append((table, mode))

    def note_target(self, table: Table, hints: tuple[str, ...], line: int) -> None:
        """The same for the table that a statement changes."""
        self.env.used_tables.append(table)
        lock_hints.refuse_unknown(hints, line)
        mode = lock_hints.target_mode(hints)
        if table.pg_schema != "pg_temp" and mode is not None:
            self.env.locks.append((table, mode))

    def row_locks(self, scope: Scope) -> str:
        """FOR UPDATE and FOR SHARE of a SELECT whose tables are in `scope`."""
        text = ""
        for source, table, mode in scope.row_locks or ():
            if source.outer:
                self.env.locks.append((table, lock_hints.instead_of_rows(mode)))
            else:
                text += f" FOR {mode} OF {source.alias}"
        return text

    def _derived(self, node: n.Derived, scope: Scope, outer: Scope | None) -> str:
        bound = self.nested(node.query, outer)
        columns = self._named(bound.columns, node.columns, node.alias, node.line)
        alias = self.env.alias("a")
        self._add(scope, self.as_source(BoundQuery(bound.sql, columns), alias, node.alias), node.line)
        if any(isinstance(x, n.Func) and x.name == "HASHBYTES" for x in walk(node.query.body)):
            # OFFSET keeps PostgreSQL from computing a digest again wherever the outer query names it.
            return f"(SELECT * FROM ({bound.sql}) f OFFSET 0) {alias}"
        return f"({bound.sql}) {alias}"

    def _join(self, node: n.Join, scope: Scope) -> str:
        left = self.from_sql(node.left, scope)
        boundary = len(scope.sources)
        if node.kind in ("CROSS APPLY", "OUTER APPLY"):
            right = self._applied(node.right, scope)
            if node.kind == "OUTER APPLY":
                _nullable(scope.sources[boundary:])
                return f"{left} LEFT JOIN LATERAL {right} ON true"
            return f"{left} CROSS JOIN LATERAL {right}"
        right = self.from_sql(node.right, scope)
        if isinstance(node.right, n.Join):
            right = f"({right})"
        if node.kind == "CROSS":
            return f"{left} CROSS JOIN {right}"
        assert node.on is not None
        saved, scope.clause = scope.clause, "on"
        scope.windows = False
        test = self.expressions.condition(node.on, scope)
        scope.clause, scope.windows = saved, True
        if node.kind in ("LEFT", "FULL"):
            _nullable(scope.sources[boundary:])
        if node.kind in ("RIGHT", "FULL"):
            _nullable(scope.sources[:boundary])
        return f"{left} {node.kind} JOIN {right} ON {test}"

    def _applied(self, node: n.Node, scope: Scope) -> str:
        """The right side of APPLY sees the left's columns."""
        if isinstance(node, n.Derived):
            inner = Scope(parent=scope.parent, sources=list(scope.sources), ctes=scope.ctes)
            return self._derived(node, scope, inner)
        if isinstance(node, n.FunctionTable):
            return self._function(node, scope)
        if isinstance(node, n.ChangeTable):
            raise change_table.refuse_applied(node)
        raise unsupported("APPLY of a plain table (use CROSS JOIN)", node.line)

    def _function(self, node: n.FunctionTable, scope: Scope) -> str:
        func = node.func
        alias = self.env.alias("a")
        args = [self.expressions.value(a, Scope(parent=scope.parent, sources=list(scope.sources))) for a in func.args]
        name = node.alias or func.name
        if func.name == "STRING_SPLIT" and 2 <= len(args) <= 3:
            return self._string_split(node, args, alias, name, scope)
        if func.name == "GENERATE_SERIES" and 2 <= len(args) <= 3:
            if any(a.type.name not in INTEGERS for a in args):
                raise unsupported("GENERATE_SERIES of other than integers", node.line)
            t = BIGINT if any(a.type.name == "bigint" for a in args) else INT
            step = (
                convert(args[2], t).sql
                if len(args) > 2
                else f"(CASE WHEN {args[0].sql} > {args[1].sql} THEN -1 ELSE 1 END)"
            )
            column = SourceColumn("value", f"{alias}.o1", t, False)
            self._add(scope, Source(alias, ((name.lower(),),), [_as(column, node, 0)]), node.line)
            return f"generate_series({convert(args[0], t).sql}, {convert(args[1], t).sql}, {step}) {alias}(o1)"
        if func.name in ("SYS.DM_EXEC_DESCRIBE_FIRST_RESULT_SET", "DM_EXEC_DESCRIBE_FIRST_RESULT_SET"):
            return self._describe_function(node, args, alias, name, scope)
        found = self.env.system_view(tuple(func.name.split(".")))
        if found is not None:
            raise error(208, f"Invalid object name '{func.name}'.", line=node.line)
        captured = self.env.captured(node, args, alias)
        if captured is not None:
            sql, columns = captured
            shown = [_as(c, node, i) for i, c in enumerate(columns)]
            self._add(scope, Source(alias, ((name.split(".")[-1].lower(),),), shown), node.line)
            return sql
        if func.name in ("OPENJSON", "FN_HELPCOLLATIONS", "SYS.FN_HELPCOLLATIONS") or "." in func.name:
            raise unsupported(f"the table function {func.name}", node.line)
        raise invalid_object(func.name, node.line)

    def _describe_function(self, node: n.FunctionTable, args: list[Ex], alias: str, name: str, scope: Scope) -> str:
        if not args or args[0].constant is None:
            raise unsupported(
                "sys.dm_exec_describe_first_result_set of a text that is no constant or variable", node.line
            )
        if self.env.describe is None:
            raise unsupported("sys.dm_exec_describe_first_result_set here", node.line)
        sql, shape = self.env.describe(args[0].constant, args[1].constant if len(args) > 1 else None)
        columns = [SourceColumn(c, f"{alias}.o{i + 1}", t, True) for i, (c, t) in enumerate(shape)]
        self._add(scope, Source(alias, ((name.lower().split(".")[-1],),), columns), node.line)
        return f"({sql}) {alias}({', '.join(f'o{i + 1}' for i in range(len(shape)))})"

    def _string_split(self, node: n.FunctionTable, args: list[Ex], alias: str, name: str, scope: Scope) -> str:
        text, gap = args[0], args[1]
        if not is_string(text.type) or gap.constant is None or len(gap.constant) != 1:
            raise error(214, "Procedure expects parameter 'separator' of type 'nchar(1)/nvarchar(1)'.", line=node.line)
        columns = [SourceColumn("value", f"{alias}.o1", text.type, False)]
        if len(args) > 2:
            columns.append(SourceColumn("ordinal", f"{alias}.o2", BIGINT, False))
        self._add(scope, Source(alias, ((name.lower(),),), [_as(c, node, i) for i, c in enumerate(columns)]), node.line)
        body = f"unnest(string_to_array({text.sql}, {gap.sql})) WITH ORDINALITY s(o1, o2)"
        return f"(SELECT s.o1, s.o2 FROM {body}) {alias}"


def _as(c: SourceColumn, node: n.FunctionTable, i: int) -> SourceColumn:
    if node.columns and i < len(node.columns):
        c.name = node.columns[i]
    return c


def _nullable(sources: list[Source]) -> None:
    for s in sources:
        s.outer = True
        for c in s.columns:
            c.nullable = True


def _qualifiers(
    node: n.TableName, table: Table | None = None, home: tuple[str, str] | None = None
) -> tuple[tuple[str, ...], ...]:
    """The prefixes that columns of this table may carry; the first is its exposed name."""
    if node.alias:
        return ((node.alias.lower(),),)
    parts = tuple(p.lower() for p in node.parts if p)
    out: list[tuple[str, ...]] = [(parts[-1],)]
    if table is not None and not table.name.startswith(("#", "@")):
        out += [(table.schema.lower(), parts[-1]), (table.database.lower(), table.schema.lower(), parts[-1])]
    elif home is not None:
        out += [(home[0].lower(), parts[-1]), (home[1].lower(), home[0].lower(), parts[-1])]
    elif len(parts) > 1:
        out += [parts[-2:], parts[-3:]]
    return tuple(out)


def table_source(table: Table, alias: str, node: n.TableName) -> Source:
    """A user table as FROM offers it."""
    columns = [
        SourceColumn(
            c.name,
            f"{alias}.{c.pg}",
            c.type,
            c.nullable,
            identity=c.identity is not None,
            computed=c.read_only,
            key=f"{alias}.{c.key_pg}" if c.keyed else None,
            hidden=c.hidden,
        )
        for c in table.columns
    ]
    return Source(alias, _qualifiers(node, table), columns, table.id, f"{alias}.ctid")


def _require_no_sample(node: n.TableName) -> None:
    if node.sample is not None:
        raise error(494, "The TABLESAMPLE clause can only be used with local tables.", line=node.line)


def _sampled(node: n.TableName) -> str:
    """PostgreSQL's, which takes pages too."""
    if node.sample is None:
        return ""
    percent, seed = node.sample
    return f" TABLESAMPLE SYSTEM ({percent})" + ("" if seed is None else f" REPEATABLE ({seed})")
