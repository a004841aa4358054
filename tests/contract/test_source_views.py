"""One connection's `hold`, `view` and `ask` over the real driver: who has a lock, and of which moment an answer is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.sql_server import MssqlConnection
from sql_databricks_bridge.errors import SourceRefused
from sql_databricks_bridge.models.jobs import BoundParameter, ResolvedQuery
from tests.contract.increments_fixture import Bench, bench
from tests.contract.own_database import own_database

_COUNT = "SELECT COUNT(*) AS n FROM dbo.v"
_QUERY = ResolvedQuery("v", "queries/v.sql", "SELECT id FROM dbo.v", "")


@pytest.fixture
def source(sqlserver_settings: Settings) -> Iterator[Bench]:
    with bench(sqlserver_settings) as made:
        made.write("CREATE TABLE dbo.v (id int NOT NULL, rv rowversion NOT NULL)", "INSERT INTO dbo.v (id) VALUES (1)")
        yield made


def _streamed(connection: MssqlConnection, row_limit: int | None = None) -> int:
    with connection.stream(_QUERY, batch_bytes=1 << 20, row_limit=row_limit) as batches:
        return sum(batch.num_rows for batch in batches)


def _count(connection: MssqlConnection) -> int:
    (row,) = connection.ask(_COUNT)
    return int(row["n"])


def test_a_view_shows_one_moment_to_everything_asked_in_it(source: Bench) -> None:
    connection = source.connection
    with connection.view():
        assert connection.isolation == "snapshot"
        assert (_count(connection), _streamed(connection)) == (1, 1)
        source.write("INSERT INTO dbo.v (id) VALUES (2)")
        assert (_count(connection), _streamed(connection)) == (1, 1)
    assert (_count(connection), _streamed(connection)) == (2, 2)


def test_a_view_rolls_back_what_is_done_in_it_and_lets_the_next_one_begin(source: Bench) -> None:
    connection = source.connection
    with connection.view():
        connection.ask("INSERT INTO dbo.v (id) VALUES (3)")
    with connection.view():
        assert _count(connection) == 1


def test_a_view_ends_with_an_error_of_its_caller(source: Bench) -> None:
    def fails() -> None:
        with source.connection.view():
            _count(source.connection)
            raise LookupError

    with pytest.raises(LookupError):
        fails()
    source.write("DELETE FROM dbo.v")
    assert _count(source.connection) == 0


def test_views_do_not_nest(source: Bench) -> None:
    with source.connection.view(), pytest.raises(RuntimeError, match="open"), source.connection.view():
        pass


def test_a_row_limit_ends_with_its_stream_inside_a_view_too(source: Bench) -> None:
    source.write("INSERT INTO dbo.v (id) VALUES (2), (3)")
    with source.connection.view():
        assert _streamed(source.connection, row_limit=2) == 2
        assert _streamed(source.connection) == 3


def test_without_snapshot_a_view_says_so_and_works(sqlserver_settings: Settings) -> None:
    with own_database(sqlserver_settings) as connect:
        writer = connect()
        writer.rows("ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION OFF")
        writer.rows("CREATE TABLE dbo.v (id int NOT NULL)")
        connection = MssqlConnection(connect())
        with connection.view():
            assert connection.isolation == "read committed"
            assert (_count(connection), _streamed(connection)) == (0, 0)


def test_the_oldest_rowversion_of_a_view_is_not_above_one_in_flight(source: Bench) -> None:
    slow = source.sessions()
    slow.begin()
    slow.rows("INSERT INTO dbo.v (id) VALUES (2)")
    source.write("INSERT INTO dbo.v (id) VALUES (3)")
    try:
        with source.connection.view():
            oldest = source.connection.oldest_rowversion
            assert oldest is not None
            seen = [row["rv"] for row in source.connection.ask("SELECT rv FROM dbo.v WHERE id = 3")]
            assert seen
            assert oldest < bytes(seen[0])
    finally:
        slow.commit()
    (late,) = source.connection.ask("SELECT rv FROM dbo.v WHERE id = 2")
    assert bytes(late["rv"]) >= oldest


def test_ask_gives_values_by_name_and_binds_its_parameters_by_their_types(source: Bench) -> None:
    (row,) = source.connection.ask(
        "SELECT @n AS n, @b AS b, @t AS t, @d AS d, @none AS nothing",
        (
            BoundParameter("n", "bigint", 2**62),
            BoundParameter("b", "binary(8)", b"\0\1\2\3\4\5\6\7"),
            BoundParameter("t", "nvarchar(20)", "it's; ä"),
            BoundParameter("d", "datetime2(3)", dt.datetime(2013, 1, 2, 3, 4, 5)),  # noqa: DTZ001
            BoundParameter("none", "int", None),
        ),
    )
    assert row == {
        "n": 2**62,
        "b": b"\0\1\2\3\4\5\6\7",
        "t": "it's; ä",
        "d": dt.datetime(2013, 1, 2, 3, 4, 5),  # noqa: DTZ001
        "nothing": None,
    }


def test_what_the_server_refuses_in_a_view_is_heard_and_the_view_can_end(source: Bench) -> None:
    with pytest.raises(SourceRefused, match="nowhere"), source.connection.view():
        source.connection.ask("SELECT 1 AS n FROM dbo.nowhere")
    assert _count(source.connection) == 1


def test_a_resource_is_held_by_one_connection_until_it_closes(source: Bench) -> None:
    first, second = source.connection, MssqlConnection(source.sessions())
    assert first.hold("bridge:publish:x")
    assert not second.hold("bridge:publish:x")
    assert second.hold("bridge:publish:X"), "names are compared by bytes"
    with first.view():
        _count(first)
    assert not second.hold("bridge:publish:x"), "the end of a view released it"
    first.close()
    for _ in range(2000):  # each turn is a question to the server, which notices the end in its own time
        if second.hold("bridge:publish:x"):
            return
    pytest.fail("the lock outlived its session")
