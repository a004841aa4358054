"""A run is resolved wholly, or everything that is wrong with it is told at once."""

from __future__ import annotations

import datetime as dt
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql_databricks_bridge.core.planning import (
    explain_query,
    list_queries,
    new_run_id,
    parse_assignments,
    plan_extraction,
)
from sql_databricks_bridge.errors import ParameterError, QueryFileError, SettingsError, UnknownNameError, UsageError
from sql_databricks_bridge.models.jobs import ExtractionPlan
from sql_databricks_bridge.models.names import Destination

TODAY = dt.date(2026, 11, 23)
DEFAULT = Destination("c", "s", "v")


class House:
    """A folder of queries and one of YAML."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.add("config/Peru.yaml", "database: Flights\n")

    def add(self, path: str, text: str) -> House:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return self

    def plan(self, **options: Any) -> ExtractionPlan:
        arguments = {
            "queries_dir": self.root / "queries",
            "config_dir": self.root / "config",
            "country": "Peru",
            "today": TODAY,
            "run_id": "r1",
            "default_destination": DEFAULT,
        }
        return plan_extraction(**{**arguments, **options})

    def error(self, error: type[UsageError], **options: Any) -> str:
        with pytest.raises(error) as caught:
            self.plan(**options)
        assert type(caught.value) is error
        return str(caught.value).replace(f"{self.root.as_posix()}/", "")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_plan_holds_the_whole_run(house: House) -> None:
    house.add("config/Peru.yaml", "database: Flights\nserver: h,1\nparams: {since: date}\nlookback_months: 1\n")
    house.add("queries/b.sql", "SELECT {start_date} AS x WHERE 1 = @since").add("queries/a.sql", "SELECT 1 AS x;\n")
    plan = house.plan(parameters={"since": "2013-06-01"}, limit=5)
    assert [(query.name, query.sql) for query in plan.queries] == [
        ("a", "SELECT 1 AS x"),
        ("b", "SELECT '20261001' AS x WHERE 1 = @since"),
    ]
    assert (plan.run_id, plan.country, plan.database, plan.server, plan.limit) == ("r1", "Peru", "Flights", "h,1", 5)
    assert (plan.destination, plan.parameters, plan.warnings) == (DEFAULT, {"since": "2013-06-01"}, ())


def test_a_requests_lookback_wins_over_the_yaml(house: House) -> None:
    house.add("config/Peru.yaml", "database: x\nlookback_months: 6\n")
    house.add("queries/a.sql", "SELECT {lookback_months} AS n, {start_period} AS p")
    assert house.plan().queries[0].sql == "SELECT 6 AS n, 202605 AS p"
    asked = house.plan(lookback_months=0).queries[0]
    assert asked.sql == "SELECT 0 AS n, 202611 AS p"
    assert asked.placeholders[0].origin == "request"
    assert "0 to 1200" in house.error(ParameterError, lookback_months=1201)


def test_two_queries_that_miss_three_parameters_are_told_together(house: House) -> None:
    house.add("queries/b.sql", "SELECT {one} AS a,\n  @since AS b")
    house.add("queries/a.sql", "SELECT {two} AS a, {one} AS b")
    message = house.error(ParameterError)
    assert "3 problems, nothing was run" in message
    assert "a (queries/a.sql:1), b (queries/b.sql:1): {one} has no value" in message
    assert "a (queries/a.sql:1): {two} has no value" in message
    assert "b (queries/b.sql:2): @since is not declared" in message


def test_wrong_files_and_missing_names_are_told_together(house: House) -> None:
    house.add("queries/a.sql", "SELECT {gone} AS a").add("queries/b.sql", "-- x\nDROP TABLE t")
    message = house.error(ParameterError)
    assert "{gone} has no value" in message
    assert "queries/b.sql:2: it begins with DROP" in message


def test_files_that_are_no_select_are_a_query_file_error(house: House) -> None:
    (house.add("queries/a.sql", "").root / "queries" / "b.sql").write_bytes(b"\xff")
    message = house.error(QueryFileError)
    assert "queries/a.sql holds no SQL" in message
    assert "queries/b.sql:1 is not UTF-8" in message


def test_a_broken_file_that_is_not_chosen_stops_nothing(house: House) -> None:
    (house.add("queries/a.sql", "SELECT 1 AS x").root / "queries" / "b.sql").write_bytes(b"\xff")
    assert [query.name for query in house.plan(queries=["a"]).queries] == ["a"]


def test_a_given_parameter_that_nothing_uses_is_refused(house: House) -> None:
    house.add("config/Peru.yaml", "database: x\nparams: {since: date, least: int}\n")
    house.add("queries/a.sql", "SELECT @since AS x").add("queries/b.sql", "SELECT @least AS x")
    values = {"since": "2013-01-01", "leats": "1"}
    message = house.error(ParameterError, queries=["a"], parameters=values)
    assert "@leats is not declared; declared are: @least, @since; did you mean @least?" in message
    values = {"since": "2013-01-01", "least": "1"}
    assert "@least is given, but no chosen query uses it" in house.error(
        ParameterError, queries=["a"], parameters=values
    )
    assert len(house.plan(parameters=values).queries) == 2


def test_what_a_country_says_and_no_query_uses_is_a_warning(house: House) -> None:
    house.add("config/common_params.yaml", "unused: x\nparams: {common: int}\n")
    house.add("config/Peru.yaml", "database: x\ntables: {t: a, tt: b}\nnote: c\nparams: {since: date}\n")
    house.add("queries/a.sql", "SELECT 1 AS x FROM {t} -- {note}").add("queries/b.sql", "SELECT 2 AS x")
    warnings = [warning.partition("config/")[2] for warning in house.plan(queries=["b"]).warnings]
    assert warnings == [
        "Peru.yaml:2: tables.tt is used by no query of Peru",
        "Peru.yaml:4: @since is used by no query of Peru",
    ]


def test_a_select_that_only_the_server_can_parse_is_a_warning(house: House) -> None:
    house.add("queries/a.sql", "WITH XMLNAMESPACES ('urn:x' AS n) SELECT 1 AS a")
    assert "SQL Server decides" in house.plan().warnings[0]


def test_a_folder_of_no_country_is_a_warning(house: House) -> None:
    house.add("queries/a.sql", "SELECT 1 AS x").add("queries/Peur/a.sql", "SELECT 2 AS x")
    assert "Peur belongs to no country; did you mean Peru?" in house.plan().warnings[0]


def test_the_settings_database_counts_where_the_yaml_has_none(house: House) -> None:
    house.add("queries/a.sql", "SELECT 1 AS x").add("config/Peru.yaml", "")
    assert house.plan(default_database="master").database == "master"
    assert "SQLSERVER_DATABASE" in house.error(SettingsError)


def test_wrong_choices_are_told(house: House) -> None:
    house.add("queries/flights.sql", "SELECT 1 AS x")
    assert "did you mean flights?" in house.error(UnknownNameError, queries=["fligths", "nope"])
    assert "Countries in" in house.error(UnknownNameError, country="Pero")
    assert "1 or more" in house.error(UsageError, limit=0)
    assert "at most 2147483647" in house.error(UsageError, limit=2**31)
    assert "not one of Peru's: c.s.v" in house.error(UsageError, destination="a.b.c")


def test_a_list_of_queries_tells_overrides_names_and_unreadable_files(house: House) -> None:
    house.add("queries/a.sql", "SELECT {x}, {y.z} AS b, {x} -- {no}\nWHERE @k = @@ROWCOUNT")
    house.add("queries/Peru/a.sql", "SELECT 1").add("queries/Peru/own.sql", "SELECT 1")
    (house.root / "queries" / "bad.sql").write_bytes(b"\xff")
    a, bad = list_queries(house.root / "queries")
    assert (a.name, a.country, a.overridden_by, a.placeholders, a.parameters, a.problem) == (
        "a",
        None,
        ("Peru",),
        ("x", "y.z"),
        ("k",),
        None,
    )
    assert bad.problem is not None
    assert "not UTF-8" in bad.problem
    of_peru = {info.name: info for info in list_queries(house.root / "queries", "Peru")}
    assert sorted(of_peru) == ["a", "bad", "own"]
    assert of_peru["a"].overrides == (house.root / "queries" / "a.sql").as_posix()
    assert of_peru["own"].overrides is None


def test_a_query_can_be_explained_without_the_values_it_needs(house: House) -> None:
    house.add("config/Peru.yaml", "t: dbo.t\nparams: {since: date, n: {type: int, default: 3}}\n")
    house.add("queries/a.sql", "SELECT * FROM {t} WHERE a > @since AND b = @n")

    def explain(**parameters: object) -> Any:
        return explain_query(
            queries_dir=house.root / "queries",
            config_dir=house.root / "config",
            country="Peru",
            name="a",
            today=TODAY,
            parameters=parameters,
        )

    shown = explain()
    assert shown.query.sql == "SELECT * FROM dbo.t WHERE a > @since AND b = @n"
    assert [declared.name for declared in shown.without_value] == ["since"]
    assert [bound.name for bound in shown.query.parameters] == ["n"]
    assert explain(since="2013-01-01").without_value == ()
    with pytest.raises(ParameterError, match="@sinc is not declared"):
        explain(sinc="2013-01-01")


@given(st.datetimes(timezones=st.just(dt.UTC)), st.datetimes(timezones=st.just(dt.UTC)), st.integers(0, 9))
def test_run_ids_sort_by_their_second_and_are_safe_in_a_path(one: dt.datetime, two: dt.datetime, seed: int) -> None:
    first, second = (new_run_id(now.replace(year=2000 + now.year % 8000), random.Random(seed)) for now in (one, two))
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{12}", first)
    if first[:16] != second[:16]:
        ordered = one.replace(year=2000 + one.year % 8000) < two.replace(year=2000 + two.year % 8000)
        assert (first < second) == ordered


def test_a_run_id_is_in_utc() -> None:
    bogota = dt.timezone(dt.timedelta(hours=-5))
    assert new_run_id(dt.datetime(2026, 11, 23, 8, 7, 55, tzinfo=bogota), random.Random(1)).startswith(
        "20261123T130755Z-"
    )


def test_assignments_split_at_the_first_equals_sign() -> None:
    assert parse_assignments(["a=1", "@b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    for wrong in (["a"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(ParameterError, match="--param"):
            parse_assignments(wrong)
