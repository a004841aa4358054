"""INSERT."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..contract import Event, SqlError
from . import nodes as n
from .bound import BoundQuery, Ex
from .convert import assign, convert
from .ddl import TableMaker
from .errors import error, unsupported
from .execution import Change, execute, place, target_table
from .output_clause import Output
from .query import QueryBinder
from .scope import Scope
from .table import Table, TableColumn
from .typing_rules import common_type

if TYPE_CHECKING:
    from .runner import Runner


def insert(runner: Runner, node: n.Insert) -> Iterator[Event]:
    if isinstance(node.source, n.Exec):
        raise unsupported("INSERT ... EXEC", node.line)
    if node.top is not None:
        raise unsupported("INSERT TOP", node.line)
    binder = runner.binder()
    table = target_table(binder, node.table, node.line, "INSERT")
    binder.note_target(table, node.hints, node.line)
    targets = explicit_targets(runner, table, node)
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
            rows = value_rows(binder, maker, table, targets, node, scope)
            body = f"({names}) VALUES " + ", ".join(f"({', '.join([*r, *extra_values])})" for r in rows)
        else:
            bound = binder.query(node.source, scope)
            if len(bound.columns) != len(targets):
                raise _count_mismatch(node, len(bound.columns), len(targets))
            for target in targets:
                refuse_explicit(table, target, node.line)
            values = _assigned(runner, bound, table, targets, "s")
            body = f"({names}) SELECT {', '.join([*values, *extra_values])} FROM ({bound.sql}) s"
    elif extras:
        body = f"({names}) VALUES ({', '.join(extra_values)})"
    output = Output(binder, node.output, table, node.output_into, "INSERT", []) if node.output else None
    if prefix and output is not None:
        raise unsupported("OUTPUT in an INSERT with common table expressions", node.line)
    explicit = any(c.identity for c in targets)
    sql = f"{prefix}INSERT INTO {table.pg} {body}"
    change = Change(table, ("INSERT",), sql, output, after=lambda rows: note_identity(runner, table, rows, explicit))
    yield from execute(runner, binder, change)


def explicit_targets(runner: Runner, table: Table, node: n.Insert) -> list[TableColumn]:
    """The columns that get values, checked for identity. Without a list: all but identity, computed and hidden ones."""
    inserting = runner.session.options.identity_insert == table.id
    if node.columns is None:
        if inserting and node.source is not None:
            raise error(
                8101,
                f"An explicit value for the identity column in table '{table.full_name}' can only be specified when a "
                "column list is used and IDENTITY_INSERT is ON.",
                line=node.line,
            )
        if node.source is None:
            return []
        return [c for c in table.columns if c.identity is None and c.computed is None and not c.hidden]
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
                f"Cannot insert explicit value for identity column in table '{table.name}' when IDENTITY_INSERT is set "
                "to OFF.",
                line=node.line,
            )
        if column.computed is not None:
            raise computed_written(column, node.line)
        out.append(column)
    if inserting and not any(c.identity for c in out):
        raise error(
            545,
            f"Explicit value must be specified for identity column in table '{table.name}' either when IDENTITY_INSERT "
            "is set to ON or when a replication user is inserting into a NOT FOR REPLICATION identity column.",
            line=node.line,
        )
    return out


def computed_written(column: TableColumn, line: int) -> SqlError:
    return error(
        271,
        f'The column "{column.name}" cannot be modified because it is either a computed column or is the result of a '
        "UNION operator.",
        line=line,
    )


def refuse_explicit(table: Table, column: TableColumn, line: int) -> None:
    """Msg 273 or 13536: only DEFAULT may be given to what the server fills in."""
    if column.type.name == "timestamp":
        raise error(
            273,
            "Cannot insert an explicit value into a timestamp column. Use INSERT with a column list to exclude the "
            "timestamp column, or insert a DEFAULT into the timestamp column.",
            line=line,
        )
    if column.generated is not None:
        raise error(
            13536,
            f"Cannot insert an explicit value into a GENERATED ALWAYS column in table '{table.full_name}'. Use INSERT "
            "with a column list to exclude the GENERATED ALWAYS column, or insert a DEFAULT into GENERATED ALWAYS "
            "column.",
            line=line,
        )


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


def value_rows(
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
                filled = target.type.name == "timestamp" or target.generated is not None
                cells.append("DEFAULT" if filled else maker.default_sql(table, target) if target.default else "NULL")
            else:
                refuse_explicit(table, target, node.line)
                cells.append(binder.expressions.value(row[i], scope))
        bound = [c for c in cells if isinstance(c, Ex)]
        if len(bound) > 1 and len({c.type for c in bound}) > 1:
            t = common_type(bound)
            cells = [convert(c, t, form) if isinstance(c, Ex) else c for c in cells]
        columns.append(
            [c if isinstance(c, str) else assign(c, target.type, place(table, target.name), form).sql for c in cells]
        )
    return [list(r) for r in zip(*columns, strict=True)]


def _assigned(runner: Runner, bound: BoundQuery, table: Table, targets: list[TableColumn], alias: str) -> list[str]:
    form = runner.session.options.dateformat
    return [
        assign(
            Ex(f"{alias}.o{i + 1}", c.type, c.nullable, base=c.base, is_null=c.is_null),
            t.type,
            place(table, t.name),
            form,
        ).sql
        for i, (c, t) in enumerate(zip(bound.columns, targets, strict=True))
    ]


def note_identity(runner: Runner, table: Table, rows: int, explicit: bool) -> None:
    """SCOPE_IDENTITY() and @@IDENTITY; explicit values move the counter on, as IDENTITY_INSERT does."""
    s = runner.session
    column = next((c for c in table.columns if c.identity is not None), None)
    if column is None or column.identity is None:
        s.last_identity = None  # "@@IDENTITY (Transact-SQL)"
        return
    if not rows:
        return
    sequence = f"pg_get_serial_sequence('{table.pg}', '{column.pg}')"
    if explicit:
        extreme, beyond = ("max", ">=") if column.identity[1] > 0 else ("min", "<=")
        seen = int(s.pg.rows(f"SELECT {extreme}({column.pg})::int8 FROM {table.pg}")[0][0])
        counter = f"{table.pg_schema}.{table.pg_name}_{column.pg}_seq"
        s.pg.rows(f"SELECT setval({sequence}, {seen})::text FROM {counter} WHERE {seen} {beyond} last_value")
        s.scope_identity = s.last_identity = seen
        return
    s.scope_identity = s.last_identity = int(s.pg.rows(f"SELECT currval({sequence})")[0][0])
