"""Partitioned reads: the same query in 1, 2 and 4 ranges, where a connection and not the client is the bottleneck.

A proxy stands before the SQL Server stand-in and lets so many MiB/s through on each connection, as a distant server or
a busy one does. Sampling, the opening of connections and the manifest are within the time. With SQLSERVER_HOST set it
is a real server at its own speed. Run it with `make bench`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.extract import prepare, resolved_run, tell

MIB = 1 << 20
_CHUNK = 64 * 1024


@dataclass(frozen=True)
class Measure:
    """One process's numbers; memory is the peak resident set in MiB."""

    partitions: int
    rows: int
    wall_s: float
    peak_mib: float


class Throttle:
    """A TCP proxy that gives each connection `rate` bytes/s from the server; what the client sends passes at once."""

    def __init__(self, host: str, port: int, rate: float) -> None:
        self._upstream = (host, port)
        self._rate = rate
        self.port = 0

    async def serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        """Listen on a port of loopback until `stop`."""
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        async with server:
            await stop.wait()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(*self._upstream)
        await asyncio.gather(self._copy(reader, upstream_writer, None), self._copy(upstream_reader, writer, self._rate))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: float | None) -> None:
        free_at = time.monotonic()
        try:
            while data := await reader.read(_CHUNK):
                writer.write(data)
                await writer.drain()
                if rate is not None:
                    free_at = max(free_at, time.monotonic()) + len(data) / rate
                    await asyncio.sleep(max(0.0, free_at - time.monotonic()))
        except ConnectionError:
            pass
        finally:
            writer.close()


def main() -> None:
    """Measure and print; with --as N, be one run (internal)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each")
    parser.add_argument("--copies", type=int, default=3, help="copies of the 336,776 flights")
    parser.add_argument("--rate", type=float, default=16.0, help="MiB/s of each connection")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    parser.add_argument("--as", dest="partitions", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--query", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.partitions:
        print(json.dumps(asdict(_be(options.partitions, options.query))))
        return
    if os.environ.get("SQLSERVER_HOST"):
        _measure(options, dict(os.environ), dict(os.environ))
        return
    from sql_databricks_bridge.sandbox.launcher import Sandbox, SandboxOptions

    with (
        tempfile.TemporaryDirectory(prefix="bridge-bench-") as folder,
        Sandbox(SandboxOptions(Path(folder))) as sandbox,
    ):
        environment = {**os.environ, **sandbox.environment, "SQLSERVER_ENCRYPT": "no", "BRIDGE_ENV_FILE": ""}
        port = int(environment["SQLSERVER_PORT"])
        with throttled(environment["SQLSERVER_HOST"], port, options.rate * MIB) as slow:
            _measure(options, environment, environment | {"SQLSERVER_HOST": "127.0.0.1", "SQLSERVER_PORT": str(slow)})


@contextmanager
def throttled(host: str, port: int, rate: float) -> Iterator[int]:
    """The port of a proxy with so many bytes/s on each connection."""
    throttle, ready = Throttle(host, port, rate), threading.Event()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(throttle.serve(ready, stop),), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield throttle.port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def _measure(options: argparse.Namespace, fast: Mapping[str, str], slow: Mapping[str, str]) -> None:
    table = "dbo.bench_partitions"
    prepare(fast, table, options.copies, key="id")
    results: list[Measure] = []
    for _ in range(options.rounds):
        for partitions in (1, 2, 4):
            done = subprocess.run(
                [sys.executable, "-m", __spec__.name, "--as", str(partitions), "--query", f"SELECT * FROM {table}"],
                env=dict(slow),
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            results.append(measure := Measure(**json.loads(done.stdout.splitlines()[-1])))
            rate = measure.rows / measure.wall_s
            print(
                f"{partitions} ranges {measure.rows:>9,} rows {rate:>9,.0f} rows/s {measure.peak_mib:5.0f} MiB",
                flush=True,
            )
    walls = {
        count: statistics.median(each.wall_s for each in results if each.partitions == count) for count in (1, 2, 4)
    }
    tell(
        {"partitions2_vs_1": walls[1] / walls[2], "partitions4_vs_1": walls[1] / walls[4]},
        results,
        options.json,
    )


def _be(partitions: int, query: str) -> Measure:
    import resource

    from sql_databricks_bridge.models.partitions import Partitioning

    run = resolved_run(query, partitions=Partitioning(partitions))
    began = time.perf_counter()
    rows = run()
    wall = time.perf_counter() - began
    return Measure(partitions, rows, wall, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
