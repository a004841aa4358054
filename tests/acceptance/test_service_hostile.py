"""Requests that no client library makes, sent byte by byte to a running service: each ends as a problem with an id."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from sql_databricks_bridge.core.config import Settings
from tests.acceptance.conftest import BRIDGE
from tests.acceptance.service import TOKENS, Service, service

PROBLEM = "urn:sql-databricks-bridge:problem:"
NESTED = b'{"country":' + b"[" * 5_000 + b"]" * 5_000 + b"}"


@pytest.fixture(scope="module")
def running(
    server_environment: dict[str, str], sqlserver_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A service with one small query."""
    with service(server_environment, tmp_path_factory.mktemp("hostile"), sqlserver_settings) as found:
        found.workspace.query("airlines", "SELECT TOP 3 carrier, name FROM dbo.airlines")
        subprocess.run([BRIDGE, "events", "init"], cwd=found.directory, env=found.environment, check=True, timeout=60)
        found.start()
        yield found


def sent(running: Service, line: str | bytes, *headers: bytes, body: bytes = b"") -> tuple[int, dict[str, Any]]:
    """Send a request line, headers and body as they are; the status and the problem. alice signs in."""
    host, port = running.url.removeprefix("http://").split(":")
    head = [line.encode() if isinstance(line, str) else line, b"Host: x", b"Connection: close", *headers]
    if not any(header.lower().startswith(b"authorization:") for header in headers):
        head.append(f"Authorization: Bearer {TOKENS['alice']}".encode())
    if body and not any(header.lower().startswith((b"content-length", b"transfer")) for header in headers):
        head.append(f"Content-Length: {len(body)}".encode())
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"\r\n".join(head) + b"\r\n\r\n" + body)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        content = answer.read()
    assert answer.headers["Content-Type"] == "application/problem+json", (answer.status, content[:500])
    problem = json.loads(content)
    assert problem["status"] == answer.status
    assert problem["type"].startswith(PROBLEM)
    assert problem["request_id"], problem
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    return answer.status, problem


def posted(running: Service, body: bytes, *headers: bytes) -> tuple[int, dict[str, Any]]:
    """POST /extract with that body."""
    kind = (
        ()
        if any(header.lower().startswith(b"content-type") for header in headers)
        else (b"Content-Type: application/json",)
    )
    return sent(running, "POST /extract HTTP/1.1", *kind, *headers, body=body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"country": "\xff\xfe"}',
        b'{"country": "a\x00b"}',
        b'{"country": "a\\u0000b"}',
        b'{"country": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"country": "x", "limit": 1e400}',
        b'{"country": "x", "parameters": {"a": -1e400}}',
        b'{"country": "x", "parameters": {"a": Infinity}}',
        b'{"country": "x", "limit": ' + b"9" * 20_000 + b"}",
        NESTED,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b"\xef\xbb\xbf{}",
        '{"country": "x"}'.encode("utf-16"),
        b'{"country": "x",}',
        b"{'country': 'x'}",
        b'{"country": "x"} {"country": "y"}',
    ],
    ids=range(16),
)
def test_a_body_that_is_no_json_of_ours_is_refused(running: Service, body: bytes) -> None:
    """422, and not 500, for bytes that parsers are known to stumble over."""
    status, problem = posted(running, body)
    assert (status, problem["type"]) == (422, f"{PROBLEM}invalid-request")


@pytest.mark.parametrize("twice", ["country", "queries", "parameters.least"])
def test_a_key_that_comes_twice_is_refused(running: Service, twice: str) -> None:
    """422: the last of two would win here, and the first where somebody checked the request on its way."""
    country = running.workspace.country
    pair = {
        "country": f'"country": "{country}", "country": "{country}"',
        "queries": f'"country": "{country}", "queries": ["airlines"], "queries": ["airlines"]',
        "parameters.least": f'"country": "{country}", "parameters": {{"least": 1, "least": 1}}',
    }[twice]
    status, problem = posted(running, f"{{{pair}}}".encode())
    assert status == 422
    assert "twice" in problem["detail"]
    assert twice.rpartition(".")[2] in problem["detail"]


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"Content-Type: text/plain", 415),
        (b"Content-Type: application/x-www-form-urlencoded", 415),
        (b"Content-Type: multipart/form-data; boundary=x", 415),
        (b"Content-Type: application/jsonx", 415),
        (b"Content-Type: ,application/json", 415),
        (b"Content-Type: \xff\xfe", 415),
        (b"Content-Type:", 415),
        (b"Idempotency-Key:", 422),
        (b"Idempotency-Key: " + b"k" * 256, 422),
        (b"Idempotency-Key: with blanks", 422),
        (b"Idempotency-Key: \xc3\xa9", 422),
        (b"X-Padding: " + b"x" * 20_000, 400),
        (b"X-Padding: " + b"x" * 200_000, 400),
        (b"No colon at all", 400),
        (b"Bad name: x", 400),
        (b"X-Nul: a\x00b", 400),
        (b"Content-Length: 1\r\nContent-Length: 2", 400),
        (b"Content-Length: -1", 400),
        (b"Content-Length: 99999999999999999999", 413),
        (b"Authorization: Bearer " + b"x" * 5_000, 401),
        (b"Authorization: Bearer \xff\xfe", 401),
        (b"Authorization: Bearer", 401),
        (b"Authorization: Basic YTpi", 401),
    ],
    ids=lambda value: (
        value[:30].decode("latin-1").encode("unicode_escape").decode() if isinstance(value, bytes) else ""
    ),
)
def test_a_header_that_is_wrong_is_refused(running: Service, header: bytes, status: int) -> None:
    """The status says what is wrong; nothing is queued."""
    before = running.client().get("/jobs").json()["jobs"]
    body = json.dumps({"country": running.workspace.country}).encode()
    assert posted(running, body, header)[0] == status
    assert running.client().get("/jobs").json()["jobs"] == before


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/jobs/%00", 404),
        ("/jobs/a%00b", 404),
        ("/jobs/%2f", 404),
        ("/jobs/..%2f..%2fetc%2fpasswd", 404),
        ("/jobs/../metrics", 404),
        ("/jobs/%2e%2e", 404),
        ("/jobs/%ff%fe", 404),
        ("/jobs/%ed%a0%80", 404),
        ("/jobs/%zz", 404),
        ("/jobs/" + "x" * 8_000, 404),
        ("/jobs/%0d%0aX-Injected:%201", 404),
        ("/jobs//events", 404),
        ("/jobs/a%2fevents", 404),
        ("//jobs", 404),
        ("/JOBS", 404),
        ("/jobs/", 404),
        ("/sync/events/%00", 404),
        ("/sync/events/%ff", 404),
        ("/sync/events/" + "x" * 8_000, 404),
        ("/sync/events/..%2f..", 404),
        ("/queries?country=%00", 404),
        ("/queries?country=..%2f..%2fetc", 404),
        ("/queries?country=%ff", 404),
        ("/queries?country=a&country=b", 404),
        ("/jobs?cursor=%00", 422),
        ("/jobs?cursor=AAAA", 422),
        ("/jobs?cursor=bnVsbA", 422),
        ("/jobs?cursor=" + "W" * 200, 422),
        ("/jobs?cursor=WyI5OTk5LTEyLTMxVDIzOjU5OjU5LTIzOjU5IiwieCJd", 422),
        ("/jobs?limit=1e400", 422),
        ("/jobs?limit=" + "9" * 5_000, 422),
        ("/jobs?limit=%D9%A1%00", 422),
        ("/jobs?status=%ff", 422),
        ("/jobs?%ff=%ff", 422),
        ("/jobs?__proto__=1", 422),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_path_or_query_that_is_wrong_is_refused(running: Service, target: str, status: int) -> None:
    """404 or 422: no traversal, no crash in a decoder, no cursor that anybody made up."""
    assert sent(running, f"GET {target} HTTP/1.1")[0] == status


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get", "DELETE"])
def test_a_method_that_is_not_there_is_refused(running: Service, method: str) -> None:
    """405 for whatever /extract does not take."""
    assert sent(running, f"{method} /extract HTTP/1.1")[0] == 405


@pytest.mark.parametrize(
    "line",
    [b"GET /jobs", b"\x16\x03\x01\x02\x00\x01", b"GET /a b HTTP/1.1", b"GET /\xff HTTP/1.1"],
)
def test_what_is_no_request_at_all_is_refused(running: Service, line: bytes) -> None:
    """400 from whoever reads the line; with an id all the same, under which the log tells of it."""
    status, problem = sent(running, line)
    assert (status, problem["type"]) == (400, f"{PROBLEM}invalid-request")
    assert problem["request_id"] in running.log


def test_a_refused_request_does_not_spend_its_key(running: Service) -> None:
    """After a 403 and a 422 the corrected body may come under the same key, and is then what the key stands for."""
    country = running.workspace.country
    running.workspace.query("forbidden", "SELECT TOP 1 flight FROM dbo.flights")
    client, key = running.client("bob"), {"Idempotency-Key": "spent-by-nothing"}

    def extract(**body: Any) -> Any:
        return client.post("/extract", json={"country": country, **body}, headers=key)

    assert extract(queries=["no-such-query"]).status_code == 422
    assert extract(queries=["forbidden"]).status_code == 403
    taken = extract(queries=["airlines"])
    assert (taken.status_code, taken.headers.get("Idempotency-Replayed")) == (202, None)
    again = extract(queries=["airlines"])
    assert (again.json()["job_id"], again.headers["Idempotency-Replayed"]) == (taken.json()["job_id"], "true")
    assert extract(queries=["no-such-query"]).json()["type"] == f"{PROBLEM}idempotency-key-reused"


def test_a_refused_event_does_not_spend_its_key(running: Service) -> None:
    """The same for POST /sync/events, where it is the events table that refuses the source."""
    client, key = running.client(), {"Idempotency-Key": "spent-by-no-event"}

    def submit(**changes: Any) -> Any:
        body = {"operation": "DELETE", "target_table": f"{running.schema}.t", "filter_conditions": {"id": "1"}}
        return client.post("/sync/events", json={**body, **changes}, headers=key)

    catalog = running.environment["DATABRICKS_CATALOG"]
    nowhere = submit(operation="INSERT", source_table=f"{catalog}.nowhere.at_all", filter_conditions=None)
    assert nowhere.status_code == 422, nowhere.text
    assert submit(target_table="nobody.t").status_code == 403
    assert submit(priority=1).status_code == 201
