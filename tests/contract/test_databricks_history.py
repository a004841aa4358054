"""Versions of tables on the Databricks stand-in: history, time travel, and what is told of versions that are not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import StandIn
from tests.contract.databricks_fixture import Sandbox, arrow, signed_in


@pytest.fixture
def sandbox(lakehouse_faults: StandIn) -> Iterator[Sandbox]:
    with signed_in(lakehouse_faults) as made:
        yield made


@pytest.fixture
def long_lived(sandbox: Sandbox) -> str:
    """A table whose version n holds the rows 1 to n, for n up to 23, so that it has checkpoints."""
    table = sandbox.table()
    sandbox.rows(f"CREATE TABLE {table} (id INT)")
    for number in range(1, 24):
        sandbox.rows(f"INSERT INTO {table} VALUES ({number})")
    return table


def test_every_version_stays_readable_past_checkpoints_and_overwriting(sandbox: Sandbox, long_lived: str) -> None:
    sandbox.rows(f"DELETE FROM {long_lived} WHERE id > 1")
    sandbox.rows(f"INSERT OVERWRITE {long_lived} SELECT 77")
    sandbox.rows(f"CREATE OR REPLACE TABLE {long_lived} AS SELECT 'x' AS name")
    for version in (*range(24), 9):
        assert sandbox.rows(f"SELECT count(*) FROM {long_lived} VERSION AS OF {version}") == [[str(version)]]
    for version, rows in ((24, [["1"]]), (25, [["77"]]), (26, [["x"]])):
        assert sandbox.rows(f"SELECT * FROM {long_lived} VERSION AS OF {version}") == rows


def test_a_version_is_named_in_every_place_that_names_a_table(sandbox: Sandbox, long_lived: str) -> None:
    short = long_lived.rpartition(".")[2]
    assert sandbox.rows(f"SELECT {short}.id FROM {long_lived} VERSION AS OF 2 WHERE {short}.id > 1") == [["2"]]
    assert sandbox.rows(f"SELECT t.id FROM {long_lived} FOR VERSION AS OF '1' AS t") == [["1"]]
    both = f"SELECT count(*) FROM {long_lived} AS n LEFT ANTI JOIN {long_lived} VERSION AS OF 20 AS o ON n.id = o.id"
    assert sandbox.rows(both) == [["3"]]
    copy = sandbox.table()
    assert sandbox.rows(f"CREATE TABLE {copy} AS SELECT * FROM {long_lived} VERSION AS OF 3") == [["3", "3"]]
    assert sandbox.rows(f"INSERT INTO {copy} SELECT * FROM {long_lived} VERSION AS OF 4") == [["4", "4"]]
    merge = f"MERGE INTO {copy} c USING {long_lived} VERSION AS OF 2 AS o ON c.id = o.id WHEN MATCHED THEN DELETE"
    assert sandbox.rows(merge) == [["4", "0", "4", "0"]]


def test_history_is_newest_first_and_names_versions_and_times(sandbox: Sandbox, long_lived: str) -> None:
    history = arrow(sandbox, f"DESCRIBE HISTORY {long_lived} LIMIT 2").to_pylist()
    assert [(each["version"], each["operation"]) for each in history] == [(23, "WRITE"), (22, "WRITE")]
    moment = history[1]["timestamp"].isoformat()
    assert sandbox.rows(f"SELECT count(*) FROM {long_lived} TIMESTAMP AS OF '{moment}'") == [["22"]]


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("VERSION AS OF 99", "[DELTA_VERSION_NOT_FOUND] Cannot time travel Delta table to version 99. Available"),
        ("VERSION AS OF :v", "does not support VERSION AS OF with anything but a literal"),
        ("TIMESTAMP AS OF current_timestamp()", "does not support TIMESTAMP AS OF with anything but a literal"),
        ("TIMESTAMP AS OF '2001-01-01'", "[DELTA_TIMESTAMP_EARLIER_THAN_COMMIT_RETENTION]"),
        ("TIMESTAMP AS OF '2999-01-01'", "[DELTA_TIMESTAMP_GREATER_THAN_COMMIT]"),
        ("TIMESTAMP AS OF 'never'", "[INVALID_TIMESTAMP_FORMAT]"),
        ("@v1", "does not support names with @"),
    ],
)
def test_a_version_that_is_not_there_is_told(sandbox: Sandbox, wanted: str, told: str) -> None:
    table = sandbox.table()
    sandbox.rows(f"CREATE TABLE {table} (id INT)")
    blank = "" if wanted.startswith("@") else " "
    assert told in sandbox.failure(f"SELECT * FROM {table}{blank}{wanted}", values={"v": "0"})


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("SELECT * FROM bridge.landing.nope", "SQLSTATE: 42P01"),
        ("SELECT * FROM bridge.nope.nope VERSION AS OF 1", "SQLSTATE: 42P01"),
        ("DESCRIBE HISTORY bridge.landing.nope", "SQLSTATE: 42P01"),
        ("SELECT nope FROM {t}", "with name `nope` cannot be resolved. SQLSTATE: 42703"),
        ("UPDATE {t} SET nope = 1", "with name `nope` cannot be resolved. SQLSTATE: 42703"),
        ("DELETE FROM {t} WHERE nope = 1", "with name `nope` cannot be resolved. SQLSTATE: 42703"),
        ("SELECT * FROM (DESCRIBE HISTORY {t} LIMIT 1)", "does not support DESCRIBE HISTORY inside another statement"),
        ("DESCRIBE DETAIL {t}", "does not support DESCRIBE DETAIL"),
        ("SHOW CREATE TABLE {t}", "does not support SHOW CREATE"),
        ("SELECT parse_json('1')", "does not support result columns of the type VARIANT"),
        ("SELECT INTERVAL '1' MONTH", "does not support result columns of this type"),
    ],
)
def test_what_is_missing_or_not_supported_is_told_by_name(sandbox: Sandbox, statement: str, told: str) -> None:
    table = sandbox.table()
    sandbox.rows(f"CREATE TABLE {table} (id INT)")
    assert told in sandbox.failure(statement.format(t=table))


def test_columns_of_a_table_made_by_a_query_take_null(sandbox: Sandbox) -> None:
    """The engine would call them NOT NULL where the query can't yield NULL; Databricks does not."""
    table = sandbox.table()
    sandbox.rows(
        f"CREATE TABLE {table} COMMENT 'made' AS SELECT 1 AS a, array('x') AS b, named_struct('y', array(1)) c"
    )
    sandbox.rows(f"INSERT INTO {table} VALUES (NULL, array(NULL), NULL)")
    sandbox.rows(f"UPDATE {table} SET b = NULL WHERE a = 1")
    assert sandbox.rows(f"SELECT * FROM {table} ORDER BY a NULLS FIRST") == [
        [None, "[null]", None],
        ["1", None, '{"y":["1"]}'],
    ]
    assert sandbox.client.tables.get(table).comment == "made"


def test_a_denied_statement_has_the_shape_that_a_rule_gives_it(sandbox: Sandbox) -> None:
    told = "[INSUFFICIENT_PERMISSIONS] Insufficient privileges:\nUser does not have SELECT on Table 'c.s.t'."
    error = {"error_code": "BAD_REQUEST", "message": told, "sqlstate": "42501"}
    sandbox.server.fault(match={"kind": "SELECT"}, action={"statement_error": error})
    assert sandbox.failure("SELECT 1") == f"{told} SQLSTATE: 42501"
