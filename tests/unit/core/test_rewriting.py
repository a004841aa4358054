"""Queries rewritten so that nothing gets lost: what is put around them, what stays, and what is left alone."""

from __future__ import annotations

import hashlib

import pytest

from sql_databricks_bridge.core.ports import ResultColumn
from sql_databricks_bridge.core.rewriting import Rewritten, rewritten
from sql_databricks_bridge.errors import ResultShapeError
from sql_databricks_bridge.models.jobs import ResolvedQuery
from sql_databricks_bridge.models.type_policies import POLICIES, Companion, Form, TypePolicies

DIGIT = "CONVERT(smallint, DATEPART(nanosecond, q.[v]) / 100 % 10) AS [v__100ns]"


def column(name: str, sql_type: str = "int") -> ResultColumn:
    return ResultColumn(name, sql_type, True, 8, 0, 0)


def rewrite(sql: str, *columns: ResultColumn, **policies: str) -> Rewritten:
    types = TypePolicies(tuple(policies.items()))
    query = ResolvedQuery("q", "queries/q.sql", sql, hashlib.sha256(sql.encode()).hexdigest(), types=types)
    return rewritten(query, columns or (column("id"), column("v", "datetime2(7)")))


def one_line(sql: str) -> str:
    return " ".join(sql.split())


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT id, v FROM t", f"SELECT q.[id], q.[v], {DIGIT} FROM (SELECT id, v FROM t ) AS q"),
        (
            "WITH a AS (SELECT 1 AS x), b (y) AS (SELECT 2) SELECT * FROM a, b",
            f"WITH a AS (SELECT 1 AS x), b (y) AS (SELECT 2) SELECT q.[id], q.[v], {DIGIT} "
            "FROM (SELECT * FROM a, b ) AS q",
        ),
        (
            "SELECT id, v FROM t ORDER BY v DESC, 1, [id] ASC OPTION (RECOMPILE)",
            f"SELECT q.[id], q.[v], {DIGIT} FROM (SELECT id, v FROM t ) AS q "
            "ORDER BY q.[v] DESC, q.[id], q.[id] ASC OPTION (RECOMPILE)",
        ),
        (
            "SELECT id, v FROM t ORDER BY t.w, LEN(id) DESC",
            f"SELECT q.[id], q.[v], {DIGIT} FROM (SELECT id, v, t.w AS [bridge_order_1], LEN(id) AS [bridge_order_2] "
            "FROM t ) AS q ORDER BY q.[bridge_order_1], q.[bridge_order_2] DESC",
        ),
        (
            "SELECT TOP (5) WITH TIES id, v FROM t ORDER BY w",
            f"SELECT q.[id], q.[v], {DIGIT} FROM (SELECT TOP (5) WITH TIES id, v, w AS [bridge_order_1] FROM t "
            "ORDER BY w ) AS q ORDER BY q.[bridge_order_1]",
        ),
        (
            "SELECT id, v FROM t ORDER BY id OFFSET 5 ROWS FETCH NEXT 3 ROWS ONLY",
            f"SELECT q.[id], q.[v], {DIGIT} FROM (SELECT id, v FROM t ORDER BY id OFFSET 5 ROWS FETCH NEXT 3 ROWS ONLY "
            ") AS q ORDER BY q.[id]",
        ),
        (
            "SELECT DISTINCT t.id, t.v FROM t ORDER BY t.v",
            f"SELECT q.[id], q.[v], {DIGIT} FROM (SELECT DISTINCT t.id, t.v FROM t ) AS q ORDER BY q.[v]",
        ),
        (
            "SELECT id, v FROM t UNION ALL (SELECT id, v FROM u) ORDER BY 2",
            f"SELECT q.[id], q.[v], {DIGIT} FROM (SELECT id, v FROM t UNION ALL (SELECT id, v FROM u) ) AS q "
            "ORDER BY q.[v]",
        ),
        (
            "SELECT id, v = MAX(v) FROM t GROUP BY id HAVING MAX(v) > @since ORDER BY COUNT(*)",
            f"SELECT q.[id], q.[v], {DIGIT} FROM (SELECT id, v = MAX(v), COUNT(*) AS [bridge_order_1] FROM t "
            "GROUP BY id HAVING MAX(v) > @since ) AS q ORDER BY q.[bridge_order_1]",
        ),
        (
            "SELECT id, v, ROW_NUMBER() OVER (ORDER BY id) AS n FROM t",
            f"SELECT q.[id], q.[v], {DIGIT} FROM (SELECT id, v, ROW_NUMBER() OVER (ORDER BY id) AS n FROM t ) AS q",
        ),
        ("SELECT 1 AS id, @now AS v", f"SELECT q.[id], q.[v], {DIGIT} FROM (SELECT 1 AS id, @now AS v ) AS q"),
    ],
)
def test_clauses_of_the_outermost_select_keep_their_place_and_meaning(sql: str, expected: str) -> None:
    """CTEs and OPTION stay outside; TOP and OFFSET keep their ORDER BY; any other ORDER BY goes to the outer query."""
    found = rewrite(sql)
    assert one_line(found.query.sql) == expected
    assert found.left_out is None


def test_lines_keep_their_numbers_and_a_comment_swallows_nothing() -> None:
    """Line n of the file stays line n, and a `--` comment at the end or behind the list hides nothing of ours."""
    sql = "-- all\nSELECT id, -- the key\n       v -- when\nFROM t -- here\nORDER BY w -- last"
    lines = rewrite(sql).query.sql.split("\n")
    assert lines[1:5] == [
        f"SELECT q.[id], q.[v], {DIGIT} FROM (SELECT id, -- the key",
        "       v, w AS [bridge_order_1] -- when",
        "FROM t -- here",
        "           -- last",
    ]
    assert lines[5] == ") AS q ORDER BY q.[bridge_order_1]"


def test_a_query_that_needs_nothing_is_sent_as_it_stands() -> None:
    """Not a character changes where every type is kept by the driver, or the policy wants no more."""
    plain = rewrite("SELECT id, v FROM t", column("id"), column("v", "datetime2(6)"))
    lossy = rewrite("SELECT id, v FROM t", datetime2="microseconds")
    assert (plain.query.sql, lossy.query.sql) == ("SELECT id, v FROM t", "SELECT id, v FROM t")
    assert [origin.losses for origin in plain.origins] == [(), ()]
    assert [bool(origin.losses) for origin in lossy.origins] == [False, True]


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT id, v FROM t FOR XML PATH('')", "FOR XML"),
        ("SELECT id, v FROM t FOR JSON AUTO", "FOR JSON"),
        ("SELECT DISTINCT id, v FROM t ORDER BY id + 1", "id + 1"),
        ("SELECT id, v FROM t ORDER BY 7", "position 7"),
    ],
)
def test_what_cant_be_rewritten_is_left_alone_with_the_reason(sql: str, why: str) -> None:
    """The user's own query is sent, its losses are declared, and why it had to be so is told."""
    found = rewrite(sql)
    assert found.query.sql == sql
    assert why in (found.left_out or "")
    assert "v can't" in (found.left_out or "")
    assert [bool(origin.losses) for origin in found.origins] == [False, True]


def test_a_companions_name_that_is_taken_is_refused() -> None:
    """Two columns of one name would land; which one to rename is said."""
    with pytest.raises(ResultShapeError, match=r"'v' .* needs 'v__100ns' beside it"):
        rewrite("SELECT v, V__100NS FROM t", column("v", "datetime2(7)"), column("V__100NS"))


def test_names_are_quoted() -> None:
    """A bracket in a name stays a character of it."""
    found = rewrite("SELECT [a]]b], 1 AS v FROM t", column("a]b", "datetime2(7)"))
    assert "q.[a]]b], CONVERT(smallint, DATEPART(nanosecond, q.[a]]b])" in found.query.sql
    assert "AS [a]]b__100ns] FROM" in found.query.sql


@pytest.mark.parametrize("type_name", sorted(POLICIES))
def test_every_policy_of_every_type_has_its_columns(type_name: str) -> None:
    """Whatever the YAML may say becomes a value column under the user's name, and companions named after it."""
    for policy in POLICIES[type_name]:
        sql_type = f"{type_name}(7)" if type_name.startswith("datetime") else type_name
        first, *others = rewrite("SELECT v FROM t", column("v", sql_type), **{type_name: policy}).origins
        assert first.companion is None
        assert first.column.name == "v"
        assert all(isinstance(other.companion, Companion) for other in others)
        assert first.form in Form
