"""Reading a version of a source table, on the stand-in or on the workspace that DATABRICKS_* names.

Each test works on tables of its own in the schema of the settings, and drops them.
"""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import psutil
import pyarrow as pa
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.ports import Lakehouse, SourceStream
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from sql_databricks_bridge.db.identifiers import databricks_identifier
from sql_databricks_bridge.errors import BridgeError, EventInvalid, LakehouseUnavailable, StatementFailed
from sql_databricks_bridge.models.tables import SourceName
from tests.conftest import StandIn

BIG_ROWS = 1_000_000
STORAGE = {"method": "GET", "path_contains": "/_storage"}
STATEMENTS = "/api/2.0/sql/statements"


@pytest.fixture(scope="module")
def lakehouse(lakehouse_settings: Settings) -> Lakehouse:
    if not lakehouse_settings.databricks_warehouse_id:
        pytest.skip("DATABRICKS_WAREHOUSE_ID is not set")
    return DatabricksLakehouse(lakehouse_settings)


@pytest.fixture(scope="module")
def new_name(lakehouse: Lakehouse, lakehouse_settings: Settings) -> Iterator[Callable[[], SourceName]]:
    """Make names of tables that are dropped in the end."""
    made: list[SourceName] = []

    def make() -> SourceName:
        catalog, schema = lakehouse_settings.databricks_catalog, lakehouse_settings.databricks_schema
        assert catalog
        assert schema
        made.append(SourceName(catalog, schema, f"src-{uuid.uuid4().hex[:12]}"))
        return made[-1]

    yield make
    for name in made:
        lakehouse.execute(f"DROP TABLE IF EXISTS {quoted(name)}")


@pytest.fixture
def name(new_name: Callable[[], SourceName]) -> SourceName:
    return new_name()


@pytest.fixture(scope="module")
def big(lakehouse: Lakehouse, new_name: Callable[[], SourceName]) -> SourceName:
    """A million rows, about 240 MB of Arrow: many chunks."""
    name = new_name()
    lakehouse.execute(f"CREATE TABLE {quoted(name)} AS SELECT id, repeat('x', 220) AS filler FROM range({BIG_ROWS})")
    return name


def quoted(name: SourceName) -> str:
    return databricks_identifier(name.catalog, name.schema, name.table)


def rows(lakehouse: Lakehouse, name: SourceName, version: int | None = None, **options: Any) -> list[dict[str, Any]]:
    """Read all rows of a version (None: the newest)."""
    pinned = lakehouse.table_version(name) if version is None else version
    with lakehouse.read_table(name, pinned, **options) as stream:
        found: list[dict[str, Any]] = pa.Table.from_batches(list(stream), stream.schema).to_pylist()
        return found


def sent(server: StandIn, call: Callable[[], object]) -> list[dict[str, Any]]:
    """The requests that a call makes."""
    before = len(server.requests())
    call()
    return server.requests()[before:]


def statements(requests: list[dict[str, Any]]) -> list[str]:
    return [" ".join(str(each["statement"]).split()) for each in requests if each["path"] == STATEMENTS]


# Versions -----------------------------------------------------------------------------------------


def test_the_version_counts_what_was_written(lakehouse: Lakehouse, name: SourceName) -> None:
    lakehouse.execute(f"CREATE TABLE {quoted(name)} (id INT)")
    assert lakehouse.table_version(name) == 0
    lakehouse.execute(f"INSERT INTO {quoted(name)} VALUES (1)")
    assert lakehouse.table_version(name) == 1


def test_a_table_overwritten_after_the_pin_is_read_as_it_was(lakehouse: Lakehouse, name: SourceName) -> None:
    lakehouse.execute(f"CREATE TABLE {quoted(name)} AS SELECT id, concat('s', id) AS s FROM range(3)")
    pinned = lakehouse.table_version(name)
    lakehouse.execute(f"CREATE OR REPLACE TABLE {quoted(name)} AS SELECT 'other' AS wholly")
    assert sorted(row["s"] for row in rows(lakehouse, name, pinned)) == ["s0", "s1", "s2"]
    assert [row["s"] for row in rows(lakehouse, name, pinned, where={"ID": "1"})] == ["s1"]
    assert rows(lakehouse, name) == [{"wholly": "other"}]


def test_a_missing_table_is_the_events_fault(lakehouse: Lakehouse, name: SourceName) -> None:
    told = "TABLE_OR_VIEW_NOT_FOUND|NO_SUCH_CATALOG"
    for missing in (name, SourceName(name.catalog, "no_schema", "t"), SourceName("no_catalog", "s", "t")):
        with pytest.raises(EventInvalid, match=told) as caught:
            lakehouse.table_version(missing)
        assert str(missing) in caught.value.message
        with pytest.raises(EventInvalid, match=told):
            rows(lakehouse, missing, 0)


def test_a_missing_version_is_the_events_fault(lakehouse: Lakehouse, name: SourceName) -> None:
    lakehouse.execute(f"CREATE TABLE {quoted(name)} (id INT)")
    with pytest.raises(EventInvalid, match=r"at version 99.*submit the event again"):
        rows(lakehouse, name, 99)


@pytest.mark.parametrize(
    ("condition", "sqlstate", "kind"),
    [
        ("INSUFFICIENT_PERMISSIONS", "42501", EventInvalid),
        ("EXPECT_TABLE_NOT_VIEW.NO_ALTERNATIVE", "42809", EventInvalid),
        ("DELTA_ONLY_OPERATION", "0AKDD", EventInvalid),
        ("FAILED_READ_FILE.DBR_FILE_NOT_EXIST", "KD001", EventInvalid),
        ("FAILED_READ_FILE.NO_HINT", "KD001", StatementFailed),
        ("DELTA_CONCURRENT_APPEND", "2D521", StatementFailed),
        ("INTERNAL_ERROR", "XX000", StatementFailed),
    ],
)
def test_the_sqlstate_tells_whose_fault_it_is(
    lakehouse: Lakehouse, lakehouse_faults: StandIn, name: SourceName, condition: str, sqlstate: str, kind: type
) -> None:
    error = {"error_code": "BAD_REQUEST", "message": f"[{condition}] Told so. SQLSTATE: {sqlstate}"}
    lakehouse_faults.fault(match={"path": STATEMENTS}, times=None, action={"statement_error": error})
    calls: list[Callable[[], object]] = [
        lambda: lakehouse.table_version(name),
        lambda: rows(lakehouse, name, 1),
        lambda: rows(lakehouse, name, 1, where={"c": "1"}),
    ]
    for call in calls:
        with pytest.raises(BridgeError, match="Told so") as caught:
            call()
        assert type(caught.value) is kind


def test_a_failing_service_is_transient(lakehouse: Lakehouse, lakehouse_faults: StandIn, name: SourceName) -> None:
    error = {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "The warehouse is restarting."}
    lakehouse_faults.fault(match={"path": STATEMENTS}, times=None, action={"statement_error": error})
    with pytest.raises(LakehouseUnavailable, match="restarting"):
        lakehouse.table_version(name)
    with pytest.raises(LakehouseUnavailable, match="restarting"):
        rows(lakehouse, name, 0)


# Values and columns -------------------------------------------------------------------------------

TYPED = """SELECT CAST(1 AS INT) AS k, true AS bo, CAST(-128 AS TINYINT) AS by, CAST(-32768 AS SMALLINT) AS sh,
  CAST(2147483647 AS INT) AS i, 9223372036854775807 AS l, CAST(0.1 AS FLOAT) AS f, CAST(0.1 AS DOUBLE) AS d,
  CAST('12345678901234567890.123456789012345678' AS DECIMAL(38, 18)) AS de, CAST('1.10' AS DECIMAL(5, 2)) AS small,
  :text AS s, X'00FF' AS bi, DATE'0001-01-01' AS da, TIMESTAMP'2024-01-02 03:04:05.123456Z' AS t,
  TIMESTAMP_NTZ'2024-01-02 03:04:05.654321' AS n"""
TEXT = 'it\'s \\ `x` "q" \n\r\t; -- ñ\u2028\U0001f600'
VALUES: dict[str, Any] = {
    "k": 1,
    "bo": True,
    "by": -128,
    "sh": -32768,
    "i": 2147483647,
    "l": 9223372036854775807,
    "f": 0.10000000149011612,
    "d": 0.1,
    "de": Decimal("12345678901234567890.123456789012345678"),
    "small": Decimal("1.10"),
    "s": TEXT,
    "bi": b"\x00\xff",
    "da": dt.date(1, 1, 1),
    "t": dt.datetime(2024, 1, 2, 3, 4, 5, 123456, tzinfo=dt.UTC),
    "n": dt.datetime(2024, 1, 2, 3, 4, 5, 654321),  # noqa: DTZ001 it has no zone
}
FILTERS = {
    "bo": "true",
    "by": "-128",
    "sh": "-32768",
    "i": "2147483647",
    "l": "9223372036854775807",
    "f": "0.1",
    "d": "0.1",
    "de": "12345678901234567890.123456789012345678",
    "small": "1.1",
    "s": TEXT,
    "da": "0001-01-01",
    "t": "2024-01-02T05:04:05.123456+02:00",
    "n": "2024-01-02 03:04:05.654321",
}


@pytest.fixture(scope="module")
def typed(lakehouse: Lakehouse, new_name: Callable[[], SourceName]) -> SourceName:
    """A row of every type (k is 1) and a row of NULLs (k is 2)."""
    name = new_name()
    lakehouse.execute(f"CREATE TABLE {quoted(name)} AS {TYPED}", {"text": TEXT})
    lakehouse.execute(f"INSERT INTO {quoted(name)} (k) VALUES (2)")
    return name


def test_every_type_arrives_as_itself(lakehouse: Lakehouse, typed: SourceName) -> None:
    by_key = {row["k"]: row for row in rows(lakehouse, typed)}
    assert by_key == {1: VALUES, 2: {**dict.fromkeys(VALUES), "k": 2}}


def test_the_schema_is_known_before_the_first_row_and_without_any(lakehouse: Lakehouse, typed: SourceName) -> None:
    with lakehouse.read_table(typed, 1) as stream:
        full = stream.schema
        assert {batch.schema for batch in stream} == {full}
    with lakehouse.read_table(typed, 1, where={"k": "3"}) as stream:
        empty = stream.schema
        assert list(stream) == []
    assert empty.names == full.names
    assert [each.type for each in empty if each.name != "t"] == [each.type for each in full if each.name != "t"]
    assert (empty.field("t").type.unit, empty.field("t").type.tz) == ("us", "UTC")


@pytest.mark.parametrize("column", list(FILTERS))
def test_a_value_of_each_type_finds_its_row(lakehouse: Lakehouse, typed: SourceName, column: str) -> None:
    found = rows(lakehouse, typed, columns=["k"], where={column.upper(): FILTERS[column]})
    assert found == [{"k": 1}]


@pytest.mark.parametrize("column", [*FILTERS, "bi"])
def test_null_finds_the_row_of_nulls(lakehouse: Lakehouse, typed: SourceName, column: str) -> None:
    assert rows(lakehouse, typed, columns=["k"], where={column: None}) == [{"k": 2}]


def test_every_filter_holds_at_once(lakehouse: Lakehouse, typed: SourceName) -> None:
    everything: dict[str, str | None] = {**FILTERS, "k": "1"}
    assert rows(lakehouse, typed, columns=["k"], where=everything) == [{"k": 1}]
    assert rows(lakehouse, typed, columns=["k"], where={**everything, "d": "0.2"}) == []
    assert rows(lakehouse, typed, columns=["k"], where={**everything, "d": None}) == []


@pytest.mark.parametrize("near", [TEXT + " ", TEXT.upper(), TEXT[:-1], "", "%", "' OR 1 = 1 --"])
def test_texts_are_compared_exactly(lakehouse: Lakehouse, typed: SourceName, near: str) -> None:
    assert rows(lakehouse, typed, columns=["k"], where={"s": near}) == []


def test_a_long_text_is_found(lakehouse: Lakehouse, name: SourceName) -> None:
    long = TEXT * 30_000
    lakehouse.execute(f"CREATE TABLE {quoted(name)} AS SELECT :text AS s", {"text": long})
    assert rows(lakehouse, name, where={"s": long}) == [{"s": long}]


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ({"i": " 1 "}, "' 1 ' is no INT, which column i"),
        ({"i": "1.5"}, "'1.5' is no INT, which column i"),
        ({"small": "1.005"}, r"'1\.005' is no DECIMAL\(5,2\), which column small"),
        ({"da": "2023-02-29"}, "is no DATE, which column da"),
        ({"bi": "00"}, "column bi of the source is BINARY, which can't be compared"),
        ({"nope": "1"}, "has no column 'nope'"),
        ({"k`": None}, "has no column 'k`'"),
        ({"s": "x" * 5_000_000}, "1 of them with 5,000,000 bytes are too much"),
        ({f"c{index}": None for index in range(256)}, "256 of them"),
    ],
)
def test_a_filter_that_does_not_fit_is_refused_by_name(
    lakehouse: Lakehouse, typed: SourceName, where: dict[str, str | None], told: str
) -> None:
    with pytest.raises(EventInvalid, match=told):
        rows(lakehouse, typed, where=where)


def test_some_columns_come_in_the_order_asked_for(lakehouse: Lakehouse, typed: SourceName) -> None:
    with lakehouse.read_table(typed, 0, columns=["s", "k"]) as stream:
        assert stream.schema.names == ["s", "k"]
        assert [batch.to_pylist() for batch in stream] == [[{"s": TEXT, "k": 1}]]


def test_a_missing_column_is_the_events_fault(lakehouse: Lakehouse, typed: SourceName) -> None:
    with pytest.raises(EventInvalid, match=r"UNRESOLVED_COLUMN.*nope"):
        rows(lakehouse, typed, columns=["k", "nope"])


def test_hostile_names_are_names(lakehouse: Lakehouse, name: SourceName) -> None:
    names = ["select", "a`b", "it's", 'q"', "x--y", "/*", "ñandú", "\\n", ":w0", "c]d"]
    table = SourceName(name.catalog, name.schema, f"{name.table}`;DROP--'\"")
    columns = ", ".join(f"{databricks_identifier(each)} STRING" for each in names)
    lakehouse.execute(f"CREATE TABLE {quoted(table)} ({columns})")
    try:
        values = ", ".join(f"'v{index}'" for index in range(len(names)))
        lakehouse.execute(f"INSERT INTO {quoted(table)} VALUES ({values})")
        where: dict[str, str | None] = {each: f"v{index}" for index, each in enumerate(names)}
        assert rows(lakehouse, table, columns=names, where=where) == [where]
    finally:
        lakehouse.execute(f"DROP TABLE {quoted(table)}")


def test_each_call_sends_as_many_statements_as_it_says(
    lakehouse: Lakehouse, typed: SourceName, lakehouse_faults: StandIn
) -> None:
    table = quoted(typed)
    assert statements(sent(lakehouse_faults, lambda: lakehouse.table_version(typed))) == [
        f"DESCRIBE HISTORY {table} LIMIT 1"
    ]
    assert statements(sent(lakehouse_faults, lambda: rows(lakehouse, typed, 0))) == [
        f"SELECT * FROM {table} VERSION AS OF 0"
    ]
    where = {"K": "1", "s": None}
    assert statements(sent(lakehouse_faults, lambda: rows(lakehouse, typed, 0, columns=["k"], where=where))) == [
        f"SELECT * FROM {table} VERSION AS OF 0 LIMIT 0",
        f"SELECT `k` FROM {table} VERSION AS OF 0 WHERE `k` = CAST(:w0 AS INT) AND `s` IS NULL",
    ]


# Chunks -------------------------------------------------------------------------------------------


def values(stream: SourceStream, column: str = "id") -> list[int]:
    return [value for batch in stream for value in batch.column(column).to_pylist()]


def test_a_million_rows_arrive_once_each_in_bounded_memory(lakehouse: Lakehouse, big: SourceName) -> None:
    """240 MB of rows pass through; a chunk or two of 16 to 20 MB are held."""
    version = lakehouse.table_version(big)
    process, seen, count, peak = psutil.Process(), bytearray(BIG_ROWS), 0, 0
    with lakehouse.read_table(big, version) as stream:
        before = process.memory_info().rss
        batches = 0
        for batch in stream:
            peak = max(peak, process.memory_info().rss - before)
            count += batch.num_rows
            batches += 1
            for value in batch.column("id").to_pylist():
                seen[value] = 1
    assert (count, sum(seen)) == (BIG_ROWS, BIG_ROWS)
    assert batches > 5
    assert peak < 128 << 20


@pytest.mark.parametrize("action", [{"expire_links": True}, {"cut_response_after_bytes": 3_000_000}, {"status": 503}])
def test_a_chunk_that_breaks_is_fetched_again_and_no_row_comes_twice(
    lakehouse: Lakehouse, big: SourceName, lakehouse_faults: StandIn, action: dict[str, Any]
) -> None:
    rule = lakehouse_faults.fault(match=STORAGE, on=3, times=2, action=action)
    with lakehouse.read_table(big, 0, columns=["id", "filler"]) as stream:
        found = values(stream)
    assert lakehouse_faults.hits(rule) == 2
    assert sorted(found) == list(range(BIG_ROWS))


def test_a_chunk_that_never_comes_is_transient(
    lakehouse: Lakehouse, big: SourceName, lakehouse_faults: StandIn
) -> None:
    lakehouse_faults.fault(match=STORAGE, on=2, times=None, action={"expire_links": True})
    with lakehouse.read_table(big, 0) as stream:
        batches = iter(stream)
        assert next(batches).num_rows
        with pytest.raises(LakehouseUnavailable, match="Chunk 1"):
            list(batches)


def test_a_stream_left_early_is_cancelled_and_leaves_no_thread(
    lakehouse: Lakehouse, big: SourceName, lakehouse_faults: StandIn
) -> None:
    def leave() -> None:
        with lakehouse.read_table(big, 0) as stream:
            assert next(iter(stream)).num_rows

    requests = sent(lakehouse_faults, leave)
    assert [each["path"].rsplit("/", 1)[1] for each in requests if each["path"].endswith("/cancel")] == ["cancel"]
    assert len([each for each in requests if "/_storage" in each["path"]]) <= 2
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("bridge-read")]


def test_an_error_of_the_reader_comes_out_as_it_is(lakehouse: Lakehouse, big: SourceName) -> None:
    with pytest.raises(ZeroDivisionError), lakehouse.read_table(big, 0) as stream:
        next(iter(stream)).num_rows / 0
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("bridge-read")]


def test_a_stream_read_to_its_end_is_not_cancelled(
    lakehouse: Lakehouse, typed: SourceName, lakehouse_faults: StandIn
) -> None:
    requests = sent(lakehouse_faults, lambda: rows(lakehouse, typed, 0))
    assert not [each for each in requests if each["path"].endswith("/cancel")]


def test_rows_are_read_once_and_not_after_the_end(lakehouse: Lakehouse, typed: SourceName) -> None:
    with lakehouse.read_table(typed, 0) as stream:
        assert values(stream, "k") == [1]
        with pytest.raises(ValueError, match="once"):
            list(stream)
    with lakehouse.read_table(typed, 0) as late:
        pass
    with pytest.raises(ValueError, match="closed"):
        list(late)
