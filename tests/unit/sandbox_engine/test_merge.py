"""MERGE ("MERGE (Transact-SQL)")."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sql_databricks_bridge.sandbox.sql_server.contract import Session

Run = Callable[[str], Any]


@pytest.fixture(autouse=True)
def _tables(run: Run) -> Iterator[None]:
    out = run(
        "CREATE TABLE mrg_t (n int IDENTITY, k varchar(5) NOT NULL PRIMARY KEY, v int NULL, d int DEFAULT 7, "
        "rv rowversion);"
        "CREATE TABLE mrg_s (k varchar(5), v int); INSERT INTO mrg_t (k, v) VALUES ('a', 1), ('b', 2), ('c', 3);"
        "INSERT INTO mrg_s VALUES ('A', 10), ('b ', NULL), ('x', 30)"
    )
    assert not out.errors, out.messages
    yield
    run("IF @@TRANCOUNT > 0 ROLLBACK; DROP TABLE IF EXISTS mrg_t, mrg_s, mrg_log")


FULL = (
    "MERGE mrg_t WITH (HOLDLOCK) AS t USING mrg_s AS s ON t.k = s.k "
    "WHEN MATCHED AND s.v IS NULL THEN DELETE WHEN MATCHED THEN UPDATE SET v += s.v "
    "WHEN NOT MATCHED BY TARGET THEN INSERT (k, v) VALUES (s.k, s.v) "
    "WHEN NOT MATCHED BY SOURCE AND t.v > 2 THEN UPDATE SET v = -1"
)


def test_each_row_meets_its_when_and_all_are_counted(run: Run) -> None:
    out = run(f"{FULL}; SELECT @@ROWCOUNT; SELECT k, v, d FROM mrg_t ORDER BY k")
    assert (out.errors, out.rows) == ([], [[(4,)], [("a", 11, 7), ("c", -1, 7), ("x", 30, 7)]])


def test_output_tells_the_action_and_both_sides(run: Run) -> None:
    out = run(f"{FULL} OUTPUT $action, deleted.k, inserted.k, inserted.v, s.v;")
    assert sorted(out.rows[0], key=str) == sorted(
        [
            ("DELETE", "b", None, None, None),
            ("UPDATE", "a", "a", 11, 10),
            ("UPDATE", "c", "c", -1, None),
            ("INSERT", None, "x", 30, 30),
        ],
        key=str,
    )
    assert out.types[0] == "nvarchar(10)"


def test_output_into_a_table(run: Run) -> None:
    out = run(
        "CREATE TABLE mrg_log (a nvarchar(10), k varchar(5)); MERGE INTO mrg_t t USING (VALUES ('q', 1)) s (k, v) ON "
        "s.k = t.k WHEN NOT MATCHED THEN INSERT (k) VALUES (s.k) OUTPUT $action, inserted.k INTO mrg_log; "
        "SELECT * FROM mrg_log; SELECT CAST(SCOPE_IDENTITY() AS int)"
    )
    assert (out.errors, out.rows) == ([], [[("INSERT", "q")], [(4,)]])


def test_an_update_moves_the_rowversion(run: Run) -> None:
    before = dict(run("SELECT k, rv FROM mrg_t").rows[0])
    run(f"{FULL};")
    after = dict(run("SELECT k, rv FROM mrg_t").rows[0])
    assert after["a"] > before["a"]


@pytest.mark.parametrize(
    ("sql", "number"),
    [
        ("MERGE mrg_t t USING mrg_s s ON t.k = s.k WHEN MATCHED THEN DELETE", 10713),
        ("MERGE mrg_t t USING mrg_s s ON 1 = 1 WHEN MATCHED THEN UPDATE SET v = 1;", 8672),
        ("MERGE mrg_t t USING mrg_s s ON t.k = s.k WHEN NOT MATCHED THEN DELETE;", 10711),
        ("MERGE mrg_t t USING mrg_s s ON t.k = s.k WHEN MATCHED THEN UPDATE SET v = 1 "
         "WHEN MATCHED AND s.v = 1 THEN DELETE;", 5324),
        ("MERGE mrg_t t USING mrg_s s ON t.k = s.k WHEN MATCHED AND s.v = 1 THEN DELETE "
         "WHEN MATCHED THEN DELETE;", 10714),
        ("MERGE mrg_t t USING mrg_s s ON t.k = s.k WHEN NOT MATCHED THEN INSERT (k) VALUES (t.k);", 4104),
        ("MERGE mrg_t t USING mrg_s s ON t.k = s.k WHEN NOT MATCHED THEN INSERT (k) VALUES (NULL);", 515),
        ("MERGE mrg_t t USING mrg_s s ON t.k = s.k WHEN NOT MATCHED THEN INSERT (n, k) VALUES (1, 'x');", 544),
        ("MERGE mrg_t t USING mrg_s s ON t.k = s.k WHEN MATCHED THEN UPDATE SET rv = 0x00;", 272),
        ("MERGE mrg_t t USING mrg_s s ON t.v = s.v WHEN NOT MATCHED THEN INSERT (k) VALUES (s.k);", 2627),
    ],
)  # fmt: skip
def test_what_is_wrong_has_its_number_and_changes_nothing(run: Run, sql: str, number: int) -> None:
    assert run(sql).errors == [number]
    assert run("SELECT k, v FROM mrg_t ORDER BY k").rows == [[("a", 1), ("b", 2), ("c", 3)]]


def test_triggers_of_each_action_fire(run: Run) -> None:
    run("CREATE TABLE mrg_log (a nvarchar(10), n int)")
    for verb, table in (("INSERT", "inserted"), ("UPDATE", "inserted"), ("DELETE", "deleted")):
        run(f"CREATE TRIGGER mrg_{verb} ON mrg_t AFTER {verb} AS INSERT INTO mrg_log SELECT '{verb}', COUNT(*) "
            f"FROM {table}")  # fmt: skip
    out = run(f"{FULL}; SELECT @@ROWCOUNT; SELECT a, n FROM mrg_log ORDER BY a")
    assert (out.errors, out.rows) == ([], [[(4,)], [("DELETE", 1), ("INSERT", 1), ("UPDATE", 2)]])


def test_holdlock_keeps_others_from_inserting(
    session: Session, connect: Callable[..., Session], on: Callable[[Session, str], Any]
) -> None:
    on(session, f"BEGIN TRAN; {FULL};")
    assert on(connect(), "SET LOCK_TIMEOUT 20; INSERT INTO mrg_t (k) VALUES ('y')").errors == [1222]
