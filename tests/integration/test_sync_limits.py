"""What may not be done is not done: delete limits, permissions, signatures, cascades, ambiguous keys, pinned versions.

Every blocked event leaves its target, and the tables behind it, as they were, and says precisely why.
"""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sql_databricks_bridge import composition
from sql_databricks_bridge.auth.signing import sign
from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.sql_server import MssqlServer
from sql_databricks_bridge.models.events import EventRow
from sql_databricks_bridge.sync import authoring
from sql_databricks_bridge.sync.authoring import Explained
from tests.conftest import StandIn
from tests.integration.sync_support import SyncBench, sync_bench

KEY = "a signing key of thirty characters"
ONE_TO_SEVEN = "SELECT CAST(id + 1 AS INT) AS id FROM range(7)"
LEDGER_ROW = {"kind": "rpc", "statement_contains": "INSERT INTO bridge.applied_events"}


@pytest.fixture
def bench(sqlserver_settings: Settings, lakehouse_settings: Settings, tmp_path: Path) -> Iterator[SyncBench]:
    with sync_bench(sqlserver_settings, lakehouse_settings, tmp_path) as made:
        yield made


def stock(bench: SyncBench, name: str, rows: int = 7) -> None:
    """A table of that many rows: id 1, 2, ..., all of one kind."""
    values = ", ".join(f"({number}, N'x')" for number in range(1, rows + 1))
    bench.sql(f"CREATE TABLE {{s}}.{name} (id int NOT NULL PRIMARY KEY, kind nvarchar(10) NULL)")
    bench.sql(f"INSERT INTO {{s}}.{name} (id, kind) VALUES {values}")


def count(bench: SyncBench, name: str) -> int:
    return int(bench.sql(f"SELECT COUNT(*) FROM {{s}}.{name}")[0][0])


def permissions(bench: SyncBench, text: str) -> None:
    """Write the permissions file; `{s}` is the test's schema, `{home}` catalog.schema of its Delta tables."""
    whole = text.replace("{s}", bench.schema).replace("{home}", bench.home)
    bench.settings.bridge_permissions_file.write_text(whole)


def explain(bench: SyncBench, event_id: str) -> Explained:
    operations = composition.operations(bench.settings, bench.lakehouse, composition.permissions_file(bench.settings))
    return authoring.explain(operations, bench.events, MssqlServer(bench.settings).connect_target, event_id)


def require_blocked(bench: SyncBench, event_id: str, *said: str) -> None:
    """The event is blocked, in the ledger too, for a reason that says all of this."""
    row = bench.event(event_id)
    assert (row.status, row.rows_affected) == ("blocked", None), row
    for part in said:
        assert part in (row.error_message or ""), row.error_message
    assert bench.ledger(event_id) == [(1, "blocked", None)]
    assert bench.staging_tables() == []


def audited(bench: SyncBench) -> dict[str, list[tuple[str | None, str]]]:
    """(user, outcome) of each line of the audit log, by event."""
    found: dict[str, list[tuple[str | None, str]]] = {}
    for file in sorted(bench.settings.bridge_audit_dir.iterdir()):
        for line in map(json.loads, file.read_text().splitlines()):
            found.setdefault(line["request_id"], []).append((line["user_name"], line["outcome"]))
    return found


# How many rows -----------------------------------------------------------------------------------------------------


def test_a_delete_may_remove_its_limit_and_not_one_row_more(bench: SyncBench) -> None:
    """By keys, by a filter that matches everything, and by both; `explain` says beforehand what then happens."""
    source = bench.source(ONE_TO_SEVEN)
    ways: dict[str, Mapping[str, Any]] = {
        "keys": {"source": source, "keys": ["id"]},
        "filters": {"filters": {"kind": "x"}},
        "both": {"source": source, "keys": ["id"], "filters": {"kind": "x"}},
    }
    cases = [(f"{way}_{limit}", way, limit) for way in ways for limit in (6, 7, 8)]
    bench.permit(
        0, [f'- {{table: "{{s}}.{name}", access: write, max_delete_rows: {limit}}}' for name, _, limit in cases]
    )
    for name, _, _ in cases:
        stock(bench, name)
    ids = {name: bench.submit("DELETE", f"{{s}}.{name}", **ways[way]) for name, way, _ in cases}
    foretold = {name: explain(bench, event_id).explanation for name, event_id in ids.items()}
    assert all(count(bench, name) == 7 for name in ids)
    bench.cycle()
    for name, _, limit in cases:
        matches = foretold[name].matches
        assert matches is not None
        assert matches.matching == 7
        if limit < 7:
            told = f"would remove 7 rows of {bench.schema}.{name}; 'tester' may remove 6"
            require_blocked(bench, ids[name], told)
            assert told in str(foretold[name].refusal)
            assert count(bench, name) == 7
        else:
            assert foretold[name].refusal is None
            row = bench.event(ids[name])
            assert (row.status, row.rows_affected) == ("completed", 7), row
            assert count(bench, name) == 0


def test_without_a_limit_or_a_predicate_nothing_is_deleted(bench: SyncBench) -> None:
    stock(bench, "items")
    stock(bench, "others")
    bench.permit(0, ['- {table: "{s}.items", access: read_write}'])
    permitted = bench.settings.bridge_permissions_file.read_text()
    assert permitted.count("max_delete_rows") == 1  # the entry of {s}.* only: that of items has none
    source = bench.source("SELECT CAST(1 AS INT) AS id")
    unlimited = bench.submit("DELETE", "{s}.items", filters={"id": "1"})
    by_key = bench.submit("DELETE", "{s}.items", source, keys=["id"])
    zero = bench.submit("DELETE", "{s}.others", filters={"id": "1"})
    nothing = bench.submit("DELETE", "{s}.items", filters={"id": "99"})
    bare = [
        bench.submit("DELETE", "{s}.items"),
        bench.submit("DELETE", "{s}.items", source),
        bench.submit("DELETE", "{s}.items", filters={}),
        bench.submit("DELETE", "{s}.items", source, filters={}, rows_expected=7),
    ]
    bench.cycle()
    for event_id in (unlimited, by_key, zero):
        require_blocked(bench, event_id, "would remove 1 rows", "may remove 0")
    for event_id in bare:
        require_blocked(bench, event_id, "DELETE without primary_keys and filter_conditions would empty the table")
    row = bench.event(nothing)
    assert (row.status, row.rows_affected) == ("completed", 0)
    assert (count(bench, "items"), count(bench, "others")) == (7, 7)


def test_the_statements_own_count_decides_not_an_earlier_one(bench: SyncBench, sqlserver_faults: StandIn) -> None:
    """A row that comes behind `explain`, and one that comes when the event's transaction is under way."""
    stock(bench, "early", 3)
    stock(bench, "late", 3)
    bench.permit(3)
    early = bench.submit("DELETE", "{s}.early", filters={"kind": "x"}, priority=1)
    late = bench.submit("DELETE", "{s}.late", filters={"kind": "x"})
    for event_id in (early, late):
        explanation = explain(bench, event_id).explanation
        assert explanation.refusal is None
        assert explanation.matches is not None
        assert explanation.matches.matching == 3
    bench.sql("INSERT INTO {s}.early (id, kind) VALUES (4, N'x')")
    bench.cycle(max_events_per_poll=1)
    held = sqlserver_faults.fault(match=LEDGER_ROW, action={"delay_s": 3.0})
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bench.cycle)
        sqlserver_faults.wait_for(held)
        bench.sql("INSERT INTO {s}.late (id, kind) VALUES (4, N'x')")
        running.result()
    for event_id, name in ((early, "early"), (late, "late")):
        require_blocked(bench, event_id, f"would remove 4 rows of {bench.schema}.{name}", "may remove 3")
        assert count(bench, name) == 4


# Who may -----------------------------------------------------------------------------------------------------------

SEVERAL = f"""\
users:
  - name: tester
    sources: ["{{home}}.*"]
    permissions:
      - {{table: "{{s}}.*", access: read_write, max_delete_rows: 100}}
      - {{table: "{{s}}.payroll", access: read}}
      - {{table: "{{s}}.ledger", access: write, max_delete_rows: 1}}
  - name: narrow
    signing_key: "{KEY}"
    sources: ["{{home}}.nothing"]
    permissions:
      - {{table: "{{s}}.items", access: write, max_delete_rows: 100}}
  - name: signer
    signing_key: "{KEY[::-1]}"
    sources: ["{{home}}.*"]
    permissions:
      - {{table: "{{s}}.items", access: write, max_delete_rows: 2}}
end: true
"""


def an_event(bench: SyncBench, source: str, **changes: Any) -> EventRow:
    """A row that inserts the source's rows into items, not submitted yet."""
    wanted: dict[str, Any] = {
        "operation": "INSERT",
        "source_table": source,
        "target_table": f"{bench.schema}.items",
        "primary_keys": ("id",),
        "priority": 0,
        "metadata": {"source_version": "0"},
    }
    return EventRow(event_id=str(uuid.uuid4()), **(wanted | changes))


def test_permissions_decide_by_the_most_specific_entry_and_say_what_is_missing(bench: SyncBench) -> None:
    for name in ("items", "payroll", "ledger"):
        stock(bench, name)
    bench.sql("CREATE SCHEMA {s}_other")
    try:
        bench.sql("SELECT * INTO {s}_other.items FROM {s}.items")
        permissions(bench, SEVERAL)
        source = bench.source("SELECT CAST(id + 100 AS INT) AS id FROM range(2)")
        written = bench.submit("INSERT", "{s}.items", source)
        read_only = bench.submit("INSERT", "{s}.payroll", source)
        read_only_delete = bench.submit("DELETE", "{s}.PAYROLL", filters={"id": "1"})
        narrower = bench.submit("DELETE", "{s}.ledger", filters={"kind": "x"})
        no_entry = bench.submit("INSERT", "{s}_other.items", source)
        foreign = bench.submit(
            "INSERT", "{s}.items", "system.information_schema.tables", metadata={"source_version": "0"}
        )
        bench.cycle()
        assert bench.event(written).status == "completed"
        require_blocked(bench, read_only, f"User 'tester' may not write to {bench.schema}.payroll", "access: write")
        require_blocked(bench, read_only_delete, f"User 'tester' may not write to {bench.schema}.payroll")
        require_blocked(bench, narrower, "would remove 7 rows", "'tester' may remove 1")
        require_blocked(bench, no_entry, f"may not write to {bench.schema}_other.items")
        require_blocked(bench, foreign, "may not use system.information_schema.tables as a source", "`sources:`")
        assert [count(bench, name) for name in ("items", "payroll", "ledger")] == [9, 7, 7]
        assert bench.sql("SELECT COUNT(*) FROM {s}_other.items") == [(7,)]
        lines = audited(bench)
        assert lines[written] == [("tester", "intent"), ("tester", "applied")]
        for event_id in (read_only, read_only_delete, no_entry, foreign):
            assert lines[event_id] == [(None, "blocked")]
        assert lines[narrower] == [("tester", "blocked")]
    finally:
        bench.sql("DROP TABLE IF EXISTS {s}_other.items")
        bench.sql("DROP SCHEMA {s}_other")


def test_a_signed_event_runs_as_its_signer_or_not_at_all(bench: SyncBench) -> None:
    """No event that is signed wrongly falls back to SYNC_PRINCIPAL, who might do what it asks."""
    stock(bench, "items")
    permissions(bench, SEVERAL)
    source = bench.source("SELECT CAST(id + 100 AS INT) AS id FROM range(2)")
    other = bench.source("SELECT CAST(id + 200 AS INT) AS id FROM range(2)")
    right = sign(an_event(bench, source), "signer", KEY[::-1])
    changes: list[dict[str, Any]] = [
        {"event_id": str(uuid.uuid4())},
        {"operation": "UPSERT"},
        {"source_table": other},
        {"target_table": f"{bench.schema.upper()}.items"},
        {"primary_keys": None},
        {"priority": 1},
        {"rows_expected": 2},
        {"filter_conditions": {"id": "100"}},
        {"filter_conditions": {}},
        {"metadata": {"on_conflict": "update"}},
        {"metadata": {"user": "narrow"}},
    ]
    tampered = []
    for change in changes:
        signed = sign(an_event(bench, source), "signer", KEY[::-1])
        merged = {**(signed.metadata or {}), **change.pop("metadata", {})}
        tampered.append(dataclasses.replace(signed, **change, metadata=merged))
    wrong_key = sign(an_event(bench, source), "signer", KEY)
    stranger = sign(an_event(bench, source), "nobody", KEY)
    keyless = sign(an_event(bench, source), "tester", KEY)
    unsigned = an_event(bench, source, metadata={"source_version": "0", "user": "tester"})
    no_source = sign(an_event(bench, source), "narrow", KEY)
    beyond = sign(
        an_event(
            bench, source, operation="DELETE", primary_keys=None, source_table=None, filter_conditions={"kind": "x"}
        ),
        "signer",
        KEY[::-1],
    )
    for row in (right, *tampered, wrong_key, stranger, keyless, unsigned, no_source, beyond):
        bench.events.submit(row)
    bench.cycle()
    done = bench.event(right.event_id or "")
    assert (done.status, done.rows_affected) == ("completed", 2), done
    for row in tampered:
        signer = (row.metadata or {})["user"]
        require_blocked(bench, row.event_id or "", f"signature is not that of {signer!r}")
    require_blocked(bench, wrong_key.event_id or "", "signature is not that of 'signer'")
    require_blocked(bench, stranger.event_id or "", "signed by 'nobody', who is not in permissions.yaml")
    require_blocked(bench, keyless.event_id or "", "signed by 'tester', who has no signing_key")
    require_blocked(bench, unsigned.event_id or "", "half signed", "'signature'")
    require_blocked(bench, no_source.event_id or "", "'narrow' may not use", "as a source")
    require_blocked(bench, beyond.event_id or "", "would remove 7 rows", "'signer' may remove 2")
    assert count(bench, "items") == 9
    assert audited(bench)[right.event_id or ""] == [("signer", "intent"), ("signer", "applied")]
    for row in bench.events.list(None, 100):
        assert KEY not in (row.error_message or "")
        assert KEY[::-1] not in (row.error_message or "")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sync_principal": None}, "SYNC_PRINCIPAL, the user that such events run as, is not set"),
        ({"sync_principal": "Tester"}, "SYNC_PRINCIPAL 'Tester' is not in permissions.yaml"),
        ({"sync_principal": "signer"}, "'signer' has a signing_key, so that only signed events run as that user"),
    ],
    ids=["unset", "unknown", "one who signs"],
)
def test_an_unsigned_event_without_a_principal_is_blocked(bench: SyncBench, changes: dict[str, Any], said: str) -> None:
    stock(bench, "items")
    permissions(bench, SEVERAL)
    event_id = bench.submit("DELETE", "{s}.items", filters={"id": "1"})
    bench.cycle(**changes)
    require_blocked(bench, event_id, "The event is not signed", said)
    assert count(bench, "items") == 7


def test_permissions_that_change_between_two_rounds_hold_from_then_on(bench: SyncBench) -> None:
    """One poller all the time; a broken file changes nothing."""
    stock(bench, "items")
    poller = bench.poller()

    def round_of(number: int) -> EventRow:
        event_id = bench.submit("DELETE", "{s}.items", filters={"id": str(number)})
        report = poller.cycle()
        assert report.problem is None
        return bench.event(event_id)

    assert round_of(1).status == "completed"
    bench.permit(0)
    blocked = round_of(2)
    assert blocked.status == "blocked"
    assert "may remove 0" in (blocked.error_message or "")
    good = bench.settings.bridge_permissions_file.read_text()
    bench.settings.bridge_permissions_file.write_text(good.replace("max_delete_rows: 0", "max_delete_rows: many"))
    assert "may remove 0" in (round_of(3).error_message or "")
    bench.permit(1)
    assert round_of(4).status == "completed"
    permissions(bench, "users: []\nend: true\n")
    nobody = round_of(5)
    assert nobody.status == "blocked"
    assert "'tester' is not in permissions.yaml" in (nobody.error_message or "")
    assert [row[0] for row in bench.sql("SELECT id FROM {s}.items ORDER BY id")] == [2, 3, 5, 6, 7]


# Further than its own rows ------------------------------------------------------------------------------------------


def test_a_delete_that_reaches_further_than_its_own_rows_needs_allow_cascade(bench: SyncBench) -> None:
    """One parent with 500 children; a trigger that deletes elsewhere. The limit of 1 counts the parent only."""
    children = ", ".join(f"({number}, {1 + number // 500})" for number in range(505))
    bench.sql("CREATE TABLE {s}.parent (id int NOT NULL PRIMARY KEY)")
    bench.sql(
        "CREATE TABLE {s}.child (id int NOT NULL PRIMARY KEY, parent int NOT NULL, "
        "CONSTRAINT fk_parent FOREIGN KEY (parent) REFERENCES {s}.parent (id) ON DELETE CASCADE)"
    )
    bench.sql("INSERT INTO {s}.parent (id) VALUES (1), (2)")
    bench.sql(f"INSERT INTO {{s}}.child (id, parent) VALUES {children}")
    stock(bench, "items")
    stock(bench, "shadow")
    bench.sql("CREATE TRIGGER {s}.tr_gone ON {s}.items AFTER DELETE AS DELETE FROM {s}.shadow WHERE id > 0")
    bench.permit(1)
    cascade = bench.submit("DELETE", "{s}.parent", filters={"id": "1"})
    trigger = bench.submit("DELETE", "{s}.items", filters={"id": "1"})
    foretold = explain(bench, cascade).explanation.refusal
    assert f"{bench.schema}.child" in str(foretold)
    bench.cycle()
    require_blocked(bench, cascade, "reaches further than its own rows", f"{bench.schema}.child", "allow_cascade")
    require_blocked(bench, trigger, "reaches further than its own rows", "trigger tr_gone", "allow_cascade")
    assert [count(bench, name) for name in ("parent", "child", "items", "shadow")] == [2, 505, 7, 7]
    entry = "access: write, max_delete_rows: 1, allow_cascade: true"
    bench.permit(1, [f'- {{table: "{{s}}.{name}", {entry}}}' for name in ("parent", "items")])
    allowed = [
        bench.submit("DELETE", "{s}.parent", filters={"id": "1"}),
        bench.submit("DELETE", "{s}.items", filters={"id": "1"}),
    ]
    bench.cycle()
    for event_id in allowed:
        row = bench.event(event_id)
        assert (row.status, row.rows_affected) == ("completed", 1), row
    assert [count(bench, name) for name in ("parent", "child", "items", "shadow")] == [1, 5, 6, 0]


# Which rows ---------------------------------------------------------------------------------------------------------


def test_keys_that_are_one_to_the_target_are_refused_in_every_operation(bench: SyncBench) -> None:
    """'a', 'A' and 'a ' are one key of a column without case; to a binary collation 'a' and 'A' are two."""
    bench.sql("CREATE TABLE {s}.codes (code nvarchar(10) NOT NULL PRIMARY KEY, n int NOT NULL)")
    bench.sql(
        "CREATE TABLE {s}.bytes "
        "(code nvarchar(10) COLLATE Latin1_General_100_BIN2 NOT NULL PRIMARY KEY, n int NOT NULL)"
    )
    for name in ("codes", "bytes"):
        bench.sql(f"INSERT INTO {{s}}.{name} (code, n) VALUES (N'a', 1), (N'b', 2)")
    three = bench.source("SELECT code, CAST(9 AS INT) AS n FROM VALUES ('a'), ('A'), ('a '), ('c') AS v(code)")
    cased = bench.source("SELECT code, CAST(9 AS INT) AS n FROM VALUES ('x'), ('X') AS v(code)")
    padded = bench.source("SELECT code, CAST(9 AS INT) AS n FROM VALUES ('y'), ('y ') AS v(code)")
    operations = ("INSERT", "UPDATE", "DELETE", "UPSERT")
    thrice = [bench.submit(operation, "{s}.codes", three, keys=["code"]) for operation in operations]
    twice = [bench.submit("UPSERT", "{s}.codes", source, keys=["code"]) for source in (cased, padded)]
    still_one = bench.submit("UPSERT", "{s}.bytes", padded, keys=["code"])
    two_keys = bench.submit("UPSERT", "{s}.bytes", cased, keys=["code"])
    bench.cycle()
    for event_id in thrice:
        row = bench.event(event_id)
        assert row.status == "failed", row
        assert "1 keys (code) stand in several rows of the source, such as code = '" in (row.error_message or "")
        assert ", 3 times" in (row.error_message or "")
    for event_id in (*twice, still_one):
        row = bench.event(event_id)
        assert row.status == "failed", row
        assert ", 2 times" in (row.error_message or "")
        assert "letter case and trailing blanks may not count" in (row.error_message or "")
    assert bench.event(two_keys).status == "completed"
    assert bench.sql("SELECT code, n FROM {s}.codes ORDER BY code") == [("a", 1), ("b", 2)]
    found = bench.sql("SELECT code, n FROM {s}.bytes ORDER BY code")
    assert sorted(found) == [("X", 9), ("a", 1), ("b", 2), ("x", 9)]


def test_a_source_overwritten_between_two_events_is_read_at_each_ones_version(bench: SyncBench) -> None:
    bench.sql("CREATE TABLE {s}.seen (pos int IDENTITY NOT NULL, n int NOT NULL)")
    source = bench.source("SELECT CAST(1 AS INT) AS n")
    first = bench.submit("INSERT", "{s}.seen", source, priority=3)
    bench.lakehouse.execute(f"INSERT OVERWRITE {source} SELECT CAST(2 AS INT) AS n")
    second = bench.submit("INSERT", "{s}.seen", source, priority=2)
    unpinned = an_event(
        bench, source, target_table=f"{bench.schema}.seen", primary_keys=None, metadata=None, priority=1
    )
    bench.events.submit(unpinned)
    bench.lakehouse.execute(f"INSERT OVERWRITE {source} SELECT CAST(id AS INT) AS n FROM range(3, 5)")
    bench.cycle()
    assert [row[0] for row in bench.sql("SELECT n FROM {s}.seen ORDER BY pos")] == [1, 2, 3, 4]
    assert [bench.event(event_id).warning for event_id in (first, second)] == [None, None]
    assert "version 2 of the source was taken" in (bench.event(unpinned.event_id or "").warning or "")
    versions = bench.sql(
        f"SELECT source_version FROM bridge.applied_events WHERE event_id IN (N'{first}', N'{second}', "
        f"N'{unpinned.event_id}') ORDER BY source_version"
    )
    assert versions == [(0,), (1,), (2,)]
