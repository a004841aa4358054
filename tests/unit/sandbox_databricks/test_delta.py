"""What the Delta log tells: columns, counts, and a replacement that keeps history."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sql_databricks_bridge.sandbox.databricks.delta import Column, DeltaLogs

FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "integer", "nullable": False, "metadata": {}},
    {
        "name": "m",
        "type": {"type": "map", "keyType": "string", "valueType": {"type": "array", "elementType": "long"}},
        "nullable": True,
        "metadata": {"CURRENT_DEFAULT": "map()", "comment": "why"},
    },
]


def metadata(fields: list[dict[str, Any]], table_id: str) -> dict[str, Any]:
    return {"metaData": {"id": table_id, "schemaString": json.dumps({"type": "struct", "fields": fields})}}


def add(path: str, records: int, deleted: int = 0) -> dict[str, Any]:
    action: dict[str, Any] = {
        "path": path,
        "size": 1,
        "partitionValues": {},
        "stats": json.dumps({"numRecords": records}),
    }
    if deleted:
        action["deletionVector"] = {"cardinality": deleted}
    return {"add": action}


def commit(folder: Path, version: int, *actions: dict[str, Any]) -> None:
    log = folder / "_delta_log"
    log.mkdir(parents=True, exist_ok=True)
    (log / f"{version:020}.json").write_text("\n".join(map(json.dumps, actions)))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    folder = tmp_path / "t"
    info = {"commitInfo": {"operation": "WRITE", "timestamp": 5, "operationMetrics": {"numUpdatedRows": "3"}}}
    commit(folder, 0, {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7}}, metadata(FIELDS, "old"))
    commit(folder, 1, info, add("a.parquet", 10))
    commit(folder, 2, add("a.parquet", 10, 4), {"remove": {"path": "a.parquet"}})
    return folder


def test_columns_carry_their_types_defaults_and_comments(table: Path) -> None:
    assert DeltaLogs().columns(table) == [
        Column("id", "int", False, None, None),
        Column("m", "map<string,array<bigint>>", True, "map()", "why"),
    ]


def test_rows_are_counted_through_deletion_vectors_and_new_commits_are_seen(table: Path) -> None:
    logs = DeltaLogs()
    assert [(each.version, each.rows_gained) for each in logs.commits(table)] == [(0, 0), (1, 10), (2, -4)]
    assert logs.commits(table)[1].metric("numUpdatedRows") == 3
    commit(table, 3, {"remove": {"path": "a.parquet"}}, add("b.parquet", 2))
    assert [(each.version, each.rows_added, each.rows_gained) for each in logs.commits(table, after=2)] == [(3, 2, -4)]


def test_a_file_without_a_row_count_is_an_error_and_not_a_guess(table: Path) -> None:
    commit(table, 3, {"add": {"path": "c.parquet", "partitionValues": {}, "size": 1}})
    with pytest.raises(ValueError, match=r"no row count for c\.parquet"):
        DeltaLogs().version(table)


def test_a_replacement_is_one_commit_that_removes_the_old_and_adds_the_new(table: Path, tmp_path: Path) -> None:
    staged = tmp_path / "staged"
    new = [{"name": "other", "type": "string", "nullable": True, "metadata": {}}]
    commit(staged, 0, {"commitInfo": {"timestamp": 9}}, metadata(new, "new"), add("n.parquet", 7))
    (staged / "n.parquet").touch()
    logs = DeltaLogs()
    logs.replace(table, staged, "CREATE OR REPLACE TABLE AS SELECT")
    assert [each.name for each in logs.columns(table)] == ["other"]
    (replaced,) = logs.commits(table, after=2)
    assert (replaced.version, replaced.rows_added, replaced.rows_gained) == (3, 7, 1)
    assert (table / "n.parquet").exists()
    actions = [json.loads(line) for line in (table / "_delta_log" / f"{3:020}.json").read_text().splitlines()]
    assert [next(iter(action)) for action in actions] == ["commitInfo", "protocol", "metaData", "remove", "add"]
    assert actions[2]["metaData"]["id"] == "old"
    assert actions[3]["remove"]["deletionVector"] == {"cardinality": 4}
