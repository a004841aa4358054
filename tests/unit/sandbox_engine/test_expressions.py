"""Expression semantics, each expected value taken from the Microsoft page that the test names."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal as D
from typing import Any

import pytest

One = Callable[[str], tuple[str, Any]]
DAY = 864_000_000_000


@pytest.mark.parametrize(
    ("expression", "sql_type", "value"),
    [
        # "Constants (Transact-SQL)"; "decimal and numeric": the smallest precision and scale that hold the constant
        ("1", "int", 1),
        ("2147483648", "numeric(10,0)", D(2147483648)),
        ("12.345", "numeric(5,3)", D("12.345")),
        ("0.5", "numeric(1,1)", D("0.5")),
        ("1e0", "float", 1.0),
        ("'ab'", "varchar(2)", "ab"),
        ("N'ab'", "nvarchar(2)", "ab"),
        ("0x0A", "varbinary(1)", b"\x0a"),
        ("$1.5", "money", D("1.5000")),
        ("NULL", "int", None),
        # "Arithmetic operators": integer division cuts off; % takes the dividend's sign
        ("7 / 2", "int", 3),
        ("-7 / 2", "int", -3),
        ("-7 % 3", "int", -1),
        # "Precision, scale, and length"
        ("CAST(1 AS decimal(10,2)) + CAST(1 AS decimal(8,4))", "decimal(13,4)", D("2.0000")),
        ("CAST(1 AS decimal(10,2)) * CAST(2 AS decimal(8,4))", "decimal(19,6)", D("2.000000")),
        ("CAST(1 AS decimal(5,2)) / CAST(3 AS decimal(5,2))", "decimal(13,8)", D("0.33333333")),
        ("2.0 / 3", "numeric(7,6)", D("0.666666")),
        ("CAST(1 AS decimal(38,10)) * CAST(2 AS decimal(38,10))", "decimal(38,6)", D("2.000000")),
        ("CAST(1 AS decimal(38,20)) + CAST(1 AS decimal(38,10))", "decimal(38,10)", D("2.0000000000")),
        (
            "CAST(0.0000009000 AS decimal(30,20)) * CAST(1.0 AS decimal(30,20))",
            "decimal(38,17)",
            D("0.00000090000000000"),
        ),
        # "Data type precedence"
        ("1 + CAST(1 AS bigint)", "bigint", 2),
        ("1 + '2'", "int", 3),
        ("1 + 1e0", "float", 2.0),
        ("CAST(1 AS money) + 1", "money", D("2.0000")),
        ("CASE WHEN 1 = 1 THEN 1 ELSE 2.5 END", "numeric(2,1)", D("1.0")),
        ("COALESCE(NULL, 1, 2.50)", "numeric(3,2)", D("1.00")),
        # "ISNULL": the type of the first argument, the second cut to it
        ("ISNULL(CAST(NULL AS varchar(2)), 'abcdef')", "varchar(2)", "ab"),
        # "+ (String concatenation)": NULL yields NULL
        ("'a' + 'bc'", "varchar(3)", "abc"),
        ("'a' + NULL", "varchar(2)", None),
        ("CONCAT('a', NULL, 1)", "varchar(14)", "a1"),
    ],
)
def test_a_constant_or_operator_has_sql_servers_type_and_value(
    one: One, expression: str, sql_type: str, value: Any
) -> None:
    assert one(expression) == (sql_type, value)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("LEN('abc  ')", 3),  # "LEN": excluding trailing spaces
        ("DATALENGTH('abc  ')", 5),
        ("DATALENGTH(N'abc')", 6),
        ("LEN(N'😀')", 2),  # without an _SC collation, UTF-16 units
        ("SUBSTRING('abcdef', 2, 3)", "bcd"),
        ("SUBSTRING('abcdef', 0, 3)", "ab"),  # "SUBSTRING": start below 1 counts
        ("CHARINDEX('B', 'abc')", 2),  # the default collation ignores case
        ("CHARINDEX('bicycle', 'Reflectors are vital safety components of your bicycle.')", 48),
        ("PATINDEX('%ter%', 'interesting data')", 3),  # "PATINDEX", example A
        ("REPLACE('abcdefghicde', 'cde', 'xxx')", "abxxxfghixxx"),  # "REPLACE", example
        ("STUFF('abcdef', 2, 3, 'ijklmn')", "aijklmnef"),  # "STUFF", example
        ("STUFF('abc', 5, 1, 'x')", None),
        ("REVERSE('abc')", "cba"),
        ("REPLICATE('ab', 3)", "ababab"),
        ("QUOTENAME('abc[]def')", "[abc[]]def]"),  # "QUOTENAME", example
        ("STR(123.45, 6, 1)", " 123.5"),  # "STR", example
        ("STR(123.45, 2, 2)", "**"),  # "STR", example
        ("CONCAT_WS(',', 'a', NULL, 'b')", "a,b"),
        ("TRIM('  a ')", "a"),
        ("ASCII('€')", 128),
        ("UNICODE(N'Å')", 197),
        ("CHAR(65) + NCHAR(8364)", "A€"),
        ("HASHBYTES('MD5', 'abc')", bytes.fromhex("900150983cd24fb0d6963f7d28e17f72")),
        ("HASHBYTES('MD5', N'a')", bytes.fromhex("4144e195f46de78a3623da7364d04f11")),
        ("ROUND(123.9994, 3)", D("123.9990")),  # "ROUND", example B
        ("ROUND(748.58, -1)", D("750.00")),  # "ROUND", example
        ("ROUND(150.75, 0, 1)", D("150.00")),  # "ROUND", example C: truncated
        ("CEILING(-123.45)", D(-123)),
        ("POWER(2, 10)", 1024),
        ("SIGN(-5)", -1),
        ("IIF(45 > 30, 'TRUE', 'FALSE')", "TRUE"),
        ("CHOOSE(3, 'a', 'b', 'c')", "c"),
        ("CHOOSE(9, 'a', 'b')", None),
        ("NULLIF(4, 4)", None),
        ("CAST(10.6496 AS int)", 10),  # "CAST and CONVERT": truncated, not rounded
        ("CAST(-10.6496 AS int)", -10),
        ("CAST(10.6496 AS numeric(4,1))", D("10.6")),
        ("CAST(10.3496847 AS money)", D("10.3497")),  # "CAST and CONVERT": rounded
        ("CAST(1234567 AS varchar(3))", "*"),  # too long for an int: *
        ("CAST('abc' AS char(5))", "abc  "),
        ("CAST(1234567.0e0 AS varchar(20))", "1.23457e+006"),  # float, style 0: six digits at most
        ("CAST(0.1e0 AS varchar(20))", "0.1"),
        ("CONVERT(varchar(30), CAST(1234.5 AS money), 1)", "1,234.50"),
        ("CONVERT(varchar(10), 0x4E616D65, 1)", "0x4E616D65"),  # "CAST and CONVERT", example: style 1
        ("CONVERT(varbinary(4), '0x4E616D65', 1)", b"Name"),
        ("CAST(CAST(258 AS int) AS varbinary(4))", b"\x00\x00\x01\x02"),
        ("CAST(0x0102 AS int)", 258),
        ("TRY_CAST('x' AS int)", None),
        ("TRY_CONVERT(date, '20230230')", None),
        (
            "CAST(2.9999999999999999999999999999999999999 AS decimal(38,37))",
            D("2.9999999999999999999999999999999999999"),
        ),
    ],
)
def test_a_function_answers_as_its_page_says(one: One, expression: str, value: Any) -> None:
    assert one(expression)[1] == value


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("DATEADD(month, 1, CAST('20060831' AS date))", datetime.date(2006, 9, 30)),  # "DATEADD": last day of the month
        ("DATEDIFF(year, '2005-12-31 23:59:59.9999999', '2006-01-01 00:00:00.0000000')", 1),  # "DATEDIFF", boundaries
        ("DATEDIFF(week, '2005-12-31 23:59:59.9999999', '2006-01-01 00:00:00.0000000')", 1),
        ("DATEDIFF(nanosecond, '2005-12-31 23:59:59.9999999', '2006-01-01 00:00:00.0000000')", 100),
        ("DATEPART(week, '2007-04-21')", 16),  # "DATEPART", SET DATEFIRST table: 7 is the default
        ("DATEPART(weekday, '2007-04-21')", 7),
        ("DATEPART(iso_week, '2010-01-03')", 53),
        ("DATENAME(weekday, '2007-10-30')", "Tuesday"),
        ("EOMONTH('20110201')", datetime.date(2011, 2, 28)),
        ("DATEFROMPARTS(2010, 12, 31)", datetime.date(2010, 12, 31)),
        ("CONVERT(varchar(30), CAST('2006-04-25T15:50:59.997' AS datetime), 126)", "2006-04-25T15:50:59.997"),
        ("CONVERT(varchar(10), CAST('20060425' AS date), 103)", "25/04/2006"),
        ("CONVERT(varchar(8), CAST('20060425' AS date), 112)", "20060425"),
        ("CONVERT(varchar(7), CAST('20060425' AS date), 126)", "2006-04"),
        ("CAST(CAST('2006-04-25T15:50:00' AS datetime) AS varchar(30))", "Apr 25 2006  3:50PM"),
        ("CONVERT(date, '25/04/2006', 103)", datetime.date(2006, 4, 25)),
        ("CAST('9999-12-31' AS date)", datetime.date(9999, 12, 31)),
        ("CAST('0001-01-01' AS date)", datetime.date(1, 1, 1)),
        ("CAST('0001-01-01' AS datetime2)", 0),
        ("CAST('9999-12-31 23:59:59.9999999' AS datetime2)", 3_155_378_975_999_999_999),
        ("CAST('23:59:59.9999999' AS time)", DAY - 1),
        ("CAST('1998-01-02 00:00:00.005' AS datetime)", 35795 * 25_920_000 + 2),  # "datetime": .005 becomes .007
        ("CAST('2000-05-08 12:35:29.998' AS datetime)", 36652 * 25_920_000 + (45329 * 300 + 299)),
        ("CAST(CAST('2007-05-08 12:35:29.998' AS datetime2) AS smalldatetime)", 39208 * 1440 + 755),
        ("CAST(CAST('2007-05-08 12:35:30' AS datetime2) AS smalldatetime)", 39208 * 1440 + 756),
        ("SWITCHOFFSET(CAST('1998-09-20 7:45:50.71345 -5:00' AS datetimeoffset), '-08:00')",
         {"utc": 630_418_887_507_134_500 + 4 * 10**9 - 4 * 10**9, "offset": -480}),
    ],
)  # fmt: skip
def test_dates_and_times_answer_as_their_pages_say(one: One, expression: str, value: Any) -> None:
    got = one(expression)[1]
    if isinstance(value, dict):
        assert got["offset"] == value["offset"]
    else:
        assert got == value


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("'a' = 'A'", True),  # SQL_Latin1_General_CP1_CI_AS
        ("'a' = 'a   '", True),  # trailing blanks never count in =
        ("'a' = 'á'", False),
        ("'a' = 'A' COLLATE Latin1_General_CS_AS", False),
        ("'a' = 'A' COLLATE Latin1_General_BIN2", False),
        ("'a' = 'á' COLLATE Latin1_General_CI_AI", True),
        ("'abc' LIKE 'A_C'", True),
        ("'abc ' LIKE 'abc'", True),  # "LIKE": trailing blanks of the varchar value are ignored
        ("'abc' LIKE 'abc '", False),  # those of the pattern are not
        ("N'abc ' LIKE N'abc'", False),  # Unicode: they are significant
        ("'50%' LIKE '50!%' ESCAPE '!'", True),
        ("'B' LIKE '[a-c]'", True),
        ("'x' LIKE '[^a-c]'", True),
        ("'' = ' '", True),
        ("0x01 = 0x0100", True),
        ("'b' > 'A'", True),
        ("'_' < 'a'", True),
        ("1 = '1'", True),
        ("CAST('20200101' AS datetime) = '2020-01-01'", True),
        ("CAST('00000001-0000-0000-0000-000000000000' AS uniqueidentifier) < "
         "CAST('00000000-0000-0000-0000-000000000001' AS uniqueidentifier)", True),  # the last six bytes sort first
    ],
)  # fmt: skip
def test_values_compare_under_sql_servers_rules(one: One, condition: str, holds: bool) -> None:
    assert one(f"CASE WHEN {condition} THEN 1 ELSE 0 END")[1] == int(holds)
