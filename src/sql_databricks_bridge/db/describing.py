"""Result sets described without running the query, and what SQL Server refuses told with number and line."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sql_databricks_bridge.core.ports import ResultColumn
from sql_databricks_bridge.db.binding import bind_texts, declarations
from sql_databricks_bridge.db.session import SQL, Session
from sql_databricks_bridge.errors import SourceError, SourceRefused
from sql_databricks_bridge.models.jobs import ResolvedQuery

_UNDESCRIBABLE = "metadata could not be determined"  # 11509 to 11529: a query that can run, but not be described


def described(session: Session, query: ResolvedQuery) -> tuple[ResultColumn, ...]:
    """Describe the result set. `SourceRefused` has the server's words and the line."""
    try:
        rows = session.rows(
            "EXEC sp_describe_first_result_set @tsql = ?, @params = ?",
            bind_texts(query.sql, declarations(query.parameters)),
        )
    except SourceRefused as exc:
        raise _diagnosed(session, query, exc) from exc
    return tuple(_column(row) for row in rows if not row.get("is_hidden"))


def _diagnosed(session: Session, query: ResolvedQuery, refused: SourceRefused) -> SourceRefused:
    """Have the server tell number and line of what it refuses, which the driver drops."""
    found = None
    with suppress(SourceError):  # it is an attempt to say more
        found = _compiled(session, query, "SET NOEXEC ON; ")
        if found is None and _UNDESCRIBABLE not in refused.message:
            # A server that checks names only when it runs: this query was refused for good, so nothing runs here.
            found = _compiled(session, query, "")
    number, line = (found["number"], found["line"]) if found else (None, None)
    said = " ".join(str(found["message"]).split()).rstrip(".") if found else refused.message
    where = f"{query.file}, line {line}" if line is not None else query.file
    what = f" (error {number})" if number is not None else ""
    return SourceRefused(f"SQL Server refused query {query.name!r} ({where}): {said}{what}.", number=number, line=line)


def _compiled(session: Session, query: ResolvedQuery, option: str) -> dict[str, Any] | None:
    declared = "".join(f"DECLARE @{p.name} {p.declaration}; " for p in query.parameters)
    try:
        rows = session.rows((SQL / "diagnose.sql").read_text(), bind_texts(f"{option}{declared}{query.sql}"))
    finally:
        session.run("SET NOEXEC OFF")
    return rows[0] if rows and set(rows[0]) == {"number", "line", "message"} else None


def _column(row: dict[str, Any]) -> ResultColumn:
    """Read one row of sp_describe_first_result_set; a CLR type has no system_type_name there."""
    clr = row.get("assembly_qualified_type_name")
    return ResultColumn(
        name=row["name"] or "",
        sql_type=row["system_type_name"] or row.get("user_type_name") or "",
        nullable=bool(row["is_nullable"]),
        max_length=int(row["max_length"]),
        precision=int(row["precision"] or 0),
        scale=int(row["scale"] or 0),
        collation=row["collation_name"],
        user_type=clr or row.get("user_type_name"),
    )
