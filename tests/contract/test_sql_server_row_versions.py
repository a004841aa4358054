"""rowversion, @@DBTS and MIN_ACTIVE_ROWVERSION() through the driver. Source: those pages of Microsoft Learn."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sql_databricks_bridge.core.config import Settings
from tests.contract.driver_database import Cursors, driver_database, rows, run

NOW = "SELECT CONVERT(bigint, MIN_ACTIVE_ROWVERSION()), CONVERT(bigint, @@DBTS)"
MINE = "SELECT CONVERT(bigint, rv) FROM rv_rows WHERE id = ?"


@pytest.fixture(scope="module")
def cursors(sqlserver_settings: Settings) -> Iterator[Cursors]:
    with driver_database(sqlserver_settings) as opens:
        yield opens


@pytest.fixture
def one(cursors: Cursors) -> Iterator[Any]:
    cursor = cursors()
    run(cursor, "CREATE TABLE rv_rows (id int PRIMARY KEY, v int NOT NULL, rv rowversion)")
    run(cursor, "INSERT INTO rv_rows (id, v) VALUES (1, 1), (2, 2)")
    yield cursor
    run(cursor, "IF @@TRANCOUNT > 0 ROLLBACK")
    run(cursor, "DROP TABLE rv_rows")


@pytest.fixture
def other(one: Any, cursors: Cursors) -> Iterator[Any]:  # noqa: ARG001 - it is torn down before the table
    cursor = cursors()
    yield cursor
    run(cursor, "IF @@TRANCOUNT > 0 ROLLBACK")


def test_a_value_in_an_open_transaction_holds_the_lowest_active_one_down(one: Any, other: Any) -> None:
    run(one, "BEGIN TRANSACTION; UPDATE rv_rows SET v = 10 WHERE id = 1")
    taken = rows(one, MINE, 1)[0][0]
    run(other, "INSERT INTO rv_rows (id, v) VALUES (3, 3)")
    lowest, last = rows(other, NOW)[0]
    assert lowest == taken
    assert last > taken
    assert rows(one, NOW)[0][0] == taken  # a session's own transaction counts too
    run(one, "COMMIT")
    assert rows(other, NOW) == [(last + 1, last)]


def test_a_rollback_frees_the_value_and_nobody_gets_it_again(one: Any, other: Any) -> None:
    run(one, "BEGIN TRANSACTION; UPDATE rv_rows SET v = 10 WHERE id = 1")
    taken = rows(one, MINE, 1)[0][0]
    run(one, "ROLLBACK")
    assert rows(other, NOW)[0][0] > taken
    run(other, "UPDATE rv_rows SET v = 10 WHERE id = 2")
    assert rows(other, MINE, 2)[0][0] > taken


def test_an_update_that_changes_nothing_gives_a_new_value(one: Any) -> None:
    before = rows(one, MINE, 1)[0][0]
    run(one, "UPDATE rv_rows SET v = v WHERE id = 1")
    assert rows(one, MINE, 1)[0][0] > before


def test_values_compare_with_binary_and_with_converted_bigint_parameters(one: Any) -> None:
    first, second = (value for (value,) in rows(one, "SELECT rv FROM rv_rows ORDER BY rv"))
    number = int.from_bytes(first, "big")
    assert rows(one, "SELECT id FROM rv_rows WHERE rv > ?", first) == [(2,)]
    assert rows(one, "SELECT id FROM rv_rows WHERE rv > CONVERT(binary(8), CONVERT(bigint, ?))", number) == [(2,)]
    assert rows(one, "SELECT id FROM rv_rows WHERE rv >= ? AND rv < ? ORDER BY rv", first, second) == [(1,)]
    assert rows(one, "SELECT id FROM rv_rows WHERE CONVERT(bigint, rv) = ?", number) == [(1,)]


def test_a_snapshot_sees_what_others_hold_now(one: Any, other: Any) -> None:
    run(other, "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRANSACTION")
    assert rows(other, "SELECT COUNT(*) FROM rv_rows") == [(2,)]
    run(one, "BEGIN TRANSACTION; UPDATE rv_rows SET v = 10 WHERE id = 1")
    taken = rows(one, MINE, 1)[0][0]
    assert rows(other, NOW)[0][0] == taken
    run(one, "COMMIT")
    assert rows(other, NOW)[0][0] > taken
    run(other, "COMMIT")


def test_reads_bounded_by_the_lowest_active_value_miss_no_row(one: Any, cursors: Cursors) -> None:
    """Writers keep rows in flight; each read takes from the last bound to a new one, taken before its snapshot."""
    run(one, "DELETE FROM rv_rows")
    writers, each, low, seen = 3, 40, 0, []
    done = threading.Semaphore(0)

    def write(cursor: Any, first: int) -> None:
        for n in range(first, first + 2 * each, 2):
            run(cursor, f"BEGIN TRANSACTION; INSERT INTO rv_rows (id, v) VALUES ({n}, 0)")
            run(cursor, f"INSERT INTO rv_rows (id, v) VALUES ({n + 1}, 0); COMMIT")
        done.release()

    threads = [threading.Thread(target=write, args=(cursors(), w * 1000)) for w in range(writers)]
    for thread in threads:
        thread.start()
    reader, finished, last_turn = cursors(), 0, False
    run(reader, "SET TRANSACTION ISOLATION LEVEL SNAPSHOT")
    while not last_turn:
        while done.acquire(blocking=False):
            finished += 1
        last_turn = finished == writers
        run(reader, "BEGIN TRANSACTION")
        high = rows(reader, NOW)[0][0]
        window = "SELECT id FROM rv_rows WHERE CONVERT(bigint, rv) >= ? AND CONVERT(bigint, rv) < ?"
        seen += [row[0] for row in rows(reader, window, low, high)]
        run(reader, "COMMIT")
        low = high
    for thread in threads:
        thread.join()
    assert sorted(seen) == [w * 1000 + n for w in range(writers) for n in range(2 * each)]
