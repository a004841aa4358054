"""What the bridge answers, as frozen records. Times are aware UTC; sizes are bytes; statuses are the bridge's words.

Statuses are plain text, so that a newer bridge's new word doesn't break an older SDK.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Document = Mapping[str, Any]
"""A JSON object as it came; what is not understood in it is left alone."""

JOB_ENDED = frozenset({"completed", "partial", "failed", "cancelled"})
EVENT_ENDED = frozenset({"completed", "failed", "blocked"})

_FRACTION = re.compile(r"\.(\d+)")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is: queries in all and ended, rows fetched and bytes uploaded so far."""

    queries: int
    ended: int
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class QueryResult:
    """One query of a job: queued, running, completed, failed or cancelled.

    `path` is the run folder in the volume, whose `_manifest.json` names the files; None until it is published.
    `publication` tells, as the bridge's JSON, what became of the query's Delta table; None where it has none.
    """

    name: str
    status: str
    rows: int
    bytes: int
    parts: int
    seconds: float
    rows_per_second: float | None
    path: str | None
    error: str | None
    warnings: tuple[str, ...]
    publication: Document | None = None

    @classmethod
    def of(cls, document: Document) -> QueryResult:
        """Read the bridge's JSON; KeyError, TypeError or ValueError where it is something else."""
        speed = document["rows_per_second"]
        return cls(
            name=str(document["name"]),
            status=str(document["status"]),
            rows=int(document["rows"]),
            bytes=int(document["bytes"]),
            parts=int(document["parts"]),
            seconds=float(document["seconds"]),
            rows_per_second=None if speed is None else float(speed),
            path=document["path"],
            error=document["error"],
            warnings=tuple(document["warnings"]),
            publication=document.get("publication"),
        )


@dataclass(frozen=True, slots=True)
class Job:
    """An extraction: queued, running, completed, partial (some queries failed), failed or cancelled.

    `attempt` counts how often it was taken up: more than once where the service was restarted meanwhile.
    """

    job_id: str
    status: str
    country: str
    destination: str
    user: str
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    attempt: int
    cancel_requested: bool
    error: str | None
    warnings: tuple[str, ...]
    request_id: str
    progress: Progress
    queries: tuple[QueryResult, ...]

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in JOB_ENDED

    def query(self, name: str) -> QueryResult:
        """The query of that name; KeyError where the job has none."""
        for found in self.queries:
            if found.name == name:
                return found
        raise KeyError(name)

    @classmethod
    def of(cls, document: Document) -> Job:
        """Read the bridge's JSON; KeyError, TypeError or ValueError where it is something else."""
        progress = document["progress"]
        created_at = instant(document["created_at"])
        if created_at is None:
            raise ValueError("created_at is null")
        return cls(
            job_id=str(document["job_id"]),
            status=str(document["status"]),
            country=str(document["country"]),
            destination=str(document["destination"]),
            user=str(document["user"]),
            created_at=created_at,
            started_at=instant(document["started_at"]),
            finished_at=instant(document["finished_at"]),
            attempt=int(document["attempt"]),
            cancel_requested=bool(document["cancel_requested"]),
            error=document["error"],
            warnings=tuple(document["warnings"]),
            request_id=str(document["request_id"]),
            progress=Progress(*(int(progress[name]) for name in ("queries", "ended", "rows", "bytes"))),
            queries=tuple(QueryResult.of(each) for each in document["queries"]),
        )


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, newest first, and what asks for those behind them (None at the end)."""

    jobs: tuple[Job, ...]
    next_cursor: str | None

    @classmethod
    def of(cls, document: Document) -> JobPage:
        """Read the bridge's JSON; KeyError, TypeError or ValueError where it is something else."""
        return cls(tuple(Job.of(each) for each in document["jobs"]), document["next_cursor"])


@dataclass(frozen=True, slots=True)
class Event:
    """A row of the events table: pending, processing, completed, failed or blocked.

    `discrepancy` is what was expected less `rows_affected`; a completed event with one has a `warning`.
    """

    event_id: str
    operation: str | None = None
    source_table: str | None = None
    target_table: str | None = None
    primary_keys: tuple[str | None, ...] | None = None
    priority: int | None = None
    status: str | None = None
    rows_expected: int | None = None
    rows_affected: int | None = None
    discrepancy: int | None = None
    warning: str | None = None
    error_message: str | None = None
    filter_conditions: Mapping[str, str | None] | None = None
    metadata: Mapping[str, str | None] | None = None
    created_at: dt.datetime | None = None
    processed_at: dt.datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.status in EVENT_ENDED

    @classmethod
    def of(cls, document: Document) -> Event:
        """Read the bridge's JSON; KeyError, TypeError or ValueError where it is something else."""
        keys, filters, metadata = (document[name] for name in ("primary_keys", "filter_conditions", "metadata"))
        return cls(
            event_id=str(document["event_id"]),
            **{name: document[name] for name in _PLAIN},
            primary_keys=None if keys is None else tuple(keys),
            filter_conditions=None if filters is None else dict(filters),
            metadata=None if metadata is None else dict(metadata),
            created_at=instant(document["created_at"]),
            processed_at=instant(document["processed_at"]),
        )


_PLAIN = (
    *("operation", "source_table", "target_table", "priority", "status", "rows_expected", "rows_affected"),
    *("discrepancy", "warning", "error_message"),
)


@dataclass(frozen=True, slots=True)
class QueryFile:
    """A query that a country can run; `problem` says why it can't."""

    name: str
    file: str
    placeholders: tuple[str, ...]
    parameters: tuple[str, ...]
    problem: str | None

    @classmethod
    def of(cls, document: Document) -> QueryFile:
        """Read the bridge's JSON; KeyError or TypeError where it is something else."""
        return cls(
            name=str(document["name"]),
            file=str(document["file"]),
            placeholders=tuple(document["placeholders"]),
            parameters=tuple(document["parameters"]),
            problem=document["problem"],
        )


@dataclass(frozen=True, slots=True)
class Dependency:
    """What the bridge needs: its name, `up` or `down`, how long it took to say so, and the kind of problem."""

    name: str
    status: str
    latency_ms: float | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the bridge can work: `ready` or `unready`, when that was found, and by which of its dependencies."""

    status: str
    checked_at: dt.datetime | None
    dependencies: tuple[Dependency, ...]

    @property
    def ready(self) -> bool:
        """Whether every dependency is there."""
        return self.status == "ready"

    @classmethod
    def of(cls, document: Document) -> Readiness:
        """Read the bridge's JSON; KeyError, TypeError or ValueError where it is something else."""
        names = ("name", "status", "latency_ms", "problem")
        found = tuple(Dependency(*(each[name] for name in names)) for each in document["dependencies"])
        return cls(str(document["status"]), instant(document["checked_at"]), found)


def instant(text: str | None) -> dt.datetime | None:
    """Read ISO 8601 with an offset; Python 3.10 takes neither Z nor a fraction of any length."""
    if text is None:
        return None
    microseconds = _FRACTION.sub(lambda found: "." + found[1][:6].ljust(6, "0"), text)
    moment = dt.datetime.fromisoformat(microseconds.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset")
    return moment.astimezone(dt.timezone.utc)
