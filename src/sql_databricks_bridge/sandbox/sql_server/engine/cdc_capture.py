"""What captures the changes of a table, and the functions that read them (cdc.py says when they are made).

A capture instance has a change table d{database}.cdc{number}, a row trigger that fills it, and functions
cdc{number}_all and cdc{number}_net(from, to, row filter); LSNs are in support/83_cdc.sql.
"""

from __future__ import annotations

import json

from .pg import PgSession, quote
from .table import Table, TableColumn
from .types import pg_type

_ALL = "ARRAY['all', 'all update old']"
_NET = "ARRAY['all', 'all with merge']"


def record(
    pg: PgSession,
    db: int,
    table: Table,
    columns: list[TableColumn],
    keys: list[TableColumn],
    instance: str,
    role: str | None,
    index: str | None,
    net: bool,
) -> None:
    """The change table, the trigger that fills it (it waits for open transactions), the functions that read it."""
    number = int(pg.rows("SELECT nextval('tsql.cdc_numbers')")[0][0])
    side = f"d{db}.cdc{number}"
    stored = [c for c in keys if c.keyed]
    types = [f"{c.pg} {pg_type(c.type)}" for c in columns] + [f"{c.key_pg} {c.key_type}" for c in stored]
    pg.run(f"CREATE TABLE {side} (seq int8, xid xid8, op int2, mask bytea, {', '.join(types)})")
    pg.run(f"CREATE INDEX cdc{number}_xid ON {side} (xid)")
    pg.run(f"CREATE SEQUENCE {side}_seq AS int8 OWNED BY {side}.seq")
    pg.run(_capture_function(db, side, columns, keys, stored))
    pg.run(
        f'CREATE TRIGGER "T_cdc{number}" AFTER INSERT OR UPDATE OR DELETE ON {table.pg} FOR EACH ROW '
        f"EXECUTE FUNCTION {side}_capture()"
    )
    # A bulk load goes past foreign keys by switching ordinary triggers off.
    pg.run(f'ALTER TABLE {table.pg} ENABLE ALWAYS TRIGGER "T_cdc{number}"')
    pg.run(_all_function(db, number, side, columns))
    if net:
        pg.run(_net_function(db, number, side, columns, keys))
    role_text, index_text = ("NULL" if text is None else quote(text) for text in (role, index))
    pg.run(
        f"WITH x AS (INSERT INTO tsql.cdc_commits VALUES ({db}, tsql.next_lsn({db}), pg_current_xact_id()) "
        "RETURNING lsn) "
        "INSERT INTO tsql.cdc_instances (number, dbid, source, name, role, net, index_name, columns, start_lsn) "
        f"SELECT {number}, {db}, {table.id}, {quote(instance)}, {role_text}, {net}, {index_text}, "
        f"'{json.dumps([c.id for c in columns])}', lsn FROM x"
    )


def _capture_function(
    db: int, side: str, columns: list[TableColumn], keys: list[TableColumn], stored: list[TableColumn]
) -> str:
    """A key that changes is a delete and an insert; an update that changes no captured column is nothing."""
    size = (len(columns) + 7) // 8
    full = ((1 << len(columns)) - 1).to_bytes(size, "big").hex()
    names = ", ".join(["seq, xid, op, mask", *(c.pg for c in columns), *(c.key_pg for c in stored)])

    def insert(op: int, row: str, mask: str = "every") -> str:
        # "Computed columns that are included in a capture instance always have a value of NULL."
        cells = ["NULL" if c.computed is not None else f"{row}.{c.pg}" for c in columns]
        cells += [f"{row}.{c.key_pg}" for c in stored]
        return f"INSERT INTO {side} ({names}) VALUES (s, pg_current_xact_id(), {op}, {mask}, {', '.join(cells)});"

    bits = "".join(
        f"IF OLD.{c.pg} IS DISTINCT FROM NEW.{c.pg} THEN "
        f"m := set_bit(m, {8 * (size - 1 - i // 8) + i % 8}, 1); END IF; "
        for i, c in enumerate(columns)
        if c.computed is None
    )
    moved = " OR ".join(f"OLD.{c.pg} IS DISTINCT FROM NEW.{c.pg}" for c in keys) or "false"
    return (
        f"CREATE FUNCTION {side}_capture() RETURNS trigger LANGUAGE plpgsql AS $cdc$ "
        f"DECLARE s int8; m bytea := '\\x{'00' * size}'; every bytea := '\\x{full}'; "
        f"BEGIN IF TG_OP = 'UPDATE' THEN {bits} IF m = '\\x{'00' * size}' THEN RETURN NULL; END IF; END IF; "
        f"s := nextval('{side}_seq'); PERFORM tsql.cdc_mark({db}); "
        f"IF TG_OP = 'INSERT' THEN {insert(2, 'NEW')} ELSIF TG_OP = 'DELETE' THEN {insert(1, 'OLD')} "
        f"ELSIF {moved} THEN {insert(1, 'OLD')} {insert(2, 'NEW')} "
        f"ELSE {insert(3, 'OLD', 'm')} {insert(4, 'NEW', 'm')} END IF; RETURN NULL; END $cdc$"
    )


def _returns(columns: list[TableColumn], fixed: list[str]) -> str:
    types = [*fixed, *(pg_type(c.type) for c in columns)]
    return ", ".join(f"o{i + 1} {t}" for i, t in enumerate(types))


def _function(name: str, returns: str, number: int, kind: str, filters: str, body: str) -> str:
    return (
        f"CREATE FUNCTION {name}(lo bytea, hi bytea, row_filter text) RETURNS TABLE ({returns}) "
        "LANGUAGE plpgsql STABLE AS $cdc$ #variable_conflict use_column\n"
        f"BEGIN PERFORM tsql.cdc_check({number}, '{kind}', lo, hi, row_filter, {filters}); "
        f"RETURN QUERY {body}; END $cdc$"
    )


def _all_function(db: int, number: int, side: str, columns: list[TableColumn]) -> str:
    shown = ", ".join(["x.lsn, tsql.lsn(l.seq, 2), l.op::int4, l.mask", *(f"l.{c.pg}" for c in columns)])
    body = (
        f"SELECT {shown} FROM tsql.cdc_commits x JOIN {side} l ON l.xid = x.xid "
        f"WHERE x.dbid = {db} AND x.lsn BETWEEN lo AND hi AND (l.op <> 3 OR lower(row_filter) LIKE 'all update old%') "
        "ORDER BY x.lsn, l.seq, l.op"
    )
    returns = _returns(columns, ["bytea", "bytea", "int4", "bytea"])
    return _function(f"{side}_all", returns, number, "all", _ALL, body)


def _net_function(db: int, number: int, side: str, columns: list[TableColumn], keys: list[TableColumn]) -> str:
    """One row for each key: the last one, and what it is to a reader who knows the state before the range.

    Changes of one key are recorded in the order of their commits: the row or its key is locked in between.
    """
    shown = ", ".join(
        [
            "n.lsn, CASE WHEN n.op = 1 THEN 1 WHEN lower(row_filter) LIKE 'all with merge%' THEN 5 "
            "WHEN n.first = 2 THEN 2 ELSE 4 END, NULL::bytea",
            *(f"n.{c.pg}" for c in columns),
        ]
    )
    by = f"PARTITION BY {', '.join(f'l.{c.key_pg}' for c in keys)} ORDER BY"
    body = (
        f"SELECT {shown} FROM (SELECT l.*, x.lsn, first_value(l.op) OVER ({by} l.seq, l.op) AS first, "
        f"row_number() OVER ({by} l.seq DESC, l.op DESC) AS back "
        f"FROM tsql.cdc_commits x JOIN {side} l ON l.xid = x.xid "
        f"WHERE x.dbid = {db} AND x.lsn BETWEEN lo AND hi AND l.op <> 3) n "
        "WHERE n.back = 1 AND NOT (n.first = 2 AND n.op = 1)"
    )
    return _function(f"{side}_net", _returns(columns, ["bytea", "int4", "bytea"]), number, "net", _NET, body)


def drop(pg: PgSession, where: str) -> int:
    """Drop the instances that meet a condition; how many there were."""
    rows = pg.rows(f"SELECT number, dbid FROM tsql.cdc_instances WHERE {where}")
    for number, db in rows:
        side = f"d{db}.cdc{number}"
        pg.run(f"DROP FUNCTION {side}_capture() CASCADE")
        for kind in ("all", "net"):
            pg.run(f"DROP FUNCTION IF EXISTS {side}_{kind}(bytea, bytea, text)")
        pg.run(f"DROP TABLE {side}")
        pg.run(f"DELETE FROM tsql.cdc_instances WHERE number = {number}")
    return len(rows)
