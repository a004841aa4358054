"""The control tokens of a response (MS-TDS 2.2.7), as bytes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntFlag

from ..contract import Collation, Column, DatabaseChanged, Message, ReturnValue, TransactionChange, TransactionChanged
from .collations import pack_collation
from .columns import column_parts
from .rows import join_rows
from .typeinfo import TIMESTAMP_USER_TYPE, encode_type_info, wire_type

_LONGEST_MESSAGE = 4000
"""Code units of an error text; a token's length is 16 bits for everything in it."""


class DoneStatus(IntFlag):
    """Status bits of DONE, DONEINPROC and DONEPROC."""

    FINAL = 0
    MORE = 0x01
    ERROR = 0x02
    COUNT = 0x10
    ATTENTION = 0x20
    SERVER_ERROR = 0x100


DONE = 0xFD
DONE_PROC = 0xFE
DONE_IN_PROC = 0xFF

_COMMANDS = {
    "SELECT": 0xC1,
    "SELECT INTO": 0xC2,
    "INSERT": 0xC3,
    "DELETE": 0xC4,
    "UPDATE": 0xC5,
    "CREATE TABLE": 0xC6,
    "DROP TABLE": 0xC7,
    "CREATE INDEX": 0xC8,
    "DROP INDEX": 0xC9,
    "BEGIN TRANSACTION": 0xD4,
    "COMMIT TRANSACTION": 0xD5,
    "ROLLBACK TRANSACTION": 0xD2,
    "EXECUTE": 0xE0,
    "BULK INSERT": 0xF0,
    "INSERT BULK": 0xF0,
    "MERGE": 0x117,
}


def done(token: int, status: DoneStatus, command: str = "", rows: int | None = None) -> bytes:
    """DONE and its two siblings; `rows` sets the COUNT bit."""
    if rows is not None:
        status |= DoneStatus.COUNT
    return struct.pack("<BHHQ", token, status, _COMMANDS.get(command, 0), rows or 0)


def message(item: Message, server: str) -> bytes:
    """ERROR (severity 11 and up) or INFO."""
    token = 0xAA if item.severity > 10 else 0xAB
    body = struct.pack("<iBB", item.number, item.state & 0xFF, item.severity)
    body += us_varchar(item.text, _LONGEST_MESSAGE) + b_varchar(server) + b_varchar(item.procedure)
    body += struct.pack("<i", item.line)
    return bytes((token,)) + len(body).to_bytes(2, "little") + body


def env_change(kind: int, new: bytes, old: bytes) -> bytes:
    """ENVCHANGE with both values already counted (B_VARCHAR, B_VARBYTE)."""
    body = bytes((kind,)) + new + old
    return b"\xe3" + len(body).to_bytes(2, "little") + body


def database_change(event: DatabaseChanged) -> bytes:
    """ENVCHANGE 1."""
    return env_change(1, b_varchar(event.new), b_varchar(event.old))


def language_change(new: str, old: str = "") -> bytes:
    """ENVCHANGE 2."""
    return env_change(2, b_varchar(new), b_varchar(old))


def packet_size_change(new: int, old: int) -> bytes:
    """ENVCHANGE 4."""
    return env_change(4, b_varchar(str(new)), b_varchar(str(old)))


def collation_change(collation: Collation | None) -> bytes:
    """ENVCHANGE 7."""
    return env_change(7, b_varbyte(pack_collation(collation)), b"\0")


def transaction_change(event: TransactionChanged) -> bytes:
    """ENVCHANGE 8, 9, 10: a new descriptor, or the old one gone."""
    descriptor = b_varbyte(event.descriptor.to_bytes(8, "little"))
    if event.change is TransactionChange.BEGIN:
        return env_change(event.change.value, descriptor, b"\0")
    return env_change(event.change.value, b"\0", descriptor)


def reset_acknowledged() -> bytes:
    """ENVCHANGE 18: the connection was reset before this request."""
    return env_change(18, b"\0", b"\0")


def login_ack(tds_version: int, version: tuple[int, int, int]) -> bytes:
    """LOGINACK; the TDS version goes in big-endian order here, unlike in LOGIN7."""
    major, minor, build = version
    body = b"\x01" + tds_version.to_bytes(4, "big") + b_varchar("Microsoft SQL Server")
    body += bytes((major, minor)) + build.to_bytes(2, "big")
    return b"\xad" + len(body).to_bytes(2, "little") + body


def feature_ack(features: dict[int, bytes]) -> bytes:
    """FEATUREEXTACK."""
    items = b"".join(bytes((f,)) + len(data).to_bytes(4, "little") + data for f, data in features.items())
    return b"\xae" + items + b"\xff"


def return_status(value: int) -> bytes:
    """RETURNSTATUS."""
    return b"\x79" + struct.pack("<i", value)


def return_value(event: ReturnValue, database: str, utf8: bool) -> bytes:
    """RETURNVALUE: an OUTPUT parameter with its type and value."""
    sql_type = wire_type(event.type, utf8)
    user_type = TIMESTAMP_USER_TYPE if sql_type.name == "timestamp" else 0
    head = b"\xac" + event.ordinal.to_bytes(2, "little") + b_varchar(event.name)
    head += struct.pack("<BIH", 1, user_type, 1) + encode_type_info(sql_type, True, database)
    # A row of one column, less its ROW token.
    return head + bytes(join_rows(1, column_parts(event.value, sql_type, nullable=True))[1:])


def column_metadata(columns: Sequence[Column], database: str, utf8: bool) -> bytes:
    """COLMETADATA."""
    out = bytearray(b"\x81") + len(columns).to_bytes(2, "little")
    for column in columns:
        sql_type = wire_type(column.type, utf8)
        user_type = TIMESTAMP_USER_TYPE if sql_type.name == "timestamp" else 0
        out += struct.pack("<IH", user_type, _flags(column, sql_type.name))
        out += encode_type_info(sql_type, column.nullable, database)
        if sql_type.name in ("text", "ntext", "image"):
            out += b"\0"  # no table name
        out += b_varchar(column.name)
    return bytes(out)


def no_metadata() -> bytes:
    """COLMETADATA of a result whose columns the client knows already."""
    return b"\x81\xff\xff"


_NULLABLE = 0x0001
_UPDATABLE_UNKNOWN = 0x0008
_IDENTITY = 0x0010
_COMPUTED = 0x0020


def _flags(column: Column, name: str) -> int:
    flags = _NULLABLE if column.nullable else 0
    if column.identity:
        flags |= _IDENTITY
    if column.computed:
        flags |= _COMPUTED
    if not (column.identity or column.computed or name == "timestamp"):
        flags |= _UPDATABLE_UNKNOWN
    return flags


def b_varchar(text: str) -> bytes:
    """B_VARCHAR, cut to 255 code units."""
    raw = text.encode("utf-16-le", "replace")[:510]
    return bytes((len(raw) // 2,)) + raw


def us_varchar(text: str, longest: int = 0x7FFF) -> bytes:
    """US_VARCHAR, cut to `longest` code units."""
    raw = text.encode("utf-16-le", "replace")[: longest * 2]
    return (len(raw) // 2).to_bytes(2, "little") + raw


def b_varbyte(raw: bytes) -> bytes:
    """B_VARBYTE."""
    return bytes((len(raw),)) + raw
