"""A small bridge over real sockets: the wire contract of the REST API in memory, with faults that a test can name."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "canary-0b7c1d6e9f-never-to-be-shown"
PROBLEM = "urn:sql-databricks-bridge:problem:"
NOW = "2026-01-02T03:04:05.678Z"


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to the next matching request instead of, or after, its answer.

    `path` is a path's end. `drop` is 'before' (nothing is done) or 'after' (done, and no answer is sent).
    """

    method: str = ""
    path: str = ""
    drop: str = ""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    document: Any = None

    def meets(self, method: str, path: str) -> bool:
        return method.startswith(self.method) and path.endswith(self.path)


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that arrived; header names in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class SmallBridge:
    """Jobs and events in memory. `faults` happen to the next requests that they meet, each once."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.events: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, tuple[Any, str]] = {}
        self.faults: deque[Fault] = deque()
        self.seen: list[Seen] = []
        self.changed = threading.Condition()
        self.streams = 0
        self.cut_streams = threading.Event()
        self.stopping = False

    # What tests do -----------------------------------------------------------------------------------------------

    def job(self, **changes: Any) -> str:
        """A job as POST /extract makes it; its id."""
        job_id = uuid.uuid4().hex
        self.jobs[job_id] = {
            "job_id": job_id,
            "status": "queued",
            "country": "Colombia",
            "destination": "c.s.v",
            "user": "tester",
            "created_at": NOW,
            "started_at": None,
            "finished_at": None,
            "attempt": 0,
            "cancel_requested": False,
            "error": None,
            "warnings": [],
            "request_id": "r-1",
            "progress": {"queries": 1, "ended": 0, "rows": 0, "bytes": 0},
            "queries": [query("flights")],
            **changes,
        }
        return job_id

    def event(self, **changes: Any) -> str:
        """An event as POST /sync/events makes it; its id."""
        event_id = changes.get("event_id") or uuid.uuid4().hex
        names = (
            *("event_id", "operation", "source_table", "target_table", "primary_keys", "priority", "status"),
            *("rows_expected", "rows_affected", "discrepancy", "warning", "error_message", "filter_conditions"),
            *("metadata", "created_at", "processed_at"),
        )
        blank: dict[str, Any] = dict.fromkeys(names)
        self.events[event_id] = blank | {"status": "pending", "created_at": NOW} | changes | {"event_id": event_id}
        return event_id

    def advance(self, job_id: str, rows: int, **changes: Any) -> None:
        """Change a job, and tell the streams."""
        with self.changed:
            self.jobs[job_id] |= {"progress": self.jobs[job_id]["progress"] | {"rows": rows}, **changes}
            self.changed.notify_all()

    def await_streams(self, count: int) -> None:
        """Wait until so many streams were opened."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.streams >= count, 20)

    def asked(self, method: str, path: str = "") -> list[Seen]:
        """The requests of that method whose path ends so."""
        return [each for each in self.seen if each.method == method and each.path.endswith(path)]

    # What the bridge does ----------------------------------------------------------------------------------------

    def answer(self, seen: Seen) -> tuple[int, Any, dict[str, str]]:
        """Status, document and headers."""
        if seen.path == "/version":
            return 200, {"name": "sql-databricks-bridge", "version": "9.9"}, {}
        if seen.headers.get("authorization") != f"Bearer {TOKEN}":
            return problem(401, "sign-in-refused", "The token is unknown.")
        parts = [unquote(part) for part in seen.path.split("/")[1:]]
        if seen.method == "POST":
            return self._once(seen, parts)
        if parts[:2] == ["sync", "events"]:
            return self._events(parts, seen.query)
        if parts == ["queries"]:
            found = {"name": "q", "file": "q.sql", "placeholders": ["a"], "parameters": ["since"], "problem": None}
            return 200, {"country": seen.query["country"], "queries": [found]}, {}
        if parts == ["jobs"]:
            return self._page(seen.query)
        if parts[0] == "jobs" and parts[1] in self.jobs:
            if seen.method == "DELETE":
                if self.jobs[parts[1]]["status"] == "completed":
                    return problem(409, "conflict", "The job has completed.")
                self.advance(parts[1], 0, status="cancelled", cancel_requested=True, finished_at=NOW)
                return 202, self.jobs[parts[1]], {}
            return 200, self.jobs[parts[1]], {}
        return problem(404, "not-found", "There is no such thing.", hint="`GET /jobs` lists those that are.")

    def _once(self, seen: Seen, parts: list[str]) -> tuple[int, Any, dict[str, str]]:
        key = seen.headers.get("idempotency-key", "")
        if key in self.keys:
            body, resource = self.keys[key]
            if body != (seen.path, seen.body):
                return problem(422, "idempotency-key-reused", "The key came with another request.")
            return 202, self.jobs.get(resource) or self.events[resource], {"Idempotency-Replayed": "true"}
        if parts == ["extract"]:
            if seen.body["country"] != "Colombia":
                errors = [{"where": "body.country", "message": "there is no such country"}]
                return problem(422, "invalid-request", "The request makes no sense.", errors=errors)
            resource, status = self.job(), 202
        elif parts[-1] == "retry":
            resource, status = parts[2], 200
            self.events[resource] |= {"status": "pending", "error_message": None}
        else:
            resource, status = self.event(**seen.body), 201
        self.keys[key] = ((seen.path, seen.body), resource)
        return status, self.jobs.get(resource) or self.events[resource], {}

    def _events(self, parts: list[str], asked: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        if len(parts) == 2:
            wanted = asked.get("status")
            found = [each for each in self.events.values() if wanted in (None, each["status"])]
            return 200, {"events": found[: int(asked["limit"])]}, {}
        if parts[2] not in self.events:
            return problem(404, "not-found", "There is no such event.")
        return 200, self.events[parts[2]], {}

    def _page(self, asked: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        found = [job for job in self.jobs.values() if asked.get("status") in (None, job["status"])]
        start, size = int(asked.get("cursor", 0)), int(asked["limit"])
        following = str(start + size) if start + size < len(found) else None
        return 200, {"jobs": found[start : start + size], "next_cursor": following}, {}


def query(name: str, **changes: Any) -> dict[str, Any]:
    """A query of a job."""
    blank: dict[str, Any] = {"name": name, "status": "queued", "rows": 0, "bytes": 0, "parts": 0, "seconds": 0.0}
    return blank | {"rows_per_second": None, "path": None, "error": None, "warnings": []} | changes


def problem(status: int, slug: str, detail: str, **more: Any) -> tuple[int, Any, dict[str, str]]:
    """An RFC 9457 answer."""
    document = {"type": PROBLEM + slug, "title": slug, "status": status, "detail": detail, "request_id": "r-7", **more}
    return status, document, {"Content-Type": "application/problem+json", "X-Request-ID": "r-7"}


@contextmanager
def serving(bridge: SmallBridge, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve on loopback; yield the address. No request outlives the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def setup(self) -> None:
            super().setup()
            open_sockets.add(self.connection)

        def finish(self) -> None:
            open_sockets.discard(self.connection)
            super().finish()

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
            seen = Seen(self.command, parts.path, asked, headers, body)
            bridge.seen.append(seen)
            fault = next((each for each in bridge.faults if each.meets(self.command, parts.path)), None)
            if fault is not None:
                bridge.faults.remove(fault)
                if fault.drop == "after":
                    bridge.answer(seen)
                if fault.drop:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                body = fault.body if fault.document is None else json.dumps(fault.document).encode()
                kind = {} if fault.document is None else {"Content-Type": "application/problem+json"}
                self.send(fault.status, body, kind | fault.headers)
                return
            if parts.path.endswith("/events") and parts.path.startswith("/jobs/"):
                self.stream(parts.path.split("/")[2])
                return
            status, document, more = bridge.answer(seen)
            self.send(status, json.dumps(document).encode(), {"Content-Type": "application/json"} | more)

        do_POST = do_DELETE = do_GET

        def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def stream(self, job_id: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            told: Any = None
            with bridge.changed:
                bridge.streams += 1
                bridge.changed.notify_all()
                while not bridge.stopping:
                    if bridge.cut_streams.is_set():
                        bridge.cut_streams.clear()
                        return
                    job = dict(bridge.jobs[job_id])
                    if job != told:
                        told = job
                        data = json.dumps(job, ensure_ascii=False)
                        self.wfile.write(f": hello\n\nid: 1\nevent: job\ndata: {data}\n\n".encode())
                    if job["status"] in ("completed", "partial", "failed", "cancelled"):
                        return
                    bridge.changed.wait(30)

    class Server(ThreadingHTTPServer):
        daemon_threads = False
        block_on_close = True

    open_sockets: set[socket.socket] = set()
    bridge.stopping = False
    server = Server(("127.0.0.1", port), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        with bridge.changed:
            bridge.stopping = True
            bridge.changed.notify_all()
        for each in list(open_sockets):  # idle keep-alive connections: their handlers wait for a request
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        server.server_close()
