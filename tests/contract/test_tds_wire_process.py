"""`python -m sql_databricks_bridge.sandbox.sql_server`: starting, saying so, stopping, refusing to start.

The engine is the fixed one, put in the real one's place, so that only the process itself is tested.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mssql_python
import pytest

PROGRAM = textwrap.dedent("""
    import sys, types
    sys.path.insert(0, sys.argv.pop(1))
    import tds_fixed_engine
    from tds_fixed_engine import FixedEngine

    def create_engine(data_dir, load, database, username, password):
        if load == "tpch:13":
            raise OSError("no such scale")
        if load == "tpch:99":
            print("starting", flush=True)
            import threading
            threading.Event().wait()
        tds_fixed_engine.PASSWORD = password
        return FixedEngine()

    name = "sql_databricks_bridge.sandbox.sql_server.engine"
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].create_engine = create_engine
    from sql_databricks_bridge.sandbox.sql_server.__main__ import main
    sys.exit(main())
""")


@contextlib.contextmanager
def _started(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), "--data-dir", str(folder), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _ready(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


def _connect(ready: dict[str, Any], encrypt: str) -> Any:
    text = "Server={host},{port};Database={database};UID={username};PWD={password}".format(**ready)
    return mssql_python.connect(f"{text};{encrypt}", autocommit=True)


def test_it_says_where_it_is_and_serves_there(tmp_path: Path) -> None:
    """The ready line is enough to connect, with its certificate trusted too, and to reach the admin calls."""
    mssql_python.pooling(enabled=False)
    with _started(tmp_path, "--load", "flights") as process:
        ready = _ready(process)
        assert (ready["ready"], ready["host"], ready["database"], ready["username"]) == (
            True,
            "127.0.0.1",
            "Flights",
            "sa",
        )
        _connect(ready, "Encrypt=no").close()
        _connect(ready, f"Encrypt=strict;ServerCertificate={ready['certificate']}").close()
        _connect(ready, "Encrypt=yes;TrustServerCertificate=yes").close()
        with urllib.request.urlopen(f"{ready['admin_url']}/requests", timeout=10) as answer:
            assert [entry["kind"] for entry in json.load(answer)["requests"]].count("login") == 3


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, None], ids=["SIGTERM", "SIGINT", "stdin"])
def test_it_stops_cleanly_when_told(tmp_path: Path, how: signal.Signals | None) -> None:
    """Exit code 0 and nothing on stderr, also with a client connected."""
    with _started(tmp_path, "--stop-on-stdin-eof") as process:
        ready = _ready(process)
        with socket.create_connection((ready["host"], ready["port"])):
            if how is None:
                assert process.stdin is not None
                process.stdin.close()
                process.stdin = None
            else:
                process.send_signal(how)
            assert process.wait(15) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_it_can_be_stopped_while_it_starts(tmp_path: Path) -> None:
    """A signal during a long load breaks it off: exit code 0."""
    with _started(tmp_path, "--load", "tpch:99") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "starting\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    """A parent killed with SIGKILL closes our stdin, and that is enough."""
    code = textwrap.dedent("""
        import subprocess, sys
        p = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        print(p.stdout.readline(), end="", flush=True)
        p.wait()
    """)
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        str(Path(__file__).parent),
        "--data-dir",
        str(tmp_path),
        "--stop-on-stdin-eof",
    ]
    parent = subprocess.Popen([sys.executable, "-c", code, *command], stdout=subprocess.PIPE, text=True)
    with parent:
        ready = _ready(parent)
        with socket.create_connection((ready["host"], ready["port"]), timeout=15) as held:
            parent.kill()
            with contextlib.suppress(ConnectionResetError):  # it hangs up as it goes, in order or not
                assert held.recv(1) == b""


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--port", "{taken}"], "can't listen on 127.0.0.1:{taken}: Address already in use"),
        (["--admin-port", "{taken}"], "can't listen on 127.0.0.1:{taken} (admin): Address already in use"),
        (["--port", "70000"], "can't listen on 127.0.0.1:70000"),
        (["--load", "tpch:13"], "the engine did not start: no such scale"),
        (["--data-dir", "{file}"], "can't write to the data folder {file}"),
        (["--log", "/nowhere/log"], "can't write the log /nowhere/log"),
    ],
    ids=["port", "admin port", "bad port", "engine", "folder", "log"],
)
def test_what_keeps_it_from_starting_is_one_line(tmp_path: Path, options: list[str], says: str) -> None:
    """Exit code 2 and one line on stderr that names the thing."""
    file = tmp_path / "file"
    file.touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        names = {"taken": str(taken.getsockname()[1]), "file": str(file)}
        with _started(tmp_path / "data", *(option.format(**names) for option in options)) as process:
            _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert errors.count("\n") == 1
    assert says.format(**names) in errors


def test_a_data_folder_serves_one_stand_in(tmp_path: Path) -> None:
    """A second process on the same folder is refused; after the first has gone it starts."""
    with _started(tmp_path) as first:
        _ready(first)
        with _started(tmp_path) as second:
            _, errors = second.communicate(timeout=20)
            assert second.returncode == 2
            assert "in use by another stand-in" in errors
        first.send_signal(signal.SIGTERM)
        assert first.wait(15) == 0
    with _started(tmp_path) as third:
        assert _ready(third)["ready"]


@pytest.mark.parametrize("load", ["flight", "tpch", "tpch:0", "tpch:x", "none:1"])
def test_a_load_that_means_nothing_is_a_usage_error(tmp_path: Path, load: str) -> None:
    """argparse's exit code 2, naming what is allowed."""
    with _started(tmp_path, "--load", load) as process:
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "is none of: flights, tpch:SF" in errors
