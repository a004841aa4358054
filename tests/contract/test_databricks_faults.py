"""Faults of the Databricks stand-in: each goes wrong where it says, and what the real SDK makes of it."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from databricks.sdk.errors import AlreadyExists, InternalError, NotFound, PermissionDenied
from databricks.sdk.service.catalog import VolumeType
from databricks.sdk.service.sql import Disposition, Format, StatementState

from tests.conftest import StandIn
from tests.contract.databricks_fixture import Sandbox, ended, fetch, message_of, signed_in, state_of

FILES = "/api/2.0/fs/files"


@pytest.fixture
def sandbox(lakehouse_faults: StandIn) -> Iterator[Sandbox]:
    with signed_in(lakehouse_faults) as made:
        yield made


def put(sandbox: Sandbox, path: str, content: bytes, **options: Any) -> None:
    sandbox.client.files.upload(path, io.BytesIO(content), **options)


def read(sandbox: Sandbox, path: str) -> bytes:
    return sandbox.call("GET", FILES + path).content


def statuses(sandbox: Sandbox, path: str) -> list[tuple[str, int | None]]:
    return [(each["method"], each["status"]) for each in sandbox.server.requests() if path in each["path"]]


@pytest.mark.parametrize("status", [429, 503])
def test_the_sdk_sends_again_after_429_and_503_and_honours_retry_after(sandbox: Sandbox, status: int) -> None:
    path = f"{sandbox.folder()}/x"
    rule = sandbox.server.fault(match={"path_contains": path}, action={"status": status, "retry_after": 0})
    put(sandbox, path, b"content")
    assert sandbox.server.hits(rule) == 1
    assert statuses(sandbox, path) == [("PUT", status), ("PUT", 204)]


def test_another_status_comes_with_the_code_and_message_that_the_rule_gives(sandbox: Sandbox) -> None:
    action = {"status": 403, "error_code": "PERMISSION_DENIED", "message": "User lacks WRITE VOLUME"}
    sandbox.server.fault(match={"method": "PUT"}, action=action)
    with pytest.raises(PermissionDenied, match="User lacks WRITE VOLUME"):
        put(sandbox, f"{sandbox.folder()}/x", b"content")


def test_a_drop_before_handling_is_healed_by_the_sdk(sandbox: Sandbox) -> None:
    path = f"{sandbox.folder()}/x"
    rule = sandbox.server.fault(match={"path_contains": path}, action={"drop": "before"})
    put(sandbox, path, b"content", overwrite=False)
    assert sandbox.server.hits(rule) == 1
    assert statuses(sandbox, path) == [("PUT", 0), ("PUT", 204)]
    assert read(sandbox, path) == b"content"


def test_a_drop_after_handling_makes_the_sdk_write_twice(sandbox: Sandbox) -> None:
    path = f"{sandbox.folder()}/x"
    rule = sandbox.server.fault(match={"path_contains": path}, action={"drop": "after"})
    with pytest.raises(AlreadyExists):
        put(sandbox, path, b"content", overwrite=False)
    assert sandbox.server.hits(rule) == 1
    assert read(sandbox, path) == b"content"


def test_a_statement_whose_answer_is_lost_is_run_twice_by_the_sdk(sandbox: Sandbox) -> None:
    table = sandbox.table()
    sandbox.rows(f"CREATE TABLE {table} (id INT)")
    rule = sandbox.server.fault(match={"statement_contains": f"INSERT INTO {table}"}, action={"drop": "after"})
    sandbox.rows(f"INSERT INTO {table} VALUES (1)")
    assert sandbox.server.hits(rule) == 1
    assert sandbox.rows(f"SELECT count(*) FROM {table}") == [["2"]]


@pytest.mark.parametrize("wait", ["0s", "30s"])
def test_a_drop_after_execution_comes_when_the_statement_has_ended(sandbox: Sandbox, wait: str) -> None:
    """However short the wait is: what the SDK sends again has been done once already."""
    table = sandbox.table()
    sandbox.rows(f"CREATE TABLE {table} (id INT)")
    rule = sandbox.server.fault(match={"kind": "insert"}, action={"drop": "executed"})
    answer = sandbox.sql(f"INSERT INTO {table} VALUES (1)", wait_timeout=wait)
    assert sandbox.server.hits(rule) == 1
    log = [each for each in sandbox.server.requests() if table in (each["statement"] or "")]
    assert [(each["kind"], each["status"]) for each in log] == [("CREATE", 200), ("INSERT", 0), ("INSERT", 200)]
    assert log[1]["statement_sha256"] == log[2]["statement_sha256"] != log[0]["statement_sha256"]
    assert ended(sandbox, log[1]["statement_id"]).status == ended(sandbox, answer.statement_id).status
    assert sandbox.rows(f"SELECT count(*) FROM {table}") == [["2"]]


def test_a_held_statement_runs_when_its_rule_goes_or_never_after_a_cancel(sandbox: Sandbox) -> None:
    rule = sandbox.server.fault(match={"statement_contains": "held"}, action={"hold_statement": True}, times=2)
    held, doomed = (sandbox.sql(f"SELECT 'held {each}'", wait_timeout="0s") for each in (1, 2))
    sandbox.client.statement_execution.cancel_execution(doomed.statement_id or "")
    assert state_of(ended(sandbox, doomed.statement_id)) is StatementState.CANCELED
    waiting = sandbox.client.statement_execution.get_statement(held.statement_id or "")
    assert state_of(waiting) is StatementState.RUNNING
    assert sandbox.server.hits(rule) == 2
    sandbox.server.clear()
    assert state_of(ended(sandbox, held.statement_id)) is StatementState.SUCCEEDED


@pytest.mark.parametrize("action", [{"drop": "before"}, {"status": 503}, {"cut_response_after_bytes": 100}])
def test_a_chunk_fails_once_and_is_there_at_the_next_try(sandbox: Sandbox, action: dict[str, Any]) -> None:
    answer = sandbox.sql("SELECT 'chunk'", disposition=Disposition.EXTERNAL_LINKS, format=Format.ARROW_STREAM)
    assert answer.result is not None
    (link,) = answer.result.external_links or []
    rule = sandbox.server.fault(match={"path_contains": "/_storage/results/"}, action=action)
    url = link.external_link or ""
    if "status" in action:
        assert fetch(url).status_code == 503
    else:
        with pytest.raises(requests.RequestException):
            fetch(url)
    assert fetch(url).status_code == 200
    assert sandbox.server.hits(rule) == 1


def test_half_an_upload_stays_at_its_path(sandbox: Sandbox) -> None:
    path = f"{sandbox.folder()}/x"
    rule = sandbox.server.fault(match={"method": "PUT", "path_contains": path}, action={"half_upload": True})
    with pytest.raises(requests.ConnectionError):
        sandbox.call("PUT", FILES + path, data=b"0123456789")
    assert sandbox.server.hits(rule) == 1
    assert read(sandbox, path) == b"01234"
    with pytest.raises(AlreadyExists):
        put(sandbox, path, b"0123456789", overwrite=False)


@pytest.mark.parametrize(("value", "status"), [(True, 500), (507, 507)])
def test_a_full_disk_fails_the_upload_and_keeps_nothing(sandbox: Sandbox, value: object, status: int) -> None:
    path = f"{sandbox.folder()}/x"
    sandbox.server.fault(match={"path_contains": path}, action={"disk_full": value}, times=None)
    answer = sandbox.call("PUT", FILES + path, data=b"0123456789")
    assert (answer.status_code, answer.json()["message"]) == (status, "No space left on device")
    assert sandbox.call("HEAD", FILES + path).status_code == 404
    if status == 500:
        with pytest.raises(InternalError, match="No space left"):
            put(sandbox, path, b"0123456789")


def test_a_volume_vanishes_with_its_files_in_the_middle_of_work(sandbox: Sandbox) -> None:
    sandbox.client.volumes.create("bridge", "landing", "doomed", VolumeType.MANAGED)
    root = "/Volumes/bridge/landing/doomed"
    put(sandbox, f"{root}/first", b"x")
    match = {"method": "PUT", "path_contains": f"{root}/second"}
    rule = sandbox.server.fault(match=match, action={"vanish_volume": True})
    with pytest.raises(NotFound, match=r"Volume 'bridge\.landing\.doomed' does not exist"):
        put(sandbox, f"{root}/second", b"x")
    assert sandbox.server.hits(rule) == 1
    with pytest.raises(NotFound):
        sandbox.client.files.get_metadata(f"{root}/first")
    sandbox.client.volumes.create("bridge", "landing", "doomed", VolumeType.MANAGED)
    assert list(sandbox.client.files.list_directory_contents(root)) == []
    sandbox.client.volumes.delete("bridge.landing.doomed")


def test_a_response_is_cut_after_n_bytes(sandbox: Sandbox) -> None:
    path = f"{sandbox.folder()}/x"
    put(sandbox, path, b"x" * 100_000)
    rule = sandbox.server.fault(match={"method": "GET"}, action={"cut_response_after_bytes": 70_000})
    headers = {"Authorization": f"Bearer {sandbox.ready['token']}"}
    received: list[int] = []
    with requests.Session() as session:
        answer = session.get(sandbox.ready["url"] + FILES + path, headers=headers, stream=True, timeout=10)
        assert answer.headers["Content-Length"] == "100000"
        with pytest.raises(requests.RequestException):
            received.extend(len(block) for block in answer.iter_content(1000))
    assert sum(received) == 70_000
    assert sandbox.server.hits(rule) == 1


def test_a_download_of_the_sdk_goes_on_where_it_was_cut(sandbox: Sandbox) -> None:
    path = f"{sandbox.folder()}/x"
    content = bytes(range(256)) * 40_000
    put(sandbox, path, content)
    match = {"method": "GET", "path_contains": "/_storage/files/"}
    rule = sandbox.server.fault(match=match, action={"cut_response_after_bytes": 5_000_000})
    contents = sandbox.client.files.download(path).contents
    assert contents is not None
    with contents:
        assert contents.read() == content
    assert sandbox.server.hits(rule) == 1


def test_a_delay_makes_a_request_wait(sandbox: Sandbox) -> None:
    sandbox.server.fault(match={"path_contains": "scim"}, action={"delay_s": 0.4})
    began = time.monotonic()
    sandbox.client.current_user.me()
    assert time.monotonic() - began >= 0.4


def test_an_answer_waits_when_its_statement_has_ended(sandbox: Sandbox) -> None:
    """However short its wait_timeout is, what the rule holds back is the answer of a statement that has run."""
    table = sandbox.table()
    sandbox.rows(f"CREATE TABLE {table} (id INT)")
    rule = sandbox.server.fault(match={"kind": "insert"}, action={"delay_after_s": 0.5})
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(sandbox.sql, f"INSERT INTO {table} VALUES (1)", wait_timeout="0s")
        sandbox.server.wait_for(rule)
        assert not answer.done()
        assert sandbox.rows(f"SELECT count(*) FROM {table}") == [["1"]]
        assert state_of(answer.result(10)) is StatementState.SUCCEEDED


def test_a_statement_error_fails_the_kth_statement_without_running_it(sandbox: Sandbox) -> None:
    table = sandbox.table()
    sandbox.rows(f"CREATE TABLE {table} (id INT)")
    error = {"error_code": "ABORTED", "message": "[DELTA_CONCURRENT_APPEND] Files were added.", "sqlstate": "2D521"}
    match = {"statement_contains": f"INSERT INTO {table}"}
    rule = sandbox.server.fault(match=match, on=2, action={"statement_error": error})
    told = [message_of(sandbox.sql(f"INSERT INTO {table} VALUES ({index})")) for index in range(3)]
    assert told == ["", "[DELTA_CONCURRENT_APPEND] Files were added. SQLSTATE: 2D521", ""]
    assert sandbox.server.hits(rule) == 1
    assert sandbox.rows(f"SELECT id FROM {table} ORDER BY id") == [["0"], ["2"]]


def test_links_can_be_born_expired(sandbox: Sandbox) -> None:
    rule = sandbox.server.fault(match={"statement_contains": "expired"}, action={"expire_links": True})
    answer = sandbox.sql("SELECT 'expired'", disposition=Disposition.EXTERNAL_LINKS, format=Format.ARROW_STREAM)
    assert answer.result is not None
    assert answer.statement_id is not None
    (link,) = answer.result.external_links or []
    assert fetch(link.external_link or "").status_code == 403
    fresh = sandbox.client.statement_execution.get_statement_result_chunk_n(answer.statement_id, 0)
    assert fetch((fresh.external_links or [link])[0].external_link or "").status_code == 200
    assert sandbox.server.hits(rule) == 1


def test_the_log_tells_every_request_in_order_with_its_statement_and_status(sandbox: Sandbox) -> None:
    before = max((each["sequence"] for each in sandbox.server.requests()), default=0)
    sandbox.rows("SELECT 'logged'")
    sandbox.client.current_user.me()
    log = fetch(f"{sandbox.ready['admin_url']}/requests?after={before}").json()["requests"]
    assert [(each["method"], each["path"], each["statement"], each["status"]) for each in log] == [
        ("POST", "/api/2.0/sql/statements", "SELECT 'logged'", 200),
        ("GET", "/api/2.0/preview/scim/v2/Me", None, 200),
    ]
    assert [each["sequence"] for each in log] == [before + 1, before + 2]


def test_an_unknown_action_is_refused_by_name_and_changes_nothing(sandbox: Sandbox) -> None:
    answer = fetch(f"{sandbox.ready['admin_url']}/faults", "POST", json={"action": {"explode": True}})
    assert answer.status_code == 400
    assert "'explode'" in answer.json()["message"]
    assert fetch(f"{sandbox.ready['admin_url']}/faults").json() == {"faults": []}
    assert fetch(f"{sandbox.ready['admin_url']}/faults/none").status_code == 404
