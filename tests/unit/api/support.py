"""A small app behind the real server, and a client that speaks HTTP byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from sql_databricks_bridge.api.serving import Server, ServingOptions, listen

LONG_S = 30.0


@dataclass
class Echo:
    """An app that says what it got; `/wait` answers when `let_go` is set. `seen` are the paths that reached it."""

    seen: list[str] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": f"{message['type']}.complete"})
            return
        self.seen.append(scope["path"])
        self.arrived.set()
        if scope["path"] == "/wait":
            await self.let_go.wait()
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await JSONResponse({"path": scope["path"], "body_bytes": len(body)})(scope, receive, send)


@asynccontextmanager
async def running(
    app: ASGIApp, on_stopping: Callable[[], None] = lambda: None, **options: Any
) -> AsyncIterator[Server]:
    """The server on a free port of loopback; ended in order afterwards."""
    ready = asyncio.Event()
    chosen = ServingOptions(port=0, **options)
    listening = listen(chosen.host, 0)
    server = Server(app, chosen, on_ready=lambda _: ready.set(), on_stopping=on_stopping)
    server.test_port = listening.getsockname()[1]  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        await asyncio.wait_for(ready.wait(), LONG_S)
        yield server
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, LONG_S)


@dataclass
class Answer:
    """A response, read to its end; `headers` in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Client:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def to(cls, server: Server) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", server.test_port))  # type: ignore[attr-defined]

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def answer(self) -> Answer:
        async with asyncio.timeout(LONG_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(head[0].split()[1]), headers, body)

    async def ended(self) -> bytes:
        """What still comes until the server closes."""
        async with asyncio.timeout(LONG_S):
            return await self.reader.read()

    async def get(self, path: str, **headers: str) -> Answer:
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        await self.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
        return await self.answer()

    def close(self) -> None:
        self.writer.close()
