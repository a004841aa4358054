"""Pollers that race for the events of several tables, one paused and one cut off in the middle of a transaction.

Each event's rows carry its number. Triggers write a history of every row changed, so that what was applied, how often
and in which order can be read back and compared, row for row, with a model that applies the events one by one.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import StandIn
from tests.integration.sync_support import SyncBench
from tests.proof.conftest import SEED, Ends, PollerProcess, poller_process, scaled
from tests.proof.proxy import Proxy, proxied

EVENTS = scaled(24, 500)
TABLES = scaled(4, 10)
POLLERS = scaled(3, 4)
PER_POLL = scaled(8, 40)
WAIT_S = scaled(120.0, 1800.0)
SHARE = scaled(0, 16)
"""Events that a poller commits before it is caught, and again before it is caught the second time."""
SLOTS = 3
"""Rows 0, 1 and 2 of a table, which all of its events fight for."""

HELD_S = 2.0
IN_TRANSACTION = {"kind": "rpc", "statement_contains": "UPDATE bridge.applied_events"}
"""The last statement before the commit: the event's rows are written and nothing of it stands."""

Change = tuple[str, int, int]
"""What the triggers write: 'I', 'U' or 'D', the row's id and seq."""


@dataclass(frozen=True)
class Planned:
    """One event. Its number is its `seq`; its own row is the one with id `marker`, which no other event names.

    A DELETE goes by `doom`, the number of the DELETE that a row is meant for, set by whoever wrote the row last.
    """

    number: int
    event_id: str
    operation: str
    table: int
    priority: int | None
    created_at: dt.datetime | None
    slot: int
    doom: int | None

    @property
    def marker(self) -> int:
        return 1_000 + self.number

    @property
    def turn(self) -> tuple[int, bool, float, str]:
        """Priority DESC, created_at ASC NULLS LAST, event_id."""
        created = self.created_at
        return -(self.priority or 0), created is None, created.timestamp() if created else 0.0, self.event_id


@dataclass
class Model:
    """A table as T-SQL would have it after the events so far: rows (id, seq, doom), several of one id too."""

    rows: list[tuple[int, int, int | None]]
    changes: list[list[Change]] = field(default_factory=list)

    def apply(self, event: Planned) -> None:
        """`changes` gets the event's own list."""
        changes: list[Change] = []
        ids = (event.slot, event.marker)
        fresh = [(one, event.number, event.doom) for one in ids]
        if event.operation == "DELETE":
            changes += [("D", one, seq) for one, seq, doom in self.rows if doom == event.number]
            self.rows = [row for row in self.rows if row[2] != event.number]
        elif event.operation == "INSERT":
            self.rows += fresh
            changes += [("I", one, event.number) for one in ids]
        else:
            there = {row[0] for row in self.rows}
            changes += [("U", row[0], event.number) for row in self.rows if row[0] in ids]
            self.rows = [(row[0], event.number, event.doom) if row[0] in ids else row for row in self.rows]
            if event.operation == "UPSERT":
                missing = [row for row in fresh if row[0] not in there]
                self.rows += missing
                changes += [("I", row[0], event.number) for row in missing]
        self.changes.append(changes)


def planned() -> list[Planned]:
    """The campaign's events, by SEED: ties in priority and created_at, NULLs in both."""
    chance = random.Random(SEED)
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    kinds = [chance.choice(("INSERT", "UPDATE", "UPSERT", "DELETE")) for _ in range(EVENTS)]
    tables = [chance.randrange(TABLES) for _ in range(EVENTS)]
    deletes = {table: [n for n in range(EVENTS) if tables[n] == table and kinds[n] == "DELETE"] for table in tables}
    return [
        Planned(
            number=number,
            event_id=f"{chance.getrandbits(64):016x}",
            operation=kinds[number],
            table=tables[number],
            priority=chance.choice((None, 0, 0, 1, 5, -2)),
            created_at=chance.choice((None, *(start + dt.timedelta(minutes=chance.randrange(20)) for _ in range(5)))),
            slot=chance.randrange(SLOTS),
            doom=number if kinds[number] == "DELETE" else chance.choice([None, *deletes[tables[number]]]),
        )
        for number in range(EVENTS)
    ]


@dataclass
class Race:
    """The campaign's ends: tables, events, and what came of them."""

    bench: SyncBench
    events: list[Planned]
    models: list[Model]

    def history(self, table: int) -> list[Change]:
        """What was done to a table, in order."""
        found = self.bench.sql(f"SELECT kind, id, seq FROM {{s}}.h{table} ORDER BY pos")
        return [(kind, one, seq) for kind, one, seq in found]

    def ended(self, table: int) -> int:
        """How many events of a table stand in the ledger. Readers here see what is committed, and never wait (RCSI)."""
        return len(self._applied() & {event.event_id for event in self.events if event.table == table})

    def turns(self, table: int) -> list[Planned]:
        """Its events in the order of their turn."""
        return sorted((event for event in self.events if event.table == table), key=lambda event: event.turn)

    def affected(self) -> dict[str, int]:
        """How many rows each event changes."""
        return {
            event.event_id: len(changes)
            for table, model in enumerate(self.models)
            for event, changes in zip(self.turns(table), model.changes, strict=True)
        }

    def done(self, tables: Sequence[int]) -> bool:
        """Whether all events of those tables stand in the ledger."""
        applied = self._applied()
        return all(event.event_id in applied for event in self.events if event.table in tables)

    def _applied(self) -> set[str]:
        return {row[0] for row in self.bench.sql("SELECT event_id FROM bridge.applied_events")}

    def of(self, event_id: str) -> Planned:
        """An event by its id."""
        return next(event for event in self.events if event.event_id == event_id)


@contextmanager
def race(bench: SyncBench) -> Iterator[Race]:
    """Make the tables, their histories, the source of all events, and the events themselves: one INSERT for all."""
    events = planned()
    bench.permit(more=["  allow_cascade: true"])  # a DELETE trigger may do anything: events need leave for it
    models = []
    for table in range(TABLES):
        bench.sql(f"CREATE TABLE {{s}}.t{table} (id int NOT NULL, seq int NOT NULL, doom int NULL)")
        mine = [event for event in events if event.table == table]
        seeds: list[tuple[int, int, int | None]] = [(slot, -1, None) for slot in range(SLOTS)]
        seeds += [(event.marker, -1, event.number) for event in mine if event.operation == "DELETE"]
        seeds += [(event.marker, -1, None) for event in mine if event.operation == "UPDATE"]
        listed = ", ".join(f"({one}, {seq}, {'NULL' if doom is None else doom})" for one, seq, doom in seeds)
        bench.sql(f"INSERT INTO {{s}}.t{table} (id, seq, doom) VALUES {listed}")
        bench.sql(
            f"CREATE TABLE {{s}}.h{table} (pos bigint IDENTITY PRIMARY KEY, kind char(1) NOT NULL, id int, seq int)"
        )
        for kind, what, rows in (("I", "INSERT", "inserted"), ("U", "UPDATE", "inserted"), ("D", "DELETE", "deleted")):
            bench.sql(
                f"CREATE TRIGGER {{s}}.tr{kind}{table} ON {{s}}.t{table} AFTER {what} AS "
                f"INSERT INTO {{s}}.h{table} (kind, id, seq) SELECT '{kind}', id, seq FROM {rows}"
            )
        models.append(Model(list(seeds)))
    for event in sorted(events, key=lambda event: event.turn):
        models[event.table].apply(event)
    _submit(bench, events)
    yield Race(bench, events, models)


def _submit(bench: SyncBench, events: Sequence[Planned]) -> None:
    rows = [
        f"({one}, {event.number}, {'NULL' if event.doom is None else event.doom})"
        for event in events
        for one in (event.slot, event.marker)
    ]
    source = bench.source(f"SELECT * FROM VALUES {', '.join(rows)} AS v(id, seq, doom)")
    metadata = f"map('source_version', '{bench.version(source)}')"
    values = []
    for event in events:
        delete = event.operation == "DELETE"
        keys = "array('id')" if event.operation in ("UPDATE", "UPSERT") else "CAST(NULL AS ARRAY<STRING>)"
        created = f"TIMESTAMP'{event.created_at:%Y-%m-%d %H:%M:%S}'" if event.created_at else "CAST(NULL AS TIMESTAMP)"
        values.append(
            f"('{event.event_id}', '{event.operation}', {'NULL' if delete else repr(source)}, "
            f"'{bench.schema}.t{event.table}', {keys}, "
            f"{'CAST(NULL AS INT)' if event.priority is None else event.priority}, 'pending', "
            f"map('{'doom' if delete else 'seq'}', '{event.number}'), {metadata}, {created})"
        )
    bench.lakehouse.execute(
        f"INSERT INTO {bench.settings.bridge_events_table} (event_id, operation, source_table, target_table, "
        f"primary_keys, priority, status, filter_conditions, metadata, created_at) VALUES {', '.join(values)}"
    )


@dataclass
class Runner:
    """A poller with an audit log of its own, which tells what it is in the middle of."""

    process: PollerProcess
    audit: Path

    def intents(self) -> list[str]:
        """The events that it was about to commit, in order; the last one may be under way."""
        return [line["request_id"] for line in self._lines() if line["outcome"] == "intent"]

    def _lines(self) -> list[dict[str, str]]:
        files = sorted(self.audit.glob("*")) if self.audit.is_dir() else []
        texts = [line for file in files for line in file.read_text().splitlines(keepends=True)]
        return [json.loads(text) for text in texts if text.endswith("\n")]

    def caught_in_transaction(self, sql: StandIn) -> str:
        """Let it work, then hold it before the last statement of an event's transaction; return that event."""
        if SHARE:
            sql.clear()
            worked = len(self.intents()) + SHARE
            until(lambda: len(self.intents()) >= worked, "the poller has its share of the work")
        sql.clear()
        sql.fault(match=IN_TRANSACTION, times=None, action={"delay_s": HELD_S})
        before = len(self.intents())
        until(lambda: len(self.intents()) > before, "the poller works on an event")
        return self.intents()[-1]


def until(true: Callable[[], bool], what: str, wait_s: float = WAIT_S) -> None:
    """Poll a condition that no event tells of, to a deadline."""
    deadline = time.monotonic() + wait_s
    while not true():
        assert time.monotonic() < deadline, f"waited {wait_s:.0f} s in vain until {what} (seed {SEED})"
        time.sleep(0.05)


@pytest.mark.timeout(scaled(280, 5400))
def test_racing_pollers_apply_each_event_once_and_in_order_though_one_is_paused_and_one_cut_off(
    bench: SyncBench, ends: Ends, tmp_path: Path
) -> None:
    """SIGSTOP in the middle of a transaction; RST, then silence, then RST seen by the server alone, in another's."""
    ready = ends.sql.ready
    with race(bench) as campaign, proxied(ready["host"], ready["port"]) as network, ExitStack() as cleanup:

        def start(name: str, workers: int, *, port: int | None = None) -> Runner:
            settings = bench.settings if port is None else bench.settings.model_copy(update={"sqlserver_port": port})
            audit = tmp_path / f"audit-{name}"
            process = cleanup.enter_context(
                poller_process(
                    settings,
                    tmp_path,
                    name,
                    BRIDGE_AUDIT_DIR=str(audit),
                    SYNC_WORKERS=str(workers),
                    MAX_EVENTS_PER_POLL=str(PER_POLL),
                )
            )
            return Runner(process, audit)

        # One worker each for those that are caught: exactly one table is in their hands then.
        paused = start("paused", 1)
        cut_off = start("cut-off", 1, port=network.port)
        others = [start(f"other-{number}", 2) for number in range(POLLERS - 2)]

        held = [_stopped_in_transaction(campaign, ends.sql, paused)]
        _reset_in_transaction(campaign, ends.sql, cut_off, network)
        held.append(_silent_in_transaction(campaign, ends.sql, cut_off, network))
        assert held[0] != held[1]
        before = {table: (campaign.history(table), campaign.ended(table)) for table in held}
        until(lambda: campaign.done([t for t in range(TABLES) if t not in held]), "all other tables are done")
        assert {table: (campaign.history(table), campaign.ended(table)) for table in held} == before

        network.part()  # the server sees the end of the silent poller's connections, the poller nothing
        until(lambda: campaign.done([held[1]]), "another poller has taken the silent one's table over")
        assert (campaign.history(held[0]), campaign.ended(held[0])) == before[held[0]]
        network.resume()
        network.reset()
        paused.process.send(signal.SIGCONT)
        until(lambda: campaign.done(range(TABLES)), "every event is in the ledger")
        until(lambda: _unfinished(bench) == 0, "every event is told")
        assert [runner.process.ended() for runner in (paused, cut_off, *others)] == [0] * POLLERS
        workers = [len(set(runner.intents())) for runner in (paused, cut_off, *others)]
        _judge(campaign)
        assert bench.staging_tables() == [] or _swept(bench)
        print(f"\nseed {SEED}: {EVENTS} events, {TABLES} tables, {POLLERS} pollers; intents by poller {workers}")  # noqa: T201


def _stopped_in_transaction(campaign: Race, sql: StandIn, runner: Runner) -> int:
    """SIGSTOP while its event's rows are written and not committed; return its table."""
    event = campaign.of(runner.caught_in_transaction(sql))
    runner.process.send(signal.SIGSTOP)
    sql.clear()
    open_ones = "SELECT COUNT(*) FROM sys.dm_exec_sessions WHERE open_transaction_count > 0"
    assert campaign.bench.sql(open_ones)[0][0] >= 1
    assert (event.event_id,) not in campaign.bench.sql("SELECT event_id FROM bridge.applied_events")
    return event.table


def _reset_in_transaction(campaign: Race, sql: StandIn, runner: Runner, network: Proxy) -> None:
    """RST on both sides; the poller comes again at once. The others stay held meanwhile, lest they finish it all."""
    event = campaign.of(runner.caught_in_transaction(sql))
    network.reset()
    assert campaign.bench.ledger(event.event_id) == []


def _silent_in_transaction(campaign: Race, sql: StandIn, runner: Runner, network: Proxy) -> int:
    """Nothing passes any more, nobody is told; return the table that is held so."""
    event = campaign.of(runner.caught_in_transaction(sql))
    network.stall()
    sql.clear()
    assert campaign.bench.ledger(event.event_id) == []
    return event.table


def _unfinished(bench: SyncBench) -> int:
    found = bench.lakehouse.execute(
        f"SELECT count(*) AS n FROM {bench.settings.bridge_events_table} WHERE status IN ('pending', 'processing')"
    )
    return int(found["n"][0].as_py())


def _swept(bench: SyncBench) -> bool:
    """Staging tables of connections that were cut are the sweeper's."""
    with bench.target() as target:
        target.sweep()
    return bench.staging_tables() == []


def _judge(campaign: Race) -> None:
    """Compare histories, tables, ledger and events table with the model; tell everything that is wrong."""
    found = [*_wrong_changes(campaign), *_wrong_rows(campaign), *_wrong_in_ledger(campaign), *_wrong_told(campaign)]
    assert found == [], f"seed {SEED}: {found}"


def _wrong_changes(campaign: Race) -> Iterator[str]:
    """Rows changed twice, rows not changed, events out of their turn."""
    for table, model in enumerate(campaign.models):
        history = campaign.history(table)
        wanted = [change for changes in model.changes for change in changes]
        if twice := Counter(history) - Counter(wanted):
            yield f"t{table}: changed too often: {dict(twice)}"
        if lost := Counter(wanted) - Counter(history):
            yield f"t{table}: not changed: {dict(lost)}"
        at = 0
        for event, changes in zip(campaign.turns(table), model.changes, strict=True):
            if sorted(history[at : at + len(changes)]) != sorted(changes):
                yield f"t{table}: out of order where {event} has its turn"
                break
            at += len(changes)


def _wrong_rows(campaign: Race) -> Iterator[str]:
    for table, model in enumerate(campaign.models):
        rows = Counter(campaign.bench.sql(f"SELECT id, seq, doom FROM {{s}}.t{table}"))
        if rows != Counter(model.rows):
            yield f"t{table}: too many {rows - Counter(model.rows)}, missing {Counter(model.rows) - rows}"


def _wrong_in_ledger(campaign: Race) -> Iterator[str]:
    """One row for each event, applied, with the model's count."""
    wanted = campaign.affected()
    ledger: dict[str, list[tuple[object, ...]]] = {event_id: [] for event_id in wanted}
    for event_id, *rest in campaign.bench.sql(
        "SELECT event_id, generation, outcome, rows_affected FROM bridge.applied_events"
    ):
        if event_id in ledger:  # others are of other tests
            ledger[event_id].append(tuple(rest))
    for event_id, rows in ledger.items():
        if rows != [(1, "applied", wanted[event_id])]:
            yield f"the ledger of {campaign.of(event_id)} holds {rows}, not {wanted[event_id]} rows applied"


def _wrong_told(campaign: Race) -> Iterator[str]:
    wanted = campaign.affected()
    told = campaign.bench.lakehouse.execute(
        f"SELECT event_id, status, rows_affected FROM {campaign.bench.settings.bridge_events_table}"
    ).to_pylist()
    assert len(told) == len(wanted)
    for row in told:
        if (row["status"], row["rows_affected"]) != ("completed", wanted[row["event_id"]]):
            yield f"the events table says {row}, not completed with {wanted[row['event_id']]} rows"
