"""Extraction: the bridge against the bare driver and against the row-wise way, same server, same query.

Each contestant runs in a process of its own, in turns, so that a noisy neighbour hits all alike. Printed: rows/s, CPU
seconds and peak memory of the client process (medians), and the ratios that matter. Run it with `make bench`, or on a
real server by setting SQLSERVER_* and DATABRICKS_* and `--query`.

- drain: the driver's own Arrow reader, every batch thrown away. The floor.
- bridge: `core.jobs.run`, fetch to typed zstd Parquet in a Databricks Volume.
- as_is: the same with `types: {datetime2: microseconds}`, so that nothing is rewritten, whatever the query. The table
  needs no rewriting either way: what the bridge pays for looking.
- exact7, lossy7: the query with a datetime2(7) besides, with its companion column and without.
- rowwise: cursor rows to dicts to a Polars DataFrame to Parquet, uploaded: what most scripts do.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sql_databricks_bridge.models.partitions import Partitioning

# 13 columns, one of each family that matters on the wire.
COLUMNS = """
    CAST(ROW_NUMBER() OVER (ORDER BY k.n, f.time_hour, f.carrier, f.flight) AS bigint) AS id,
    f.month AS month_no,
    CAST(f.flight AS int) AS flight,
    CAST(f.distance AS decimal(18, 4)) / 7 AS ratio,
    CAST(f.distance AS money) AS price,
    CAST(f.dep_delay AS float) AS delay,
    f.time_hour AS scheduled,
    CAST(f.time_hour AS date) AS day,
    f.carrier,
    f.tailnum,
    CAST(CONCAT(f.origin, N' to ', f.dest) AS nvarchar(40)) AS leg,
    CAST(CASE WHEN f.arr_delay > 0 THEN 1 ELSE 0 END AS bit) AS late,
    f.air_time
"""


_DIGITS = "SELECT f.*, CONVERT(datetime2(7), f.scheduled) AS exactly FROM ({}) AS f"
_LOSSY = (("datetime2", "microseconds"), ("datetimeoffset", "utc"))
_POLICIES = {"bridge": (), "exact7": (), "as_is": _LOSSY, "lossy7": _LOSSY}


@dataclass(frozen=True)
class Measure:
    """One process's numbers; memory is the peak resident set in MiB."""

    contestant: str
    rows: int
    wall_s: float
    cpu_s: float
    peak_mib: float


def main() -> None:
    """Measure and print; with --as CONTESTANT, be one contestant (internal)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contestant")
    parser.add_argument(
        "--copies", default="3,15", help="copies of the 336,776 flights, e.g. 3,15 for 1 M and 5 M rows"
    )
    parser.add_argument("--rowwise-rounds", type=int, default=1, help="turns of the slow row-wise contestant")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    parser.add_argument("--as", dest="contestant", help=argparse.SUPPRESS)
    parser.add_argument("--query", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        print(json.dumps(asdict(_be(options.contestant, options.query))))
        return
    with_servers(lambda environment: _measure(options, environment))


def with_servers(measure: Callable[[Mapping[str, str]], None]) -> None:
    """Measure on the servers that the environment names, else on a sandbox."""
    if os.environ.get("SQLSERVER_HOST"):
        measure(dict(os.environ))
        return
    from sql_databricks_bridge.sandbox.launcher import Sandbox, SandboxOptions

    with tempfile.TemporaryDirectory(prefix="bridge-bench-") as folder:
        print("starting the sandbox ...", flush=True)
        with Sandbox(SandboxOptions(Path(folder))) as sandbox:
            # Without TLS: it costs all contestants the same and would hide the differences.
            environment = {**os.environ, **sandbox.environment, "SQLSERVER_ENCRYPT": "no", "BRIDGE_ENV_FILE": ""}
            measure(environment)


def _measure(options: argparse.Namespace, environment: Mapping[str, str]) -> None:
    results: list[Measure] = []
    for copies in (int(part) for part in options.copies.split(",")):
        table = f"dbo.bench_{copies}"
        prepare(environment, table, copies)
        query = f"SELECT * FROM {table}"
        for turn in range(options.rounds):
            contestants = ["drain", "bridge"]
            if copies <= 3:
                contestants += ["as_is", "lossy7", "exact7"] + ["rowwise"] * (turn < options.rowwise_rounds)
            for contestant in contestants:
                measure = run(contestant, _DIGITS.format(query) if "7" in contestant else query, environment)
                results.append(measure)
                print(
                    f"{contestant:8} {measure.rows:>9,} rows {measure.rows / measure.wall_s:>10,.0f} rows/s"
                    f" {measure.cpu_s:6.2f} s CPU {measure.peak_mib:6.0f} MiB",
                    flush=True,
                )
    _report(results, options.json)


def prepare(environment: Mapping[str, str], table: str, copies: int, key: str | None = None) -> None:
    """Make a table of so many copies of the flights, 336,776 rows each; `key` becomes its clustered index."""
    numbers = ", ".join(f"({n})" for n in range(1, copies + 1))
    with driver_connection(environment) as connection:
        cursor = connection.cursor()
        cursor.execute(f"DROP TABLE IF EXISTS {table}")
        cursor.execute(f"SELECT {COLUMNS} INTO {table} FROM dbo.flights AS f CROSS JOIN (VALUES {numbers}) AS k(n)")
        if key is not None:
            cursor.execute(f"CREATE CLUSTERED INDEX ix_key ON {table} ({key})")
        connection.commit()


def run(contestant: str, query: str, environment: Mapping[str, str]) -> Measure:
    """One contestant in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.extract", "--as", contestant, "--query", query],
        env=dict(environment),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Measure(**json.loads(done.stdout.splitlines()[-1]))


def _be(contestant: str, query: str) -> Measure:
    work = (  # imports and sign-in happen before the clock starts
        resolved_run(query, _POLICIES[contestant])
        if contestant in _POLICIES
        else {"drain": _drain, "rowwise": _rowwise}[contestant](query)
    )
    began, usage = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    rows = work()
    wall, used = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = (used.ru_utime + used.ru_stime) - (usage.ru_utime + usage.ru_stime)
    return Measure(contestant, rows, wall, cpu, used.ru_maxrss / 1024)


def driver_connection(environment: Mapping[str, str]) -> Any:
    """Microsoft's driver alone, to the server that the environment names."""
    from mssql_python import connect

    return connect(
        f"Server={environment['SQLSERVER_HOST']},{environment['SQLSERVER_PORT']};"
        f"Database={environment['SQLSERVER_DATABASE']};UID={environment['SQLSERVER_USERNAME']};"
        f"PWD={environment['SQLSERVER_PASSWORD']};Encrypt={environment.get('SQLSERVER_ENCRYPT', 'no')};"
        "TrustServerCertificate=yes"
    )


def _drain(query: str) -> Any:
    connection = driver_connection(os.environ)

    def work() -> int:
        cursor = connection.cursor()
        cursor.execute(query)
        with cursor.arrow_reader(16_384) as reader:
            return sum(batch.num_rows for batch in reader)

    return work


def _rowwise(query: str) -> Any:
    import polars as pl
    from databricks.sdk import WorkspaceClient

    connection = driver_connection(os.environ)
    client = WorkspaceClient(host=os.environ["DATABRICKS_HOST"], token=os.environ["DATABRICKS_TOKEN"], auth_type="pat")

    def work() -> int:
        cursor = connection.cursor()
        cursor.execute(query)
        names = [item[0] for item in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        frame = pl.DataFrame(rows, infer_schema_length=None)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rows.parquet"
            frame.write_parquet(file)
            client.files.upload_from(f"{_volume()}/bench/rowwise-{time.time_ns()}.parquet", str(file))
        return frame.height

    return work


def _volume() -> str:
    parts = (os.environ[f"DATABRICKS_{part}"] for part in ("CATALOG", "SCHEMA", "VOLUME"))
    return "/Volumes/" + "/".join(parts)


def resolved_run(
    query: str, policies: tuple[tuple[str, str], ...] = (), partitions: Partitioning | None = None
) -> Callable[[], int]:
    """What runs the query as `bridge extract` does and returns the rows; imports and sign-in have happened."""
    import hashlib
    import uuid

    from sql_databricks_bridge.core import jobs
    from sql_databricks_bridge.core.config import load_settings
    from sql_databricks_bridge.db.databricks import DatabricksLakehouse
    from sql_databricks_bridge.db.sql_server import MssqlServer
    from sql_databricks_bridge.models.jobs import ExtractionPlan, ResolvedQuery, RunStatus
    from sql_databricks_bridge.models.partitions import Partitioning
    from sql_databricks_bridge.models.type_policies import TypePolicies

    settings = load_settings(sqlserver_trust_server_certificate=True)
    assert settings.default_destination is not None
    assert settings.sqlserver_database is not None
    resolved = ResolvedQuery(
        "bench",
        "bench.sql",
        query,
        hashlib.sha256(query.encode()).hexdigest(),
        types=TypePolicies(policies),
        partitions=partitions or Partitioning(),
    )
    plan = ExtractionPlan(
        uuid.uuid4().hex, "bench", settings.default_destination, (resolved,), settings.sqlserver_database
    )

    source, lakehouse = MssqlServer(settings), DatabricksLakehouse(settings)
    source.connect().close()
    lakehouse.check_destination(plan.destination)  # imports the SDK (over a second of CPU) and signs in

    def work() -> int:
        report = jobs.run(plan, source, lakehouse)
        assert report.status is RunStatus.COMPLETED, report
        return report.queries[0].rows

    return work


def _report(results: list[Measure], file: Path | None) -> None:
    def median(contestant: str, rows: int, value: str) -> float | None:
        found = [
            measure.rows / measure.wall_s if value == "rate" else getattr(measure, value)
            for measure in results
            if measure.contestant == contestant and measure.rows == rows
        ]
        return statistics.median(found) if found else None

    print(f"\n{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; medians")
    print("| rows | contestant | rows/s | CPU s | peak MiB |\n|---:|---|---:|---:|---:|")
    ratios: dict[str, float] = {}
    for rows in sorted({measure.rows for measure in results}):
        for contestant in ("drain", "bridge", "as_is", "lossy7", "exact7", "rowwise"):
            rate = median(contestant, rows, "rate")
            if rate is not None:
                cpu, peak = median(contestant, rows, "cpu_s"), median(contestant, rows, "peak_mib")
                print(f"| {rows:,} | {contestant} | {rate:,.0f} | {cpu:.2f} | {peak:.0f} |")
        label = f"{round(rows / 1e6)}m"
        bridge, drain, rowwise = (median(name, rows, "rate") for name in ("bridge", "drain", "rowwise"))
        if bridge and drain:
            ratios[f"extract_vs_drain_{label}"] = bridge / drain
        as_is, lossy, exact = (median(name, rows, "rate") for name in ("as_is", "lossy7", "exact7"))
        if bridge and as_is:
            ratios[f"extract_unneeded_rewriting_{label}"] = bridge / as_is
        if exact and lossy:
            ratios[f"extract_exact_vs_lossy_{label}"] = exact / lossy
        if bridge and rowwise:
            ratios[f"extract_vs_rowwise_{label}"] = bridge / rowwise
        if (peak := median("bridge", rows, "peak_mib")) is not None:
            ratios[f"extract_peak_mib_{label}"] = peak
    tell(ratios, results, file)


def tell(ratios: Mapping[str, float], results: Sequence[Any], file: Path | None) -> None:
    """Print the ratios; write them and the measures (dataclasses) as JSON where a file is given."""
    print()
    for name, value in ratios.items():
        print(f"{name}: {value:.2f}")
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"ratios": ratios, "measures": [asdict(item) for item in results]}, indent=2))


if __name__ == "__main__":
    main()
