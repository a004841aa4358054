"""What T-SQL means, seen through the driver: the stand-in and a real server must agree on every value.

Each test names the Microsoft page that says so.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import mssql_python
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.connection_string import connection_string


@pytest.fixture(scope="module")
def cursor(sqlserver_settings: Settings) -> Iterator[Any]:
    connection = mssql_python.connect(connection_string(sqlserver_settings), autocommit=True)
    yield connection.cursor()
    connection.close()


def one(cursor: Any, sql: str, *parameters: object) -> Any:
    """The only value of a query."""
    cursor.execute(sql, *parameters)
    rows = cursor.fetchall()
    assert len(rows) == 1
    return rows[0][0]


def test_a_statement_prepared_again_has_its_new_types(cursor: Any) -> None:
    """MS-TDS 2.2.6.6: the driver asks for no metadata when it prepares the same text anew for other parameter types."""
    values = [1, -1, -2, 70000, 2**40, "a", "bcd", None, 1.5, Decimal("1.25"), dt.date(2013, 1, 1), b"\x00\x01", 2]
    assert [one(cursor, "SELECT ? AS x", v) for v in values] == values


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # "smalldatetime (Transact-SQL)"
        ("CAST('2007-05-08 12:35:29.998' AS smalldatetime)", dt.datetime(2007, 5, 8, 12, 35)),  # noqa: DTZ001
        ("CAST('2007-05-08 12:35:29.999' AS smalldatetime)", dt.datetime(2007, 5, 8, 12, 36)),  # noqa: DTZ001
        # "LIKE (Transact-SQL)"
        ("CASE WHEN 'a' LIKE 'a!' ESCAPE '!' THEN 1 ELSE 0 END", 0),
        # "Collation and Unicode support": SQL collations compare varchar by character, nvarchar by a word sort
        (
            "CASE WHEN 'a-c' COLLATE SQL_Latin1_General_CP1_CI_AS < 'ab' COLLATE SQL_Latin1_General_CP1_CI_AS "
            "THEN 1 ELSE 0 END",
            1,
        ),
        (
            "CASE WHEN N'a-c' COLLATE SQL_Latin1_General_CP1_CI_AS > N'ab' COLLATE SQL_Latin1_General_CP1_CI_AS "
            "THEN 1 ELSE 0 END",
            1,
        ),
        # "DATEDIFF": boundaries crossed, and weeks begin on Sunday whatever DATEFIRST says
        ("DATEDIFF(year, '2005-12-31 23:59:59.9999999', '2006-01-01 00:00:00.0000000')", 1),
        ("DATEDIFF(week, '2013-01-05', '2013-01-06')", 1),
        ("DATEDIFF(week, '2013-01-06', '2013-01-12')", 0),
        # "DATEADD": nanoseconds round to 100
        ("DATEDIFF(ns, '00:00', DATEADD(ns, 149, CAST('00:00' AS time)))", 100),
        ("DATEDIFF(ns, '00:00', DATEADD(ns, 150, CAST('00:00' AS time)))", 200),
        # "ROUND (Transact-SQL)"
        ("ROUND(123.4545, 2)", Decimal("123.4500")),
        ("ROUND(150.75, 0, 1)", Decimal("150.00")),
        # "Precision, scale, and length": a quotient has all the digits of its scale
        ("CAST(1.5 AS decimal(9,2)) / CAST(5.5 AS decimal(38,2))", Decimal("0.27272727272727272727272727272")),
        # "money": division cuts off
        ("CAST(100 AS money) / CAST(339 AS money)", Decimal("0.2949")),
        # "ISNULL" takes the first type, "COALESCE" the higher one
        ("ISNULL(CAST(NULL AS varchar(2)), 'abcd')", "ab"),
        ("COALESCE(CAST(NULL AS varchar(2)), 'abcd')", "abcd"),
    ],
)
def test_an_expression(cursor: Any, expression: str, expected: object) -> None:
    assert one(cursor, f"SELECT {expression} AS x") == expected


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT TOP (-1) name FROM sys.objects", "may not be negative"),
        (
            "SELECT SUBSTRING(12345, 2, 2) AS x",
            "Argument data type int is invalid for argument 1 of substring function",
        ),
        ("SELECT LEFT('abc', CHARINDEX('x', 'abc') - 1) AS x", "Invalid length parameter passed to the LEFT"),
        ("SELECT ROUND(748.58, -3) AS x", "Arithmetic overflow error converting expression to data type numeric"),
        ("SELECT LAG(object_id, -1) OVER (ORDER BY object_id) AS x FROM sys.objects", "cannot be a negative value"),
        ("SELECT 1::int AS x", "Incorrect syntax near"),
        ("SELECT now() AS x", "'now' is not a recognized built-in function name"),
        ("SELECT 1 AS x LIMIT 1", "Incorrect syntax near"),
    ],
)
def test_an_error(cursor: Any, sql: str, text: str) -> None:
    with pytest.raises(mssql_python.Error, match="(?i)" + text.replace("(", r"\(")):
        one(cursor, sql)
