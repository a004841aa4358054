"""Any sequence of events, rounds, cut connections, outages, reloads, duplicates and retries ends as a model says.

The model holds both sides in plain Python. It does not guess what a round that was cut short has got done: the ledger
says which events have come to their end, in an order that must be theirs; how each ended, what the tables then hold
and what the events table may say of it, the model says.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from sql_databricks_bridge import composition
from sql_databricks_bridge.core.ports import EventTable
from sql_databricks_bridge.db.sql_server import MssqlServer
from sql_databricks_bridge.errors import BridgeError, EventInvalid, SourceBusy
from sql_databricks_bridge.models.events import EventRow
from sql_databricks_bridge.sync import authoring
from sql_databricks_bridge.sync.poller import Poller, PollerOptions
from sql_databricks_bridge.sync.retry import Backoff, Retry
from tests.conftest import StandIn
from tests.integration.sync_support import SyncBench
from tests.proof.conftest import SEED, Ends, insert_events, scaled
from tests.proof.crash_model import Ending, Event, Row, Table

EXAMPLES, STEPS = scaled(4, 40), scaled(6, 25)
FREED_WITHIN_S = 30.0
BEGAN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
FINAL = ("completed", "failed", "blocked")
LEDGER = {"completed": "applied", "failed": "failed", "blocked": "blocked"}
KEY_SETS = ((1, 2, 3), (3, 4), (5,), (1, 2, 3, 4, 5, 6), ())
VERSIONS = 2

PERMISSIONS = """\
users:
  - name: tester
    sources: ["*.*.*"]
    permissions:
      - {{table: "{schema}.*", access: {access}{write}}}
end: true
"""

DEADLOCK = {"error": 1205, "severity": 13, "message": "Transaction (Process ID 51) was deadlocked"}
FAILS = {"statement_error": {"error_code": "INTERNAL_ERROR", "message": "made to fail", "sqlstate": "XX000"}}
COMMIT = {"kind": "transaction", "statement_contains": "COMMIT"}
LEDGER_ROW = {"kind": "rpc", "statement_contains": "INSERT INTO bridge.applied_events"}
LOAD = {"kind": "rpc", "statement_contains": "INSERT INTO [bridge].[stg_"}
POLL = {"statement_contains": "IN ('', 'pending', 'processing')", "kind": "SELECT"}
SETTLED = {"kind": "rpc", "statement_contains": "UPDATE bridge.applied_events"}
FAULTS: dict[str, tuple[str, dict[str, str], dict[str, Any], int | None]] = {
    "cut before a commit": ("sql", COMMIT, {"drop": "before"}, 1),
    "cut behind a commit": ("sql", COMMIT, {"drop": "after"}, 1),
    "cut amid a commit's answer": ("sql", COMMIT, {"cut_response_after_bytes": 5}, 1),
    "cut before a ledger row": ("sql", LEDGER_ROW, {"drop": "before"}, 1),
    "cut behind a ledger row": ("sql", LEDGER_ROW, {"drop": "after"}, 1),
    "cut before the last statement": ("sql", SETTLED, {"drop": "before"}, 1),
    "cut behind the last statement": ("sql", SETTLED, {"drop": "after"}, 1),
    "cut amid a load": ("sql", LOAD, {"cut_response_after_bytes": 5}, 1),
    "cut behind a load": ("sql", LOAD, {"drop": "after"}, 1),
    "cut before a statement": ("sql", {"kind": "rpc"}, {"drop": "before"}, 1),
    "cut behind a statement": ("sql", {"kind": "rpc"}, {"drop": "after"}, 1),
    "a deadlock": ("sql", SETTLED, DEADLOCK, 1),
    "a deadlock of a load": ("sql", LOAD, DEADLOCK, 1),
    "SQL Server is away": ("sql", {"kind": "login"}, {"drop": "before"}, None),
    "no report arrives": ("lake", {"kind": "MERGE"}, FAILS, None),
    "a report's answer is lost": ("lake", {"kind": "MERGE"}, {"drop": "executed"}, 1),
    "a poll fails": ("lake", POLL, FAILS, 1),
    "Databricks is away": ("lake", {"path_contains": "/sql/statements"}, {"drop": "before"}, None),
    "Databricks goes at a read": ("lake", {"statement_contains": "VERSION AS OF"}, {"drop": "before"}, None),
}
"""End, what is matched, what is done there, and how often (None: from then on)."""
ALSO = ("a duplicate", "an id again", "a retry", "a retry, mended", "a retry that dies")
NOTHING, BROKEN_FILE, ANOTHER_POLLER = "nothing", "a broken permissions file", "another poller"


# The model ---------------------------------------------------------------------------------------------------------


@dataclass
class Known:
    """An event as the model knows it. `ends` are its ledger's outcomes by generation; the last one counts.

    `rows` is the number of equal rows, `clashes` of rows of the same event_id that ask for something else; `refused`
    how an event ends that makes no sense by itself; `opened` its newest generation. `told`: every row of it is final.
    """

    number: int
    event: Event
    priority: int
    source: str | None
    version: int
    refused: str | None = None
    rows: int = 1
    clashes: int = 0
    opened: int = 1
    ends: dict[int, Ending] = field(default_factory=dict)
    told: bool = False

    @property
    def turn(self) -> tuple[int, int]:
        return (-self.priority, self.number)

    @property
    def waits(self) -> bool:
        """Whether its newest generation has not come to its end."""
        return self.opened not in self.ends


def rows_of(keys: tuple[int, ...], version: int) -> tuple[Row, ...]:
    """What a source holds at a version."""
    return tuple((key, 10 * (version + 1) + key, "ab"[key % 2]) for key in keys)


@st.composite
def drawn_events(draw: st.DrawFn) -> tuple[Event, int, int, str | None]:
    """(event, priority, version, how it is refused by itself)."""
    keys = draw(st.sampled_from(KEY_SETS))
    version = draw(st.integers(0, VERSIONS - 1)) if keys else 0  # an empty source was never written again
    table = draw(st.sampled_from(("heap", "stock")))
    priority = draw(st.integers(0, 2))
    rows = rows_of(keys, version)
    kind = draw(
        st.sampled_from(
            ("INSERT", "INSERT", "UPDATE", "UPSERT", "DELETE by keys", "DELETE by note", "DELETE by both", "invalid")
        )
    )
    if kind == "invalid":
        event, refused = draw(
            st.sampled_from(
                (
                    (Event("", "INSURT", table, rows, True), "failed"),
                    (Event("", "UPDATE", table, rows, False), "failed"),
                    (Event("", "INSERT", "nowhere", rows, True), "failed"),
                    (Event("", "DELETE", table), "blocked"),
                )
            )
        )
        return event, priority, version, refused
    if kind.startswith("DELETE"):
        note = None if kind == "DELETE by keys" else draw(st.sampled_from("ab"))
        by_keys = kind != "DELETE by note"
        return Event("", "DELETE", table, rows if by_keys else (), by_keys, note), priority, version, None
    return Event("", kind, table, rows, keys=kind != "INSERT" or table == "stock"), priority, version, None


# The machine -------------------------------------------------------------------------------------------------------


class Sync(RuleBasedStateMachine):
    """One life of an events table and two targets; a bench and its sources serve all."""

    bench: SyncBench
    ends: Ends
    sources: dict[tuple[int, ...], str]
    lives: Iterator[int]
    tally: Counter[str]

    @initialize(access=st.just("read_write"), limit=st.sampled_from((2, 10)))
    def begin(self, access: str, limit: int) -> None:
        """Make targets, an events table and a poller of this life's own."""
        self.life = next(self.lives)
        self.settings = self.bench.settings.model_copy(
            update={
                "bridge_events_table": f"{self.bench.settings.bridge_events_table}_{self.life}",
                "databricks_retry_timeout_s": 1,
            }
        )
        self.tables = {"heap": Table(keyed=False, traced=True), "stock": Table(traced=True)}
        for name, table in self.tables.items():
            for batch in table.ddl(self.target(name)):
                self.bench.sql(batch)
        self.known: dict[str, Known] = {}
        self.events: EventTable = composition.events_table(self.settings, self.bench.lakehouse)
        self.events.create()
        self.permit(access, limit)
        self.poller = self.new_poller()
        self.tally["lives"] += 1

    def target(self, name: str) -> str:
        return f"{name}_{self.life:04}"

    def new_poller(self) -> Poller:
        """The poller that the command line builds, but for one target at a time and shorter pauses."""
        lake = composition.lakehouse(self.settings)
        operations = composition.operations(self.settings, lake, composition.permissions_file(self.settings))
        self.read_permissions = operations.permissions
        operations = dataclasses.replace(operations, retry=Retry((SourceBusy,), backoff=Backoff(0.01, 0.01)))
        options = PollerOptions(workers=1, interval_s=60.0)
        return Poller(MssqlServer(self.settings), composition.events_table(self.settings, lake), operations, options)

    # What authors do ------------------------------------------------------------------------------------------------

    def submit(self, drawn: list[tuple[Event, int, int, str | None]]) -> None:
        new = []
        for event, priority, version, refused in drawn:
            number = len(self.known)
            event_id = f"l{self.life:04}-{number:03}"
            source = self.sources[tuple(row[0] for row in event.rows)] if event.rows or event.keys else None
            if event.operation == "INSERT" and source is None:
                source = self.sources[()]
            made = Known(number, dataclasses.replace(event, event_id=event_id), priority, source, version, refused)
            self.known[event_id] = made
            new.append(self.row(made))
        insert_events(self.bench, self.settings.bridge_events_table, new)
        self.tally["events"] += len(new)

    def row(self, known: Known, **changes: Any) -> EventRow:
        event = known.event
        wanted: dict[str, Any] = {
            "operation": event.operation,
            "source_table": known.source,
            "target_table": f"{self.bench.schema}.{self.target(event.table)}",
            "primary_keys": ("id",) if event.keys else None,
            "priority": known.priority,
            "filter_conditions": {"note": event.note} if event.note else None,
            "metadata": {"source_version": str(known.version)} if known.source else None,
            "created_at": BEGAN + dt.timedelta(seconds=known.number),
            "status": "pending",
        }
        return EventRow(event.event_id, **(wanted | changes))

    def deliver_again(self, which: int) -> None:
        known = list(self.known.values())[which % len(self.known)]
        insert_events(self.bench, self.settings.bridge_events_table, [self.row(known)])
        known.rows += 1
        known.told = False
        self.tally["duplicates"] += 1

    def use_an_id_again(self, which: int) -> None:
        """Insert a row of a known event_id that asks for something else."""
        free = [known for known in self.known.values() if not known.clashes]
        if not free:
            return
        known = free[which % len(free)]
        insert_events(self.bench, self.settings.bridge_events_table, [self.row(known, rows_expected=77)])
        known.clashes = 1
        known.told = False
        self.tally["clashes"] += 1

    def retry(self, which: int, *, mended: bool = False, dies: bool = False) -> None:
        """An operator sends a told event round again, perhaps mended, perhaps dying between ledger and events table."""
        told = [known for known in self.known.values() if known.told]
        unapplied = [known for known in told if known.ends[known.opened].status != "completed"]
        choice = unapplied if unapplied and which % 4 else told
        if not choice:
            return
        known = choice[which % len(choice)]
        applied = known.ends.get(known.opened, Ending("")).status == "completed"
        if known.clashes or applied:
            with pytest.raises(EventInvalid):
                self.retried(known)
            self.tally["retries refused"] += 1
            return
        if mended and known.event.operation == "INSURT":
            self.bench.lakehouse.execute(
                f"UPDATE {self.settings.bridge_events_table} SET operation = 'INSERT' "
                f"WHERE event_id = '{known.event.event_id}'"
            )
            known.event, known.refused = dataclasses.replace(known.event, operation="INSERT"), None
        generation = max(known.ends) + 1
        if dies:
            fault = self.ends.lake.fault(match={"kind": "UPDATE"}, action=FAILS)
            with pytest.raises(BridgeError, match="made to fail"):
                self.retried(known)
            assert self.ends.lake.hits(fault) == 1
        assert self.retried(known) == generation
        known.opened, known.told = generation, False
        self.tally["retries"] += 1

    def retried(self, known: Known) -> int:
        with self.bench.target() as connection:
            return authoring.retry(self.events, connection, known.event.event_id)

    # Rounds ---------------------------------------------------------------------------------------------------------

    # One rule, since Hypothesis leaves out rules for whole lives, and a life without rounds or faults shows nothing.
    @rule(
        drawn=st.lists(drawn_events(), min_size=1, max_size=4),
        reload=st.none()
        | st.tuples(st.sampled_from(("read", "read_write", "read_write")), st.sampled_from((0, 2, 10))),
        happens=st.sampled_from((*sorted(FAULTS), NOTHING, NOTHING, NOTHING, BROKEN_FILE, ANOTHER_POLLER)),
        on=st.integers(1, 3),
        besides=st.sampled_from((NOTHING, NOTHING, *ALSO)),
        which=st.integers(0, 99),
    )
    def submit_and_do_a_round(
        self,
        drawn: list[tuple[Event, int, int, str | None]],
        reload: tuple[str, int] | None,
        happens: str,
        on: int,
        besides: str,
        which: int,
    ) -> None:
        """Submit events, besides perhaps deliver or retry one again; then a round, its `on`-th such request failing."""
        self.submit(drawn)
        match besides:
            case "a duplicate":
                self.deliver_again(which)
            case "an id again":
                self.use_an_id_again(which)
            case "a retry" | "a retry, mended" | "a retry that dies":
                self.retry(which, mended=besides == "a retry, mended", dies=besides == "a retry that dies")
        if reload is not None:
            self.permit(*reload)
        if happens in FAULTS:
            self.faulty_round(happens, on)
        elif happens == BROKEN_FILE:
            self.round_with_a_broken_file()
        else:
            if happens == ANOTHER_POLLER:
                self.poller = self.new_poller()
            self.round()

    def permit(self, access: str, limit: int) -> None:
        """Write the permissions file anew; the poller reads it at its next event."""
        self.access, self.limit = access, limit
        write = f", max_delete_rows: {limit}, allow_cascade: true" if access != "read" else ""
        self.bench.settings.bridge_permissions_file.write_text(
            PERMISSIONS.format(schema=self.bench.schema, access=access, write=write)
        )
        self.tally["reloads"] += 1

    def round_with_a_broken_file(self) -> None:
        """It changes nothing, since the last good set stays."""
        self.read_permissions()
        file = self.bench.settings.bridge_permissions_file
        good = file.read_text()
        file.write_text("users: [")
        try:
            self.round()
        finally:
            file.write_text(good)
        self.tally["rounds with a broken file"] += 1

    def round(self) -> None:
        """A round without a fault ends and tells everything; a row that clashes with an applied one, in the next."""
        deadline = time.monotonic() + FREED_WITHIN_S
        for _ in range(5):
            while (report := self.poller.cycle()).busy:  # the server has not noticed yet that a connection was cut
                assert time.monotonic() < deadline, f"the lock of {report.busy} is never let go of"
            assert report.problem is None, report.problem
            assert report.left == 0
            self.tally["rounds"] += 1
            self.judge(whole=True)
            if all(known.told for known in self.known.values()):
                return
        raise AssertionError("rows stay unfinished, round for round")

    def faulty_round(self, name: str, on: int) -> None:
        which, match, action, times = FAULTS[name]
        end: StandIn = getattr(self.ends, which)
        placed = end.fault(match=match, on=on, times=times, action=action)
        problem: BridgeError | None = None
        busy: tuple[str, ...] = ()
        try:
            report = self.poller.cycle()
            problem, busy = report.problem, report.busy
        except BridgeError as exc:
            problem = exc
        hits = end.hits(placed)
        end.clear()
        assert hits or problem is None, f"a round ended by itself, without a fault: {problem}"
        self.tally[name if hits else "rounds"] += 1
        self.tally["rounds with a fault"] += bool(hits)
        self.judge(whole=not hits and not busy)

    # What must hold -------------------------------------------------------------------------------------------------

    def judge(self, *, whole: bool) -> None:
        """Take over what the ledger says has ended, one event after the other, and compare both sides."""
        ended = self.newly_ended()
        waiting = [known for known in self.known.values() if known.waits]
        if whole:
            assert {known.event.event_id for known in waiting} == set(ended), "a whole round left events undecided"
        for known in sorted((each for each in waiting if each.event.event_id in ended), key=lambda each: each.turn):
            expected = self.ending_of(known)
            found = ended[known.event.event_id]
            assert found == (LEDGER[expected.status], expected.rows_affected), (known, expected, found)
            known.ends[known.opened] = expected
        self.in_turn(waiting, set(ended))
        self.tables_agree()
        self.events_agree()

    def newly_ended(self) -> dict[str, tuple[str, int | None]]:
        """What the ledger holds beyond the model: at most the open generation's row of a waiting event."""
        found = self.bench.sql(
            "SELECT event_id, generation, outcome, rows_affected FROM bridge.applied_events "
            f"WHERE event_id LIKE N'l{self.life:04}-%'"
        )
        assert len({(row[0], row[1]) for row in found}) == len(found)
        new: dict[str, tuple[str, int | None]] = {}
        for event_id, generation, outcome, affected in found:
            known = self.known[event_id]
            if generation in known.ends:
                end = known.ends[generation]
                assert (outcome, affected) == (LEDGER[end.status], end.rows_affected), (known, outcome)
            elif outcome == "open":
                assert generation == known.opened, (known, generation)
            else:
                assert generation == known.opened, (known, generation)
                new[event_id] = (outcome, affected)
        for known in self.known.values():
            assert set(known.ends) <= {row[1] for row in found if row[0] == known.event.event_id}, (known, "lost")
        return new

    def ending_of(self, known: Known) -> Ending:
        """How an event must end whose turn it is now; the model's tables change with it."""
        if known.clashes:
            return Ending("failed")
        if known.refused:
            return Ending(known.refused)
        if self.access == "read":
            return Ending("blocked")
        return self.tables[known.event.table].apply(known.event, self.limit)

    def in_turn(self, waiting: list[Known], ended: set[str]) -> None:
        """On each table those that have ended came before those that wait; what makes no sense has no turn."""
        for name in self.tables:
            queue = [
                known
                for known in sorted(waiting, key=lambda each: each.turn)
                if known.event.table == name and not known.refused and not known.clashes
            ]
            decided = [known.event.event_id in ended for known in queue]
            assert decided == sorted(decided, reverse=True), (name, queue)

    def tables_agree(self) -> None:
        for name, table in self.tables.items():
            rows = [
                (row[0], row[1], row[2]) for row in self.bench.sql(f"SELECT id, n, note FROM {{s}}.{self.target(name)}")
            ]
            assert table.unlike(rows) == [], name
            seen = self.bench.sql(f"SELECT what, id, n, note FROM {{s}}.seen_{self.target(name)} ORDER BY seq")
            assert table.unlike_changes([(row[0], row[1], row[2], row[3]) for row in seen]) == [], name

    def events_agree(self) -> None:
        """Each row says what the model says, or that it was not told yet."""
        found = self.bench.lakehouse.execute(
            "SELECT event_id, status, rows_affected, error_message, coalesce(rows_expected, 0) = 77 AS other "
            f"FROM {self.settings.bridge_events_table}"
        ).to_pylist()
        assert Counter(row["event_id"] for row in found) == {
            event_id: known.rows + known.clashes for event_id, known in self.known.items()
        }
        untold = set()
        for row in found:
            known = self.known[row["event_id"]]
            if row["status"] not in FINAL:
                assert row["status"] in ("pending", "processing")
                untold.add(row["event_id"])
                continue
            end = Ending("failed") if row["other"] else known.ends[max(known.ends)]
            statuses = {end.status}
            if known.clashes and end.status == "blocked":
                statuses.add("failed")  # rows that clash are told so, whatever refused one of them before
            assert row["status"] in statuses, (known, row)
            if row["status"] == end.status:
                assert row["rows_affected"] == end.rows_affected, (known, row)
            assert bool(row["error_message"]) == (row["status"] != "completed"), (known, row)
        for event_id, known in self.known.items():
            known.told = event_id not in untold

    def teardown(self) -> None:
        """All ends well: a round tells the rest, a sweep finds the rest, and nothing is left to do."""
        if not hasattr(self, "poller"):
            return
        try:
            self.round()
            assert all(known.told for known in self.known.values())
            until(self.swept, "the staging tables are gone")
        finally:
            for name in self.tables:
                self.bench.sql(f"DROP TABLE {{s}}.{self.target(name)}")
                self.bench.sql(f"DROP TABLE {{s}}.seen_{self.target(name)}")
            self.bench.lakehouse.execute(f"DROP TABLE IF EXISTS {self.settings.bridge_events_table}")

    def swept(self) -> bool:
        self.poller.sweep()
        return not self.bench.staging_tables()


def until(true: Callable[[], bool], what: str) -> None:
    """Poll a condition that no event tells of: the server notices a cut connection by itself."""
    deadline = time.monotonic() + FREED_WITHIN_S
    while not true():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.1)


def test_whatever_happens_both_sides_end_as_the_model_says(bench: SyncBench, ends: Ends) -> None:
    sources = {}
    for keys in KEY_SETS:
        for version in range(VERSIONS if keys else 1):
            rows = ", ".join(f"({key}, {n}, '{note}')" for key, n, note in rows_of(keys or (0,), version))
            select = (
                "SELECT CAST(id AS INT) AS id, CAST(n AS INT) AS n, CAST(note AS STRING) AS note "
                f"FROM VALUES {rows} AS v(id, n, note) WHERE id > 0"
            )
            if version == 0:
                sources[keys] = bench.source(select)
            else:
                bench.lakehouse.execute(f"INSERT OVERWRITE {sources[keys]} {select}")
    tally: Counter[str] = Counter()
    machine = type(
        "SeededSync",
        (Sync,),
        {"bench": bench, "ends": ends, "sources": sources, "lives": itertools.count(1), "tally": tally},
    )
    try:
        run_state_machine_as_test(
            seed(SEED)(machine),
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        # The seed and the counts, for docs/reliability.md and for who runs it again.
        print(f"BRIDGE_PROOF_SEED={SEED}: {dict(sorted(tally.items()))}")  # noqa: T201
    assert tally["lives"] >= EXAMPLES
    assert tally["rounds with a fault"] >= EXAMPLES
