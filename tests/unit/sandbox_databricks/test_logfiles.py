"""Commits in a Delta log: each is there at once, and a version that is taken stays as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from sql_databricks_bridge.sandbox.databricks import logfiles


def test_a_version_that_is_taken_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "_delta_log").mkdir()
    logfiles.write(tmp_path, 0, [{"metaData": {"id": "a"}}, {"protocol": {}}])
    with pytest.raises(FileExistsError):
        logfiles.write(tmp_path, 0, [{"metaData": {"id": "b"}}])
    assert logfiles.read(tmp_path, 0) == [{"metaData": {"id": "a"}}, {"protocol": {}}]
    assert [each.name for each in (tmp_path / "_delta_log").iterdir()] == [f"{0:020}.json"]


def test_amending_a_commit_drops_the_checksum_that_no_longer_fits(tmp_path: Path) -> None:
    (tmp_path / "_delta_log").mkdir()
    logfiles.write(tmp_path, 3, [{"add": {"path": "a"}}])
    checksum = logfiles.path_of(tmp_path, 3).with_suffix(".crc")
    checksum.write_text("{}")
    logfiles.amend(tmp_path, 3, [])
    assert (logfiles.read(tmp_path, 3), checksum.exists()) == ([], False)
