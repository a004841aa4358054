"""Bulk copy by Microsoft's driver: names, mappings, options, constraints, batches, locks and what goes wrong midway."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest

from sql_databricks_bridge.core.config import Settings

from ..conftest import StandIn
from .bulk_copy import Server, Target


@pytest.fixture(scope="module")
def server(sqlserver_settings: Settings) -> Iterator[Server]:
    with contextlib.closing(Server(sqlserver_settings)) as found:
        yield found


def ints(*values: int | None) -> pa.Array:
    return pa.array(values, pa.int32())


def numbered(rows: int, start: int = 0) -> pa.Table:
    return pa.table({"n": pa.array(range(start, start + rows), pa.int32())})


# -- where the rows go -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("schema", "name"), [("dbo", "[we ird]]na.me]"), ("[bulk sch]]ema]", "[añ'ó\"]")])
def test_odd_names_are_found(server: Server, schema: str, name: str) -> None:
    """Schemas, tables and columns with blanks, dots, quotes, brackets and letters of any script."""
    if schema != "dbo":
        server.run(f"CREATE SCHEMA {schema}")
    with contextlib.ExitStack() as undo:
        if schema != "dbo":
            undo.callback(server.run, f"DROP SCHEMA {schema}")
        target = undo.enter_context(
            server.table("n int, [a b] int, [x]]y] varchar(5), [añ.ó'] nvarchar(5)", schema, name)
        )
        names = ["n", "a b", "x]y", "añ.ó'"]
        target.copy(pa.table([ints(1), ints(2), pa.array(["x"]), pa.array(["é"])], names=names))
        shuffled = [names[i] for i in (3, 1, 2, 0)]
        target.copy(
            pa.table([pa.array(["ü"]), ints(5), pa.array(["y"]), ints(4)], names=["p", "q", "r", "s"]),
            column_mappings=shuffled,
        )
        assert target.rows() == [(1, 2, "x", "é"), (4, 5, "y", "ü")]


def test_columns_left_out_take_their_default_or_null(server: Server) -> None:
    """A mapping may reorder and leave out; identity, DEFAULT and rowversion fill themselves."""
    with server.table("id int IDENTITY(10,5), n int, a int DEFAULT 7, b varchar(5), r rowversion") as target:
        target.copy(pa.table({"x": ["v", "w"], "y": ints(1, 2)}), column_mappings=[(1, "n"), (0, "b")])
        assert target.rows("id, n, a, b") == [(10, 1, 7, "v"), (15, 2, 7, "w")]
        assert server.run(f"SELECT COUNT(DISTINCT r) FROM {target.name}") == [(2,)]


def test_a_missing_column_without_default_must_allow_null(server: Server) -> None:
    """Error 515, and nothing is loaded."""
    with server.table("n int NOT NULL, must int NOT NULL") as target:
        with pytest.raises(RuntimeError, match=r"Sql Error: 515: .*'must'"):
            target.copy(numbered(3), column_mappings=["n"])
        assert target.count() == 0


def test_a_table_that_is_not_there_is_named(server: Server) -> None:
    """Error 208."""
    with pytest.raises(RuntimeError, match=r"Sql Error: 208: .*nowhere"):
        Target(server, "dbo", "nowhere").copy(numbered(1))


# -- options -----------------------------------------------------------------------------------------------------------


def test_null_becomes_the_default_unless_nulls_are_kept(server: Server) -> None:
    """KEEP_NULLS decides whether a NULL takes the column's DEFAULT."""
    with server.table("n int, a int DEFAULT 7, g varchar(9) DEFAULT 'made'") as target:
        target.copy(pa.table({"n": ints(1, 2), "a": ints(None, 1), "g": pa.array(["sent", None])}))
        target.copy(pa.table({"n": ints(3), "a": ints(None), "g": pa.array([None], pa.string())}), keep_nulls=True)
        assert target.rows() == [(1, 7, "sent"), (2, 1, "made"), (3, None, None)]


def test_identity_values_are_made_or_kept(server: Server) -> None:
    """keep_identity stores the values sent and moves the counter on past them, never back."""
    with server.table("n int IDENTITY(1,1) PRIMARY KEY, v varchar(5)") as target:
        target.copy(pa.table({"v": ["made"]}), column_mappings=["v"])
        target.copy(pa.table({"n": ints(100, 50), "v": ["kept", "kept"]}), keep_identity=True)
        target.copy(pa.table({"n": ints(60), "v": ["kept"]}), keep_identity=True)
        server.run(f"INSERT INTO {target.name} (v) VALUES ('next')")
        assert target.rows() == [(1, "made"), (50, "kept"), (60, "kept"), (100, "kept"), (101, "next")]


def test_check_constraints_count_only_when_asked_for(server: Server) -> None:
    """Without check_constraints a CHECK lets everything in; with it error 547; afterwards INSERT is checked again."""
    with server.table("n int CHECK (n > 0)") as target:
        target.copy(pa.table({"n": ints(-1)}))
        with pytest.raises(RuntimeError, match=r"Sql Error: 547: .*CHECK"):
            target.copy(pa.table({"n": ints(5, -2)}), check_constraints=True)
        with pytest.raises(Exception, match="CHECK constraint"):
            server.run(f"INSERT INTO {target.name} VALUES (-3)")
        assert target.rows() == [(-1,)]


def test_foreign_keys_count_only_when_asked_for(server: Server) -> None:
    """A FOREIGN KEY likewise; one that rows went past is no longer trusted."""
    with server.table("n int PRIMARY KEY") as parent, server.table(f"n int REFERENCES {parent.name}") as child:
        trusted = f"SELECT is_not_trusted FROM sys.foreign_keys WHERE parent_object_id = OBJECT_ID('{child.name}')"
        with pytest.raises(RuntimeError, match=r"Sql Error: 547: .*FOREIGN KEY"):
            child.copy(pa.table({"n": ints(1)}), check_constraints=True)
        assert server.run(trusted) == [(False,)]
        child.copy(pa.table({"n": ints(1)}))
        assert server.run(trusted) == [(True,)]
        with pytest.raises(Exception, match="FOREIGN KEY constraint"):
            server.run(f"INSERT INTO {child.name} VALUES (2)")
        assert child.rows() == [(1,)]


def test_unique_keys_always_count(server: Server) -> None:
    """Error 2627 with the key, under the column's collation; nothing of the batch stays."""
    with server.table("n int, k varchar(5) CONSTRAINT pk_bulk_k PRIMARY KEY") as target:
        with pytest.raises(RuntimeError, match=r"Sql Error: 2627: .*pk_bulk_k.*\(a"):
            target.copy(pa.table({"n": ints(1, 2, 3), "k": ["a", "b", "A"]}))
        assert target.count() == 0
        target.copy(pa.table({"n": ints(1, 2), "k": ["a", "b"]}))
        assert target.count() == 2


def test_the_driver_refuses_what_does_not_fit(server: Server) -> None:
    """NULL for NOT NULL and a string over its length never reach the server; what it has sent is taken back."""
    rows = 100_000
    with server.table("n int NOT NULL, s varchar(3)") as target:
        for last in ({"n": ints(None), "s": ["x"]}, {"n": ints(1), "s": ["xxxx"]}):
            good = pa.table({"n": pa.array(range(rows), pa.int32()), "s": pa.array(["x"] * rows)})
            with pytest.raises(ValueError, match=r"NULL|length"):
                target.copy(pa.concat_tables([good, pa.table(last)]))
            assert target.count() == 0


@pytest.mark.usefixtures("sqlserver_stand_in")
def test_nul_characters_are_refused_by_name(server: Server) -> None:
    """A difference from a real server, which stores them: PostgreSQL can't."""
    with server.table("n int, s nvarchar(9)") as target:
        with pytest.raises(RuntimeError, match=r"U\+0000 in text \(column 's'\)"):
            target.copy(pa.table({"n": ints(1), "s": ["a\0b"]}))
        assert target.count() == 0


@pytest.mark.parametrize(
    ("xml", "says"),
    [
        ("<a><b></a>", "well-formed"),
        ("<a></a>", "another form"),
        ("<?xml version='1.0'?><a/>", "well-formed"),
        ("<a b='1'/>", "another form"),
        ("<a> <b/></a>", "another form"),
    ],
)
@pytest.mark.usefixtures("sqlserver_stand_in")
def test_xml_in_another_form_is_refused_by_name(server: Server, xml: str, says: str) -> None:
    """SQL Server would give it back in its own form; the stand-in, which keeps text, does not pretend."""
    with server.table("n int, x xml") as target:
        with pytest.raises(RuntimeError, match=says):
            target.copy(pa.table({"n": ints(1), "x": [xml]}))
        assert target.count() == 0


@pytest.mark.usefixtures("sqlserver_stand_in")
def test_values_of_the_wrong_length_are_no_rows(server: Server) -> None:
    """The driver's NOT NULL smallmoney is malformed: an error and no rows, the server goes on."""
    with server.table("n int, v smallmoney NOT NULL") as target:
        values = pa.table({"n": ints(1), "v": pa.array([1], pa.decimal128(10, 4))})
        with pytest.raises(RuntimeError, match=r"Sql Error: 48\d\d|protocol stream"):
            target.copy(values)
        assert target.count() == 0


# -- batches -----------------------------------------------------------------------------------------------------------


def _failing(rows: int, batches: int) -> pa.RecordBatchReader:
    schema = pa.schema([("n", pa.int32())])

    def source() -> Iterator[pa.RecordBatch]:
        for number in range(batches):
            yield numbered(rows, number * rows).to_batches()[0].cast(schema)
        raise OSError("the source broke")

    return pa.RecordBatchReader.from_batches(schema, source())


@pytest.mark.parametrize("batch_size", [0, 1500])
def test_a_source_that_fails_midway_leaves_what_was_sent(server: Server, batch_size: int) -> None:
    """The driver ends the message in order, so the server commits it: the caller must count."""
    with server.table("n int") as target:
        with pytest.raises(RuntimeError, match="the source broke"):
            target.copy(_failing(1000, 4), batch_size=batch_size)
        assert target.count() == 4000


def test_each_batch_commits_on_its_own(server: Server) -> None:
    """batch_size=2: the batches before the one that fails stay; with 0 all is one batch and nothing does."""
    with server.table("n int PRIMARY KEY") as target:
        values = pa.table({"n": ints(1, 2, 3, 4, 4, 6)})
        with pytest.raises(RuntimeError, match=r"Sql Error: 2627"):
            target.copy(values)
        assert target.count() == 0
        with pytest.raises(RuntimeError, match=r"Sql Error: 2627"):
            target.copy(values, batch_size=2)
        assert target.rows() == [(1,), (2,), (3,), (4,)]


@pytest.mark.parametrize("own_transaction", [False, True])
def test_batches_add_up(server: Server, own_transaction: bool) -> None:
    """Full batches and a last one, with the driver's transaction around each or without."""
    with server.table("n int") as target:
        assert target.copy(numbered(1001), batch_size=250, use_internal_transaction=own_transaction) == 1001
        assert target.rows() == [(n,) for n in range(1001)]


def test_an_empty_source_loads_nothing(server: Server) -> None:
    """No rows, no error."""
    with server.table("n int") as target:
        assert target.copy(numbered(0)) == 0
        assert target.count() == 0


# -- locks -------------------------------------------------------------------------------------------------------------


def test_a_lock_of_another_transaction_is_waited_for(server: Server) -> None:
    """A table lock holds the load up, a time limit ends the waiting without a row, the lock's end lets it go on."""
    with server.table("n int") as target, contextlib.closing(server.connect(autocommit=False)) as other:
        other.cursor().execute(f"SELECT COUNT(*) FROM {target.name} WITH (TABLOCKX, HOLDLOCK)").fetchall()
        with pytest.raises(RuntimeError, match=r"(?i)timeout"):
            target.copy(numbered(1000), timeout=1)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(_copy_alone, server, target, numbered(1000))
            assert not _done(waiting, 1.0)
            other.rollback()
            assert waiting.result(60) == 1000
        assert target.count() == 1000


def _done(future: Any, wait_s: float) -> bool:
    ended = threading.Event()
    future.add_done_callback(lambda _: ended.set())
    return ended.wait(wait_s)


def _copy_alone(server: Server, target: Target, source: pa.Table, **options: Any) -> int:
    """From another thread, hence on another connection."""
    with contextlib.closing(server.connect()) as connection, contextlib.closing(connection.cursor()) as cursor:
        return int(cursor.bulkcopy_arrow(target.name, source, timeout=60, **options)["rows_copied"])


@pytest.mark.parametrize("table_lock", [False, True])
def test_loads_side_by_side_all_arrive(server: Server, table_lock: bool) -> None:
    """Four loads into one table, with table locks or without, lose nothing and block nobody for good."""
    with server.table("n int PRIMARY KEY") as target, ThreadPoolExecutor(4) as pool:
        loads = [
            pool.submit(_copy_alone, server, target, numbered(20_000, start), table_lock=table_lock)
            for start in range(0, 80_000, 20_000)
        ]
        assert [load.result(100) for load in loads] == [20_000] * 4
        assert target.count() == 80_000


# -- faults ------------------------------------------------------------------------------------------------------------

ROWS = 100_000


@pytest.mark.parametrize(
    ("action", "says", "stays"),
    [
        ({"drop": "before"}, "(?i)connection|broken pipe", 0),
        ({"drop_after_rows": 60_000}, "(?i)connection|broken pipe", 0),
        ({"drop": "after"}, "(?i)connection", ROWS),
        ({"error": 1205, "message": "victim", "severity": 13}, "Sql Error: 1205: Class 13.*victim", 0),
        ({"error_after_rows": 60_000, "number": 1105, "severity": 17}, "Sql Error: 1105: Class 17", 0),
        ({"error_after": 701, "severity": 17}, "Sql Error: 701", ROWS),
    ],
    ids=str,
)
def test_a_fault_hits_the_load_of_the_named_table(
    sqlserver_faults: StandIn, server: Server, action: dict[str, Any], says: str, stays: int
) -> None:
    """Lost before, amid and after the commit, and errors: what stays in the table is exactly what was committed."""
    with server.table("n int") as target, server.table("n int") as other:
        rule = sqlserver_faults.fault(match={"kind": "bulk", "table": target.name}, action=action)
        assert other.copy(numbered(10)) == 10
        with pytest.raises(RuntimeError, match=says):
            target.copy(numbered(ROWS))
        sqlserver_faults.wait_for(rule)
        assert target.count() == stays
        assert target.copy(numbered(10)) == 10
        loads = [each for each in sqlserver_faults.requests() if each["table"] == target.name]
        assert [each["outcome"] for each in loads] == ["error" if "Sql" in says else "dropped", "done"]


@pytest.mark.parametrize(("action", "stays"), [({"drop": "before"}, 500), ({"drop": "after"}, 1000)], ids=str)
def test_a_fault_hits_the_named_batch(
    sqlserver_faults: StandIn, server: Server, action: dict[str, Any], stays: int
) -> None:
    """on=2 is the second batch: the first stays."""
    with server.table("n int") as target:
        rule = sqlserver_faults.fault(match={"kind": "bulk", "table_contains": "BULK_"}, action=action, on=2)
        with pytest.raises(RuntimeError, match=r"(?i)connection|broken pipe"):
            target.copy(numbered(2000), batch_size=500)
        sqlserver_faults.wait_for(rule)
        assert target.count() == stays


def test_a_cancelled_load_leaves_nothing(sqlserver_faults: StandIn, server: Server) -> None:
    """The driver's time limit comes as an attention amid the rows."""
    with server.table("n int") as target:
        slow = {"slow_rows": {"every": 1000, "seconds": 60}}
        rule = sqlserver_faults.fault(match={"kind": "bulk", "table": target.name}, action=slow)
        with pytest.raises(RuntimeError, match=r"(?i)timeout"):
            target.copy(numbered(20_000), timeout=1)
        sqlserver_faults.wait_for(rule)
        assert target.count() == 0
        loads = [each for each in sqlserver_faults.requests() if each["table"] == target.name]
        assert [each["outcome"] for each in loads] == ["cancelled"]
        assert target.copy(numbered(10)) == 10
