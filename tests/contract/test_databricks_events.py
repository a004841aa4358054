"""The events table on the Databricks stand-in: made, written to by notebooks, polled, and reported to."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from databricks.sdk.service.sql import StatementParameterListItem as Item

from tests.conftest import StandIn
from tests.contract.databricks_fixture import Sandbox, arrow, counts, signed_in

EVENTS = r"""CREATE TABLE IF NOT EXISTS {table} (
  event_id STRING COMMENT 'it\'s the \\ key',
  operation STRING COMMENT 'INSERT, UPDATE or DELETE',
  source_table STRING, target_table STRING, primary_keys ARRAY<STRING>,
  priority INT DEFAULT 0 COMMENT 'higher is first', status STRING DEFAULT 'pending',
  rows_expected INT, rows_affected INT, discrepancy INT, warning STRING, error_message STRING,
  filter_conditions MAP<STRING, STRING>, metadata MAP<STRING, STRING>, created_at TIMESTAMP, processed_at TIMESTAMP
) USING DELTA COMMENT 'What the bridge is asked to do'
TBLPROPERTIES('delta.feature.allowColumnDefaults' = 'supported')"""
POLL = (
    "SELECT * FROM {table} WHERE status IN ('pending', 'processing') "
    "AND NOT coalesce(array_contains(from_json(:skip, 'ARRAY<STRING>'), lower(target_table)), false) "
    "ORDER BY priority DESC NULLS LAST, created_at ASC NULLS LAST, event_id LIMIT {limit}"
)
RESULTS = (
    "ARRAY<STRUCT<event_id: STRING, status: STRING, rows_affected: INT, discrepancy: INT, warning: STRING, "
    "error_message: STRING, processed_at: TIMESTAMP>>"
)
REPORT = (
    "MERGE INTO {table} t USING (SELECT r.* FROM (SELECT explode(from_json(:results, '" + RESULTS + "')) AS r)) s "
    "ON t.event_id <=> s.event_id AND t.status IN ('pending', 'processing') WHEN MATCHED {condition}THEN UPDATE SET "
    "status = s.status, rows_affected = s.rows_affected, discrepancy = s.discrepancy, warning = s.warning, "
    "error_message = s.error_message, processed_at = s.processed_at"
)
SUBMIT = (
    "MERGE INTO {table} t USING (SELECT :event_id AS event_id) s ON t.event_id = s.event_id WHEN NOT MATCHED THEN "
    "INSERT (event_id, operation, primary_keys, filter_conditions, metadata, rows_expected, created_at) VALUES "
    "(s.event_id, 'UPDATE', from_json(:k, 'ARRAY<STRING>'), from_json(:m, 'MAP<STRING,STRING>'), "
    "map_from_entries(from_json(:e, 'ARRAY<STRUCT<key: STRING, value: STRING>>')), CAST(:n AS INT), "
    "current_timestamp())"
)
NOTHING = {"num_affected_rows": 0, "num_updated_rows": 0, "num_deleted_rows": 0, "num_inserted_rows": 0}


@pytest.fixture
def sandbox(lakehouse_faults: StandIn) -> Iterator[Sandbox]:
    with signed_in(lakehouse_faults) as made:
        yield made


@pytest.fixture
def events(sandbox: Sandbox) -> str:
    """An events table of the test's own, empty."""
    table = sandbox.table()
    sandbox.rows(EVENTS.format(table=table))
    return table


def report(sandbox: Sandbox, events: str, rows: list[dict[str, Any]] | None, condition: str = "") -> dict[str, int]:
    statement = REPORT.format(table=events, condition=condition)
    return counts(sandbox, statement, parameters=[Item("results", value=None if rows is None else json.dumps(rows))])


def test_a_fresh_sandbox_has_the_catalog_and_schema_and_takes_the_table(sandbox: Sandbox) -> None:
    assert sandbox.rows("CREATE CATALOG IF NOT EXISTS bridge") == []
    assert "[CATALOG_ALREADY_EXISTS]" in sandbox.failure("CREATE CATALOG bridge")
    assert "--also-catalog another" in sandbox.failure("CREATE CATALOG IF NOT EXISTS another COMMENT 'x'")
    assert sandbox.rows("CREATE SCHEMA IF NOT EXISTS `bridge`.`events`") == []
    assert sandbox.rows("CREATE SCHEMA IF NOT EXISTS `bridge`.`commented` COMMENT 'why'") == []
    assert sandbox.client.schemas.get("bridge.commented").comment == "why"
    sandbox.rows("DROP SCHEMA bridge.commented")
    name = "`bridge`.`events`.`" + sandbox.table().rpartition(".")[2] + "`"
    for _ in range(2):
        assert sandbox.rows(EVENTS.format(table=name)) == []
    found = sandbox.client.tables.get(name.replace("`", ""))
    assert found.comment == "What the bridge is asked to do"
    columns = {each.name: (each.type_text, each.comment) for each in found.columns or []}
    assert columns["event_id"] == ("string", "it's the \\ key")
    assert columns["priority"] == ("int", "higher is first")
    assert columns["metadata"] == ("map<string,string>", None)
    assert sandbox.rows(f"DROP TABLE {name}") == []


def test_a_notebook_inserts_with_columns_left_out(sandbox: Sandbox, events: str) -> None:
    sandbox.rows(
        f"INSERT INTO {events} (event_id, operation, source_table, target_table, primary_keys, rows_expected, "
        "filter_conditions, metadata, created_at) VALUES (uuid(), 'UPDATE', 'c.s.t', 'dbo.T', array('id'), 100, "
        "map('a', 'b'), map('user', 'x'), current_timestamp())"
    )
    (row,) = arrow(sandbox, f"SELECT * FROM {events}").to_pylist()
    assert len(row["event_id"]) == 36
    assert (row["priority"], row["status"], row["rows_affected"]) == (0, "pending", None)
    assert (row["primary_keys"], row["filter_conditions"], row["metadata"]) == (["id"], [("a", "b")], [("user", "x")])
    sandbox.rows(
        f"INSERT INTO {events} (event_id, primary_keys, filter_conditions, metadata) VALUES "
        "('null', NULL, NULL, NULL), "
        "('empty', array(), map(), map()), ('inner', array(NULL, 'x'), map('a', NULL), map('a', '1', 'b', '2'))"
    )
    sandbox.rows(f"INSERT INTO {events} (event_id, metadata) SELECT 's', map('j', to_json(named_struct('a', 1)))")
    columns = "event_id, primary_keys, filter_conditions, metadata"
    found = arrow(sandbox, f"SELECT {columns} FROM {events} WHERE length(event_id) < 9 ORDER BY 1")
    assert [list(each.values()) for each in found.to_pylist()] == [
        ["empty", [], [], []],
        ["inner", [None, "x"], [("a", None)], [("a", "1"), ("b", "2")]],
        ["null", None, None, None],
        ["s", None, None, [("j", '{"a":1}')]],
    ]


def test_a_poll_is_typed_ordered_and_limited(sandbox: Sandbox, events: str) -> None:
    sandbox.rows(
        f"INSERT INTO {events} (event_id, target_table, priority, status, created_at) VALUES "
        "('late', 'dbo.A', 1, 'pending', TIMESTAMP'2024-01-02 00:00:00Z'), "
        "('early', 'dbo.A', 1, 'processing', TIMESTAMP'2024-01-01 00:00:00Z'), ('dateless', NULL, 1, 'pending', NULL), "
        "('first', 'dbo.A', 9, 'pending', NULL), ('nullish', 'dbo.A', NULL, 'pending', NULL), "
        "('done', 'dbo.A', 9, 'completed', NULL), ('skipped', 'dbo.Skip', 9, 'pending', NULL)"
    )
    skip = Item("skip", value='["dbo.skip"]')
    found = arrow(sandbox, POLL.format(table=events, limit=10), parameters=[skip])
    assert found["event_id"].to_pylist() == ["first", "early", "late", "dateless", "nullish"]
    assert found.schema.field("primary_keys").type == pa.list_(pa.field("element", pa.string()))
    assert found.schema.field("metadata").type == pa.map_(pa.string(), pa.string())
    assert found.schema.field("created_at").type == pa.timestamp("us", "Etc/UTC")
    assert found["created_at"][1].as_py() == dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    nobody = arrow(sandbox, POLL.format(table=events, limit=10), parameters=[Item("skip")])
    assert nobody.num_rows == 6
    for limit, typed in (("CAST(:n AS INT)", None), (":n", "INT"), (":n", "BIGINT"), ("CAST(:n AS INT)", "INT")):
        two = arrow(sandbox, POLL.format(table=events, limit=limit), parameters=[skip, Item("n", typed, "2")])
        assert two["event_id"].to_pylist() == ["first", "early"]
    refused = sandbox.failure(POLL.format(table=events, limit=":n"), parameters=[skip, Item("n", value="2")])
    assert refused.startswith("[INVALID_LIMIT_LIKE_EXPRESSION.DATA_TYPE]")
    assert refused.endswith("SQLSTATE: 42K0E")


def test_a_report_is_one_merge_and_harmless_twice(sandbox: Sandbox, events: str) -> None:
    sandbox.rows(f"INSERT INTO {events} (event_id) VALUES ('a'), ('b'), (NULL)")
    warning = 'it\'s \\ "x" \n é😀'
    rows: list[dict[str, Any]] = [
        {"event_id": "a", "status": "completed", "rows_affected": 5, "discrepancy": -1, "warning": warning,
         "processed_at": "2024-01-02T03:04:05.123456Z"},
        {"event_id": "gone", "status": "completed"},
        {"event_id": None, "status": "failed", "error_message": "no event_id", "rows_affected": 99_999_999_999},
    ]  # fmt: skip
    assert report(sandbox, events, rows) == NOTHING | {"num_affected_rows": 2, "num_updated_rows": 2}
    assert report(sandbox, events, rows) == NOTHING
    columns = "event_id, status, rows_affected, discrepancy, warning, error_message, processed_at"
    found = arrow(sandbox, f"SELECT {columns} FROM {events} ORDER BY event_id NULLS LAST").to_pylist()
    moment = dt.datetime(2024, 1, 2, 3, 4, 5, 123456, dt.UTC)
    assert [list(each.values()) for each in found] == [
        ["a", "completed", 5, -1, warning, None, moment],
        ["b", "pending", None, None, None, None, None],
        [None, "failed", None, None, None, "no event_id", None],
    ]
    assert report(sandbox, events, []) == NOTHING
    assert report(sandbox, events, None) == NOTHING


def test_a_report_may_have_a_condition_and_refuses_two_rows_for_one_event(sandbox: Sandbox, events: str) -> None:
    sandbox.rows(f"INSERT INTO {events} (event_id) VALUES ('a'), ('b')")
    both = [{"event_id": "a", "status": "blocked"}, {"event_id": "b", "status": "blocked"}]
    only_a = report(sandbox, events, both, "AND t.event_id <> 'b' AND s.status IS NOT NULL ")
    assert only_a["num_updated_rows"] == 1
    twice = json.dumps([{"event_id": "b", "status": "x"}, {"event_id": "b", "status": "y"}])
    told = sandbox.failure(REPORT.format(table=events, condition=""), values={"results": twice})
    assert told.startswith("[DELTA_MULTIPLE_SOURCE_ROW_MATCHING_TARGET_ROW_IN_MERGE] Cannot perform Merge as multiple")
    assert told.endswith("SQLSTATE: 21506")
    assert sandbox.rows(f"SELECT event_id, status FROM {events} ORDER BY 1") == [["a", "blocked"], ["b", "pending"]]


def test_a_submit_by_merge_inserts_once(sandbox: Sandbox, events: str) -> None:
    given = {"event_id": "e", "k": '["id", "b"]', "m": '{"a": "it\'s", "b": null}', "e": '[{"key": "u", "value": "v"}]'}
    parameters = [Item(name, value=value) for name, value in given.items()]
    first = counts(sandbox, SUBMIT.format(table=events), parameters=[*parameters, Item("n", value="7")])
    again = counts(sandbox, SUBMIT.format(table=events), parameters=[*parameters, Item("n", value="7")])
    assert (first["num_inserted_rows"], again) == (1, NOTHING)
    empty = [Item("event_id", value="n"), Item("k"), Item("m"), Item("e"), Item("n", "INT")]
    assert counts(sandbox, SUBMIT.format(table=events), parameters=empty)["num_inserted_rows"] == 1
    columns = "event_id, primary_keys, priority, status, filter_conditions, metadata, rows_expected"
    found = arrow(sandbox, f"SELECT {columns} FROM {events} ORDER BY 1").to_pylist()
    assert [list(each.values()) for each in found] == [
        ["e", ["id", "b"], 0, "pending", [("a", "it's"), ("b", None)], [("u", "v")], 7],
        ["n", None, 0, "pending", None, None, None],
    ]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("from_json('{\"n\": 99999999999}', 'n INT')", '{"n":null}'),
        ('from_json(\'[{"n": 3}, {"n": "3"}, {}]\', \'ARRAY<STRUCT<n: INT>>\')', '[{"n":"3"},{"n":null},{"n":null}]'),
        ("from_json('{\"t\": \"2024-01-02 03:04:05\"}', 't TIMESTAMP')", '{"t":"2024-01-02T03:04:05.000Z"}'),
        ("from_json('{\"t\": \"never\"}', 't TIMESTAMP')", '{"t":null}'),
        ('from_json(\'{"m": {"a": 1, "b": 300}}\', \'m MAP<STRING, TINYINT>\')', '{"m":{"a":"1","b":null}}'),
        ("from_json('nonsense', 'ARRAY<STRUCT<n: INT>>')", None),
    ],
)
def test_json_that_does_not_fit_its_type_is_null(sandbox: Sandbox, call: str, text: str | None) -> None:
    assert sandbox.rows(f"SELECT {call}") == [[text]]
