"""What has arrived and isn't read yet: packets in order, and attentions the moment they come.

A reader thread fills it, the connection's thread empties it. Bounded: with too much waiting, the reader stops reading
the socket, and TCP makes the client wait.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .errors import AttentionError, MalformedError, WireError
from .packets import IGNORE, Packet, PacketType

_LIMIT_BYTES = 1024 * 1024
MESSAGE_LIMIT_BYTES = 256 * 1024 * 1024
"""A request that isn't streamed may be this big; a larger one ends the connection."""


class IgnoredError(AttentionError):
    """The client ended its message with the IGNORE bit: it is thrown away and answered with a plain DONE."""


@dataclass(frozen=True, slots=True)
class Request:
    """A whole message, or, for a bulk load, the start of one whose `packets` come as they arrive."""

    type: PacketType
    status: int
    payload: bytes


class Inbox:
    """See the module."""

    def __init__(self, on_attention: Callable[[], None]) -> None:
        self._on_attention = on_attention
        self._items: deque[Packet] = deque()
        self._size = 0
        self._attention = False
        self._failure: WireError | None = None
        self._changed = threading.Condition()

    # -- the reader's side ---------------------------------------------------------------------------------------

    def put(self, *packets: Packet) -> None:
        """Add packets, waiting for room; an attention also calls `on_attention` at once."""
        attention = any(packet.type is PacketType.ATTENTION for packet in packets)
        with self._changed:
            while self._size > _LIMIT_BYTES and self._failure is None and not attention:
                self._changed.wait()
            self._items.extend(packets)
            self._size += sum(len(packet.payload) for packet in packets)
            self._attention = self._attention or attention
            self._changed.notify_all()
        if attention:
            self._on_attention()

    def fail(self, failure: WireError) -> None:
        """The stream has ended: what waits can still be read, then `failure` is raised."""
        with self._changed:
            self._failure = self._failure or failure
            self._changed.notify_all()

    # -- the connection's side -----------------------------------------------------------------------------------

    @property
    def attention(self) -> bool:
        """Whether an attention waits for its answer."""
        return self._attention

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self._failure is not None

    def wait_for_attention(self, timeout_s: float) -> bool:
        """Block until the client cancels or leaves, at most `timeout_s`; whether it did."""
        with self._changed:
            return self._changed.wait_for(lambda: self._attention or self._failure is not None, timeout_s)

    def next_request(self) -> Request:
        """The next message. `AttentionError` where the client cancels before it was whole or run."""
        first = self._get()
        if first.type is PacketType.ATTENTION:
            self._answered()
            raise AttentionError
        if first.type is PacketType.BULK_LOAD:
            with self._changed:
                self._put_back(first)
            return Request(first.type, first.status, b"")
        if first.last:
            return Request(first.type, first.status, first.payload)
        parts, size = [first.payload], len(first.payload)
        for packet in self._rest(first.type):
            size += len(packet.payload)
            if size > MESSAGE_LIMIT_BYTES:
                raise MalformedError(f"a {first.type.name} message is over {MESSAGE_LIMIT_BYTES} bytes")
            parts.append(packet.payload)
            status = packet.status
        return Request(first.type, first.status | (status & IGNORE), b"".join(parts))

    def payloads(self) -> Iterator[bytes]:
        """The pieces of a streamed message, to its end. `AttentionError` where the client takes it back."""
        ended = False
        while not ended:
            packets = self._get_run(PacketType.BULK_LOAD)
            if any(packet.status & IGNORE for packet in packets):
                raise IgnoredError
            ended = packets[-1].last
            yield b"".join([packet.payload for packet in packets])

    def take_attention(self) -> bool:
        """Whether an attention waited; it is answered with this call."""
        with self._changed:
            if not self._attention:
                return False
            # No request may lie before it: clients send none until the answer.
            while self._items and self._items[0].type is not PacketType.ATTENTION:
                self._size -= len(self._items.popleft().payload)
            self._items.popleft()
            self._recount()
            self._changed.notify_all()
            return True

    def _get_run(self, expected: PacketType) -> list[Packet]:
        """All packets of a message that are there, one at least."""
        run = [self._check(self._get(), expected)]
        with self._changed:
            while not run[-1].last and self._items and self._items[0].type is expected:
                run.append(self._items.popleft())
                self._size -= len(run[-1].payload)
            self._changed.notify_all()
        return run

    def _rest(self, expected: PacketType) -> Iterator[Packet]:
        while True:
            packet = self._check(self._get(), expected)
            yield packet
            if packet.last:
                return

    def _check(self, packet: Packet, expected: PacketType) -> Packet:
        if packet.type is PacketType.ATTENTION:
            self._answered()
            raise AttentionError
        if packet.type is not expected:
            raise MalformedError(f"a {packet.type.name} packet inside a {expected.name} message")
        return packet

    def _get(self) -> Packet:
        with self._changed:
            while not self._items:
                if self._failure is not None:
                    raise self._failure
                self._changed.wait()
            packet = self._items.popleft()
            self._size -= len(packet.payload)
            self._changed.notify_all()
            return packet

    def _put_back(self, packet: Packet) -> None:
        self._items.appendleft(packet)
        self._size += len(packet.payload)

    def _answered(self) -> None:
        with self._changed:
            self._recount()

    def _recount(self) -> None:
        self._attention = any(item.type is PacketType.ATTENTION for item in self._items)
