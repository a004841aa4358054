"""One query on its way into its Delta table: who may, which way, and the order in which things are written.

The order makes a crash harmless: the files, their manifest, the table, and last the state with the watermark. A run
that comes after a crash starts from the watermark that stands; what it applies again changes nothing. Runs exclude
each other by an application lock in SQL Server, which dies with its session; the statements of one that lost it
without noticing do nothing, because each asks whether its run is the table's owner still.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from sql_databricks_bridge.core import increments
from sql_databricks_bridge.core.drift import Drift, compare, delta_type, settled_columns
from sql_databricks_bridge.core.increments.wrapping import wrappable
from sql_databricks_bridge.core.manifest import Manifest, ManifestIncrement, ManifestPublication
from sql_databricks_bridge.core.ports import Lakehouse, Publisher, SqlServerConnection
from sql_databricks_bridge.core.shaping import Shape
from sql_databricks_bridge.core.uploader import Published
from sql_databricks_bridge.errors import LakehouseNotFound, PublicationBusy, PublicationRefused
from sql_databricks_bridge.models.jobs import ExtractionPlan, ResolvedQuery
from sql_databricks_bridge.models.publishing import (
    DELETED_COLUMN,
    RANGE_COLUMN,
    DeltaColumn,
    DriftPolicy,
    IncrementKind,
    Load,
    Publication,
    PublicationOutcome,
    PublishedState,
    RowCounts,
    Watermark,
    Way,
)
from sql_databricks_bridge.models.tables import SourceName

log = structlog.get_logger(__name__)

FULL = "full"
DIGESTS_NAME = "_digests.parquet"
CONTROL_COLUMNS = frozenset({DELETED_COLUMN, RANGE_COLUMN})
_MOST_TABLES = 1000


@dataclass(frozen=True, slots=True)
class Choice:
    """What a run does: the statement to stream, the way that it goes, and the columns that the table gets.

    `definition` is the digest of what the rows are asked by.
    """

    query: ResolvedQuery
    way: Way
    table: SourceName
    columns: tuple[DeltaColumn, ...]
    definition: str
    changes: tuple[str, ...]


class TableRun:
    """One run's work on one table. For one thread; `begin` comes first."""

    def __init__(self, lakehouse: Lakehouse, publisher: Publisher, plan: ExtractionPlan, query: ResolvedQuery) -> None:
        """`query.publish` says which table; `plan` gives the run's id and attempt."""
        assert query.publish is not None  # who has no table needs none of this
        self._lakehouse = lakehouse
        self._publisher = publisher
        self._plan = plan
        self._query = query
        self.publication: Publication = query.publish
        self._state: PublishedState | None = None

    @property
    def state(self) -> PublishedState:
        """What stands for the table, as of `begin` or the last change by this run."""
        assert self._state is not None, "begin comes first"
        return self._state

    def begin(self, connection: SqlServerConnection) -> None:
        """Become the only run of this table. `connection` holds the lock and must stay open until the end.

        `PublicationBusy` where another run has it, `PublicationRefused` where the table is not this query's.
        """
        target = self.publication.table
        if not connection.hold(lock_name(target)):
            raise PublicationBusy(
                f"{target} is being published by another run.", hint="Wait for it to end, then run this one again."
            )
        owner = f"{self._plan.run_id}-{self._plan.attempt}"
        self._state = self._publisher.claim(target, self._plan.country, self._query.name, owner)

    def choose(self, connection: SqlServerConnection, asked: Shape) -> Choice:
        """Decide how the query goes, inside `connection.view()`; `asked` is the query as it is to be sent.

        `PublicationRefused` where its columns changed in a way that the policy does not take.
        """
        state, query, columns = self.state, asked.query, asked.columns
        if self._kind is not None:
            wrappable(self._query)  # what the user's own SELECT can't have; around it there may be one of the bridge's
        wanted = tuple(DeltaColumn(field.name, delta_type(field.type)) for field in asked.schema.schema)
        _check_names(wanted, self.publication)
        standing = self._publisher.columns(state.table)
        if standing is not None and state.generation == 0:
            raise PublicationRefused(
                f"{state.table} is there already, and was not made by the bridge.",
                hint="Drop or rename it, or give the query another `table:` under `publish.tables`.",
            )
        force = self._why_full(standing)
        drift = Drift() if standing is None else compare(standing, wanted, control=self._control())
        table, changes = state.table, _told(drift, state)
        if changes:
            force = f"its columns changed: {'; '.join(changes)}"
            table = self._after_drift(drift, changes)
            log.info("publication.columns_changed", query=self._query.name, table=str(table), changes=changes)
        way = increments.decide(
            connection,
            query,
            columns,
            self.publication,
            state,
            self._digests,
            source=self._source,
            force_full=force,
        )
        kept = wanted if standing is None or table != state.table else self._data(settled_columns(standing, drift))
        if self._kind is IncrementKind.FINGERPRINT:
            kept = (*kept, DeltaColumn(RANGE_COLUMN, "bigint"))
        statement = increments.statement(query, columns, self.publication, way)
        definition = increments.definition(query, self.publication, self._source)
        return Choice(statement, way, table, kept, definition, changes)

    def told(self, choice: Choice, digests_path: str | None) -> tuple[ManifestIncrement | None, ManifestPublication]:
        """What the manifest says about the choice; `digests_path` is where the file of digests lies."""
        way = choice.way
        high = Watermark(IncrementKind.FINGERPRINT, digests_path) if digests_path is not None else way.high
        increment = None
        if way.kind is not None:
            assert way.low is not None, "an increment begins somewhere"
            assert high is not None, "an increment ends somewhere"
            incremental = self.publication.incremental
            key = incremental.key if incremental is not None else ()
            increment = ManifestIncrement(way.kind.value, way.low.value, high.value, key, way.ranges)
        return increment, ManifestPublication(
            target=str(self.publication.table),
            table=str(choice.table),
            way=way.kind.value if way.kind is not None else FULL,
            reason=way.reason,
            base=max(1, self.state.generation),
            definition=choice.definition,
            watermark=high.value if high is not None else None,
            changes=choice.changes,
            columns=tuple((column.name, column.type) for column in choice.columns),
        )

    def finish(self, landed: Published, fence: Callable[[], None] | None = None) -> PublicationOutcome:
        """Bring what has landed into the table, then write the state. Harmless twice.

        `fence` raises where this process may not go on. Where a later run stands in the table already nothing is done.
        """
        told, state = landed.manifest.publication, self.state
        assert told is not None, "the manifest of a run that is published says so"
        if state.run_id == landed.manifest.run_id:
            return _outcome(told, RowCounts(), "it stands in the table already")
        if state.generation == 0:  # from here on the name is ours, also where this process dies before the next line
            self._settle(dataclasses.replace(state, generation=1))
            state = self.state
        if state.generation != told.base:
            return _outcome(told, RowCounts(), f"the later run {state.run_id} stands in the table")
        if fence is not None:
            fence()
        counts = self._load(landed, told)
        self._settle(self._after(landed, told, counts))
        log.info("query.published", query=self._query.name, table=told.table, way=told.way, counts=str(counts))
        return _outcome(told, counts, told.reason)

    # The table -----------------------------------------------------------------------------------------------------

    def _load(self, landed: Published, told: ManifestPublication) -> RowCounts:
        manifest, increment = landed.manifest, landed.manifest.increment
        load = Load(
            table=SourceName.parse(told.table),
            target=self.publication.table,
            owner=self.state.owner,
            files=tuple(f"{landed.folder.path}/{part.file}" for part in manifest.parts),
            columns=tuple(DeltaColumn(name, kind) for name, kind in told.columns),
            landed=frozenset(column.name for column in manifest.schema),
            key=increment.key if increment is not None else (),
            soft_delete=self.publication.soft_delete,
            comment=f"{self._plan.country}/{self._query.name}, published by sql-databricks-bridge",
            properties=_properties(manifest),
        )
        if increment is None:
            return self._publisher.replace(load)
        if told.way == IncrementKind.FINGERPRINT.value:
            return self._publisher.replace_ranges(load, increment.ranges) if increment.ranges else RowCounts()
        return self._publisher.merge(load) if manifest.rows else RowCounts()

    def _after(self, landed: Published, told: ManifestPublication, counts: RowCounts) -> PublishedState:
        state, incremental, rows = self.state, self.publication.incremental, counts.total
        if rows is None and state.rows is not None:
            gone = counts.deleted if self.publication.soft_delete is None else 0
            rows = state.rows + counts.inserted - gone
        mark = None
        if incremental is not None and told.watermark is not None:
            mark = Watermark(incremental.kind, told.watermark)
        return dataclasses.replace(
            state,
            table=SourceName.parse(told.table),
            generation=told.base + 1,
            definition=told.definition,
            run_id=landed.manifest.run_id,
            manifest=landed.folder.manifest_path,
            watermark=mark,
            columns=tuple(
                (column.name, column.sql_type)
                for column in landed.manifest.schema
                if column.name not in CONTROL_COLUMNS
            ),
            rows=rows,
            published_at=dt.datetime.now(dt.UTC),
        )

    def _settle(self, state: PublishedState) -> None:
        self._publisher.settle(state)
        self._state = state

    # Columns -------------------------------------------------------------------------------------------------------

    def _why_full(self, standing: Sequence[DeltaColumn] | None) -> str | None:
        """Why no increment may go on top of what is there; None where one may."""
        state = self.state
        if standing is None:
            return "it is the first publication" if state.run_id is None else f"{state.table} is gone"
        if self._kind is IncrementKind.FINGERPRINT and state.unsettled:
            # It may have loaded ranges that have changed back since: their digests would tell nothing.
            return "the run before it did not come to its end"
        return None

    @property
    def _source(self) -> str:
        """Which database is asked: rows of two of them don't mix."""
        return f"{self._plan.server or ''}/{self._plan.database}"

    @property
    def _kind(self) -> IncrementKind | None:
        return self.publication.incremental.kind if self.publication.incremental is not None else None

    def _control(self) -> frozenset[str]:
        soft = self.publication.soft_delete
        return CONTROL_COLUMNS | ({soft} if soft is not None else set())

    def _data(self, columns: Sequence[DeltaColumn]) -> tuple[DeltaColumn, ...]:
        """The columns without the bridge's own."""
        own = {name.lower() for name in self._control()}
        return tuple(column for column in columns if column.name.lower() not in own)

    def _after_drift(self, drift: Drift, changes: Sequence[str]) -> SourceName:
        """Which table takes the changed columns; `PublicationRefused` where the policy has none."""
        state, policy = self.state, self.publication.drift
        if policy is DriftPolicy.NEW_TABLE:
            return self._free_name()
        if policy is DriftPolicy.FAIL or drift.changed:
            raise PublicationRefused(
                f"The columns of {state.table} and of query {self._query.name} differ: {'; '.join(changes)}.",
                hint="Mend the query; or choose `drift: new_table`"
                + ("." if drift.changed else ", or `drift: evolve`, which takes these changes over."),
            )
        return state.table

    def _free_name(self) -> SourceName:
        target = self.publication.table
        for number in range(2, _MOST_TABLES):
            name = dataclasses.replace(target, table=f"{target.table}_{number}")
            if self._publisher.columns(name) is None:
                return name
        raise PublicationRefused(f"{target} has {_MOST_TABLES} tables already.", hint="Drop those that are not read.")

    def _digests(self, path: str) -> bytes | None:
        try:
            return self._lakehouse.read(path)
        except LakehouseNotFound:
            return None


def lock_name(target: SourceName) -> str:
    """The lock's name: tables of Unity Catalog are the same in either case, and longer than a lock's name."""
    return f"bridge:publish:{hashlib.sha256(str(target).lower().encode()).hexdigest()}"


def _told(drift: Drift, state: PublishedState) -> tuple[str, ...]:
    """The changes in words. A column that an earlier run found dropped, and kept, is no news."""
    known = {name.lower() for name, _ in state.columns}
    added = [f"{column.name} {column.type} is new" for column in drift.added]
    dropped = [f"{column.name} is gone, and kept as NULL" for column in drift.dropped if column.name.lower() in known]
    widened = [f"{each.name} was {each.before} and is {each.after}" for each in drift.widened]
    changed = [f"{each.name} was {each.before} and is {each.after}, which does not hold it" for each in drift.changed]
    return (*added, *dropped, *widened, *changed)


def _check_names(columns: Sequence[DeltaColumn], publication: Publication) -> None:
    taken = {name.lower() for name in CONTROL_COLUMNS} | {(publication.soft_delete or "").lower()}
    clashing = [column.name for column in columns if column.name.lower() in taken]
    if clashing:
        raise PublicationRefused(
            f"The bridge needs the column name {', '.join(clashing)} of {publication.table} for itself.",
            hint="Give the query's column another name: SELECT x AS other_name.",
        )


def _properties(manifest: Manifest) -> dict[str, str]:
    """What a reader of the table may ask: where it comes from, and what its columns were in SQL Server."""
    about = {
        "bridge.country": manifest.country,
        "bridge.query": manifest.query,
        "bridge.run_id": manifest.run_id,
        "bridge.source": f"{manifest.source_server}/{manifest.source_database}",
    }
    columns = (column for column in manifest.schema if column.name not in CONTROL_COLUMNS)
    return about | {f"bridge.type.{column.name}": column.sql_type for column in columns}


def _outcome(told: ManifestPublication, counts: RowCounts, reason: str) -> PublicationOutcome:
    return PublicationOutcome(told.table, told.way, reason, counts, told.watermark, told.changes)
