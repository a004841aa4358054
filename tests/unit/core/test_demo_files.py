"""The demo's queries and YAML are what the README promises."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
import sqlglot

from sql_databricks_bridge.core.country_config import list_countries
from sql_databricks_bridge.core.planning import plan_extraction
from sql_databricks_bridge.models.jobs import ExtractionPlan
from sql_databricks_bridge.models.names import Destination

ROOT = Path(__file__).parents[3]
TABLES = {"flights", "airlines", "airports", "planes", "weather"}


def plan(country: str) -> ExtractionPlan:
    return plan_extraction(
        queries_dir=ROOT / "queries",
        config_dir=ROOT / "config",
        country=country,
        today=dt.date(2026, 11, 23),
        run_id="demo",
        default_destination=Destination("main", "raw", "files"),
    )


@pytest.mark.parametrize("country", ["Colombia", "Peru"])
def test_the_demo_resolves_without_a_warning(country: str) -> None:
    whole = plan(country)
    assert whole.warnings == ()
    assert whole.database == "Flights"
    assert {query.name for query in whole.queries} >= TABLES
    assert len(whole.queries) >= len(TABLES) + 3


def test_the_five_tables_are_extracted_whole() -> None:
    for query in plan("Colombia").queries:
        if query.name in TABLES:
            tree = sqlglot.parse_one(query.sql, read="tsql")
            assert tree.find(sqlglot.exp.Where, sqlglot.exp.Join, sqlglot.exp.Limit) is None
            assert [table.sql() for table in tree.find_all(sqlglot.exp.Table)] == [
                f"dbo.{query.name} AS {query.name[0]}"
            ]


def test_peru_overrides_a_query_and_no_country_is_without_its_own_values() -> None:
    assert list_countries(ROOT / "config") == ("Colombia", "Peru")
    files = {query.name: query.file.removeprefix(f"{ROOT.as_posix()}/") for query in plan("Peru").queries}
    assert files["top_routes"] == "queries/Peru/top_routes.sql"
    assert files["flights"] == "queries/flights.sql"


def test_the_time_window_reaches_the_demos_year_for_years_to_come() -> None:
    query = next(query for query in plan("Colombia").queries if query.name == "carrier_months")
    start = next(placeholder.text for placeholder in query.placeholders if placeholder.name == "start_date")
    assert start <= "'20130101'"
