"""A run's query is resolved as that run had it, and what can't be compared is refused by name."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest

from sql_databricks_bridge.core.layout import AttemptFolder
from sql_databricks_bridge.core.manifest import (
    Manifest,
    ManifestIncrement,
    ManifestParameter,
    ManifestPublication,
)
from sql_databricks_bridge.core.param_resolver import HIDDEN
from sql_databricks_bridge.core.runs import PublishedRun
from sql_databricks_bridge.core.verification.subject import as_it_was, table_of
from sql_databricks_bridge.errors import UsageError
from sql_databricks_bridge.models.names import Destination

STARTED = dt.datetime(2026, 3, 10, 12, tzinfo=dt.UTC)
MANIFEST = Manifest(
    run_id="r1",
    attempt=1,
    country="C",
    query="q",
    query_file="queries/q.sql",
    query_sha256="0",
    parameters=(),
    source_server="s",
    source_database="d",
    isolation="snapshot",
    started_at=STARTED,
    finished_at=STARTED,
    rows=0,
    size_bytes=0,
    parts=(),
    schema=(),
    losses=(),
    row_limit=None,
    tool_version="0",
)


def manifest(*parameters: ManifestParameter) -> Manifest:
    return dataclasses.replace(MANIFEST, parameters=parameters)


@pytest.mark.parametrize(
    ("placeholders", "today", "months"),
    [
        ({}, dt.date(2026, 3, 10), None),
        ({"end_date": "'20260228'"}, dt.date(2026, 2, 28), None),
        ({"end_date": "'20260228'", "start_date": "'20251101'"}, dt.date(2026, 2, 28), 3),
        ({"start_period": "202403"}, dt.date(2026, 3, 10), 24),
        ({"start_date": "'19000101'"}, dt.date(2026, 3, 10), None),
        ({"start_date": "dbo.my_start"}, dt.date(2026, 3, 10), None),
    ],
)
def test_the_window_is_the_one_that_the_run_had(
    placeholders: dict[str, str], today: dt.date, months: int | None
) -> None:
    was = as_it_was(manifest(*(ManifestParameter(name, value, "default") for name, value in placeholders.items())))
    assert (was.today, was.lookback_months) == (today, months)


def test_values_of_the_request_are_given_again_and_hidden_ones_are_not() -> None:
    was = as_it_was(
        manifest(
            ManifestParameter("since", "2026-01-01", "request", "date"),
            ManifestParameter("token", HIDDEN, "request", "nvarchar(9)"),
            ManifestParameter("least", "5", "config/C.yaml:3 (default)", "int"),
        )
    )
    assert was.parameters == {"since": "2026-01-01"}


def run_of(**changes: object) -> PublishedRun:
    folder = AttemptFolder(Destination("c", "s", "v"), "C", "q", "r1", 1)
    return PublishedRun(folder, dataclasses.replace(MANIFEST, **changes))  # type: ignore[arg-type]  # one field each


def test_only_the_table_of_the_newest_run_is_compared() -> None:
    published = ManifestPublication("c.s.t", "c.s.t_2", "cursor", "why", 1, "0")
    increment = ManifestIncrement("cursor", "a", "b", ("id",))
    assert table_of(run_of(), wanted=False, newest=False) is None
    assert table_of(run_of(publication=published), wanted=False, newest=True) is None
    for wanted, part in ((True, None), (False, increment)):
        run = run_of(publication=published, increment=part)
        assert str(table_of(run, wanted=wanted, newest=True)) == "c.s.t_2"
        with pytest.raises(UsageError, match="its table has moved on since"):
            table_of(run, wanted=wanted, newest=False)
    with pytest.raises(UsageError, match="was not published"):
        table_of(run_of(), wanted=True, newest=True)
