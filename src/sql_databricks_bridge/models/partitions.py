"""How a query may be read in several ranges at once."""

from __future__ import annotations

from dataclasses import dataclass

MOST_PARTITIONS = 64
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Partitioning:
    """Into how many ranges a query is split: `count` None decides by the table's size, 1 reads in one piece.

    `key` are columns of the result to split by; where it is empty the table's index decides. With `lock` a short
    shared lock on the table gives all ranges one view.
    """

    count: int | None = 1
    key: tuple[str, ...] = ()
    lock: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether nothing is to be split, whatever the query."""
        return self.count == 1


@dataclass(frozen=True, slots=True)
class AskedPartitions:
    """What a request says of them, for all of its queries; None and () leave it to the country's YAML.

    `count` is the text of a number or 'auto'.
    """

    count: str | None = None
    key: tuple[str, ...] = ()
    lock: bool | None = None

    def over(self, configured: Partitioning) -> Partitioning:
        """The YAML's wish with the request's above it; `ValueError` where the count is none."""
        count = configured.count if self.count is None else count_of(self.count)
        lock = configured.lock if self.lock is None else self.lock
        return Partitioning(count, self.key or configured.key, lock)


def count_of(text: str) -> int | None:
    """'auto' (None) or a number from 1 to MOST_PARTITIONS; `ValueError` says so for anything else."""
    if text.strip().lower() == AUTO:
        return None
    if text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_PARTITIONS:
        return int(text)
    raise ValueError(f"{text!r} is neither {AUTO} nor a number from 1 to {MOST_PARTITIONS}")
