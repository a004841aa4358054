"""One event, one transaction: ledger row, checks, statement, the caller's word, commit.

The driver opens the transaction and ends it. Until the commit is sent nothing stands, so what fails before is simply
rolled back; what fails in it is `CommitUnknown`. One thing could commit earlier, a trigger with a COMMIT of its own: so
the ledger's row says from the start what is true then, and after a failure the ledger is asked before anything is said.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from sql_databricks_bridge.db import apply_statements, ledger
from sql_databricks_bridge.db.apply_statements import CAUGHT, COUNTED
from sql_databricks_bridge.db.error_numbers import by_number
from sql_databricks_bridge.db.session import Session, dynamic
from sql_databricks_bridge.db.staging_checks import check_staging, one_row, shown_key
from sql_databricks_bridge.errors import (
    BridgeError,
    CommitUnknown,
    EventInvalid,
    SourceRefused,
    SourceUnavailable,
)
from sql_databricks_bridge.models.applying import ApplyPlan, Counts, Matches, OnConflict
from sql_databricks_bridge.models.events import LedgerEntry, LedgerOutcome, Operation

SESSION_OPTIONS = (
    "SET NOCOUNT ON; SET XACT_ABORT ON; SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCK_TIMEOUT -1;"
)
"""What `apply_plan` relies on; once for each session. NOCOUNT keeps counts of triggers' statements off the wire."""

BeforeCommit = Callable[[Counts], LedgerEntry]
_LEDGER_KEY = "pk_applied_events"
_TRIGGER_COMMITTED = "A trigger of the target committed in the middle of the event; its rows could not be counted."


def apply_plan(session: Session, plan: ApplyPlan, before_commit: BeforeCommit) -> LedgerEntry:
    """Apply it and return the ledger's row; where that stands already, return it and change nothing.

    After any error the session is clean or closed.
    """
    try:
        session.begin()
        if not _first_in_ledger(session, plan):
            return _standing(session, plan)
        check_staging(session, plan)
        counts = _counts(session, plan)
        settled = before_commit(counts)
        _settle(session, plan, settled)
    except BaseException as exc:
        if isinstance(exc, SourceUnavailable):
            session.close()
        _undo(session, plan)
        if isinstance(exc, BridgeError) and (stands := _committed_by_trigger(session, plan)):
            return stands
        raise
    try:
        session.commit()
    except Exception as exc:
        session.close()
        raise CommitUnknown(
            f"The connection was lost while event {plan.entry.event_id!r} was being committed.",
            hint="The ledger knows whether it was: the event is looked at again.",
        ) from exc
    except BaseException:
        session.close()
        raise
    return settled


def count_matches(session: Session, plan: ApplyPlan) -> Matches:
    """Count what the plan would meet, changing nothing; `EventInvalid` for keys that are NULL or there twice."""
    check_staging(session, plan)
    staged = None if plan.staging is None else plan.staging.rows
    statement = apply_statements.matching(plan)
    return Matches(staged, 0 if statement is None else int(one_row(session, statement)["matching"]))


# Steps of the transaction ------------------------------------------------------------------------------------------


def _first_in_ledger(session: Session, plan: ApplyPlan) -> bool:
    """Write the ledger's row; False where another one stands there, the transaction being at its end then."""
    entry = replace(plan.entry, outcome=LedgerOutcome.APPLIED, message=_TRIGGER_COMMITTED)
    sql, bound = ledger.insert_statement(entry, reopened=plan.reopened)
    try:
        (row,) = session.rows(f"{sql};\nSELECT ROWCOUNT_BIG() AS written", bound)
    except SourceRefused as exc:
        if _LEDGER_KEY in exc.message:
            return False
        raise
    return bool(row["written"] == 1)


def _standing(session: Session, plan: ApplyPlan) -> LedgerEntry:
    """Read what another one wrote, outside of the transaction that lost."""
    session.rollback()
    return ledger.standing(session.rows, plan.entry.event_id, plan.entry.generation)


def _counts(session: Session, plan: ApplyPlan) -> Counts:
    """Run the event's statement and return its own counts; what the target refuses makes the event invalid."""
    try:
        if plan.operation is Operation.INSERT and plan.keys and plan.on_conflict is OnConflict.ERROR:
            _require_absent(session, plan)
        statement = apply_statements.applying(plan)
        found = session.answer(*dynamic(statement.sql, statement.parameters), COUNTED, CAUGHT)
        if found is None:
            raise SourceRefused("the statement ended without its counts")
        if CAUGHT in found:
            place = f" in {found['place']}" if found["place"] else ""
            raise by_number(int(found[CAUGHT]), f"{found['message'].rstrip('. ')}{place}")
    except SourceRefused as exc:
        raise EventInvalid(
            f"SQL Server refused {plan.operation} into {plan.target}: {exc.message}", hint=exc.hint
        ) from exc
    if found["open_transactions"] != 1:
        raise EventInvalid(f"A trigger of {plan.target} changed the transaction that it ran in.")
    updated, inserted, deleted = found[COUNTED], found["inserted"], found["deleted"]
    skipping = plan.operation is Operation.INSERT and plan.keys and plan.on_conflict is OnConflict.SKIP
    return Counts(updated, inserted, deleted, skipped=plan.staging.rows - inserted if skipping and plan.staging else 0)


def _require_absent(session: Session, plan: ApplyPlan) -> None:
    """None of the keys is in the target, and none can come before the commit."""
    existing = one_row(session, apply_statements.existing_count(plan))["existing"]
    if existing:
        example = one_row(session, apply_statements.existing_key(plan))
        raise EventInvalid(
            f"{existing:,} of the rows are in {plan.target} already, such as {shown_key(plan.keys, example)}.",
            hint="Set metadata on_conflict to skip or update, or use UPSERT.",
        )


def _settle(session: Session, plan: ApplyPlan, entry: LedgerEntry) -> None:
    """Write the final row over the first one; were that gone, so would be what this transaction did."""
    if (entry.event_id, entry.generation, entry.outcome) != (
        plan.entry.event_id,
        plan.entry.generation,
        LedgerOutcome.APPLIED,
    ):
        raise ValueError(f"{entry} is not the outcome of {plan.entry}")
    sql, bound = ledger.settle_statement(entry)
    (row,) = session.rows(f"{sql};\nSELECT ROWCOUNT_BIG() AS written", bound)
    if row["written"] != 1:
        raise EventInvalid(f"A trigger of {plan.target} rolled the event's transaction back.")


# After a failure ---------------------------------------------------------------------------------------------------


def _undo(session: Session, plan: ApplyPlan) -> None:
    """Roll back and take back IDENTITY_INSERT, which no rollback does; a session that can't is closed."""
    session.rollback()
    if not plan.keep_identity or session.closed:
        return
    try:
        session.run(*dynamic(apply_statements.identity_insert(plan.target, on=False)))
        session.close_cursor()
    except BridgeError:
        session.close()


def _committed_by_trigger(session: Session, plan: ApplyPlan) -> LedgerEntry | None:
    """Return the ledger's row where it stands although everything was rolled back."""
    if session.closed:
        return None
    with suppress(BridgeError):  # whoever comes next asks the ledger again
        found = ledger.entries(session.rows, [plan.entry.event_id]).get(plan.entry.event_id)
        if found and found.generation == plan.entry.generation and found.outcome is LedgerOutcome.APPLIED:
            return found
    return None
