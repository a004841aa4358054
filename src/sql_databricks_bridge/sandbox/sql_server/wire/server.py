"""The listener: one thread for each connection."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading

from ...faults import FaultRegistry
from ..contract import Engine, ServerOptions
from .connection import Connection
from .hooks import VOCABULARY
from .requestlog import RequestLog
from .signon import Shared
from .tls import strict_context, wrapped_context

log = logging.getLogger(__name__)

_BACKLOG = 128
_STOP_TIMEOUT_S = 10.0


def bind(host: str, port: int) -> socket.socket:
    """A socket that owns the address and accepts nothing yet; OSError where it can't."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except BaseException:
        listener.close()
        raise
    return listener


class TdsServer:
    """Serves an engine on `listener`, or else on the options' address (OSError where that is taken).

    `stop` ends every connection, not the engine.
    """

    def __init__(self, engine: Engine, options: ServerOptions, listener: socket.socket | None = None) -> None:
        if options.encryption not in ("off", "optional", "required"):
            raise ValueError(f"encryption is 'off', 'optional' or 'required', not {options.encryption!r}")
        self.faults = FaultRegistry(VOCABULARY)
        self.requests = RequestLog()
        certificate, key = options.certificate_file, options.key_file
        if options.encryption != "off" and (certificate is None or key is None):
            raise ValueError("encryption needs a certificate and its key")
        encrypts = options.encryption != "off"
        self._shared = Shared(
            engine,
            options,
            wrapped_context(str(certificate), str(key)) if encrypts else None,
            strict_context(str(certificate), str(key)) if encrypts else None,
            self.faults,
            self.requests,
        )
        self._options = options
        self._listener = listener or bind(options.host, options.port)
        self._acceptor = threading.Thread(target=self._accept, name="tds-accept", daemon=True)
        self._lock = threading.Lock()
        self._connections: dict[Connection, threading.Thread] = {}
        self._stopping = False

    @property
    def port(self) -> int:
        """The port in use."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        """How many are open."""
        with self._lock:
            return len(self._connections)

    def start(self) -> None:
        """Accept, in threads."""
        self._listener.listen(_BACKLOG)
        self._acceptor.start()

    def stop(self) -> None:
        """Stop accepting, hang up on everybody, wait for their threads. Idempotent."""
        with self._lock:
            self._stopping = True
            running = list(self._connections.items())
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the acceptor, which close() doesn't
        if self._acceptor.is_alive():
            self._acceptor.join(_STOP_TIMEOUT_S)
        self._listener.close()
        for connection, _ in running:
            connection.stop()
        for _, thread in running:
            thread.join(_STOP_TIMEOUT_S)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError as exc:
                if self._stopping:
                    return
                log.warning("accept: %s", exc)
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock, self._shared)
            thread = threading.Thread(target=self._serve, args=(connection,), name="tds-connection", daemon=True)
            with self._lock:
                if self._stopping:
                    sock.close()
                    return
                self._connections[connection] = thread
                thread.start()

    def _serve(self, connection: Connection) -> None:
        try:
            connection.run()
        finally:
            with self._lock:
                del self._connections[connection]
