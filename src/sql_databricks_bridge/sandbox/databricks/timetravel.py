"""Which version of a table a statement reads, and the snapshot that holds it: `VERSION AS OF`, `TIMESTAMP AS OF`.

Sources: Databricks SQL reference, "table reference" (temporal specification); Databricks docs, "Work with table
history" and "Error conditions" (DELTA_VERSION_NOT_FOUND, DELTA_TIMESTAMP_*).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from sqlglot import exp

from .execution import Execution
from .failures import SqlFailure, unsupported
from .names import TableName


def travel(run: Execution, name: TableName, wanted: exp.Version | None, target: TableName | None = None) -> TableName:
    """The engine's name for a table at a version. Raises `SqlFailure` for a version that is not there.

    Without a version it is the table as it was when the statement was accepted: what was committed to it since then the
    statement has not seen, and nobody tells it. The `target` of a change is left alone; its conflicts are looked for.
    """
    if wanted is None:
        return name if name == target else _as_accepted(run, name)
    folder = run.catalog.table_folder(run.catalog.table(name.catalog, name.schema, name.table))
    value = wanted.expression
    if not isinstance(value, exp.Literal):
        raise unsupported(f"{wanted.name} AS OF with anything but a literal")
    version = _numbered(run, folder, value.name) if wanted.name == "VERSION" else _timed(run, folder, value.name)
    return run.snapshots.at_version(name, folder, version).name


def _as_accepted(run: Execution, name: TableName) -> TableName:
    folder = run.catalog.table_folder(run.catalog.table(name.catalog, name.schema, name.table))
    missed = run.writers.missed(folder, run.began) if run.writers.detect else []
    return run.snapshots.at_version(name, folder, missed[0].version - 1).name if missed else name


def _numbered(run: Execution, folder: Path, text: str) -> int:
    newest = run.logs.version(folder)
    if not (text.isascii() and text.isdigit()):
        raise SqlFailure("INVALID_TIME_TRAVEL_SPEC", f"{text!r} is no version of a table.", "42K0E")
    if int(text) > newest:
        raise SqlFailure(
            "DELTA_VERSION_NOT_FOUND",
            f"Cannot time travel Delta table to version {text}. Available versions: [0, {newest}].",
            "22003",
        )
    return int(text)


def _timed(run: Execution, folder: Path, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SqlFailure(
            "INVALID_TIMESTAMP_FORMAT", f"The provided timestamp {text} is no timestamp.", "22007"
        ) from None
    wanted_ms = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000
    commits = run.logs.commits(folder)
    times = [int(commit.info.get("timestamp", 0)) for commit in commits]
    found = [commit.version for commit, time_ms in zip(commits, times, strict=True) if time_ms <= wanted_ms]
    if not found:
        raise SqlFailure(
            "DELTA_TIMESTAMP_EARLIER_THAN_COMMIT_RETENTION",
            f"The provided timestamp ({text}) is before the earliest version available to this table.",
            "42816",
        )
    if wanted_ms > times[-1]:
        raise SqlFailure(
            "DELTA_TIMESTAMP_GREATER_THAN_COMMIT",
            f"The provided timestamp ({text}) is after the latest version available to this table.",
            "42816",
        )
    return found[-1]
