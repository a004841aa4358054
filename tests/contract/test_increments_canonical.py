"""Canonical texts on the server: no two different rows have the same one, NULLs, blanks and delimiters included."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.increments.canonical import canonical_text, row_digest
from sql_databricks_bridge.core.ports import ResultColumn
from sql_databricks_bridge.db.sql_server import MssqlConnection, MssqlServer
from sql_databricks_bridge.models.jobs import BoundParameter

_TYPES = ("nvarchar(60)", "varchar(60)", "int", "varbinary(9)")
_texts = st.text(st.sampled_from("N;:0123aAä \0é𝄞"), max_size=6) | st.sampled_from(["N", "", "N;", "2:a", "1;"])
_plain = st.text(st.sampled_from("N;:012aA "), max_size=6) | st.sampled_from(["N", "", "2:", "4:N;"])
_rows = st.tuples(
    st.none() | _texts, st.none() | _plain, st.none() | st.integers(-12, 12), st.none() | st.binary(max_size=2)
)


@pytest.fixture(scope="module")
def connection(sqlserver_settings: Settings) -> Iterator[MssqlConnection]:
    connected = MssqlServer(sqlserver_settings).connect()
    yield connected
    connected.close()


def _columns(types: Sequence[str]) -> list[ResultColumn]:
    return [ResultColumn(f"c{at}", kind, True, 1, 0, 0) for at, kind in enumerate(types)]


def _asked(
    connection: MssqlConnection, types: Sequence[str], rows: Sequence[Sequence[object]]
) -> tuple[list[str], list[bytes]]:
    """The canonical texts of the rows, and their digests, in their order."""
    columns, parameters, values = _columns(types), [], []
    for at, row in enumerate(rows):
        names = [f"p{at}_{number}" for number in range(len(row))]
        parameters += [BoundParameter(name, kind, value) for name, kind, value in zip(names, types, row, strict=True)]
        values.append(f"({at}, {', '.join(f'@{name}' for name in names)})")
    names = [f"[{column.name}]" for column in columns]
    found = connection.ask(
        f"SELECT q.[at], {canonical_text(columns, 'q', names)} AS [text], "
        f"{row_digest(columns, 'q', names)} AS [digest] "
        f"FROM (VALUES {', '.join(values)}) AS q ([at], {', '.join(names)}) ORDER BY q.[at]",
        parameters,
    )
    return [row["text"] for row in found], [bytes(row["digest"]) for row in found]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_rows, min_size=2, max_size=25, unique=True))
def test_different_rows_have_different_texts(connection: MssqlConnection, rows: list[tuple[object, ...]]) -> None:
    kept = [row for row in rows if not (isinstance(row[0], str) and "\0" in row[0])]  # the stand-in's engine has no NUL
    if len(kept) > 1:
        texts, digests = _asked(connection, _TYPES, kept)
        assert len(set(texts)) == len(set(digests)) == len(kept)


_MOMENTS = ["2024-05-01T10:00:00", "2024-05-01T10:00:01", "1999-12-31T00:00:00"]
_VALUES: dict[str, list[object]] = {
    "bit": [None, False, True],
    "tinyint": [None, 0, 1, 255],
    "bigint": [None, -(2**63), 2**63 - 1, -1, 1, 0],
    "decimal(38,2)": [None, "0.01", "-0.01", "0.10", "999999999999999999999999999999999999.99"],
    "money": [None, "1.0001", "1.0002", "1.01", "-922337203685477.5808"],
    "float": [None, 0.1, 0.1 + 2**-56, 1e308, 5e-300, -0.1],
    "real": [None, "0.1", "0.10000001", "16777216", "16777218"],
    "date": [None, "0001-01-01", "9999-12-31", "2024-05-01"],
    "datetime": [None, "2024-05-01T10:00:00.000", "2024-05-01T10:00:00.003", "2024-05-01T10:00:00.007", *_MOMENTS[1:]],
    "smalldatetime": [None, "2024-05-01T10:00:00", "2024-05-01T10:01:00"],
    "datetime2(7)": [None, "2024-05-01T10:00:00.1234567", "2024-05-01T10:00:00.1234568", *_MOMENTS],
    "time(7)": [None, "10:00:00.1234567", "10:00:00.1234568", "10:00:00"],
    "datetimeoffset(7)": [None, "2024-05-01T10:00:00.1234567+02:00", "2024-05-01T08:00:00.1234567+00:00"],
    "uniqueidentifier": [None, "6F9619FF-8B86-D011-B42D-00C04FC964FF", "00000000-0000-0000-0000-000000000000"],
    "nvarchar(max)": [None, "", " ", "a", "A", "á", "a ", "x" * 5000, "x" * 5001],
    "nchar(3)": [None, "", "a", "A"],
    "varbinary(max)": [None, b"", b"\0", b"\0\0", b"N"],
}


@pytest.mark.parametrize("kind", _VALUES)
def test_values_that_differ_by_the_least_have_different_texts(connection: MssqlConnection, kind: str) -> None:
    values = _VALUES[kind]
    texts, digests = _asked(connection, (kind,), [(value,) for value in values])
    assert len(set(texts)) == len(set(digests)) == len(values), texts


def test_a_text_beyond_4000_characters_is_not_cut(connection: MssqlConnection) -> None:
    long = "y" * 3000
    ((one, other), digests) = _asked(connection, ("nvarchar(max)", "nvarchar(max)"), [(long, "a"), (long, "b")])
    assert (len(one), len(set(digests)), one != other) == (len("6000:") + 3000 + len("2:a"), 2, True)


def test_more_columns_than_concat_takes_are_all_in_the_digest(connection: MssqlConnection) -> None:
    columns = _columns(["int"] * 600)
    names = [f"[{column.name}]" for column in columns]
    moments = dt.date(2024, 5, 1)

    def digest(last: int) -> bytes:
        values = ", ".join(["@d"] * 599 + ["@last"])
        (row,) = connection.ask(
            f"SELECT {row_digest(columns, 'q', names)} AS [digest] "
            f"FROM (SELECT {', '.join(f'v.{name}' for name in names)} "
            f"FROM (VALUES ({values})) AS v ({', '.join(names)})) AS q",
            (BoundParameter("d", "int", moments.day), BoundParameter("last", "int", last)),
        )
        return bytes(row["digest"])

    assert digest(1) == digest(1) != digest(2)
