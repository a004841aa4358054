"""Building one workspace from its settings, and serving it until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn

from .app import create_app
from .catalog import UnityCatalog
from .connections import AbortableProtocol
from .engine import Engine
from .lifecycle import Statements
from .settings import Settings, load_identity
from .signin import Tokens
from .workspace import Workspace

_GRACE_S = 3


def build(settings: Settings, url: str) -> Workspace:
    """Open the data folder. Raises OSError, ValueError or `ApiError` (a name that is not legal)."""
    identity = load_identity(settings.data_dir)
    catalog = UnityCatalog(settings.data_dir)
    catalog.ensure(settings.catalog, settings.schema, settings.volume)
    catalog.ensure(settings.catalog, settings.events_schema)
    for each in {"bridge", settings.catalog, *settings.more_catalogs}:
        catalog.ensure(each, "default")
    catalog.purge()
    tokens = Tokens(identity.token, identity.client_id, settings.token_lifetime_s)
    engine = Engine(catalog)
    statements = Statements(
        catalog, engine, settings.data_dir / "spool", detect_conflicts=settings.writers == "conflict"
    )
    return Workspace(settings, identity, catalog, tokens, engine, statements, url=url)


async def serve(
    workspace: Workspace, listener: socket.socket, announce: Callable[[], None], *, stop_on_stdin_eof: bool
) -> None:
    """Serve on a bound socket; `announce` is called when the first request can be answered."""
    config = uvicorn.Config(
        create_app(workspace),
        http=AbortableProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
    server = _Server(config, announce)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.should_exit = True
        workspace.close()  # ends the statements that clients may be waiting for

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    if stop_on_stdin_eof:
        threading.Thread(target=_wait_for_eof, args=(loop, stop), daemon=True, name="stdin").start()
    await server.serve(sockets=[listener])
    workspace.engine.stop()


class _Server(uvicorn.Server):
    """uvicorn without its signal handling: that one ends the process by the signal, ours with exit code 0."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._announce()


def _wait_for_eof(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    # The bare descriptor: a thread that blocks in sys.stdin holds its lock while the interpreter shuts down.
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    with contextlib.suppress(RuntimeError):  # the loop is closed: we are stopping already
        loop.call_soon_threadsafe(stop)
