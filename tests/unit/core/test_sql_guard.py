"""A query is one SELECT, and everything else is refused with its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql_databricks_bridge.core.sql_guard import check_select
from sql_databricks_bridge.core.sql_tokens import one_line, parameter_uses, tokenize
from sql_databricks_bridge.errors import QueryFileError


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS a",
        "select TOP (5) WITH TIES a FROM dbo.t ORDER BY a",
        "WITH a AS (SELECT 1 AS x), b AS (SELECT x FROM a) SELECT * FROM b",
        "(SELECT 1 AS a) UNION ALL (SELECT 2)",
        "SELECT 1 AS a UNION SELECT 2 EXCEPT SELECT 3",
        "SELECT a FROM t WHERE b IN (SELECT c FROM u) AND EXISTS (SELECT 1 FROM v)",
        "SELECT x.a FROM x INNER MERGE JOIN y ON x.a = y.a",
        "SELECT a FROM t ORDER BY a OFFSET 1 ROWS FETCH NEXT 5 ROWS ONLY",
        "SELECT 'DELETE; DROP TABLE t' AS a, [INSERT] AS b, \"UPDATE\" AS c -- EXEC\n/* INTO */ FROM t",
        "SELECT a FROM t CROSS APPLY (SELECT TOP 1 b FROM u WHERE u.a = t.a) AS x",
        "SELECT a FROM t FOR JSON PATH",
        "SELECT {fn NOW()} AS a",
        "SELECT @set AS a, @into AS b",
        "SELECT * FROM (VALUES (1), (2)) AS v(a)",
        "SELECT last_update, set_at, use_by FROM t",
    ],
)
def test_a_select_passes_unchanged_and_without_warnings(sql: str) -> None:
    assert check_select(sql, "q.sql") == (sql, ())


@pytest.mark.parametrize(
    "sql",
    [
        "WITH XMLNAMESPACES ('urn:x' AS n) SELECT 1 AS a",
        "SELECT a FROM t OPTION (USE HINT('FORCE_LEGACY_CARDINALITY_ESTIMATION'), MERGE JOIN)",
    ],
)
def test_a_select_that_sqlglot_cannot_parse_is_left_to_the_server_with_a_warning(sql: str) -> None:
    cleaned, (warning,) = check_select(sql, "q.sql")
    assert cleaned == sql
    assert "q.sql" in warning


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("", "q.sql holds no SQL: it is empty"),
        (" \n\t", "q.sql holds no SQL: it is empty"),
        ("-- nothing\n/* here */", "q.sql holds no SQL but comments"),
        (";;", "q.sql holds no SQL"),
        ("SELECT 1;\nSELECT 2", "q.sql:2: a second statement begins here"),
        ("SELECT 1\nSELECT 2", "q.sql:2: a second statement begins here"),
        ("WITH a AS (SELECT 1 x) SELECT 1 FROM a\nSELECT 2", "q.sql:2: a second statement"),
        ("SELECT 1 FROM t\nCOMMIT", "q.sql:2: COMMIT is not allowed"),
        ("SELECT 1 FROM t\nDELETE FROM t", "q.sql:2: DELETE is not allowed"),
        ("SELECT 1 FROM t\nMERGE u USING v ON 1 = 1 WHEN MATCHED THEN DELETE", "q.sql:2: MERGE is not allowed"),
        ("SELECT 1;\n\nDROP TABLE t", "q.sql:3: a second statement"),
        ("SELECT 1 IF 1=1 DROP TABLE x", "q.sql:1: IF is not allowed"),
        ("-- a\nUPDATE t SET a = 1", "q.sql:2: it begins with UPDATE"),
        ("INSERT INTO t VALUES (1)", "it begins with INSERT"),
        ("DELETE FROM t", "it begins with DELETE"),
        ("MERGE t USING s ON 1 = 1 WHEN MATCHED THEN DELETE;", "it begins with MERGE"),
        ("CREATE TABLE t (a int)", "it begins with CREATE"),
        ("TRUNCATE TABLE t", "it begins with TRUNCATE"),
        ("EXEC dbo.p", "it begins with EXEC"),
        ("dbo.p", "it begins with DBO"),
        ("DECLARE @a int = 1 SELECT @a", "it begins with DECLARE"),
        ("WITH a AS (SELECT 1 AS x) DELETE FROM a", "DELETE is not allowed"),
        ("WITH a AS (SELECT 1 AS x)\nINSERT INTO t SELECT x FROM a", "q.sql:2: INSERT is not allowed"),
        ("SELECT *\nINTO #t\nFROM u", "q.sql:2: INTO is not allowed"),
        ("SELECT a FROM (SELECT b INTO c FROM d) e", "INTO is not allowed"),
        ("SELECT @a = 1", "assigns a variable"),
        ("SELECT 1\nGO", "q.sql:2: GO is a command of sqlcmd"),
        ("SELECT 1 AS a FROM t\n  go 5\nSELECT 2", "q.sql:2: GO is a command"),
        ("SELECT 'abc", "q.sql:1: ' is missing"),
        ("SELECT 1\n/* abc", "q.sql:2: */ is missing"),
        ("SELECT\n [abc", "q.sql:2: ] is missing"),
        ("WITH a AS (SELECT 1 AS x)", "no SELECT follows the WITH"),
        ("VALUES (1)", "it begins with VALUES"),
    ],
)
def test_anything_else_is_refused_with_file_and_line(sql: str, told: str) -> None:
    with pytest.raises(QueryFileError) as caught:
        check_select(sql, "q.sql")
    assert told in str(caught.value)


def test_outer_semicolons_go_and_lines_stay() -> None:
    cleaned, _ = check_select("-- a\n;WITH a AS (SELECT 1 AS x)\nSELECT x FROM a;\n;\n", "q.sql")
    assert cleaned == "-- a\n WITH a AS (SELECT 1 AS x)\nSELECT x FROM a"


def test_parameters_are_found_in_code_only() -> None:
    sql = "SELECT @a, @@ROWCOUNT, '@b', [@c], \"@d\", N'@e', @from -- @f\n/* @g */ + @A, x@y"
    assert [use.name for use in parameter_uses(sql, tokenize(sql))] == ["a", "from", "A"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\n  AND b", "a   AND b"),
        ("'x'\nOR 'y'", "'x' OR 'y'"),
        ("a /* b\nc */ d", "a /* b c */ d"),
        ("'x\ny'", "'x\ny'"),
        ("a -- b\nc", "a -- b\nc"),
        ("[x\ny]", "[x\ny]"),
    ],
)
def test_line_ends_go_where_the_meaning_stays(text: str, line: str) -> None:
    assert one_line(text) == line


@given(st.lists(st.sampled_from(["SELECT", "1", "'a'", "(", ")", "/*x*/", "[b]", ",", "UNION", "--c\n", "\n"])))
def test_collapsing_a_text_keeps_its_tokens(words: list[str]) -> None:
    text = " ".join(words)
    before = [(token.token_type, token.text) for token in tokenize(text)]
    assert [(token.token_type, token.text) for token in tokenize(one_line(text))] == before
