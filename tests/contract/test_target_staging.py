"""The TargetConnection port, staging: every type is loaded exactly, errors come out whole, nothing is left lying."""

# ruff: noqa: DTZ001 (SQL Server's zoneless types)

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.types import staged_type
from sql_databricks_bridge.db.sql_server import MssqlServer
from sql_databricks_bridge.errors import Cancelled, EventInvalid, SourceBusy, SourceError, SourceUnavailable
from sql_databricks_bridge.models.applying import Staging
from sql_databricks_bridge.models.tables import TargetColumn
from tests.conftest import StandIn
from tests.contract.target_fixture import Bench, reader


@pytest.fixture
def bench(sqlserver_settings: Settings) -> Iterator[Bench]:
    with Bench(sqlserver_settings) as found:
        yield found


# (type, boundary values; what reads back where it differs: SQL Server pads and canonicalizes)
VALUES: list[tuple[str, list[Any], list[Any] | None]] = [
    ("bit", [True, False], None),
    ("tinyint", [0, 255], None),
    ("smallint", [-32768, 32767], None),
    ("int", [-(2**31), 2**31 - 1], None),
    ("bigint", [-(2**63), 2**63 - 1], None),
    ("real", [-3.4028234663852886e38, 1.5, 0.0], None),
    ("float", [-1.7976931348623157e308, 5e-324, 0.1], None),
    ("decimal(38,0)", [Decimal("9" * 38), Decimal("-" + "9" * 38)], None),
    ("decimal(38,38)", [Decimal("0." + "9" * 38)], None),
    ("numeric(9,2)", [Decimal("-9999999.99"), Decimal("0.01")], None),
    ("money", [Decimal("-922337203685477.5808"), Decimal("922337203685477.5807")], None),
    ("smallmoney", [Decimal("-214748.3648"), Decimal("214748.3647")], None),
    ("date", [dt.date(1, 1, 1), dt.date(9999, 12, 31)], None),
    ("datetime", [dt.datetime(1753, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 997000)], None),
    ("smalldatetime", [dt.datetime(1900, 1, 1), dt.datetime(2079, 6, 6, 23, 59)], None),
    ("datetime2(7)", [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999)], None),
    ("datetime2(0)", [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59)], None),
    (
        "datetimeoffset(7)",
        [dt.datetime(1, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC)],
        None,
    ),
    ("time(7)", [dt.time(0), dt.time(23, 59, 59, 999999)], None),
    ("time(0)", [dt.time(23, 59, 59)], None),
    ("char(3)", ["abc", "a", ""], ["abc", "a  ", "   "]),
    ("varchar(8000)", ["x" * 8000, "", "é€", "a "], None),
    ("varchar(max)", ["x" * 100_000, ""], None),
    ("nchar(3)", ["abc", "é😀", ""], ["abc", "é😀", "   "]),
    ("nvarchar(4000)", ["😀" * 2000, "", "中 "], None),
    ("nvarchar(max)", ["😀" * 50_000, ""], None),
    ("text", ["x" * 100_000, ""], None),
    ("ntext", ["中" * 100_000, ""], None),
    ("xml", ["<a>é😀</a>", "<b />"], None),
    (
        "uniqueidentifier",
        ["00112233-4455-6677-8899-AABBCCDDEEFF", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
        [uuid.UUID("00112233-4455-6677-8899-aabbccddeeff"), uuid.UUID("ffffffff-ffff-ffff-ffff-ffffffffffff")],
    ),
    ("binary(4)", [b"\x00\x01\x02\x03", b"\xff"], [b"\x00\x01\x02\x03", b"\xff\x00\x00\x00"]),
    ("varbinary(8000)", [b"", b"\x00", b"\x01" * 8000], None),
    ("varbinary(max)", [b"", b"\x01" * 100_000], None),
    ("image", [b"", b"\x01" * 100_000], None),
    ("rowversion", [b"\x00" * 8, b"\xff" * 8], None),
]


MANY = 600
"""Rows that are more than one INSERT takes."""


def _numbers(rows: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array(range(rows), pa.int32())], ["i"])


def _column(sql_type: str, name: str = "v", collation: str = "SQL_Latin1_General_CP1_CI_AS") -> TargetColumn:
    text = sql_type.split("(")[0] in ("char", "varchar", "text", "nchar", "nvarchar", "ntext")
    code_page = 1252 if text and not sql_type.startswith("n") else None
    return TargetColumn(name, sql_type, nullable=True, collation=collation if text else None, code_page=code_page)


@pytest.mark.parametrize("rows", [0, MANY], ids=["by one INSERT", "by a bulk copy"])
@pytest.mark.parametrize(("sql_type", "values", "expected"), VALUES, ids=[case[0] for case in VALUES])
def test_every_type_is_staged_exactly(
    bench: Bench, sql_type: str, values: list[Any], expected: list[Any] | None, rows: int
) -> None:
    """The boundaries of the type and NULL go in and come out; `staged_type` is what the driver takes."""
    target = bench.target("t", "i int NOT NULL, other int NULL")
    columns = [_column("int", "i"), _column(sql_type)]
    staged_values = pa.array([*values, None, *[None] * rows], staged_type(sql_type))
    batch = pa.record_batch([pa.array(range(len(staged_values)), pa.int32()), staged_values], ["i", "v"])
    staged = bench.stage(target, columns, (), batch)
    assert staged == Staging(staged.name, target, tuple(columns), len(staged_values))
    found = [row["v"] for row in bench.rows(f"SELECT TOP ({len(values) + 1}) v FROM bridge.{staged.name} ORDER BY i")]
    assert found == [*(values if expected is None else expected), None]


def test_a_first_row_of_nulls_takes_no_value_from_the_others(bench: Bench) -> None:
    """One VALUES list has one type for each column, whichever row begins it."""
    target = bench.target("t", "i int NULL, f float NULL, b varbinary(4) NULL, m money NULL, d datetime2(7) NULL")
    values = [1, 0.1, b"\x01", Decimal("1.0001"), dt.datetime(2024, 2, 29, 1, 2, 3, 4)]
    kinds = [staged_type(column.sql_type) for column in target.columns]
    arrays = [pa.array([None, value, None], kind) for value, kind in zip(values, kinds, strict=True)]
    staged = bench.stage(target, target.columns, (), pa.record_batch(arrays, [c.name for c in target.columns]))
    found = bench.tuples(f"SELECT i, f, b, m, d FROM bridge.{staged.name} ORDER BY i")
    assert found == [(None,) * 5, (None,) * 5, tuple(values)]


def test_few_rows_need_no_bulk_copy_and_many_do(bench: Bench, sqlserver_faults: StandIn) -> None:
    """Signing in a second time costs more than a few rows; the bulk copies here fail, and only the many meet one."""
    target = bench.target("t", "i int NULL")
    rule = sqlserver_faults.fault(match={"kind": "bulk"}, action={"error": 1205, "message": "was deadlocked"})
    few = [pa.record_batch([pa.array([n], pa.int32())], ["i"]) for n in range(MANY // 2)]
    assert bench.stage(target, target.columns, (), *few).rows == MANY // 2
    assert sqlserver_faults.hits(rule) == 0
    with pytest.raises(SourceBusy):
        bench.stage(target, target.columns, (), _numbers(MANY))
    assert sqlserver_faults.hits(rule) == 1


def test_a_time_keeps_its_seventh_digit(bench: Bench) -> None:
    """time(7) counts 100 ns, and so does what carries it."""
    target = bench.target("t", "v time(7) NULL")
    batch = pa.record_batch([pa.array([86_399_999_999_900], pa.time64("ns"))], ["v"])
    staged = bench.stage(target, target.columns, (), batch)
    (row,) = bench.rows(f"SELECT CAST(v AS varchar(20)) AS v FROM bridge.{staged.name}")
    assert row["v"] == "23:59:59.9999999"


@pytest.mark.parametrize("sql_type", ["geography", "geometry", "hierarchyid", "sql_variant", "vector(3)", "int); DROP"])
def test_a_type_that_cannot_be_loaded_is_refused_by_column(bench: Bench, sql_type: str) -> None:
    """Nothing is created; the message names column and type."""
    target = bench.target("t", "i int NULL")
    batch = pa.record_batch([pa.array([b""])], ["where"])
    with pytest.raises(EventInvalid, match=r"Column 'where': Values of type .* can't be loaded"):
        bench.connection.stage(target, [_column(sql_type, "where")], (), reader(batch))
    assert bench.staging_tables() == []


@pytest.mark.parametrize("sql_type", ["text", "ntext", "image", "xml"])
def test_a_type_that_cannot_be_compared_is_no_key(bench: Bench, sql_type: str) -> None:
    """Such a key is refused before anything is created."""
    target = bench.target("t", "i int NULL")
    key = _column(sql_type, "k")
    batch = pa.record_batch([pa.array([], staged_type(sql_type))], ["k"])
    with pytest.raises(EventInvalid, match=f"Column 'k' is of type {sql_type}, which can't be compared"):
        bench.connection.stage(target, [key], [key], reader(batch))
    assert bench.staging_tables() == []


def test_staging_has_neither_the_targets_constraints_nor_its_defaults(bench: Bench) -> None:
    """NOT NULL, IDENTITY, DEFAULT, CHECK and UNIQUE hold for the target only; NULLs stay NULL, collations are kept."""
    target = bench.target(
        "t",
        "id int IDENTITY(1,1) NOT NULL PRIMARY KEY, c varchar(5) COLLATE Latin1_General_BIN2 NOT NULL DEFAULT 'x', "
        "n int NOT NULL UNIQUE CHECK (n > 0)",
    )
    batch = pa.record_batch(
        [pa.array([None, 7, 7]), pa.array([None, "a", "A"]), pa.array([None, -1, -1])], ["a", "b", "c"]
    )
    batch = batch.cast(pa.schema([("a", pa.int32()), ("b", pa.string()), ("c", pa.int32())]))
    staged = bench.stage(target, target.columns, (), batch)
    found = bench.rows(f"SELECT id, c, n FROM bridge.{staged.name} ORDER BY c")
    assert [tuple(row.values()) for row in found] == [(None, None, None), (7, "A", -1), (7, "a", -1)]
    assert bench.rows(f"SELECT COUNT(*) AS n FROM bridge.{staged.name} WHERE c = 'a'")[0]["n"] == 1


def test_no_rows_are_staged_without_a_bulk_copy(bench: Bench) -> None:
    """An empty source, and one of empty batches, make an empty table."""
    target = bench.target("t", "i int NOT NULL PRIMARY KEY")
    schema = pa.schema([("i", pa.int32())])
    empty = pa.record_batch([pa.array([], pa.int32())], schema=schema)
    for batches in ([empty], [empty, empty]):
        staged = bench.stage(target, target.columns, target.columns, *batches)
        assert staged.rows == 0
        assert bench.count(f"bridge.{staged.name}") == 0


def test_many_batches_arrive_whole_and_keys_are_indexed(bench: Bench) -> None:
    """Empty ones among them too; the rows are counted on both sides."""
    target = bench.target("t", "i int NOT NULL PRIMARY KEY, s nvarchar(20) NULL")
    sizes = [0, 1, 70_000, 0, 60_001, 3]
    batches, start = [], 0
    for size in sizes:
        numbers = range(start, start + size)
        texts = pa.array([f"n{n}" for n in numbers], pa.string())
        batches.append(pa.record_batch([pa.array(numbers, pa.int32()), texts], ["i", "s"]))
        start += size
    staged = bench.stage(target, target.columns, target.columns[:1], *batches)
    assert staged.rows == sum(sizes)
    (row,) = bench.rows(
        f"SELECT COUNT_BIG(*) AS n, COUNT_BIG(DISTINCT i) AS d, MIN(i) AS low, MAX(i) AS high FROM bridge.{staged.name}"
    )
    assert tuple(row.values()) == (start, start, 0, start - 1)
    (row,) = bench.rows(
        f"SELECT COUNT(*) AS n FROM sys.indexes WHERE object_id = OBJECT_ID('bridge.{staged.name}') AND name = 'keys'"
    )
    assert row["n"] == 1


class _OwnError(Exception):
    """Something that only the source knows."""


@pytest.mark.parametrize(("after", "rows"), [(0, 1), (2, 1), (2, MANY)], ids=["at once", "among few", "among many"])
@pytest.mark.parametrize(
    "error", [_OwnError("ü"), EventInvalid("row 7: no"), KeyboardInterrupt()], ids=lambda e: type(e).__name__
)
def test_what_the_source_raises_comes_out_unchanged(bench: Bench, error: BaseException, after: int, rows: int) -> None:
    """The very exception, though the driver makes a text of it; the staging table is gone, the connection usable."""
    target = bench.target("t", "i int NOT NULL PRIMARY KEY")
    schema = pa.schema([("i", pa.int32())])

    def failing() -> Iterator[pa.RecordBatch]:
        for _ in range(after):
            yield _numbers(rows)
        raise error

    with pytest.raises(type(error)) as caught:
        bench.connection.stage(target, target.columns, (), pa.RecordBatchReader.from_batches(schema, failing()))
    assert caught.value is error
    assert bench.staging_tables() == []
    assert bench.connection.info().server


@pytest.mark.parametrize("rows", [1, MANY], ids=["by the server", "by the driver"])
def test_a_value_that_is_refused_on_the_way_is_the_events_fault(bench: Bench, rows: int) -> None:
    """It should have been refused before; should it come so far, the event is invalid and nothing stays."""
    target = bench.target("t", "s nvarchar(3) NULL")
    with pytest.raises(EventInvalid, match="can't be loaded"):
        bench.connection.stage(target, target.columns, (), reader(pa.record_batch([pa.array(["four"] * rows)], ["s"])))
    assert bench.staging_tables() == []


def test_a_cancel_stops_a_load_between_two_batches(bench: Bench, sqlserver_settings: Settings) -> None:
    """It raises `Cancelled`; what is left is swept when the connection is closed."""
    target = bench.target("t", "i int NOT NULL PRIMARY KEY")
    schema = pa.schema([("i", pa.int32())])
    connection = MssqlServer(sqlserver_settings).connect_target()

    def endless() -> Iterator[pa.RecordBatch]:
        yield _numbers(MANY)
        threading.Thread(target=connection.cancel).start()
        while True:
            yield _numbers(1)

    with pytest.raises(Cancelled):
        connection.stage(target, target.columns, (), pa.RecordBatchReader.from_batches(schema, endless()))
    connection.close()
    (left,) = bench.staging_tables()
    bench.await_release(left)
    bench.connection.sweep()
    assert bench.staging_tables() == []


def test_the_sweeper_drops_what_nobody_loads_and_nothing_else(bench: Bench, sqlserver_settings: Settings) -> None:
    """Tables of living loaders, one's own, and other tables of the schema stay; those of a closed connection go."""
    target = bench.target("t", "i int NULL")
    rows = pa.record_batch([pa.array([1], pa.int32())], ["i"])
    dead = MssqlServer(sqlserver_settings).connect_target()
    orphan = dead.stage(target, target.columns, (), reader(rows))
    bench.stage(target, target.columns, (), rows)
    other = MssqlServer(sqlserver_settings).connect_target()
    loaded = other.stage(target, target.columns, (), reader(rows))
    bench.run("CREATE TABLE bridge.stg_notes (i int NULL)")
    try:
        assert bench.connection.sweep() == 0
        assert bench.staging_tables() == sorted([orphan.name, loaded.name, "stg_notes"])
        dead.close()
        bench.await_release(orphan.name)
        assert bench.connection.sweep() == 1
        assert bench.staging_tables() == sorted([loaded.name, "stg_notes"])
        other.close()
        bench.await_release(loaded.name)
        assert bench.connection.sweep() == 1
        assert bench.staging_tables() == ["stg_notes"]
    finally:
        other.close()
        dead.close()
        bench.run("DROP TABLE bridge.stg_notes")


def test_two_sweepers_at_once_drop_each_table_once(bench: Bench, sqlserver_settings: Settings) -> None:
    """Their counts add up, and neither fails."""
    target = bench.target("t", "i int NULL")
    dead = MssqlServer(sqlserver_settings).connect_target()
    rows = pa.record_batch([pa.array([1], pa.int32())], ["i"])
    names = [dead.stage(target, target.columns, (), reader(rows)).name for _ in range(10)]
    dead.close()
    for name in names:
        bench.await_release(name)
    swept: list[int] = []
    sweepers = [MssqlServer(sqlserver_settings).connect_target() for _ in range(2)]
    threads = [threading.Thread(target=lambda one=one: swept.append(one.sweep())) for one in sweepers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for one in sweepers:
        one.close()
    assert len(swept) == 2
    assert sum(swept) == 10
    assert bench.staging_tables() == []


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ({"error": 1205, "message": "was deadlocked"}, SourceBusy),
        ({"error": 9002, "message": "The transaction log is full"}, SourceBusy),
        ({"error": 40613, "message": "not available"}, SourceUnavailable),
        ({"drop": "before"}, SourceUnavailable),
        ({"drop": "after"}, SourceUnavailable),
    ],
)
def test_a_bulk_copy_that_fails_is_named_and_leaves_nothing(
    bench: Bench, sqlserver_faults: StandIn, action: dict[str, Any], kind: type[SourceError]
) -> None:
    """Worth a retry or not is told by the type; the staging table is dropped by the connection that made it."""
    target = bench.target("t", "i int NULL")
    rule = sqlserver_faults.fault(match={"kind": "bulk"}, action=action)
    with pytest.raises(kind):
        bench.connection.stage(target, target.columns, (), reader(_numbers(MANY)))
    assert sqlserver_faults.hits(rule) == 1
    assert bench.staging_tables() == []


def test_hostile_column_names_are_staged(bench: Bench) -> None:
    """Names of every kind of quote, bracket, marker and escape arrive as they are."""
    names = ["a]b", "[", "'; DROP TABLE t; --", '"', "?", "{fn now()}", "%(x)s", "@p", "é中😀", "n" * 128, " x ", "/*"]
    declared = ", ".join(f"[{name.replace(']', ']]')}] int NULL" for name in names)
    target = bench.target("hostile]; --", declared)
    assert [column.name for column in target.columns] == names
    batch = pa.record_batch([pa.array([n], pa.int32()) for n in range(len(names))], names)
    staged = bench.stage(target, target.columns, target.columns[:2], batch)
    (row,) = bench.rows(f"SELECT * FROM bridge.{staged.name}")
    assert row == {name: n for n, name in enumerate(names)}
