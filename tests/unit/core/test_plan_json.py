"""A plan survives its way through JSON without loss, and nothing but such a plan is read."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
import uuid
import zoneinfo
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql_databricks_bridge.errors import JobError
from sql_databricks_bridge.models.jobs import BoundParameter, ExtractionPlan, Placeholder, ResolvedQuery
from sql_databricks_bridge.models.names import Destination
from sql_databricks_bridge.models.partitions import Partitioning
from sql_databricks_bridge.models.plan_json import dump_plan, load_plan
from sql_databricks_bridge.models.publishing import DriftPolicy, Incremental, IncrementKind, Publication
from sql_databricks_bridge.models.tables import SourceName

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    TEXT,
    st.binary(),
    st.dates(),
    st.datetimes(timezones=st.none() | OFFSETS, allow_imaginary=False).map(lambda value: value.replace(fold=0)),
    st.times().map(lambda value: value.replace(fold=0)),
    st.decimals(allow_nan=False),
    st.uuids(),
)
PLANS = st.builds(
    ExtractionPlan,
    run_id=TEXT,
    country=TEXT,
    destination=st.just(Destination("c", "s", "v")),
    queries=st.lists(
        st.builds(
            ResolvedQuery,
            TEXT,
            TEXT,
            TEXT,
            TEXT,
            st.lists(st.builds(Placeholder, TEXT, TEXT, TEXT), max_size=3).map(tuple),
            st.lists(st.builds(BoundParameter, TEXT, TEXT, VALUES, TEXT), max_size=3).map(tuple),
        ),
        max_size=3,
    ).map(tuple),
    database=TEXT,
    server=st.none() | TEXT,
    attempt=st.integers(),
    limit=st.none() | st.integers(),
    warnings=st.lists(TEXT, max_size=3).map(tuple),
    parameters=st.dictionaries(TEXT, TEXT, max_size=3),
)


@pytest.mark.parametrize("kind", [None, *IncrementKind])
def test_how_a_query_is_published_is_kept_too(kind: IncrementKind | None) -> None:
    incremental = None if kind is None else Incremental(kind, ("a", "B c"), "rv", 7, "dbo.t", "dbo_t", 9)
    publication = Publication(SourceName("c", "s", "t-1"), DriftPolicy.NEW_TABLE, "gone", incremental)
    query = ResolvedQuery("q", "q.sql", "SELECT 1", "00", publish=publication)
    plan = ExtractionPlan("r1", "co", Destination("c", "s", "v"), (query,), "db")
    assert load_plan(dump_plan(plan)) == plan


@pytest.mark.parametrize("partitions", [Partitioning(), Partitioning(None), Partitioning(8, ("a", "B c"), lock=True)])
def test_in_how_many_ranges_a_query_is_read_is_kept_too(partitions: Partitioning) -> None:
    query = ResolvedQuery("q", "q.sql", "SELECT 1", "00", partitions=partitions)
    text = dump_plan(ExtractionPlan("r1", "co", Destination("c", "s", "v"), (query,), "db"))
    assert load_plan(text).queries[0].partitions == partitions
    before = json.loads(text)
    del before["queries"][0]["partitions"]
    assert load_plan(json.dumps(before)).queries[0].partitions.is_whole, "a plan of the version before"


def plan_with(value: object) -> ExtractionPlan:
    query = ResolvedQuery("q", "q.sql", "SELECT @p", "00", parameters=(BoundParameter("p", "int", value),))
    return ExtractionPlan("r1", "co", Destination("c", "s", "v"), (query,), "db", parameters={"k": "v"})


def document() -> dict[str, Any]:
    """A plan's JSON, to be spoilt."""
    found: dict[str, Any] = json.loads(dump_plan(plan_with(1)))
    return found


@given(PLANS)
def test_what_is_read_equals_what_was_written(plan: ExtractionPlan) -> None:
    text = dump_plan(plan)
    assert text.isascii()
    assert "\n" not in text
    again = load_plan(text)
    assert again == plan
    assert repr(again) == repr(plan)  # 1 == True == Decimal(1) == 1.0, and -0.0 == 0.0


@pytest.mark.parametrize(
    "value",
    [
        True,
        1,
        1.0,
        -0.0,
        5e-324,
        math.inf,
        2**63 - 1,
        "",
        "1",
        "\x00\ufeff😀",
        b"",
        b"\x00\xff",
        Decimal("1.10"),
        Decimal("-0E-19"),
        Decimal("1E+30"),
        dt.date.min,
        dt.datetime(9999, 12, 31, 23, 59, 59, 999999),  # noqa: DTZ001  # zoneless on purpose
        dt.datetime(2013, 1, 31, 13, 30, 0, 1, dt.timezone(dt.timedelta(hours=-5, minutes=-30))),
        dt.datetime(1, 1, 1, tzinfo=dt.UTC),
        dt.time(23, 59, 59, 999999),
        uuid.UUID("6f9619ff-8b86-d011-b42d-00c04fc964ff"),
        None,
    ],
    ids=repr,
)
def test_a_value_keeps_its_type_and_every_digit(value: object) -> None:
    (parameter,) = load_plan(dump_plan(plan_with(value))).queries[0].parameters
    assert type(parameter.value) is type(value)
    assert repr(parameter.value) == repr(value)


def test_a_float_that_is_no_number_stays_one() -> None:
    (parameter,) = load_plan(dump_plan(plan_with(math.nan))).queries[0].parameters
    assert math.isnan(parameter.value)  # type: ignore[arg-type]  # the model says object


class Colour(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [
        Colour.RED,
        [1],
        {"a": 1},
        1j,
        bytearray(b"x"),
        dt.timedelta(1),
        dt.datetime(2013, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        dt.datetime(2013, 10, 27, 2, 30, fold=1),  # noqa: DTZ001  # its fold is the point
        "\ud83d",
        "\ud83d\ude00",
    ],
    ids=ascii,
)
def test_a_value_that_would_not_come_back_is_refused_when_it_is_written(value: object) -> None:
    with pytest.raises(JobError, match="can't be kept"):
        dump_plan(plan_with(value))


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{", '{"format": 1, "format": 1}', '{"format": NaN}', "[" * 100_000]
)
def test_a_text_that_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(JobError, match="A stored plan can't be read"):
        load_plan(text)


@pytest.mark.parametrize("name", sorted(document()))
@pytest.mark.parametrize("spoil", [True, 1.5, {"x": 1}, [1], "\x00missing"], ids=repr)
def test_every_field_must_be_there_and_of_its_type(name: str, spoil: object) -> None:
    found = document()
    if spoil == "\x00missing":
        del found[name]
    else:
        found[name] = spoil
    with pytest.raises(JobError, match="A stored plan can't be read"):
        load_plan(json.dumps(found))


@pytest.mark.parametrize("path", [(), ("queries", 0), ("queries", 0, "parameters", 0)])
def test_a_field_that_this_version_does_not_know_is_refused(path: tuple[str | int, ...]) -> None:
    found: Any = document()
    place = found
    for step in path:
        place = place[step]
    place["novel"] = 1
    with pytest.raises(JobError, match="'novel', which this version does not know"):
        load_plan(json.dumps(found))


@pytest.mark.parametrize("number", [0, 2, True, "1"])
def test_another_format_is_refused(number: object) -> None:
    with pytest.raises(JobError, match="format"):
        load_plan(json.dumps(document() | {"format": number}))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("int", 1),
        ("int", "1_0"),
        ("int", " 1"),
        ("int", "٣"),
        ("bool", 1),
        ("str", None),
        ("null", "x"),
        ("float", "1"),
        ("float", "1e400"),
        ("decimal", "1,5"),
        ("decimal", "sNaN?"),
        ("bytes", "0"),
        ("bytes", "0 0"),
        ("date", "2013-1-1"),
        ("date", "20130101"),
        ("datetime", "2013-01-01"),
        ("time", "25:00:00"),
        ("uuid", "{6f9619ff-8b86-d011-b42d-00c04fc964ff}"),
        ("object", "x"),
    ],
)
def test_a_value_is_read_only_as_it_is_written(kind: str, value: object) -> None:
    found = document()
    found["queries"][0]["parameters"][0] |= {"kind": kind, "value": value}
    with pytest.raises(JobError, match=r"queries\[0\].parameters\[0\]"):
        load_plan(json.dumps(found))


def test_a_destination_with_an_illegal_name_is_refused() -> None:
    with pytest.raises(JobError, match="not a legal name"):
        load_plan(json.dumps(document() | {"destination": ["c", "s/..", "v"]}))


def test_the_attempt_is_part_of_it() -> None:
    assert load_plan(dump_plan(replace(plan_with(1), attempt=7))).attempt == 7
