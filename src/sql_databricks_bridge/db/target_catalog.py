"""Looking a target up in SQL Server's catalog: what it is, its columns, keys, triggers, and what a DELETE reaches.

The server matches the names, by its own collation. Source: "System catalog views" (sys.objects, sys.tables,
sys.columns, sys.types, sys.indexes, sys.triggers, sys.foreign_keys), "Metadata visibility configuration".
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sql_databricks_bridge.db.rows import INT, Rows, bound, nvarchar
from sql_databricks_bridge.db.type_names import type_name
from sql_databricks_bridge.errors import EventInvalid
from sql_databricks_bridge.models.tables import SQL_SERVER_NAME_LENGTH, Target, TargetColumn, TargetName

_SQL = Path(__file__).parent / "sql"
_NAME = nvarchar(SQL_SERVER_NAME_LENGTH)
_OWN_SCHEMA = "bridge"
_SYSTEM_SCHEMAS = ("sys", "information_schema")
_KINDS = {
    "V": "a view",
    "SN": "a synonym",
    "IF": "a table-valued function",
    "TF": "a table-valued function",
    "FT": "a table-valued function",
    "ET": "an external table",
    "S": "a system table",
    "IT": "a system table",
    "SO": "a sequence",
}
_CASCADE, _NO_ACTION = 1, 0
_UNSEEN = "(tables that the bridge's login may not see: GRANT VIEW DEFINITION ON DATABASE)"

_NEAR_NAMES = """
SELECT s.name AS schema_name, t.name AS table_name
  FROM sys.tables AS t
  JOIN sys.schemas AS s ON s.schema_id = t.schema_id
 WHERE s.name <> N'bridge' AND t.is_ms_shipped = 0;
"""
_REFERENCED = "SELECT OBJECTPROPERTY(?, 'TableHasForeignRef') AS referenced"


def find_target(rows: Rows, name: TargetName) -> Target:
    """Look a base table up, in two queries; `EventInvalid` where there is none, or something else of that name."""
    _require_open_schema(name.schema, name)
    found = rows(_text("target_columns.sql"), bound((name.table, _NAME), (name.schema, _NAME)))
    if not found or found[0]["target_id"] is None:
        raise _not_there(rows, name, schema_exists=bool(found))
    table = found[0]
    _require_base_table(table)
    object_id = int(table["target_id"])
    relations = rows(_text("target_relations.sql"), bound(*((object_id, INT),) * 3))
    triggers = [row for row in relations if row["kind"] == "trigger"]
    cascades = _cascades(object_id, [row for row in relations if row["kind"] == "reference"])
    # Foreign keys belong to the child, and who has no right on a table does not see its keys.
    if not table["sees_everything"] and rows(_REFERENCED, bound((object_id, INT)))[0]["referenced"] != 0:
        cascades = (*cascades, _UNSEEN)
    return Target(
        object_id=object_id,
        schema=table["schema_name"],
        name=table["object_name"],
        columns=tuple(_column(row) for row in found),
        unique_keys=_unique_keys(relations),
        cascades=cascades,
        delete_triggers=_names(row for row in triggers if row["on_delete"]),
        passes_on=tuple((row["name"], row["schema_name"]) for row in relations if row["kind"] == "passed_on"),
        instead_of=_names(row for row in triggers if row["instead_of"]),
        database=table["database_name"],
    )


def _require_open_schema(schema: str, where: TargetName) -> None:
    """Refuse the bridge's own schema and the server's; asked of the name as written and as the server spells it."""
    if schema.lower() == _OWN_SCHEMA:
        raise EventInvalid(
            f"target_table {where} is in schema {schema}, which is the bridge's own.",
            hint="Keep tables of yours in another schema.",
        )
    if schema.lower() in _SYSTEM_SCHEMAS:
        raise EventInvalid(f"target_table {where} is a system table.", hint="Name a table of your own.")


def _require_base_table(table: Mapping[str, Any]) -> None:
    """Refuse what is no ordinary table; columns of sys.tables that this server's version lacks say nothing."""
    where, kind = TargetName(table["schema_name"], table["object_name"]), table["object_type"].strip()
    _require_open_schema(where.schema, where)
    if table["is_shipped"]:
        raise EventInvalid(f"target_table {where} is a system table.", hint="Name a table of your own.")
    if kind != "U":
        raise EventInvalid(
            f"target_table {where} is {_KINDS.get(kind, 'not a table')}.",
            hint="Name the base table behind it: permissions, locks and limits go by base tables.",
        )
    special: dict[str, Any] = {
        "an external table": table.get("is_external"),
        "the history of a temporal table": table.get("temporal_type") == 1,
        "a FileTable": table.get("is_filetable"),
        "a graph table": table.get("is_node") or table.get("is_edge"),
        "a ledger table": table.get("ledger_type"),
    }
    for what, is_so in special.items():
        if is_so:
            raise EventInvalid(f"target_table {where} is {what}.", hint="Events are applied to ordinary tables only.")


def _not_there(rows: Rows, name: TargetName, *, schema_exists: bool) -> EventInvalid:
    tables = [TargetName(row["schema_name"], row["table_name"]) for row in rows(_NEAR_NAMES, None)]
    near = _closest(name, tables)
    missing = "there is no such table in that schema" if schema_exists else f"there is no schema {name.schema}"
    hint = f"Did you mean {near}?" if near else "Check the name and SQLSERVER_DATABASE."
    return EventInvalid(
        f"target_table {name}: {missing}, or the bridge's login has no right on it.",
        hint=hint,
    )


def _closest(name: TargetName, tables: Sequence[TargetName]) -> TargetName | None:
    """The table of another schema that has the name, else the one whose name is most like it."""
    for table in tables:
        if table.table.casefold() == name.table.casefold():
            return table
    by_text = {str(table).casefold(): table for table in tables}
    found = difflib.get_close_matches(str(name).casefold(), by_text, n=1, cutoff=0.7)
    return by_text[found[0]] if found else None


def _column(row: Mapping[str, Any]) -> TargetColumn:
    is_alias = row["is_user_defined"] and not row["is_assembly_type"]
    # sysname is the one alias type that the server comes with; a new system type may share its number with an old one.
    # An alias type that the login may not see has no name here, but its base type has.
    kind = row["base_type_name"] if is_alias or row["type_name"] in (None, "sysname") else row["type_name"]
    return TargetColumn(
        name=row["column_name"],
        sql_type=type_name(kind, row["max_length"], row["precision"], row["scale"]),
        nullable=bool(row["is_nullable"]),
        collation=row["collation_name"],
        code_page=row["code_page"] if kind in ("char", "varchar", "text") else None,
        has_default=row["default_object_id"] != 0,
        is_identity=bool(row["is_identity"]),
        is_computed=bool(row["is_computed"]),
        is_generated=bool(row["generated_always_type"] or row["is_hidden"]),
    )


def _unique_keys(relations: Sequence[Mapping[str, Any]]) -> tuple[frozenset[str], ...]:
    keys: dict[int, set[str]] = defaultdict(set)
    for row in relations:
        if row["kind"] == "unique":
            keys[row["from_id"]].add(row["name"])
    return tuple(dict.fromkeys(frozenset(keys[index]) for index in sorted(keys)))


def _names(found: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(sorted({row["name"] for row in found}))


def _cascades(object_id: int, references: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Tables that a DELETE changes besides, by name.

    A child whose rows go takes its own children along; one whose columns are set (to NULL, or the default) passes it on
    by ON UPDATE. Disabled keys count too: somebody may enable them between this look and the statement.
    """
    reached: set[str] = set()
    seen = {(object_id, True)}
    waiting = [(object_id, True)]
    while waiting:
        table, rows_go = waiting.pop()
        for row in references:
            action = row["on_delete" if rows_go else "on_update"]
            if row["from_id"] != table or action == _NO_ACTION:
                continue
            reached.add(str(TargetName(row["schema_name"], row["name"])))
            child = (row["to_id"], rows_go and action == _CASCADE)
            if child not in seen:
                seen.add(child)
                waiting.append(child)
    return tuple(sorted(reached))


def _text(file: str) -> str:
    return (_SQL / file).read_text(encoding="utf-8")
