"""Answers that the Statement Execution API may give and the stand-in never does, from a server that plays them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pyarrow as pa
import pytest
from pydantic import SecretStr

from sql_databricks_bridge.core.config import load_settings
from sql_databricks_bridge.core.ports import Lakehouse
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from sql_databricks_bridge.errors import StatementFailed
from sql_databricks_bridge.models.tables import SourceName

STATEMENTS = "/api/2.0/sql/statements"
TABLE = SourceName("main", "sales", "orders")


def stream_of(first: int, count: int) -> bytes:
    """An Arrow stream with a column `id`."""
    table = pa.table({"id": pa.array(range(first, first + count), pa.int64())})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


@contextmanager
def playing(announced: int, *chunks: bytes | None, truncated: bool = False) -> Iterator[Lakehouse]:
    """A warehouse whose every statement succeeds with these chunks; None is one that no link leads to."""

    def links(url: str, index: int) -> dict[str, Any]:
        if index >= len(chunks) or chunks[index] is None:
            return {}
        link: dict[str, Any] = {"chunk_index": index, "external_link": f"{url}/chunk/{index}"}
        if index + 1 < len(chunks):
            link["next_chunk_index"] = index + 1
        return {"external_links": [link]}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/chunk/"):
                self.answer(200, chunks[int(self.path.rsplit("/", 1)[1])] or b"")
            elif self.path.startswith(STATEMENTS):
                self.answer(200, json.dumps(links(self.url, int(self.path.rsplit("/", 1)[1]))).encode())
            else:
                self.answer(404, b"{}")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            columns = [{"name": "id", "type_text": "BIGINT", "type_name": "LONG", "position": 0}]
            answer = {
                "statement_id": "s",
                "status": {"state": "SUCCEEDED"},
                "manifest": {"schema": {"columns": columns}, "total_row_count": announced, "truncated": truncated},
                "result": links(self.url, 0),
            }
            self.answer(200, b"{}" if self.path.endswith("/cancel") else json.dumps(answer).encode())

        @property
        def url(self) -> str:
            return f"http://{self.headers['Host']}"

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield DatabricksLakehouse(
                load_settings(
                    databricks_host=f"http://127.0.0.1:{server.server_port}",
                    databricks_token=SecretStr("t"),
                    databricks_warehouse_id="w",
                )
            )
        finally:
            server.shutdown()
            thread.join()


def read(lakehouse: Lakehouse, arrived: list[int]) -> None:
    with lakehouse.read_table(TABLE, 0) as stream:
        for batch in stream:
            arrived += batch.column("id").to_pylist()


def test_chunks_are_walked_to_the_last_one() -> None:
    arrived: list[int] = []
    with playing(5, stream_of(0, 2), stream_of(2, 0), stream_of(2, 3)) as lakehouse:
        assert lakehouse.execute("SELECT 1")["id"].to_pylist() == list(range(5))
        read(lakehouse, arrived)
    assert arrived == list(range(5))


def test_a_cut_result_fails_before_its_first_row() -> None:
    arrived: list[int] = []
    with playing(2, stream_of(0, 2), truncated=True) as lakehouse:
        with pytest.raises(StatementFailed, match="cut by Databricks"):
            lakehouse.execute("SELECT 1")
        with pytest.raises(StatementFailed, match="cut by Databricks"):
            read(lakehouse, arrived)
    assert arrived == []


@pytest.mark.parametrize("announced", [4, 6])
def test_fewer_or_more_rows_than_announced_fail_in_the_end(announced: int) -> None:
    arrived: list[int] = []
    with playing(announced, stream_of(0, 2), stream_of(2, 3)) as lakehouse:
        with pytest.raises(StatementFailed, match=f"{announced} rows were announced, 5 arrived"):
            lakehouse.execute("SELECT 1")
        with pytest.raises(StatementFailed, match=f"{announced} rows were announced, 5 arrived"):
            read(lakehouse, arrived)


def test_a_chunk_without_a_link_fails() -> None:
    arrived: list[int] = []
    with playing(5, stream_of(0, 2), None) as lakehouse, pytest.raises(StatementFailed, match=r"Chunk 1 .* no link"):
        read(lakehouse, arrived)
    assert arrived == [0, 1]


def test_rows_that_are_announced_and_have_no_chunk_fail() -> None:
    with playing(3) as lakehouse, pytest.raises(StatementFailed, match="3 rows were announced, 0 arrived"):
        read(lakehouse, [])
