"""sp_getapplock and sp_releaseapplock on PostgreSQL's advisory locks ("sp_getapplock (Transact-SQL)").

Resource names compare by bytes. Exclusive and Shared exist; Update, Intent* are refused.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from .errors import PgFailure, error, unsupported

if TYPE_CHECKING:
    from .procedures import Call


def _key(call: Call) -> tuple[int, str]:
    """The lock's 64-bit number and name; locks belong to a database."""
    resource = call.text(0, "resource") or ""
    digest = hashlib.sha256(f"{call.session.database.lower()}\0{resource[:255]}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True), resource


def _owner(call: Call, at: int) -> str:
    owner = (call.text(at, "lockowner", required=False) or "Transaction").lower()
    if owner not in ("transaction", "session"):
        raise error(
            15600, "An invalid parameter or option was specified for procedure 'sys.sp_getapplock'.", severity=15
        )
    if owner == "transaction" and not call.session.trancount:
        raise error(
            1223, "Cannot release the application lock because it is not currently held: there is no transaction."
        )
    return owner


def get(call: Call) -> int:
    """0 granted, 1 granted after waiting, -1 timed out, -3 deadlock victim."""
    number, name = _key(call)
    mode = (call.text(1, "lockmode") or "").lower()
    if mode not in ("exclusive", "shared"):
        raise unsupported(f"application locks of mode {mode}")
    owner = _owner(call, 2)
    timeout = call.take(3, "locktimeout")
    wait = call.session.options.lock_timeout if timeout is None or timeout.value is None else int(timeout.value)
    s = call.session
    suffix = "_shared" if mode == "shared" else ""
    scope = "_xact" if owner == "transaction" else ""
    if s.pg.rows(f"SELECT pg_try_advisory{scope}_lock{suffix}({number})")[0][0]:
        if owner == "session":
            s.app_locks[(name, mode)] = s.app_locks.get((name, mode), 0) + 1
        return 0
    if wait == 0:
        return -1
    saved = s.options.lock_timeout
    s.run(f"SET lock_timeout = {0 if wait < 0 else wait}")
    try:
        with call.runner.protected():
            s.pg.rows(f"SELECT pg_advisory{scope}_lock{suffix}({number})::text")
    except PgFailure as exc:
        if exc.sqlstate == "55P03":
            return -1
        if exc.sqlstate == "40P01":
            return -3
        raise
    finally:
        s.run(f"SET lock_timeout = {0 if saved < 0 else max(saved, 1)}")
    if owner == "session":
        s.app_locks[(name, mode)] = s.app_locks.get((name, mode), 0) + 1
    return 1


def release(call: Call) -> int:
    """0 released; Msg 1223 if it was not held."""
    number, name = _key(call)
    owner = (call.text(1, "lockowner", required=False) or "Transaction").lower()
    s = call.session
    if owner == "transaction":
        raise unsupported("sp_releaseapplock of a transaction's lock (it ends with the transaction)")
    for mode in ("exclusive", "shared"):
        if s.app_locks.get((name, mode)):
            suffix = "_shared" if mode == "shared" else ""
            s.pg.rows(f"SELECT pg_advisory_unlock{suffix}({number})")
            s.app_locks[(name, mode)] -= 1
            if not s.app_locks[(name, mode)]:
                del s.app_locks[(name, mode)]
            return 0
    raise error(
        1223,
        f"Cannot release the application lock (Database Principal: 'public', Resource: '{name}') because "
        f"it is not "
        "currently held.",
    )
