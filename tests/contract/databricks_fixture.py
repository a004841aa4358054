"""What the tests of the Databricks stand-in share: the real SDK on it, and SQL in one call."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.service.sql import (
    Disposition,
    Format,
    StatementParameterListItem,
    StatementResponse,
    StatementState,
)

from tests.conftest import StandIn, stand_in


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A stand-in with a signed-in client."""

    server: StandIn
    client: WorkspaceClient

    @property
    def ready(self) -> dict[str, Any]:
        """What it said when it was ready."""
        return self.server.ready

    @property
    def volume(self) -> str:
        """The volume's root."""
        ready = self.ready
        return f"/Volumes/{ready['catalog']}/{ready['schema']}/{ready['volume']}"

    def folder(self) -> str:
        """A path of its own for one test; nothing is there yet."""
        return f"{self.volume}/t-{uuid.uuid4().hex[:12]}"

    def table(self) -> str:
        """A table name of its own for one test."""
        return f"{self.ready['catalog']}.landing.t_{uuid.uuid4().hex[:12]}"

    def sql(self, statement: str, **options: Any) -> StatementResponse:
        """Execute a statement, whatever comes of it. Keyword `values` gives string parameters by name."""
        values = options.pop("values", None)
        if values is not None:
            options["parameters"] = [
                StatementParameterListItem(name=name, value=value) for name, value in values.items()
            ]
        options.setdefault("wait_timeout", "30s")
        return self.client.statement_execution.execute_statement(statement, self.ready["warehouse_id"], **options)

    def rows(self, statement: str, **options: Any) -> list[list[str]]:
        """Execute a statement that must succeed; its first chunk."""
        answer = self.sql(statement, **options)
        assert state_of(answer) is StatementState.SUCCEEDED, message_of(answer)
        assert answer.result is not None
        return answer.result.data_array or []

    def failure(self, statement: str, **options: Any) -> str:
        """Execute a statement that must end FAILED; the message."""
        answer = self.sql(statement, **options)
        assert state_of(answer) is StatementState.FAILED, state_of(answer)
        return message_of(answer)

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """A bare HTTP request with the right token."""
        headers = {"Authorization": f"Bearer {self.ready['token']}", **options.pop("headers", {})}
        with requests.Session() as session:
            return session.request(method, self.ready["url"] + path, headers=headers, timeout=60, **options)


def fetch(url: str, method: str = "GET", **options: Any) -> requests.Response:
    """A bare HTTP request without a token."""
    with requests.Session() as session:
        return session.request(method, url, timeout=60, **options)


def state_of(answer: StatementResponse) -> StatementState | None:
    """The statement's state."""
    assert answer.status is not None
    return answer.status.state


def message_of(answer: StatementResponse) -> str:
    """The statement's error message; empty without an error."""
    assert answer.status is not None
    return (answer.status.error.message or "") if answer.status.error else ""


@contextmanager
def signed_in(server: StandIn, **attributes: Any) -> Iterator[Sandbox]:
    """The SDK on a running stand-in; `attributes` are set on its configuration (such as files_ext_... thresholds)."""
    config = Config(host=server.ready["url"], token=server.ready["token"], retry_timeout_seconds=20)
    for name, value in attributes.items():
        setattr(config, name, value)
    client = WorkspaceClient(config=config)
    try:
        yield Sandbox(server, client)
    finally:
        client.api_client._api_client._session.close()


@contextmanager
def start_databricks(data_dir: Path, *options: str, **attributes: Any) -> Iterator[Sandbox]:
    """A stand-in of the test's own, with the SDK on it."""
    with stand_in("databricks", data_dir, *options) as server, signed_in(server, **attributes) as sandbox:
        yield sandbox


def arrow(sandbox: Sandbox, statement: str, **options: Any) -> pa.Table:
    """Execute a statement that must succeed, over EXTERNAL_LINKS as Arrow; all chunks of its result."""
    options.update(disposition=Disposition.EXTERNAL_LINKS, format=Format.ARROW_STREAM)
    answer = sandbox.sql(statement, **options)
    assert state_of(answer) is StatementState.SUCCEEDED, message_of(answer)
    assert answer.statement_id is not None
    assert answer.manifest is not None
    index: int | None = 0 if answer.manifest.total_chunk_count else None
    parts = []
    while index is not None:
        found = sandbox.client.statement_execution.get_statement_result_chunk_n(answer.statement_id, index)
        (link,) = found.external_links or []
        parts.append(pa.ipc.open_stream(fetch(link.external_link or "").content).read_all())
        index = link.next_chunk_index
    return pa.concat_tables(parts)


def ended(sandbox: Sandbox, statement_id: str | None, limit_s: float = 60) -> StatementResponse:
    """Poll a statement to its end."""
    assert statement_id is not None
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        answer = sandbox.client.statement_execution.get_statement(statement_id)
        if state_of(answer) not in (StatementState.PENDING, StatementState.RUNNING):
            return answer
        time.sleep(0.02)
    raise AssertionError("the statement did not end")


def counts(sandbox: Sandbox, statement: str, **options: Any) -> dict[str, int]:
    """Execute a statement that answers one row of numbers."""
    answer = sandbox.sql(statement, **options)
    assert answer.manifest is not None, message_of(answer)
    assert answer.manifest.schema is not None
    assert answer.result is not None
    names = [each.name or "" for each in answer.manifest.schema.columns or []]
    (row,) = answer.result.data_array or []
    return dict(zip(names, map(int, row), strict=True))
