"""One query from SQL Server to Parquet parts in a volume: fetch, encode and upload overlap in three threads or more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from sql_databricks_bridge.core.flow import Broken, ByteQueue, Flow
from sql_databricks_bridge.core.parts import PartWriter, SpooledPart
from sql_databricks_bridge.core.ports import SqlServerConnection
from sql_databricks_bridge.core.progress import Meter
from sql_databricks_bridge.core.types import DOUBTFUL, LandedSchema, doubtful
from sql_databricks_bridge.core.uploader import Landing
from sql_databricks_bridge.errors import BridgeError, LandingError, ValueRefused
from sql_databricks_bridge.models.jobs import ResolvedQuery

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bounds, in bytes of Arrow, `waiting_parts_bytes` in bytes of Parquet in the spool, not yet uploaded; so many
    `uploads` of parts are under way at once.

    A process with one query under way stays below 280 MiB with these, half of which is libraries (m); a result of 200
    nvarchar(4000) columns takes 300, because the driver binds buffers of their declared size.
    """

    batch_bytes: int = 4 * MIB
    queue_bytes: int = 8 * MIB
    row_group_bytes: int = 16 * MIB
    part_bytes: int = 128 * MIB
    waiting_parts_bytes: int = 256 * MIB
    uploads: int = 2


@dataclass(frozen=True, slots=True)
class Reader:
    """A query on a connection of its own: the whole of what is read, or one range of it."""

    connection: SqlServerConnection
    query: ResolvedQuery


class Extraction:
    """Streams one query into its landing. `run` works in the calling thread, two more, and one for each further reader;
    `fail` stops them all. The rows of several readers stand in the order in which they come.

    `doubtful` are columns whose landed values may differ from SQL Server's: complete once `run` has returned.
    """

    def __init__(
        self,
        readers: Sequence[Reader],
        landing: Landing,
        *,
        spool: Path,
        sizes: Sizes,
        meter: Meter,
        row_limit: int | None,
    ) -> None:
        self._readers = tuple(readers)
        self._query = readers[0].query
        self._landing = landing
        self._spool = spool
        self._sizes = sizes
        self._meter = meter
        self._row_limit = row_limit
        self.doubtful: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._reading = len(self._readers)
        self._flow = Flow(self._cancel)
        self._batches: ByteQueue[pa.RecordBatch] = ByteQueue(self._flow, sizes.queue_bytes)
        self._parts: ByteQueue[SpooledPart] = ByteQueue(self._flow, sizes.waiting_parts_bytes)

    def run(self, schema: LandedSchema) -> int:
        """Fetch, encode and upload everything; return the number of rows. Raises the first error of any stage."""
        first, *others = self._readers
        works: list[tuple[str, Callable[[], None]]] = [
            ("encode", lambda: self._encode(schema)),
            *(("upload", self._upload) for _ in range(self._sizes.uploads)),
            *((f"fetch {n}", partial(self._fetch, reader, schema)) for n, reader in enumerate(others, 2)),
        ]
        stages = [
            threading.Thread(target=self._stage, args=(work,), name=f"{name} {self._query.name}", daemon=True)
            for name, work in works
        ]
        for stage in stages:
            stage.start()
        self._stage(lambda: self._fetch(first, schema))
        for stage in stages:
            stage.join()
        if self._flow.failure is not None:
            raise self._flow.failure
        landed = sum(part.rows for part in self._landing.parts)
        if landed != self._meter.rows:
            raise LandingError(f"{self._meter.rows:,} rows were fetched, but {landed:,} landed.")
        return landed

    def fail(self, failure: BaseException) -> None:
        """Stop every stage; `run` then raises `failure`. From any thread."""
        self._flow.fail(failure)

    def _stage(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Broken:
            return
        except BaseException as exc:  # noqa: BLE001  the edge of a thread: whatever it is, the other stages must hear
            self._flow.fail(exc)

    def _cancel(self) -> None:
        for reader in self._readers:
            reader.connection.cancel()

    def _fetch(self, reader: Reader, schema: LandedSchema) -> None:
        rows = 0
        with reader.connection.stream(
            reader.query, batch_bytes=self._sizes.batch_bytes, row_limit=self._row_limit
        ) as batches:
            for raw in batches:
                for batch in schema.convert(raw, rows):
                    self._look_for_doubt(schema, batch)
                    size = batch.nbytes
                    self._batches.put(batch, size)
                    with self._lock:
                        self._meter.fetched(batch.num_rows, size)
                    rows += batch.num_rows
        with self._lock:
            self._reading -= 1
            was_last = self._reading == 0
        if was_last:
            self._batches.close()

    def _look_for_doubt(self, schema: LandedSchema, batch: pa.RecordBatch) -> None:
        """Note columns that may not hold what SQL Server does; `ValueRefused` where the query is strict."""
        found = doubtful(schema, batch) - self.doubtful
        if found and self._query.types.strict:
            raise ValueRefused(
                f"{self._query.file}: column {', '.join(sorted(found))}: {DOUBTFUL}, and the run is strict.",
                hint="Look for U+D800 to U+DFFF in it: CAST the column to varbinary(max) in the query, or run without "
                "--strict.",
            )
        with self._lock:
            self.doubtful |= found

    def _encode(self, schema: LandedSchema) -> None:
        writer = PartWriter(
            self._spool,
            schema.schema,
            part_bytes=self._sizes.part_bytes,
            row_group_bytes=self._sizes.row_group_bytes,
        )
        try:
            for batch in self._batches:
                part = writer.write(batch)
                if part is not None:
                    self._parts.put(part, part.size_bytes)
            part = writer.close()
            if part is not None:
                self._parts.put(part, part.size_bytes)
        finally:
            writer.abandon()
        self._parts.close()

    def _upload(self) -> None:
        for part in self._parts:
            entry = self._landing.upload(part)
            with self._lock:
                self._meter.uploaded(entry.size_bytes)


def first_line(error: BaseException) -> str:
    """An error as one line for a report: a bridge error speaks for itself, another is named."""
    text = str(error) if isinstance(error, BridgeError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
