"""The manifest, as bytes and back."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json

import pytest

from sql_databricks_bridge.core.layout import AttemptFolder
from sql_databricks_bridge.core.manifest import (
    FORMAT_VERSION,
    Manifest,
    ManifestColumn,
    ManifestLoss,
    ManifestParameter,
    ManifestPart,
)
from sql_databricks_bridge.errors import LandingError
from sql_databricks_bridge.models.names import Destination

EXAMPLE = Manifest(
    run_id="20260101T020000-ab12",
    attempt=1,
    country="Colombia",
    query="flights",
    query_file="queries/flights.sql",
    query_sha256="0" * 64,
    parameters=(
        ManifestParameter("purchases", "J_Atos_CO", "Colombia.yaml"),
        ManifestParameter("since", "2013-01-01", "request", "date"),
        ManifestParameter("until", None, "request", "date"),
    ),
    source_server="sql01",
    source_database="Flights",
    isolation="snapshot",
    started_at=dt.datetime(2026, 1, 1, 2, tzinfo=dt.UTC),
    finished_at=dt.datetime(2026, 1, 1, 2, 0, 9, 500_000, tzinfo=dt.UTC),
    rows=3,
    size_bytes=1234,
    parts=(ManifestPart("part-00000.parquet", 3, 1234, "f" * 64),),
    schema=(ManifestColumn("añó", "datetime2(7)", "timestamp[us]", True),),
    losses=(ManifestLoss("añó", "datetime2(7): the seventh fractional digit is dropped by the driver"),),
    row_limit=None,
    tool_version="0.1.0",
)


def test_a_manifest_reads_back_as_it_was() -> None:
    """Nothing is lost on the way to JSON and back, non-ASCII names included."""
    assert Manifest.from_json(EXAMPLE.to_json(), "here") == EXAMPLE


def test_times_are_written_in_utc() -> None:
    """A time in another zone is written as UTC, with its offset."""
    lima = dt.timezone(dt.timedelta(hours=-5))
    moved = dataclasses.replace(EXAMPLE, started_at=EXAMPLE.started_at.astimezone(lima))
    assert json.loads(moved.to_json())["started_at"] == "2026-01-01T02:00:00.000+00:00"


def test_every_cut_of_a_manifest_is_refused() -> None:
    """A manifest that arrived in part never counts, wherever it was cut; only the last newline may be missing."""
    content = EXAMPLE.to_json()
    for size in range(len(content) - 1):
        with pytest.raises(LandingError, match="somewhere"):
            Manifest.from_json(content[:size], "somewhere")


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"{}", b"\xff", b'{"format_version": 1}', b'{"format_version": "x"}']
)
def test_another_document_is_refused(content: bytes) -> None:
    """Whatever else lies there is told as no manifest, with what to do."""
    with pytest.raises(LandingError, match="bridge sweep"):
        Manifest.from_json(content, "there")


def test_a_later_format_asks_for_an_update() -> None:
    """A manifest of a later bridge is not half understood."""
    document = json.loads(EXAMPLE.to_json()) | {"format_version": FORMAT_VERSION + 1}
    with pytest.raises(LandingError, match="Update"):
        Manifest.from_json(json.dumps(document).encode(), "there")


def test_an_attempt_folder_reads_back() -> None:
    """A folder's name gives run and attempt again, though run ids hold hyphens."""
    destination = Destination("c", "s", "v")
    folder = AttemptFolder(destination, "Peru", "flights", "20260101T020000-ab12", 3)
    assert folder.path == "/Volumes/c/s/v/Peru/flights/run=20260101T020000-ab12-3"
    assert folder.manifest_path == f"{folder.path}/_manifest.json"
    assert AttemptFolder.parse(destination, "Peru", "flights", folder.path.rsplit("/", 1)[1]) == folder


@pytest.mark.parametrize("name", ["run=abc", "run=-1", "run=abc-0", "run=abc-01", "abc-1", "run=abc-1.tmp", "_x"])
def test_other_folders_are_no_attempts(name: str) -> None:
    """What somebody else put there is left alone."""
    assert AttemptFolder.parse(Destination("c", "s", "v"), "Peru", "q", name) is None
