"""Running the app: uvicorn with deadlines that it does not have by itself, and a shutdown that ends.

A connection may be slow in sending headers, in sending a body (`limits`), in reading what it is sent; each has a
deadline. Where too many are open, the one that has waited longest without a request gives way to the newest.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import signal
import socket
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any, cast

import h11
import structlog
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from sql_databricks_bridge.api.request_context import request_id_of
from sql_databricks_bridge.errors import BridgeError

log = structlog.get_logger(__name__)

OnRefused = Callable[[int], None]

_TICK_S = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class ServingOptions:
    """Where to listen, and how patient to be. `port` 0 takes a free one.

    `max_header_bytes` bounds a request's line and headers together; `grace_s` is how long a shutdown waits for those
    requests that are under way.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    header_timeout_s: float = 10.0
    max_header_bytes: int = 16_384
    keep_alive_s: int = 15
    write_timeout_s: float = 60.0
    max_connections: int = 512
    grace_s: int = 15


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket; `BridgeError` says why it can't be had."""
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )
        family, _, protocol, _, address = found[0]
        # Only a socket that was made as TCP's by name gets TCP_NODELAY from asyncio: without it each answer on a
        # connection in use waits 40 ms for the client's delayed acknowledgement.
        opened = socket.socket(family, socket.SOCK_STREAM, protocol)
    except OSError as exc:
        raise BridgeError(f"Can't listen on {host}: {exc.strerror or exc}.", hint="Check SERVE_HOST.") from exc
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(1024)
    except OSError as exc:
        opened.close()
        if exc.errno == errno.EADDRINUSE:
            raise BridgeError(
                f"Port {port} of {host} is in use by another program.",
                hint="Stop that one, or choose another port: --port, SERVE_PORT; 0 takes a free one.",
            ) from exc
        raise BridgeError(
            f"Can't listen on {host}, port {port}: {exc.strerror or exc}.", hint="Check SERVE_HOST and SERVE_PORT."
        ) from exc
    return opened


def address_of(listening: socket.socket) -> str:
    """'http://127.0.0.1:8000', with the port that is really open."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    app: ASGIApp,
    listening: socket.socket,
    options: ServingOptions,
    *,
    on_ready: Callable[[str], None],
    on_stopping: Callable[[], None] = lambda: None,
    on_refused: OnRefused = lambda _: None,
) -> int:
    """Run until a signal, and return the exit code: 0 after a shutdown in order, 128 + N where a second signal hurried.

    `on_ready` gets the address once requests are answered; `on_stopping` is called first of all when a shutdown begins,
    in the event loop: it ends the event streams, which would last for ever. What the app's lifespan raised is raised.
    `on_refused` gets the status of each answer that the app has no part in.
    """
    server = Server(app, options, on_ready=on_ready, on_stopping=on_stopping, on_refused=on_refused)
    try:
        server.run(sockets=[listening])
    except SystemExit as exc:  # uvicorn's way to say that the lifespan failed
        if server.failure is None:
            raise BridgeError("The service did not start; the log says why.") from exc
    finally:
        listening.close()
    if server.failure is not None:
        raise server.failure
    return 128 + server.hurried if server.hurried else 0


class Server(uvicorn.Server):
    """Takes signals as our other commands do: the first one asks, the second one insists.

    `hurried` is the second one's number, `failure` what the app's lifespan raised.
    """

    def __init__(
        self,
        app: ASGIApp,
        options: ServingOptions,
        *,
        on_ready: Callable[[str], None],
        on_stopping: Callable[[], None] = lambda: None,
        on_refused: OnRefused = lambda _: None,
    ) -> None:
        self._guarded = _Lifespan(app)
        super().__init__(
            uvicorn.Config(
                self._guarded,
                loop="asyncio",
                http=_protocol(options, on_refused),
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=options.keep_alive_s,
                timeout_graceful_shutdown=options.grace_s,
            )
        )
        self._on_ready = on_ready
        self._on_stopping = on_stopping
        self.hurried = 0

    @property
    def failure(self) -> BaseException | None:
        """What the app's lifespan raised, None as a rule."""
        return self._guarded.failure

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets and not self.should_exit:
            self._on_ready(address_of(sockets[0]))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("service.stopping", requests=len(self.server_state.tasks))
        self._on_stopping()
        ending = asyncio.ensure_future(super().shutdown(sockets))
        while not ending.done() and not self.force_exit:  # the handler of a signal wakes no event loop
            await asyncio.wait({ending}, timeout=_TICK_S)
        if ending.done():
            ending.result()
        else:
            log.warning("service.hurried", why="a second signal: what still ends is left to itself")

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's own would send the signal to the process again when all is done."""
        if threading.current_thread() is not threading.main_thread():  # no other thread can be told of signals
            yield
            return
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in _SIGNALS
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  uvicorn's signature
        """Stop in order; on a second signal don't wait for requests."""
        if self.should_exit:
            self.hurried = sig
            self.force_exit = True
        self.should_exit = True


class _Lifespan:
    """Keeps what the app's lifespan raises, for the command line to tell; uvicorn would log a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.failure: BaseException | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        phase = "startup"

        async def send_plain(message: Message) -> None:
            nonlocal phase
            if message["type"].endswith(".failed"):
                return  # it is followed by the exception itself
            if message["type"] == "lifespan.startup.complete":
                phase = "shutdown"
            await send(message)

        try:
            await self._app(scope, receive, send_plain)
        except Exception as exc:  # noqa: BLE001  it is raised again by `serve`
            self.failure = exc
            await send({"type": f"lifespan.{phase}.failed", "message": ""})


# Connections -----------------------------------------------------------------------------------------------------


def _protocol(options: ServingOptions, on_refused: OnRefused) -> type[asyncio.Protocol]:
    waiting: OrderedDict[_Connection, None] = OrderedDict()

    class Connection(_Connection):
        def __init__(
            self,
            config: uvicorn.Config,
            server_state: ServerState,
            app_state: dict[str, Any],
            _loop: asyncio.AbstractEventLoop | None = None,
        ) -> None:
            super().__init__(config, server_state, app_state, _loop)
            self.begin(options, waiting, on_refused)

    return Connection


class _Connection(H11Protocol):
    """uvicorn's protocol with deadlines. A deadline for headers runs from their first byte, on a new connection from
    its beginning; no byte that dribbles in prolongs it.
    """

    def begin(self, options: ServingOptions, waiting: OrderedDict[_Connection, None], on_refused: OnRefused) -> None:
        """Take the options; `waiting` holds, oldest first, the connections of this server without a request."""
        self._on_refused = on_refused
        self._options = options
        self._waiting = waiting
        self._header_deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None
        self.conn = _BoundedHeaders(options.max_header_bytes)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._options.max_connections:
            oldest = next(iter(self._waiting), self)
            oldest._refuse(503, "unavailable", "Not available now", "Too many connections are open.")
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_came()
        self._waiting.pop(self, None)
        self._cancel_write_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._look_for_headers(begun=True)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look_for_headers(begun=bool(self.conn.trailing_data[0]))

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_deadline is None:
            self._write_deadline = self.loop.call_later(self._options.write_timeout_s, self._nobody_reads)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel_write_deadline()

    def send_400_response(self, msg: str) -> None:
        """What can't be read as HTTP/1.1; also a body whose chunks are no chunks."""
        self._refuse(400, "invalid-request", "The request can't be understood", msg)

    def shutdown(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()

    def _look_for_headers(self, *, begun: bool) -> None:
        """Set the deadline where a request is being waited for, or take it back where one has come."""
        if self.transport.is_closing() or self.conn.their_state is not h11.IDLE:
            self._headers_came()
            self._waiting.pop(self, None)
        elif begun:
            self._expect_headers()
        else:  # idle between two requests: uvicorn's keep-alive deadline runs
            self._waiting.setdefault(self, None)

    def _expect_headers(self) -> None:
        self._waiting.setdefault(self, None)
        if self._header_deadline is None and not self.transport.is_closing():
            self._header_deadline = self.loop.call_later(self._options.header_timeout_s, self._headers_are_late)

    def _headers_came(self) -> None:
        if self._header_deadline is not None:
            self._header_deadline.cancel()
            self._header_deadline = None

    def _headers_are_late(self) -> None:
        told = f"The headers did not arrive within {self._options.header_timeout_s:g} seconds."
        self._refuse(408, "request-timeout", "The request took too long to arrive", told)

    def _cancel_write_deadline(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def _nobody_reads(self) -> None:
        log.info("connection.abandoned", why="the client does not read its response")
        self.transport.abort()

    def _refuse(self, status: int, slug: str, title: str, detail: str) -> None:
        """Answer where there is no request to hand to the app, then close. Half an answer is not made whole."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            request_id = self._request_id()
            client = self.client[0] if self.client else None
            log.info("connection.refused", request_id=request_id, status=status, why=detail, client=client)
            self._on_refused(status)
            self.transport.write(_raw_problem(status, slug, title, detail, request_id))
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._headers_came()
        self._waiting.pop(self, None)
        self.conn.send_failed()
        self.transport.close()

    def _request_id(self) -> str:
        """That of the request whose body is being read, else a new one."""
        under_way = self.cycle is not None and not self.cycle.response_complete
        return (request_id_of(cast("Scope", self.cycle.scope)) if under_way else "") or uuid.uuid4().hex


class _BoundedHeaders(h11.Connection):
    """h11's own bound holds only for headers that come in several pieces."""

    def __init__(self, max_header_bytes: int) -> None:
        super().__init__(h11.SERVER, max_header_bytes)
        self._most = max_header_bytes

    def next_event(self) -> Any:
        """As h11's; `RemoteProtocolError` for headers that are too large."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            size = len(event.target) + sum(len(name) + len(value) + 4 for name, value in event.headers)
            if size > self._most:
                raise h11.RemoteProtocolError("headers too large", error_status_hint=431)
            if {b"content-length", b"transfer-encoding"} <= {name for name, _ in event.headers}:
                # A proxy may take the other one, and what we take for the next request for a part of this one.
                raise h11.RemoteProtocolError("both Content-Length and Transfer-Encoding (RFC 9112, section 6.1)")
        return event


def _raw_problem(status: int, slug: str, title: str, detail: str, request_id: str) -> bytes:
    """A whole response. There is no request, but under its id the log tells why."""
    body = json.dumps(
        {
            "type": f"urn:sql-databricks-bridge:problem:{slug}",
            "title": title,
            "status": status,
            "detail": detail,
            "request_id": request_id,
        }
    ).encode()
    head = f"HTTP/1.1 {status} {title}\r\nContent-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n"
    head += f"X-Request-ID: {request_id}\r\n"
    retry = "Retry-After: 1\r\n" if status == 503 else ""
    return f"{head}{retry}Connection: close\r\n\r\n".encode() + body
