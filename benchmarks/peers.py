"""Extraction against other tools: the same query to Parquet, same server, each in a process of its own, in turns.

Peers write a local file and upload it, so that all of them end in the Volume. A peer that can't talk to the server is
listed with its error. Their environment, build/bench/peers, is made from peers.txt, by hash. Run it with `make bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import extract

HERE = Path(__file__).parent
ENVIRONMENT = Path("build/bench/peers")
PEERS = ("connectorx", "arrow-odbc", "pandas", "dlt", "sling")
_LIMIT_S = 120


@dataclass(frozen=True)
class Measure:
    """One process's numbers; memory is the peak resident set in MiB. `error` is why there are none."""

    contestant: str
    rows: int = 0
    wall_s: float = 0.0
    local_s: float = 0.0
    """Until the local file was there; the bridge has none."""
    cpu_s: float = 0.0
    peak_mib: float = 0.0
    error: str | None = None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="turns of each")
    parser.add_argument("--copies", type=int, default=3, help="copies of the 336,776 flights")
    parser.add_argument("--many", type=int, default=18, help="copies for the bridge and the fastest peer once more")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    options = parser.parse_args()
    made = _environment()
    extract.with_servers(lambda environment: _measure(options, environment, made))


def _environment() -> str | None:
    """Make the peers' environment where it is not there; return why it could not be made."""
    stamp, wanted = ENVIRONMENT / ".stamp", (HERE / "peers.txt").read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return None
    print("making the peers' environment (about 400 MB, once)", flush=True)
    python = str(ENVIRONMENT / "bin/python")
    quiet = ("-q", "--disable-pip-version-check", "--require-hashes")
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)],
        [python, "-m", "pip", "install", *quiet, "-r", str(HERE / "peers.txt")],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return _last_line(done.stderr)
    stamp.write_text(wanted)
    return None


def _measure(options: argparse.Namespace, environment: Mapping[str, str], problem: str | None) -> None:
    table = f"dbo.bench_{options.copies}"
    extract.prepare(environment, table, options.copies)
    query = f"SELECT * FROM {table}"
    results: list[Measure] = []
    failed: dict[str, str] = dict.fromkeys(PEERS, problem) if problem else {}
    for _ in range(options.rounds):
        own = extract.run("bridge", query, environment)
        results.append(Measure(own.contestant, own.rows, own.wall_s, cpu_s=own.cpu_s, peak_mib=own.peak_mib))
        for name in PEERS:
            if name in failed:
                continue
            found = _peer(name, query, environment)
            if found.error is None and found.rows != own.rows:
                found = Measure(name, error=f"it wrote {found.rows:,} of {own.rows:,} rows")
            if found.error is not None:
                failed[name] = found.error
            results.append(found)
    results += [Measure(name, error=why) for name, why in failed.items() if problem]
    ratios = _report(results)
    if ratios:
        best = max(PEERS, key=lambda name: _rate(results, name) or 0)
        table = f"dbo.bench_{options.many}"
        extract.prepare(environment, table, options.many)
        query, more = f"SELECT * FROM {table}", []
        for _ in range(options.rounds):
            own = extract.run("bridge", query, environment)
            more.append(Measure(own.contestant, own.rows, own.wall_s, cpu_s=own.cpu_s, peak_mib=own.peak_mib))
            more.append(_peer(best, query, environment))
        ratios = {"extract_vs_best_peer_1m": ratios["extract_vs_best_peer"]} | _report(more)
        results += more
    extract.tell(ratios, results, options.json)


def _peer(name: str, query: str, environment: Mapping[str, str]) -> Measure:
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [str(ENVIRONMENT / "bin/python"), str(HERE / "peer.py"), name, query, f"{folder}/rows.parquet"],
                env={key: value for key, value in environment.items() if key != "PYTHONPATH"},
                capture_output=True,
                text=True,
                check=False,
                timeout=_LIMIT_S,
            )
        except subprocess.TimeoutExpired:
            return Measure(name, error=f"it took more than {_LIMIT_S} s")
    if done.returncode:
        return Measure(name, error=_last_line(done.stderr))
    return Measure(name, **json.loads(done.stdout.splitlines()[-1]))


def _rate(results: list[Measure], name: str) -> float | None:
    own = [each.rows / each.wall_s for each in results if each.contestant == name and each.error is None]
    return statistics.median(own) if own else None


def _report(results: list[Measure]) -> dict[str, float]:
    rates: dict[str, float] = {}
    print("| contestant | rows/s | to a local file | CPU s | peak MiB |\n|---|---:|---:|---:|---:|")
    for name in dict.fromkeys(each.contestant for each in results):
        own = [each for each in results if each.contestant == name and each.error is None]
        errors = [each.error for each in results if each.contestant == name and each.error is not None]
        if errors or not own:
            print(f"| {name} | {errors[0] if errors else ''} | | | |")
            continue
        rates[name] = statistics.median(each.rows / each.wall_s for each in own)
        cpu, peak = (statistics.median(getattr(each, what) for each in own) for what in ("cpu_s", "peak_mib"))
        local = [each.rows / each.local_s for each in own if each.local_s]
        shown = f"{statistics.median(local):,.0f}" if local else ""
        print(f"| {name} | {rates[name]:,.0f} | {shown} | {cpu:.2f} | {peak:.0f} |")
    others = [rate for name, rate in rates.items() if name != "bridge"]
    return {"extract_vs_best_peer": rates["bridge"] / max(others)} if others else {}


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    password = os.environ.get("SQLSERVER_PASSWORD")
    telling = [line for line in lines if "Error" in line or "rror:" in line] or lines or ["no word"]
    said = telling[-1][:300]
    return said.replace(password, "***") if password else said


if __name__ == "__main__":
    main()
