"""Events that the SDK signs, applied by the real poller as that user; not at all once somebody has altered them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge_sdk import BridgeEvents, EventBlocked
from tests.integration.sync_support import SyncBench, sync_bench

KEY = "a signing key of some length"
PERMISSIONS = """\
users:
  - name: sales-team
    signing_key: {key}
    sources: ["*.*.*"]
    permissions:
      - table: "{schema}.*"
        access: read_write
        max_delete_rows: 1
end: true
"""


@pytest.fixture(scope="module")
def bench(
    sqlserver_settings: Settings, lakehouse_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SyncBench]:
    with sync_bench(sqlserver_settings, lakehouse_settings, tmp_path_factory.mktemp("sdk")) as made:
        text = PERMISSIONS.format(key=KEY, schema=made.schema)
        made.settings.bridge_permissions_file.write_text(text)
        made.sql("CREATE TABLE {s}.prices (sku int NOT NULL PRIMARY KEY, price int NULL)")
        yield made


@pytest.fixture(scope="module")
def events(bench: SyncBench) -> BridgeEvents:
    settings = bench.settings
    token = settings.databricks_token
    config = Config(
        host=settings.databricks_host, token=None if token is None else token.get_secret_value(), auth_type="pat"
    )
    return BridgeEvents(
        workspace_client=WorkspaceClient(config=config),
        warehouse_id=settings.databricks_warehouse_id,
        table=settings.bridge_events_table,
        user="sales-team",
        signing_key=KEY,
    )


def test_a_signed_event_completes_as_its_user(bench: SyncBench, events: BridgeEvents) -> None:
    source = bench.source("SELECT 1 AS sku, 10 AS price UNION ALL SELECT 2, 20")
    event = events.submit("INSERT", source, f"{bench.schema}.prices", rows_expected=2, metadata={"note": "it's ñ"})
    bench.lakehouse.execute(f"INSERT INTO {source} VALUES (3, 30)")  # behind the version that was pinned
    bench.cycle()
    ended = events.wait(event, timeout_s=60)
    assert (ended.rows_affected, ended.discrepancy, ended.warning) == (2, 0, None)
    assert bench.sql("SELECT sku, price FROM {s}.prices ORDER BY sku") == [(1, 10), (2, 20)]
    audit = "".join(file.read_text() for file in Path(bench.settings.bridge_audit_dir).glob("*.jsonl"))
    assert f'"{event.event_id}"' in audit
    assert '"user_name":"sales-team"' in audit.replace('": "', '":"')


def test_a_users_limits_hold_for_a_signed_event(bench: SyncBench, events: BridgeEvents) -> None:
    bench.sql("INSERT INTO {s}.prices VALUES (101, 7), (102, 7)")
    event = events.submit("DELETE", None, f"{bench.schema}.prices", filters={"price": "7"})
    bench.cycle()
    with pytest.raises(EventBlocked, match="would remove 2 rows"):
        events.wait(event, timeout_s=60)
    assert bench.sql("SELECT count(*) FROM {s}.prices WHERE price = 7") == [(2,)]


@pytest.mark.parametrize(
    "altered",
    [
        "priority = 5",
        "filter_conditions = map('sku', '2')",
        "metadata = map_concat(metadata, map('timezone', 'UTC'))",
        "rows_expected = NULL",
    ],
)
def test_an_event_that_was_altered_afterwards_is_blocked(bench: SyncBench, events: BridgeEvents, altered: str) -> None:
    event = events.submit("DELETE", None, f"{bench.schema}.prices", filters={"sku": "1"}, rows_expected=1)
    table = bench.settings.bridge_events_table
    bench.lakehouse.execute(f"UPDATE {table} SET {altered} WHERE event_id = '{event.event_id}'")
    before = bench.sql("SELECT count(*) FROM {s}.prices")
    bench.cycle()
    with pytest.raises(EventBlocked, match="signature is not that of 'sales-team'"):
        events.wait(event, timeout_s=60)
    assert bench.sql("SELECT count(*) FROM {s}.prices") == before
