"""What an audit found answered wrongly; each expectation is from the Microsoft page that the test names."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest

from sql_databricks_bridge.sandbox.sql_server.contract import LoginRequest, Session
from sql_databricks_bridge.sandbox.sql_server.engine.engine import TsqlEngine
from sql_databricks_bridge.sandbox.sql_server.engine.pg import PgSession

Run = Callable[[str], Any]
One = Callable[[str], tuple[str, Any]]
REFUSED = 50100
MINUTE = 60 * 24 * ((datetime.date(2013, 1, 1) - datetime.date(1900, 1, 1)).days) + 12 * 60
"""2013-01-01T12:00 as smalldatetime counts."""


@pytest.mark.parametrize(
    ("expression", "sql_type", "value"),
    [
        # "smalldatetime": 29.998 seconds or less round down, 29.999 or more round up
        ("CAST('2013-01-01 12:00:29.998' AS smalldatetime)", "smalldatetime", MINUTE),
        ("CAST('2013-01-01 12:00:29.999' AS smalldatetime)", "smalldatetime", MINUTE + 1),
        # "DATEADD": milliseconds up to 29998 leave a smalldatetime as it is
        ("DATEADD(ms, 29998, CAST('2013-01-01 12:00' AS smalldatetime))", "smalldatetime", MINUTE),
        ("DATEADD(ms, 29999, CAST('2013-01-01 12:00' AS smalldatetime))", "smalldatetime", MINUTE + 1),
        # "Collation and Unicode support", SQL Server collations: 'a-c' < 'ab', but N'a-c' > N'ab'
        ("CASE WHEN 'a-c' < 'ab' THEN 1 ELSE 0 END", "int", 1),
        ("CASE WHEN N'a-c' > N'ab' THEN 1 ELSE 0 END", "int", 1),
        ("CASE WHEN N'co-op' > N'coop' THEN 1 ELSE 0 END", "int", 1),
        ("CASE WHEN 'a-c' COLLATE Latin1_General_CI_AS > 'ab' THEN 1 ELSE 0 END", "int", 1),
        ("CASE WHEN 'a_b' > 'a-b' THEN 1 ELSE 0 END", "int", 1),
        # "LIKE": an escape character without one after it is no valid pattern, and LIKE is false
        ("CASE WHEN 'a' LIKE 'a!' ESCAPE '!' THEN 1 ELSE 0 END", "int", 0),
        ("CASE WHEN 'a!' LIKE 'a!!' ESCAPE '!' THEN 1 ELSE 0 END", "int", 1),
        # "Precision, scale, and length": a quotient has all the digits of its scale
        (
            "CAST(1.5 AS decimal(9,2)) / CAST(5.5 AS decimal(38,2))",
            "decimal(38,29)",
            D("0.27272727272727272727272727272"),
        ),
        ("CAST(2 AS decimal(1,0)) / CAST(3 AS decimal(31,0))", "decimal(33,32)", D("0." + "6" * 32)),
        # "real and float": a real is a binary number; what it holds is converted
        ("CAST(CAST(0.1 AS real) AS decimal(12,10))", "decimal(12,10)", D("0.1000000015")),
        ("CAST(CAST(123456.7 AS real) AS money)", "money", D("123456.7031")),
        ("CAST(0.1e0 AS decimal(10,8))", "decimal(10,8)", D("0.10000000")),
        ("CAST(0.5e0 AS decimal(38,20))", "decimal(38,20)", D("0.5").quantize(D(1).scaleb(-20))),
        ("ROUND(2.5e0, 0)", "float", 3.0),
        ("ROUND(1234.5678e0, 2)", "float", 1234.57),
        # "ISNUMERIC"
        ("ISNUMERIC('-1.5')", "int", 1),
        ("ISNUMERIC('2013-01-01')", "int", 0),
        ("ISNUMERIC('a1')", "int", 0),
    ],
)
def test_an_expression(one: One, expression: str, sql_type: str, value: object) -> None:
    assert one(expression) == (sql_type, value)


@pytest.mark.parametrize(
    ("sql", "number"),
    [
        # "TOP", "ORDER BY clause": rows are counted by an integer that is neither NULL nor negative
        ("SELECT TOP (NULL) 1 AS a", 1060),
        ("SELECT TOP (1.5) 1 AS a", 1060),
        ("DECLARE @n int; SELECT TOP (@n) 1 AS a", 1060),
        ("SELECT TOP (-1) 1 AS a", 127),
        ("SELECT TOP (CHARINDEX('x', 'y') - 1) 1 AS a", 127),
        ("SELECT a FROM (VALUES (1)) q(a) ORDER BY a OFFSET -1 ROWS", 10742),
        ("SELECT a FROM (VALUES (1)) q(a) ORDER BY a OFFSET 0 ROWS FETCH NEXT 0 ROWS ONLY", 10744),
        # "LAG", "NTILE"
        ("SELECT LAG(a, -1) OVER (ORDER BY a) AS x FROM (VALUES (1), (2)) q(a)", 8730),
        ("SELECT NTILE(0) OVER (ORDER BY a) AS x FROM (VALUES (1), (2)) q(a)", 4116),
        # "Database Engine events and errors"
        ("SELECT CAST(255 AS tinyint) + CAST(1 AS tinyint) AS x", 8115),
        ("SELECT DATEPART(year, 20130101) AS x", 8115),
        ("SELECT DATEPART('year', '20130101') AS x", 1023),
        ("SELECT CAST('20130101' AS datetime) + CAST('01:00' AS time) AS x", 402),
        ("SELECT CAST('2013-01-05T10:11' AS datetime) AS x", 241),
        ("SELECT COUNT(NULL) AS x", 8117),
        ("SELECT ASIN(2) AS x", 3623),
        ("SELECT RIGHT('abc', -1) AS x", 536),
        # "SUBSTRING": character, binary, text, ntext or image
        ("SELECT SUBSTRING(12345, 2, 2) AS x", 8116),
        ("SELECT SUBSTRING(NULL, 2, 2) AS x", 8116),
        # "SELECT clause": * takes no alias
        ("SELECT * a FROM (VALUES (1)) q(b)", 102),
        # What the stand-in would have to guess, it refuses
        ("SELECT DATEADD(ms, 1, CAST('20130101' AS datetime2(0))) AS x", REFUSED),
        ("SELECT ROUND(1.005e0, 2) AS x", REFUSED),
        ("SELECT CAST(1.005e0 AS decimal(5,2)) AS x", REFUSED),
        ("SELECT CAST(0.1e0 AS decimal(38,20)) AS x", REFUSED),
        ("SELECT DATALENGTH(CAST(1.5 AS decimal(10,2))) AS x", REFUSED),
        ("SELECT ISNUMERIC('1d5') AS x", REFUSED),
        ("SELECT DATETIMEOFFSETFROMPARTS(2013, 1, 1, 0, 0, 0, 0, 0, 0, 0) AS x", REFUSED),
        ("SET LANGUAGE Spanish", REFUSED),
        ("SELECT 1 AS x WHERE N'stra\u00dfe' = N'strasse'", REFUSED),
    ],
)
def test_an_error(run: Run, sql: str, number: int) -> None:
    assert run(sql).errors == [number]


def test_round_overflows_as_documented(run: Run) -> None:
    """ROUND's page: ROUND(748.58, -3) is Msg 8115, "converting expression to data type numeric"."""
    message = run("SELECT ROUND(748.58, -3) AS x").messages[0]
    assert message.text == "Arithmetic overflow error converting expression to data type numeric."


def test_string_agg_of_numbers_is_nvarchar(one: One) -> None:
    """STRING_AGG's page: what is no string becomes nvarchar(4000)."""
    out = one("(SELECT STRING_AGG(a, ',') WITHIN GROUP (ORDER BY a) FROM (VALUES (1), (2)) q(a))")
    assert out == ("nvarchar(4000)", "1,2")


def test_order_by_depends_on_the_type(run: Run) -> None:
    """Collation page: a SQL collation sorts varchar by every character, nvarchar by a word sort; MIN and MAX too."""
    values = "(VALUES ('1'), ('a-c'), ('ab'), ('-'), ('_'), ('A')) q(v)"
    plain = [r[0] for r in run(f"SELECT v FROM {values} ORDER BY v").rows[0]]
    assert plain == ["-", "_", "1", "A", "a-c", "ab"]
    wide = [r[0] for r in run(f"SELECT CAST(v AS nvarchar(5)) AS v FROM {values} ORDER BY v").rows[0]]
    assert wide == ["-", "_", "1", "A", "ab", "a-c"]
    words = "(VALUES (N'ab'), (N'a-c')) q(v)"
    assert run(f"SELECT MIN(v) AS a, MAX(v) AS b FROM {words}").rows[0] == [("ab", "a-c")]


def test_set_rowcount_never_lets_a_change_run_whole(run: Run) -> None:
    """SET ROWCOUNT's page: it limits INSERT, UPDATE and DELETE too; the stand-in refuses them under it."""
    run("CREATE TABLE #r (id int); INSERT #r VALUES (1), (2)")
    for sql in ("UPDATE #r SET id = 9", "DELETE #r", "INSERT #r SELECT id FROM #r", "SELECT id INTO #s FROM #r"):
        assert run(f"SET ROWCOUNT 1; {sql}").errors == [REFUSED]
    assert run("SET ROWCOUNT 0; SELECT COUNT(*) AS n FROM #r WHERE id IN (1, 2)").rows[0] == [(2,)]


def test_a_hint_without_with(run: Run) -> None:
    """Table hints page: (NOLOCK) may stand without WITH."""
    run("CREATE TABLE #h (id int)")
    out = run("SELECT a.id FROM #h a (NOLOCK) JOIN #h (NOLOCK) ON 1 = 1; SELECT id FROM #h (NOLOCK)")
    assert not out.errors
    assert [[c.name for c in columns] for columns in out.columns] == [["id"], ["id"]]


def test_severity_10_is_sent_as_0(run: Run) -> None:
    """Severities page: the engine converts severity 10 to 0 before it returns the message."""
    assert [(m.number, m.severity) for m in run("RAISERROR('x', 10, 1)").messages] == [(50000, 0)]


def test_an_older_data_folder_gets_the_functions_of_today(tmp_path: Path, on: Callable[[Session, str], Any]) -> None:
    """A folder made by an older stand-in must not answer as that one did."""
    first = TsqlEngine(tmp_path / "d", "none", "Work", "sa", "Secret!1")
    pg = PgSession(first.postgres.uri)
    pg.run("UPDATE tsql.settings SET value = '1' WHERE name = 'version'")
    pg.run("CREATE OR REPLACE FUNCTION tsql.lefts(x text, n int8) RETURNS text LANGUAGE sql AS $$ SELECT 'old' $$")
    pg.run("DROP FUNCTION tsql.number_ticks")
    pg.close()
    first.close()
    second = TsqlEngine(tmp_path / "d", "none", "Work", "sa", "Secret!1")
    session = second.login(LoginRequest("sa", "Secret!1", "Work"))
    assert on(session, "SELECT LEFT('abc', 2) AS a, CAST(1 AS datetime) AS b").rows == [[("ab", 25_920_000)]]
    session.close()
    second.close()
