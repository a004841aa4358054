"""What a job has to show: queries that an earlier attempt published, those under way, and how the rest is told."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Collection, Mapping, Sequence

from sql_databricks_bridge.core.layout import AttemptFolder
from sql_databricks_bridge.core.ports import Lakehouse
from sql_databricks_bridge.core.uploader import first_published
from sql_databricks_bridge.errors import LakehouseNotFound
from sql_databricks_bridge.models.jobs import ExtractionPlan, QueryOutcome, QueryProgress, QueryStatus

_UNDER_WAY = (QueryStatus.QUEUED, QueryStatus.RUNNING)


def published(lakehouse: Lakehouse, plan: ExtractionPlan, names: Collection[str]) -> dict[str, QueryOutcome]:
    """Which of these queries have landed, by a manifest that any attempt of this run wrote. `LakehouseUnavailable`.

    The volume is asked, not the job store: a process may have died between the two. A query that becomes a table is
    left out: it runs again, finds its own manifest, and sees itself whether the table has it.
    """
    landed = {}
    tables = {query.name for query in plan.queries if query.publish is not None}
    for name in (name for name in names if name not in tables):
        folder = AttemptFolder(plan.destination, plan.country, name, plan.run_id, plan.attempt)
        try:
            found = first_published(lakehouse, folder)
        except LakehouseNotFound:  # no run of the query ever came so far
            continue
        if found is not None:
            manifest = found.manifest
            landed[name] = QueryOutcome(
                name=name,
                status=QueryStatus.COMPLETED,
                rows=manifest.rows,
                bytes=manifest.size_bytes,
                parts=len(manifest.parts),
                seconds=round((manifest.finished_at - manifest.started_at).total_seconds(), 3),
                path=found.folder.path,
            )
    return landed


class Standing:
    """How a job's queries stand, in the plan's order. Safe to use from several threads."""

    def __init__(self, plan: ExtractionPlan, known: Sequence[QueryOutcome]) -> None:
        """`known` is what the store says; what is completed there is taken for that until the volume is asked."""
        self._lock = threading.Lock()
        self._queries = {query.name: _waiting(query.name) for query in plan.queries}
        self._queries.update({outcome.name: outcome for outcome in known if outcome.status is QueryStatus.COMPLETED})

    def moved(self, progress: QueryProgress) -> None:
        """Take note of a moment of a query; what has ended stays."""
        with self._lock:
            if progress.status is QueryStatus.RUNNING and self._queries[progress.name].status in _UNDER_WAY:
                self._queries[progress.name] = QueryOutcome(
                    name=progress.name,
                    status=QueryStatus.RUNNING,
                    rows=progress.rows,
                    bytes=progress.uploaded_bytes,
                    parts=progress.parts,
                    seconds=progress.elapsed_s,
                )

    def ended(self, outcome: QueryOutcome) -> None:
        """Take note of a query's end."""
        with self._lock:
            self._queries[outcome.name] = outcome

    def settle(self, asked: Collection[str], landed: Mapping[str, QueryOutcome]) -> None:
        """Take note of what the volume says about the queries that were `asked` for."""
        with self._lock:
            for name in asked:
                known, found = self._queries[name], landed.get(name)
                if found is not None and (known.status is not QueryStatus.COMPLETED or known.path != found.path):
                    self._queries[name] = found
                elif found is None and known.status is QueryStatus.COMPLETED:
                    self._queries[name] = _waiting(name)

    def now(self) -> tuple[QueryOutcome, ...]:
        """Every query as it stands."""
        with self._lock:
            return tuple(self._queries.values())

    def with_status(self, *statuses: QueryStatus) -> frozenset[str]:
        """The names of those that stand so."""
        return frozenset(outcome.name for outcome in self.now() if outcome.status in statuses)

    def closed(self) -> tuple[QueryOutcome, ...]:
        """Every query for a job that ends: one that has not ended by itself is cancelled."""
        return tuple(
            dataclasses.replace(outcome, status=QueryStatus.CANCELLED) if outcome.status in _UNDER_WAY else outcome
            for outcome in self.now()
        )

    def requeued(self) -> tuple[QueryOutcome, ...]:
        """Every query for a job that is given back: what has not landed will run again."""
        return tuple(
            outcome if outcome.status is QueryStatus.COMPLETED else _waiting(outcome.name) for outcome in self.now()
        )


def _waiting(name: str) -> QueryOutcome:
    return QueryOutcome(name, QueryStatus.QUEUED)
