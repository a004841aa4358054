"""Application locks: sp_getapplock, sp_releaseapplock, APPLOCK_MODE, APPLOCK_TEST, on PostgreSQL's advisory locks.

A resource is two advisory locks: Shared takes the first shared, Exclusive both, Update the first shared and the second
exclusive; so the modes conflict as SQL Server's do, and a deadlock with row locks is found. The Intent modes are
refused. All are session locks there (a partial rollback keeps them); those that a transaction owns are let go when it
ends. Names compare by bytes and belong to the database and principal. A lock asked for n times is released n times;
its strongest mode stays until then. Sources: "sp_getapplock", "sp_releaseapplock", "APPLOCK_MODE", "APPLOCK_TEST".
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import PgFailure, error, unsupported

if TYPE_CHECKING:
    from .procedures import Call
    from .session import EngineSession

_MODES = ("shared", "update", "exclusive")  # by strength
_INTENT = ("intentshared", "intentexclusive")
_WANTED = {
    "shared": ((0, "_shared"),),
    "update": ((1, ""), (0, "_shared")),
    "exclusive": ((1, ""), (0, "")),
}
INVALID = -999


@dataclass(frozen=True, slots=True)
class Resource:
    """What is locked, and for whom."""

    database: str
    principal: str
    name: str
    owner: str  # transaction, session

    def key(self, part: int) -> int:
        text = f"{self.database.lower()}\0{self.principal}\0{self.name}\0{part}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


@dataclass(slots=True)
class Held:
    """A lock that this session has: how often, how strongly, and how to let go of it."""

    count: int = 0
    mode: str = "shared"
    taken: list[tuple[int, str]] = field(default_factory=list)


def resource(s: EngineSession, name: str, owner: str, principal: str) -> Resource:
    return Resource(s.database, principal.lower(), name[:255], owner)


def _asked(call: Call, owner_at: int, principal_at: int) -> Resource | None:
    """The resource of a call, None where an argument is invalid."""
    name = call.text(0, "resource", required=False)
    owner = (call.text(owner_at, "lockowner", required=False) or "Transaction").lower()
    principal = call.text(principal_at, "dbprincipal", required=False) or "public"
    if name is None or owner not in ("transaction", "session"):
        return None
    if principal.lower() not in ("public", "dbo", "db_owner"):
        return None
    return resource(call.session, name, owner, principal)


def get(call: Call) -> int:
    """0 granted, 1 granted after waiting, -1 timed out, -3 deadlock victim, -999 not asked for rightly."""
    s = call.session
    mode = (call.text(1, "lockmode", required=False) or "").lower()
    wanted = _asked(call, 2, 4)
    timeout = call.take(3, "locktimeout")
    wait = s.options.lock_timeout if timeout is None or timeout.value is None else int(timeout.value)
    if mode in _INTENT:
        raise unsupported(f"application locks of mode {mode}")
    if wanted is None or mode not in _MODES or wait < -1:
        return INVALID
    if wanted.owner == "transaction" and not s.trancount:
        return INVALID
    held = s.app_locks.get(wanted) or Held()
    if held.count and _MODES.index(held.mode) >= _MODES.index(mode):
        held.count += 1
        return 0
    code = _take(call, wanted, mode, wait, held)
    if code < 0:
        return code
    held.count += 1
    held.mode = mode
    s.app_locks[wanted] = held
    return code


def _take(call: Call, wanted: Resource, mode: str, wait: int, held: Held) -> int:
    s = call.session
    taken: list[tuple[int, str]] = []
    code = 0
    for part, suffix in _WANTED[mode]:
        number = wanted.key(part)
        if not s.pg.rows(f"SELECT pg_try_advisory_lock{suffix}({number})")[0][0]:
            code = _wait(call, number, suffix, wait)
            if code < 0:
                _let_go(s, taken)
                return code
        taken.append((number, suffix))
    held.taken += taken
    return code


def _wait(call: Call, number: int, suffix: str, wait: int) -> int:
    if wait == 0:
        return -1
    s = call.session
    saved = s.options.lock_timeout
    s.run(f"SET lock_timeout = {max(wait, 0)}")
    try:
        with call.runner.protected():
            s.pg.rows(f"SELECT pg_advisory_lock{suffix}({number})::text")
    except PgFailure as exc:
        if exc.sqlstate == "55P03":
            return -1
        if exc.sqlstate == "40P01":
            return -3
        raise
    finally:
        s.run(f"SET lock_timeout = {0 if saved < 0 else max(saved, 1)}")
    return 1


def _let_go(s: EngineSession, taken: list[tuple[int, str]]) -> None:
    for number, suffix in taken:
        s.pg.rows(f"SELECT pg_advisory_unlock{suffix}({number})")


def release(call: Call) -> int:
    """0 released; Msg 1223 (and -999) if it was not held."""
    s = call.session
    wanted = _asked(call, 1, 2)
    if wanted is None:
        return INVALID
    held = s.app_locks.get(wanted)
    if held is None:
        call.status = INVALID
        raise error(
            1223,
            f"Cannot release the application lock (Database Principal: '{wanted.principal}', Resource: "
            f"'{wanted.name}') because it is not currently held.",
        )
    held.count -= 1
    if not held.count:
        _let_go(s, held.taken)
        del s.app_locks[wanted]
    return 0


def end_transaction(s: EngineSession) -> None:
    """Let go of what the transaction owned."""
    for key in [k for k in s.app_locks if k.owner == "transaction"]:
        _let_go(s, s.app_locks.pop(key).taken)


def mode_held(s: EngineSession, wanted: Resource) -> str:
    held = s.app_locks.get(wanted)
    return held.mode.capitalize() if held else "NoLock"


def could_get(s: EngineSession, wanted: Resource, mode: str) -> int:
    """1 if the lock would be granted at once, else 0; nothing stays locked."""
    taken: list[tuple[int, str]] = []
    for part, suffix in _WANTED[mode]:
        if not s.pg.rows(f"SELECT pg_try_advisory_lock{suffix}({wanted.key(part)})")[0][0]:
            break
        taken.append((wanted.key(part), suffix))
    _let_go(s, taken)
    return int(len(taken) == len(_WANTED[mode]))


def valid_mode(mode: str) -> bool:
    if mode.lower() in _INTENT:
        raise unsupported(f"application locks of mode {mode}")
    return mode.lower() in _MODES
