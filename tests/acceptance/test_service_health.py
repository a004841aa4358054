"""The real service stays answerable whatever clients and servers do, says what is away, and ends in order."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sql_databricks_bridge.core.config import Settings
from tests.acceptance.conftest import Bridge
from tests.acceptance.service import WAIT_S, Service, service, until
from tests.conftest import StandIn
from tests.proof.proxy import Proxy, proxied

MAX_BODY_BYTES = 65_536
OVERSIZED = 20


@pytest.fixture(scope="module")
def link(sqlserver_stand_in: StandIn) -> Iterator[Proxy]:
    """The network between the service and SQL Server."""
    ready = sqlserver_stand_in.ready
    with proxied(ready["host"], ready["port"]) as found:
        yield found


@pytest.fixture(scope="module")
def running(
    server_environment: dict[str, str],
    sqlserver_settings: Settings,
    link: Proxy,
    lakehouse_stand_in: StandIn,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    """A service behind that link, with long deadlines, so that a slow client stays under way."""
    environment = {
        **server_environment,
        "SQLSERVER_HOST": "127.0.0.1",
        "SQLSERVER_PORT": str(link.port),
        "HEADER_TIMEOUT_S": "300",
        "BODY_TIMEOUT_S": "300",
        "MAX_BODY_BYTES": str(MAX_BODY_BYTES),
    }
    with service(environment, tmp_path_factory.mktemp("health"), sqlserver_settings) as found:
        found.workspace.query("airlines", "SELECT carrier, name FROM dbo.airlines")
        log = lakehouse_stand_in.requests()
        found.before = log[-1]["sequence"] if log else 0
        found.start()
        yield found


def health(running: Service) -> tuple[int, dict[str, str | None]]:
    """The status of /health/ready, and the problem of each dependency."""
    answer = running.client(None).get("/health/ready")
    return answer.status_code, {one["name"]: one["problem"] for one in answer.json()["dependencies"]}


@contextlib.contextmanager
def connected(running: Service, first: bytes) -> Iterator[socket.socket]:
    """A connection that has sent that much."""
    url = httpx.URL(running.url)
    with socket.create_connection((url.host, url.port or 80), timeout=WAIT_S) as opened:
        opened.sendall(first)
        yield opened


def unanswered(opened: socket.socket) -> bool:
    """Whether nothing has come back, not even the end."""
    opened.setblocking(False)
    try:
        opened.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    finally:
        opened.settimeout(WAIT_S)
    return False


def test_slow_clients_big_bodies_and_an_extraction_leave_it_answering(
    running: Service, lakehouse_faults: StandIn
) -> None:
    """/health/live answers while all of these are under way; then each body is refused and the job completes."""
    upload = {"path_contains": f"/{running.workspace.country}/", "method": "PUT"}
    held = lakehouse_faults.fault(match={**upload, "path_contains": "part-"}, on=1, action={"delay_s": 2})
    job = running.client().post("/extract", json={"country": running.workspace.country}).json()["job_id"]
    lakehouse_faults.wait_for(held)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connected(running, b"GET /jobs HTTP/1.1\r\nHost: x\r\nX-")) for _ in range(5)]
        head = b"POST /extract HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        half = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
        big = [stack.enter_context(connected(running, head + half)) for _ in range(OVERSIZED)]
        for byte in b"dribble":
            for opened in slow:
                opened.sendall(bytes([byte]))
            assert running.client(None).get("/health/live").json() == {"status": "alive"}
        assert all(unanswered(opened) for opened in slow + big)
        for opened in big:
            opened.sendall(half + half)
        for opened in big:
            answer = httpx.Response(413, content=_read(opened))
            assert b" 413 " in answer.content.split(b"\r\n", 1)[0]
            assert b"urn:sql-databricks-bridge:problem:body-too-large" in answer.content
        assert running.client(None).get("/health/live").status_code == 200
        assert all(unanswered(opened) for opened in slow)
    assert running.ended(job)["status"] == "completed"


def _read(opened: socket.socket) -> bytes:
    pieces = []
    while piece := opened.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def test_readiness_names_what_is_away_and_comes_back(running: Service, link: Proxy) -> None:
    """SQL Server gone: 503 that names it and its kind of problem alone; back: 200. Liveness never changes."""
    until(lambda: health(running)[0] == 200, "ready")
    link.refuse()
    try:
        until(lambda: health(running)[1]["sql_server"] == "unavailable", "unready")
        assert health(running)[0] == 503
        _, problems = health(running)
        assert {name for name, problem in problems.items() if problem} == {"sql_server"}
        text = running.client(None).get("/health/ready").text
        assert str(link.port) not in text
        assert running.client(None).get("/health/live").status_code == 200
    finally:
        link.resume()
    until(lambda: health(running)[0] == 200, "ready again")


def test_a_server_that_hangs_hangs_no_probe(running: Service, link: Proxy) -> None:
    """Not a byte comes back from SQL Server: readiness answers, and says so after its time-out."""
    until(lambda: health(running)[0] == 200, "ready")
    link.stall()
    try:
        until(lambda: health(running)[1]["sql_server"] in ("timeout", "busy", "unavailable"), "unready")
        assert running.client(None).get("/health/live").status_code == 200
    finally:
        link.resume()


def test_probing_sends_databricks_no_statement(running: Service, lakehouse_faults: StandIn) -> None:
    """An idle warehouse may stop: looks go by REST, all of them since the service began."""
    seen = until(lambda: [one["path"] for one in lakehouse_faults.requests(running.before)], "looked at")
    assert any("/sql/warehouses/" in path for path in seen)
    assert not any("/sql/statements" in path for path in seen)


def test_metrics_tell_what_happened(running: Service) -> None:
    """Requests by route, and the dependencies; no token and no path of a client's."""
    running.client().get("/jobs/not-there-canary")
    running.client(None).get("/canary-path")
    text = running.client(None).get("/metrics").text
    samples = [
        (sample.name, dict(sample.labels), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]
    routes = {labels["route"] for name, labels, _ in samples if name == "bridge_http_requests_total"}
    assert {"/jobs/{job_id}", "/health/live", "other"} <= routes
    assert "canary" not in text
    assert ("bridge_dependency_up", {"name": "permissions"}, 1.0) in samples


def test_each_request_is_one_event_in_the_log(running: Service) -> None:
    """JSON, with the request's id, the route's user and status; the token is not in it."""
    running.client().get("/jobs", headers={"X-Request-ID": "look-for-me"})
    lines = until(
        lambda: [line for line in map(json.loads, running.log.splitlines()) if line.get("request_id") == "look-for-me"],
        "logged",
    )
    (line,) = [line for line in lines if line["event"] == "http.request"]
    assert (line["method"], line["path"], line["status"], line["user"]) == ("GET", "/jobs", 200, "alice")


def test_sigterm_ends_event_streams_and_the_service_with_code_0(running: Service, lakehouse_faults: StandIn) -> None:
    """A stream of a running job ends with the service; the log says so, without a traceback."""
    held = lakehouse_faults.fault(match={"path_contains": "part-", "method": "PUT"}, on=1, action={"delay_s": 1})
    job = running.client().post("/extract", json={"country": running.workspace.country}).json()["job_id"]
    lakehouse_faults.wait_for(held)
    with running.client().stream("GET", f"/jobs/{job}/events") as stream:
        lines = stream.iter_lines()
        next(lines)
        code = running.terminate()
        with contextlib.suppress(httpx.RemoteProtocolError):
            list(lines)
    assert code == 0
    assert "service.stopping" in running.log
    assert "Traceback" not in running.log


def test_a_port_in_use_is_one_clear_error(bridge: Bridge, running: Service) -> None:
    """Exit code 1, the port, what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        changes: dict[str, str | None] = {"BRIDGE_PERMISSIONS_FILE": running.environment["BRIDGE_PERMISSIONS_FILE"]}
        done = bridge("serve", "--port", str(port), **changes)
    assert done.code == 1
    assert f"Port {port} of 127.0.0.1 is in use" in done.err
    assert done.out == ""


def test_production_refuses_insecure_settings_before_it_listens(bridge: Bridge) -> None:
    """Exit code 2; everything wrong is named."""
    done = bridge("serve", "--port", "0", ENVIRONMENT="production")
    assert done.code == 2
    for name in ("SQLSERVER_TRUST_SERVER_CERTIFICATE", "DATABRICKS_HOST", "ALLOW_INSECURE=tls"):
        assert name in done.err
