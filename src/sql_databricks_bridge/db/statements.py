"""Running one statement on a SQL warehouse to its end, and fetching every chunk of its result.

Source: Databricks REST API, "Statement Execution": a failing statement is HTTP 200 with state FAILED, links expire
within 15 minutes, and a result above 100 GiB is cut without an error.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.sql import (
    ColumnInfo,
    Disposition,
    ExecuteStatementRequestOnWaitTimeout,
    ExternalLink,
    Format,
    ResultData,
    ResultManifest,
    StatementParameterListItem,
    StatementResponse,
    StatementState,
)

from sql_databricks_bridge.errors import LakehouseUnavailable, StatementFailed

_RUNNING = (StatementState.PENDING, StatementState.RUNNING)
_FIRST_POLL_S, _SLOWEST_POLL_S = 0.1, 5.0
_LINK_TRIES = 4
_LINK_TIMEOUT_S = 60.0
_ARROW_TYPES: dict[str, pa.DataType] = {
    "BOOLEAN": pa.bool_(),
    "BYTE": pa.int8(),
    "SHORT": pa.int16(),
    "INT": pa.int32(),
    "LONG": pa.int64(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    "BINARY": pa.binary(),
    "NULL": pa.null(),
}


def run_statement(
    client: WorkspaceClient, warehouse_id: str, statement: str, parameters: Mapping[str, str | None]
) -> pa.Table:
    """Run it, wait for its end, return all rows. `StatementFailed` unless it succeeded and all rows are here."""
    response = client.statement_execution.execute_statement(
        statement,
        warehouse_id,
        disposition=Disposition.EXTERNAL_LINKS,
        format=Format.ARROW_STREAM,
        on_wait_timeout=ExecuteStatementRequestOnWaitTimeout.CONTINUE,
        parameters=[StatementParameterListItem(name, value=value) for name, value in parameters.items()] or None,
        wait_timeout="30s",
    )
    response = _finished(client, response)
    _require_success(response)
    assert response.statement_id is not None
    return _result(client, response.statement_id, response.manifest, response.result)


def _finished(client: WorkspaceClient, response: StatementResponse) -> StatementResponse:
    statement_id, pause_s = response.statement_id, _FIRST_POLL_S
    try:
        while response.status is not None and response.status.state in _RUNNING:
            assert statement_id is not None
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _SLOWEST_POLL_S)
            response = client.statement_execution.get_statement(statement_id)
    except BaseException:  # whoever stops waiting, by Ctrl-C above all, should not leave the warehouse working
        if statement_id is not None:
            with contextlib.suppress(OSError):
                client.statement_execution.cancel_execution(statement_id)
        raise
    return response


def _require_success(response: StatementResponse) -> None:
    status = response.status
    state = status.state if status is not None else None
    if status is not None and state is StatementState.SUCCEEDED:
        return
    error = status.error if status is not None else None
    detail = f": {error.message}" if error is not None and error.message else ""
    name = state.value if state is not None else "without a state"
    hint = "The statement ran, but its result is gone: run it again." if state is StatementState.CLOSED else None
    raise StatementFailed(
        f"The statement ended {name}{detail}.", hint=hint, sqlstate=status.sql_state if status is not None else None
    )


def _result(
    client: WorkspaceClient, statement_id: str, manifest: ResultManifest | None, result: ResultData | None
) -> pa.Table:
    if manifest is None:
        return pa.table({})
    if manifest.truncated:
        raise StatementFailed("The result was cut by Databricks: it is too big.", hint="Select less at once.")
    tables = list(_chunks(client, statement_id, result))
    total = sum(table.num_rows for table in tables)
    if manifest.total_row_count is not None and total != manifest.total_row_count:
        raise StatementFailed(f"{manifest.total_row_count:,} rows were announced, {total:,} arrived.")
    if tables:
        return pa.concat_tables(tables)
    columns = (manifest.schema.columns if manifest.schema else None) or []
    return pa.schema([(column.name or "", _arrow_type(column)) for column in columns]).empty_table()


def _chunks(client: WorkspaceClient, statement_id: str, result: ResultData | None) -> Iterable[pa.Table]:
    """Fetch chunk after chunk; links live minutes only, so each is asked for just before it is used."""
    links = (result.external_links if result else None) or []
    while links:
        following: int | None = None
        for link in links:
            yield _fetch(client, statement_id, link)
            following = link.next_chunk_index
        if following is None:
            return
        chunk = client.statement_execution.get_statement_result_chunk_n(statement_id, following)
        links = chunk.external_links or []
        if not links:
            raise StatementFailed(f"Chunk {following} of the result has no link.")


def _fetch(client: WorkspaceClient, statement_id: str, link: ExternalLink) -> pa.Table:
    """Read one chunk; an expired or failing link is asked for again."""
    problem = "no link"
    for attempt in range(_LINK_TRIES):
        if attempt:
            time.sleep(0.2 * 2**attempt)
            assert link.chunk_index is not None
            fresh = client.statement_execution.get_statement_result_chunk_n(statement_id, link.chunk_index)
            link = next(iter(fresh.external_links or []), link)
        try:
            table = _download(link)
        except (requests.RequestException, pa.ArrowException) as exc:
            problem = type(exc).__name__  # the text may hold the link, which is a credential
            continue
        if isinstance(table, int):
            problem = f"HTTP {table}"
            continue
        if link.row_count is not None and table.num_rows != link.row_count:
            problem = f"{table.num_rows} of {link.row_count} rows"
            continue
        return table
    raise LakehouseUnavailable(f"Chunk {link.chunk_index} of a result can't be read: {problem}.")


def _download(link: ExternalLink) -> pa.Table | int:
    """Return the chunk, or the HTTP status that came instead. The link signs itself: no Authorization header."""
    assert link.external_link is not None

    def unsigned(request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request  # without an `auth` requests would look into ~/.netrc

    response = requests.get(link.external_link, headers=link.http_headers or {}, timeout=_LINK_TIMEOUT_S, auth=unsigned)
    if not response.ok:
        return response.status_code
    with pa.ipc.open_stream(response.content) as reader:
        return reader.read_all()


def _arrow_type(column: ColumnInfo) -> Any:
    """The type of a column of an empty result; nested types are left as text."""
    name = column.type_name.value if column.type_name else (column.type_text or "").split("(")[0].upper()
    if name == "DECIMAL":
        return pa.decimal128(column.type_precision or 10, column.type_scale or 0)
    if (column.type_text or "").upper() == "TIMESTAMP_NTZ":
        return pa.timestamp("us")
    return _ARROW_TYPES.get(name, pa.string())
