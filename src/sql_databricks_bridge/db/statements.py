"""Running one statement on a SQL warehouse to its end, and fetching its result chunk by chunk.

Source: Databricks REST API, "Statement Execution": a failing statement is HTTP 200 with state FAILED, links expire
within 15 minutes, and a result above 100 GiB is cut without an error.
"""

from __future__ import annotations

import contextlib
import io
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pyarrow as pa
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import InvalidParameterValue, NotFound
from databricks.sdk.service.sql import (
    ColumnInfo,
    Disposition,
    ExecuteStatementRequestOnWaitTimeout,
    ExternalLink,
    Format,
    ServiceErrorCode,
    StatementParameterListItem,
    StatementResponse,
    StatementState,
)

from sql_databricks_bridge.errors import (
    Cancelled,
    LakehouseNotFound,
    LakehouseUnavailable,
    StatementFailed,
    StatementInterrupted,
)

_RUNNING = (StatementState.PENDING, StatementState.RUNNING)
_INTERRUPTED = (
    ServiceErrorCode.DEADLINE_EXCEEDED,
    ServiceErrorCode.INTERNAL_ERROR,
    ServiceErrorCode.IO_ERROR,
    ServiceErrorCode.RESOURCE_EXHAUSTED,
)
_AWAY = (
    ServiceErrorCode.SERVICE_UNDER_MAINTENANCE,
    ServiceErrorCode.TEMPORARILY_UNAVAILABLE,
    ServiceErrorCode.WORKSPACE_TEMPORARILY_UNAVAILABLE,
)
_SQLSTATE = re.compile(r"SQLSTATE: ([0-9A-Z]{5})\Z")
_FIRST_POLL_S, _SLOWEST_POLL_S = 0.1, 5.0
_LINK_TRIES = 4
_LINK_TIMEOUT_S = 60.0
_PIECE_BYTES = 1 << 20
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


@dataclass(frozen=True, slots=True)
class Warehouse:
    """A SQL warehouse to run statements on. `translated(what)` turns what the SDK raises into the bridge's errors.

    `on_statement` gets the text of each statement before it is sent.
    """

    client: WorkspaceClient
    warehouse_id: str
    translated: Callable[[str], AbstractContextManager[None]]
    on_statement: Callable[[str], None] | None = None

    def execute(
        self, statement: str, parameters: Mapping[str, str | None] | None = None, what: str = "Running a statement"
    ) -> pa.Table:
        """Run a statement to its end and return every row. `what` is the deed, for errors."""
        result = self.run(statement, parameters, what)
        with self.translated(what):
            return result.read_all()

    def run(
        self, statement: str, parameters: Mapping[str, str | None] | None = None, what: str = "Running a statement"
    ) -> Result:
        """Run a statement to its end; its rows are fetched from the `Result`.

        `StatementFailed` unless it succeeded and its result is whole; `LakehouseUnavailable` where the service failed.
        """
        if self.on_statement is not None:
            self.on_statement(statement)
        with self.translated(what):
            response = self._sent(statement, parameters, what)
            response = _finished(self.client, response)
            _require_success(response)
            return Result(self.client, response)

    def _sent(self, statement: str, parameters: Mapping[str, str | None] | None, what: str) -> StatementResponse:
        bound = [StatementParameterListItem(name, value=value) for name, value in (parameters or {}).items()]
        try:
            return self.client.statement_execution.execute_statement(
                statement,
                self.warehouse_id,
                disposition=Disposition.EXTERNAL_LINKS,
                format=Format.ARROW_STREAM,
                on_wait_timeout=ExecuteStatementRequestOnWaitTimeout.CONTINUE,
                parameters=bound or None,
                wait_timeout="30s",
            )
        except (NotFound, InvalidParameterValue) as exc:
            if isinstance(exc, NotFound) or "endpoint id" in str(exc):
                raise LakehouseNotFound(
                    f"{what}: there is no SQL warehouse {self.warehouse_id!r}, or it may not be seen.",
                    hint="Check DATABRICKS_WAREHOUSE_ID: the warehouse's page shows it.",
                ) from exc
            raise


class Result:
    """What a succeeded statement left on the warehouse. Its methods raise the SDK's errors, untranslated."""

    def __init__(self, client: WorkspaceClient, response: StatementResponse) -> None:
        """Look at the answer; `StatementFailed` where Databricks cut the result."""
        assert response.statement_id is not None
        self._client = client
        self._statement_id = response.statement_id
        self._manifest = response.manifest
        self._first_links = (response.result.external_links if response.result else None) or []
        if self._manifest is not None and self._manifest.truncated:
            raise StatementFailed("The result was cut by Databricks: it is too big.", hint="Select less at once.")

    @property
    def columns(self) -> tuple[ColumnInfo, ...]:
        """Names and types, as the manifest has them."""
        schema = self._manifest.schema if self._manifest else None
        return tuple((schema.columns if schema else None) or ())

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema that the manifest promises; a chunk's own is exact where types are nested."""
        return pa.schema([(column.name or "", _arrow_type(column)) for column in self.columns])

    def read_all(self) -> pa.Table:
        """Every row."""
        tables = list(self.chunks(threading.Event()))
        return pa.concat_tables(tables) if tables else self.schema.empty_table()

    def chunks(self, stop: threading.Event) -> Iterator[pa.Table]:
        """Fetch chunk after chunk; links live minutes only, so each is asked for just before it is used.

        `StatementFailed` after the last one where fewer or more rows came than were announced; `Cancelled` soon after
        `stop` is set.
        """
        links, arrived = self._first_links, 0
        while links:
            following: int | None = None
            for link in links:
                table = _fetch(self._client, self._statement_id, link, stop)
                arrived += table.num_rows
                following = link.next_chunk_index
                yield table
                del table  # a suspended generator would hold it while the next one is fetched
            if following is None:
                break
            chunk = self._client.statement_execution.get_statement_result_chunk_n(self._statement_id, following)
            links = chunk.external_links or []
            if not links:
                raise StatementFailed(f"Chunk {following} of the result has no link.")
        announced = self._manifest.total_row_count if self._manifest else None
        if announced is not None and arrived != announced:
            raise StatementFailed(f"{announced:,} rows were announced, {arrived:,} arrived.")

    def abandon(self) -> None:
        """Tell the warehouse that nobody reads on; what goes wrong with that is of no interest."""
        with contextlib.suppress(OSError):
            self._client.statement_execution.cancel_execution(self._statement_id)


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
    message = ((error.message if error is not None else None) or "").rstrip(". ")
    told = f"The statement ended {state.value if state is not None else 'without a state'}"
    told += f": {message}." if message else "."
    code = error.error_code if error is not None else None
    if code in _AWAY:
        raise LakehouseUnavailable(told, hint="Databricks failed inside; try again later.")
    if code in _INTERRUPTED:
        raise StatementInterrupted(told, hint="Databricks failed inside; try again later.")
    in_text = _SQLSTATE.search(message)
    sqlstate = (status.sql_state if status is not None else None) or (in_text[1] if in_text else None)
    hint = "The statement ran, but its result is gone: run it again." if state is StatementState.CLOSED else None
    raise StatementFailed(told, hint=hint, sqlstate=sqlstate)


def _fetch(client: WorkspaceClient, statement_id: str, link: ExternalLink, stop: threading.Event) -> pa.Table:
    """Read one chunk; an expired or failing link is asked for again."""
    problem = "no link"
    for attempt in range(_LINK_TRIES):
        if attempt:
            stop.wait(0.2 * 2**attempt)
            _unless(stop)
            assert link.chunk_index is not None
            fresh = client.statement_execution.get_statement_result_chunk_n(statement_id, link.chunk_index)
            link = next(iter(fresh.external_links or []), link)
        try:
            table = _download(link, stop)
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


def _download(link: ExternalLink, stop: threading.Event) -> pa.Table | int:
    """Return the chunk, or the HTTP status that came instead. The link signs itself: no Authorization header."""
    assert link.external_link is not None

    def unsigned(request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request  # without an `auth` requests would look into ~/.netrc

    with requests.get(
        link.external_link, headers=link.http_headers or {}, timeout=_LINK_TIMEOUT_S, auth=unsigned, stream=True
    ) as response:
        if not response.ok:
            return response.status_code
        body = io.BytesIO()  # `response.content` would hold the chunk twice
        for piece in response.iter_content(_PIECE_BYTES):
            _unless(stop)
            body.write(piece)
    with pa.ipc.open_stream(pa.py_buffer(body.getbuffer())) as reader:
        return reader.read_all()


def _unless(stop: threading.Event) -> None:
    if stop.is_set():
        raise Cancelled("Nobody reads the rest of the result.")


def _arrow_type(column: ColumnInfo) -> pa.DataType:
    """The type of a column of an empty result; nested types are left as text."""
    name = column.type_name.value if column.type_name else (column.type_text or "").split("(")[0].upper()
    if name == "DECIMAL":
        return pa.decimal128(column.type_precision or 10, column.type_scale or 0)
    if (column.type_text or "").upper() == "TIMESTAMP_NTZ":
        return pa.timestamp("us")
    return _ARROW_TYPES.get(name, pa.string())
