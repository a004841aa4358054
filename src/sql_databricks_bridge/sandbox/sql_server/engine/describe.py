"""sp_describe_first_result_set, sys.dm_exec_describe_first_result_set and their kin: metadata without running."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..contract import DEFAULT_COLLATION, Column, Done, Event, RowSet, SqlError, SqlType
from . import catalog
from . import nodes as n
from .bound import OutColumn
from .collations import key_kind
from .environment import Variable
from .errors import error, unsupported
from .parse_statement import parse
from .query import QueryBinder
from .scope import Scope
from .types import BIT, INT, SMALLINT, STRINGS, SYSTEM_TYPES, TINYINT, byte_length, nvarchar, precision_scale, type_text

if TYPE_CHECKING:
    import pyarrow as pa

    from .runner import Runner

_NAME = nvarchar(128)
_DESCRIBE: list[tuple[str, SqlType]] = [
    ("is_hidden", BIT),
    ("column_ordinal", INT),
    ("name", _NAME),
    ("is_nullable", BIT),
    ("system_type_id", INT),
    ("system_type_name", nvarchar(256)),
    ("max_length", SMALLINT),
    ("precision", TINYINT),
    ("scale", TINYINT),
    ("collation_name", _NAME),
    ("user_type_id", INT),
    ("user_type_database", _NAME),
    ("user_type_schema", _NAME),
    ("user_type_name", _NAME),
    ("assembly_qualified_type_name", nvarchar(4000)),
    ("xml_collection_id", INT),
    ("xml_collection_database", _NAME),
    ("xml_collection_schema", _NAME),
    ("xml_collection_name", _NAME),
    ("is_xml_document", BIT),
    ("is_case_sensitive", BIT),
    ("is_fixed_length_clr_type", BIT),
    ("source_server", _NAME),
    ("source_database", _NAME),
    ("source_schema", _NAME),
    ("source_table", _NAME),
    ("source_column", _NAME),
    ("is_identity_column", BIT),
    ("is_part_of_unique_key", BIT),
    ("is_updateable", BIT),
    ("is_computed_column", BIT),
    ("is_sparse_column_set", BIT),
    ("ordinal_in_order_by_list", SMALLINT),
    ("order_by_list_length", SMALLINT),
    ("order_by_is_descending", SMALLINT),
    ("tds_type_id", INT),
    ("tds_length", INT),
    ("tds_collation_id", INT),
    ("tds_collation_sort_id", TINYINT),
]
_ERRORS: list[tuple[str, SqlType]] = [
    ("error_number", INT),
    ("error_severity", INT),
    ("error_state", INT),
    ("error_message", nvarchar(4000)),
    ("error_type", INT),
    ("error_type_desc", nvarchar(60)),
]
_TDS = {
    "bit": 104,
    "tinyint": 38,
    "smallint": 38,
    "int": 38,
    "bigint": 38,
    "real": 109,
    "float": 109,
    "money": 110,
    "smallmoney": 110,
    "decimal": 106,
    "numeric": 108,
    "date": 40,
    "time": 41,
    "datetime2": 42,
    "datetimeoffset": 43,
    "datetime": 111,
    "smalldatetime": 111,
    "char": 175,
    "varchar": 167,
    "nchar": 239,
    "nvarchar": 231,
    "text": 35,
    "ntext": 99,
    "image": 34,
    "binary": 173,
    "varbinary": 165,
    "timestamp": 173,
    "uniqueidentifier": 36,
    "sql_variant": 98,
    "xml": 241,
    "hierarchyid": 240,
    "geometry": 240,
    "geography": 240,
    "json": 244,
}


def describe(runner: Runner, sql: str, declared: list[tuple[str, SqlType, bool]]) -> list[OutColumn]:
    """The columns of the first statement that returns rows; SqlError as SQL Server would raise it."""
    variables = {name.lower(): Variable(name, t) for name, t, _ in declared}
    env = runner.session.environment(variables)
    for statement in parse(sql, runner.session.options.quoted_identifier):
        found = _statement(statement, QueryBinder(env), variables)
        if found is not None:
            return found
    return []


def _statement(node: n.Statement, binder: QueryBinder, variables: dict[str, Variable]) -> list[OutColumn] | None:
    if isinstance(node, n.QueryStatement):
        body = node.query.body
        if isinstance(body, n.Select) and (body.into is not None or any(i.variable for i in body.items)):
            for item in body.items:
                if item.variable and item.variable.lower() not in variables:
                    raise error(
                        137,
                        f'Must declare the scalar variable "{item.variable}".',
                        severity=15,
                        state=2,
                        line=item.line,
                    )
            return None
        return binder.query(node.query).columns
    if isinstance(node, n.Declare):
        for name, t, _ in node.items:
            variables[name.lower()] = Variable(name, t)
        return None
    if isinstance(node, n.Block):
        for inner in node.body:
            found = _statement(inner, binder, variables)
            if found is not None:
                return found
        return None
    if isinstance(node, n.If):
        a = _statement(node.then, binder, variables)
        b = _statement(node.otherwise, binder, variables) if node.otherwise is not None else None
        if a is not None and b is not None and [(c.name, c.type) for c in a] != [(c.name, c.type) for c in b]:
            raise error(11509, "The metadata could not be determined because the branches return different results.")
        return a if a is not None else b
    if isinstance(node, n.Exec | n.While | n.TryCatch | n.Merge):
        raise unsupported(f"describing the results of {type(node).__name__.upper()}", node.line)
    if isinstance(node, n.Insert | n.Update | n.Delete) and node.output is not None and node.output_into is None:
        raise unsupported("describing the results of OUTPUT", node.line)
    return None


def description_rows(columns: list[OutColumn]) -> list[list[object]]:
    """One row for each column, as sp_describe_first_result_set lists them."""
    rows: list[list[object]] = []
    for i, c in enumerate(columns, 1):
        t = c.type
        system, user, *_ = SYSTEM_TYPES[t.name]
        p, s = precision_scale(t)
        length = byte_length(t)
        text = t.name in STRINGS
        collation = (t.collation or DEFAULT_COLLATION) if text else None
        udt = t.name if system == 240 else None
        rows.append(
            [
                False,
                i,
                c.name or None,
                c.nullable,
                system,
                type_text(t),
                length,
                p,
                s,
                collation.name if collation else None,
                user if udt else None,
                None,
                "sys" if udt else None,
                udt,
                None,
                None,
                None,
                None,
                None,
                t.name == "xml" and False,
                bool(collation and not key_kind(collation).startswith("ci")),
                False,
                None,
                None,
                None,
                None,
                None,
                c.identity,
                None,
                c.column and not c.identity and not c.computed,
                c.computed,
                False,
                None,
                None,
                None,
                _TDS[t.name],
                65535 if length == -1 else 17 if t.name in ("decimal", "numeric") else length,
                int.from_bytes(collation.tds[:4], "little", signed=True) if collation else None,
                collation.sort_id if collation else None,
            ]
        )
    return rows


def first_result_set(runner: Runner, sql: str, declared: list[tuple[str, SqlType, bool]]) -> Iterator[Event]:
    """sp_describe_first_result_set."""
    rows = description_rows(describe(runner, sql, declared))
    yield from rowset(_DESCRIBE, rows)


def rowset(shape: list[tuple[str, SqlType]], rows: list[list[object]]) -> Iterator[Event]:
    """A small result made in Python."""
    columns = tuple(Column(name, t, True) for name, t in shape)
    yield RowSet(columns, iter([_batch(shape, rows)] if rows else []))
    yield Done("SELECT", len(rows))


def _batch(shape: list[tuple[str, SqlType]], rows: list[list[object]]) -> pa.RecordBatch:
    import pyarrow as pa

    from .values import arrow_type

    arrays = [pa.array([r[i] for r in rows], arrow_type(t)) for i, (_, t) in enumerate(shape)]
    return pa.RecordBatch.from_arrays(
        arrays, schema=pa.schema([pa.field(n_, a.type) for (n_, _), a in zip(shape, arrays, strict=True)])
    )


def function_table(runner_session: object, sql: str, params: str | None) -> tuple[str, list[tuple[str, SqlType]]]:
    """sys.dm_exec_describe_first_result_set as a VALUES query: errors become its error_ columns."""
    from .procedures import parse_declaration
    from .runner import Runner
    from .session import EngineSession
    from .values import literal

    assert isinstance(runner_session, EngineSession)
    shape = [*_DESCRIBE, *_ERRORS]
    try:
        columns = describe(Runner(runner_session), sql, parse_declaration(params))
        rows = [[*r, None, None, None, None, None, None] for r in description_rows(columns)]
    except SqlError as exc:
        m = exc.message
        kind = (2, "SYNTAX") if m.severity == 15 else (1, "MISC")
        rows = [[*([None] * len(_DESCRIBE)), m.number, m.severity, m.state, m.text, *kind]]
        rows[0][1] = 0
        rows[0][0] = False
    texts = ["(" + ", ".join(literal(t, v) for v, (_, t) in zip(r, shape, strict=True)) + ")" for r in rows]
    if not texts:
        nulls = ", ".join(literal(t, None) for _, t in shape)
        return f"SELECT {nulls} WHERE false", shape
    return f"VALUES {', '.join(texts)}", shape


def undeclared_parameters(runner: Runner, sql: str, declared: list[tuple[str, SqlType, bool]]) -> Iterator[Event]:
    """Parameters compared with, or inserted into, a plain column take its type; others are refused by name."""
    from .expr import walk

    known = {name.lower() for name, _, _ in declared}
    statements = parse(sql, runner.session.options.quoted_identifier)
    names: list[str] = []
    for node in statements:
        for x in walk(node, into_queries=True):
            if (
                isinstance(x, n.Variable)
                and not x.name.startswith("@@")
                and x.name.lower() not in [*known, *(m.lower() for m in names)]
            ):
                names.append(x.name)
    types: dict[str, SqlType] = {}
    for node in statements:
        _infer(runner, node, types)
    missing = [m for m in names if m.lower() not in types]
    if missing:
        raise unsupported(f"deducing the type of {missing[0]} (declare it)")
    shape: list[tuple[str, SqlType]] = [
        ("parameter_ordinal", INT),
        ("name", _NAME),
        ("suggested_system_type_id", INT),
        ("suggested_system_type_name", nvarchar(256)),
        ("suggested_max_length", SMALLINT),
        ("suggested_precision", TINYINT),
        ("suggested_scale", TINYINT),
        ("suggested_user_type_id", INT),
        ("suggested_user_type_database", _NAME),
        ("suggested_user_type_schema", _NAME),
        ("suggested_user_type_name", _NAME),
        ("suggested_assembly_qualified_type_name", nvarchar(4000)),
        ("suggested_xml_collection_id", INT),
        ("suggested_xml_collection_database", _NAME),
        ("suggested_xml_collection_schema", _NAME),
        ("suggested_xml_collection_name", _NAME),
        ("suggested_is_xml_document", BIT),
        ("suggested_is_case_sensitive", BIT),
        ("suggested_is_fixed_length_clr_type", BIT),
        ("suggested_is_input", BIT),
        ("suggested_is_output", BIT),
        ("formal_parameter_name", _NAME),
        ("suggested_tds_type_id", INT),
        ("suggested_tds_length", INT),
    ]
    rows: list[list[object]] = []
    for i, name in enumerate(names, 1):
        t = types[name.lower()]
        p, s = precision_scale(t)
        length = byte_length(t)
        rows.append(
            [
                i,
                name,
                SYSTEM_TYPES[t.name][0],
                type_text(t),
                length,
                p,
                s,
                *([None] * 9),
                False,
                False,
                False,
                True,
                False,
                None,
                _TDS[t.name],
                65535 if length == -1 else length,
            ]
        )
    yield from rowset(shape, rows)


def _infer(runner: Runner, node: n.Statement, types: dict[str, SqlType]) -> None:
    """Column = @p and INSERT ... VALUES (@p), over the statement's own tables."""
    from .expr import walk

    scope = Scope()
    binder = QueryBinder(runner.session.environment())
    for x in walk(node, into_queries=True):
        if isinstance(x, n.TableName):
            binder.from_sql(x, scope)
    if isinstance(node, n.Insert | n.Update | n.Delete):
        name = node.table if isinstance(node, n.Insert) else node.target
        if not scope.sources:
            binder.from_sql(n.TableName(node.line, name), scope)
    pairs: list[tuple[n.Node, n.Node]] = []
    for x in walk(node, into_queries=True):
        if isinstance(x, n.Compare):
            pairs += [(x.left, x.right), (x.right, x.left)]
        elif isinstance(x, n.Between):
            pairs += [(x.operand, x.low), (x.operand, x.high)]
        elif isinstance(x, n.InList):
            pairs += [(x.operand, i) for i in x.items]
    if isinstance(node, n.Update):
        pairs += [(n.ColumnRef(node.line, (c,)), v) for c, _, _, v in node.sets if c]
    if isinstance(node, n.Insert) and isinstance(node.source, n.Query) and isinstance(node.source.body, n.Values):
        table = binder.table(node.table, node.line)
        columns = node.columns or [c.name for c in table.columns if not c.identity and c.type.name != "timestamp"]
        for row in node.source.body.rows:
            pairs += [(n.ColumnRef(node.line, (c,)), v) for c, v in zip(columns, row, strict=False)]
    for column, parameter in pairs:
        if isinstance(column, n.ColumnRef) and isinstance(parameter, n.Variable):
            types.setdefault(parameter.name.lower(), scope.column(column.parts, column.line).type)


def table_collations(runner: Runner, name: str) -> Iterator[Event]:
    """sp_tablecollations_100: one row for each column, as bulk copy reads it."""
    from .parse_base import Cursor

    parts = Cursor(name).dotted()
    s = runner.session
    table = s.temp.get(parts[-1].lower()) if parts[-1].startswith("#") else catalog.find_table(s.pg, parts, s.database)
    if table is None:
        raise error(208, f"Invalid object name '{name}'.")
    shape = [
        ("colid", INT),
        ("name", _NAME),
        ("tds_collation_90", SqlType("binary", 5)),
        ("collation_90", _NAME),
        ("tds_collation_100", SqlType("binary", 5)),
        ("collation_100", _NAME),
    ]
    rows: list[list[object]] = []
    for c in table.columns:
        k = (c.type.collation or DEFAULT_COLLATION) if c.type.name in STRINGS else None
        raw = None if k is None else k.tds
        rows.append([c.id, c.name, raw, k.name if k else None, raw, k.name if k else None])
    yield from rowset(shape, rows)
