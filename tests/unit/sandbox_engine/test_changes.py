"""DDL, DML, constraints and transactions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from decimal import Decimal as D
from typing import Any

import pyarrow as pa
import pytest

from sql_databricks_bridge.sandbox.sql_server.contract import (
    BeginTransaction,
    BulkLoad,
    Column,
    CommitTransaction,
    Isolation,
    RowSet,
    Session,
    SqlType,
    TransactionChange,
    TransactionChanged,
)

Run = Callable[[str], Any]


@pytest.fixture(autouse=True)
def _tables(run: Run) -> Iterator[None]:
    out = run(
        "CREATE TABLE p (id int IDENTITY(10, 5) PRIMARY KEY, code varchar(5) NOT NULL CONSTRAINT uq UNIQUE, "
        "price decimal(9,2) NULL CONSTRAINT ck CHECK (price > 0), made date DEFAULT '20200101', rv rowversion);"
        "CREATE TABLE c (id int PRIMARY KEY, code varchar(5) CONSTRAINT fk REFERENCES p (code) ON DELETE CASCADE);"
        "INSERT INTO p (code, price) VALUES ('a', 1), ('b', 2); INSERT INTO c VALUES (1, 'A'), (2, 'b')"
    )
    assert not out.errors, out.messages
    yield
    run("IF @@TRANCOUNT > 0 ROLLBACK; DROP TABLE IF EXISTS c, p")


def test_identity_default_and_rowversion_fill_themselves(run: Run) -> None:
    rows = run(
        "SELECT id, CONVERT(varchar(8), made, 112), DATALENGTH(rv) FROM p ORDER BY id; SELECT SCOPE_IDENTITY()"
    ).rows
    assert rows == [[(10, "20200101", 8), (15, "20200101", 8)], [(D(15),)]]


@pytest.mark.parametrize(
    ("sql", "number", "text"),
    [
        ("INSERT INTO p (code) VALUES ('A ')", 2627, "Violation of UNIQUE KEY constraint 'uq'"),
        ("INSERT INTO c VALUES (1, 'a')", 2627, "Violation of PRIMARY KEY"),
        ("INSERT INTO p (code, price) VALUES ('x', 0)", 547, 'CHECK constraint "ck"'),
        ("INSERT INTO c VALUES (3, 'zz')", 547, 'FOREIGN KEY constraint "fk"'),
        (
            "INSERT INTO p (code) VALUES (NULL)",
            515,
            "Cannot insert the value NULL into column 'code', table 'Work.dbo.p'",
        ),
        ("INSERT INTO p (code) VALUES ('123456')", 2628, "column 'code'. Truncated value: '12345'"),
        ("INSERT INTO p (id, code) VALUES (1, 'x')", 544, "IDENTITY_INSERT"),
        ("INSERT INTO p (code, price) VALUES ('x', 99999999.9)", 8115, "Arithmetic overflow"),
        ("INSERT INTO c VALUES (1)", 213, "does not match table definition"),
        ("UPDATE p SET rv = 0x00", 272, "timestamp"),
        ("CREATE TABLE p (a int)", 2714, "already an object named 'p'"),
        ("TRUNCATE TABLE p", 4712, "FOREIGN KEY"),
        ("DROP TABLE p", 3726, "FOREIGN KEY"),
    ],
)
def test_a_violation_has_its_number_and_names(run: Run, sql: str, number: int, text: str) -> None:
    out = run(sql)
    assert out.errors == [number]
    assert text in out.messages[0].text


def test_update_and_delete_by_join_count_their_rows(run: Run) -> None:
    out = run(
        "UPDATE x SET price = x.price + c.id FROM p x JOIN c ON c.code = x.code; SELECT @@ROWCOUNT, SUM(price) FROM p"
    )
    assert out.rows == [[(2, D("6.00"))]]
    out = run("DELETE p FROM p JOIN c ON c.code = p.code WHERE c.id = 2; SELECT @@ROWCOUNT; SELECT COUNT(*) FROM c")
    assert out.rows == [[(1,)], [(1,)]]  # one row counted, its child gone with it


def test_output_gives_old_and_new_values(run: Run) -> None:
    out = run("UPDATE p SET price = price * 2 OUTPUT deleted.price, inserted.price WHERE code = 'A'")
    assert out.rows == [[(D("1.00"), D("2.00"))]]


def test_select_into_keeps_types_and_nullability(run: Run) -> None:
    out = run("SELECT code, price INTO #t FROM p; SELECT * FROM #t; DROP TABLE #t")
    assert [(c.name, c.nullable) for c in out.columns[0]] == [("code", False), ("price", True)]
    assert out.types == ["varchar(5)", "decimal(9,2)"]


def test_rollback_to_a_savepoint_undoes_what_came_after(run: Run) -> None:
    out = run(
        "BEGIN TRAN; DELETE FROM c; SAVE TRAN s; DELETE FROM p; ROLLBACK TRAN s; SELECT COUNT(*) FROM p; "
        "ROLLBACK; SELECT COUNT(*) FROM c"
    )
    assert out.rows == [[(2,)], [(2,)]]


def test_a_failing_statement_leaves_the_transaction_open_unless_xact_abort(run: Run) -> None:
    out = run(
        "BEGIN TRAN; DELETE FROM c WHERE id = 1; INSERT INTO c VALUES (2, 'a'); SELECT @@TRANCOUNT; "
        "COMMIT; SELECT COUNT(*) FROM c"
    )
    assert out.errors == [2627]
    assert out.rows == [[(1,)], [(1,)]]
    out = run("SET XACT_ABORT ON; BEGIN TRAN; DELETE FROM c; INSERT INTO p (code) VALUES (NULL); SELECT 1")
    assert out.rows == []
    assert run("SELECT @@TRANCOUNT, COUNT(*) FROM c").rows == [[(0, 1)]]


def test_a_snapshot_transaction_reads_one_moment_and_loses_update_conflicts(
    session: Session, connect: Callable[..., Session], on: Callable[[Session, str], Any], gather: Callable[..., Any]
) -> None:
    other = connect()
    begun = gather(other.transaction(BeginTransaction(Isolation.SNAPSHOT)))
    assert [e.change for e in begun.events if isinstance(e, TransactionChanged)] == [TransactionChange.BEGIN]
    assert on(other, "SELECT COUNT(*) FROM c").rows == [[(2,)]]
    on(session, "UPDATE p SET price = 7 WHERE code = 'a'; DELETE FROM c")
    assert on(other, "SELECT COUNT(*) FROM c").rows == [[(2,)]]
    assert on(other, "UPDATE p SET price = 8 WHERE code = 'a'").errors == [3960]
    assert on(other, "SELECT @@TRANCOUNT, COUNT(*) FROM c").rows == [[(0, 0)]]


def test_writers_block_and_a_lock_timeout_is_1222(
    session: Session, connect: Callable[..., Session], on: Callable[[Session, str], Any]
) -> None:
    on(session, "BEGIN TRAN; UPDATE p SET price = 9 WHERE code = 'a'")
    assert on(connect(), "SET LOCK_TIMEOUT 20; UPDATE p SET price = 8 WHERE code = 'a'").errors == [1222]


def test_a_deadlock_has_one_victim_with_1205(
    session: Session, connect: Callable[..., Session], on: Callable[[Session, str], Any]
) -> None:
    other = connect()
    on(session, "BEGIN TRAN; UPDATE p SET price = 3 WHERE code = 'a'")
    on(other, "BEGIN TRAN; UPDATE p SET price = 3 WHERE code = 'b'")
    errors: list[int] = []
    thread = threading.Thread(
        target=lambda: errors.extend(on(other, "UPDATE p SET price = 4 WHERE code = 'a'; COMMIT").errors)
    )
    thread.start()
    errors += on(session, "UPDATE p SET price = 4 WHERE code = 'b'; COMMIT").errors
    thread.join()
    assert errors == [1205]


def test_cancel_ends_a_running_query(session: Session) -> None:
    events = session.batch("SELECT a.year FROM Flights.dbo.flights a CROSS JOIN Flights.dbo.flights b")
    first = next(events)
    assert isinstance(first, RowSet)
    next(iter(first.batches))
    session.cancel()
    assert sum(b.num_rows for b in first.batches) < 336_776 * 1000
    assert not [e for e in events if isinstance(e, RowSet)]


def test_bulk_load_checks_constraints_and_counts_rows(session: Session, gather: Callable[..., Any], run: Run) -> None:
    columns = (Column("code", SqlType("varchar", 5)), Column("price", SqlType("decimal", precision=9, scale=2)))
    batch = pa.record_batch(
        [pa.array(["x", "y"], pa.large_string()), pa.array([D("1.50"), None], pa.decimal128(9, 2))], ["code", "price"]
    )
    assert not run("INSERT BULK p ([code] varchar(5), [price] decimal(9,2)) WITH (CHECK_CONSTRAINTS)").errors
    out = gather(session.bulk_load(BulkLoad(columns, iter([batch]))))
    assert [d.rows for d in out.done] == [2]
    run("INSERT BULK p ([code] varchar(5), [price] decimal(9,2))")
    assert gather(session.bulk_load(BulkLoad(columns, iter([batch])))).errors == [2627]
    assert run("SELECT COUNT(*) FROM p").rows == [[(4,)]]


def test_commit_by_the_transaction_manager_ends_the_transaction(
    session: Session, gather: Callable[..., Any], run: Run
) -> None:
    gather(session.transaction(BeginTransaction()))
    run("DELETE FROM c")
    out = gather(session.transaction(CommitTransaction()))
    assert [e.change for e in out.events if isinstance(e, TransactionChanged)] == [TransactionChange.COMMIT]
    assert run("SELECT COUNT(*), @@TRANCOUNT FROM c").rows == [[(0, 0)]]


def test_a_doomed_transaction_reads_but_neither_writes_nor_commits(run: Run) -> None:
    out = run(
        "SET XACT_ABORT ON; BEGIN TRAN; DELETE FROM c; BEGIN TRY INSERT INTO p (code) VALUES (NULL) END TRY "
        "BEGIN CATCH SELECT XACT_STATE(), ERROR_NUMBER(); BEGIN TRY DELETE FROM c END TRY "
        "BEGIN CATCH SELECT ERROR_NUMBER() "
        "END CATCH; ROLLBACK; END CATCH; SELECT COUNT(*), @@TRANCOUNT FROM c"
    )
    assert out.rows == [[(-1, 515)], [(3930,)], [(2, 0)]]
