"""What a run would do to each query's table: found out by a run's own choice, with nothing run, claimed or created."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sql_databricks_bridge.core import increments
from sql_databricks_bridge.core.ports import Lakehouse, Publisher, SqlServer, SqlServerConnection
from sql_databricks_bridge.core.publishing import FULL, TableRun
from sql_databricks_bridge.core.shaping import Shape, shape
from sql_databricks_bridge.errors import BridgeError, PublicationRefused, UsageError
from sql_databricks_bridge.models.jobs import ExtractionPlan, ResolvedQuery
from sql_databricks_bridge.models.publishing import DriftPolicy, Publication, PublishedState, Watermark, Way
from sql_databricks_bridge.models.tables import SourceName

LAND = "land"
"""The way of a query without a table: its files land, and that is all."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """How one query will go. `way` is `LAND`, 'full' or an increment's kind, None where `problem` stops it.

    `target` is the table that the YAML names, `table` the one that the rows will be in: they differ under the policy
    new_table. `low` and `high` are the watermarks before and after; `estimated_rows` will travel, None where nobody
    knows. `changes` are the result's columns against the table's, and `drift` the policy that they come under.
    """

    query: str
    way: str | None
    reason: str = ""
    target: SourceName | None = None
    table: SourceName | None = None
    drift: DriftPolicy | None = None
    low: Watermark | None = None
    high: Watermark | None = None
    estimated_rows: int | None = None
    changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    problem: BridgeError | None = None


def foresee(
    plan: ExtractionPlan, source: SqlServer, lakehouse: Lakehouse, publisher: Publisher | None
) -> tuple[Forecast, ...]:
    """Look ahead for each query of a plan, in its order; what is wrong with one stands in its own forecast.

    `publisher` may be None where no query has a table. Each query is described; for one with a table the source counts
    the rows that would travel, and for a fingerprint it digests all of them: cheaper than a run, not free. What no
    query could do without is raised: a server that can't be reached, a table of states that can't be read.
    """
    states: Iterable[PublishedState] = ()
    if any(query.publish is not None for query in plan.queries):
        assert publisher is not None, "who plans tables has a publisher"
        states = publisher.list()
    by_target = {str(state.target): state for state in states}
    found: list[Forecast] = []
    connection: SqlServerConnection | None = None
    try:
        for query in plan.queries:
            if connection is None:
                connection = source.connect(database=plan.database, server=plan.server)
            try:
                found.append(_forecast(connection, plan, query, lakehouse, publisher, by_target))
            except BridgeError as exc:
                publish = query.publish
                target, drift = (publish.table, publish.drift) if publish is not None else (None, None)
                found.append(Forecast(query.name, None, target=target, drift=drift, problem=exc))
                connection.close()  # it may be lost; the next query deserves one that is not
                connection = None
    finally:
        if connection is not None:
            connection.close()
    return tuple(found)


def _forecast(
    connection: SqlServerConnection,
    plan: ExtractionPlan,
    query: ResolvedQuery,
    lakehouse: Lakehouse,
    publisher: Publisher | None,
    states: Mapping[str, PublishedState],
) -> Forecast:
    if query.publish is None or publisher is None:
        asked = shape(connection, query)
        return Forecast(query.name, LAND, "it has no table", warnings=(*asked.warnings, *_losses(asked)))
    run = _Looking(lakehouse, publisher, plan, query, states.get(str(query.publish.table)))
    run.begin(connection)
    with connection.view():
        asked = shape(connection, query)
        choice = run.choose(connection, asked)
        rows = _rows(connection, asked, query.publish, choice.way)
    way = choice.way
    return Forecast(
        query=query.name,
        way=FULL if way.kind is None else way.kind.value,
        reason=way.reason,
        target=query.publish.table,
        table=choice.table,
        drift=query.publish.drift,
        low=way.low,
        high=way.high,
        estimated_rows=rows,
        changes=choice.changes,
        warnings=(*run.warnings, *asked.warnings, *_losses(asked), *way.warnings),
    )


def _losses(asked: Shape) -> list[str]:
    return [f"column {loss.column}: {loss.reason}" for loss in asked.schema.losses]


def _rows(connection: SqlServerConnection, asked: Shape, publication: Publication, way: Way) -> int | None:
    """Count what would travel; None for a query that can't be counted, as one that can't stand in parentheses."""
    try:
        return increments.estimate(connection, asked.query, asked.columns, publication, way)
    except UsageError:
        return None


class _Looking(TableRun):
    """A run that looks at its table and becomes nobody's owner: what `choose` says is what a run would choose."""

    def __init__(
        self,
        lakehouse: Lakehouse,
        publisher: Publisher,
        plan: ExtractionPlan,
        query: ResolvedQuery,
        standing: PublishedState | None,
    ) -> None:
        super().__init__(lakehouse, publisher, plan, query)
        target = self.publication.table
        self._standing = standing or PublishedState(target, target, plan.country, query.name, owner="")

    @property
    def warnings(self) -> tuple[str, ...]:
        """That the owner has not come to its end: a run of now would find the table busy, or what a dead one left."""
        told = f"the run {self._standing.owner} is at this table now, or died at it"
        return (told,) if self._standing.unsettled else ()

    def begin(self, connection: SqlServerConnection) -> None:  # noqa: ARG002  # a lock is what it does not take
        """Take the state as it stands; `PublicationRefused` where the table is another query's, as a claim says it."""
        state, wanted = self._standing, (self._plan.country, self._query.name)
        if (state.country, state.query) != wanted:
            raise PublicationRefused(
                f"Table {state.target} is published by query {state.query} of {state.country}.",
                hint="Name another table under `publish.tables`.",
            )
        self._state = state
