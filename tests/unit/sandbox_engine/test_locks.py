"""Locks: hints, UPDATE ... FROM beside other writers, application locks ("Table hints", "sp_getapplock")."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sql_databricks_bridge.sandbox.sql_server.contract import Session

Run = Callable[[str], Any]
On = Callable[[Session, str], Any]
Connect = Callable[..., Session]


@pytest.fixture(autouse=True)
def _tables(run: Run) -> Iterator[None]:
    out = run(
        "CREATE TABLE lck_t (id int PRIMARY KEY, k int NULL, v int NULL); CREATE TABLE lck_s (k int, v int);"
        "INSERT INTO lck_t VALUES (1, 1, 0), (2, 2, 0), (3, 3, 0); INSERT INTO lck_s VALUES (1, 10), (2, 20), (9, 90)"
    )
    assert not out.errors, out.messages
    yield
    run("IF @@TRANCOUNT > 0 ROLLBACK; DROP TABLE IF EXISTS lck_t, lck_s")


class Background:
    """A batch on another session that waits for a lock."""

    def __init__(self, on: On, session: Session, sql: str) -> None:
        self.out: Any = None
        self._thread = threading.Thread(target=lambda: setattr(self, "out", on(session, sql)))
        self._thread.start()

    def join(self) -> Any:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.out


def wait_until_blocked(session: Session) -> None:
    for _ in range(3000):
        if session.pg.rows("SELECT count(*) FROM pg_locks WHERE NOT granted")[0][0]:  # type: ignore[attr-defined]
            return
        threading.Event().wait(0.005)
    raise AssertionError("nobody waits")


@pytest.mark.parametrize(
    ("first", "change", "expected"),
    [
        # a row that somebody else changes meanwhile is waited for, read again and changed
        ("UPDATE lck_t SET v = 5 WHERE id = 1", "UPDATE x SET v = x.v + s.v FROM lck_t x JOIN lck_s s ON s.k = x.k",
         [(1, 1, 15), (2, 2, 20), (3, 3, 0)]),
        # ... with the other side that it belongs to by then
        ("UPDATE lck_t SET k = 9 WHERE id = 1", "UPDATE x SET v = s.v FROM lck_s s INNER JOIN lck_t x ON s.k = x.k",
         [(1, 9, 90), (2, 2, 20), (3, 3, 0)]),
        # ... and left alone if it belongs to none any more
        ("UPDATE lck_t SET k = NULL WHERE id = 1", "UPDATE lck_t SET v = s.v FROM lck_t, lck_s s WHERE s.k = lck_t.k",
         [(1, None, 0), (2, 2, 20), (3, 3, 0)]),
        ("UPDATE lck_t SET v = 5 WHERE id = 1",
         "UPDATE x SET v = ISNULL(s.v, -1) + x.v FROM lck_t x LEFT JOIN lck_s s ON s.k = x.k",
         [(1, 1, 15), (2, 2, 20), (3, 3, -1)]),
        ("UPDATE lck_t SET v = 5 WHERE id = 1",
         "UPDATE x SET v = x.v + s.v FROM lck_s s LEFT JOIN lck_t x ON s.k = x.k", [(1, 1, 15), (2, 2, 20), (3, 3, 0)]),
        ("UPDATE lck_t SET v = 5 WHERE id = 1", "DELETE x FROM lck_t x JOIN lck_s s ON s.k = x.k WHERE x.v = 0",
         [(1, 1, 5), (3, 3, 0)]),
        ("DELETE lck_t WHERE id = 1", "UPDATE x SET v = s.v FROM lck_t x JOIN lck_s s ON s.k = x.k",
         [(2, 2, 20), (3, 3, 0)]),
    ],
)  # fmt: skip
def test_a_joined_change_waits_for_a_row_and_reads_it_again(
    session: Session, connect: Connect, on: On, first: str, change: str, expected: list[Any]
) -> None:
    assert not on(session, f"BEGIN TRAN; {first}").errors
    blocked = Background(on, connect(), change)
    wait_until_blocked(session)
    on(session, "COMMIT")
    assert blocked.join().errors == []
    assert on(session, "SELECT id, k, v FROM lck_t ORDER BY id").rows == [expected]


def test_updates_by_join_lose_nothing_under_contention(connect: Connect, on: On) -> None:
    adders = [connect() for _ in range(4)]
    work = "UPDATE x SET v = x.v + 1 FROM lck_t x JOIN lck_s s ON s.k = x.k"
    loops = [Background(on, s, f"DECLARE @i int = 0; WHILE @i < 25 BEGIN {work}; SET @i += 1 END") for s in adders]
    assert [x for b in loops for x in b.join().errors if x != 1205] == []
    lost = sum(1 for b in loops if 1205 in b.out.errors)
    if not lost:
        assert on(adders[0], "SELECT v FROM lck_t ORDER BY id").rows == [[(100,), (100,), (0,)]]


def test_a_target_that_from_does_not_name_is_joined_to_it(run: Run) -> None:
    out = run("UPDATE lck_t SET v = s.v FROM lck_s s WHERE s.k = lck_t.k; SELECT @@ROWCOUNT; SELECT v FROM lck_t "
              "ORDER BY id; DELETE lck_t FROM lck_s WHERE lck_s.k = lck_t.k; SELECT @@ROWCOUNT")  # fmt: skip
    assert (out.errors, out.rows) == ([], [[(2,)], [(10,), (20,), (0,)], [(2,)]])


def test_updlock_locks_the_rows_it_reads_and_no_others(session: Session, connect: Connect, on: On) -> None:
    out = on(session, "BEGIN TRAN; SELECT v FROM lck_t WITH (UPDLOCK, ROWLOCK) WHERE id = 1")
    assert out.rows == [[(0,)]]
    other = connect()
    assert on(other, "SET LOCK_TIMEOUT 20; UPDATE lck_t SET v = 1 WHERE id = 1").errors == [1222]
    assert on(other, "SELECT v FROM lck_t WITH (UPDLOCK) WHERE id = 1").errors == [1222]
    assert on(other, "SELECT v FROM lck_t WHERE id = 1").rows == [[(0,)]]
    assert on(other, "UPDATE lck_t SET v = 1 WHERE id = 2; INSERT INTO lck_t VALUES (4, 4, 0)").errors == []
    assert on(session, "ROLLBACK").errors == []


def test_holdlock_lets_readers_in_and_keeps_the_range(session: Session, connect: Connect, on: On) -> None:
    other = connect()
    on(session, "BEGIN TRAN; SELECT COUNT(*) FROM lck_t WITH (HOLDLOCK) WHERE id > 2")
    assert on(other, "SET LOCK_TIMEOUT 20; BEGIN TRAN; SELECT COUNT(*) FROM lck_t WITH (HOLDLOCK)").rows == [[(3,)]]
    assert on(other, "INSERT INTO lck_t VALUES (4, 4, 0)").errors == [1222]
    on(other, "ROLLBACK")


def test_updlock_with_holdlock_serialises_an_upsert(connect: Connect, on: On) -> None:
    upsert = (
        "BEGIN TRAN; UPDATE lck_t WITH (UPDLOCK, HOLDLOCK) SET v = v + 1 WHERE id = 50; "
        "INSERT INTO lck_t SELECT 50, 0, 1 WHERE NOT EXISTS (SELECT 1 FROM lck_t WITH (UPDLOCK, HOLDLOCK) WHERE id = "
        "50); COMMIT"
    )
    sessions = [connect() for _ in range(6)]
    assert [b.join().errors for b in [Background(on, s, upsert) for s in sessions]] == [[]] * 6
    assert on(sessions[0], "SELECT v FROM lck_t WHERE id = 50").rows == [[(6,)]]


def test_a_deadlock_victims_transaction_is_gone(session: Session, connect: Connect, on: On) -> None:
    other = connect()
    on(session, "BEGIN TRAN; SELECT 1 FROM lck_t WITH (XLOCK) WHERE id = 1")
    on(other, "BEGIN TRAN; SELECT 1 FROM lck_t WITH (XLOCK) WHERE id = 2")
    blocked = Background(on, other, "UPDATE lck_t SET v = 1 WHERE id = 1; SELECT @@TRANCOUNT")
    mine = on(session, "UPDATE lck_t SET v = 1 WHERE id = 2; SELECT @@TRANCOUNT")
    theirs = None
    if 1205 in mine.errors:
        theirs = blocked.join()
        on(other, "COMMIT")
        assert on(session, "SELECT @@TRANCOUNT").rows == [[(0,)]]
    else:
        on(session, "COMMIT")
        theirs = blocked.join()
        assert on(other, "SELECT @@TRANCOUNT").rows == [[(0,)]]
    assert sorted([*mine.errors, *theirs.errors]) == [1205]


# ---- application locks ----------------------------------------------------------------------------------------------
def applock(mode: str, owner: str = "Session", timeout: int = 0, name: str = "res") -> str:
    return (
        f"DECLARE @r int; EXEC @r = sp_getapplock @Resource = '{name}', @LockMode = '{mode}', @LockOwner = '{owner}', "
        f"@LockTimeout = {timeout}; SELECT @r"
    )


@pytest.mark.parametrize(
    ("held", "wanted", "code"),
    [
        ("Shared", "Shared", 0), ("Shared", "Update", 0), ("Shared", "Exclusive", -1),
        ("Update", "Shared", 0), ("Update", "Update", -1), ("Update", "Exclusive", -1),
        ("Exclusive", "Shared", -1), ("Exclusive", "Update", -1), ("Exclusive", "Exclusive", -1),
    ],
)  # fmt: skip
def test_modes_conflict_as_documented(
    session: Session, connect: Connect, on: On, held: str, wanted: str, code: int
) -> None:
    other = connect()
    assert on(session, applock(held)).rows == [[(0,)]]
    test = f"SELECT APPLOCK_TEST('public', 'res', '{wanted}', 'Session')"
    assert on(other, test).rows == [[(int(code == 0),)]]
    assert on(other, applock(wanted)).rows == [[(code,)]]
    assert on(session, "SELECT APPLOCK_MODE('public', 'res', 'Session')").rows == [[(held,)]]
    assert on(other, "SELECT APPLOCK_MODE('public', 'RES', 'Session')").rows == [[("NoLock",)]]
    session.reset()
    assert on(other, applock("Exclusive", name="res2")).rows == [[(0,)]]


def test_a_lock_is_released_as_often_as_it_was_taken(session: Session, connect: Connect, on: On) -> None:
    other = connect()
    free = "DECLARE @r int; EXEC @r = sp_releaseapplock 'res', 'Session'; SELECT @r"
    on(session, applock("Shared"))
    on(session, applock("Exclusive"))
    assert on(session, free).rows == [[(0,)]]
    assert on(other, applock("Shared")).rows == [[(-1,)]]
    assert on(session, free).rows == [[(0,)]]
    assert on(other, applock("Exclusive")).rows == [[(0,)]]
    assert on(session, free).errors == [1223]


def test_a_transactions_lock_ends_with_it(session: Session, connect: Connect, on: On) -> None:
    other = connect()
    assert on(session, applock("Exclusive", "Transaction")).rows == [[(-999,)]]
    for end in ("COMMIT", "ROLLBACK"):
        on(session, "BEGIN TRAN; SAVE TRAN s; " + applock("Exclusive", "Transaction") + "; ROLLBACK TRAN s")
        assert on(other, applock("Exclusive")).rows == [[(-1,)]]
        on(session, end)
        assert on(other, applock("Exclusive")).rows == [[(0,)]]
        on(other, "EXEC sp_releaseapplock 'res', 'Session'")
    on(session, "BEGIN TRAN; " + applock("Exclusive", "Transaction") + "; EXEC sp_releaseapplock 'res'")
    assert on(other, applock("Exclusive")).rows == [[(0,)]]


def test_a_waiting_request_gets_the_lock_of_a_dead_connection(connect: Connect, on: On, session: Session) -> None:
    owner = connect()
    on(owner, applock("Exclusive"))
    waiting = Background(on, session, applock("Exclusive", timeout=-1))
    wait_until_blocked(connect())
    owner.close()
    assert waiting.join().rows == [[(1,)]]


def test_a_deadlock_over_application_locks_is_minus_3(session: Session, connect: Connect, on: On) -> None:
    other = connect()
    on(session, "BEGIN TRAN; " + applock("Exclusive", "Transaction", name="one"))
    on(other, "BEGIN TRAN; " + applock("Exclusive", "Transaction", name="two"))
    waiting = Background(on, other, applock("Exclusive", "Transaction", -1, "one") + "; IF @r = -3 ROLLBACK")
    mine = on(session, applock("Exclusive", "Transaction", -1, "two") + "; IF @r = -3 ROLLBACK").rows[0][0][0]
    if mine != -3:
        on(session, "ROLLBACK")
    assert sorted([mine, waiting.join().rows[0][0][0]]) == [-3, 1]


@pytest.mark.parametrize(
    "call",
    ["sp_getapplock 'x', 'Shared', 'Nobody'", "sp_getapplock 'x', 'Strong', 'Session'",
     "sp_getapplock NULL, 'Shared', 'Session'", "sp_getapplock 'x', 'Shared', 'Session', -5",
     "sp_getapplock 'x', 'Shared', 'Session', 0, 'stranger'"],
)  # fmt: skip
def test_an_invalid_call_is_minus_999(run: Run, call: str) -> None:
    assert run(f"DECLARE @r int; EXEC @r = {call}; SELECT @r").rows == [[(-999,)]]


def test_locks_are_seen_in_dm_tran_locks(session: Session, connect: Connect, on: On) -> None:
    on(session, applock("Exclusive", name="bridge:42"))
    out = on(
        connect(),
        "SELECT resource_type, resource_description, request_mode, request_status, request_session_id, "
        "request_owner_type FROM sys.dm_tran_locks WHERE resource_type = 'APPLICATION'",
    )
    assert [(r[0], r[1][:13], *r[2:]) for r in out.rows[0]] == [
        ("APPLICATION", "0:[bridge:42]", "X", "GRANT", session.spid, "SESSION")
    ]
