"""What the API takes and gives, as JSON. Unknown keys are refused and nothing is converted: "5" is no number."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from sql_databricks_bridge.models.events import EventRow, EventStatus
from sql_databricks_bridge.models.job_records import Job as JobRecord
from sql_databricks_bridge.models.jobs import QueryOutcome, QueryStatus, RunStatus
from sql_databricks_bridge.models.partitions import MOST_PARTITIONS
from sql_databricks_bridge.models.publishing import PublicationOutcome

INT_MAX = 2**31 - 1
_INT_MIN = -(2**31)
_UNREAD = frozenset({QueryStatus.QUEUED, QueryStatus.CANCELLED, QueryStatus.FAILED})

Name = Annotated[str, Field(min_length=1, max_length=255)]
Country = Annotated[str, Field(min_length=1, max_length=200)]  # a file's name, with .yaml: 255 at most
Text = Annotated[str, Field(max_length=4000)]
ParameterValue = Text | int | FiniteFloat | bool | None
JobStatus = Literal["queued", "running", "completed", "partial", "failed", "cancelled"]
EventStatusName = Literal["pending", "processing", "completed", "failed", "blocked"]


class _Body(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ExtractRequest(_Body):
    """What to extract; only the country must be named."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"country": "Colombia", "queries": ["flights"], "lookback_months": 24, "limit": 1000},
                {"country": "Colombia", "parameters": {"since": "2013-06-01"}},
            ]
        }
    )

    country: Annotated[Country, Field(description="The name of a YAML in the service's configuration folder.")]
    queries: Annotated[
        list[Name] | None, Field(max_length=200, description="Names of queries; all of the country's if left out.")
    ] = None
    destination: Annotated[
        str | None,
        Field(max_length=800, description="catalog.schema.volume, one of those that the country's YAML lists."),
    ] = None
    lookback_months: Annotated[
        int | None,
        Field(ge=0, le=1200, description="Months that the window reaches back, in place of the YAML's."),
    ] = None
    parameters: Annotated[
        dict[Name, ParameterValue] | None,
        Field(max_length=200, description="Values of the queries' @parameters, bound and never pasted into SQL."),
    ] = None
    limit: Annotated[int | None, Field(ge=1, le=INT_MAX, description="Most rows of each query.")] = None
    publish: Annotated[
        bool | None,
        Field(description="Publish to Delta tables, or only land; null means what the country's YAML says."),
    ] = None
    partitions: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=1, le=MOST_PARTITIONS)] | None,
        Field(description="Ranges that each query is read in at once; null means what the country's YAML says."),
    ] = None
    partition_key: Annotated[
        list[Name] | None, Field(max_length=16, description="Columns to split by; the table's index if left out.")
    ] = None
    partition_lock: Annotated[
        bool | None, Field(description="Give all ranges one view, by a short shared lock on the table.")
    ] = None
    strict: Annotated[
        bool, Field(description="Refuse a query of which anything would get lost; the country's YAML may do so anyway.")
    ] = False


class EventRequest(_Body):
    """A sync event to submit; its author is the caller, whose signing_key signs it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "operation": "UPDATE",
                    "source_table": "main.sales.orders_clean",
                    "target_table": "dbo.orders",
                    "primary_keys": ["order_id"],
                    "rows_expected": 120,
                },
                {"operation": "DELETE", "target_table": "dbo.orders", "filter_conditions": {"status": "void"}},
            ]
        }
    )

    operation: Literal["INSERT", "UPDATE", "DELETE", "UPSERT"]
    target_table: Annotated[str, Field(min_length=1, max_length=1000, description="SQL Server table: schema.table.")]
    source_table: Annotated[
        str | None, Field(max_length=1000, description="Delta table: catalog.schema.table; its version is pinned.")
    ] = None
    primary_keys: Annotated[list[Name] | None, Field(max_length=1024, description="Columns that tell rows apart.")] = (
        None
    )
    priority: Annotated[int, Field(ge=_INT_MIN, le=INT_MAX, description="Higher goes first.")] = 0
    rows_expected: Annotated[
        int | None, Field(ge=0, le=INT_MAX, description="Rows that should be affected; a difference is reported.")
    ] = None
    filter_conditions: Annotated[
        dict[Name, Text | None] | None,
        Field(max_length=1024, description="column = value, all of them; null means IS NULL."),
    ] = None
    metadata: Annotated[
        dict[Name, Text | None] | None,
        Field(max_length=100, description="Options (timezone, on_conflict, keep_identity, source_version) and notes."),
    ] = None
    event_id: Annotated[
        str | None,
        Field(min_length=1, max_length=200, description="A unique name; a UUID where it is left out."),
    ] = None


class _Query(BaseModel):
    """The query string of a list."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class JobsQuery(_Query):
    """Which jobs to list."""

    status: Annotated[JobStatus | None, Field(description="Only jobs of this status.")] = None
    country: Annotated[Country | None, Field(description="Only jobs of this country.")] = None
    limit: Annotated[int, Field(ge=1, le=200, description="Most jobs of a page.")] = 50
    cursor: Annotated[str | None, Field(max_length=300, description="`next_cursor` of the page before.")] = None


class EventsQuery(_Query):
    """Which events to list."""

    status: Annotated[EventStatusName | None, Field(description="Only events of this status.")] = None
    limit: Annotated[int, Field(ge=1, le=500, description="Most events.")] = 50

    @property
    def wanted(self) -> EventStatus | None:
        """The status as the bridge names it."""
        return None if self.status is None else EventStatus(self.status)


class QueriesQuery(_Query):
    """Whose queries to list."""

    country: Annotated[Country, Field(description="The country's name.")]


class JobPublication(BaseModel):
    """What a query did to its Delta table: in full or by which increment, why, and how many rows changed.

    `total` are the rows that a full publication wrote, null for an increment.
    """

    table: str
    way: str
    reason: str
    inserted: int
    updated: int
    deleted: int
    total: int | None
    changes: list[str]

    @classmethod
    def of(cls, outcome: PublicationOutcome) -> JobPublication:
        """The JSON of an outcome."""
        rows = outcome.rows
        return cls(
            table=outcome.table,
            way=outcome.way,
            reason=outcome.reason,
            inserted=rows.inserted,
            updated=rows.updated,
            deleted=rows.deleted,
            total=rows.total,
            changes=list(outcome.changes),
        )


class JobQuery(BaseModel):
    """One query of a job. `bytes` are Parquet bytes that were uploaded, `path` its published folder.

    `publication` tells what became of its Delta table, null where it has none or did not get so far.
    """

    name: str
    status: Literal["queued", "running", "completed", "failed", "cancelled"]
    rows: int
    bytes: int
    parts: int
    seconds: float
    rows_per_second: float | None
    path: str | None
    error: str | None
    warnings: list[str]
    publication: JobPublication | None = None

    @classmethod
    def of(cls, outcome: QueryOutcome) -> JobQuery:
        """The JSON of an outcome."""
        measured = outcome.seconds > 0 and outcome.status not in _UNREAD
        return cls(
            name=outcome.name,
            status=outcome.status.value,
            rows=outcome.rows,
            bytes=outcome.bytes,
            parts=outcome.parts,
            seconds=round(outcome.seconds, 3),
            rows_per_second=round(outcome.rows / outcome.seconds, 1) if measured else None,
            path=outcome.path,
            error=outcome.error,
            warnings=list(outcome.warnings),
            publication=None if outcome.publication is None else JobPublication.of(outcome.publication),
        )


class JobProgress(BaseModel):
    """The job in numbers: its queries, those that have ended, and rows and bytes so far."""

    queries: int
    ended: int
    rows: int
    bytes: int


_JOB_EXAMPLE: Mapping[str, Any] = {
    "job_id": "20261123T130755Z-3f9a1c52b7e0",
    "status": "running",
    "country": "Colombia",
    "destination": "main.landing.files",
    "user": "analytics",
    "created_at": "2026-11-23T13:07:55.120000Z",
    "started_at": "2026-11-23T13:07:55.480000Z",
    "finished_at": None,
    "attempt": 1,
    "cancel_requested": False,
    "error": None,
    "warnings": [],
    "request_id": "6f1c0f7e9b0b4b5e8a1d2c3b4a5f6e7d",
    "progress": {"queries": 1, "ended": 0, "rows": 131072, "bytes": 2097152},
    "queries": [
        {
            "name": "flights",
            "status": "running",
            "rows": 131072,
            "bytes": 2097152,
            "parts": 1,
            "seconds": 0.4,
            "rows_per_second": 327680.0,
            "path": None,
            "error": None,
            "warnings": [],
        }
    ],
}


class Job(BaseModel):
    """An extraction as it stands; `attempt` counts how often a runner took it up."""

    model_config = ConfigDict(json_schema_extra={"examples": [dict(_JOB_EXAMPLE)]})

    job_id: str
    status: JobStatus
    country: str
    destination: str
    user: str
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    attempt: int
    cancel_requested: bool
    error: str | None
    warnings: list[str]
    request_id: str
    progress: JobProgress
    queries: list[JobQuery]

    @classmethod
    def of(cls, job: JobRecord) -> Job:
        """The JSON of a job."""
        waiting = (QueryStatus.QUEUED, QueryStatus.RUNNING)
        return cls(
            job_id=job.job_id,
            status=job.status.value,
            country=job.country,
            destination=str(job.destination),
            user=job.user_name,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            attempt=job.attempt,
            cancel_requested=job.cancel_requested,
            error=job.error,
            warnings=list(job.warnings),
            request_id=job.request_id,
            progress=JobProgress(
                queries=len(job.queries),
                ended=sum(query.status not in waiting for query in job.queries),
                rows=sum(query.rows for query in job.queries),
                bytes=sum(query.bytes for query in job.queries),
            ),
            queries=[JobQuery.of(query) for query in job.queries],
        )


class JobList(BaseModel):
    """A page of jobs, the newest first; `next_cursor` asks for the next one, null after the last."""

    jobs: list[Job]
    next_cursor: str | None


class Event(BaseModel):
    """A row of the events table as it stands; anybody may have written anything into it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "event_id": "0b7c1c0e-4c1a-4f0e-9a55-0d6a3a6f2f11",
                    "operation": "UPDATE",
                    "source_table": "main.sales.orders_clean",
                    "target_table": "dbo.orders",
                    "primary_keys": ["order_id"],
                    "priority": 0,
                    "status": "completed",
                    "rows_expected": 120,
                    "rows_affected": 120,
                    "discrepancy": 0,
                    "warning": None,
                    "error_message": None,
                    "filter_conditions": None,
                    "metadata": {"source_version": "7", "user": "analytics", "signature": "5d41..."},
                    "created_at": "2026-11-23T13:07:55.120000Z",
                    "processed_at": "2026-11-23T13:08:02.003000Z",
                }
            ]
        }
    )

    event_id: str | None
    operation: str | None
    source_table: str | None
    target_table: str | None
    primary_keys: list[str | None] | None
    priority: int | None
    status: str | None
    rows_expected: int | None
    rows_affected: int | None
    discrepancy: int | None
    warning: str | None
    error_message: str | None
    filter_conditions: dict[str, str | None] | None
    metadata: dict[str, str | None] | None
    created_at: dt.datetime | None
    processed_at: dt.datetime | None

    @classmethod
    def of(cls, row: EventRow) -> Event:
        """The JSON of a row."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields} | {
            "primary_keys": None if row.primary_keys is None else list(row.primary_keys),
            "filter_conditions": None if row.filter_conditions is None else dict(row.filter_conditions),
            "metadata": None if row.metadata is None else dict(row.metadata),
        })  # fmt: skip


class EventList(BaseModel):
    """Events whose target the caller may read or write, the newest first."""

    events: list[Event]


class QueryFile(BaseModel):
    """A query of a country. `problem` says why its file can't be read, null where it can."""

    name: str
    file: str
    placeholders: list[str]
    parameters: list[str]
    problem: str | None


class QueryList(BaseModel):
    """The queries of a country, by name."""

    country: str
    queries: list[QueryFile]


class Version(BaseModel):
    """What answers here."""

    name: Literal["sql-databricks-bridge"] = "sql-databricks-bridge"
    version: str


def run_status(name: JobStatus | None) -> RunStatus | None:
    """The status as the bridge names it."""
    return None if name is None else RunStatus(name)
