"""What people see of runs and published tables: `runs list|show|diff|latest`, `watermarks`, `plan`."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator

import mssql_python
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.connection_string import connection_string
from tests.acceptance.conftest import Bridge, Workspace

NARROW = {"COLUMNS": "80"}


def test_landed_runs_are_listed_shown_and_compared(bridge: Bridge, workspace: Workspace) -> None:
    """Two runs of one query: the list has both, `show` the manifest, `diff` counts the rows that differ."""
    country = ("--country", workspace.country)
    workspace.yaml(
        workspace.country, "database: Flights\nincremental: {lines: {kind: cursor, key: carrier, column: name}}\n"
    )
    workspace.query("lines", "SELECT carrier, name FROM dbo.airlines")
    first = bridge("extract", *country, "--json").document["run_id"]
    workspace.query("lines", "SELECT carrier, UPPER(name) AS name FROM dbo.airlines WHERE carrier <> 'AA'")
    second = bridge("extract", *country, "--json").document["run_id"]
    newest, oldest = sorted((first, second), reverse=True)  # within one second ids sort by chance

    listed = bridge("runs", "list", *country, "--json").document["runs"]
    assert [(run["run_id"], run["query"], run["table"], run["increment"]) for run in listed] == [
        (newest, "lines", None, None),
        (oldest, "lines", None, None),
    ]
    assert {run["run_id"]: run["rows"] for run in listed} == {first: 16, second: 15}

    (shown,) = bridge("runs", "show", "latest", *country, "--json").document["runs"]
    assert (shown["manifest"]["run_id"], shown["manifest"]["query_file"]) == (newest, "queries/lines.sql")
    told = bridge("runs", "show", first[:-1], "lines", *country, **NARROW).out
    for piece in (first, "16 in 1 part", "part-00000.parquet", "nvarchar(100)", "string"):
        assert piece in told
    assert max(map(len, told.splitlines())) <= 80

    different = bridge("runs", "diff", first, second, "lines", *country, "--json")
    assert different.code == 1
    (query,) = different.document["queries"]
    rows = query["row_changes"]
    assert (query["verdict"], query["query_changed"]) == ("different", True)
    assert (rows["key"], rows["added"], rows["removed"], rows["changed"]) == (["carrier"], 0, 1, 15)
    same = bridge("runs", "diff", first, first, *country)
    assert (same.code, "same" in same.out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("runs", "show", "2027", "--country", "COUNTRY"), "no landed run 2027"),
        (("runs", "list", "--country", "COUNTRY", "--query", "../lines"), "not a legal name"),
        (("runs", "diff", "latest", "--country", "COUNTRY"), "RUN_B"),
        (("watermarks", "reset", "main.gold"), "not catalog.schema.table"),
        (("watermarks", "reset", "main.gold.nothing", "--yes"), "main.gold.nothing is no published table"),
        (("plan", "--country", "COUNTRY", "--query", "none"), "none"),
    ],
)
def test_wrong_input_is_told_and_exits_with_2(
    arguments: tuple[str, ...], said: str, bridge: Bridge, workspace: Workspace
) -> None:
    """Nothing is run, and the message says what was wrong."""
    workspace.query("lines", "SELECT carrier FROM dbo.airlines")
    done = bridge(*(workspace.country if each == "COUNTRY" else each for each in arguments))
    assert done.code == 2
    assert said in done.err


def test_tables_need_a_warehouse_and_say_so(bridge: Bridge) -> None:
    """The table of states is asked by statements."""
    done = bridge("watermarks", "list", DATABRICKS_WAREHOUSE_ID=None)
    assert (done.code, "DATABRICKS_WAREHOUSE_ID" in done.err) == (2, True)


@dataclasses.dataclass(frozen=True)
class Source:
    """A table with a rowversion column, of this test alone."""

    settings: Settings
    table: str

    def sql(self, statement: str) -> None:
        """Run a statement on the source; {t} is the table."""
        with mssql_python.connect(connection_string(self.settings), autocommit=True) as connection:
            connection.cursor().execute(statement.format(t=self.table))


@pytest.fixture
def source(sqlserver_settings: Settings) -> Iterator[Source]:
    """Three rows in it."""
    made = Source(sqlserver_settings, f"dbo.t{uuid.uuid4().hex[:10]}")
    made.sql("CREATE TABLE {t} (id int NOT NULL PRIMARY KEY, n int NULL, rv rowversion)")
    made.sql("INSERT INTO {t} (id, n) VALUES (1, 10), (2, 20), (3, 30)")
    yield made
    made.sql("DROP TABLE {t}")


def test_a_table_is_planned_published_and_seen(bridge: Bridge, workspace: Workspace, source: Source) -> None:
    """plan, extract, plan, extract, runs, watermarks, reset, plan: each tells what the ones before it did."""
    country = ("--country", workspace.country)
    workspace.yaml(
        workspace.country,
        f"""
database: Flights
publish: {{tables: {{q: {{table: {workspace.country}_q}}, broken: {{table: {workspace.country}_b}}}}}}
incremental: {{q: {{kind: rowversion, key: [id], column: rv}}}}
""",
    )
    workspace.query("q", f"SELECT id, n, rv FROM {source.table}")
    workspace.query("broken", "SELECT nothing FROM dbo.no_such_table")

    planned = bridge("plan", *country, "--json")
    assert planned.code == 1
    by_name = {query["name"]: query for query in planned.document["queries"]}
    assert (by_name["q"]["way"], by_name["q"]["low"], by_name["q"]["problem"]) == ("full", None, None)
    assert (by_name["broken"]["way"], by_name["broken"]["problem"]["kind"]) == (None, "SourceRefused")

    first = bridge("extract", *country, "--query", "q", "--json")
    assert first.code == 0, first.err
    source.sql("UPDATE {t} SET n = 21 WHERE id = 2")
    (again,) = bridge("plan", *country, "--query", "q", "--json").document["queries"]
    assert (again["way"], again["estimated_rows"], again["table"]) == ("rowversion", 1, by_name["q"]["table"])
    assert again["low"]["value"] < again["high"]["value"]
    second = bridge("extract", *country, "--query", "q", "--json")
    assert second.code == 0, second.err

    listed = bridge("runs", "list", *country, "--json").document["runs"]
    by_run = {run["run_id"]: run for run in listed}
    full, increment = by_run[first.document["run_id"]], by_run[second.document["run_id"]]
    assert (full["increment"], full["standing"], full["table"]) == (None, "followed", again["table"])
    assert (increment["increment"]["kind"], increment["standing"], increment["rows"]) == ("rowversion", "stands", 1)
    latest = bridge("runs", "latest", *country)
    assert f"the whole is in {again['table']}" in latest.out

    (state,) = bridge("watermarks", "list", *country, "--json").document["tables"]
    assert (state["table"], state["run_id"]) == (again["table"], second.document["run_id"])
    assert state["watermark"] == again["high"]
    refused = bridge("watermarks", "reset", again["table"])
    assert (refused.code, "--yes" in refused.err) == (2, True)
    assert bridge("watermarks", "reset", again["table"], "--yes").code == 0
    narrow = bridge("plan", *country, "--query", "q", **NARROW)
    assert (narrow.code, "full" in narrow.out) == (0, True)
    assert max(map(len, narrow.out.splitlines())) <= 80
