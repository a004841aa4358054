"""The catalog: databases, schemas and tables by SQL Server's names, kept in PostgreSQL and transactional with DDL."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

from .errors import PgFailure, error, invalid_object
from .pg import PgSession, quote
from .table import Table

_EXISTS = {"42710", "42723", "42P06", "42P07"}
"""SQLSTATEs of an object, a function, a schema and a relation that are there already."""


def _scripts() -> list[str]:
    folder = resources.files(__package__).joinpath("support")
    names = sorted(r.name for r in folder.iterdir() if r.name.endswith(".sql"))
    return [folder.joinpath(name).read_text("utf-8") for name in names]


def support_version() -> str:
    """What a data folder's support schema was made from."""
    return hashlib.sha256("".join(_scripts()).encode()).hexdigest()[:16]


def install(pg: PgSession) -> None:
    """Create the support schema in a fresh cluster."""
    for script in _scripts():
        for statement in split_script(script):
            pg.run(statement)


def refresh(pg: PgSession) -> None:
    """Bring the support schema of an older data folder up to date: functions are replaced, what is missing is made."""
    for script in _scripts():
        for statement in split_script(script):
            if not statement.startswith(("CREATE", "DO")):
                continue  # the first rows of the catalog are there
            pg.run("SAVEPOINT refresh")
            try:
                pg.run(statement.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1))
            except PgFailure as exc:
                if exc.sqlstate not in _EXISTS:
                    raise
                pg.run("ROLLBACK TO SAVEPOINT refresh")


def split_script(text: str) -> list[str]:
    """The statements of our own support scripts: they end with ';' at the end of a line outside $$ ... $$."""
    out: list[str] = []
    current: list[str] = []
    inside = False
    for line in text.splitlines():
        if not current and (not line.strip() or line.startswith("--")):
            continue
        current.append(line)
        if (line.count("$$") + line.count("$do$")) % 2 == 1:
            inside = not inside
        if not inside and line.rstrip().endswith(";"):
            out.append("\n".join(current))
            current = []
    return out


def database_id(pg: PgSession, name: str) -> tuple[int, str] | None:
    """(id, name as created) of a database."""
    rows = pg.rows(f"SELECT id, name FROM tsql.databases WHERE lname = {quote(name.lower())}")
    return (int(rows[0][0]), str(rows[0][1])) if rows else None


def create_database(pg: PgSession, name: str, *, snapshot: bool = False) -> int:
    """Make a database, or Msg 1801."""
    if database_id(pg, name) is not None:
        raise error(1801, f"Database '{name}' already exists. Choose a different database name.", state=3)
    new = int(pg.rows("SELECT coalesce(max(id), 4) + 1 FROM tsql.databases")[0][0])
    new = max(new, 5)
    flag = "true" if snapshot else "false"
    pg.run(
        f"INSERT INTO tsql.databases (id, name, lname, snapshot) VALUES ({new}, {quote(name)}, "
        f"{quote(name.lower())}, {flag})"
    )
    pg.run(f"INSERT INTO tsql.schemas SELECT {new}, id, name, lname FROM tsql.schemas WHERE dbid = 1 AND id <= 4")
    pg.run(f"CREATE SCHEMA d{new}")
    pg.run(f"CREATE SEQUENCE d{new}.row_versions AS int8 START 2001")
    return new


def drop_database(pg: PgSession, number: int) -> None:
    pg.run(f"DROP SCHEMA IF EXISTS d{number} CASCADE")
    pg.run(f"DELETE FROM tsql.databases WHERE id = {number}")


def schema_name(pg: PgSession, dbid: int, name: str) -> str | None:
    """The schema's name as created, or None."""
    rows = pg.rows(f"SELECT name FROM tsql.schemas WHERE dbid = {dbid} AND lname = {quote(name.lower())}")
    return str(rows[0][0]) if rows else None


def create_schema(pg: PgSession, dbid: int, name: str) -> None:
    if schema_name(pg, dbid, name) is not None:
        raise error(2714, f"There is already an object named '{name}' in the database.", state=6)
    pg.run(
        f"INSERT INTO tsql.schemas SELECT {dbid}, greatest(max(id) + 1, 5), {quote(name)}, {quote(name.lower())} "
        f"FROM tsql.schemas WHERE dbid = {dbid}"
    )


def split_name(parts: tuple[str, ...], database: str) -> tuple[str, str, str]:
    """(database, schema, table) of a one- to three-part name."""
    if len(parts) > 3:
        raise error(
            7202,
            f"Could not find server '{parts[0]}' in sys.servers. Verify that the correct server name was specified. If "
            "necessary, execute the stored procedure sp_addlinkedserver to add the server to sys.servers.",
            severity=11,
            state=2,
        )
    name = parts[-1]
    schema = parts[-2] if len(parts) > 1 and parts[-2] else "dbo"
    where = parts[0] if len(parts) > 2 and parts[0] else database
    return where, schema, name


def find_table(pg: PgSession, parts: tuple[str, ...], database: str) -> Table | None:
    """A user table, or None."""
    where, schema, name = split_name(parts, database)
    rows = pg.rows(
        "SELECT t.def::text FROM tsql.tables t JOIN tsql.databases d ON d.id = t.dbid WHERE "
        f"d.lname = {quote(where.lower())} AND t.lschema = {quote(schema.lower())} AND t.lname = {quote(name.lower())}"
    )
    return Table.from_json(str(rows[0][0])) if rows else None


def table_by_id(pg: PgSession, number: int) -> Table | None:
    rows = pg.rows(f"SELECT def::text FROM tsql.tables WHERE id = {number}")
    return Table.from_json(str(rows[0][0])) if rows else None


def get_table(pg: PgSession, parts: tuple[str, ...], database: str, line: int = 0) -> Table:
    """A user table, or Msg 208."""
    found = find_table(pg, parts, database)
    if found is None:
        raise invalid_object(".".join(parts), line)
    return found


@dataclass(frozen=True, slots=True)
class SchemaObject:
    """What a name stands for that is no table: a view (V), a synonym (SN) or a trigger (TR)."""

    id: int
    kind: str
    definition: dict[str, Any]


def find_object(pg: PgSession, parts: tuple[str, ...], database: str) -> SchemaObject | None:
    """A view, synonym or trigger by name; a trigger's definition is {'table': id}."""
    where, schema, name = split_name(parts, database)
    place = f"d.lname = {quote(where.lower())} AND lschema = {quote(schema.lower())}"
    rows = pg.rows(
        f"SELECT o.id, o.kind, o.def::text FROM tsql.objects o JOIN tsql.databases d ON d.id = o.dbid WHERE {place} "
        f"AND o.lname = {quote(name.lower())} UNION ALL SELECT (g->>'object_id')::int4, 'TR', "
        "json_build_object('table', t.id)::text FROM tsql.tables t JOIN tsql.databases d ON d.id = t.dbid CROSS JOIN "
        f"LATERAL jsonb_array_elements(t.def->'triggers') g WHERE {place} AND lower(g->>'name') = {quote(name.lower())}"
    )
    return SchemaObject(int(rows[0][0]), str(rows[0][1]), json.loads(rows[0][2])) if rows else None


def save_object(pg: PgSession, dbid: int, parts: tuple[str, str], made: SchemaObject) -> None:
    """Add or replace a view or synonym; `parts` are its schema and name."""
    text = quote(json.dumps(made.definition))
    pg.run(
        f"INSERT INTO tsql.objects (id, dbid, lschema, lname, kind, def) VALUES ({made.id}, {dbid}, "
        f"{quote(parts[0].lower())}, {quote(parts[1].lower())}, '{made.kind}', {text}::jsonb) "
        "ON CONFLICT (id) DO UPDATE SET def = EXCLUDED.def, modified = now() AT TIME ZONE 'UTC'"
    )


def remove_object(pg: PgSession, number: int) -> None:
    pg.run(f"DELETE FROM tsql.objects WHERE id = {number}")


def new_object_id(pg: PgSession) -> int:
    return int(pg.rows("SELECT nextval('tsql.object_ids')::int4")[0][0])


def add_table(pg: PgSession, table: Table, dbid: int) -> None:
    pg.run(
        "INSERT INTO tsql.tables (id, dbid, lschema, lname, def) VALUES "
        f"({table.id}, {dbid}, {quote(table.schema.lower())}, {quote(table.name.lower())}, "
        f"{quote(table.to_json())}::jsonb)"
    )


def save_table(pg: PgSession, table: Table) -> None:
    pg.run(
        f"UPDATE tsql.tables SET def = {quote(table.to_json())}::jsonb, modified = now() AT TIME ZONE 'UTC' "
        f"WHERE id = {table.id}"
    )


def remove_table(pg: PgSession, table: Table) -> None:
    pg.run(f"DELETE FROM tsql.tables WHERE id = {table.id}")
