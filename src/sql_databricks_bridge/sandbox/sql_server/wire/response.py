"""One response message: the engine's events become tokens, tokens become packets."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import chain, islice

import pyarrow as pa

from ..contract import (
    DatabaseChanged,
    Done,
    Event,
    Message,
    ReturnStatus,
    ReturnValue,
    RowSet,
    SqlError,
    TransactionChange,
    TransactionChanged,
)
from . import tokens
from .ahead import Ahead
from .channel import Channel
from .columns import encode_rows
from .hooks import DroppedError, Hooks
from .inbox import Inbox
from .packets import MessageFramer
from .tokens import DoneStatus
from .typeinfo import wire_type

FATAL_SEVERITY = 20
_INLINE_SLICES = 2


@dataclass(slots=True)
class Wire:
    """What a connection has agreed on, and where it stands."""

    channel: Channel
    server_name: str
    packet_size: int
    spid: int = 0
    database: str = ""
    utf8: bool = False
    transaction: int = 0


class Response:
    """Written from top to bottom, then finished. In an RPC, statements end with DONEINPROC."""

    def __init__(self, wire: Wire, inbox: Inbox | None = None) -> None:
        self._wire = wire
        self._inbox = inbox
        self._hooks: Hooks | None = None
        self._framer = MessageFramer(wire.packet_size, spid=wire.spid)
        self._limit: int | None = None
        self._pending: tuple[int, DoneStatus, str, int | None] | None = None
        self._statement_failed = False
        self._rows_failed = False
        self._call_failed = False
        self.error: int | None = None
        """The number of the last error sent."""

    def use(self, hooks: Hooks) -> None:
        """The faults for the next call of this message."""
        self._hooks = hooks
        if (limit := hooks.byte_limit) is not None:
            self._limit = limit

    def shape_load(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """A bulk load's rows with the faults among them."""
        return self._hooks.shape(batches, cut="drop_after_rows") if self._hooks else batches

    # -- tokens --------------------------------------------------------------------------------------------------

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes of whole tokens."""
        for packets in self._framer.feed(data):
            self._send(packets)

    def message(self, item: Message) -> None:
        """ERROR or INFO."""
        if item.severity > 10:
            self._statement_failed = self._call_failed = True
            self.error = item.number
        self.write(tokens.message(item, self._wire.server_name))

    def finish(self) -> None:
        """Send what is held back, as the end of the message."""
        self._send(self._framer.finish())

    def _send(self, data: bytes | memoryview) -> None:
        if self._limit is not None:
            assert self._hooks is not None
            if len(data) >= self._limit:
                self._wire.channel.send(data[: self._limit])
                self._hooks.cut()
            self._limit -= len(data)
        self._wire.channel.send(data)

    # -- events --------------------------------------------------------------------------------------------------

    def relay(self, events: Iterator[Event], *, procedure: bool, more: bool = False, no_metadata: bool = False) -> None:
        """All events of one call and its end. `more` announces another call in this message.

        `SqlError` of severity 20 and up passes through; the connection ends with it.
        """
        try:
            for event in events:
                self._event(event, procedure, no_metadata)
        except SqlError as exc:
            self.message(exc.message)
            if exc.message.severity >= FATAL_SEVERITY:
                self.end(procedure=procedure)
                raise
        self.end(procedure=procedure, more=more)

    def end(self, *, procedure: bool, more: bool = False) -> None:
        """The DONE that ends a call: the last statement's own in a batch, DONEPROC in an RPC."""
        final = DoneStatus.MORE if more else DoneStatus.FINAL
        if procedure:
            self._flush_pending()
            status = DoneStatus.ERROR if self._call_failed else DoneStatus.FINAL
            self.write(tokens.done(tokens.DONE_PROC, status | final, "EXECUTE"))
        else:
            if self._statement_failed or self._pending is None:
                self._statement_end(Done(""), procedure)
            assert self._pending is not None
            token, status, command, rows = self._pending
            self.write(tokens.done(token, status | final, command, rows))
            self._pending = None
        self._statement_failed = self._call_failed = False

    def _event(self, event: Event, procedure: bool, no_metadata: bool) -> None:
        if isinstance(event, Done):
            # A failed statement without an end of its own is ended before the next one's.
            if self._statement_failed and event.rows is not None and not self._rows_failed:
                self._statement_end(Done(""), procedure)
            self._statement_end(event, procedure)
        elif isinstance(event, RowSet):
            if self._statement_failed:
                self._statement_end(Done(""), procedure)
            self._flush_pending()
            self._rows(event, no_metadata)
        else:
            self._flush_pending()
            self.small_event(event)

    def small_event(self, event: Event) -> None:
        """An event of one token: anything but `Done` and `RowSet`."""
        if isinstance(event, Message):
            self.message(event)
        elif isinstance(event, TransactionChanged):
            begins = event.change is TransactionChange.BEGIN
            self._wire.transaction = event.descriptor if begins else 0
            self.write(tokens.transaction_change(event))
        elif isinstance(event, DatabaseChanged):
            self._wire.database = event.new
            self.write(tokens.database_change(event))
        elif isinstance(event, ReturnStatus):
            self.write(tokens.return_status(event.value))
        elif isinstance(event, ReturnValue):
            self.write(tokens.return_value(event, self._wire.database, self._wire.utf8))

    def _statement_end(self, event: Done, procedure: bool) -> None:
        self._flush_pending()
        status = DoneStatus.ERROR if self._statement_failed else DoneStatus.FINAL
        self._pending = (tokens.DONE_IN_PROC if procedure else tokens.DONE, status, event.command, event.rows)
        self._statement_failed = self._rows_failed = False

    def _flush_pending(self) -> None:
        if self._pending is not None:
            token, status, command, rows = self._pending
            self.write(tokens.done(token, status | DoneStatus.MORE, command, rows))
            self._pending = None

    # -- rows ----------------------------------------------------------------------------------------------------

    def _rows(self, event: RowSet, no_metadata: bool) -> None:
        if no_metadata:
            self.write(tokens.no_metadata())
        else:
            self.write(tokens.column_metadata(event.columns, self._wire.database, self._wire.utf8))
        slices = self._encoded(event)
        try:
            self._send_slices(slices)
        except SqlError as exc:
            if exc.message.severity >= FATAL_SEVERITY:
                raise
            self.message(exc.message)
            self._rows_failed = True
        except DroppedError:
            self._send(self._framer.flush())
            raise
        finally:
            slices.close()
            close = getattr(event.batches, "close", None)
            if close is not None:
                close()

    def _send_slices(self, slices: Iterator[memoryview]) -> None:
        # Short results don't pay for a thread.
        for data in islice(slices, _INLINE_SLICES):
            self.write(data)
        first = next(slices, None)
        if first is None:
            return
        ahead = Ahead(chain((first,), slices))
        try:
            for data in ahead:
                if self.cancelled:
                    return
                self.write(data)
        finally:
            ahead.close()

    def _encoded(self, event: RowSet) -> Generator[memoryview, None, None]:
        types = [wire_type(column.type, self._wire.utf8) for column in event.columns]
        nullable = [column.nullable for column in event.columns]
        batches = self._hooks.shape(event.batches) if self._hooks else event.batches
        for batch in batches:
            for _, data in encode_rows(batch, types, nullable):
                if self.cancelled:
                    return
                yield data

    @property
    def cancelled(self) -> bool:
        """Whether the client has asked to stop, or left."""
        return self._inbox is not None and (self._inbox.attention or self._inbox.gone)
