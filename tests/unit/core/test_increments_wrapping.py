"""A query becomes a derived table: nothing of it is lost, no line moves, what can't be one is refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sql_databricks_bridge.core.increments.wrapping import wrappable
from sql_databricks_bridge.core.sql_tokens import tokenize
from sql_databricks_bridge.errors import UsageError
from sql_databricks_bridge.models.jobs import BoundParameter, ResolvedQuery

_BEFORE, _AFTER = "SELECT q.[a] FROM (", ") AS q WHERE q.[a] > @low"


def _query(sql: str, *names: str) -> ResolvedQuery:
    parameters = tuple(BoundParameter(name, "int", 1) for name in names)
    return ResolvedQuery("t", "queries/t.sql", sql, "", parameters=parameters)


def _wrapped(sql: str) -> str:
    return wrappable(_query(sql)).within(_BEFORE, _AFTER)


_gaps = st.sampled_from([" ", "\n", " /* ) SELECT ' */ ", " -- it's ( OPTION\n", "\r\n\t"])
_names = st.sampled_from(["a", "[b]]c]", '"or der"', "[TOP]", "[WITH (x) SELECT]", "d.[OPTION]", "[ORDER BY]"])
_values = st.sampled_from(
    [
        "1",
        "'it''s ) ORDER BY 1'",
        "N'OPTION ('",
        "@p",
        "0x0F",
        "(SELECT TOP 1 x FROM t ORDER BY x)",
        "dbo.f((1), ')')",
        "[dbo].[f]((SELECT TOP 1 x FROM t))",
        "ROW_NUMBER() OVER (ORDER BY x)",
        "CASE WHEN 1 > ALL (SELECT TOP 1 1) THEN 1 END",
    ]
)


@st.composite
def _select(draw: st.DrawFn) -> str:
    gap = draw(_gaps)
    items = ", ".join(f"{draw(_values)} AS {draw(_names).split('.')[-1]}" for _ in range(draw(st.integers(1, 3))))
    where = draw(st.sampled_from(["", " WHERE x IN (SELECT TOP 5 y FROM u ORDER BY y)", " WHERE s = 'TOP'"]))
    return f"SELECT{gap}{items}{gap}FROM{draw(_gaps)}{draw(_names)}{where}"


@st.composite
def _sql(draw: st.DrawFn) -> tuple[str, str, str]:
    """The WITH list, the rest up to ORDER BY, and the OPTION clause of a query that can be wrapped."""
    elements = [
        f"c{number}{draw(st.sampled_from(['', ' (a, b)']))}{draw(_gaps)}AS ({draw(_select())})"
        for number in range(draw(st.integers(0, 2)))
    ]
    head = f"WITH{draw(_gaps)}{', '.join(elements)}{draw(_gaps)}" if elements else draw(st.sampled_from(["", "-- x\n"]))
    selects = [draw(_select()) for _ in range(draw(st.integers(1, 3)))]
    if draw(st.booleans()):
        selects = [f"({select})" for select in selects]
    body = draw(st.sampled_from([" UNION ALL ", "\nEXCEPT\n", " union "])).join(selects)
    return head, body, draw(st.sampled_from(["", "OPTION (RECOMPILE)", "OPTION (USE HINT ('X)'), MAXRECURSION 0)"]))


@settings(deadline=None)
@given(_sql(), st.sampled_from(["", "\nORDER BY 1", " order\tby x -- so\n"]), _gaps)
def test_wrapping_keeps_every_token_in_its_place_and_on_its_line(
    parts: tuple[str, str, str], order: str, gap: str
) -> None:
    head, body, option = parts
    wrapped = _wrapped(f"{head}{body}{order}{gap}{option}")
    expected = [f"{head}{_BEFORE}{body}", _AFTER, option]
    tokens, wanted = tokenize(wrapped), [token for piece in expected for token in tokenize(f"{piece}\n")]
    assert [token.text for token in tokens] == [token.text for token in wanted]
    last_of_body = len(tokenize(f"{expected[0]}\n"))
    lines = [wrapped.count("\n", 0, token.start) for token in tokens[:last_of_body]]
    assert lines == [expected[0].count("\n", 0, token.start) for token in wanted[:last_of_body]]


def test_a_comment_at_the_end_does_not_swallow_what_comes_behind() -> None:
    assert _wrapped("SELECT a FROM t -- all") == f"{_BEFORE}SELECT a FROM t -- all\n{_AFTER}"


def test_namespaces_stay_in_front() -> None:
    sql = "WITH XMLNAMESPACES ('u' AS n), c AS (SELECT 1 AS a) SELECT a FROM c"
    assert _wrapped(sql) == f"WITH XMLNAMESPACES ('u' AS n), c AS (SELECT 1 AS a) {_BEFORE}SELECT a FROM c\n{_AFTER}"


@pytest.mark.parametrize(
    ("sql", "line", "what"),
    [
        ("SELECT TOP (5) a FROM t", 1, "TOP"),
        ("SELECT DISTINCT TOP 5 a FROM t", 1, "TOP"),
        ("WITH c AS (SELECT 1 AS a)\nSELECT\nTOP 5 a FROM c", 3, "TOP"),
        ("SELECT a FROM t\nUNION ALL\n(SELECT TOP 1 a FROM u)", 3, "TOP"),
        ("((SELECT TOP 1 a FROM u))", 1, "TOP"),
        ("SELECT a FROM t ORDER BY a\nOFFSET 5 ROWS", 2, "OFFSET"),
        ("SELECT a FROM t FOR XML PATH('')", 1, "FOR XML"),
        ("SELECT a FROM t\n\nFOR JSON AUTO OPTION (RECOMPILE)", 3, "FOR JSON"),
    ],
)
def test_what_picks_rows_or_makes_one_value_of_them_is_refused_with_its_line(sql: str, line: int, what: str) -> None:
    with pytest.raises(UsageError, match=rf"^queries/t\.sql:{line}: .* can't have {what} "):
        wrappable(_query(sql))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM t ORDER BY offset, t.offset",
        "SELECT a FROM t FOR SYSTEM_TIME AS OF '20200101'",
        "SELECT (SELECT a FROM t FOR XML PATH('')) AS a FROM t",
        "SELECT a FROM (SELECT TOP 5 a FROM t ORDER BY a OFFSET 1 ROWS) AS x",
    ],
)
def test_what_t_sql_takes_in_a_derived_table_is_let_through(sql: str) -> None:
    assert wrappable(_query(sql)).body.startswith("SELECT")


def test_a_parameter_of_ours_never_has_a_name_of_the_querys() -> None:
    wrapped = wrappable(_query("SELECT @LOW AS a, '@high' AS b", "low_"))
    assert wrapped.free_name("low") == "low__"
    assert wrapped.free_name("high") == "high"
