"""Quoting: names become identifiers here; values are never quoted, they are bound."""

from __future__ import annotations


def sql_server_identifier(*parts: str) -> str:
    """Quote a SQL Server name of one or more parts: `[dbo].[odd]]name]`."""
    return ".".join(f"[{checked_name(part).replace(']', ']]')}]" for part in parts)


def checked_name(part: str) -> str:
    """Return it unchanged; `ValueError` for what no quotes make a name."""
    if not part or "\x00" in part:
        raise ValueError(f"{part!r} is not a name")
    return part
