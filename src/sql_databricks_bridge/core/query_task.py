"""One query of a run, from connecting to its outcome."""

from __future__ import annotations

import dataclasses
import datetime as dt
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import stamina
import structlog

from sql_databricks_bridge.core.extractor import Extraction, Reader, Sizes, first_line
from sql_databricks_bridge.core.layout import AttemptFolder
from sql_databricks_bridge.core.manifest import Manifest, ManifestIncrement, ManifestPartitions, ManifestPublication
from sql_databricks_bridge.core.partitions import Split, Whole, split
from sql_databricks_bridge.core.partitions.readers import connections_of
from sql_databricks_bridge.core.ports import Lakehouse, SqlServer, SqlServerConnection
from sql_databricks_bridge.core.progress import Meter, Reporter
from sql_databricks_bridge.core.publishing import DIGESTS_NAME, TableRun
from sql_databricks_bridge.core.record import manifest_of
from sql_databricks_bridge.core.shaping import shape
from sql_databricks_bridge.core.types import DOUBTFUL, LandedSchema
from sql_databricks_bridge.core.uploader import Fence, Landing, Published, first_published, seconds_since
from sql_databricks_bridge.errors import (
    BridgeError,
    Cancelled,
    LakehouseNotFound,
    SourceError,
    SourceSignInError,
    Transient,
)
from sql_databricks_bridge.models.jobs import ExtractionPlan, QueryOutcome, QueryProgress, QueryStatus, ResolvedQuery
from sql_databricks_bridge.models.tables import SourceName

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run goes about it.

    `parallel` queries at once; `spool_dir` None is a temporary folder; `connect_attempts` counts the first one;
    after `stop` is set, queries get `stop_grace_s` seconds to end before their threads are left to themselves;
    `cleanup_s` bounds the removal of a failed query's parts, `abandon_s` that of all such threads' parts together;
    `progress_interval_s` is the least time between two callbacks for one query. `states` is the table of published
    tables' states, which a plan with such tables needs.
    """

    parallel: int = 1
    spool_dir: Path | None = None
    sizes: Sizes = field(default_factory=Sizes)
    connect_attempts: int = 4
    stop_grace_s: float = 5.0
    cleanup_s: float = 10.0
    abandon_s: float = 2.0
    progress_interval_s: float = 0.1
    states: SourceName | None = None


@dataclass(frozen=True, slots=True)
class RunContext:
    """What all queries of a run share."""

    plan: ExtractionPlan
    source: SqlServer
    lakehouse: Lakehouse
    options: RunOptions
    spool: Path
    report: Reporter
    fence: Fence | None = None
    refused: list[SourceSignInError] = field(default_factory=list)


class QueryTask:
    """One query of a run, from connecting to its outcome; `cancel` may come from any thread, at any time."""

    def __init__(self, context: RunContext, query: ResolvedQuery) -> None:
        self._context = context
        self._query = query
        plan = context.plan
        self._folder = AttemptFolder(plan.destination, plan.country, query.name, plan.run_id, plan.attempt)
        self._landing = Landing(context.lakehouse, self._folder, context.fence)
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._connection: SqlServerConnection | None = None
        self._extraction: Extraction | None = None
        self._connecting = False
        self._publishing = False
        self._begun = False
        self._warnings: tuple[str, ...] = ()
        self._started = time.monotonic()
        self._meter = Meter(lambda: self._progress(QueryStatus.RUNNING))
        self.outcome = QueryOutcome(query.name, QueryStatus.QUEUED)
        self._progress(QueryStatus.QUEUED)

    def run(self) -> None:
        """Land the query, publish it where it has a table, and set `outcome`; raises nothing of the query's."""
        self._started = time.monotonic()
        self._begun = True
        self._progress(QueryStatus.RUNNING)
        try:
            outcome = self._done()
        except Cancelled:
            outcome = self._undone(QueryStatus.CANCELLED, None)
        except BridgeError as exc:
            outcome = self._undone(QueryStatus.FAILED, first_line(exc))
        except BaseException as exc:  # the edge of a thread: a run needs an outcome
            log.exception("query.crashed", query=self._query.name)
            outcome = self._undone(QueryStatus.FAILED, first_line(exc))
        self._settle(outcome)

    def cancel(self) -> None:
        """Ask the query to stop soon. A published query stays published."""
        self._cancelled.set()
        with self._lock:
            extraction, connection = self._extraction, self._connection
        if extraction is not None:
            extraction.fail(Cancelled("The run was stopped."))
        elif connection is not None:
            connection.cancel()

    @property
    def is_worth_waiting_for(self) -> bool:
        """Whether the query is about to end in order: it has begun, not ended, and is past connecting.

        Who still connects holds nothing that needs an end, and a host that does not answer can take long.
        """
        return self._begun and self.outcome.status is QueryStatus.QUEUED and not self._connecting

    def abandon(self, deadline: float) -> None:
        """Call a query cancelled that has not ended; its thread may still hang in a driver or a request.

        What it has uploaded is removed as far as that goes until `deadline` (monotonic), and what may be left is told.
        """
        with self._lock:
            ended, publishing = self.outcome.status is not QueryStatus.QUEUED, self._publishing
        if ended:
            return
        warnings: tuple[str, ...] = ()
        if publishing:  # its parts must stay: the manifest may be on its way
            warnings = (f"{self._folder.path} was being published; `bridge runs latest` tells whether it counts",)
        elif self._landing.is_open:
            self._landing.remove_within(max(0.0, deadline - time.monotonic()))
            warnings = (f"{self._folder.path} may be left with unpublished files; `bridge sweep` removes them",)
        self._settle(
            QueryOutcome(
                self._query.name, QueryStatus.CANCELLED, seconds=seconds_since(self._started), warnings=warnings
            )
        )

    def _settle(self, outcome: QueryOutcome) -> None:
        with self._lock:
            if self.outcome.status is not QueryStatus.QUEUED:
                return
            self.outcome = outcome
        self._context.report.ended(outcome)
        self._progress(outcome.status)

    def _done(self) -> QueryOutcome:
        connection = self._connect()
        try:
            table = self._table(connection)
            landed = None if table is None else self._landed_before()
            if landed is None:
                manifest = self._extracted(connection, table)
                if table is None:
                    connection.close()  # nothing more is asked of it; with a table its lock is needed to the end
                landed = self._publish(manifest)
            return self._landed(landed) if table is None else self._in_table(table, landed)
        except SourceError:
            self._check_cancelled()  # a driver reports a cancelled call as an error of its own
            raise
        finally:
            connection.close()

    def _table(self, connection: SqlServerConnection) -> TableRun | None:
        """Become the only one to publish the query's table; None where it only lands."""
        if self._query.publish is None:
            return None
        context, states = self._context, self._context.options.states
        assert states is not None, "who plans tables names the table of their states"
        table = TableRun(context.lakehouse, context.lakehouse.publisher(states), context.plan, self._query)
        table.begin(connection)
        return table

    def _landed_before(self) -> Published | None:
        """What an earlier attempt of this run landed: it need not be read again."""
        if self._context.plan.attempt == 1:
            return None
        with suppress(LakehouseNotFound):  # no run of the query ever came so far
            return first_published(self._context.lakehouse, self._folder)
        return None

    def _extracted(self, connection: SqlServerConnection, table: TableRun | None) -> Manifest:
        """Stream the query into the landing folder; with a table, what is to go into it, all in one view."""
        started_at = dt.datetime.now(dt.UTC)
        self._check_cancelled()
        divided = self._divided(connection)
        if divided is not None:
            return self._extracted_by_ranges(connection, table, divided, started_at)
        if table is None:
            asked = shape(connection, self._query)
            self._warnings += asked.warnings
            doubts = self._stream([Reader(connection, asked.query)], asked.schema)
            return self._manifest(connection, asked.schema, started_at, doubts)
        with connection.view():
            asked = shape(connection, self._query)
            choice = table.choose(connection, asked)
            self._warnings += (*asked.warnings, *choice.way.warnings)
            schema = asked.of(connection, choice.query).schema
            doubts = self._stream([Reader(connection, choice.query)], schema)
        digests = choice.way.digests
        path = None if digests is None else self._landing.attach(DIGESTS_NAME, digests)
        increment, publication = table.told(choice, path)
        return self._manifest(connection, schema, started_at, doubts, increment=increment, publication=publication)

    def _divided(self, connection: SqlServerConnection) -> Split | None:
        """The ranges that the query is read in; None for one piece, and why, where ranges were asked for."""
        wanted = self._query.partitions
        if wanted.is_whole or (wanted.count is None and self._context.plan.limit is not None):
            return None
        if self._context.plan.limit is not None:
            found: Split | Whole = Whole("its rows are limited")
        elif self._query.publish is not None and self._query.publish.incremental is not None:
            found = Whole("increments are of one view")
        else:
            with connection.view():
                found = split(connection, self._query, connection.describe(self._query))
        if isinstance(found, Split):
            return found
        log.info("query.whole", query=self._query.name, reason=found.reason)
        if wanted.count is not None:
            self._warnings += (f"read in one piece: {found.reason}",)
        return None

    def _extracted_by_ranges(
        self, connection: SqlServerConnection, table: TableRun | None, divided: Split, started_at: dt.datetime
    ) -> Manifest:
        with connections_of(divided, self._query, connection, self._connect_another) as connections:
            asked = shape(connection, self._query)
            choice = None if table is None else table.choose(connection, asked)
            self._warnings += asked.warnings if choice is None else (*asked.warnings, *choice.way.warnings)
            readers = [
                Reader(each, shape(each, query).query)
                for each, query in zip(connections.all, divided.queries, strict=True)
            ]
            doubts = self._stream(readers, asked.schema)
            levels = sorted({each.isolation for each in connections.all})
        told = ManifestPartitions(len(readers), divided.key, connections.one_view)
        _, publication = (None, None) if table is None or choice is None else table.told(choice, None)
        manifest = self._manifest(connection, asked.schema, started_at, doubts, publication=publication)
        return dataclasses.replace(manifest, partitions=told, isolation=levels[0])

    def _manifest(
        self,
        connection: SqlServerConnection,
        schema: LandedSchema,
        started_at: dt.datetime,
        doubts: frozenset[str],
        *,
        increment: ManifestIncrement | None = None,
        publication: ManifestPublication | None = None,
    ) -> Manifest:
        return manifest_of(
            self._context.plan,
            self._query,
            connection,
            schema,
            self._landing.parts,
            started_at,
            doubtful=doubts,
            increment=increment,
            publication=publication,
        )

    def _stream(self, readers: Sequence[Reader], schema: LandedSchema) -> frozenset[str]:
        """Land the rows; returns the columns that may hold something else than SQL Server does."""
        spool = self._context.spool / self._query.name
        self._check_cancelled()
        self._landing.open()
        spool.mkdir()
        extraction = Extraction(
            readers,
            self._landing,
            spool=spool,
            sizes=self._context.options.sizes,
            meter=self._meter,
            row_limit=self._context.plan.limit,
        )
        with self._lock:
            self._extraction = extraction
        self._check_cancelled()
        extraction.run(schema)
        self._warnings += tuple(f"column {name}: {DOUBTFUL}" for name in sorted(extraction.doubtful))
        return extraction.doubtful

    def _publish(self, manifest: Manifest) -> Published:
        with self._lock:  # from here on `abandon` must not take the parts away
            self._check_cancelled()
            self._publishing = True
        return self._landing.publish(manifest)

    def _in_table(self, table: TableRun, landed: Published) -> QueryOutcome:
        """Bring what has landed into its table. Where that fails it stays landed, and the next run does better."""
        outcome = self._landed(landed)
        try:
            return dataclasses.replace(outcome, publication=table.finish(landed, self._context.fence))
        except Cancelled:
            return dataclasses.replace(outcome, status=QueryStatus.CANCELLED)
        except BridgeError as exc:
            return dataclasses.replace(outcome, status=QueryStatus.FAILED, error=first_line(exc))

    def _connect(self) -> SqlServerConnection:
        self._connecting = True
        try:
            connection = self._connect_with_retries()
        finally:
            self._connecting = False
        with self._lock:
            self._connection = connection
        return connection

    def _connect_with_retries(self) -> SqlServerConnection:
        plan = self._context.plan
        for attempt in stamina.retry_context(
            on=self._worth_a_retry, attempts=self._context.options.connect_attempts, timeout=60.0, wait_initial=0.25
        ):
            with attempt:
                self._check_cancelled()
                if self._context.refused:  # the same login again would be refused again, and locked in the end
                    raise self._context.refused[0]
                try:
                    connection = self._context.source.connect(database=plan.database, server=plan.server)
                except SourceSignInError as exc:
                    self._context.refused.append(exc)
                    raise
        return connection

    def _connect_another(self) -> SqlServerConnection:
        """One more, for a range of the query."""
        return self._connect_with_retries()

    def _worth_a_retry(self, exc: Exception) -> bool:
        return isinstance(exc, Transient) and not self._cancelled.is_set()

    def _check_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled("The run was stopped.")

    def _landed(self, published: Published) -> QueryOutcome:
        manifest = published.manifest
        log.info("query.landed", query=self._query.name, rows=manifest.rows, path=published.folder.path)
        return QueryOutcome(
            name=self._query.name,
            status=QueryStatus.COMPLETED,
            rows=manifest.rows,
            bytes=manifest.size_bytes,
            parts=len(manifest.parts),
            seconds=seconds_since(self._started),
            path=published.folder.path,
            warnings=(*((published.warning,) if published.warning else ()), *self._warnings),
        )

    def _undone(self, status: QueryStatus, error: str | None) -> QueryOutcome:
        clean = self._landing.remove_within(self._context.options.cleanup_s)
        return QueryOutcome(
            name=self._query.name,
            status=status,
            rows=self._meter.rows,
            seconds=seconds_since(self._started),
            error=error,
            warnings=() if clean else (f"{self._folder.path} could not be removed; `bridge sweep` will",),
        )

    def _progress(self, status: QueryStatus) -> None:
        meter = self._meter
        self._context.report(
            QueryProgress(
                name=self._query.name,
                status=status,
                rows=meter.rows,
                fetched_bytes=meter.fetched_bytes,
                uploaded_bytes=meter.uploaded_bytes,
                parts=meter.parts,
                elapsed_s=seconds_since(self._started),
            )
        )
