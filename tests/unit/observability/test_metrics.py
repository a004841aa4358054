"""Metrics: what is counted, and that nobody outside can make them grow."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from sql_databricks_bridge.models.events import EventRow, EventStatus, Outcome
from sql_databricks_bridge.models.jobs import QueryOutcome, QueryStatus, RunStatus
from sql_databricks_bridge.observability.metrics import Metrics, watch_retries


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"bridge_{name}", labels)


def series(metrics: Metrics) -> int:
    return sum(len(family.samples) for family in metrics.registry.collect())


def test_what_is_told_is_counted_and_rendered() -> None:
    """One of each, read back from the text that Prometheus scrapes."""
    metrics = Metrics("1.2.3")
    metrics.query_ended("Colombia", QueryOutcome("flights", QueryStatus.COMPLETED, rows=10, bytes=99, seconds=2.0))
    metrics.query_ended("Colombia", QueryOutcome("flights", QueryStatus.FAILED, rows=7, seconds=1.0, error="no"))
    metrics.uploaded(2048, 0.5)
    metrics.job_ended(RunStatus.PARTIAL)
    metrics.queue({RunStatus.QUEUED: 3})
    metrics.statement("\n  (SELECT 1)")
    metrics.statement("MERGE INTO x ...")
    metrics.retried(TimeoutError())
    metrics.denied("write")
    metrics.sign_in_refused()
    metrics.request_ended("/jobs/{job_id}", "GET", 200, 0.01)
    metrics.dependency("databricks", False)
    text = metrics.render().decode()
    found = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    country, query = ("country", "Colombia"), ("query", "flights")
    assert found["bridge_extraction_rows_total", country, query] == 10
    assert found["bridge_extraction_bytes_total", country, query] == 99
    assert found["bridge_extraction_seconds_count", country, query] == 2
    assert found["bridge_queries_total", ("status", "completed")] == 1
    assert found["bridge_queries_total", ("status", "failed")] == 1
    assert found["bridge_upload_bytes_total",] == 2048
    assert found["bridge_upload_seconds_sum",] == 0.5
    assert found["bridge_jobs_total", ("status", "partial")] == 1
    assert found["bridge_job_queue", ("status", "queued")] == 3
    assert found["bridge_job_queue", ("status", "running")] == 0
    assert found["bridge_databricks_statements_total", ("kind", "select")] == 1
    assert found["bridge_databricks_statements_total", ("kind", "merge")] == 1
    assert found["bridge_retries_total", ("cause", "TimeoutError")] == 1
    assert found["bridge_permission_denials_total", ("action", "write")] == 1
    assert found["bridge_sign_ins_refused_total",] == 1
    assert found["bridge_http_requests_total", ("method", "GET"), ("route", "/jobs/{job_id}"), ("status", "200")] == 1
    assert found["bridge_dependency_up", ("name", "databricks")] == 0
    assert 'bridge_build_info{python="' in text
    assert 'version="1.2.3"' in text


def test_an_events_lag_is_from_its_creation_to_its_end() -> None:
    """Completed events give rows and lag; others count by status alone."""
    metrics, at = Metrics("1"), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

    def ended(status: EventStatus, created_at: dt.datetime | None) -> None:
        row = EventRow("e", "INSERT", "a.b.c", "dbo.t", None, 0, created_at=created_at)
        metrics.event_ended(row, Outcome("e", status, rows_affected=5, processed_at=at + dt.timedelta(seconds=30)))

    ended(EventStatus.COMPLETED, at)
    ended(EventStatus.COMPLETED, None)
    ended(EventStatus.COMPLETED, at.replace(tzinfo=None))
    ended(EventStatus.BLOCKED, at)
    assert value(metrics, "events_total", operation="INSERT", status="completed") == 3
    assert value(metrics, "events_total", operation="INSERT", status="blocked") == 1
    assert value(metrics, "event_rows_total", operation="INSERT") == 15
    assert value(metrics, "event_lag_seconds_count", operation="INSERT") == 1
    assert value(metrics, "event_lag_seconds_sum", operation="INSERT") == 30


@given(st.lists(st.text(max_size=20), max_size=20))
def test_text_of_others_makes_no_new_series(texts: list[str]) -> None:
    """Operations, methods, actions and statements that nobody foresaw all count as 'other'."""
    metrics = Metrics("1")

    def tell(text: str) -> None:
        metrics.event_ended(EventRow("e", text, None, None, None, 0), Outcome("e", EventStatus.FAILED))
        metrics.request_ended(None, f"{text}!", 404, 0.1)
        metrics.denied(f"{text}!")
        metrics.statement(f"!{text}")

    tell("X")
    before = series(metrics)
    for text in texts:
        if text not in ("INSERT", "UPDATE", "DELETE", "UPSERT"):
            tell(text)
    assert series(metrics) == before


def test_names_beyond_five_hundred_count_as_other() -> None:
    """A folder of very many queries does not make the metrics endless."""
    metrics = Metrics("1")
    for number in range(600):
        metrics.query_ended("C", QueryOutcome(f"q{number}", QueryStatus.COMPLETED, rows=1))
    assert value(metrics, "extraction_rows_total", country="C", query="q499") == 1
    assert value(metrics, "extraction_rows_total", country="C", query="q500") is None
    assert value(metrics, "extraction_rows_total", country="other", query="other") == 100


def test_a_retry_of_stamina_is_counted() -> None:
    """The hook gets the cause of each attempt that is tried again."""
    import stamina
    from stamina.instrumentation import get_on_retry_hooks, set_on_retry_hooks

    before = get_on_retry_hooks()
    metrics = Metrics("1")
    watch_retries(metrics.retried)
    left = [ConnectionError("first"), ConnectionError("second")]
    try:
        for attempt in stamina.retry_context(on=ConnectionError, wait_initial=0, wait_jitter=0, wait_max=0):
            with attempt:
                if left:
                    raise left.pop()
    finally:
        set_on_retry_hooks(before)
    assert value(metrics, "retries_total", cause="ConnectionError") == 2
