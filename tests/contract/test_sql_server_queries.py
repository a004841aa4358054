"""How the SqlServer port runs queries: parameters, limits, isolation, errors and cancelling."""

from __future__ import annotations

import datetime as dt
import hashlib
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from decimal import Decimal

import pyarrow as pa
import pytest
from pydantic import SecretStr

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.ports import SqlServer, SqlServerConnection
from sql_databricks_bridge.core.types import LandedSchema
from sql_databricks_bridge.db.sql_server import MssqlConnection, MssqlServer
from sql_databricks_bridge.errors import (
    Cancelled,
    SourceError,
    SourceRefused,
    SourceSignInError,
    SourceUnavailable,
)
from sql_databricks_bridge.models.jobs import BoundParameter, ResolvedQuery


@pytest.fixture(scope="module")
def server(sqlserver_settings: Settings) -> SqlServer:
    return MssqlServer(sqlserver_settings)


@pytest.fixture
def connection(server: SqlServer) -> Iterator[SqlServerConnection]:
    found = server.connect()
    yield found
    found.close()


def query(sql: str, *parameters: BoundParameter) -> ResolvedQuery:
    return ResolvedQuery("q", "queries/q.sql", sql, hashlib.sha256(sql.encode()).hexdigest(), (), parameters)


def rows(connection: SqlServerConnection, asked: ResolvedQuery, limit: int | None = None) -> list[dict[str, object]]:
    """Run a query and return its rows, landed."""
    schema = LandedSchema.of(connection.describe(asked))
    with connection.stream(asked, batch_bytes=1 << 20, row_limit=limit) as batches:
        landed = [batch for raw in batches for batch in schema.convert(raw)]
    return list(pa.Table.from_batches(landed, schema=schema.schema).to_pylist())


ENDLESS = (
    "SELECT a.object_id AS v, b.object_id AS w, c.object_id AS x, d.object_id AS y, e.object_id AS z "
    "FROM sys.all_columns AS a CROSS JOIN sys.all_columns AS b CROSS JOIN sys.all_columns AS c "
    "CROSS JOIN sys.all_columns AS d CROSS JOIN sys.all_columns AS e"
)
SILENT = f"SELECT COUNT_BIG(*) AS n FROM ({ENDLESS}) AS t WHERE CAST(v AS bigint) + w + x + y + z = -12345"


def test_the_server_tells_who_it_is(connection: SqlServerConnection, sqlserver_settings: Settings) -> None:
    """Server, database, version and login are there; the database is the one asked for."""
    info = connection.info()
    assert info.database.lower() == (sqlserver_settings.sqlserver_database or info.database).lower()
    assert int(info.version.split(".")[0]) >= 11
    assert info.server
    assert info.login


@pytest.mark.parametrize(
    ("declaration", "value", "expected"),
    [
        ("bit", True, True),
        ("tinyint", 255, 255),
        ("smallint", -32768, -32768),
        ("int", 2**31 - 1, 2**31 - 1),
        ("bigint", -(2**63), -(2**63)),
        ("real", 0.5, 0.5),
        ("float", 0.1, 0.1),
        ("decimal(18,4)", Decimal("-99999999999999.9999"), Decimal("-99999999999999.9999")),
        ("decimal(38,0)", Decimal(10**37), Decimal(10**37)),
        ("money", Decimal("922337203685477.5807"), Decimal("922337203685477.5807")),
        ("date", dt.date(2013, 2, 1), dt.date(2013, 2, 1)),
        ("time(6)", dt.time(23, 59, 59, 999999), "23:59:59.999999"),
        ("datetime", dt.datetime(2013, 1, 2, 3, 4, 5, 3000), dt.datetime(2013, 1, 2, 3, 4, 5, 3000)),  # noqa: DTZ001
        ("smalldatetime", dt.datetime(2013, 1, 2, 3, 4), dt.datetime(2013, 1, 2, 3, 4)),  # noqa: DTZ001
        ("datetime2(6)", dt.datetime(1, 1, 1, 0, 0, 0, 1), dt.datetime(1, 1, 1, 0, 0, 0, 1)),  # noqa: DTZ001
        (
            "datetimeoffset(6)",
            dt.datetime(2013, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-5))),
            dt.datetime(2013, 1, 1, 5, tzinfo=dt.UTC),
        ),
        ("varchar(20)", "it's -- ; DROP", "it's -- ; DROP"),
        ("nvarchar(20)", "日本語 😀", "日本語 😀"),
        ("nvarchar(max)", "é" * 5000, "é" * 5000),
        ("char(3)", "a", "a  "),
        ("uniqueidentifier", uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ("varbinary(10)", b"\x00\xff", b"\x00\xff"),
        ("varbinary(max)", b"x" * 9000, b"x" * 9000),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else None,
)
def test_a_parameter_has_its_declared_type(
    connection: SqlServerConnection, declaration: str, value: object, expected: object
) -> None:
    """A bound value arrives as it is, typed by its declaration; so does NULL."""
    parameters = BoundParameter("p", declaration, value), BoundParameter("nothing", declaration, None)
    asked = query("SELECT @p AS p, @nothing AS nothing", *parameters)
    assert connection.describe(asked)[0].sql_type == declaration
    assert rows(connection, asked) == [{"p": expected, "nothing": None}]


def test_a_parameter_is_never_sql(connection: SqlServerConnection) -> None:
    """A value that looks like SQL selects nothing but itself."""
    asked = query("SELECT 1 AS hit WHERE @p = 'x'", BoundParameter("p", "varchar(50)", "x' OR '1'='1"))
    assert rows(connection, asked) == []


def test_a_long_statement_with_parameters_runs(connection: SqlServerConnection) -> None:
    """More than 4,000 characters of SQL reach the server whole."""
    asked = query(f"SELECT @p AS p /* {'é' * 9000} */", BoundParameter("p", "int", 7))
    assert rows(connection, asked) == [{"p": 7}]


def test_an_empty_result_is_no_batch(connection: SqlServerConnection) -> None:
    """No rows is an empty stream, and it still is described."""
    assert rows(connection, query("SELECT 1 AS n WHERE 1 = 0")) == []


@pytest.mark.parametrize("limit", [0, 1, 100])
def test_a_limit_stops_the_result(connection: SqlServerConnection, limit: int) -> None:
    """No more rows than the limit come, in the query's order; 0 is none, though SET ROWCOUNT 0 would be all."""
    number = "ROW_NUMBER() OVER (ORDER BY a.object_id)"
    asked = query(
        f"SELECT TOP (300) {number} AS n FROM sys.all_columns AS a CROSS JOIN sys.all_columns AS b ORDER BY n"
    )
    assert [row["n"] for row in rows(connection, asked, limit)] == list(range(1, limit + 1))


def test_a_limit_ends_with_its_query(connection: SqlServerConnection) -> None:
    """The next query on the connection is whole again."""
    asked = query("SELECT TOP (50) object_id AS n FROM sys.all_columns")
    assert len(rows(connection, asked, 5)) == 5
    assert len(rows(connection, asked)) == 50


def test_frames_are_what_would_land(server: SqlServer) -> None:
    """A preview is a Polars frame of the landed types, at most as long as asked for, and typed when empty."""
    assert isinstance(server, MssqlServer)
    preview = server.connect()
    try:
        asked = query("SELECT TOP (50) CAST(object_id AS bigint) AS n, N'é' AS s FROM sys.all_columns")
        frame = preview.frame(asked, LandedSchema.of(preview.describe(asked)), 3)
        assert frame.shape == (3, 2)
        assert frame.get_column("s").to_list() == ["é"] * 3
        nothing = query("SELECT CAST(1 AS bigint) AS n WHERE 1 = 0")
        empty = preview.frame(nothing, LandedSchema.of(preview.describe(nothing)), 3)
        assert (empty.shape, str(empty.dtypes[0])) == ((0, 1), "Int64")
    finally:
        preview.close()


@pytest.mark.parametrize(
    ("sql", "said", "line"),
    [
        ("SELECT *\nFROM dbo.no_such_table", "no_such_table", 2),
        ("SELECT\n\n  no_such_column\nFROM sys.objects", "no_such_column", 3),
        ("SELECT 1 AS a,\nFROM sys.objects", "FROM", 2),
        ("SELECT @undeclared AS x", "undeclared", 1),
    ],
)
def test_refused_sql_tells_the_servers_words_and_the_line(
    connection: SqlServerConnection, sql: str, said: str, line: int
) -> None:
    """The message has the query's name and file and the server's own words; the line is the file's."""
    with pytest.raises(SourceRefused) as caught:
        connection.describe(query(sql))
    assert said in caught.value.message
    assert "'q' (queries/q.sql" in caught.value.message
    assert caught.value.line == line
    assert caught.value.number is not None


def test_an_error_while_running_is_told(connection: SqlServerConnection) -> None:
    """Rows before an error do not hide it: the stream ends with the error, not with fewer rows."""
    asked = query(
        "SELECT TOP (5000) 1000 / (4000 - ROW_NUMBER() OVER (ORDER BY a.object_id)) AS n "
        "FROM sys.all_columns AS a CROSS JOIN sys.all_columns AS b CROSS JOIN sys.all_columns AS c"
    )
    with pytest.raises(SourceRefused, match=r"(?i)divide by zero"):
        rows(connection, asked)


def test_a_connection_is_usable_after_a_refusal(connection: SqlServerConnection) -> None:
    """A refused query costs only itself."""
    with pytest.raises(SourceRefused):
        connection.describe(query("SELECT * FROM dbo.no_such_table"))
    assert rows(connection, query("SELECT 1 AS n")) == [{"n": 1}]


def cancelled_after(connection: SqlServerConnection, sql: str, first_batch: bool) -> float:
    """Run `sql`, cancel it from another thread; return the seconds from cancel to the end."""
    asked = query(sql)
    connection.describe(asked)
    running, asked_at = threading.Event(), [0.0]

    def cancel() -> None:
        if first_batch:
            running.wait(30)
        else:
            time.sleep(0.5)  # no event tells from outside that a server is busy with a query
        asked_at[0] = time.monotonic()
        connection.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()

    def fetch() -> None:
        with connection.stream(asked, batch_bytes=1 << 18) as batches:
            for _ in batches:
                running.set()

    with pytest.raises(Cancelled):
        fetch()
    ended = time.monotonic()
    thread.join()
    return ended - asked_at[0]


def test_a_running_fetch_stops_within_two_seconds(connection: SqlServerConnection) -> None:
    """Cancelling in the middle of a big result ends it at once, with Cancelled."""
    assert cancelled_after(connection, ENDLESS, first_batch=True) < 2


def test_a_query_without_a_first_row_stops_within_two_seconds(connection: SqlServerConnection) -> None:
    """Cancelling a query that has not answered yet ends it at once."""
    assert cancelled_after(connection, SILENT, first_batch=False) < 2


def test_a_cancelled_connection_runs_nothing_more(connection: SqlServerConnection) -> None:
    """After cancel every call says Cancelled: a late one can't slip through."""
    connection.cancel()
    with pytest.raises(Cancelled):
        connection.describe(query("SELECT 1 AS n"))


def test_closing_is_idempotent_in_the_middle_of_a_result(server: SqlServer) -> None:
    """A connection closes at once with rows still to come, twice."""
    connection = server.connect()
    started = time.monotonic()
    with connection.stream(query(ENDLESS), batch_bytes=1 << 18) as batches:
        next(iter(batches))
    connection.close()
    connection.close()
    assert time.monotonic() - started < 5


def changed(settings: Settings, **changes: object) -> SqlServer:
    return MssqlServer(settings.model_copy(update=changes))


def test_a_wrong_password_names_the_setting_and_not_the_password(sqlserver_settings: Settings) -> None:
    """A refused login is not transient, names SQLSERVER_PASSWORD, and keeps the password to itself."""
    with pytest.raises(SourceSignInError, match="SQLSERVER_PASSWORD") as caught:
        changed(sqlserver_settings, sqlserver_password=SecretStr("Wrong-secret-1")).connect()
    assert "Wrong-secret-1" not in str(caught.value)


def test_a_wrong_database_names_the_setting(server: SqlServer) -> None:
    """A database that is not there names SQLSERVER_DATABASE and the YAML's key."""
    with pytest.raises(SourceSignInError, match="SQLSERVER_DATABASE"):
        server.connect(database="no_such_database_here")


def test_a_closed_port_names_the_setting(sqlserver_settings: Settings) -> None:
    """Nobody listening is SourceUnavailable, which names host and port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with pytest.raises(SourceUnavailable, match="SQLSERVER_PORT"):
        changed(
            sqlserver_settings, sqlserver_host="127.0.0.1", sqlserver_port=port, sqlserver_login_timeout_s=3
        ).connect()


def test_an_untrusted_certificate_names_the_setting(sqlserver_settings: Settings) -> None:
    """A certificate that no one vouches for is no transient error and names what to set."""
    if not sqlserver_settings.sqlserver_trust_server_certificate:
        pytest.skip("this server's certificate is trusted")
    with pytest.raises(SourceError, match="SQLSERVER_TRUST_SERVER_CERTIFICATE") as caught:
        changed(sqlserver_settings, sqlserver_trust_server_certificate=False).connect()
    assert not isinstance(caught.value, SourceUnavailable)


def test_a_server_per_country(sqlserver_settings: Settings) -> None:
    """'host,port' given at connect time wins over the settings."""
    elsewhere = changed(sqlserver_settings, sqlserver_host="203.0.113.1", sqlserver_port=1)
    address = f"{sqlserver_settings.sqlserver_host},{sqlserver_settings.sqlserver_port}"
    connection = elsewhere.connect(server=address)
    try:
        assert connection.info().database
    finally:
        connection.close()


def test_reads_are_consistent_where_the_database_allows(connection: SqlServerConnection) -> None:
    """Where SNAPSHOT is allowed the query runs under it, else under READ COMMITTED."""
    asked = query("SELECT transaction_isolation_level AS level FROM sys.dm_exec_sessions WHERE session_id = @@SPID")
    (row,) = rows(connection, asked)
    assert row["level"] == (5 if connection.info().snapshot else 2)


def test_a_sample_of_a_table_is_a_part_of_it_and_the_same_again(connection: SqlServerConnection) -> None:
    """By pages; a view, which has none, is refused."""
    sampled = "SELECT o.name FROM dbo.flights AS o TABLESAMPLE SYSTEM (20.5 PERCENT) REPEATABLE (7) WHERE o.name <> ''"
    sql = sampled.replace("o.name", "o.tailnum")
    counted = f"SELECT COUNT(*) AS [rows], SUM(CONVERT(bigint, LEN(q.tailnum))) AS [letters] FROM ({sql}) AS q"
    first, second = connection.ask(counted), connection.ask(counted)
    assert first == second
    (whole,) = connection.ask("SELECT COUNT(*) AS [rows] FROM dbo.flights AS o WHERE o.tailnum <> ''")
    assert 0 < first[0]["rows"] < whole["rows"]
    with pytest.raises(SourceRefused):
        connection.ask("SELECT COUNT(*) AS [rows] FROM INFORMATION_SCHEMA.TABLES TABLESAMPLE (10 PERCENT)")


def test_a_shared_lock_keeps_writers_out_while_it_is_held(server: SqlServer, connection: SqlServerConnection) -> None:
    """And no longer; two may hold it, and who waits for it waits as long as was said."""
    other = server.connect()
    writer = server.connect()
    table = f"dbo.l{uuid.uuid4().hex[:10]}"
    connection.ask("SELECT 1 AS x")
    assert isinstance(connection, MssqlConnection)
    connection._session.rows(f"CREATE TABLE {table} (id int NOT NULL PRIMARY KEY)")
    connection._session.rows(f"INSERT INTO {table} VALUES (1)")
    shared = f"SELECT COUNT(*) AS [rows] FROM (SELECT TOP (1) 1 AS [x] FROM {table} WITH (TABLOCK, HOLDLOCK)) AS q"
    exclusive = shared.replace("TABLOCK,", "TABLOCKX,")
    try:
        with (
            connection.locked(shared, 1),
            other.locked(shared, 1),
            pytest.raises(SourceError),
            writer.locked(exclusive, 0.2),
        ):
            pytest.fail("it was held")
        with writer.locked(exclusive, 1):
            pass
    finally:
        connection._session.rows(f"DROP TABLE {table}")
        other.close()
        writer.close()
