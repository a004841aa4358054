"""An event's source on its way to a plan: read at one version, staged, planned; alike to apply and to verify."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from sql_databricks_bridge.core.ports import Lakehouse, SourceStream, TargetConnection
from sql_databricks_bridge.models.applying import ApplyPlan, Staging
from sql_databricks_bridge.models.events import LedgerEntry, Operation
from sql_databricks_bridge.models.tables import SourceName, Target
from sql_databricks_bridge.sync.columns import ColumnMatch, read_columns, target_filters
from sql_databricks_bridge.sync.validators import Event

if TYPE_CHECKING:
    import pyarrow as pa

    from sql_databricks_bridge.sync.values import Inbound


def read_source(
    lakehouse: Lakehouse, event: Event, source: SourceName, target: Target, version: int
) -> AbstractContextManager[SourceStream]:
    """The rows of `source` that the event is about: for a DELETE their keys alone, else those that its filters name."""
    delete = event.operation is Operation.DELETE
    columns = read_columns(event, target) if delete else None
    where = None if delete else dict(event.filters)
    return lakehouse.read_table(source, version, columns=columns, where=where)


def inbound_of(event: Event, match: ColumnMatch, schema: pa.Schema) -> Inbound:
    """What makes the target's values of the source's; `EventInvalid` for a type that can't become its column's."""
    from sql_databricks_bridge.sync.values import Inbound

    return Inbound.of(
        [schema.field(ordinal) for ordinal in match.ordinals],
        match.staged,
        keys=match.keys,
        timezone=event.timezone,
        beside=[[(companion, schema.field(ordinal)) for companion, ordinal in found] for found in match.companions],
    )


def stage(
    connection: TargetConnection, target: Target, match: ColumnMatch, inbound: Inbound, stream: SourceStream
) -> Staging:
    """Convert and load the rows, batch by batch; the caller discards what is staged. `EventInvalid` names a value that
    does not fit its column.
    """
    import pyarrow as pa

    def converted() -> Iterator[pa.RecordBatch]:
        first_row = 0
        for batch in stream:
            yield inbound.convert(batch.select(list(match.read)), first_row)
            first_row += batch.num_rows

    reader = pa.RecordBatchReader.from_batches(inbound.schema, converted())
    return connection.stage(target, match.staged, match.keys, reader, inbound.assemblies)


def plan_of(
    event: Event, target: Target, entry: LedgerEntry, staging: Staging | None, match: ColumnMatch | None
) -> ApplyPlan:
    """The event's statement; nothing is staged and matched where it reads no source."""
    return ApplyPlan(
        event.operation,
        target,
        entry,
        staging,
        keys=match.keys if match else (),
        updates=match.updates if match else (),
        inserts=match.inserts if match else (),
        filters=target_filters(event, target) if event.operation is Operation.DELETE else (),
        on_conflict=event.on_conflict,
    )
