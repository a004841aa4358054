"""The demo: it types the commands that a newcomer would, both ways, and checks the results with other tools alone.

What landed is read back by pyarrow and the SDK, what was applied by Microsoft's driver.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from sql_databricks_bridge.sandbox.launcher import Sandbox, SandboxOptions, without_server_settings

if TYPE_CHECKING:
    import pyarrow as pa

COUNTRY = "Colombia"
_PUBLISH = ["extract", "--country", COUNTRY, "--query", "airlines", "--query", "airports", "--publish"]
_ANALYSIS = (
    "CREATE TABLE {schema}.new_airlines AS SELECT * FROM "
    "VALUES ('ZZ', 'Zebra Air'), ('Q1', 'Quokka Air') AS t(carrier, name)",
    "CREATE TABLE {schema}.renamed_airports AS SELECT * FROM "
    "VALUES ('JFK', 'Kennedy'), ('EWR', 'Newark') AS t(faa, name)",
)
"""What a Databricks developer did before: two tables of results."""
_EVENTS = (
    ["--operation", "INSERT", "--source", "{schema}.new_airlines", "--target", "dbo.airlines", "--rows-expected", "2"],
    ["--operation", "UPDATE", "--source", "{schema}.renamed_airports", "--target", "dbo.airports", "--key", "faa"],
    ["--operation", "DELETE", "--target", "dbo.flights", "--filter", "carrier=UA"],
)
_LOOKS = (
    "SELECT carrier, name FROM dbo.airlines WHERE carrier IN ('ZZ', 'Q1') ORDER BY carrier",
    "SELECT faa, name FROM dbo.airports WHERE faa IN ('JFK', 'EWR') ORDER BY faa",
    "SELECT COUNT(*) AS united_flights FROM dbo.flights WHERE carrier = 'UA'",
)
_PUBLISHED = ["Kennedy", "Newark", "Quokka Air", "Zebra Air"]
_EXPECTED = ([("Q1", "Quokka Air"), ("ZZ", "Zebra Air")], [("EWR", "Newark"), ("JFK", "Kennedy")], [(58_665,)])


def run(data_dir: Path) -> int:
    """Run the show in `data_dir`; returns the first exit code that is not 0, else 0."""
    console = Console(highlight=False)
    files = demo_files()
    began = time.monotonic()
    console.print("[bold]1. A SQL Server and a Databricks workspace, on this machine[/bold]")
    with console.status("starting PostgreSQL, Sail and their TDS and REST fronts; loading 336,776 flights ..."):
        sandbox = Sandbox(SandboxOptions(data_dir))
    with sandbox:
        console.print(f"   ready after {time.monotonic() - began:.1f} s\n")
        environment = _environment(sandbox)
        steps: Sequence[tuple[str, Sequence[str]]] = (
            ("2. Are both ends there?", ["check"]),
            ("3. What would run", ["queries", "--country", COUNTRY]),
            ("4. Extract", ["extract", "--country", COUNTRY, "--parallel", "2"]),
            ("5. Where the newest published runs are", ["runs", "latest", "--country", COUNTRY]),
            ("6. Two of them as Delta tables", _PUBLISH),
        )
        for title, arguments in steps:
            console.print(f"[bold]{title}[/bold]")
            console.print(f"[dim]$ bridge {' '.join(arguments)}[/dim]", soft_wrap=True)
            code = _bridge(arguments, environment, files)
            console.print()
            if code != 0:
                return code
        console.print("[bold]7. Read back by pyarrow, from the files that the manifests name[/bold]")
        _show_landed(console, environment, files)
        code = _show_sync(console, environment, files)
        if code != 0:
            return code
        code = _show_increment(console, environment, files)
        if code != 0:
            return code
    console.print(
        f"\nDone in {time.monotonic() - began:.0f} s; everything is stopped again."
        " Next: [bold]bridge sandbox[/bold] keeps both ends running for you to try,"
        " and README.md has the ten lines to your own servers."
    )
    return 0


def run_quietly(data_dir: Path) -> tuple[int, dict[str, Any]]:
    """Extract and read back without a word; returns the exit code and a document of what landed."""
    began, files = time.monotonic(), demo_files()
    with Sandbox(SandboxOptions(data_dir)) as sandbox:
        environment = _environment(sandbox)
        done = _bridge_json(["extract", "--country", COUNTRY, "--parallel", "2", "--json"], environment, files)
        landed = _read_back(environment, files) if done.returncode == 0 else []
        first = _bridge_json([*_PUBLISH, "--json"], environment, files)
        synced, as_expected = _sync_quietly(environment, files)
        second = _bridge_json([*_PUBLISH, "--json"], environment, files)
        published = not first.returncode and not second.returncode and _look_at_tables(environment)[1] == _PUBLISHED
    completed = done.returncode == 0 and as_expected and published
    return 0 if completed else done.returncode or 1, {
        "status": "completed" if completed else "failed",
        "seconds": round(time.monotonic() - began, 3),
        "extract": json.loads(done.stdout),
        "read_back": [{"query": name, "rows": rows, "columns": len(schema)} for name, rows, schema in landed],
        "sync": synced,
        "publish": [json.loads(each.stdout) for each in (first, second)],
    }


def demo_files() -> Path:
    """The folder that holds the demo's `queries` and `config`: in the wheel beside this file, in a clone its root."""
    packaged = Path(__file__).with_name("demo_files")
    return packaged if packaged.is_dir() else Path(__file__).parents[3]


def _bridge(arguments: Sequence[str], environment: Mapping[str, str], directory: Path) -> int:
    command = [sys.executable, "-m", "sql_databricks_bridge", *arguments]
    with subprocess.Popen(command, env=dict(environment), cwd=directory) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # The terminal has sent Ctrl-C to the child too: let it clean up.
            process.wait()
            raise
        finally:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGTERM)


def _environment(sandbox: Sandbox) -> dict[str, str]:
    return {
        **without_server_settings(),
        **sandbox.environment,
        "BRIDGE_ENV_FILE": "",
        "BRIDGE_QUERIES_DIR": "queries",
        "BRIDGE_CONFIG_DIR": "config",
    }


def _bridge_json(
    arguments: Sequence[str], environment: Mapping[str, str], directory: Path
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "sql_databricks_bridge", *arguments]
    return subprocess.run(command, env=dict(environment), cwd=directory, check=False, stdout=subprocess.PIPE)


def _read_back(environment: Mapping[str, str], directory: Path) -> list[tuple[str, int, pa.Schema]]:
    """Read every newest run by the SDK and pyarrow alone: (query, rows, schema)."""
    import pyarrow.parquet as pq
    from databricks.sdk import WorkspaceClient

    client = WorkspaceClient(
        host=environment["DATABRICKS_HOST"], token=environment["DATABRICKS_TOKEN"], auth_type="pat"
    )
    listing = _bridge_json(["runs", "latest", "--country", COUNTRY, "--json"], environment, directory)
    landed = []
    for run in json.loads(listing.stdout)["runs"]:
        rows, schema = 0, None
        for file in run["files"]:
            body = client.files.download(file["path"]).contents
            assert body is not None
            with body:
                parquet = pq.ParquetFile(io.BytesIO(body.read()))
            rows += parquet.metadata.num_rows
            schema = parquet.schema_arrow
        assert schema is not None  # an empty result has a part too
        landed.append((str(run["query"]), rows, schema))
    return landed


def _show_landed(console: Console, environment: Mapping[str, str], directory: Path) -> None:
    table = Table("query", "rows", "columns", "first columns and their Parquet types", box=None, header_style="dim")
    landed = _read_back(environment, directory)
    for name, rows, schema in landed:
        fields = ", ".join(f"{field.name} {field.type}" for field in list(schema)[:4])
        table.add_row(name, f"{rows:,}", str(len(schema)), fields)
    console.print(table)
    console.print(f"   {sum(rows for _, rows, _ in landed):,} rows in all")


def _show_sync(console: Console, environment: Mapping[str, str], directory: Path) -> int:
    """The way back: results in Delta, three events, one round, a look by Microsoft's driver."""
    console.print("\n[bold]8. The way back: a Databricks developer has results, and asks for them in SQL Server[/bold]")
    for statement in _analyse(environment):
        console.print(f"[dim]databricks> {statement}[/dim]", soft_wrap=True)
    commands = [["events", "init"], *_submissions(environment)]
    for arguments in commands:
        console.print(f"[dim]$ bridge {' '.join(arguments)}[/dim]", soft_wrap=True)
        if code := _bridge(arguments, environment, directory):
            return code
    console.print("\n[bold]9. One round of the poller: two events are applied, the DELETE is over its limit[/bold]")
    console.print("[dim]$ bridge sync once[/dim]")
    _bridge(["sync", "once"], environment, directory)  # exit code 1: one event is blocked, as it should be
    console.print("\n[bold]10. Read back by Microsoft's driver[/bold]")
    found = _look(environment)
    for statement, rows in zip(_LOOKS, found, strict=True):
        console.print(f"[dim]sql server> {statement}[/dim]", soft_wrap=True)
        console.print("   " + "  ".join(" ".join(f"{value}" for value in row) for row in rows), markup=False)
    if tuple(found) != _EXPECTED:
        console.print("[bold red]That is not what the events asked for.[/bold red]")
        return 1
    return 0


def _show_increment(console: Console, environment: Mapping[str, str], directory: Path) -> int:
    """SQL Server has changed by the events: publish again, and look at the tables."""
    console.print("\n[bold]11. Publish again: SQL Server has changed, and only what changed travels[/bold]")
    console.print(f"[dim]$ bridge {' '.join(_PUBLISH)}[/dim]", soft_wrap=True)
    if code := _bridge(_PUBLISH, environment, directory):
        return code
    statement, found = _look_at_tables(environment)
    console.print(f"[dim]databricks> {statement}[/dim]", soft_wrap=True)
    console.print("   " + "  ".join(found), markup=False)
    if found != _PUBLISHED:
        console.print("[bold red]That is not what SQL Server holds.[/bold red]")
        return 1
    return 0


def _look_at_tables(environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """The changed rows in the published tables, by the SDK alone, and the statement that asked for them."""
    from databricks.sdk import WorkspaceClient

    client = WorkspaceClient(
        host=environment["DATABRICKS_HOST"], token=environment["DATABRICKS_TOKEN"], auth_type="pat"
    )
    schema = _schema(environment)
    statement = (
        f"SELECT name FROM {schema}.airlines WHERE carrier IN ('ZZ', 'Q1') UNION ALL "
        f"SELECT name FROM {schema}.airports WHERE faa IN ('JFK', 'EWR') ORDER BY name"
    )
    answer = client.statement_execution.execute_statement(statement, environment["DATABRICKS_WAREHOUSE_ID"])
    rows = answer.result.data_array if answer.result is not None else None
    return statement, [row[0] for row in rows or []]


def _sync_quietly(environment: Mapping[str, str], directory: Path) -> tuple[dict[str, Any], bool]:
    _analyse(environment)
    for arguments in (["events", "init"], *_submissions(environment)):
        _bridge_json([*arguments, "--json"], environment, directory)
    report = json.loads(_bridge_json(["sync", "once", "--json"], environment, directory).stdout)
    return report, tuple(_look(environment)) == _EXPECTED


def _submissions(environment: Mapping[str, str]) -> list[list[str]]:
    schema = _schema(environment)
    return [["events", "submit", *(part.format(schema=schema) for part in event)] for event in _EVENTS]


def _schema(environment: Mapping[str, str]) -> str:
    return f"{environment['DATABRICKS_CATALOG']}.{environment['DATABRICKS_SCHEMA']}"


def _analyse(environment: Mapping[str, str]) -> list[str]:
    """Make the developer's tables, by the SDK alone; returns the statements."""
    from databricks.sdk import WorkspaceClient

    client = WorkspaceClient(
        host=environment["DATABRICKS_HOST"], token=environment["DATABRICKS_TOKEN"], auth_type="pat"
    )
    statements = [text.format(schema=_schema(environment)) for text in _ANALYSIS]
    for statement in statements:
        client.statement_execution.execute_statement(statement, environment["DATABRICKS_WAREHOUSE_ID"])
    return statements


def _look(environment: Mapping[str, str]) -> list[list[tuple[Any, ...]]]:
    """What SQL Server holds now, by Microsoft's driver alone."""
    import mssql_python

    parts = {
        "SERVER": f"{environment['SQLSERVER_HOST']},{environment['SQLSERVER_PORT']}",
        "DATABASE": environment["SQLSERVER_DATABASE"],
        "UID": environment["SQLSERVER_USERNAME"],
        "PWD": environment["SQLSERVER_PASSWORD"],
        "Encrypt": "yes",
        "TrustServerCertificate": "yes",
    }
    connection = mssql_python.connect(";".join(f"{name}={{{value}}}" for name, value in parts.items()))
    try:
        return [[tuple(row) for row in connection.cursor().execute(text).fetchall()] for text in _LOOKS]
    finally:
        connection.close()
