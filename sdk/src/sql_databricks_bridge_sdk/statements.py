"""Running the few statements of `BridgeEvents`: on a Spark session, or on a SQL warehouse. Values are always bound.

Neither pyspark nor databricks-sdk is imported before the caller has handed in an object of theirs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .errors import StatementFailed

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.sql import StatementResponse

Row = Sequence[Any]

_CONFLICT = "2D521"  # SQLSTATE of Delta's transaction conflicts: somebody else committed first
_CONFLICTING = re.compile(r"DELTA_CONCURRENT_|\bConcurrent(?:Append|Delete|Transaction|Write)\w*Exception\b")
_SQLSTATE = re.compile(r"SQLSTATE: ([0-9A-Z]{5})\s*\Z")
_RUNNING = ("PENDING", "RUNNING")
_FIRST_POLL_S, _SLOWEST_POLL_S = 0.1, 5.0


class Statements(Protocol):
    """Somewhere to run SQL. What goes wrong there is raised as it is, but for failed statements of a warehouse."""

    def rows(self, statement: str, parameters: Mapping[str, str]) -> Sequence[Row]:
        """Run a statement to its end; every row, by position. Numbers may come as text."""

    def is_conflict(self, exc: Exception) -> bool:
        """Whether another writer of the table came first, so that the same statement may succeed now."""


class SparkStatements:
    """A Spark session, classic or Connect; values are its `args`."""

    def __init__(self, spark: Any) -> None:
        self._spark = spark

    def rows(self, statement: str, parameters: Mapping[str, str]) -> Sequence[Row]:
        frame = self._spark.sql(statement, args=dict(parameters)) if parameters else self._spark.sql(statement)
        return list(frame.collect())

    def is_conflict(self, exc: Exception) -> bool:
        state = getattr(exc, "getSqlState", lambda: None)()
        return state == _CONFLICT or _CONFLICTING.search(f"{type(exc).__name__} {exc}") is not None


class WarehouseStatements:
    """A SQL warehouse by the Statement Execution API, with results inline as JSON: a few rows each.

    Source: Databricks REST API: a failing statement is HTTP 200 with state FAILED, a slow one is still running, and a
    result may come in several chunks, or cut.
    """

    def __init__(self, client: WorkspaceClient, warehouse_id: str, *, wait_s: int = 30) -> None:
        """`wait_s` (0, or 5 to 50) is how long the first answer may take; after that the statement is polled."""
        self._api = client.statement_execution
        self._warehouse_id = warehouse_id
        self._wait_timeout = f"{wait_s}s"

    def rows(self, statement: str, parameters: Mapping[str, str]) -> Sequence[Row]:
        from databricks.sdk.service.sql import StatementParameterListItem

        bound = [StatementParameterListItem(name, value=value) for name, value in parameters.items()]
        response = self._api.execute_statement(
            statement, self._warehouse_id, parameters=bound or None, wait_timeout=self._wait_timeout
        )
        return self._all_rows(self._finished(response))

    def is_conflict(self, exc: Exception) -> bool:
        return isinstance(exc, StatementFailed) and exc.sqlstate == _CONFLICT

    def _finished(self, response: StatementResponse) -> StatementResponse:
        pause_s = _FIRST_POLL_S
        while _state(response) in _RUNNING:
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _SLOWEST_POLL_S)
            response = self._api.get_statement(response.statement_id or "")
        if _state(response) == "SUCCEEDED":
            return response
        status = response.status
        message = ((status.error.message if status and status.error else None) or "").rstrip(". ")
        stated = _SQLSTATE.search(message)
        raise StatementFailed(
            f"The statement ended {_state(response)}{f': {message}' if message else ''}.",
            sqlstate=(getattr(status, "sql_state", None) if status else None) or (stated[1] if stated else None),
        )

    def _all_rows(self, response: StatementResponse) -> Sequence[Row]:
        if response.manifest is not None and response.manifest.truncated:
            raise StatementFailed("The result was cut by Databricks: it is too big.", hint="Ask for fewer events.")
        rows: list[Row] = []
        chunk = response.result
        while chunk is not None:
            rows.extend(chunk.data_array or [])
            if chunk.next_chunk_index is None:
                break
            chunk = self._api.get_statement_result_chunk_n(response.statement_id or "", chunk.next_chunk_index)
        announced = response.manifest.total_row_count if response.manifest else None
        if announced is not None and announced != len(rows):
            raise StatementFailed(f"{announced} rows were announced, {len(rows)} arrived.")
        return rows


def _state(response: StatementResponse) -> str:
    state = response.status.state if response.status else None
    return state.value if state else "without a state"
