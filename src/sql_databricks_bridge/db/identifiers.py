"""Quoting for the adapters: names become identifiers here and in `models.quoting`, values are bound."""

from __future__ import annotations

from sql_databricks_bridge.models.quoting import checked_name, sql_server_identifier

__all__ = ["databricks_identifier", "odbc_value", "sql_server_identifier"]


def databricks_identifier(*parts: str) -> str:
    """Quote a Databricks name of one or more parts, each on its own."""
    return ".".join(f"`{checked_name(part).replace('`', '``')}`" for part in parts)


def odbc_value(value: str) -> str:
    """Quote a connection string's value; inside braces only the closing one is doubled.

    Source: MS-ODBCSTR 2.1.2.
    """
    if "\x00" in value:
        raise ValueError("a connection string can't hold a NUL character")
    return "{" + value.replace("}", "}}") + "}"
