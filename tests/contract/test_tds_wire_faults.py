"""Faults by rule, seen by Microsoft's driver, and the admin calls that set them."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mssql_python
import pyarrow as pa
import pytest

from sql_databricks_bridge.sandbox.sql_server.contract import Column, CommitTransaction, Done, Event, RowSet, SqlType
from sql_databricks_bridge.sandbox.sql_server.wire.admin import AdminServer

from .tds_fixed_engine import FixedSession, Served, serve

LOST = r"(?i)communication link|connection"


@pytest.fixture
def served() -> Iterator[Served]:
    with serve() as running:
        running.query("SELECT 10", _ten)
        yield running


def _ten(_: FixedSession) -> Iterator[Event]:
    batches = [pa.RecordBatch.from_arrays([pa.array(range(start, start + 5), pa.int32())], ["n"]) for start in (0, 5)]
    yield RowSet((Column("n", SqlType("int")),), iter(batches))
    yield Done("SELECT", 10)


def _add(served: Served, action: dict[str, object], **rule: object) -> str:
    rule = {"match": {"statement": "SELECT 10"}, **rule}
    return str(served.server.faults.add({"action": action, **rule})["id"])


def _hits(served: Served, rule_id: str) -> object:
    rule = served.server.faults.get(rule_id)
    assert rule is not None
    return rule["hits"]


def test_an_error_comes_on_the_named_statement_only(served: Served) -> None:
    """The second matching statement fails with the rule's number and text, and isn't run; its neighbours are."""
    rule = _add(
        served,
        {"error": 1205, "message": "deadlock victim", "severity": 13},
        on=2,
        match={"statement_contains": "select"},
    )
    with served.connect() as connection:
        cursor = connection.cursor()
        assert len(cursor.execute("SELECT 10").fetchall()) == 10
        with pytest.raises(Exception, match="deadlock victim"):
            cursor.execute("SELECT 10")
        assert len(cursor.execute("SELECT 10").fetchall()) == 10
    assert served.engine.sessions[-1].batches.count("SELECT 10") == 2
    assert _hits(served, rule) == 1
    outcomes = [(e["outcome"], e["error"]) for e in served.server.requests.to_json() if e["statement"] == "SELECT 10"]
    assert outcomes == [("done", None), ("error", 1205), ("done", None)]


@pytest.mark.parametrize("after", [0, 3, 5, 7, 10])
def test_an_error_comes_after_so_many_rows(served: Served, after: int) -> None:
    """Rows up to the limit, then the error."""
    rule = _add(served, {"error_after_rows": after, "number": 824, "message": "torn page"})
    got = []
    with served.connect() as connection:
        cursor = connection.cursor()
        with pytest.raises(Exception, match="torn page"):  # noqa: PT012 (execute or a fetch)
            cursor.execute("SELECT 10")
            while (row := cursor.fetchone()) is not None:
                got.append(row[0])
    assert got in ([], list(range(after)))
    assert _hits(served, rule) == 1


def test_a_limit_of_rows_that_is_not_reached_does_nothing(served: Served) -> None:
    """The rule fires and isn't hit: a test that asserts on hits notices."""
    rule = _add(served, {"error_after_rows": 11, "number": 824})
    with served.connect() as connection:
        assert len(connection.cursor().execute("SELECT 10").fetchall()) == 10
    assert _hits(served, rule) == 0


@pytest.mark.parametrize(
    ("action", "ran"),
    [
        ({"drop": "before"}, False),
        ({"drop": "after"}, True),
        ({"cut_response_after_bytes": 40}, True),
    ],
)
def test_a_connection_is_cut_at_the_named_point(served: Served, action: dict[str, object], ran: bool) -> None:
    """Before or after the statement runs, or within its answer; the session is closed each time."""
    rule = _add(served, action, match={"statement": "SELECT 10"})
    connection = served.connect()
    cursor = connection.cursor()
    with pytest.raises(Exception, match=LOST):  # noqa: PT012 (execute or a fetch)
        cursor.execute("SELECT 10")
        cursor.fetchall()
    connection.close()
    session = served.engine.sessions[-1]
    assert session.closed.wait(5)
    assert ("SELECT 10" in session.batches) is ran
    assert _hits(served, rule) == 1
    assert served.server.requests.to_json()[-1]["outcome"] == "dropped"


def test_a_connection_is_cut_after_so_many_rows(served: Served) -> None:
    """The client gets exactly those rows.

    mssql-python 1.16 raises nothing then (only fetchone does): what tells is 08S01 in the cursor's messages.
    """
    rule = _add(served, {"cut_response_after_rows": 3})
    connection = served.connect()
    cursor = connection.cursor()
    assert [row[0] for row in cursor.execute("SELECT 10").fetchall()] == [0, 1, 2]
    assert any("08S01" in state for state, _ in cursor.messages)
    connection.close()
    assert served.engine.sessions[-1].closed.wait(5)
    assert _hits(served, rule) == 1
    assert served.server.requests.to_json()[-1]["outcome"] == "dropped"


@pytest.mark.parametrize(("when", "committed"), [("before", False), ("after", True)])
def test_a_connection_is_lost_before_or_after_commit(served: Served, when: str, committed: bool) -> None:
    """The client can't tell the two apart; the engine can."""
    rule = _add(served, {"drop": when}, match={"kind": "transaction", "statement": "COMMIT TRANSACTION"})
    connection = served.connect(autocommit=False)
    connection.cursor().execute("SELECT 10").fetchall()
    with pytest.raises(Exception, match=LOST):
        connection.commit()
    connection.close()
    session = served.engine.sessions[-1]
    assert session.closed.wait(5)
    assert any(isinstance(request, CommitTransaction) for request in session.requests) is committed
    assert _hits(served, rule) == 1


def test_an_error_can_follow_a_statement_that_has_run(served: Served) -> None:
    """error_after: run, then answered with an error."""
    _add(served, {"error_after": 64, "message": "transport-level error"})
    with served.connect() as connection, pytest.raises(Exception, match="transport-level error"):
        connection.cursor().execute("SELECT 10")
    assert "SELECT 10" in served.engine.sessions[-1].batches


def test_a_login_can_fail_by_rule(served: Served) -> None:
    """The first login fails with its number, the next one works."""
    _add(served, {"error": 4221, "message": "replica is not ready"}, match={"kind": "login", "login": "sa"})
    with pytest.raises(Exception, match="replica is not ready"):
        served.connect()
    served.connect().close()


def test_a_procedure_can_be_matched_by_name_and_statement(served: Served) -> None:
    """RPCs: the procedure's name, and the SQL that sp_prepexec carries."""
    rule = _add(
        served, {"error": 50_001, "message": "by rule"}, match={"procedure": "sp_prepexec", "statement_contains": "@p1"}
    )
    with served.connect() as connection, pytest.raises(Exception, match="by rule"):
        connection.cursor().execute("select ?", [1])
    assert _hits(served, rule) == 1


def test_slow_rows_can_be_cancelled(served: Served) -> None:
    """A pause of a minute after each row ends with the client's timeout, not with the minute."""
    rule = _add(served, {"slow_rows": {"every": 1, "seconds": 60}})
    started = time.monotonic()
    with served.connect() as connection:
        connection.timeout = 1
        with pytest.raises(Exception, match=r"(?i)timeout"):
            connection.cursor().execute("SELECT 10").fetchall()
        connection.timeout = 0
        assert len(connection.cursor().execute("SELECT 10").fetchall()) == 10
    assert time.monotonic() - started < 20
    assert _hits(served, rule) == 1


def test_a_delay_holds_the_statement_back(served: Served) -> None:
    """delay_s: not run before the time is over."""
    _add(served, {"delay_s": 0.3})
    with served.connect() as connection:
        started = time.monotonic()
        assert len(connection.cursor().execute("SELECT 10").fetchall()) == 10
        assert time.monotonic() - started >= 0.3


def test_an_answer_can_be_held_back_and_comes_whole(served: Served) -> None:
    """delay_after_s: the statement has run when the rule is hit; the answer comes later, none of it lost."""
    rule = _add(served, {"delay_after_s": 0.5})
    with served.connect() as connection, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(lambda: connection.cursor().execute("SELECT 10").fetchall())
        served.server.faults.wait_for_hits(rule, 1, 10)
        assert served.engine.sessions[-1].batches[-1] == "SELECT 10"
        assert not answer.done()
        assert [row[0] for row in answer.result(10)] == list(range(10))


@pytest.mark.parametrize("action", ["delay_s", "delay_after_s"])
def test_a_client_that_leaves_ends_the_wait_of_its_login(served: Served, action: str) -> None:
    """Nobody waits a minute for a client that has gone."""
    rule = _add(served, {action: 60}, match={"kind": "login"})
    _add(served, {"drop": "before" if action == "delay_s" else "after"}, match={"kind": "login"})
    with pytest.raises(Exception, match=r"(?i)time"):
        mssql_python.connect(served.connection_string(), timeout=1)
    deadline = time.monotonic() + 20
    while served.server.requests.to_json()[-1]["outcome"] != "dropped":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert _hits(served, rule) == 1


# -- the admin calls -----------------------------------------------------------------------------------------------


@pytest.fixture
def admin(served: Served) -> Iterator[str]:
    running = AdminServer("127.0.0.1", 0)
    running.start(served.server.faults, served.server.requests)
    yield running.url
    running.stop()


def _call(url: str, method: str = "GET", document: object = None) -> tuple[int, Any]:
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(url, body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, json.load(exc)


def test_rules_are_set_counted_and_removed_over_http(served: Served, admin: str) -> None:
    """POST, GET (waiting for a hit), DELETE on /_sandbox/faults, and the log on /_sandbox/requests."""
    status, rule = _call(
        f"{admin}/faults", "POST", {"id": "gone", "match": {"kind": "batch"}, "action": {"error": 229}}
    )
    assert (status, rule["hits"]) == (201, 0)
    with served.connect() as connection, pytest.raises(Exception, match="Error 229"):
        connection.cursor().execute("SELECT 10")
    status, rule = _call(f"{admin}/faults/gone?hits=1&wait_s=5")
    assert (status, rule["hits"]) == (200, 1)
    _, log = _call(f"{admin}/requests")
    assert [entry["statement"] for entry in log["requests"] if entry["kind"] == "batch"][-1] == "SELECT 10"
    last = log["requests"][-1]["sequence"]
    assert _call(f"{admin}/requests?after={last}") == (200, {"requests": []})
    assert _call(f"{admin}/faults", "DELETE") == (200, {"deleted": 1})
    assert _call(f"{admin}/faults") == (200, {"faults": []})
    assert _call(f"{admin}/requests", "DELETE") == (200, {})


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"action": {"explode": True}}, "exactly one of"),
        ({"action": {"drop": "sometimes"}}, "'before', 'after'"),
        ({"match": {"path": "x"}, "action": {"error": 1}}, "Unknown key 'path'"),
        ({"action": {"slow_rows": {"every": 0, "seconds": 1}}}, "every"),
        ([], None),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_by_name(admin: str, document: object, says: str | None) -> None:
    """400 with what is wrong; nothing is added."""
    status, answer = _call(f"{admin}/faults", "POST", document)
    assert status == (201 if says is None else 400)
    assert says is None or says in answer["error"]
    assert _call(f"{admin}/faults")[1] == {"faults": []}


def test_an_unknown_admin_call_is_404(admin: str) -> None:
    """Neither paths nor ids are guessed."""
    assert _call(f"{admin}/nothing")[0] == 404
    assert _call(f"{admin}/faults/nobody")[0] == 404
    assert _call(f"{admin}/faults/nobody", "DELETE")[0] == 404
