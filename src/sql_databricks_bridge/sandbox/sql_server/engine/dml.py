"""INSERT, UPDATE, DELETE, SELECT INTO, TRUNCATE; definitions are handed to definitions.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..contract import Column, Done, Event, RowSet
from . import definitions, results
from . import nodes as n
from .bound import BoundQuery, Ex, OutColumn, Source
from .constraint_errors import translate_constraint
from .convert import assign, convert
from .ddl import TableMaker
from .errors import PgFailure, error, unsupported
from .from_clause import table_source
from .query import QueryBinder
from .scope import Scope
from .session import Cancelled
from .table import Table, TableColumn
from .typing_rules import common_type

if TYPE_CHECKING:
    from .runner import Runner


def run(runner: Runner, node: Any) -> Iterator[Event]:
    """One data-changing or defining statement, atomic in itself."""
    verb = type(node).__name__.upper()
    if runner.session.doomed and runner.session.trancount:
        raise error(
            3930,
            "The current transaction cannot be committed and cannot support operations that write to the log file. "
            "Roll back the transaction.",
            line=node.line,
        )
    if runner.session.options.rowcount and isinstance(node, n.Insert | n.Update | n.Delete):
        # "SET ROWCOUNT (Transact-SQL)": it limits these too; TOP is its documented replacement
        raise unsupported(f"{verb} under SET ROWCOUNT (use TOP)", node.line)
    try:
        if isinstance(node, n.Insert):
            yield from _insert(runner, node)
        elif isinstance(node, n.Update):
            yield from _update(runner, node)
        elif isinstance(node, n.Delete):
            yield from _delete(runner, node)
        elif isinstance(node, n.Merge):
            raise unsupported("MERGE (write UPDATE and INSERT ... WHERE NOT EXISTS)", node.line)
        else:
            yield from definitions.run(runner, node)
    except PgFailure as exc:
        found = translate_constraint(
            exc, verb if verb in ("INSERT", "UPDATE", "DELETE") else "ALTER TABLE", lookup(runner)
        )
        failed = found or runner.session.fail(exc)
        if isinstance(failed, Cancelled):
            raise failed from exc
        raise failed from exc


def lookup(runner: Runner) -> Any:
    """Tables by id, #temp ones and table variables too."""
    from . import catalog

    def find(number: int) -> Table | None:
        local = [*runner.session.temp.values(), *runner.tables.values()]
        return next((t for t in local if t.id == number), None) or catalog.table_by_id(runner.session.pg, number)

    return find


def finish(runner: Runner, command: str, rows: int) -> Iterator[Event]:
    runner.session.rowcount = rows
    yield Done(command, None if runner.session.options.nocount else rows)


def _execute(runner: Runner, binder: QueryBinder, sql: str, output: _Output | None, command: str) -> Iterator[Event]:
    """Run a changing statement, sending OUTPUT's rows where there are any."""
    runner.check_snapshot(binder.env)
    pg = runner.session.pg
    if output is None:
        with runner.protected(atomic=bool(binder.env.lock_tables)):
            runner.lock(binder.env)
            rows = pg.run(sql)
        yield from finish(runner, command, max(rows, 0))
        return
    full, columns = output.wrap(sql)
    with runner.protected(atomic=True):
        runner.lock(binder.env)
        if columns is None:
            rows = pg.run(full)
            yield from finish(runner, command, max(rows, 0))
            return
        table = pg.table(full)
    shown = tuple(Column(c.name, c.type, c.nullable) for c in columns)
    bases = [c.base for c in columns]
    yield RowSet(shown, (results.convert(b, shown, bases) for b in table.to_batches()))
    yield from finish(runner, command, table.num_rows)


class _Output:
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


# ---- INSERT ---------------------------------------------------------------------------------------------------------
def _insert(runner: Runner, node: n.Insert) -> Iterator[Event]:
    if isinstance(node.source, n.Exec):
        raise unsupported("INSERT ... EXEC", node.line)
    if node.top is not None:
        raise unsupported("INSERT TOP", node.line)
    binder = runner.binder()
    table = binder.table(node.table, node.line)
    binder.note(table, (), node.line)
    targets = _targets(runner, table, node)
    scope = Scope(clause="cte")
    prefix = binder.with_prefix(node.ctes, scope)
    maker = TableMaker(runner.session)
    body = "DEFAULT VALUES"
    extras = [c for c in table.columns if c not in targets and c.default is not None]
    extra_values = [maker.default_sql(table, c) for c in extras]
    names = ", ".join(c.pg for c in [*targets, *extras])
    if node.source is not None:
        assert isinstance(node.source, n.Query)
        if isinstance(node.source.body, n.Values) and not node.source.order:
            rows = _value_rows(binder, maker, table, targets, node, scope)
            body = f"({names}) VALUES " + ", ".join(f"({', '.join([*r, *extra_values])})" for r in rows)
        else:
            bound = binder.query(node.source, scope)
            if len(bound.columns) != len(targets):
                raise _count_mismatch(node, len(bound.columns), len(targets))
            values = _assigned(runner, bound, table, targets, "s")
            body = f"({names}) SELECT {', '.join([*values, *extra_values])} FROM ({bound.sql}) s"
    elif extras:
        body = f"({names}) VALUES ({', '.join(extra_values)})"
    output = _Output(binder, node.output, table, node.output_into, "INSERT", []) if node.output else None
    if prefix and output is not None:
        raise unsupported("OUTPUT in an INSERT with common table expressions", node.line)
    yield from _execute(runner, binder, f"{prefix}INSERT INTO {table.pg} {body}", output, "INSERT")
    _note_identity(runner, table, explicit=any(c.identity for c in targets))


def _targets(runner: Runner, table: Table, node: n.Insert) -> list[TableColumn]:
    """The columns that get values, checked for identity and rowversion."""
    inserting = runner.session.options.identity_insert == table.id
    if node.columns is None:
        if inserting and node.source is not None:
            raise error(
                8101,
                f"An explicit value for the identity column in table '{table.full_name}' can only be "
                f"specified when a "
                "column list is used and IDENTITY_INSERT is ON.",
                line=node.line,
            )
        return (
            [c for c in table.columns if c.identity is None and c.type.name != "timestamp"]
            if node.source is not None
            else []
        )
    out: list[TableColumn] = []
    for name in node.columns:
        column = table.column(name)
        if column is None:
            raise error(207, f"Invalid column name '{name}'.", line=node.line)
        if column in out:
            raise error(
                264,
                f"The column name '{name}' is specified more than once in the SET clause or column list of an INSERT.",
                line=node.line,
            )
        if column.identity is not None and not inserting:
            raise error(
                544,
                f"Cannot insert explicit value for identity column in table '{table.name}' when "
                f"IDENTITY_INSERT is set "
                "to OFF.",
                line=node.line,
            )
        if column.type.name == "timestamp":
            raise error(
                273,
                "Cannot insert an explicit value into a timestamp column. Use INSERT with a "
                "column list to "
                "exclude the "
                "timestamp column, or insert a DEFAULT into the timestamp column.",
                line=node.line,
            )
        out.append(column)
    if inserting and not any(c.identity for c in out):
        raise error(
            545,
            f"Explicit value must be specified for identity column in table '{table.name}' either when "
            f"IDENTITY_INSERT is "
            "set to ON or when a replication user is inserting into a NOT FOR REPLICATION "
            "identity column.",
            line=node.line,
        )
    return out


def _count_mismatch(node: n.Insert, given: int, wanted: int) -> Exception:
    if node.columns is None:
        return error(213, "Column name or number of supplied values does not match table definition.", line=node.line)
    number = 109 if given < wanted else 110
    text = {
        109: "There are more columns in the INSERT statement than values specified in the VALUES clause. The "
        "number of values in "
        "the VALUES clause must match the number of columns specified in the INSERT statement.",
        110: "There are fewer columns in the INSERT statement than values specified in the VALUES clause. The "
        "number of values in "
        "the VALUES clause must match the number of columns specified in the INSERT statement.",
    }[number]
    return error(number, text, severity=15, line=node.line)


def _place(table: Table, column: TableColumn) -> str:
    return f"table '{table.full_name}', column '{column.name}'"


def _value_rows(
    binder: QueryBinder, maker: TableMaker, table: Table, targets: list[TableColumn], node: n.Insert, scope: Scope
) -> list[list[str]]:
    form = binder.env.dateformat
    columns: list[list[str]] = []
    assert isinstance(node.source, n.Query)
    values = node.source.body
    assert isinstance(values, n.Values)
    for row in values.rows:
        if len(row) != len(targets):
            raise _count_mismatch(node, len(row), len(targets))
    for i, target in enumerate(targets):
        cells: list[Ex | str] = []
        for row in values.rows:
            if isinstance(row[i], n.Default):
                cells.append(maker.default_sql(table, target) if target.default else "NULL")
            else:
                cells.append(binder.expressions.value(row[i], scope))
        bound = [c for c in cells if isinstance(c, Ex)]
        if len(bound) > 1 and len({c.type for c in bound}) > 1:
            t = common_type(bound)
            cells = [convert(c, t, form) if isinstance(c, Ex) else c for c in cells]
        columns.append(
            [c if isinstance(c, str) else assign(c, target.type, _place(table, target), form).sql for c in cells]
        )
    return [list(r) for r in zip(*columns, strict=True)]


def _assigned(runner: Runner, bound: BoundQuery, table: Table, targets: list[TableColumn], alias: str) -> list[str]:
    form = runner.session.options.dateformat
    return [
        assign(
            Ex(f"{alias}.o{i + 1}", c.type, c.nullable, base=c.base, is_null=c.is_null), t.type, _place(table, t), form
        ).sql
        for i, (c, t) in enumerate(zip(bound.columns, targets, strict=True))
    ]


def _note_identity(runner: Runner, table: Table, *, explicit: bool) -> None:
    """SCOPE_IDENTITY(); explicit values move the counter on, as IDENTITY_INSERT does."""
    s = runner.session
    column = next((c for c in table.columns if c.identity is not None), None)
    if column is None or not s.rowcount:
        return
    sequence = f"pg_get_serial_sequence('{table.pg}', '{column.pg}')"
    if explicit:
        extreme = "max" if column.identity is not None and column.identity[1] > 0 else "min"
        pick = "greatest" if extreme == "max" else "least"
        row = s.pg.rows(f"SELECT {extreme}({column.pg})::int8 FROM {table.pg}")
        s.pg.rows(
            f"SELECT setval({sequence}, {pick}({row[0][0]}, (SELECT {extreme}({column.pg}) FROM {table.pg}))::int8)"
        )
        s.scope_identity = int(row[0][0])
        return
    s.scope_identity = int(s.pg.rows(f"SELECT currval({sequence})")[0][0])


# ---- UPDATE and DELETE ----------------------------------------------------------------------------------------------
def _resolve(
    _runner: Runner, binder: QueryBinder, target: tuple[str, ...], source: n.Node | None, scope: Scope, line: int
) -> tuple[Table, str, str, Source]:
    """(table, its alias, the rest of FROM, its source). An alias in FROM may be what is changed."""
    if source is None:
        table = binder.table(target, line)
        alias = binder.env.alias("a")
        shown = table_source(table, alias, n.TableName(line, target))
        scope.sources.append(shown)
        binder.note(table, (), line)
        return table, alias, "", shown
    rest = binder.from_sql(source, scope)
    wanted = tuple(p.lower() for p in target if p)
    found = [s for s in scope.sources if s.table_id not in (None, -1) and (wanted in s.qualifiers)]
    if not found:
        table = binder.table(target, line)
        found = [s for s in scope.sources if s.table_id == table.id]
    if len(found) != 1:
        if not found:
            raise unsupported("a FROM clause that does not name the changed table", line)
        raise error(8154, f"The table '{target[-1]}' is ambiguous.", line=line)
    table = next(t for t in binder.env.used_tables if t.id == found[0].table_id)
    return table, found[0].alias, rest, found[0]


def _update(runner: Runner, node: n.Update) -> Iterator[Event]:
    binder = runner.binder()
    scope = Scope(clause="cte")
    prefix = binder.with_prefix(node.ctes, scope)
    inner = Scope(parent=scope)
    table, alias, rest, source = _resolve(runner, binder, node.target, node.source, inner, node.line)
    maker = TableMaker(runner.session)
    sets: dict[str, str] = {}
    form = binder.env.dateformat
    for column_name, variable, op, value in node.sets:
        if variable is not None or column_name is None:
            raise unsupported("UPDATE ... SET @variable = ...", node.line)
        column = table.column(column_name)
        if column is None:
            raise error(207, f"Invalid column name '{column_name}'.", line=node.line)
        if column.identity is not None:
            raise error(8102, f"Cannot update identity column '{column.name}'.", line=node.line)
        if column.type.name == "timestamp":
            raise error(272, "Cannot update a timestamp column.", line=node.line)
        if column.pg in sets:
            raise error(
                264,
                f"The column name '{column.name}' is specified more than once in the SET clause or "
                f"column list of "
                f"an INSERT. "
                "A column cannot be assigned more than one value in the same clause. Modify the clause to make "
                "sure that a "
                "column is updated only once.",
                line=node.line,
            )
        if isinstance(value, n.Default):
            sets[column.pg] = maker.default_sql(table, column) if column.default else "NULL"
            continue
        if op != "=":
            value = n.Binary(node.line, op[0], n.ColumnRef(node.line, (column.name,)), value)
        inner.clause, inner.windows = "where", False
        ex = binder.expressions.value(value, inner)
        sets[column.pg] = assign(ex, column.type, _place(table, column), form).sql
    for c in table.columns:
        if c.type.name == "timestamp":
            sets[c.pg] = "int8send(nextval('tsql.row_versions'))"
    where = _where(binder, node.where, inner)
    text = ", ".join(f"{k} = {v}" for k, v in sets.items())
    output = _changed_rows(binder, node, table, [s for s in inner.sources if s is not source], prefix, "UPDATE")
    if not rest:
        sql = f"{prefix}UPDATE {table.pg} {alias} SET {text}{_topped(binder, table, alias, where, node.top)}"
    else:
        _refuse_top(node, "UPDATE")
        test = f" AND ({where[7:]})" if where else ""
        new = binder.env.alias("t")
        sql = f"{prefix}UPDATE {table.pg} {new} SET {text} FROM {rest} WHERE {new}.ctid = {alias}.ctid{test}"
    yield from _execute(runner, binder, sql, output, "UPDATE")


def _changed_rows(
    binder: QueryBinder, node: n.Update | n.Delete, table: Table, others: list[Any], prefix: str, verb: str
) -> _Output | None:
    """What the OUTPUT clause of an UPDATE or DELETE returns, None without one."""
    if not node.output:
        return None
    if prefix:
        raise unsupported(f"{verb} with common table expressions and OUTPUT", node.line)
    return _Output(binder, node.output, table, node.output_into, verb, others)


def _refuse_top(node: n.Update | n.Delete, verb: str) -> None:
    if node.top is not None:
        raise unsupported(f"{verb} TOP with FROM", node.line)


def _where(binder: QueryBinder, node: n.Node | None, scope: Scope) -> str:
    if node is None:
        return ""
    scope.clause, scope.windows = "where", False
    return f" WHERE {binder.expressions.condition(node, scope)}"


def _topped(binder: QueryBinder, table: Table, alias: str, where: str, top: n.Top | None) -> str:
    if top is None:
        return where
    if top.percent or top.ties:
        raise unsupported("TOP ... PERCENT in UPDATE or DELETE", top.line)
    count = binder.row_count(top.count, Scope(), "top")
    return f" WHERE {alias}.ctid IN (SELECT {alias}.ctid FROM {table.pg} {alias}{where} LIMIT {count} FOR UPDATE)"


def _delete(runner: Runner, node: n.Delete) -> Iterator[Event]:
    binder = runner.binder()
    scope = Scope(clause="cte")
    prefix = binder.with_prefix(node.ctes, scope)
    inner = Scope(parent=scope)
    table, alias, rest, source = _resolve(runner, binder, node.target, node.source, inner, node.line)
    where = _where(binder, node.where, inner)
    output = _changed_rows(binder, node, table, [s for s in inner.sources if s is not source], prefix, "DELETE")
    if not rest:
        sql = f"{prefix}DELETE FROM {table.pg} {alias}{_topped(binder, table, alias, where, node.top)}"
    else:
        _refuse_top(node, "DELETE")
        test = f" AND ({where[7:]})" if where else ""
        old = binder.env.alias("t")
        sql = f"{prefix}DELETE FROM {table.pg} {old} USING {rest} WHERE {old}.ctid = {alias}.ctid{test}"
    yield from _execute(runner, binder, sql, output, "DELETE")
