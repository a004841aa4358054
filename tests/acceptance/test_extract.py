"""`bridge extract`: what lands is what was there, and what fails or is stopped leaves nothing that counts."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import signal
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.connection_string import connection_string
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from tests.acceptance.conftest import Bridge, Workspace, statuses
from tests.conftest import StandIn


@pytest.fixture(scope="module")
def lakehouse(lakehouse_settings: Settings) -> DatabricksLakehouse:
    """A client to look into the volume."""
    return DatabricksLakehouse(lakehouse_settings)


def landed(lakehouse: DatabricksLakehouse, path: str) -> pa.Table:
    """Read a published run back, as its manifest says, with sizes and hashes checked."""
    manifest = json.loads(lakehouse.read(f"{path}/_manifest.json"))
    tables = []
    for part in manifest["parts"]:
        content = lakehouse.read(f"{path}/{part['file']}")
        assert len(content) == part["size_bytes"]
        assert hashlib.sha256(content).hexdigest() == part["sha256"]
        table = pq.read_table(io.BytesIO(content))
        assert table.num_rows == part["rows"]
        tables.append(table)
    merged = pa.concat_tables(tables)
    assert merged.num_rows == manifest["rows"]
    return merged


def rows_of(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    """Ask the source with the bare driver, row by row."""
    import mssql_python

    with mssql_python.connect(connection_string(settings)) as connection:
        cursor = connection.cursor()
        cursor.execute(sql)
        return [tuple(row) for row in cursor.fetchall()]


def test_every_demo_query_lands_with_the_sources_rows_types_and_values(
    demo_bridge: Bridge, lakehouse: DatabricksLakehouse, sqlserver_settings: Settings
) -> None:
    """`bridge extract --country Colombia --json` completes, and pyarrow reads what the source holds."""
    done = demo_bridge("extract", "--country", "Colombia", "--json", "--parallel", "2")
    assert done.code == 0, done.err
    document = done.document
    assert document["status"] == "completed"
    assert set(statuses(document).values()) == {"completed"}
    queries = {query["name"]: query for query in document["queries"]}
    assert len(queries) >= 8
    assert queries["flights"]["rows"] == 336_776

    flights = landed(lakehouse, queries["flights"]["path"])
    sums = rows_of(
        sqlserver_settings,
        "SELECT COUNT_BIG(*), SUM(CAST(distance AS bigint)), SUM(CAST(dep_delay AS bigint)), COUNT_BIG(tailnum),"
        " COUNT(DISTINCT tailnum) FROM dbo.flights",
    )
    frame = flights.to_pandas()
    assert sums == [
        (
            len(frame),
            frame["distance"].sum(),
            frame["dep_delay"].sum(),
            frame["tailnum"].notna().sum(),
            frame["tailnum"].nunique(),
        )
    ]
    for name in ("airlines", "airports", "planes"):
        table = landed(lakehouse, queries[name]["path"])
        source = rows_of(sqlserver_settings, f"SELECT {', '.join(table.column_names)} FROM dbo.{name}")
        assert sorted(map(repr, zip(*table.to_pydict().values(), strict=True))) == sorted(map(repr, source)), name


def test_types_come_from_the_server_not_from_values(
    bridge: Bridge, workspace: Workspace, lakehouse: DatabricksLakehouse
) -> None:
    """A column of NULLs, an empty result and exact decimals land in the types that the server declared."""
    workspace.query(
        "typed",
        """SELECT CAST(NULL AS decimal(18, 4)) AS nothing, CAST(12345678901234.5678 AS decimal(18, 4)) AS exact,
                  CAST(255 AS tinyint) AS tiny, CAST('0001-01-01' AS date) AS first_day,
                  CAST('2024-02-29T12:34:56.1234560' AS datetime2(6)) AS moment, CAST(1 AS bit) AS yes,
                  CAST(N'żółć 🚀' AS nvarchar(20)) AS words, CAST(0x00FF AS varbinary(4)) AS raw""",
    )
    workspace.query("empty", "SELECT CAST(1 AS bigint) AS id, CAST('x' AS varchar(3)) AS t WHERE 1 = 0")
    done = bridge("extract", "--country", workspace.country, "--json")
    assert done.code == 0, done.err
    paths = {query["name"]: query["path"] for query in done.document["queries"]}
    typed = landed(lakehouse, paths["typed"])
    assert typed.to_pylist() == [
        {
            "nothing": None,
            "exact": Decimal("12345678901234.5678"),
            "tiny": 255,
            "first_day": dt.date(1, 1, 1),
            "moment": dt.datetime(2024, 2, 29, 12, 34, 56, 123456),  # noqa: DTZ001  # datetime2 has no zone
            "yes": True,
            "words": "żółć 🚀",
            "raw": b"\x00\xff",
        }
    ]
    assert typed.schema.field("nothing").type == pa.decimal128(18, 4)
    assert typed.schema.field("tiny").type == pa.int16()
    empty = landed(lakehouse, paths["empty"])
    assert empty.num_rows == 0
    assert empty.schema.types == [pa.int64(), pa.string()]


def test_bound_parameters_are_values_never_sql(
    bridge: Bridge, workspace: Workspace, lakehouse: DatabricksLakehouse
) -> None:
    """A value full of SQL comes back as it was given."""
    hostile = "x'; DROP TABLE dbo.flights; -- {name} @since"
    workspace.query("echo", "SELECT @given AS given")
    workspace.yaml(workspace.country, "database: Flights\nparams:\n  given: nvarchar(100)\n")
    done = bridge("extract", "--country", workspace.country, "--param", f"given={hostile}", "--json")
    assert done.code == 0, done.err
    assert landed(lakehouse, done.document["queries"][0]["path"]).to_pydict() == {"given": [hostile]}


def test_no_manifest_and_no_message_holds_a_secret(
    bridge: Bridge, workspace: Workspace, lakehouse: DatabricksLakehouse
) -> None:
    """Values of names like password and token are starred in the manifest and in what is said of a wrong one."""
    workspace.query("q", "SELECT LEN('{api_password}') AS a, LEN(@token) AS b")
    workspace.yaml(
        workspace.country, "database: Flights\napi_password: hunter2\nparams: {token: nvarchar(20), secret_no: int}\n"
    )
    done = bridge("extract", "--country", workspace.country, "--param", "token=tops3cret", "--json")
    assert done.code == 0, done.err
    manifest = lakehouse.read(f"{done.document['queries'][0]['path']}/_manifest.json").decode()
    assert [entry["value"] for entry in json.loads(manifest)["parameters"]] == ["***", "***"]
    workspace.query("q", "SELECT @secret_no AS a")
    wrong = bridge("extract", "--country", workspace.country, "--param", "secret_no=tops3cret")
    assert wrong.code == 2
    assert "secret_no" in wrong.err
    for said in (done.out, done.err, manifest, wrong.out, wrong.err):
        assert "tops3cret" not in said
        assert "hunter2" not in said


def test_limit_cuts_every_query(bridge: Bridge, workspace: Workspace) -> None:
    """--limit N lands N rows at most, and says so."""
    workspace.query("many", "SELECT flight FROM dbo.flights")
    done = bridge("extract", "--country", workspace.country, "--limit", "7", "--json")
    assert done.document["queries"][0]["rows"] == 7


def test_a_dry_run_shows_sql_and_schema_and_lands_nothing(
    bridge: Bridge, workspace: Workspace, sqlserver_faults: StandIn
) -> None:
    """--dry-run describes each query; none is run, none lands."""
    workspace.query("described", "SELECT month AS dry_month, distance FROM dbo.flights")
    ran = sqlserver_faults.fault(match={"kind": "batch", "statement_contains": "dry_month"}, action={"delay_s": 0})
    done = bridge("extract", "--country", workspace.country, "--dry-run", "--json")
    assert done.code == 0, done.err
    (query,) = done.document["queries"]
    assert query["sql"] == "SELECT month AS dry_month, distance FROM dbo.flights"
    assert [column["name"] for column in query["columns"]] == ["dry_month", "distance"]
    assert all(column["type"] for column in query["columns"])
    assert sqlserver_faults.hits(ran) == 0
    assert bridge("runs", "latest", "--country", workspace.country).code == 1


def test_plain_lines_where_there_is_no_terminal(bridge: Bridge, workspace: Workspace) -> None:
    """Without a terminal progress is plain lines on standard error and the summary is on standard output."""
    workspace.query("small", "SELECT carrier FROM dbo.airlines")
    done = bridge("extract", "--country", workspace.country)
    assert done.code == 0, done.err
    assert "small: landed, 16 rows" in done.err
    assert "\x1b[" not in done.err + done.out
    assert "completed: 16 rows" in done.out


def test_a_failing_query_does_not_stop_the_others(
    bridge: Bridge, workspace: Workspace, lakehouse: DatabricksLakehouse
) -> None:
    """One query that the server refuses fails with its name, message and line; the other lands; exit 1, partial."""
    workspace.query("good", "SELECT carrier FROM dbo.airlines")
    workspace.query("bad", "SELECT carrier\nFROM dbo.no_such_table")
    done = bridge("extract", "--country", workspace.country, "--json")
    assert done.code == 1
    assert done.document["status"] == "partial"
    assert statuses(done.document) == {"bad": "failed", "good": "completed"}
    error = next(query["error"] for query in done.document["queries"] if query["name"] == "bad")
    assert "no_such_table" in error
    assert "line 2" in error
    latest = bridge("runs", "latest", "--country", workspace.country, "--json").document
    assert [run["query"] for run in latest["runs"]] == ["good"]
    assert folders(lakehouse, workspace.country, "bad") == []


def test_a_lost_connection_fails_that_query_only(
    bridge: Bridge, workspace: Workspace, sqlserver_faults: StandIn, lakehouse: DatabricksLakehouse
) -> None:
    """A connection cut after 1 MB of rows: that query fails and leaves nothing, the others land, the run is partial."""
    workspace.query("cut", "SELECT *, 1 AS cut_here FROM dbo.flights")
    workspace.query("whole", "SELECT carrier FROM dbo.airlines")
    rule = sqlserver_faults.fault(
        match={"kind": "batch", "statement_contains": "cut_here"}, action={"cut_response_after_bytes": 1_000_000}
    )
    done = bridge("extract", "--country", workspace.country, "--json")
    assert sqlserver_faults.hits(rule) == 1
    assert done.code == 1
    assert done.document["status"] == "partial"
    assert statuses(done.document) == {"cut": "failed", "whole": "completed"}
    assert folders(lakehouse, workspace.country, "cut") == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_cancels_cleanly(
    number: signal.Signals,
    code: int,
    bridge: Bridge,
    workspace: Workspace,
    sqlserver_faults: StandIn,
    lakehouse: DatabricksLakehouse,
) -> None:
    """In the middle of a fetch the signal ends the run: cancelled, no part and no manifest stays."""
    workspace.query("slow", "SELECT *, 1 AS slow_here FROM dbo.flights")
    rule = sqlserver_faults.fault(
        match={"kind": "batch", "statement_contains": "slow_here"},
        action={"slow_rows": {"every": 20_000, "seconds": 60}},
    )
    with bridge.started("extract", "--country", workspace.country, "--json") as process:
        sqlserver_faults.wait_for(rule)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert "Traceback" not in err
    assert process.returncode == code
    assert json.loads(out)["status"] == "cancelled"
    assert folders(lakehouse, workspace.country, "slow") == []


def test_a_killed_run_does_not_count_and_is_swept(
    bridge: Bridge, workspace: Workspace, sqlserver_faults: StandIn, lakehouse: DatabricksLakehouse
) -> None:
    """After kill -9 there is no manifest, `runs latest` finds nothing, and `sweep` removes what was left."""
    workspace.query("killed", "SELECT *, 1 AS kill_here FROM dbo.flights")
    rule = sqlserver_faults.fault(
        match={"kind": "batch", "statement_contains": "kill_here"},
        action={"slow_rows": {"every": 20_000, "seconds": 60}},
    )
    with bridge.started("extract", "--country", workspace.country) as process:
        sqlserver_faults.wait_for(rule)
        process.kill()
        process.wait(timeout=20)
    assert bridge("runs", "latest", "--country", workspace.country).code == 1
    swept = bridge("sweep", "--country", workspace.country, "--older-than", "0", "--json").document["swept"]
    assert len(swept) == 1
    assert folders(lakehouse, workspace.country, "killed") == []


def test_sweep_keeps_the_newest_runs(bridge: Bridge, workspace: Workspace) -> None:
    """`sweep --keep 1` removes the older published run; the newest stays and is found."""
    workspace.query("kept", "SELECT carrier FROM dbo.airlines")
    runs = [bridge("extract", "--country", workspace.country, "--json").document["run_id"] for _ in range(2)]
    older = sorted(runs)[0]
    swept = bridge("sweep", "--country", workspace.country, "--keep", "1", "--json").document["swept"]
    assert [older in item["path"] for item in swept] == [True]
    (latest,) = bridge("runs", "latest", "--country", workspace.country, "--json").document["runs"]
    assert latest["run_id"] == sorted(runs)[1]
    assert latest["rows"] == 16


def folders(lakehouse: DatabricksLakehouse, country: str, query: str) -> list[str]:
    """What lies in a query's folder; nothing where it is not there."""
    from sql_databricks_bridge.errors import LakehouseNotFound

    root = f"/Volumes/bridge/landing/files/{country}/{query}"
    try:
        return [entry.path for entry in lakehouse.list_directory(root)]
    except LakehouseNotFound:
        return []
