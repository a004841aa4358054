"""Reading a Delta table's transaction log, and the few things that are written into it past the engine.

The log tells what the engine's answers don't: the columns with their defaults, how many rows a commit added, changed
and removed, and the history. Source: the Delta transaction log protocol (actions metaData, add, remove, commitInfo;
deletion vectors). The JSON commits are read from version 0 on; nothing here deletes old ones.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import logfiles

_RECENT = 200
"""How many versions of a table are remembered whole; older ones are read again from the log."""
_TYPES = {"integer": "int", "long": "bigint", "short": "smallint", "byte": "tinyint"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; `sql_type` as Spark writes it, such as array<string>; `default` is an SQL expression."""

    name: str
    sql_type: str
    nullable: bool
    default: str | None
    comment: str | None


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit. `rows_gained` is negative where it removed more rows than it added."""

    version: int
    info: dict[str, Any]
    rows_added: int
    rows_gained: int

    def metric(self, name: str) -> int:
        """One of the engine's operation metrics; 0 where it has none."""
        return int(self.info.get("operationMetrics", {}).get(name, 0))


@dataclass(slots=True)
class State:
    """A table at one version. `files` has the `add` action of each data file by its path."""

    version: int = -1
    metadata: dict[str, Any] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)

    def rows(self, path: str) -> int:
        """How many rows of a data file are in the table."""
        return _rows(self.files[path])


class DeltaLogs:
    """The logs of all tables, each read as far as it was needed. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[Path, State] = {}
        self._recent: dict[Path, dict[int, State]] = {}

    def version(self, folder: Path) -> int:
        """The newest version of the table in `folder`; -1 if there is none."""
        return self._advanced(folder).version

    def columns(self, folder: Path) -> list[Column]:
        """The table's columns now."""
        schema = json.loads(self._advanced(folder).metadata["schemaString"])
        return [_column(each) for each in schema["fields"]]

    def properties(self, folder: Path) -> dict[str, str]:
        """The table's properties."""
        return dict(self._advanced(folder).metadata.get("configuration", {}))

    def commits(self, folder: Path, after: int = -1) -> list[Commit]:
        """All commits with a version above `after`, oldest first."""
        return [commit for commit in self._advanced(folder).commits if commit.version > after]

    def description(self, folder: Path) -> str | None:
        """The table's comment."""
        found = self._advanced(folder).metadata.get("description")
        return None if found is None else str(found)

    def state(self, folder: Path, version: int | None = None) -> State:
        """The table at a version that exists (None: the newest), for reading; without its commits."""
        newest = self._advanced(folder)
        if version is None:
            version = newest.version
        with self._lock:
            recent = self._recent.get(folder, {}).get(version)
        if recent is not None:
            return recent
        state = State()
        for number in range(version + 1):
            _apply(state, logfiles.read(folder, number))
        return state

    def forget(self, folder: Path) -> None:
        """Drop what is remembered of a folder that goes."""
        with self._lock:
            self._states.pop(folder, None)
            self._recent.pop(folder, None)

    def tidy(self, folder: Path, after: int) -> None:
        """Take files without a row left out of the commits above `after`, as Delta does; the engine keeps them.

        Only by who has just made these commits. A reader that comes between reads the same rows.
        """
        version = after
        while logfiles.path_of(folder, version := version + 1).exists():
            actions = logfiles.read(folder, version)
            kept = [action for action in actions if "add" not in action or _rows(action["add"])]
            if len(kept) < len(actions):
                logfiles.amend(folder, version, kept)

    def publish(self, folder: Path, staged: Path) -> None:
        """Commit to the table in `folder` what was committed to its snapshot in `staged` after version 0.

        The new data files and deletion vectors move into `folder`. Only one writer at a time.
        """
        version = self.version(folder)
        _move(staged, folder)
        for number in range(1, self.version(staged) + 1):
            logfiles.write(folder, version + number, logfiles.read(staged, number))

    def replace(self, folder: Path, staged: Path, operation: str) -> None:
        """Commit the content of the table in `staged` as the next version of the one in `folder`.

        This is CREATE OR REPLACE: the new schema and files, all older files removed from the newest version, and every
        older version as readable as before. The staged data files move into `folder`. Only one writer at a time.
        """
        old, new = self._advanced(folder), self._advanced(staged)
        info = _commit_info(operation, {"isManaged": "true"}, sum(commit.rows_added for commit in new.commits))
        actions: list[logfiles.Action] = [
            {"commitInfo": info},
            {"protocol": _wider(old.protocol, new.protocol)},
            {"metaData": {**new.metadata, "id": old.metadata["id"]}},
        ]
        actions += (_removal(add, info["timestamp"]) for add in old.files.values())
        actions += ({"add": add} for add in new.files.values())
        _move(staged, folder)
        logfiles.write(folder, old.version + 1, actions)

    def exchange(self, folder: Path, cut: tuple[State, Path], added: Path, parameters: dict[str, str]) -> None:
        """Commit in one version: the rows go that went from a snapshot, the rows of another table in `added` come.

        `cut` is the snapshot's state before, and where it lies now. Files of both move into `folder`. Only one writer
        at a time.
        """
        before, staged = cut
        after, new = self._advanced(staged), self._advanced(added)
        info = _commit_info("WRITE", parameters, sum(commit.rows_added for commit in new.commits))
        actions: list[logfiles.Action] = [{"commitInfo": info}]
        for path, add in before.files.items():
            if after.files.get(path) != add:
                actions.append(_removal(add, info["timestamp"]))
        kept = [add for path, add in after.files.items() if before.files.get(path) != add]
        actions += ({"add": add} for add in (*kept, *new.files.values()))
        _move(staged, folder)
        _move(added, folder)
        logfiles.write(folder, self.version(folder) + 1, actions)

    def alter(self, folder: Path, metadata: dict[str, Any], protocol: dict[str, Any], change: tuple[str, Any]) -> None:
        """Commit another schema, comment or properties; `change` is the operation with its parameters.

        Only one writer at a time.
        """
        old = self._advanced(folder)
        actions: list[logfiles.Action] = [{"commitInfo": _commit_info(*change, 0)}]
        if protocol != old.protocol:
            actions.append({"protocol": protocol})
        logfiles.write(folder, old.version + 1, [*actions, {"metaData": metadata}])

    def _advanced(self, folder: Path) -> State:
        with self._lock:
            state = self._states.setdefault(folder, State())
            while True:
                try:
                    actions = logfiles.read(folder, state.version + 1)
                except FileNotFoundError:
                    return state
                _apply(state, actions)
                recent = self._recent.setdefault(folder, {})
                recent[state.version] = State(state.version, state.metadata, state.protocol, dict(state.files))
                recent.pop(state.version - _RECENT, None)


def _apply(state: State, actions: list[dict[str, Any]]) -> None:
    info: dict[str, Any] = {}
    added = gained = 0
    # Removals first: a commit that puts a new deletion vector on a file removes and adds the same path.
    for action in actions:
        if "remove" in action:
            gone = state.files.pop(action["remove"]["path"], None)
            gained -= _rows(gone) if gone else 0
    for action in actions:
        if "add" in action:
            state.files[action["add"]["path"]] = action["add"]
            added += _rows(action["add"])
        elif "metaData" in action:
            state.metadata = action["metaData"]
        elif "protocol" in action:
            state.protocol = action["protocol"]
        elif "commitInfo" in action:
            info = action["commitInfo"]
    state.version += 1
    state.commits.append(Commit(state.version, info, added, gained + added))


def _commit_info(operation: str, parameters: dict[str, Any], rows: int) -> dict[str, Any]:
    return {
        "timestamp": time.time_ns() // 1_000_000,
        "operation": operation,
        "operationParameters": parameters,
        "isBlindAppend": False,
        "operationMetrics": {"numOutputRows": str(rows)},
    }


def _removal(add: dict[str, Any], now_ms: int) -> logfiles.Action:
    about = {"path": add["path"], "dataChange": True, "deletionTimestamp": now_ms, "extendedFileMetadata": True}
    return {"remove": about | {key: add[key] for key in ("partitionValues", "size", "deletionVector") if key in add}}


def _move(staged: Path, folder: Path) -> None:
    """Move data files and deletion vectors, but for what is there: links to the same files."""
    for root, _, names in os.walk(staged):
        where = Path(root).relative_to(staged)
        if where.parts[:1] == ("_delta_log",):
            continue
        for name in names:
            target = folder / where / name
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                os.rename(Path(root, name), target)


def _rows(add: dict[str, Any]) -> int:
    records = json.loads(add.get("stats") or "{}").get("numRecords")
    if records is None:
        raise ValueError(f"the Delta log has no row count for {add['path']}")
    vector = add.get("deletionVector") or {}
    return int(records) - int(vector.get("cardinality", 0))


def _wider(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """A protocol that covers both: a table's features never shrink while older versions need them."""
    merged: dict[str, Any] = {}
    for version in ("minReaderVersion", "minWriterVersion"):
        merged[version] = max(old.get(version, 1), new.get(version, 1))
    for features in ("readerFeatures", "writerFeatures"):
        both = sorted(set(old.get(features) or []) | set(new.get(features) or []))
        if both:
            merged[features] = both
    return merged


def _column(field: dict[str, Any]) -> Column:
    about = field.get("metadata", {})
    return Column(
        field["name"], sql_type(field["type"]), field["nullable"], about.get("CURRENT_DEFAULT"), about.get("comment")
    )


def sql_type(delta: Any) -> str:
    """A type of a Delta schema as Spark writes it."""
    if isinstance(delta, str):
        return _TYPES.get(delta, delta)
    kind = delta["type"]
    if kind == "array":
        return f"array<{sql_type(delta['elementType'])}>"
    if kind == "map":
        return f"map<{sql_type(delta['keyType'])},{sql_type(delta['valueType'])}>"
    if kind == "struct":
        fields = ",".join(f"{each['name']}:{sql_type(each['type'])}" for each in delta["fields"])
        return f"struct<{fields}>"
    raise ValueError(f"unknown Delta type {kind!r}")
