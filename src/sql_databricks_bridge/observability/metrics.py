"""What the service counts, for Prometheus. One `Metrics` for each service, on a registry of its own.

Labels never take text of a client's: what is not foreseen counts as 'other'. Countries and queries are names of files
of the operator's; beyond 500 of them new ones count as 'other' too.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

import prometheus_client as prometheus
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sql_databricks_bridge.models.events import EventStatus, Operation
from sql_databricks_bridge.models.jobs import QueryStatus, RunStatus
from sql_databricks_bridge.models.schedules import Decision

if TYPE_CHECKING:
    from stamina.instrumentation import RetryDetails

    from sql_databricks_bridge.models.events import EventRow, Outcome
    from sql_databricks_bridge.models.jobs import QueryOutcome

CONTENT_TYPE = prometheus.CONTENT_TYPE_LATEST
OTHER = "other"
ACTIONS = ("extract", "read", "write", "delete", "sources")
STATEMENT_KINDS = ("select", "with", "insert", "update", "delete", "merge", "create", "describe", "drop", "alter")
METHODS = ("GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH")

_MOST_NAMES = 500
_REQUEST_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_WORK_BUCKETS_S = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400)
_PREFIX = "bridge"


class Metrics:
    """Counts what its methods are told. Safe to use from several threads."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        self._names = _BoundedNames(_MOST_NAMES)
        prometheus.ProcessCollector(registry=self.registry)
        self._gauge("build_info", "The running version, always 1.", "version", "python").labels(
            version, platform.python_version()
        ).set(1)
        query = ("country", "query")
        self._rows = self._counter("extraction_rows", "Rows landed by published queries.", *query)
        self._bytes = self._counter("extraction_bytes", "Parquet bytes landed by published queries.", *query)
        self._seconds = self._histogram("extraction_seconds", "Seconds of a query to its end.", _WORK_BUCKETS_S, *query)
        self._queries = self._counter("queries", "Queries that ended.", "status")
        self._upload_bytes = self._counter("upload_bytes", "Bytes of files uploaded to volumes.")
        self._upload_seconds = self._histogram("upload_seconds", "Seconds of one file's upload.", _WORK_BUCKETS_S)
        self._jobs = self._counter("jobs", "Jobs that ended.", "status")
        self._queue = self._gauge("job_queue", "Jobs of all replicas that wait or run.", "status")
        self._schedules = self._counter(
            "schedule_dues", "Due moments of schedules that this replica decided.", "outcome"
        )
        self._events = self._counter("events", "Sync events that ended.", "operation", "status")
        self._event_rows = self._counter("event_rows", "Rows that sync events changed.", "operation")
        self._lag = self._histogram(
            "event_lag_seconds", "Seconds from an event's created_at to its end.", _WORK_BUCKETS_S, "operation"
        )
        self._retries = self._counter("retries", "Calls that failed and are tried again.", "cause")
        self._statements = self._counter("databricks_statements", "Statements sent to the SQL warehouse.", "kind")
        self._denials = self._counter("permission_denials", "Requests that permissions.yaml refused.", "action")
        self._sign_ins = self._counter("sign_ins_refused", "Requests without a good bearer token.")
        self._audit_lost = self._counter("audit_lines_lost", "Lines that the audit log could not take.")
        request = ("route", "method")
        self._requests = self._counter("http_requests", "HTTP requests answered.", *request, "status")
        self._latency = self._histogram(
            "http_request_seconds", "Seconds to the end of a response.", _REQUEST_BUCKETS_S, *request
        )
        self._up = self._gauge("dependency_up", "1 where the last look at a dependency was good.", "name")

    def render(self) -> bytes:
        """Everything in Prometheus' text format; `CONTENT_TYPE` goes with it."""
        return prometheus.generate_latest(self.registry)

    # Extraction ----------------------------------------------------------------------------------------------------

    def query_ended(self, country: str, outcome: QueryOutcome) -> None:
        """Count a query of a job. Rows and bytes count where it was published."""
        labels = self._names.known(country, outcome.name)
        self._queries.labels(_one_of(outcome.status, QueryStatus)).inc()
        self._seconds.labels(*labels).observe(outcome.seconds)
        if outcome.status is QueryStatus.COMPLETED:
            self._rows.labels(*labels).inc(outcome.rows)
            self._bytes.labels(*labels).inc(outcome.bytes)

    def uploaded(self, size_bytes: int, seconds: float) -> None:
        """Count a file that arrived in a volume. `DatabricksLakehouse` takes it as `on_upload`."""
        self._upload_bytes.inc(size_bytes)
        self._upload_seconds.observe(seconds)

    def job_ended(self, status: RunStatus) -> None:
        """Count a job that this replica brought to its end."""
        self._jobs.labels(_one_of(status, RunStatus)).inc()

    def queue(self, counts: Mapping[RunStatus, int]) -> None:
        """Set how many jobs wait and run; `JobStore.counts` tells."""
        for status in (RunStatus.QUEUED, RunStatus.RUNNING):
            self._queue.labels(status.value).set(counts.get(status, 0))

    def schedule_decided(self, decision: Decision) -> None:
        """Count a due moment that this replica queued, skipped or refused."""
        self._schedules.labels(_one_of(decision, Decision)).inc()

    # Sync ----------------------------------------------------------------------------------------------------------

    def event_ended(self, row: EventRow, outcome: Outcome) -> None:
        """Count an event that this replica ended; a `Handled` of the poller's report has both."""
        operation = _one_of(row.operation, Operation)
        self._events.labels(operation, _one_of(outcome.status, EventStatus)).inc()
        if outcome.status is not EventStatus.COMPLETED:
            return
        self._event_rows.labels(operation).inc(max(0, outcome.rows_affected or 0))
        if row.created_at is not None and outcome.processed_at is not None:
            try:
                lag_s = (outcome.processed_at - row.created_at).total_seconds()
            except TypeError:  # one of the two without a zone: nobody knows how long it took
                return
            self._lag.labels(operation).observe(max(0.0, lag_s))

    # Both ends, and the door ---------------------------------------------------------------------------------------

    def statement(self, text: str) -> None:
        """Count a statement by its first word. `DatabricksLakehouse` takes it as `on_statement`."""
        first = text.lstrip("( \t\r\n").split(None, 1)[:1]
        word = first[0].lower() if first else ""
        self._statements.labels(word if word in STATEMENT_KINDS else OTHER).inc()

    def retried(self, cause: BaseException) -> None:
        """Count a call that is tried again because of `cause`."""
        self._retries.labels(*self._names.known(type(cause).__name__)).inc()

    def denied(self, action: str) -> None:
        """Count what permissions.yaml refused."""
        self._denials.labels(action if action in ACTIONS else OTHER).inc()

    def sign_in_refused(self) -> None:
        """Count a request without a good bearer token."""
        self._sign_ins.inc()

    def audit_line_lost(self) -> None:
        """Count a line that the audit log could not take, of what happened all the same."""
        self._audit_lost.inc()

    def request_ended(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """Count a response. `route` is the template ('/jobs/{job_id}'), None where no route was found."""
        labels = (route or OTHER, method if method in METHODS else OTHER)
        self._requests.labels(*labels, str(status)).inc()
        self._latency.labels(*labels).observe(seconds)

    def request_refused(self, status: int) -> None:
        """Count what was answered before a request could be read: late headers, no HTTP, too many connections."""
        self._requests.labels(OTHER, OTHER, str(status)).inc()

    def dependency(self, name: str, up: bool) -> None:
        """Note how a look at a dependency ended."""
        self._up.labels(name).set(1 if up else 0)

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(name, told, labels, namespace=_PREFIX, registry=self.registry)

    def _gauge(self, name: str, told: str, *labels: str) -> Gauge:
        return Gauge(name, told, labels, namespace=_PREFIX, registry=self.registry)

    def _histogram(self, name: str, told: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, told, labels, namespace=_PREFIX, registry=self.registry, buckets=buckets)


def watch_retries(tell: Callable[[BaseException], None]) -> None:
    """Have stamina tell of each retry, besides logging it. It knows one set of hooks for the whole process."""
    import structlog
    from stamina.instrumentation import set_on_retry_hooks

    log = structlog.get_logger(__name__)

    def hook(details: RetryDetails) -> None:
        cause = details.caused_by
        log.warning("retry.scheduled", cause=type(cause).__name__, why=str(cause), seconds=round(details.wait_for, 1))
        tell(cause)

    set_on_retry_hooks((hook,))


class _BoundedNames:
    """Labels of names that the operator chooses: the first `most` are kept, later ones are 'other'."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._known: set[tuple[str, ...]] = set()

    def known(self, *names: str) -> tuple[str, ...]:
        with self._lock:
            if names not in self._known:
                if len(self._known) >= self._most:
                    return tuple(OTHER for _ in names)
                self._known.add(names)
        return names


def _one_of(value: str | None, allowed: type[StrEnum]) -> str:
    return next((member.value for member in allowed if value == member.value), OTHER)
