"""`bridge audit verify` and `bridge token new`, as people type them."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
import structlog

from sql_databricks_bridge.auth.anchoring import Anchoring
from sql_databricks_bridge.auth.audit import AuditLog
from sql_databricks_bridge.auth.patterns import Home
from sql_databricks_bridge.auth.permissions_yaml import Rules, read_permissions
from sql_databricks_bridge.auth.token import sign_in
from sql_databricks_bridge.cli.commands import run
from sql_databricks_bridge.db.job_store import SqlAlchemyJobStore

KEY = "key-of-the-audit-log"
Lines = list[bytes]


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No settings but these; the job store is not there yet. A command sets the log up, which is taken back."""
    config, root = structlog.get_config(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    store = tmp_path / "jobs.sqlite3"
    monkeypatch.setenv("BRIDGE_ENV_FILE", "")
    monkeypatch.setenv("AUDIT_KEY", KEY)
    monkeypatch.setenv("JOB_STORE_URL", f"sqlite:///{store}")
    yield store
    structlog.configure(**config)
    root.handlers[:] = handlers
    root.setLevel(level)


def written(folder: Path, lines: int = 5, store: Path | None = None, day: int = 1) -> Path:
    """An audit file of that day, anchored at its end where a store is given."""
    log = AuditLog(folder / "audit", key=KEY, clock=lambda: dt.datetime(2026, 6, day, tzinfo=dt.UTC))
    for number in range(1, lines + 1):
        log.write("extract", action="POST", outcome="intent", request_id=f"r-{number}")
    assert log.head is not None
    log.close()
    if store is not None:
        with closing(SqlAlchemyJobStore(f"sqlite:///{store}")) as opened:
            opened.upgrade()
            Anchoring(log, opened).close()
    return log.head[0]


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = run(list(arguments))
    return code, capsys.readouterr().out


CHANGES: dict[str, tuple[Callable[[Lines], Sequence[bytes]], int, str]] = {
    "altered": (lambda rows: [*rows[:2], rows[2].replace(b"r-3", b"r-9"), *rows[3:]], 3, "altered"),
    "dropped": (lambda rows: [*rows[:2], *rows[3:]], 3, "dropped"),
    "reordered": (lambda rows: [rows[1], rows[0], *rows[2:]], 1, "reordered"),
    "cut in a line": (lambda rows: [*rows[:4], rows[4][:20]], 5, "cut"),
    "cut after a line": (lambda rows: rows[:3], 4, "cut"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_told_with_its_line_and_kind_and_exit_code_1(
    tmp_path: Path, own_environment: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    changed, line, kind = CHANGES[change]
    path = written(tmp_path, store=own_environment)
    assert command(capsys, "audit", "verify", str(path))[0] == 0
    path.write_bytes(b"".join(changed(path.read_bytes().splitlines(keepends=True))))
    code, told = command(capsys, "audit", "verify", str(path))
    assert code == 1
    assert f"{path}: broken at line {line}, {kind}: " in told
    code, told = command(capsys, "audit", "verify", str(path), "--json")
    document = json.loads(told)
    assert (code, document["status"]) == (1, "broken")
    (found,) = document["files"]
    assert (found["whole"], found["broken_at_line"], found["kind"]) == (False, line, kind)


def test_a_whole_file_is_told_with_what_proves_its_end(
    tmp_path: Path, own_environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, 3, own_environment)
    assert command(capsys, "audit", "verify", str(path)) == (
        0, f"{path}: whole, 3 lines, the job store knows its end at line 3\n"
    )  # fmt: skip
    other = written(tmp_path / "other", 2, day=2)
    code, told = command(capsys, "audit", "verify", str(path), str(other), "--json")
    assert code == 0
    document = json.loads(told)
    assert document["keyed"] is True
    assert [(file["lines"], file["anchored_line"]) for file in document["files"]] == [(3, 3), (2, None)]


def test_one_broken_file_among_whole_ones_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, broken = written(tmp_path / "a"), written(tmp_path / "b")
    broken.write_bytes(broken.read_bytes()[1:])
    code, told = command(capsys, "audit", "verify", str(whole), str(broken))
    assert code == 1
    assert "whole, 5 lines, its end is not anchored" in told
    assert "broken at line 1, altered" in told


def test_without_a_job_store_that_is_told_and_none_is_made(
    tmp_path: Path, own_environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", "verify", str(written(tmp_path))]) == 0
    assert "would not show" in capsys.readouterr().err
    assert not own_environment.exists()


def test_another_key_or_none_does_not_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    for key in ("another-key", ""):
        monkeypatch.setenv("AUDIT_KEY", key)
        code = run(["audit", "verify", str(path)])
        told = capsys.readouterr()
        assert code == 1
        assert KEY not in told.out + told.err
        assert ("AUDIT_KEY is not set" in told.err) is (key == "")


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "verify", str(tmp_path / "none.jsonl")]) == 1
    assert "can't be read" in capsys.readouterr().err


# Tokens


@pytest.mark.parametrize("name", ["sales-team", "Team Norte (Perú)", "null", "007", '"quoted": x', "a#b", "- x"])
def test_a_new_token_signs_in_through_the_yaml_that_is_printed_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    arguments = ["--expires", "2999-12-31"] if name == "null" else []
    code, told = command(capsys, "token", "new", "--json", *arguments, "--", name)
    assert code == 0
    document = json.loads(told)
    path = tmp_path / "permissions.yaml"
    path.write_text("users:\n" + document["yaml"] + "end: true\n", encoding="utf-8")
    now = dt.datetime.now(dt.UTC)
    reading = read_permissions(path, Rules(Home("s", "d"), {}, plain_tokens=False, now=now))
    user = sign_in(document["token"], reading.permissions, now)
    assert user.name == name
    assert user.tokens[0].expires == (dt.date(2999, 12, 31) if arguments else None)
    assert document["token"] not in document["yaml"]


def test_the_text_form_shows_the_token_once_and_its_hash_in_the_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = command(capsys, "token", "new", "ana", "--expires", "2999-01-31")
    token = told.split("\n")[0]
    assert code == 0
    assert told.count(token) == 1
    assert f"sha256:{hashlib.sha256(token.encode()).hexdigest()}" in told
    assert "expires: 2999-01-31" in told


@pytest.mark.parametrize(
    "arguments", [["ana", "--expires", "2020-01-01"], ["ana", "--expires", "31.1.2999"], ["ana\x1b[2J"], [" ana"], [""]]
)
def test_a_wrong_name_or_date_makes_no_token(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    code, told = command(capsys, "token", "new", *arguments)
    assert code == 2
    assert "bridge_" not in told
