"""What came of comparing SQL Server's rows with landed ones."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum


class Against(StrEnum):
    """What SQL Server's rows are compared with."""

    FILES = "files"
    TABLE = "table"


class Finding(StrEnum):
    """How a key differs."""

    ONLY_IN_SQL_SERVER = "only in SQL Server"
    ONLY_LANDED = "only landed"
    DIFFERENT = "different"
    COUNT = "another number of rows"


@dataclass(frozen=True, slots=True)
class KeyDifference:
    """A key that differs; `columns` are those whose values do, where rows of both sides could be paired.

    `key` is text for people, 'id=5, code=AB'; without a key it is the beginning of the row's digest.
    """

    key: str
    finding: Finding
    range: int
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RangeDifference:
    """A range of keys whose rows differ, and its row counts; `keys` tells which keys it is of, for people."""

    range: int
    keys: str
    rows_source: int
    rows_landed: int


@dataclass(frozen=True, slots=True)
class SideDigest:
    """A whole side: its rows, and one SHA-256 (hexadecimal) for each group of columns, whatever the rows' order."""

    rows: int
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verification:
    """One query's comparison. `place` is the run's folder or the table with its version; `at` is when it began (UTC).

    `groups` are the columns of each digest. `differing` counts all differing ranges; `ranges` and `keys` hold the
    first ones of them.
    """

    query: str
    run_id: str
    against: Against
    place: str
    key: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    source: SideDigest
    landed: SideDigest
    compared_ranges: int
    differing: int
    at: dt.datetime
    seconds: float
    isolation: str
    ranges: tuple[RangeDifference, ...] = ()
    keys: tuple[KeyDifference, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether both sides hold the same rows."""
        return self.differing == 0 and self.source == self.landed
