"""Pollers that can be killed by the hundred, and the places to kill them at: every request of one clean run.

A poller's start costs seconds of imports. `Nursery` is a process that has imported everything and done nothing else: it
forks for each poller, and the child runs the `bridge` command's own `main`. The clean runs show that such a poller
sends what an installed `bridge` sends.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.proof.conftest import Ends

HELD_S = 20.0
"""Longer than it takes from a request's arrival to the kill, whatever else the machine does."""
LATE_S = 2.0

_MODULES = (
    "databricks.sdk.service.sql",
    "mssql_python",
    "pyarrow",
    "sql_databricks_bridge.cli.application",
    "sql_databricks_bridge.cli.streams",
    "sql_databricks_bridge.db.alignment",
    "sql_databricks_bridge.db.databricks",
    "sql_databricks_bridge.db.sql_server",
    "sql_databricks_bridge.observability.logging",
    "sql_databricks_bridge.sync.poller",
    "sql_databricks_bridge.sync.values",
)
_NAMES = (
    (re.compile(r"\bstg_[0-9a-f]{16}\b"), "stg_X"),
    (re.compile(r"\bevents_[0-9a-f]{12}(_\d+)?\b"), "events_X"),
    (re.compile(r"_\d{4}\b"), "_X"),
    (re.compile(r"/results/[^?]*(\?.*)?"), "/results/X"),
)


# Where to kill ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KillPoint:
    """The `on`-th request of `match` at one end ('sql' or 'lake'); `told` is what it says, names of the run left out.

    `side` is 'before' (it arrives and is never executed), 'after' (it is executed and never answered) or 'late' (it is
    executed when the poller has been dead for a while).
    """

    end: str
    match: tuple[tuple[str, str], ...]
    on: int
    told: str
    side: str

    def __str__(self) -> str:
        what = dict(self.match).get("kind") or dict(self.match).get("path_contains") or "request"
        return f"{self.side} {self.end} {what} {self.on}: {' '.join(self.told.split())[:90]}"

    @property
    def is_commit(self) -> bool:
        """Whether it is a COMMIT of SQL Server."""
        return self.told.startswith("transaction COMMIT")

    @property
    def is_report(self) -> bool:
        """Whether it writes to the events table."""
        return ("kind", "MERGE") in self.match


def sql_told(entry: Mapping[str, Any]) -> str:
    """A request of SQL Server's log, what is of one run only left out."""
    return _plain(f"{entry['kind']} {entry['procedure']} {entry['statement']} {entry.get('table') or ''}".strip())


def lake_told(entry: Mapping[str, Any]) -> str:
    """A request of Databricks' log, what is of one run only left out."""
    return _plain(entry["statement"] or f"{entry['method']} {entry['path']}")


def _plain(text: str) -> str:
    for pattern, short in _NAMES:
        text = pattern.sub(short, text)
    return " ".join(text.split())


@dataclass(frozen=True, slots=True)
class Recording:
    """What both ends were asked in one run."""

    sql: tuple[Mapping[str, Any], ...]
    lake: tuple[Mapping[str, Any], ...]

    def sequences(self) -> tuple[list[str], list[str]]:
        """What SQL Server was asked, and what Databricks was asked besides reports: each in order, names left out."""
        return [sql_told(each) for each in self.sql], [lake_told(each) for each in self.lake if not _is_report(each)]

    @property
    def reports(self) -> int:
        """How often the events table was written."""
        return sum(map(_is_report, self.lake))

    def points(self) -> list[KillPoint]:
        """Every request, before and after; what writes to Databricks also late."""
        found = [
            KillPoint("sql", (), number, sql_told(entry), side)
            for number, entry in enumerate(self.sql, 1)
            for side in ("before", "after")
        ]
        seen: Counter[tuple[tuple[str, str], ...]] = Counter()
        for entry in self.lake:
            match = _lake_match(entry)
            seen[match] += 1
            sides = ("before", "after", *(("late",) if _is_report(entry) else ()))
            found += [KillPoint("lake", match, seen[match], lake_told(entry), side) for side in sides]
        return found


def _is_report(entry: Mapping[str, Any]) -> bool:
    return bool(entry["kind"] == "MERGE")


def _lake_match(entry: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    if entry["kind"]:
        return (("kind", entry["kind"]),)
    if "/results/" in entry["path"]:
        return (("path_contains", "/results/"),)
    return (("method", entry["method"]), ("path", entry["path"]))


class Recorder:
    """Reads the request logs of both ends, piece by piece."""

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        self._sql = self._lake = 0

    def read(self) -> Recording:
        """What came since the last call."""
        sql, lake = self._ends.sql.requests(self._sql), self._ends.lake.requests(self._lake)
        self._sql = max((each["sequence"] for each in sql), default=self._sql)
        self._lake = max((each["sequence"] for each in lake), default=self._lake)
        return Recording(tuple(sql), tuple(lake))


def arm(ends: Ends, point: KillPoint) -> str:
    """Hold the request of a kill point; return the rule that tells when it is held."""
    end = ends.sql if point.end == "sql" else ends.lake
    where: dict[str, Any] = {"match": dict(point.match), "on": point.on}
    if point.side == "after":
        return end.fault(**where, action={"delay_after_s": HELD_S})
    rule = end.fault(**where, action={"delay_s": LATE_S if point.side == "late" else HELD_S})
    if point.side == "before":
        end.fault(**where, action={"drop": "before"})
    return rule


def missed(recording: Recording, point: KillPoint) -> str | None:
    """What is wrong with the request that is being held: another one, or not held at all; None where it is right."""
    if point.end == "sql":
        request = recording.sql[point.on - 1]
        told, open_ = sql_told(request), not request["outcome"]
    else:
        request = [each for each in recording.lake if _lake_match(each) == point.match][point.on - 1]
        told, open_ = lake_told(request), request["status"] is None
    if told != point.told:
        return f"another request was held: {told}"
    return None if open_ else "it was answered before the kill"


# Whom to kill -----------------------------------------------------------------------------------------------------


class Poller:
    """A running `bridge` command; `wait` and `kill` are by its process id."""

    def __init__(self, nursery: Nursery, pid: int, out: Path, err: Path) -> None:
        self._nursery = nursery
        self._ended: int | None = None
        self._descriptor = os.pidfd_open(pid)
        self.pid, self.out, self.err = pid, out, err

    def wait(self, timeout_s: float) -> bool:
        """Wait until it has ended, at most so long; whether it has."""
        return self._ended is not None or bool(select.select([self._descriptor], [], [], timeout_s)[0])

    def kill(self, number: signal.Signals = signal.SIGKILL, wait_s: float = 60.0) -> int:
        """Send a signal and wait until it is gone; its exit code, or the signal's number below 0."""
        if self._ended is None:
            os.kill(self.pid, number)  # not yet waited for by its parent: the id is still its own
            assert self.wait(wait_s), f"process {self.pid} outlives signal {number}"
        return self.code()

    def code(self) -> int:
        """The exit code of one that has ended."""
        if self._ended is None:
            self._ended = self._nursery.reap(self.pid)
            os.close(self._descriptor)
        return self._ended

    def said(self) -> str:
        """The end of what it wrote."""
        return self.out.read_text()[-2000:] + self.err.read_text()[-2000:]


class Nursery:
    """The process that pollers are forked from."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, name: str) -> Poller:
        """Run `bridge` with those arguments; its output goes to files in `folder`."""
        out, err = folder / f"{name}.out", folder / f"{name}.err"
        pid = self._ask(
            {
                "arguments": list(arguments),
                "environment": {**os.environ, **environment},
                "folder": str(folder),
                "out": str(out),
                "err": str(err),
            }
        )
        return Poller(self, pid, out, err)

    def reap(self, pid: int) -> int:
        """The exit code of a child that has ended."""
        return self._ask({"reap": pid})

    def close(self) -> None:
        """End it and whom it started."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def _ask(self, request: Mapping[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        answer = self._process.stdout.readline()
        assert answer, "the nursery is gone"
        return int(answer)


@contextmanager
def nursery() -> Iterator[Nursery]:
    """Start one; nobody of it outlives the block."""
    made = Nursery()
    try:
        yield made
    finally:
        made.close()


def _serve() -> None:
    """In the nursery: one request a line, one number as the answer."""
    for module in _MODULES:
        __import__(module)
    children: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if (ended := request.get("reap")) is not None:
            children.remove(ended)
            answer = os.waitstatus_to_exitcode(os.waitpid(ended, 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                _become(request)
            children.add(answer)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def _become(request: Mapping[str, Any]) -> None:
    """In the child: be `bridge` with those arguments, that environment, and files for output. Never returns."""
    for descriptor, path in enumerate((os.devnull, request["out"], request["err"])):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["bridge", *request["arguments"]]
    code: Any = 1
    try:
        from sql_databricks_bridge.cli.commands import main

        main()
    except SystemExit as exc:
        code = exc.code
    finally:
        os._exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    _serve()
