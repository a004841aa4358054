"""RPC requests (MS-TDS 2.2.6.6): one or more calls in a message."""

from __future__ import annotations

from collections.abc import Iterator

from ..contract import Message, RpcCall, RpcParameter, SqlError
from .bytecursor import ByteCursor
from .decode import InvalidValueError, decode_values
from .errors import MalformedError
from .typeread import read_type_info
from .values import read_value

_PROCEDURES = {
    1: "sp_cursor",
    2: "sp_cursoropen",
    3: "sp_cursorprepare",
    4: "sp_cursorexecute",
    5: "sp_cursorprepexec",
    6: "sp_cursorunprepare",
    7: "sp_cursorfetch",
    8: "sp_cursoroption",
    9: "sp_cursorclose",
    10: "sp_executesql",
    11: "sp_prepare",
    12: "sp_execute",
    13: "sp_prepexec",
    14: "sp_prepexecrpc",
    15: "sp_unprepare",
}
_BY_NUMBER = 0xFFFF
_NO_METADATA = 0x0002
_BATCH_FLAGS = (0x80, 0xFF)  # BatchFlag of TDS 7.1, and of 7.2 on
_NO_EXEC_FLAG = 0xFE
_OUTPUT, _DEFAULT, _ENCRYPTED = 0x01, 0x02, 0x08


def read_calls(cursor: ByteCursor) -> Iterator[RpcCall]:
    """The calls after the headers.

    `SqlError` for what can't be a parameter here (8023: a value that is none of its type). Nothing after such a call
    can be read.
    """
    while True:
        call = _read_call(cursor)
        if not cursor.remaining:
            yield call
            return
        flag = cursor.u8()
        if flag == _NO_EXEC_FLAG:
            raise MalformedError("an RPC with NoExecFlag, which answers only go with")
        yield call
        if not cursor.remaining:
            return


def _read_call(cursor: ByteCursor) -> RpcCall:
    size = cursor.u16()
    if size == _BY_NUMBER:
        number = cursor.u16()
        procedure = _PROCEDURES.get(number, "")
        if not procedure:
            raise SqlError(Message(2812, f"Could not find stored procedure number {number}."))
    else:
        procedure = cursor.utf16(size)
    flags = cursor.u16()
    parameters: list[RpcParameter] = []
    while cursor.remaining and cursor.peek() not in (*_BATCH_FLAGS, _NO_EXEC_FLAG):
        parameters.append(_read_parameter(cursor, len(parameters) + 1))
    return RpcCall(procedure, tuple(parameters), no_metadata=bool(flags & _NO_METADATA))


def _read_parameter(cursor: ByteCursor, ordinal: int) -> RpcParameter:
    name = cursor.b_varchar()
    status = cursor.u8()
    if status & _ENCRYPTED:
        raise SqlError(Message(33514, f"Parameter {name or ordinal} is encrypted: Always Encrypted is not supported."))
    wire_type = read_type_info(cursor)
    raw = read_value(cursor, wire_type)
    try:
        value = decode_values(wire_type.type, [raw])
    except InvalidValueError as exc:
        raise SqlError(_invalid(ordinal, name, wire_type.type.name)) from exc
    return RpcParameter(name, wire_type.type, value, bool(status & _OUTPUT), bool(status & _DEFAULT))


def _invalid(ordinal: int, name: str, type_name: str) -> Message:
    return Message(
        8023,
        "The incoming tabular data stream (TDS) remote procedure call (RPC) protocol stream is incorrect. "
        f'Parameter {ordinal} ("{name}"): The supplied value is not a valid instance of data type {type_name}. '
        "Check the source data for invalid values. An example of an invalid value is data of numeric type with scale "
        "greater than precision.",
    )
