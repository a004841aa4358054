"""Ctrl-C at awkward moments, standard streams that are closed, full or left, small terminals: always in order."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import termios
from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import BRIDGE, TIMEOUT_S, Bridge, Workspace
from tests.conftest import StandIn


@pytest.fixture
def silent_host() -> Iterator[socket.socket]:
    """A host that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(TIMEOUT_S)
        yield listening


@pytest.mark.parametrize("end", ["SQL Server", "Databricks"])
def test_ctrl_c_is_heard_while_a_host_does_not_answer(
    end: str, bridge: Bridge, workspace: Workspace, silent_host: socket.socket
) -> None:
    """Before the driver's or the SDK's time-out: cancelled, exit 130, one document, no crash on the way out."""
    workspace.query("waiting", "SELECT carrier FROM dbo.airlines")
    port = str(silent_host.getsockname()[1])
    changes = {"SQLSERVER_PORT": port} if end == "SQL Server" else {"DATABRICKS_HOST": f"http://127.0.0.1:{port}"}
    silent = Bridge({**bridge.environment, **changes}, bridge.directory)
    with silent.started("extract", "--country", workspace.country, "--json") as process:
        while True:
            connection, _ = silent_host.accept()
            with connection:
                if connection.recv(1) == b"":
                    continue  # only a look whether somebody listens
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=9)  # less than either time-out
                break
    assert process.returncode == 130, err
    assert json.loads(out)["status"] == "cancelled"
    assert "Traceback" not in err


def test_ctrl_c_twice_ends_at_once(bridge: Bridge, workspace: Workspace, lakehouse_faults: StandIn) -> None:
    """While an upload hangs the second Ctrl-C does not wait: exit 130, what may remain is told, no crash."""
    workspace.query("stuck", "SELECT carrier FROM dbo.airlines")
    rule = lakehouse_faults.fault(
        match={"method": "PUT", "path_contains": f"{workspace.country}/stuck"}, times=None, action={"delay_s": 60}
    )
    with bridge.started("extract", "--country", workspace.country) as process:
        lakehouse_faults.wait_for(rule)
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        while "cancelling" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert "bridge sweep" in err
    assert "Traceback" not in err


def test_what_a_hanging_upload_leaves_is_told(bridge: Bridge, workspace: Workspace, lakehouse_faults: StandIn) -> None:
    """An upload that can't be stopped is left to itself; the document says where its remains may lie."""
    workspace.query("stuck", "SELECT carrier FROM dbo.airlines")
    rule = lakehouse_faults.fault(match={"path_contains": "/stuck/run=", "method": "PUT"}, on=2, action={"delay_s": 60})
    with bridge.started("extract", "--country", workspace.country, "--json") as process:
        lakehouse_faults.wait_for(rule)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    (query,) = json.loads(out)["queries"]
    assert query["status"] == "cancelled"
    assert "bridge sweep" in query["warnings"][0]


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("{bridge} version --json > /dev/full", 1, "Standard output: No space left on device"),
        ("{bridge} queries > /dev/full", 1, "Standard output: No space left on device"),
        ("{bridge} queries >&-", 0, ""),
        ("{bridge} extract --country {country} 2>&1 | head -1; exit ${{PIPESTATUS[0]}}", 0, "whole: started"),
    ],
    ids=["full, JSON", "full", "closed", "reader left"],
)
def test_odd_standard_streams(command: str, code: int, said: str, bridge: Bridge, workspace: Workspace) -> None:
    """Output that can't be written is an error in one line; messages that can't be are no reason to stop a run."""
    workspace.query("whole", "SELECT * FROM dbo.flights")
    script = command.format(bridge=BRIDGE, country=workspace.country)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=bridge.directory,
        env=bridge._environment({}),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    shown = done.stdout + done.stderr
    assert "Traceback" not in shown
    assert "Exception ignored" not in shown
    assert said in shown
    if "head" in command:  # its summary has no reader either, but the run is published
        assert done.returncode in (0, 1)
        assert bridge("runs", "latest", "--country", workspace.country).code == 0
    else:
        assert done.returncode == code


@pytest.mark.parametrize(("columns", "term"), [(80, "xterm"), (40, "xterm"), (80, "dumb")])
def test_a_terminal_of_any_width(columns: int, term: str, bridge: Bridge, workspace: Workspace) -> None:
    """Queries with long names on a small terminal: every name can be read, and where they landed is said."""
    names = [f"a_query_with_a_rather_long_name_{number:02}" for number in range(4)]
    for name in names:
        workspace.query(name, "SELECT carrier FROM dbo.airlines")
    shown = in_a_terminal(bridge, columns, term, "extract", "--country", workspace.country, "--parallel", "4")
    assert "Traceback" not in shown
    for name in names:
        assert f"{name}: landed, 16 rows" in shown
    assert f"landed in {workspace.country}/QUERY/run=" in shown
    assert "completed: 64 rows" in shown


def in_a_terminal(bridge: Bridge, columns: int, term: str, *arguments: str) -> str:
    """Run to the end in a pseudo-terminal of 24 lines; what was written to it, without escape sequences."""
    try:
        master, slave = pty.openpty()
    except OSError as exc:
        pytest.skip(f"this machine gives out no pseudo-terminals ({exc}): a container without devpts")
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**bridge._environment({"COLUMNS": None, "LINES": None}), "TERM": term}
    with subprocess.Popen(
        [BRIDGE, *arguments], cwd=bridge.directory, env=environment, stdin=slave, stdout=slave, stderr=slave
    ) as process:
        os.close(slave)
        written = b""
        try:
            while piece := os.read(master, 65536):
                written += piece
        except OSError:  # EIO: the other end is closed
            pass
        finally:
            os.close(master)
        assert process.wait(timeout=TIMEOUT_S) == 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode())
