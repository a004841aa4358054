"""INSERT BULK: decoded rows by COPY into a temporary stage, then one INSERT with all of SQL Server's checks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ..contract import BulkLoad, Done, Event, SqlError, SqlType
from . import nodes as n
from .bound import Ex
from .constraint_errors import translate_constraint
from .convert import assign
from .ddl import TableMaker
from .errors import PgFailure, error, unsupported
from .runner import Runner
from .session import Cancelled
from .table import Table, TableColumn
from .types import DECIMALS, MONEYS, pg_type

if TYPE_CHECKING:
    from .session import EngineSession


def load_rows(session: EngineSession, load: BulkLoad) -> Iterator[Event]:
    """Load the rows, atomically: what fails leaves nothing of this batch."""
    announced = session.bulk
    session.bulk = None
    runner = Runner(session)
    try:
        if announced is None:
            raise error(4809, "There is no INSERT BULK to load into.")
        table, node = announced
        try:
            with runner.protected(atomic=True):
                rows = _load(runner, table, node, load)
        except PgFailure as exc:
            from .dml import lookup

            raise (translate_constraint(exc, "INSERT", lookup(runner)) or session.fail(exc)) from exc
        session.rowcount = rows
        yield Done("INSERT BULK", rows)
    except Cancelled:
        return
    except SqlError as exc:
        session.last_error = exc.message.number
        yield exc.message
        yield Done("", None)


def _load(runner: Runner, table: Table, node: n.InsertBulk, load: BulkLoad) -> int:
    """Stage, then INSERT in the table's own types."""
    pg = runner.session.pg
    keep_nulls = "KEEP_NULLS" in node.options
    names = [name for name, _ in node.columns] or [c.name for c in load.columns]
    targets: list[TableColumn] = []
    for name in names:
        column = table.column(name)
        if column is None:
            raise error(207, f"Invalid column name '{name}'.")
        if column.type.name == "timestamp":
            raise unsupported("bulk copy into a rowversion column")
        targets.append(column)
    kinds = [c.type for c in load.columns]
    pg.run("DROP TABLE IF EXISTS pg_temp.bulk_stage")
    stage = ", ".join(f"s{i} {k}" for i, k in _stage_columns(kinds))
    pg.run(f"CREATE TEMP TABLE bulk_stage ({stage}) ON COMMIT DROP")
    schema = pa.schema([pa.field(f"s{i}", _stage_arrow(k)) for i, k in _stage_columns(kinds)])
    batches = (_stage_batch(b, kinds, schema) for b in load.batches)
    pg.ingest("", "bulk_stage", pa.RecordBatchReader.from_batches(schema, batches), temporary=True)
    values, at = [], 0
    maker = TableMaker(runner.session)
    for t, target in zip(kinds, targets, strict=True):
        ex = Ex(_stage_value(t, at), t, True)
        at += 2 if t.name == "datetimeoffset" else 1
        sql = assign(ex, target.type, f"table '{table.full_name}', column '{target.name}'").sql
        if target.default is not None and not keep_nulls:
            sql = f"coalesce({sql}, {maker.default_sql(table, target)})"
        values.append(sql)
    columns = [c.pg for c in targets]
    for c in table.columns:
        if c not in targets and c.default is not None:
            columns.append(c.pg)
            values.append(maker.default_sql(table, c))
    inserted = pg.run(f"INSERT INTO {table.pg} ({', '.join(columns)}) SELECT {', '.join(values)} FROM bulk_stage")
    pg.run("DROP TABLE bulk_stage")
    return inserted


def _stage_columns(kinds: list[SqlType]) -> list[tuple[int, str]]:
    out: list[str] = []
    for t in kinds:
        if t.name == "datetimeoffset":
            out += ["int8", "int2"]
        elif t.name in DECIMALS or t.name in MONEYS:
            out.append("text")
        elif t.name == "uniqueidentifier":
            out.append("bytea")
        else:
            out.append(pg_type(t))
    return list(enumerate(out))


def _stage_arrow(kind: str) -> pa.DataType:
    return {
        "int2": pa.int16(),
        "int4": pa.int32(),
        "int8": pa.int64(),
        "float4": pa.float32(),
        "float8": pa.float64(),
        "bool": pa.bool_(),
        "date": pa.date32(),
        "bytea": pa.binary(),
    }.get(kind, pa.string())


def _stage_batch(batch: pa.RecordBatch, kinds: list[SqlType], schema: pa.Schema) -> pa.RecordBatch:
    arrays: list[Any] = []
    for array, t in zip(batch.columns, kinds, strict=True):
        if t.name == "datetimeoffset":
            arrays += [pc.struct_field(array, "utc"), pc.struct_field(array, "offset")]
        else:
            arrays.append(array)
    return pa.RecordBatch.from_arrays([a.cast(f.type) for a, f in zip(arrays, schema, strict=True)], schema=schema)


def _stage_value(t: SqlType, at: int) -> str:
    """The staged column as PostgreSQL's form of its type."""
    if t.name == "datetimeoffset":
        return f"(CASE WHEN s{at} IS NOT NULL THEN ROW(s{at}, s{at + 1})::tsql.dto END)"
    if t.name in DECIMALS or t.name in MONEYS:
        return f"s{at}::numeric"
    if t.name == "uniqueidentifier":
        return f"encode(s{at}, 'hex')::uuid"
    return f"s{at}"
