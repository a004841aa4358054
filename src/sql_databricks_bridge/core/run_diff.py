"""What differs between two landed runs of a query: columns, parameters, the query's text, and the rows themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from sql_databricks_bridge.core.manifest import Manifest, ManifestColumn
from sql_databricks_bridge.core.ports import Lakehouse
from sql_databricks_bridge.core.row_diff import BUCKET_BYTES, RowChanges, compare_rows
from sql_databricks_bridge.core.runs import PublishedRun
from sql_databricks_bridge.core.spool import run_spool
from sql_databricks_bridge.models.publishing import DELETED_COLUMN, RANGE_COLUMN
from sql_databricks_bridge.models.tables import find_named

ROWS_AT_MOST = 5_000_000
"""Rows of the larger run up to which both are read and compared."""


class Verdict(StrEnum):
    """What two runs are to each other, by what landed: their columns and rows."""

    SAME = "same"
    DIFFERENT = "different"
    UNKNOWN = "unknown"
    """Nothing differs as far as was looked, and the rows were not compared."""


@dataclass(frozen=True, slots=True)
class Changed:
    """Something that differs, by name; None where the run has none of it.

    Of a column, its SQL Server type and whether it takes NULL; of a parameter, its value as the manifest has it.
    """

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class RunDiff:
    """What differs between two landed runs of one query.

    `rows` is None where rows were not compared; `not_compared` then says why. `columns` and `parameters` hold only
    what differs.
    """

    before: PublishedRun
    after: PublishedRun
    columns: tuple[Changed, ...] = ()
    parameters: tuple[Changed, ...] = ()
    query_changed: bool = False
    rows: RowChanges | None = None
    not_compared: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Same columns and rows or not, whatever the query's text and parameters are."""
        old, new = self.before.manifest, self.after.manifest
        whole = old.increment is None and new.increment is None
        if self.columns or (whole and old.rows != new.rows) or (self.rows is not None and not self.rows.none):
            return Verdict.DIFFERENT
        return Verdict.UNKNOWN if self.rows is None else Verdict.SAME


def compare(
    lakehouse: Lakehouse,
    before: PublishedRun,
    after: PublishedRun,
    key: Sequence[str] = (),
    *,
    rows_at_most: int = ROWS_AT_MOST,
    bucket_bytes: int = BUCKET_BYTES,
    spool_dir: Path | None = None,
) -> RunDiff:
    """Compare two landed runs of one query; rows by `key` where there is one and both have it, else as multisets.

    Columns that only one has, or that have another Arrow type, are told and not compared row by row. Rows go through
    files in `spool_dir` (None: the spool's default), so that memory is bounded whatever their number. `LandingError`
    where a part is not what its manifest says, `SpoolError` where the disk is full.
    """
    old, new = before.manifest, after.manifest
    diff = RunDiff(before, after, _columns(old, new), _parameters(old, new), old.query_sha256 != new.query_sha256)
    alike = _alike(old, new)
    if not diff.columns and _files(old) == _files(new) and old.increment == new.increment:
        return replace(diff, rows=RowChanges(0, 0, None, alike), notes=("every part has the same SHA-256",))
    reason = _not_comparable(old, new, rows_at_most, alike)
    if reason is not None:
        return replace(diff, not_compared=reason)
    found_key = [name for name in (find_named(name, alike) for name in key) if name is not None]
    by = found_key if len(found_key) == len(key) else []
    with run_spool(spool_dir) as folder:
        rows = compare_rows(lakehouse, before, after, alike, by, folder, bucket_bytes)
    if key and not rows.key:
        why = "is not unique" if by else "is not alike in both"
        diff = replace(diff, notes=(f"the key ({', '.join(key)}) {why}: rows are compared as a whole",))
    return replace(diff, rows=rows)


def _not_comparable(old: Manifest, new: Manifest, rows_at_most: int, alike: Sequence[str]) -> str | None:
    """Say why rows can't be compared, None where they can."""
    if old.increment is not None or new.increment is not None:
        which = " and ".join(manifest.run_id for manifest in (old, new) if manifest.increment is not None)
        return f"{which} holds an increment, not the whole result"
    if max(old.rows, new.rows) > rows_at_most:
        return f"{max(old.rows, new.rows):,} rows are more than {rows_at_most:,}"
    return None if alike else "no column is alike in both"


def _columns(old: Manifest, new: Manifest) -> tuple[Changed, ...]:
    before, after = (
        {column.name: f"{column.sql_type}{'' if column.nullable else ' NOT NULL'}" for column in _of_query(manifest)}
        for manifest in (old, new)
    )
    return _changed(before, after)


def _parameters(old: Manifest, new: Manifest) -> tuple[Changed, ...]:
    return _changed(
        {("@" if one.declaration else "") + one.name: _value(one.value) for one in old.parameters},
        {("@" if one.declaration else "") + one.name: _value(one.value) for one in new.parameters},
    )


def _value(value: str | None) -> str:
    return "NULL" if value is None else value


def _changed(old: dict[str, str], new: dict[str, str]) -> tuple[Changed, ...]:
    return tuple(
        Changed(name, old.get(name), new.get(name)) for name in {**old, **new} if old.get(name) != new.get(name)
    )


def _alike(old: Manifest, new: Manifest) -> tuple[str, ...]:
    """Columns of the same name and Arrow type."""
    types = {column.name: column.arrow_type for column in _of_query(old)}
    return tuple(column.name for column in _of_query(new) if types.get(column.name) == column.arrow_type)


def _of_query(manifest: Manifest) -> list[ManifestColumn]:
    """The query's own columns: those that the bridge adds for an increment say nothing about the result."""
    return [column for column in manifest.schema if column.name not in (DELETED_COLUMN, RANGE_COLUMN)]


def _files(manifest: Manifest) -> list[str]:
    return [part.sha256 for part in manifest.parts]
