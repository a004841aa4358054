"""Packet framing (MS-TDS 2.2.3.1): an 8-byte header before each piece of a message."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from .errors import MalformedError

HEADER_SIZE = 8
DEFAULT_PACKET_SIZE = 4096
MIN_PACKET_SIZE = 512
MAX_PACKET_SIZE = 32767

EOM = 0x01
IGNORE = 0x02
RESET_CONNECTION = 0x08
RESET_CONNECTION_SKIP_TRANSACTION = 0x10


class PacketType(IntEnum):
    """The types of MS-TDS 2.2.3.1.1."""

    BATCH = 0x01
    OLD_LOGIN = 0x02
    RPC = 0x03
    RESPONSE = 0x04
    ATTENTION = 0x06
    BULK_LOAD = 0x07
    FEDERATED_TOKEN = 0x08
    TRANSACTION = 0x0E
    LOGIN7 = 0x10
    SSPI = 0x11
    PRELOGIN = 0x12


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet without its header."""

    type: PacketType
    status: int
    payload: bytes

    @property
    def last(self) -> bool:
        """Whether it ends its message."""
        return bool(self.status & EOM)


def parse_header(header: bytes | bytearray) -> tuple[PacketType, int, int]:
    """(type, status, payload length) of an 8-byte header."""
    length = int.from_bytes(header[2:4], "big")
    if length < HEADER_SIZE:
        raise MalformedError(f"packet length {length} is shorter than its own header")
    try:
        return PacketType(header[0]), header[1], length - HEADER_SIZE
    except ValueError:
        raise MalformedError(f"unknown packet type 0x{header[0]:02X}") from None


class MessageFramer:
    """Cuts one message, whose length isn't known beforehand, into packets.

    Bytes are held back until they fill a packet, so that the last one can carry EOM.
    """

    def __init__(self, packet_size: int, packet_type: PacketType = PacketType.RESPONSE, spid: int = 0) -> None:
        self._body = packet_size - HEADER_SIZE
        self._type = packet_type
        self._spid = spid
        self._sequence = 1
        self._held = bytearray()

    def feed(self, data: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """Take `data`; yield whole packets, many to a buffer, leaving at least one byte for `finish`."""
        held = self._held
        if len(held) + len(data) <= self._body:
            held += data
            return
        view = memoryview(data).cast("B") if not isinstance(data, bytes) else memoryview(data)
        if held:
            missing = self._body - len(held)
            held += view[:missing]
            view = view[missing:]
            yield self._packets(memoryview(bytes(held)), 1)
            held.clear()
        count = (len(view) - 1) // self._body if len(view) else 0
        if count > 0:
            yield self._packets(view[: count * self._body], count)
        held += view[max(count, 0) * self._body :]

    def flush(self) -> bytes:
        """What is held back as a short packet, the message going on."""
        return self._short(0) if self._held else b""

    def finish(self) -> bytes:
        """The last packet, with EOM."""
        return self._short(EOM)

    def _short(self, status: int) -> bytes:
        data = self._header(len(self._held), status) + bytes(self._held)
        self._held.clear()
        return data

    def _header(self, length: int, status: int) -> bytes:
        header = bytes((self._type, status)) + (length + HEADER_SIZE).to_bytes(2, "big")
        header += self._spid.to_bytes(2, "big") + bytes((self._sequence & 0xFF, 0))
        self._sequence += 1
        return header

    def _packets(self, body: memoryview, count: int) -> memoryview:
        out = np.empty((count, self._body + HEADER_SIZE), np.uint8)
        out[:, :HEADER_SIZE] = np.frombuffer(self._header(self._body, 0), np.uint8)
        out[:, 6] = np.arange(self._sequence - 1, self._sequence - 1 + count, dtype=np.int64).astype(np.uint8)
        self._sequence += count - 1
        out[:, HEADER_SIZE:] = np.frombuffer(body, np.uint8).reshape(count, self._body)
        return memoryview(out.reshape(-1).data)
