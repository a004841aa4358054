"""One client's connection, from its first byte to its last."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pyarrow as pa

from ..contract import (
    BeginTransaction,
    CommitTransaction,
    DatabaseChanged,
    Event,
    Message,
    RollbackTransaction,
    RowSet,
    RpcCall,
    SqlError,
    TransactionChange,
    TransactionChanged,
    TransactionRequest,
)
from . import tokens
from .ahead import Ahead
from .bulk import read_bulk_load
from .bytecursor import ByteCursor
from .channel import Channel
from .errors import AttentionError, DisconnectedError, MalformedError, WireError
from .hooks import DroppedError, Hooks
from .inbox import IgnoredError, Inbox, Request
from .packets import IGNORE, RESET_CONNECTION, RESET_CONNECTION_SKIP_TRANSACTION, PacketType
from .requestlog import Logged
from .requests import read_batch, read_headers, read_transaction_request
from .response import FATAL_SEVERITY, Response
from .rpc import read_calls
from .signon import Shared, SignedOn, sign_on
from .tokens import DoneStatus

log = logging.getLogger(__name__)

_DECODED_AHEAD = 2
"""Batches of a bulk load, of about a megabyte each, that may wait for the engine."""

_STREAM_BROKEN = (
    "The incoming tabular data stream (TDS) protocol stream is incorrect. The stream ended unexpectedly. ({})"
)


class Connection:
    """`run` serves it in the calling thread; `stop`, from any thread, ends that."""

    def __init__(self, sock: socket.socket, shared: Shared) -> None:
        self._channel = Channel(sock)
        self._shared = shared

    def stop(self) -> None:
        """Hang up."""
        self._channel.hang_up()

    def run(self) -> None:
        """Serve until either side hangs up. Never raises."""
        try:
            signed_on = sign_on(self._channel, self._shared)
            if signed_on is not None:
                _Conversation(signed_on, self._shared).run()
        except (WireError, DroppedError) as exc:
            log.info("connection ended: %s", str(exc) or "cut by a fault")
        except Exception:
            log.exception("connection failed")
        finally:
            self._channel.close()


class _Conversation:
    """Requests and answers of a connection that is logged in."""

    def __init__(self, signed_on: SignedOn, shared: Shared) -> None:
        self._session = signed_on.session
        self._wire = signed_on.wire
        self._channel = signed_on.wire.channel
        self._signed_on = signed_on
        self._shared = shared
        self._inbox = Inbox(self._session.cancel)
        self._bulk_cancelled = False
        self._logged: Logged | None = None
        self._reader = threading.Thread(target=self._read, name=f"tds-read-{self._session.spid}", daemon=True)

    def run(self) -> None:
        self._reader.start()
        try:
            while True:
                self._next()
        except SqlError as exc:
            log.info("session %d ended by error %d", self._session.spid, exc.message.number)
        finally:
            self._channel.hang_up()
            self._reader.join()
            self._session.close()

    def _read(self) -> None:
        """In a thread of its own, so that an attention is seen while an answer is being made and sent."""
        failure: WireError = DisconnectedError("the reader ended")
        try:
            while True:
                self._inbox.put(*self._channel.receive_packets())
        except WireError as exc:
            failure = exc
        except Exception:
            log.exception("reader failed")
        finally:
            self._inbox.fail(failure)
            # Whatever runs, runs for nobody.
            self._session.cancel()

    def _next(self) -> None:
        try:
            request = self._inbox.next_request()
            if request.status & IGNORE:
                raise IgnoredError
        except IgnoredError:
            self._answer_plain(DoneStatus.FINAL)
        except AttentionError:
            self._answer_plain(DoneStatus.ATTENTION)
        except MalformedError as exc:
            self._answer_malformed(Response(self._wire), exc)
        else:
            self._handle(request)

    def _answer_plain(self, status: DoneStatus) -> None:
        response = Response(self._wire)
        response.write(tokens.done(tokens.DONE, status))
        response.finish()

    def _answer_malformed(self, response: Response, exc: MalformedError) -> None:
        """Say what was wrong, then hang up, as SQL Server does."""
        with contextlib.suppress(DisconnectedError):
            response.message(Message(4002, _STREAM_BROKEN.format(exc)))
            response.end(procedure=False)
            response.finish()
        raise exc

    # -- one request ---------------------------------------------------------------------------------------------

    def _handle(self, request: Request) -> None:
        handlers: dict[PacketType, Callable[[Response, Request], Response]] = {
            PacketType.BATCH: self._batch,
            PacketType.RPC: self._rpc,
            PacketType.TRANSACTION: self._transaction,
            PacketType.BULK_LOAD: self._bulk_load,
        }
        response = Response(self._wire, self._inbox)
        handler = handlers.get(request.type)
        if handler is None:
            self._answer_malformed(response, MalformedError(f"a {request.type.name} packet after the login"))
            return
        try:
            if request.status & (RESET_CONNECTION | RESET_CONNECTION_SKIP_TRANSACTION):
                self._reset(response, keep_transaction=bool(request.status & RESET_CONNECTION_SKIP_TRANSACTION))
            response = handler(response, request)
            response.finish()
        except MalformedError as exc:
            self._answer_malformed(response, exc)
        except SqlError:
            # Severity 20 and up: the answer is written; it is the last one.
            response.finish()
            raise
        except (WireError, DroppedError):
            # Short answers are sent only now.
            if self._logged is not None:
                self._logged.outcome = "dropped"
            raise
        except Exception as exc:
            log.exception("session %d: internal error", self._session.spid)
            text = f"A system assertion check has failed in the SQL Server stand-in: {type(exc).__name__}: {exc}"
            response.message(Message(3624, text, FATAL_SEVERITY))
            response.end(procedure=False)
            response.finish()
            raise
        if self._inbox.take_attention() or self._bulk_cancelled:
            self._bulk_cancelled = False
            # Always a message of its own: the cancelled answer has been ended in order.
            self._answer_plain(DoneStatus.ATTENTION)

    def _reset(self, response: Response, keep_transaction: bool) -> None:
        if keep_transaction and self._wire.transaction:
            response.message(
                Message(50001, "RESETCONNECTIONSKIPTRAN inside a transaction is not supported.", FATAL_SEVERITY)
            )
            response.end(procedure=False)
            raise SqlError(Message(50001, "RESETCONNECTIONSKIPTRAN inside a transaction", FATAL_SEVERITY))
        self._session.reset()
        if self._wire.transaction:
            response.small_event(TransactionChanged(TransactionChange.ROLLBACK, self._wire.transaction))
        if self._wire.database != self._session.database:
            response.small_event(DatabaseChanged(self._session.database, self._wire.database))
        response.write(tokens.reset_acknowledged())

    def _batch(self, response: Response, request: Request) -> Response:
        cursor = ByteCursor(request.payload)
        descriptor = read_headers(cursor)
        sql = read_batch(cursor)
        facts = {"kind": "batch", "statement": sql}
        return self._run(response, facts, descriptor, lambda: self._session.batch(sql), procedure=False)

    def _rpc(self, response: Response, request: Request) -> Response:
        cursor = ByteCursor(request.payload)
        descriptor = read_headers(cursor)
        try:
            calls = list(read_calls(cursor))
        except SqlError as exc:
            response.message(exc.message)
            response.end(procedure=True)
            return response
        for number, call in enumerate(calls):
            facts = {"kind": "rpc", "procedure": call.procedure, "statement": _statement_of(call)}
            response = self._run(
                response,
                facts,
                descriptor,
                lambda call=call: self._session.rpc(call),  # type: ignore[misc]
                procedure=True,
                more=number + 1 < len(calls),
                # A client asks for none when it prepares anew too, though its parameters' types, and so the columns',
                # may have changed: only a prepared statement's columns are known to it (MS-TDS 2.2.6.6, fNoMetaData).
                no_metadata=call.no_metadata and call.procedure.lower() == "sp_execute",
            )
            if response.cancelled:
                break
            descriptor = self._wire.transaction
        return response

    def _transaction(self, response: Response, request: Request) -> Response:
        cursor = ByteCursor(request.payload)
        descriptor = read_headers(cursor)
        try:
            asked = read_transaction_request(cursor)
        except SqlError as exc:
            response.message(exc.message)
            response.end(procedure=False)
            return response
        facts = {"kind": "transaction", "statement": _name_of(asked)}
        return self._run(response, facts, descriptor, lambda: self._session.transaction(asked), procedure=False)

    def _bulk_load(self, response: Response, request: Request) -> Response:  # noqa: ARG002 (its packets come one by one)
        facts = {"kind": "bulk", "statement": "BULK LOAD", "table": self._session.bulk_table}
        payloads = self._bulk_payloads()
        ahead: list[Ahead[pa.RecordBatch]] = []

        def start() -> Iterator[Event]:
            load = read_bulk_load(payloads)
            # Decoding goes on while the engine writes.
            ahead.append(Ahead(load.batches, _DECODED_AHEAD, name="tds-decode"))
            return self._session.bulk_load(replace(load, batches=response.shape_load(iter(ahead[0]))))

        try:
            return self._run(response, facts, self._wire.transaction, start, procedure=False)
        except DroppedError:
            self._channel.hang_up()  # in the middle of what the client is sending
            raise
        finally:
            for each in ahead:
                each.close()
            if self._bulk_cancelled and self._logged is not None:
                self._logged.outcome = "cancelled"
            # Clients send to the end whatever became of the load.
            with contextlib.suppress(SqlError, WireError):  # who has left is met at the next request
                for _ in payloads:
                    pass

    def _bulk_payloads(self) -> Iterator[bytes]:
        """To the engine, a load that the client takes back is one that fails."""
        try:
            yield from self._inbox.payloads()
        except AttentionError as exc:
            self._bulk_cancelled = not isinstance(exc, IgnoredError)
            raise SqlError(Message(3617, "The bulk load was cancelled by the client.", 11)) from exc

    def _run(
        self,
        response: Response,
        facts: dict[str, str],
        descriptor: int,
        start: Callable[[], Iterator[Event]],
        *,
        procedure: bool,
        more: bool = False,
        no_metadata: bool = False,
    ) -> Response:
        """Log one call, let the faults at it, run it, relay its events."""
        facts |= self._signed_on.facts()
        self._logged = logged = self._shared.requests.begin(self._session.spid, facts)
        hooks = Hooks(self._shared.faults.check(facts), self._inbox.wait_for_attention)
        response.use(hooks)
        try:
            self._check_descriptor(descriptor)
            hooks.before()
            if response.cancelled:
                response.end(procedure=procedure, more=more)
            else:
                events = start()
                if self._inbox.attention or self._inbox.gone:
                    # It came after the check and before the engine began: tell it again.
                    self._session.cancel()
                if hooks.withholds_answer:
                    events = _complete(events)
                    hooks.after()
                response.relay(events, procedure=procedure, more=more, no_metadata=no_metadata)
        except SqlError as exc:
            self._conclude(logged, response, exc.message)
            if exc.message.severity >= FATAL_SEVERITY:
                raise
            response.message(exc.message)
            response.end(procedure=procedure, more=more)
            return response
        except BaseException:
            logged.outcome = "dropped"
            raise
        self._conclude(logged, response)
        return response

    def _conclude(self, logged: Logged, response: Response, message: Message | None = None) -> None:
        logged.error = message.number if message else response.error
        if self._inbox.gone:
            logged.outcome = "dropped"
        elif response.cancelled:
            logged.outcome = "cancelled"
        else:
            logged.outcome = "error" if logged.error else "done"

    def _check_descriptor(self, descriptor: int) -> None:
        """Without MARS a request must name the transaction that the session is in."""
        current = self._wire.transaction
        if descriptor == current:
            return
        if descriptor:
            text = f"The server failed to resume the transaction. Desc:{descriptor:x}."
            raise SqlError(Message(3971, text))
        text = "New request is not allowed to start because it should come with valid transaction descriptor."
        raise SqlError(Message(3989, text))


def _complete(events: Iterator[Event]) -> Iterator[Event]:
    """Run to the end, keeping the answer."""
    return iter(
        [replace(event, batches=iter(list(event.batches))) if isinstance(event, RowSet) else event for event in events]
    )


_STATEMENT_AT = {"sp_executesql": 0, "sp_prepexec": 2, "sp_prepare": 2, "sp_cursoropen": 1, "sp_cursorprepexec": 3}


def _statement_of(call: RpcCall) -> str:
    at = _STATEMENT_AT.get(call.procedure.lower(), -1)
    if 0 <= at < len(call.parameters):
        value = call.parameters[at].value[0].as_py()
        return value if isinstance(value, str) else ""
    return ""


def _name_of(request: TransactionRequest) -> str:
    if isinstance(request, BeginTransaction):
        return "BEGIN TRANSACTION"
    if isinstance(request, CommitTransaction):
        return "COMMIT TRANSACTION"
    return "ROLLBACK TRANSACTION" if isinstance(request, RollbackTransaction) else "SAVE TRANSACTION"
