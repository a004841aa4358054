"""An extraction run: what is planned, what is under way, what came of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sql_databricks_bridge.models.names import Destination
from sql_databricks_bridge.models.partitions import Partitioning
from sql_databricks_bridge.models.publishing import Publication, PublicationOutcome
from sql_databricks_bridge.models.type_policies import TypePolicies


class QueryStatus(StrEnum):
    """Where one query of a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RunStatus(StrEnum):
    """Where a run stands; PARTIAL: some of its queries failed, the others are published."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A `{name}` of a query: the SQL text that replaced it and where that came from (a file's name, 'window', ...)."""

    name: str
    text: str
    origin: str


@dataclass(frozen=True, slots=True)
class BoundParameter:
    """An `@name` of a query: its T-SQL type as declared in YAML and its value as a Python object, None for NULL."""

    name: str
    declaration: str
    value: bool | int | float | str | bytes | dt.date | dt.datetime | dt.time | object | None
    origin: str = ""


@dataclass(frozen=True, slots=True)
class ResolvedQuery:
    """A query ready to be sent. `sql` is one SELECT whose line n is line n of `file`.

    `publish` says which table its rows become, None where they only land; `types` in which forms values land,
    `partitions` whether it is read in several ranges at once.
    """

    name: str
    file: str
    sql: str
    sha256: str
    placeholders: tuple[Placeholder, ...] = ()
    parameters: tuple[BoundParameter, ...] = ()
    publish: Publication | None = None
    types: TypePolicies = field(default_factory=TypePolicies)
    partitions: Partitioning = field(default_factory=Partitioning)


@dataclass(frozen=True, slots=True)
class ExtractionPlan:
    """A run, wholly resolved before its first query is sent."""

    run_id: str
    country: str
    destination: Destination
    queries: tuple[ResolvedQuery, ...]
    database: str
    server: str | None = None
    attempt: int = 1
    limit: int | None = None
    warnings: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueryProgress:
    """A moment of a running query; counts are of what was fetched (rows) and of what was uploaded (bytes, parts)."""

    name: str
    status: QueryStatus
    rows: int = 0
    fetched_bytes: int = 0
    uploaded_bytes: int = 0
    parts: int = 0
    elapsed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class QueryOutcome:
    """The end of one query. `path` is its published run folder, None unless it landed; `bytes` are Parquet bytes.

    `publication` tells what became of its table, where it has one and got so far.
    """

    name: str
    status: QueryStatus
    rows: int = 0
    bytes: int = 0
    parts: int = 0
    seconds: float = 0.0
    path: str | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()
    publication: PublicationOutcome | None = None


@dataclass(frozen=True, slots=True)
class RunReport:
    """The end of a run."""

    run_id: str
    country: str
    destination: Destination
    status: RunStatus
    queries: tuple[QueryOutcome, ...]
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
