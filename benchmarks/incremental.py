"""Increments: publishing 0.1 % of changes to a Delta table against publishing all of it, same server, same rows.

Full run and increments take turns on one table in one process. Run it with `make bench`, or on real servers by setting
SQLSERVER_* and DATABRICKS_*. The runs are those of `bridge extract --publish`: read, landed, published, settled.

- full: every row, `CREATE OR REPLACE TABLE ... AS SELECT`.
- rowversion: rows whose rowversion moved; one MERGE.
- fingerprint: digests of all rows on the server, then the ranges that changed; one statement for those.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.extract import driver_connection, tell

TABLE = "dbo.bench_increments"
COLUMNS = """
    id int NOT NULL PRIMARY KEY, account bigint NOT NULL, code varchar(12) NOT NULL, name nvarchar(40) NOT NULL,
    price decimal(18,4) NOT NULL, rate float NOT NULL, day date NOT NULL, flag bit NOT NULL, note nvarchar(60) NULL,
    rv rowversion NOT NULL
"""
SHARE = 0.001
_SEED = 20261123


@dataclass(frozen=True)
class Run:
    """One run: how it went, how many rows travelled, and how long it took."""

    contestant: str
    rows: int
    wall_s: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contestant")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the table")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    options = parser.parse_args()
    if os.environ.get("SQLSERVER_HOST"):
        _measure(options, dict(os.environ))
        return
    from sql_databricks_bridge.sandbox.launcher import Sandbox, SandboxOptions

    with tempfile.TemporaryDirectory(prefix="bridge-bench-") as folder:
        print("starting the sandbox ...", flush=True)
        with Sandbox(SandboxOptions(Path(folder), load="none")) as sandbox:
            changes = {"SQLSERVER_ENCRYPT": "no", "BRIDGE_ENV_FILE": "", "LOG_LEVEL": "ERROR"}
            _measure(options, {**os.environ, **sandbox.environment, **changes})


def _measure(options: argparse.Namespace, environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    connection = driver_connection(environment)
    connection.autocommit = True
    _fill(connection, options.rows)
    rng, results = random.Random(_SEED), list[Run]()
    publish = {kind: _publisher(kind) for kind in ("rowversion", "fingerprint")}
    for kind, run in publish.items():
        results.append(_timed(f"full {kind}", run))
    for _ in range(options.rounds):
        for kind, run in publish.items():
            _change(connection, rng, options.rows)
            results.append(_timed(kind, run))
            assert results[-1].rows < options.rows / 2, "an increment"
        results.append(_timed("full", _publisher(None)))
    _report(results, options.json)


def _fill(connection: Any, rows: int) -> None:
    import numpy as np
    import pyarrow as pa

    cursor = connection.cursor()
    cursor.execute(f"DROP TABLE IF EXISTS {TABLE}")
    cursor.execute(f"CREATE TABLE {TABLE} ({COLUMNS})")
    number = np.arange(rows, dtype=np.int32)
    text = pa.array(number).cast(pa.string())
    table = pa.table(
        {
            "id": pa.array(number),
            "account": pa.array(number.astype(np.int64) * 7919),
            "code": text,
            "name": text,
            "price": pa.array(number).cast(pa.decimal128(18, 4)),
            "rate": pa.array(number / 3),
            "day": pa.array(number % 2000 + 18_000).cast(pa.date32()),
            "flag": pa.array(number % 2 == 0),
            "note": pa.array(["a note of some length", None, "x"] * (rows // 3 + 1))[:rows],
        }
    )
    mappings = [(position, name) for position, name in enumerate(table.column_names)]
    done = cursor.bulkcopy_arrow(TABLE, table, timeout=0, table_lock=True, column_mappings=mappings)
    assert done["rows_copied"] == rows


def _change(connection: Any, rng: random.Random, rows: int) -> None:
    """Change rows that lie anywhere, which is the worst for ranges."""
    chosen = rng.sample(range(rows), max(1, int(rows * SHARE)))
    cursor = connection.cursor()
    for start in range(0, len(chosen), 500):
        some = ", ".join(map(str, chosen[start : start + 500]))
        cursor.execute(f"UPDATE {TABLE} SET price = price + 1, note = N'changed' WHERE id IN ({some})")


def _publisher(kind: str | None) -> Any:
    """A run of the query, kept up to date in that way; each way has a table of its own."""
    from sql_databricks_bridge import composition
    from sql_databricks_bridge.core import jobs
    from sql_databricks_bridge.core.config import load_settings
    from sql_databricks_bridge.models.jobs import ExtractionPlan, ResolvedQuery
    from sql_databricks_bridge.models.publishing import Incremental, IncrementKind, Publication
    from sql_databricks_bridge.models.tables import SourceName

    config = load_settings()
    lake, source = composition.lakehouse(config), composition.sql_server(config)
    destination = config.default_destination
    assert destination is not None
    ways = {
        None: None,
        "rowversion": Incremental(IncrementKind.ROWVERSION, ("id",), column="rv"),
        "fingerprint": Incremental(IncrementKind.FINGERPRINT, ("id",)),
    }
    name = f"bench_{kind or 'full'}_{secrets.token_hex(3)}"
    target = SourceName(destination.catalog, destination.schema, name)
    states = SourceName(destination.catalog, destination.schema, "bench_states")
    sql = f"SELECT id, account, code, name, price, rate, day, flag, note, rv FROM {TABLE}"
    query = ResolvedQuery(name, f"{name}.sql", sql, name, publish=Publication(target, incremental=ways[kind]))
    plan = ExtractionPlan("", "Bench", destination, (query,), config.sqlserver_database or "")

    def run() -> int:
        mine = replace(plan, run_id=f"20261123T000000Z-{secrets.token_hex(6)}")
        (outcome,) = jobs.run(mine, source, lake, options=jobs.RunOptions(states=states)).queries
        assert outcome.error is None, outcome.error
        assert outcome.publication is not None
        return outcome.rows

    return run


def _timed(contestant: str, run: Any) -> Run:
    began = time.perf_counter()
    rows = run()
    result = Run(contestant, rows, time.perf_counter() - began)
    print(f"{contestant:18} {rows:>9,} rows {result.wall_s:7.2f} s", flush=True)
    return result


def _report(results: list[Run], file: Path | None) -> None:
    def median(contestant: str) -> float:
        return statistics.median(one.wall_s for one in results if one.contestant == contestant)

    tell({f"{kind}_vs_full": median(kind) / median("full") for kind in ("rowversion", "fingerprint")}, results, file)


if __name__ == "__main__":
    main()
