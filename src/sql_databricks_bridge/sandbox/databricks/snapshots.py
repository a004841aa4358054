"""A table as it was at some version, as a Delta table of its own: hard links to its files and a log of one commit.

The engine knows each by the table's own name in a schema that nobody else sees, so that a query may go on naming its
columns by the table. Time travel reads them, and a statement that others overtook is tried on them (see `conflicts`).
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from . import deletionvectors
from .delta import DeltaLogs, State
from .engine import Engine
from .names import TableName


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A table's copy: what the engine calls it, and where its log lies."""

    name: TableName
    folder: Path


class Snapshots:
    """Makes snapshots in a folder that lives no longer than the process. Thread-safe."""

    def __init__(self, logs: DeltaLogs, engine: Engine, home: Path) -> None:
        self._logs = logs
        self._engine = engine
        self._home = home
        self._guard = threading.Lock()
        self._kept: dict[tuple[Path, int], Snapshot] = {}
        self._locks: dict[tuple[Path, int], threading.Lock] = {}

    def at_version(self, name: TableName, folder: Path, version: int) -> Snapshot:
        """The snapshot for reading a version that exists; made once and kept."""
        key = (folder, version)
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._kept:
                state = self._logs.state(folder, version)
                self._kept[key] = self._make(name, folder, state, f"_version_{uuid.uuid4().hex}")
            return self._kept[key]

    @contextmanager
    def of_state(self, name: TableName, folder: Path, state: State, use: str = "turn") -> Iterator[Snapshot]:
        """A snapshot to write on, for who has the turn on the table and one `use` of each; it is gone afterwards."""
        made = self._make(name, folder, state, f"_{use}_{folder.name}")
        try:
            yield made
        finally:
            self._logs.forget(made.folder)
            shutil.rmtree(made.folder, ignore_errors=True)

    def _make(self, name: TableName, folder: Path, state: State, schema: str) -> Snapshot:
        copy = self._home / f"snapshot-{uuid.uuid4().hex}"
        log = copy / "_delta_log"
        log.mkdir(parents=True)
        actions: list[dict[str, object]] = [{"protocol": state.protocol}, {"metaData": state.metadata}]
        for add in state.files.values():
            _link(folder, copy, unquote(add["path"]))
            vector = deletionvectors.path_of(add["deletionVector"]) if add.get("deletionVector") else None
            if vector is not None:
                _link(folder, copy, vector)
            actions.append({"add": add})
        (log / f"{0:020}.json").write_text("\n".join(json.dumps(action) for action in actions) + "\n")
        made = TableName(name.catalog, schema, name.table)
        self._engine.register(made, copy)
        return Snapshot(made, copy)


def _link(folder: Path, copy: Path, path: str) -> None:
    target = copy / path
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        os.link(folder / path, target)
