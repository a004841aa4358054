"""What Spark refuses in Parquet files and the engine behind the stand-in would read, or would read wrongly.

A file that only the stand-in can read would be an answer that Databricks never gives. Sources: Spark's conversion of
Parquet types (no TIME, no nanosecond timestamps: PARQUET_TYPE_ILLEGAL); Spark's configuration
`spark.sql.parquet.datetimeRebaseModeInRead` in its mode EXCEPTION, which concerns files without Spark's own footer key;
Databricks docs, "Error conditions in Databricks".
"""

from __future__ import annotations

import datetime as dt
import glob
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .failures import SqlFailure, unsupported

_FOOTER_KEY = b"org.apache.spark.version"
_FIRST_DATE = dt.date(1582, 10, 15)
_FIRST_TIMESTAMP = dt.datetime(1900, 1, 1, tzinfo=dt.UTC)


def check(where: str, shown: str) -> None:
    """Raise `SqlFailure` unless Spark can read the Parquet files at a local path, which may be a pattern.

    Old dates are looked for in the files' statistics and refused for the file as a whole, also where a query would not
    touch their column. `shown` is the path that the error names.
    """
    for file in _files(where):
        try:
            parquet = pq.ParquetFile(file)
        except (pa.ArrowInvalid, OSError) as error:
            raise SqlFailure(
                "FAILED_READ_FILE.CANNOT_READ_FILE_FOOTER",
                f"Error while reading file {shown} ({file.name}). Could not read footer. Please ensure that the file "
                f"is in either ORC or Parquet format. {error}",
                "KD001",
            ) from error
        with parquet:
            _check_types(parquet)
            _check_old_dates(parquet.metadata)


def columns(where: str) -> list[tuple[str, str]]:
    """Names and types of the columns of the first file at a local path, in their order."""
    schema = pq.read_schema(next(_files(where)))
    return [(field.name, str(field.type)) for field in schema]


def _files(where: str) -> Iterator[Path]:
    matches = glob.glob(where) if glob.has_magic(where) else [where]
    for match in map(Path, matches):
        found = match.rglob("*") if match.is_dir() else [match]
        yield from (file for file in found if file.is_file() and not file.name.startswith(("_", ".")))


def _check_types(parquet: Any) -> None:
    for index in range(len(parquet.schema)):
        column = parquet.schema.column(index)
        logical = json.loads(column.logical_type.to_json())
        if logical.get("Type") == "Int" and not logical["isSigned"]:
            # Spark widens these; the engine keeps the width and turns what does not fit into NULL.
            raise unsupported(f"Parquet's unsigned integers (column {column.path})")
        illegal = logical.get("Type") == "Time" or logical.get("timeUnit") == "nanoseconds"
        if illegal:
            unit = {"nanoseconds": "NANOS", "microseconds": "MICROS", "milliseconds": "MILLIS"}[logical["timeUnit"]]
            adjusted = str(logical.get("isAdjustedToUTC", False)).lower()
            raise SqlFailure(
                "PARQUET_TYPE_ILLEGAL",
                f"Illegal Parquet type: {column.physical_type} ({logical['Type'].upper()}({unit},{adjusted})). "
                f"(column {column.path})",
                "42846",
            )


def _check_old_dates(metadata: Any) -> None:
    if _FOOTER_KEY in (metadata.metadata or {}):
        return
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            statistics = column.statistics
            lowest = statistics.min if statistics is not None and statistics.has_min_max else None
            if _is_old(lowest):
                raise SqlFailure(
                    "INCONSISTENT_BEHAVIOR_CROSS_VERSION.READ_ANCIENT_DATETIME",
                    "You may get a different result due to the upgrading to Spark >= 3.0: reading dates before "
                    "1582-10-15 or timestamps before 1900-01-01T00:00:00Z from Parquet files can be ambiguous, as the "
                    f"files may be written by Spark 2.x (column {column.path_in_schema}, lowest value {lowest}).",
                    "42K0B",
                )


def _is_old(lowest: Any) -> bool:
    if isinstance(lowest, dt.datetime):
        return lowest.tzinfo is not None and lowest < _FIRST_TIMESTAMP  # TIMESTAMP_NTZ is never rebased
    return isinstance(lowest, dt.date) and lowest < _FIRST_DATE
