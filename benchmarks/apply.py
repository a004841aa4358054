"""Application: events against the bare bulk copy and against a row-by-row loop, same server, same rows.

Each contestant runs in a process of its own, in turns, so that a noisy neighbour hits all alike. Run it with
`make bench`, or on real servers by setting SQLSERVER_* and DATABRICKS_*.

- bulkcopy: the driver's own `bulkcopy_arrow`, one stream, of rows that are in memory already, into an empty table. The
  floor of any way in.
- read: the same rows read from Delta and thrown away, which an event has to do and the bulk copy has not.
- staged: the bare bulk copy into a staging table, and `INSERT ... SELECT` from there. With `read` before it this is the
  floor of an exactly-once way in: the bulk copy is an own connection that commits by itself, and Databricks hands out a
  result when all of it is there.
- insert: an INSERT event of the same rows: read from Delta, checked, staged, applied with the ledger's row.
- update, delete: an event of 100,000 rows by key, against a loop of single statements with bound parameters (over fewer
  rows; it is linear).
- small: 100 events of 10 rows over 10 tables in one round: seconds, and statements on the warehouse.
- few_insert, few_bulkcopy: so few rows as an event stages by one INSERT at most, that way and by bulk copies.

On one machine all ends share its cores: where the bare bulk copy keeps them busy, what the warehouse and the server do
besides comes on top of it, however much of it overlaps.
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
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.extract import Measure, driver_connection, tell

SELECT = """
    SELECT CAST(id AS INT) AS id, id * 7919 AS account, concat('C', lpad(CAST(id % 5000 AS STRING), 8, '0')) AS code,
        concat('customer ', id) AS name, CAST(id / 7 AS DECIMAL(18, 4)) AS price, CAST(id AS DOUBLE) / 3 AS rate,
        date_add(DATE'2020-01-01', CAST(id % 2000 AS INT)) AS day,
        CAST(timestamp_seconds(1577836800 + id) AS TIMESTAMP_NTZ) AS at, id % 2 = 0 AS flag,
        CAST(id % 30000 AS SMALLINT) AS qty, CASE WHEN id % 3 = 0 THEN NULL ELSE 'a note of some length' END AS note,
        'EUR' AS region
    FROM range({rows})
"""
TARGET = """
    id int NOT NULL, account bigint NOT NULL, code varchar(12) NOT NULL, name nvarchar(40) NOT NULL,
    price decimal(18,4) NOT NULL, rate float NOT NULL, day date NOT NULL, at datetime2(6) NOT NULL, flag bit NOT NULL,
    qty smallint NOT NULL, note nvarchar(60) NULL, region char(3) NOT NULL
"""
KEYED_ROWS = 100_000
SMALL_EVENTS, SMALL_TABLES, SMALL_ROWS = 100, 20, 10
FEW_LOADS = 20
_EVENTS = "bench_events"


@dataclass(frozen=True)
class Task:
    """One contestant's work: how many rows, and which tables."""

    contestant: str
    rows: int
    target: str
    source: str


@dataclass(frozen=True)
class Applied(Measure):
    """The same, and the statements that the warehouse had meanwhile, where somebody counts."""

    statements: int = 0


def main() -> None:
    """Measure and print; with --as TASK, be one contestant (internal)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contestant")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the INSERT")
    parser.add_argument("--loop-rows", type=int, default=3_000, help="rows of the row-by-row loops")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    parser.add_argument("--as", dest="task", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        print(json.dumps(asdict(_be(Task(**json.loads(options.task))))))
        return
    if os.environ.get("SQLSERVER_HOST"):
        _measure(options, dict(os.environ), None)
        return
    from sql_databricks_bridge.sandbox.launcher import Sandbox, SandboxOptions

    with tempfile.TemporaryDirectory(prefix="bridge-bench-") as folder:
        print("starting the sandbox ...", flush=True)
        with Sandbox(SandboxOptions(Path(folder), load="none")) as sandbox:
            # Without TLS: it costs all contestants the same and would hide the differences.
            environment = {**os.environ, **sandbox.environment, "SQLSERVER_ENCRYPT": "no", "BRIDGE_ENV_FILE": ""}
            environment |= {"LOG_LEVEL": "ERROR"}
            _permit(Path(environment["BRIDGE_PERMISSIONS_FILE"]))
            _measure(options, environment, sandbox.admin_urls[1])


def _permit(file: Path) -> None:
    file.write_text(file.read_text().replace("max_delete_rows: 10000", f"max_delete_rows: {KEYED_ROWS}"))


def _measure(options: argparse.Namespace, environment: Mapping[str, str], admin_url: str | None) -> None:
    home = f"{environment['DATABRICKS_CATALOG']}.{environment['DATABRICKS_SCHEMA']}"
    environment = dict(environment) | {"BRIDGE_EVENTS_TABLE": f"{home}.{_EVENTS}"}
    big, keyed, small = f"{home}.bench_big", f"{home}.bench_keyed", f"{home}.bench_small"
    _prepare(environment, {big: options.rows, keyed: KEYED_ROWS, small: SMALL_ROWS})
    results: list[Applied] = []
    for _ in range(options.rounds):
        tasks = (
            Task("bulkcopy", options.rows, "dbo.bench_bare", big),
            Task("read", options.rows, "", big),
            Task("staged", options.rows, "dbo.bench_staged", big),
            Task("insert", options.rows, "dbo.bench_insert", big),
            Task("update", KEYED_ROWS, "dbo.bench_keyed", keyed),
            Task("update_loop", options.loop_rows, "dbo.bench_keyed", keyed),
            Task("delete", KEYED_ROWS, "dbo.bench_keyed", keyed),
            Task("delete_loop", options.loop_rows, "dbo.bench_keyed", keyed),
            Task("few_insert", FEW_LOADS * _few_rows(), "dbo.bench_few", big),
            Task("few_bulkcopy", FEW_LOADS * _few_rows(), "dbo.bench_few", big),
        )
        results.extend(_run(task, environment) for task in tasks)
    environment["BENCH_ADMIN_URL"] = admin_url or ""
    results.append(_run(Task("small", SMALL_EVENTS * SMALL_ROWS, "dbo.bench_small", small), environment))
    _report(results, options.json)


def _prepare(environment: Mapping[str, str], sources: Mapping[str, int]) -> None:
    os.environ.update(environment)
    lake = _lakehouse()
    for name, rows in sources.items():
        lake.execute(f"CREATE OR REPLACE TABLE {name} AS {SELECT.format(rows=rows)}")


def _run(task: Task, environment: Mapping[str, str]) -> Applied:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.apply", "--as", json.dumps(asdict(task))],
        env=dict(environment),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    measure = Applied(**json.loads(done.stdout.splitlines()[-1]))
    print(
        f"{measure.contestant:12} {measure.rows:>9,} rows {measure.rows / measure.wall_s:>10,.0f} rows/s"
        f" {measure.cpu_s:6.2f} s CPU {measure.peak_mib:6.0f} MiB",
        flush=True,
    )
    return measure


def _be(task: Task) -> Applied:
    works: Mapping[str, Callable[[Task], Callable[[], None]]] = {
        "bulkcopy": _bulkcopy,
        "read": _read,
        "staged": _staged,
        "insert": _event,
        "update": _event,
        "delete": _event,
        "update_loop": _loop,
        "delete_loop": _loop,
        "small": _small,
        "few_insert": _few,
        "few_bulkcopy": _few,
    }
    run = works[task.contestant](task)  # imports, tables and sign-in happen before the clock starts
    before = _statements()
    began, usage = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    run()
    wall, used = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = (used.ru_utime + used.ru_stime) - (usage.ru_utime + usage.ru_stime)
    return Applied(task.contestant, task.rows, wall, cpu, used.ru_maxrss / 1024, _statements() - before)


def _bulkcopy(task: Task) -> Callable[[], None]:
    rows = _loadable(task)
    connection = _driver()
    _fresh(connection, task.target, keyed=False)
    _copied(connection, task.target, rows.slice(0, SMALL_ROWS))  # loads what the driver loads late
    _fresh(connection, task.target, keyed=False)
    return lambda: _copied(connection, task.target, rows)


def _staged(task: Task) -> Callable[[], None]:
    staging = f"{task.target}_first"
    copy = _bulkcopy(replace(task, target=staging))
    connection = _driver()
    _fresh(connection, task.target, keyed=False)

    def work() -> None:
        copy()
        assert connection.cursor().execute(f"INSERT INTO {task.target} SELECT * FROM {staging}").rowcount == task.rows

    return work


def _copied(connection: Any, table: str, rows: Any) -> None:
    done = connection.cursor().bulkcopy_arrow(table, rows, timeout=0, table_lock=True)
    assert done["rows_copied"] == len(rows)


def _read(task: Task) -> Callable[[], None]:
    from sql_databricks_bridge.models.tables import SourceName

    lake, source = _lakehouse(), SourceName.parse(task.source)
    version = lake.table_version(source)

    def work() -> None:
        with lake.read_table(source, version) as stream:
            assert sum(batch.num_rows for batch in stream) == task.rows

    return work


def _event(task: Task) -> Callable[[], None]:
    connection = _driver()
    if task.contestant == "insert":
        _fresh(connection, task.target, keyed=False)
    else:
        _loaded(connection, task)
    operation = task.contestant.upper()
    return _rounds([(operation, task.target, task.source, None if operation == "INSERT" else "id")])


def _small(task: Task) -> Callable[[], None]:
    connection = _driver()
    targets = [f"{task.target}_{number}" for number in range(SMALL_TABLES)]
    for target in targets:
        _fresh(connection, target, keyed=False)
    return _rounds([("INSERT", targets[n % SMALL_TABLES], task.source, None) for n in range(SMALL_EVENTS)])


def _rounds(wanted: list[tuple[str, str, str, str | None]]) -> Callable[[], None]:
    """Submit events, and return the round that must complete every one of them."""
    import uuid

    from sql_databricks_bridge import composition
    from sql_databricks_bridge.core.config import load_settings
    from sql_databricks_bridge.models.events import EventRow, EventStatus
    from sql_databricks_bridge.models.tables import SourceName

    config = load_settings()
    lake = composition.lakehouse(config)
    events = composition.events_table(config, lake)
    events.create()
    versions = {source: lake.table_version(SourceName.parse(source)) for _, _, source, _ in wanted}

    def submit(
        operation: str, target: str, source: str, key: str | None, filters: Mapping[str, str] | None = None
    ) -> None:
        pinned = {"source_version": str(versions[source])}
        keys = (key,) if key else None
        event = EventRow(str(uuid.uuid4()), operation, source, target, keys, 0, metadata=pinned)
        events.submit(replace(event, filter_conditions=filters))

    poller = composition.poller(_with_room(config, len(wanted)), threading.Event())
    poller.sweep()

    def work(expected: int = len(wanted)) -> None:
        report = poller.cycle()
        assert report.problem is None, report.problem
        assert all(one.outcome.status is EventStatus.COMPLETED for one in report.handled), report
        assert len(report.handled) == expected

    _fresh(_driver(), "dbo.bench_warm", keyed=False)
    submit("INSERT", "dbo.bench_warm", wanted[0][2], None, {"id": "1"})
    work(expected=1)
    for one in wanted:
        submit(*one)
    return work


def _with_room(config: Any, events: int) -> Any:
    """The settings with room for so many events in one round."""
    return config.model_copy(update={"max_events_per_poll": max(events, config.max_events_per_poll)})


def _loop(task: Task) -> Callable[[], None]:
    connection = _driver()
    _loaded(connection, replace(task, rows=KEYED_ROWS))
    update = "UPDATE dbo.bench_keyed SET name = ?, price = ?, note = ? WHERE id = ?"
    statement = update if task.contestant == "update_loop" else "DELETE FROM dbo.bench_keyed WHERE id = ?"

    def work() -> None:
        cursor = connection.cursor()
        for number in range(task.rows):
            values = (f"name {number}", number, "note", number) if statement is update else (number,)
            cursor.execute(statement, values)

    return work


def _loaded(connection: Any, task: Task) -> None:
    """A keyed table that holds the source's rows."""
    _fresh(connection, task.target, keyed=True)
    _copied(connection, task.target, _loadable(task))


def _few_rows() -> int:
    """How many rows an event stages by one INSERT at most."""
    from sql_databricks_bridge.db.loading import FEW_VALUES

    return FEW_VALUES // TARGET.count(" NULL")


def _few(task: Task) -> Callable[[], None]:
    from sql_databricks_bridge.db import loading
    from sql_databricks_bridge.db.session import Session
    from sql_databricks_bridge.models.tables import TargetName

    rows = _loadable(task)
    connection = _driver()
    _fresh(connection, task.target, keyed=False)
    with _target() as target:
        columns = target.find(TargetName.parse(task.target)).columns
    session = Session(connection)

    def load(number: int) -> int:
        batches = rows.slice(number * _few_rows(), _few_rows()).combine_chunks().to_batches()
        if task.contestant == "few_insert":
            return loading.insert(session, task.target, columns, batches)
        return loading.bulk_copy(session, task.target, columns, rows.schema, iter(batches))

    load(FEW_LOADS)

    def work() -> None:
        assert sum(load(number) for number in range(FEW_LOADS)) == task.rows

    return work


def _loadable(task: Task) -> Any:
    """The source's rows in memory, as the bulk copy takes them."""
    import pyarrow as pa

    from sql_databricks_bridge.db.alignment import aligned
    from sql_databricks_bridge.models.tables import SourceName, TargetName
    from sql_databricks_bridge.sync.values import Inbound

    lake, connection = _lakehouse(), _driver()
    _fresh(connection, "dbo.bench_shape", keyed=False)
    with _target() as shape:
        columns = shape.find(TargetName("dbo", "bench_shape")).columns
    source = SourceName.parse(task.source)
    with lake.read_table(source, lake.table_version(source)) as stream:
        inbound = Inbound.of(list(stream.schema), columns)
        return pa.Table.from_batches([aligned(inbound.convert(batch)) for batch in stream], schema=inbound.schema)


def _fresh(connection: Any, table: str, *, keyed: bool) -> None:
    cursor = connection.cursor()
    cursor.execute(f"DROP TABLE IF EXISTS {table}")
    cursor.execute(f"CREATE TABLE {table} ({TARGET}{', PRIMARY KEY (id)' if keyed else ''})")


def _driver() -> Any:
    connection = driver_connection(os.environ)
    connection.autocommit = True
    return connection


def _target() -> Any:
    import contextlib

    from sql_databricks_bridge import composition
    from sql_databricks_bridge.core.config import load_settings

    return contextlib.closing(composition.sql_server(load_settings()).connect_target())


def _lakehouse() -> Any:
    from sql_databricks_bridge import composition
    from sql_databricks_bridge.core.config import load_settings

    return composition.lakehouse(load_settings())


def _statements() -> int:
    """How many statements the warehouse has had; 0 where nobody counts."""
    admin_url = os.environ.get("BENCH_ADMIN_URL")
    if not admin_url:
        return 0
    with urllib.request.urlopen(f"{admin_url}/requests") as response:
        requests = json.loads(response.read())["requests"]
    return sum(1 for one in requests if one["method"] == "POST" and one["path"].endswith("/sql/statements"))


def _report(results: list[Applied], file: Path | None) -> None:
    def rate(contestant: str) -> float:
        return statistics.median(one.rows / one.wall_s for one in results if one.contestant == contestant)

    print(f"\n{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; medians")
    print("| contestant | rows | rows/s | CPU s | peak MiB |\n|---|---:|---:|---:|---:|")
    for contestant in dict.fromkeys(one.contestant for one in results):
        own = [one for one in results if one.contestant == contestant]
        cpu, peak = (statistics.median(getattr(one, name) for one in own) for name in ("cpu_s", "peak_mib"))
        print(f"| {contestant} | {own[0].rows:,} | {rate(contestant):,.0f} | {cpu:.2f} | {peak:.0f} |")
    small = next(one for one in results if one.contestant == "small")

    def in_turn(first: str, second: str) -> float:
        return 1 / (1 / rate(first) + 1 / rate(second))

    ratios = {
        "insert_vs_bulkcopy": rate("insert") / rate("bulkcopy"),
        "insert_vs_read_then_bulkcopy": rate("insert") / in_turn("read", "bulkcopy"),
        "insert_vs_read_then_staged": rate("insert") / in_turn("read", "staged"),
        "few_insert_vs_few_bulkcopy": rate("few_insert") / rate("few_bulkcopy"),
        "update_vs_loop": rate("update") / rate("update_loop"),
        "delete_vs_loop": rate("delete") / rate("delete_loop"),
        "small_events_s": small.wall_s,
        "small_events_statements_besides_reads": small.statements - SMALL_EVENTS,
    }
    tell(ratios, results, file)


if __name__ == "__main__":
    main()
