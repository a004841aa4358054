"""There and back: a table of SQL Server is extracted, put into a Delta table and applied to an empty copy of itself,
and the copy equals it, bit by bit; or it is refused by name, and the copy stays empty.

`make test` sends a small sample of random tables, BRIDGE_PROOF=whole one of 100,000 values.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.jobs import run
from sql_databricks_bridge.db.sql_server import MssqlServer
from sql_databricks_bridge.models.jobs import RunStatus
from sql_databricks_bridge.models.names import Destination
from sql_databricks_bridge.models.type_policies import TypePolicies
from tests.integration.extraction_support import landed_table, options, plan, query
from tests.integration.round_trip_support import KINDS, Kind
from tests.integration.sync_support import SyncBench, sync_bench

WHOLE = os.environ.get("BRIDGE_PROOF") == "whole"
SEED = int(os.environ.get("BRIDGE_PROOF_SEED", "20261123"))
TABLES, ROWS, VALUES = (50, 25, 100_000) if WHOLE else (2, 10, 1)
MOST_COLUMNS = 40
MANY = 60  # times 10 rows: more than a single INSERT into the staging table takes

Row = tuple[str, ...]


@pytest.fixture(scope="module")
def bench(
    sqlserver_settings: Settings, lakehouse_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SyncBench]:
    with sync_bench(sqlserver_settings, lakehouse_settings, tmp_path_factory.mktemp("round_trip")) as made:
        yield made


class Trip:
    """The way there and back, for tables one after the other."""

    def __init__(self, bench: SyncBench, destination: Destination, folder: Path) -> None:
        self.bench = bench
        self.tally: Counter[str] = Counter()
        """Values by what became of them, and rows by the types of their columns."""
        self._destination = destination
        self._folder = folder
        self._count = 0

    def of(
        self, kinds: Sequence[Kind], rows: Sequence[Row], types: TypePolicies | None = None, times: int = 1
    ) -> str | None:
        """Send a table there and back, each row so many times; return the refusal, None where the copy equals it."""
        self._count += 1
        bench, source, copy = self.bench, f"{{s}}.source{self._count}", f"{{s}}.copy{self._count}"
        columns = ", ".join(f"c{number} {kind.sql_type} NULL" for number, kind in enumerate(kinds))
        for table in (source, copy):
            bench.sql(f"CREATE TABLE {table} (id int NOT NULL PRIMARY KEY, {columns})")
        names = ", ".join(f"c{number}" for number in range(len(kinds)))
        filled = [f"INSERT INTO {source} (id, {names}) VALUES ({n}, {', '.join(row)});" for n, row in enumerate(rows)]
        if filled:
            bench.sql("SET NOCOUNT ON; " + "\n".join(filled))
        if filled and times > 1:
            listed = ", ".join(f"({number})" for number in range(1, times))
            bench.sql(
                f"INSERT INTO {source} (id, {names}) SELECT s.id + {len(rows)} * n.k, {names} "
                f"FROM {source} AS s CROSS JOIN (VALUES {listed}) AS n (k)"
            )
        refusal = self._sent(source, copy, types)
        found = self._read(copy, kinds)
        if refusal is None:
            self._same(found, self._read(source, kinds), kinds)
            self.tally["equal"] += len(rows) * len(kinds)
            self.tally.update({kind.sql_type: len(rows) * times for kind in kinds})
        else:
            assert found == [], refusal
            self.tally["refused"] += len(rows) * len(kinds)
        return refusal

    def _sent(self, source: str, copy: str, types: TypePolicies | None) -> str | None:
        """Extract, make a Delta table of what landed, apply."""
        bench = self.bench
        asked = query(f"trip{self._count}", f"SELECT * FROM {source.replace('{s}', bench.schema)}")
        if types is not None:
            asked = replace(asked, types=types)
        wanted = plan(self._destination, f"t{bench.schema}", bench.settings, asked)
        report = run(wanted, MssqlServer(bench.settings), bench.lakehouse, options=options(self._folder))
        (outcome,) = report.queries
        if report.status is not RunStatus.COMPLETED:
            assert outcome.error is not None
            return outcome.error
        assert outcome.path is not None
        manifest, _ = landed_table(bench.lakehouse, outcome.path)
        files = [f"{outcome.path}/{part.file}" for part in manifest.parts]
        delta = bench.source(" UNION ALL ".join(f"SELECT * FROM parquet.`{path}`" for path in files))
        event = bench.done("INSERT", copy, delta)
        if event.status == "completed":
            return None
        assert event.error_message, event
        return event.error_message

    @staticmethod
    def _same(found: Sequence[Sequence[object]], wanted: Sequence[Sequence[object]], kinds: Sequence[Kind]) -> None:
        """Every value is equal; else the columns that differ are told."""
        assert len(found) == len(wanted)
        types = ["int", *(kind.sql_type for kind in kinds)]
        apart = [
            (type_, was, came)
            for row, expected in zip(found, wanted, strict=True)
            for type_, came, was in zip(types, row, expected, strict=True)
            if came != was
        ]
        assert apart == []

    def _read(self, table: str, kinds: Sequence[Kind]) -> list[tuple[object, ...]]:
        shown = ", ".join(f"{kind.shown.format(f'c{number}')} AS c{number}" for number, kind in enumerate(kinds))
        return self.bench.sql(f"SELECT id, {shown} FROM {table} ORDER BY id")


@pytest.fixture(scope="module")
def trip(bench: SyncBench, destination: Destination, tmp_path_factory: pytest.TempPathFactory) -> Trip:
    return Trip(bench, destination, tmp_path_factory.mktemp("spool"))


def _edges(kinds: Sequence[Kind]) -> list[Row]:
    """Each boundary of each type in some row, rows of NULLs only between two and at the end."""
    most = max(len(kind.edges) for kind in kinds)
    rows = [tuple((kind.edges[n] if n < len(kind.edges) else "NULL") for kind in kinds) for n in range(most)]
    return [*rows, ("NULL",) * len(kinds)]


@pytest.fixture(scope="module")
def every_type(trip: Trip) -> Counter[str]:
    """The tally after a table of every type came back as it was, under the default policies."""
    for times in (1, MANY):
        assert trip.of(KINDS, _edges(KINDS), times=times) is None
    return trip.tally.copy()


@pytest.mark.parametrize("sql_type", [kind.sql_type for kind in KINDS])
def test_a_column_of_each_type_comes_back_as_it_was(every_type: Counter[str], sql_type: str) -> None:
    """All of them in one table, their boundaries and NULL in it."""
    assert every_type[sql_type] > MANY


def test_a_table_that_landed_as_text_comes_back_as_it_was(trip: Trip) -> None:
    """Where the policies say so: moments as SQL Server's text, a hierarchyid as its bytes."""
    kinds = [kind for kind in KINDS if kind.sql_type.startswith(("date", "hier"))]
    policies = TypePolicies((("datetime2", "string"), ("datetimeoffset", "string"), ("hierarchyid", "bytes")))
    assert trip.of(kinds, _edges(kinds), policies) is None


def test_a_table_without_rows_comes_back_without_rows(trip: Trip) -> None:
    assert trip.of(KINDS, []) is None


@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # by Hypothesis, of a table of 40 columns
@pytest.mark.timeout(7200 if WHOLE else 120)
def test_random_tables_come_back_equal_or_are_refused_by_name(trip: Trip) -> None:
    """0 silent changes: each table is equal or its copy empty. What is drawn can be stored, so none is refused."""
    before = trip.tally.copy()

    turns = itertools.cycle((MANY, 1))

    @st.composite
    def tables(draw: st.DrawFn) -> tuple[list[Kind], list[Row]]:
        columns = draw(st.integers(1, MOST_COLUMNS))
        chosen = draw(st.lists(st.sampled_from(KINDS), min_size=columns, max_size=columns))
        return chosen, [tuple(draw(kind.values) for kind in chosen) for _ in range(ROWS)]

    @settings(
        max_examples=TABLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(tables())
    def campaign(table: tuple[list[Kind], list[Row]]) -> None:
        refusal = trip.of(*table, times=next(turns))
        assert refusal is None, refusal

    rounds = itertools.count(SEED)
    while trip.tally["equal"] - before["equal"] < VALUES:
        seed(next(rounds))(campaign)()
    print(f"BRIDGE_PROOF_SEED={SEED}: {trip.tally['equal'] - before['equal']:,} values, 0 refused")  # noqa: T201


def test_a_companion_that_cannot_be_fails_the_event_by_row_and_column(bench: SyncBench) -> None:
    """The target keeps what it had."""
    bench.sql("CREATE TABLE {s}.moments (id int NOT NULL PRIMARY KEY, v datetime2(7) NULL)")
    bench.sql("INSERT INTO {s}.moments (id, v) VALUES (1, '2024-01-01 00:00:00.1234567')")
    source = bench.source(
        "SELECT CAST(id AS INT) AS id, CAST('2024-01-01 00:00:00.123456' AS TIMESTAMP_NTZ) AS v, "
        "CAST(8 + id AS SMALLINT) AS V__100NS FROM range(1, 3)"
    )
    event = bench.done("UPSERT", "{s}.moments", source, keys=["id"])
    assert event.status == "failed"
    assert "Row 2 (key id=2), column 'v'" in (event.error_message or "")
    assert "v__100ns beside it is 10, not 0 to 9" in (event.error_message or "")
    assert bench.sql("SELECT id, CONVERT(nvarchar(27), v, 121) AS v FROM {s}.moments") == [
        (1, "2024-01-01 00:00:00.1234567")
    ]


def test_a_delete_takes_the_digit_beside_its_key(bench: SyncBench) -> None:
    """Two rows that differ by 100 ns: the one that is named goes."""
    bench.sql("CREATE TABLE {s}.ticks (v datetime2(7) NOT NULL PRIMARY KEY)")
    bench.sql("INSERT INTO {s}.ticks (v) VALUES ('2024-01-01 00:00:00.1234567'), ('2024-01-01 00:00:00.1234568')")
    source = bench.source(
        "SELECT CAST('2024-01-01 00:00:00.123456' AS TIMESTAMP_NTZ) AS v, CAST(8 AS SMALLINT) AS v__100ns, 'x' AS more"
    )
    event = bench.done("DELETE", "{s}.ticks", source, keys=["v"])
    assert (event.status, event.rows_affected) == ("completed", 1)
    assert bench.sql("SELECT CONVERT(nvarchar(27), v, 121) AS v FROM {s}.ticks") == [("2024-01-01 00:00:00.1234567",)]
