"""The audit log: whole lines on the disk or an error, and a chain that shows every change."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from sql_databricks_bridge.auth.audit import VALUE_LENGTH, AuditLog
from sql_databricks_bridge.auth.audit_chain import FIRST, Breakage, Head, Verification, verify
from sql_databricks_bridge.errors import AuditError

NOON = dt.datetime(2024, 1, 15, 12, 0, tzinfo=dt.timezone(dt.timedelta(hours=2)))
KEY = "key-of-the-audit-log"
ON_DISK = settings(  # each example makes its files anew, on a disk that may be slow
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None
)
KEYS = pytest.mark.parametrize("key", [KEY, None])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "audit"


def opened(folder: Path, key: str | None = KEY) -> AuditLog:
    return AuditLog(folder, key=key, clock=lambda: NOON)


def note(log: AuditLog, number: int, **details: Any) -> None:
    log.write("sync_apply", action="UPDATE", outcome="intent", request_id=f"e-{number}", **details)


def written(folder: Path, lines: int, key: str | None = KEY) -> Path:
    """A closed file of so many lines."""
    with opened(folder, key) as log:
        for number in range(1, lines + 1):
            note(log, number)
    (path,) = folder.iterdir()
    return path


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def ids(path: Path) -> list[str]:
    return [record["request_id"] for record in records(path)]


@contextmanager
def room_for(size_bytes: int) -> Iterator[None]:
    """No file of this process can grow beyond this size: a write is cut short there, the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_line_has_every_field_of_the_seed_and_its_place_in_the_chain(folder: Path) -> None:
    with opened(folder) as log:
        log.write(
            "auth_success", action="read", outcome="allowed", user_name="project-name", source_ip="10.0.0.1",
            resource="dbo.Table", request_id="r-1", rows=3, cascade=False, reason=None,
        )  # fmt: skip
    (path,) = folder.iterdir()
    (record,) = records(path)
    seal = record.pop("hmac")
    assert re.fullmatch("[0-9a-f]{64}", seal)
    assert record == {
        "timestamp": "2024-01-15T10:00:00.000000Z",
        "event_type": "auth_success",
        "user_name": "project-name",
        "source_ip": "10.0.0.1",
        "resource": "dbo.Table",
        "action": "read",
        "outcome": "allowed",
        "request_id": "r-1",
        "rows": 3,
        "cascade": False,
        "reason": None,
        "sequence": 1,
        "previous": FIRST,
    }


def test_the_first_line_makes_folder_and_file_for_their_owner_alone(folder: Path) -> None:
    log = opened(folder)
    assert not folder.exists()
    assert log.head is None
    note(log, 1)
    (path,) = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert re.fullmatch(rf"audit-20240115T100000Z-[A-Za-z0-9-]+-{os.getpid()}\.jsonl", path.name)
    log.close()


@KEYS
@pytest.mark.parametrize("lines", [0, 1, 5])
def test_a_file_as_it_was_written_is_whole(folder: Path, key: str | None, lines: int) -> None:
    with opened(folder, key) as log:
        for number in range(lines):
            note(log, number, durable=number % 2 == 0)
        path, head = log.head or (folder / "none.jsonl", Head())
    if not lines:
        folder.mkdir(parents=True)
        path.touch()
    assert verify(path, key, head) == Verification(lines, head)
    assert verify(path, key).whole


def test_a_line_is_in_the_file_when_write_returns(folder: Path) -> None:
    log = opened(folder)
    for number in range(1, 4):
        note(log, number, durable=number % 2 == 0)
        (path,) = folder.iterdir()
        assert len(ids(path)) == number
    log.close()


@pytest.mark.parametrize(("durable", "calls"), [(True, ["write", "fsync"]), (False, ["write"])])
def test_a_durable_line_is_on_the_disk_before_write_returns(folder: Path, durable: bool, calls: list[str]) -> None:
    with opened(folder) as log:
        note(log, 1)
        seen: list[str] = []

        def watch(_frame: object, event: str, what: Any) -> None:
            if event == "c_call" and what in (os.write, os.fsync):
                seen.append(what.__name__)

        sys.setprofile(watch)
        try:
            note(log, 2, durable=durable)
        finally:
            sys.setprofile(None)
        assert seen == calls


def test_threads_write_one_chain(folder: Path) -> None:
    with opened(folder) as log:

        def fifty(start: int) -> None:
            for number in range(start, start + 50):
                note(log, number, durable=False)

        threads = [threading.Thread(target=fifty, args=(start,)) for start in range(0, 400, 50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    (path,) = folder.iterdir()
    assert verify(path, KEY).count == 400
    assert sorted(ids(path)) == sorted(f"e-{n}" for n in range(400))


def test_each_log_has_a_file_of_its_own(folder: Path) -> None:
    with opened(folder) as first, opened(folder) as second:
        for number, log in enumerate((first, second, first), start=1):
            note(log, number)
    assert sorted(ids(path) for path in folder.iterdir()) == [["e-1", "e-3"], ["e-2"]]
    assert all(verify(path, KEY).whole for path in folder.iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_does_not_write_into_the_file_it_inherits(folder: Path) -> None:
    script = """if True:
        import os, sys
        from pathlib import Path
        from sql_databricks_bridge.auth.audit import AuditLog
        log = AuditLog(Path(sys.argv[1]), key=None)
        log.write("e", action="a", outcome="o", request_id="parent 1")
        if child := os.fork():
            os.waitpid(child, 0)
            log.write("e", action="a", outcome="o", request_id="parent 2")
        else:
            log.write("e", action="a", outcome="o", request_id="child")
    """
    subprocess.run([sys.executable, "-c", script, str(folder)], check=True, timeout=60)
    assert sorted(ids(path) for path in folder.iterdir()) == [["child"], ["parent 1", "parent 2"]]


# What is written


@given(st.text(st.characters() | st.characters(categories=["Cs", "Cc"])))
@example("\x00\x1b[2J\r\n\x7f\x85\u2028\ud800")
@ON_DISK
def test_any_text_is_one_line_of_printable_ascii_that_reads_back(folder: Path, text: str) -> None:
    with opened(folder) as log:
        log.write(text, action=text, outcome=text, user_name=text, resource=text, durable=False, note=text)
        path, _ = log.head or (folder, None)
    data = path.read_bytes()
    assert re.fullmatch(rb"[\x20-\x7e]+\n", data)
    record = json.loads(data)
    assert [record[name] for name in ("event_type", "action", "user_name", "resource", "note")] == [text] * 5
    assert verify(path, KEY).whole
    path.unlink()


def test_a_long_value_is_shortened_and_says_so(folder: Path) -> None:
    with opened(folder) as log:
        note(log, 1, resource="x" * (VALUE_LENGTH + 7))
    (path,) = folder.iterdir()
    assert records(path)[0]["resource"] == "x" * VALUE_LENGTH + "... (7 more characters)"


def test_values_of_secret_looking_names_are_starred(folder: Path) -> None:
    with opened(folder) as log:
        note(log, 1, token="abc", new_password="def", rows=1)
    (path,) = folder.iterdir()
    assert [records(path)[0][name] for name in ("token", "new_password", "rows")] == ["***", "***", 1]


@pytest.mark.parametrize("name", ["timestamp", "sequence", "previous", "hmac", "continues"])
def test_the_fields_of_the_chain_can_not_be_given(folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        note(opened(folder), 1, **{name: "x"})
    assert not folder.exists()


def test_the_key_is_nowhere_in_the_file(folder: Path) -> None:
    assert KEY.encode() not in written(folder, 2).read_bytes()


# What can't be written


def test_a_half_written_line_is_taken_back_and_a_new_file_names_the_old_one(folder: Path) -> None:
    log = opened(folder)
    note(log, 1)
    note(log, 2)
    old, head = log.head or (folder, Head())
    whole = old.read_bytes()
    with room_for(len(whole) + 100), pytest.raises(AuditError, match=r"can't be written: File too large\. Nothing is"):
        note(log, 3)
    assert old.read_bytes() == whole
    note(log, 4)
    log.close()
    (new,) = set(folder.iterdir()) - {old}
    assert verify(old, KEY) == Verification(2, head)
    assert verify(new, KEY).whole
    assert ids(new) == ["e-4"]
    assert records(new)[0]["continues"] == f"{old.name}#2#{head.digest}"


def test_a_disk_that_stays_full_leaves_no_litter_and_is_told_each_time(folder: Path) -> None:
    log = opened(folder)
    with room_for(100):
        for _ in range(3):
            with pytest.raises(AuditError):
                note(log, 1)
    assert list(folder.iterdir()) == []
    note(log, 2)
    log.close()
    (path,) = folder.iterdir()
    assert ids(path) == ["e-2"]
    assert "continues" not in records(path)[0]


@pytest.mark.parametrize("blocked", ["logs", "logs/audit"])
def test_a_folder_that_can_not_be_made_is_an_error(tmp_path: Path, blocked: str) -> None:
    (tmp_path / blocked).parent.mkdir(exist_ok=True)
    (tmp_path / blocked).write_text("a file")
    with pytest.raises(AuditError, match=r"The audit log in .*audit can't be written: .*\. Nothing is changed"):
        note(opened(tmp_path / "logs" / "audit"), 1)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX users")
def test_a_folder_that_is_read_only_is_an_error(folder: Path) -> None:
    folder.mkdir(parents=True)
    script = """if True:
        import os, sys
        from pathlib import Path
        from sql_databricks_bridge.auth.audit import AuditLog
        from sql_databricks_bridge.errors import AuditError
        folder = Path(sys.argv[1])
        os.chdir(folder)  # the folders above may be closed to others
        folder.chmod(0o555)
        if os.geteuid() == 0:  # root may write anywhere
            os.setuid(65534)
        try:
            AuditLog(Path("."), key=None).write("e", action="a", outcome="o")
        except AuditError as exc:
            print(exc.message)
    """
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], check=True, timeout=60, capture_output=True, text=True
    )
    folder.chmod(0o755)
    assert done.stdout == "The audit log in . can't be written: Permission denied.\n"
    assert list(folder.iterdir()) == []


def test_a_folder_that_was_taken_away_is_an_error_until_it_is_back(folder: Path) -> None:
    log = opened(folder)
    note(log, 1)
    moved = folder.with_name("moved")
    folder.rename(moved)
    for _ in range(2):
        with pytest.raises(AuditError, match="No such file"):
            note(log, 2)
    assert not folder.exists()
    folder.mkdir()
    note(log, 3)
    log.close()
    (old,), (new,) = moved.iterdir(), folder.iterdir()
    assert [ids(old), ids(new)] == [["e-1"], ["e-3"]]
    assert records(new)[0]["continues"].startswith(f"{old.name}#1#")


@pytest.mark.parametrize("change", ["removed", "replaced", "cut", "longer"])
def test_a_file_that_somebody_changed_is_not_written_any_more_and_that_is_told(folder: Path, change: str) -> None:
    log = opened(folder)
    note(log, 1)
    note(log, 2)
    path, _ = log.head or (folder, None)
    data = path.read_bytes()
    if change in ("removed", "replaced"):
        path.unlink()
    if change != "removed":
        path.write_bytes({"replaced": data, "cut": data[:-9], "longer": data + b"{}\n"}[change])
    before = path.read_bytes() if path.exists() else None
    with capture_logs() as logs:
        note(log, 3)
    log.close()
    assert [entry["event"] for entry in logs] == ["audit.file_changed"]
    assert (path.read_bytes() if path.exists() else None) == before
    (new,) = set(folder.iterdir()) - {path}
    assert ids(new) == ["e-3"]


def test_a_closed_log_goes_on_in_a_new_file(folder: Path) -> None:
    log = opened(folder)
    log.close()
    note(log, 1)
    log.close()
    log.close()
    note(log, 2)
    log.close()
    assert sorted(ids(path)[0] for path in folder.iterdir()) == ["e-1", "e-2"]


# What a chain shows


@KEYS
@pytest.mark.parametrize(
    ("change", "line", "breakage"),
    [
        (lambda rows: [*rows[:2], rows[2].replace(b"e-3", b"e-9"), *rows[3:]], 3, Breakage.ALTERED),
        (lambda rows: [*rows[:2], b"\n", *rows[2:]], 3, Breakage.ALTERED),
        (lambda rows: [*rows[:2], b"\xff\xfe\n", *rows[3:]], 3, Breakage.ALTERED),
        (lambda rows: [*rows[:2], rows[2].replace(b'"outcome"', b' "outcome"'), *rows[3:]], 3, Breakage.ALTERED),
        (lambda rows: [*rows[:2], rows[2][:-1] + b"\r\n", *rows[3:]], 3, Breakage.ALTERED),
        (lambda rows: [*rows[:2], rows[2][:50] + rows[3], *rows[4:]], 3, Breakage.ALTERED),
        (lambda rows: rows[1:], 1, Breakage.DROPPED),
        (lambda rows: [*rows[:2], *rows[3:]], 3, Breakage.DROPPED),
        (lambda rows: [*rows[:1], *rows[4:]], 2, Breakage.DROPPED),
        (lambda rows: [rows[1], rows[0], *rows[2:]], 1, Breakage.REORDERED),
        (lambda rows: [*rows[:2], rows[4], rows[2], rows[3]], 3, Breakage.REORDERED),
        (lambda rows: [*rows[:3], rows[2], *rows[3:]], 4, Breakage.REORDERED),
        (lambda rows: [*rows[:4], rows[4][:-1]], 5, Breakage.CUT),
        (lambda rows: [*rows[:4], rows[4][:20]], 5, Breakage.CUT),
        (lambda rows: [rows[0][:1]], 1, Breakage.CUT),
    ],
)
def test_a_change_is_found_at_its_line(
    folder: Path, key: str | None, change: Any, line: int, breakage: Breakage
) -> None:
    path = written(folder, 5, key)
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    found = verify(path, key)
    assert (found.line, found.breakage, found.count, found.whole) == (line, breakage, line - 1, False)
    assert found.reason


@KEYS
@given(data=st.data())
@ON_DISK
def test_any_changed_byte_is_found(folder: Path, key: str | None, data: st.DataObject) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    path = written(folder, 3, key)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    assert not verify(path, key).whole


@pytest.mark.parametrize("kept", range(5))
def test_whole_lines_missing_at_the_end_show_against_an_anchor(folder: Path, kept: int) -> None:
    path = written(folder, 5)
    anchor = verify(path, KEY).head
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:kept]))
    assert verify(path, KEY).whole
    found = verify(path, KEY, anchor)
    assert (found.count, found.line, found.breakage) == (kept, kept + 1, Breakage.CUT)


def test_lines_after_the_anchor_are_fine(folder: Path) -> None:
    with opened(folder) as log:
        note(log, 1)
        path, anchor = log.head or (folder, Head())
        note(log, 2)
    assert verify(path, KEY, anchor).whole


def test_a_chain_written_anew_without_a_key_shows_against_an_anchor(folder: Path) -> None:
    path = written(folder, 3, None)
    anchor = verify(path, None).head
    path.unlink()
    written(folder, 5, None).rename(path)
    with opened(folder, None) as log:
        for number in (7, 8, 9):
            note(log, number)
        forged, _ = log.head or (folder, None)
    assert verify(forged, None).whole
    found = verify(forged, None, anchor)
    assert (found.line, found.breakage) == (3, Breakage.ALTERED)


@pytest.mark.parametrize(("sealed", "checked"), [(KEY, None), (None, KEY), ("another key", KEY)])
def test_a_file_sealed_otherwise_does_not_pass(folder: Path, sealed: str | None, checked: str | None) -> None:
    """Above all: who has no key can't pass a log of plain hashes off as a sealed one."""
    found = verify(written(folder, 2, sealed), checked)
    assert (found.line, found.breakage, found.count) == (1, Breakage.ALTERED, 0)


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":', b'["a"', b'{"sequence":true,"previous":""', b"[" * 100_000])
def test_a_sealed_line_that_is_no_record_is_an_altered_one(folder: Path, body: bytes) -> None:
    path = written(folder, 1, None)
    with path.open("ab") as file:
        file.write(body + b',"hmac":"' + hashlib.sha256(body).hexdigest().encode() + b'"}\n')
    found = verify(path, None)
    assert (found.line, found.breakage, found.count) == (2, Breakage.ALTERED, 1)


def test_a_line_of_another_file_with_the_same_key_does_not_pass(folder: Path) -> None:
    one, other = written(folder / "a", 3), written(folder / "b", 3)
    with opened(folder / "c") as log:
        note(log, 99)
        note(log, 2)
    (third,) = (folder / "c").iterdir()
    assert one.read_bytes() == other.read_bytes()  # the same lines at the same time
    rows, foreign = one.read_bytes().splitlines(keepends=True), third.read_bytes().splitlines(keepends=True)
    one.write_bytes(b"".join([rows[0], foreign[1], rows[2]]))
    found = verify(one, KEY)
    assert (found.line, found.breakage) == (2, Breakage.ALTERED)


def test_a_file_that_can_not_be_read_is_an_error(folder: Path) -> None:
    with pytest.raises(AuditError, match=r"none\.jsonl can't be read: No such file"):
        verify(folder / "none.jsonl", KEY)
