"""The watch: a change or a refusal is told when it happens, however the file was swapped."""

from __future__ import annotations

import queue
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sql_databricks_bridge.auth.loader import Look, PermissionsFile
from sql_databricks_bridge.auth.watching import PermissionsWatch
from sql_databricks_bridge.core.config import Environment
from sql_databricks_bridge.errors import SettingsError

WAIT_S = 20.0
SELDOM_S = 600.0  # so that only the file system's own word can be heard in time
OFTEN_S = 0.1


def users(*names: str) -> str:
    return "users:\n" + "".join(f"  - name: {name}\n" for name in names) + "end: true\n"


def opened(path: Path) -> PermissionsFile:
    return PermissionsFile(path, Environment.DEVELOPMENT, server="sql01", database="Sales")


class Told:
    """What the watch told, in order."""

    def __init__(self) -> None:
        self.looks: queue.Queue[Look] = queue.Queue()

    def names(self) -> list[str]:
        """The users of the next look that was not refused."""
        while (look := self.looks.get(timeout=WAIT_S)).problem is not None:
            pass
        return [user.name for user in look.permissions.users]

    def until(self, *names: str) -> None:
        while self.names() != list(names):
            pass


@contextmanager
def watched(path: Path, look_every_s: float = SELDOM_S) -> Iterator[Told]:
    told = Told()
    with PermissionsWatch(opened(path), told.looks.put, look_every_s=look_every_s) as watch:
        watch.ready(WAIT_S)
        yield told


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "config"
    folder.mkdir()
    found = folder / "permissions.yaml"
    found.write_text(users("ana"))
    return found


def test_without_a_good_file_it_does_not_start(tmp_path: Path) -> None:
    watch = PermissionsWatch(opened(tmp_path / "none.yaml"), lambda _: None)
    with pytest.raises(SettingsError):
        watch.start()
    watch.close()


@pytest.mark.parametrize("how", ["written", "renamed over", "moved away and written", "removed and written"])
def test_a_change_is_told_however_an_editor_saves(path: Path, how: str) -> None:
    with watched(path) as told:
        new = path.with_name(".permissions.yaml.swp")
        if how == "renamed over":
            new.write_text(users("bob"))
            new.rename(path)
        elif how == "moved away and written":
            path.rename(path.with_name("permissions.yaml~"))
            path.write_text(users("bob"))
        else:
            if how == "removed and written":
                path.unlink()
            path.write_text(users("bob"))
        told.until("bob")


def test_a_refusal_is_told_with_its_reason_and_the_last_good_set(path: Path) -> None:
    with capture_logs(), watched(path) as told:
        new = path.with_name("new")
        new.write_text("users: [\n")
        new.rename(path)
        look = told.looks.get(timeout=WAIT_S)
        assert look.problem is not None
        assert "permissions.yaml" in look.problem
        assert [user.name for user in look.permissions.users] == ["ana"]
        path.write_text(users("bob"))
        told.until("bob")


def test_a_config_map_of_kubernetes_is_seen_to_change(tmp_path: Path) -> None:
    """permissions.yaml -> ..data/permissions.yaml, ..data -> ..1: only ..data is swapped, and ..1 removed."""
    mount = tmp_path / "mount"
    mount.mkdir()
    for number, name in enumerate(("ana", "bob", "eve"), start=1):
        (mount / f"..{number}").mkdir()
        (mount / f"..{number}" / "permissions.yaml").write_text(users(name))
    (mount / "..data").symlink_to("..1")
    (mount / "permissions.yaml").symlink_to("..data/permissions.yaml")
    with watched(mount / "permissions.yaml") as told:
        for number, name in ((2, "bob"), (3, "eve")):
            (mount / "..data_tmp").symlink_to(f"..{number}")
            (mount / "..data_tmp").rename(mount / "..data")
            shutil.rmtree(mount / f"..{number - 1}")
            told.until(name)


def test_a_folder_that_is_away_for_a_while_is_watched_again(path: Path) -> None:
    with capture_logs(), watched(path, OFTEN_S) as told:
        shutil.rmtree(path.parent)
        look = told.looks.get(timeout=WAIT_S)
        assert look.problem is not None
        assert [user.name for user in look.permissions.users] == ["ana"]
        path.parent.mkdir()
        path.write_text(users("bob"))
        told.until("bob")
        path.write_text(users("eve"))
        told.until("eve")


def test_each_change_is_told_once_and_an_unchanged_file_never(path: Path) -> None:
    with watched(path, OFTEN_S) as told:
        path.touch()
        for name in ("bob", "eve"):
            new = path.with_name("new")
            new.write_text(users(name))
            new.rename(path)
            assert told.names() == [name]
    assert told.looks.empty()


def test_a_callback_that_fails_is_logged_and_does_not_end_the_watch(path: Path) -> None:
    told = Told()

    def fail(look: Look) -> None:
        told.looks.put(look)
        raise RuntimeError("a bug in the callback")

    with capture_logs() as logs, PermissionsWatch(opened(path), fail) as watch:
        watch.ready(WAIT_S)
        for name in ("bob", "eve"):
            path.with_name("new").write_text(users(name))
            path.with_name("new").rename(path)
            told.until(name)
    assert [entry["event"] for entry in logs].count("permissions.callback_failed") == 2
