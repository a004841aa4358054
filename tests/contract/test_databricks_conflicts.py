"""Statements that overlap in time on the Databricks stand-in: who conflicts, who doesn't, and that nothing is lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from databricks.sdk.service.sql import StatementResponse, StatementState

from tests.conftest import StandIn
from tests.contract.databricks_fixture import Sandbox, ended, message_of, signed_in, start_databricks, state_of

APPEND = "[DELTA_CONCURRENT_APPEND.ROW_LEVEL_CHANGES] Transaction conflict detected."
DELETE_READ = "[DELTA_CONCURRENT_DELETE_READ.ROW_LEVEL_CHANGES] Transaction conflict detected"
METADATA = "[DELTA_METADATA_CHANGED]"

UPDATE = "UPDATE {t} SET s = '{by}' WHERE id = {id}"
UPSERT = (
    "MERGE INTO {t} AS t USING (SELECT {id} AS id) AS s ON t.id = s.id WHEN MATCHED THEN UPDATE SET s = '{by}' "
    "WHEN NOT MATCHED THEN INSERT (id, s) VALUES (s.id, '{by}')"
)
SUBMIT = (
    "MERGE INTO {t} AS t USING (SELECT {id} AS id) AS s ON t.id = s.id "
    "WHEN NOT MATCHED THEN INSERT (id, s) VALUES (s.id, '{by}')"
)
DELETE = "DELETE FROM {t} WHERE id = {id}"
INSERT = "INSERT INTO {t} VALUES ({id}, '{by}')"
REPLACE = "CREATE OR REPLACE TABLE {t} AS SELECT {id} AS id, '{by}' AS s"
OVERWRITE = "INSERT OVERWRITE {t} VALUES ({id}, '{by}')"


@pytest.fixture
def sandbox(lakehouse_faults: StandIn) -> Iterator[Sandbox]:
    with signed_in(lakehouse_faults) as made:
        yield made


def table_of_five(sandbox: Sandbox) -> str:
    table = sandbox.table()
    sandbox.rows(f"CREATE TABLE {table} (id INT, s STRING)")
    sandbox.rows(f"INSERT INTO {table} SELECT id, 'old' FROM range(1, 6)")
    return table


def overtaken(sandbox: Sandbox, slow: str, *quick: str) -> StatementResponse:
    """Let a statement be accepted, then others run and end, then it runs: its answer."""
    rule = sandbox.server.fault(match={"statement": slow}, action={"hold_statement": True})
    answer = sandbox.sql(slow, wait_timeout="0s")
    assert sandbox.server.hits(rule) == 1
    for each in quick:
        assert message_of(sandbox.sql(each)) == ""
    sandbox.server.clear()
    return ended(sandbox, answer.statement_id)


def written(template: str, table: str, number: int, by: str) -> str:
    return template.format(t=table, id=number, by=by)


@pytest.mark.parametrize(
    ("mine", "my_id", "theirs", "their_id", "told"),
    [
        (UPDATE, 1, UPDATE, 1, APPEND),
        (UPDATE, 1, UPSERT, 1, APPEND),
        (UPDATE, 1, DELETE, 1, DELETE_READ),
        (DELETE, 1, UPDATE, 1, APPEND),
        (DELETE, 1, DELETE, 1, DELETE_READ),
        (UPSERT, 1, UPDATE, 1, APPEND),
        (UPSERT, 9, UPSERT, 9, APPEND),
        (SUBMIT, 9, SUBMIT, 9, APPEND),
        (UPDATE, 1, OVERWRITE, 1, APPEND),
        (OVERWRITE, 1, UPDATE, 1, APPEND),
        (UPDATE, 1, REPLACE, 1, METADATA),
        (INSERT, 1, REPLACE, 1, METADATA),
    ],
)
def test_the_later_of_two_that_touch_the_same_rows_fails_with_2d521(
    sandbox: Sandbox, mine: str, my_id: int, theirs: str, their_id: int, told: str
) -> None:
    table = table_of_five(sandbox)
    answer = overtaken(sandbox, written(mine, table, my_id, "mine"), written(theirs, table, their_id, "theirs"))
    assert state_of(answer) is StatementState.FAILED
    assert message_of(answer).startswith(told)
    assert message_of(answer).endswith("SQLSTATE: 2D521")
    assert sandbox.rows(f"SELECT count(*) FROM {table} WHERE s = 'mine'") == [["0"]]


@pytest.mark.parametrize(
    ("mine", "my_id", "theirs", "their_id"),
    [
        (UPDATE, 1, UPDATE, 2),
        (UPDATE, 1, DELETE, 2),
        (UPSERT, 1, UPSERT, 2),
        (UPSERT, 8, UPSERT, 9),
        (UPSERT, 1, INSERT, 1),
        (INSERT, 1, UPDATE, 1),
        (INSERT, 1, UPSERT, 1),
        (INSERT, 9, INSERT, 9),
    ],
)
def test_other_rows_and_blind_appends_never_conflict(
    sandbox: Sandbox, mine: str, my_id: int, theirs: str, their_id: int
) -> None:
    table = table_of_five(sandbox)
    answer = overtaken(sandbox, written(mine, table, my_id, "mine"), written(theirs, table, their_id, "theirs"))
    assert message_of(answer) == ""
    assert sandbox.rows(f"SELECT id FROM {table} WHERE s = 'mine'") == [[str(my_id)]]
    kept = sandbox.rows(f"SELECT id FROM {table} WHERE s = 'theirs'")
    assert kept == ([] if theirs == DELETE else [[str(their_id)]])


def test_a_row_that_no_longer_matches_conflicts_all_the_same(sandbox: Sandbox) -> None:
    """The case of two reports of one event: the second would find nothing to do if it looked at the newest version."""
    table = table_of_five(sandbox)
    merge = (
        "MERGE INTO {t} t USING (SELECT 1 AS id) s ON t.id = s.id AND t.s IN ('old') "
        "WHEN MATCHED THEN UPDATE SET s = '{by}'"
    )
    answer = overtaken(sandbox, merge.format(t=table, by="mine"), merge.format(t=table, by="theirs"))
    assert message_of(answer).startswith(APPEND)
    again = sandbox.rows(merge.format(t=table, by="mine"))
    assert again == [["0", "0", "0", "0"]]


def test_a_merge_does_not_see_rows_appended_after_it_began(sandbox: Sandbox) -> None:
    """WriteSerializable: a submit by MERGE that races a plain INSERT of the same key makes two rows."""
    table = table_of_five(sandbox)
    mine, theirs = written(SUBMIT, table, 9, "mine"), written(INSERT, table, 9, "theirs")
    other = written(UPDATE, table, 3, "other")
    assert message_of(overtaken(sandbox, mine, theirs, other)) == ""
    assert sandbox.rows(f"SELECT s FROM {table} WHERE id = 9 ORDER BY s") == [["mine"], ["theirs"]]
    assert sandbox.rows(f"SELECT s FROM {table} WHERE id = 3") == [["other"]]


def test_rows_are_told_apart_after_many_changes_of_the_same_files(sandbox: Sandbox) -> None:
    table = table_of_five(sandbox)
    sandbox.rows(f"INSERT INTO {table} SELECT id, 'old' FROM range(100, 100000)")
    for number in range(3):
        sandbox.rows(f"UPDATE {table} SET s = 'u{number}' WHERE id % 7 = {number} AND id >= 100")
    mine = f"UPDATE {table} SET s = 'mine' WHERE id % 2 = 0 AND id >= 100"
    assert message_of(overtaken(sandbox, mine, f"DELETE FROM {table} WHERE id % 2 = 1 AND id >= 100")) == ""
    assert sandbox.rows(f"SELECT count(*), count_if(s = 'mine') FROM {table} WHERE id >= 100") == [["49950", "49950"]]
    theirs = f"DELETE FROM {table} WHERE id = 99998"
    assert message_of(overtaken(sandbox, mine, theirs)).startswith(DELETE_READ)
    assert sandbox.rows(f"SELECT count(*) FROM {table} WHERE id >= 100") == [["49949"]]


@pytest.mark.parametrize("clause", ["PARTITIONED BY (s)", "TBLPROPERTIES('delta.enableDeletionVectors' = 'false')"])
def test_without_row_level_concurrency_files_decide(sandbox: Sandbox, clause: str) -> None:
    table = sandbox.table()
    sandbox.rows(f"CREATE TABLE {table} (id INT, n INT, s STRING) {clause}")
    sandbox.rows(f"INSERT INTO {table} SELECT /*+ COALESCE(1) */ id, 0, 'one' FROM range(5)")
    mine, theirs = (f"UPDATE {table} SET n = {each} WHERE id = {each}" for each in (1, 2))
    assert message_of(overtaken(sandbox, mine, theirs)).startswith(APPEND)


def test_the_launcher_may_let_writers_take_turns_instead(tmp_path: Path) -> None:
    with start_databricks(tmp_path / "data", "--writers", "take-turns") as own:
        table = table_of_five(own)
        first, second = written(UPDATE, table, 1, "mine"), written(UPDATE, table, 1, "theirs")
        assert message_of(overtaken(own, first, second)) == ""
        assert own.rows(f"SELECT s FROM {table} WHERE id = 1") == [["mine"]]


def test_eight_clients_poll_and_report_at_once_and_no_update_is_lost(sandbox: Sandbox) -> None:
    """Each adds to a row of its own and to one that all share; whoever conflicts tries again."""
    clients, rounds = 8, 2
    table = sandbox.table()
    sandbox.rows(f"CREATE TABLE {table} (id STRING, n INT)")
    sandbox.rows(f"INSERT INTO {table} SELECT concat('e', id), 0 FROM range({clients + 1})")
    merge = (
        f"MERGE INTO {table} t USING (SELECT explode(from_json(:ids, 'ARRAY<STRING>')) AS id) s ON t.id <=> s.id "
        "WHEN MATCHED THEN UPDATE SET n = t.n + 1"
    )
    wrong: list[str] = []

    def work(number: int) -> None:
        with signed_in(sandbox.server) as own:
            for _ in range(rounds):
                for row in (number, clients):
                    told = "2D521"
                    while "2D521" in told:
                        told = message_of(own.sql(merge, values={"ids": json.dumps([f"e{row}"])}))
                        if told and (row == number or "2D521" not in told):
                            wrong.append(told)
                            break
                if len(own.rows(f"SELECT id, n FROM {table} WHERE n >= 0 ORDER BY n DESC, id LIMIT 20")) != clients + 1:
                    wrong.append("a poll saw half a change")
                wrong.extend(filter(None, [message_of(own.sql(f"INSERT INTO {table} VALUES ('x', -1)"))]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    expected = [[f"e{number}", str(rounds)] for number in range(clients)] + [[f"e{clients}", str(clients * rounds)]]
    assert sandbox.rows(f"SELECT id, n FROM {table} WHERE n >= 0 ORDER BY id") == expected
    assert sandbox.rows(f"SELECT count(*) FROM {table} WHERE n < 0") == [[str(clients * rounds)]]
