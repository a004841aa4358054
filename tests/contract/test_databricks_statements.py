"""Statement Execution on the Databricks stand-in: states, formats, chunks, links, limits, parameters."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from databricks.sdk.errors import InvalidParameterValue, NotFound, ResourceDoesNotExist
from databricks.sdk.service.sql import (
    Disposition,
    ExecuteStatementRequestOnWaitTimeout,
    Format,
    StatementParameterListItem,
    StatementResponse,
    StatementState,
)

from tests.conftest import StandIn
from tests.contract.databricks_fixture import (
    Sandbox,
    ended,
    fetch,
    message_of,
    signed_in,
    start_databricks,
    state_of,
)

ENDLESS = "SELECT count(*) FROM range(100000000) AS a JOIN range(1000) AS b ON a.id % 7 <> b.id"
LINKS = Disposition.EXTERNAL_LINKS


@pytest.fixture
def sandbox(lakehouse_faults: StandIn) -> Iterator[Sandbox]:
    with signed_in(lakehouse_faults) as made:
        yield made


@pytest.fixture(scope="module")
def chunked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A stand-in that cuts results after 1,000 rows."""
    with start_databricks(tmp_path_factory.mktemp("chunked") / "data", "--chunk-rows", "1000") as made:
        yield made


def links_of(sandbox: Sandbox, answer: StatementResponse) -> Iterator[bytes]:
    """The content behind every external link, walked by next_chunk_index."""
    assert answer.statement_id is not None
    index: int | None = 0
    while index is not None:
        found = sandbox.client.statement_execution.get_statement_result_chunk_n(answer.statement_id, index)
        (link,) = found.external_links or []
        yield fetch(link.external_link or "").content
        index = link.next_chunk_index


def test_values_of_every_type_are_strings_with_their_types_beside_them(sandbox: Sandbox) -> None:
    answer = sandbox.sql(
        "SELECT true AS bo, CAST(1 AS TINYINT) AS by, CAST(2 AS SMALLINT) AS sh, 3 AS i, 4L AS l, "
        "CAST(1.5 AS FLOAT) AS f, 2.5D AS d, 1.10BD AS de, 'x' AS s, X'00FF' AS bi, DATE'0001-01-01' AS da, "
        "TIMESTAMP'2024-01-02 03:04:05.123456' AS t, TIMESTAMP_NTZ'2024-01-02 03:04:05' AS n, array(1, null) AS a, "
        "map('k', 1) AS m, named_struct('x', 'y') AS st, null AS v"
    )
    assert answer.manifest is not None
    assert answer.manifest.schema is not None
    assert answer.result is not None
    columns = answer.manifest.schema.columns or []
    assert [(each.name, each.type_text) for each in columns] == [
        ("bo", "BOOLEAN"),
        ("by", "TINYINT"),
        ("sh", "SMALLINT"),
        ("i", "INT"),
        ("l", "BIGINT"),
        ("f", "FLOAT"),
        ("d", "DOUBLE"),
        ("de", "DECIMAL(3,2)"),
        ("s", "STRING"),
        ("bi", "BINARY"),
        ("da", "DATE"),
        ("t", "TIMESTAMP"),
        ("n", "TIMESTAMP_NTZ"),
        ("a", "ARRAY<INT>"),
        ("m", "MAP<STRING, INT>"),
        ("st", "STRUCT<x: STRING>"),
        ("v", "VOID"),
    ]
    assert (columns[7].type_precision, columns[7].type_scale, columns[7].position) == (3, 2, 7)
    assert [cell for row in answer.result.data_array or [] for cell in row] == [
        *["true", "1", "2", "3", "4", "1.5", "2.5", "1.10", "x", "AP8=", "0001-01-01", "2024-01-02T03:04:05.123456Z"],
        *["2024-01-02T03:04:05.000", '["1",null]', '{"k":"1"}', '{"x":"y"}', None],
    ]


def test_unnamed_columns_keep_the_names_that_their_text_gives_them(sandbox: Sandbox) -> None:
    answer = sandbox.sql("SELECT count(*), 1 + 1 FROM range(3)")
    assert answer.manifest is not None
    assert answer.manifest.schema is not None
    assert [each.name for each in answer.manifest.schema.columns or []] == ["count(1)", "(1 + 1)"]


def test_an_empty_result_has_its_schema_and_no_chunk(sandbox: Sandbox) -> None:
    answer = sandbox.sql("SELECT 1 AS a WHERE false", disposition=LINKS, format=Format.ARROW_STREAM)
    assert answer.manifest is not None
    assert answer.manifest.schema is not None
    assert (answer.manifest.total_row_count, answer.manifest.total_chunk_count) == (0, 0)
    assert [each.name for each in answer.manifest.schema.columns or []] == ["a"]


def test_inline_chunks_are_walked_to_the_last_row(chunked: Sandbox) -> None:
    answer = chunked.sql("SELECT id FROM range(2500) ORDER BY id")
    assert answer.manifest is not None
    assert answer.result is not None
    assert answer.statement_id is not None
    assert (answer.manifest.total_row_count, answer.manifest.total_chunk_count) == (2500, 3)
    found, part = list(answer.result.data_array or []), answer.result
    while part.next_chunk_index is not None:
        part = chunked.client.statement_execution.get_statement_result_chunk_n(
            answer.statement_id, part.next_chunk_index
        )
        assert part.row_offset == len(found)
        found += part.data_array or []
    assert found == [[str(index)] for index in range(2500)]
    with pytest.raises(InvalidParameterValue, match="out of range"):
        chunked.client.statement_execution.get_statement_result_chunk_n(answer.statement_id, 3)


@pytest.mark.parametrize("form", [Format.ARROW_STREAM, Format.JSON_ARRAY, Format.CSV])
def test_external_links_carry_each_format_in_chunks(chunked: Sandbox, form: Format) -> None:
    answer = chunked.sql("SELECT id, concat('n', id) AS s FROM range(2500)", disposition=LINKS, format=form)
    assert answer.manifest is not None
    assert answer.manifest.total_byte_count
    parts = list(links_of(chunked, answer))
    assert len(parts) == 3
    if form is Format.ARROW_STREAM:
        rows = [
            list(map(str, each.values())) for part in parts for each in pa.ipc.open_stream(part).read_all().to_pylist()
        ]
    elif form is Format.JSON_ARRAY:
        rows = [row for part in parts for row in json.loads(part)]
    else:
        header, *rows = [row for part in parts for row in csv.reader(io.StringIO(part.decode()))]
        assert header == ["id", "s"]
    assert sorted(rows, key=lambda row: int(row[0])) == [[str(index), f"n{index}"] for index in range(2500)]


def test_an_external_link_takes_no_authorization_header_and_expires(sandbox: Sandbox) -> None:
    answer = sandbox.sql("SELECT 1", disposition=LINKS, format=Format.ARROW_STREAM)
    assert answer.result is not None
    (link,) = answer.result.external_links or []
    url = link.external_link or ""
    assert fetch(url, headers={"Authorization": f"Bearer {sandbox.ready['token']}"}).status_code == 400
    rule = sandbox.server.fault(match={"path_contains": "/_storage/results/"}, action={"expire_links": True})
    refused = fetch(url)
    assert (refused.status_code, b"Request has expired" in refused.content) == (403, True)
    assert fetch(url).status_code == 200
    assert sandbox.server.hits(rule) == 1


def test_limits_cut_a_result_and_say_so(sandbox: Sandbox) -> None:
    exact = sandbox.sql("SELECT id FROM range(5)", row_limit=5)
    cut = sandbox.sql("SELECT id FROM range(6)", row_limit=5)
    small = sandbox.sql("SELECT id, repeat('x', 1000) FROM range(5000)", byte_limit=100_000)
    told = [(each.manifest.truncated, each.manifest.total_row_count) for each in (exact, cut, small) if each.manifest]
    assert told[:2] == [(False, 5), (True, 5)]
    assert told[2][0] is True
    assert 50 <= (told[2][1] or 0) <= 100


def test_an_inline_result_above_25_mib_fails_and_leaves_nothing(sandbox: Sandbox) -> None:
    told = sandbox.failure("SELECT repeat('x', 1000000) FROM range(40)")
    assert told.startswith("Inline byte limit exceeded.")
    answer = sandbox.sql("SELECT repeat('x', 1000000) FROM range(40)", disposition=LINKS, format=Format.ARROW_STREAM)
    assert answer.manifest is not None
    assert answer.manifest.total_row_count == 40
    assert (answer.manifest.total_chunk_count or 0) > 1


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("SELECT * FROM landing.nope", "[TABLE_OR_VIEW_NOT_FOUND]"),
        ("SELECT nope FROM range(1)", "[UNRESOLVED_COLUMN"),
        ("SELEC 1", "[PARSE_SYNTAX_ERROR]"),
        ("SELECT 1; SELECT 2", "[PARSE_SYNTAX_ERROR]"),
        ("SELECT 1 / 0", "[DIVIDE_BY_ZERO]"),
        ("SELECT CAST('x' AS INT)", "[CAST_INVALID_INPUT]"),
        ("SELECT :missing", "[UNBOUND_SQL_PARAMETER]"),
        ("SELECT ?", "positional parameters"),
        ("OPTIMIZE landing.t", "does not support OPTIMIZE"),
        ("CREATE VIEW landing.v AS SELECT 1", "does not support CREATE VIEW"),
        ("USE CATALOG bridge", "does not support USE CATALOG"),
        ("SELECT * FROM csv.`/Volumes/bridge/landing/files/x`", "files of the format csv"),
    ],
)
def test_a_failing_statement_is_http_200_with_its_condition(sandbox: Sandbox, statement: str, told: str) -> None:
    assert told in sandbox.failure(statement)


def test_a_failure_carries_its_sqlstate(sandbox: Sandbox) -> None:
    answer = sandbox.call(
        "POST",
        "/api/2.0/sql/statements",
        json={"statement": "SELECT * FROM landing.nope", "warehouse_id": sandbox.ready["warehouse_id"]},
    )
    assert answer.status_code == 200
    status = answer.json()["status"]
    assert (status["state"], status["sql_state"], status["error"]["error_code"]) == ("FAILED", "42P01", "BAD_REQUEST")
    assert status["error"]["message"].endswith("SQLSTATE: 42P01")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"wait_timeout": "3s"}, InvalidParameterValue),
        ({"wait_timeout": "51s"}, InvalidParameterValue),
        ({"format": Format.ARROW_STREAM}, InvalidParameterValue),
        ({"row_limit": 0}, InvalidParameterValue),
    ],
)
def test_a_wrong_request_is_refused_before_it_runs(
    sandbox: Sandbox, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        sandbox.sql("SELECT 1", **options)


def test_unknown_things_are_refused_by_name(sandbox: Sandbox) -> None:
    api = sandbox.client.statement_execution
    with pytest.raises(ResourceDoesNotExist, match="0123456789abcdef"):
        api.execute_statement("SELECT 1", "0123456789abcdef")
    with pytest.raises(NotFound, match="was not found"):
        api.get_statement("00000000-0000-0000-0000-000000000000")
    body = {"statement": "SELECT 1", "warehouse_id": sandbox.ready["warehouse_id"], "magic": 1}
    answer = sandbox.call("POST", "/api/2.0/sql/statements", json=body)
    assert (answer.status_code, answer.json()["error_code"], "'magic'" in answer.text) == (501, "NOT_IMPLEMENTED", True)


def test_parameters_are_bound_and_typed(sandbox: Sandbox) -> None:
    nasty = "o'x\\ \n\t\u00e9\U0001f600\x00 :b -- ; `"
    item = StatementParameterListItem
    given = [
        item("a", value=nasty),
        item("b", "INT", "42"),
        item("c", "DECIMAL(10,2)", "1.20"),
        item("d", "TIMESTAMP", "2024-01-02T03:04:05Z"),
        item("e", "DATE"),
        item("f", "BOOLEAN", "true"),
    ]
    answer = sandbox.sql("SELECT :a AS a, :b + 1 AS b, :c AS c, :d AS d, :e AS e, :f AS f, ':a' AS g", parameters=given)
    assert answer.manifest is not None
    assert answer.manifest.schema is not None
    assert answer.result is not None
    assert [each.type_text for each in answer.manifest.schema.columns or []] == [
        "STRING",
        "INT",
        "DECIMAL(10,2)",
        "TIMESTAMP",
        "DATE",
        "BOOLEAN",
        "STRING",
    ]
    assert answer.result.data_array == [[nasty, "43", "1.20", "2024-01-02T03:04:05.000Z", None, "true", ":a"]]
    assert "[CAST_INVALID_INPUT]" in sandbox.failure("SELECT :b", parameters=[item("b", "INT", "x")])
    assert "[INVALID_PARAMETER_TYPE]" in sandbox.failure("SELECT :b", parameters=[item("b", "ARRAY<INT>", "x")])


def test_a_statement_that_is_not_waited_for_is_polled_to_its_end(sandbox: Sandbox) -> None:
    sandbox.server.fault(match={"statement_contains": "polled"}, action={"slow_statement_s": 0.3})
    answer = sandbox.sql("SELECT 'polled'", wait_timeout="0s")
    assert state_of(answer) in (StatementState.PENDING, StatementState.RUNNING)
    assert answer.manifest is None
    assert answer.statement_id is not None
    final = ended(sandbox, answer.statement_id)
    assert final.result is not None
    assert (state_of(final), final.result.data_array) == (StatementState.SUCCEEDED, [["polled"]])


def test_a_cancel_stops_the_engine_and_the_state_tells(sandbox: Sandbox) -> None:
    answer = sandbox.sql(ENDLESS, wait_timeout="0s")
    assert answer.statement_id is not None
    sandbox.client.statement_execution.cancel_execution(answer.statement_id)
    assert state_of(ended(sandbox, answer.statement_id)) is StatementState.CANCELED
    assert sandbox.rows("SELECT 1") == [["1"]]


def test_on_wait_timeout_cancel_ends_a_slow_statement_unrun(sandbox: Sandbox) -> None:
    table = sandbox.table()
    sandbox.server.fault(match={"statement_contains": table}, action={"slow_statement_s": 60})
    began = time.monotonic()
    cancel = ExecuteStatementRequestOnWaitTimeout.CANCEL
    answer = sandbox.sql(f"CREATE TABLE {table} (id INT)", wait_timeout="5s", on_wait_timeout=cancel)
    assert state_of(answer) is StatementState.CANCELED
    assert 4.9 < time.monotonic() - began < 15
    assert "[TABLE_OR_VIEW_NOT_FOUND]" in sandbox.failure(f"SELECT * FROM {table}")


def test_a_late_cancel_leaves_a_statement_succeeded(sandbox: Sandbox) -> None:
    answer = sandbox.sql("SELECT 1")
    assert answer.statement_id is not None
    sandbox.client.statement_execution.cancel_execution(answer.statement_id)
    assert state_of(ended(sandbox, answer.statement_id)) is StatementState.SUCCEEDED


def test_statements_run_side_by_side(sandbox: Sandbox) -> None:
    sandbox.server.fault(match={"statement_contains": "slow one"}, action={"slow_statement_s": 30})
    slow = sandbox.sql("SELECT 'slow one'", wait_timeout="0s")
    assert sandbox.rows("SELECT 'quick one'") == [["quick one"]]
    assert slow.statement_id is not None
    sandbox.client.statement_execution.cancel_execution(slow.statement_id)
    assert state_of(ended(sandbox, slow.statement_id)) is StatementState.CANCELED


def test_files_of_a_volume_are_read_as_tables(sandbox: Sandbox) -> None:
    folder = f"{sandbox.folder()}/run=1-a"
    for name, first in (("part-00000.parquet", 0), ("part-00001.parquet", 2)):
        buffer = io.BytesIO()
        pq.write_table(pa.table({"id": [first, first + 1]}), buffer)
        buffer.seek(0)
        sandbox.client.files.upload(f"{folder}/{name}", buffer)
    sandbox.client.files.upload(f"{folder}/_manifest.json", io.BytesIO(b"{}"))
    assert sandbox.rows(f"SELECT sum(id) FROM parquet.`{folder}`") == [["6"]]
    assert sandbox.rows(f"SELECT id FROM parquet.`{folder}/part-00001.parquet` ORDER BY id") == [["2"], ["3"]]
    scan = f"read_files('{folder}', format => 'parquet')"
    assert sandbox.rows(f"SELECT r.id, _rescued_data FROM {scan} AS r WHERE r.id > 2") == [["3", None]]
    table = sandbox.table()
    assert sandbox.rows(f"CREATE TABLE {table} AS SELECT id FROM {scan}") == [["4", "4"]]
    assert sandbox.rows(f"SELECT count(*) FROM {table}") == [["4"]]
    assert "[PATH_NOT_FOUND]" in sandbox.failure(f"SELECT * FROM parquet.`{folder}/none.parquet`")


def test_a_big_result_is_spooled_in_chunks_of_bounded_size(tmp_path: Path) -> None:
    with start_databricks(tmp_path / "data", "--chunk-bytes", "1000000") as small:
        query = "SELECT id, repeat('x', 100) AS s FROM range(300000)"
        answer = small.sql(query, disposition=LINKS, format=Format.ARROW_STREAM)
        assert message_of(answer) == ""
        assert answer.manifest is not None
        sizes = [each.byte_count or 0 for each in answer.manifest.chunks or []]
        assert len(sizes) > 25
        assert max(sizes) < 2_000_000
        assert sum(pa.ipc.open_stream(part).read_all().num_rows for part in links_of(small, answer)) == 300_000
