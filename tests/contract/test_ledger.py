"""The ledger over the real driver: its schema, who wins a race, and what SQL Server's comparisons do to event ids."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.db import ledger
from sql_databricks_bridge.db.rows import bound, nvarchar
from sql_databricks_bridge.db.session import Session
from sql_databricks_bridge.errors import EventInvalid, LedgerMissing, SourceRefused, SyncError
from sql_databricks_bridge.models.events import LedgerEntry, LedgerOutcome
from tests.contract.own_database import Connect, count, ddl, own_database

Result = TypeVar("Result")
APPLIED, BLOCKED, FAILED, OPEN = (
    LedgerOutcome.APPLIED,
    LedgerOutcome.BLOCKED,
    LedgerOutcome.FAILED,
    LedgerOutcome.OPEN,
)
HASH = bytes(range(32))


@pytest.fixture(scope="module")
def connect(sqlserver_settings: Settings) -> Iterator[Connect]:
    """A database with a ledger."""
    with own_database(sqlserver_settings) as opens:
        ledger.create(opens().rows)
        yield opens


@pytest.fixture
def session(connect: Connect) -> Session:
    return connect()


@pytest.fixture
def empty(sqlserver_settings: Settings) -> Iterator[Connect]:
    """A database without one."""
    with own_database(sqlserver_settings) as opens:
        yield opens


def an_entry(outcome: LedgerOutcome = FAILED, event_id: str | None = None, generation: int = 1) -> LedgerEntry:
    """An entry of an event that no other test knows."""
    return LedgerEntry(event_id or f"e-{uuid.uuid4()}", generation, HASH, outcome)


def generations(session: Session, event_id: str) -> int:
    """How many rows the ledger has of an event."""
    sql = "SELECT COUNT(*) AS n FROM bridge.applied_events WHERE event_id = ?"
    return count(session, sql, bound((event_id, nvarchar(200))))


def at_once(*calls: Callable[[], Result]) -> list[Result]:
    """Call each in a thread of its own, all let go together; return what they returned."""
    start = threading.Barrier(len(calls))
    results: dict[int, Result] = {}

    def run(place: int) -> None:
        start.wait()
        results[place] = calls[place]()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == len(calls), "a call raised; its thread has shown the error"
    return [results[place] for place in range(len(calls))]


# The schema --------------------------------------------------------------------------------------------------------


def test_the_ledger_is_created_once_and_harmlessly_again(empty: Connect) -> None:
    """Not ready, created, ready; creating it again keeps its rows."""
    rows = empty().rows
    assert not ledger.ready(rows)
    ledger.create(rows)
    assert ledger.ready(rows)
    written = ledger.record(rows, an_entry())
    ledger.create(rows)
    assert ledger.entries(rows, [written.event_id]) == {written.event_id: written}


def test_sessions_that_create_it_at_once_all_succeed(empty: Connect) -> None:
    """Four operators type `bridge target init` in the same second."""
    sessions = [empty() for _ in range(4)]

    def creating(session: Session) -> Callable[[], bool]:
        def create() -> bool:
            ledger.create(session.rows)
            return ledger.ready(session.rows)

        return create

    assert at_once(*map(creating, sessions)) == [True] * 4


def test_the_script_for_a_dba_makes_the_same_ledger(empty: Connect) -> None:
    """What `bridge target init` prints is what it runs."""
    session = empty()
    session.rows(ledger.SCHEMA_SQL)
    assert ledger.ready(session.rows)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("source_version bigint NULL,", ""), "column source_version is missing"),
        (("generation int NOT NULL", "generation bigint NOT NULL"), "generation is bigint not null, not int not null"),
        (("nvarchar(200) COLLATE Latin1_General_100_BIN2", "nvarchar(200)"), "event_id is"),
        (("message nvarchar(4000) NULL", "message nvarchar(4000) NOT NULL"), "message is nvarchar"),
        (("PRIMARY KEY CLUSTERED (event_id, generation)", "PRIMARY KEY CLUSTERED (event_id)"), "primary key"),
    ],
)
def test_a_table_of_another_shape_is_no_ledger(empty: Connect, change: tuple[str, str], named: str) -> None:
    """Somebody's table, or another version's: nothing is written to it, and the difference has a name."""
    assert change[0] in ledger.SCHEMA_SQL
    session = empty()
    session.rows(ledger.SCHEMA_SQL.replace(*change))
    assert not ledger.ready(session.rows)
    with pytest.raises(LedgerMissing, match=named):
        ledger.create(session.rows)


def test_an_outcome_of_another_version_decides_nothing(empty: Connect) -> None:
    """A row that this version can't read is an error, neither 'unknown event' nor 'applied'."""
    session = empty()
    session.rows(ledger.SCHEMA_SQL.replace("'blocked'", "'blocked', 'paused'"))
    ledger.record(session.rows, an_entry(event_id="later"))
    session.rows("UPDATE bridge.applied_events SET outcome = 'paused'")
    with pytest.raises(SyncError, match="'paused'"):
        ledger.entries(session.rows, ["later"])


# Writing and reading -----------------------------------------------------------------------------------------------


def test_an_entry_comes_back_as_it_was_written(session: Session) -> None:
    """Every column, with counts beyond 32 bits, and the server's clock in UTC."""
    entry = replace(
        an_entry(BLOCKED),
        source_version=2**40,
        rows_affected=2**62,
        rows_expected=-1,
        message="zu groß: 4 > 3 \U0001f642",
    )
    written = ledger.record(session.rows, entry)
    assert written == entry
    assert ledger.entries(session.rows, [entry.event_id]) == {entry.event_id: entry}
    assert written.applied_at is not None
    age = dt.datetime.now(dt.UTC) - written.applied_at
    assert abs(age) < dt.timedelta(hours=1)  # a local time zone would show; clocks of two machines may differ


def test_an_event_that_was_never_finished_has_no_entry(session: Session) -> None:
    assert ledger.entries(session.rows, [f"e-{uuid.uuid4()}"]) == {}
    assert ledger.entries(session.rows, []) == {}


def test_any_number_of_events_is_looked_up(session: Session) -> None:
    """1,300 ids, more than a statement may have parameters for with a margin, found ones among them at both ends."""
    known = [ledger.record(session.rows, an_entry()) for _ in range(3)]
    unknown = [f"e-{uuid.uuid4()}" for _ in range(1300)]
    asked = [known[0].event_id, *unknown[:650], known[1].event_id, *unknown[650:], known[2].event_id]
    assert ledger.entries(session.rows, asked) == {entry.event_id: entry for entry in known}


def test_the_first_outcome_stands(session: Session) -> None:
    """Whoever comes later gets what stands, whatever he wanted to write."""
    first = ledger.record(session.rows, replace(an_entry(FAILED), message="no such table"))
    assert ledger.record(session.rows, replace(first, outcome=APPLIED, message=None)) == first
    assert generations(session, first.event_id) == 1


def test_of_outcomes_that_race_one_stands_for_all(connect: Connect) -> None:
    """Three pollers record different ends of one event at once, twenty times."""
    sessions = [connect() for _ in range(3)]
    for _ in range(20):
        event_id = an_entry().event_id

        def recording(session: Session, outcome: LedgerOutcome, event_id: str = event_id) -> Callable[[], LedgerEntry]:
            return lambda: ledger.record(session.rows, an_entry(outcome, event_id))

        stands = at_once(*map(recording, sessions, (APPLIED, BLOCKED, FAILED)))
        assert stands == [stands[0]] * 3
        assert generations(sessions[0], event_id) == 1


@pytest.mark.parametrize("committed", [True, False], ids=["committed", "rolled back"])
def test_an_outcome_waits_for_the_transaction_that_applies(connect: Connect, committed: bool) -> None:
    """Nobody can say 'failed' of an event that is just being applied: the transaction's end decides."""
    applying, reporting = connect(), connect()
    entry = an_entry(APPLIED)
    applying.begin()
    applying.rows(*ledger.insert_statement(entry))
    found: list[LedgerEntry] = []
    failing = replace(entry, outcome=FAILED)
    thread = threading.Thread(target=lambda: found.append(ledger.record(reporting.rows, failing)))
    thread.start()
    settled = replace(entry, rows_affected=3, rows_expected=3, source_version=9, message="late")
    applying.rows(*ledger.settle_statement(settled))
    if committed:
        applying.commit()
    else:
        applying.rollback()
    thread.join()
    assert found == [settled if committed else failing]
    assert ledger.entries(reporting.rows, [entry.event_id]) == {entry.event_id: found[0]}


def test_the_second_transaction_that_applies_is_refused(connect: Connect) -> None:
    """A duplicate key, by the constraint's name; what stands can be read then."""
    session = connect()
    stands = ledger.record(session.rows, an_entry(APPLIED))
    session.begin()
    with pytest.raises(SourceRefused, match="pk_applied_events"):
        session.rows(*ledger.insert_statement(stands))
    session.rollback()
    assert ledger.standing(session.rows, stands.event_id, 1) == stands


@pytest.mark.parametrize("length", [4000, 4001, 9000])
def test_a_long_message_is_cut_and_says_so(session: Session, length: int) -> None:
    """At 4,000 UTF-16 units, between characters: an emoji is two."""
    message = "x" + "\U0001f642" * (length // 2) if length % 2 else "\U0001f642" * (length // 2)
    written = ledger.record(session.rows, replace(an_entry(), message=message)).message
    assert written is not None
    if length == 4000:
        assert written == message
    else:
        assert written.endswith("…")
        assert message.startswith(written[:-1])
        assert 3999 <= len(written.encode("utf-16-le")) // 2 <= 4000


def test_a_message_of_half_characters_and_nul_is_written_all_the_same(session: Session) -> None:
    """The outcome counts: it must not be lost to what a value in its message looks like."""
    written = ledger.record(session.rows, replace(an_entry(), message="a\x00b\ud800c"))
    assert written.message == "a\N{REPLACEMENT CHARACTER}b?c"


# Event ids ---------------------------------------------------------------------------------------------------------


def test_event_ids_compare_by_their_bytes(session: Session) -> None:
    """Case, accents, ligatures and composed characters are different events, under every collation of the database."""
    prefix = f"e-{uuid.uuid4()}-"
    ids = [prefix + end for end in ("a", "A", "ä", "a\u0308", "ss", "ß", "\U0001f642", "\U0001f643", "１", "1")]
    written = {event_id: ledger.record(session.rows, an_entry(event_id=event_id)) for event_id in ids}
    assert len(written) == 10
    assert ledger.entries(session.rows, ids) == written


@pytest.mark.parametrize("first_outcome", [FAILED, APPLIED])
def test_an_entry_of_an_id_with_other_trailing_blanks_is_never_taken(
    session: Session, first_outcome: LedgerOutcome
) -> None:
    """SQL Server takes 'a' and 'a ' for one key: the second event is refused, not reported with the first one's end."""
    first = ledger.record(session.rows, an_entry(first_outcome))
    padded = first.event_id + " "
    assert ledger.entries(session.rows, [padded]) == {}
    assert ledger.entries(session.rows, [padded, first.event_id]) == {first.event_id: first}
    assert ledger.reopen(session.rows, padded) is None
    with pytest.raises(EventInvalid, match="same key"):
        ledger.record(session.rows, an_entry(APPLIED, padded))
    with pytest.raises(EventInvalid, match="same key"):
        ledger.standing(session.rows, padded, 1)
    assert ledger.entries(session.rows, [first.event_id]) == {first.event_id: first}


def test_an_open_generation_is_not_ended_by_an_id_with_other_trailing_blanks(session: Session) -> None:
    """Neither by `record` nor by the applying transaction."""
    first = ledger.record(session.rows, an_entry())
    opened = ledger.reopen(session.rows, first.event_id)
    padded = an_entry(APPLIED, first.event_id + " ", generation=2)
    with pytest.raises(EventInvalid, match="same key"):
        ledger.record(session.rows, padded)
    session.rows(*ledger.insert_statement(padded, reopened=True))
    assert ledger.entries(session.rows, [first.event_id]) == {first.event_id: opened}


# Generations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [FAILED, BLOCKED])
def test_a_failed_or_blocked_event_gets_a_new_generation(session: Session, outcome: LedgerOutcome) -> None:
    """Open, with the payload's hash, and only once; the old end stays known."""
    first = ledger.record(session.rows, replace(an_entry(outcome), message="why", rows_expected=3))
    opened = ledger.reopen(session.rows, first.event_id)
    assert opened == LedgerEntry(first.event_id, 2, HASH, OPEN)
    assert ledger.reopen(session.rows, first.event_id) == opened
    assert generations(session, first.event_id) == 2
    assert ledger.entries(session.rows, [first.event_id]) == {first.event_id: opened}
    assert ledger.standing(session.rows, first.event_id, 1) == first


def test_an_applied_event_is_never_opened_again(session: Session) -> None:
    """Not in any generation."""
    first = ledger.record(session.rows, an_entry(APPLIED))
    with pytest.raises(EventInvalid, match="was applied already"):
        ledger.reopen(session.rows, first.event_id)
    assert generations(session, first.event_id) == 1


def test_an_event_that_the_ledger_does_not_know_is_not_opened(session: Session) -> None:
    """It never ended: it may be applied as it is."""
    event_id = an_entry().event_id
    assert ledger.reopen(session.rows, event_id) is None
    assert generations(session, event_id) == 0


def test_operators_who_reopen_at_once_get_the_same_generation(connect: Connect) -> None:
    """Three of them, twenty times: one new row each time."""
    sessions = [connect() for _ in range(3)]
    for _ in range(20):
        event_id = ledger.record(sessions[0].rows, an_entry()).event_id

        def reopening(session: Session, event_id: str = event_id) -> Callable[[], LedgerEntry | None]:
            return lambda: ledger.reopen(session.rows, event_id)

        assert at_once(*map(reopening, sessions)) == [LedgerEntry(event_id, 2, HASH, OPEN)] * 3
        assert generations(sessions[0], event_id) == 2


def test_an_outcome_ends_an_open_generation_once(session: Session) -> None:
    """The first one does; its payload hash is that of the event as it stood then, mended perhaps."""
    event_id = ledger.record(session.rows, an_entry()).event_id
    ledger.reopen(session.rows, event_id)
    mended = b"x" * 32
    ended = ledger.record(session.rows, replace(an_entry(BLOCKED, event_id, 2), payload_hash=mended, message="no"))
    assert ended == LedgerEntry(event_id, 2, mended, BLOCKED, message="no")
    assert ledger.record(session.rows, an_entry(APPLIED, event_id, 2)) == ended


def test_an_open_generation_is_applied_once(session: Session) -> None:
    """In the applying transaction the row's count tells: 1 for the first, 0 for whoever comes later."""
    event_id = ledger.record(session.rows, an_entry()).event_id
    ledger.reopen(session.rows, event_id)
    sql, values = ledger.insert_statement(an_entry(APPLIED, event_id, 2), reopened=True)
    counted = f"{sql}; SELECT @@ROWCOUNT AS n"
    assert [count(session, counted, values) for _ in range(2)] == [1, 0]
    assert ledger.standing(session.rows, event_id, 2).outcome is APPLIED
    with pytest.raises(EventInvalid, match="generation 2"):
        ledger.reopen(session.rows, event_id)


def test_a_statement_that_is_refused_for_another_reason_says_so(empty: Connect) -> None:
    """Only a duplicate key means that somebody was first."""
    session = empty()
    session.rows(ledger.SCHEMA_SQL)
    ddl(session, "ALTER TABLE bridge.applied_events ADD CONSTRAINT ck_none CHECK (generation < 0)")
    with pytest.raises(SourceRefused, match="ck_none"):
        ledger.record(session.rows, an_entry())
