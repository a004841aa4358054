"""Conflicts between statements that overlap in time, row by row, as WriteSerializable and deletion vectors have them.

A statement that missed commits (of others, after it was accepted) is tried on a snapshot of the table as it was when it
was accepted: which rows it touches there stands in its deletion vectors. Were any of them touched by what it missed, it
fails. If not, it runs on a snapshot of the table as it is now, without the rows that others merely appended (it never
sees those), and what it committed there becomes the table's next version - unless it now touches other rows than
before or writes another number of them: then what it missed had a part in what it does, and it fails too.

Sources: Databricks docs, "Isolation levels", "Row-level concurrency" (the conflict matrix; an INSERT that reads its own
table counts as a MERGE) and "Error conditions" (DELTA_CONCURRENT_APPEND, DELTA_CONCURRENT_DELETE_READ,
DELTA_METADATA_CHANGED; all SQLSTATE 2D521).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import deletionvectors
from .delta import State
from .failures import SqlFailure
from .names import TableName
from .snapshots import Snapshot

if TYPE_CHECKING:
    from .writing import Missed, Work

_SQLSTATE = "2D521"
Finish = Callable[[State, Path], None]
_Touched = dict[str, Any]
"""The positions of rows by data file; None stands for the whole file."""
_Effect = tuple[_Touched, int]
"""Which rows a statement touched, and how many it wrote."""


def refuse_changed_metadata(work: Work, missed: Sequence[Missed]) -> None:
    """Fail a statement that missed a change of the table's schema, properties or protocol (a replacement does that)."""
    if not missed:
        return
    logs = work.run.logs
    old, new = logs.state(work.folder, missed[0].version - 1), logs.state(work.folder)
    if (old.metadata, old.protocol) != (new.metadata, new.protocol):
        raise SqlFailure(
            "DELTA_METADATA_CHANGED",
            "MetadataChangedException: The metadata of the Delta table has been changed by a concurrent update. "
            "Please try the operation again.",
            _SQLSTATE,
        )


def refuse_other_changes(work: Work, missed: Sequence[Missed]) -> None:
    """Fail a statement that read or replaces the whole table and missed a change of it, be it of any row.

    Blind appends are none, and neither is what a statement missed of another table.
    """
    refuse_changed_metadata(work, missed)
    if not all(each.blind for each in missed):
        raise _conflict(work, missed)


def commit_over(
    work: Work, missed: Sequence[Missed], sql_for: Callable[[TableName], str], finish: Finish | None = None
) -> None:
    """Commit a statement that missed others' changes, or raise the conflict.

    `finish` commits what the statement did to a snapshot that was in a state and lies in a folder; without it, all of
    that is committed as the engine did it.
    """
    logs, folder = work.run.logs, work.folder
    now = logs.state(folder)
    tried = None
    if not all(each.blind for each in missed):
        then = logs.state(folder, missed[0].version - 1)
        tried = _try(work, then, sql_for)
        by_file = bool(now.metadata.get("partitionColumns"))  # those have no row-level concurrency on Databricks
        if _overlap(tried[0], _difference(then, now, folder), by_file=by_file):
            raise _conflict(work, missed)
    appended: set[str] = set()
    for each in missed:
        if each.blind:
            appended |= (
                logs.state(folder, each.version).files.keys() - logs.state(folder, each.version - 1).files.keys()
            )
    visible = State(now.version, now.metadata, now.protocol, {p: a for p, a in now.files.items() if p not in appended})
    with work.run.snapshots.of_state(work.name, folder, visible) as snapshot:
        work.run.command(sql_for(snapshot.name))
        if tried is not None and not _same(tried, _effect(work, visible, snapshot)):
            raise _conflict(work, missed)
        if finish is None:
            logs.publish(folder, snapshot.folder)
        else:
            finish(visible, snapshot.folder)


def _try(work: Work, state: State, sql_for: Callable[[TableName], str]) -> _Effect:
    with work.run.snapshots.of_state(work.name, work.folder, state) as snapshot:
        work.run.command(sql_for(snapshot.name))
        return _effect(work, state, snapshot)


def _effect(work: Work, before: State, snapshot: Snapshot) -> _Effect:
    after = work.run.logs.state(snapshot.folder)
    written = sum(after.rows(path) for path in after.files.keys() - before.files.keys())
    return _difference(before, after, snapshot.folder), written


def _difference(old: State, new: State, folder: Path) -> _Touched:
    """The rows of `old` that are gone in `new`; an update removes a row and adds another."""
    touched: _Touched = {}
    for path, add in old.files.items():
        kept = new.files.get(path)
        if kept is None:
            touched[path] = None
        elif kept.get("deletionVector") != add.get("deletionVector"):
            gone = deletionvectors.rows(folder, kept.get("deletionVector"))
            touched[path] = np.setdiff1d(gone, deletionvectors.rows(folder, add.get("deletionVector")))
    return touched


def _overlap(mine: _Touched, theirs: _Touched, *, by_file: bool) -> bool:
    return any(
        by_file or mine[path] is None or theirs[path] is None or np.intersect1d(mine[path], theirs[path]).size
        for path in mine.keys() & theirs.keys()
    )


def _same(first: _Effect, second: _Effect) -> bool:
    touched, written = first
    again, written_again = second
    if written != written_again or touched.keys() != again.keys():
        return False
    return all(np.array_equal(touched[path], again[path]) for path in touched)


def _conflict(work: Work, missed: Sequence[Missed]) -> SqlFailure:
    """The failure, told of the newest commit that was no mere append."""
    version = max(each.version for each in missed if not each.blind)
    (commit,) = (each for each in work.run.logs.commits(work.folder, after=version - 1) if each.version == version)
    operation = str(commit.info.get("operation", "WRITE"))
    name = ".".join((work.name.catalog, work.name.schema, work.name.table))
    hint = (
        "Please retry the operation. Refer to "
        "https://docs.databricks.com/optimizations/isolation-level.html for more information."
    )
    if operation == "DELETE":
        return SqlFailure(
            "DELTA_CONCURRENT_DELETE_READ.ROW_LEVEL_CHANGES",
            f"Transaction conflict detected, a concurrent {operation} deleted data from table {name} (committed at "
            f"version {version}) that this transaction read. The concurrent operation deleted rows that this "
            f"transaction attempted to read. {hint}",
            _SQLSTATE,
        )
    return SqlFailure(
        "DELTA_CONCURRENT_APPEND.ROW_LEVEL_CHANGES",
        f"Transaction conflict detected. A concurrent {operation} added data to table {name} committed at version "
        f"{version}. The concurrent operation modified the same rows that this transaction attempted to modify. "
        f"{hint}",
        _SQLSTATE,
    )
