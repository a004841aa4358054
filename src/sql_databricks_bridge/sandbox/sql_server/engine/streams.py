"""A result on its way from PostgreSQL to the client."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ..contract import Column, SqlError
from . import results
from .bound import BoundQuery
from .errors import PgFailure
from .pg import PgSession
from .session import Cancelled

if TYPE_CHECKING:
    from .runner import Runner

_WORKERS = min(os.cpu_count() or 1, 4)


class Stream:
    """A result on its way out; `rows` counts what was sent."""

    def __init__(
        self, runner: Runner, stream: Any, first: pa.RecordBatch | None, columns: tuple[Column, ...], bases: list[Any]
    ):
        self.runner, self.stream, self.first = runner, stream, first
        self.columns, self.bases = columns, bases
        self.rows = 0
        self.failure: SqlError | Cancelled | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        batch = self.first
        self.first = None
        try:
            while batch is not None:
                out = results.convert(batch, self.columns, self.bases)
                self.rows += out.num_rows
                yield out
                batch = next(self.stream, None)
        except PgFailure as exc:
            failed = self.runner.session.fail(exc)
            if isinstance(failed, SqlError) and not self.runner.tries:
                failed.reported = True  # type: ignore[attr-defined]
                self.failure = failed
                raise failed from exc
            self.failure = failed  # type: ignore[assignment]

    def close(self) -> None:
        self.stream.close()


@contextmanager
def parallel(pg: PgSession, wanted: bool) -> Iterator[None]:
    """Let PostgreSQL use parallel workers for the statement within; everything else keeps the order of its rows."""
    if not wanted:
        yield
        return
    pg.run(f"SET max_parallel_workers_per_gather = {_WORKERS}")
    try:
        yield
    finally:
        with suppress(PgFailure):  # within a failed transaction, whose end undoes the setting
            pg.run("RESET max_parallel_workers_per_gather")


def outer(bound: BoundQuery) -> str:
    """The query that yields what results.py expects."""
    parts: list[str] = []
    for i, c in enumerate(bound.columns):
        for p in results.projection(f"z.o{i + 1}", c.base or c.type):
            parts.append(f"{p} AS p{len(parts)}")
    return f"SELECT {', '.join(parts)} FROM ({bound.sql}) z"
