"""The rows of two landed runs, compared exactly and in bounded memory.

Both runs are dealt into the same number of buckets on disk, by a hash of the key: rows that are to be compared are in
buckets of the same number, so that one pair of buckets is in memory at a time. The hash only deals; it decides nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from sql_databricks_bridge.core.ports import Lakehouse
from sql_databricks_bridge.core.runs import PublishedRun
from sql_databricks_bridge.core.spool import spool_error
from sql_databricks_bridge.errors import LandingError

BUCKET_BYTES = 4 << 20
"""Parquet bytes of a run that one bucket stands for; in memory they are some ten times as many."""

_BUCKETS_AT_MOST = 128  # each is an open file while a run is dealt


@dataclass(frozen=True, slots=True)
class RowChanges:
    """How many rows differ; `changed` is None where no key tells which row became which.

    `columns` were compared, `key` among them; values are compared as Polars does: NULL is NULL and NaN is NaN.
    """

    added: int
    removed: int
    changed: int | None
    columns: tuple[str, ...]
    key: tuple[str, ...] = ()

    @property
    def none(self) -> bool:
        """Whether the rows are the same."""
        return not (self.added or self.removed or self.changed)


def compare_rows(
    lakehouse: Lakehouse,
    before: PublishedRun,
    after: PublishedRun,
    columns: Sequence[str],
    key: Sequence[str],
    folder: Path,
    bucket_bytes: int = BUCKET_BYTES,
) -> RowChanges:
    """Compare the rows of both in `columns`, by `key` (some of them) or, without one, as multisets.

    Where a key stands in several rows of a run it tells nothing, and the rows are compared as multisets too: the
    result then has no `key`. `folder` is empty and takes the buckets.
    """
    ordered = [*key, *(name for name in columns if name not in key)]
    size = max(run.manifest.size_bytes for run in (before, after))
    buckets = min(1 + size // bucket_bytes, _BUCKETS_AT_MOST)
    for side, run in (("before", before), ("after", after)):
        _deal(_frames(lakehouse, run, ordered), len(key) or len(ordered), buckets, folder / side)
    pairs = [(folder / "before" / str(number), folder / "after" / str(number)) for number in range(buckets)]
    if key:
        keyed = _by_key(pairs, len(key))
        if keyed is not None:
            return RowChanges(*keyed, columns=tuple(columns), key=tuple(key))
    added = removed = 0
    for old, new in _loaded(pairs):
        more, fewer = _as_multisets(old, new)
        added, removed = added + more, removed + fewer
    return RowChanges(added, removed, None, tuple(columns))


def _frames(lakehouse: Lakehouse, run: PublishedRun, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The run's rows, a row group at a time; one part is in memory. Columns are renamed '0', '1', ... in order."""
    for path, part in zip(run.files, run.manifest.parts, strict=True):
        content = lakehouse.read(path)
        if hashlib.sha256(content).hexdigest() != part.sha256:
            raise LandingError(
                f"{path} is not the file that its manifest names: its SHA-256 differs.",
                hint="Somebody changed it; land the query again.",
            )
        file = pq.ParquetFile(pa.BufferReader(content))
        for number in range(file.num_row_groups):
            table = file.read_row_group(number).select(list(columns))
            yield pl.DataFrame(pl.from_arrow(table.rename_columns(list(map(str, range(len(columns)))))))


def _deal(frames: Iterator[pl.DataFrame], hashed: int, buckets: int, folder: Path) -> None:
    """Write the rows into files '0', '1', ... of `folder` by a hash of their first `hashed` columns."""
    names = [str(number) for number in range(hashed)]
    writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
    try:
        folder.mkdir()
        with ExitStack() as closing:
            for frame in frames:
                by_hash = frame.select(names).hash_rows(seed=0) % buckets
                dealt = frame.with_columns(by_hash.alias("bucket")).partition_by(
                    "bucket", as_dict=True, include_key=False
                )
                for (number,), rows in dealt.items():
                    table = rows.to_arrow()
                    if number not in writers:
                        stream = pa.ipc.new_stream(str(folder / str(number)), table.schema)
                        writers[number] = closing.enter_context(stream)
                    writers[number].write_table(table)
    except OSError as exc:
        raise spool_error(exc, folder) from exc


def _loaded(pairs: Sequence[tuple[Path, Path]]) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Each pair of buckets with any row; a side without rows has the columns of the other."""
    for files in pairs:
        tables = [pa.ipc.open_stream(pa.memory_map(str(file))).read_all() if file.exists() else None for file in files]
        old, new = (None if table is None else pl.DataFrame(pl.from_arrow(table)) for table in tables)
        if old is not None or new is not None:
            some = old if old is not None else new
            assert some is not None
            yield (some.clear() if old is None else old), (some.clear() if new is None else new)


def _by_key(pairs: Sequence[tuple[Path, Path]], width: int) -> tuple[int, int, int] | None:
    """Rows added, removed and changed by the first `width` columns; None where those stand in several rows of a run."""
    key = [str(number) for number in range(width)]
    added = removed = changed = 0
    for old, new in _loaded(pairs):
        if old.select(key).is_duplicated().any() or new.select(key).is_duplicated().any():
            return None
        values = [name for name in new.columns if name not in key]
        both = old.join(new, on=key, how="inner", nulls_equal=True, suffix="-new")
        added += new.height - both.height
        removed += old.height - both.height
        if values:
            differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}-new")) for name in values)
            changed += both.filter(differs).height
    return added, removed, changed


def _as_multisets(old: pl.DataFrame, new: pl.DataFrame) -> tuple[int, int]:
    """How many rows, counted as often as they stand there, are only in `new`, and only in `old`."""
    names = new.columns
    counts = (
        old.group_by(names)
        .len("before")
        .join(new.group_by(names).len("after"), on=names, how="full", coalesce=True, nulls_equal=True)
    )
    more = pl.col("after").fill_null(0).cast(pl.Int64) - pl.col("before").fill_null(0).cast(pl.Int64)
    added, removed = counts.select(added=more.clip(lower_bound=0).sum(), removed=(-more).clip(lower_bound=0).sum()).row(
        0
    )
    return int(added), int(removed)
