"""`bridge sandbox`: it prints an environment that works, and leaves nothing behind."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path

import psutil
import pytest

from tests.acceptance.conftest import Bridge


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_the_printed_environment_works_and_every_process_ends_with_it(number: signal.Signals, tmp_path: Path) -> None:
    """The exports point `bridge check` at both ends; when the sandbox ends, even killed, so do its processes."""
    bridge = Bridge({"BRIDGE_ENV_FILE": ""}, tmp_path)
    with bridge.started("sandbox", "--load", "none", "--data-dir", str(tmp_path / "data")) as process:
        assert process.stdout is not None
        environment: dict[str, str] = {}
        while "DATABRICKS_VOLUME" not in environment:
            line = process.stdout.readline()
            assert line.startswith("export "), line
            name, _, value = line.removeprefix("export ").strip().partition("=")
            environment[name] = shlex.split(value)[0]
        for name in ("HOST", "PORT", "DATABASE", "USERNAME", "PASSWORD", "ENCRYPT"):
            assert environment[f"SQLSERVER_{name}"]
        assert Bridge({**environment, "BRIDGE_ENV_FILE": ""}, tmp_path)("check").code == 0
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2
        process.send_signal(number)
        process.wait(timeout=30)
        _, alive = psutil.wait_procs(children, timeout=30)
        assert alive == []
        if number is not signal.SIGKILL:
            assert process.returncode == 0


def test_a_wrong_load_is_refused(tmp_path: Path) -> None:
    """--load names what it knows; exit 2."""
    done = Bridge({}, tmp_path)("sandbox", "--load", "everything")
    assert done.code == 2
    assert "tpch:SF" in done.err


def test_the_demo_lands_all_flights_and_leaves_no_process(tmp_path: Path) -> None:
    """`bridge demo --json`: extracted, read back by pyarrow, the same rows, and nothing runs on."""
    before = {process.pid for process in psutil.process_iter()}
    done = Bridge({"BRIDGE_ENV_FILE": "", "SQLSERVER_HOST": "nosuch.invalid"}, tmp_path)(
        "demo", "--json", "--data-dir", str(tmp_path / "data")
    )
    assert done.code == 0, done.err
    document = done.document
    assert document["status"] == "completed"
    landed = {query["query"]: query["rows"] for query in document["read_back"]}
    assert landed["flights"] == 336_776
    assert landed == {query["name"]: query["rows"] for query in document["extract"]["queries"]}
    ours = [
        process
        for process in psutil.process_iter(["cmdline"])
        if process.pid not in before and str(tmp_path) in " ".join(process.info["cmdline"] or [])
    ]
    assert ours == []
