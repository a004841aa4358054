"""Errors carry SQL Server's numbers, states and lines; what is not supported says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[[str], Any]


@pytest.mark.parametrize(
    ("sql", "number"),
    [
        ("SELECT 1 +", 102),
        ("SELECT FROM t", 156),
        ("SELECT 'abc", 105),
        ("SELECT nope FROM Flights.dbo.airlines", 207),
        ("SELECT * FROM nope", 208),
        ("SELECT x.carrier FROM Flights.dbo.airlines", 4104),
        ("SELECT carrier FROM Flights.dbo.flights f, Flights.dbo.airlines a", 209),
        ("SELECT name, COUNT(*) FROM Flights.dbo.airlines", 8120),
        ("SELECT 1/0", 8134),
        ("SELECT CAST('abc' AS int)", 245),
        ("SELECT CAST('abc' AS bigint)", 8114),
        ("SELECT CAST('99999999999' AS int)", 248),
        ("SELECT CAST(300 AS tinyint)", 220),
        ("SELECT 2147483647 + 1", 8115),
        ("SELECT CAST(1000 AS decimal(3,0))", 8115),
        ("SELECT CAST('2020-13-01' AS date)", 241),
        ("SELECT CAST('20201301' AS datetime)", 242),
        ("SELECT CAST('17521231' AS datetime)", 242),
        ("SELECT CAST('x' AS uniqueidentifier)", 8169),
        ("SELECT CAST(GETDATE() AS uniqueidentifier)", 529),
        ("SELECT DATEADD(hour, 1, CAST('20200101' AS date))", 9810),
        ("SELECT CAST('20200101' AS date) + 1", 206),
        ("SELECT (SELECT carrier FROM Flights.dbo.airlines)", 512),
        ("SELECT 1 UNION SELECT 1, 2", 205),
        ("SELECT @nope", 137),
        ("SELECT NOSUCH(1)", 195),
        ("EXEC nosuch", 2812),
        ("USE nosuch", 911),
        ("COMMIT", 3902),
        ("ROLLBACK", 3903),
        ("SELECT LEFT('abc', -1)", 537),
        ("SELECT 'a' COLLATE nosuch", 448),
        ("SELECT * FROM (SELECT 1 AS a ORDER BY a) q", 1033),
        ("SELECT * FROM (SELECT 1) q", 8155),
        ("WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT * FROM n", 530),
        ("SELECT SUM(CAST(1 AS bit))", 8117),
    ],
)
def test_an_error_has_its_number(run: Run, sql: str, number: int) -> None:
    assert run(sql).errors == [number]


def test_an_error_names_its_line(run: Run) -> None:
    out = run("SELECT 1 AS a\n\nSELECT nope\nFROM Flights.dbo.airlines")
    assert [(m.number, m.line) for m in out.messages] == [(207, 3)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT FORMAT(1, 'N')",
        "SELECT CHECKSUM(1)",
        "SELECT * FROM Flights.dbo.airlines FOR JSON AUTO",
        "SELECT * FROM (SELECT 1 AS a) s PIVOT (MAX(a) FOR a IN ([1])) p",
        "CREATE PROCEDURE p AS SELECT 1 AS a",
        "DECLARE c CURSOR FOR SELECT 1",
        "SET ANSI_NULLS OFF",
        "SELECT PARSE('1' AS int)",
        "SELECT NEXT VALUE FOR s",
        "CREATE TABLE h (a int) WITH (SYSTEM_VERSIONING = ON)",
        "SELECT SUBSTRING(N'😀x', 1, 1)",
        "SELECT CAST(NCHAR(0x101) AS varchar(5))",
        "EXEC sp_who",
        "SELECT * FROM OPENJSON('[]')",
        "SELECT a.b.c.d.e()",
    ],
)
def test_what_is_not_supported_is_refused_by_name(run: Run, sql: str) -> None:
    out = run(sql)
    assert out.errors == [50100]
    assert "The sandbox does not support" in out.messages[0].text
    assert out.rows == []


def test_a_run_time_error_ends_its_statement_and_the_batch_goes_on(run: Run) -> None:
    out = run("SELECT 1/0; SELECT 2 AS x")
    assert out.errors == [8134]
    assert out.rows == [[(2,)]]


def test_try_catch_sees_the_error(run: Run) -> None:
    out = run(
        "BEGIN TRY\n SELECT 1/0\nEND TRY BEGIN CATCH SELECT ERROR_NUMBER(), ERROR_SEVERITY(), "
        "ERROR_LINE(), ERROR_MESSAGE() END CATCH"
    )
    assert out.rows == [[(8134, 16, 2, "Divide by zero error encountered.")]]
    assert out.errors == []


def test_throw_passes_its_number_state_and_text(run: Run) -> None:
    out = run("THROW 51000, 'The record does not exist.', 7")
    assert [(m.number, m.state, m.text, m.severity) for m in out.messages] == [
        (51000, 7, "The record does not exist.", 16)
    ]
