"""The Publisher port's table of states, on the stand-in or on the workspace that DATABRICKS_* names."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pyarrow as pa
import pytest

from sql_databricks_bridge.core.ports import Lakehouse
from sql_databricks_bridge.db.identifiers import databricks_identifier
from sql_databricks_bridge.errors import (
    BridgeError,
    LakehouseNotFound,
    LakehouseUnavailable,
    PublicationOvertaken,
    PublicationRefused,
    PublishError,
)
from sql_databricks_bridge.models.names import Destination
from sql_databricks_bridge.models.publishing import DeltaColumn, IncrementKind, PublishedState, Watermark
from sql_databricks_bridge.models.tables import SourceName
from tests.conftest import StandIn
from tests.contract.publisher_fixture import (
    Desk,
    claimed,
    desk,
    lakehouse,
    people,
    quoted,
    statements,
    states,
)

__all__ = ["claimed", "desk", "lakehouse", "states"]

HOSTILE = 'it\'s "q" `b` \\ {table} :owner ${x} %s -- /* \n\U0001f600'
CONFLICT = {"error_code": "ABORTED", "message": "[DELTA_CONCURRENT_APPEND] Conflict.", "sqlstate": "2D521"}


def settled(desk: Desk, **changes: object) -> PublishedState:
    """Settle the next generation of the desk's state, with these changes; return what was written."""
    found = desk.publisher.find(desk.target)
    assert found is not None
    state = replace(found, **{"owner": desk.owner, "generation": found.generation + 1, **changes})  # type: ignore[arg-type]
    desk.publisher.settle(state)
    return state


def test_creating_twice_changes_nothing(claimed: Desk) -> None:
    claimed.publisher.create()
    assert claimed.publisher.find(claimed.target) is not None


def test_creating_makes_the_schema_too(lakehouse: Lakehouse, destination: Destination) -> None:
    there = SourceName(destination.catalog, f"pub_{uuid.uuid4().hex[:12]}", "states")
    try:
        lakehouse.publisher(there).create()
        assert lakehouse.publisher(there).list() == []
    finally:
        lakehouse.execute(f"DROP TABLE IF EXISTS {quoted(there)}")
        lakehouse.execute(f"DROP SCHEMA IF EXISTS {databricks_identifier(there.catalog, there.schema)}")


def test_without_a_table_of_states_nothing_is_published_and_a_claim_makes_it(desk: Desk) -> None:
    there = replace(desk.states, table=f"states-{uuid.uuid4().hex[:12]}")
    publisher = desk.lakehouse.publisher(there)
    try:
        assert publisher.list() == []
        assert publisher.find(desk.target) is None
        assert publisher.reset(desk.target) is False
        assert publisher.claim(desk.target, "co", "q", "me").generation == 0
        assert [state.owner for state in publisher.list()] == ["me"]
    finally:
        desk.lakehouse.execute(f"DROP TABLE IF EXISTS {quoted(there)}")


def test_a_missing_catalog_is_named_with_its_setting(desk: Desk) -> None:
    nowhere = replace(desk.states, catalog=f"no_{uuid.uuid4().hex[:12]}")
    with pytest.raises(LakehouseNotFound, match=f"no catalog {nowhere.catalog}.*BRIDGE_STATE_TABLE"):
        desk.lakehouse.publisher(nowhere).claim(desk.target, "co", "q", "me")


def test_a_first_claim_makes_the_row(desk: Desk) -> None:
    state = desk.publisher.claim(desk.target, "co", "q", "me")
    assert state == PublishedState(desk.target, desk.target, "co", "q", "me")
    assert desk.publisher.find(desk.target) == state


def test_what_is_settled_is_read_back_whole(desk: Desk) -> None:
    odd = replace(desk.target, table=f"{desk.target.table}-`q`+ñ")
    state = PublishedState(
        target=odd,
        table=replace(odd, table=f"{odd.table}_2"),
        country=HOSTILE,
        query=HOSTILE,
        owner=HOSTILE,
        generation=1,
        definition=HOSTILE,
        run_id=HOSTILE,
        manifest=HOSTILE,
        watermark=Watermark(IncrementKind.CDC, HOSTILE),
        columns=((HOSTILE, "decimal(18,4)"), ("b", "int")),
        rows=2**40,
        published_at=dt.datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=dt.UTC),
    )
    desk.publisher.claim(odd, HOSTILE, HOSTILE, HOSTILE)
    desk.publisher.settle(state)
    assert desk.publisher.find(odd) == state
    assert desk.publisher.list(HOSTILE) == [state]
    assert state in desk.publisher.list()
    desk.publisher.settle(
        replace(state, generation=2, watermark=None, run_id=None, manifest=None, rows=None, columns=())
    )
    bare = desk.publisher.find(odd)
    assert bare is not None
    assert (bare.generation, bare.watermark, bare.run_id, bare.rows, bare.columns) == (2, None, None, None, ())


def test_states_are_sorted_and_of_one_country_where_it_is_asked_for(desk: Desk) -> None:
    here, there = f"a{uuid.uuid4().hex[:8]}", f"b{uuid.uuid4().hex[:8]}"
    for number, (country, query) in enumerate([(there, "z"), (here, "b"), (here, "a")]):
        desk.publisher.claim(replace(desk.target, table=f"{desk.target.table}_{number}"), country, query, "me")
    assert [(each.country, each.query) for each in desk.publisher.list(here)] == [(here, "a"), (here, "b")]
    ours = [(each.country, each.query) for each in desk.publisher.list() if each.country in (here, there)]
    assert ours == [(here, "a"), (here, "b"), (there, "z")]
    assert desk.publisher.list("nobody") == []


def test_a_second_query_never_takes_the_row(claimed: Desk) -> None:
    before = claimed.publisher.find(claimed.target)
    for country, query in (("co", "other"), ("pe", "q"), ("CO", "q")):
        with pytest.raises(PublicationRefused, match=f"q of co, not by {query} of {country}"):
            claimed.publisher.claim(claimed.target, country, query, "thief")
    assert claimed.publisher.find(claimed.target) == before


def test_one_table_in_two_spellings_is_one_target(claimed: Desk) -> None:
    """Unity Catalog does not tell upper from lower case."""
    shouted = replace(claimed.target, table=claimed.target.table.upper())
    with pytest.raises(PublicationRefused):
        claimed.publisher.claim(shouted, "co", "other", "thief")
    assert claimed.publisher.claim(shouted, "co", "q", "second").target == claimed.target


def test_a_new_owner_finds_what_stands(claimed: Desk) -> None:
    state = settled(claimed, watermark=Watermark(IncrementKind.ROWVERSION, "0x07"), run_id="r", rows=3)
    again = claimed.publisher.claim(claimed.target, "co", "q", "second-1")
    assert again == replace(state, owner="second-1")


def together(*calls: Callable[[], object]) -> list[object]:
    """Make the calls at once, each in a thread; what each returned, or the bridge's error that it raised."""
    answers: list[object] = [None] * len(calls)
    start = threading.Barrier(len(calls))

    def run(number: int, call: Callable[[], object]) -> None:
        start.wait()
        try:
            answers[number] = call()
        except BridgeError as told:
            answers[number] = told

    threads = [threading.Thread(target=run, args=[number, call]) for number, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return answers


def test_a_claim_tells_whether_the_owner_before_came_to_its_end(claimed: Desk) -> None:
    """One that did not may have written rows that no watermark stands for."""
    assert claimed.publisher.claim(claimed.target, "co", "q", "second-1").unsettled
    settled(claimed, owner="second-1")
    assert not claimed.publisher.claim(claimed.target, "co", "q", "third-1").unsettled
    assert claimed.publisher.reset(claimed.target)
    assert claimed.publisher.claim(claimed.target, "co", "q", "fourth-1").unsettled


def test_of_many_claimers_one_may_settle_and_the_others_are_told(claimed: Desk) -> None:
    """A racer's claim may succeed before another one takes over; what it then writes is refused."""
    owners = [f"racer-{number}" for number in range(3)]
    publisher = claimed.publisher
    claims = together(*(partial(publisher.claim, claimed.target, "co", "q", owner) for owner in owners))
    states = [each for each in claims if isinstance(each, PublishedState)]
    assert states
    assert all(isinstance(each, PublishedState | PublicationOvertaken) for each in claims)
    settlements = together(*(partial(publisher.settle, replace(each, generation=1)) for each in states))
    assert settlements.count(None) == 1
    assert all(isinstance(each, PublicationOvertaken) for each in settlements if each is not None)
    assert publisher.find(claimed.target) == replace(states[settlements.index(None)], generation=1)


def test_first_claims_of_two_queries_leave_one_owner(desk: Desk) -> None:
    answers = together(*(partial(desk.publisher.claim, desk.target, "co", query, query) for query in "ab"))
    (winner,) = (each for each in answers if isinstance(each, PublishedState))
    (loser,) = (each for each in answers if isinstance(each, PublicationRefused))
    assert f"published by query {winner.query} of co" in loser.message
    assert desk.publisher.find(desk.target) == winner


def test_two_rows_of_one_target_are_told_and_fence_everyone_off(claimed: Desk) -> None:
    """Two first claims that Delta let through; neither may write until a person has chosen."""
    load = claimed.full(people((1, "a")))
    values = ", ".join(f"'{text}'" for text in (claimed.target, claimed.target, "pe", "other", "first-1"))
    claimed.lakehouse.execute(
        f"INSERT INTO {quoted(claimed.states)} (target, table_name, country, query, owner, generation) "
        f"VALUES ({values}, 0)"
    )
    try:
        with pytest.raises(PublishError, match="holds 2 rows"):
            claimed.publisher.find(claimed.target)
        with pytest.raises(PublicationOvertaken):
            claimed.publisher.replace(load)
    finally:
        claimed.lakehouse.execute(f"DELETE FROM {quoted(claimed.states)} WHERE country = 'pe'")
    claimed.publisher.replace(load)


def test_a_state_is_settled_once_and_the_same_again_is_harmless(claimed: Desk) -> None:
    state = settled(claimed, run_id="r1", watermark=Watermark(IncrementKind.CURSOR, "5"))
    claimed.publisher.settle(state)
    assert claimed.publisher.find(claimed.target) == state
    for wrong in (replace(state, run_id="r2"), replace(state, generation=3), replace(state, generation=0)):
        with pytest.raises(PublicationOvertaken):
            claimed.publisher.settle(wrong)
    assert claimed.publisher.find(claimed.target) == state


def test_an_owner_that_was_overtaken_settles_nothing(claimed: Desk) -> None:
    before = claimed.publisher.claim(claimed.target, "co", "q", "second-1")
    with pytest.raises(PublicationOvertaken, match=str(claimed.target.table)):
        claimed.publisher.settle(replace(before, owner="first-1", generation=1, run_id="late"))
    assert claimed.publisher.find(claimed.target) == before


def test_a_reset_forgets_the_watermark_only_and_overtakes_who_publishes(claimed: Desk) -> None:
    state = settled(claimed, run_id="r1", watermark=Watermark(IncrementKind.CURSOR, "5"), rows=3)
    assert claimed.publisher.reset(claimed.target) is True
    found = claimed.publisher.find(claimed.target)
    assert found == replace(state, watermark=None, owner="reset")
    with pytest.raises(PublicationOvertaken):
        claimed.publisher.settle(replace(state, generation=2))
    assert claimed.publisher.reset(claimed.target) is True
    assert claimed.publisher.reset(replace(claimed.target, table="nobody-s")) is False


def test_columns_are_those_of_describe(claimed: Desk) -> None:
    types = {
        "select": pa.string(),
        "Two": pa.decimal128(18, 4),
        "a-b": pa.timestamp("us"),
        "t": pa.timestamp("us", tz="UTC"),
        "n": pa.int16(),
        "f": pa.float32(),
        "d": pa.date32(),
        "b": pa.binary(),
        "o": pa.bool_(),
    }
    schema = pa.schema(list(types.items()))
    load = claimed.full(schema.empty_table())
    assert claimed.publisher.columns(claimed.target) == load.columns
    assert load.columns[1:3] == (DeltaColumn("Two", "decimal(18,4)"), DeltaColumn("a-b", "timestamp_ntz"))


def test_a_table_that_is_not_there_has_no_columns(desk: Desk) -> None:
    assert desk.publisher.columns(desk.target) is None
    assert desk.publisher.columns(replace(desk.target, schema="no_such_schema")) is None


def test_conflicts_on_the_table_of_states_are_tried_again(claimed: Desk, lakehouse_faults: StandIn) -> None:
    rule = lakehouse_faults.fault(match={"kind": "MERGE"}, times=2, action={"statement_error": CONFLICT})
    assert claimed.publisher.claim(claimed.target, "co", "q", "second-1").owner == "second-1"
    assert lakehouse_faults.hits(rule) == 2


def test_endless_conflicts_end_as_unavailable(
    claimed: Desk, lakehouse_faults: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sql_databricks_bridge.db.delta_writes._LONGEST_PAUSE_S", 0.001)
    lakehouse_faults.fault(match={"kind": "MERGE"}, times=None, action={"statement_error": CONFLICT})
    with pytest.raises(LakehouseUnavailable, match="other writers of the table came first"):
        claimed.publisher.claim(claimed.target, "co", "q", "second-1")


def test_a_claim_that_the_sdk_sends_twice_is_one(desk: Desk, lakehouse_faults: StandIn) -> None:
    rule = lakehouse_faults.fault(match={"kind": "MERGE"}, times=1, action={"drop": "executed"})
    assert desk.publisher.claim(desk.target, "co", "q", "me") == PublishedState(
        desk.target, desk.target, "co", "q", "me"
    )
    assert lakehouse_faults.hits(rule) == 1


def test_a_settlement_that_the_sdk_sends_twice_is_one(claimed: Desk, lakehouse_faults: StandIn) -> None:
    rule = lakehouse_faults.fault(match={"kind": "UPDATE"}, times=1, action={"drop": "executed"})
    state = settled(claimed, run_id="r1")
    assert claimed.publisher.find(claimed.target) == state
    assert lakehouse_faults.hits(rule) == 1


def test_a_publication_takes_few_statements(desk: Desk, lakehouse_faults: StandIn) -> None:
    def count(call: Callable[[], object]) -> list[str]:
        return statements(lakehouse_faults, call)

    assert count(desk.claim) == ["SELECT", "MERGE"]
    load = desk.load(people((1, "a")), key=("id",))
    assert count(lambda: desk.publisher.replace(load)) == ["CREATE"]
    assert count(lambda: settled(desk, run_id="r1"))[1:] == ["UPDATE"]
    assert count(lambda: desk.claim("second-1")) == ["SELECT", "MERGE"]
    assert count(lambda: desk.publisher.columns(desk.target)) == ["DESCRIBE"]
    assert count(lambda: desk.publisher.merge(replace(load, owner="second-1"))) == ["MERGE"]
