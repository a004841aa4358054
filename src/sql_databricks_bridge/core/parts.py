"""Parts: the Parquet files of one query, written to the spool one after the other."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sql_databricks_bridge.core.spool import spool_error

_SPARK_VERSION = "3.5.0"
"""Without this footer key Spark 3 may refuse dates before 1582 and timestamps before 1900 as "written by Spark 2"."""


@dataclass(frozen=True, slots=True)
class SpooledPart:
    """A finished part: `path` is local, `size_bytes` its Parquet bytes, `sha256` of the whole file."""

    path: Path
    rows: int
    size_bytes: int
    sha256: str


class PartWriter:
    """Writes record batches into numbered parts of about `part_bytes` of Arrow each.

    Row groups are cut by bytes too, so that what waits in memory is bounded for 200 columns and for 1 MiB values.
    """

    def __init__(self, folder: Path, schema: pa.Schema, *, part_bytes: int, row_group_bytes: int) -> None:
        self._folder = folder
        self._schema = schema
        self._part_bytes = part_bytes
        self._row_group_bytes = row_group_bytes
        self._number = 0
        self._file: _HashingFile | None = None
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0
        self._rows = 0
        self._part_size = 0

    def write(self, batch: pa.RecordBatch) -> SpooledPart | None:
        """Take a batch of the schema; return a part where that filled one."""
        size = batch.nbytes
        self._waiting.append(batch)
        self._waiting_bytes += size
        self._part_size += size
        self._rows += batch.num_rows
        if self._part_size >= self._part_bytes:
            return self._finish()
        if self._waiting_bytes >= self._row_group_bytes:
            self._write_row_group()
        return None

    def close(self) -> SpooledPart | None:
        """Finish the last part; the first one is written even without a row, since an empty result has a schema."""
        if self._rows or self._number == 0:
            return self._finish()
        return None

    def abandon(self) -> None:
        """Let go of an unfinished part; its file goes with the spool."""
        self._waiting.clear()
        if self._file is not None:
            self._file.discard()
        self._writer = None

    def _finish(self) -> SpooledPart:
        self._write_row_group()
        writer, file = self._open()
        try:
            writer.close()
            file.finish()
        except OSError as exc:
            raise spool_error(exc, self._folder) from exc
        part = SpooledPart(file.path, self._rows, file.size, file.sha256)
        self._number += 1
        self._writer = self._file = None
        self._rows = self._part_size = 0
        return part

    def _write_row_group(self) -> None:
        writer, _ = self._open()
        table = pa.Table.from_batches(self._waiting, schema=self._schema)
        self._waiting.clear()
        self._waiting_bytes = 0
        try:
            if table.num_rows:
                writer.write_table(table, row_group_size=table.num_rows)
        except OSError as exc:
            raise spool_error(exc, self._folder) from exc

    def _open(self) -> tuple[pq.ParquetWriter, _HashingFile]:
        if self._writer is None or self._file is None:
            try:
                self._file = _HashingFile(self._folder / f"part-{self._number:05d}.parquet")
                self._writer = pq.ParquetWriter(
                    pa.PythonFile(self._file, mode="w"),
                    self._schema,
                    version="2.6",
                    data_page_version="1.0",
                    compression="zstd",
                    write_statistics=True,
                    store_schema=True,
                )
            except OSError as exc:
                raise spool_error(exc, self._folder) from exc
            self._writer.add_key_value_metadata({"org.apache.spark.version": _SPARK_VERSION})
        return self._writer, self._file


class _HashingFile(io.RawIOBase):
    """A file that is hashed while it is written; Parquet writes front to back and never seeks."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.size = 0
        self._digest = hashlib.sha256()
        self._file: IO[bytes] = path.open("xb", buffering=1 << 20)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data)
        if self._file.closed:  # discarded: a Parquet writer that is collected writes its footer
            return view.nbytes
        self._file.write(view)
        self._digest.update(view)
        self.size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        """Leave buffering to the file: the Parquet writer flushes after each page."""

    def close(self) -> None:
        """Stay open for `finish`: closing the Parquet writer closes its sink, and a full disk must be heard."""

    def finish(self) -> None:
        """Write out what is buffered and close; `OSError` where the disk is full."""
        self._file.close()

    def discard(self) -> None:
        """Close without hearing of a full disk."""
        try:
            self._file.close()
        except OSError:
            return
