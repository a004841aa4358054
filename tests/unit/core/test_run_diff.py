"""Two landed runs are compared exactly: what differs is counted, and what was not compared is not called the same."""

from __future__ import annotations

import dataclasses
import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sql_databricks_bridge.core.manifest import ManifestIncrement, ManifestParameter
from sql_databricks_bridge.core.run_diff import Changed, RunDiff, Verdict, compare
from sql_databricks_bridge.core.runs import PublishedRun
from sql_databricks_bridge.errors import LandingError, SpoolError
from sql_databricks_bridge.models.publishing import RANGE_COLUMN
from tests.unit.core.volume_support import Volume

SCHEMA = pa.schema([("id", pa.int32()), ("name", pa.string())])


def table(*rows: tuple[int | None, str | None]) -> pa.Table:
    return pa.table([[row[0] for row in rows], [row[1] for row in rows]], schema=SCHEMA)


def diff_of(tmp_path: Path, old: pa.Table, new: pa.Table, key: tuple[str, ...] = (), **how: Any) -> RunDiff:
    volume = Volume()
    return compare(
        volume.port, volume.land("20260101T1", old), volume.land("20260102T1", new), key, spool_dir=tmp_path, **how
    )


def counts(diff: RunDiff) -> tuple[int, int, int | None]:
    assert diff.rows is not None, diff.not_compared
    return diff.rows.added, diff.rows.removed, diff.rows.changed


def test_rows_are_told_apart_by_their_key(tmp_path: Path) -> None:
    old = table((1, "a"), (2, "b"), (3, None), (None, "n"), (5, "same"))
    new = table((5, "same"), (None, "m"), (3, "c"), (2, "b"), (9, "new"), (10, "new"))
    diff = diff_of(tmp_path, old, new, ("ID",))
    assert counts(diff) == (2, 1, 2)  # 9 and 10; 1; 3 and the row whose key is NULL
    assert diff.rows is not None
    assert diff.rows.key == ("id",)
    assert diff.verdict is Verdict.DIFFERENT


def test_without_a_key_rows_count_as_often_as_they_stand_there(tmp_path: Path) -> None:
    old = table((1, "a"), (1, "a"), (1, "a"), (2, None))
    assert counts(diff_of(tmp_path, old, table((1, "a"), (2, None), (2, None), (3, "x")))) == (2, 2, None)


def test_another_order_and_other_parts_are_the_same(tmp_path: Path) -> None:
    volume = Volume()
    old = volume.land("20260101T1", table((1, "a"), (2, None)), table((3, "c"), (3, "c")))
    new = volume.land("20260102T1", table((3, "c"), (2, None), (3, "c"), (1, "a")))
    for key in ((), ("id",)):  # which is not unique, so that the rows are compared as a whole
        diff = compare(volume.port, old, new, key, spool_dir=tmp_path)
        assert (counts(diff), diff.verdict) == ((0, 0, None), Verdict.SAME)
        assert [note for note in diff.notes if "not unique" in note] == list(diff.notes[: len(key)])


def test_every_landed_type_is_compared_exactly(tmp_path: Path) -> None:
    """A last digit of each type is a change; NULL and NaN are the same as themselves."""
    moment = dt.datetime(2026, 1, 1, 1, 2, 3, 4)  # noqa: DTZ001  # datetime2 has no zone
    pairs: list[tuple[pa.DataType, Any, Any]] = [
        (pa.bool_(), True, False),
        (pa.int16(), 1, 2),
        (pa.int64(), 2**62, 2**62 + 1),
        (pa.float64(), 0.1, 0.1 + 2**-56),
        (pa.float32(), 1.0, 1.5),
        (pa.decimal128(38, 4), Decimal("9" * 34 + ".0001"), Decimal("9" * 34 + ".0002")),
        (pa.date32(), dt.date(1, 1, 1), dt.date(1, 1, 2)),
        (pa.timestamp("us"), moment, moment + dt.timedelta(microseconds=1)),
        (pa.timestamp("us", tz="UTC"), moment, moment + dt.timedelta(microseconds=1)),
        (pa.time64("ns"), dt.time(1, 2, 3, 4), dt.time(1, 2, 3, 5)),
        (pa.string(), "x ", "x"),
        (pa.binary(), b"\x00", b"\x00\x00"),
    ]
    names = [str(number) for number in range(len(pairs))]
    schema = pa.schema([("id", pa.int32()), *((name, kind) for name, (kind, _, _) in zip(names, pairs, strict=True))])
    first = {name: value for name, (_, value, _) in zip(names, pairs, strict=True)}
    nothing = dict.fromkeys(names)
    nan = nothing | {"3": float("nan")}
    old = pa.Table.from_pylist(
        [{"id": at, **first} for at in range(len(pairs))] + [{"id": 98, **nan}, {"id": 99, **nothing}], schema
    )
    rows = [
        {"id": at, **first, name: changed} for at, (name, (_, _, changed)) in enumerate(zip(names, pairs, strict=True))
    ]
    new = pa.Table.from_pylist([{"id": 99, **nothing}, {"id": 98, **nan}, *rows], schema)
    assert counts(diff_of(tmp_path, old, new, ("id",))) == (0, 0, len(pairs))
    assert counts(diff_of(tmp_path, old, new)) == (len(pairs), len(pairs), None)


ROWS = st.lists(st.tuples(st.integers(0, 6) | st.none(), st.sampled_from(["a", "b", None])), max_size=12)


@settings(max_examples=40, deadline=None)
@given(old=ROWS, new=ROWS)
def test_buckets_change_nothing_of_the_counts(tmp_path_factory: pytest.TempPathFactory, old: Any, new: Any) -> None:
    """Dealt into many buckets, the counts are those that a plain count of rows gives."""
    folder = tmp_path_factory.mktemp("spool")
    expected_added = sum(max(0, new.count(row) - old.count(row)) for row in set(new))
    expected_removed = sum(max(0, old.count(row) - new.count(row)) for row in set(old))
    whole = diff_of(folder, table(*old), table(*new), bucket_bytes=200)
    unique = {row[0]: row for row in old}, {row[0]: row for row in new}
    keyed = diff_of(folder, table(*unique[0].values()), table(*unique[1].values()), ("id",), bucket_bytes=200)
    assert counts(whole)[:2] == (expected_added, expected_removed)
    a, b = unique
    assert counts(keyed)[:2] == (len(b.keys() - a.keys()), len(a.keys() - b.keys()))
    assert (counts(keyed)[2] or 0) == sum(a[key] != b[key] for key in a.keys() & b.keys())
    assert not any(folder.iterdir())


def test_columns_that_differ_are_told_and_the_others_compared(tmp_path: Path) -> None:
    old = pa.table({"id": pa.array([1], pa.int32()), "gone": pa.array(["x"]), "n": pa.array([1], pa.int32())})
    new = pa.table({"id": pa.array([1], pa.int32()), "n": pa.array([1], pa.int64()), "came": pa.array([1.5])})
    diff = diff_of(tmp_path, old, new, ("id",))
    assert diff.columns == (
        Changed("gone", "nvarchar(20)", None),
        Changed("n", "int", "bigint"),
        Changed("came", None, "float"),
    )
    assert diff.rows is not None
    assert (diff.rows.columns, counts(diff)) == (("id",), (0, 0, 0))
    assert diff.verdict is Verdict.DIFFERENT


def test_columns_of_the_bridge_are_no_part_of_the_result(tmp_path: Path) -> None:
    """A row that fell into another range is the same row."""
    old = table((1, "a")).append_column(RANGE_COLUMN, pa.array([1]))
    new = table((1, "a")).append_column(RANGE_COLUMN, pa.array([2]))
    for other in (new, table((1, "a"))):
        diff = diff_of(tmp_path, old, other, ("id",))
        assert (diff.columns, counts(diff), diff.verdict) == ((), (0, 0, 0), Verdict.SAME)


def test_a_key_that_one_run_lacks_is_told(tmp_path: Path) -> None:
    diff = diff_of(tmp_path, table((1, "a")), table((1, "b")), ("id", "number"))
    assert counts(diff) == (1, 1, None)
    assert diff.notes == ("the key (id, number) is not alike in both: rows are compared as a whole",)


def test_query_and_parameters_are_told_and_do_not_make_the_rows_differ() -> None:
    volume = Volume()
    until = ManifestParameter("until", "2026-01-01", "request", "date")
    region = ManifestParameter("region", "north", "Peru.yaml")
    old = volume.land("20260101T1", table((1, "a")), parameters=(until, region))
    new = volume.land(
        "20260102T1",
        table((1, "a")),
        parameters=(dataclasses.replace(until, value=None),),
        query_sha256="1" * 64,
    )
    diff = compare(volume.port, old, new)
    assert diff.parameters == (Changed("@until", "2026-01-01", "NULL"), Changed("region", "north", None))
    assert (diff.query_changed, diff.verdict) == (True, Verdict.SAME)


def test_parts_of_the_same_sha256_are_not_read_however_many_rows_they_have() -> None:
    volume = Volume()
    old, new = volume.land("20260101T1", table((1, "a"))), volume.land("20260102T1", table((1, "a")))
    diff = compare(volume.port, old, new, rows_at_most=0)
    assert (diff.verdict, volume.reads) == (Verdict.SAME, [])


def bounded(volume: Volume) -> tuple[PublishedRun, PublishedRun]:
    return volume.land("20260101T1", table((1, "a"), (2, "b"))), volume.land("20260102T1", table((1, "a"), (2, "c")))


def test_too_many_rows_are_not_called_the_same() -> None:
    volume = Volume()
    diff = compare(volume.port, *bounded(volume), rows_at_most=1)
    assert (diff.verdict, diff.not_compared) == (Verdict.UNKNOWN, "2 rows are more than 1")
    assert volume.reads == []


def test_an_increment_is_not_compared_with_a_whole_result() -> None:
    volume = Volume()
    increment = ManifestIncrement("rowversion", "0x01", "0x02", ("id",))
    old = volume.land("20260101T1", table((1, "a"), (2, "b")))
    new = volume.land("20260102T1", table((2, "c")), increment=increment)
    diff = compare(volume.port, old, new)
    assert diff.verdict is Verdict.UNKNOWN
    assert diff.not_compared == "20260102T1 holds an increment, not the whole result"


def test_empty_results_are_the_same_and_differ_from_others(tmp_path: Path) -> None:
    volume = Volume()
    empty, other = volume.land("20260101T1", table()), volume.land("20260102T1", table(), table())
    assert compare(volume.port, empty, other, ("id",), spool_dir=tmp_path).verdict is Verdict.SAME
    full = volume.land("20260103T1", table((1, "a")))
    assert counts(compare(volume.port, empty, full, ("id",), spool_dir=tmp_path)) == (1, 0, 0)


def test_a_part_that_was_changed_behind_its_manifest_is_refused(tmp_path: Path) -> None:
    volume = Volume()
    old, new = bounded(volume)
    volume.files[new.files[0]] = volume.files[old.files[0]]
    with pytest.raises(LandingError, match=r"part-00000.parquet is not the file that its manifest names"):
        compare(volume.port, old, new, spool_dir=tmp_path)


def test_a_spool_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    volume = Volume()
    with pytest.raises(SpoolError, match="BRIDGE_SPOOL_DIR"):
        compare(volume.port, *bounded(volume), spool_dir=file)
