"""Every benchmark in one go, and what they say in one place: build/bench/latest.json, latest.md and latest.svg.

`ratios` has the names that docs/performance.md explains; null is what could not be measured, as its part says.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.chart import bars

FOLDER = Path("build/bench")
PARTS: Mapping[str, Sequence[str]] = {
    "extract": ("--rounds", "2", "--copies", "3,18"),
    "peers": ("--rounds", "2"),
    "partitions": ("--rounds", "2"),
    "apply": (),
    "incremental": ("--rounds", "2"),
    "service": (),
}
NAMES = {
    "extract_vs_drain": "extract_vs_drain_6m",
    "extract_vs_best_peer": "extract_vs_best_peer",
    "extract_vs_rowwise": "extract_vs_rowwise_1m",
    "extract_peak_mib_1m": "extract_peak_mib_1m",
    "extract_peak_mib_6m": "extract_peak_mib_6m",
    "partitions2_vs_1": "partitions2_vs_1",
    "insert_vs_bulkcopy": "insert_vs_bulkcopy",
    "update_vs_rowbyrow": "update_vs_loop",
    "delete_vs_rowbyrow": "delete_vs_loop",
    "cycle100_statements": "small_events_statements_besides_reads",
    "cycle100_seconds": "small_events_s",
}
PACKAGES = ("mssql-python", "databricks-sdk", "pyarrow", "polars", "duckdb")
_STARTS = 5


def main() -> None:
    """Run the parts, each in a process of its own, and write what they found."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    parts: dict[str, Any] = {}
    for name, arguments in PARTS.items():
        print(f"\n== {name}", flush=True)
        file = FOLDER / f"{name}.json"
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments, "--json", str(file)], check=True)
        parts[name] = json.loads(file.read_text())
    found: dict[str, float] = {}
    for part in parts.values():
        found |= part["ratios"]
    ratios: dict[str, float | None] = {name: found.pop(source, None) for name, source in NAMES.items()}
    ratios |= {"help_cpu_s": _cpu("--help"), "version_cpu_s": _cpu("version")} | found
    document = {
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - began),
        "machine": machine(),
        "ratios": ratios,
        "parts": parts,
    }
    (FOLDER / "latest.json").write_text(json.dumps(document, indent=2) + "\n")
    (FOLDER / "latest.md").write_text(table(document))
    (FOLDER / "latest.svg").write_text(bars("Rows a second, medians", speeds(parts)))
    print(f"\n{table(document)}\nwritten to {FOLDER}/latest.json, latest.md and latest.svg")


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "server": os.environ.get("SQLSERVER_HOST") or "the sandbox",
        "packages": {name: _version(name) for name in PACKAGES},
    }


def table(document: Mapping[str, Any]) -> str:
    """The ratios as Markdown."""
    machine_ = document["machine"]
    lines = [
        f"{machine_['architecture']}, {machine_['cores']} cores, Python {machine_['python']}, {machine_['server']}; "
        f"{document['at']}; {document['seconds']} s",
        "",
        "| ratio | value |",
        "|---|---:|",
    ]
    for name, value in document["ratios"].items():
        lines.append(f"| {name} | {'not measured' if value is None else f'{value:.2f}'} |")
    return "\n".join(lines) + "\n"


def speeds(parts: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Median rows a second of each contestant, the fastest first, from measures that have rows and a time."""
    rates: dict[str, list[float]] = {}
    for part in ("extract", "peers", "apply"):
        for measure in parts[part]["measures"]:
            if measure.get("rows") and measure.get("wall_s"):
                rates.setdefault(f"{part}: {measure['contestant']}", []).append(measure["rows"] / measure["wall_s"])
    return sorted(((name, statistics.median(found)) for name, found in rates.items()), key=lambda each: -each[1])


def _cpu(*arguments: str) -> float:
    """Seconds of processor time that a start of `bridge` takes, the median of some."""
    taken = []
    for _ in range(_STARTS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([str(Path(sys.executable).with_name("bridge")), *arguments], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(taken)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
