"""PRELOGIN (MS-TDS 2.2.6.5): version, encryption and the options that this server leaves off."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from .errors import MalformedError

_TERMINATOR = 0xFF


class Option(IntEnum):
    """PL_OPTION_TOKEN."""

    VERSION = 0
    ENCRYPTION = 1
    INSTANCE = 2
    THREAD_ID = 3
    MARS = 4
    TRACE_ID = 5
    FEDAUTH_REQUIRED = 6
    NONCE = 7


class Encryption(IntEnum):
    """B_FENCRYPTION."""

    OFF = 0
    ON = 1
    NOT_SUPPORTED = 2
    REQUIRED = 3


@dataclass(frozen=True, slots=True)
class Prelogin:
    """The options of one side, by token."""

    options: dict[int, bytes] = field(default_factory=dict)

    @property
    def encryption(self) -> Encryption:
        """What the client asks for; absent means not supported (clients before TDS 7.1, and TDS 8)."""
        raw = self.options.get(Option.ENCRYPTION, b"\x02")
        # 0x80 offers a client certificate, which this server never asks for.
        try:
            return Encryption(raw[0] & 0x7F)
        except (IndexError, ValueError):
            raise MalformedError(f"PRELOGIN encryption {raw!r}") from None


def parse_prelogin(payload: bytes) -> Prelogin:
    """Read the option table and the data it points at."""
    options: dict[int, bytes] = {}
    position = 0
    while True:
        if position >= len(payload):
            raise MalformedError("PRELOGIN has no terminator")
        token = payload[position]
        if token == _TERMINATOR:
            return Prelogin(options)
        entry = payload[position + 1 : position + 5]
        if len(entry) < 4:
            raise MalformedError("PRELOGIN option table is cut")
        offset, length = int.from_bytes(entry[:2], "big"), int.from_bytes(entry[2:], "big")
        if offset + length > len(payload):
            raise MalformedError(f"PRELOGIN option {token} points past its packet")
        options[token] = payload[offset : offset + length]
        position += 5


def build_prelogin(options: dict[int, bytes]) -> bytes:
    """The packet body for `options`."""
    offset = len(options) * 5 + 1
    table, data = bytearray(), bytearray()
    for token, value in options.items():
        table += bytes((token,)) + (offset + len(data)).to_bytes(2, "big") + len(value).to_bytes(2, "big")
        data += value
    return bytes(table) + bytes((_TERMINATOR,)) + bytes(data)


def answer_prelogin(request: Prelogin, version: tuple[int, int, int], encryption: Encryption) -> bytes:
    """The server's PRELOGIN: MARS off, no federated authentication, the instance taken as matching."""
    major, minor, build = version
    options = {
        int(Option.VERSION): bytes((major, minor)) + build.to_bytes(2, "big") + b"\0\0",
        int(Option.ENCRYPTION): bytes((encryption,)),
        int(Option.INSTANCE): b"\0",
        int(Option.THREAD_ID): b"",
        int(Option.MARS): b"\0",
    }
    if Option.FEDAUTH_REQUIRED in request.options:
        options[int(Option.FEDAUTH_REQUIRED)] = b"\0"
    return build_prelogin(options)


def negotiate(client: Encryption, server: str) -> Encryption:
    """What the server answers; `server` is `ServerOptions.encryption` (table of MS-TDS 2.2.6.5).

    OFF means that only LOGIN7 is encrypted. A client that can't live with the answer hangs up.
    """
    if server == "off":
        return Encryption.NOT_SUPPORTED
    if server == "required":
        return Encryption.ON if client in (Encryption.ON, Encryption.REQUIRED) else Encryption.REQUIRED
    if client in (Encryption.ON, Encryption.REQUIRED):
        return Encryption.ON
    return client
