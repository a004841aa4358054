"""The file of digests: what a published table's ranges were like, as Parquet, with the parameters of the ranges.

Columns: `range` bigint, `rows` bigint, `digest` binary(32), sorted by range. A range that has no rows is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sql_databricks_bridge.core.increments.canonical import CANONICAL_VERSION
from sql_databricks_bridge.core.increments.ranges import Ranges

if TYPE_CHECKING:
    import polars as pl

SCHEMA = pa.schema([("range", pa.int64()), ("rows", pa.int64()), ("digest", pa.binary(32))])
_RANGES, _VERSION, _DEFINITION = b"bridge.ranges", b"bridge.canonical_version", b"bridge.definition"


@dataclass(frozen=True, slots=True)
class Digests:
    """The digests of one view of the source; `definition` is that of the query that was asked."""

    ranges: Ranges
    definition: str
    table: pa.Table

    @property
    def rows(self) -> int:
        """How many rows they stand for."""
        return int(pc.sum(self.table["rows"]).as_py() or 0)

    @property
    def most_rows(self) -> int:
        """The rows of the biggest range."""
        return int(pc.max(self.table["rows"]).as_py() or 0)

    @property
    def numbers(self) -> list[int]:
        """Every range that has rows."""
        return list(self.table["range"].to_pylist())

    def changed_since(self, former: Digests) -> tuple[int, ...]:
        """Ranges that differ, that are new, or that are gone."""
        import polars as pl

        now, then = _frame(self.table), _frame(former.table)
        both = now.join(then, on="range", how="full", coalesce=True, suffix="_then")
        same = (pl.col("digest") == pl.col("digest_then")) & (pl.col("rows") == pl.col("rows_then"))
        return tuple(both.filter(~same.fill_null(value=False))["range"].sort().to_list())

    def rows_of(self, ranges: tuple[int, ...]) -> int:
        """How many rows those ranges have."""
        wanted = pc.is_in(self.table["range"], value_set=pa.array(ranges, pa.int64()))
        return int(pc.sum(self.table["rows"].filter(wanted)).as_py() or 0)

    def to_parquet(self) -> bytes:
        """Write the file."""
        metadata = {
            _RANGES: self.ranges.to_json().encode(),
            _VERSION: str(CANONICAL_VERSION).encode(),
            _DEFINITION: self.definition.encode(),
        }
        sink = pa.BufferOutputStream()
        pq.write_table(self.table.replace_schema_metadata(metadata), sink, compression="zstd")
        return bytes(sink.getvalue())

    @classmethod
    def of(cls, ranges: Ranges, definition: str, batches: list[pa.RecordBatch]) -> Digests:
        """From batches as the driver types them, in any order."""
        table = pa.Table.from_batches([_typed(batch) for batch in batches], schema=SCHEMA)
        return cls(ranges, definition, table.sort_by("range").combine_chunks())

    @classmethod
    def from_parquet(cls, content: bytes) -> Digests | None:
        """Read a file; None where it is none, or of texts as another version of the bridge wrote them."""
        try:
            table = pq.read_table(pa.BufferReader(content))
            metadata = table.schema.metadata or {}
            if metadata[_VERSION] != str(CANONICAL_VERSION).encode():
                return None
            ranges = Ranges.from_json(metadata[_RANGES])
            return cls(ranges, metadata[_DEFINITION].decode(), table.cast(SCHEMA))
        except (pa.ArrowException, KeyError, ValueError, TypeError):
            return None


def _typed(batch: pa.RecordBatch) -> pa.RecordBatch:
    arrays = [
        array.cast(field.type, safe=True) if not pa.types.is_binary(array.type) else array.cast(pa.binary(32))
        for array, field in zip(batch.columns, SCHEMA, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _frame(table: pa.Table) -> pl.DataFrame:
    import polars as pl

    frame = pl.from_arrow(table.set_column(2, "digest", table["digest"].cast(pa.binary())))
    assert isinstance(frame, pl.DataFrame)  # from a table it is one
    return frame
