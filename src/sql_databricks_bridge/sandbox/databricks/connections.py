"""uvicorn's HTTP protocol, with a way to close one client's TCP connection in the middle of anything."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

_OPEN: dict[tuple[str, int], asyncio.Transport] = {}


class AbortableProtocol(H11Protocol):
    """Keeps the transport of every open connection by the client's address."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by asyncio."""
        super().connection_made(transport)
        if self.client is not None:
            _OPEN[self.client] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        if self.client is not None:
            _OPEN.pop(self.client, None)
        super().connection_lost(exc)


async def abort(client: tuple[str, int] | None) -> None:
    """Close a client's connection at once: what is buffered for it goes out first, nothing after it."""
    transport = _OPEN.get(client) if client is not None else None
    if transport is None:
        return
    for _ in range(200):  # let what was written so far leave; a client that does not read can't hold us
        if not transport.get_write_buffer_size():
            break
        await asyncio.sleep(0.005)
    transport.abort()
