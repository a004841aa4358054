"""What the core asks of the world outside: SQL Server and the lakehouse. Adapters are in `db`.

Every method raises only errors of `sql_databricks_bridge.errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sql_databricks_bridge.models.applying import ApplyPlan, Assembly, Comparison, Counts, Matches, Staging
from sql_databricks_bridge.models.events import EventRow, EventStatus, LedgerEntry, Outcome
from sql_databricks_bridge.models.job_records import Anchor, Claim, Job, JobFilter, Lease, NewJob, Reservation
from sql_databricks_bridge.models.jobs import BoundParameter, QueryOutcome, ResolvedQuery, RunStatus
from sql_databricks_bridge.models.names import Destination
from sql_databricks_bridge.models.publishing import DeltaColumn, Load, PublishedState, RowCounts
from sql_databricks_bridge.models.tables import SourceName, Target, TargetColumn, TargetName

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """A column of a result set as sp_describe_first_result_set reports it.

    `sql_type` is system_type_name ('decimal(18,4)', 'nvarchar(max)'); `max_length` counts bytes, -1 for (max).
    `user_type` is the assembly-qualified or alias name of a user-defined type, else None.
    """

    name: str
    sql_type: str
    nullable: bool
    max_length: int
    precision: int
    scale: int
    collation: str | None = None
    user_type: str | None = None


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Who answered. `snapshot` tells whether the database allows SNAPSHOT isolation."""

    server: str
    database: str
    version: str
    login: str
    snapshot: bool


@dataclass(frozen=True, slots=True)
class NamedObject:
    """What a name in a query means, by the catalog: names as the catalog spells them, `kind` as sys.objects.type.

    'U' and 'S' are tables, 'V' views, 'SN' synonyms; FN, IF, TF, FS, FT and AF functions, TT table types.
    """

    server: str
    database: str
    schema: str
    name: str
    kind: str


class SqlServerConnection(Protocol):
    """One connection, for one thread; `cancel` may come from any."""

    @property
    def isolation(self) -> str:
        """The isolation level of the last `stream` or `view`: 'snapshot' or 'read committed'."""
        ...

    @property
    def oldest_rowversion(self) -> bytes | None:
        """MIN_ACTIVE_ROWVERSION() from just before the last `view` began: rows below it are committed, and seen in it.

        None where the server has no such function.
        """
        ...

    def info(self) -> ServerInfo:
        """Ask the server who it is."""
        ...

    def ping(self) -> None:
        """Ask for a sign of life."""
        ...

    def find_objects(self, names: Sequence[tuple[str | None, str | None, str]]) -> tuple[NamedObject | None, ...]:
        """Look up `(database, schema, name)` of tables, views, synonyms and functions, as a query's names are resolved.

        A database left out is the connection's, a schema left out the login's default one, then dbo. None for each
        that is not there or not to be seen. The answer is in the order of `names`.
        """
        ...

    def describe(self, query: ResolvedQuery) -> tuple[ResultColumn, ...]:
        """Describe the result set without running the query."""
        ...

    def stream(
        self, query: ResolvedQuery, *, batch_bytes: int, row_limit: int | None = None
    ) -> AbstractContextManager[Iterator[pa.RecordBatch]]:
        """Run the query and stream its rows as the driver types them, about `batch_bytes` of Arrow a batch."""
        ...

    def hold(self, resource: str) -> bool:
        """Take a session application lock of that name without waiting; False where another session has it.

        It goes with the connection. `resource` has at most 255 characters and is compared by bytes.
        """
        ...

    def view(self) -> AbstractContextManager[None]:
        """One view of the database for everything asked inside: `ask` and `stream` see the same moment.

        SNAPSHOT where the database allows it (`isolation` tells); else READ COMMITTED, where they may not.
        """
        ...

    def locked(self, sql: str, wait_s: float) -> AbstractContextManager[None]:
        """Hold the locks that a small SELECT with lock hints takes, until the context ends.

        `SourceError` where others hold it for `wait_s` seconds.
        """
        ...

    def ask(self, sql: str, parameters: Sequence[BoundParameter] = ()) -> list[dict[str, Any]]:
        """Run a small SELECT, with typed `@name` parameters, and return its rows by column name."""
        ...

    def cancel(self) -> None:
        """Stop the running fetch soon; its iterator then raises `Cancelled`."""
        ...

    def close(self) -> None:
        """Close the connection. Idempotent."""
        ...


class TargetConnection(Protocol):
    """One connection to the database that events are applied to; for one thread, `cancel` from any.

    Application locks belong to its session: they go with it, as does an open transaction. Nothing is retried here.
    """

    def info(self) -> ServerInfo:
        """Ask the server who it is."""
        ...

    def ledger_ready(self) -> bool:
        """Whether schema `bridge` and its ledger are there, as this version of the bridge wants them."""
        ...

    def create_ledger(self) -> None:
        """Create what is missing of it; harmless twice and from two sessions at once."""
        ...

    def find(self, name: TargetName) -> Target:
        """Look a base table up; `EventInvalid` where there is none, or a view, a synonym or the like."""
        ...

    def lock(self, object_id: int) -> bool:
        """Take the session application lock `bridge:{object_id}` without waiting; False where another has it."""
        ...

    def unlock(self, object_id: int) -> None:
        """Release it."""
        ...

    def entries(self, event_ids: Sequence[str]) -> Mapping[str, LedgerEntry]:
        """The newest generation of each of those events that the ledger knows."""
        ...

    def record(self, entry: LedgerEntry) -> LedgerEntry:
        """Write a final outcome without applying anything; return what stands: the first one written wins.

        A generation that stands as `open` is ended by it.
        """
        ...

    def reopen(self, event_id: str) -> LedgerEntry | None:
        """Open a new generation of a failed or blocked event and return its row (an `open` one as it is).

        None where the ledger does not know the event; `EventInvalid` where it was applied.
        """
        ...

    def stage(
        self,
        target: Target,
        columns: Sequence[TargetColumn],
        keys: Sequence[TargetColumn],
        source: pa.RecordBatchReader,
        assemblies: Sequence[Assembly] = (),
    ) -> Staging:
        """Create a staging table, lock its name, bulk copy the reader's rows (columns in the same order) into it.

        The columns of `assemblies` come in parts: the reader has their companions behind all columns, in that order.
        What the reader raises comes out of here unchanged. On any error the staging table is dropped as far as can be.
        """
        ...

    def discard(self, staging: Staging) -> None:
        """Drop it and release its lock; what fails is left to `sweep`."""
        ...

    def apply(self, plan: ApplyPlan, before_commit: Callable[[Counts], LedgerEntry]) -> LedgerEntry:
        """Apply in one transaction: ledger, checks, statement, `before_commit`, commit. Return what the ledger holds.

        `before_commit` gets the statement's own counts and returns the ledger's row to commit; what it raises rolls
        everything back. Where the generation stands in the ledger already nothing is applied and that row is returned.
        `EventInvalid` for duplicate or NULL keys, a row count other than sent, rows that exist, a constraint;
        `CommitUnknown` where the link was lost in the commit.
        """
        ...

    def matches(self, plan: ApplyPlan) -> Matches:
        """Count what the plan would meet, changing nothing."""
        ...

    def compare(self, plan: ApplyPlan) -> Comparison:
        """Compare what the plan staged with what the target holds, byte by byte, changing nothing.

        Of one moment: SNAPSHOT where the database allows it. `EventInvalid` for duplicate or NULL keys.
        """
        ...

    def sweep(self) -> int:
        """Drop staging tables whose loader is gone; return how many."""
        ...

    def cancel(self) -> None:
        """Stop the running call soon; it then raises `Cancelled`."""
        ...

    def close(self) -> None:
        """Close the connection: rolls back, releases its locks. Idempotent."""
        ...


class SqlServer(Protocol):
    """Opens connections."""

    def connect(self, *, database: str | None = None, server: str | None = None) -> SqlServerConnection:
        """Open a connection; None means what the settings say."""
        ...

    def connect_target(self) -> TargetConnection:
        """Open a connection to SQLSERVER_DATABASE, to apply events."""
        ...


@dataclass(frozen=True, slots=True)
class FileEntry:
    """An entry of a folder in a volume; `path` is absolute, `modified_ms` is Unix time."""

    path: str
    is_directory: bool
    size_bytes: int
    modified_ms: int


class SourceStream(Protocol):
    """The rows of a SELECT on their way, in chunks; used as a context manager."""

    @property
    def schema(self) -> pa.Schema:
        """Names and Arrow types, known before the first row."""
        ...

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Every row, to the last chunk; `StatementFailed` where fewer arrived than were announced."""
        ...


class EventTable(Protocol):
    """The Delta table of events. Every write is harmless twice, since the SDK re-sends requests."""

    def create(self) -> None:
        """Create schema and table with the seed's columns; no error where they exist."""
        ...

    def unfinished(self, limit: int, skip_targets: Sequence[str] = ()) -> list[EventRow]:
        """Pending and processing events in the order of their turn, less those of `skip_targets` (lower case)."""
        ...

    def report(self, outcomes: Sequence[Outcome]) -> None:
        """Write outcomes to the unfinished rows of those events, in one statement; finished rows never change.

        An outcome with a fingerprint leaves rows of the event_id alone that ask for something else.
        """
        ...

    def submit(self, row: EventRow) -> None:
        """Insert an event as pending, unless its event_id is there."""
        ...

    def rows_of(self, event_id: str) -> list[EventRow]:
        """Every row with that event_id: none, one, or more where it was delivered twice."""
        ...

    def reset(self, event_id: str) -> None:
        """Set a failed or blocked event back to pending, without counts, warning, error and processed_at."""
        ...

    def list(self, status: EventStatus | None, limit: int) -> list[EventRow]:
        """The newest events first."""
        ...


class Publisher(Protocol):
    """Delta tables that queries are published to, and the table of their states. Safe to use from several threads.

    Every write is one statement, harmless twice, and fails with `PublicationOvertaken` where its owner is not the
    state's any more.
    """

    def create(self) -> None:
        """Create the table of states and its schema; no error where they exist."""
        ...

    def find(self, target: SourceName) -> PublishedState | None:
        """The state of a published table, None where there is none."""
        ...

    def list(self, country: str | None = None) -> list[PublishedState]:
        """Every state, sorted by country and query; none where the table of states is not there."""
        ...

    def claim(self, target: SourceName, country: str, query: str, owner: str) -> PublishedState:
        """Become the owner, and make the row where there is none; return the state with what stands.

        `PublicationRefused` where the table is another country's or query's.
        """
        ...

    def columns(self, table: SourceName) -> tuple[DeltaColumn, ...] | None:
        """The columns of a table in order, None where there is no such table."""
        ...

    def replace(self, load: Load) -> RowCounts:
        """Make the table anew from the files, in one statement that readers see whole; its history stays."""
        ...

    def merge(self, load: Load) -> RowCounts:
        """Apply the files' rows by key: update, insert, and delete (or mark) those with DELETED_COLUMN."""
        ...

    def replace_ranges(self, load: Load, ranges: Sequence[int]) -> RowCounts:
        """Have the files' rows stand for all rows of those ranges (RANGE_COLUMN), in one statement."""
        ...

    def settle(self, state: PublishedState) -> None:
        """Write the state after its data, by `state.owner`, if it stands at the generation before; else as above."""
        ...

    def reset(self, target: SourceName) -> bool:
        """Forget the watermark, so that the next publication is a full one; False where there is no such state."""
        ...


class Lakehouse(Protocol):
    """Databricks: volumes, tables, events. Safe to use from several threads."""

    def publisher(self, states: SourceName) -> Publisher:
        """The publisher that keeps its states in the table of that name."""
        ...

    def events(self, table: SourceName) -> EventTable:
        """The events table of that name."""
        ...

    def table_version(self, table: SourceName) -> int:
        """The newest version of a Delta table; `EventInvalid` where the table can't be found."""
        ...

    def read_table(
        self,
        table: SourceName,
        version: int,
        *,
        columns: Sequence[str] | None = None,
        where: Mapping[str, str | None] | None = None,
    ) -> AbstractContextManager[SourceStream]:
        """Read a Delta table as of a version: all columns or some, where every `column = value` (NULL: IS NULL) holds.

        Values are text that the column's type parses. `EventInvalid` for a table, version or column that is not there,
        or a value that does not parse.
        """
        ...

    def check_destination(self, destination: Destination) -> None:
        """Raise `LakehouseNotFound` (saying which of catalog, schema, volume) unless the volume is there."""
        ...

    def make_directory(self, path: str) -> None:
        """Create a folder and its parents; no error where it exists."""
        ...

    def upload(self, path: str, local_file: Path) -> None:
        """Upload a file to a path that must be free, else `AlreadyExists`."""
        ...

    def write_new(self, path: str, content: bytes) -> None:
        """Write a small file to a path that must be free, else `AlreadyExists`."""
        ...

    def read(self, path: str) -> bytes:
        """Read a small file."""
        ...

    def list_directory(self, path: str) -> tuple[FileEntry, ...]:
        """List a folder; `LakehouseNotFound` where there is none."""
        ...

    def delete_file(self, path: str) -> None:
        """Delete a file; no error where there is none."""
        ...

    def delete_directory(self, path: str) -> None:
        """Delete an empty folder; no error where there is none."""
        ...

    def execute(self, statement: str, parameters: Mapping[str, str | None] | None = None) -> pa.Table:
        """Run one SQL statement to its end and return every row, typed."""
        ...


class JobStore(Protocol):
    """The durable store of jobs, shared by all replicas of the service. Safe to use from several threads.

    Every method raises `JobStoreUnavailable` where the store can't be reached. Leases go by the store's own clock.
    """

    def ping(self) -> None:
        """Ask for a sign of life."""
        ...

    def add(self, job: NewJob, *, queue_limit: int) -> Job:
        """Queue a job; `QueueFull` where `queue_limit` jobs wait already. One of that id that is there is returned."""
        ...

    def get(self, job_id: str) -> Job | None:
        """A job as it stands."""
        ...

    def find(self, wanted: JobFilter, limit: int) -> list[Job]:
        """The newest jobs first."""
        ...

    def counts(self) -> Mapping[RunStatus, int]:
        """How many jobs are queued and running."""
        ...

    def cancel(self, job_id: str) -> Job | None:
        """End a queued job as cancelled at once; ask the runner of a running one to stop. An ended one stays."""
        ...

    def claim(self, runner: str, lease_s: float) -> Claim | None:
        """Take up the job that waits longest, or a running one whose lease ran out; None where there is none.

        Never gives one job to two runners. A job whose cancellation was asked for is ended as cancelled instead. One
        that was put off is not taken up before its time, and from then on has waited since then.
        """
        ...

    def renew(self, lease: Lease, lease_s: float, queries: Sequence[QueryOutcome]) -> bool:
        """Prolong the lease and keep the queries' progress; True where the job is to be cancelled. `LeaseLost`."""
        ...

    def finish(
        self,
        lease: Lease,
        status: RunStatus,
        queries: Sequence[QueryOutcome],
        *,
        error: str | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        """End the job; `LeaseLost` where it is another runner's by now. `warnings` are added to the plan's."""
        ...

    def release(self, lease: Lease, queries: Sequence[QueryOutcome], *, put_off_s: float | None = None) -> None:
        """Give the job back to the queue, to its old place, or put off for so many seconds. `LeaseLost`."""
        ...

    def prune(self, older_than_days: int) -> int:
        """Forget jobs that ended, and keys that were used, before that; return how many jobs."""
        ...

    def reserve(self, user_name: str, key: str, fingerprint: str, resource_id: str) -> Reservation:
        """Let an Idempotency-Key of a user stand for `resource_id`, or return what it stands for already.

        `fingerprint` is a digest of the request; `KeyReused` where the key came with another one.
        """
        ...

    def forget(self, user_name: str, key: str, fingerprint: str) -> None:
        """Take a reservation back: its request was refused, and nothing was made. A settled one stays."""
        ...

    def settle(self, user_name: str, key: str) -> None:
        """Note that what the key stands for was made."""
        ...

    def anchor(self, head: Anchor) -> None:
        """Keep the end of an audit file; an older end of the same file is replaced, a newer one stays."""
        ...

    def anchor_of(self, file: str) -> Anchor | None:
        """The newest end that is known of an audit file."""
        ...
