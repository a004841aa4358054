"""The command line as a whole: help, versions, exit codes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sql_databricks_bridge import __version__
from tests.acceptance.conftest import Bridge, Workspace

COMMANDS = (
    ("extract",),
    ("preview",),
    ("check",),
    ("queries",),
    ("queries", "show"),
    ("runs", "latest"),
    ("schedule", "list"),
    ("schedule", "check"),
    ("schedule", "run"),
    ("sweep",),
    ("sandbox",),
    ("demo",),
    ("version",),
)


HEAVY = {
    "pyarrow",
    "polars",
    "numpy",
    "databricks",
    "mssql_python",
    "fastapi",
    "uvicorn",
    "sqlglot",
    "sqlalchemy",
    "structlog",
}
TOLD = """
import sys
from sql_databricks_bridge.cli import commands
sys.argv = ["bridge", *sys.argv[1:]]
try:
    commands.main()
finally:
    print(*sys.modules, sep="\\n", file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [("--help",), ("version",), ("extract", "--help")])
def test_what_needs_no_server_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    """It starts at once: what moves data is imported by the commands that do."""
    done = subprocess.run([sys.executable, "-c", TOLD, *arguments], capture_output=True, text=True, check=True)
    modules = {name.partition(".")[0] for name in done.stderr.splitlines()}
    assert "typer" in modules
    assert not modules & HEAVY


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command: tuple[str, ...], bridge: Bridge) -> None:
    """`--help` exits 0, shows a line to copy, and offers --json."""
    done = bridge(*command, "--help")
    assert done.code == 0
    assert "--json" in done.out
    assert f"Example: bridge {' '.join(command)}" in done.out


def test_version_tells_the_package_version(bridge: Bridge) -> None:
    """`bridge version` and its JSON agree with the package."""
    assert f"bridge {__version__}" in bridge("version").out
    assert bridge("version", "--json").document["version"] == __version__


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("extract",), ("extract", "--country", "X", "--bogus"), ("extract", "--parallel", "0", "-c", "X")],
)
def test_wrong_usage_exits_2(arguments: tuple[str, ...], bridge: Bridge) -> None:
    """Unknown commands and options, missing and out-of-range ones: exit 2 and a word about help."""
    done = bridge(*arguments, "--json")
    assert done.code == 2
    assert "Error" in done.err
    if arguments[0] == "extract":
        assert done.document["error"]["kind"] == "UsageError"


def test_a_env_file_with_a_wrong_line_is_refused(bridge: Bridge) -> None:
    """A line that would silently have no effect, a file that is not there: exit 2, file and line, no value."""
    file = bridge.directory / ".env"
    file.write_text("LOG_LEVEL=INFO\nSQLSERVER_PASSWORD='half open\nTHIS IS NONE s3cret\n")
    done = bridge("queries", "--json", BRIDGE_ENV_FILE=None)
    assert done.code == 2
    assert ".env: lines 2, 3 " in done.document["error"]["message"]
    assert "s3cret" not in done.out + done.err
    assert "missing.env" in bridge("queries", BRIDGE_ENV_FILE="missing.env").err


def test_check_finds_both_ends_well(bridge: Bridge) -> None:
    """With the right settings every check is ok and the exit code is 0."""
    done = bridge("check", "--json")
    assert done.code == 0, done.out
    results = {(item["end"], item["check"]): item["result"] for item in done.document["checks"]}
    assert results["SQL Server", "sign-in"] == "ok"
    assert results["SQL Server", "database"] == "ok"
    assert results["Databricks", "sign-in"] == "ok"
    assert results["Databricks", "volume"] == "ok"
    assert results["Databricks", "warehouse"] == "ok"


def test_check_says_what_is_missing(bridge: Bridge) -> None:
    """Without settings the variables are named and the exit code is 1."""
    done = bridge("check", SQLSERVER_HOST=None, DATABRICKS_TOKEN=None)
    assert done.code == 1
    assert "SQLSERVER_HOST" in done.out
    assert "DATABRICKS_TOKEN" in done.out


def test_queries_lists_and_shows_where_values_come_from(bridge: Bridge, workspace: Workspace) -> None:
    """`queries` lists files; `queries show` gives resolved SQL and the YAML line of each value, asking no server."""
    workspace.query("counted", "SELECT COUNT(*) AS n FROM {table} WHERE month >= @since")
    workspace.yaml(workspace.country, "database: Flights\ntable: dbo.flights\nparams:\n  since: int\n")
    listed = bridge("queries", "--country", workspace.country, "--json").document
    assert [query["name"] for query in listed["queries"]] == ["counted"]
    shown = bridge("queries", "show", "counted", "--country", workspace.country, "--json", SQLSERVER_HOST=None).document
    assert shown["sql"].strip() == "SELECT COUNT(*) AS n FROM dbo.flights WHERE month >= @since"
    assert shown["placeholders"][0]["origin"].endswith(f"{workspace.country}.yaml:2")
    assert shown["without_value"] == ["since"]


def test_preview_prints_a_frame_and_lands_nothing(bridge: Bridge, workspace: Workspace) -> None:
    """The first rows come as a typed Polars frame; no run is published."""
    workspace.query("carriers", "SELECT carrier, name FROM dbo.airlines ORDER BY carrier")
    done = bridge("preview", "carriers", "--country", workspace.country, "--rows", "3")
    assert done.code == 0, done.err
    assert "shape: (3, 2)" in done.out
    assert "Endeavor Air Inc." in done.out
    assert bridge("runs", "latest", "--country", workspace.country).code == 1
