"""Runs in which something breaks: one clear message, nothing half-landed, and the other queries land."""

from __future__ import annotations

import dataclasses
import resource
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.jobs import run
from sql_databricks_bridge.core.ports import Lakehouse
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from sql_databricks_bridge.db.sql_server import MssqlServer
from sql_databricks_bridge.errors import LakehouseNotFound
from sql_databricks_bridge.models.jobs import QueryProgress, QueryStatus, RunStatus
from sql_databricks_bridge.models.names import Destination
from sql_databricks_bridge.models.type_policies import TypePolicies
from tests.conftest import StandIn, lakehouse_settings_of, stand_in
from tests.integration.extraction_support import errors, files_below, landed_table, options, outcomes, plan, query

FLIGHTS = "SELECT * FROM dbo.flights WHERE month <= 2"
PLANES = "SELECT * FROM dbo.planes"


@pytest.fixture
def lakehouse(lakehouse_settings: Settings, lakehouse_faults: StandIn) -> Lakehouse:
    assert lakehouse_faults.ready
    return DatabricksLakehouse(lakehouse_settings)


@pytest.fixture
def source(sqlserver_settings: Settings, sqlserver_faults: StandIn) -> MssqlServer:
    assert sqlserver_faults.ready
    return MssqlServer(sqlserver_settings)


def left_below(lakehouse: Lakehouse, destination: Destination, country: str, name: str) -> list[str]:
    """What is in a query's folder, folders of attempts included."""
    path = f"{destination.root}/{country}/{name}"
    try:
        return [entry.path for entry in lakehouse.list_directory(path)]
    except LakehouseNotFound:
        return []


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ({"cut_response_after_rows": 20_000}, "connection to SQL Server was lost"),
        ({"cut_response_after_rows": 0}, "connection to SQL Server was lost"),
        ({"cut_response_after_bytes": 1_000_000}, "connection to SQL Server was lost"),
        ({"error_after_rows": 20_000, "number": 8134, "message": "Divide by zero error."}, "Divide by zero"),
        ({"error": 1205, "message": "Chosen as the deadlock victim.", "severity": 13}, "deadlock"),
    ],
    ids=["lost between rows", "lost before rows", "lost in a row", "error after rows", "deadlock"],
)
def test_a_query_that_breaks_costs_only_itself(
    lakehouse: Lakehouse,
    source: MssqlServer,
    sqlserver_faults: StandIn,
    sqlserver_settings: Settings,
    destination: Destination,
    country: str,
    tmp_path: Path,
    action: dict[str, Any],
    said: str,
) -> None:
    """A query that breaks in the middle fails with its reason and leaves nothing; the others land."""
    rule = sqlserver_faults.fault(match={"kind": "batch", "statement_contains": "/* broken */"}, action=action)
    asked = plan(destination, country, sqlserver_settings, query("broken", FLIGHTS), query("planes", PLANES))
    report = run(asked, source, lakehouse, options=options(tmp_path))
    assert sqlserver_faults.hits(rule) == 1
    assert report.status is RunStatus.PARTIAL
    assert outcomes(report) == {"broken": "failed", "planes": "completed"}
    assert said in errors(report)[0]
    assert "\n" not in errors(report)[0]
    assert left_below(lakehouse, destination, country, "broken") == []
    assert list(tmp_path.iterdir()) == []


def test_wrong_queries_are_told_and_the_others_land(
    lakehouse: Lakehouse,
    source: MssqlServer,
    sqlserver_settings: Settings,
    destination: Destination,
    country: str,
    tmp_path: Path,
) -> None:
    """SQL that is refused, repeated names, unnamed columns, a strict query that would lose: a message, no trace."""
    types = TypePolicies((("datetime2", "microseconds"),), strict=True)
    queries = (
        query("refused", "SELECT *\nFROM dbo.no_such_table"),
        query("repeated", "SELECT 1 AS id, 2 AS ID"),
        query("unnamed", "SELECT COUNT(*) FROM dbo.planes"),
        dataclasses.replace(query("lossy", "SELECT CAST(NULL AS datetime2(7)) AS v"), types=types),
        query("planes", PLANES),
    )
    report = run(
        plan(destination, country, sqlserver_settings, *queries),
        source,
        lakehouse,
        options=options(tmp_path, parallel=3),
    )
    assert report.status is RunStatus.PARTIAL
    refused, repeated, unnamed, lossy = errors(report)
    assert "no_such_table" in refused
    assert "queries/refused.sql" in refused
    assert "columns 1, 2" in repeated
    assert "Column 1 of the result has no name" in unnamed
    assert "the run is strict: v: datetime2(7): the seventh" in lossy
    assert outcomes(report)["planes"] == "completed"
    for name in ("refused", "repeated", "unnamed", "lossy"):
        assert left_below(lakehouse, destination, country, name) == []


@pytest.mark.parametrize(
    "action",
    [{"status": 503, "retry_after": 0}, {"status": 429, "retry_after": 0}, {"drop": "after"}, {"half_upload": True}],
    ids=str,
)
def test_a_part_survives_a_fault(
    lakehouse: Lakehouse,
    source: MssqlServer,
    lakehouse_faults: StandIn,
    sqlserver_settings: Settings,
    destination: Destination,
    country: str,
    tmp_path: Path,
    action: dict[str, Any],
) -> None:
    """A part whose upload is throttled, lost or cut is there whole in the end, and the run is complete."""
    rule = lakehouse_faults.fault(match={"method": "PUT", "path_contains": "part-00001"}, action=action)
    asked = plan(destination, country, sqlserver_settings, query("flights", FLIGHTS))
    (outcome,) = run(asked, source, lakehouse, options=options(tmp_path)).queries
    assert lakehouse_faults.hits(rule) == 1
    assert outcome.path is not None, outcome
    manifest, _ = landed_table(lakehouse, outcome.path)
    assert manifest.rows == outcome.rows


def test_a_manifest_that_cannot_be_written_publishes_nothing(
    lakehouse: Lakehouse,
    source: MssqlServer,
    lakehouse_faults: StandIn,
    sqlserver_settings: Settings,
    destination: Destination,
    country: str,
    tmp_path: Path,
) -> None:
    """Without its manifest a query failed, and its parts go."""
    rule = lakehouse_faults.fault(
        match={"method": "PUT", "path_contains": "_manifest.json"}, action={"disk_full": True}, times=None
    )
    asked = plan(destination, country, sqlserver_settings, query("planes", PLANES))
    report = run(asked, source, lakehouse, options=options(tmp_path))
    assert lakehouse_faults.hits(rule) >= 1
    assert outcomes(report) == {"planes": "failed"}
    assert report.status is RunStatus.FAILED
    assert left_below(lakehouse, destination, country, "planes") == []


def test_a_volume_that_vanishes_is_named(
    source: MssqlServer, sqlserver_settings: Settings, country: str, tmp_path: Path
) -> None:
    """A volume that is dropped while parts go up fails the query by the volume's name, without a trace back."""
    with stand_in("databricks", tmp_path / "databricks") as server:
        settings = lakehouse_settings_of(server)
        destination = settings.default_destination
        assert destination is not None
        rule = server.fault(match={"method": "PUT", "path_contains": "part-00001"}, action={"vanish_volume": True})
        asked = plan(destination, country, sqlserver_settings, query("flights", FLIGHTS))
        report = run(asked, source, DatabricksLakehouse(settings), options=options(tmp_path / "spool"))
        assert server.hits(rule) == 1
    assert outcomes(report) == {"flights": "failed"}
    assert f"Volume {destination} is not in the workspace" in errors(report)[0]
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_missing_destination_stops_the_run_before_it_starts(
    lakehouse: Lakehouse,
    source: MssqlServer,
    sqlserver_stand_in: StandIn,
    sqlserver_settings: Settings,
    destination: Destination,
    country: str,
    tmp_path: Path,
) -> None:
    """A volume that is not there is told before SQL Server hears of the run."""
    before = len(sqlserver_stand_in.requests())
    nowhere = Destination(destination.catalog, destination.schema, "no_such_volume")
    with pytest.raises(LakehouseNotFound, match="DATABRICKS_VOLUME"):
        run(
            plan(nowhere, country, sqlserver_settings, query("planes", PLANES)),
            source,
            lakehouse,
            options=options(tmp_path),
        )
    assert len(sqlserver_stand_in.requests()) == before


@pytest.fixture
def small_files() -> Iterator[None]:
    """Files of this process end at 64 KiB, as on a disk that is full."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_files")
def test_a_full_spool_names_the_folder_and_the_setting(
    lakehouse: Lakehouse,
    source: MssqlServer,
    sqlserver_settings: Settings,
    destination: Destination,
    country: str,
    tmp_path: Path,
) -> None:
    """A disk that fills up while spooling fails that query with the folder and BRIDGE_SPOOL_DIR; a small one lands."""
    asked = plan(
        destination,
        country,
        sqlserver_settings,
        query("flights", FLIGHTS),
        query("airlines", "SELECT * FROM dbo.airlines"),
    )
    report = run(asked, source, lakehouse, options=options(tmp_path))
    assert outcomes(report) == {"flights": "failed", "airlines": "completed"}
    assert str(tmp_path) in errors(report)[0]
    assert "BRIDGE_SPOOL_DIR" in errors(report)[0]
    assert left_below(lakehouse, destination, country, "flights") == []


def test_a_folder_in_use_is_left_alone(
    lakehouse: Lakehouse,
    source: MssqlServer,
    sqlserver_settings: Settings,
    destination: Destination,
    country: str,
    tmp_path: Path,
) -> None:
    """An attempt that somebody else writes to is refused, and not a file of theirs is touched."""
    theirs = f"{destination.root}/{country}/planes/run=r-1/part-00000.parquet"
    lakehouse.make_directory(theirs.rpartition("/")[0])
    lakehouse.write_new(theirs, b"theirs")
    asked = plan(destination, country, sqlserver_settings, query("planes", PLANES), run_id="r")
    report = run(asked, source, lakehouse, options=options(tmp_path))
    assert "in use" in errors(report)[0]
    assert lakehouse.read(theirs) == b"theirs"


def test_a_lost_sign_in_is_tried_again(
    lakehouse: Lakehouse,
    source: MssqlServer,
    sqlserver_faults: StandIn,
    sqlserver_settings: Settings,
    destination: Destination,
    country: str,
    tmp_path: Path,
) -> None:
    """A connection that breaks while signing in is opened again, and the query lands."""
    rule = sqlserver_faults.fault(match={"kind": "login"}, times=2, action={"drop": "before"})
    asked = plan(destination, country, sqlserver_settings, query("planes", PLANES))
    report = run(asked, source, lakehouse, options=options(tmp_path))
    assert sqlserver_faults.hits(rule) == 2
    assert outcomes(report) == {"planes": "completed"}


def test_a_wrong_password_is_not_tried_again(
    lakehouse: Lakehouse,
    sqlserver_settings: Settings,
    sqlserver_faults: StandIn,
    destination: Destination,
    country: str,
    tmp_path: Path,
) -> None:
    """A refused sign-in is not repeated for the other queries: the account must not be locked.

    Two it takes to tell a wrong password from a wrong database.
    """
    watch = sqlserver_faults.fault(match={"kind": "login"}, times=None, action={"delay_s": 0})
    wrong = MssqlServer(sqlserver_settings.model_copy(update={"sqlserver_password": SecretStr("Wrong-secret-1")}))
    asked = plan(destination, country, sqlserver_settings, *(query(f"q{number}", PLANES) for number in range(5)))
    report = run(asked, wrong, lakehouse, options=options(tmp_path))
    assert set(outcomes(report).values()) == {"failed"}
    assert all("SQLSERVER_PASSWORD" in error and "Wrong-secret-1" not in error for error in errors(report))
    assert sqlserver_faults.hits(watch) == 2


def stopped_run(
    lakehouse: Lakehouse, source: MssqlServer, asked: Any, spool: Path, is_time: Any, parallel: int = 1
) -> tuple[Any, float]:
    """Run, set `stop` when `is_time(progress)` says so, and return the report and the seconds that stopping took."""
    stop, when = threading.Event(), [0.0]

    def watch(progress: QueryProgress) -> None:
        if not stop.is_set() and is_time(progress):
            when[0] = time.monotonic()
            stop.set()

    report = run(
        asked,
        source,
        lakehouse,
        options=options(spool, parallel=parallel, progress_interval_s=0.01),
        on_progress=watch,
        stop=stop,
    )
    assert stop.is_set(), report
    return report, time.monotonic() - when[0]


def test_stopping_in_the_middle_of_a_fetch_leaves_nothing(
    lakehouse: Lakehouse,
    source: MssqlServer,
    sqlserver_settings: Settings,
    destination: Destination,
    country: str,
    tmp_path: Path,
) -> None:
    """A stop after parts have gone up ends running and waiting queries within seconds; nothing of them remains."""
    everything = "SELECT a.* FROM dbo.flights AS a CROSS JOIN dbo.airlines AS b"
    asked = plan(
        destination,
        country,
        sqlserver_settings,
        query("one", everything),
        query("two", everything),
        query("waiting", PLANES),
    )
    report, seconds = stopped_run(lakehouse, source, asked, tmp_path, lambda progress: progress.parts >= 2, parallel=2)
    assert report.status is RunStatus.CANCELLED
    assert set(outcomes(report).values()) == {"cancelled"}
    assert seconds < 4  # 2 s for the fetch, the rest to take the parts away
    assert files_below(lakehouse, f"{destination.root}/{country}") == []
    assert list(tmp_path.iterdir()) == []


def test_stopping_before_the_first_row_is_prompt(
    lakehouse: Lakehouse,
    source: MssqlServer,
    sqlserver_faults: StandIn,
    sqlserver_settings: Settings,
    destination: Destination,
    country: str,
    tmp_path: Path,
) -> None:
    """A query whose server is silent is stopped within two seconds."""
    rule = sqlserver_faults.fault(match={"statement_contains": "/* silent */", "kind": "batch"}, action={"delay_s": 60})
    asked = plan(destination, country, sqlserver_settings, query("silent", PLANES))
    stop, report = threading.Event(), []
    runner = threading.Thread(
        target=lambda: report.append(run(asked, source, lakehouse, options=options(tmp_path), stop=stop))
    )
    runner.start()
    sqlserver_faults.wait_for(rule)
    started = time.monotonic()
    stop.set()
    runner.join(20)
    assert time.monotonic() - started < 3
    assert outcomes(report[0]) == {"silent": "cancelled"}
    assert left_below(lakehouse, destination, country, "silent") == []


def test_what_is_published_stays_when_the_run_is_stopped(
    lakehouse: Lakehouse,
    source: MssqlServer,
    sqlserver_settings: Settings,
    destination: Destination,
    country: str,
    tmp_path: Path,
) -> None:
    """A query that was published before the stop keeps its result and its status."""
    asked = plan(
        destination,
        country,
        sqlserver_settings,
        query("planes", PLANES),
        query("flights", "SELECT a.* FROM dbo.flights AS a CROSS JOIN dbo.airlines AS b"),
    )
    report, _ = stopped_run(
        lakehouse, source, asked, tmp_path, lambda progress: progress.name == "flights" and progress.rows > 0
    )
    assert outcomes(report) == {"planes": "completed", "flights": "cancelled"}
    assert report.queries[0].path is not None
    landed_table(lakehouse, report.queries[0].path)
    assert report.queries[1].status is QueryStatus.CANCELLED


def test_parts_that_vanish_before_publishing_are_noticed(
    lakehouse: Lakehouse,
    source: MssqlServer,
    sqlserver_settings: Settings,
    destination: Destination,
    country: str,
    tmp_path: Path,
) -> None:
    """Somebody sweeps a run that is under way: no manifest is written for parts that are gone."""
    asked = plan(destination, country, sqlserver_settings, query("swept", PLANES))
    path = f"{destination.root}/{country}/swept/run={asked.run_id}-1/part-00000.parquet"

    def sweep(progress: QueryProgress) -> None:
        if progress.parts:
            lakehouse.delete_file(path)

    report = run(asked, source, lakehouse, options=options(tmp_path, progress_interval_s=0.0), on_progress=sweep)
    assert report.status is RunStatus.FAILED
    assert "part-00000.parquet is gone or changed" in errors(report)[0]
    assert left_below(lakehouse, destination, country, "swept") == []


def test_a_watcher_that_exits_does_not_break_a_run(
    lakehouse: Lakehouse,
    source: MssqlServer,
    sqlserver_settings: Settings,
    destination: Destination,
    country: str,
    tmp_path: Path,
) -> None:
    """SystemExit, which consoles raise when their reader leaves, stays with the watcher; the query lands."""

    def leave(_: QueryProgress) -> None:
        raise SystemExit(1)

    asked = plan(destination, country, sqlserver_settings, query("watched", PLANES))
    report = run(asked, source, lakehouse, options=options(tmp_path), on_progress=leave)
    assert report.status is RunStatus.COMPLETED
