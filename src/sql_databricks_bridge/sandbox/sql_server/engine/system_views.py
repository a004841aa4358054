"""sys.* and INFORMATION_SCHEMA views over the catalog, for the current database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..contract import Isolation
from . import catalog, cdc
from .bound import SourceColumn
from .system_view_sql import LOCK_COLUMNS, SESSION_COLUMNS, VIEWS

if TYPE_CHECKING:
    from .session import EngineSession


def find(session: EngineSession, parts: tuple[str, ...]) -> tuple[str, list[SourceColumn]] | None:
    """(PostgreSQL query, columns) of a system view, None if the name is none."""
    if len(parts) < 2 or parts[-2].lower() not in ("sys", "information_schema", "cdc"):
        return None
    database = parts[-3] if len(parts) > 2 and parts[-3] else session.database
    found = catalog.database_id(session.pg, database)
    view = VIEWS.get(f"{parts[-2].lower()}.{parts[-1].lower()}")
    if found is None or view is None:
        return None
    if parts[-2].lower() == "cdc" and not cdc.is_enabled(session.pg, found[0]):
        return None
    sql = view.sql.replace("{db}", str(found[0])).replace("{name}", _quote(found[1]))
    sql = sql.replace("{sessions}", _sessions(session)) if "{sessions}" in sql else sql
    sql = sql.replace("{locks}", _locks(session)) if "{locks}" in sql else sql
    columns = [SourceColumn(name, f"o{i + 1}", t, nullable) for i, (name, t, nullable) in enumerate(view.columns)]
    names = ", ".join(f"o{i + 1}" for i in range(len(columns)))
    return f"SELECT * FROM ({sql}) v({names})", columns


def _sessions(session: EngineSession) -> str:
    """Every open session as a VALUES list, in the order of `SESSION_COLUMNS`."""
    rows = []
    for open_one in session.engine.sessions():
        login, options = open_one.login, open_one.options
        database = catalog.database_id(session.pg, open_one.database)
        texts = (login.hostname, login.application, login.username, "running" if open_one is session else "sleeping")
        rows.append(
            f"({open_one.spid}::int2, {', '.join(_quote(text) for text in texts)}, "
            f"{Isolation[_LEVEL[options.isolation]].value}::int2, "
            f"{database[0] if database else 0}::int2, {open_one.trancount}, true)"
        )
    return f"(VALUES {', '.join(rows)}) AS s({', '.join(SESSION_COLUMNS)})"


_LOCK_LETTER = {"shared": "S", "update": "U", "exclusive": "X"}


def _locks(session: EngineSession) -> str:
    """Every application lock held, in the order of `LOCK_COLUMNS`."""
    rows = []
    for open_one in session.engine.sessions():
        for lock, held in list(open_one.app_locks.items()):
            database = catalog.database_id(session.pg, lock.database)
            shown = f"0:[{lock.name[:32]}]:({lock.key(0) & 0xFFFFFFFF:08x})"
            rows.append(
                f"({database[0] if database else 0}, {_quote(shown)}, '{_LOCK_LETTER[held.mode]}', {open_one.spid}, "
                f"'{'SESSION' if lock.owner == 'session' else 'TRANSACTION'}', {held.count}::int2)"
            )
    if not rows:
        nothing = "0, '', '', 0, '', 0::int2"
        return f"(SELECT {nothing} WHERE false) AS l({', '.join(LOCK_COLUMNS)})"
    return f"(VALUES {', '.join(rows)}) AS l({', '.join(LOCK_COLUMNS)})"


_LEVEL = {level.name.replace("_", " "): level.name for level in Isolation}


def _quote(text: str) -> str:
    from .pg import quote

    return quote(text)
