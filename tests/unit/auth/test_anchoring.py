"""The audit log's end is kept elsewhere, so that lines cut off its end show."""

from __future__ import annotations

import threading
from pathlib import Path

from structlog.testing import capture_logs

from sql_databricks_bridge.auth.anchoring import Anchoring, anchored_head
from sql_databricks_bridge.auth.audit import AuditLog
from sql_databricks_bridge.auth.audit_chain import Breakage, verify
from sql_databricks_bridge.errors import JobStoreUnavailable
from sql_databricks_bridge.models.job_records import Anchor

WAIT_S = 20.0
NEVER_S = 600.0
KEY = "key-of-the-audit-log"


class Store:
    """A job store in memory, as far as anchors go; `away` has it refuse."""

    def __init__(self) -> None:
        self.kept: dict[str, Anchor] = {}
        self.away = False
        self.calls = 0
        self.called = threading.Event()

    def anchor(self, head: Anchor) -> None:
        self.calls += 1
        if self.away:
            raise JobStoreUnavailable("The job store can't be reached.")
        self.kept[head.file] = head
        self.called.set()

    def anchor_of(self, file: str) -> Anchor | None:
        return self.kept.get(file)


def note(log: AuditLog, lines: int = 1) -> None:
    for _ in range(lines):
        log.write("extract", action="POST", outcome="intent")


def path_of(log: AuditLog) -> Path:
    assert log.head is not None
    return log.head[0]


def test_the_end_at_close_shows_lines_that_are_cut_off_later(tmp_path: Path) -> None:
    store = Store()
    with Anchoring(log := AuditLog(tmp_path, key=KEY), store, every_s=NEVER_S):
        note(log, 5)
    log.close()
    path = path_of(log)
    anchor = anchored_head(store.anchor_of, path.name)
    assert verify(path, KEY, anchor).whole
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    assert verify(path, KEY).whole
    found = verify(path, KEY, anchor)
    assert (found.line, found.breakage) == (4, Breakage.CUT)


def test_the_end_is_kept_now_and_then_while_the_log_is_written(tmp_path: Path) -> None:
    store = Store()
    with AuditLog(tmp_path, key=KEY) as log, Anchoring(log, store, every_s=0.01):
        for lines in (1, 2, 3):
            store.called.clear()
            note(log)
            assert store.called.wait(WAIT_S)
            assert store.kept[path_of(log).name].sequence == lines


def test_an_end_that_is_kept_is_not_kept_again_and_an_empty_log_has_none(tmp_path: Path) -> None:
    store = Store()
    with AuditLog(tmp_path, key=KEY) as log:
        anchoring = Anchoring(log, store)
        assert anchoring.keep()
        assert store.calls == 0
        note(log)
        assert anchoring.keep()
        assert anchoring.keep()
        anchoring.close()
        assert store.calls == 1


def test_a_store_that_is_away_is_told_once_and_gets_the_end_when_it_is_back(tmp_path: Path) -> None:
    store = Store()
    with AuditLog(tmp_path, key=KEY) as log, capture_logs() as logs:
        anchoring = Anchoring(log, store)
        store.away = True
        note(log)
        assert not anchoring.keep()
        note(log)
        assert not anchoring.keep()
        store.away = False
        assert anchoring.keep()
        assert store.kept[path_of(log).name].sequence == 2
    assert [entry["event"] for entry in logs] == ["audit.not_anchored"]


def test_each_file_of_a_log_has_an_anchor_of_its_own(tmp_path: Path) -> None:
    store = Store()
    with AuditLog(tmp_path, key=KEY) as log:
        anchoring = Anchoring(log, store)
        note(log)
        anchoring.keep()
        first = path_of(log)
        log.close()
        note(log, 2)
        anchoring.keep()
        assert {name: anchor.sequence for name, anchor in store.kept.items()} == {first.name: 1, path_of(log).name: 2}


def test_nothing_is_anchored_for_a_file_that_the_store_does_not_know() -> None:
    assert anchored_head(Store().anchor_of, "other.jsonl") is None
