"""Quoting: names become identifiers here and nowhere else; values are never quoted, they are bound."""

from __future__ import annotations


def sql_server_identifier(*parts: str) -> str:
    """Quote a SQL Server name of one or more parts: `[dbo].[odd]]name]`."""
    return ".".join(f"[{_checked(part).replace(']', ']]')}]" for part in parts)


def databricks_identifier(*parts: str) -> str:
    """Quote a Databricks name of one or more parts, each on its own."""
    return ".".join(f"`{_checked(part).replace('`', '``')}`" for part in parts)


def odbc_value(value: str) -> str:
    """Quote a connection string's value; inside braces only the closing one is doubled.

    Source: MS-ODBCSTR 2.1.2.
    """
    if "\x00" in value:
        raise ValueError("a connection string can't hold a NUL character")
    return "{" + value.replace("}", "}}") + "}"


def _checked(part: str) -> str:
    if not part or "\x00" in part:
        raise ValueError(f"{part!r} is not a name")
    return part
