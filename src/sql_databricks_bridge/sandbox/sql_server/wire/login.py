"""LOGIN7 (MS-TDS 2.2.6.4): who is calling, and what this server refuses to log in."""

from __future__ import annotations

from dataclasses import dataclass

from ..contract import LoginRequest, Message, SqlError
from .bytecursor import ByteCursor
from .errors import MalformedError

TDS_7_3 = 0x730A0003
TDS_7_4 = 0x74000004
TDS_8_0 = 0x08000000

FEATURE_FEDAUTH = 0x02
FEATURE_UTF8 = 0x0A
_FEATURE_END = 0xFF

_FLAG1_BIG_ENDIAN = 0x01
_FLAG1_EBCDIC = 0x02
_FLAG1_FOREIGN_FLOATS = 0x0C
_FLAG2_INTEGRATED = 0x80
_TYPE_READ_ONLY_INTENT = 0x20
_FLAG3_CHANGE_PASSWORD = 0x01
_FLAG3_EXTENSION = 0x10

_FIXED_SIZE = 94


@dataclass(frozen=True, slots=True)
class Login7:
    """What matters of a LOGIN7 message; `packet_size` is 0 where the client leaves it to the server."""

    request: LoginRequest
    tds_version: int
    packet_size: int
    features: dict[int, bytes]
    integrated: bool
    change_password: bool
    foreign_formats: bool

    def refusal(self) -> SqlError | None:
        """Why this server can't log this client in, apart from its user and password."""
        user = self.request.username
        if not (TDS_7_3 <= self.tds_version <= TDS_7_4 or self.tds_version == TDS_8_0):
            return _error(18456, f"Login failed: TDS version 0x{self.tds_version:08X} is not supported by this server.")
        if self.foreign_formats:
            return _error(18456, "Login failed: big-endian, EBCDIC and VAX/ND5000 clients are not supported.")
        if self.integrated:
            return _error(
                18452,
                "Login failed. The login is from an untrusted domain and cannot be used with "
                "Integrated authentication.",
            )
        if FEATURE_FEDAUTH in self.features:
            return _error(18456, f"Login failed for user '{user}': federated authentication is not supported.")
        if self.change_password:
            return _error(18456, f"Login failed for user '{user}': changing the password at login is not supported.")
        return None


def parse_login7(payload: bytes) -> Login7:
    """Read a whole LOGIN7 message; `MalformedError` where an offset leaves it."""
    if len(payload) < _FIXED_SIZE:
        raise MalformedError(f"LOGIN7 of {len(payload)} bytes is shorter than its fixed part")
    cursor = ByteCursor(payload)
    length = cursor.u32()
    if length > len(payload):
        raise MalformedError(f"LOGIN7 says {length} bytes and has {len(payload)}")
    tds_version, packet_size = cursor.u32(), cursor.u32()
    flags1, flags2, type_flags, flags3 = payload[24:28]
    fields = _Fields(payload)
    request = LoginRequest(
        hostname=fields.text(36),
        username=fields.text(40),
        password=_reveal(fields.raw(44)),
        application=fields.text(48),
        language=fields.text(64),
        database=fields.text(68),
        read_only_intent=bool(type_flags & _TYPE_READ_ONLY_INTENT),
    )
    return Login7(
        request=request,
        tds_version=tds_version,
        packet_size=packet_size,
        features=_features(payload, fields.entry(56)) if flags3 & _FLAG3_EXTENSION else {},
        integrated=bool(flags2 & _FLAG2_INTEGRATED),
        change_password=bool(flags3 & _FLAG3_CHANGE_PASSWORD),
        foreign_formats=bool(flags1 & (_FLAG1_BIG_ENDIAN | _FLAG1_EBCDIC | _FLAG1_FOREIGN_FLOATS)),
    )


class _Fields:
    """The (offset, length in code units) pairs of the fixed part."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload

    def entry(self, at: int) -> tuple[int, int]:
        return (
            int.from_bytes(self._payload[at : at + 2], "little"),
            int.from_bytes(self._payload[at + 2 : at + 4], "little"),
        )

    def raw(self, at: int) -> bytes:
        offset, units = self.entry(at)
        return ByteCursor(self._payload, min(offset, len(self._payload))).take(units * 2) if units else b""

    def text(self, at: int) -> str:
        raw = self.raw(at)
        return ByteCursor(raw).utf16(len(raw) // 2)


def _reveal(raw: bytes) -> str:
    """Undo the password's obfuscation: each byte XOR 0xA5, then its nibbles swapped."""
    clear = bytes(((byte ^ 0xA5) << 4 & 0xF0) | ((byte ^ 0xA5) >> 4) for byte in raw)
    return ByteCursor(clear).utf16(len(clear) // 2)


def _features(payload: bytes, entry: tuple[int, int]) -> dict[int, bytes]:
    """FeatureExt: the extension entry points at a DWORD that holds the offset of the list."""
    offset, length = entry
    if length < 4:
        return {}
    cursor = ByteCursor(payload, min(offset, len(payload)))
    cursor = ByteCursor(payload, min(cursor.u32(), len(payload)))
    features: dict[int, bytes] = {}
    while (feature := cursor.u8()) != _FEATURE_END:
        features[feature] = cursor.take(cursor.u32())
    return features


def _error(number: int, text: str) -> SqlError:
    return SqlError(Message(number, text, severity=14))
