"""Durable jobs: what the job store keeps of an extraction that the service was asked for."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sql_databricks_bridge.models.jobs import ExtractionPlan, QueryOutcome, RunStatus
from sql_databricks_bridge.models.names import Destination

ENDED = frozenset({RunStatus.COMPLETED, RunStatus.PARTIAL, RunStatus.FAILED, RunStatus.CANCELLED})
"""Statuses that never change again."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be queued. Its id is the plan's run_id; `tables` are those that its SQL reads, as permissions name them.

    `request_id` is that of the HTTP request which asked for it.
    """

    user_name: str
    plan: ExtractionPlan
    tables: tuple[str, ...]
    request_id: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands. Times are aware UTC, by the store's clock.

    `attempt` counts how often it was taken up, 0 while it waits for the first time; `takeovers` how often from a runner
    whose lease had run out, and not because it was given back. `queries` are in the plan's order; of a running one
    `rows` are those fetched and `bytes` and `parts` those uploaded so far.
    """

    job_id: str
    user_name: str
    country: str
    destination: Destination
    status: RunStatus
    created_at: dt.datetime
    queries: tuple[QueryOutcome, ...]
    tables: tuple[str, ...] = ()
    request_id: str = ""
    attempt: int = 0
    takeovers: int = 0
    cancel_requested: bool = False
    started_at: dt.datetime | None = None
    finished_at: dt.datetime | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run a job: of `runner`, for this `attempt` of it, as long as it is renewed."""

    job_id: str
    runner: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that was taken up. `plan.attempt` is the lease's, so that its files land in a folder of their own."""

    job: Job
    plan: ExtractionPlan
    lease: Lease


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list. `before` is `(created_at, job_id)` of the last one seen: the next page begins behind it."""

    user_name: str | None = None
    status: RunStatus | None = None
    country: str | None = None
    before: tuple[dt.datetime, str] | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """What an Idempotency-Key stands for: the id of what is or will be made. `done`: it was made and answered."""

    resource_id: str
    done: bool


@dataclass(frozen=True, slots=True)
class Anchor:
    """The end of an audit file, kept in the store as evidence: its name, last line's number and that line's SHA-256."""

    file: str
    sequence: int
    digest: str
