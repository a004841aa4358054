"""Hot reload: changes are taken over whole, a broken file changes nothing and is told once."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sql_databricks_bridge.auth.loader import PermissionsFile
from sql_databricks_bridge.core.config import Environment
from sql_databricks_bridge.errors import SettingsError

BROKEN = "users:\n  - name: [\n"


def users(*names: str, more: str = "") -> str:
    return "users:\n" + "".join(f"  - name: {name}\n" for name in names) + more


def opened(path: Path, text: str | None = None, settled_after_s: float = 2.0) -> PermissionsFile:
    if text is not None:
        path.write_text(text)
    return PermissionsFile(
        path, Environment.DEVELOPMENT, server="sql01", database="Sales", environ={}, settled_after_s=settled_after_s
    )


def names(file: PermissionsFile) -> list[str]:
    return [user.name for user in file.current().users]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "permissions.yaml"


def test_without_a_file_the_first_load_fails_and_says_what_to_set(path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"permissions\.yaml can't be found, so that nobody may do anything.*BRIDGE_"
    ):
        opened(path).current()


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.write_text(BROKEN)])
def test_a_broken_file_fails_the_first_load_each_time_until_it_is_mended(
    path: Path, make: Callable[[Path], object]
) -> None:
    make(path)
    file = opened(path)
    for _ in range(2):
        with pytest.raises(SettingsError, match=r"permissions\.yaml"):
            file.current()
    if path.is_dir():
        path.rmdir()
    path.write_text(users("ana"))
    assert names(file) == ["ana"]


def test_a_change_is_seen_by_the_next_call(path: Path) -> None:
    file = opened(path, users("ana"))
    assert names(file) == ["ana"]
    path.write_text(users("bob"))
    assert names(file) == ["bob"]


def test_a_change_that_leaves_size_and_times_as_they_were_is_seen(path: Path) -> None:
    file = opened(path, users("ana"))
    assert names(file) == ["ana"]
    before = path.stat()
    path.write_text(users("bob"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert names(file) == ["bob"]


@pytest.mark.parametrize("change", ["longer", "another file", "removed", "mode"])
def test_a_change_of_a_settled_file_is_seen_by_its_size_its_inode_or_its_absence(path: Path, change: str) -> None:
    file = opened(path, users("ana"), settled_after_s=-1.0)
    assert names(file) == names(file) == ["ana"]
    with capture_logs() as logs:
        if change == "longer":
            path.write_text(users("ana", "bob"))
        elif change == "removed":
            path.unlink()
        elif change == "mode":
            path.chmod(0o600)
        else:
            new = path.with_suffix(".new")
            new.write_text(users("bob"))
            new.rename(path)
        found = [names(file) for _ in range(2)]
    wanted = {"longer": ["ana", "bob"], "another file": ["bob"]}.get(change, ["ana"])
    assert found == [wanted, wanted]
    events = {"removed": ["permissions.refused"], "mode": []}.get(change, ["permissions.loaded"])
    assert [entry["event"] for entry in logs] == events


def test_a_file_swapped_through_a_symbolic_link_is_seen(path: Path) -> None:
    """Kubernetes changes a mounted file so."""
    for name in ("one", "two"):
        path.with_name(name).write_text(users(name))
    path.symlink_to("one")
    file = opened(path)
    assert names(file) == ["one"]
    path.with_name("new").symlink_to("two")
    path.with_name("new").rename(path)
    assert names(file) == ["two"]


def test_an_unchanged_file_is_not_loaded_again(path: Path) -> None:
    file = opened(path, users("ana"))
    os.utime(path, (0, 0))
    with capture_logs() as logs:
        first = file.current()
        path.touch()
        assert all(file.current() is first for _ in range(3))
    assert [entry["event"] for entry in logs] == ["permissions.loaded"]


@pytest.mark.parametrize("broken", [BROKEN, users("eve", "eve"), "users: [] # end: true\nusers: []\n", "\0", None])
def test_a_broken_or_missing_file_keeps_the_last_good_set_and_is_told_once(path: Path, broken: str | None) -> None:
    file = opened(path, users("ana"))
    assert names(file) == ["ana"]
    if broken is None:
        path.unlink()
    else:
        path.write_text(broken)
    with capture_logs() as logs:
        assert [names(file) for _ in range(3)] == [["ana"]] * 3
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("permissions.refused", "error")]
    assert "permissions.yaml" in logs[0]["reason"]
    path.write_text(users("bob"))
    assert names(file) == ["bob"]


def test_a_file_that_comes_back_in_the_moment_it_is_missed_is_read_by_the_next_call(path: Path) -> None:
    """An editor that removes and writes: the bridge once took what came back for what it had refused."""
    file = opened(path, users("ana"))
    assert names(file) == ["ana"]
    path.unlink()

    def come_back(_frame: object, event: str, what: object) -> None:
        if event == "c_exception" and what is os.stat:
            sys.setprofile(None)
            path.write_text(users("bob"))

    sys.setprofile(come_back)
    try:
        with capture_logs():
            assert names(file) == ["ana"]
    finally:
        sys.setprofile(None)
    assert names(file) == ["bob"]


def test_each_broken_content_is_told_anew(path: Path) -> None:
    file = opened(path, users("ana"))
    file.current()
    with capture_logs() as logs:
        for text in (BROKEN, BROKEN, users("eve", "eve"), BROKEN):
            path.write_text(text)
            assert names(file) == ["ana"]
    assert [entry["event"] for entry in logs] == ["permissions.refused"] * 3


def test_an_emptied_file_takes_every_right_away(path: Path) -> None:
    file = opened(path, users("ana"))
    assert names(file) == ["ana"]
    path.write_text("")
    assert names(file) == []


@pytest.mark.parametrize("text", ["", users("ana"), users("ana", "eve")])
def test_a_file_that_once_had_its_guard_is_refused_without(path: Path, text: str) -> None:
    file = opened(path, users("ana", "bob", more="end: true\n"))
    assert names(file) == ["ana", "bob"]
    path.write_text(text)
    with capture_logs() as logs:
        assert names(file) == ["ana", "bob"]
    assert "has lost its last line `end: true`" in logs[0]["reason"]
    path.write_text(text + ("end: true\n" if text else "users: []\nend: true\n"))
    assert names(file) == [name for name in ("ana", "eve") if name in text]


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX file modes")
@pytest.mark.parametrize(
    ("secret", "mode", "warned"),
    [
        ("token: plain-one", 0o644, True),
        ("token: plain-one", 0o640, True),
        ("signing_key: 0123456789abcdef", 0o604, True),
        ("token: plain-one", 0o600, False),
        (f"token: sha256:{'a' * 64}", 0o644, False),
    ],
)
def test_a_file_with_plain_secrets_that_others_may_read_is_warned_about(
    path: Path, secret: str, mode: int, warned: bool
) -> None:
    file = opened(path, users("ana", more=f"    {secret}\n"))
    path.chmod(mode)
    with capture_logs() as logs:
        file.current()
    assert [entry["mode"] for entry in logs if entry["event"] == "permissions.readable_by_others"] == (
        [f"{mode:04o}"] if warned else []
    )
    assert "plain-one" not in str(logs)


def test_threads_see_one_whole_set_or_the_other_while_the_file_changes(path: Path) -> None:
    one, two = [[f"{prefix}{n}" for n in range(50)] for prefix in ("a", "b")]
    file = opened(path, users(*one))
    done = threading.Event()
    seen: list[list[list[str]]] = [[] for _ in range(4)]

    def look(into: list[list[str]]) -> None:
        while not done.is_set():
            into.append(names(file))

    threads = [threading.Thread(target=look, args=(into,)) for into in seen]
    for thread in threads:
        thread.start()
    for turn in range(20):
        new = path.with_suffix(".new")
        new.write_text(users(*(two if turn % 2 else one)))
        new.rename(path)
    done.set()
    for thread in threads:
        thread.join()
    assert all(into for into in seen)
    assert all(found in (one, two) for into in seen for found in into)
