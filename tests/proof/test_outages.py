"""Ends that go away, answers that are lost, conflicts, and signals: no event is failed for it, none is applied twice.

Every event inserts one row into a table without a key, so that a row that came twice is seen; an IDENTITY column
keeps the order.
"""

from __future__ import annotations

import dataclasses
import json
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sql_databricks_bridge import composition
from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db.sql_server import MssqlServer
from sql_databricks_bridge.errors import CommitUnknown, LakehouseUnavailable, SourceBusy
from sql_databricks_bridge.sync.poller import Poller, PollerOptions
from sql_databricks_bridge.sync.retry import Backoff, Retry
from tests.integration.sync_support import SyncBench
from tests.proof.conftest import Ends, PollerProcess, poller_process, scaled
from tests.proof.proxy import Proxy, proxied

AWAY_S = scaled(0.0, 300.0)
"""How long SQL Server is away; in the sample, until the poller has said so."""
OTHERS_AWAY_S = scaled(0.0, 60.0)
SAID = scaled(1, 3)
WAIT_S = scaled(60.0, 180.0)  # the poller's own pauses grow to a minute
STARTED_S = 50.0
"""What a process may need to start and to begin its work, on a machine that is busy."""
PROMPTLY_S = 30.0
"""What it may need to end: half of what it would take if it waited for what is held."""

LEDGER_ROW = {"kind": "rpc", "statement_contains": "INSERT INTO bridge.applied_events"}
LOAD = {"kind": "rpc", "statement_contains": "INSERT INTO [bridge].[stg_"}
LAST_STATEMENT = {"kind": "rpc", "statement_contains": "UPDATE bridge.applied_events"}
COMMIT = {"kind": "transaction", "statement_contains": "COMMIT"}
POLL = {"method": "POST", "statement_contains": "IN ('', 'pending', 'processing')", "kind": "SELECT"}
READ = {"method": "POST", "statement_contains": "VERSION AS OF"}
REPORT = {"kind": "MERGE"}
DEADLOCK = {
    "error": 1205,
    "severity": 13,
    "message": "Transaction (Process ID 51) was deadlocked on lock resources with another process and has been chosen "
    "as the deadlock victim. Rerun the transaction.",
}
LOCK_TIMEOUT = {"error": 1222, "message": "Lock request time out period exceeded."}
REFUSED_LOGIN = {"error": 18456, "severity": 14, "message": "Login failed for user 'sa'."}


@dataclass
class Log:
    """A table whose rows tell which events were applied, how often and in which order."""

    bench: SyncBench
    ends: Ends
    source: str
    version: str
    submitted: list[str] = field(default_factory=list)

    def submit(self, events: int = 1) -> list[str]:
        """Submit events that insert the next numbers, in this order; return their ids."""
        new = []
        for _ in range(events):
            number = len(self.submitted)
            self.submitted.append(f"event-{self.bench.schema}-{number:03}")
            new.append(self.submitted[-1])
            self.bench.submit(
                "INSERT",
                "{s}.log",
                self.source,
                event_id=new[-1],
                filters={"number": str(number)},
                priority=-number,
                metadata={"source_version": self.version},
            )
        return new

    @property
    def numbers(self) -> list[int]:
        """What was inserted, in order."""
        return [row[0] for row in self.bench.sql("SELECT number FROM {s}.log ORDER BY pos")]

    def status(self, event_id: str) -> str | None:
        """What the events table says."""
        return self.bench.event(event_id).status

    @property
    def all_completed(self) -> bool:
        """Whether every event is."""
        return all(self.status(event_id) == "completed" for event_id in self.submitted)

    def require_once(self) -> None:
        """Everything submitted is completed, applied once and in order; nothing stays behind."""
        assert [self.status(event_id) for event_id in self.submitted] == ["completed"] * len(self.submitted)
        assert self.numbers == list(range(len(self.submitted)))
        for event_id in self.submitted:
            assert self.bench.ledger(event_id) == [(1, "applied", 1)]
        with self.bench.target() as target:  # what a cut connection left is the sweeper's
            target.sweep()
        assert self.bench.staging_tables() == []

    def require_untouched(self, event_id: str) -> None:
        """It waits for its turn, and nothing of it was applied."""
        assert self.status(event_id) in ("pending", "processing")
        assert self.bench.ledger(event_id) == []
        assert self.submitted.index(event_id) not in self.numbers


@pytest.fixture
def log(bench: SyncBench, ends: Ends) -> Log:
    bench.sql("CREATE TABLE {s}.log (pos bigint IDENTITY, number int NOT NULL)")
    source = bench.source("SELECT CAST(id AS INT) AS number FROM range(100)")
    return Log(bench, ends, source, bench.version(source))


class LongestPause(random.Random):
    """Always says the most, so that a retry's pause is its cap."""

    def uniform(self, a: float, b: float) -> float:  # noqa: ARG002
        return b


class Poll:
    """A running `bridge sync run` and what it has said."""

    def __init__(self, process: PollerProcess) -> None:
        self.process = process

    @property
    def documents(self) -> list[dict[str, Any]]:
        """Its lines."""
        return [json.loads(line) for line in self.process.out.read_text().splitlines(keepends=True) if line[-1] == "\n"]

    @property
    def waiting(self) -> list[str]:
        """The kinds of what it has waited for."""
        return [document["error"]["kind"] for document in self.documents if document.get("error")]

    @property
    def said(self) -> str:
        """Everything that it has written."""
        return self.process.out.read_text() + self.process.err.read_text()

    def until_it_waits(self, *, times: int = 1, kind: str = "") -> None:
        """Wait until it has said so often that it waits, and that it does for this kind of error."""
        until(lambda: len(self.waiting) >= times and (not kind or kind in self.waiting), f"it waits {kind}", self)


def until(true: Callable[[], bool], what: str, poll: Poll | None = None) -> None:
    """Poll a condition that no event tells of, to a deadline."""
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, f"waited in vain until {what}\n{poll.said if poll else ''}"
        time.sleep(0.1)


def through(settings: Settings, sql: Proxy | None = None, lake: Proxy | None = None) -> Settings:
    """The settings by way of proxies. Driver and SDK give up soon, so that the poller is heard."""
    changes: dict[str, Any] = {"sqlserver_login_timeout_s": 5, "databricks_retry_timeout_s": 1}
    if sql is not None:
        changes["sqlserver_port"] = sql.port
    if lake is not None:
        changes["databricks_host"] = f"http://127.0.0.1:{lake.port}"
    return settings.model_copy(update=changes)


# Away --------------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(scaled(280, 1800))
def test_ends_that_are_away_fail_no_event(log: Log, ends: Ends, tmp_path: Path) -> None:
    """SQL Server, Databricks and both, one after the other, under one poller; it says so and goes on by itself."""
    lake_url = urlsplit(ends.lake.ready["url"])
    with ExitStack() as cleanup:
        sql = cleanup.enter_context(proxied(ends.sql.ready["host"], ends.sql.ready["port"]))
        lake = cleanup.enter_context(proxied(str(lake_url.hostname), int(lake_url.port or 0)))
        process = cleanup.enter_context(poller_process(through(log.bench.settings, sql, lake), tmp_path))
        poll = Poll(process)
        log.submit()
        until(lambda: log.all_completed, "the first event is completed", poll)
        for away, kinds, least_s in (
            ((sql,), {"SourceUnavailable"}, AWAY_S),
            ((lake,), {"LakehouseUnavailable"}, OTHERS_AWAY_S),
            ((sql, lake), {"SourceUnavailable", "LakehouseUnavailable"}, OTHERS_AWAY_S),
        ):
            before, began = len(poll.waiting), time.monotonic()
            for each in away:
                each.refuse()
            waiting = log.submit(2)
            poll.until_it_waits(times=before + SAID)
            while time.monotonic() - began < least_s:
                assert process.running
                time.sleep(1)
            for event_id in waiting:
                log.require_untouched(event_id)
            for each in away:
                each.resume()
            until(lambda: log.all_completed, "the events are completed", poll)
            assert set(poll.waiting[before:]) <= kinds
        log.require_once()
        sql.refuse()
        said = len(poll.waiting)
        log.submit()
        poll.until_it_waits(times=said + 1)
        process.send(signal.SIGTERM)
        assert process.wait(PROMPTLY_S) == 0
        assert "Traceback" not in poll.said


MOMENTS = {
    "a chunk of the source": ({"method": "GET", "path_contains": "/results/"}, 2, {"status": 500}),
    "the report": (REPORT, 1, {"status": 503}),
    "the poll": (POLL, 1, {"status": 503}),
    "the source": (READ, 1, {"drop": "before"}),
}


@pytest.mark.parametrize("moment", list(MOMENTS)[: scaled(1, 4)])
def test_databricks_may_go_away_at_any_moment(log: Log, moment: str) -> None:
    """The event waits, or, once it is applied, its report does; the next round brings either to its end."""
    where, on, action = MOMENTS[moment]
    (event_id,) = log.submit()
    rule = log.ends.lake.fault(match=where, on=on, times=None, action=action)
    poller = log.bench.poller(databricks_retry_timeout_s=1)
    if where is POLL:
        with pytest.raises(LakehouseUnavailable):
            poller.cycle()
    else:
        assert isinstance(poller.cycle().problem, LakehouseUnavailable)
    assert log.ends.lake.hits(rule) >= 1
    log.ends.lake.clear()
    if where is REPORT:
        assert log.status(event_id) == "pending"
        assert log.bench.ledger(event_id) == [(1, "applied", 1)]
    else:
        log.require_untouched(event_id)
    log.bench.cycle()
    log.require_once()


def test_a_password_that_is_wrong_at_the_start_ends_the_poller_with_one_error(log: Log, tmp_path: Path) -> None:
    variables = ("SQLSERVER_PASSWORD", "DATABRICKS_TOKEN")
    with ExitStack() as cleanup:
        processes = [
            cleanup.enter_context(poller_process(log.bench.settings, tmp_path, variable, **{variable: "Wrong-1234"}))
            for variable in variables
        ]
        assert [process.wait(STARTED_S) for process in processes] == [1, 1]
    for variable, process in zip(variables, processes, strict=True):
        said = process.err.read_text()
        assert said.count("error:") == 1, said
        assert variable in said
        assert "Wrong-1234" not in said + process.out.read_text()
        assert json.loads(process.out.read_text())["status"] == "failed"


def test_a_password_that_changes_while_the_poller_runs_is_waited_for(log: Log, tmp_path: Path) -> None:
    with poller_process(through(log.bench.settings), tmp_path) as process:
        poll = Poll(process)
        log.submit()
        until(lambda: log.all_completed, "the first event is completed", poll)
        for end, match, action, kind in (
            (log.ends.sql, {"kind": "login"}, REFUSED_LOGIN, "SourceSignInError"),
            (log.ends.lake, POLL, {"status": 403, "error_code": "PERMISSION_DENIED"}, "LakehouseSignInError"),
        ):
            rule = end.fault(match=match, times=None, action=action)
            (event_id,) = log.submit()
            poll.until_it_waits(kind=kind)
            assert end.hits(rule) >= 1
            log.require_untouched(event_id)
            end.clear()
            until(lambda: log.all_completed, "the events are completed", poll)
        assert process.ended() == 0
    log.require_once()


# Lost answers and conflicts ----------------------------------------------------------------------------------------


LOST: dict[str, tuple[dict[str, Any], bool]] = {
    "after": ({"drop": "after"}, True),
    "before": ({"drop": "before"}, False),
    "amid the answer": ({"cut_response_after_bytes": 5}, True),
}
"""Where the link breaks around a COMMIT, and whether that is done then."""


@pytest.mark.parametrize("where", list(LOST)[: scaled(2, 3)])
def test_a_commit_whose_answer_is_lost_is_settled_by_the_ledger(log: Log, where: str) -> None:
    action, committed = LOST[where]
    first, second = log.submit(2)
    rule = log.ends.sql.fault(match=COMMIT, action=action)
    report = log.bench.poller().cycle()
    assert log.ends.sql.hits(rule) == 1
    assert isinstance(report.problem, CommitUnknown)
    assert report.left == 2
    assert log.bench.ledger(first) == ([(1, "applied", 1)] if committed else [])
    assert log.numbers == ([0] if committed else [])
    log.require_untouched(second)
    log.bench.cycle()
    log.require_once()


TROUBLE: dict[str, tuple[dict[str, str], dict[str, Any], int]] = {
    "deadlock three times": (LAST_STATEMENT, DEADLOCK, 3),
    "deadlock of the load twice": (LOAD, DEADLOCK, 2),
    "deadlock twice": (LAST_STATEMENT, DEADLOCK, 2),
    "lock time-out twice": (LEDGER_ROW, LOCK_TIMEOUT, 2),
}


@pytest.mark.parametrize("trouble", list(TROUBLE)[: scaled(2, 4)])
def test_what_fails_twice_is_applied_once_and_what_fails_three_times_is_failed(log: Log, trouble: str) -> None:
    place, error, times = TROUBLE[trouble]
    (event_id,) = log.submit()
    rule = log.ends.sql.fault(match=place, times=times, action=error)
    report = log.bench.poller().cycle()
    assert report.problem is None
    assert log.ends.sql.hits(rule) == times
    if times < 3:
        log.require_once()
        return
    row = log.bench.event(event_id)
    assert row.status == "failed"
    assert "Tried 3 times" in (row.error_message or "")
    assert "deadlock" in (row.error_message or "")
    assert log.bench.ledger(event_id)[0][:2] == (1, "failed")
    assert log.numbers == []
    log.ends.sql.clear()
    assert log.bench.cycle().found == 0


def test_a_report_whose_answer_is_lost_is_sent_again_and_harmless(log: Log) -> None:
    log.submit(3)
    rule = log.ends.lake.fault(match=REPORT, action={"drop": "executed"})
    log.bench.cycle()
    assert log.ends.lake.hits(rule) == 1
    merges = log.ends.lake.fault(match=REPORT, times=None, action={"delay_s": 0})
    log.require_once()
    assert log.bench.cycle().found == 0
    assert log.ends.lake.hits(merges) == 0


CONFLICT = {"error_code": "BAD_REQUEST", "message": "[DELTA_CONCURRENT_APPEND] conflict", "sqlstate": "2D521"}
"""Delta's own: another writer of the table came first."""


@pytest.mark.parametrize("times", scaled([2], [2, 5, None]))
def test_a_report_that_loses_against_other_writers_is_told_again(log: Log, times: int | None) -> None:
    """Five conflicts in a row are borne; where there are always others (None), the next round reads the ledger."""
    log.submit(2)
    rule = log.ends.lake.fault(match=REPORT, times=times, action={"statement_error": CONFLICT})
    report = log.bench.poller().cycle()
    if times is None:
        assert log.ends.lake.hits(rule) >= 6
        assert isinstance(report.problem, LakehouseUnavailable)
        assert [log.status(event_id) for event_id in log.submitted] == ["pending", "pending"]
        assert log.numbers == [0, 1]
        log.ends.lake.clear()
        log.bench.cycle()
    else:
        assert log.ends.lake.hits(rule) == times
        assert report.problem is None
    log.require_once()


# Signals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number",
    scaled([signal.SIGTERM], [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]),
    ids=lambda number: number.name,
)
def test_a_signal_lets_the_event_in_hand_finish_and_hands_back_the_rest(
    log: Log, tmp_path: Path, number: signal.Signals
) -> None:
    first, in_hand, rest = log.submit(3)
    rule = log.ends.sql.fault(match=LAST_STATEMENT, on=2, action={"delay_s": 2.0})
    with poller_process(log.bench.settings, tmp_path) as process:
        log.ends.sql.wait_for(rule, wait_s=STARTED_S)
        process.send(number)
        assert process.wait(PROMPTLY_S) == 0
        poll = Poll(process)
    assert "finishing the event in hand" in poll.said
    assert "Traceback" not in poll.said
    assert poll.documents[-1]["status"] == "stopped"
    assert [log.status(event_id) for event_id in (first, in_hand, rest)] == ["completed", "completed", "pending"]
    assert log.numbers == [0, 1]
    assert log.bench.ledger(rest) == []
    assert log.bench.staging_tables() == []
    log.bench.cycle()
    log.require_once()


def test_once_under_sigterm_finishes_the_event_in_hand_and_says_what_is_left(log: Log, tmp_path: Path) -> None:
    in_hand, rest = log.submit(2)
    rule = log.ends.sql.fault(match=LAST_STATEMENT, action={"delay_s": 1.5})
    with poller_process(log.bench.settings, tmp_path, "once", "once") as process:
        log.ends.sql.wait_for(rule, wait_s=STARTED_S)
        process.send(signal.SIGTERM)
        assert process.wait(PROMPTLY_S) == 128 + signal.SIGTERM
        document = json.loads(process.out.read_text())
    assert (document["found"], document["left"]) == (2, 1)
    assert [event["event_id"] for event in document["events"]] == [in_hand]
    assert (log.status(in_hand), log.status(rest)) == ("completed", "pending")
    log.bench.cycle()
    log.require_once()


@pytest.mark.parametrize(
    ("verb", "number"),
    scaled([("run", signal.SIGINT)], [("run", signal.SIGINT), ("run", signal.SIGTERM), ("once", signal.SIGTERM)]),
)
def test_a_second_signal_ends_at_once_and_leaves_nothing_half(
    log: Log, tmp_path: Path, verb: str, number: signal.Signals
) -> None:
    in_hand, rest = log.submit(2)
    rule = log.ends.sql.fault(match=LAST_STATEMENT, action={"delay_s": 60.0})
    with poller_process(log.bench.settings, tmp_path, verb, verb) as process:
        log.ends.sql.wait_for(rule, wait_s=STARTED_S)
        process.send(number)
        until(lambda: "finishing the event in hand" in process.err.read_text(), "the signal is heard", Poll(process))
        process.send(number)
        assert process.wait(PROMPTLY_S) == 130
        assert "Traceback" not in Poll(process).said
    log.ends.sql.clear()
    log.require_untouched(in_hand)
    log.require_untouched(rest)

    def worked_on() -> bool:
        log.bench.cycle()
        return log.all_completed

    until(worked_on, "the server has seen the end of the connection")
    log.require_once()


def test_an_event_that_waits_to_be_tried_again_is_handed_back(log: Log) -> None:
    """It was told to be `processing`; after the stop it is `pending` again, at once, without the rest of its pause."""
    (event_id,) = log.submit()
    log.ends.sql.fault(match=LAST_STATEMENT, times=None, action=DEADLOCK)
    settings = log.bench.settings
    operations = composition.operations(settings, log.bench.lakehouse, composition.permissions_file(settings))

    patient = Retry((SourceBusy,), backoff=Backoff(base_s=60.0, random=LongestPause()))
    poller = Poller(
        MssqlServer(settings),
        log.bench.events,
        dataclasses.replace(operations, retry=patient),
        PollerOptions(interval_s=1),
    )
    reports: list[Any] = []
    thread = threading.Thread(target=lambda: reports.append(poller.cycle()), daemon=True)
    thread.start()
    until(lambda: log.status(event_id) == "processing", "the event is told to be processing")
    poller.stop.set()
    thread.join(PROMPTLY_S)
    assert not thread.is_alive()
    assert (reports[0].problem, reports[0].left) == (None, 1)
    assert log.status(event_id) == "pending"
    log.require_untouched(event_id)
    log.ends.sql.clear()
    log.bench.cycle()
    log.require_once()
