"""FOREIGN KEY actions: ON DELETE CASCADE is PostgreSQL's own, the others are triggers on the referenced table.

PostgreSQL can't write to a stored comparison key (strings), knows no T-SQL default and leaves a rowversion alone; so
the actions that update are functions of ours. They run before PostgreSQL looks whether a reference was left behind:
its triggers are named RI_..., ours A_..., and triggers fire in the order of their names.
Source: "Primary and foreign key constraints" (cascading referential integrity).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import nodes as n
from . import row_versions
from .errors import error, unsupported
from .pg import PgSession
from .table import ForeignKey, Table

if TYPE_CHECKING:
    from .ddl import TableMaker


def native(action: str) -> str:
    """What PostgreSQL is told of an ON DELETE action."""
    return action if action == "CASCADE" else "NO ACTION"


def check(maker: TableMaker, table: Table, key: ForeignKey, line: int) -> None:
    """Msg 1761, 1762 and 1785."""
    columns = [maker.required(table, c, line) for c in key.columns]
    actions = (key.on_delete, key.on_update)
    if "SET NULL" in actions and any(not c.nullable for c in columns):
        raise error(
            1761,
            f'Cannot create the foreign key "{key.name}" with the SET NULL referential action, because one or more '
            "referencing columns are not nullable.",
            line=line,
        )
    if "SET DEFAULT" in actions and any(not c.nullable and c.default is None for c in columns):
        raise error(
            1762,
            f'Cannot create the foreign key "{key.name}" with the SET DEFAULT referential action, because one or more '
            "referencing not-nullable columns lack a default constraint.",
            line=line,
        )
    for field in ("on_delete", "on_update"):
        if getattr(key, field) != "NO ACTION" and _entangled(maker.pg, table, key, field):
            raise error(
                1785,
                f"Introducing FOREIGN KEY constraint '{key.name}' on table '{table.name}' may cause cycles or multiple "
                "cascade paths. Specify ON DELETE NO ACTION or ON UPDATE NO ACTION, or modify other FOREIGN KEY "
                "constraints.",
                state=0,
                line=line,
            )


def _entangled(pg: PgSession, table: Table, key: ForeignKey, field: str) -> bool:
    """Whether some table could now be reached twice by cascades that begin in one table."""
    edges = [(key.target_id, table.id)]
    edges += [(k.target_id, table.id) for k in table.foreign_keys if getattr(k, field) != "NO ACTION"]
    edges += [
        (int(parent), int(child))
        for parent, child in pg.rows(
            "SELECT (k->>'target_id')::int8, t.id::int8 FROM tsql.tables t CROSS JOIN LATERAL "
            f"jsonb_array_elements(t.def->'foreign_keys') k WHERE k->>'{field}' <> 'NO ACTION' AND t.id <> {table.id}"
        )
    ]
    for root in {parent for parent, _ in edges}:
        seen, queue = {root}, [root]
        while queue:
            at = queue.pop()
            for child in [c for p, c in edges if p == at]:
                if child in seen:
                    return True
                seen.add(child)
                queue.append(child)
    return False


def install(maker: TableMaker, table: Table, target: Table, key: ForeignKey) -> None:
    """Make, or make again, the functions that carry out a key's updating actions."""
    pairs = [(maker.required(table, a, 0), maker.required(target, b, 0)) for a, b in
             zip(key.columns, key.target_columns, strict=True)]  # fmt: skip
    stamp = [f"{c.pg} = {row_versions.next_value(table)}" for c in table.columns if c.type.name == "timestamp"]
    stamp += [f"{c.pg} = DEFAULT" for c in table.columns if c.generated == "ROW START"]
    where = " AND ".join(f"{a.key_pg} = OLD.{b.key_pg}" for a, b in pairs)
    changed = " OR ".join(f"NEW.{b.pg} IS DISTINCT FROM OLD.{b.pg}" for _, b in pairs)
    for event, action, test in (("DELETE", key.on_delete, "true"), ("UPDATE", key.on_update, changed)):
        if action == "NO ACTION" or (event == "DELETE" and action == "CASCADE"):
            continue
        if action == "CASCADE":
            sets = [f"{a.pg} = NEW.{b.pg}" for a, b in pairs]
        elif action == "SET NULL":
            sets = [f"{a.pg} = NULL" for a, _ in pairs]
        else:
            sets = [f"{a.pg} = {_default(maker, table, a.name)}" for a, _ in pairs]
        name = f"{table.pg_schema}.{key.pg}_{event.lower()}"
        body = f"IF {test} THEN UPDATE {table.pg} SET {', '.join([*sets, *stamp])} WHERE {where}; END IF; RETURN NULL;"
        maker.pg.run(
            f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $cascade$ BEGIN {body} END "
            "$cascade$"
        )
        maker.pg.run(
            f'CREATE OR REPLACE TRIGGER "A_{key.pg}_{event}" AFTER {event} ON {target.pg} FOR EACH ROW '
            f"EXECUTE FUNCTION {name}()"
        )


def _default(maker: TableMaker, table: Table, name: str) -> str:
    from .parse_statement import Parser

    column = maker.required(table, name, 0)
    node = Parser(column.default or "NULL").expression()
    if isinstance(node, n.Unary):
        node = node.operand
    if not isinstance(node, n.Literal | n.Null):
        raise unsupported("SET DEFAULT where the default is no constant")
    return maker.default_sql(table, column)


def remove(pg: PgSession, table: Table, key: ForeignKey) -> None:
    """Drop a key's functions, and with them their triggers."""
    for event in ("delete", "update"):
        pg.run(f"DROP FUNCTION IF EXISTS {table.pg_schema}.{key.pg}_{event}() CASCADE")
