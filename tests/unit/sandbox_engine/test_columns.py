"""Columns that the server fills: computed, period, identity, rowversion; and what the catalog says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

Run = Callable[[str], Any]


@pytest.fixture(autouse=True)
def _drop(run: Run) -> Iterator[None]:
    yield
    run("IF @@TRANCOUNT > 0 ROLLBACK; DROP TABLE IF EXISTS col_t, col_u, col_v")


def test_computed_columns_are_computed(run: Run) -> None:
    out = run(
        "CREATE TABLE col_t (a int NOT NULL, b varchar(10) NULL, c AS a * 2, d AS UPPER(b) + '!' PERSISTED, "
        "e AS ISNULL(a, 0) PERSISTED NOT NULL UNIQUE); INSERT INTO col_t VALUES (1, 'x'); "
        "INSERT INTO col_t (b, a) VALUES ('y', 2); UPDATE col_t SET a += 10 WHERE a = 1; SELECT * FROM col_t ORDER BY "
        "a; SELECT name, definition, is_persisted, is_computed FROM sys.computed_columns WHERE object_id = "
        "OBJECT_ID('col_t') ORDER BY column_id; SELECT name, is_computed, is_nullable FROM sys.columns WHERE object_id "
        "= OBJECT_ID('col_t') ORDER BY column_id"
    )
    assert not out.errors, out.messages
    assert out.rows[0] == [(2, "y", 4, "Y!", 2), (11, "x", 22, "X!", 11)]
    assert out.rows[1] == [
        ("c", "(a * 2)", False, True), ("d", "(UPPER(b) + '!')", True, True), ("e", "(ISNULL(a, 0))", True, True)
    ]  # fmt: skip
    assert out.rows[2] == [("a", False, False), ("b", False, True), ("c", True, True), ("d", True, True),
                           ("e", True, False)]  # fmt: skip
    assert [c.computed for c in out.columns[0]] == [False, False, True, True, True]
    assert run("ALTER TABLE col_t ADD f AS a + 1; SELECT f FROM col_t WHERE a = 2").rows == [[(3,)]]


@pytest.mark.parametrize(
    ("sql", "number"),
    [
        ("INSERT INTO col_t (a, c) VALUES (1, 2)", 271),
        ("UPDATE col_t SET c = 2", 271),
        ("INSERT INTO col_t VALUES (1, 2)", 213),
        ("ALTER TABLE col_t ADD d AS c + 1", 1759),
        ("ALTER TABLE col_t ADD d AS GETDATE()", 50100),
        ("ALTER TABLE col_t ADD d AS NEWID()", 50100),
        ("ALTER TABLE col_t ADD d AS @@SPID", 50100),
        ("ALTER TABLE col_t ADD d AS DB_NAME()", 50100),
        ("ALTER TABLE col_t ADD d AS (SELECT 1)", 1046),
        ("ALTER TABLE col_t ADD d AS nope", 207),
        ("ALTER TABLE col_t DROP COLUMN a", 5074),
    ],
)
def test_what_can_not_be_done_with_a_computed_column(run: Run, sql: str, number: int) -> None:
    assert not run("CREATE TABLE col_t (a int, c AS a * 2)").errors
    assert run(sql).errors == [number]


PERIOD = (
    "CREATE TABLE col_t (id int PRIMARY KEY, v int, f datetime2(3) GENERATED ALWAYS AS ROW START HIDDEN NOT NULL, "
    "u datetime2(3) GENERATED ALWAYS AS ROW END HIDDEN NOT NULL, PERIOD FOR SYSTEM_TIME (f, u))"
)


def test_a_period_is_filled_in_and_hidden(run: Run) -> None:
    out = run(
        f"{PERIOD}; INSERT INTO col_t VALUES (1, 1); SELECT * FROM col_t; "
        "SELECT CASE WHEN ABS(DATEDIFF(second, f, SYSUTCDATETIME())) < 60 THEN 'now' END, u FROM col_t; "
        "SELECT name, generated_always_type, generated_always_type_desc, is_hidden FROM sys.columns WHERE object_id = "
        "OBJECT_ID('col_t') AND generated_always_type > 0 ORDER BY column_id; "
        "SELECT temporal_type FROM sys.tables WHERE name = 'col_t'"
    )
    assert not out.errors, out.messages
    assert out.rows[0] == [(1, 1)]
    assert out.rows[1] == [("now", 3155378975999990000)]
    assert out.rows[2:] == [[("f", 1, "AS_ROW_START", True), ("u", 2, "AS_ROW_END", True)], [(0,)]]
    before = run("SELECT f FROM col_t").rows[0][0][0]
    run("WAITFOR DELAY '00:00:00.020'; UPDATE col_t SET v = 2")
    assert run("SELECT f FROM col_t").rows[0][0][0] > before


@pytest.mark.parametrize(
    ("sql", "number"),
    [
        ("INSERT INTO col_t (id, f) VALUES (1, '2020-01-01')", 13536),
        ("INSERT INTO col_t (id, f) SELECT 1, '2020-01-01'", 13536),
        ("UPDATE col_t SET u = '2020-01-01'", 13537),
        ("CREATE TABLE col_u (a datetime2 GENERATED ALWAYS AS ROW START NOT NULL)", 13509),
        (PERIOD.replace("col_t", "col_u") + " WITH (SYSTEM_VERSIONING = ON)", 50100),
        ("ALTER TABLE col_t SET (SYSTEM_VERSIONING = ON)", 50100),
    ],
)
def test_what_can_not_be_done_with_a_period(run: Run, sql: str, number: int) -> None:
    assert not run(PERIOD).errors
    assert run(sql).errors == [number]
    assert run("INSERT INTO col_t (id, f, u) VALUES (1, DEFAULT, DEFAULT)").errors == []


def test_identity_columns_their_counter_and_their_errors(run: Run) -> None:
    out = run(
        "CREATE TABLE col_t (id int IDENTITY(100, 10), v int); SELECT IDENT_CURRENT('col_t'); "
        "SET IDENTITY_INSERT col_t ON; INSERT INTO col_t (id, v) VALUES (5, 0); SET IDENTITY_INSERT col_t OFF; "
        "INSERT INTO col_t (v) VALUES (1); SET IDENTITY_INSERT col_t ON; INSERT INTO col_t (id, v) VALUES (500, 2); "
        "SET IDENTITY_INSERT col_t OFF; INSERT INTO col_t (v) VALUES (3); SELECT id FROM col_t ORDER BY v; "
        "SELECT IDENT_CURRENT('col_t'); SELECT seed_value, increment_value, last_value FROM sys.identity_columns "
        "WHERE object_id = OBJECT_ID('col_t')"
    )
    assert not out.errors, out.messages
    assert [[int(v) for r in rows for v in r] for rows in out.rows] == [[100], [5, 100, 500, 510], [510],
                                                                        [100, 10, 510]]  # fmt: skip
    assert run("INSERT INTO col_t (id, v) VALUES (1, 1)").errors == [544]
    assert run("UPDATE col_t SET id = 1").errors == [8102]
    assert run("SET IDENTITY_INSERT col_t ON; INSERT INTO col_t (v) VALUES (1)").errors == [545]
    assert run("SET IDENTITY_INSERT col_t ON; INSERT INTO col_t VALUES (1, 1)").errors == [8101]


def test_a_rowversion_takes_no_value_but_default(run: Run) -> None:
    assert not run("CREATE TABLE col_t (id int, rv rowversion)").errors
    assert run("INSERT INTO col_t VALUES (1, DEFAULT); INSERT INTO col_t (id) VALUES (2)").errors == []
    assert run("INSERT INTO col_t VALUES (1, 0x01)").errors == [273]
    assert run("INSERT INTO col_t (id, rv) SELECT 1, 0x01").errors == [273]
    assert run("INSERT INTO col_t VALUES (1)").errors == [213]
    assert run("UPDATE col_t SET rv = 0x01").errors == [272]


def test_select_into_takes_the_identity_along_but_not_through_a_join(run: Run) -> None:
    out = run(
        "CREATE TABLE col_t (id int IDENTITY(3, 2), v int); INSERT INTO col_t (v) VALUES (1), (2); "
        "SELECT * INTO col_u FROM col_t; INSERT INTO col_u (v) VALUES (3); SELECT id FROM col_u ORDER BY v; "
        "SELECT a.id, a.v INTO col_v FROM col_t a JOIN col_u b ON a.id = b.id; "
        "SELECT OBJECT_NAME(object_id), is_identity, is_nullable FROM sys.columns WHERE name = 'id' AND "
        "OBJECT_NAME(object_id) LIKE 'col[_][uv]' ORDER BY 1"
    )
    assert (out.errors, out.rows) == ([], [[(3,), (5,), (7,)], [("col_u", True, False), ("col_v", False, False)]])
