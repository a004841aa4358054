"""sys.* and INFORMATION_SCHEMA views over the catalog, for the current database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import catalog
from .bound import SourceColumn
from .system_view_sql import VIEWS

if TYPE_CHECKING:
    from .session import EngineSession


def find(session: EngineSession, parts: tuple[str, ...]) -> tuple[str, list[SourceColumn]] | None:
    """(PostgreSQL query, columns) of a system view, None if the name is none."""
    if len(parts) < 2 or parts[-2].lower() not in ("sys", "information_schema"):
        return None
    database = parts[-3] if len(parts) > 2 and parts[-3] else session.database
    found = catalog.database_id(session.pg, database)
    view = VIEWS.get(f"{parts[-2].lower()}.{parts[-1].lower()}")
    if found is None or view is None:
        return None
    sql = view.sql.replace("{db}", str(found[0])).replace("{name}", _quote(found[1]))
    columns = [SourceColumn(name, f"o{i + 1}", t, nullable) for i, (name, t, nullable) in enumerate(view.columns)]
    names = ", ".join(f"o{i + 1}" for i in range(len(columns)))
    return f"SELECT * FROM ({sql}) v({names})", columns


def _quote(text: str) -> str:
    from .pg import quote

    return quote(text)
