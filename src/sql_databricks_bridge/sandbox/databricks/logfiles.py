"""The files of a Delta log: one for each commit, read whole and written at once.

Source: the Delta transaction log protocol, "Delta Log Entries": a version is there once its file is, and whoever finds
the name taken has lost the race for it.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Action = dict[str, Any]


def path_of(folder: Path, version: int) -> Path:
    """The file of a commit to the table in `folder`."""
    return folder / "_delta_log" / f"{version:020}.json"


def read(folder: Path, version: int) -> list[Action]:
    """The actions of a commit. Raises `FileNotFoundError`."""
    return [json.loads(line) for line in path_of(folder, version).read_text().split("\n") if line]


def write(folder: Path, version: int, actions: Iterable[Action]) -> None:
    """Make a commit: a reader sees all of it or nothing. Raises `FileExistsError` where the version is taken."""
    path = path_of(folder, version)
    with _written(path, actions) as temporary:
        os.link(temporary, path)


def amend(folder: Path, version: int, actions: Iterable[Action]) -> None:
    """Put other actions in a commit's place, at once; the checksum that no longer fits goes."""
    path = path_of(folder, version)
    path.with_suffix(".crc").unlink(missing_ok=True)
    with _written(path, actions) as temporary:
        os.replace(temporary, path)


def amend_creation(folder: Path, *, nullable: bool, comment: str | None) -> None:
    """Put right what the engine wrote for a new table, before anybody has read it.

    `nullable`: every column takes NULL, as it does on Databricks after CREATE TABLE AS; the engine says NOT NULL where
    the query can't yield one. The engine does not take a comment there either.
    """
    actions = read(folder, 0)
    for action in actions:
        if "metaData" in action:
            about = action["metaData"]
            about["description"] = comment
            if nullable:
                about["schemaString"] = json.dumps(_nullable(json.loads(about["schemaString"])))
    amend(folder, 0, actions)


@contextmanager
def _written(path: Path, actions: Iterable[Action]) -> Iterator[Path]:
    temporary = path.with_name(f"_{uuid.uuid4().hex}.tmp")
    temporary.write_text("".join(json.dumps(action, separators=(",", ":")) + "\n" for action in actions))
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _nullable(delta: Any) -> Any:
    if isinstance(delta, list):
        return [_nullable(each) for each in delta]
    if not isinstance(delta, dict):
        return delta
    flags = {"nullable", "containsNull", "valueContainsNull"}
    return {
        key: True if key in flags else each if key == "metadata" else _nullable(each) for key, each in delta.items()
    }
