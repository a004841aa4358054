"""`bridge extract --partitions`: what a person gives, sees, and gets wrong."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Bridge, Workspace


def test_a_query_is_read_in_ranges_and_lands_the_same_rows(bridge: Bridge, workspace: Workspace) -> None:
    workspace.query("planes", "SELECT tailnum, seats FROM dbo.planes")
    workspace.query("carriers", "SELECT TOP (5) carrier FROM dbo.airlines ORDER BY carrier")
    workspace.yaml(workspace.country, "database: Flights\npartitions: {planes: {count: 2, key: seats}}\n")
    whole = bridge("extract", "--country", workspace.country, "--partitions", "1", "--json")
    ranges = bridge("extract", "--country", workspace.country, "--json")
    assert (whole.code, ranges.code) == (0, 0), ranges.err
    rows = [{each["name"]: each["rows"] for each in done.document["queries"]} for done in (whole, ranges)]
    assert rows[0] == rows[1]
    equal = bridge("verify", "--country", workspace.country, "--query", "planes", "--key", "tailnum")
    assert equal.code == 0, equal.out
    told = bridge("extract", "--country", workspace.country, "--partitions", "3", "--query", "carriers")
    assert told.code == 0
    assert "read in one piece: TOP or OFFSET choose its rows" in told.err + told.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--partitions", "many"), "'many' is neither auto nor a number from 1 to 64"),
        (("--partition-key", "seats"), "nothing is split"),
        (("--partition-lock",), "nothing is split"),
    ],
)
def test_wrong_options_are_told_before_anything_runs(
    bridge: Bridge, workspace: Workspace, arguments: tuple[str, ...], said: str
) -> None:
    workspace.query("planes", "SELECT tailnum, seats FROM dbo.planes")
    workspace.yaml(workspace.country, "database: Flights\n")
    done = bridge("extract", "--country", workspace.country, *arguments)
    assert (done.code, said in done.err) == (2, True), done.err


def test_a_query_that_is_not_there_is_told_with_its_place(bridge: Bridge, workspace: Workspace) -> None:
    workspace.query("planes", "SELECT tailnum, seats FROM dbo.planes")
    workspace.yaml(workspace.country, "database: Flights\npartitions: {plane: 2}\n")
    done = bridge("extract", "--country", workspace.country)
    assert done.code == 2
    assert "plane is no query of" in done.err
    assert "`partitions:`" in done.err
