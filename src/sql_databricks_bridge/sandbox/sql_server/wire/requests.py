"""Client requests with ALL_HEADERS (MS-TDS 2.2.5.3): SQL batch and transaction manager request."""

from __future__ import annotations

from ..contract import (
    BeginTransaction,
    CommitTransaction,
    Isolation,
    Message,
    RollbackTransaction,
    SaveTransaction,
    SqlError,
    TransactionRequest,
)
from .bytecursor import ByteCursor
from .errors import MalformedError

_TRANSACTION_DESCRIPTOR = 2


def read_headers(cursor: ByteCursor) -> int:
    """Skip ALL_HEADERS; the transaction descriptor in it (0 outside a transaction)."""
    start = cursor.position
    end = start + cursor.u32()
    if end > len(cursor.data) or end < start + 4:
        raise MalformedError("ALL_HEADERS is longer than its message")
    descriptor = 0
    while cursor.position < end:
        at = cursor.position
        length, kind = cursor.u32(), cursor.u16()
        if length < 6 or at + length > end:
            raise MalformedError(f"stream header of {length} bytes")
        if kind == _TRANSACTION_DESCRIPTOR:
            descriptor = cursor.u64()
        cursor.position = at + length
    return descriptor


def read_batch(cursor: ByteCursor) -> str:
    """The SQL text after the headers."""
    if cursor.remaining % 2:
        raise MalformedError("a batch has an odd number of bytes")
    return cursor.utf16(cursor.remaining // 2)


_GET_DTC_ADDRESS, _PROPAGATE = 0, 1
_BEGIN, _PROMOTE, _COMMIT, _ROLLBACK, _SAVE = 5, 6, 7, 8, 9
_DISTRIBUTED = {_GET_DTC_ADDRESS: "TM_GET_DTC_ADDRESS", _PROPAGATE: "TM_PROPAGATE_XACT", _PROMOTE: "TM_PROMOTE_XACT"}
_BEGIN_AGAIN = 0x01


def read_transaction_request(cursor: ByteCursor) -> TransactionRequest:
    """MS-TDS 2.2.6.9. `SqlError` for distributed transactions."""
    kind = cursor.u16()
    if kind == _BEGIN:
        return _read_begin(cursor)
    if kind == _COMMIT:
        cursor.take(cursor.u8())
        return CommitTransaction(_read_begin(cursor) if cursor.u8() & _BEGIN_AGAIN else None)
    if kind == _ROLLBACK:
        name = _read_name(cursor)
        return RollbackTransaction(name, _read_begin(cursor) if cursor.u8() & _BEGIN_AGAIN else None)
    if kind == _SAVE:
        return SaveTransaction(_read_name(cursor))
    if kind in _DISTRIBUTED:
        raise SqlError(
            Message(8501, f"MSDTC on server is unavailable ({_DISTRIBUTED[kind]}: no distributed transactions here).")
        )
    raise MalformedError(f"transaction manager request {kind}")


def _read_begin(cursor: ByteCursor) -> BeginTransaction:
    level = cursor.u8()
    try:
        return BeginTransaction(Isolation(level), _read_name(cursor))
    except ValueError:
        raise MalformedError(f"isolation level {level}") from None


def _read_name(cursor: ByteCursor) -> str:
    raw = cursor.take(cursor.u8())
    return ByteCursor(raw).utf16(len(raw) // 2)
