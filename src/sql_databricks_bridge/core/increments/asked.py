"""What an increment is asked of whom; made once, passed on."""

from __future__ import annotations

from dataclasses import dataclass

from sql_databricks_bridge.core.increments.columns import Chosen
from sql_databricks_bridge.core.increments.wrapping import Wrappable
from sql_databricks_bridge.core.ports import ResultColumn, SqlServerConnection
from sql_databricks_bridge.models.jobs import ResolvedQuery


@dataclass(frozen=True, slots=True)
class Asked:
    """A query, cut and checked, and the connection whose view it is asked in."""

    connection: SqlServerConnection
    query: ResolvedQuery
    wrapped: Wrappable
    columns: tuple[ResultColumn, ...]
    chosen: Chosen
    range_rows: int
    definition: str
