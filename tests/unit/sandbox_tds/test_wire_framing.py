"""Packets, PRELOGIN and LOGIN7 as bytes."""

from __future__ import annotations

import struct

import pytest

from sql_databricks_bridge.sandbox.sql_server.wire.bytecursor import ByteCursor
from sql_databricks_bridge.sandbox.sql_server.wire.errors import MalformedError
from sql_databricks_bridge.sandbox.sql_server.wire.login import FEATURE_UTF8, parse_login7
from sql_databricks_bridge.sandbox.sql_server.wire.packets import MessageFramer, PacketType, parse_header
from sql_databricks_bridge.sandbox.sql_server.wire.prelogin import (
    Encryption,
    answer_prelogin,
    build_prelogin,
    negotiate,
    parse_prelogin,
)
from sql_databricks_bridge.sandbox.sql_server.wire.requests import read_headers


def _unframe(stream: bytes) -> tuple[list[int], list[int], bytes]:
    """(statuses, sequence numbers, the message) of a stream of packets."""
    statuses, sequence, message = [], [], b""
    while stream:
        packet_type, status, length = parse_header(stream[:8])
        assert packet_type is PacketType.RESPONSE
        statuses.append(status)
        sequence.append(stream[6])
        message += stream[8 : 8 + length]
        stream = stream[8 + length :]
    return statuses, sequence, message


@pytest.mark.parametrize("pieces", [[0], [1], [503, 1], [504], [505], [1008, 504, 3], [5000], [100] * 50, [151_200]])
def test_any_cut_of_a_message_gives_full_packets_and_one_end(pieces: list[int]) -> None:
    """However a message is fed, its packets are full, numbered modulo 256, and only the last has EOM."""
    framer = MessageFramer(512)
    source = bytes(i % 251 for i in range(sum(pieces)))
    stream, at = b"", 0
    for size in pieces:
        stream += b"".join(bytes(p) for p in framer.feed(source[at : at + size]))
        at += size
    stream += framer.finish()
    statuses, sequence, message = _unframe(stream)
    assert message == source
    assert statuses == [0] * (len(statuses) - 1) + [1]
    assert sequence == [(i + 1) % 256 for i in range(len(sequence))]
    assert len(statuses) == max(1, -(-len(source) // 504))


def test_a_packet_shorter_than_its_header_is_malformed() -> None:
    """A length below 8 can't be read past."""
    with pytest.raises(MalformedError, match="length 7"):
        parse_header(b"\x01\x01\x00\x07\0\0\0\0")


def test_prelogin_options_come_back_as_they_were_sent() -> None:
    """The option table's offsets and lengths are read as they are written."""
    options = {0: b"\x10\0\x0f\xa0\0\0", 1: b"\1", 2: b"inst\0", 3: b"\1\2\3\4", 4: b"\1"}
    assert parse_prelogin(build_prelogin(options)).options == options


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x00", b"\x00\x00\x06\x00", b"\x00\x00\x06\x00\x09\xff", b"\x00\x00\x06\x00\x01"],
    ids=["empty", "token only", "half an entry", "past the end", "no terminator"],
)
def test_a_broken_prelogin_is_malformed(payload: bytes) -> None:
    """No offset or cut makes the parser read beyond the packet."""
    with pytest.raises(MalformedError):
        parse_prelogin(payload)


def test_the_answer_keeps_mars_off_and_names_the_version() -> None:
    """MS-TDS 2.2.6.5: version big-endian, MARS 0, federated authentication only where it was asked about."""
    answer = parse_prelogin(answer_prelogin(parse_prelogin(b"\xff"), (16, 0, 4000), Encryption.ON))
    assert answer.options == {0: b"\x10\x00\x0f\xa0\0\0", 1: b"\x01", 2: b"\0", 3: b"", 4: b"\0"}
    asked = parse_prelogin(build_prelogin({6: b"\1"}))
    assert parse_prelogin(answer_prelogin(asked, (16, 0, 4000), Encryption.ON)).options[6] == b"\0"


@pytest.mark.parametrize(
    ("server", "answers"),
    [
        ("off", [Encryption.NOT_SUPPORTED] * 4),
        ("optional", [Encryption.OFF, Encryption.ON, Encryption.NOT_SUPPORTED, Encryption.ON]),
        ("required", [Encryption.REQUIRED, Encryption.ON, Encryption.REQUIRED, Encryption.ON]),
    ],
)
def test_encryption_is_negotiated_by_the_table(server: str, answers: list[Encryption]) -> None:
    """What the server answers to a client's OFF, ON, NOT_SUP and REQ."""
    assert [negotiate(Encryption(client), server) for client in range(4)] == answers


def _login7(*, fields: dict[int, str] | None = None, extension: bytes = b"", flags2: int = 0) -> bytes:
    """A LOGIN7 message; `fields` by the offset of their entry in the fixed part."""
    fixed = bytearray(94)
    struct.pack_into("<II", fixed, 4, 0x74000004, 4096)
    fixed[25] = flags2
    data = b""
    for at, text in (fields or {}).items():
        raw = text.encode("utf-16-le")
        if at == 44:
            raw = bytes((((b << 4) & 0xF0) | (b >> 4)) ^ 0xA5 for b in raw)
        struct.pack_into("<HH", fixed, at, 94 + len(data), len(text))
        data += raw
    if extension:
        fixed[27] = 0x10
        struct.pack_into("<HH", fixed, 56, 94 + len(data), 4)
        data += (94 + len(data) + 4).to_bytes(4, "little") + extension
    struct.pack_into("<I", fixed, 0, 94 + len(data))
    return bytes(fixed) + data


def test_login7_gives_its_fields_and_the_password_in_clear() -> None:
    """User, password (any BMP character), database, application, host and features are read."""
    message = _login7(
        fields={36: "host", 40: "sa", 44: "pä$$€wörd", 48: "app", 68: "Flights"},
        extension=b"\x0a\x01\0\0\0\x01\xff",
    )
    login = parse_login7(message)
    assert login.request.username == "sa"
    assert login.request.password == "pä$$€wörd"
    assert (login.request.database, login.request.application, login.request.hostname) == ("Flights", "app", "host")
    assert login.features == {FEATURE_UTF8: b"\x01"}
    assert login.refusal() is None


@pytest.mark.parametrize(
    ("message", "number", "says"),
    [
        (_login7(flags2=0x80), 18452, "Integrated"),
        (_login7(extension=b"\x02\x01\0\0\0\x00\xff"), 18456, "federated"),
        (_login7()[:4] + (0x72090002).to_bytes(4, "little") + _login7()[8:], 18456, "TDS version 0x72090002"),
        (_login7()[:24] + b"\x01" + _login7()[25:], 18456, "big-endian"),
        (_login7()[:27] + b"\x01" + _login7()[28:], 18456, "changing the password"),
    ],
    ids=["integrated", "federated", "TDS 7.2", "big-endian", "change password"],
)
def test_a_login_that_cannot_be_served_is_refused_by_name(message: bytes, number: int, says: str) -> None:
    """Each way to log in that isn't user and password has its own error."""
    refusal = parse_login7(message).refusal()
    assert refusal is not None
    assert refusal.message.number == number
    assert says in refusal.message.text


@pytest.mark.parametrize("cut", [0, 10, 93])
def test_a_cut_login7_is_malformed(cut: int) -> None:
    """Nothing shorter than the fixed part is taken for a login."""
    with pytest.raises(MalformedError):
        parse_login7(_login7()[:cut])


def test_an_offset_outside_login7_is_malformed() -> None:
    """A field that points past the message doesn't become an empty one."""
    message = bytearray(_login7())
    struct.pack_into("<HH", message, 40, 9000, 5)
    with pytest.raises(MalformedError):
        parse_login7(bytes(message))


def test_headers_carry_the_transaction_descriptor_and_can_not_overrun() -> None:
    """ALL_HEADERS: the descriptor is read, other headers are skipped, a length past the end is malformed."""
    other = struct.pack("<IH", 10, 1) + b"abcd"
    transaction = struct.pack("<IHQI", 18, 2, 0x1122334455667788, 1)
    whole = (4 + len(other) + len(transaction)).to_bytes(4, "little") + other + transaction
    assert read_headers(ByteCursor(whole + b"x")) == 0x1122334455667788
    with pytest.raises(MalformedError):
        read_headers(ByteCursor(whole[:-1]))
    with pytest.raises(MalformedError):
        read_headers(ByteCursor(struct.pack("<IIH", 10, 2, 2)))
