"""The SDK drives a running service: jobs with progress, cancelled, sent twice, across a kill; events; refusals."""

from __future__ import annotations

import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config

from sql_databricks_bridge import composition
from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from sql_databricks_bridge_sdk import (
    BridgeClient,
    BridgeEvents,
    Conflict,
    EventBlocked,
    InvalidRequest,
    Job,
    JobCancelled,
    JobFailed,
    KeyReused,
    NotFound,
    NotPermitted,
    SignInRefused,
)
from tests.acceptance.conftest import BRIDGE
from tests.acceptance.service import TOKENS, Service, service
from tests.conftest import StandIn
from tests.integration.sync_support import driver_connection
from tests.sdk.conftest import Blocking

LONG_S = 90.0


@dataclass(frozen=True, slots=True)
class Bench:
    """A service with a poller; a target table and a source of three rows for events."""

    running: Service
    settings: Settings
    source: str

    @property
    def target(self) -> str:
        return f"{self.running.schema}.orders"

    def rows(self) -> int:
        with closing(driver_connection(self.settings)) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(f"SELECT COUNT(*) FROM {self.target}")
            return int(cursor.fetchone()[0])


@pytest.fixture(scope="module")
def bench(
    server_environment: dict[str, str],
    sqlserver_settings: Settings,
    lakehouse_settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bench]:
    lakehouse = DatabricksLakehouse(lakehouse_settings)
    home = f"{lakehouse_settings.databricks_catalog}.{lakehouse_settings.databricks_schema}"
    source = f"{home}.src_{uuid.uuid4().hex[:12]}"
    lakehouse.execute(f"CREATE TABLE {source} AS SELECT * FROM (VALUES (1, 'a'), (2, 'b'), (3, 'c')) AS t(id, name)")
    with service(server_environment, tmp_path_factory.mktemp("sdk"), sqlserver_settings) as running:
        running.workspace.query("airlines", "SELECT carrier FROM dbo.airlines")
        running.workspace.query("planes", "SELECT tailnum FROM dbo.planes")
        running.workspace.query("broken", "SELECT carrier / 0 AS nothing FROM dbo.airlines")
        with closing(driver_connection(sqlserver_settings)) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(f"CREATE TABLE {running.schema}.orders (id int NOT NULL, name nvarchar(20) NULL)")
        table = running.environment["BRIDGE_EVENTS_TABLE"]
        composition.events_table(
            lakehouse_settings.model_copy(update={"bridge_events_table": table}), lakehouse
        ).create()
        running.start(POLLER_ENABLED="true", POLLING_INTERVAL_SECONDS="1")
        yield Bench(running, sqlserver_settings, source)
    for name in (source, table):
        lakehouse.execute(f"DROP TABLE {name}")


@pytest.fixture(params=[BridgeClient, Blocking], ids=["sync", "async"])
def either(request: pytest.FixtureRequest, bench: Bench) -> Iterator[Any]:
    """Alice's client, of either kind."""
    made = request.param(bench.running.url, TOKENS["alice"])
    yield made
    made.close()


@pytest.fixture
def client(bench: Bench) -> Iterator[BridgeClient]:
    """Alice's client."""
    with BridgeClient(bench.running.url, TOKENS["alice"]) as made:
        yield made


def test_a_job_is_followed_to_its_end(bench: Bench, either: Any) -> None:
    looks: list[Job] = []
    job = either.extract(bench.running.workspace.country, queries=["airlines", "planes"], limit=10)
    ended = either.wait(job, on_progress=looks.append, timeout_s=LONG_S)
    assert (ended.status, ended.user, ended.progress.rows) == ("completed", "alice", 20)
    assert ended == either.get_job(job) == looks[-1]
    assert ended.query("airlines").path
    assert len(looks) == len({(each.status, each.progress, each.queries) for each in looks})
    assert next(iter(either.list_jobs(status="completed", page_size=1))).job_id == job.job_id


def test_a_query_that_fails_makes_the_wait_fail_and_says_why(bench: Bench, client: BridgeClient) -> None:
    job = client.extract(bench.running.workspace.country, queries=["airlines", "broken"], limit=10)
    with pytest.raises(JobFailed, match="ended partial: broken: ") as caught:
        client.wait(job, timeout_s=LONG_S)
    assert [query.status for query in caught.value.job.queries] == ["completed", "failed"]


def test_a_job_sent_twice_runs_once(bench: Bench, client: BridgeClient) -> None:
    country, key = bench.running.workspace.country, uuid.uuid4().hex
    first = client.extract(country, queries=["airlines"], idempotency_key=key)
    assert client.extract(country, queries=["airlines"], idempotency_key=key).job_id == first.job_id
    with pytest.raises(KeyReused):
        client.extract(country, queries=["planes"], idempotency_key=key)
    client.wait(first, timeout_s=LONG_S)
    with pytest.raises(Conflict):
        client.cancel(first)


def test_a_cancelled_job_ends_its_wait(bench: Bench, client: BridgeClient, lakehouse_faults: StandIn) -> None:
    match = {"method": "PUT", "path_contains": bench.running.workspace.country}
    rule = lakehouse_faults.fault(match=match, times=None, action={"delay_s": 60})
    job = client.extract(bench.running.workspace.country, queries=["airlines"])
    lakehouse_faults.wait_for(rule)
    assert client.cancel(job).cancel_requested
    with pytest.raises(JobCancelled):
        client.wait(job, timeout_s=LONG_S)


def test_refusals_have_their_kinds(bench: Bench, either: Any) -> None:
    country = bench.running.workspace.country
    with pytest.raises(InvalidRequest) as caught:
        either.extract(country, limit=0)
    assert [each.where for each in caught.value.errors] == ["body.limit"]
    assert caught.value.request_id
    for ask, name in ((either.get_job, "nobody"), (either.wait, "nobody"), (either.get_event, "..")):
        with pytest.raises(NotFound):
            ask(name)
    with BridgeClient(bench.running.url, TOKENS["bob"]) as bob, pytest.raises(NotPermitted):
        bob.extract(country, queries=["planes"])
    with BridgeClient(bench.running.url, "canary-token") as stranger, pytest.raises(SignInRefused) as refused:
        stranger.queries(country)
    assert "canary" not in str(refused.value) + bench.running.log


def test_the_bridge_tells_of_itself(bench: Bench, client: BridgeClient) -> None:
    assert client.version()
    readiness = client.ready()
    assert readiness.ready, readiness
    assert {each.name for each in readiness.dependencies} >= {"sql_server", "databricks", "job_store"}
    assert {query.name for query in client.queries(bench.running.workspace.country)} == {"airlines", "planes", "broken"}


def test_an_event_is_applied_once_however_often_it_is_sent(bench: Bench, either: Any) -> None:
    before, key = bench.rows(), uuid.uuid4().hex
    sent = [
        either.submit_event("INSERT", bench.source, bench.target, rows_expected=3, idempotency_key=key)
        for _ in range(2)
    ]
    assert sent[0].event_id == sent[1].event_id
    (event,) = either.wait_for_events(sent[:1], timeout_s=LONG_S)
    assert (event.rows_affected, event.discrepancy) == (3, 0)
    assert bench.rows() == before + 3
    assert event in either.list_events(status="completed")
    with pytest.raises(Conflict):
        either.retry_event(event)


def test_a_refused_event_is_an_error_and_may_be_tried_again(bench: Bench, client: BridgeClient) -> None:
    event = client.submit_event("DELETE", None, bench.target, filters={"nobody": "1"}, event_id=uuid.uuid4().hex)
    failed = client.wait_for_event(event, timeout_s=LONG_S, check=False)
    assert failed.status == "failed"
    assert client.retry_event(failed).status == "pending"
    assert client.wait_for_event(failed, timeout_s=LONG_S, check=False).status == "failed"


def test_an_event_of_a_notebook_runs_as_the_user_who_signed_it(bench: Bench, lakehouse_settings: Settings) -> None:
    """BridgeEvents writes into the table itself; the service's poller accepts the signature, and no other's."""
    token = lakehouse_settings.databricks_token
    assert token is not None
    config = Config(host=lakehouse_settings.databricks_host, token=token.get_secret_value(), auth_type="pat")
    workspace = WorkspaceClient(config=config)

    def notebook(key: str) -> BridgeEvents:
        return BridgeEvents(
            workspace_client=workspace,
            warehouse_id=lakehouse_settings.databricks_warehouse_id,
            table=bench.running.environment["BRIDGE_EVENTS_TABLE"],
            user="alice",
            signing_key=key,
        )

    key = f"key-{bench.running.schema.removeprefix('s')}"
    events, forged = notebook(key), notebook(f"{key}-")
    before = bench.rows()
    good, bad = (each.submit("INSERT", bench.source, bench.target) for each in (events, forged))
    assert events.wait(good, timeout_s=LONG_S).rows_affected == 3
    with pytest.raises(EventBlocked, match="signature is not that of 'alice'"):
        events.wait(bad, timeout_s=LONG_S)
    assert bench.rows() == before + 3


def test_a_wait_outlives_a_kill_of_the_service(
    server_environment: dict[str, str],
    sqlserver_settings: Settings,
    lakehouse_faults: StandIn,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Killed in the middle of a job and started again at the same address: one wait sees it to its end."""
    with service(server_environment, tmp_path_factory.mktemp("killed"), sqlserver_settings) as found:
        found.workspace.query("airlines", "SELECT carrier FROM dbo.airlines")
        found.start(JOB_LEASE_S="2")
        match = {"method": "PUT", "path_contains": found.workspace.country}
        rule = lakehouse_faults.fault(match=match, action={"delay_s": 60})
        with BridgeClient(found.url, TOKENS["alice"], retries=0) as client:
            job, ended = client.extract(found.workspace.country), list[Job]()
            waiter = threading.Thread(target=lambda: ended.append(client.wait(job, timeout_s=LONG_S)))
            waiter.start()
            lakehouse_faults.wait_for(rule)
            found.kill()
            lakehouse_faults.clear()
            found.process = subprocess.Popen(
                [BRIDGE, "serve", "--port", found.url.rpartition(":")[2], "--json"],
                cwd=found.directory,
                env={**found.environment, "JOB_LEASE_S": "2"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            waiter.join(LONG_S)
    assert [(each.status, each.progress.rows, each.attempt) for each in ended] == [("completed", 16, 2)]
