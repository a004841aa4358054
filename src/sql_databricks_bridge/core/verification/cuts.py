"""Rows put into ranges by their keys, in T-SQL and in Arrow alike.

How many rows there are, and between which keys, need not be known: ranges begin fine, and are made coarser, each time
by 2, while the landed rows are read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sql_databricks_bridge.core.canonical.columns import CanonicalColumn
from sql_databricks_bridge.core.canonical.landed import row_digests
from sql_databricks_bridge.core.canonical.server import row_digest
from sql_databricks_bridge.models.publishing import NULL_RANGE
from sql_databricks_bridge.models.quoting import sql_server_identifier
from sql_databricks_bridge.models.tables import find_named

ALIAS = "q"
"""The name of the user's query as a derived table."""

MOST_BUCKETS = 2**16

_SPANS = {
    "tinyint": (0, 2**8 - 1),
    "smallint": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "bigint": (-(2**63), 2**63 - 1),
}
_WIDEST = 2**62
_PREFIX_BYTES = 7  # of a digest: as many as a bigint holds without a sign


@dataclass(frozen=True, slots=True)
class Cut:
    """`width` cuts one integer key into intervals; without it the key's digest picks one of `buckets`.

    Both are powers of 2, so that a coarser range is two finer ones whole.
    """

    key: tuple[CanonicalColumn, ...]
    buckets: int = MOST_BUCKETS
    width: int | None = None

    @classmethod
    def finest(cls, key: Sequence[CanonicalColumn]) -> Cut:
        """Where to begin: a range for each integer key, or as many buckets as there may be."""
        is_integer = len(key) == 1 and key[0].type_name in _SPANS
        return cls(tuple(key), width=1 if is_integer else None)

    @property
    def is_coarsest(self) -> bool:
        """Whether there is no coarser one."""
        return self.buckets == 1 if self.width is None else self.width == _WIDEST

    def coarser(self) -> Cut:
        """Ranges of twice the size."""
        if self.width is not None:
            return dataclasses.replace(self, width=2 * self.width)
        return dataclasses.replace(self, buckets=self.buckets // 2)

    def from_finer(self, number: int) -> int:
        """The range in which a range of the cut lies that this is the `coarser` of."""
        if self.width is None:
            return number % self.buckets
        return number if number == NULL_RANGE else number // 2

    @property
    def expression(self) -> str:
        """T-SQL for the range of a row of the derived table: bigint."""
        if self.width is None:
            digest = row_digest(self.key, ALIAS, [sql_server_identifier(column.name) for column in self.key])
            return f"CONVERT(bigint, SUBSTRING({digest}, 1, {_PREFIX_BYTES})) % {self.buckets}"
        # A number above int's is a decimal in T-SQL, and would make the division one of decimals.
        key, width = f"CONVERT(bigint, {self._name})", f"CONVERT(bigint, {self.width})"
        # Division cuts towards zero; below zero a range begins further down.
        number = f"{key} / {width} - CASE WHEN {key} % {width} < 0 THEN 1 ELSE 0 END"
        return f"CASE WHEN {self._name} IS NULL THEN CONVERT(bigint, {NULL_RANGE}) ELSE {number} END"

    def predicate(self, ranges: Collection[int]) -> str:
        """T-SQL that holds for rows of those ranges; an index on an integer key finds them."""
        if self.width is None:
            return f"{self.expression} IN ({', '.join(map(str, sorted(ranges)))})"
        name, kind = self._name, self.key[0].type_name
        terms = [
            f"{name} IS NULL"
            if number == NULL_RANGE
            else f"({name} >= CONVERT({kind}, {low}) AND {name} <= CONVERT({kind}, {high}))"
            for number in sorted(ranges)
            for low, high in [self._bounds(number)]
        ]
        return " OR ".join(terms)

    def numbers(self, batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
        """The range of each landed row."""
        if self.width is None:
            digests = row_digests(batch, self.key)[:, :_PREFIX_BYTES].astype(np.int64)
            weights = 256 ** np.arange(_PREFIX_BYTES - 1, -1, -1, dtype=np.int64)
            return (digests @ weights) % self.buckets
        spelled = find_named(self.key[0].name, batch.schema.names)
        assert spelled is not None, "the digests have found it"
        values = batch.column(spelled).cast(pa.int64())
        found = np.floor_divide(pc.fill_null(values, 0).to_numpy(zero_copy_only=False), self.width)
        return np.where(values.is_valid().to_numpy(zero_copy_only=False), found, NULL_RANGE)

    def shown(self, number: int) -> str:
        """Which keys a range is of, for people."""
        if self.width is None:
            return f"bucket {number:,} of {self.buckets:,}"
        name = self.key[0].name
        if number == NULL_RANGE:
            return f"{name} is NULL"
        low, high = self._bounds(number)
        return f"{name} {low:,}" if low == high else f"{name} {low:,} to {high:,}"

    @property
    def _name(self) -> str:
        return f"{ALIAS}.{sql_server_identifier(self.key[0].name)}"

    def _bounds(self, number: int) -> tuple[int, int]:
        """The least and greatest key of a range that the key's type can have."""
        assert self.width is not None, "only intervals have bounds"
        least, most = _SPANS[self.key[0].type_name]
        low, high = number * self.width, (number + 1) * self.width - 1
        return min(max(low, least), most), max(min(high, most), least)
