"""Tables on the Databricks stand-in: DDL, DML with its counts, history, and what is refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
from databricks.sdk.service.sql import StatementParameterListItem

from tests.conftest import StandIn
from tests.contract.databricks_fixture import Sandbox, counts, message_of, signed_in

EVENTS = """CREATE TABLE {table} (
  event_id STRING,
  operation STRING,              -- INSERT/UPDATE/DELETE
  source_table STRING,           -- catalog.schema.table
  target_table STRING,           -- schema.table
  primary_keys ARRAY<STRING>,    -- Required for UPDATE/DELETE
  priority INT DEFAULT 0,        -- Higher = processed first
  status STRING DEFAULT 'pending',
  rows_expected INT,
  rows_affected INT,
  discrepancy INT,               -- expected - affected
  warning STRING,
  error_message STRING,
  filter_conditions MAP<STRING, STRING>,
  metadata MAP<STRING, STRING>,
  created_at TIMESTAMP,
  processed_at TIMESTAMP
)"""
DEFAULTS = " TBLPROPERTIES('delta.feature.allowColumnDefaults' = 'supported')"


@pytest.fixture
def sandbox(lakehouse_faults: StandIn) -> Iterator[Sandbox]:
    with signed_in(lakehouse_faults) as made:
        yield made


@pytest.fixture
def events(sandbox: Sandbox) -> str:
    """An events table of the test's own, empty."""
    table = sandbox.table()
    sandbox.rows(EVENTS.format(table=table) + DEFAULTS)
    return table


@pytest.fixture
def pairs(sandbox: Sandbox) -> str:
    """A table (id INT, s STRING) with rows 1 to 5."""
    table = sandbox.table()
    sandbox.rows(f"CREATE TABLE {table} (id INT, s STRING)")
    sandbox.rows(f"INSERT INTO {table} SELECT id, concat('s', id) FROM range(1, 6)")
    return table


def test_defaults_need_the_table_feature_as_on_databricks(sandbox: Sandbox) -> None:
    table = sandbox.table()
    told = sandbox.failure(EVENTS.format(table=table))
    assert told.startswith("[WRONG_COLUMN_DEFAULTS_FOR_DELTA_FEATURE_NOT_ENABLED]")
    assert told.endswith("SQLSTATE: 0AKDE")
    assert sandbox.rows(EVENTS.format(table=table) + DEFAULTS) == []


def test_columns_left_out_of_an_insert_get_their_default_or_null(sandbox: Sandbox, events: str) -> None:
    inserted = counts(
        sandbox,
        f"INSERT INTO {events} (event_id, metadata, created_at) VALUES (:a, map('k', :b), current_timestamp())",
        values={"a": "it's \\ 1", "b": "v"},
    )
    assert inserted == {"num_affected_rows": 1, "num_inserted_rows": 1}
    counts(sandbox, f"INSERT INTO {events} (status, event_id) SELECT 's', concat('e', id) FROM range(2)")
    counts(sandbox, f"INSERT INTO {events} (event_id, priority) VALUES ('d', DEFAULT), ('n', NULL)")
    columns = "event_id, priority, status, primary_keys, metadata['k'], created_at IS NULL"
    assert sandbox.rows(f"SELECT {columns} FROM {events} ORDER BY event_id") == [
        ["d", "0", "pending", None, None, "true"],
        ["e0", "0", "s", None, None, "true"],
        ["e1", "0", "s", None, None, "true"],
        ["it's \\ 1", "0", "pending", None, "v", "false"],
        ["n", None, "pending", None, None, "true"],
    ]


@pytest.mark.parametrize(
    ("insert", "told"),
    [
        ("(id) VALUES (1, 2)", "INSERT_COLUMN_ARITY_MISMATCH"),
        ("VALUES (1)", "INSERT_COLUMN_ARITY_MISMATCH"),
        ("SELECT 1", "INSERT_COLUMN_ARITY_MISMATCH.NOT_ENOUGH_DATA_COLUMNS"),
        ("SELECT 1, 'a', 2", "INSERT_COLUMN_ARITY_MISMATCH.TOO_MANY_DATA_COLUMNS"),
        ("(id, nope) VALUES (1, 2)", "UNRESOLVED_COLUMN"),
        ("(id, ID) VALUES (1, 2)", "COLUMN_ALREADY_EXISTS"),
        ("VALUES ('x', 'a')", "CAST_INVALID_INPUT"),
        ("VALUES (3000000000, 'a')", "CAST_OVERFLOW"),
        ("PARTITION (id = 1) VALUES ('a')", "does not support INSERT with PARTITION"),
    ],
)
def test_an_insert_that_does_not_fit_changes_nothing(sandbox: Sandbox, pairs: str, insert: str, told: str) -> None:
    assert told in sandbox.failure(f"INSERT INTO {pairs} {insert}")
    assert sandbox.rows(f"SELECT count(*) FROM {pairs}") == [["5"]]


def test_updates_and_deletes_count_the_rows_that_they_change(sandbox: Sandbox, pairs: str) -> None:
    assert counts(sandbox, f"UPDATE {pairs} SET s = NULL WHERE id IN (1, 2)") == {"num_affected_rows": 2}
    assert counts(sandbox, f"UPDATE {pairs} AS p SET p.s = upper(p.s) WHERE p.id = 3") == {"num_affected_rows": 1}
    assert counts(sandbox, f"UPDATE {pairs} SET s = 'x' WHERE id > 99") == {"num_affected_rows": 0}
    assert counts(sandbox, f"DELETE FROM {pairs} WHERE id = :id", values={"id": "5"}) == {"num_affected_rows": 1}
    assert sandbox.rows(f"SELECT * FROM {pairs} ORDER BY id") == [["1", None], ["2", None], ["3", "S3"], ["4", "s4"]]
    assert counts(sandbox, f"DELETE FROM {pairs}") == {"num_affected_rows": 4}
    assert counts(sandbox, f"DELETE FROM {pairs}") == {"num_affected_rows": 0}


def test_each_row_of_many_updates_is_counted_once(sandbox: Sandbox, pairs: str) -> None:
    """Deletion vectors pile up on the same file; counts must not."""
    for index in range(12):
        assert counts(sandbox, f"UPDATE {pairs} SET s = 'u{index}' WHERE id <= 3") == {"num_affected_rows": 3}
    assert counts(sandbox, f"DELETE FROM {pairs} WHERE id <= 3") == {"num_affected_rows": 3}
    assert sandbox.rows(f"SELECT count(*) FROM {pairs}") == [["2"]]


def test_a_merge_from_one_json_parameter_counts_each_kind(sandbox: Sandbox, events: str) -> None:
    sandbox.rows(f"INSERT INTO {events} (event_id) VALUES ('a'), ('b'), ('c')")
    results = [{"event_id": "a", "status": "completed", "rows_affected": 5}, {"event_id": "z", "status": "failed"}]
    merged = counts(
        sandbox,
        f"MERGE INTO {events} AS t USING (SELECT r.* FROM (SELECT explode(from_json(:results, "
        "'ARRAY<STRUCT<event_id: STRING, status: STRING, rows_affected: INT>>')) AS r)) AS s "
        "ON t.event_id = s.event_id WHEN MATCHED THEN UPDATE SET t.status = s.status, warning = NULL, "
        "rows_affected = s.rows_affected, processed_at = current_timestamp() "
        "WHEN NOT MATCHED THEN INSERT (event_id, status) VALUES (s.event_id, s.status)",
        parameters=[StatementParameterListItem("results", value=json.dumps(results))],
    )
    assert merged == {"num_affected_rows": 2, "num_updated_rows": 1, "num_deleted_rows": 0, "num_inserted_rows": 1}
    assert sandbox.rows(f"SELECT event_id, status, priority, rows_affected FROM {events} ORDER BY event_id") == [
        ["a", "completed", "0", "5"],
        ["b", "pending", "0", None],
        ["c", "pending", "0", None],
        ["z", "failed", "0", None],
    ]


def test_a_merge_deletes_too_and_fails_where_two_source_rows_match_one(sandbox: Sandbox, pairs: str) -> None:
    source = "(SELECT * FROM VALUES (1, 'x'), (9, 'y') AS v(id, s)) AS s"
    merged = counts(
        sandbox,
        f"MERGE INTO {pairs} AS t USING {source} ON t.id = s.id WHEN MATCHED THEN UPDATE SET * "
        "WHEN NOT MATCHED THEN INSERT * WHEN NOT MATCHED BY SOURCE AND t.id > 3 THEN DELETE",
    )
    assert merged == {"num_affected_rows": 4, "num_updated_rows": 1, "num_deleted_rows": 2, "num_inserted_rows": 1}
    twice = "(SELECT * FROM VALUES (1, 'x'), (1, 'y') AS v(id, s)) AS s"
    told = sandbox.failure(f"MERGE INTO {pairs} AS t USING {twice} ON t.id = s.id WHEN MATCHED THEN UPDATE SET s = s.s")
    assert "DELTA_MULTIPLE_SOURCE_ROW_MATCHING_TARGET_ROW_IN_MERGE" in told
    assert sandbox.rows(f"SELECT * FROM {pairs} ORDER BY id") == [["1", "x"], ["2", "s2"], ["3", "s3"], ["9", "y"]]


def test_replacing_a_table_keeps_its_history_readable_even_with_another_schema(sandbox: Sandbox, pairs: str) -> None:
    replaced = f"CREATE OR REPLACE TABLE {pairs} AS SELECT CAST(7 AS BIGINT) AS other, 'v' AS name"
    assert counts(sandbox, replaced) == {"num_affected_rows": 1, "num_inserted_rows": 1}
    assert sandbox.rows(f"SELECT * FROM {pairs}") == [["7", "v"]]
    assert sandbox.rows(f"SELECT count(s) FROM {pairs} VERSION AS OF 1") == [["5"]]
    assert counts(sandbox, f"INSERT INTO {pairs} VALUES (8, 'w')")["num_inserted_rows"] == 1
    assert counts(sandbox, f"UPDATE {pairs} SET name = 'x' WHERE other = 7") == {"num_affected_rows": 1}
    assert counts(sandbox, f"CREATE OR REPLACE TABLE {pairs} AS SELECT * FROM {pairs} WHERE other = 8")
    assert sandbox.rows(f"SELECT * FROM {pairs}") == [["8", "w"]]
    history = sandbox.rows(f"DESCRIBE HISTORY {pairs}")
    assert [(row[0], row[4]) for row in history] == [
        ("5", "CREATE OR REPLACE TABLE AS SELECT"),
        ("4", "UPDATE"),
        ("3", "WRITE"),
        ("2", "CREATE OR REPLACE TABLE AS SELECT"),
        ("1", "WRITE"),
        ("0", "CREATE TABLE"),
    ]
    assert len(sandbox.rows(f"DESCRIBE HISTORY {pairs} LIMIT 2")) == 2
    assert "[DELTA_VERSION_NOT_FOUND]" in sandbox.failure(f"SELECT * FROM {pairs} VERSION AS OF 99")


def test_values_take_their_types_from_the_columns_and_not_from_the_first_row(sandbox: Sandbox) -> None:
    table = sandbox.table()
    sandbox.rows(f"CREATE TABLE {table} (id INT, v DOUBLE, d DECIMAL(5, 2), ts TIMESTAMP, a ARRAY<INT>)")
    rows = "(1, NULL, 1.235, '2024-01-01', NULL), (2, 'NaN', 2, timestamp'1800-01-01', array(1, NULL))"
    assert counts(sandbox, f"INSERT INTO {table} VALUES {rows}")["num_inserted_rows"] == 2
    assert sandbox.rows(f"SELECT * FROM {table} ORDER BY id") == [
        ["1", None, "1.24", "2024-01-01T00:00:00.000Z", None],
        ["2", "NaN", "2.00", "1800-01-01T00:00:00.000Z", '["1",null]'],
    ]
    assert counts(sandbox, f"UPDATE {table} SET v = v + 1 WHERE v IS NOT NULL OR a IS NULL") == {"num_affected_rows": 2}


def test_insert_overwrite_and_truncate(sandbox: Sandbox, pairs: str) -> None:
    assert counts(sandbox, f"INSERT OVERWRITE {pairs} SELECT 1, 'only'")["num_inserted_rows"] == 1
    assert sandbox.rows(f"SELECT * FROM {pairs}") == [["1", "only"]]
    assert sandbox.rows(f"TRUNCATE TABLE {pairs}") == []
    assert sandbox.rows(f"SELECT * FROM {pairs}") == []


def test_tables_are_created_once_found_without_case_described_and_dropped(sandbox: Sandbox) -> None:
    table = sandbox.table()
    short = table.rpartition(".")[2]
    sandbox.rows(f"CREATE TABLE {table} (Id INT NOT NULL COMMENT 'key', `ödd.name` DECIMAL(10, 2))")
    assert "[TABLE_OR_VIEW_ALREADY_EXISTS]" in sandbox.failure(f"CREATE TABLE {table} (a INT)")
    assert sandbox.rows(f"CREATE TABLE IF NOT EXISTS {table} (a INT)") == []
    assert sandbox.rows(f"DESCRIBE TABLE {table.upper()}") == [
        ["Id", "int", "key"],
        ["ödd.name", "decimal(10,2)", None],
    ]
    assert [short] in [row[1:2] for row in sandbox.rows("SHOW TABLES IN landing")]
    assert sandbox.rows(f"SELECT T.ID FROM {short.upper()} AS t", catalog="bridge", schema="landing") == []
    assert "NOT_NULL" in sandbox.failure(f"INSERT INTO {table} VALUES (NULL, 1)")
    assert sandbox.client.tables.exists(table).table_exists is True
    columns = sandbox.client.tables.get(table).columns or []
    assert [(each.name, each.type_text, each.nullable) for each in columns] == [
        ("Id", "int", False),
        ("ödd.name", "decimal(10,2)", True),
    ]
    sandbox.rows(f"DROP TABLE {table}")
    sandbox.rows(f"DROP TABLE IF EXISTS {table}")
    assert "[TABLE_OR_VIEW_NOT_FOUND]" in sandbox.failure(f"DROP TABLE {table}")
    assert sandbox.client.tables.exists(table).table_exists is False


@pytest.mark.parametrize("name", ["with blank", "a=b", "f(x)", "a;b", "a,b"])
def test_column_names_that_parquet_does_not_take_are_refused_as_on_databricks(sandbox: Sandbox, name: str) -> None:
    table = sandbox.table()
    for statement in (f"CREATE TABLE {table} (`{name}` INT)", f"CREATE TABLE {table} AS SELECT 1 AS `{name}`"):
        assert "[DELTA_INVALID_CHARACTERS_IN_COLUMN_NAMES]" in sandbox.failure(statement)
    assert "[TABLE_OR_VIEW_NOT_FOUND]" in sandbox.failure(f"SELECT * FROM {table}")


def test_hostile_table_and_column_names_are_only_names(sandbox: Sandbox) -> None:
    for name in ("a`b", "drop--x", "é", "x'y", 'x"y', "select", "1a", "a\\b"):
        quoted = name.replace("`", "``")
        table = f"{sandbox.table().rpartition('.')[0]}.`{sandbox.table().rpartition('.')[2]}{quoted}`"
        sandbox.rows(f"CREATE TABLE {table} (`{quoted}` INT, other INT)")
        sandbox.rows(f"INSERT INTO {table} (`{quoted}`) VALUES (1)")
        sandbox.rows(f"UPDATE {table} SET `{quoted}` = `{quoted}` + 1")
        source = f"(SELECT 2 AS k) AS s ON t.`{quoted}` = s.k"
        sandbox.rows(f"MERGE INTO {table} AS t USING {source} WHEN MATCHED THEN UPDATE SET other = 7")
        assert sandbox.rows(f"SELECT `{quoted}`, other FROM {table}") == [["2", "7"]], name
        sandbox.rows(f"DROP TABLE {table}")


def test_schemas_are_created_shown_and_dropped(sandbox: Sandbox) -> None:
    sandbox.rows("CREATE SCHEMA IF NOT EXISTS bridge.short_lived")
    sandbox.rows("CREATE SCHEMA IF NOT EXISTS short_lived")
    assert ["short_lived"] in sandbox.rows("SHOW SCHEMAS IN bridge")
    sandbox.rows("CREATE TABLE short_lived.t AS SELECT 1 AS a")
    assert "[SCHEMA_NOT_EMPTY]" in sandbox.failure("DROP SCHEMA short_lived")
    sandbox.rows("DROP SCHEMA short_lived CASCADE")
    assert "[SCHEMA_NOT_FOUND]" in sandbox.failure("CREATE TABLE short_lived.t (a INT)")
    assert ["bridge"] in sandbox.rows("SHOW CATALOGS")
    assert ["landing", "files"] in sandbox.rows("SHOW VOLUMES IN landing")


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("CREATE TABLE landing.x (a INT) USING CSV", "USING CSV"),
        ("CREATE TABLE landing.x (a INT) LOCATION '/tmp/x'", "LOCATION"),
        ("CREATE TABLE landing.x (a INT) CLUSTER BY (a)", "CLUSTER BY"),
        ("CREATE TABLE landing.x (a INT PRIMARY KEY)", "PRIMARY KEY"),
        ("CREATE TABLE landing.x (a BIGINT GENERATED ALWAYS AS IDENTITY)", "IDENTITY"),
        ("CREATE TABLE landing.x LIKE landing.y", "LIKE"),
        ("ALTER TABLE landing.x RENAME TO landing.y", "ALTER TABLE"),
        ("INSERT INTO landing.x REPLACE USING (a) SELECT 1", "INSERT with USING"),
        ("INSERT INTO landing.x (a) REPLACE WHERE a = 1 SELECT 1", "REPLACE WHERE with a list of columns"),
        ("INSERT INTO landing.x REPLACE WHERE a IN (SELECT 1) SELECT 1", "REPLACE WHERE with a query"),
        ("CREATE TABLE landing.x (a INT) TBLPROPERTIES('delta.enableChangeDataFeed' = 'true')", "enableChangeDataFeed"),
        ("COPY INTO landing.x FROM '/Volumes/a/b/c' FILEFORMAT = PARQUET", "COPY INTO"),
        ("CREATE VOLUME bridge.landing.v", "CREATE VOLUME"),
        ("DESCRIBE EXTENDED landing.x", "EXTENDED"),
        ("CREATE TABLE landing.x (a INT) TBLPROPERTIES('delta.columnMapping.mode' = 'id')", "column mapping"),
        ("WITH c AS (SELECT 1) INSERT INTO landing.x SELECT * FROM c", "INSERT with WITH"),
        ("DELETE FROM landing.x USING landing.y", "DELETE with USING"),
        ("UPDATE landing.x SET a = 1 FROM landing.y", "UPDATE with FROM"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(sandbox: Sandbox, statement: str, told: str) -> None:
    message = sandbox.failure(statement)
    assert message.startswith("[SANDBOX_UNSUPPORTED]")
    assert told in message


def test_writers_that_try_again_after_a_conflict_lose_nothing(sandbox: Sandbox, pairs: str) -> None:
    failures: list[str] = []

    def write(first: int) -> None:
        with signed_in(sandbox.server) as own:
            for index in range(first, first + 5):
                told = message_of(own.sql(f"INSERT INTO {pairs} VALUES ({index}, 'w')"))
                while "2D521" in (again := message_of(own.sql(f"UPDATE {pairs} SET s = concat(s, '!') WHERE id = 1"))):
                    pass
                told += again
                failures.extend([told] if told else [])

    threads = [threading.Thread(target=write, args=(100 * number,)) for number in range(1, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sandbox.rows(f"SELECT count(*) FROM {pairs}") == [["20"]]
    assert sandbox.rows(f"SELECT s FROM {pairs} WHERE id = 1") == [["s1" + "!" * 15]]
