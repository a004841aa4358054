"""The TargetConnection port, applying: what stands after each operation, and that nothing stands after a refusal."""

# ruff: noqa: DTZ001 (SQL Server's zoneless types)

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.errors import EventBlocked, EventInvalid
from sql_databricks_bridge.models.applying import ApplyPlan, Counts, Filter, Matches, OnConflict
from sql_databricks_bridge.models.events import LedgerOutcome, Operation
from sql_databricks_bridge.models.tables import Target
from tests.contract.target_fixture import Applied, Bench, entry, unless_the_stand_in_lacks_it

INSERT, UPDATE, DELETE, UPSERT = Operation.INSERT, Operation.UPDATE, Operation.DELETE, Operation.UPSERT


@pytest.fixture
def bench(sqlserver_settings: Settings) -> Iterator[Bench]:
    with Bench(sqlserver_settings) as found:
        yield found


def rows(**columns: tuple[pa.DataType, list[Any]]) -> pa.RecordBatch:
    """A batch of named, typed columns."""
    return pa.record_batch({name: pa.array(values, kind) for name, (kind, values) in columns.items()})


def ids(*values: int) -> pa.RecordBatch:
    """A batch of one column id."""
    return rows(id=(pa.int32(), list(values)))


def pairs(**values: tuple[list[Any], list[Any]]) -> pa.RecordBatch:
    """id int and v varchar."""
    (numbers, texts) = values["of"]
    return rows(id=(pa.int32(), numbers), v=(pa.string(), texts))


@pytest.fixture
def table(bench: Bench) -> Target:
    """Three rows: (1, 'one'), (2, 'two'), (3, NULL)."""
    target = bench.target("t", "id int NOT NULL PRIMARY KEY, v varchar(20) NULL")
    bench.run(f"INSERT INTO {bench.schema}.t VALUES (1, 'one'), (2, 'two'), (3, NULL)")
    return target


def standing(bench: Bench, table: str = "t") -> list[tuple[Any, ...]]:
    return bench.tuples(f"SELECT * FROM {bench.schema}.{table} ORDER BY id")


BEFORE = [(1, "one"), (2, "two"), (3, None)]


# Operations --------------------------------------------------------------------------------------------------------


def test_insert_appends_whatever_the_order_of_columns(bench: Bench) -> None:
    """Columns go by name; those left out take their DEFAULT, identity and computed ones come from the server."""
    target = bench.target(
        "t",
        "id int IDENTITY(10,5) NOT NULL PRIMARY KEY, a int NOT NULL, b nvarchar(10) NOT NULL DEFAULT N'né', "
        "c AS (a * 2), d decimal(9,2) NULL, v rowversion",
    )
    batch = rows(d=(pa.decimal128(9, 2), [Decimal("1.50"), None]), a=(pa.int32(), [1, 2]))
    plan = bench.plan(INSERT, target, batch)
    assert bench.apply(plan) == Counts(inserted=2)
    assert bench.tuples(f"SELECT id, a, b, c, d FROM {bench.schema}.t ORDER BY a") in (
        [(10, 1, "né", 2, Decimal("1.50")), (15, 2, "né", 4, None)],
        [(15, 1, "né", 2, Decimal("1.50")), (10, 2, "né", 4, None)],  # a heap promises no order
    )
    (row,) = bench.ledger(plan.entry.event_id)
    assert (row["generation"], row["outcome"], row["rows_affected"], row["source_version"], row["message"]) == (
        1, "applied", 2, 3, "as counted",
    )  # fmt: skip


def test_insert_of_no_rows_is_applied(bench: Bench, table: Target) -> None:
    """An empty source is an event like any other: it stands in the ledger."""
    plan = bench.plan(INSERT, table, pairs(of=([], [])))
    assert bench.apply(plan) == Counts()
    assert len(bench.ledger(plan.entry.event_id)) == 1


@pytest.mark.parametrize(
    ("conflict", "counts", "after"),
    [
        (OnConflict.SKIP, Counts(inserted=1, skipped=2), [*BEFORE, (4, "d")]),
        (OnConflict.UPDATE, Counts(updated=2, inserted=1), [(1, "one"), (2, "b"), (3, "c"), (4, "d")]),
    ],
)
def test_insert_with_keys_skips_or_updates_rows_that_are_there(
    bench: Bench, table: Target, conflict: OnConflict, counts: Counts, after: list[tuple[Any, ...]]
) -> None:
    """As `on_conflict` says; each count is of its own statement."""
    plan = bench.plan(INSERT, table, pairs(of=([2, 3, 4], ["b", "c", "d"])), "id", on_conflict=conflict)
    assert bench.apply(plan) == counts
    assert standing(bench) == after


def test_insert_with_keys_refuses_rows_that_are_there(bench: Bench, table: Target) -> None:
    """The message counts them and shows one; nothing is inserted, the ledger knows nothing."""
    plan = bench.plan(INSERT, table, pairs(of=([3, 2, 4], ["c", "b", "d"])), "id")
    with pytest.raises(EventInvalid, match=r"2 of the rows are in .*\.t already, such as id = 2\."):
        bench.connection.apply(plan, Applied(plan))
    assert standing(bench) == BEFORE
    assert bench.ledger(plan.entry.event_id) == []
    fresh = bench.plan(INSERT, table, pairs(of=([4, 5], ["d", "e"])), "id")
    assert bench.apply(fresh) == Counts(inserted=2)


def test_update_changes_what_matches_and_counts_only_that(bench: Bench, table: Target) -> None:
    """A key that is not there changes nothing; NULL is a value to set."""
    plan = bench.plan(UPDATE, table, pairs(of=([1, 3, 9], [None, "c", "x"])), "id")
    assert bench.connection.matches(plan) == Matches(staged=3, matching=2)
    assert bench.apply(plan) == Counts(updated=2)
    assert standing(bench) == [(1, None), (2, "two"), (3, "c")]


def test_update_by_several_keys_matches_all_of_them(bench: Bench) -> None:
    """Rows that share a part of the key stay."""
    target = bench.target("t", "id int NOT NULL, day date NOT NULL, v int NULL, PRIMARY KEY (id, day)")
    bench.run(f"INSERT INTO {bench.schema}.t VALUES (1, '20240101', 1), (1, '20240102', 2), (2, '20240101', 3)")
    batch = rows(v=(pa.int32(), [20]), day=(pa.date32(), [dt.date(2024, 1, 2)]), id=(pa.int32(), [1]))
    assert bench.apply(bench.plan(UPDATE, target, batch, "id", "day")) == Counts(updated=1)
    assert [row[2] for row in bench.tuples(f"SELECT * FROM {bench.schema}.t ORDER BY id, day")] == [1, 20, 3]


def test_delete_by_key_rows_and_filters_takes_both_to_hold(bench: Bench, table: Target) -> None:
    """The staged keys name rows, the filters narrow them."""
    v = table.column("v")
    assert v is not None
    plan = bench.plan(DELETE, table, ids(1, 2, 7), "id", filters=(Filter(v, "two", "varchar(20)"),))
    assert bench.connection.matches(plan) == Matches(staged=3, matching=1)
    assert bench.apply(plan) == Counts(deleted=1)
    assert standing(bench) == [(1, "one"), (3, None)]


@pytest.mark.parametrize(
    ("sql_type", "literal", "value"),
    [
        ("bit", "1", True),
        ("bigint", "9223372036854775807", 2**63 - 1),
        ("decimal(18,4)", "12.3400", Decimal("12.34")),
        ("money", "1.5", Decimal("1.5")),
        ("float", "0.1", 0.1),
        ("varchar(5)", "'O''Neil'", "O'Neil"),
        ("varchar(20)", "'tâche'", "tâche"),
        ("nvarchar(20)", "N'中😀'", "中😀"),
        ("varbinary(9)", "0x00FF", b"\x00\xff"),
        ("date", "'20240229'", dt.date(2024, 2, 29)),
        ("datetime2(3)", "'2024-02-29T12:00:00.123'", dt.datetime(2024, 2, 29, 12, 0, 0, 123000)),
        ("datetime", "'20240229'", dt.datetime(2024, 2, 29)),
        ("time(3)", "'12:00:00.123'", dt.time(12, 0, 0, 123000)),
        ("uniqueidentifier", "'00112233-4455-6677-8899-AABBCCDDEEFF'", "00112233-4455-6677-8899-aabbccddeeff"),
        ("int", "NULL", None),
        ("varchar(9)", "NULL", None),
    ],
)
def test_delete_by_a_filter_of_each_type(bench: Bench, sql_type: str, literal: str, value: object) -> None:
    """Exactly the rows with that value go; NULL means IS NULL."""
    declared = "varchar(20)" if sql_type == "varchar(5)" else sql_type  # a parameter must not be cut to varchar(5)
    target = bench.target("t", f"id int NOT NULL PRIMARY KEY, v {declared} NULL")
    bench.run(f"INSERT INTO {bench.schema}.t VALUES (1, {literal}), (2, NULL), (3, {literal})")
    column = target.column("v")
    assert column is not None
    plan = ApplyPlan(DELETE, target, entry(), filters=(Filter(column, value, sql_type),))
    expected = 3 if value is None else 2
    assert bench.connection.matches(plan) == Matches(staged=None, matching=expected)
    assert bench.apply(plan) == Counts(deleted=expected)
    assert bench.tuples(f"SELECT id FROM {bench.schema}.t") == ([] if value is None else [(2,)])


def test_a_filter_value_is_never_cut_to_match(bench: Bench) -> None:
    """'abcd' is not in a varchar(3), even if its beginning is."""
    target = bench.target("t", "id int NOT NULL PRIMARY KEY, v varchar(3) NULL")
    bench.run(f"INSERT INTO {bench.schema}.t VALUES (1, 'abc')")
    column = target.column("v")
    assert column is not None
    plan = ApplyPlan(DELETE, target, entry(), filters=(Filter(column, "abcd", "varchar(3)"),))
    assert bench.apply(plan) == Counts(deleted=0)
    assert bench.count(f"{bench.schema}.t") == 1


def test_a_filter_value_that_the_code_page_lacks_is_refused(bench: Bench) -> None:
    """The server would compare its nearest likeness, here a question mark."""
    target = bench.target("t", "id int NOT NULL PRIMARY KEY, v varchar(3) COLLATE SQL_Latin1_General_CP1_CI_AS NULL")
    bench.run(f"INSERT INTO {bench.schema}.t VALUES (1, '?')")
    column = target.column("v")
    assert column is not None
    plan = ApplyPlan(DELETE, target, entry(), filters=(Filter(column, "中", "varchar(3)"),))
    with pytest.raises(EventInvalid, match="code page 1252"):
        bench.connection.apply(plan, Applied(plan))
    assert bench.count(f"{bench.schema}.t") == 1


def test_a_delete_that_names_no_rows_is_refused(bench: Bench, table: Target) -> None:
    """Without keys and filters it would mean all."""
    for plan in (
        ApplyPlan(DELETE, table, entry()),
        replace(bench.plan(DELETE, table, ids(1), "id"), keys=()),
    ):
        with pytest.raises(EventInvalid, match="names no rows"):
            bench.connection.apply(plan, Applied(plan))
    assert standing(bench) == BEFORE


def test_upsert_updates_then_inserts(bench: Bench, table: Target) -> None:
    """Each counted; what the source does not name stays."""
    plan = bench.plan(UPSERT, table, pairs(of=([4, 2], ["d", "b"])), "id")
    assert bench.apply(plan) == Counts(updated=1, inserted=1)
    assert standing(bench) == [(1, "one"), (2, "b"), (3, None), (4, "d")]


def test_upsert_of_keys_alone_inserts_what_is_missing(bench: Bench) -> None:
    """There is nothing to update in a row that is all key."""
    target = bench.target("t", "id int NOT NULL PRIMARY KEY")
    bench.run(f"INSERT INTO {bench.schema}.t VALUES (1)")
    assert bench.apply(bench.plan(UPSERT, target, ids(1, 2), "id")) == Counts(inserted=1)
    assert standing(bench) == [(1,), (2,)]


def test_keep_identity_holds_for_its_event_alone(bench: Bench) -> None:
    """After an event, and after one that fails, the session may write identities of another table."""
    first = bench.target("a", "id int IDENTITY NOT NULL PRIMARY KEY, v int NULL CHECK (v > 0)")
    second = bench.target("b", "id int IDENTITY NOT NULL PRIMARY KEY, v int NULL")

    def batch(value: int) -> pa.RecordBatch:
        return rows(id=(pa.int32(), [70]), v=(pa.int32(), [value]))

    failing = bench.plan(INSERT, first, batch(-1), keep_identity=True)
    with pytest.raises(EventInvalid, match="CHECK"):
        bench.connection.apply(failing, Applied(failing))
    assert bench.apply(bench.plan(INSERT, second, batch(1), keep_identity=True)) == Counts(inserted=1)
    stopped = bench.plan(INSERT, second, batch(1).set_column(0, "id", pa.array([71], pa.int32())), keep_identity=True)
    with pytest.raises(EventBlocked):
        bench.connection.apply(stopped, Applied(stopped, raises=EventBlocked("no")))
    assert bench.apply(bench.plan(INSERT, first, batch(2), "id", keep_identity=True)) == Counts(inserted=1)
    assert bench.apply(bench.plan(UPSERT, second, batch(3), "id", keep_identity=True)) == Counts(updated=1)
    assert standing(bench, "a") == [(70, 2)]
    assert standing(bench, "b") == [(70, 3)]
    plain = bench.plan(INSERT, first, batch(5), inserts=(first.columns[1],))
    assert bench.apply(plain) == Counts(inserted=1)  # IDENTITY_INSERT is off: the server numbers again
    assert standing(bench, "a") == [(70, 2), (71, 5)]


def test_100_000_rows_are_updated_by_one_statement(bench: Bench) -> None:
    """All of them, each with its own value."""
    n = 100_000
    target = bench.target("t", "id int NOT NULL PRIMARY KEY, v int NULL, w nvarchar(20) NULL")
    numbers = pa.array(range(n), pa.int32())
    batch = pa.record_batch([numbers, numbers, pa.array([f"w{i}" for i in range(n)])], ["id", "v", "w"])
    assert bench.apply(bench.plan(INSERT, target, batch)) == Counts(inserted=n)
    changed = pa.record_batch([numbers, pa.array(range(n, 2 * n), pa.int32())], ["id", "v"])
    assert bench.apply(bench.plan(UPDATE, target, changed, "id")) == Counts(updated=n)
    assert bench.count(f"{bench.schema}.t", f"v = id + {n} AND w = 'w' + CAST(id AS varchar(10))") == n


# Types on the way from staging ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql_type", "kind", "value"),
    [
        ("text", pa.string(), "x" * 9000),
        ("ntext", pa.string(), "中" * 9000),
        ("image", pa.binary(), b"\x01" * 9000),
        ("xml", pa.string(), "<a>é</a>"),
        ("smallmoney", pa.decimal128(10, 4), Decimal("-214748.3648")),
        ("time(7)", pa.time64("ns"), dt.time(23, 59, 59, 999999)),
    ],
)
def test_a_value_carried_by_another_type_arrives(bench: Bench, sql_type: str, kind: pa.DataType, value: object) -> None:
    """Staging holds text as varchar(max) and so on; the target gets its own type."""
    target = bench.target("t", f"id int NOT NULL PRIMARY KEY, v {sql_type} NULL")
    plan = bench.plan(INSERT, target, rows(id=(pa.int32(), [1, 2]), v=(kind, [value, None])))
    with unless_the_stand_in_lacks_it():
        assert bench.apply(plan) == Counts(inserted=2)
    assert standing(bench) == [(1, value), (2, None)]


# Keys --------------------------------------------------------------------------------------------------------------

CI = "varchar(10) COLLATE SQL_Latin1_General_CP1_CI_AS"


@pytest.mark.parametrize("operation", [INSERT, UPDATE, UPSERT, DELETE])
@pytest.mark.parametrize(
    ("kind", "keys", "copies"),
    [
        (CI, ["a", "A", "b"], 2),
        (CI, ["b", "a", "a ", "a  "], 3),
        ("varchar(10) COLLATE Latin1_General_BIN2", ["A", "a", "a "], 2),
        ("nvarchar(10) COLLATE Latin1_General_BIN2", ["中", "中 "], 2),
    ],
)
def test_keys_that_the_target_takes_for_one_are_refused(
    bench: Bench, operation: Operation, kind: str, keys: list[str], copies: int
) -> None:
    """Letter case by the collation, trailing blanks by the comparison: nothing is applied."""
    target = bench.target("t", f"id {kind} NOT NULL PRIMARY KEY, v int NULL")
    plan = bench.plan(operation, target, rows(id=(pa.string(), keys), v=(pa.int32(), [1] * len(keys))), "id")
    with pytest.raises(EventInvalid, match=rf"1 keys \(id\) stand in several rows .* {copies} times"):
        bench.connection.apply(plan, Applied(plan))
    assert bench.count(f"{bench.schema}.t") == 0
    assert bench.ledger(plan.entry.event_id) == []


def test_keys_that_the_target_tells_apart_are_taken(bench: Bench) -> None:
    """'a' and 'A' are two keys of a binary collation."""
    target = bench.target("t", "id varchar(10) COLLATE Latin1_General_BIN2 NOT NULL PRIMARY KEY, v int NULL")
    plan = bench.plan(UPSERT, target, rows(id=(pa.string(), ["a", "A"]), v=(pa.int32(), [1, 2])), "id")
    assert bench.apply(plan) == Counts(inserted=2)


def test_keys_join_under_the_targets_collation(bench: Bench) -> None:
    """'A' in the source is 'a ' in the target, if the target says so."""
    target = bench.target("t", f"id {CI} NOT NULL PRIMARY KEY, v int NULL")
    bench.run(f"INSERT INTO {bench.schema}.t VALUES ('a ', 1)")
    plan = bench.plan(UPDATE, target, rows(id=(pa.string(), ["A"]), v=(pa.int32(), [2])), "id")
    assert bench.apply(plan) == Counts(updated=1)
    assert bench.tuples(f"SELECT id, v FROM {bench.schema}.t") == [("a ", 2)]


def test_null_in_a_key_is_refused_with_the_rest_of_the_key(bench: Bench) -> None:
    """The message counts them and shows one."""
    target = bench.target("t", "id int NULL, k varchar(5) NULL, v int NULL")
    batch = rows(id=(pa.int32(), [1, 7, None]), k=(pa.string(), ["a", None, None]), v=(pa.int32(), [1, 2, 3]))
    plan = bench.plan(UPSERT, target, batch, "id", "k")
    with pytest.raises(EventInvalid, match=r"2 rows of the source have NULL in their key \(id, k\), such as id = "):
        bench.connection.apply(plan, Applied(plan))
    assert bench.count(f"{bench.schema}.t") == 0


def test_a_target_without_a_unique_key_may_match_more(bench: Bench) -> None:
    """One staged row changes every row with its key, and all are counted."""
    target = bench.target("t", "id int NULL, v int NULL")
    bench.run(f"INSERT INTO {bench.schema}.t VALUES (1, 1), (1, 2), (2, 3)")
    batch = rows(id=(pa.int32(), [1]), v=(pa.int32(), [9]))
    assert bench.apply(bench.plan(UPDATE, target, batch, "id")) == Counts(updated=2)
    assert bench.apply(bench.plan(DELETE, target, ids(1), "id")) == Counts(deleted=2)


def test_rows_that_somebody_put_into_staging_are_noticed(bench: Bench, table: Target) -> None:
    """Staging must hold what was sent, not more and not less."""
    plan = bench.plan(INSERT, table, pairs(of=([4], ["d"])))
    assert plan.staging is not None
    bench.run(f"INSERT INTO bridge.{plan.staging.name} VALUES (5, 'e')")
    with pytest.raises(EventInvalid, match="holds 2 rows, 1 were sent"):
        bench.connection.apply(plan, Applied(plan))
    assert standing(bench) == BEFORE


# Names -------------------------------------------------------------------------------------------------------------

HOSTILE = ["a]b", "[", "'; DELETE FROM t; --", '"', "?", "{fn now()}", "%(x)s", "@p", "é中😀", "n" * 128, " x ", "/*"]


@pytest.mark.parametrize("operation", [INSERT, UPDATE, UPSERT, DELETE])
def test_hostile_names_are_only_names(bench: Bench, operation: Operation) -> None:
    """As table, key, column and filter, in every operation."""
    for name in HOSTILE:
        quoted, beside = (f"[{part.replace(']', ']]')}]" for part in (name, f"v{name}"[:128]))
        target = bench.target(name, f"{quoted} int NOT NULL PRIMARY KEY, {beside} int NULL")
        bench.run(f"INSERT INTO {bench.schema}.{quoted} VALUES (1, 10), (2, 20)")
        key, value = target.columns
        assert (target.name, key.name, value.name) == (name, name, f"v{name}"[:128])
        numbers = [3] if operation is INSERT else [2, 3]
        batch = pa.record_batch([pa.array(numbers, pa.int32())] * 2, [key.name, value.name])
        filters = (Filter(value, 20, "int"),) if operation is DELETE else ()
        plan = bench.plan(operation, target, batch, key.name, filters=filters)
        assert bench.connection.matches(plan).matching == (0 if operation is INSERT else 1)
        assert bench.apply(plan).affected == (2 if operation is UPSERT else 1)


# The ledger --------------------------------------------------------------------------------------------------------


def test_an_event_is_applied_once(bench: Bench, table: Target) -> None:
    """The second time nothing happens, `before_commit` is not asked, and the first row is returned."""
    plan = bench.plan(INSERT, table, pairs(of=([4], ["d"])))
    bench.apply(plan)
    again = replace(plan, entry=replace(plan.entry, source_version=99))
    second = Applied(again)
    stands = bench.connection.apply(again, second)
    assert second.counts is None
    assert (stands.outcome, stands.rows_affected, stands.source_version) == (LedgerOutcome.APPLIED, 1, 3)
    assert standing(bench) == [*BEFORE, (4, "d")]


def test_an_outcome_that_was_recorded_wins(bench: Bench, table: Target) -> None:
    """An event that stands as blocked is not applied; its next generation is, once it is opened."""
    plan = bench.plan(INSERT, table, pairs(of=([4], ["d"])))
    event_id = plan.entry.event_id
    bench.connection.record(replace(plan.entry, outcome=LedgerOutcome.BLOCKED, message="no permission"))
    assert bench.connection.apply(plan, Applied(plan)).message == "no permission"
    assert standing(bench) == BEFORE
    opened = bench.connection.reopen(event_id)
    assert opened is not None
    assert (opened.generation, opened.outcome) == (2, LedgerOutcome.OPEN)
    second = replace(plan, entry=entry(event_id, 2), reopened=True)
    assert bench.apply(second) == Counts(inserted=1)
    assert bench.connection.entries([event_id])[event_id].outcome is LedgerOutcome.APPLIED
    third = Applied(second)
    assert bench.connection.apply(second, third).rows_affected == 1
    assert third.counts is None
    assert standing(bench) == [*BEFORE, (4, "d")]


@pytest.mark.parametrize("error", [EventBlocked("too many rows"), RuntimeError("audit"), KeyboardInterrupt()], ids=repr)
def test_what_before_commit_raises_rolls_back_and_comes_out(bench: Bench, table: Target, error: BaseException) -> None:
    """It has seen the counts; nothing stands, and the connection goes on."""
    plan = bench.plan(DELETE, table, ids(1, 2), "id")
    refusing = Applied(plan, raises=error)
    with pytest.raises(type(error)) as caught:
        bench.connection.apply(plan, refusing)
    assert caught.value is error
    assert refusing.counts == Counts(deleted=2)
    assert standing(bench) == BEFORE
    assert bench.ledger(plan.entry.event_id) == []
    assert bench.apply(plan) == Counts(deleted=2)


def test_another_events_row_is_not_settled(bench: Bench, table: Target) -> None:
    """A `before_commit` that answers for another event is a mistake: nothing stands."""
    plan = bench.plan(DELETE, table, ids(1), "id")
    with pytest.raises(ValueError, match="is not the outcome of"):
        bench.connection.apply(plan, lambda _counts: entry())
    assert standing(bench) == BEFORE


# Constraints -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "number"),
    [
        ("id int NOT NULL PRIMARY KEY, v int NULL", 2627),
        ("id int NOT NULL, v int NULL, INDEX u UNIQUE (id)", 2601),
        ("id int NOT NULL, v int NULL CHECK (v < 5)", 547),
        ("id int NOT NULL, v int NOT NULL", 515),
        ("id int NOT NULL, v int NULL REFERENCES {schema}.parent (id)", 547),
    ],
)
def test_a_constraint_makes_the_event_invalid_in_the_servers_words(bench: Bench, columns: str, number: int) -> None:
    """With the error's number; the rows before it don't stand either."""
    bench.run(f"CREATE TABLE {bench.schema}.parent (id int NOT NULL PRIMARY KEY)")
    bench.run(f"INSERT INTO {bench.schema}.parent VALUES (1)")
    target = bench.target("t", columns.format(schema=bench.schema))
    second = 1 if number in (2627, 2601) else 2
    batch = rows(id=(pa.int32(), [1, second]), v=(pa.int32(), [1, None if number == 515 else 9]))
    plan = bench.plan(INSERT, target, batch)
    with pytest.raises(EventInvalid, match=rf"refused INSERT into .*\.t: .*\(error {number}\)"):
        bench.connection.apply(plan, Applied(plan))
    assert bench.count(f"{bench.schema}.t") == 0
    assert bench.ledger(plan.entry.event_id) == []
    assert bench.connection.info().server


def test_a_cascade_removes_more_than_it_counts(bench: Bench) -> None:
    """The statement's own count is that of the target; the guard against it is the target's `cascades`."""
    target = bench.target("t", "id int NOT NULL PRIMARY KEY")
    bench.run(
        f"CREATE TABLE {bench.schema}.child (id int NOT NULL, t int NOT NULL REFERENCES {bench.schema}.t (id) "
        "ON DELETE CASCADE)"
    )
    bench.run(f"INSERT INTO {bench.schema}.t VALUES (1), (2)")
    bench.run(f"INSERT INTO {bench.schema}.child VALUES (1, 1), (2, 1), (3, 2)")
    assert bench.apply(bench.plan(DELETE, target, ids(1), "id")) == Counts(deleted=1)
    assert bench.tuples(f"SELECT id FROM {bench.schema}.child") == [(3,)]
