"""Events arrive in SQL Server: exactly their rows, once, with the right word in the events table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from sql_databricks_bridge.core.config import Settings
from tests.integration.sync_support import SyncBench, sync_bench

ITEMS = (
    "CREATE TABLE {s}.items (id int NOT NULL PRIMARY KEY, name nvarchar(20) NULL, price decimal(10,2) NOT NULL, "
    "added datetime2(0) NOT NULL DEFAULT '20200101')"
)
FIVE = "SELECT CAST(id AS INT) AS id, concat('n', id) AS name, CAST(id AS DECIMAL(10,2)) AS price FROM range(5)"


@pytest.fixture
def bench(sqlserver_settings: Settings, lakehouse_settings: Settings, tmp_path: Path) -> Iterator[SyncBench]:
    with sync_bench(sqlserver_settings, lakehouse_settings, tmp_path) as made:
        yield made


def test_an_insert_appends_in_any_column_order_with_defaults_filled(bench: SyncBench) -> None:
    bench.sql(ITEMS)
    source = bench.source("SELECT CAST(2.5 AS DECIMAL(10,2)) AS PRICE, 'x' AS Name, CAST(7 AS INT) AS ID")
    row = bench.done("INSERT", "{s}.items", source, rows_expected=1)
    assert (row.status, row.rows_affected, row.discrepancy) == ("completed", 1, 0)
    assert row.processed_at is not None
    assert bench.sql("SELECT id, name, price, YEAR(added) FROM {s}.items") == [(7, "x", Decimal("2.50"), 2020)]
    assert bench.ledger(row.event_id or "") == [(1, "applied", 1)]
    assert bench.staging_tables() == []


def test_an_update_sets_the_rows_that_match_and_tells_the_others_as_discrepancy(bench: SyncBench) -> None:
    bench.sql(ITEMS)
    bench.sql("INSERT INTO {s}.items (id, name, price) VALUES (0, 'a', 9), (1, 'b', 9), (9, 'z', 9)")
    row = bench.done("UPDATE", "{s}.items", bench.source(FIVE), keys=["id"])
    assert (row.status, row.rows_affected, row.discrepancy) == ("completed", 2, 3)
    assert "5 rows were expected, 2 affected" in (row.warning or "")
    assert bench.sql("SELECT id, name, price FROM {s}.items ORDER BY id") == [
        (0, "n0", Decimal(0)),
        (1, "n1", Decimal(1)),
        (9, "z", Decimal(9)),
    ]


def test_an_upsert_updates_and_inserts(bench: SyncBench) -> None:
    bench.sql(ITEMS)
    bench.sql("INSERT INTO {s}.items (id, name, price) VALUES (0, 'a', 9), (9, 'z', 9)")
    row = bench.done("UPSERT", "{s}.items", bench.source(FIVE), keys=["id"], rows_expected=5)
    assert (row.status, row.rows_affected, row.discrepancy, row.warning) == ("completed", 5, 0, None)
    found = bench.sql("SELECT id, name FROM {s}.items ORDER BY id")
    assert found == [*((n, f"n{n}") for n in range(5)), (9, "z")]


def test_a_delete_goes_by_the_sources_keys_and_by_filters_on_the_target(bench: SyncBench) -> None:
    bench.sql(ITEMS)
    bench.sql("INSERT INTO {s}.items (id, name, price) VALUES (0,'a',1), (1,'a',1), (2,'b',1), (3,NULL,1), (8,'a',1)")
    source = bench.source(FIVE)
    both = bench.done("DELETE", "{s}.items", source, keys=["id"], filters={"name": "a"}, rows_expected=2)
    assert (both.status, both.rows_affected, both.discrepancy) == ("completed", 2, 0)
    assert bench.sql("SELECT id FROM {s}.items ORDER BY id") == [(2,), (3,), (8,)]
    null = bench.done("DELETE", "{s}.items", filters={"NAME": None})
    assert (null.status, null.rows_affected, null.discrepancy) == ("completed", 1, None)
    keys = bench.done("DELETE", "{s}.items", source, keys=["ID"])
    assert (keys.status, keys.rows_affected) == ("completed", 1)
    assert bench.sql("SELECT id FROM {s}.items") == [(8,)]


def test_filters_of_an_insert_choose_rows_of_the_source(bench: SyncBench) -> None:
    bench.sql(ITEMS)
    row = bench.done("INSERT", "{s}.items", bench.source(FIVE), filters={"ID": "3"})
    assert (row.status, row.rows_affected) == ("completed", 1)
    assert bench.sql("SELECT id FROM {s}.items") == [(3,)]


def test_rows_that_are_there_are_an_error_unless_the_author_says_what_to_do(bench: SyncBench) -> None:
    bench.sql(ITEMS)
    bench.sql("INSERT INTO {s}.items (id, name, price) VALUES (3, 'old', 9)")
    source = bench.source(FIVE)
    refused = bench.done("INSERT", "{s}.items", source, keys=["id"])
    assert refused.status == "failed"
    assert "1 of the rows are in" in (refused.error_message or "")
    assert "id = 3" in (refused.error_message or "")
    skipped = bench.done("INSERT", "{s}.items", source, keys=["id"], metadata={"on_conflict": "skip"})
    assert (skipped.status, skipped.rows_affected, skipped.discrepancy) == ("completed", 4, 1)
    updated = bench.done("INSERT", "{s}.items", source, keys=["id"], metadata={"on_conflict": "update"})
    assert (updated.status, updated.rows_affected) == ("completed", 5)
    assert bench.sql("SELECT COUNT(*) FROM {s}.items WHERE name LIKE 'n%'") == [(5,)]


@pytest.mark.parametrize(
    ("select", "said"),
    [
        ("SELECT CAST(1 AS INT) AS id, repeat('x', 21) AS name, CAST(1 AS DECIMAL(10,2)) AS price", "name"),
        ("SELECT CAST(3000000000 AS BIGINT) AS id, 'x' AS name, CAST(1 AS DECIMAL(10,2)) AS price", "3000000000"),
        ("SELECT CAST(1 AS INT) AS id, 'x' AS name, CAST(NULL AS DECIMAL(10,2)) AS price", "price"),
        ("SELECT CAST(1 AS INT) AS id, 'x' AS name, CAST(1.005 AS DECIMAL(10,3)) AS price", "1.005"),
        ("SELECT CAST(1 AS INT) AS id, 'x' AS name, CAST(1 AS DECIMAL(10,2)) AS cost", "'cost'"),
        ("SELECT CAST(1 AS INT) AS id, 'x' AS name", "'price'"),
        ("SELECT CAST(1 AS INT) AS id, array('x') AS name, CAST(1 AS DECIMAL(10,2)) AS price", "name"),
    ],
)
def test_values_that_do_not_fit_are_refused_by_name_and_nothing_is_applied(
    bench: SyncBench, select: str, said: str
) -> None:
    bench.sql(ITEMS)
    row = bench.done("INSERT", "{s}.items", bench.source(select))
    assert row.status == "failed"
    assert said in (row.error_message or "")
    assert bench.sql("SELECT COUNT(*) FROM {s}.items") == [(0,)]
    assert bench.ledger(row.event_id or "")[0][:2] == (1, "failed")
    assert bench.staging_tables() == []


def test_what_the_server_refuses_is_told_in_its_words_and_rolled_back(bench: SyncBench) -> None:
    bench.sql("CREATE TABLE {s}.checked (id int NOT NULL PRIMARY KEY, CONSTRAINT ck_small CHECK (id < 3))")
    row = bench.done("INSERT", "{s}.checked", bench.source("SELECT CAST(id AS INT) AS id FROM range(5)"))
    assert row.status == "failed"
    assert "ck_small" in (row.error_message or "")
    assert bench.sql("SELECT COUNT(*) FROM {s}.checked") == [(0,)]


def test_triggers_fire_and_do_not_change_the_count(bench: SyncBench) -> None:
    bench.sql(ITEMS)
    bench.sql("CREATE TABLE {s}.audit (id int NOT NULL)")
    bench.sql(
        "CREATE TRIGGER {s}.tr_items ON {s}.items AFTER INSERT AS "
        "INSERT INTO {s}.audit SELECT id FROM inserted UNION ALL SELECT id FROM inserted"
    )
    row = bench.done("INSERT", "{s}.items", bench.source(FIVE), rows_expected=5)
    assert (row.status, row.rows_affected, row.warning) == ("completed", 5, None)
    assert bench.sql("SELECT COUNT(*) FROM {s}.audit") == [(10,)]


def test_poison_fails_alone(bench: SyncBench) -> None:
    """An unknown operation, a missing table, NULL and clashing event_ids: each is told, and the good one is applied."""
    bench.sql(ITEMS)
    source = bench.source(FIVE)
    table = bench.settings.bridge_events_table
    bench.lakehouse.execute(
        f"INSERT INTO {table} (event_id, operation, source_table, target_table, status) VALUES "
        f"(NULL, 'INSERT', '{source}', '{bench.schema}.items', 'pending'), "
        f"('', 'INSERT', '{source}', '{bench.schema}.items', 'pending'), "
        f"('twin', 'INSERT', '{source}', '{bench.schema}.items', 'pending'), "
        f"('twin', 'DELETE', '{source}', '{bench.schema}.items', 'pending')"
    )
    unknown = bench.submit("TRUNCATE", "{s}.items", source)
    missing = bench.submit("INSERT", "{s}.nowhere", source)
    view = bench.submit("INSERT", "sys.objects", source)
    good = bench.submit("INSERT", "{s}.items", source)
    gone = bench.submit("INSERT", "{s}.items", f"{bench.home}.nowhere", metadata={"source_version": "0"})
    bench.cycle()
    for event_id in (unknown, missing, view, gone):
        assert bench.event(event_id).status == "failed", bench.event(event_id)
    assert bench.event(good).status == "completed"
    assert [row.status for row in bench.events.rows_of("twin")] == ["failed", "failed"]
    rest = bench.lakehouse.execute(f"SELECT status, error_message FROM {table} WHERE event_id IS NULL OR event_id = ''")
    assert [row["status"] for row in rest.to_pylist()] == ["failed", "failed"]
    assert bench.sql("SELECT COUNT(*) FROM {s}.items") == [(5,)]
    assert bench.cycle().found == 0


def test_every_decision_is_audited_and_a_mutation_that_can_not_be_is_not_made(bench: SyncBench) -> None:
    bench.sql(ITEMS)
    event_id = bench.submit("INSERT", "{s}.items", bench.source(FIVE))
    bench.settings.bridge_audit_dir.write_text("a file where the folder should be")
    report = bench.poller().cycle()
    assert report.problem is not None
    assert "audit" in str(report.problem)
    assert bench.sql("SELECT COUNT(*) FROM {s}.items") == [(0,)]
    assert bench.event(event_id).status in ("pending", "processing")
    bench.settings.bridge_audit_dir.unlink()
    bench.cycle()
    assert bench.event(event_id).status == "completed"
    (file,) = bench.settings.bridge_audit_dir.iterdir()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["user_name"], line["action"], line["outcome"]) for line in lines] == [
        ("tester", "insert", "intent"),
        ("tester", "insert", "applied"),
    ]
    assert {line["request_id"] for line in lines} == {event_id}
