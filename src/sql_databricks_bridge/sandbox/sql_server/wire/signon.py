"""From the first byte of a connection to a session: PRELOGIN, TLS, LOGIN7 and its answer."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from ...faults import FaultRegistry
from ..contract import DatabaseChanged, Engine, Message, ServerOptions, Session, SqlError
from . import tokens
from .channel import Channel
from .errors import MalformedError
from .hooks import Hooks
from .login import FEATURE_UTF8, TDS_8_0, Login7, parse_login7
from .packets import DEFAULT_PACKET_SIZE, MAX_PACKET_SIZE, MIN_PACKET_SIZE, MessageFramer, PacketType
from .prelogin import Encryption, answer_prelogin, negotiate, parse_prelogin
from .requestlog import RequestLog
from .response import Response, Wire
from .tls import STRICT_ALPN

_TLS_HANDSHAKE_RECORD = 0x16
_LOGIN_LIMIT_BYTES = 128 * 1024
_LOGIN_TIMEOUT_S = 60.0
_TLS_PACKET_LIMIT = 16383
"""A packet fits into one TLS record (MS-TDS 2.2.3.1.3)."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all connections of a server share. The TLS contexts are None where encryption is off."""

    engine: Engine
    options: ServerOptions
    wrapped_tls: ssl.SSLContext | None
    strict_tls: ssl.SSLContext | None
    faults: FaultRegistry
    requests: RequestLog


@dataclass(frozen=True, slots=True)
class SignedOn:
    """A session and what its login settled."""

    session: Session
    wire: Wire
    login: Login7

    def facts(self) -> dict[str, str]:
        """The facts that a fault may match on in every request of this connection."""
        request = self.login.request
        return {"login": request.username, "database": self.wire.database, "application": request.application}


def sign_on(channel: Channel, shared: Shared) -> SignedOn | None:
    """Do it all; None where the login was refused (and the client told why)."""
    channel.set_timeout(_LOGIN_TIMEOUT_S)
    strict = channel.peek() == _TLS_HANDSHAKE_RECORD
    if strict:
        _start_strict(channel, shared)
    encryption = _prelogin(channel, shared, strict)
    login = parse_login7(_receive_message(channel, PacketType.LOGIN7))
    if encryption is Encryption.OFF:
        channel.stop_tls()
    encrypted = strict or encryption in (Encryption.ON, Encryption.REQUIRED)
    wire = Wire(channel, shared.engine.server_name, DEFAULT_PACKET_SIZE)
    signed = _log_in(wire, shared, login, _packet_size(login.packet_size, shared.options, encrypted))
    channel.set_timeout(None)
    return signed


def _start_strict(channel: Channel, shared: Shared) -> None:
    if shared.strict_tls is None:
        raise MalformedError("TLS at the start of the connection, where encryption is off")
    protocol = channel.start_strict_tls(shared.strict_tls)
    if protocol not in (STRICT_ALPN, None):
        raise MalformedError(f"ALPN protocol {protocol}")


def _prelogin(channel: Channel, shared: Shared, strict: bool) -> Encryption:
    request = parse_prelogin(_receive_message(channel, PacketType.PRELOGIN))
    # Inside strict TLS there is nothing left to agree on; the option is answered and ignored.
    answer = Encryption.NOT_SUPPORTED if strict else negotiate(request.encryption, shared.options.encryption)
    framer = MessageFramer(DEFAULT_PACKET_SIZE)
    for data in framer.feed(answer_prelogin(request, shared.engine.version, answer)):
        channel.send(data)
    channel.send(framer.finish())
    if answer is not Encryption.NOT_SUPPORTED and not strict:
        assert shared.wrapped_tls is not None
        channel.start_wrapped_tls(shared.wrapped_tls)
    return answer


def _receive_message(channel: Channel, expected: PacketType) -> bytes:
    parts: list[bytes] = []
    while True:
        packet = channel.receive_packet()
        if packet.type is not expected:
            raise MalformedError(f"a {packet.type.name} packet where {expected.name} is due")
        parts.append(packet.payload)
        if sum(map(len, parts)) > _LOGIN_LIMIT_BYTES:
            raise MalformedError(f"a {expected.name} message over {_LOGIN_LIMIT_BYTES} bytes")
        if packet.last:
            return b"".join(parts)


def _packet_size(requested: int, options: ServerOptions, encrypted: bool) -> int:
    """The client's wish; where it has none but the usual 4096, this server's."""
    wanted = options.packet_size if requested in (0, DEFAULT_PACKET_SIZE) else requested
    return max(MIN_PACKET_SIZE, min(wanted, _TLS_PACKET_LIMIT if encrypted else MAX_PACKET_SIZE))


def _log_in(wire: Wire, shared: Shared, login: Login7, packet_size: int) -> SignedOn | None:
    request = login.request
    facts = {
        "kind": "login",
        "login": request.username,
        "database": request.database,
        "application": request.application,
    }
    logged = shared.requests.begin(0, facts)
    response = Response(wire)
    try:
        if (refusal := login.refusal()) is not None:
            raise refusal
        hooks = Hooks(shared.faults.check(facts), wire.channel.wait)
        hooks.before()
        session = shared.engine.login(request)
        try:
            hooks.after()
        except BaseException:
            session.close()
            raise
    except SqlError as exc:
        logged.outcome, logged.error = "error", exc.message.number
        _refuse(response, exc.message, request.username)
        return None
    except BaseException:
        logged.outcome = "dropped"
        raise
    wire.spid, wire.database, wire.utf8 = session.spid, session.database, FEATURE_UTF8 in login.features
    logged.connection, logged.outcome = session.spid, "done"
    try:
        _welcome(response, shared, session, login, packet_size)
    except BaseException:
        session.close()
        raise
    wire.packet_size = packet_size
    return SignedOn(session, wire, login)


def _refuse(response: Response, message: Message, user: str) -> None:
    response.message(message)
    if message.number == 4060:
        response.message(Message(18456, f"Login failed for user '{user}'.", severity=14))
    response.end(procedure=False)
    response.finish()


def _welcome(response: Response, shared: Shared, session: Session, login: Login7, packet_size: int) -> None:
    """The order in which SQL Server answers a login; what the engine itself has to say comes first."""
    said = {event.number for event in session.login_events if isinstance(event, Message)}
    changed = any(isinstance(event, DatabaseChanged) for event in session.login_events)
    database = session.database
    if not changed:
        response.write(tokens.database_change(DatabaseChanged(database, "master")))
    for event in session.login_events:
        response.small_event(event)
    if 5701 not in said:
        response.message(Message(5701, f"Changed database context to '{database}'.", severity=0, state=2))
    response.write(tokens.collation_change(None))
    response.write(tokens.language_change("us_english"))
    if 5703 not in said:
        response.message(Message(5703, "Changed language setting to us_english.", severity=0))
    response.write(tokens.login_ack(login.tds_version, shared.engine.version))
    response.write(tokens.packet_size_change(packet_size, DEFAULT_PACKET_SIZE))
    if login.tds_version == TDS_8_0 or login.features:
        acknowledged = {FEATURE_UTF8: b"\x01"} if FEATURE_UTF8 in login.features else {}
        response.write(tokens.feature_ack(acknowledged))
    response.end(procedure=False)
    response.finish()
