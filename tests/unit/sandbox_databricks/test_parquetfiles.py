"""Parquet that Spark does not read is not read by the stand-in."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sql_databricks_bridge.sandbox.databricks import parquetfiles
from sql_databricks_bridge.sandbox.databricks.failures import SqlFailure

OLD_DATE = pa.array([dt.date(1, 1, 1)])
OLD_INSTANT = pa.array([dt.datetime(1899, 12, 31, tzinfo=dt.UTC)], pa.timestamp("us", "UTC"))


def write(path: Path, column: Any, **metadata: str) -> None:
    table = pa.table({"c": column})
    pq.write_table(table.replace_schema_metadata(metadata or None), path, version="2.6")


@pytest.mark.parametrize(
    ("column", "told"),
    [
        (pa.array([1], pa.timestamp("ns")), r"PARQUET_TYPE_ILLEGAL.*INT64 \(TIMESTAMP\(NANOS,false\)\)"),
        (pa.array([1], pa.time64("us")), r"PARQUET_TYPE_ILLEGAL.*INT64 \(TIME\(MICROS"),
        (pa.array([[1]], pa.list_(pa.time32("ms"))), r"PARQUET_TYPE_ILLEGAL.*INT32 \(TIME\(MILLIS"),
        (pa.array([255], pa.uint8()), "unsigned integers"),
        (OLD_DATE, "READ_ANCIENT_DATETIME.*0001-01-01"),
        (OLD_INSTANT, "READ_ANCIENT_DATETIME.*1899-12-31"),
    ],
)
def test_what_spark_refuses_is_refused_by_type_or_value(tmp_path: Path, column: Any, told: str) -> None:
    write(tmp_path / "x.parquet", column)
    for where in (tmp_path, tmp_path / "x.parquet", tmp_path / "*.parquet"):
        with pytest.raises(SqlFailure, match=told):
            parquetfiles.check(str(where), "shown")


@pytest.mark.parametrize("column", [OLD_DATE, OLD_INSTANT])
def test_the_footer_key_of_spark_makes_old_dates_readable(tmp_path: Path, column: Any) -> None:
    write(tmp_path / "x.parquet", column, **{"org.apache.spark.version": "3.5.0"})
    parquetfiles.check(str(tmp_path), "shown")


@pytest.mark.parametrize(
    "column",
    [
        pa.array([dt.datetime(1, 1, 1, tzinfo=dt.UTC).replace(tzinfo=None)], pa.timestamp("us")),
        pa.array([dt.date(1582, 10, 15)]),
        pa.array([dt.datetime(1900, 1, 1, tzinfo=dt.UTC)], pa.timestamp("us", "UTC")),
        pa.array([None], pa.date32()),
    ],
)
def test_zoneless_times_and_newer_dates_need_no_key(tmp_path: Path, column: Any) -> None:
    write(tmp_path / "x.parquet", column)
    parquetfiles.check(str(tmp_path), "shown")


def test_half_a_file_is_named_and_hidden_files_are_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "_manifest.json").write_text("{}")
    (tmp_path / ".hidden").write_text("x")
    parquetfiles.check(str(tmp_path), "shown")
    (tmp_path / "half.parquet").write_bytes(b"PAR1xx")
    with pytest.raises(SqlFailure, match=r"CANNOT_READ_FILE_FOOTER.*shown \(half\.parquet\)"):
        parquetfiles.check(str(tmp_path), "shown")
