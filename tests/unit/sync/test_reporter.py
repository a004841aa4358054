"""What the ledger holds is what the events table is told, once, and until it has arrived."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence

import pytest

from sql_databricks_bridge.errors import LakehouseUnavailable, SourceBusy, SourceRefused
from sql_databricks_bridge.models.events import EventRow, EventStatus, LedgerEntry, LedgerOutcome, Outcome
from sql_databricks_bridge.sync.reporter import Reporter, outcome_of
from sql_databricks_bridge.sync.retry import Backoff, Retry

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
ROW = EventRow("e", "INSERT", "a.b.c", "dbo.t")


def entry(outcome: LedgerOutcome = LedgerOutcome.APPLIED, rows: int = 3, expected: int | None = 5) -> LedgerEntry:
    return LedgerEntry("e", 1, ROW.payload_hash, outcome, rows_affected=rows, rows_expected=expected, message="said")


class Table:
    """An events table of the kind that the port describes, in memory; `away` makes it fail."""

    def __init__(self) -> None:
        self.sent: list[list[Outcome]] = []
        self.away = False

    def report(self, outcomes: Sequence[Outcome]) -> None:
        if self.away:
            raise LakehouseUnavailable("away")
        self.sent.append(list(outcomes))


def test_a_discrepancy_leaves_the_event_completed() -> None:
    outcome = outcome_of(ROW, entry(), NOW)
    assert (outcome.status, outcome.rows_affected, outcome.discrepancy) == (EventStatus.COMPLETED, 3, 2)
    assert (outcome.warning, outcome.error_message) == ("said", None)


def test_a_refusal_has_its_message_as_the_error() -> None:
    outcome = outcome_of(ROW, entry(LedgerOutcome.BLOCKED), NOW)
    assert (outcome.status, outcome.error_message, outcome.rows_affected) == (EventStatus.BLOCKED, "said", None)


def test_another_payload_under_a_used_event_id_is_refused() -> None:
    other = EventRow("e", "DELETE", "a.b.c", "dbo.t")
    outcome = outcome_of(other, entry(), NOW)
    assert outcome.status is EventStatus.FAILED
    assert "used before for another event" in (outcome.error_message or "")


def test_counts_beyond_int_are_told_in_words() -> None:
    outcome = outcome_of(ROW, entry(rows=3_000_000_000, expected=None), NOW)
    assert outcome.rows_affected is None
    assert "3,000,000,000" in (outcome.warning or "")


def test_only_what_takes_long_is_told_as_processing_and_handed_back_when_left() -> None:
    table, clock = Table(), [0.0]
    reporter = Reporter(table, first_flush_s=1.0, interval_s=10.0, monotonic=lambda: clock[0])  # type: ignore[arg-type]
    reporter.taken("quick")
    reporter.ended(Outcome("quick", EventStatus.COMPLETED))
    reporter.taken("slow")
    reporter.flush_if_due()
    assert table.sent == []
    clock[0] = 1.0
    reporter.flush_if_due()
    assert table.sent == [[Outcome("quick", EventStatus.COMPLETED), Outcome("slow", EventStatus.PROCESSING)]]
    reporter.left("slow")
    reporter.left("never begun")
    reporter.flush()
    assert table.sent[1:] == [[Outcome("slow", EventStatus.PENDING)]]
    reporter.flush()
    assert len(table.sent) == 2


def test_an_event_that_is_left_while_processing_is_being_told_is_taken_back() -> None:
    class Leaving(Table):
        def report(self, outcomes: Sequence[Outcome]) -> None:
            super().report(outcomes)
            if len(self.sent) == 1:
                reporter.left("slow")  # as its worker does, in another thread

    table = Leaving()
    reporter = Reporter(table, first_flush_s=0.0, interval_s=10.0)  # type: ignore[arg-type]
    reporter.taken("slow")
    reporter.flush()
    reporter.flush()
    assert table.sent == [[Outcome("slow", EventStatus.PROCESSING)], [Outcome("slow", EventStatus.PENDING)]]


def test_what_could_not_be_told_is_told_later() -> None:
    table = Table()
    reporter = Reporter(table, first_flush_s=0.0, interval_s=0.0)  # type: ignore[arg-type]
    reporter.ended(Outcome("e", EventStatus.COMPLETED))
    table.away = True
    with pytest.raises(LakehouseUnavailable):
        reporter.flush()
    table.away = False
    reporter.flush()
    assert table.sent == [[Outcome("e", EventStatus.COMPLETED)]]


def test_only_what_is_named_is_tried_again_and_three_times_at_most() -> None:
    calls: list[type[Exception]] = []
    pauses: list[float] = []

    def fails(kind: type[SourceBusy] | type[SourceRefused]) -> None:
        calls.append(kind)
        raise kind("no")

    retry = Retry((SourceBusy,), backoff=Backoff(random=random.Random(1)))

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return False

    with pytest.raises(SourceRefused):
        retry.call(lambda: fails(SourceRefused), pause=pause)
    assert (len(calls), pauses) == (1, [])
    with pytest.raises(SourceBusy):
        retry.call(lambda: fails(SourceBusy), pause=pause)
    assert len(calls) == 4
    assert len(pauses) == 2


def test_pauses_have_full_jitter_and_a_cap() -> None:
    backoff = Backoff(random=random.Random(7))
    for failures, most in ((1, 1.0), (2, 2.0), (3, 4.0), (7, 60.0), (1000, 60.0)):
        found = [backoff.pause_s(failures) for _ in range(500)]
        assert 0 <= min(found) < most * 0.05
        assert most * 0.95 < max(found) <= most
