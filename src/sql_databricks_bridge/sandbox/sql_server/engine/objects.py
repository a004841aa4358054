"""CREATE, ALTER and DROP of triggers, views, synonyms and alias types."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from . import catalog
from . import nodes as n
from .catalog import SchemaObject
from .errors import error, invalid_object, unsupported
from .table import Table, TableColumn, Trigger

if TYPE_CHECKING:
    from .runner import Runner

_KINDS = {"AT": "type", "V": "view", "SN": "synonym", "TR": "trigger"}


def missing(kind: str, name: str, line: int) -> Exception:
    return error(
        3701,
        f"Cannot drop the {kind} '{name}', because it does not exist or you do not have permission.",
        severity=11,
        state=5,
        line=line,
    )


def taken(parts: tuple[str, ...], line: int) -> Exception:
    return error(2714, f"There is already an object named '{parts[-1]}' in the database.", state=6, line=line)


def refuse_taken(runner: Runner, parts: tuple[str, ...], line: int) -> None:
    """Msg 2714 for a name that a table, view, synonym or trigger has."""
    s = runner.session
    if catalog.find_table(s.pg, parts, s.database) or catalog.find_object(s.pg, parts, s.database):
        raise taken(parts, line)


def _home(runner: Runner, parts: tuple[str, ...], line: int) -> tuple[int, str, str]:
    """(database's id, its name, the schema's name) of a new object: Msg 166 for a database prefix."""
    s = runner.session
    if len(parts) > 2:
        raise error(
            166, "'CREATE' does not allow specifying the database name as a prefix to the object name.", severity=15,
            line=line,
        )  # fmt: skip
    found = catalog.database_id(s.pg, s.database)
    assert found is not None
    wanted = parts[-2] if len(parts) > 1 and parts[-2] else "dbo"
    schema = catalog.schema_name(s.pg, found[0], wanted)
    if schema is None:
        raise error(
            2760,
            f'The specified schema name "{wanted}" either does not exist or you do not have permission to use it.',
            line=line,
        )
    return found[0], found[1], schema


# ---- triggers -------------------------------------------------------------------------------------------------------
def create_trigger(runner: Runner, node: n.CreateTrigger) -> None:
    s = runner.session
    _, _, schema = _home(runner, node.name, node.line)
    existing = catalog.find_object(s.pg, node.name, s.database)
    if existing is not None and existing.kind != "TR":
        raise taken(node.name, node.line)
    if existing is None and node.mode == "ALTER":
        raise invalid_object(".".join(node.name), node.line)
    if existing is not None and node.mode == "CREATE":
        raise taken(node.name, node.line)
    if existing is None and catalog.find_table(s.pg, node.name, s.database):
        raise taken(node.name, node.line)
    table = _trigger_table(runner, node)
    if table.schema.lower() != schema.lower():
        raise error(
            2103,
            f"Cannot {node.mode.split()[-1].lower()} trigger '{'.'.join(node.name)}' because its schema is different "
            "from the schema of the target table or view.",
            severity=15,
            line=node.line,
        )
    _refuse_instead(table, node)
    number = existing.id if existing else catalog.new_object_id(s.pg)
    if existing is not None and existing.definition["table"] != table.id:
        raise unsupported("ALTER TRIGGER onto another table", node.line)
    made = Trigger(node.name[-1], number, node.events, node.text, node.instead_of)
    if existing is not None:
        table.triggers = [made if t.object_id == number else t for t in table.triggers]
    else:
        table.triggers.append(made)
    _capture(runner, table)
    catalog.save_table(s.pg, table)


def _trigger_table(runner: Runner, node: n.CreateTrigger) -> Table:
    s = runner.session
    table = catalog.find_table(s.pg, node.table, s.database)
    if table is not None and table.database == s.database:
        return table
    if s.view(node.table) is not None:
        raise unsupported("triggers on views", node.line)
    raise error(
        8197,
        f"The object '{'.'.join(node.table)}' does not exist or is invalid for this operation.",
        state=4,
        line=node.line,
    )


def _refuse_instead(table: Table, node: n.CreateTrigger) -> None:
    """Msg 2113 and 2111: INSTEAD OF next to a cascade of the same kind, or twice."""
    if not node.instead_of:
        return
    for event, action in (("DELETE", "on_delete"), ("UPDATE", "on_update")):
        if event in node.events and any(getattr(k, action) != "NO ACTION" for k in table.foreign_keys):
            raise error(
                2113,
                f"Cannot create INSTEAD OF DELETE or INSTEAD OF UPDATE TRIGGER '{node.name[-1]}' on table "
                f"'{table.name}'. This is because the table has a FOREIGN KEY with cascading DELETE or UPDATE.",
                line=node.line,
            )
    for other in table.triggers:
        same = set(other.events) & set(node.events)
        if other.instead_of and same and other.name.lower() != node.name[-1].lower():
            raise error(
                2111,
                f"Cannot create trigger '{node.name[-1]}' on table '{table.schema}.{table.name}' because an INSTEAD OF "
                f"{sorted(same)[0]} trigger already exists on this object.",
                line=node.line,
            )


_CAPTURES = (
    ("INSERT", "NEW TABLE AS new_rows"),
    ("DELETE", "OLD TABLE AS old_rows"),
    ("UPDATE", "OLD TABLE AS old_rows NEW TABLE AS new_rows"),
)


def _capture(runner: Runner, table: Table) -> None:
    """PostgreSQL's statement triggers, there while the table has triggers."""
    pg = runner.session.pg
    for verb, tables in _CAPTURES:
        name = f"capture_{verb.lower()}"
        pg.run(f"DROP TRIGGER IF EXISTS {name} ON {table.pg}")
        if table.triggers:
            pg.run(
                f"CREATE TRIGGER {name} AFTER {verb} ON {table.pg} REFERENCING {tables} "
                "FOR EACH STATEMENT EXECUTE FUNCTION tsql.capture()"
            )
            pg.run(f"ALTER TABLE {table.pg} ENABLE ALWAYS TRIGGER {name}")


def switch_trigger(runner: Runner, node: n.SwitchTrigger) -> None:
    """ENABLE and DISABLE TRIGGER."""
    s = runner.session
    table = runner.binder().table(node.table, node.line)
    wanted = {parts[-1].lower() for parts in node.names}
    for parts in node.names:
        if not any(t.name.lower() == parts[-1].lower() for t in table.triggers):
            raise error(
                1088,
                f'Cannot find the object "{".".join(parts)}" because it does not exist or you do not have permissions.',
                line=node.line,
            )
    for trigger in table.triggers:
        if not wanted or trigger.name.lower() in wanted:
            trigger.disabled = not node.enable
    catalog.save_table(s.pg, table)


# ---- views and synonyms ---------------------------------------------------------------------------------------------
def create_view(runner: Runner, node: n.CreateView) -> None:
    """The query is bound once, for its errors and its columns, and again wherever the view is read."""
    s = runner.session
    dbid, database, schema = _home(runner, node.name, node.line)
    existing = catalog.find_object(s.pg, node.name, s.database)
    if existing is None and node.mode == "ALTER":
        raise invalid_object(".".join(node.name), node.line)
    if existing is not None and (node.mode == "CREATE" or existing.kind != "V"):
        raise taken(node.name, node.line)
    if existing is None and catalog.find_table(s.pg, node.name, s.database):
        raise taken(node.name, node.line)
    binder = runner.binder()
    binder.env.variables = {}
    bound = binder.nested(node.query, None)
    if any(t.name.startswith(("#", "@")) for t in binder.env.used_tables):
        raise error(
            4508, "Views or functions are not allowed on temporary tables. Table names that begin with '#' denote "
            "temporary tables.", line=node.line,
        )  # fmt: skip
    for i, c in enumerate(bound.columns, 1):
        if not c.name and not node.columns:
            raise error(
                4511, f"Create View or Function failed because no column name was specified for column {i}.",
                line=node.line,
            )  # fmt: skip
    outs = binder._named(bound.columns, node.columns, node.name[-1], node.line)
    columns = [TableColumn(i, c.name, c.type, c.nullable) for i, c in enumerate(outs, 1)]
    number = existing.id if existing else catalog.new_object_id(s.pg)
    shape = Table(number, database, schema, node.name[-1], f"d{dbid}", "", columns)
    definition = {**json.loads(shape.to_json()), "text": node.text}
    catalog.save_object(s.pg, dbid, (schema, node.name[-1]), SchemaObject(number, "V", definition))


def create_synonym(runner: Runner, node: n.CreateSynonym) -> None:
    s = runner.session
    dbid, database, schema = _home(runner, node.name, node.line)
    refuse_taken(runner, node.name, node.line)
    if len(node.target) > 3:
        raise unsupported("synonyms of another server's objects", node.line)
    definition = {"name": node.name[-1], "schema": schema, "database": database, "target": list(node.target)}
    made = SchemaObject(catalog.new_object_id(s.pg), "SN", definition)
    catalog.save_object(s.pg, dbid, (schema, node.name[-1]), made)


def create_type(runner: Runner, node: n.CreateType) -> None:
    """An alias type. Types have names of their own: a table may be called the same."""
    s = runner.session
    dbid, database, schema = _home(runner, node.name, node.line)
    key = (schema, f"type:{node.name[-1]}")
    if catalog.find_object(s.pg, key, s.database) is not None:
        raise error(
            219,
            f"The type '{'.'.join(node.name)}' already exists, or you do not have permission to create it.",
            line=node.line,
        )
    number = catalog.new_object_id(s.pg)
    column = TableColumn(1, node.name[-1], node.type, node.nullable)
    shape = Table(number, database, schema, node.name[-1], f"d{dbid}", "", [column])
    highest = s.pg.rows(
        f"SELECT coalesce(max((def->>'user_type_id')::int8), 256) FROM tsql.objects WHERE dbid = {dbid} AND kind = 'AT'"
    )[0][0]
    definition = {**json.loads(shape.to_json()), "text": "", "user_type_id": int(highest) + 1}
    catalog.save_object(s.pg, dbid, key, SchemaObject(number, "AT", definition))


def _refuse_used(runner: Runner, parts: tuple[str, ...], user_type: int, line: int) -> None:
    found = catalog.database_id(runner.session.pg, runner.session.database)
    assert found is not None
    used = runner.session.pg.rows(
        f"SELECT def->>'name' FROM tsql.tables WHERE dbid = {found[0]} AND def @> "
        f'\'{{"columns": [{{"user_type": {user_type}}}]}}\' LIMIT 1'
    )
    if used:
        raise error(
            3732,
            f"Cannot drop type '{'.'.join(parts)}' because it is being referenced by object '{used[0][0]}'. There may "
            "be other objects that reference this type.",
            line=line,
        )


# ---- DROP -----------------------------------------------------------------------------------------------------------
def drop(runner: Runner, parts: tuple[str, ...], node: n.Drop) -> None:
    """DROP TRIGGER, VIEW, SYNONYM and TYPE."""
    s = runner.session
    shown = parts
    if node.kind == "TYPE":
        parts = (*parts[:-1], f"type:{parts[-1]}")
    found = catalog.find_object(s.pg, parts, s.database)
    if found is None or _KINDS[found.kind] != node.kind.lower():
        if node.if_exists:
            return
        raise missing(node.kind.lower(), ".".join(shown), node.line)
    if found.kind == "AT":
        _refuse_used(runner, shown, found.definition["user_type_id"], node.line)
    if found.kind != "TR":
        catalog.remove_object(s.pg, found.id)
        return
    table = catalog.table_by_id(s.pg, found.definition["table"])
    assert table is not None
    table.triggers = [t for t in table.triggers if t.object_id != found.id]
    _capture(runner, table)
    catalog.save_table(s.pg, table)
