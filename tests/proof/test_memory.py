"""The poller's memory does not grow with the rows of a source."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.sync_support import SyncBench, environment_of
from tests.proof.conftest import scaled

SELECT = "SELECT id, repeat('0123456789', 100) AS note, CAST(id AS DECIMAL(18,4)) AS price FROM range({rows})"
COLUMNS = "id bigint NOT NULL, note varchar(1000) NOT NULL, price decimal(18,4) NOT NULL"
ROWS = scaled((40_000, 160_000), (1_000_000, 10_000_000))
ROOM_MIB = 80  # allocators differ from run to run; the rows themselves would take 115 MiB more (whole: 8.6 GiB)


def test_more_rows_take_no_more_memory(bench: SyncBench, tmp_path: Path) -> None:
    peaks = []
    for rows in ROWS:
        bench.sql(f"CREATE TABLE {{s}}.rows_{rows} ({COLUMNS})")
        event_id = bench.submit("INSERT", f"{{s}}.rows_{rows}", bench.source(SELECT.format(rows=rows)))
        peaks.append(_peak_mib_of_one_round(bench, tmp_path))
        assert bench.event(event_id).status == "completed", bench.event(event_id)
        assert bench.sql(f"SELECT COUNT(*) FROM {{s}}.rows_{rows}") == [(rows,)]
    assert peaks[1] < peaks[0] + ROOM_MIB, peaks


def _peak_mib_of_one_round(bench: SyncBench, folder: Path) -> float:
    """Run `bridge sync once` to its end; the peak of its resident set."""
    process = subprocess.Popen(
        [Path(sys.executable).with_name("bridge"), "sync", "once", "--json"],
        env={**os.environ, **environment_of(bench.settings)},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024
