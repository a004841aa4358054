"""The TargetConnection port, comparing: what the target holds of what was staged, byte by byte."""

# ruff: noqa: DTZ001 (SQL Server's zoneless types)

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import mssql_python
import pyarrow as pa
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.errors import EventInvalid
from sql_databricks_bridge.models.applying import ApplyPlan, Comparison, Counts, Example, Filter, OnConflict
from sql_databricks_bridge.models.events import Operation
from sql_databricks_bridge.models.tables import Target
from tests.contract.target_fixture import Bench, entry

INSERT, UPDATE, DELETE, UPSERT = Operation.INSERT, Operation.UPDATE, Operation.DELETE, Operation.UPSERT


@pytest.fixture
def bench(sqlserver_settings: Settings) -> Iterator[Bench]:
    with Bench(sqlserver_settings) as found:
        yield found


def rows(**columns: tuple[pa.DataType, list[Any]]) -> pa.RecordBatch:
    """A batch of named, typed columns."""
    return pa.record_batch({name: pa.array(values, kind) for name, (kind, values) in columns.items()})


def items(ids: list[int | None], texts: list[str | None]) -> pa.RecordBatch:
    """A batch of id int and v varchar."""
    return rows(id=(pa.int32(), ids), v=(pa.string(), texts))


@pytest.fixture
def table(bench: Bench) -> Target:
    """id int PRIMARY KEY, v varchar(20), w nvarchar(20); rows (1, 'one'), (2, 'two'), (3, NULL), w being NULL."""
    target = bench.target("t", "id int NOT NULL PRIMARY KEY, v varchar(20) NULL, w nvarchar(20) NULL")
    bench.run(f"INSERT INTO {bench.schema}.t (id, v) VALUES (1, 'one'), (2, 'two'), (3, NULL)")
    return target


def compare(bench: Bench, plan: ApplyPlan) -> Comparison:
    """Compare, and see that nothing was changed by it and the session left as it was."""
    before = bench.tuples(f"SELECT * FROM {bench.schema}.{plan.target.name} ORDER BY 1")
    found = bench.connection.compare(plan)
    assert bench.tuples(f"SELECT * FROM {bench.schema}.{plan.target.name} ORDER BY 1") == before
    return found


def applied(bench: Bench, plan: ApplyPlan) -> ApplyPlan:
    bench.apply(plan)
    return plan


# Each operation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", [UPDATE, UPSERT, INSERT])
@pytest.mark.parametrize("conflict", [OnConflict.ERROR, OnConflict.UPDATE])
def test_after_each_operation_by_key_every_row_is_equal(
    bench: Bench, table: Target, operation: Operation, conflict: OnConflict
) -> None:
    ids: list[int | None] = [1, 2, 3] if operation is UPDATE else [4, 5, 6]
    plan = applied(bench, bench.plan(operation, table, items(ids, ["a", None, ""]), "id", on_conflict=conflict))
    found = compare(bench, plan)
    assert found.same
    assert (found.staged, found.equal, found.differing, found.missing, found.remaining) == (3, 3, 0, 0, 0)
    assert found.compared == (("id", "v") if (operation, conflict) == (INSERT, OnConflict.ERROR) else ("v",))
    assert found.differing_examples == found.missing_examples == found.remaining_examples == ()


def test_a_comparison_is_of_one_snapshot_where_the_database_allows_it_and_the_session_goes_on_to_apply(
    bench: Bench, table: Target
) -> None:
    plan = applied(bench, bench.plan(UPDATE, table, items([1], ["a"]), "id"))
    wanted = "snapshot" if bench.connection.info().snapshot else "read committed"
    assert compare(bench, plan).isolation == wanted
    assert bench.apply(replace(plan, entry=entry())) == Counts(updated=1)


def test_one_value_changed_behind_the_bridges_back_is_found_with_key_and_column(bench: Bench, table: Target) -> None:
    plan = applied(
        bench,
        bench.plan(
            UPSERT,
            table,
            rows(id=(pa.int32(), [1, 2, 7]), v=(pa.string(), ["a", "b", "c"]), w=(pa.string(), ["x", "y", "z"])),
            "id",
        ),
    )
    bench.run(f"UPDATE {bench.schema}.t SET w = N'Y!' WHERE id = 2")
    found = compare(bench, plan)
    assert not found.same
    assert (found.equal, found.differing, found.missing) == (2, 1, 0)
    assert found.differing_examples == (Example((("id", "2"),), ("w",)),)


def test_a_deleted_row_is_missing_and_a_column_that_was_not_written_does_not_count(bench: Bench, table: Target) -> None:
    plan = applied(bench, bench.plan(UPDATE, table, items([1, 2, 3], ["a", "b", "c"]), "id"))
    bench.run(f"UPDATE {bench.schema}.t SET w = N'another''s'")
    bench.run(f"DELETE FROM {bench.schema}.t WHERE id = 3")
    found = compare(bench, plan)
    assert (found.equal, found.differing, found.missing) == (2, 0, 1)
    assert found.missing_examples == (Example((("id", "3"),)),)


def test_a_key_that_matches_several_rows_differs_where_one_of_them_does(bench: Bench) -> None:
    target = bench.target("t", "id int NULL, v varchar(20) NULL")
    bench.run(f"INSERT INTO {bench.schema}.t VALUES (1, 'a'), (1, 'a'), (2, 'b'), (2, 'b')")
    plan = applied(bench, bench.plan(UPDATE, target, items([1, 2], ["x", "y"]), "id"))
    bench.run(f"INSERT INTO {bench.schema}.t VALUES (2, 'z')")
    found = compare(bench, plan)
    assert (found.staged, found.equal, found.differing) == (2, 1, 1)


def test_keys_that_a_delete_left_are_told_and_rows_beyond_its_filter_are_not_its_business(
    bench: Bench, table: Target
) -> None:
    column = table.column("v")
    assert column is not None
    batch = rows(id=(pa.int32(), [1, 2, 9]))
    by_key = bench.plan(DELETE, table, batch, "id", inserts=(), updates=())
    assert compare(bench, by_key).remaining == 2
    filtered = replace(by_key, filters=(Filter(column, "one", "varchar(20)"),))
    found = compare(bench, filtered)
    assert (found.equal, found.remaining, found.remaining_examples) == (2, 1, (Example((("id", "1"),)),))
    assert compare(bench, applied(bench, filtered)).same
    assert not compare(bench, by_key).same
    assert compare(bench, applied(bench, replace(by_key, entry=entry()))).equal == 3


def test_rows_that_still_match_a_deletes_filters_are_counted(bench: Bench, table: Target) -> None:
    column = table.column("v")
    assert column is not None
    plan = ApplyPlan(DELETE, table, entry(), filters=(Filter(column, None, "varchar(20)"),))
    assert compare(bench, plan) == Comparison(None, remaining=1, isolation=compare(bench, plan).isolation)
    assert compare(bench, applied(bench, plan)).same


def test_an_insert_without_keys_is_compared_with_multiplicity(bench: Bench) -> None:
    target = bench.target("t", "id int NULL, v varchar(20) NULL, x nvarchar(max) NULL")
    bench.run(f"INSERT INTO {bench.schema}.t VALUES (9, 'other', N'row')")
    plan = applied(
        bench,
        bench.plan(
            INSERT,
            target,
            rows(
                id=(pa.int32(), [1, 1, 1, 2, None]),
                v=(pa.string(), ["a", "a", "a", None, None]),
                x=(pa.string(), ["long", "long", "long", "é", None]),
            ),
        ),
    )
    assert (compare(bench, plan).equal, compare(bench, plan).same) == (5, True)
    bench.run(f"DELETE FROM {bench.schema}.t WHERE id = 1")
    bench.run(f"INSERT INTO {bench.schema}.t VALUES (1, 'a', N'long'), (1, 'a', N'Long')")
    bench.run(f"UPDATE {bench.schema}.t SET v = '' WHERE id IS NULL")
    found = compare(bench, plan)
    assert (found.staged, found.equal, found.missing, found.compared) == (5, 2, 3, ("id", "v", "x"))
    assert set(found.missing_examples) == {
        Example((("id", "1"), ("v", "a")), copies=2),
        Example((("id", None), ("v", None))),
    }


def test_an_empty_source_is_held(bench: Bench, table: Target) -> None:
    for keys in ((), ("id",)):
        plan = bench.plan(INSERT, table, items([], []), *keys)
        found = compare(bench, plan)
        assert (found.same, found.staged, found.equal) == (True, 0, 0)


def test_keys_that_are_there_twice_are_refused(bench: Bench, table: Target) -> None:
    plan = bench.plan(UPDATE, table, items([1, 1], ["a", "b"]), "id")
    with pytest.raises(EventInvalid, match="1 keys"):
        compare(bench, plan)
    assert compare(bench, bench.plan(UPDATE, table, items([1], ["one"]), "id")).same


# Values ------------------------------------------------------------------------------------------------------------

_OFFSET = (dt.datetime(2024, 1, 1, tzinfo=dt.UTC), "'2024-01-01T01:00:00+01:00'")
CASES: list[tuple[str, pa.DataType, Any, str]] = [
    ("varchar(10)", pa.string(), "abc", "'aBc'"),
    ("varchar(10)", pa.string(), "abc", "'abc '"),
    ("varchar(10)", pa.string(), "", "NULL"),
    ("varchar(10)", pa.string(), None, "''"),
    ("varchar(10)", pa.string(), "é", "'e'"),
    ("nvarchar(10)", pa.string(), "straße", "N'Straße'"),
    ("nvarchar(10)", pa.string(), "a ", "N'a'"),
    ("nvarchar(max)", pa.string(), "a", "N'A'"),
    ("varchar(2000)", pa.string(), "a", "'a '"),
    ("char(5)", pa.string(), "a", "'A'"),
    ("nchar(5)", pa.string(), "a", "N'A'"),
    ("varbinary(8)", pa.binary(), b"a", "0x6100"),
    ("varbinary(max)", pa.binary(), b"a", "0x6100"),
    ("binary(4)", pa.binary(), b"abcd", "0x61626365"),
    ("int", pa.int32(), 0, "NULL"),
    ("bit", pa.bool_(), True, "0"),
    ("decimal(9,4)", pa.decimal128(9, 4), Decimal("1.2345"), "1.2346"),
    ("money", pa.decimal128(19, 4), Decimal("1.0000"), "1.0001"),
    ("date", pa.date32(), dt.date(2024, 2, 29), "'20240301'"),
    ("datetime2(6)", pa.timestamp("us"), dt.datetime(2024, 2, 29, 1, 2, 3, 456789), "'2024-02-29T01:02:03.456788'"),
    ("uniqueidentifier", pa.string(), str(uuid.UUID(int=1)).upper(), "'00000000-0000-0000-0000-000000000002'"),
    ("float", pa.float64(), 0.1, "0.1000000000000001"),
    ("float", pa.float64(), 0.0, "-0e0"),
    ("real", pa.float32(), 0.5, "0.25"),
    ("datetimeoffset(6)", pa.timestamp("us", tz="UTC"), *_OFFSET),
    ("text", pa.string(), "a", "'A'"),
    ("ntext", pa.string(), "a", "N'a '"),
    ("image", pa.binary(), b"a", "0x6100"),
]


def test_what_sql_server_takes_for_equal_differs_where_its_bytes_do(bench: Bench) -> None:
    """Letter case, trailing blanks and zeros, NULL and empty, offsets and the sign of zero; by key and by whole row.

    Row n has its column n changed, so each column's own comparison is what finds it.
    """
    declared = ", ".join(f"c{number} {sql_type} NULL" for number, (sql_type, *_) in enumerate(CASES))
    target = bench.target("t", f"id int NOT NULL PRIMARY KEY, {declared}")
    count = len(CASES)
    columns = {f"c{number}": (kind, [value] * count + [None]) for number, (_, kind, value, _) in enumerate(CASES)}
    batch = rows(id=(pa.int32(), list(range(count + 1))), **columns)
    plan = applied(bench, bench.plan(INSERT, target, batch))
    keyed = bench.plan(UPSERT, target, batch, "id")
    assert bench.connection.compare(plan).same
    assert bench.connection.compare(keyed).same
    for number, (*_, other) in enumerate(CASES):
        bench.run(f"UPDATE {bench.schema}.t SET c{number} = {other} WHERE id = {number}")
    found = bench.connection.compare(plan)
    assert (found.equal, found.missing) == (1, count)
    found = bench.connection.compare(keyed)
    assert (found.equal, found.differing, found.missing) == (1, count, 0)
    shown = [(example.values[0][1], example.differing) for example in found.differing_examples]
    assert shown == [(str(number), (f"c{number}",)) for number in range(20)]
    bench.run(f"DELETE FROM {bench.schema}.t WHERE id < 20")  # out of the way of those that were not shown
    shown = [(e.values[0][1], e.differing) for e in bench.connection.compare(keyed).differing_examples]
    assert shown == [(str(number), (f"c{number}",)) for number in range(20, count)]


@pytest.mark.parametrize(
    ("sql_type", "value", "other"),
    [
        ("xml", '<a  b="1"><c></c></a>', '<a b="1"><c> x</c></a>'),
        ("varchar(10) COLLATE Latin1_General_100_CI_AS_SC_UTF8", "жук", "Жук"),
        ("char(9) COLLATE Latin1_General_100_CI_AS_SC_UTF8", "ж", "Ж"),
    ],
)
def test_what_is_staged_in_another_type_is_compared_as_the_target_keeps_it(
    bench: Bench, sql_type: str, value: str, other: str
) -> None:
    try:
        target = bench.target("t", f"id int NOT NULL PRIMARY KEY, v {sql_type} NULL")
        bench.run(f"INSERT INTO {bench.schema}.t VALUES (0, N'{value}')")
    except mssql_python.Error as exc:
        if "The sandbox does not support" not in str(exc):
            raise
        pytest.skip(str(exc))
    batch = items([1, 2, 3], [value, value, None])
    plan = applied(bench, bench.plan(INSERT, target, batch))
    keyed = bench.plan(UPSERT, target, batch, "id")
    assert compare(bench, plan).same
    assert compare(bench, keyed).same
    bench.run(f"UPDATE {bench.schema}.t SET v = N'{other}' WHERE id = 2")
    assert compare(bench, plan).missing == 1
    assert compare(bench, keyed).differing_examples == (Example((("id", "2"),), ("v",)),)


@pytest.mark.parametrize(
    ("sql_type", "arrow_type", "values", "shown"),
    [
        ("float", pa.float64(), [0.1, 1e300, -2.5], "0.1"),
        ("datetime", pa.timestamp("us"), [dt.datetime(2024, 1, 1, 0, 0, 0, 3333), dt.datetime(1753, 1, 1)], None),
        ("datetime2(3)", pa.timestamp("us"), [dt.datetime(2024, 1, 1, 0, 0, 0, 3000), dt.datetime(1, 1, 1)], None),
        ("nvarchar(20)", pa.string(), ["Ä", "b "], "Ä"),
        ("uniqueidentifier", pa.string(), [str(uuid.UUID(int=n)).upper() for n in (1, 2)], None),
    ],
)
def test_rows_are_found_by_keys_of_every_kind(
    bench: Bench, sql_type: str, arrow_type: pa.DataType, values: list[Any], shown: str | None
) -> None:
    target = bench.target("t", f"k {sql_type} NOT NULL PRIMARY KEY, v int NULL")
    batch = rows(k=(arrow_type, values), v=(pa.int32(), [7] * len(values)))
    plan = applied(bench, bench.plan(UPSERT, target, batch, "k"))
    assert (compare(bench, plan).equal, compare(bench, plan).same) == (len(values), True)
    bench.run(f"UPDATE {bench.schema}.t SET v = 8")
    found = compare(bench, plan)
    assert found.differing == len(values)
    texts = [example.values[0][1] for example in found.differing_examples]
    assert None not in texts
    assert shown is None or shown in texts


def test_composite_keys_are_shown_whole_and_in_order(bench: Bench) -> None:
    target = bench.target("t", "a int NOT NULL, b varchar(5) NOT NULL, [v]] odd] int NULL, PRIMARY KEY (a, b)")
    batch = rows(
        a=(pa.int32(), [2, 1, 1]), b=(pa.string(), ["x", "y", "x"]), **{"v] odd": (pa.int32(), [1, 2, 3])}
    )  # fmt: skip
    plan = applied(bench, bench.plan(UPSERT, target, batch, "a", "b"))
    assert compare(bench, plan).same
    bench.run(f"UPDATE {bench.schema}.t SET [v]] odd] = NULL")
    assert compare(bench, plan).differing_examples == tuple(
        Example((("a", a), ("b", b)), ("v] odd",)) for a, b in [("1", "x"), ("1", "y"), ("2", "x")]
    )


def test_ten_thousand_rows_are_compared_in_seconds_and_twenty_are_shown(bench: Bench) -> None:
    target = bench.target("t", "id int NOT NULL PRIMARY KEY, v varchar(20) NULL")
    count = 10_000
    batch = items(list(range(count)), [f"v{number}" for number in range(count)])
    plain = applied(bench, bench.plan(INSERT, target, batch))
    keyed = bench.plan(UPDATE, target, batch, "id")
    bench.run(f"UPDATE {bench.schema}.t SET v = UPPER(v) WHERE id >= {count - 100}")
    bench.run(f"DELETE FROM {bench.schema}.t WHERE id < 30")
    began = time.monotonic()
    by_key, by_row = bench.connection.compare(keyed), bench.connection.compare(plain)
    assert time.monotonic() - began < 30
    assert (by_key.equal, by_key.differing, by_key.missing) == (count - 130, 100, 30)
    assert [example.values for example in by_key.missing_examples] == [(("id", str(number)),) for number in range(20)]
    assert len(by_key.differing_examples) == 20
    assert (by_row.equal, by_row.missing, len(by_row.missing_examples)) == (count - 130, 130, 20)
