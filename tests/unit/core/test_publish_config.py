"""`publish:` and `incremental:`: which table a query becomes, and how it is kept."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from sql_databricks_bridge.core.planning import plan_extraction
from sql_databricks_bridge.errors import SettingsError, UsageError
from sql_databricks_bridge.models.jobs import ExtractionPlan
from sql_databricks_bridge.models.publishing import DriftPolicy, Incremental, IncrementKind, Publication
from sql_databricks_bridge.models.tables import SourceName

BASE = "database: D\ndestination: main.landing.files\n"


def plan(folder: Path, yaml: str, **asked: object) -> ExtractionPlan:
    """The plan of a country with the queries `a` and `b-2`."""
    for name in ("queries", "config"):
        (folder / name).mkdir()
    for name in ("a", "b-2"):
        (folder / "queries" / f"{name}.sql").write_text("SELECT 1 AS id")
    (folder / "config" / "Peru.yaml").write_text(BASE + yaml)
    return plan_extraction(
        queries_dir=folder / "queries",
        config_dir=folder / "config",
        country="Peru",
        today=dt.date(2026, 11, 23),
        run_id="r",
        **asked,  # type: ignore[arg-type]  # the tests name them
    )


def tables(found: ExtractionPlan) -> dict[str, Publication | None]:
    """Each query's table."""
    return {query.name: query.publish for query in found.queries}


def test_a_query_becomes_a_table_of_its_name_beside_the_volume_unless_the_yaml_says_otherwise(tmp_path: Path) -> None:
    found = tables(plan(tmp_path, "publish: true\n"))
    assert found == {
        "a": Publication(SourceName("main", "landing", "a")),
        "b-2": Publication(SourceName("main", "landing", "b-2")),
    }


def test_what_stands_for_a_query_wins_over_what_stands_for_all(tmp_path: Path) -> None:
    yaml = """
publish:
  catalog: prod
  schema: gold
  drift: fail
  soft_delete: gone_at
  tables: {a: {table: orders, schema: silver, drift: new_table}, b-2: false}
incremental:
  a: {kind: cursor, key: [id, no], column: at, lag: 300}
"""
    assert tables(plan(tmp_path, yaml)) == {
        "a": Publication(
            SourceName("prod", "silver", "orders"),
            DriftPolicy.NEW_TABLE,
            "gone_at",
            Incremental(IncrementKind.CURSOR, ("id", "no"), column="at", lag=300),
        ),
        "b-2": None,
    }


@pytest.mark.parametrize(
    ("yaml", "publish", "published"),
    [("", None, False), ("", True, True), ("publish: false", None, False), ("publish: true", False, False)],
)
def test_a_request_has_the_last_word(tmp_path: Path, yaml: str, publish: bool | None, published: bool) -> None:
    assert all((table is not None) == published for table in tables(plan(tmp_path, yaml, publish=publish)).values())


def test_a_part_of_the_rows_never_becomes_a_table(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cut to 5 rows can't be published"):
        plan(tmp_path, "publish: true", limit=5)


@pytest.mark.parametrize(
    ("yaml", "told"),
    [
        ("publish: {tables: {a: same, b-2: SAME}}", "a and b-2 would both become main.landing.SAME"),
        ("publish: {tables: {c: x}}", "Peru.yaml:3:.*: c is no query of Peru|Peru.yaml:3: c is no query of Peru"),
        ("incremental: {c: {kind: cdc, key: id, capture: x}}", "c is no query of Peru"),
        ("publish: {tables: {a: 'x/y'}}", "is no name of Unity Catalog"),
    ],
)
def test_a_table_that_can_not_be_is_told_before_anything_runs(tmp_path: Path, yaml: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        plan(tmp_path, yaml)
