"""Proof 1: a poller that is killed at any moment loses nothing, applies nothing twice, and leaves nothing behind.

The kill points are every request of one clean run, at both ends: before it is executed, and executed but not answered.
"""

from __future__ import annotations

import difflib
import logging
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.sync_support import SyncBench
from tests.proof.conftest import SEED, Ends, poller_process, scaled
from tests.proof.crash_case import Case, SourceOf, case, delta_source, permit
from tests.proof.crash_model import Event, Row, Table
from tests.proof.crash_support import KillPoint, Nursery, Recorder, Recording, arm, missed, nursery

log = logging.getLogger(__name__)
pytestmark = pytest.mark.timeout(scaled(300, 7200))

ONE_AT_A_TIME = {"SYNC_WORKERS": "1", "POLLING_INTERVAL_SECONDS": "60"}
"""One worker: requests come in one order. A long pause: what is told in the middle of the batch is told once."""
AT_WORK = {"POLLING_INTERVAL_SECONDS": "1"}


@pytest.fixture(scope="module")
def pollers() -> Iterator[Nursery]:
    with nursery() as made:
        yield made


# The batch of the matrix ------------------------------------------------------------------------------------------

MANY = tuple((number, 10 * number, "new") for number in range(2, 120))
"""As many rows as are loaded by a bulk copy: fewer are staged by an INSERT."""

BATCH = (
    Event("heap", "INSERT", "heap", ((1, 10, "new"), (1, 10, "new"), *MANY)),
    Event("insert", "INSERT", "stock", ((11, 110, "in"), (12, 120, "in"), (13, 130, "in")), keys=True),
    Event("update", "UPDATE", "stock", ((1, 101, "up"), (2, 102, "up"), (11, 111, "up"), (99, 1, "up")), keys=True),
    Event("upsert", "UPSERT", "stock", ((3, 203, "us"), (12, 212, "us"), (21, 221, "us")), keys=True),
    Event("keys", "DELETE", "orders", ((1, 0, "-"), (2, 0, "-"), (77, 0, "-")), keys=True),
    Event("filter", "DELETE", "orders", note="old"),
    Event("blocked", "DELETE", "orders", note="many"),
    Event("invalid", "MERGE", "orders", note="old"),
)


def _tables(number: int) -> dict[str, Table]:
    """The targets of one case: a heap, where a second INSERT shows; one that traces changes; one to delete from."""
    stock = Counter((key, key, "first") for key in range(1, 6))
    orders = Counter([(key, 0, "old" if key in (3, 4) else "-") for key in range(1, 6)])
    orders.update((key, 0, "many") for key in range(20, 26))
    return {
        f"heap_{number:04}": Table(keyed=False, rows=Counter({(1, 10, "new"): 1})),
        f"stock_{number:04}": Table(traced=True, rows=stock),
        f"orders_{number:04}": Table(rows=orders),
    }


def _batch(number: int) -> list[Event]:
    return [
        Event(
            f"k{number:04}-{each.event_id}",
            each.operation,
            f"{each.table}_{number:04}",
            each.rows,
            each.keys,
            each.note,
        )
        for each in BATCH
    ]


def _sources(bench: SyncBench) -> SourceOf:
    made = {each.event_id: delta_source(bench, each.rows) for each in BATCH if each.rows}
    return lambda event: (made[event.event_id.partition("-")[2]], False)


class Matrix:
    """Runs cases, numbered on and on."""

    def __init__(self, ends: Ends, bench: SyncBench, pollers: Nursery, folder: Path) -> None:
        permit(bench)
        self._ends, self._bench, self._pollers, self._folder = ends, bench, pollers, folder
        self._source_of = _sources(bench)
        self._recorder = Recorder(ends)
        self._number = 0
        self.rounds: Counter[int] = Counter()

    def clean(self, *, installed: bool = False) -> Recording:
        """What both ends are asked in a run that nothing happens to, by the installed command or by a forked one."""
        with self._case() as made:
            self._slow()
            reported = self._ends.lake.fault(match={"kind": "MERGE"}, on=2, action={"delay_after_s": 0})
            if installed:
                with poller_process(made.settings, made.folder, **ONE_AT_A_TIME) as process:
                    self._ends.lake.wait_for(reported, wait_s=50)
                    code = process.ended()
            else:
                poller = made.start(self._pollers, "run", **ONE_AT_A_TIME)
                self._ends.lake.wait_for(reported, wait_s=50)
                code = poller.kill(signal.SIGTERM)
            self._clear()
            found = self._recorder.read()
            assert code == 0
            assert made.problems() == []
            return found

    def kill(self, point: KillPoint) -> list[str]:
        """Kill a poller there, start others until all events have ended; return what is wrong then."""
        end = self._ends.sql if point.end == "sql" else self._ends.lake
        with self._case() as made:
            if point.is_report:
                self._slow()
            rule = arm(self._ends, point)
            if point.side == "late":
                executed = end.fault(match=dict(point.match), on=point.on, action={"delay_after_s": 0})
            poller = made.start(self._pollers, "run", **ONE_AT_A_TIME)
            end.wait_for(rule, wait_s=50)
            wrong = missed(self._recorder.read(), point)
            code = poller.kill()
            if point.side != "late":
                self._clear()
            self.rounds[made.recover(self._pollers, **AT_WORK)] += 1
            if point.side == "late":
                end.wait_for(executed, wait_s=50)
                self._clear()
            problems = [] if wrong is None else [wrong]
            problems += [] if code == -signal.SIGKILL else [f"it ended with {code}"]
            return problems + made.problems()

    @contextmanager
    def _case(self) -> Iterator[Case]:
        self._clear()
        self._number += 1
        folder = self._folder / f"case{self._number}"
        with case(self._bench, self._number, folder, _tables(self._number), self._source_of) as made:
            made.submit(_batch(self._number))
            self._recorder.read()
            yield made
            self._clear()

    def _slow(self) -> None:
        """Make the batch last longer than a second, when the first report is due."""
        self._ends.sql.fault(match={"kind": "bulk"}, action={"delay_s": 1.5})

    def _clear(self) -> None:
        self._ends.sql.clear()
        self._ends.lake.clear()


def _repeated(matrix: Matrix, recording: Recording, installed: bool) -> Recording:
    """A clean run with the very requests of the recorded one; further tries are for a download that overtook
    the statement of the next event, as may happen on a busy machine.
    """
    difference = ""
    for _ in range(6):
        again = matrix.clean(installed=installed)
        difference = "\n".join(
            line
            for one, other in zip(recording.sequences(), again.sequences(), strict=True)
            for line in difflib.unified_diff(one, other, "first", "again", lineterm="", n=2)
        )
        if not difference:
            return again
    pytest.fail(f"the order of requests is not reproducible:\n{difference}")


def test_a_poller_killed_at_any_request_loses_nothing_and_applies_nothing_twice(
    ends: Ends, bench: SyncBench, pollers: Nursery, tmp_path: Path
) -> None:
    """Every request is a kill point, and each is asserted to have been held when the poller died."""
    matrix = Matrix(ends, bench, pollers, tmp_path)
    recording = matrix.clean()
    points = recording.points()
    repeated = [_repeated(matrix, recording, installed) for installed in scaled((True,), (True, False))]
    assert {each.reports for each in (recording, *repeated)} == {2}
    chosen = scaled(_sample(points), points)
    began, wrong = time.monotonic(), {}
    for number, point in enumerate(chosen, 1):
        if found := matrix.kill(point):
            wrong[str(point)] = found
        log.info("%d/%d %s: %s", number, len(chosen), point, found or "ok")
    summary = (
        f"crash matrix, seed {SEED}: {len(chosen)} of {len(points)} kill points ({len(recording.sql)} requests of "
        f"SQL Server, {len(recording.lake)} of Databricks) in "
        f"{time.monotonic() - began:.0f} s, {len(wrong)} with problems; "
        f"fresh pollers needed: {dict(matrix.rounds)}"
    )
    log.info(summary)
    assert not wrong, f"{summary}\n" + "\n".join(f"{point}: {found}" for point, found in wrong.items())


def _sample(points: list[KillPoint]) -> list[KillPoint]:
    """Both sides of a COMMIT, both of a report, and four others."""
    chance = random.Random(SEED)
    commit = chance.choice([each.on for each in points if each.is_commit])
    report = chance.choice([each.on for each in points if each.is_report])
    fixed = [
        each
        for each in points
        if (each.is_commit and each.on == commit) or (each.is_report and each.on == report and each.side != "late")
    ]
    return fixed + chance.sample([each for each in points if each not in fixed], 4)


# Random kills -----------------------------------------------------------------------------------------------------

TABLES = {
    "r_heap": (False, False),
    "r_log": (False, True),
    "r_stock": (True, True),
    "r_prices": (True, True),
    "r_people": (True, False),
}
"""Five targets: (has a primary key, writes its changes down)."""
BEGINNINGS: tuple[dict[str, str], ...] = ({"kind": "login"}, {"statement_contains": "sp_getapplock"})
"""What a poller is waited for before its random time begins: that it lives, or that it is about to work on a table."""
_IDS = 40
_KEY_SETS = 8


def _random_events(chance: random.Random, count: int) -> list[Event]:
    """Mixed operations on five tables, over few ids, so that most of them meet rows of earlier ones."""
    events: list[Event] = []
    notes: dict[str, list[str]] = {name: ["none"] for name in TABLES}
    for number in range(count):
        table = chance.choice(list(TABLES))
        keyed = TABLES[table][0]
        operation = chance.choices(("INSERT", "UPDATE", "UPSERT", "DELETE"), (4, 3, 4, 2))[0]
        event_id, note = f"r-{number:04}", f"b{number}"
        if operation == "DELETE":
            if chance.random() < 0.5:
                events.append(Event(event_id, operation, table, note=chance.choice(notes[table][-6:])))
            else:
                events.append(Event(event_id, operation, table, chance.choice(_key_sets()), keys=True))
            continue
        ids = chance.sample(range(1, _IDS), chance.randint(1, 5))
        if keyed and operation == "INSERT" and chance.random() < 0.7:
            ids = [1_000 + 10 * number + each for each in range(len(ids))]
        rows: tuple[Row, ...] = tuple((each, number, note) for each in ids)
        notes[table].append(note)
        events.append(Event(event_id, operation, table, rows, keys=keyed or operation != "INSERT"))
    return events


def _key_sets() -> list[tuple[Row, ...]]:
    return [tuple((key, 0, "key") for key in range(1 + first, _IDS, 11)) for first in range(_KEY_SETS)]


def test_pollers_killed_at_random_leave_what_the_model_holds(
    ends: Ends, bench: SyncBench, pollers: Nursery, tmp_path: Path
) -> None:
    """1,000 events over 5 tables, 200 pollers killed at random moments while events wait, each replaced at once."""
    count, kills, size = scaled((40, 6, 20), (1000, 200, 25))
    chance = random.Random(SEED)
    permit(bench)
    events = _random_events(chance, count)
    tables = {name: Table(keyed, traced) for name, (keyed, traced) in TABLES.items()}
    began = time.monotonic()
    with case(bench, 0, tmp_path / "random", tables, _random_sources(bench, events)) as made:
        made.submit(events[:size])
        done, idle, life_s = 0, 0, 3.0
        while done < kills:
            began_at = ends.sql.fault(match=chance.choice(BEGINNINGS), action={"delay_s": 0})
            poller = made.start(pollers, "run", **AT_WORK)
            ends.sql.wait_for(began_at, wait_s=50)
            ended = poller.wait(chance.uniform(0, life_s))
            assert not ended, f"seed {SEED}: the poller ended by itself:\n{poller.said()}"
            assert poller.kill() == -signal.SIGKILL
            waiting = len(made.expected) - made.ended()
            ends.sql.clear()
            done, idle = done + (waiting > 0), idle + (waiting == 0)
            life_s *= 1.25 if waiting > size else 0.8  # so that the machine keeps pace
            if not waiting or len(made.expected) * kills < done * count:
                following = events[len(made.expected) : len(made.expected) + size]
                assert following, f"seed {SEED}: the events ran out after {done} kills"
                made.submit(following)
        between = made.ended()
        made.submit(events[len(made.expected) :])
        rounds = made.recover(pollers, **AT_WORK, MAX_EVENTS_PER_POLL="1000")
        problems = made.problems()
    endings = Counter(each.status for each in made.expected.values())
    summary = (
        f"random kills, seed {SEED}: {done} kills while events waited (and {idle} of idle pollers) over "
        f"{len(made.expected)} events ({dict(endings)}) in {time.monotonic() - began:.0f} s; "
        f"{between} events had ended by the last kill; fresh pollers needed then: {rounds}"
    )
    log.info(summary)
    assert not problems, f"{summary}\n" + "\n".join(problems[:50])
    assert len(made.expected) == count


def _random_sources(bench: SyncBench, events: Sequence[Event]) -> SourceOf:
    """One table with the rows of all INSERTs, UPDATEs and UPSERTs, chosen by their note; one for each set of keys."""
    pool = delta_source(bench, [row for event in events if event.operation != "DELETE" for row in event.rows])
    key_sets = {rows: delta_source(bench, rows) for rows in _key_sets()}
    return lambda event: (key_sets[event.rows], False) if event.operation == "DELETE" else (pool, True)
