"""What each method of the clients asks the bridge, and how it reads the answer. No I/O."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote, urlencode

from .models import Event, Job, JobPage, QueryFile, Readiness

T = TypeVar("T")

Parameter = str | int | float | bool | None
"""A value that a query names as @parameter; the country's YAML declares its type."""

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, the same however often it is sent, and what makes a result of the answer's JSON.

    `path` is encoded and has its query. `answers` are the statuses that `read` understands.
    """

    method: str
    path: str
    read: Callable[[Any], T]
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    answers: frozenset[int] = frozenset({200, 201, 202})


def extract(
    country: str,
    *,
    queries: Sequence[str] | None,
    destination: str | None,
    lookback_months: int | None,
    parameters: Mapping[str, Parameter] | None,
    limit: int | None,
    publish: bool | None,
    strict: bool,
    partitions: int | Literal["auto"] | None,
    partition_key: Sequence[str] | None,
    partition_lock: bool | None,
    idempotency_key: str | None,
) -> Call[Job]:
    """POST /extract."""
    body = {
        "country": country,
        "queries": None if queries is None else _names(queries, "queries"),
        "destination": destination,
        "lookback_months": lookback_months,
        "parameters": None if parameters is None else dict(parameters),
        "limit": limit,
        "publish": publish,
        "strict": strict or None,
        "partitions": partitions,
        "partition_key": None if partition_key is None else _names(partition_key, "partition_key"),
        "partition_lock": partition_lock,
    }
    return _post("/extract", Job.of, _given(body), idempotency_key)


def get_job(job: Job | str) -> Call[Job]:
    """GET /jobs/{job_id}."""
    return Call("GET", f"/jobs/{_segment(job_id_of(job))}", Job.of)


def list_jobs(*, status: str | None, country: str | None, page_size: int, cursor: str | None) -> Call[JobPage]:
    """GET /jobs, one page."""
    asked = {"status": status, "country": country, "limit": page_size, "cursor": cursor}
    return Call("GET", f"/jobs{_query(asked)}", JobPage.of)


def cancel(job: Job | str) -> Call[Job]:
    """DELETE /jobs/{job_id}."""
    return Call("DELETE", f"/jobs/{_segment(job_id_of(job))}", Job.of)


def queries_of(country: str) -> Call[tuple[QueryFile, ...]]:
    """GET /queries."""
    return Call("GET", f"/queries{_query({'country': country})}", lambda found: _all(QueryFile.of, found["queries"]))


def submit_event(
    operation: str,
    source: str | None,
    target: str,
    *,
    keys: Sequence[str],
    filters: Mapping[str, str | None] | None,
    rows_expected: int | None,
    priority: int,
    metadata: Mapping[str, str | None] | None,
    event_id: str | None,
    idempotency_key: str | None,
) -> Call[Event]:
    """POST /sync/events."""
    body = {
        "operation": operation,
        "target_table": target,
        "source_table": source,
        "primary_keys": _names(keys, "keys") or None,
        "priority": priority,
        "rows_expected": rows_expected,
        "filter_conditions": None if filters is None else dict(filters),
        "metadata": None if metadata is None else dict(metadata),
        "event_id": event_id,
    }
    return _post("/sync/events", Event.of, _given(body), idempotency_key)


def get_event(event: Event | str) -> Call[Event]:
    """GET /sync/events/{event_id}."""
    return Call("GET", f"/sync/events/{_segment(event_id_of(event))}", Event.of)


def list_events(*, status: str | None, limit: int) -> Call[tuple[Event, ...]]:
    """GET /sync/events."""
    path = f"/sync/events{_query({'status': status, 'limit': limit})}"
    return Call("GET", path, lambda found: _all(Event.of, found["events"]))


def retry_event(event: Event | str, *, idempotency_key: str | None) -> Call[Event]:
    """POST /sync/events/{event_id}/retry."""
    return _post(f"/sync/events/{_segment(event_id_of(event))}/retry", Event.of, None, idempotency_key)


def version() -> Call[str]:
    """GET /version."""
    return Call("GET", "/version", lambda found: str(found["version"]))


def ready() -> Call[Readiness]:
    """GET /health/ready, whose 503 is an answer too."""
    return Call("GET", "/health/ready", Readiness.of, answers=frozenset({200, 503}))


def job_stream(job_id: str) -> Call[None]:
    """GET /jobs/{job_id}/events, whose answer is read as it comes."""
    headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Cache-Control": "no-store"}
    return Call("GET", f"/jobs/{_segment(job_id)}/events", lambda _: None, headers=headers)


def job_id_of(job: Job | str) -> str:
    """The id of a job, or of what was given as one."""
    return job.job_id if isinstance(job, Job) else job


def event_id_of(event: Event | str) -> str:
    """The id of an event, or of what was given as one."""
    return event.event_id if isinstance(event, Event) else event


def _post(path: str, read: Callable[[Any], T], body: Mapping[str, Any] | None, key: str | None) -> Call[T]:
    """A POST with one Idempotency-Key, however often it is sent: the bridge does it once."""
    if key is None:
        key = uuid.uuid4().hex
    elif not _KEY.fullmatch(key):
        raise ValueError("idempotency_key is not 1 to 255 visible ASCII characters")
    headers = {"Idempotency-Key": key}
    if body is None:
        return Call("POST", path, read, headers=headers)
    content = json.dumps(body, allow_nan=False).encode()
    return Call("POST", path, read, content, {**headers, "Content-Type": "application/json"})


def _given(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


def _names(names: Sequence[str], what: str) -> list[str]:
    if isinstance(names, str):
        raise TypeError(f"{what} is one text; write a list: [{names!r}]")
    return list(names)


def _all(read: Callable[[Any], T], documents: Sequence[Any]) -> tuple[T, ...]:
    return tuple(read(each) for each in documents)


def _segment(text: str) -> str:
    """One segment of a path. Full stops too, which alone would be a step up or none."""
    if not text:
        raise ValueError("the id is empty")
    encoded = quote(text, safe="")
    return encoded.replace(".", "%2E") if encoded.strip(".") == "" else encoded


def _query(asked: Mapping[str, str | int | None]) -> str:
    given = {name: value for name, value in asked.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""
