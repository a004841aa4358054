"""Parts on disk: what a reader of the Parquet files finds."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sql_databricks_bridge.core.parts import PartWriter, SpooledPart
from sql_databricks_bridge.core.ports import ResultColumn
from sql_databricks_bridge.core.types import LandedSchema
from sql_databricks_bridge.errors import SpoolError

SCHEMA = LandedSchema.of(
    [
        ResultColumn("id", "int", False, 4, 10, 0),
        ResultColumn("day", "date", True, 3, 10, 0),
        ResultColumn("name", "nvarchar(50)", True, 100, 0, 0, "Latin1_General_CI_AS"),
    ]
).schema


def batch(start: int, rows: int) -> pa.RecordBatch:
    numbers = range(start, start + rows)
    return pa.record_batch(
        [
            pa.array(numbers, pa.int32()),
            pa.array([dt.date(1, 1, 1)] * rows),
            pa.array([f"n{number:05d}" for number in numbers]),
        ],
        schema=SCHEMA,
    )


def write(folder: Path, batches: list[pa.RecordBatch], part_bytes: int, row_group_bytes: int) -> list[SpooledPart]:
    writer = PartWriter(folder, SCHEMA, part_bytes=part_bytes, row_group_bytes=row_group_bytes)
    parts = [part for each in batches if (part := writer.write(each))]
    last = writer.close()
    return [*parts, last] if last else parts


def test_parts_are_cut_by_bytes_and_numbered(tmp_path: Path) -> None:
    """Rows keep their order over parts of about the size asked for; none is empty, none is lost."""
    batches = [batch(start, 100) for start in range(0, 1000, 100)]
    parts = write(tmp_path, batches, part_bytes=3 * batches[0].nbytes, row_group_bytes=batches[0].nbytes)
    assert [part.path.name for part in parts] == [f"part-{n:05d}.parquet" for n in range(4)]
    assert [part.rows for part in parts] == [300, 300, 300, 100]
    tables = [pq.read_table(part.path) for part in parts]
    assert pa.concat_tables(tables).equals(pa.Table.from_batches(batches))


def test_a_full_last_part_is_not_followed_by_an_empty_one(tmp_path: Path) -> None:
    """Where the last batch fills a part, that is the last."""
    one = batch(0, 10)
    assert [part.rows for part in write(tmp_path, [one, one], one.nbytes, one.nbytes)] == [10, 10]


def test_row_groups_are_cut_by_bytes(tmp_path: Path) -> None:
    """A part holds several row groups, each of about the bytes asked for."""
    batches = [batch(start, 100) for start in range(0, 1000, 100)]
    (part,) = write(tmp_path, batches, part_bytes=1 << 30, row_group_bytes=2 * batches[0].nbytes)
    metadata = pq.read_metadata(part.path)
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [200] * 5


def test_an_empty_result_is_one_part_with_the_schema(tmp_path: Path) -> None:
    """No row still lands a file that knows its columns."""
    (part,) = write(tmp_path, [], 1 << 20, 1 << 20)
    table = pq.read_table(part.path)
    assert (part.rows, table.num_rows) == (0, 0)
    assert table.schema.equals(SCHEMA, check_metadata=True)


def test_the_checksum_and_size_are_the_files(tmp_path: Path) -> None:
    """What is computed while writing is what the file on disk has."""
    (part,) = write(tmp_path, [batch(0, 5000)], 1 << 30, 1 << 30)
    content = part.path.read_bytes()
    assert (part.size_bytes, part.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_the_file_is_made_for_databricks(tmp_path: Path) -> None:
    """The footer names a Spark of proleptic dates, columns are zstd with statistics, and field metadata survives."""
    (part,) = write(tmp_path, [batch(0, 5000)], 1 << 30, 1 << 30)
    metadata = pq.read_metadata(part.path)
    assert metadata.metadata[b"org.apache.spark.version"] >= b"3.0.0"
    column = metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"
    assert (column.statistics.min, column.statistics.max) == (0, 4999)
    schema = pq.read_schema(part.path)
    assert schema.field("name").metadata[b"sqlserver.type"] == b"nvarchar(50)"
    assert schema.field("name").metadata[b"sqlserver.collation"] == b"Latin1_General_CI_AS"
    assert pq.read_table(part.path)["day"][0].as_py() == dt.date(1, 1, 1)


@pytest.fixture
def small_files() -> Iterator[None]:
    """Files of this process end at 64 KiB, as on a disk that is full."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("row_group_bytes", [1 << 16, 1 << 30])
def test_a_full_disk_names_the_folder_and_the_setting(tmp_path: Path, row_group_bytes: int) -> None:
    """Wherever the disk fills up, while writing or at the end, it is a SpoolError that says what to do."""
    values = pa.record_batch(
        [pa.array(range(100), pa.int32()), pa.nulls(100, pa.date32()), pa.array([os.urandom(1 << 10).hex()] * 100)],
        schema=SCHEMA,
    )
    noise = [
        values.set_column(2, SCHEMA.field(2), pa.array([os.urandom(1 << 10).hex() for _ in range(100)]))
        for _ in range(30)
    ]
    writer = PartWriter(tmp_path, SCHEMA, part_bytes=1 << 30, row_group_bytes=row_group_bytes)

    def fill() -> None:
        for each in noise:
            writer.write(each)
        writer.close()

    with pytest.raises(SpoolError, match="BRIDGE_SPOOL_DIR") as caught:
        fill()
    writer.abandon()
    assert str(tmp_path) in caught.value.message
