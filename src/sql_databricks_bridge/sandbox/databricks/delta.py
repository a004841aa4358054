"""Reading (and, for one operation, writing) a Delta table's transaction log.

The log tells what the engine's answers don't: the columns with their defaults, how many rows a commit added, changed
and removed, and the history. Source: the Delta transaction log protocol (actions metaData, add, remove, commitInfo;
deletion vectors). The JSON commits are read from version 0 on; nothing here deletes old ones.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
class _State:
    version: int = -1
    metadata: dict[str, Any] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)


class DeltaLogs:
    """The logs of all tables, each read as far as it was needed. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[Path, _State] = {}

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

    def replace(self, folder: Path, staged: Path, operation: str) -> None:
        """Commit the content of the table in `staged` as the next version of the one in `folder`.

        This is CREATE OR REPLACE: the new schema and files, all older files removed from the newest version, and every
        older version as readable as before. The staged data files move into `folder`. Only one writer at a time.
        """
        old, new = self._advanced(folder), self._advanced(staged)
        now_ms = max(commit.info.get("timestamp", 0) for commit in new.commits)
        actions: list[dict[str, Any]] = [
            {
                "commitInfo": {
                    "timestamp": now_ms,
                    "operation": operation,
                    "operationParameters": {"isManaged": "true"},
                    "isBlindAppend": False,
                    "operationMetrics": {"numOutputRows": str(sum(commit.rows_added for commit in new.commits))},
                }
            },
            {"protocol": _wider(old.protocol, new.protocol)},
            {"metaData": {**new.metadata, "id": old.metadata["id"]}},
        ]
        for path, add in old.files.items():
            removed = {key: add[key] for key in ("partitionValues", "size", "deletionVector") if key in add}
            about = {"path": path, "dataChange": True, "deletionTimestamp": now_ms, "extendedFileMetadata": True}
            actions.append({"remove": {**about, **removed}})
        for path, add in new.files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(staged / path, target)
            actions.append({"add": add})
        commit = folder / "_delta_log" / f"{old.version + 1:020}.json"
        with commit.open("x") as file:
            file.write("\n".join(json.dumps(action, separators=(",", ":")) for action in actions) + "\n")

    def _advanced(self, folder: Path) -> _State:
        with self._lock:
            state = self._states.setdefault(folder, _State())
            while True:
                path = folder / "_delta_log" / f"{state.version + 1:020}.json"
                try:
                    lines = path.read_text().splitlines()
                except FileNotFoundError:
                    return state
                _apply(state, [json.loads(line) for line in lines if line])


def _apply(state: _State, actions: list[dict[str, Any]]) -> None:
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
        field["name"], _sql_type(field["type"]), field["nullable"], about.get("CURRENT_DEFAULT"), about.get("comment")
    )


def _sql_type(delta: Any) -> str:
    if isinstance(delta, str):
        return _TYPES.get(delta, delta)
    kind = delta["type"]
    if kind == "array":
        return f"array<{_sql_type(delta['elementType'])}>"
    if kind == "map":
        return f"map<{_sql_type(delta['keyType'])},{_sql_type(delta['valueType'])}>"
    if kind == "struct":
        fields = ",".join(f"{each['name']}:{_sql_type(each['type'])}" for each in delta["fields"])
        return f"struct<{fields}>"
    raise ValueError(f"unknown Delta type {kind!r}")
