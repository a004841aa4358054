"""Application locks of the session: they name who may apply to a table, and they die with the connection.

Source: sp_getapplock (Transact-SQL). Names compare by their bytes and belong to one database, hence object ids, not
names of tables. A session that takes a lock twice holds it twice: each `acquire` wants its own `release`.
"""

from __future__ import annotations

from sql_databricks_bridge.db.rows import INT, Rows, bound, nvarchar
from sql_databricks_bridge.errors import SourceBusy, SourceError

_RESOURCE_LENGTH = 255
_GRANTED, _TIMED_OUT, _CANCELLED, _DEADLOCK = (0, 1), -1, -2, -3

_ACQUIRE = """
DECLARE @result int, @wait int = ?;
EXEC @result = sp_getapplock @Resource = ?, @LockMode = 'Exclusive', @LockOwner = 'Session', @LockTimeout = @wait;
SELECT @result AS result;
"""
_RELEASE = """
DECLARE @result int;
EXEC @result = sp_releaseapplock @Resource = ?, @LockOwner = 'Session';
SELECT @result AS result;
"""


def target_resource(object_id: int) -> str:
    """The lock of who applies to that table."""
    return f"bridge:{object_id}"


def staging_resource(name: str) -> str:
    """The lock of who loads that staging table."""
    return f"bridge:staging:{name}"


def acquire(rows: Rows, resource: str, *, wait_ms: int = 0) -> bool:
    """Take the exclusive lock for this session; False where another session still has it after `wait_ms`.

    `SourceBusy` where the server chose this session as the victim of a deadlock.
    """
    result = _result(rows, _ACQUIRE, resource, wait_ms)
    if result in _GRANTED:
        return True
    if result == _TIMED_OUT:
        return False
    if result in (_CANCELLED, _DEADLOCK):
        raise SourceBusy(f"The application lock {resource!r} was not granted (sp_getapplock returned {result}).")
    raise SourceError(f"sp_getapplock refused the application lock {resource!r}: it returned {result}.")


def release(rows: Rows, resource: str) -> None:
    """Give it back; `SourceRefused` where this session does not have it."""
    result = _result(rows, _RELEASE, resource)
    if result != 0:
        raise SourceError(f"sp_releaseapplock did not release {resource!r}: it returned {result}.")


def _result(rows: Rows, statement: str, resource: str, wait_ms: int | None = None) -> int:
    if not 0 < len(resource) <= _RESOURCE_LENGTH:  # the server would cut it: two names might become one
        raise ValueError(f"{resource!r} is no name of an application lock: 1 to {_RESOURCE_LENGTH} characters.")
    name = (resource, nvarchar(_RESOURCE_LENGTH))
    values = bound(name) if wait_ms is None else bound((wait_ms, INT), name)
    (row,) = rows(statement, values)
    return int(row["result"])
