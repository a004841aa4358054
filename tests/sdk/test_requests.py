"""What the clients send, and what they make of the answers."""

from __future__ import annotations

import datetime as dt
import logging
import time
from typing import Any

import pytest

from sql_databricks_bridge_sdk import (
    BridgeApiError,
    BridgeUnreachable,
    Conflict,
    InvalidRequest,
    KeyReused,
    NotFound,
    NotPermitted,
    RateLimited,
    SignInRefused,
    Unavailable,
    UnexpectedAnswer,
)
from tests.sdk.conftest import Connect
from tests.sdk.small_bridge import TOKEN, Fault, SmallBridge, problem, query, serving


def test_an_extraction_says_what_was_asked_for_and_nothing_else(small: SmallBridge, client: Any) -> None:
    job = client.extract("Colombia", queries=["flights"], parameters={"since": "2024-01-01", "n": None}, limit=5)
    (seen,) = small.seen
    assert seen.body == {
        "country": "Colombia",
        "queries": ["flights"],
        "parameters": {"since": "2024-01-01", "n": None},
        "limit": 5,
    }
    assert seen.headers["authorization"] == f"Bearer {TOKEN}"
    assert seen.headers["user-agent"].startswith("sql-databricks-bridge-sdk/")
    assert job.created_at == dt.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=dt.UTC)
    assert (job.status, job.ended, job.query("flights").path) == ("queued", False, None)


@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_dropped_post_is_sent_again_and_done_once(small: SmallBridge, client: Any, drop: str) -> None:
    small.faults.append(Fault("POST", drop=drop))
    job = client.extract("Colombia")
    event = client.submit_event("INSERT", "c.s.t", "dbo.T")
    keys = [seen.headers["idempotency-key"] for seen in small.asked("POST")]
    assert list(small.jobs) == [job.job_id]
    assert list(small.events) == [event.event_id]
    assert keys[0] == keys[1] != keys[2]


def test_a_key_of_ones_own_makes_two_calls_one(small: SmallBridge, client: Any) -> None:
    first = client.extract("Colombia", idempotency_key="nightly-2026-01-02")
    assert client.extract("Colombia", idempotency_key="nightly-2026-01-02") == first
    with pytest.raises(KeyReused) as caught:
        client.extract("Colombia", limit=1, idempotency_key="nightly-2026-01-02")
    assert caught.value.slug == "idempotency-key-reused"
    assert len(small.jobs) == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_passing_refusal_is_sent_again(small: SmallBridge, client: Any, status: int) -> None:
    small.faults.append(Fault(status=status))
    assert client.get_job(small.job()).status == "queued"
    assert len(small.seen) == 2


def test_it_is_sent_again_when_retry_after_says_and_not_before(small: SmallBridge, client: Any) -> None:
    small.faults.append(Fault(status=429, headers={"Retry-After": "1"}))
    began = time.monotonic()
    assert client.version() == "9.9"
    assert 1 <= time.monotonic() - began < 10


def test_a_retry_after_beyond_a_minute_is_the_callers_to_wait_for(small: SmallBridge, client: Any) -> None:
    small.faults.append(Fault(status=429, headers={"Retry-After": "61"}))
    with pytest.raises(RateLimited) as caught:
        client.version()
    assert caught.value.retry_after_s == 61
    assert len(small.seen) == 1


def test_retries_end_and_the_last_answer_is_told(small: SmallBridge, url: str, connect: Connect) -> None:
    refusal = problem(503, "unavailable", "The job store is away.", hint="Try again later.")[1]
    small.faults.extend(Fault(status=503, document=refusal) for _ in range(3))
    with pytest.raises(Unavailable, match=r"GET /jobs/j: The job store is away\. Try again later\. \(HTTP 503 unavail"):
        connect(url, retries=2).get_job("j")
    assert len(small.seen) == 3


def test_a_bridge_that_is_not_there_is_unreachable(connect: Connect) -> None:
    with serving(SmallBridge()) as gone:
        pass
    with pytest.raises(BridgeUnreachable, match="GET /version: no answer from the bridge: ConnectError") as caught:
        connect(gone, retries=0).version()
    assert caught.value.temporary


@pytest.mark.parametrize(
    ("status", "slug", "kind"),
    [
        (401, "sign-in-refused", SignInRefused),
        (403, "not-permitted", NotPermitted),
        (404, "not-found", NotFound),
        (405, "method-not-allowed", InvalidRequest),
        (409, "conflict", Conflict),
        (413, "body-too-large", InvalidRequest),
        (415, "unsupported-media-type", InvalidRequest),
        (422, "invalid-request", InvalidRequest),
        (422, "idempotency-key-reused", KeyReused),
        (500, "internal-error", BridgeApiError),
    ],
)
def test_a_problem_becomes_the_error_of_its_kind_without_a_retry(
    small: SmallBridge, client: Any, status: int, slug: str, kind: type[BridgeApiError]
) -> None:
    errors = [{"where": "body.limit", "message": "less than 1"}]
    _, document, _ = problem(status, slug, "It is so.", hint="Do this.", errors=errors)
    small.faults.append(Fault(status=status, document=document))
    with pytest.raises(BridgeApiError) as caught:
        client.extract("Colombia")
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.slug, error.detail, error.hint) == (status, slug, "It is so.", "Do this.")
    assert [(each.where, each.message) for each in error.errors] == [("body.limit", "less than 1")]
    assert error.request_id == "r-7"
    assert str(error) == (
        f"POST /extract: It is so. Do this. body.limit: less than 1. (HTTP {status} {slug}, request r-7)"
    )
    assert len(small.seen) == 1


def test_a_proxys_page_is_no_job_and_its_error_has_no_slug(small: SmallBridge, url: str, connect: Connect) -> None:
    client = connect(url, retries=0)
    page = {"Content-Type": "text/html"}
    small.faults.append(Fault(status=200, headers=page, body=b"<h1>Sign in</h1>"))
    with pytest.raises(UnexpectedAnswer, match="HTTP 200, text/html"):
        client.get_job("j")
    small.faults.append(Fault(status=502, headers=page, body=b"<h1>Bad gateway</h1>"))
    with pytest.raises(Unavailable, match="The answer is HTTP 502 Bad Gateway") as caught:
        client.get_job("j")
    assert caught.value.slug == ""


def test_half_a_job_is_no_job(small: SmallBridge, client: Any) -> None:
    job_id = small.job()
    del small.jobs[job_id]["progress"]
    with pytest.raises(UnexpectedAnswer, match="KeyError"):
        client.get_job(job_id)


def test_the_token_follows_no_redirect(small: SmallBridge, client: Any) -> None:
    elsewhere = SmallBridge()
    with serving(elsewhere) as other:
        small.faults.append(Fault(status=307, headers={"Location": f"{other}/version?a=b"}))
        with pytest.raises(UnexpectedAnswer, match=f"HTTP 307 to {other}/version\\."):
            client.version()
    assert elsewhere.seen == []


def test_no_proxy_reads_what_goes_to_this_machine(
    small: SmallBridge, url: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = SmallBridge()
    with serving(proxy) as address:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, address)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert connect(url).version() == "9.9"
    assert proxy.seen == []
    assert len(small.seen) == 1


def test_the_token_is_in_no_log_repr_or_error(
    small: SmallBridge, url: str, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = connect(url, retries=1)
    small.faults.extend([Fault(drop="before"), Fault(status=503), Fault(status=503), Fault(status=418)])
    errors = []
    for _ in range(2):
        try:
            client.extract("Colombia")
        except BridgeApiError as exc:
            errors += [str(exc), repr(exc), str(vars(exc))]
    assert len(errors) == 6
    assert len(caplog.records) > 10
    told = "\n".join([*errors, repr(client), str(vars(client)), *(record.getMessage() for record in caplog.records)])
    assert "canary" not in told


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "sécret", "canary\x00"])
def test_a_token_that_no_header_takes_is_refused_unseen(connect: Connect, token: str) -> None:
    with pytest.raises(ValueError, match="token is empty, or has blanks") as caught:
        connect("https://bridge.example.com", token)
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        *("http://bridge.example.com", "http://10.0.0.1:8000", "http://localhost.example.com", "http://[2001:db8::1]"),
        *("ftp://localhost", "bridge.example.com", "https://", "https://u:p@bridge.example.com", "https://b/?a=b"),
    ],
)
def test_an_address_that_would_show_the_token_or_makes_no_sense_is_refused(connect: Connect, address: str) -> None:
    with pytest.raises(ValueError, match="base_url") as caught:
        connect(address)
    assert "u:p" not in str(caught.value)


def test_plain_http_goes_to_this_machine_or_where_it_is_allowed_by_name(connect: Connect) -> None:
    for address in ("http://localhost:1", "http://127.0.0.2", "http://[::1]:8000"):
        assert address in repr(connect(address))
    assert "bridge.internal" in repr(connect("http://bridge.internal/", allow_insecure=True))


def test_a_bridge_below_a_path_is_reached_there(small: SmallBridge, url: str, connect: Connect) -> None:
    with pytest.raises(NotFound):
        connect(f"{url}/bridge/").get_job("j")
    assert small.seen[0].path == "/bridge/jobs/j"


def test_every_page_of_jobs_comes_in_order(small: SmallBridge, client: Any) -> None:
    made = [small.job(status="queued" if number % 2 else "completed") for number in range(7)]
    assert [job.job_id for job in client.list_jobs(page_size=3)] == made
    assert [seen.query.get("cursor") for seen in small.seen] == [None, "3", "6"]
    assert [job.job_id for job in client.list_jobs(status="queued")] == made[1::2]


@pytest.mark.parametrize(("event_id", "path"), [("a/b c?ü", "a%2Fb%20c%3F%C3%BC"), ("..", "%2E%2E"), (".", "%2E")])
def test_an_id_stays_one_segment_of_the_path(small: SmallBridge, client: Any, event_id: str, path: str) -> None:
    small.event(event_id=event_id)
    assert client.get_event(event_id).event_id == event_id
    assert small.seen[0].path == f"/sync/events/{path}"


def test_an_event_says_what_was_asked_for_and_nothing_else(small: SmallBridge, client: Any) -> None:
    event = client.submit_event(
        "UPDATE", "c.s.t", "dbo.T", keys=["id"], filters={"a": None}, rows_expected=3, metadata={"note": "x"}
    )
    assert small.seen[0].body == {
        "operation": "UPDATE",
        "source_table": "c.s.t",
        "target_table": "dbo.T",
        "primary_keys": ["id"],
        "priority": 0,
        "rows_expected": 3,
        "filter_conditions": {"a": None},
        "metadata": {"note": "x"},
    }
    assert (event.primary_keys, event.filter_conditions, event.ended) == (("id",), {"a": None}, False)


def test_events_are_listed_and_sent_round_again(small: SmallBridge, client: Any) -> None:
    failed = small.event(status="failed", error_message="no")
    small.event(status="completed")
    assert [event.event_id for event in client.list_events(status="failed", limit=5)] == [failed]
    small.faults.append(Fault("POST", drop="after"))
    assert client.retry_event(failed).status == "pending"


def test_readiness_tells_what_is_down(small: SmallBridge, client: Any) -> None:
    down = {"name": "sql_server", "status": "down", "latency_ms": None, "problem": "unavailable"}
    unready = {"status": "unready", "checked_at": "2026-01-02T03:04:05Z", "dependencies": [down]}
    small.faults.append(Fault(path="/health/ready", status=503, document=unready))
    found = client.ready()
    assert not found.ready
    assert (found.dependencies[0].name, found.dependencies[0].problem) == ("sql_server", "unavailable")
    assert len(small.seen) == 1


def test_a_proxys_503_is_no_readiness(small: SmallBridge, url: str, connect: Connect) -> None:
    small.faults.append(Fault(path="/health/ready", status=503, body=b"<h1>away</h1>"))
    with pytest.raises(Unavailable):
        connect(url, retries=0).ready()


def test_queries_tell_their_parameters(client: Any) -> None:
    (found,) = client.queries("Colombia")
    assert (found.name, found.placeholders, found.parameters, found.problem) == ("q", ("a",), ("since",), None)


def test_one_text_is_no_list_of_names(client: Any) -> None:
    with pytest.raises(TypeError, match=r"write a list: \['flights'\]"):
        client.extract("Colombia", queries="flights")
    with pytest.raises(TypeError, match="keys is one text"):
        client.submit_event("UPDATE", "c.s.t", "dbo.T", keys="id")


def test_cancelling_answers_the_job_and_refuses_one_that_has_completed(small: SmallBridge, client: Any) -> None:
    job = client.cancel(client.extract("Colombia"))
    assert (job.status, job.cancel_requested) == ("cancelled", True)
    with pytest.raises(Conflict, match="has completed"):
        client.cancel(small.job(status="completed", queries=[query("flights", status="completed")]))
