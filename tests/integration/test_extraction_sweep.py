"""Finding published runs and sweeping away the rest, on the lakehouse side alone."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.layout import AttemptFolder
from sql_databricks_bridge.core.manifest import Manifest
from sql_databricks_bridge.core.parts import PartWriter
from sql_databricks_bridge.core.ports import Lakehouse
from sql_databricks_bridge.core.runs import latest, sweep
from sql_databricks_bridge.core.uploader import Landing
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from sql_databricks_bridge.errors import LakehouseNotFound
from sql_databricks_bridge.models.names import Destination
from tests.conftest import StandIn
from tests.integration.extraction_support import files_below

TOMORROW = dt.datetime.now(dt.UTC) + dt.timedelta(hours=25)
MANIFEST = Manifest(
    run_id="",
    attempt=1,
    country="",
    query="q",
    query_file="queries/q.sql",
    query_sha256="0" * 64,
    parameters=(),
    source_server="s",
    source_database="d",
    isolation="snapshot",
    started_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    finished_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    rows=0,
    size_bytes=0,
    parts=(),
    schema=(),
    losses=(),
    row_limit=None,
    tool_version="0",
)


@pytest.fixture(scope="module")
def lakehouse(lakehouse_settings: Settings) -> Lakehouse:
    return DatabricksLakehouse(lakehouse_settings)


@dataclasses.dataclass(frozen=True)
class Volume:
    """A country's folder in which attempts are made by hand."""

    lakehouse: Lakehouse
    destination: Destination
    country: str
    spool: Path

    def attempt(self, run_id: str, number: int = 1, *, query: str = "q", published: bool = True) -> AttemptFolder:
        """Land one part and, if asked, its manifest."""
        folder = AttemptFolder(self.destination, self.country, query, run_id, number)
        landing = Landing(self.lakehouse, folder)
        landing.open()
        spool = self.spool / f"{query}-{run_id}-{number}"
        spool.mkdir()
        writer = PartWriter(spool, pa.schema([("a", pa.int32())]), part_bytes=1, row_group_bytes=1)
        part = writer.close()
        assert part is not None
        landing.upload(part)
        if published:
            manifest = dataclasses.replace(
                MANIFEST,
                run_id=run_id,
                attempt=number,
                country=self.country,
                query=query,
                size_bytes=part.size_bytes,
                parts=tuple(landing.parts),
            )
            self.lakehouse.write_new(folder.manifest_path, manifest.to_json())
        return folder

    def swept(self, **how: object) -> list[str]:
        """Sweep this country; return the names of the folders that went."""
        found = sweep(self.lakehouse, self.destination, self.country, **how)  # type: ignore[arg-type]
        return [each.path.rsplit("/", 1)[1] for each in found]


@pytest.fixture
def volume(lakehouse: Lakehouse, destination: Destination, country: str, tmp_path: Path) -> Volume:
    return Volume(lakehouse, destination, country, tmp_path)


def test_parts_that_go_up_at_once_have_numbers_of_their_own(volume: Volume) -> None:
    """Each file is the one that its entry tells, and entries are in their numbers' order."""
    folder = AttemptFolder(volume.destination, volume.country, "q", "20260101T000000-many", 1)
    landing = Landing(volume.lakehouse, folder)
    landing.open()
    volume.spool.joinpath("many").mkdir()
    writer = PartWriter(volume.spool / "many", pa.schema([("a", pa.int32())]), part_bytes=1, row_group_bytes=1)
    written = [writer.write(pa.record_batch({"a": pa.array([n] * (n + 1), pa.int32())})) for n in range(12)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(landing.upload, [part for part in written if part is not None]))
    assert [part.file for part in landing.parts] == [f"part-{n:05d}.parquet" for n in range(12)]
    assert sorted(part.rows for part in landing.parts) == list(range(1, 13))
    for part in landing.parts:
        content = volume.lakehouse.read(f"{folder.path}/{part.file}")
        assert (len(content), hashlib.sha256(content).hexdigest()) == (part.size_bytes, part.sha256)


def test_the_newest_published_run_of_each_query_is_found(volume: Volume) -> None:
    """By run id, whatever the order of publishing; unpublished runs and other folders do not count."""
    volume.attempt("20260102T000000-b")
    newest = volume.attempt("20260103T000000-a", 2)
    volume.attempt("20260101T000000-z")
    volume.attempt("20260109T000000-a", published=False)
    other = volume.attempt("20260101T000000-z", query="other")
    volume.attempt("20260101T000000-z", query="none", published=False)
    volume.lakehouse.make_directory(f"{newest.query_path}/not a run")
    found = latest(volume.lakehouse, volume.destination, volume.country)
    assert [run.folder for run in found] == [other, newest]
    assert found[1].files == (f"{newest.path}/part-00000.parquet",)
    assert latest(volume.lakehouse, volume.destination, volume.country, "q") == (found[1],)


def test_a_country_without_runs_has_none(volume: Volume) -> None:
    """No folder is no run and no error; a volume that is not there is one."""
    assert latest(volume.lakehouse, volume.destination, volume.country) == ()
    assert volume.swept() == []
    nowhere = Destination(volume.destination.catalog, volume.destination.schema, "no_such_volume")
    with pytest.raises(LakehouseNotFound, match="DATABRICKS_VOLUME"):
        latest(volume.lakehouse, nowhere, volume.country)


def test_a_cut_manifest_does_not_count(volume: Volume) -> None:
    """A run whose manifest is half a file is passed over for the one before."""
    older = volume.attempt("20260101T000000-a")
    broken = volume.attempt("20260102T000000-a", published=False)
    volume.lakehouse.write_new(broken.manifest_path, json.dumps({"format_version": 1}).encode()[:10])
    (found,) = latest(volume.lakehouse, volume.destination, volume.country)
    assert found.folder == older


def test_an_attempt_under_way_is_left_alone(volume: Volume) -> None:
    """A young unpublished attempt may be running; one that nobody touched for a day is dead."""
    dead = volume.attempt("20260101T000000-a", published=False)
    kept = volume.attempt("20260102T000000-a")
    assert volume.swept() == []
    assert volume.swept(dry_run=True, now=TOMORROW) == ["run=20260101T000000-a-1"]
    assert len(files_below(volume.lakehouse, dead.path)) == 1
    assert volume.swept(now=TOMORROW) == ["run=20260101T000000-a-1"]
    assert files_below(volume.lakehouse, dead.query_path) == [
        f"{kept.path}/_manifest.json",
        f"{kept.path}/part-00000.parquet",
    ]
    assert [entry.path for entry in volume.lakehouse.list_directory(dead.query_path)] == [kept.path]


def test_the_age_can_be_given(volume: Volume) -> None:
    """--older-than 0 takes every unpublished attempt."""
    volume.attempt("20260101T000000-a", published=False)
    now = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=5)
    assert volume.swept(older_than=dt.timedelta(0), now=now) == ["run=20260101T000000-a-1"]


def test_only_the_newest_runs_are_kept(volume: Volume) -> None:
    """keep=2 leaves the two newest published runs of each query, at once and whatever their age."""
    for day in (1, 2, 3, 4):
        volume.attempt(f"2026010{day}T000000-a")
    volume.attempt("20260101T000000-a", query="other")
    assert sorted(volume.swept(keep=2)) == ["run=20260101T000000-a-1", "run=20260102T000000-a-1"]
    (found, other) = latest(volume.lakehouse, volume.destination, volume.country)[::-1]
    assert found.folder.run_id == "20260104T000000-a"
    assert other.folder.query == "other"
    with pytest.raises(ValueError, match="newest"):
        volume.swept(keep=0)


def test_the_manifest_goes_first(volume: Volume, lakehouse_faults: StandIn) -> None:
    """A sweep that breaks off leaves no run that counts and has lost a part."""
    volume.attempt("20260101T000000-a")
    volume.attempt("20260102T000000-a")
    rule = lakehouse_faults.fault(
        match={"method": "DELETE", "path_contains": "part-00000"}, action={"status": 400, "message": "no"}
    )
    with pytest.raises(Exception, match="no"):
        volume.swept(keep=1)
    assert lakehouse_faults.hits(rule) == 1
    assert len(latest(volume.lakehouse, volume.destination, volume.country)) == 1
    assert volume.swept(now=TOMORROW) == ["run=20260101T000000-a-1"]


def test_the_second_of_two_published_attempts_goes(volume: Volume) -> None:
    """Of two manifests of one run the first written counts, and the other is swept when it is old."""
    first = volume.attempt("20260101T000000-a", 2)
    volume.attempt("20260101T000000-a", 1)
    (found,) = latest(volume.lakehouse, volume.destination, volume.country)
    assert found.folder == first
    assert volume.swept() == []
    assert volume.swept(now=TOMORROW) == ["run=20260101T000000-a-1"]
