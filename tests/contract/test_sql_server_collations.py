"""char and varchar in other code pages, and how collations compare: the stand-in and a real server agree on all of it.

"Collation and Unicode support", "Windows collation name", "Collation precedence", "DATALENGTH", "HASHBYTES".
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import mssql_python
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.connection_string import connection_string

CYRILLIC = "Cyrillic_General_CI_AS"
JAPANESE = "Japanese_CI_AS"
UTF8 = "Latin1_General_100_CI_AS_SC_UTF8"


@pytest.fixture(scope="module")
def cursor(sqlserver_settings: Settings) -> Iterator[Any]:
    with contextlib.closing(mssql_python.connect(connection_string(sqlserver_settings), autocommit=True)) as connection:
        yield connection.cursor()


def one(cursor: Any, sql: str, *parameters: object) -> Any:
    """The only value of a query."""
    cursor.execute(sql, *parameters)
    rows = cursor.fetchall()
    assert len(rows) == 1
    return rows[0][0]


@pytest.mark.parametrize(
    ("sql_type", "text", "stored", "raw"),
    [
        (f"varchar(10) COLLATE {CYRILLIC}", "Жизнь ё", "Жизнь ё", "c6e8e7edfc20b8"),
        (f"varchar(10) COLLATE {CYRILLIC}", "a中b", "a?b", "613f62"),
        (f"varchar(10) COLLATE {JAPANESE}", "日本ｱ", "日本ｱ", "93fa967bb1"),
        (f"char(5) COLLATE {JAPANESE}", "日", "日   ", "93fa202020"),
        (f"varchar(10) COLLATE {UTF8}", "é€😀", "é€😀", "c3a9e282acf09f9880"),
        (f"char(4) COLLATE {UTF8}", "é", "é  ", "c3a92020"),
        ("varchar(10) COLLATE Latin1_General_BIN2", "€é", "€é", "80e9"),
        ("varchar(10) COLLATE SQL_Latin1_General_CP1_CI_AS", "😀", "??", "3f3f"),
        (f"nvarchar(10) COLLATE {UTF8}", "é😀", "é😀", "e9003dd800de"),
    ],
)
def test_text_is_stored_in_its_collations_code_page(
    cursor: Any, sql_type: str, text: str, stored: str, raw: str
) -> None:
    """What comes back, its bytes, its DATALENGTH and its digest are of that page; '?' stands for what it lacks."""
    cursor.execute("DROP TABLE IF EXISTS #page")
    cursor.execute(f"CREATE TABLE #page (v {sql_type})")
    cursor.execute("INSERT INTO #page (v) VALUES (?)", text)
    assert one(cursor, "SELECT v FROM #page") == stored
    assert one(cursor, "SELECT CONVERT(varbinary(40), v) FROM #page").hex() == raw
    assert one(cursor, "SELECT DATALENGTH(v) FROM #page") == len(raw) // 2
    same = "CASE WHEN HASHBYTES('SHA2_256', v) = HASHBYTES('SHA2_256', CONVERT(varbinary(40), v)) THEN 1 ELSE 0 END"
    assert one(cursor, f"SELECT {same} FROM #page") == 1


@pytest.mark.parametrize(
    ("sql_type", "fits", "beyond"),
    [
        (f"varchar(4) COLLATE {JAPANESE}", "日本", "日本a"),
        (f"varchar(6) COLLATE {UTF8}", "日本", "日本a"),
        (f"varchar(4) COLLATE {CYRILLIC}", "Жизн", "Жизнь"),
        ("nvarchar(2) COLLATE Latin1_General_100_CI_AS_SC", "😀", "😀a"),
    ],
)
def test_the_length_of_a_column_is_in_bytes_or_utf16_units(cursor: Any, sql_type: str, fits: str, beyond: str) -> None:
    """One more than fits is Msg 2628 and changes nothing."""
    cursor.execute("DROP TABLE IF EXISTS #page")
    cursor.execute(f"CREATE TABLE #page (v {sql_type})")
    cursor.execute("INSERT INTO #page (v) VALUES (?)", fits)
    with pytest.raises(mssql_python.Error, match="would be truncated"):
        cursor.execute("INSERT INTO #page (v) VALUES (?)", beyond)
    assert one(cursor, "SELECT v FROM #page") == fits


def test_the_catalog_names_the_collation_of_each_column(cursor: Any) -> None:
    names = [CYRILLIC, JAPANESE, UTF8, "Latin1_General_100_BIN2", "SQL_Latin1_General_CP1_CS_AS"]
    columns = ", ".join(f"c{number} varchar(9) COLLATE {name}" for number, name in enumerate(names))
    cursor.execute("DROP TABLE IF EXISTS dbo.collations_of_columns")
    cursor.execute(f"CREATE TABLE dbo.collations_of_columns ({columns}, n int)")
    cursor.execute(
        "SELECT collation_name FROM sys.columns WHERE object_id = OBJECT_ID('dbo.collations_of_columns') "
        "ORDER BY column_id"
    )
    found = [name for (name,) in cursor.fetchall()]
    cursor.execute("DROP TABLE dbo.collations_of_columns")
    assert found == [*names, None]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (f"CASE WHEN N'Ж' = N'ж' COLLATE {CYRILLIC} THEN 1 ELSE 0 END", 1),
        ("CASE WHEN N'Ж' = N'ж' COLLATE Cyrillic_General_CS_AS THEN 1 ELSE 0 END", 0),
        (f"CASE WHEN N'é' = N'e' COLLATE {UTF8} THEN 1 ELSE 0 END", 0),
        ("CASE WHEN N'é' = N'e' COLLATE Latin1_General_100_CI_AI THEN 1 ELSE 0 END", 1),
        ("CASE WHEN N'a' = N'a  ' COLLATE Latin1_General_BIN2 THEN 1 ELSE 0 END", 1),
        ("CASE WHEN N'a' < N'B' COLLATE Latin1_General_BIN2 THEN 1 ELSE 0 END", 0),
        ("CASE WHEN N'a' < N'B' COLLATE Latin1_General_CI_AS THEN 1 ELSE 0 END", 1),
        (f"COLLATIONPROPERTY('{JAPANESE}', 'CodePage')", 932),
        (f"COLLATIONPROPERTY('{UTF8}', 'CodePage')", 65001),
        # "Collation and Unicode support": LEN counts a pair as two, but under _SC as one character
        ("LEN(N'😀' COLLATE Latin1_General_100_CI_AS)", 2),
        ("LEN(N'😀' COLLATE Latin1_General_100_CI_AS_SC)", 1),
        ("CAST(CAST(N'日本語' AS varchar(9)) AS varchar(9))", "???"),
        (f"CONVERT(varchar(3), N'日本' COLLATE {JAPANESE})", "日"),
    ],
)
def test_expressions_under_a_collation(cursor: Any, expression: str, expected: object) -> None:
    assert one(cursor, f"SELECT {expression} AS v") == expected


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (f"SELECT 1 AS v WHERE 'a' COLLATE {CYRILLIC} = 'a' COLLATE {JAPANESE}", "collation conflict"),
        ("SELECT 'a' COLLATE Klingon_CI_AS AS v", "Invalid collation"),
        ("CREATE TABLE #no (v text COLLATE Latin1_General_100_CI_AS_SC_UTF8)", "legacy LOB types"),
    ],
)
def test_what_a_collation_refuses(cursor: Any, sql: str, message: str) -> None:
    """Msg 468, 448 and 4189."""
    with pytest.raises(mssql_python.Error, match=message):
        cursor.execute(sql)
