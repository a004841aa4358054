"""`bridge verify --event`: what an applied event left is compared with its source, read again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.sql_server import MssqlServer
from sql_databricks_bridge.errors import EventInvalid, UnknownNameError
from sql_databricks_bridge.models.applying import Example
from sql_databricks_bridge.sync.verification import EventVerification, verify
from tests.conftest import StandIn
from tests.integration.sync_support import SyncBench, environment_of, sync_bench

ITEMS = "CREATE TABLE {s}.items (id int NOT NULL PRIMARY KEY, name nvarchar(20) NULL, price decimal(10,2) NULL)"
FIVE = "SELECT CAST(id AS INT) AS id, concat('n', id) AS name, CAST(id AS DECIMAL(10,2)) AS price FROM range(5)"
COMMAND = """
import sys
from sql_databricks_bridge.cli.commands import run
for argument in sys.argv[1:]:
    as_json = ["--json"] if argument.startswith("json:") else []
    code = run(["verify", "--event", argument.removeprefix("json:"), *as_json])
    print("\\0" + str(code) + "\\0")
"""  # one process for several, since each takes seconds to start

Verify = Callable[[str], EventVerification]


@pytest.fixture
def bench(sqlserver_settings: Settings, lakehouse_settings: Settings, tmp_path: Path) -> Iterator[SyncBench]:
    with sync_bench(sqlserver_settings, lakehouse_settings, tmp_path) as made:
        made.sql(ITEMS)
        yield made


@pytest.fixture
def verified(bench: SyncBench) -> Verify:
    """Verify an event, and see that nothing is changed or left behind by it."""

    def state(event_id: str) -> tuple[object, ...]:
        return bench.sql("SELECT * FROM {s}.items ORDER BY id"), bench.ledger(event_id), bench.staging_tables()

    def call(event_id: str) -> EventVerification:
        before = state(event_id)
        try:
            return verify(bench.lakehouse, bench.events, MssqlServer(bench.settings).connect_target, event_id)
        finally:
            assert state(event_id) == before
            assert bench.staging_tables() == []

    return call


def told(bench: SyncBench, *arguments: str) -> tuple[list[tuple[str, int]], str]:
    """What `bridge verify --event` prints, and its exit code, for each 'ID' or 'json:ID'; and standard error."""
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        env={**os.environ, **environment_of(bench.settings)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    parts = done.stdout.split("\0")
    return [(text, int(code)) for text, code in zip(parts[0:-1:2], parts[1::2], strict=True)], done.stderr


def only(key: str, *columns: str) -> Example:
    return Example((("id", key),), columns)


def applied(bench: SyncBench, operation: str, source: str | None = None, **changes: Any) -> str:
    row = bench.done(operation, "{s}.items", source, **changes)
    assert row.status == "completed", row.error_message
    assert row.event_id is not None
    return row.event_id


def test_what_was_applied_is_equal_until_somebody_changes_it(bench: SyncBench, verified: Verify) -> None:
    """The applied version is compared, whatever the source holds by now."""
    source = bench.source(FIVE)
    event_id = applied(bench, "UPSERT", source, keys=["id"])
    bench.lakehouse.execute(f"UPDATE {source} SET name = 'newer'")
    found = verified(event_id)
    assert found.comparison.same
    assert (found.comparison.staged, found.comparison.equal, found.notes) == (5, 5, ())
    assert found.comparison.compared == ("name", "price")
    assert found.ledger.source_version == 0
    assert found.ledger.applied_at is not None
    assert found.ledger.applied_at < found.verified_at
    bench.sql("UPDATE {s}.items SET name = 'N3' WHERE id = 3")
    bench.sql("UPDATE {s}.items SET price = NULL WHERE id = 4")
    bench.sql("DELETE FROM {s}.items WHERE id = 0")
    compared = verified(event_id).comparison
    assert (compared.equal, compared.differing, compared.missing) == (2, 2, 1)
    assert compared.differing_examples == (only("3", "name"), only("4", "price"))
    assert compared.missing_examples == (only("0"),)


def test_updates_are_verified_and_rows_that_matched_nothing_are_explained(bench: SyncBench, verified: Verify) -> None:
    bench.sql("INSERT INTO {s}.items (id) VALUES (0), (1), (9)")
    event_id = applied(bench, "UPDATE", bench.source(FIVE), keys=["id"])
    found = verified(event_id)
    assert (found.comparison.equal, found.comparison.differing, found.comparison.missing) == (2, 0, 3)
    assert found.notes == ("3 rows of the source matched no row already when the event was applied",)


def test_inserts_are_verified_with_their_filter_and_with_what_was_skipped(bench: SyncBench, verified: Verify) -> None:
    bench.sql("INSERT INTO {s}.items VALUES (9, N'other', 9)")
    source = bench.source(FIVE)
    plain = applied(bench, "INSERT", source, filters={"id": "2"})
    assert (verified(plain).comparison.same, verified(plain).comparison.staged) == (True, 1)
    skipping = applied(bench, "INSERT", source, keys=["id"], metadata={"on_conflict": "skip"})
    assert verified(skipping).comparison.same
    bench.sql("UPDATE {s}.items SET name = 'x' WHERE id = 2")
    found = verified(skipping)
    assert found.comparison.differing_examples == (only("2", "name"),)
    assert found.notes == ("1 rows were there before the event and were skipped (on_conflict skip): they may differ",)
    compared = verified(plain).comparison
    assert (compared.equal, compared.missing) == (0, 1)
    assert compared.missing_examples == (Example((("id", "2"), ("name", "n2"), ("price", "2.00"))),)


def test_deletes_are_verified_by_what_is_left(bench: SyncBench, verified: Verify) -> None:
    bench.sql("INSERT INTO {s}.items VALUES (0, N'a', 1), (1, N'a', 1), (2, N'b', 1), (7, NULL, 1)")
    by_key = applied(bench, "DELETE", bench.source(FIVE), keys=["id"], filters={"name": "a"})
    by_filter = applied(bench, "DELETE", filters={"name": None})
    assert verified(by_key).comparison.same
    assert verified(by_filter).comparison.same
    bench.sql("INSERT INTO {s}.items VALUES (1, N'a', 1), (3, N'b', 1), (8, NULL, 1)")
    compared = verified(by_key).comparison
    assert (compared.equal, compared.remaining, compared.remaining_examples) == (4, 1, (only("1"),))
    compared = verified(by_filter).comparison
    assert (compared.staged, compared.same, compared.remaining) == (None, False, 1)


def test_what_stood_in_companion_columns_is_compared_as_it_was_put_together(bench: SyncBench, verified: Verify) -> None:
    """A seventh digit and an offset, which the landed columns themselves don't hold."""
    bench.sql("CREATE TABLE {s}.moments (id int NOT NULL PRIMARY KEY, a datetime2(7) NULL, b datetimeoffset(7) NULL)")
    source = bench.source(
        "SELECT CAST(id AS INT) AS id, TIMESTAMP_NTZ'2024-02-29 23:59:59.123456' AS a, "
        "CAST(7 AS SMALLINT) AS a__100ns, TIMESTAMP'2024-02-29 23:59:59.123456Z' AS b, "
        "CAST(8 AS SMALLINT) AS b__100ns, CAST(330 AS SMALLINT) AS b__offset_minutes FROM range(3)"
    )
    row = bench.done("UPSERT", "{s}.moments", source, keys=["id"])
    assert (row.status, row.event_id is None) == ("completed", False), row.error_message
    assert verified(row.event_id or "").comparison.same
    bench.sql("UPDATE {s}.moments SET a = '2024-02-29T23:59:59.1234568' WHERE id = 0")
    bench.sql("UPDATE {s}.moments SET b = SWITCHOFFSET(b, 60) WHERE id = 1")
    compared = verified(row.event_id or "").comparison
    assert compared.differing_examples == (only("0", "a"), only("1", "b"))


def test_an_event_that_was_not_applied_is_refused_with_what_to_do(bench: SyncBench, verified: Verify) -> None:
    source = bench.source(FIVE)
    with pytest.raises(UnknownNameError, match="There is no event 'nobody'"):
        verified("nobody")
    pending = bench.submit("INSERT", "{s}.items", source)
    with pytest.raises(EventInvalid, match=r"not applied yet: it is pending\.") as refused:
        verified(pending)
    assert "bridge sync once" in (refused.value.hint or "")
    failed = bench.submit("INSERT", "{s}.items", source, keys=["id"])
    bench.permit(limit=0)
    blocked = bench.submit("DELETE", "{s}.items", source, keys=["id"])
    bench.cycle()
    with pytest.raises(EventInvalid, match="it is failed") as refused:
        verified(failed)
    assert f"bridge events retry {failed}" in (refused.value.hint or "")
    with pytest.raises(EventInvalid, match="it is blocked"):
        verified(blocked)


def test_an_event_whose_row_asks_for_something_else_by_now_is_refused(bench: SyncBench, verified: Verify) -> None:
    event_id = applied(bench, "UPSERT", bench.source(FIVE), keys=["id"])
    bench.lakehouse.execute(
        f"UPDATE {bench.settings.bridge_events_table} SET operation = 'UPDATE' WHERE event_id = '{event_id}'"
    )
    with pytest.raises(EventInvalid, match="is not the one that was applied"):
        verified(event_id)


@pytest.mark.parametrize("condition", ["DELTA_FILE_NOT_FOUND_DETAILED", "FAILED_READ_FILE.DBR_FILE_NOT_EXIST"])
def test_a_source_version_that_was_vacuumed_is_told_as_such(
    bench: SyncBench, verified: Verify, lakehouse_faults: StandIn, condition: str
) -> None:
    source = bench.source(FIVE)
    event_id = applied(bench, "INSERT", source)
    error = {"error_code": "BAD_REQUEST", "message": f"[{condition}] File is gone. SQLSTATE: KD001"}
    lakehouse_faults.fault(match={"statement_contains": "VERSION AS OF"}, action={"statement_error": error})
    with pytest.raises(EventInvalid, match=rf"{event_id}' can't be verified: .* at version 0: .*gone") as refused:
        verified(event_id)
    assert "VACUUM" in (refused.value.hint or "")


def test_a_source_that_was_dropped_is_told_as_such(bench: SyncBench, verified: Verify) -> None:
    source = bench.source(FIVE)
    event_id = applied(bench, "INSERT", source)
    bench.lakehouse.execute(f"DROP TABLE {source}")
    with pytest.raises(EventInvalid, match=rf"Event '{event_id}' can't be verified: Source table {source}") as refused:
        verified(event_id)
    assert "dropped" in (refused.value.hint or "")


def test_the_command_tells_people_and_scripts_and_asks_for_nobodys_permission(bench: SyncBench) -> None:
    source = bench.source(FIVE)
    event_id = applied(bench, "UPSERT", source, keys=["id"])
    other = applied(bench, "DELETE", filters={"name": "nobody"})
    bench.sql("UPDATE {s}.items SET name = N'other', price = 0 WHERE id = 3")
    bench.settings.bridge_permissions_file.unlink()
    waiting = bench.submit("INSERT", "{s}.items", source)
    answers, notes = told(bench, event_id, f"json:{event_id}", other, waiting, "json:nobody")
    assert [code for _, code in answers] == [1, 1, 0, 1, 2]
    shown, text, equal, _, unknown = [text for text, _ in answers]
    assert "id = 3  differs: name, price" in shown
    assert "changed since" in notes
    assert "not applied yet" in notes
    assert json.loads(unknown)["error"]["kind"] == "UnknownNameError"
    assert "equal" in equal
    assert "missing_rows" not in shown
    document = json.loads(text)
    assert document.pop("applied_at") < document.pop("verified_at")
    assert document.pop("isolation") in ("snapshot", "read committed")
    assert document == {
        "status": "different",
        "event_id": event_id,
        "operation": "UPSERT",
        "target": f"{bench.schema}.items",
        "source": source,
        "source_version": 0,
        "keys": ["id"],
        "compared": ["name", "price"],
        "source_rows": 5,
        "equal_rows": 4,
        "differing_rows": 1,
        "missing_rows": 0,
        "remaining_rows": 0,
        "notes": [],
        "differing": [{"row": {"id": "3"}, "columns": ["name", "price"], "copies": 1}],
        "missing": [],
        "remaining": [],
    }
