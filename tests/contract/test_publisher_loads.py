"""What the Publisher port does to published tables, on the stand-in or on the workspace that DATABRICKS_* names."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from sql_databricks_bridge.core.ports import Publisher
from sql_databricks_bridge.errors import (
    LakehouseNotFound,
    PublicationOvertaken,
    PublishError,
    StatementFailed,
)
from sql_databricks_bridge.models.publishing import (
    DELETED_COLUMN,
    NULL_RANGE,
    RANGE_COLUMN,
    DeltaColumn,
    Load,
    RowCounts,
)
from tests.conftest import StandIn
from tests.contract.publisher_fixture import (
    Desk,
    claimed,
    desk,
    lakehouse,
    people,
    quoted,
    ranged,
    states,
)

__all__ = ["claimed", "desk", "lakehouse", "states"]

CONFLICT = {"error_code": "ABORTED", "message": "[DELTA_CONCURRENT_APPEND] Conflict.", "sqlstate": "2D521"}
ODD_TEXTS = ["it's", 'a "b" `c` \\n \\', "{x} ${y} :owner --", "", "ñ\u2028\U0001f600", None]
KEY = {"key": ("id",)}
SOFT = {"key": ("id",), "soft_delete": "_deleted_at"}


def names_of(desk: Desk, where: str = "true") -> dict[int | None, str | None]:
    """Names by id."""
    found = desk.lakehouse.execute(f"SELECT id, name FROM {quoted(desk.target)} WHERE {where} ORDER BY id")
    return dict(zip(found["id"].to_pylist(), found["name"].to_pylist(), strict=True))


def properties_of(desk: Desk) -> dict[str, str]:
    shown = desk.lakehouse.execute(f"SHOW TBLPROPERTIES {quoted(desk.target)}")
    return dict(zip(shown["key"].to_pylist(), shown["value"].to_pylist(), strict=True))


# In full -----------------------------------------------------------------------------------------------------------


def test_a_full_load_holds_exactly_the_files_that_it_names(claimed: Desk) -> None:
    load = claimed.load(people((1, "a")), people((2, "b"), (3, None)), people((4, "of another run")))
    counts = claimed.publisher.replace(replace(load, files=load.files[:2]))
    assert counts == RowCounts(inserted=3, total=3)
    assert names_of(claimed) == {1: "a", 2: "b", 3: None}


def test_every_type_and_value_arrives_as_it_landed(claimed: Desk) -> None:
    table = pa.table(
        {
            "text": ODD_TEXTS,
            "decimal": pa.array([Decimal("12345678901234.5678"), None] * 3, pa.decimal128(38, 4)),
            "moment": pa.array([-62_135_596_800_000_000, 253_402_300_799_999_999] * 3, pa.timestamp("us")),
            "instant": pa.array([dt.datetime(2024, 2, 29, 1, 2, 3, 4, dt.UTC), None] * 3, pa.timestamp("us", tz="UTC")),
            "day": pa.array([dt.date(1900, 1, 1), None] * 3, pa.date32()),
            "bytes": pa.array([b"\x00\xff", b""] * 3, pa.binary()),
            "flag": pa.array([True, None] * 3, pa.bool_()),
            "small": pa.array([-(2**15), 2**15 - 1] * 3, pa.int16()),
            "real": pa.array([1.5, float("inf")] * 3, pa.float32()),
            "order": pa.array(range(6), pa.int64()),
        }
    )
    claimed.full(table)
    assert claimed.rows(order="`order`") == table.to_pylist()


def test_names_are_quoted_right_everywhere(claimed: Desk) -> None:
    """Keywords, hyphens, backticks and other alphabets, in each statement that names a column."""
    names = ["select", "Order", "a-b", "t`k", "s", "t", "ñandú", "owner", "target", ":owner", "1st", "it's", "a.b"]
    schema = pa.schema([(name, pa.int64()) for name in names])

    def rows(*numbers: int) -> pa.Table:
        return pa.table([pa.array(numbers, pa.int64())] * len(names), schema=schema)

    keys = ("SELECT", "t`k", "a.b")
    claimed.full(rows(1, 2))
    claimed.publisher.merge(claimed.load(rows(2, 3), key=keys))
    claimed.publisher.merge(claimed.load(rows(4).append_column(DELETED_COLUMN, pa.array([False])), key=keys))
    assert [set(row.values()) for row in claimed.rows("*", "`select`")] == [{1}, {2}, {3}, {4}]
    assert list(claimed.rows()[0]) == names


def test_blanks_and_the_like_in_names_turn_column_mapping_on(claimed: Desk) -> None:
    schema = pa.schema([("the id", pa.int64()), ("a,b;c{d}(e)=f", pa.string())])
    table = pa.table([pa.array([1, 2]), pa.array(["x", "y"])], schema=schema)
    claimed.full(table)
    claimed.publisher.merge(claimed.load(table.slice(1), key=("the id",)))
    assert claimed.rows() == table.to_pylist()


def test_a_column_that_did_not_land_is_null_of_its_type(claimed: Desk) -> None:
    kept = (DeltaColumn("gone", "decimal(9,2)"), DeltaColumn("when", "timestamp_ntz"))
    load = claimed.load(people((1, "a")))
    claimed.publisher.replace(replace(load, columns=(*load.columns, *kept)))
    assert claimed.publisher.columns(claimed.target) == (*load.columns, *kept)
    assert claimed.rows() == [{"id": 1, "name": "a", "gone": None, "when": None}]


def test_a_column_takes_the_tables_type_and_spelling(claimed: Desk) -> None:
    load = claimed.load(
        pa.table({"ID": pa.array([7], pa.int32())}), columns=(DeltaColumn("Id", "bigint"),), key=("iD",)
    )
    claimed.publisher.replace(load)
    claimed.publisher.merge(load)
    assert claimed.publisher.columns(claimed.target) == (DeltaColumn("Id", "bigint"),)
    assert claimed.rows() == [{"Id": 7}]


def test_comment_and_properties_are_the_tables(claimed: Desk) -> None:
    odd = {f"bridge.{number}": text.replace("\u2028", "") for number, text in enumerate(ODD_TEXTS) if text}
    comment = "co/q's \\ comment ${x} :owner"
    claimed.full(people((1, "a")), properties=odd, comment=comment)
    found = properties_of(claimed)
    assert {name: found.get(name) for name in odd} == odd
    claimed.full(people((1, "a")))
    assert not odd.keys() & properties_of(claimed).keys()


def test_a_replaced_table_keeps_its_history(claimed: Desk) -> None:
    claimed.full(people((1, "a")))
    version = claimed.version()
    claimed.full(pa.table({"other": ["b"]}))
    assert claimed.rows() == [{"other": "b"}]
    old = claimed.lakehouse.execute(f"SELECT * FROM {quoted(claimed.target)} VERSION AS OF {version}").to_pylist()
    assert old == [{"id": 1, "name": "a"}]


def test_an_empty_result_makes_an_empty_table(claimed: Desk) -> None:
    claimed.full(people((1, "a")))
    assert claimed.publisher.replace(claimed.load(people())) == RowCounts(total=0)
    assert claimed.rows() == []


def test_a_missing_schema_is_named(claimed: Desk) -> None:
    load = claimed.load(people((1, "a")))
    with pytest.raises(LakehouseNotFound, match=r"no schema .*no_such_schema.*publish:"):
        claimed.publisher.replace(replace(load, table=replace(load.table, schema="no_such_schema")))


# By key ------------------------------------------------------------------------------------------------------------


def test_a_merge_updates_inserts_and_deletes_by_key(claimed: Desk) -> None:
    claimed.full(people((1, "a"), (2, "b"), (3, "c"), (4, "d")))
    load = claimed.load(
        people((2, "B", False), (3, None, True), (5, "e", None), (6, None, True), (4, "d", False), deleted=True), **KEY
    )
    assert claimed.publisher.merge(load) == RowCounts(inserted=1, updated=1, deleted=1)
    assert names_of(claimed) == {1: "a", 2: "B", 4: "d", 5: "e"}


def test_the_same_merge_again_changes_nothing(claimed: Desk) -> None:
    claimed.full(people((1, "a"), (2, "b")))
    load = claimed.load(people((1, "A", False), (2, None, True), (3, "c", False), deleted=True), **KEY)
    claimed.publisher.merge(load)
    first = claimed.rows()
    assert claimed.publisher.merge(load) == RowCounts()
    assert claimed.rows() == first


def test_nulls_are_values_in_keys_and_columns(claimed: Desk) -> None:
    claimed.full(people((None, "a"), (1, None)))
    load = claimed.load(people((None, "b"), (1, "x")), **KEY)
    assert claimed.publisher.merge(load) == RowCounts(updated=2)
    assert names_of(claimed) == {None: "b", 1: "x"}
    assert claimed.publisher.merge(claimed.load(people((None, None)), **KEY)) == RowCounts(updated=1)
    assert names_of(claimed) == {None: None, 1: "x"}


def test_a_key_of_several_columns_is_compared_whole(claimed: Desk) -> None:
    def rows(*cells: tuple[int, str | None, int]) -> pa.Table:
        return pa.table(
            {"a": [c[0] for c in cells], "b": pa.array([c[1] for c in cells], pa.string()), "v": [c[2] for c in cells]}
        )

    claimed.full(rows((1, "x", 0), (1, "y", 0), (2, None, 0)))
    claimed.publisher.merge(claimed.load(rows((1, "y", 9), (2, None, 9), (2, "x", 9)), key=("a", "b")))
    found = {(row["a"], row["b"]): row["v"] for row in claimed.rows()}
    assert found == {(1, "x"): 0, (1, "y"): 9, (2, None): 9, (2, "x"): 9}


def test_a_column_that_is_gone_from_the_result_becomes_null_in_rows_that_come(claimed: Desk) -> None:
    load = claimed.full(pa.table({"id": [1, 2], "old": ["x", "y"]}))
    merged = claimed.load(pa.table({"id": [2, 3]}), columns=load.columns, **KEY)
    assert claimed.publisher.merge(merged) == RowCounts(inserted=1, updated=1)
    assert claimed.rows() == [{"id": 1, "old": "x"}, {"id": 2, "old": None}, {"id": 3, "old": None}]
    assert claimed.publisher.merge(merged) == RowCounts()


def test_a_table_of_key_columns_alone_can_be_merged(claimed: Desk) -> None:
    claimed.full(pa.table({"id": [1]}))
    assert claimed.publisher.merge(claimed.load(pa.table({"id": [1, 2]}), **KEY)) == RowCounts(inserted=1)


@pytest.mark.parametrize("there", [True, False], ids=["of a row that stands", "that is new"])
@pytest.mark.parametrize("options", [KEY, SOFT], ids=["deletes", "soft deletes"])
def test_two_rows_of_one_key_are_refused_by_name(claimed: Desk, there: bool, options: dict[str, Any]) -> None:
    claimed.full(people((1 if there else 9, "a")), **options)
    before = claimed.rows()
    load = claimed.load(people((1, "b")), people((1, "c")), **options)
    with pytest.raises(PublishError, match=r"not unique.*share id.*unique key under `incremental:`"):
        claimed.publisher.merge(load)
    assert claimed.rows() == before


# Soft deletes ------------------------------------------------------------------------------------------------------


def test_a_soft_delete_marks_once_and_a_row_that_comes_back_loses_the_mark(claimed: Desk) -> None:
    claimed.full(people((1, "a"), (2, "b"), (3, "c")), **SOFT)
    assert [row["_deleted_at"] for row in claimed.rows()] == [None] * 3
    gone = claimed.load(people((1, None, True), (3, "C", False), (4, None, True), deleted=True), **SOFT)
    assert claimed.publisher.merge(gone) == RowCounts(updated=2)
    first = claimed.rows()
    assert [(row["id"], row["name"], row["_deleted_at"] is None) for row in first] == [
        (1, "a", False),
        (2, "b", True),
        (3, "C", True),
    ]
    assert claimed.publisher.merge(gone) == RowCounts()
    assert claimed.rows() == first
    back = claimed.load(people((1, "a", False), deleted=True), **SOFT)
    assert claimed.publisher.merge(back) == RowCounts(updated=1)
    assert claimed.rows()[0]["_deleted_at"] is None


# By ranges ---------------------------------------------------------------------------------------------------------


def test_ranges_are_replaced_whole_whatever_their_keys(claimed: Desk) -> None:
    """Two rows without a key and two of one key included: ranges are deleted and inserted."""
    claimed.full(
        ranged((0, 1, "a"), (0, 2, "b"), (1, 9, "i"), (NULL_RANGE, None, "n"), (NULL_RANGE, None, "m"), (7, 70, "z"))
    )
    load = claimed.load(ranged((0, 2, "B"), (0, 2, "twice"), (NULL_RANGE, None, "n"), (NULL_RANGE, None, "o")))
    wanted = [(NULL_RANGE, "n"), (NULL_RANGE, "o"), (0, "B"), (0, "twice"), (7, "z")]
    counts = claimed.publisher.replace_ranges(load, [0, 1, NULL_RANGE, 5, 0])
    assert counts == RowCounts(inserted=4, deleted=5)
    for _ in range(2):
        found = sorted((row[RANGE_COLUMN], row["name"]) for row in claimed.rows())
        assert found == wanted
        claimed.publisher.replace_ranges(load, [0, 1, NULL_RANGE, 5])


def test_ranges_without_rows_are_emptied_and_none_at_all_asks_nothing(claimed: Desk, lakehouse_faults: StandIn) -> None:
    claimed.full(ranged((0, 1, "a"), (1, 2, "b")))
    load = claimed.load(ranged())
    before = len(lakehouse_faults.requests())
    assert claimed.publisher.replace_ranges(load, []) == RowCounts()
    assert len(lakehouse_faults.requests()) == before
    assert claimed.publisher.replace_ranges(load, [0]) == RowCounts(deleted=1)
    assert names_of(claimed) == {2: "b"}


def test_ranges_with_a_soft_delete_mark_what_did_not_come(claimed: Desk) -> None:
    claimed.full(ranged((0, 1, "a"), (0, 2, "b"), (1, 3, "c"), (NULL_RANGE, None, "n"), (7, 70, "z")), **SOFT)
    load = claimed.load(ranged((0, 2, "B"), (1, 4, "d"), (0, 3, "c")), **SOFT)
    assert claimed.publisher.replace_ranges(load, [0, 1, NULL_RANGE]) == RowCounts(inserted=1, updated=4)
    assert names_of(claimed, "_deleted_at IS NULL") == {2: "B", 3: "c", 4: "d", 70: "z"}
    assert names_of(claimed, "_deleted_at IS NOT NULL") == {None: "n", 1: "a"}
    before = claimed.rows()
    assert claimed.publisher.replace_ranges(load, [0, 1, NULL_RANGE]) == RowCounts()
    assert claimed.rows() == before
    twice = claimed.load(ranged((0, 8, "x"), (0, 8, "y")), **SOFT)
    with pytest.raises(PublishError, match="share id"):
        claimed.publisher.replace_ranges(twice, [0])
    assert claimed.rows() == before


# The fence ---------------------------------------------------------------------------------------------------------

LOADS: dict[str, Callable[[Publisher, Load], object]] = {
    "replace": lambda publisher, load: publisher.replace(load),
    "merge": lambda publisher, load: publisher.merge(load),
    "replace_ranges": lambda publisher, load: publisher.replace_ranges(replace(load, soft_delete=None), [0]),
    "mark_ranges": lambda publisher, load: publisher.replace_ranges(load, [0]),
}


@pytest.mark.parametrize("way", LOADS)
def test_who_was_overtaken_changes_nothing(claimed: Desk, way: str) -> None:
    """Neither with rows nor without any, where only the ranges, or the emptiness, would be news."""
    claimed.full(ranged((0, 1, "a"), (0, 2, "b")), **SOFT)
    loads = [claimed.load(ranged(*rows), **SOFT) for rows in ([], [(0, 1, "late"), (0, 5, "late")])]
    claimed.claim("second-1")
    before, version = claimed.rows(), claimed.version()
    for load in loads:
        with pytest.raises(PublicationOvertaken, match=claimed.target.table):
            LOADS[way](claimed.publisher, load)
    assert (claimed.rows(), claimed.version()) == (before, version)
    LOADS[way](claimed.publisher, replace(loads[1], owner="second-1"))
    assert names_of(claimed)[5] == "late"


@pytest.mark.parametrize("way", ["replace", "merge", "replace_ranges"])
def test_a_statement_that_runs_while_another_run_takes_over_changes_nothing(
    claimed: Desk, lakehouse_faults: StandIn, way: str
) -> None:
    """It was accepted before the new owner came, so it reads the old one in the fence; the take-over stops it."""
    claimed.full(ranged((0, 1, "a")), **SOFT)
    load = claimed.load(ranged((0, 1, "late"), (0, 2, "late")), **SOFT)
    rule = lakehouse_faults.fault(match={"statement_contains": "raise_error"}, action={"hold_statement": True})
    with ThreadPoolExecutor(1) as pool:
        zombie = pool.submit(LOADS[way], claimed.publisher, load)
        lakehouse_faults.wait_for(rule)
        claimed.claim("second-1")
        lakehouse_faults.clear()
        with pytest.raises(PublicationOvertaken):
            zombie.result(60)
    assert names_of(claimed) == {1: "a"}


def test_nobody_publishes_to_a_target_that_was_never_claimed(desk: Desk) -> None:
    with pytest.raises(PublicationOvertaken):
        desk.full(people((1, "a")))
    assert desk.publisher.columns(desk.target) is None


def test_a_conflict_is_tried_again_by_the_owner_only(claimed: Desk, lakehouse_faults: StandIn) -> None:
    claimed.full(people((1, "a")))
    load = claimed.load(people((1, "b")), **KEY)
    rule = lakehouse_faults.fault(match={"kind": "MERGE"}, times=1, action={"statement_error": CONFLICT})
    assert claimed.publisher.merge(load) == RowCounts(updated=1)
    assert lakehouse_faults.hits(rule) == 1
    claimed.claim("second-1")
    rule = lakehouse_faults.fault(match={"kind": "MERGE"}, times=1, action={"statement_error": CONFLICT})
    with pytest.raises(PublicationOvertaken):
        claimed.publisher.merge(replace(load, files=claimed.land(people((1, "late")))))
    assert lakehouse_faults.hits(rule) == 1
    assert names_of(claimed) == {1: "b"}


def test_an_error_that_quotes_data_or_the_statement_never_passes_for_the_fence(claimed: Desk) -> None:
    load = claimed.load(people((1, "overtaken"), (2, "repeated")), key=("id",))
    claimed.publisher.replace(load)
    as_numbers = replace(load, columns=(DeltaColumn("id", "bigint"), DeltaColumn("name", "int")))
    misnamed = replace(load, columns=(*load.columns, DeltaColumn("overtaken", "int")))
    for wrong in (as_numbers, misnamed):
        with pytest.raises(StatementFailed, match="overtaken"):
            claimed.publisher.merge(wrong)


# Readers -----------------------------------------------------------------------------------------------------------


def test_a_reader_sees_whole_versions_only(claimed: Desk) -> None:
    """Each version has one mark in all its rows; a reader that met two marks would have met half a version."""
    count, rounds = 200, 4

    def version(mark: int) -> pa.Table:
        return pa.table({"id": list(range(count)), "mark": [mark] * count})

    claimed.full(version(0))
    loads = [claimed.load(version(mark), **KEY) for mark in range(1, rounds + 1)]
    seen: list[dict[str, Any]] = []
    wrong: list[BaseException] = []
    done = threading.Event()
    statement = f"SELECT count(*) AS n, min(mark) AS low, max(mark) AS high FROM {quoted(claimed.target)}"

    def read() -> None:
        try:
            while not done.is_set():
                seen.extend(claimed.lakehouse.execute(statement).to_pylist())
        except BaseException as exc:  # noqa: BLE001 told to the test
            wrong.append(exc)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number, load in enumerate(loads):
            (claimed.publisher.replace if number % 2 else claimed.publisher.merge)(load)
    finally:
        done.set()
        reader.join(60)
    assert not wrong
    assert {row["n"] for row in seen} == {count}
    assert all(row["low"] == row["high"] for row in seen)
    marks = [row["low"] for row in seen]
    assert marks == sorted(marks)
    assert len(set(marks)) > 1
