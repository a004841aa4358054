"""Ranges, the file of digests, and the definition: pure pieces of increments."""

from __future__ import annotations

import dataclasses
import itertools

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sql_databricks_bridge.core.increments import definition
from sql_databricks_bridge.core.increments.canonical import FORMS, canonical_text
from sql_databricks_bridge.core.increments.columns import chosen
from sql_databricks_bridge.core.increments.digests import SCHEMA, Digests
from sql_databricks_bridge.core.increments.fingerprint import difference
from sql_databricks_bridge.core.increments.ranges import Cut, Ranges, covered, intervals_of, key_bounds
from sql_databricks_bridge.core.ports import ResultColumn
from sql_databricks_bridge.core.types import LandedSchema
from sql_databricks_bridge.errors import ResultShapeError, UsageError
from sql_databricks_bridge.models.jobs import BoundParameter, ResolvedQuery
from sql_databricks_bridge.models.publishing import NULL_RANGE, Incremental, IncrementKind, Publication
from sql_databricks_bridge.models.tables import SourceName

_numbers = st.lists(st.integers(-60, 60) | st.just(NULL_RANGE), max_size=40)
_RANGES = Ranges(Cut.INTERVALS, 64, ("id",))


def _column(name: str, sql_type: str = "int", *, nullable: bool = True) -> ResultColumn:
    return ResultColumn(name, sql_type, nullable, 4, 10, 0)


def _digests(content: dict[int, bytes], ranges: Ranges = _RANGES) -> Digests:
    rows = [{"range": number, "rows": 3, "digest": digest.ljust(32)} for number, digest in content.items()]
    return Digests.of(ranges, "d", [pa.RecordBatch.from_pylist(rows, schema=SCHEMA)])


@settings(deadline=None)
@given(_numbers, _numbers, st.integers(1, 12))
def test_intervals_cover_the_changed_ranges_and_nothing_that_is_not_read_again(
    changed: list[int], others: list[int], most: int
) -> None:
    intervals = intervals_of(changed, most)
    assert len(intervals) <= most
    inside = {number for each in intervals for number in range(each.first, each.last + 1)}
    assert set(changed) - {NULL_RANGE} <= inside
    assert all(a.last + 1 < b.first for a, b in itertools.pairwise(intervals))
    again = covered(changed, intervals, [*changed, *others])
    assert set(again) == set(changed) | (inside & set(others))


@settings(deadline=None)
@given(_numbers)
def test_without_a_limit_intervals_hold_the_changed_ranges_alone(changed: list[int]) -> None:
    inside = [number for each in intervals_of(changed) for number in range(each.first, each.last + 1)]
    assert inside == sorted(set(changed) - {NULL_RANGE})


@settings(deadline=None)
@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**40), st.integers(1, 99))
def test_every_key_lies_between_the_bounds_of_its_range(one: int, other: int, rows: int, range_rows: int) -> None:
    key = _column("id", "bigint")
    ranges = Ranges.intervals(key, min(one, other), max(one, other), rows, range_rows)
    number = one // ranges.size
    (interval,) = intervals_of([number])
    bounds = key_bounds(interval, ranges.size, key)
    assert bounds is not None
    assert bounds[0] <= one <= bounds[1]
    assert number != NULL_RANGE


@settings(deadline=None)
@given(
    st.dictionaries(st.integers(0, 9), st.binary(max_size=2)), st.dictionaries(st.integers(0, 9), st.binary(max_size=2))
)
def test_changed_are_the_ranges_that_differ_appear_or_are_gone(now: dict[int, bytes], then: dict[int, bytes]) -> None:
    padded = [{number: digest.ljust(32) for number, digest in each.items()} for each in (now, then)]
    wanted = {number for number in now.keys() | then.keys() if padded[0].get(number) != padded[1].get(number)}
    after = Digests.from_parquet(_digests(then).to_parquet())
    assert after is not None
    assert set(difference(_digests(now), after).ranges) == wanted


def test_a_file_of_digests_says_what_it_is_of() -> None:
    kept = _digests({1: b"x", NULL_RANGE: b"y"})
    again = Digests.from_parquet(kept.to_parquet())
    assert again is not None
    assert (again.ranges, again.definition, again.table) == (_RANGES, "d", kept.table)
    assert (again.rows, again.most_rows, again.rows_of((1, 7))) == (6, 3, 3)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no Parquet at all"])
def test_a_file_that_is_none_has_no_digests(content: bytes) -> None:
    assert Digests.from_parquet(content) is None
    assert Digests.from_parquet(_digests({1: b"x"}).to_parquet()[:-9]) is None


def test_digests_of_other_texts_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    content = _digests({1: b"x"}).to_parquet()
    monkeypatch.setattr("sql_databricks_bridge.core.increments.digests.CANONICAL_VERSION", 999)
    assert Digests.from_parquet(content) is None


def test_every_type_that_lands_has_a_canonical_text() -> None:
    for name in FORMS:
        column = _column("c", name)
        LandedSchema.of([column])
        assert "q.[c]" in canonical_text([column], "q", ["[c]"])
    with pytest.raises(ResultShapeError):
        LandedSchema.of([_column("c", "sql_variant")])
    with pytest.raises(UsageError, match="no canonical text"):
        canonical_text([_column("c", "sql_variant")], "q", ["[c]"])


_QUERY = ResolvedQuery("t", "queries/t.sql", "SELECT 1 AS id", "")


@pytest.mark.parametrize(
    ("incremental", "said"),
    [
        (Incremental(IncrementKind.FINGERPRINT, ("ident",)), "key 'ident'.*The query has ID, at, note, rv"),
        (Incremental(IncrementKind.CURSOR, ("id",), column="when"), "column 'when'.*The query has ID"),
        (Incremental(IncrementKind.CURSOR, ("id",), column="note"), "cursor 'note' is of type nvarchar"),
        (Incremental(IncrementKind.CURSOR, ("id",)), "needs `column`"),
        (Incremental(IncrementKind.ROWVERSION, ("id",), column="at"), "'at' of kind rowversion is of type datetime2"),
        (Incremental(IncrementKind.FINGERPRINT, ()), "no `key`"),
    ],
)
def test_a_column_that_will_not_do_is_named_with_the_file_and_what_would(incremental: Incremental, said: str) -> None:
    columns = [_column("ID"), _column("at", "datetime2(3)"), _column("rv", "timestamp"), _column("note", "nvarchar(9)")]
    with pytest.raises(UsageError, match=rf"^queries/t\.sql: .*{said}"):
        chosen(_QUERY, columns, incremental)


def test_names_are_found_as_sql_server_finds_them_and_spelled_as_the_result_spells_them() -> None:
    found = chosen(_QUERY, [_column("ID")], Incremental(IncrementKind.FINGERPRINT, ("id",)))
    assert [column.name for column in found.key] == ["ID"]


@pytest.mark.parametrize("name", ["_bridge_deleted", "_BRIDGE_RANGE", "_bridge_there"])
def test_the_bridges_own_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="need themselves"):
        chosen(_QUERY, [_column("id"), _column(name)], Incremental(IncrementKind.FINGERPRINT, ("id",)))


def test_the_definition_changes_with_everything_that_rows_are_asked_by_and_with_nothing_else() -> None:
    incremental = Incremental(IncrementKind.CURSOR, ("id",), column="at", lag=3)
    publication = Publication(SourceName("a", "b", "c"), incremental=incremental)
    query = dataclasses.replace(_QUERY, parameters=(BoundParameter("p", "int", 1, "yaml"),))
    stands = definition(query, publication)
    others = [
        definition(dataclasses.replace(query, sql="SELECT 2 AS id"), publication),
        definition(dataclasses.replace(query, parameters=(BoundParameter("p", "int", 2),)), publication),
        definition(dataclasses.replace(query, parameters=(BoundParameter("p", "bigint", 1),)), publication),
        definition(dataclasses.replace(query, parameters=(BoundParameter("p", "nvarchar(9)", "1"),)), publication),
        definition(query, dataclasses.replace(publication, incremental=None)),
        *(
            definition(query, dataclasses.replace(publication, incremental=dataclasses.replace(incremental, **change)))
            for change in (
                {"kind": IncrementKind.ROWVERSION},
                {"key": ("id", "b")},
                {"column": "b"},
                {"table": "dbo.t"},
                {"capture": "dbo_t"},
                {"range_rows": 9},
            )
        ),
    ]
    assert len({stands, *others}) == len(others) + 1
    moved = dataclasses.replace(query, file="other.sql", parameters=(BoundParameter("p", "int", 1, "cli"),))
    assert definition(moved, publication) == stands
    assert definition(query, dataclasses.replace(publication, soft_delete="gone_at")) != stands
    assert definition(query, publication, "other/database") != stands
