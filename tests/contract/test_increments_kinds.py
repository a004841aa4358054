"""What each kind of increment promises beside following changes: bounds, refusals, and when it goes in full."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.errors import UsageError
from sql_databricks_bridge.models.jobs import BoundParameter
from sql_databricks_bridge.models.publishing import Incremental, IncrementKind, Watermark
from tests.contract.increments_fixture import Bench, Mirror, bench, sorted_rows

_ROWVERSION = Incremental(IncrementKind.ROWVERSION, ("id",), column="rv")
_FINGERPRINT = Incremental(IncrementKind.FINGERPRINT, ("id",), range_rows=4)
_TRACKING = Incremental(IncrementKind.CHANGE_TRACKING, ("id",), table="dbo.c")
_CDC = Incremental(IncrementKind.CDC, ("id",), capture="dbo_c")
_ALL = "SELECT id, name FROM dbo.f"


@pytest.fixture(scope="module")
def database(sqlserver_settings: Settings) -> Iterator[Bench]:
    with bench(sqlserver_settings) as made:
        yield made


@pytest.fixture
def source(database: Bench) -> Bench:
    """Forty rows in dbo.f, every other id of 0 to 78."""
    values = ", ".join(f"({number * 2}, N'n{number}')" for number in range(40))
    database.write(
        "DROP TABLE IF EXISTS dbo.f",
        "CREATE TABLE dbo.f (id int NOT NULL PRIMARY KEY, name nvarchar(20) NULL, rv rowversion NOT NULL)",
        f"INSERT INTO dbo.f (id, name) VALUES {values}",
    )
    return database


def _moved(mirror: Mirror, value: str) -> None:
    assert mirror.state is not None
    assert mirror.state.watermark is not None
    mark = Watermark(mirror.state.watermark.kind, value)
    mirror.state = dataclasses.replace(mirror.state, watermark=mark)


def test_a_row_in_flight_comes_with_the_increment_after_its_commit(source: Bench) -> None:
    mirror = source.mirror("SELECT id, name, rv FROM dbo.f", _ROWVERSION)
    mirror.publish()
    slow = source.sessions()
    slow.begin()
    slow.rows("INSERT INTO dbo.f (id) VALUES (101)")
    source.write("INSERT INTO dbo.f (id) VALUES (102)")
    mirror.publish()
    assert 101 not in {row["id"] for row in mirror.rows}
    slow.commit()
    assert mirror.publish().kind is IncrementKind.ROWVERSION
    assert sorted_rows(mirror.rows) == sorted_rows(mirror.full())


def test_an_increment_reads_what_changed_and_no_more(source: Bench) -> None:
    mirror = source.mirror("SELECT id, name, rv FROM dbo.f", _ROWVERSION)
    mirror.publish()
    assert mirror.streamed == 40
    source.write("UPDATE dbo.f SET name = N'new' WHERE id IN (4, 6)")
    way = mirror.publish()
    assert (mirror.streamed, way.reason.startswith("rows since 0x")) == (2, True)
    assert mirror.publish().reason == "nothing changed"
    assert mirror.streamed == 0


def test_a_watermark_ahead_of_the_server_is_no_place_to_begin_at(source: Bench) -> None:
    mirror = source.mirror("SELECT id, name, rv FROM dbo.f", _ROWVERSION)
    mirror.publish()
    _moved(mirror, "0x7FFFFFFFFFFFFFFF")
    way = mirror.publish()
    assert way.kind is None
    assert "restored" in way.warnings[0]
    assert mirror.publish().kind is IncrementKind.ROWVERSION


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"state": None}, "first publication"),
        ({"watermark": None}, "no watermark"),
        ({"generation": 0}, "first publication"),
        ({"definition": "another"}, "changed"),
        ({"watermark": Watermark(IncrementKind.CDC, "0x00")}, "of kind cdc"),
    ],
)
def test_it_goes_in_full_where_there_is_nothing_to_go_on_from(
    source: Bench, change: dict[str, object], reason: str
) -> None:
    mirror = source.mirror("SELECT id, name, rv FROM dbo.f", _ROWVERSION)
    mirror.publish()
    assert mirror.state is not None
    mirror.state = None if "state" in change else dataclasses.replace(mirror.state, **change)  # type: ignore[arg-type]
    way = mirror.publish()
    assert way.kind is None
    assert reason in way.reason
    assert mirror.publish().kind is IncrementKind.ROWVERSION


def test_a_callers_reason_for_a_full_load_is_heard_and_the_next_increment_goes_on_from_there(source: Bench) -> None:
    mirror = source.mirror("SELECT id, name, rv FROM dbo.f", _ROWVERSION)
    mirror.publish()
    way = mirror.publish(force_full="its columns changed")
    assert (way.kind, way.reason, mirror.streamed) == (None, "its columns changed", 40)
    assert mirror.publish().kind is IncrementKind.ROWVERSION


@pytest.mark.parametrize(
    ("declared", "first", "second", "lag"),
    [
        ("datetime2(7)", "2024-05-01T10:00:00.1234567", "2024-05-01T10:00:00.1234568", 0),
        ("datetime", "2024-05-01T10:00:00.003", "2024-05-01T10:00:00.007", 0),
        ("datetimeoffset(7)", "2024-05-01T10:00:00.1234567+02:00", "2024-05-01T09:30:00+00:00", 60),
        ("smalldatetime", "2024-05-01T10:00:00", "2024-05-01T10:01:00", 0),
        ("date", "2024-05-01", "2024-05-02", 3600),
        ("decimal(18,4)", "1.0001", "1.0002", 0),
        ("money", "1.0001", "1.0002", 0),
        ("bigint", "9007199254740993", "9007199254740994", 0),
    ],
)
def test_a_cursor_keeps_every_digit_of_its_type(
    database: Bench, declared: str, first: str, second: str, lag: int
) -> None:
    database.write(
        "DROP TABLE IF EXISTS dbo.u",
        f"CREATE TABLE dbo.u (id int NOT NULL PRIMARY KEY, at {declared} NULL)",
        f"INSERT INTO dbo.u VALUES (1, '{first}'), (2, NULL)",
    )
    mirror = database.mirror(
        "SELECT id, at FROM dbo.u", Incremental(IncrementKind.CURSOR, ("id",), column="at", lag=lag)
    )
    mirror.publish()
    mirror.publish()
    assert mirror.streamed == (2 if lag else 1), "the row without a cursor, and with a lag the last one"
    database.write(f"INSERT INTO dbo.u VALUES (3, '{second}')")
    assert mirror.publish().kind is IncrementKind.CURSOR
    assert mirror.streamed == (3 if lag else 2)
    assert sorted_rows(mirror.rows) == sorted_rows(mirror.full())


def test_a_cursor_of_no_rows_stays_where_it_is(source: Bench) -> None:
    mirror = source.mirror(_ALL, Incremental(IncrementKind.CURSOR, ("id",), column="id"))
    first = mirror.publish()
    source.write("DELETE FROM dbo.f")
    assert mirror.publish().high == first.high == Watermark(IncrementKind.CURSOR, "78")


def test_a_fingerprint_reads_the_changed_ranges_and_no_more(source: Bench) -> None:
    mirror = source.mirror(_ALL, _FINGERPRINT)
    assert mirror.publish().kind is None
    source.write("UPDATE dbo.f SET name = N'new' WHERE id = 4", "DELETE FROM dbo.f WHERE id = 78")
    way = mirror.publish()
    assert (way.kind, len(way.ranges), mirror.streamed) == (IncrementKind.FINGERPRINT, 2, 4), (
        "ids 0 to 6, and a range that is gone"
    )
    assert sorted_rows(mirror.data()) == sorted_rows(mirror.full())
    assert mirror.publish().ranges == ()
    assert mirror.streamed == 0


def test_a_fingerprint_of_which_more_than_half_changed_goes_in_full(source: Bench) -> None:
    mirror = source.mirror(_ALL, _FINGERPRINT)
    mirror.publish()
    source.write("UPDATE dbo.f SET name = N'new' WHERE id < 50")
    way = mirror.publish()
    assert (way.kind, way.reason[-len("of its ranges changed") :]) == (None, "of its ranges changed")
    assert mirror.publish().reason == "nothing changed"


@pytest.mark.parametrize("content", [None, b"cut"])
def test_a_fingerprint_without_its_file_goes_in_full_with_a_warning(source: Bench, content: bytes | None) -> None:
    mirror = source.mirror(_ALL, _FINGERPRINT)
    mirror.publish()
    mirror.files = {} if content is None else dict.fromkeys(mirror.files, content)
    way = mirror.publish()
    assert way.kind is None
    assert "digests" in way.warnings[0]


def test_keys_that_lie_unevenly_are_hashed(source: Bench) -> None:
    values = ", ".join(f"({number * 2 + 1}, N'x')" for number in range(200))
    source.write(f"INSERT INTO dbo.f (id, name) VALUES (2147483647, N'far'), (-2147483648, NULL), {values}")
    mirror = source.mirror(_ALL, _FINGERPRINT)
    mirror.publish()
    source.write("UPDATE dbo.f SET name = N'y' WHERE id IN (41, 2147483647)")
    assert mirror.publish().kind is IncrementKind.FINGERPRINT
    assert mirror.streamed < 40
    assert sorted_rows(mirror.data()) == sorted_rows(mirror.full())


def test_the_ends_of_an_integer_type_are_in_ranges_as_well(source: Bench) -> None:
    source.write("DELETE FROM dbo.f", "INSERT INTO dbo.f (id) VALUES (2147483647), (-2147483648), (-1), (0)")
    mirror = source.mirror(_ALL, dataclasses.replace(_FINGERPRINT, range_rows=1))
    mirror.publish()
    source.write("UPDATE dbo.f SET name = N'y' WHERE id = 2147483647")
    assert mirror.publish().kind is IncrementKind.FINGERPRINT
    source.write("UPDATE dbo.f SET name = N'y' WHERE id = -2147483648")
    assert mirror.publish().kind is IncrementKind.FINGERPRINT
    assert (mirror.streamed, sorted_rows(mirror.data())) == (1, sorted_rows(mirror.full()))


def test_parameters_and_names_of_the_query_do_not_meet_ours(source: Bench) -> None:
    sql = "WITH q AS (SELECT * FROM dbo.f) SELECT q.id, q.name, @bridge_low AS [k]]x] FROM q WHERE q.id > @bridge_size"
    names = (BoundParameter("bridge_low", "int", 5), BoundParameter("BRIDGE_SIZE", "int", 7))
    for incremental in (Incremental(IncrementKind.CURSOR, ("id",), column="id", lag=20), _FINGERPRINT):
        mirror = source.mirror(sql, incremental, *names)
        mirror.publish()
        source.write("UPDATE dbo.f SET name = N'new' WHERE id = 76")
        assert mirror.publish().kind is incremental.kind
        assert sorted_rows(mirror.data()) == sorted_rows(mirror.full())


def test_a_query_without_incremental_goes_in_full_as_it_stands(source: Bench) -> None:
    mirror = source.mirror("SELECT id FROM dbo.f", None)
    assert (mirror.publish().kind, len(mirror.rows)) == (None, 40)


@pytest.fixture
def tracked(database: Bench) -> Bench:
    database.write(
        "IF NOT EXISTS (SELECT 1 FROM sys.change_tracking_databases WHERE database_id = DB_ID()) "
        "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = ON)",
        "DROP TABLE IF EXISTS dbo.c",
        "CREATE TABLE dbo.c (id int NOT NULL PRIMARY KEY, name nvarchar(20) NULL)",
        "ALTER TABLE dbo.c ENABLE CHANGE_TRACKING",
        "INSERT INTO dbo.c VALUES (1, N'a'), (2, N'b')",
    )
    return database


def test_a_row_that_leaves_the_query_comes_as_deleted(tracked: Bench) -> None:
    mirror = tracked.mirror("SELECT id, name FROM dbo.c WHERE name <> N'hidden'", _TRACKING)
    mirror.publish()
    tracked.write("UPDATE dbo.c SET name = N'hidden' WHERE id = 1", "DELETE FROM dbo.c WHERE id = 2")
    assert mirror.publish().kind is IncrementKind.CHANGE_TRACKING
    assert (mirror.streamed, mirror.rows) == (2, [])


def test_tracking_that_was_reset_goes_in_full_with_a_warning(tracked: Bench) -> None:
    mirror = tracked.mirror("SELECT id, name FROM dbo.c", _TRACKING)
    mirror.publish()
    tracked.write(
        "ALTER TABLE dbo.c DISABLE CHANGE_TRACKING",
        "INSERT INTO dbo.c VALUES (3, N'c')",
        "ALTER TABLE dbo.c ENABLE CHANGE_TRACKING",
        "INSERT INTO dbo.c VALUES (4, N'd')",
    )
    _moved(mirror, "0")
    way = mirror.publish()
    assert way.kind is None
    assert "begins at version" in way.warnings[0]
    assert len(mirror.rows) == 4


def test_a_table_that_is_not_tracked_is_named_with_what_to_ask_for(tracked: Bench) -> None:
    tracked.write("ALTER TABLE dbo.c DISABLE CHANGE_TRACKING")
    mirror = tracked.mirror("SELECT id, name FROM dbo.c", _TRACKING)
    with pytest.raises(UsageError, match=r"queries/t\.sql: change tracking of dbo\.c .* ENABLE CHANGE_TRACKING"):
        mirror.publish()


def test_a_key_that_is_not_the_tables_is_refused(tracked: Bench) -> None:
    mirror = tracked.mirror("SELECT id, name FROM dbo.c", dataclasses.replace(_TRACKING, key=("name",)))
    with pytest.raises(UsageError, match=r"the key name is not the primary key of dbo\.c.*: id\."):
        mirror.publish()


def test_a_key_of_text_is_warned_about(database: Bench) -> None:
    database.write(
        "IF NOT EXISTS (SELECT 1 FROM sys.change_tracking_databases WHERE database_id = DB_ID()) "
        "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = ON)",
        "DROP TABLE IF EXISTS dbo.s",
        "CREATE TABLE dbo.s (k varchar(10) COLLATE Latin1_General_CI_AS NOT NULL PRIMARY KEY, n int NULL)",
        "ALTER TABLE dbo.s ENABLE CHANGE_TRACKING",
        "INSERT INTO dbo.s VALUES ('a', 1), ('b', 2)",
    )
    mirror = database.mirror(
        "SELECT k, n FROM dbo.s", Incremental(IncrementKind.CHANGE_TRACKING, ("k",), table="dbo.s")
    )
    assert "the key k is compared by its collation" in mirror.publish().warnings[0]
    database.write("UPDATE dbo.s SET n = 3 WHERE k = 'A'", "DELETE FROM dbo.s WHERE k = 'b'")
    mirror.publish()
    assert mirror.rows == [{"k": "a", "n": 3}]


@pytest.fixture
def captured(database: Bench) -> Iterator[Bench]:
    database.write(
        "DROP TABLE IF EXISTS dbo.c",
        "CREATE TABLE dbo.c (id int NOT NULL PRIMARY KEY, name nvarchar(20) NULL)",
        "INSERT INTO dbo.c VALUES (1, N'a'), (2, N'b')",
        "IF NOT EXISTS (SELECT 1 FROM sys.databases WHERE name = DB_NAME() AND is_cdc_enabled = 1) "
        "EXEC sys.sp_cdc_enable_db",
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'c', @role_name = NULL, "
        "@supports_net_changes = 1",
    )
    yield database
    database.write(
        "EXEC sys.sp_cdc_disable_table @source_schema = N'dbo', @source_name = N'c', @capture_instance = N'dbo_c'"
    )


def test_a_capture_gives_net_changes_and_a_watermark_behind_it_goes_in_full(captured: Bench) -> None:
    mirror = captured.mirror("SELECT id, name FROM dbo.c", _CDC)
    mirror.publish()
    assert mirror.publish().reason == "nothing changed"
    captured.write("UPDATE dbo.c SET id = 5 WHERE id = 1", "DELETE FROM dbo.c WHERE id = 2")
    assert mirror.publish().kind is IncrementKind.CDC
    assert mirror.rows == [{"id": 5, "name": "a"}]
    _moved(mirror, "0x00000000000000000001")
    way = mirror.publish()
    assert way.kind is None
    assert "begins at" in way.warnings[0]


def test_a_capture_that_is_not_there_is_named_with_what_to_ask_for(captured: Bench) -> None:
    mirror = captured.mirror("SELECT id, name FROM dbo.c", dataclasses.replace(_CDC, capture="dbo_other"))
    with pytest.raises(UsageError, match=r"queries/t\.sql: the capture 'dbo_other' .*sp_cdc_enable_table"):
        mirror.publish()
