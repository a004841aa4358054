"""The Databricks stand-in as a process: how it starts, stops, refuses to start, and what outlives it."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.contract.databricks_fixture import start_databricks

COMMAND = [sys.executable, "-m", "sql_databricks_bridge.sandbox.databricks"]


def launch(data_dir: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "--data-dir", str(data_dir), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT, None])
def test_it_says_that_it_is_ready_and_stops_cleanly_in_each_way(tmp_path: Path, stop: signal.Signals | None) -> None:
    with launch(tmp_path / "data", "--port", "0", "--stop-on-stdin-eof") as process:
        assert process.stdout is not None
        assert process.stdin is not None
        ready = json.loads(process.stdout.readline())
        assert ready["ready"] is True
        assert {"url", "token", "client_id", "client_secret", "warehouse_id", "admin_url"} <= ready.keys()
        assert (ready["catalog"], ready["schema"], ready["volume"], ready["events_schema"]) == (
            "bridge",
            "landing",
            "files",
            "events",
        )
        if stop is not None:
            process.send_signal(stop)
        out, err = process.communicate(timeout=15)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_killed_parent_leaves_nothing_running(tmp_path: Path) -> None:
    parent_code = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen({[*COMMAND, '--data-dir', str(tmp_path / 'data'), '--stop-on-stdin-eof']!r},"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    child.wait(timeout=15)
    assert not child.is_running()


def test_a_port_in_use_is_one_clear_line_and_exit_code_2(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with launch(tmp_path / "data", "--port", str(port)) as process:
            out, err = process.communicate(timeout=15)
    assert (process.returncode, out) == (2, "")
    assert err == f"databricks stand-in: can't listen on 127.0.0.1:{port}: Address already in use.\n"


def test_an_unusable_data_folder_is_one_clear_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with launch(tmp_path / "file") as process:
        _, err = process.communicate(timeout=15)
    assert process.returncode == 2
    assert err == f"databricks stand-in: can't write to the data folder {tmp_path / 'file'}: File exists.\n"


def test_two_stand_ins_never_share_a_data_folder(tmp_path: Path) -> None:
    with start_databricks(tmp_path / "data"), launch(tmp_path / "data") as second:
        _, err = second.communicate(timeout=15)
    assert second.returncode == 2
    assert "is in use by another stand-in" in err


def test_files_tables_history_and_credentials_survive_a_restart_and_a_kill(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with start_databricks(data) as first:
        first.client.files.upload(f"{first.volume}/kept/x.bin", io.BytesIO(b"kept"))
        first.rows("CREATE TABLE landing.kept (id INT, s STRING)")
        first.rows("INSERT INTO landing.kept VALUES (1, 'a'), (2, 'b')")
        first.rows("UPDATE landing.kept SET s = 'z' WHERE id = 2")
        first.rows("CREATE SCHEMA bridge.more")
        ready = first.ready
    with launch(data, "--stop-on-stdin-eof") as killed:
        assert killed.stdout is not None
        killed.stdout.readline()
        os.kill(killed.pid, signal.SIGKILL)
    with start_databricks(data) as again:
        assert {again.ready[name] == ready[name] for name in ("token", "client_id", "warehouse_id")} == {True}
        assert again.client.files.download(f"{again.volume}/kept/x.bin").contents.read() == b"kept"  # type: ignore[union-attr]
        assert again.rows("SELECT * FROM landing.kept ORDER BY id") == [["1", "a"], ["2", "z"]]
        assert again.rows("SELECT s FROM landing.kept VERSION AS OF 1 ORDER BY id") == [["a"], ["b"]]
        assert again.rows("DELETE FROM landing.kept WHERE id = 1") == [["1"]]
        assert ["more"] in again.rows("SHOW SCHEMAS")
