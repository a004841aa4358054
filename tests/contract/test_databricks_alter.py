"""Tables that change on the Databricks stand-in: properties, comments, columns, wider types, and who is overtaken."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import StandIn
from tests.contract.databricks_fixture import Sandbox, ended, message_of, signed_in

WIDENING = "TBLPROPERTIES('delta.enableTypeWidening' = 'true')"


@pytest.fixture
def sandbox(lakehouse_faults: StandIn) -> Iterator[Sandbox]:
    with signed_in(lakehouse_faults) as made:
        yield made


def test_comments_and_properties_are_seen_again(sandbox: Sandbox) -> None:
    table = sandbox.table()
    sandbox.rows(f"CREATE TABLE {table} (id INT COMMENT 'first', `o-d``d` STRING, n INT)")
    sandbox.rows(f"ALTER TABLE {table} SET TBLPROPERTIES ('bridge.run' = 'it\\'s', k = 1)")
    sandbox.rows(f"ALTER TABLE {table} ALTER COLUMN `o-d``d` COMMENT 'a, b'")
    sandbox.rows(f"ALTER TABLE {table} ALTER COLUMN id COMMENT 'x, (y', n COMMENT 'z'")
    sandbox.rows(f"ALTER TABLE {table} ADD COLUMNS (added DECIMAL(20,3) COMMENT 'new', at TIMESTAMP)")
    sandbox.rows(f"COMMENT ON TABLE {table} IS 'whole'")
    sandbox.rows(f"COMMENT ON COLUMN {table}.n IS 'nn'")
    described = [
        ["id", "int", "x, (y"],
        ["o-d`d", "string", "a, b"],
        ["n", "int", "nn"],
        ["added", "decimal(20,3)", "new"],
        ["at", "timestamp", None],
    ]
    assert sandbox.rows(f"DESCRIBE TABLE {table}") == described
    shown = dict(sandbox.rows(f"SHOW TBLPROPERTIES {table}"))
    assert (shown["bridge.run"], shown["k"], shown["delta.minWriterVersion"]) == ("it's", "1", "7")
    assert sandbox.rows(f"SHOW TBLPROPERTIES {table} ('k')") == [["k", "1"]]
    assert "does not have property: none" in sandbox.rows(f"SHOW TBLPROPERTIES {table} ('none')")[0][1]
    info = sandbox.client.tables.get(table)
    assert info.comment == "whole"
    assert (info.properties or {})["bridge.run"] == "it's"
    history = [row[4] for row in sandbox.rows(f"DESCRIBE HISTORY {table} LIMIT 3")]
    assert history == ["CHANGE COLUMN", "SET TBLPROPERTIES", "ADD COLUMNS"]


def test_wider_types_and_new_columns_are_read_from_old_files_and_written(sandbox: Sandbox) -> None:
    table = sandbox.table()
    columns = "a TINYINT, b INT, c DECIMAL(5,2), d DATE, e FLOAT, f BIGINT, g SMALLINT"
    sandbox.rows(f"CREATE TABLE {table} ({columns}) {WIDENING}")
    sandbox.rows(f"INSERT INTO {table} VALUES (1, 2, 3.25, DATE'0001-01-01', 1.5, 7, 8)")
    sandbox.rows(f"ALTER TABLE {table} SET TBLPROPERTIES('delta.feature.timestampNtz' = 'supported')")
    types = {"a": "INT", "b": "BIGINT", "c": "DECIMAL(12,4)", "d": "TIMESTAMP_NTZ", "e": "DOUBLE", "g": "DECIMAL(10,0)"}
    for name, wider in {**types, "f": "DECIMAL(20,0)", "a ": "BIGINT"}.items():
        sandbox.rows(f"ALTER TABLE {table} ALTER COLUMN {name} TYPE {wider}")
    sandbox.rows(f"ALTER TABLE {table} ADD COLUMNS (h BIGINT)")
    assert sandbox.rows(f"SELECT * FROM {table} WHERE b = 2 AND c = 3.25 AND f = 7") == [
        ["1", "2", "3.2500", "0001-01-01T00:00:00.000", "1.5", "7", "8", None]
    ]
    sandbox.rows(f"INSERT INTO {table} (b, c, h) VALUES (30000000000, 3.2555, 4)")
    update = "WHEN MATCHED THEN UPDATE SET h = 5, e = 1e300"
    sandbox.rows(f"MERGE INTO {table} t USING (SELECT 2L AS b) s ON t.b <=> s.b {update}")
    assert sandbox.rows(f"SELECT b, c, e, h FROM {table} ORDER BY b") == [
        ["2", "3.2500", "1.0E300", "5"],
        ["30000000000", "3.2555", None, "4"],
    ]
    assert sandbox.rows(f"SELECT * FROM {table} VERSION AS OF 1") == [["1", "2", "3.25", "0001-01-01", "1.5", "7", "8"]]


def test_columns_with_any_name_need_column_mapping_and_work_with_it(sandbox: Sandbox) -> None:
    table = sandbox.table()
    mapping = "TBLPROPERTIES('delta.columnMapping.mode' = 'name', 'delta.enableTypeWidening' = 'true')"
    sandbox.rows(f"CREATE TABLE {table} {mapping} AS SELECT 1 AS `a b`, 'x' AS `c,(d)`")
    sandbox.rows(f"ALTER TABLE {table} ADD COLUMNS (`e;f` BIGINT)")
    sandbox.rows(f"ALTER TABLE {table} ALTER COLUMN `a b` TYPE BIGINT")
    sandbox.rows(f"INSERT INTO {table} VALUES (2, 'y', 3)")
    update = "WHEN MATCHED THEN UPDATE SET `e;f` = 9 WHEN NOT MATCHED THEN INSERT (`a b`) VALUES (s.k)"
    source = "(SELECT explode(array(1L, 3L)) AS k) AS s"
    sandbox.rows(f"MERGE INTO {table} AS t USING {source} ON t.`a b` <=> s.k {update}")
    rows = [["1", "x", "9"], ["2", "y", "3"], ["3", None, None]]
    assert sandbox.rows(f"SELECT * FROM {table} ORDER BY 1") == rows
    assert sandbox.rows(f"SELECT * FROM {table} VERSION AS OF 0") == [["1", "x"]]
    sandbox.rows(f"CREATE OR REPLACE TABLE {table} AS SELECT 1 AS a")
    told = sandbox.failure(f"ALTER TABLE {table} ADD COLUMNS (`a b` INT)")
    assert told.startswith("[DELTA_INVALID_CHARACTERS_IN_COLUMN_NAMES]")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("ALTER COLUMN n TYPE BIGINT", "[DELTA_UNSUPPORTED_ALTER_TABLE_CHANGE_COL_OP]"),
        ("ALTER COLUMN n TYPE SMALLINT", "[NOT_SUPPORTED_CHANGE_COLUMN]"),
        ("ALTER COLUMN s TYPE INT", "[NOT_SUPPORTED_CHANGE_COLUMN]"),
        ("ALTER COLUMN n COMMENT 'x', nope COMMENT 'y'", "with name `nope` cannot be resolved"),
        ("ADD COLUMNS (N INT)", "[FIELD_ALREADY_EXISTS]"),
        ("ADD COLUMNS (m TIMESTAMP_NTZ)", "[DELTA_FEATURES_REQUIRE_MANUAL_ENABLEMENT]"),
        ("ADD COLUMNS (m INT DEFAULT 1)", "[WRONG_COLUMN_DEFAULTS_FOR_DELTA_ALTER_TABLE_ADD_COLUMN_NOT_SUPPORTED]"),
        ("ADD COLUMNS (m INT NOT NULL)", "does not support ALTER TABLE ADD COLUMN with NOT NULL"),
        ("ADD COLUMNS (m INT FIRST)", "does not support ALTER TABLE ADD COLUMN with"),
        ("DROP COLUMN n", "does not support ALTER TABLE with DROP COLUMN n"),
        ("SET TBLPROPERTIES('delta.columnMapping.mode' = 'name')", "does not support column mapping"),
        ("SET TBLPROPERTIES('delta.enableChangeDataFeed' = 'true')", "the table property delta.enableChangeDataFeed"),
    ],
)
def test_a_change_that_is_refused_changes_nothing(sandbox: Sandbox, change: str, told: str) -> None:
    table = sandbox.table()
    sandbox.rows(f"CREATE TABLE {table} (n INT, s STRING)")
    assert told in sandbox.failure(f"ALTER TABLE {table} {change}")
    assert len(sandbox.rows(f"DESCRIBE HISTORY {table}")) == 1


@pytest.mark.parametrize(
    ("mine", "theirs", "told"),
    [
        ("MERGE", "ALTER TABLE {t} ADD COLUMNS (x INT)", "[DELTA_METADATA_CHANGED]"),
        ("MERGE", "CREATE OR REPLACE TABLE {t} AS SELECT 1 AS k, 'x' AS v", "[DELTA_METADATA_CHANGED]"),
        ("MERGE", "INSERT INTO {t} REPLACE WHERE k < 5 SELECT 1, 'x'", "[DELTA_CONCURRENT_APPEND"),
        ("ALTER", "COMMENT ON TABLE {t} IS 'c'", "[DELTA_METADATA_CHANGED]"),
        ("ALTER", "UPDATE {t} SET v = 'x'", ""),
        ("CREATE", "UPDATE {t} SET v = 'x'", "[DELTA_CONCURRENT_APPEND"),
        ("CREATE", "CREATE OR REPLACE TABLE {t} AS SELECT 1 AS k, 'x' AS v", "[DELTA_METADATA_CHANGED]"),
        ("REPLACE", "UPDATE {t} SET v = 'x' WHERE k = 1", "[DELTA_CONCURRENT_APPEND"),
        ("REPLACE", "DELETE FROM {t} WHERE k = 1", "[DELTA_CONCURRENT_DELETE_READ"),
        ("REPLACE", "UPDATE {t} SET v = 'x' WHERE k = 7", ""),
        ("REPLACE", "INSERT INTO {t} VALUES (1, 'late')", ""),
    ],
)
def test_what_began_before_another_change_fails_where_they_touch(
    sandbox: Sandbox, mine: str, theirs: str, told: str
) -> None:
    table = sandbox.table()
    sandbox.rows(f"CREATE TABLE {table} AS SELECT CAST(id AS INT) AS k, 'old' AS v FROM range(10)")
    slow = {
        "MERGE": f"MERGE INTO {table} t USING (SELECT 1 AS k) s ON t.k <=> s.k WHEN MATCHED THEN UPDATE SET v = 'mine'",
        "ALTER": f"ALTER TABLE {table} SET TBLPROPERTIES ('a' = 'b')",
        "CREATE": f"CREATE OR REPLACE TABLE {table} AS SELECT 1 AS k, 'mine' AS v",
        "REPLACE": f"INSERT INTO {table} REPLACE WHERE k < 5 SELECT 2, 'mine'",
    }[mine]
    rule = sandbox.server.fault(match={"statement": slow}, action={"hold_statement": True})
    answer = sandbox.sql(slow, wait_timeout="0s")
    assert sandbox.server.hits(rule) == 1
    sandbox.rows(theirs.format(t=table))
    sandbox.server.clear()
    message = message_of(ended(sandbox, answer.statement_id))
    assert message.startswith(told)
    assert message.endswith("SQLSTATE: 2D521" if told else "")
    assert bool(message) is bool(told)
    mine_rows = sandbox.rows(f"SELECT count(*) FROM {table} WHERE v = 'mine'")
    assert mine_rows == [["0" if told or mine == "ALTER" else "1"]]
    if "late" in theirs:
        assert sandbox.rows(f"SELECT count(*) FROM {table} WHERE v = 'late'") == [["1"]]
