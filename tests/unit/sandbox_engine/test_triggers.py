"""DML triggers ("CREATE TRIGGER (Transact-SQL)", "Use the inserted and deleted tables", "Create nested triggers")."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sql_databricks_bridge.sandbox.sql_server.contract import Done, Message, Session

Run = Callable[[str], Any]


@pytest.fixture(autouse=True)
def _tables(run: Run) -> Iterator[None]:
    out = run(
        "CREATE TABLE trg_t (id int PRIMARY KEY, code varchar(5) NULL, qty int NULL, rv rowversion);"
        "CREATE TABLE trg_c (id int PRIMARY KEY, t int CONSTRAINT trg_fk REFERENCES trg_t ON DELETE CASCADE);"
        "CREATE TABLE trg_audit (n int IDENTITY PRIMARY KEY, what varchar(20), id int NULL, old int NULL, new int "
        "NULL);"
        "INSERT INTO trg_t (id, code, qty) VALUES (1, 'a', 10), (2, 'b', 20); INSERT INTO trg_c VALUES (7, 1), (8, 2)"
    )
    assert not out.errors, out.messages
    yield
    run("IF @@TRANCOUNT > 0 ROLLBACK; DROP TABLE IF EXISTS trg_c, trg_t, trg_audit")


AUDIT = (
    "CREATE TRIGGER trg_au ON trg_t AFTER INSERT, UPDATE, DELETE AS SET NOCOUNT ON; "
    "INSERT INTO trg_audit (what, id, old, new) SELECT "
    "CASE WHEN d.id IS NULL THEN 'insert' WHEN i.id IS NULL THEN 'delete' ELSE 'update' END, ISNULL(i.id, d.id), "
    "d.qty, i.qty FROM inserted i FULL JOIN deleted d ON d.id = i.id"
)


def audit(run: Run) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = run("SELECT what, id, old, new FROM trg_audit ORDER BY n, id").rows[-1]
    return rows


def test_inserted_and_deleted_hold_all_rows_of_the_statement(run: Run) -> None:
    run(AUDIT)
    out = run(
        "INSERT INTO trg_t (id, qty) VALUES (3, 30), (4, 40); SELECT @@ROWCOUNT; "
        "UPDATE trg_t SET qty = qty + 1 WHERE id < 3; SELECT @@ROWCOUNT; DELETE trg_t WHERE id > 2; SELECT @@ROWCOUNT"
    )
    assert out.rows == [[(2,)], [(2,)], [(2,)]]
    assert [d.rows for d in out.done if d.rows is not None and d.command != "SELECT"] == [2, 2, 2]
    assert sorted(audit(run)) == [
        ("delete", 3, 30, None),
        ("delete", 4, 40, None),
        ("insert", 3, None, 30),
        ("insert", 4, None, 40),
        ("update", 1, 10, 11),
        ("update", 2, 20, 21),
    ]


def test_a_trigger_fires_once_for_no_rows(run: Run) -> None:
    run("CREATE TRIGGER trg_z ON trg_t FOR UPDATE, DELETE AS INSERT INTO trg_audit (what, new) "
        "SELECT 'rows', @@ROWCOUNT + COUNT(*) FROM inserted")  # fmt: skip
    assert run("UPDATE trg_t SET qty = 1 WHERE id = 99; SELECT @@ROWCOUNT; DELETE trg_t WHERE id = 99").rows == [[(0,)]]
    assert audit(run) == [("rows", None, None, 0), ("rows", None, None, 0)]


def test_update_says_which_columns_were_set(run: Run) -> None:
    run("CREATE TRIGGER trg_u ON trg_t AFTER INSERT, UPDATE, DELETE AS "
        "IF UPDATE(qty) INSERT INTO trg_audit (what) VALUES ('qty'); "
        "IF NOT UPDATE(code) INSERT INTO trg_audit (what) VALUES ('not code')")  # fmt: skip
    run("UPDATE trg_t SET qty = qty; UPDATE trg_t SET code = 'x'; INSERT INTO trg_t (id) VALUES (5); DELETE trg_t")
    assert [r[0] for r in audit(run)] == ["qty", "not code", "qty", "not code"]


def test_an_error_in_a_trigger_undoes_the_transaction_and_ends_the_batch(run: Run) -> None:
    run("CREATE TRIGGER trg_e ON trg_t AFTER UPDATE AS "
        "IF EXISTS (SELECT 1 FROM inserted WHERE qty < 0) THROW 50001, 'negative', 1")  # fmt: skip
    out = run("BEGIN TRAN; INSERT INTO trg_t (id) VALUES (5); UPDATE trg_t SET qty = -1 WHERE id = 1; SELECT 'on'")
    assert (out.errors, out.rows) == ([50001], [])
    assert out.messages[0].procedure == "trg_e"
    assert run("SELECT @@TRANCOUNT, COUNT(*), MIN(qty) FROM trg_t").rows == [[(0, 2, 10)]]
    assert run("UPDATE trg_t SET qty = 5 WHERE id = 1; SELECT @@ROWCOUNT").rows == [[(1,)]]


def test_an_error_in_a_trigger_without_a_transaction_undoes_the_statement(run: Run) -> None:
    run("CREATE TRIGGER trg_e ON trg_t AFTER DELETE AS SELECT 1 / (SELECT COUNT(*) FROM inserted) AS x")
    assert run("DELETE FROM trg_t; SELECT 'on'").errors == [8134]
    assert run("SELECT @@TRANCOUNT, COUNT(*) FROM trg_t").rows == [[(0, 2)]]


def test_a_caught_trigger_error_dooms_the_transaction(run: Run) -> None:
    run("CREATE TRIGGER trg_e ON trg_t AFTER UPDATE AS THROW 50001, 'no', 1")
    out = run(
        "BEGIN TRAN; BEGIN TRY UPDATE trg_t SET qty = 1 END TRY BEGIN CATCH "
        "SELECT ERROR_NUMBER(), ERROR_PROCEDURE(), XACT_STATE(), @@TRANCOUNT; ROLLBACK END CATCH; SELECT MIN(qty) "
        "FROM trg_t"
    )
    assert (out.errors, out.rows) == ([], [[(50001, "trg_e", -1, 1)], [(10,)]])


def test_rollback_in_a_trigger_is_3609_after_its_own_message(run: Run) -> None:
    run("CREATE TRIGGER trg_r ON trg_t AFTER DELETE AS "
        "BEGIN RAISERROR('keep them', 16, 1); ROLLBACK TRANSACTION; END")  # fmt: skip
    out = run("BEGIN TRAN; UPDATE trg_t SET qty = 0; DELETE trg_t WHERE id = 1; SELECT 'on'")
    assert (out.errors, out.rows) == ([50000, 3609], [])
    assert run("SELECT @@TRANCOUNT, MIN(qty), COUNT(*) FROM trg_t").rows == [[(0, 10, 2)]]
    assert run("DELETE trg_t; SELECT 'on'").errors == [50000, 3609]
    assert run("SELECT COUNT(*), @@TRANCOUNT FROM trg_t").rows == [[(2, 0)]]


def test_raiserror_alone_does_not_stop_the_statement(run: Run) -> None:
    run("CREATE TRIGGER trg_r ON trg_t AFTER DELETE AS RAISERROR('mind', 16, 1)")
    out = run("DELETE trg_t WHERE id = 1; SELECT COUNT(*) FROM trg_t")
    assert (out.errors, out.rows) == ([50000], [[(1,)]])


def test_triggers_nest_and_do_not_call_themselves(run: Run) -> None:
    run("CREATE TRIGGER trg_n ON trg_t AFTER INSERT AS UPDATE trg_t SET qty = 99 WHERE id IN (SELECT id FROM inserted)")
    run("CREATE TRIGGER trg_m ON trg_t AFTER UPDATE AS "
        "INSERT INTO trg_audit (what, id, new) SELECT 'nested', id, @@NESTLEVEL FROM inserted; "
        "UPDATE trg_t SET code = 'm' WHERE id IN (SELECT id FROM inserted)")  # fmt: skip
    run("INSERT INTO trg_t (id) VALUES (3); SELECT SCOPE_IDENTITY()")
    assert audit(run) == [("nested", 3, None, 2)]
    assert run("SELECT qty, code FROM trg_t WHERE id = 3").rows == [[(99, "m")]]


def test_a_cascade_fires_the_childs_trigger_once(run: Run) -> None:
    run(
        "CREATE TRIGGER trg_cd ON trg_c AFTER DELETE AS INSERT INTO trg_audit (what, id) SELECT 'child', id FROM "
        "deleted"
    )
    run(
        "CREATE TRIGGER trg_td ON trg_t AFTER DELETE AS INSERT INTO trg_audit (what, id) SELECT 'parent', id FROM "
        "deleted"
    )
    assert run("DELETE trg_t; SELECT @@ROWCOUNT").rows == [[(2,)]]
    assert sorted(audit(run)) == [("child", 7, None, None), ("child", 8, None, None), ("parent", 1, None, None),
                                  ("parent", 2, None, None)]  # fmt: skip
    assert audit(run)[0][0] == "parent"


def test_a_disabled_trigger_rests_and_the_catalog_knows(run: Run) -> None:
    run(AUDIT)
    run("CREATE TRIGGER trg_io ON trg_c INSTEAD OF INSERT AS PRINT 'no'")
    query = (
        "SELECT name, is_disabled, is_instead_of_trigger, type, OBJECT_NAME(parent_id), parent_class FROM sys.triggers "
        "WHERE name LIKE 'trg%' ORDER BY name"
    )
    assert run(query).rows == [[("trg_au", False, False, "TR", "trg_t", 1), ("trg_io", False, True, "TR", "trg_c", 1)]]
    assert run(
        "SELECT e.type_desc FROM sys.trigger_events e JOIN sys.triggers t ON t.object_id = e.object_id "
        "WHERE t.name = 'trg_au' ORDER BY e.type"
    ).rows == [[("INSERT",), ("UPDATE",), ("DELETE",)]]
    run("DISABLE TRIGGER trg_au ON trg_t; UPDATE trg_t SET qty = 1")
    assert audit(run) == []
    assert run(
        "SELECT OBJECTPROPERTY(OBJECT_ID('trg_au'), 'ExecIsTriggerDisabled'), "
        "OBJECTPROPERTY(OBJECT_ID('trg_io', 'TR'), 'ExecIsInsteadOfTrigger'), "
        "OBJECTPROPERTY(OBJECT_ID('trg_au'), 'ExecIsDeleteTrigger'), "
        "OBJECTPROPERTY(OBJECT_ID('trg_t'), 'TableHasDeleteTrigger'), "
        "OBJECTPROPERTY(OBJECT_ID('trg_t'), 'TableHasInsertTrigger')"
    ).rows == [[(1, 1, 1, 1, 1)]]
    run("ALTER TABLE trg_t ENABLE TRIGGER ALL; UPDATE trg_t SET qty = 2 WHERE id = 1")
    assert audit(run) == [("update", 1, 1, 2)]
    run("DROP TRIGGER trg_au; UPDATE trg_t SET qty = 3; DROP TRIGGER IF EXISTS trg_au")
    assert len(audit(run)) == 1
    assert run("DROP TRIGGER trg_au").errors == [3701]


@pytest.mark.parametrize(
    ("sql", "number"),
    [
        ("SELECT 1; CREATE TRIGGER x ON trg_t FOR INSERT AS PRINT 'x'", 111),
        ("CREATE TRIGGER x ON trg_none FOR INSERT AS PRINT 'x'", 8197),
        ("CREATE TRIGGER trg_t ON trg_t FOR INSERT AS PRINT 'x'", 2714),
        ("ALTER TRIGGER x ON trg_t FOR INSERT AS PRINT 'x'", 208),
        ("CREATE TRIGGER trg_i2 ON trg_c INSTEAD OF DELETE AS PRINT 'x'", 2113),
        ("CREATE TRIGGER x ON DATABASE FOR DROP_TABLE AS PRINT 'x'", 50100),
        ("SELECT * FROM inserted", 208),
    ],
)
def test_what_is_wrong_with_a_trigger_has_its_number(run: Run, sql: str, number: int) -> None:
    assert run(sql).errors == [number]


def test_an_instead_of_trigger_is_refused_when_it_would_fire(run: Run) -> None:
    run("CREATE TRIGGER trg_io ON trg_t INSTEAD OF INSERT AS PRINT 'no'")
    out = run("INSERT INTO trg_t (id) VALUES (9)")
    assert out.errors == [50100]
    assert "INSTEAD OF" in out.messages[0].text
    assert run("UPDATE trg_t SET qty = 0; SELECT @@ROWCOUNT").rows == [[(2,)]]


def test_output_to_the_client_is_334_and_into_a_table_is_not(run: Run) -> None:
    run(AUDIT)
    assert run("DELETE FROM trg_t OUTPUT deleted.id WHERE id = 1").errors == [334]
    out = run("DECLARE @t TABLE (id int); DELETE FROM trg_t OUTPUT deleted.id INTO @t WHERE id = 1; SELECT id FROM @t")
    assert (out.errors, out.rows) == ([], [[(1,)]])
    assert audit(run) == [("delete", 1, 10, None)]


def test_altering_a_trigger_replaces_its_body(run: Run) -> None:
    run(AUDIT)
    run("ALTER TRIGGER trg_au ON trg_t AFTER INSERT AS UPDATE inserted SET qty = 1")
    assert run("INSERT INTO trg_t (id) VALUES (9)").errors == [286]
    run("CREATE OR ALTER TRIGGER trg_au ON trg_t AFTER INSERT AS SELECT id FROM inserted")
    out = run("INSERT INTO trg_t (id) VALUES (9)")
    assert out.rows == [[(9,)]]
    assert [type(e) for e in out.events if isinstance(e, Done | Message)] == [Done, Done]
    definition = run("SELECT definition FROM sys.sql_modules WHERE object_id = OBJECT_ID('trg_au')").rows[0][0][0]
    assert definition.startswith("CREATE OR ALTER TRIGGER trg_au")


def test_the_identity_of_a_triggers_insert_is_not_the_scopes(run: Run) -> None:
    run("CREATE TABLE trg_i (id int IDENTITY(100, 1), x int); INSERT INTO trg_audit (what) VALUES ('first')")
    run("CREATE TRIGGER trg_ii ON trg_i FOR INSERT AS INSERT INTO trg_audit (what) SELECT 'i' FROM inserted")
    out = run("INSERT INTO trg_i (x) VALUES (1); SELECT SCOPE_IDENTITY(), @@IDENTITY; DROP TABLE trg_i")
    assert [tuple(map(int, r)) for r in out.rows[0]] == [(100, 2)]


def test_a_trigger_waits_for_locks_like_any_statement(
    session: Session, connect: Callable[..., Session], on: Callable[[Session, str], Any]
) -> None:
    on(session, AUDIT)
    on(session, "BEGIN TRAN; UPDATE trg_t SET qty = 1 WHERE id = 1")
    assert on(connect(), "SET LOCK_TIMEOUT 20; UPDATE trg_t SET qty = 2 WHERE id = 1").errors == [1222]
    assert on(session, "COMMIT; SELECT COUNT(*) FROM trg_audit").rows == [[(1,)]]
