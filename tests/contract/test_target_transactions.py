"""The TargetConnection port under fire: lost connections, races, cancels, triggers. Each event counts once or not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.ports import TargetConnection
from sql_databricks_bridge.db.sql_server import MssqlServer
from sql_databricks_bridge.errors import Cancelled, CommitUnknown, EventInvalid, SourceBusy, SourceUnavailable
from sql_databricks_bridge.models.applying import ApplyPlan, Counts, Filter
from sql_databricks_bridge.models.events import LedgerEntry, LedgerOutcome, Operation
from sql_databricks_bridge.models.tables import Target
from tests.conftest import StandIn
from tests.contract.target_fixture import Applied, Bench, entry, unless_the_stand_in_lacks_it

INSERT, UPDATE, DELETE, UPSERT = Operation.INSERT, Operation.UPDATE, Operation.DELETE, Operation.UPSERT
COMMIT = {"kind": "transaction", "statement": "COMMIT TRANSACTION"}


@pytest.fixture
def bench(sqlserver_settings: Settings) -> Iterator[Bench]:
    with Bench(sqlserver_settings) as found:
        yield found


@pytest.fixture
def other(sqlserver_settings: Settings) -> Iterator[TargetConnection]:
    """Another poller's connection."""
    connection = MssqlServer(sqlserver_settings).connect_target()
    yield connection
    connection.close()


@pytest.fixture
def table(bench: Bench) -> Target:
    target = bench.target("t", "id int NOT NULL PRIMARY KEY, v int NULL")
    bench.run(f"INSERT INTO {bench.schema}.t VALUES (1, 10), (2, 20)")
    return target


def batch(*numbers: int) -> pa.RecordBatch:
    return pa.record_batch({"id": pa.array(numbers, pa.int32()), "v": pa.array(numbers, pa.int32())})


def standing(bench: Bench) -> list[tuple[Any, ...]]:
    return bench.tuples(f"SELECT id, v FROM {bench.schema}.t ORDER BY id")


BEFORE, AFTER = [(1, 10), (2, 20)], [(1, 10), (2, 2), (3, 3)]


def upsert(bench: Bench, table: Target) -> ApplyPlan:
    """Turns BEFORE into AFTER."""
    return bench.plan(UPSERT, table, batch(2, 3), "id")


# Lost connections --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("when", "committed"), [("before", False), ("after", True)])
def test_a_link_lost_in_the_commit_leaves_it_to_the_ledger(
    bench: Bench, table: Target, other: TargetConnection, sqlserver_faults: StandIn, when: str, committed: bool
) -> None:
    """The error is the same for both; another connection finds out, and applies at most once in all."""
    plan = upsert(bench, table)
    rule = sqlserver_faults.fault(match=COMMIT, action={"drop": when})
    with pytest.raises(CommitUnknown):
        bench.connection.apply(plan, Applied(plan))
    assert sqlserver_faults.hits(rule) == 1
    with pytest.raises(SourceUnavailable, match="closed"):
        bench.connection.entries(["x"])
    again = Applied(plan)
    stands = other.apply(plan, again)
    assert (again.counts is None) is committed
    assert (stands.outcome, stands.rows_affected) == (LedgerOutcome.APPLIED, 2)
    assert standing(bench) == AFTER
    assert len(bench.ledger(plan.entry.event_id)) == 1


def _calls_of_one_apply(stand_in: StandIn, bench: Bench, table: Target) -> int:
    """How many statements a clean run sends between BEGIN and COMMIT, by the stand-in's own log."""
    bench.connection.apply(plan := upsert(bench, table), Applied(plan))
    log = stand_in.requests()
    (end,) = [n for n, request in enumerate(log) if request["statement"] == "COMMIT TRANSACTION"][-1:]
    (start,) = [n for n, request in enumerate(log[:end]) if request["statement"] == "BEGIN TRANSACTION"][-1:]
    calls = log[start + 1 : end]
    assert {call["kind"] for call in calls} == {"rpc"}
    return len(calls)


def test_a_link_lost_at_any_statement_before_the_commit_leaves_nothing(
    bench: Bench, sqlserver_settings: Settings, sqlserver_faults: StandIn
) -> None:
    """Before and behind each statement of a clean run's log: the error is transient, a second try applies once."""
    clean = bench.target("clean", "id int NOT NULL PRIMARY KEY, v int NULL")
    calls = _calls_of_one_apply(sqlserver_faults, bench, clean)
    assert calls >= 4  # ledger, checks, statement, ledger
    for number in range(1, calls + 1):
        for when in ("before", "after"):
            table = bench.target(f"t_{number}_{when}", "id int NOT NULL PRIMARY KEY, v int NULL")
            connection = MssqlServer(sqlserver_settings).connect_target()
            plan = bench.plan(INSERT, table, batch(1, 2), "id")
            rule = sqlserver_faults.fault(match={"kind": "rpc"}, on=number, action={"drop": when})
            with pytest.raises(SourceUnavailable):
                connection.apply(plan, Applied(plan))
            assert sqlserver_faults.hits(rule) == 1, (number, when)
            sqlserver_faults.clear()
            assert bench.count(str(table)) == 0
            assert bench.ledger(plan.entry.event_id) == []
            assert bench.apply(plan) == Counts(inserted=2)


@pytest.mark.parametrize("number", [1205, 1222])
def test_a_transient_error_is_rolled_back_and_named_so(
    bench: Bench, table: Target, sqlserver_faults: StandIn, number: int
) -> None:
    """Nothing stands, and the very same connection applies it next time."""
    text = {
        1205: "Transaction was deadlocked and has been chosen as the deadlock victim",
        1222: "Lock request time out period exceeded",
    }
    plan = upsert(bench, table)
    rule = sqlserver_faults.fault(match={"kind": "rpc"}, on=3, action={"error": number, "message": text[number]})
    with pytest.raises(SourceBusy):
        bench.connection.apply(plan, Applied(plan))
    assert sqlserver_faults.hits(rule) == 1
    assert (standing(bench), bench.ledger(plan.entry.event_id)) == (BEFORE, [])
    assert bench.apply(plan) == Counts(updated=1, inserted=1)


# Races -------------------------------------------------------------------------------------------------------------


class Racer:
    """Applies a plan in a thread of its own, by a connection of its own."""

    def __init__(self, connection: TargetConnection, plan: ApplyPlan) -> None:
        self.applied = Applied(plan)
        self.result: LedgerEntry | BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(connection, plan))
        self._thread.start()

    def _run(self, connection: TargetConnection, plan: ApplyPlan) -> None:
        try:
            self.result = connection.apply(plan, self.applied)
        except Exception as exc:  # noqa: BLE001 (looked at by the test)
            self.result = exc

    def waits(self) -> bool:
        """Whether it is still at it after a while that would do for it otherwise."""
        self._thread.join(1.0)
        return self._thread.is_alive()

    def end(self) -> LedgerEntry | BaseException | None:
        """What came of it."""
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.result


@pytest.mark.parametrize("first_succeeds", [True, False])
def test_of_two_that_apply_the_same_event_exactly_one_does(
    bench: Bench, table: Target, other: TargetConnection, first_succeeds: bool
) -> None:
    """The second waits for the first's ledger row: it returns that, or applies where the first gave up."""
    plan = bench.plan(INSERT, table, batch(3))
    racers: list[Racer] = []

    def before_commit(counts: Counts) -> LedgerEntry:
        racers.append(Racer(other, plan))
        assert racers[0].waits()
        if not first_succeeds:
            raise EventInvalid("the first gives up")
        return replace(plan.entry, rows_affected=counts.affected, message="the first")

    if first_succeeds:
        assert bench.connection.apply(plan, before_commit).message == "the first"
    else:
        with pytest.raises(EventInvalid, match="gives up"):
            bench.connection.apply(plan, before_commit)
    result = racers[0].end()
    assert isinstance(result, LedgerEntry)
    assert result.message == ("the first" if first_succeeds else "as counted")
    assert (racers[0].applied.counts is None) is first_succeeds
    assert standing(bench) == [*BEFORE, (3, 3)]
    assert len(bench.ledger(plan.entry.event_id)) == 1


def test_an_upsert_holds_the_keys_that_it_found_missing(bench: Bench, table: Target, other: TargetConnection) -> None:
    """Another event's UPSERT of the same new key waits, and then updates: no duplicate, no error."""
    first, second = bench.plan(UPSERT, table, batch(3), "id"), bench.plan(UPSERT, table, batch(3), "id")
    racers: list[Racer] = []

    def before_commit(counts: Counts) -> LedgerEntry:
        racers.append(Racer(other, second))
        assert racers[0].waits()
        return replace(first.entry, rows_affected=counts.affected)

    bench.connection.apply(first, before_commit)
    assert isinstance(racers[0].end(), LedgerEntry)
    assert racers[0].applied.counts == Counts(updated=1)
    assert standing(bench) == [*BEFORE, (3, 3)]


def test_a_cancel_ends_a_statement_that_waits_for_a_lock(bench: Bench, table: Target, other: TargetConnection) -> None:
    """It raises `Cancelled`; nothing of it stands."""
    holder, waiting = bench.plan(UPDATE, table, batch(2), "id"), bench.plan(UPDATE, table, batch(1, 2), "id")
    racers: list[Racer] = []

    def before_commit(counts: Counts) -> LedgerEntry:
        racers.append(Racer(other, waiting))
        assert racers[0].waits()
        other.cancel()
        assert isinstance(racers[0].end(), Cancelled)
        return replace(holder.entry, rows_affected=counts.affected)

    bench.connection.apply(holder, before_commit)
    assert standing(bench) == [(1, 10), (2, 2)]
    assert bench.ledger(waiting.entry.event_id) == []


# Triggers ----------------------------------------------------------------------------------------------------------


def trigger(bench: Bench, body: str, events: str = "INSERT, UPDATE, DELETE") -> None:
    bench.run(f"CREATE TABLE {bench.schema}.log (what varchar(10) NOT NULL, n int NOT NULL)")
    bench.run(f"CREATE TRIGGER {bench.schema}.fires ON {bench.schema}.t AFTER {events} AS BEGIN {body} END")


def all_plans(bench: Bench, table: Target) -> list[tuple[ApplyPlan, Counts]]:
    """One of each operation, in an order that works, with its counts."""
    key = table.columns[0]
    return [
        (bench.plan(INSERT, table, batch(3, 4, 5)), Counts(inserted=3)),
        (bench.plan(UPDATE, table, batch(3, 4), "id"), Counts(updated=2)),
        (bench.plan(UPSERT, table, batch(5, 6), "id"), Counts(updated=1, inserted=1)),
        (bench.plan(DELETE, table, batch(3, 4, 9), "id"), Counts(deleted=2)),
        (ApplyPlan(DELETE, table, entry(), filters=(Filter(key, 5, "int"),)), Counts(deleted=1)),
    ]


@pytest.mark.parametrize(
    "body",
    [
        "INSERT INTO {schema}.log SELECT 'new', id FROM inserted UNION ALL SELECT 'old', id FROM deleted;",
        "SET NOCOUNT OFF; INSERT INTO {schema}.log VALUES ('a', 1), ('b', 2), ('c', 3), ('d', 4);",
        "SELECT 17 AS n, 'a result' AS said; SELECT id AS bridge_id FROM {schema}.t;",
        "DECLARE @n int; SELECT @n = COUNT(*) FROM {schema}.t WHERE 1 = 0;",
    ],
    ids=["writes", "counts", "sends-rows", "resets-rowcount"],
)
def test_triggers_fire_and_do_not_confuse_the_counts(bench: Bench, table: Target, body: str) -> None:
    """What they write, count or send, the event counts its own statement."""
    trigger(bench, body.format(schema=bench.schema))
    for plan, counts in all_plans(bench, table):
        assert bench.apply(plan) == counts
    assert standing(bench) == [*BEFORE, (6, 6)]
    if "inserted" in body:
        assert bench.count(f"{bench.schema}.log") == 3 + 4 + (2 + 1) + 2 + 1


def test_a_trigger_that_raises_refuses_the_event_in_its_own_words(bench: Bench, table: Target) -> None:
    """Message and number are the trigger's."""
    trigger(bench, "THROW 50123, 'stock is closed', 1;")
    plan = upsert(bench, table)
    with pytest.raises(EventInvalid, match=r"stock is closed.*\(error 50123\)"):
        bench.connection.apply(plan, Applied(plan))
    assert (standing(bench), bench.ledger(plan.entry.event_id)) == (BEFORE, [])
    bench.run(f"DROP TRIGGER {bench.schema}.fires")
    assert bench.apply(plan) == Counts(updated=1, inserted=1)


@pytest.mark.parametrize("body", ["ROLLBACK TRANSACTION;", "ROLLBACK TRANSACTION; BEGIN TRANSACTION;"])
def test_a_trigger_that_rolls_back_leaves_nothing_and_says_so(bench: Bench, table: Target, body: str) -> None:
    """Even where it opens another transaction, which the event would else commit as if it held its rows."""
    trigger(bench, body)
    plan = upsert(bench, table)
    with pytest.raises(EventInvalid):
        bench.connection.apply(plan, Applied(plan))
    assert (standing(bench), bench.ledger(plan.entry.event_id)) == (BEFORE, [])


@pytest.mark.parametrize("body", ["COMMIT TRANSACTION;", "COMMIT TRANSACTION; BEGIN TRANSACTION;"])
@pytest.mark.parametrize("refuse", [False, True])
def test_a_trigger_that_commits_is_told_as_what_it_did(bench: Bench, table: Target, body: str, refuse: bool) -> None:
    """Its rows stand, so the event is applied, whatever was raised behind; nothing says that it was rolled back."""
    trigger(bench, body)
    plan = bench.plan(INSERT, table, batch(3))
    stands = bench.connection.apply(plan, Applied(plan, raises=EventInvalid("too many") if refuse else None))
    assert stands.outcome is LedgerOutcome.APPLIED
    assert standing(bench) == [*BEFORE, (3, 3)]
    assert len(bench.ledger(plan.entry.event_id)) == 1


def test_an_instead_of_trigger_does_what_it_likes_and_the_statement_counts(bench: Bench, table: Target) -> None:
    """The server counts the statement's rows; that the target has such a trigger stands in the catalog."""
    bench.run(f"CREATE TRIGGER {bench.schema}.fires ON {bench.schema}.t INSTEAD OF DELETE AS BEGIN SELECT 1 AS n; END")
    with unless_the_stand_in_lacks_it():
        assert bench.apply(bench.plan(DELETE, table, batch(1, 2), "id")) == Counts(deleted=2)
    assert standing(bench) == BEFORE
