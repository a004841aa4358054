"""What one client may ask of the service: how much at once, how often, how big, how slowly. Pure ASGI middlewares.

They stand between `RequestContext` (whose request id and client address they use) and the app, the first one outermost:

    InFlight -> RateLimits -> BodyLimits -> app

The deadline for headers is the server's: see `serving`.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sql_databricks_bridge.api.problems import Refused, Slug, problem_response
from sql_databricks_bridge.api.request_context import client_address_of, request_id_of

if TYPE_CHECKING:
    from sql_databricks_bridge.api.sign_in import Caller

OPEN_PATHS = ("/health/", "/metrics", "/version", "/openapi.json", "/docs")
"""Beginnings of the paths that need no sign-in."""

MOST_AT_A_TIME = 64
"""Requests of one token that are answered at a time."""

_ADDRESS_SLOTS = 4096
_MOST_TOKENS = 10_000


class InFlight:
    """At most `limit` requests at a time, event streams included; more are refused (503). Open paths always pass."""

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self._app = app
        self._limit = limit
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the request until its response has ended."""
        if scope["type"] != "http" or scope["path"].startswith(OPEN_PATHS):
            await self._app(scope, receive, send)
            return
        if self._running >= self._limit:
            told = f"The service answers {self._limit} requests already."
            await _refuse(scope, receive, send, Refused(Slug.UNAVAILABLE, told, headers={"Retry-After": "1"}))
            return
        self._running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1


# Bodies ----------------------------------------------------------------------------------------------------------


class BodyLimits:
    """A body is read whole before the app sees any of it: at most `max_bytes` (413), within `timeout_s` (408).

    Either refusal closes the connection. The app never meets a client that stops in the middle.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, timeout_s: float, linger_s: float = 1.0) -> None:
        """`linger_s` is how long a body that is too large is thrown away before the connection is closed."""
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._linger_s = linger_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, then hand it on in one piece."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if "content-length" not in headers and "transfer-encoding" not in headers:
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(headers, receive)
        except _TooLarge:
            told = f"The body is larger than {self._max_bytes:,} bytes."
            refused = Refused(Slug.BODY_TOO_LARGE, told, hint="MAX_BODY_BYTES is the service's setting for it.")
            linger = "expect" not in headers  # who asked first (`Expect`) sends nothing after a refusal
        except TimeoutError:
            told = f"The body did not arrive within {self._timeout_s:g} seconds."
            refused = Refused(Slug.REQUEST_TIMEOUT, told, hint="BODY_TIMEOUT_S is the service's setting for it.")
            linger = False
        else:
            if body is not None:
                await self._app(scope, _replayed(body, receive), send)
            return
        await self._refuse_and_close(scope, receive, send, refused, linger=linger)

    async def _read(self, headers: Headers, receive: Receive) -> bytes | None:
        """The body, None where the client has gone."""
        announced = headers.get("content-length", "")
        if announced.isdigit() and int(announced) > self._max_bytes:
            raise _TooLarge
        body = bytearray()
        async with asyncio.timeout(self._timeout_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                body += message.get("body", b"")
                if len(body) > self._max_bytes:
                    raise _TooLarge
                if not message.get("more_body", False):
                    return bytes(body)

    async def _refuse_and_close(
        self, scope: Scope, receive: Receive, send: Send, refused: Refused, *, linger: bool
    ) -> None:
        """Send the whole answer, throw away some of what is still coming, then close.

        A connection that is closed while data of the client's lies unread is reset, and the client may never read the
        answer (RFC 9112, section 9.6).
        """

        async def send_open(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Connection"] = "close"
            await send({**message, "more_body": True} if message["type"] == "http.response.body" else message)

        await _refuse(scope, receive, send_open, refused)
        if linger:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._linger_s):
                    await self._throw_away(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _throw_away(self, receive: Receive) -> None:
        """Read on for as much as a whole body, then let the client wait: who sends without end costs no more."""
        left = self._max_bytes
        while left > 0:
            message = await receive()
            if not message.get("more_body", False):
                return
            left -= len(message["body"])
        await asyncio.sleep(self._linger_s)


class _TooLarge(Exception):
    pass


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body first, then what the client does next: as a rule, disconnect."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


# Rates -----------------------------------------------------------------------------------------------------------


def user_of(scope: Scope) -> str | None:
    """Who was signed in for this request, by what `sign_in` leaves in its state; None before that, or for nobody."""
    caller: Caller | None = scope.get("state", {}).get("caller")
    return None if caller is None else caller.user.name


class RateLimits:
    """Requests a minute, and at a time, of one token, and failed sign-ins a minute from one address; more are a 429.

    Requests at a time are bounded so that one token's event streams leave room for the others within `InFlight`.

    An address with too many failures may sign in only by tokens that were good from that very address before, so that
    nobody locks out others behind the same proxy, and no guess goes further than before. Concurrent requests are
    counted when they fail, so as many guesses as there are requests at a time can come on top.

    Memory is bounded: tokens are counted once they proved good, and kept as keyed digests, the latest 10,000 of them;
    addresses (of IPv6 the first 64 bits) share 4,096 counters, spread by a secret of this process. Each replica counts
    for itself. The windows slide: no burst at a full minute.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        requests_per_minute: int,
        failed_sign_ins_per_minute: int,
        requests_at_a_time: int = MOST_AT_A_TIME,
        open_paths: tuple[str, ...] = OPEN_PATHS,
    ) -> None:
        self._app = app
        self._open_paths = open_paths
        self._requests = RateLimitItemPerMinute(requests_per_minute, namespace="requests")
        self._failures = RateLimitItemPerMinute(failed_sign_ins_per_minute, namespace="failures")
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._secret = os.urandom(32)
        self._good: OrderedDict[str, None] = OrderedDict()
        self._most_at_a_time = requests_at_a_time
        self._running: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on and learn from the answer whether the sign-in was good."""
        if scope["type"] != "http" or scope["path"].startswith(self._open_paths):
            await self._app(scope, receive, send)
            return
        address = self._slot(client_address_of(scope))
        token = self._token(scope)
        here = f"{address}:{token}"
        if token is not None and here in self._good:
            self._good.move_to_end(here)
            if not self._limiter.hit(self._requests, token):
                await self._too_many(scope, receive, send, self._requests, token, "requests with this token")
                return
        elif not self._limiter.test(self._failures, address):
            await self._too_many(scope, receive, send, self._failures, address, "failed sign-ins from this address")
            return
        if token is not None and self._running[token] >= self._most_at_a_time:
            told = f"{self._most_at_a_time} requests with this token are under way, event streams included."
            refused = Refused(Slug.RATE_LIMITED, told, hint="Let one of them end.", headers={"Retry-After": "1"})
            await _refuse(scope, receive, send, refused)
            return
        scope.setdefault("state", {})  # whatever is handed on, it shares this one

        async def send_and_learn(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._learn(message["status"], user_of(scope), address, token)
            await send(message)

        with self._counted(token):
            await self._app(scope, receive, send_and_learn)

    @contextmanager
    def _counted(self, token: str | None) -> Iterator[None]:
        if token is None:
            yield
            return
        self._running[token] += 1
        try:
            yield
        finally:
            self._running[token] -= 1
            if not self._running[token]:
                del self._running[token]

    def _learn(self, status: int, user_name: str | None, address: str, token: str | None) -> None:
        if status == 401:
            self._good.pop(f"{address}:{token}", None)
            self._limiter.hit(self._failures, address)
        elif user_name is not None and token is not None and f"{address}:{token}" not in self._good:
            self._limiter.hit(self._requests, token)
            self._good[f"{address}:{token}"] = None
            if len(self._good) > _MOST_TOKENS:
                self._good.popitem(last=False)

    async def _too_many(
        self, scope: Scope, receive: Receive, send: Send, item: RateLimitItem, key: str, what: str
    ) -> None:
        reset = self._limiter.get_window_stats(item, key).reset_time
        wait_s = max(1, math.ceil(reset - time.time()))
        told = f"More than {item.amount} {what} within a minute."
        refused = Refused(Slug.RATE_LIMITED, told, hint="Wait; Retry-After says how long.",
                          headers={"Retry-After": str(wait_s)})  # fmt: skip
        await _refuse(scope, receive, send, refused)

    def _token(self, scope: Scope) -> str | None:
        """A digest of the Authorization header, None without one."""
        given = Headers(scope=scope).get("authorization")
        return None if given is None else self._digest(given).hex()

    def _slot(self, address: str | None) -> str:
        """The counter of an address: hashed by this process's secret, so that nobody can aim for another's."""
        network = ":".join((address or "").split(":")[:4]) if ":" in (address or "") else address or ""
        return str(int.from_bytes(self._digest(network)[:4]) % _ADDRESS_SLOTS)

    def _digest(self, text: str) -> bytes:
        return hashlib.blake2b(text.encode(), key=self._secret, digest_size=16).digest()


async def _refuse(scope: Scope, receive: Receive, send: Send, refused: Refused) -> None:
    respond: Callable[[Scope, Receive, Send], Awaitable[None]] = problem_response(refused, request_id_of(scope))
    await respond(scope, receive, send)
