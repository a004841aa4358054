"""Claim: after each run the Delta table holds exactly what the source held, whichever way it is kept up to date."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.publishing import lock_name
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from sql_databricks_bridge.db.sql_server import MssqlServer
from sql_databricks_bridge.models.jobs import QueryStatus
from sql_databricks_bridge.models.publishing import DriftPolicy, IncrementKind
from tests.conftest import StandIn
from tests.integration.extraction_support import query
from tests.integration.publishing_support import Bench, bench

ROUNDS = 5
KINDS = [None, *IncrementKind]

Make = Callable[..., AbstractContextManager[Bench]]


@pytest.fixture
def make(sqlserver_settings: Settings, lakehouse_settings: Settings, tmp_path: Path) -> Make:
    """Makes benches on both ends."""
    ends = {name: getattr(lakehouse_settings, name) for name in Settings.model_fields if name.startswith("databricks_")}
    settings = sqlserver_settings.model_copy(update=ends)
    lakehouse = DatabricksLakehouse(lakehouse_settings)

    def made(kind: IncrementKind | None, **changes: Any) -> AbstractContextManager[Bench]:
        return bench(settings, lakehouse, tmp_path, kind, **changes)

    return made


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value if kind else "full")
def test_the_table_equals_the_source_after_every_round_of_changes(make: Make, kind: IncrementKind | None) -> None:
    """Inserts, updates, deletes, changed keys, NULLs; a column that comes and goes in the middle."""
    with make(kind) as at:
        stamped = kind is IncrementKind.CURSOR
        stamp = ", '20251231'" * stamped
        at.session.rows(
            f"INSERT INTO dbo.t (id, name{', changed_at' * stamped}) VALUES "
            + ", ".join(f"({number}, N'x'{stamp})" for number in range(1, 301))
        )
        assert at.published().way == "full"
        at.require_equal()
        ways = []
        for number in range(ROUNDS):
            if number == 2:
                at.session.rows("ALTER TABLE dbo.t ADD extra int NOT NULL DEFAULT 7")
            if number == 3:
                # A capture instance has the columns that the table had when it was made.
                captured = ", name = N'y'" * (kind is IncrementKind.CDC)
                moved = ", changed_at = '20260101 00:00:30'" * stamped
                at.session.rows(f"UPDATE dbo.t SET extra = 8{moved}{captured} WHERE id < 50")
            at.change(6)
            ways.append(at.published().way)
            at.require_equal()
        assert ways[2] == "full", "old rows have a value in the new column too"
        expected = "full" if kind is None else kind.value
        assert [ways[number] for number in (0, 1, 3, 4)] == [expected] * 4


@pytest.mark.parametrize("kind", [kind for kind in IncrementKind if kind.sees_deletes], ids=lambda kind: kind.value)
def test_rows_that_are_gone_are_marked_where_that_is_asked_for(make: Make, kind: IncrementKind) -> None:
    with make(kind, soft_delete="gone_at") as at:
        at.session.rows("INSERT INTO dbo.t (id, name) VALUES " + ", ".join(f"({n}, N'a')" for n in range(1, 101)))
        at.published()
        at.session.rows("DELETE FROM dbo.t WHERE id = 2")
        at.published()
        at.require_equal()
        rows = at.lakehouse.execute(
            f"SELECT id FROM `{at.target.catalog}`.`{at.target.schema}`.`{at.target.table}` WHERE gone_at IS NOT NULL"
        )
        assert rows.to_pylist() == [{"id": 2}]


def test_a_run_without_changes_writes_no_version(make: Make) -> None:
    with make(IncrementKind.CHANGE_TRACKING) as at:
        at.session.rows("INSERT INTO dbo.t (id, name) VALUES (1, N'a')")
        at.published()
        version = at.lakehouse.table_version(at.target)
        outcome = at.published()
        assert (outcome.rows.inserted, outcome.rows.updated, outcome.rows.deleted) == (0, 0, 0)
        assert at.lakehouse.table_version(at.target) == version


def test_a_run_that_another_one_holds_off_is_refused_and_lands_nothing(make: Make) -> None:
    with make(None) as at:
        at.session.rows("INSERT INTO dbo.t (id) VALUES (1)")
        at.published()
        other = MssqlServer(at.settings).connect()
        try:
            assert other.hold(lock_name(at.target))
            outcome = at.run()
        finally:
            other.close()
        assert outcome.status is QueryStatus.FAILED
        assert "is being published by another run" in (outcome.error or "")
        assert outcome.path is None


@pytest.mark.parametrize(
    ("policy", "says"),
    [(DriftPolicy.FAIL, "differ"), (DriftPolicy.EVOLVE, "does not hold it"), (DriftPolicy.NEW_TABLE, None)],
)
def test_a_type_that_changes_kind_never_replaces_a_table_silently(
    make: Make, policy: DriftPolicy, says: str | None
) -> None:
    with make(IncrementKind.CHANGE_TRACKING, drift=policy) as at:
        at.session.rows("INSERT INTO dbo.t (id, amount) VALUES (1, 2.50)")
        at.published()
        before = at.table()
        at.session.rows("ALTER TABLE dbo.t DROP COLUMN amount")
        at.session.rows("ALTER TABLE dbo.t ADD amount nvarchar(10) NULL")
        outcome = at.run()
        assert at.table() == before
        if says is not None:
            assert outcome.status is QueryStatus.FAILED
            assert says in (outcome.error or "")
        else:
            assert outcome.error is None
            assert at.state().table.table == f"{at.target.table}_2"
            assert at.table(at.state().table) == at.source()
            at.lakehouse.execute(f"DROP TABLE `{at.target.catalog}`.`{at.target.schema}`.`{at.target.table}_2`")


def test_a_table_that_the_bridge_did_not_make_is_left_alone(make: Make) -> None:
    with make(None) as at:
        name = f"`{at.target.catalog}`.`{at.target.schema}`.`{at.target.table}`"
        at.lakehouse.execute(f"CREATE TABLE {name} (mine INT)")
        for _ in range(2):
            outcome = at.run()
            assert "was not made by the bridge" in (outcome.error or "")
        assert at.lakehouse.execute(f"SELECT * FROM {name}").column_names == ["mine"]


def test_a_column_that_widens_is_taken_over_and_one_that_is_dropped_stays_as_null(make: Make) -> None:
    with make(IncrementKind.CHANGE_TRACKING) as at:
        at.session.rows("INSERT INTO dbo.t (id, name, amount) VALUES (1, N'a', 2.50)")
        at.published()
        at.query = query("q", "SELECT id, name, CAST(amount AS decimal(18,4)) AS amount FROM dbo.t")
        assert at.published().changes == ("amount was decimal(10,2) and is decimal(18,4)",)
        at.query = query("q", "SELECT id, CAST(amount AS decimal(18,4)) AS amount FROM dbo.t")
        dropped = at.published()
        assert (dropped.way, dropped.changes) == ("full", ("name is gone, and kept as NULL",))
        at.require_equal()
        at.session.rows("UPDATE dbo.t SET amount = 3")
        outcome = at.published()
        assert (outcome.way, outcome.changes) == ("change_tracking", ())
        at.require_equal()


@pytest.mark.parametrize("kind", [None, IncrementKind.CHANGE_TRACKING, IncrementKind.FINGERPRINT], ids=str)
def test_a_run_that_is_taken_up_again_publishes_what_it_has_landed(
    make: Make, kind: IncrementKind | None, lakehouse_faults: StandIn
) -> None:
    """The statement fails for good in the first attempt; the second reads nothing anew; the third finds it done."""
    with make(kind) as at:
        at.session.rows("INSERT INTO dbo.t (id, name) VALUES " + ", ".join(f"({n}, N'a')" for n in range(1, 101)))
        if kind is not None:
            at.published()
            at.session.rows("UPDATE dbo.t SET name = N'b' WHERE id = 7")
        run_id = f"20260101T020000-{at.target.table}"
        verb = (
            "CREATE OR REPLACE"
            if kind is None
            else f"MERGE INTO `{at.target.catalog}`.`{at.target.schema}`.`{at.target.table}`"
        )
        rule = lakehouse_faults.fault(
            match={"statement_contains": verb},
            times=None,
            action={"statement_error": {"error_code": "BAD_REQUEST", "message": "not today"}},
        )
        first = at.run(run_id=run_id)
        assert lakehouse_faults.hits(rule) > 0
        lakehouse_faults.clear()
        assert (first.status, first.path is not None) == (QueryStatus.FAILED, True)
        second = at.run(run_id=run_id, attempt=2)
        assert (second.error, second.path) == (None, first.path)
        at.require_equal()
        version = at.lakehouse.table_version(at.target)
        third = at.run(run_id=run_id, attempt=3)
        assert third.publication is not None
        assert third.publication.reason == "it stands in the table already"
        assert at.lakehouse.table_version(at.target) == version


def test_an_attempt_that_a_later_run_has_overtaken_leaves_the_table_alone(
    make: Make, lakehouse_faults: StandIn
) -> None:
    with make(None) as at:
        at.session.rows("INSERT INTO dbo.t (id) VALUES (1)")
        at.published()
        early, later = f"20260101T020000-{at.target.table}", f"20260102T020000-{at.target.table}"
        action = {"statement_error": {"error_code": "BAD_REQUEST", "message": "not today"}}
        lakehouse_faults.fault(match={"statement_contains": "CREATE OR REPLACE"}, times=None, action=action)
        assert at.run(run_id=early).status is QueryStatus.FAILED
        lakehouse_faults.clear()
        at.session.rows("INSERT INTO dbo.t (id) VALUES (2)")
        at.published(run_id=later)
        late = at.published(run_id=early, attempt=2)
        assert late.reason == f"the later run {later} stands in the table"
        at.require_equal()


def test_a_reader_sees_whole_versions_only(make: Make) -> None:
    """Every version holds one amount in all of its rows."""
    with make(IncrementKind.CHANGE_TRACKING) as at:
        at.session.rows("INSERT INTO dbo.t (id, amount) VALUES " + ", ".join(f"({n}, 0)" for n in range(1, 201)))
        at.published()
        seen: set[tuple[int, int]] = set()
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                row = at.lakehouse.execute(
                    "SELECT COUNT(*) AS n, COUNT(DISTINCT amount) AS amounts FROM "
                    f"`{at.target.catalog}`.`{at.target.schema}`.`{at.target.table}`"
                ).to_pylist()[0]
                seen.add((row["n"], row["amounts"]))

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for number in range(1, 5):
                at.session.rows(f"UPDATE dbo.t SET amount = {number}")
                if number == 3:  # and a full one
                    at.lakehouse.publisher(at.states).reset(at.target)
                at.published()
        finally:
            done.set()
            reader.join()
        assert seen == {(200, 1)}
