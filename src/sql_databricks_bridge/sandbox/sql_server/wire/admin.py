"""`/_sandbox`: what a test tells the stand-in and asks it. No sign-in: it listens on loopback only.

GET    /_sandbox                          what this is, and the actions that fault rules may name
GET    /_sandbox/faults                   every fault rule with its counts
POST   /_sandbox/faults                   add a rule (or a list of rules); 400 names what is wrong with it
DELETE /_sandbox/faults                   remove all rules
GET    /_sandbox/faults/{id}              one rule; ?hits=n&wait_s=x waits until it was hit n times, at most x seconds
DELETE /_sandbox/faults/{id}              remove one rule
GET    /_sandbox/requests                 the request log; ?after=n: only what came after sequence number n
DELETE /_sandbox/requests                 empty the log
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ...faults import FaultRegistry, FaultRuleError
from .requestlog import RequestLog

PREFIX = "/_sandbox"
_BODY_LIMIT_BYTES = 1024 * 1024


class AdminServer:
    """Binds at once (OSError where it can't); `start` serves in a thread until `stop`."""

    def __init__(self, host: str, port: int) -> None:
        self._http = _Http((host, port), _Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), name="tds-admin", daemon=True)

    @property
    def url(self) -> str:
        """Where it answers."""
        host, port = self._http.server_address[:2]
        return f"http://{host!s}:{port}{PREFIX}"

    def start(self, faults: FaultRegistry, requests: RequestLog) -> None:
        """Serve these."""
        self._http.faults = faults
        self._http.requests = requests
        self._thread.start()

    def stop(self) -> None:
        """Stop serving, and let go of the port."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    faults: FaultRegistry
    requests: RequestLog


class _AdminError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: stderr is for errors."""

    def _serve(self) -> None:
        try:
            status, answer = self._route()
        except _AdminError as exc:
            status, answer = exc.status, {"error": str(exc)}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _route(self) -> tuple[int, object]:
        body = self._body()
        url = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        path = url.path.removeprefix(PREFIX) if url.path.startswith(PREFIX) else None
        faults, requests = self.server.faults, self.server.requests
        match self.command, path:
            case "GET", "" | "/":
                return 200, {"stand_in": "sql_server", "actions": sorted(faults.vocabulary.actions)}
            case "GET", "/faults":
                return 200, {"faults": faults.to_json()}
            case "POST", "/faults":
                return 201, self._add(body)
            case "DELETE", "/faults":
                return 200, {"deleted": faults.clear()}
            case "GET" | "DELETE", str(one) if one.startswith("/faults/"):
                return 200, self._one(unquote(one.removeprefix("/faults/")), query)
            case "GET", "/requests":
                return 200, {"requests": requests.to_json(int(_number(query, "after")))}
            case "DELETE", "/requests":
                requests.clear()
                return 200, {}
        raise _AdminError(404, f"{self.command} {url.path} is not a call of {PREFIX}.")

    def _body(self) -> bytes:
        length = int(self.headers.get("Content-Length") or 0)
        if length > _BODY_LIMIT_BYTES:
            self.close_connection = True
            raise _AdminError(413, f"The body is over {_BODY_LIMIT_BYTES} bytes.")
        return self.rfile.read(length)

    def _add(self, body: bytes) -> object:
        try:
            document = json.loads(body)
        except ValueError:
            raise _AdminError(400, "The request body must be JSON.") from None
        try:
            if isinstance(document, list):
                return {"faults": [self.server.faults.add(each) for each in document]}
            return self.server.faults.add(document)
        except FaultRuleError as exc:
            raise _AdminError(400, str(exc)) from exc

    def _one(self, rule_id: str, query: dict[str, str]) -> object:
        faults = self.server.faults
        if self.command == "DELETE":
            found: object = {"deleted": 1} if faults.clear(rule_id) else None
        else:
            found = faults.wait_for_hits(rule_id, int(_number(query, "hits")), _number(query, "wait_s"))
        if found is None:
            raise _AdminError(404, f"There is no fault rule {rule_id!r}.")
        return found


def _number(query: dict[str, str], name: str) -> float:
    try:
        return float(query.get(name, "0"))
    except ValueError:
        raise _AdminError(400, f"'{name}' must be a number, not {query[name]!r}.") from None
