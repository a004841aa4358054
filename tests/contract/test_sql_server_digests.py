"""Digests of rows and ranges, as the fingerprint increment takes them: canonical text, HASHBYTES, buckets.

The expected texts are what "CAST and CONVERT (Transact-SQL)" says of each style.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.session import Session
from tests.contract.own_database import own_database

# type, value, style, canonical text
CANONICAL = [
    ("tinyint", "255", None, "255"),
    ("smallint", "-32768", None, "-32768"),
    ("int", "-2147483648", None, "-2147483648"),
    ("bigint", "-9223372036854775808", None, "-9223372036854775808"),
    ("bit", "1", None, "1"),
    ("decimal(38,10)", "-1.5", None, "-1.5000000000"),
    ("decimal(5,0)", "12", None, "12"),
    ("money", "-1234567.8912", 2, "-1234567.8912"),
    ("smallmoney", "0.5", 2, "0.5000"),
    ("float", "0.1E0", 3, "1.0000000000000001e-001"),
    ("float", "-1.7976931348623157E308", 3, "-1.7976931348623157e+308"),
    ("float", "0E0", 3, "0.0000000000000000e+000"),
    ("float", "1E100", 3, "1.0000000000000000e+100"),
    ("float", "1E-300", 3, "1.0000000000000000e-300"),
    ("float", "0.1E0", 2, "1.000000000000000e-001"),
    ("real", "0.1E0", 3, "1.0000000149011612e-001"),
    ("date", "'0001-01-01'", 121, "0001-01-01"),
    ("date", "'9999-12-31'", 126, "9999-12-31"),
    ("datetime", "'1753-01-01T00:00:00.003'", 121, "1753-01-01 00:00:00.003"),
    ("datetime", "'9999-12-31T23:59:59.997'", 126, "9999-12-31T23:59:59.997"),
    ("datetime", "'1900-01-01T12:00:00'", 126, "1900-01-01T12:00:00"),
    ("smalldatetime", "'2079-06-06T23:59:00'", 121, "2079-06-06 23:59:00.000"),
    ("datetime2(7)", "'0001-01-01T00:00:00.0000001'", 121, "0001-01-01 00:00:00.0000001"),
    ("datetime2(3)", "'2024-02-29T23:59:59.1'", 121, "2024-02-29 23:59:59.100"),
    ("datetime2(0)", "'2024-02-29T23:59:59'", 121, "2024-02-29 23:59:59"),
    ("datetime2(7)", "'9999-12-31T23:59:59.9999999'", 126, "9999-12-31T23:59:59.9999999"),
    ("datetimeoffset(7)", "'2024-02-29T23:59:59.1234567-05:30'", 121, "2024-02-29 23:59:59.1234567 -05:30"),
    ("datetimeoffset(0)", "'2024-02-29T23:59:59+14:00'", 126, "2024-02-29T23:59:59+14:00"),
    ("time(7)", "'23:59:59.9999999'", 121, "23:59:59.9999999"),
    ("time(0)", "'00:00:00'", 121, "00:00:00"),
    ("uniqueidentifier", "'a0b1c2d3-0000-4000-8000-00000000000f'", None, "A0B1C2D3-0000-4000-8000-00000000000F"),
    ("binary(4)", "0x00ABCD", 1, "0x00ABCD00"),
    ("varbinary(10)", "0x", 2, ""),
    ("varbinary(10)", "0xDEADBEEF", 2, "DEADBEEF"),
    ("char(5)", "'ab'", None, "ab   "),
    ("varchar(10)", "'ab  '", None, "ab  "),
    ("varchar(10)", "''", None, ""),
    ("nvarchar(10)", "N'aé漢'", None, "aé漢"),
    ("nvarchar(10)", "N'\U0001f600'", None, "\U0001f600"),
    ("nchar(3)", "N'ß'", None, "ß  "),
]


@pytest.fixture(scope="module")
def session(sqlserver_settings: Settings) -> Iterator[Session]:
    with own_database(sqlserver_settings) as connect:
        made = connect()
        made.rows("ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON")
        yield made


def one(session: Session, expression: str) -> Any:
    (row,) = session.rows(f"SELECT {expression} AS x")
    return row["x"]


def utf16(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-16-le")).digest()


@pytest.mark.parametrize(("kind", "value", "style", "text"), CANONICAL)
def test_canonical_text_is_exact_and_hashed_as_utf16(
    session: Session, kind: str, value: str, style: int | None, text: str
) -> None:
    converted = f"CONVERT(nvarchar(max), c{'' if style is None else f', {style}'})"
    (row,) = session.rows(
        f"SELECT {converted} AS t, LEN({converted}) AS n, HASHBYTES('SHA2_256', {converted}) AS h "
        f"FROM (SELECT CONVERT({kind}, {value}) AS c) AS q"
    )
    assert (row["t"], row["h"]) == (text, utf16(text))
    assert row["n"] == len(text.rstrip(" ").encode("utf-16-le")) // 2


def test_texts_of_every_length_and_repertoire_hash_as_their_bytes(session: Session) -> None:
    for text in ("", "x" * 1023, "y" * 1025, "é" * 3000, "~\x01\x7f\x80ÿ", "漢" * 500, "a\U0001f600é" * 700, "ŁÓDŹ €"):
        literal = text.replace("'", "''")
        assert one(session, f"HASHBYTES('SHA2_256', CONVERT(nvarchar(max), N'{literal}'))") == utf16(text)
    for text in ("", "abc ", "caf\xe9 €"):
        assert one(session, f"HASHBYTES('SHA2_256', '{text}')") == hashlib.sha256(text.encode("cp1252")).digest()
    assert one(session, "HASHBYTES('SHA2_512', 0x00FF)") == hashlib.sha512(b"\0\xff").digest()
    assert one(session, "HASHBYTES('SHA2_256', CONVERT(nvarchar(max), NULL))") is None


def test_bytes_beyond_8000_convert_whole(session: Session) -> None:
    # REPLICATE stops at 8,000 bytes unless its argument is a (max) type
    long = "CONVERT(varbinary(max), REPLICATE(CONVERT(varchar(max), 'ab'), 10000))"
    (row,) = session.rows(
        f"SELECT DATALENGTH(t) AS n, HASHBYTES('SHA2_256', t) AS h "
        f"FROM (SELECT CONVERT(nvarchar(max), {long}, 2) AS t) q"
    )
    assert (row["n"], row["h"]) == (80000, utf16("6162" * 10000))


def test_rowversion_converts_as_its_eight_bytes(session: Session) -> None:
    session.rows("CREATE TABLE #r (rv rowversion, n int); INSERT INTO #r (n) VALUES (1)")
    (row,) = session.rows(
        "SELECT rv, CONVERT(nvarchar(max), rv, 1) AS one, CONVERT(nvarchar(max), rv, 2) AS two FROM #r"
    )
    assert (row["one"], row["two"]) == (f"0x{row['rv'].hex().upper()}", row["rv"].hex().upper())
    session.rows("DROP TABLE #r")


def test_len_leaves_trailing_blanks_out_and_datalength_counts_bytes(session: Session) -> None:
    for expression, length, size in (("'ab  '", 2, 4), ("N'ab  '", 2, 8), ("N'\U0001f600 '", 2, 6), ("N''", 0, 0),
                                     ("CONVERT(char(5), 'a')", 1, 5),
                                     ("CONVERT(nvarchar(max), N'  ')", 0, 4)):  # fmt: skip
        assert (one(session, f"LEN({expression})"), one(session, f"DATALENGTH({expression})")) == (length, size)


def test_buckets_of_numbers_and_of_digests(session: Session) -> None:
    rows = session.rows(
        "SELECT id / @w AS cut, (id - (@w + id % @w) % @w) / @w AS floor_ "
        "FROM (VALUES (CONVERT(bigint, -1)), (-10), (-11), (0), (9), (10)) AS t(id) "
        "ORDER BY id".replace("@w", "CONVERT(bigint, 10)")
    )
    assert [tuple(row.values()) for row in rows] == [(-1, -2), (-1, -1), (0, -1), (0, 0), (0, 0), (1, 1)]
    bucket = "CONVERT(bigint, SUBSTRING(HASHBYTES('SHA2_256', CONVERT(nvarchar(4000), N'key')), 1, 4)) % 1000"
    assert one(session, bucket) == int.from_bytes(utf16("key")[:4], "big") % 1000
    assert one(session, "CONVERT(bigint, 0xFFFFFFFF)") == 4294967295
    assert one(session, "CONVERT(int, 0xFFFFFFFF)") == -1


DIGEST = """SELECT r.[range], COUNT_BIG(*) AS [rows],
  HASHBYTES('SHA2_256', STRING_AGG(CONVERT(varchar(max), r.[digest], 2), '')
    WITHIN GROUP (ORDER BY r.[digest])) AS [digest]
FROM (SELECT ISNULL(CONVERT(bigint, q.[id]) / @width, -1) AS [range], HASHBYTES('SHA2_256', CONCAT(
  CASE WHEN q.[id] IS NULL THEN 'N' ELSE CONCAT('V', LEN(CONVERT(nvarchar(max), q.[id])), ':',
    CONVERT(nvarchar(max), q.[id])) END,
  CASE WHEN q.[name] IS NULL THEN 'N' ELSE CONCAT('V', LEN(CONVERT(nvarchar(max), q.[name])), ':',
    CONVERT(nvarchar(max), q.[name])) END)) AS [digest]
  FROM (SELECT id, name FROM dbo.digested) AS q) AS r GROUP BY r.[range]"""


def test_ranges_digest_as_anybody_can_recompute_them(session: Session) -> None:
    session.rows("CREATE TABLE dbo.digested (id int NULL, name nvarchar(30) NULL)")
    session.rows(
        "INSERT INTO dbo.digested VALUES (1, N'a'), (99, N''), (100, N'Józef '), (101, NULL), "
        "(NULL, N'x'), (NULL, N'y')"
    )
    rows = [(1, "a"), (99, ""), (100, "Józef "), (101, None), (None, "x"), (None, "y")]
    ranges: dict[int, list[bytes]] = {}
    for id_, name in rows:
        text = "".join(
            "N" if v is None else f"V{len(v.rstrip(' '))}:{v}" for v in (None if id_ is None else str(id_), name)
        )
        ranges.setdefault(-1 if id_ is None else id_ // 100, []).append(utf16(text))
    expected = {
        at: (len(each), hashlib.sha256("".join(d.hex().upper() for d in sorted(each)).encode()).digest())
        for at, each in ranges.items()
    }
    session.rows("SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRANSACTION")
    text = DIGEST.replace("'", "''")
    found = session.rows(f"EXEC sp_executesql N'{text}', N'@width bigint', @width = 100")
    session.rows("COMMIT; SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
    assert {row["range"]: (row["rows"], row["digest"]) for row in found} == expected


def test_rows_are_chosen_by_two_thousand_ranges(session: Session) -> None:
    digits = "(VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9))"
    session.rows("CREATE TABLE dbo.ranged (id bigint NOT NULL PRIMARY KEY)")
    session.rows(f"INSERT INTO dbo.ranged SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d "
                 f"FROM {digits} a(d), "
                 f"{digits} b(d), {digits} c(d), {digits} e(d), {digits} f(d)")  # fmt: skip
    ranges = ",".join(f"({i * 40},{i * 40 + 1})" for i in range(2000))
    (row,) = session.rows(
        f"SELECT COUNT_BIG(*) AS n, MAX(q.id) AS top_ FROM dbo.ranged AS q JOIN (VALUES {ranges}) AS r([low],[high]) "
        "ON q.id BETWEEN r.[low] AND r.[high]"
    )
    assert (row["n"], row["top_"]) == (4000, 79961)


def test_extremes_and_numbering(session: Session) -> None:
    source = ("(VALUES (3, N'b', CONVERT(datetime2(7), '2020-01-01'), 0x02), (1, N'A', '2021-01-01', "
              "0x0100), (2, N'a', NULL, 0x01)) ")  # fmt: skip
    (row,) = session.rows(
        f"SELECT MIN(i) AS a, MAX(i) AS b, MIN(s) AS c, MAX(s) AS d, MIN(t) AS e, MAX(t) AS f, MAX(x) AS g "
        f"FROM {source} v(i, s, t, x)"
    )
    assert (row["a"], row["b"], row["c"].lower(), row["d"], row["g"]) == (1, 3, "a", "b", b"\x02")
    assert (row["e"].year, row["f"].year) == (2020, 2021)
    low, high = "00000000-0000-0000-0000-0100000000FF", "FF000000-0000-0000-0000-000000000000"
    # GUIDs compare by their last six bytes first ("Comparing GUID and uniqueidentifier values")
    (guid,) = session.rows(f"SELECT MAX(g) AS g FROM (VALUES (CONVERT(uniqueidentifier, '{low}')), ('{high}')) t(g)")
    assert str(guid["g"]).upper() == low
    numbers = session.rows(
        f"SELECT NTILE(2) OVER (ORDER BY i) AS t, ROW_NUMBER() OVER (ORDER BY i DESC) AS r "
        f"FROM {source} v(i, s, t, x) ORDER BY i"
    )
    assert [tuple(n.values()) for n in numbers] == [(1, 3), (1, 2), (2, 1)]
