"""The TargetConnection port: one session of SQL Server that events are applied by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from sql_databricks_bridge.core.ports import ServerInfo
from sql_databricks_bridge.db import app_locks, ledger
from sql_databricks_bridge.db.apply import SESSION_OPTIONS, apply_plan, count_matches
from sql_databricks_bridge.db.apply_verification import compare
from sql_databricks_bridge.db.session import Session
from sql_databricks_bridge.db.staging import StagingArea
from sql_databricks_bridge.db.target_catalog import find_target
from sql_databricks_bridge.models.applying import ApplyPlan, Assembly, Comparison, Counts, Matches, Staging
from sql_databricks_bridge.models.events import LedgerEntry
from sql_databricks_bridge.models.tables import Target, TargetColumn, TargetName

if TYPE_CHECKING:
    import pyarrow as pa


class MssqlTarget:
    """One connection to the database that events are applied to; for one thread, `cancel` from any."""

    def __init__(self, session: Session) -> None:
        """Take over a session and set its options."""
        self._session = session
        self._staging = StagingArea(session)
        try:
            session.run(SESSION_OPTIONS)
        except BaseException:
            session.close()
            raise

    def info(self) -> ServerInfo:
        """Ask the server who it is; asked once."""
        return self._session.info()

    def ledger_ready(self) -> bool:
        """Whether schema `bridge` and its ledger are there, as this version of the bridge wants them."""
        return ledger.ready(self._session.rows)

    def create_ledger(self) -> None:
        """Create what is missing of it; harmless twice and from two sessions at once."""
        ledger.create(self._session.rows)

    def find(self, name: TargetName) -> Target:
        """Look a base table up; `EventInvalid` where there is none, or a view, a synonym or the like."""
        return find_target(self._session.rows, name)

    def lock(self, object_id: int) -> bool:
        """Take the session application lock `bridge:{object_id}` without waiting; False where another has it."""
        return app_locks.acquire(self._session.rows, app_locks.target_resource(object_id))

    def unlock(self, object_id: int) -> None:
        """Release it."""
        app_locks.release(self._session.rows, app_locks.target_resource(object_id))

    def entries(self, event_ids: Sequence[str]) -> Mapping[str, LedgerEntry]:
        """The newest generation of each of those events that the ledger knows."""
        return ledger.entries(self._session.rows, event_ids)

    def record(self, entry: LedgerEntry) -> LedgerEntry:
        """Write a final outcome without applying anything; return what stands: the first one written wins."""
        return ledger.record(self._session.rows, entry)

    def reopen(self, event_id: str) -> LedgerEntry | None:
        """Open a new generation of a failed or blocked event and return its row; None where there is no such event."""
        return ledger.reopen(self._session.rows, event_id)

    def stage(
        self,
        target: Target,
        columns: Sequence[TargetColumn],
        keys: Sequence[TargetColumn],
        source: pa.RecordBatchReader,
        assemblies: Sequence[Assembly] = (),
    ) -> Staging:
        """Create a staging table, lock its name, bulk copy the reader's rows (columns in the same order) into it.

        The columns of `assemblies` come in parts: the reader has their companions behind all columns, in that order.
        What the reader raises comes out of here unchanged. On any error the staging table is dropped as far as can be.
        """
        return self._staging.stage(target, columns, keys, source, assemblies)

    def discard(self, staging: Staging) -> None:
        """Drop it and release its lock; what fails is left to `sweep`."""
        self._staging.discard(staging)

    def apply(self, plan: ApplyPlan, before_commit: Callable[[Counts], LedgerEntry]) -> LedgerEntry:
        """Apply in one transaction: ledger, checks, statement, `before_commit`, commit. Return what the ledger holds.

        What `before_commit` raises rolls everything back. `EventInvalid` where the event can't be applied,
        `CommitUnknown` where the link was lost in the commit; the connection is closed then.
        """
        return apply_plan(self._session, plan, before_commit)

    def matches(self, plan: ApplyPlan) -> Matches:
        """Count what the plan would meet, changing nothing."""
        return count_matches(self._session, plan)

    def compare(self, plan: ApplyPlan) -> Comparison:
        """Compare what the plan staged with what the target holds, byte by byte, changing nothing."""
        return compare(self._session, plan)

    def sweep(self) -> int:
        """Drop staging tables whose loader is gone; return how many."""
        return self._staging.sweep()

    def cancel(self) -> None:
        """Stop the running call soon; it then raises `Cancelled`. A commit under way is not stopped."""
        self._session.cancel()

    def close(self) -> None:
        """Close the connection: rolls back, releases its locks. Idempotent."""
        self._session.close()
