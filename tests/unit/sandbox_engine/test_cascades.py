"""Cascading referential integrity ("Primary and foreign key constraints"), @@ROWCOUNT, the catalog's view of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

Run = Callable[[str], Any]


@pytest.fixture(autouse=True)
def _drop(run: Run) -> Iterator[None]:
    yield
    run("IF @@TRANCOUNT > 0 ROLLBACK; DROP TABLE IF EXISTS cas_g, cas_c, cas_p")


def make(run: Run, action: str, column: str = "varchar(5) NULL") -> None:
    out = run(
        "CREATE TABLE cas_p (k varchar(5) NOT NULL CONSTRAINT cas_pk PRIMARY KEY, x int);"
        f"CREATE TABLE cas_c (id int PRIMARY KEY, k {column} CONSTRAINT cas_fk REFERENCES cas_p (k) {action}, "
        "rv rowversion); INSERT INTO cas_p VALUES ('a', 1), ('b', 2), ('z', 0);"
        "INSERT INTO cas_c (id, k) VALUES (1, 'A'), (2, 'b'), (3, NULL)"
    )
    assert not out.errors, out.messages


@pytest.mark.parametrize(
    ("action", "column", "change", "kept"),
    [
        ("ON DELETE CASCADE", "varchar(5) NULL", "DELETE cas_p WHERE k = 'a'", [(2, "b"), (3, None)]),
        ("ON DELETE SET NULL", "varchar(5) NULL", "DELETE cas_p WHERE k = 'a'", [(1, None), (2, "b"), (3, None)]),
        ("ON DELETE SET DEFAULT", "varchar(5) DEFAULT 'z'", "DELETE cas_p WHERE k = 'a'",
         [(1, "z"), (2, "b"), (3, None)]),
        ("ON UPDATE CASCADE", "varchar(5) NULL", "UPDATE cas_p SET k = 'Q' WHERE k = 'a'",
         [(1, "Q"), (2, "b"), (3, None)]),
        ("ON UPDATE SET NULL", "varchar(5) NULL", "UPDATE cas_p SET k = 'Q' WHERE k = 'a'",
         [(1, None), (2, "b"), (3, None)]),
        ("ON UPDATE SET DEFAULT", "varchar(5) DEFAULT 'z'", "UPDATE cas_p SET k = 'Q' WHERE k = 'a'",
         [(1, "z"), (2, "b"), (3, None)]),
        ("ON UPDATE CASCADE", "varchar(5) NULL", "UPDATE cas_p SET x = 9", [(1, "A"), (2, "b"), (3, None)]),
    ],
)  # fmt: skip
def test_an_action_on_a_string_key_changes_the_children_and_counts_the_parent(
    run: Run, action: str, column: str, change: str, kept: list[tuple[Any, ...]]
) -> None:
    make(run, action, column)
    before = dict(run("SELECT id, rv FROM cas_c").rows[0])
    out = run(f"{change}; SELECT @@ROWCOUNT; SELECT id, k FROM cas_c ORDER BY id")
    assert not out.errors, out.messages
    assert out.rows == [[(3 if "x = 9" in change else 1,)], kept]
    after = dict(run("SELECT id, rv FROM cas_c").rows[0])
    if 1 in after:  # a cascade is an update: its rowversion moves on
        assert (after[1] != before[1]) == (kept[0] != (1, "A"))
    assert after[2] == before[2]


def test_cascades_go_on_through_several_levels(run: Run) -> None:
    out = run(
        "CREATE TABLE cas_p (id int PRIMARY KEY); CREATE TABLE cas_c (id int PRIMARY KEY REFERENCES cas_p ON DELETE "
        "CASCADE ON UPDATE CASCADE); CREATE TABLE cas_g (n int IDENTITY PRIMARY KEY, id int NULL REFERENCES cas_c ON "
        "DELETE SET NULL ON UPDATE CASCADE); INSERT INTO cas_p VALUES (1), (2); INSERT INTO cas_c VALUES (1), (2); "
        "INSERT INTO cas_g (id) VALUES (1), (1), (2); UPDATE cas_p SET id = 5 WHERE id = 1; SELECT @@ROWCOUNT; "
        "DELETE cas_p WHERE id = 2; SELECT @@ROWCOUNT; SELECT id FROM cas_g ORDER BY n; SELECT id FROM cas_c"
    )
    assert (out.errors, out.rows) == ([], [[(1,)], [(1,)], [(5,), (5,), (None,)], [(5,)]])


def test_no_action_is_547_and_a_default_without_a_parent_too(run: Run) -> None:
    make(run, "ON DELETE SET DEFAULT", "varchar(5) DEFAULT 'no'")
    assert run("DELETE cas_p WHERE k = 'a'").errors == [547]
    assert run("UPDATE cas_p SET k = 'Q' WHERE k = 'a'").errors == [547]
    assert run("SELECT COUNT(*) FROM cas_p").rows == [[(3,)]]
    run("ALTER TABLE cas_c DROP CONSTRAINT cas_fk")
    assert run("DELETE cas_p WHERE k = 'a'").errors == []


def test_the_catalog_names_actions_and_columns(run: Run) -> None:
    make(run, "ON DELETE CASCADE ON UPDATE SET NULL")
    out = run(
        "SELECT name, delete_referential_action, delete_referential_action_desc, update_referential_action, "
        "update_referential_action_desc, OBJECT_NAME(parent_object_id), OBJECT_NAME(referenced_object_id), is_disabled "
        "FROM sys.foreign_keys WHERE name = 'cas_fk'; SELECT c.parent_column_id, c.referenced_column_id FROM "
        "sys.foreign_key_columns c JOIN sys.foreign_keys k ON k.object_id = c.constraint_object_id "
        "WHERE k.name = 'cas_fk'"
    )
    assert out.rows == [[("cas_fk", 1, "CASCADE", 2, "SET_NULL", "cas_c", "cas_p", False)], [(2, 1)]]


@pytest.mark.parametrize(
    ("sql", "number"),
    [
        ("CREATE TABLE cas_c (k int NOT NULL REFERENCES cas_p ON DELETE SET NULL)", 1761),
        ("CREATE TABLE cas_c (k int NOT NULL REFERENCES cas_p ON DELETE SET DEFAULT)", 1762),
        ("CREATE TABLE cas_c (a int REFERENCES cas_p ON DELETE CASCADE, b int REFERENCES cas_p ON DELETE CASCADE)",
         1785),
        ("CREATE TABLE cas_c (a int PRIMARY KEY, b int REFERENCES cas_c ON DELETE CASCADE)", 1785),
        ("CREATE TABLE cas_c (a int, b int DEFAULT DATEPART(year, GETDATE()) REFERENCES cas_p ON DELETE SET DEFAULT)",
         50100),
    ],
)  # fmt: skip
def test_an_action_that_can_not_be_is_refused(run: Run, sql: str, number: int) -> None:
    run("CREATE TABLE cas_p (id int PRIMARY KEY)")
    assert run(sql).errors == [number]
    assert run("SELECT OBJECT_ID('cas_c')").rows == [[(None,)]]
