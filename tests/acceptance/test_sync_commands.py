"""The way back by the installed command: `events`, `sync`, `target` and what `check` says of them."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from sql_databricks_bridge.core.config import Settings
from tests.acceptance.conftest import Bridge, Workspace
from tests.integration.sync_support import SyncBench, sync_bench


@dataclass(frozen=True, slots=True)
class Sync:
    """The command, and both ends of it, with tables of the test's own."""

    bench: SyncBench
    bridge: Bridge
    source: str

    @property
    def target(self) -> str:
        return f"{self.bench.schema}.prices"

    def submit(self, *options: str) -> str:
        """Submit an event for the target; return its event_id."""
        document = self.bridge("events", "submit", "--target", self.target, *options, "--json").document
        assert document["status"] == "submitted", document
        return str(document["event_id"])

    def prices(self) -> list[tuple[object, ...]]:
        return self.bench.sql("SELECT sku, note FROM {s}.prices ORDER BY sku")


@pytest.fixture
def sync(
    workspace: Workspace, server_environment: dict[str, str], sqlserver_settings: Settings, lakehouse_settings: Settings
) -> Iterator[Sync]:
    """A target of two columns, a source of two rows, an events table that is there."""
    with sync_bench(sqlserver_settings, lakehouse_settings, workspace.directory) as bench:
        bench.sql("CREATE TABLE {s}.prices (sku nvarchar(10) NOT NULL PRIMARY KEY, note nvarchar(5) NULL)")
        source = bench.source("SELECT * FROM VALUES ('a', 'one'), ('b', NULL) AS v(sku, note)")
        environment = {
            **server_environment,
            "BRIDGE_EVENTS_TABLE": bench.settings.bridge_events_table,
            "BRIDGE_PERMISSIONS_FILE": str(bench.settings.bridge_permissions_file),
            "BRIDGE_AUDIT_DIR": str(workspace.directory / "audit"),
            "SYNC_PRINCIPAL": bench.settings.sync_principal or "",
            "POLLING_INTERVAL_SECONDS": "1",
        }
        yield Sync(bench, Bridge(environment, workspace.directory), source)


def test_an_event_goes_the_whole_way_by_commands(sync: Sync) -> None:
    """init, submit, explain, once, list, show: each prints one document, and SQL Server holds the rows."""
    assert sync.bridge("events", "init", "--json").document["status"] == "ready"
    assert sync.bridge("target", "init", "--run", "--json").document["status"] in ("created", "unchanged")
    event_id = sync.submit("--operation", "INSERT", "--source", sync.source, "--key", "sku", "--rows-expected", "2")
    explained = sync.bridge("events", "explain", event_id, "--json")
    assert (explained.code, explained.document["verdict"]) == (0, "would be applied")
    assert (explained.document["source_rows"], explained.document["matching_rows"]) == (2, 0)
    assert sync.prices() == []

    done = sync.bridge("sync", "once", "--json")
    assert done.code == 0, done.err
    (ended,) = done.document["events"]
    assert (ended["event_id"], ended["status"], ended["rows_affected"]) == (event_id, "completed", 2)
    assert sync.prices() == [("a", "one"), ("b", None)]
    (listed,) = sync.bridge("events", "list", "--status", "completed", "--json").document["events"]
    (shown,) = sync.bridge("events", "show", event_id, "--json").document["events"]
    assert listed == shown
    assert (shown["rows_affected"], shown["discrepancy"], shown["error_message"]) == (2, 0, None)
    assert sync.bridge("events", "explain", event_id).code == 1  # nothing would happen again
    assert sync.bridge("events", "retry", event_id).code == 1  # never what was applied


def test_a_refused_event_exits_with_1_and_goes_round_again_when_mended(sync: Sync) -> None:
    """A DELETE beyond the limit is blocked as `explain` foretold; with a higher limit `retry` brings it through."""
    sync.bench.sql("INSERT INTO {s}.prices VALUES (N'a', NULL), (N'b', NULL)")
    sync.bench.permit(limit=1)
    event_id = sync.submit("--operation", "DELETE", "--source", sync.source, "--key", "sku")
    foretold = sync.bridge("events", "explain", event_id, "--json")
    assert (foretold.code, foretold.document["verdict"]) == (1, "would not be applied")
    done = sync.bridge("sync", "once", "--json")
    assert (done.code, done.document["events"][0]["status"]) == (1, "blocked")
    assert foretold.document["why"] in done.document["events"][0]["error_message"]
    sync.bench.permit(limit=2)
    assert sync.bridge("events", "retry", event_id, "--json").document["generation"] == 2
    assert sync.bridge("sync", "once").code == 0
    assert sync.prices() == []


def test_explain_foretells_what_the_keys_will_meet(sync: Sync) -> None:
    """Rows that are there already, and keys that stand in two rows of the source, fail an INSERT with keys."""
    sync.bench.sql("INSERT INTO {s}.prices VALUES (N'A', NULL)")
    there = sync.submit("--operation", "INSERT", "--source", sync.source, "--key", "sku")
    source = sync.bench.source("SELECT * FROM VALUES ('c', 'x'), ('C', 'y') AS v(sku, note)")
    twice = sync.submit("--operation", "UPSERT", "--source", source, "--key", "sku")
    foretold = {event: sync.bridge("events", "explain", event, "--json").document for event in (there, twice)}
    assert foretold[there]["why"].startswith("1 of the rows are in ")
    assert "1 keys (sku) stand in several rows" in foretold[twice]["why"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--operation", "MERGE"), "operation 'MERGE' is unknown"),
        (("--operation", "DELETE"), "would empty the table"),
        (("--operation", "DELETE", "--filter", "sku", "--filter", "sku=1"), "names 'sku' twice"),
        (("--operation", "DELETE", "--filter", "sku=1", "--metadata", "user=tester"), "without the other"),
        (("--operation", "DELETE", "--filter", "sku=1", "--event-id", ""), "event_id is empty"),
        (("--operation", "DELETE", "--filter", "sku=1", "--priority", "2147483648"), "2147483647"),
        (("--operation", "DELETE", "--filter", "sku=1", "--sign-as", "tester"), "BRIDGE_SIGNING_KEY is not set"),
    ],
)
def test_a_wrong_event_is_not_submitted(options: tuple[str, ...], said: str, bridge: Bridge) -> None:
    """Wrong usage exits with 2 and one document that says what is wrong; no statement is sent for it."""
    done = bridge("events", "submit", "--target", "dbo.t", *options, "--json", DATABRICKS_HOST="http://127.0.0.1:1")
    assert done.code == 2, done.err
    assert said in done.document["error"]["message"]


def test_an_event_id_that_is_taken_is_no_success(sync: Sync) -> None:
    """The same event twice is one; another one under its event_id is refused and named, and changes nothing."""
    options = ("--operation", "DELETE", "--target", sync.target, "--event-id", str(uuid.uuid4()))
    for _ in range(2):
        assert sync.bridge("events", "submit", *options, "--filter", "sku=a").code == 0
    other = sync.bridge("events", "submit", *options, "--filter", "sku=b", "--json")
    assert other.code == 2
    assert "is there already (pending), with another filter_conditions" in other.document["error"]["message"]
    assert sync.bench.event(options[-1]).filter_conditions == {"sku": "a"}


def test_text_that_anybody_wrote_can_not_steer_the_terminal(sync: Sync) -> None:
    """Escape sequences and marks that reorder text, in a row of the events table, are spelled out."""
    sync.bench.submit("INSERT\x1b[2J", "dbo.\u202eevil", event_id=f"e\x1b]0;x\x07{uuid.uuid4()}")
    for arguments in (("events", "list"), ("sync", "once")):
        done = sync.bridge(*arguments, COLUMNS="60")
        assert not {"\x1b", "\x07", "\u202e"} & set(done.out + done.err)
        assert "\\x1b" in done.out


def test_sync_does_not_start_with_wrong_permissions(sync: Sync) -> None:
    """Told before anything is read, as one document; `sync run` prints it on one line."""
    file = sync.bench.settings.bridge_permissions_file
    file.write_text("users:\n  - name: x\n    permi")
    done = sync.bridge("sync", "run", "--json")
    assert done.code == 2
    (line,) = done.out.splitlines()
    assert "not YAML" in json.loads(line)["error"]["message"]
    file.unlink()
    done = sync.bridge("sync", "once", "--json")
    assert done.code == 2
    assert "can't be found" in done.document["error"]["message"]


def test_check_tells_what_sync_lacks(sync: Sync) -> None:
    """Extraction works without it: warnings, with what to do, and exit code 0."""
    done = sync.bridge("check", "--json", SYNC_PRINCIPAL="nobody", BRIDGE_EVENTS_TABLE="bridge.nowhere.e")
    assert done.code == 0
    found = {item["check"]: item for item in done.document["checks"] if item["end"] == "Sync"}
    assert {name: item["result"] for name, item in found.items()} == {
        "permissions": "ok",
        "principal": "warn",
        "events table": "warn",
        "ledger": "ok",
    }
    assert "'nobody'" in found["principal"]["detail"]
    assert "bridge events init" in found["events table"]["hint"]


def test_sync_run_ends_in_order_on_sigterm(sync: Sync) -> None:
    """One document a line; the event is applied; after SIGTERM a last line, and exit code 0."""
    event_id = sync.submit("--operation", "INSERT", "--source", sync.source)
    with sync.bridge.started("sync", "run", "--json") as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert [event["event_id"] for event in first["events"]] == [event_id]
    assert first["events"][0]["status"] == "completed"
    assert json.loads(out.splitlines()[-1])["status"] == "stopped"
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert len(sync.prices()) == 2


def test_a_line_end_after_the_token_does_not_show_it(bridge: Bridge) -> None:
    """A token that was read from a file works; one with a line break inside is refused, and never printed."""
    token = bridge.environment["DATABRICKS_TOKEN"]
    assert bridge("check", DATABRICKS_TOKEN=f"{token}\n").code == 0
    half = len(token) // 2
    done = bridge("events", "list", "--json", DATABRICKS_TOKEN=f"{token[:half]}\n{token[half:]}")
    assert done.code == 2
    assert "DATABRICKS_TOKEN" in done.document["error"]["message"]
    assert token[:half] not in done.out + done.err
