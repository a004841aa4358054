"""A statement that changes a table: its turn, the commits that it missed while it waited, and its own commit.

Statements that change one table run one after the other, and yet conflict as on Databricks: whoever was accepted before
another one's commit has not seen it, and is tried on the table as it was then (see `conflicts`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import conflicts
from .catalog import Table
from .delta import Column, Commit, State
from .execution import Canceled, Execution
from .names import TableName


@dataclass(frozen=True, slots=True)
class Missed:
    """A commit that came after a statement was accepted. `blind`: an append that read nothing of the table."""

    version: int
    blind: bool


class Writers:
    """Whose turn it is on each table, and which statement committed when. Thread-safe.

    `detect` is off where statements shall only take turns and never conflict.
    """

    def __init__(self, *, detect: bool) -> None:
        self.detect = detect
        self._guard = threading.Lock()
        self._free = threading.Condition(self._guard)
        self._queues: dict[TableName, deque[object]] = {}
        self._instant = 0
        self._commits: dict[Path, list[tuple[int, Missed]]] = {}

    def instant(self) -> int:
        """A mark between all commits so far and all that will come."""
        with self._guard:
            return self._instant

    def committed(self, folder: Path, versions: Iterable[int], *, blind: bool) -> None:
        """Note what was just committed to the table in `folder`."""
        with self._guard:
            self._instant += 1
            self._commits.setdefault(folder, []).extend((self._instant, Missed(each, blind)) for each in versions)

    def missed(self, folder: Path, since: int) -> list[Missed]:
        """The commits to a table since an instant, oldest first."""
        with self._guard:
            return [missed for instant, missed in self._commits.get(folder, []) if instant > since]

    @contextmanager
    def turn(self, names: Iterable[TableName], canceled: threading.Event) -> Iterator[None]:
        """Hold the turn on all these tables, first come first served. Raises `Canceled`."""
        ordered = sorted(  # one order for everybody, so that nobody waits in a circle
            set(names), key=lambda name: (name.catalog, name.schema, name.table)
        )
        with ExitStack() as stack:
            for name in ordered:
                ticket = object()
                with self._guard:
                    self._queues.setdefault(name, deque()).append(ticket)
                stack.callback(self._leave, name, ticket)
                self._wait(name, ticket, canceled)
            yield

    def _wait(self, name: TableName, ticket: object, canceled: threading.Event) -> None:
        with self._free:
            while self._queues[name][0] is not ticket:
                if canceled.is_set():
                    raise Canceled
                self._free.wait(timeout=0.1)

    def _leave(self, name: TableName, ticket: object) -> None:
        with self._free:
            self._queues[name].remove(ticket)
            self._free.notify_all()


@dataclass(slots=True)
class Work:
    """A table whose turn is held."""

    run: Execution
    name: TableName
    table: Table
    columns: list[Column]

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.run.catalog.table_folder(self.table)

    def commit(self, sql_for: Callable[[TableName], str], *, blind: bool = False) -> list[Commit]:
        """Run a statement and return what it committed; nothing, where it changed nothing.

        `sql_for` gives its text for the table under another name: that of a snapshot. `blind` is an append that reads
        nothing of the table. Raises `SqlFailure` with SQLSTATE 2D521 where it conflicts with a commit that it missed.
        """
        run, folder = self.run, self.folder
        before = run.logs.version(folder)
        missed = self.missed()
        conflicts.refuse_changed_metadata(self, missed)
        if blind or not missed:
            run.command(sql_for(self.name))
        else:
            conflicts.commit_over(self, missed, sql_for)
        run.logs.tidy(folder, before)
        commits = run.logs.commits(folder, after=before)
        run.writers.committed(folder, (commit.version for commit in commits), blind=blind)
        return commits

    def exchange(self, delete_for: Callable[[TableName], str], added: Path, parameters: dict[str, str]) -> None:
        """Commit in one version that the rows of a DELETE go and those of the table in the folder `added` come."""
        run, folder = self.run, self.folder
        missed = self.missed()
        conflicts.refuse_changed_metadata(self, missed)

        def finish(before: State, staged: Path) -> None:
            run.logs.exchange(folder, (before, staged), added, parameters)

        conflicts.commit_over(self, missed, delete_for, finish)
        run.writers.committed(folder, [run.logs.version(folder)], blind=False)

    def missed(self) -> list[Missed]:
        """The commits to the table since the statement was accepted; none where statements only take turns."""
        return self.run.writers.missed(self.folder, self.run.began) if self.run.writers.detect else []


@contextmanager
def turn_on(run: Execution, name: TableName) -> Iterator[Work]:
    """Hold the turn on one table that must exist."""
    with run.turn([name]):
        table = run.catalog.table(name.catalog, name.schema, name.table)
        yield Work(run, name, table, run.logs.columns(run.catalog.table_folder(table)))
