"""The service under bad company: how long /health/live takes, idle and under load, in one run.

The load is a process of its own: clients that dribble headers, 20 that send oversized bodies again and again, and an
extraction that is always running. The sandbox, the service, the load and the probe share this machine's cores.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import platform
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.extract import tell

ROOT = Path(__file__).parents[1]
SLOW_CLIENTS, OVERSIZED_CLIENTS, OVERSIZED_BYTES = 5, 20, 8 << 20
_DRIBBLE_S, _PAUSE_S = 0.2, 0.01


@dataclass(frozen=True)
class Probed:
    """What a probe saw of the service in one state."""

    state: str
    probes: int
    p50_ms: float
    p99_ms: float
    worst_ms: float


def main() -> None:
    """Measure and print; with --as load URL TOKEN, be the load until standard input ends (internal)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probes", type=int, default=500, help="probes in each state")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    parser.add_argument("--as", dest="load", nargs=2, metavar=("URL", "TOKEN"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        _be_the_load(*options.load)
        return
    from sql_databricks_bridge.sandbox.launcher import Sandbox, SandboxOptions

    with tempfile.TemporaryDirectory(prefix="bridge-bench-") as folder:
        print("starting the sandbox ...", flush=True)
        with Sandbox(SandboxOptions(Path(folder), load="flights")) as sandbox:
            environment = {**os.environ, **sandbox.environment, "BRIDGE_ENV_FILE": "", "LOG_LEVEL": "WARNING"}
            environment |= {"RATE_LIMIT_PER_MINUTE": "1000000", "FAILED_SIGN_INS_PER_MINUTE": "1000000"}
            _report(_measure(environment, options.probes), options.json)


def _measure(environment: Mapping[str, str], probes: int) -> list[Probed]:
    with _service(environment) as url:
        idle = _probe("idle", url, probes)
        with _load(url, environment["BRIDGE_TOKEN"]):
            return [idle, _probe("loaded", url, probes)]


@contextmanager
def _service(environment: Mapping[str, str]) -> Iterator[str]:
    command = [str(Path(sys.executable).with_name("bridge")), "serve", "--port", "0", "--json"]
    with subprocess.Popen(command, cwd=ROOT, env=dict(environment), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield str(json.loads(process.stdout.readline())["url"])
        finally:
            process.terminate()
            process.wait(60)


@contextmanager
def _load(url: str, token: str) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.service", "--as", url, token]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "under way\n"
            yield
        finally:
            process.stdin.close()
            process.wait(60)


def _probe(state: str, url: str, probes: int) -> Probed:
    """Ask as an orchestrator does: a new connection each time, with pauses."""
    address, took_ms = urlsplit(url).netloc, []
    jitter = random.Random(0)
    for _ in range(probes):
        began = time.perf_counter()
        with contextlib.closing(http.client.HTTPConnection(address, timeout=30)) as connection:
            connection.request("GET", "/health/live")
            response = connection.getresponse()
            response.read()
        took_ms.append((time.perf_counter() - began) * 1000)
        assert response.status == 200, response.status
        time.sleep(jitter.uniform(0, 2 * _PAUSE_S))
    cuts = statistics.quantiles(took_ms, n=100, method="inclusive")
    return Probed(state, probes, cuts[49], cuts[98], max(took_ms))


# The load ----------------------------------------------------------------------------------------------------------


def _be_the_load(url: str, token: str) -> None:
    where = urlsplit(url)
    address = (where.hostname or "", where.port or 80)
    refused, extracting = threading.Event(), threading.Event()
    works = [threading.Thread(target=_extract, args=(url, token, extracting), daemon=True)]
    works += [threading.Thread(target=_dribble, args=(address,), daemon=True) for _ in range(SLOW_CLIENTS)]
    works += [
        threading.Thread(target=_oversize, args=(address, refused), daemon=True) for _ in range(OVERSIZED_CLIENTS)
    ]
    for work in works:
        work.start()
    refused.wait()
    extracting.wait()
    print("under way", flush=True)
    sys.stdin.read()


def _dribble(address: tuple[str, int]) -> None:
    while True:
        with contextlib.suppress(OSError), socket.create_connection(address) as opened:
            opened.sendall(b"GET /jobs HTTP/1.1\r\nHost: x\r\nX: ")
            while True:
                opened.sendall(b"y")
                time.sleep(_DRIBBLE_S)


def _oversize(address: tuple[str, int], refused: threading.Event) -> None:
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    while True:
        with contextlib.suppress(OSError), socket.create_connection(address) as opened:
            opened.sendall(b"POST /extract HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(OVERSIZED_BYTES // 0x10000):
                opened.sendall(piece)
            if b" 413 " in opened.recv(100):
                refused.set()


def _extract(url: str, token: str, extracting: threading.Event) -> None:
    """Ask for a job, follow it to its end, ask for the next one."""
    body = json.dumps({"country": "Colombia"}).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    while True:
        with contextlib.suppress(urllib.error.URLError):
            with urllib.request.urlopen(urllib.request.Request(f"{url}/extract", body, headers)) as response:
                job = json.loads(response.read())["job_id"]
            stream = urllib.request.Request(f"{url}/jobs/{job}/events", headers=headers)
            with urllib.request.urlopen(stream) as events:
                for line in events:
                    if b'"running"' in line:
                        extracting.set()


def _report(results: list[Probed], file: Path | None) -> None:
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; GET /health/live")
    print("| service | probes | p50 ms | p99 ms | worst ms |\n|---|---:|---:|---:|---:|")
    for one in results:
        print(f"| {one.state} | {one.probes} | {one.p50_ms:.1f} | {one.p99_ms:.1f} | {one.worst_ms:.1f} |")
    idle, loaded = results
    ratios = {"health_live_p99_ms_loaded": loaded.p99_ms, "health_live_p99_loaded_vs_idle": loaded.p99_ms / idle.p99_ms}
    tell(ratios, results, file)


if __name__ == "__main__":
    main()
