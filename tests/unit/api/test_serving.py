"""The server's own deadlines and its way to end, over real sockets."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest
from starlette.types import Receive, Scope, Send

from sql_databricks_bridge.api.serving import ServingOptions, listen, serve
from sql_databricks_bridge.errors import BridgeError
from tests.unit.api.support import Client, Echo, running

SLOW_STARTS = {
    "nothing": [],
    "half a request line": [b"GET /he"],
    "headers without an end": [b"GET / HTTP/1.1\r\n", b"Host: x\r\n", b"X-A: b\r\n"],
}


@pytest.mark.parametrize("pieces", SLOW_STARTS.values(), ids=SLOW_STARTS.keys())
def test_headers_that_do_not_come_end_the_connection(pieces: list[bytes]) -> None:
    """408 as a problem, then the end; the app never hears of it."""
    app = Echo()

    async def run() -> None:
        async with running(app, header_timeout_s=0.05) as server:
            client = await Client.to(server)
            await client.send(*pieces)
            answer = await client.answer()
            assert answer.status == 408
            assert json.loads(answer.body)["type"].endswith(":request-timeout")
            assert await client.ended() == b""
            client.close()

    asyncio.run(run())
    assert app.seen == []


@pytest.mark.parametrize("before", [False, True], ids=["first request", "second request"])
def test_dribbling_headers_does_not_prolong_their_deadline(before: bool) -> None:
    """A byte now and then keeps no connection: not a new one, not one that had a request answered."""

    async def run() -> None:
        async with running(Echo(), header_timeout_s=0.1) as server:
            client = await Client.to(server)
            if before:
                assert (await client.get("/one")).status == 200

            async def dribble() -> None:
                await client.send(b"GET / HTTP/1.1\r\nX: ")
                while True:
                    await client.send(b"y")
                    await asyncio.sleep(0.01)

            dribbling = asyncio.create_task(dribble())
            assert (await client.answer()).status == 408
            dribbling.cancel()
            client.close()

    asyncio.run(run())


def test_an_answer_may_take_longer_than_the_headers_may() -> None:
    """The deadline for headers ends with the headers; the connection then serves the next request."""
    app = Echo()

    async def run() -> None:
        async with running(app, header_timeout_s=0.05) as server:
            client, late = await Client.to(server), await Client.to(server)
            waiting = asyncio.create_task(client.get("/wait"))
            await app.arrived.wait()
            assert (await late.answer()).status == 408  # so the deadline has passed meanwhile
            app.let_go.set()
            assert (await waiting).status == 200
            assert (await client.get("/two")).status == 200
            for one in (client, late):
                one.close()

    asyncio.run(run())


@pytest.mark.parametrize("pieces", [1, 8], ids=["at once", "in pieces"])
def test_headers_that_are_too_large_are_refused(pieces: int) -> None:
    """However they arrive; below the cap they pass."""
    app = Echo()

    async def run() -> None:
        async with running(app, max_header_bytes=4096) as server:
            client = await Client.to(server)
            assert (await client.get("/small", X=("x" * 3000))).status == 200
            head = b"GET /large HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 5000 + b"\r\n\r\n"
            step = -(-len(head) // pieces)
            await client.send(*[head[at : at + step] for at in range(0, len(head), step)])
            assert (await client.answer()).status == 400
            assert await client.ended() == b""
            client.close()

    asyncio.run(run())
    assert app.seen == ["/small"]


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0",
    ],
)
def test_what_is_no_http_is_refused_as_a_problem(sent: bytes) -> None:
    """A TLS client's first bytes, a broken header, a body of two lengths (a proxy may take the other): 400, the end."""

    async def run() -> None:
        async with running(Echo()) as server:
            client = await Client.to(server)
            await client.send(sent, b"\r\n\r\n")
            answer = await client.answer()
            assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
            client.close()

    asyncio.run(run())


def test_a_broken_chunk_ends_the_request_that_waits_for_it() -> None:
    """The app learns that the client is gone; the server goes on."""
    gone = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await Echo()(scope, receive, send)
            return
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    async def run() -> None:
        async with running(app) as server:
            client = await Client.to(server)
            await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"zz\r\n")
            assert (await client.answer()).status == 400
            await asyncio.wait_for(gone.wait(), 30)
            client.close()

    asyncio.run(run())


def test_too_many_connections_cost_the_one_that_waited_longest() -> None:
    """Idle connections can't keep others out; the newest one is served, the one with a request stays."""
    app = Echo()

    async def run() -> None:
        async with running(app, max_connections=3) as server:
            busy = await Client.to(server)
            waiting = asyncio.create_task(busy.get("/wait"))
            await app.arrived.wait()
            idle = [await Client.to(server) for _ in range(4)]
            refused = await idle[0].answer()
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            assert (await idle[-1].get("/health/live")).status == 200
            app.let_go.set()
            assert (await waiting).status == 200
            for client in (busy, *idle):
                client.close()

    asyncio.run(run())


def test_a_client_that_does_not_read_is_dropped() -> None:
    """An endless response to nobody ends; the app is told by a disconnect."""
    ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await Echo()(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        disconnected = asyncio.create_task(_gone(receive))
        while not disconnected.done():
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            await asyncio.sleep(0)
        ended.set()

    async def _gone(receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def run() -> None:
        async with running(app, write_timeout_s=0.1) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.test_port, limit=1024)  # type: ignore[attr-defined]
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readline()
            await asyncio.wait_for(ended.wait(), 30)
            writer.close()

    asyncio.run(run())


def test_a_shutdown_ends_event_streams_and_lets_requests_finish() -> None:
    """`on_stopping` comes first; a request under way still gets its answer."""
    app = Echo()

    async def run() -> None:
        async with running(app, on_stopping=app.let_go.set) as server:
            client, idle = await Client.to(server), await Client.to(server)
            waiting = asyncio.create_task(client.get("/wait"))
            await app.arrived.wait()
            server.should_exit = True
            answer = await waiting
            assert answer.status == 200
            assert await client.ended() == b""
            assert await idle.ended() == b""
            for one in (client, idle):
                one.close()

    asyncio.run(run())


def test_a_request_that_never_ends_does_not_keep_the_service() -> None:
    """After the grace it is cancelled, and the server ends (the fixture waits for it)."""
    app = Echo()

    async def run() -> None:
        async with running(app, grace_s=0) as server:
            client = await Client.to(server)
            await client.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
            await app.arrived.wait()
            server.should_exit = True
            await client.ended()
            client.close()

    asyncio.run(run())


def test_the_first_signal_asks_and_the_second_hurries() -> None:
    """The exit code tells which of the two it was."""

    async def run() -> tuple[int, int]:
        async with running(Echo()) as server:
            server.handle_exit(signal.SIGTERM, None)
            asked = server.hurried
            server.handle_exit(signal.SIGINT, None)
            return asked, server.hurried

    assert asyncio.run(run()) == (0, signal.SIGINT)


def test_a_second_signal_cuts_short_what_the_app_does_at_its_end() -> None:
    """An app whose own shutdown hangs is left to itself (the fixture waits for the server's end)."""
    ending = asyncio.Event()

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        ending.set()
        await asyncio.Event().wait()

    async def run() -> None:
        async with running(app) as server:
            server.handle_exit(signal.SIGTERM, None)
            await asyncio.wait_for(ending.wait(), 30)
            server.handle_exit(signal.SIGTERM, None)

    asyncio.run(run())


def test_a_port_in_use_is_told_in_a_sentence() -> None:
    """With the port and what to do."""
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BridgeError, match=f"Port {port} of 127.0.0.1 is in use") as caught:
            listen("127.0.0.1", port)
        assert "--port" in (caught.value.hint or "")
    with pytest.raises(BridgeError, match=r"192\.0\.2\.1"):
        listen("192.0.2.1", 0)
    with pytest.raises(BridgeError, match=r"no\.such\.host\.invalid"):
        listen("no.such.host.invalid", 0)


def test_what_the_lifespan_raises_comes_out_whole(caplog: pytest.LogCaptureFixture) -> None:
    """The command line tells it as an error of its own; the log has no traceback of it."""

    async def app(scope: Scope, receive: Receive, _: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            raise BridgeError("The job store can't be reached.")

    with pytest.raises(BridgeError, match="The job store"):
        serve(app, listen("127.0.0.1", 0), ServingOptions(port=0), on_ready=lambda _: None)
    assert "Traceback" not in caplog.text
