"""Application locks over the real driver: who has one, who waits, and what a session's end does to them."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.app_locks import acquire, release, staging_resource, target_resource
from sql_databricks_bridge.db.connection_string import connection_string
from sql_databricks_bridge.errors import SourceRefused
from tests.contract.own_database import Connect, own_database

_WAIT_MS = 20_000
_HOLDER = """
import sys
import mssql_python
mssql_python.pooling(enabled=False)
connection = mssql_python.connect(sys.stdin.readline().rstrip("\\n"), autocommit=True)
cursor = connection.cursor()
cursor.execute("DECLARE @r int; EXEC @r = sp_getapplock @Resource = N'bridge:7', @LockMode = 'Exclusive', "
               "@LockOwner = 'Session', @LockTimeout = 0; SELECT @r AS result")
print(cursor.fetchone()[0], cursor.execute("SELECT DB_NAME() AS n").fetchone()[0], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def connect(sqlserver_settings: Settings) -> Iterator[Connect]:
    with own_database(sqlserver_settings) as opens:
        yield opens


def test_one_session_has_a_lock_and_others_have_not(connect: Connect) -> None:
    """Without waiting: False for the second session, True after the first one's release."""
    first, second = connect(), connect()
    assert acquire(first.rows, target_resource(1))
    assert not acquire(second.rows, target_resource(1))
    assert acquire(second.rows, target_resource(11))
    release(first.rows, target_resource(1))
    assert acquire(second.rows, target_resource(1))


def test_a_table_and_a_staging_table_never_share_a_lock(connect: Connect) -> None:
    """Not even a staging table that is named like a number."""
    first, second = connect(), connect()
    assert acquire(first.rows, target_resource(2))
    assert acquire(second.rows, staging_resource("2"))


def test_a_lock_taken_twice_is_given_back_twice(connect: Connect) -> None:
    """A session counts its locks, so every `acquire` wants its `release`."""
    first, second = connect(), connect()
    assert acquire(first.rows, "bridge:twice")
    assert acquire(first.rows, "bridge:twice")
    release(first.rows, "bridge:twice")
    assert not acquire(second.rows, "bridge:twice")
    release(first.rows, "bridge:twice")
    assert acquire(second.rows, "bridge:twice")


def test_lock_names_compare_by_their_bytes(connect: Connect) -> None:
    """'Bridge' is not 'bridge', whatever the database's collation."""
    first, second = connect(), connect()
    assert acquire(first.rows, "bridge:name")
    assert acquire(second.rows, "Bridge:name")


def test_releasing_what_one_does_not_have_is_an_error(connect: Connect) -> None:
    """Silence would hide that the lock was lost."""
    first, second = connect(), connect()
    assert acquire(first.rows, target_resource(3))
    with pytest.raises(SourceRefused, match="not currently held"):
        release(second.rows, target_resource(3))
    assert not acquire(second.rows, target_resource(3))


def test_of_sessions_that_race_for_a_lock_one_gets_it(connect: Connect) -> None:
    """Eight at once, twenty times: one winner each."""
    sessions = [connect() for _ in range(8)]
    for turn in range(20):
        start = threading.Barrier(len(sessions))
        won: list[int] = []

        def race(place: int, start: threading.Barrier = start, won: list[int] = won, turn: int = turn) -> None:
            start.wait()
            if acquire(sessions[place].rows, target_resource(1000 + turn)):
                won.append(place)

        threads = [threading.Thread(target=race, args=(place,)) for place in range(len(sessions))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1


def test_a_transaction_rolled_back_keeps_the_sessions_lock(connect: Connect) -> None:
    """The lock is the session's: the next event of the target runs under it."""
    first, second = connect(), connect()
    assert acquire(first.rows, target_resource(4))
    first.begin()
    first.rows("SELECT 1 AS x")
    first.rollback()
    assert not acquire(second.rows, target_resource(4))


def test_a_closed_connection_gives_its_locks_back(connect: Connect) -> None:
    """Closed without a release; the other one waits on the server until it is heard."""
    first, second = connect(), connect()
    assert acquire(first.rows, target_resource(5))
    first.close()
    assert acquire(second.rows, target_resource(5), wait_ms=_WAIT_MS)


def test_a_killed_process_gives_its_locks_back(connect: Connect, sqlserver_settings: Settings, tmp_path: Path) -> None:
    """SIGKILL, nothing said to the server: the dead link alone ends the session."""
    second = connect()
    (row,) = second.rows("SELECT DB_NAME() AS name")
    with (tmp_path / "errors").open("w") as errors:
        holder = subprocess.Popen(
            [sys.executable, "-c", _HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        with holder:
            assert holder.stdin is not None
            assert holder.stdout is not None
            holder.stdin.write(connection_string(sqlserver_settings, database=row["name"]) + "\n")
            holder.stdin.flush()
            said = holder.stdout.readline().split()
            assert said == ["0", row["name"]], (tmp_path / "errors").read_text()
            assert not acquire(second.rows, target_resource(7))
            holder.send_signal(signal.SIGKILL)
            holder.wait()
    assert acquire(second.rows, target_resource(7), wait_ms=_WAIT_MS)
