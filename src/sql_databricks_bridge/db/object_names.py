"""What a name in a query means, asked of SQL Server's catalog.

Source: "sys.objects", "sys.schemas", "SCHEMA_NAME", "Metadata visibility configuration": a login sees the objects that
it has any right on, so that what it does not see here it can't read either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sql_databricks_bridge.core.ports import NamedObject, ServerInfo
from sql_databricks_bridge.db.identifiers import sql_server_identifier
from sql_databricks_bridge.db.rows import Rows, bound, nvarchar
from sql_databricks_bridge.db.session import SQL
from sql_databricks_bridge.errors import SourceRefused, SourceSignInError
from sql_databricks_bridge.models.tables import SQL_SERVER_NAME_LENGTH
from sql_databricks_bridge.models.text import CONTROL, utf16_length

_NAME = nvarchar(SQL_SERVER_NAME_LENGTH)


def find_objects(
    rows: Rows, here: ServerInfo, names: Sequence[tuple[str | None, str | None, str]]
) -> tuple[NamedObject | None, ...]:
    """Look `(database, schema, name)` up, each once, in the order of `names`; None for what is not there or not seen.

    A schema left out is the login's default one, then dbo. In another database, whose default schema the connection
    does not know, it is the one schema that has the name, and None where several have.
    """
    databases = {database: _database(rows, here, database) for database, _, _ in dict.fromkeys(names)}
    found = {name: _find(rows, here, databases[name[0]], name) for name in dict.fromkeys(names)}
    return tuple(found[name] for name in names)


def _database(rows: Rows, here: ServerInfo, written: str | None) -> tuple[str, bool] | None:
    """A database's own spelling, and whether it is the connection's."""
    if written is None:
        return here.database, True
    if not _is_name(written):
        return None
    found = rows((SQL / "find_database.sql").read_text(), bound((written, _NAME)))
    return (found[0]["database_name"], bool(found[0]["is_here"])) if found else None


def _find(
    rows: Rows, here: ServerInfo, database: tuple[str, bool] | None, name: tuple[str | None, str | None, str]
) -> NamedObject | None:
    _, schema, text = name
    if database is None or not _is_name(text) or (schema is not None and not _is_name(schema)):
        return None
    spelled, is_here = database
    catalog = "" if is_here else f"{sql_server_identifier(spelled)}."
    # Everything of that name: its schema is chosen here, since NULL asks for a default one.
    statement = (SQL / "find_object.sql").read_text().replace("{catalog}", catalog)
    try:
        found = rows(statement, bound((schema, _NAME), (text, _NAME)))
    except (SourceRefused, SourceSignInError):
        if is_here:
            raise
        return None  # the login may not enter that database, or it is offline
    row = _meant(found, schema, is_here)
    if row is None:
        return None
    return NamedObject(here.server, spelled, row["schema_name"], row["object_name"], row["kind"].strip())


def _meant(found: Sequence[dict[str, Any]], schema: str | None, is_here: bool) -> dict[str, Any] | None:
    if schema is not None:
        return next((row for row in found if row["is_named"]), None)
    if not is_here:
        return found[0] if len(found) == 1 else None
    default = next((row for row in found if row["is_default"]), None)
    return default or next((row for row in found if row["is_dbo"]), None)


def _is_name(text: str) -> bool:
    """Whether an object can be called so; a longer one would be cut on its way to the server, and be another."""
    return 0 < utf16_length(text) <= SQL_SERVER_NAME_LENGTH and not CONTROL.search(text)
