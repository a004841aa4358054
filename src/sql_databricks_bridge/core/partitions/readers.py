"""The connections that read a query's ranges, and the one view that they may share.

SQL Server gives no snapshot to several connections. Ranges are of one moment all the same where nobody can write: in a
database that is read-only or a snapshot, or while a shared lock keeps writers out until every SNAPSHOT transaction has
made its first read, which is when its view begins (Transact-SQL, "SET TRANSACTION ISOLATION LEVEL").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from sql_databricks_bridge.core.partitions import Split, first_read, is_fixed, shared_lock
from sql_databricks_bridge.core.ports import SqlServerConnection
from sql_databricks_bridge.errors import SourceError, UsageError
from sql_databricks_bridge.models.jobs import ResolvedQuery

LOCK_WAIT_S = 10.0
"""Readers are not kept out by a shared lock, but writers queue behind one that waits: so it does not wait long."""

_SNAPSHOT = "snapshot"


@dataclass(frozen=True, slots=True)
class Connections:
    """One for each range; `one_view` tells whether they see one moment."""

    all: tuple[SqlServerConnection, ...]
    one_view: bool


@contextmanager
def connections_of(
    split: Split, query: ResolvedQuery, first: SqlServerConnection, connect: Callable[[], SqlServerConnection]
) -> Iterator[Connections]:
    """Open what is missing besides `first`; at the end the others are closed, and `first` has no transaction left.

    `UsageError` where the query asks for `lock` and can't have it, `SourceError` where it comes too late.
    """
    with ExitStack() as stack:
        others = [stack.enter_context(closing(connect())) for _ in split.queries[1:]]
        connections = (first, *others)
        if query.partitions.lock and not is_fixed(first):
            _begin_together(stack, split, query, connections, connect)
            yield Connections(connections, one_view=True)
        else:
            yield Connections(connections, one_view=is_fixed(first))


def _begin_together(
    stack: ExitStack,
    split: Split,
    query: ResolvedQuery,
    connections: tuple[SqlServerConnection, ...],
    connect: Callable[[], SqlServerConnection],
) -> None:
    if split.table is None:
        raise UsageError(
            f"{query.file}: `lock` needs a query of one table, SELECT ... FROM table WHERE ..., to know what to lock.",
            hint="Read it in one piece (--partitions 1), or without --partition-lock.",
        )
    if not connections[0].info().snapshot:
        raise UsageError(
            f"{query.file}: database {connections[0].info().database} does not allow SNAPSHOT, which `lock` needs.",
            hint="Ask the DBA for ALLOW_SNAPSHOT_ISOLATION, or read it in one piece (--partitions 1).",
        )
    with closing(connect()) as locker, _held(locker, split, query):
        for connection in connections:
            stack.enter_context(connection.view())
            connection.ask(first_read(split.table))
            if connection.isolation != _SNAPSHOT:
                raise UsageError(
                    f"{query.file}: SQL Server was read under {connection.isolation}, which `lock` is no use for."
                )


@contextmanager
def _held(locker: SqlServerConnection, split: Split, query: ResolvedQuery) -> Iterator[None]:
    assert split.table is not None, "it was looked at"
    with ExitStack() as stack:
        try:
            stack.enter_context(locker.locked(shared_lock(split.table), LOCK_WAIT_S))
        except SourceError as exc:
            raise SourceError(
                f"{query.file}: the shared lock on {split.table.name} was not to be had: {exc.message}",
                hint="Try when nobody writes for long, or read it in one piece (--partitions 1).",
            ) from exc
        yield
