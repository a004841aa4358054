"""A forecast says what a run would do, asks no more than it must, and writes nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import pytest

from sql_databricks_bridge.core.ports import Lakehouse, Publisher, ResultColumn, SqlServer
from sql_databricks_bridge.core.publication_plan import LAND, Forecast, foresee
from sql_databricks_bridge.errors import LakehouseUnavailable, PublicationRefused, SourceRefused, SourceUnavailable
from sql_databricks_bridge.models.jobs import ExtractionPlan, ResolvedQuery
from sql_databricks_bridge.models.names import Destination
from sql_databricks_bridge.models.publishing import DeltaColumn, DriftPolicy, Publication, PublishedState
from sql_databricks_bridge.models.tables import SourceName

COLUMNS = (ResultColumn("id", "int", False, 4, 10, 0), ResultColumn("n", "int", True, 4, 10, 0))
STANDING = (DeltaColumn("id", "int"), DeltaColumn("n", "int"))
NOWHERE = cast(Lakehouse, object())  # nothing of it is used


class Server:
    """A SQL Server that describes queries as the port says; `refused` are those that it refuses."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.connections = 0
        self.open = 0
        self.views = 0
        self.away = False

    def connect(self, *, database: str | None = None, server: str | None = None) -> Server:
        assert (database, server) == ("Flights", None)
        if self.away:
            raise SourceUnavailable("away")
        self.connections += 1
        self.open += 1
        return self

    def describe(self, query: ResolvedQuery) -> tuple[ResultColumn, ...]:
        if query.name in self.refused:
            raise SourceRefused(f"{query.name} is refused.")
        return COLUMNS

    def ask(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        assert (sql.upper().lstrip().startswith("SELECT COUNT_BIG(*)"), parameters) == (True, ())
        return [{"rows": 7}]

    @contextmanager
    def view(self) -> Iterator[None]:
        self.views += 1
        yield

    def close(self) -> None:
        self.open -= 1


class Tables:
    """The reading half of a publisher: whoever writes with it gets an AttributeError."""

    def __init__(self, *states: PublishedState, **columns: tuple[DeltaColumn, ...]) -> None:
        self.states = list(states)
        self.tables = columns
        self.away = False

    def list(self, country: str | None = None) -> list[PublishedState]:
        assert country is None, "another country's table must be seen too"
        if self.away:
            raise LakehouseUnavailable("away")
        return self.states

    def columns(self, table: SourceName) -> tuple[DeltaColumn, ...] | None:
        return self.tables.get(table.table)


def name(table: str) -> SourceName:
    return SourceName("main", "gold", table)


def query(called: str, *, drift: DriftPolicy | None = DriftPolicy.EVOLVE) -> ResolvedQuery:
    publish = None if drift is None else Publication(name(called), drift)
    return ResolvedQuery(called, f"queries/{called}.sql", "SELECT 1", "0" * 64, publish=publish)


def state(table: str, *, country: str = "Peru", query: str | None = None) -> PublishedState:
    return PublishedState(name(table), name(table), country, query or table, "owner", generation=3, run_id="r1")


def forecasts(server: Server, tables: Any, *queries: ResolvedQuery) -> list[Forecast]:
    plan = ExtractionPlan("run", "Peru", Destination("c", "s", "v"), queries, "Flights")
    return list(foresee(plan, cast(SqlServer, server), NOWHERE, cast(Publisher, tables)))


def test_a_query_without_a_table_only_lands_and_no_table_of_states_is_asked() -> None:
    server = Server()
    (found,) = forecasts(server, None, query("a", drift=None))
    assert (found.way, found.table, found.problem) == (LAND, None, None)
    assert (server.connections, server.open) == (1, 0)


def test_the_first_publication_is_full() -> None:
    server = Server()
    (found,) = forecasts(server, Tables(), query("a"))
    assert (found.way, found.target, found.table, found.estimated_rows) == ("full", name("a"), name("a"), 7)
    assert "first" in found.reason
    assert server.views == 1


def test_a_query_with_a_problem_takes_no_other_with_it() -> None:
    """The refused one tells why; the next one gets a connection that is not lost."""
    server = Server("bad")
    bad, good = forecasts(server, Tables(), query("bad"), query("good"))
    assert isinstance(bad.problem, SourceRefused)
    assert (bad.way, bad.target) == (None, name("bad"))
    assert (good.way, good.problem) == ("full", None)
    assert (server.connections, server.open) == (2, 0)


def test_a_table_that_is_not_the_querys_is_refused() -> None:
    """Another country's, another query's, or one that the bridge did not make."""
    tables = Tables(state("a", country="Chile"), state("b", query="z"), c=STANDING)
    found = forecasts(Server(), tables, query("a"), query("b"), query("c"))
    assert [type(each.problem) for each in found] == [PublicationRefused] * 3
    assert ["Chile" in str(found[0].problem), "query z" in str(found[1].problem)] == [True, True]


def test_a_run_that_did_not_come_to_its_end_is_a_warning() -> None:
    tables = Tables(dataclasses.replace(state("a"), unsettled=True), a=STANDING)
    (found,) = forecasts(Server(), tables, query("a"))
    assert (found.way, found.warnings) == ("full", ("the run owner is at this table now, or died at it",))


@pytest.mark.parametrize(
    ("drift", "way", "table"),
    [(DriftPolicy.EVOLVE, "full", "a"), (DriftPolicy.NEW_TABLE, "full", "a_2"), (DriftPolicy.FAIL, None, None)],
)
def test_column_changes_are_told_with_what_the_policy_makes_of_them(
    drift: DriftPolicy, way: str | None, table: str | None
) -> None:
    (found,) = forecasts(Server(), Tables(state("a"), a=STANDING[:1]), query("a", drift=drift))
    assert (found.way, found.drift) == (way, drift)
    assert found.table == (None if table is None else name(table))
    told = found.problem.message if found.problem is not None else " ".join(found.changes)
    assert "n int is new" in told


def test_what_stops_every_query_is_raised() -> None:
    """A server that is away, a table of states that can't be read: no forecast of a single query would tell more."""
    server = Server()
    server.away = True
    with pytest.raises(SourceUnavailable):
        forecasts(server, Tables(), query("a"))

    server, tables = Server(), Tables()
    tables.away = True
    with pytest.raises(LakehouseUnavailable):
        forecasts(server, tables, query("a"))
    assert server.open == 0
