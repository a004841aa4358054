"""Landed runs are found by what people type, newest first, and what became of their tables is told, not guessed."""

from __future__ import annotations

import dataclasses

import pytest

from sql_databricks_bridge.core.manifest import ManifestPublication
from sql_databricks_bridge.core.run_history import Standing, find, history, standing_of, standings
from sql_databricks_bridge.errors import UnknownNameError
from sql_databricks_bridge.models.publishing import PublishedState
from sql_databricks_bridge.models.tables import SourceName
from tests.unit.core.volume_support import DESTINATION, Volume

TARGET = SourceName("main", "gold", "q")


def upon(base: int) -> ManifestPublication:
    """What a run's manifest says that was to go on top of that generation."""
    return ManifestPublication(str(TARGET), str(TARGET), "full", "why", base, "digest")


def state(generation: int, run_id: str | None) -> PublishedState:
    return PublishedState(TARGET, TARGET, "Peru", "q", "owner", generation=generation, run_id=run_id)


def ids(volume: Volume, **how: object) -> list[tuple[str, str]]:
    found = history(volume.port, DESTINATION, "Peru", **how)  # type: ignore[arg-type]
    return [(run.folder.run_id, run.folder.query) for run in found]


def test_runs_of_all_queries_come_newest_first() -> None:
    volume = Volume()
    for run_id, query in (("20260101T1", "b"), ("20260102T1", "a"), ("20260102T1", "b"), ("20260103T1", "b")):
        volume.land(run_id, query=query)
    expected = [("20260103T1", "b"), ("20260102T1", "a"), ("20260102T1", "b"), ("20260101T1", "b")]
    assert ids(volume) == expected
    assert ids(volume, query="a") == [("20260102T1", "a")]
    assert ids(volume, limit=2) == expected[:2]
    assert ids(Volume()) == []


def test_a_limit_reads_no_more_manifests_than_it_must() -> None:
    """The newest of each query is needed to know which one is newest; nothing older is."""
    volume = Volume()
    for day in range(1, 9):
        volume.land(f"2026010{day}T1", query="a")
        volume.land(f"2026010{day}T1", query="b")
    ids(volume, limit=2)
    assert len(volume.reads) <= 4


def test_a_run_is_found_by_the_beginning_of_its_id() -> None:
    volume = Volume()
    for run_id in ("20260101T1-aa", "20260101T2-bb", "20260102T1-cc"):
        volume.land(run_id)
    volume.land("20260101T1-aa", query="r")
    both = find(volume.port, DESTINATION, "Peru", "20260101T1")
    assert [(run.folder.run_id, run.folder.query) for run in both] == [("20260101T1-aa", "q"), ("20260101T1-aa", "r")]
    (one,) = find(volume.port, DESTINATION, "Peru", "latest", "q")
    assert one.folder.run_id == "20260102T1-cc"
    with pytest.raises(UnknownNameError, match="2 runs begin with 20260101T"):
        find(volume.port, DESTINATION, "Peru", "20260101T", "q")
    for wrong in ("2027", "", "20260101T1-aaa"):
        with pytest.raises(UnknownNameError, match="no landed run"):
            find(volume.port, DESTINATION, "Peru", wrong)


def test_an_exact_id_wins_over_one_that_it_begins() -> None:
    volume = Volume()
    volume.land("20260101T1")
    volume.land("20260101T10")
    (found,) = find(volume.port, DESTINATION, "Peru", "20260101T1")
    assert found.folder.run_id == "20260101T1"


def test_a_run_whose_manifest_is_broken_does_not_count() -> None:
    volume = Volume()
    run = volume.land("20260101T1")
    volume.files[run.folder.manifest_path] = b"{"
    assert ids(volume) == []
    with pytest.raises(UnknownNameError, match="no landed run 20260101T1"):
        find(volume.port, DESTINATION, "Peru", "20260101T1")


@pytest.mark.parametrize(
    ("standing", "generation", "by"),
    [
        (Standing.STANDS, 2, "20260101T1"),
        (Standing.MISSING, 2, "20260109T9"),  # another run made the generation that this one was to make
        (Standing.MISSING, 1, None),
        (Standing.FOLLOWED, 3, "20260109T9"),
    ],
)
def test_a_table_tells_what_became_of_a_run(standing: Standing, generation: int, by: str | None) -> None:
    volume = Volume()
    run = volume.land("20260101T1", publication=upon(1))
    assert standings((run,), [state(generation, by)]) == {run.folder.path: standing}
    assert standing_of(volume.port, run, [state(generation, by)]) is standing


def test_a_run_that_died_before_its_table_is_not_taken_for_the_one_that_came_after() -> None:
    """Two runs upon one generation: the last one made the next, also when later runs hide that."""
    volume = Volume()
    died = volume.land("20260101T1", publication=upon(1))
    did = volume.land("20260102T1", publication=upon(1))
    last = volume.land("20260103T1", publication=upon(2))
    states = [state(3, "20260103T1")]
    assert standings((last, did, died), states) == {
        died.folder.path: Standing.MISSING,
        did.folder.path: Standing.FOLLOWED,
        last.folder.path: Standing.STANDS,
    }
    assert standing_of(volume.port, died, states) is Standing.MISSING


def test_what_is_not_published_has_no_standing_and_a_lost_state_means_nothing_stands() -> None:
    volume = Volume()
    only_landed = volume.land("20260101T1")
    published = volume.land("20260102T1", publication=upon(1))
    other = dataclasses.replace(state(9, "x"), target=SourceName("main", "gold", "other"))
    assert standings((published, only_landed), [other]) == {published.folder.path: Standing.MISSING}
    assert standing_of(volume.port, only_landed, []) is None
