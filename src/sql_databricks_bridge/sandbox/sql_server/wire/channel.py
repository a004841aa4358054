"""Bytes to and from one socket, with TLS put on or taken off in the middle of the stream.

One thread receives, one sends. TLS runs on memory buffers, so that the handshake can travel inside PRELOGIN packets
(MS-TDS 2.2.6.5) and can end after LOGIN7 (login-only encryption).
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading

from .errors import DisconnectedError, MalformedError
from .packets import EOM, HEADER_SIZE, Packet, PacketType, parse_header

_RECEIVE_SIZE = 256 * 1024
_TLS_RECORD_HEADER = 5


class Channel:
    """Packets in, bytes out."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._raw = bytearray()
        self._clear = bytearray()
        self._tls: ssl.SSLObject | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        # SSLObject isn't safe for one thread reading while another writes before Python 3.13.
        self._tls_lock = threading.Lock()
        self._send_lock = threading.Lock()

    # -- receiving -----------------------------------------------------------------------------------------------

    def peek(self) -> int:
        """The first byte of the stream, left in place: a TLS ClientHello (0x16) or a TDS packet."""
        while not self._raw:
            self._fill_raw()
        return self._raw[0]

    def receive_packet(self) -> Packet:
        """The next packet; `DisconnectedError` at the end of the stream."""
        return self._receive(most=1)[0]

    def receive_packets(self) -> list[Packet]:
        """The next packet and those that came with it."""
        return self._receive(most=None)

    def _receive(self, most: int | None) -> list[Packet]:
        buffer = self._raw if self._tls is None else self._clear
        packets: list[Packet] = []
        while not packets:
            used = 0
            while len(buffer) - used >= HEADER_SIZE and (most is None or len(packets) < most):
                packet_type, status, length = parse_header(buffer[used : used + HEADER_SIZE])
                end = used + HEADER_SIZE + length
                if end > len(buffer):
                    break
                with memoryview(buffer) as view:
                    packets.append(Packet(packet_type, status, bytes(view[used + HEADER_SIZE : end])))
                used = end
            del buffer[:used]
            if not packets:
                self._fill()
        return packets

    def _fill(self) -> None:
        if self._tls is None:
            self._fill_raw()
        else:
            self._fill_clear()

    def _fill_raw(self) -> None:
        try:
            data = self._socket.recv(_RECEIVE_SIZE)
        except OSError as exc:
            raise DisconnectedError(str(exc)) from exc
        if not data:
            raise DisconnectedError("the client has closed the connection")
        self._raw += data

    def _fill_clear(self) -> None:
        """Decrypt one more record: record by record, since clear TDS may follow the one that ends LOGIN7."""
        self._incoming.write(self._take_record())
        assert self._tls is not None
        with self._tls_lock:
            try:
                while data := self._tls.read(_RECEIVE_SIZE):
                    self._clear += data
                    if not self._tls.pending() and not self._incoming.pending:
                        return
            except ssl.SSLWantReadError:
                return
            except ssl.SSLError as exc:
                raise MalformedError(f"TLS: {exc.reason or exc}") from exc
        raise DisconnectedError("the client has closed TLS")

    def _take_record(self) -> bytes:
        while len(self._raw) < _TLS_RECORD_HEADER:
            self._fill_raw()
        size = _TLS_RECORD_HEADER + int.from_bytes(self._raw[3:5], "big")
        while len(self._raw) < size:
            self._fill_raw()
        record = bytes(self._raw[:size])
        del self._raw[:size]
        return record

    # -- sending -------------------------------------------------------------------------------------------------

    def send(self, data: bytes | memoryview) -> None:
        """Send everything, blocking; `DisconnectedError` when the peer is gone."""
        with self._send_lock:
            if self._tls is not None:
                with self._tls_lock:
                    try:
                        view = memoryview(data)
                        while view:
                            view = view[self._tls.write(view) :]
                    except ssl.SSLError as exc:
                        raise DisconnectedError(f"TLS: {exc.reason or exc}") from exc
                    data = self._outgoing.read()
            self._send_raw(data)

    def _send_raw(self, data: bytes | memoryview) -> None:
        try:
            self._socket.sendall(data)
        except OSError as exc:
            raise DisconnectedError(str(exc)) from exc

    # -- TLS -----------------------------------------------------------------------------------------------------

    def start_wrapped_tls(self, context: ssl.SSLContext) -> None:
        """Shake hands inside PRELOGIN packets; afterwards records go bare."""
        tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        while not self._advance_handshake(tls):
            if answer := self._outgoing.read():
                self._send_raw(_wrap(answer))
            packet = self.receive_packet()
            if packet.type is not PacketType.PRELOGIN:
                raise MalformedError(f"{packet.type.name} packet in the middle of the TLS handshake")
            self._incoming.write(packet.payload)
        if answer := self._outgoing.read():
            self._send_raw(_wrap(answer))
        self._tls = tls

    def start_strict_tls(self, context: ssl.SSLContext) -> str | None:
        """Shake hands on the bare stream (TDS 8); the ALPN protocol agreed on."""
        tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        while not self._advance_handshake(tls):
            if answer := self._outgoing.read():
                self._send_raw(answer)
            self._incoming.write(self._take_record())
        if answer := self._outgoing.read():
            self._send_raw(answer)
        self._tls = tls
        return tls.selected_alpn_protocol()

    def stop_tls(self) -> None:
        """Go on in the clear after LOGIN7 (login-only encryption)."""
        if self._clear:
            raise MalformedError("encrypted data after LOGIN7, where encryption was agreed for the login only")
        self._tls = None

    def _advance_handshake(self, tls: ssl.SSLObject) -> bool:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as exc:
            if alert := self._outgoing.read():
                self._send_raw(alert)
            raise MalformedError(f"TLS handshake: {exc.reason or exc}") from exc
        return True

    # -- the end -------------------------------------------------------------------------------------------------

    def set_timeout(self, seconds: float | None) -> None:
        """How long one receive may wait (for clients that connect and say nothing)."""
        self._socket.settimeout(seconds)

    def wait(self, timeout_s: float) -> bool:
        """Block until the client sends or leaves, at most `timeout_s`; whether it did. For who receives."""
        if self._raw:
            return True
        return bool(select.select([self._socket], [], [], timeout_s)[0])

    def hang_up(self) -> None:
        """Wake both threads with an end of stream. Safe from any thread, idempotent."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the socket."""
        self.hang_up()
        with contextlib.suppress(OSError):
            self._socket.close()


def _wrap(data: bytes) -> bytes:
    header = bytes((PacketType.PRELOGIN, EOM)) + (len(data) + HEADER_SIZE).to_bytes(2, "big")
    return header + b"\0\0\1\0" + data
