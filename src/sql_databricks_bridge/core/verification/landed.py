"""The landed side: the run's own files, each checked against its manifest, or a Delta table at one version."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sql_databricks_bridge.core.manifest import ManifestPart
from sql_databricks_bridge.core.ports import Lakehouse
from sql_databricks_bridge.core.runs import PublishedRun
from sql_databricks_bridge.core.spool import spool_error
from sql_databricks_bridge.errors import LandingError
from sql_databricks_bridge.models.tables import SourceName
from sql_databricks_bridge.models.verification import Against

_BATCH_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class LandedRows:
    """Landed rows that can be read again, batch by batch; `place` is a folder, or a table with its version."""

    against: Against
    place: str
    batches: Callable[[], Iterator[pa.RecordBatch]]


def of_files(lakehouse: Lakehouse, run: PublishedRun, spool: Path) -> LandedRows:
    """The run's parts, one after the other in `spool`; reading raises `LandingError` where one is not what its
    manifest says.
    """

    def batches() -> Iterator[pa.RecordBatch]:
        for path, part in zip(run.files, run.manifest.parts, strict=True):
            file = _downloaded(lakehouse, path, part, spool)
            try:
                with pq.ParquetFile(file) as parquet:
                    yield from parquet.iter_batches(_BATCH_ROWS)
            finally:
                file.unlink()

    return LandedRows(Against.FILES, run.folder.path, batches)


def of_table(lakehouse: Lakehouse, table: SourceName, soft_delete: str | None) -> LandedRows:
    """A Delta table at its newest version; rows that are marked as gone are left out."""
    version = lakehouse.table_version(table)
    where = {soft_delete: None} if soft_delete is not None else {}

    def batches() -> Iterator[pa.RecordBatch]:
        with lakehouse.read_table(table, version, where=where) as rows:
            yield from rows

    return LandedRows(Against.TABLE, f"{table} at version {version}", batches)


def _downloaded(lakehouse: Lakehouse, path: str, part: ManifestPart, spool: Path) -> Path:
    content = lakehouse.read(path)
    if hashlib.sha256(content).hexdigest() != part.sha256:
        raise LandingError(
            f"{path} is not the file that its manifest names: its SHA-256 differs.",
            hint="It was changed or damaged after it landed; extract the query again.",
        )
    file = spool / "part.parquet"
    try:
        file.write_bytes(content)
    except OSError as exc:
        raise spool_error(exc, spool) from exc
    return file
