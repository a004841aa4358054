"""Memory stays bounded whatever the rows are; each measurement is a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.models.names import Destination

CHILD = """
import json, sys
from pathlib import Path
from sql_databricks_bridge.core.config import load_settings
from sql_databricks_bridge.core.jobs import RunOptions, run
from sql_databricks_bridge.db.databricks import DatabricksLakehouse
from sql_databricks_bridge.db.sql_server import MssqlServer
from sql_databricks_bridge.models.jobs import ExtractionPlan, ResolvedQuery
from sql_databricks_bridge.models.names import Destination

destination, country, sql, spool = sys.argv[1:]
settings = load_settings()
query = ResolvedQuery("big", "queries/big.sql", sql, "0" * 64)
plan = ExtractionPlan("r", country, Destination.parse(destination), (query,), settings.sqlserver_database)
report = run(plan, MssqlServer(settings), DatabricksLakehouse(settings), options=RunOptions(spool_dir=Path(spool)))
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
(outcome,) = report.queries
print(json.dumps({"peak_kib": int(peak.split()[1]), "rows": outcome.rows, "error": outcome.error}))
"""
MEGABYTES = (
    "SELECT TOP (400) ROW_NUMBER() OVER (ORDER BY a.object_id) AS n, "
    "REPLICATE(CAST('x' AS varchar(max)), 1048576) AS v FROM sys.all_columns AS a CROSS JOIN sys.all_columns AS b"
)
MANY = "SELECT f.* FROM dbo.flights AS f CROSS JOIN (SELECT TOP (2) carrier AS other FROM dbo.airlines) AS a"


@pytest.mark.parametrize(("sql", "rows"), [(MEGABYTES, 400), (MANY, 2 * 336_776)], ids=["1 MiB a row", "many rows"])
def test_peak_memory_is_below_300_mib(
    sqlserver_settings: Settings,
    lakehouse_settings: Settings,
    destination: Destination,
    country: str,
    tmp_path: Path,
    sql: str,
    rows: int,
) -> None:
    """400 MiB of values, or 673,552 rows, pass through a process that never holds 300 MiB."""
    environment = dict(os.environ)
    for settings, prefix in ((sqlserver_settings, "sqlserver_"), (lakehouse_settings, "databricks_")):
        for name, value in settings.model_dump(exclude_none=True).items():
            if name.startswith(prefix):
                secret = getattr(value, "get_secret_value", None)
                environment[name.upper()] = str(secret() if secret else value)
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(destination), country, sql, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    found = json.loads(child.stdout.splitlines()[-1])
    assert (found["error"], found["rows"]) == (None, rows)
    assert found["peak_kib"] < 300 << 10
