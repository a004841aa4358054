"""Limits of one client: sizes, deadlines and rates, over real sockets where the connection matters."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sql_databricks_bridge.api.limits import BodyLimits, InFlight, RateLimits
from sql_databricks_bridge.api.request_context import RequestContext, parse_networks
from tests.unit.api.support import Client, Echo, running

MAX_BYTES = 2048
POST = b"POST /jobs HTTP/1.1\r\nHost: x\r\n"


def problem(answer: Any) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    document = json.loads(answer.body if hasattr(answer, "body") else answer.content)
    return str(document["type"].rpartition(":")[2])


def with_body_limits(app: ASGIApp, timeout_s: float = 30.0) -> ASGIApp:
    return RequestContext(BodyLimits(app, max_bytes=MAX_BYTES, timeout_s=timeout_s, linger_s=0.1))


def chunk(size: int) -> bytes:
    return f"{size:x}\r\n".encode() + b"x" * size + b"\r\n"


# Bodies ----------------------------------------------------------------------------------------------------------

TOO_LARGE = {
    "announced": [POST + b"Content-Length: %d\r\n\r\n" % (MAX_BYTES + 1), b"x" * (MAX_BYTES + 1)],
    "announced, never sent": [POST + b"Content-Length: 99999999999999999999\r\n\r\n"],
    "announced, asked before": [POST + b"Expect: 100-continue\r\nContent-Length: 5000\r\n\r\n"],
    "in chunks": [POST + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk(700)] * 3],
    "in chunks without an end": [POST + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk(1024)] * 40],
    "in one chunk": [POST + b"Transfer-Encoding: chunked\r\n\r\n", chunk(9000)],
}


@pytest.mark.parametrize("pieces", TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_a_body_that_is_too_large_never_reaches_the_app(pieces: list[bytes]) -> None:
    """413, whole and readable, then the connection ends; the app was not called."""
    app = Echo()

    async def run() -> None:
        async with running(with_body_limits(app)) as server:
            client = await Client.to(server)
            await client.send(*pieces)
            answer = await client.answer()
            assert answer.status == 413
            assert problem(answer) == "body-too-large"
            assert answer.headers["connection"] == "close"
            assert await client.ended() == b""
            client.close()

    asyncio.run(run())
    assert app.seen == []


@pytest.mark.parametrize(
    ("pieces", "size"),
    [
        ([POST + b"\r\n"], 0),
        ([POST + b"Content-Length: %d\r\n\r\n" % MAX_BYTES, b"x" * MAX_BYTES], MAX_BYTES),
        ([POST + b"Transfer-Encoding: chunked\r\n\r\n", chunk(1000), chunk(1048), b"0\r\n\r\n"], MAX_BYTES),
    ],
)
def test_a_body_up_to_the_limit_arrives_whole(pieces: list[bytes], size: int) -> None:
    """The connection stays open for the next request."""

    async def run() -> None:
        async with running(with_body_limits(Echo())) as server:
            client = await Client.to(server)
            for _ in range(2):
                await client.send(*pieces)
                answer = await client.answer()
                assert (answer.status, json.loads(answer.body)["body_bytes"]) == (200, size)
            client.close()

    asyncio.run(run())


@pytest.mark.parametrize("header", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
def test_a_body_that_does_not_come_ends_with_408(header: bytes) -> None:
    """Half a body, then silence: the deadline answers and closes; the app was not called."""
    app = Echo()

    async def run() -> None:
        async with running(with_body_limits(app, timeout_s=0.05)) as server:
            client = await Client.to(server)
            await client.send(POST + header + b"\r\n\r\n", b"5\r\nxx")
            answer = await client.answer()
            assert (answer.status, problem(answer)) == (408, "request-timeout")
            assert await client.ended() == b""
            client.close()

    asyncio.run(run())
    assert app.seen == []


def test_a_dribbled_body_has_one_deadline_for_all_of_it() -> None:
    """Bytes that keep coming don't prolong it."""

    async def run() -> None:
        async with running(with_body_limits(Echo(), timeout_s=0.1)) as server:
            client = await Client.to(server)
            await client.send(POST + b"Content-Length: 2000\r\n\r\n")

            async def dribble() -> None:
                while True:
                    await client.send(b"x")
                    await asyncio.sleep(0.01)

            dribbling = asyncio.create_task(dribble())
            answer = await client.answer()
            dribbling.cancel()
            assert answer.status == 408
            client.close()

    asyncio.run(run())


def test_a_client_that_leaves_in_the_middle_of_a_body_never_reaches_the_app() -> None:
    """Nothing is done for half a request; the server answers others meanwhile."""
    app = Echo()

    async def run() -> None:
        async with running(with_body_limits(app)) as server:
            client = await Client.to(server)
            await client.send(POST + b"Content-Length: 100\r\n\r\n", b"x")
            client.close()
            other = await Client.to(server)
            assert (await other.get("/after")).status == 200
            other.close()

    asyncio.run(run())
    assert app.seen == ["/after"]


def test_more_requests_than_allowed_at_a_time_are_refused_and_probes_are_not() -> None:
    """503 while one waits, with Retry-After; /health/live passes; then the next one passes too."""
    app = Echo()

    async def run() -> None:
        async with running(RequestContext(InFlight(app, limit=1))) as server:
            first, second = await Client.to(server), await Client.to(server)
            waiting = asyncio.create_task(first.get("/wait"))
            await app.arrived.wait()
            refused = await second.get("/jobs")
            assert (refused.status, problem(refused), refused.headers["retry-after"]) == (503, "unavailable", "1")
            assert (await second.get("/health/live")).status == 200
            app.let_go.set()
            assert (await waiting).status == 200
            assert (await second.get("/jobs")).status == 200
            for client in (first, second):
                client.close()

    asyncio.run(run())


# Rates -----------------------------------------------------------------------------------------------------------


class Door:
    """Signs in tokens that begin with 'good', as the API does; counts what reached it."""

    def __init__(self) -> None:
        self.asked = 0
        self.revoked: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        headers = dict(scope["headers"])
        token = headers.get(b"authorization", b"").decode().removeprefix("Bearer ")
        if scope["path"] == "/nowhere":
            status = 404
        elif token.startswith("good") and token not in self.revoked:
            scope["state"]["caller"] = SimpleNamespace(user=SimpleNamespace(name="x"))
            status = 200
        else:
            status = 401
        await Response(status_code=status)(scope, receive, send)


Ask = Callable[..., Awaitable[httpx.Response]]


def asking(requests: int = 3, failures: int = 3) -> tuple[Door, Ask]:
    """The door behind the limits, and a way to ask it: `await ask(token, address)`."""
    door = Door()
    limited = RateLimits(door, requests_per_minute=requests, failed_sign_ins_per_minute=failures)
    app = RequestContext(limited, parse_networks("127.0.0.0/8"))

    async def ask(token: str | None, address: str = "192.0.2.1", path: str = "/jobs") -> httpx.Response:
        headers = {"X-Forwarded-For": address} | ({"Authorization": f"Bearer {token}"} if token else {})
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            return await client.get(path, headers=headers)

    return door, ask


def test_one_token_has_its_number_of_requests_a_minute() -> None:
    """The next one is refused with Retry-After and does not reach the app; another token is not affected."""
    door, ask = asking(requests=3)

    async def run() -> None:
        assert [(await ask("good-1")).status_code for _ in range(3)] == [200] * 3
        refused = await ask("good-1")
        assert (refused.status_code, problem(refused)) == (429, "rate-limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert "good-1" not in refused.text
        asked = door.asked
        assert (await ask("good-1")).status_code == 429
        assert door.asked == asked
        assert (await ask("good-2")).status_code == 200

    asyncio.run(run())


def test_one_token_takes_no_more_than_its_share_of_the_requests_at_a_time() -> None:
    """Two wait, the third is a 429 with Retry-After; another token passes; when one has ended, so does the third."""
    app = Echo()
    limited = RateLimits(app, requests_per_minute=100, failed_sign_ins_per_minute=100, requests_at_a_time=2)

    async def run() -> None:
        async with running(RequestContext(limited)) as server:
            clients = [await Client.to(server) for _ in range(3)]
            mine, other = {"Authorization": "Bearer mine"}, {"Authorization": "Bearer other"}
            waiting = [asyncio.create_task(client.get("/wait", **mine)) for client in clients[:2]]
            while app.seen.count("/wait") < 2:
                await app.arrived.wait()
                app.arrived.clear()
            refused = await clients[2].get("/jobs", **mine)
            assert (refused.status, problem(refused), refused.headers["retry-after"]) == (429, "rate-limited", "1")
            assert (await clients[2].get("/jobs", **other)).status == 200
            app.let_go.set()
            assert [(await answer).status for answer in waiting] == [200, 200]
            assert (await clients[2].get("/jobs", **mine)).status == 200
            for client in clients:
                client.close()

    asyncio.run(run())


def test_failed_sign_ins_are_limited_by_address() -> None:
    """After so many failures no unknown token of that address is looked at, good or not; other addresses pass."""
    door, ask = asking(failures=3)

    async def run() -> None:
        assert [(await ask(f"guess-{n}")).status_code for n in range(2)] == [401] * 2
        assert (await ask(None)).status_code == 401
        asked = door.asked
        refused = await ask("good-guess")
        assert (refused.status_code, problem(refused)) == (429, "rate-limited")
        assert int(refused.headers["retry-after"]) >= 1
        assert (await ask(None)).status_code == 429
        assert door.asked == asked
        assert (await ask("good-guess", "192.0.2.2")).status_code == 200

    asyncio.run(run())


def test_who_was_signed_in_before_is_not_locked_out_by_a_guesser_at_the_same_address() -> None:
    """Behind one proxy: the known token goes on, the guesser does not."""
    _, ask = asking(requests=100, failures=3)

    async def run() -> None:
        assert (await ask("good-1")).status_code == 200
        for n in range(6):
            await ask(f"guess-{n}")
        assert (await ask("good-1")).status_code == 200
        assert (await ask("good-2")).status_code == 429

    asyncio.run(run())


def test_an_answer_without_a_sign_in_does_not_make_a_token_known() -> None:
    """A 404 of a path that nobody owns proves nothing about the token."""
    _, ask = asking(failures=2)

    async def run() -> None:
        assert (await ask("good-1", path="/nowhere")).status_code == 404
        for n in range(2):
            await ask(f"guess-{n}")
        assert (await ask("good-1")).status_code == 429

    asyncio.run(run())


def test_a_token_that_stops_being_good_is_a_guess_again() -> None:
    """A revoked token counts as failures from then on."""
    door, ask = asking(requests=100, failures=2)

    async def run() -> None:
        assert (await ask("good-1")).status_code == 200
        door.revoked.add("good-1")
        assert [(await ask("good-1")).status_code for _ in range(4)] == [401, 401, 429, 429]

    asyncio.run(run())


def test_probes_are_never_limited() -> None:
    """Paths without a sign-in count for nobody, whatever token comes with them."""
    _, ask = asking(requests=1, failures=1)

    async def run() -> None:
        assert (await ask("guess")).status_code == 401
        for path in ("/health/live", "/health/ready", "/metrics", "/version"):
            assert (await ask("guess", path=path)).status_code != 429

    asyncio.run(run())


@settings(max_examples=5, deadline=None)
@given(st.integers(min_value=0, max_value=2**16 - 1))
def test_addresses_of_one_ipv6_network_share_a_counter(host: int) -> None:
    """The last 64 bits are the client's to choose."""
    _, ask = asking(failures=2)

    async def run() -> None:
        for n in range(2):
            await ask(f"guess-{n}", f"2001:db8:1:2:{n}:1:2:3")
        assert (await ask("guess", f"2001:db8:1:2:3:4:5:{host:x}")).status_code == 429

    asyncio.run(run())


def test_memory_does_not_grow_with_tokens_and_addresses() -> None:
    """A flood of guesses from everywhere leaves a bounded number of counters, and no token in them."""
    door = Door()
    limited = RateLimits(door, requests_per_minute=10, failed_sign_ins_per_minute=5)
    app = RequestContext(limited, parse_networks("127.0.0.0/8"))

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            for n in range(1500):
                address = f"10.{n % 250}.{n // 250}.7"
                await client.get("/j", headers={"X-Forwarded-For": address, "Authorization": f"Bearer canary{n}"})

    asyncio.run(run())
    state = repr(vars(limited)) + repr(vars(limited._limiter.storage))
    assert "canary" not in state
    assert "10.7" not in state
    assert len(limited._good) == 0
    slots = {key for key in vars(limited._limiter.storage)["events"] if "failures" in key}
    assert 0 < len(slots) <= 4096
