"""Runs the Databricks stand-in, and writes a .env file that tells the bridge how to reach it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

HOME = Path("/var/lib/bridge")
VARIABLES = {
    "DATABRICKS_HOST": "url",
    "DATABRICKS_TOKEN": "token",
    "DATABRICKS_CATALOG": "catalog",
    "DATABRICKS_SCHEMA": "schema",
    "DATABRICKS_VOLUME": "volume",
    "DATABRICKS_WAREHOUSE_ID": "warehouse_id",
}


def main(home: Path = HOME) -> int:
    """Run until SIGTERM; returns the stand-in's exit code. `home` keeps its data and `shown/databricks.env`."""
    shown = home / "shown" / "databricks.env"
    shown.unlink(missing_ok=True)  # of an earlier start, whose token may be another
    command = [sys.executable, "-m", "sql_databricks_bridge.sandbox.databricks", "--data-dir", str(home / "data")]
    with subprocess.Popen([*command, "--stop-on-stdin-eof"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        assert process.stdout is not None
        line = process.stdout.readline()
        if line:
            _tell(shown, json.loads(line))
        return process.wait()


def _tell(shown: Path, ready: dict[str, str]) -> None:
    shown.parent.mkdir(parents=True, exist_ok=True)
    whole = shown.with_suffix(".new")
    whole.write_text("".join(f"{name}={ready[key]}\n" for name, key in VARIABLES.items()))
    whole.rename(shown)  # the health check waits for this name


if __name__ == "__main__":
    sys.exit(main())
