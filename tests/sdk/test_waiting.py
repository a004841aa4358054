"""Waiting for jobs and events: by the stream, without it, across outages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from sql_databricks_bridge_sdk import EventBlocked, EventFailed, Job, JobCancelled, JobFailed, NotFound, WaitTimeout
from tests.sdk.conftest import Connect
from tests.sdk.small_bridge import NOW, Fault, SmallBridge, query, serving

DONE: dict[str, Any] = {"status": "completed", "finished_at": NOW}


class Progress(list[int]):
    """The rows that each look showed; `advance` changes the job as soon as the last change was seen."""

    def __init__(self, small: SmallBridge, steps: list[dict[str, Any]]) -> None:
        self._small = small
        self._steps = steps

    def __call__(self, job: Job) -> None:
        self.append(job.progress.rows)
        if self._steps:
            self._small.advance(job.job_id, **self._steps.pop(0))


def test_a_job_is_followed_by_its_stream_alone_and_each_change_is_told_once(small: SmallBridge, client: Any) -> None:
    progress = Progress(small, [{"rows": 10}, {"rows": 20}, {"rows": 30, **DONE}])
    job = client.wait(small.job(), on_progress=progress)
    assert (job.status, progress) == ("completed", [0, 10, 20, 30])
    assert [seen.path.rpartition("/")[2] for seen in small.seen] == ["events"]


def test_the_stream_may_hold_any_line_separator_of_unicode(small: SmallBridge, client: Any) -> None:
    text = "one\u2028two\u0085three\x0bfour"
    job = client.wait(small.job(**DONE, warnings=[text]))
    assert job.warnings == (text,)
    assert small.streams == 1


def test_a_stream_that_breaks_is_taken_up_again(small: SmallBridge, client: Any) -> None:
    def cut(job: Job) -> None:
        if job.progress.rows == 10:
            small.cut_streams.set()
            threading.Timer(0.05, small.advance, (job.job_id, 20)).start()
        elif job.progress.rows == 20:
            threading.Thread(target=finish, args=(job.job_id,)).start()
        elif not job.ended:
            small.advance(job.job_id, 10)

    def finish(job_id: str) -> None:
        small.await_streams(2)
        small.advance(job_id, 30, **DONE)

    assert client.wait(small.job(), on_progress=cut).progress.rows == 30
    assert small.streams == 2


@pytest.mark.parametrize(
    "refusal",
    [
        Fault(path="/events", status=503),
        Fault(path="/events", drop="before"),
        Fault(path="/events", status=200, headers={"Content-Type": "text/html"}, body=b"<h1>hello</h1>"),
        Fault(path="/events", status=200, headers={"Content-Type": "text/event-stream"}),
    ],
    ids=["refused", "dropped", "a page", "silent"],
)
def test_without_a_stream_the_job_is_asked_for(small: SmallBridge, client: Any, refusal: Fault) -> None:
    small.faults.extend([refusal] * 10)
    progress = Progress(small, [{"rows": 10}, {"rows": 30, **DONE}])
    assert client.wait(small.job(), on_progress=progress).status == "completed"
    assert progress == [0, 10, 30]
    assert len(small.asked("GET", "/events")) == 2  # and no third


def test_little_time_is_spent_by_asking_and_ends_on_time(small: SmallBridge, client: Any) -> None:
    began = time.monotonic()
    with pytest.raises(WaitTimeout, match=r"had not ended after 1 s\. It goes on") as caught:
        client.wait(small.job(), timeout_s=1)
    assert isinstance(caught.value, TimeoutError)
    assert 1 <= time.monotonic() - began < 3
    assert small.streams == 0


def test_a_wait_outlives_a_restart_of_the_bridge(small: SmallBridge, connect: Connect) -> None:
    job_id = small.job()
    gone, back = threading.Event(), threading.Event()

    def restarted() -> None:
        with serving(small, port):
            back.wait(20)

    with serving(small) as url:
        port = urlsplit(url).port or 0
        client = connect(url, retries=0)
        ended: list[Job] = []
        waiter = threading.Thread(target=lambda: ended.append(client.wait(job_id, on_progress=lambda _: gone.set())))
        waiter.start()
        assert gone.wait(20)
    small.advance(job_id, 30, **DONE)
    again = threading.Thread(target=restarted)
    again.start()
    waiter.join(20)
    back.set()
    again.join()
    assert [job.progress.rows for job in ended] == [30]


def test_an_outage_ends_with_the_time_that_was_given(connect: Connect) -> None:
    with serving(SmallBridge()) as gone:
        pass
    with pytest.raises(WaitTimeout, match="Job j had not ended") as caught:
        connect(gone, retries=0).wait("j", timeout_s=0.5)
    assert "ConnectError" in str(caught.value.__cause__)


def test_a_job_that_is_not_there_is_not_waited_for(small: SmallBridge, client: Any) -> None:
    small.faults.append(Fault(path="/events", status=404))
    with pytest.raises(NotFound):
        client.wait("j")


@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [
        ("failed", JobFailed, "ended failed: the volume is gone; flights: no such column"),
        ("partial", JobFailed, "ended partial"),
        ("cancelled", JobCancelled, "ended cancelled"),
    ],
)
def test_a_job_that_did_not_complete_is_an_error_that_holds_it(
    small: SmallBridge, client: Any, status: str, kind: type[JobFailed], told: str
) -> None:
    wrong = [query("flights", status="failed", error="no such column"), query("planes", status="completed")]
    job_id = small.job(status=status, error="the volume is gone", queries=wrong)
    with pytest.raises(JobFailed, match=told) as caught:
        client.wait(job_id)
    assert type(caught.value) is kind
    assert caught.value.job == client.wait(job_id, check=False)


def test_what_on_progress_raises_ends_the_wait_and_the_stream(small: SmallBridge, client: Any) -> None:
    def stop(_: Job) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        client.wait(small.job(), on_progress=stop)
    assert client.version() == "9.9"


def events_that_end(small: SmallBridge, **endings: dict[str, Any]) -> Callable[[], None]:
    """End each event, named by its id, shortly after it was made."""
    for event_id in endings:
        small.event(event_id=event_id)

    def end() -> None:
        for event_id, ending in endings.items():
            small.events[event_id] = small.events[event_id] | ending

    return end


def test_events_are_waited_for_together_and_come_in_the_order_given(small: SmallBridge, client: Any) -> None:
    end = events_that_end(
        small, a={"status": "completed", "rows_affected": 1}, b={"status": "completed", "rows_affected": 2}
    )
    threading.Timer(0.3, end).start()
    found = client.wait_for_events(["b", "a", "b"], timeout_s=20)
    assert [(event.event_id, event.rows_affected) for event in found] == [("b", 2), ("a", 1), ("b", 2)]
    assert client.wait_for_event("a").rows_affected == 1
    assert client.wait_for_events([]) == ()


@pytest.mark.parametrize(("status", "kind"), [("failed", EventFailed), ("blocked", EventBlocked)])
def test_an_event_that_did_not_complete_is_an_error_that_holds_it(
    small: SmallBridge, client: Any, status: str, kind: type[EventFailed]
) -> None:
    events_that_end(small, a={"status": status, "error_message": "over the limit"})()
    with pytest.raises(EventFailed, match=f"'a' is {status}: over the limit") as caught:
        client.wait_for_event("a")
    assert type(caught.value) is kind
    assert client.wait_for_event("a", check=False) == caught.value.event


def test_an_event_that_nobody_works_on_ends_the_wait_in_time(small: SmallBridge, client: Any) -> None:
    small.event(event_id="a")
    with pytest.raises(WaitTimeout, match=r"Event 'a' had not ended after 0\.5 s"):
        client.wait_for_event("a", timeout_s=0.5)
