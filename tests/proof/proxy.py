"""A TCP proxy before a server: the network between the bridge and it, which a test can break in each known way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
_PIECE_BYTES = 1 << 16
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s. Closing sends RST instead of FIN.


class Proxy:
    """Forwards a port of its own to `host:port`; every call returns when it has taken hold. Starts in order.

    `refuse`: connections break, new ones are refused. `reset`: connections break, new ones work. `stall`: not a byte
    passes, and nobody is told. `part`: the server sees its ends reset while the clients hear nothing. `resume` mends.
    """

    def __init__(self, host: str, port: int) -> None:
        """Look for a free port; `proxied` starts it."""
        self._upstream = (host, port)
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._flowing: asyncio.Event | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def resume(self) -> None:
        """Accept connections and let bytes pass."""
        self._do(self._resume())

    def refuse(self) -> None:
        """Break every connection and refuse new ones, as a host without the server does."""
        self._do(self._refuse())

    def reset(self) -> None:
        """Break every connection on both sides by RST; new ones are taken."""
        self._do(self._break(client=True, server=True))

    def stall(self) -> None:
        """Let nothing pass any more; connections stay, new ones are taken and not answered."""
        self._do(self._stall())

    def part(self) -> None:
        """Stall, and let the server alone see that its connections are gone."""
        self._do(self._stall())
        self._do(self._break(client=False, server=True))

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._links)

    # Within the loop -----------------------------------------------------------------------------------------------

    async def _resume(self) -> None:
        if self._flowing is None:
            self._flowing = asyncio.Event()
        self._flowing.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._break(client=True, server=True)

    async def _stall(self) -> None:
        assert self._flowing is not None
        self._flowing.clear()

    async def _break(self, *, client: bool, server: bool) -> None:
        for link in list(self._links):
            link.reset(client=client, server=server)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._flowing is not None
        link = _Link(writer)
        self._links.add(link)
        try:
            upstream, link.server = await asyncio.open_connection(*self._upstream)
            await asyncio.gather(
                self._pump(reader, link.server, link, from_server=False),
                self._pump(upstream, writer, link, from_server=True),
            )
        except OSError:
            pass  # an end was broken, by the test as a rule
        finally:
            self._links.discard(link)
            link.reset(client=True, server=True)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link, *, from_server: bool
    ) -> None:
        assert self._flowing is not None
        while True:
            try:
                piece = await reader.read(_PIECE_BYTES)
            finally:
                await self._flowing.wait()  # a broken end is not told to the other one while nothing passes
            if not piece:
                break
            writer.write(piece)
            await writer.drain()
        if from_server:
            link.reset(client=True, server=True)  # a server that is done with a client hangs up
            return
        with contextlib.suppress(OSError):
            writer.write_eof()

    # Its thread ----------------------------------------------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _stop(self) -> None:
        await self._refuse()
        if self._flowing is not None:
            self._flowing.set()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Link:
    """A client's connection and the server's."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self._client = client
        self.server: asyncio.StreamWriter | None = None

    def reset(self, *, client: bool, server: bool) -> None:
        for writer in (self._client if client else None, self.server if server else None):
            if writer is None or writer.transport.is_closing():
                continue
            with contextlib.suppress(OSError):
                sock = writer.transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()


@contextmanager
def proxied(host: str, port: int) -> Iterator[Proxy]:
    """Run a proxy before `host:port` in a thread of its own."""
    proxy = Proxy(host, port)
    thread = threading.Thread(target=proxy._loop.run_forever, name="proxy", daemon=True)
    thread.start()
    try:
        proxy.resume()
        yield proxy
    finally:
        proxy._do(proxy._stop())
        proxy._loop.call_soon_threadsafe(proxy._loop.stop)
        thread.join()
        proxy._loop.close()
