"""The job store: jobs, idempotency keys and anchors of audit files in a database that all replicas share.

Who may write about a running job is decided by its row: every such write names runner and attempt in its WHERE clause,
so that a runner that slept through its lease changes nothing (`LeaseLost`). Taking a job up is a guarded update too;
where the database can, the rows that another runner is just taking are skipped.

What is sent again after a lost connection is harmless: `add`, `finish`, `release`, `settle` and `anchor` find their own
work and leave it, and a claim that nobody got to know of ends with its lease.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

import sqlalchemy as sa
from pydantic import SecretStr

from sql_databricks_bridge.db.job_engine import JobEngine, Overtaken
from sql_databricks_bridge.db.job_queue import add_job
from sql_databricks_bridge.db.job_rows import (
    condition_of,
    merged_warnings,
    outcome_row,
    read_jobs,
    storable,
)
from sql_databricks_bridge.db.job_schedules import ScheduleBook
from sql_databricks_bridge.db.job_tables import audit_anchors, idempotency_keys, job_queries, jobs, queue_gate
from sql_databricks_bridge.errors import JobError, KeyReused, LeaseLost
from sql_databricks_bridge.models.job_records import (
    ENDED,
    Anchor,
    Claim,
    Job,
    JobFilter,
    Lease,
    NewJob,
    Reservation,
)
from sql_databricks_bridge.models.jobs import QueryOutcome, QueryStatus, RunStatus
from sql_databricks_bridge.models.plan_json import load_plan

_PRUNED_AT_ONCE = 500  # others write between two of these
_RACES = 4
_NO_PROGRESS: Mapping[str, Any] = {"rows": 0, "bytes": 0, "parts": 0, "seconds": 0.0}
_T = TypeVar("_T")


class SqlAlchemyJobStore:
    """`core.ports.JobStore` over SQLAlchemy. Connects when first used; `upgrade` comes before anything else."""

    def __init__(self, url: SecretStr | str) -> None:
        """Take an address as SQLAlchemy writes it; `SettingsError` where it is none or its driver is missing."""
        self._engine = JobEngine(url.get_secret_value() if isinstance(url, SecretStr) else url)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._engine.shown!r})"

    @property
    def schedules(self) -> ScheduleBook:
        """What is known of schedules, in the same database."""
        return ScheduleBook(self._engine)

    def upgrade(self) -> None:
        """Make the tables, or bring them up to date; several replicas may do it at once.

        `SettingsError` where a later version of the bridge has been here.
        """
        from sql_databricks_bridge.db.job_schema import upgrade  # Alembic is slow to import

        upgrade(self._engine)

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._engine.close()

    def ping(self) -> None:
        """Ask for a sign of life."""
        with self._engine.reading() as connection:
            connection.execute(sa.select(queue_gate.c.passed))

    def add(self, job: NewJob, *, queue_limit: int) -> Job:
        """Queue a job; `QueueFull` where `queue_limit` jobs wait already. One of that id that is there is returned.

        `JobError` where that one is another user's.
        """
        with self._engine.writing() as connection:
            return add_job(connection, job, queue_limit, self._engine.now)

    def get(self, job_id: str) -> Job | None:
        """A job as it stands."""
        with self._engine.reading() as connection:
            return _one(connection, job_id)

    def find(self, wanted: JobFilter, limit: int) -> list[Job]:
        """The newest jobs first."""
        with self._engine.reading() as connection:
            return read_jobs(connection, condition_of(wanted), limit)

    def counts(self) -> Mapping[RunStatus, int]:
        """How many jobs are queued and running."""
        asked = (RunStatus.QUEUED, RunStatus.RUNNING)
        statement = sa.select(jobs.c.status, sa.func.count()).where(jobs.c.status.in_(asked)).group_by(jobs.c.status)
        with self._engine.reading() as connection:
            found = {RunStatus(status): count for status, count in connection.execute(statement)}
        return {status: found.get(status, 0) for status in asked}

    def cancel(self, job_id: str) -> Job | None:
        """End a queued job as cancelled at once; ask the runner of a running one to stop. An ended one stays."""
        mine = jobs.c.job_id == storable(job_id)
        with self._engine.writing() as connection:
            queued = sa.and_(mine, jobs.c.status == RunStatus.QUEUED)
            if not self._end(connection, queued, job_id, RunStatus.CANCELLED, cancel_requested=True):
                # A job that goes back to the queue between the two is ended by whoever would take it up.
                live = sa.and_(mine, jobs.c.status.not_in(ENDED))
                connection.execute(sa.update(jobs).where(live).values(cancel_requested=True))
            return _one(connection, job_id)

    def claim(self, runner: str, lease_s: float) -> Claim | None:
        """Take up the job that waits longest, or a running one whose lease ran out; None where there is none.

        Never gives one job to two runners. A job whose cancellation was asked for is ended as cancelled instead, one
        whose plan can't be read as failed. One that was put off is not taken up before its time, and from then on has
        waited since then: whatever came before that goes first.
        """
        while True:
            with self._engine.writing() as connection:
                now = self._engine.now(connection)
                candidate = connection.execute(_CANDIDATE, {"now": now}).first()
                if candidate is None:
                    return None
                if claim := self._take(connection, candidate, runner, now, lease_s):
                    return claim

    def renew(self, lease: Lease, lease_s: float, queries: Sequence[QueryOutcome]) -> bool:
        """Prolong the lease and keep the queries' progress; True where the job is to be cancelled. `LeaseLost`."""
        with self._engine.writing() as connection:
            until = self._engine.now(connection) + dt.timedelta(seconds=lease_s)
            renewed = connection.execute(sa.update(jobs).where(_held(lease)).values(lease_until=until))
            if not renewed.rowcount:
                raise _lost(lease)
            _keep_progress(connection, lease.job_id, queries)
            asked = sa.select(jobs.c.cancel_requested).where(jobs.c.job_id == lease.job_id)
            return bool(connection.execute(asked).scalar_one())

    def finish(
        self,
        lease: Lease,
        status: RunStatus,
        queries: Sequence[QueryOutcome],
        *,
        error: str | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        """End the job; `LeaseLost` where it is another runner's by now. `warnings` are added to the plan's.

        Harmless twice: the first end stands.
        """
        if status not in ENDED:
            raise ValueError(f"{status.value} is no end of a job.")
        with self._engine.writing() as connection:
            stored = connection.execute(sa.select(jobs.c.warnings).where(_held(lease))).scalar_one_or_none()
            values = {"error": storable(error), "warnings": merged_warnings(stored or "[]", warnings)}
            if self._end(connection, _held(lease), lease.job_id, status, queries, **values):
                return
            if _status(connection, lease) is not status:
                raise _lost(lease)

    def release(self, lease: Lease, queries: Sequence[QueryOutcome], *, put_off_s: float | None = None) -> None:
        """Give the job back to the queue, to its old place, or put off for so many seconds.

        `LeaseLost`. Harmless twice.
        """
        with self._engine.writing() as connection:
            values: dict[str, Any] = {"status": RunStatus.QUEUED, "lease_until": None}
            if put_off_s is not None:
                values["not_before"] = self._engine.now(connection) + dt.timedelta(seconds=put_off_s)
            if connection.execute(sa.update(jobs).where(_held(lease)).values(values)).rowcount:
                _keep_progress(connection, lease.job_id, queries)
                _leave(connection, lease.job_id, QueryStatus.QUEUED, **_NO_PROGRESS)
            elif _status(connection, lease) is not RunStatus.QUEUED:
                raise _lost(lease)

    def prune(self, older_than_days: int) -> int:
        """Forget jobs that ended, and keys that were used, before that; return how many jobs."""
        pruned = 0
        while True:
            with self._engine.writing() as connection:
                before = self._engine.now(connection) - dt.timedelta(days=older_than_days)
                old = sa.and_(jobs.c.status.in_(ENDED), jobs.c.finished_at < before)
                chosen = sa.select(jobs.c.job_id).where(old).order_by(jobs.c.job_id).limit(_PRUNED_AT_ONCE)
                found = connection.execute(chosen.with_for_update(skip_locked=True)).scalars().all()
                if not found:
                    connection.execute(sa.delete(idempotency_keys).where(idempotency_keys.c.created_at < before))
                    return pruned
                connection.execute(sa.delete(job_queries).where(job_queries.c.job_id.in_(found)))
                pruned += connection.execute(sa.delete(jobs).where(jobs.c.job_id.in_(found))).rowcount

    def reserve(self, user_name: str, key: str, fingerprint: str, resource_id: str) -> Reservation:
        """Let an Idempotency-Key of a user stand for `resource_id`, or return what it stands for already.

        `fingerprint` is a digest of the request; `KeyReused` where the key came with another one.
        """
        table = idempotency_keys
        mine = sa.and_(table.c.user_name == user_name, table.c.key == key)

        def reserve(connection: sa.Connection) -> Reservation:
            if (there := connection.execute(sa.select(table).where(mine)).first()) is None:
                row = {"user_name": user_name, "key": key, "fingerprint": fingerprint, "resource_id": resource_id}
                now = self._engine.now(connection)
                connection.execute(sa.insert(table).values({**row, "done": False, "created_at": now}))
                return Reservation(resource_id, done=False)
            if there.fingerprint != fingerprint:
                raise KeyReused(
                    "This Idempotency-Key came with another request before.", hint="Use a new key for a new request."
                )
            return Reservation(there.resource_id, there.done)

        return self._unless_overtaken(reserve)

    def forget(self, user_name: str, key: str, fingerprint: str) -> None:
        """Take a reservation back: its request was refused, and nothing was made. A settled one stays."""
        table = idempotency_keys
        mine = sa.and_(table.c.user_name == user_name, table.c.key == key, table.c.fingerprint == fingerprint)
        with self._engine.writing() as connection:
            connection.execute(sa.delete(table).where(mine, sa.not_(table.c.done)))

    def settle(self, user_name: str, key: str) -> None:
        """Note that what the key stands for was made."""
        mine = sa.and_(idempotency_keys.c.user_name == user_name, idempotency_keys.c.key == key)
        with self._engine.writing() as connection:
            connection.execute(sa.update(idempotency_keys).where(mine).values(done=True))

    def anchor(self, head: Anchor) -> None:
        """Keep the end of an audit file; an older end of the same file is replaced, a newer one stays."""
        table = audit_anchors

        def keep(connection: sa.Connection) -> None:
            row = {"sequence": head.sequence, "digest": head.digest, "updated_at": self._engine.now(connection)}
            older = sa.and_(table.c.file == head.file, table.c.sequence < head.sequence)
            if connection.execute(sa.update(table).where(older).values(row)).rowcount:
                return
            if connection.execute(sa.select(table.c.file).where(table.c.file == head.file)).first() is None:
                connection.execute(sa.insert(table).values({**row, "file": head.file}))

        self._unless_overtaken(keep)

    def anchor_of(self, file: str) -> Anchor | None:
        """The newest end that is known of an audit file."""
        table = audit_anchors
        with self._engine.reading() as connection:
            row = connection.execute(sa.select(table).where(table.c.file == file)).first()
        return None if row is None else Anchor(row.file, row.sequence, row.digest)

    def _unless_overtaken(self, work: Callable[[sa.Connection], _T]) -> _T:
        """Do it in a transaction; again, where another one inserted the same key first."""
        for _ in range(_RACES):
            with suppress(Overtaken), self._engine.writing() as connection:
                return work(connection)
        with self._engine.writing() as connection:
            return work(connection)

    def _take(
        self,
        connection: sa.Connection,
        candidate: sa.Row[*tuple[Any, ...]],
        runner: str,
        now: dt.datetime,
        lease_s: float,
    ) -> Claim | None:
        """Take the candidate up, or end it where it can't be run; None then, and where somebody else was first."""
        job_id = candidate.job_id
        unchanged = sa.and_(
            jobs.c.job_id == job_id, jobs.c.status == candidate.status, jobs.c.attempt == candidate.attempt
        )
        if candidate.cancel_requested:
            self._end(connection, unchanged, job_id, RunStatus.CANCELLED)
            return None
        try:
            plan = load_plan(candidate.plan)
        except JobError as error:
            self._end(connection, unchanged, job_id, RunStatus.FAILED, error=storable(str(error)))
            return None
        lease = Lease(job_id, runner, candidate.attempt + 1)
        taken = (
            sa.update(jobs)
            .where(unchanged)
            .values(
                status=RunStatus.RUNNING,
                runner=runner,
                attempt=lease.attempt,
                takeovers=jobs.c.takeovers + int(candidate.status == RunStatus.RUNNING),
                lease_until=now + dt.timedelta(seconds=lease_s),
                started_at=sa.func.coalesce(jobs.c.started_at, sa.literal(now, jobs.c.started_at.type)),
            )
        )
        if not connection.execute(taken).rowcount:
            return None
        _leave(connection, job_id, QueryStatus.QUEUED, **_NO_PROGRESS)
        return Claim(_known(connection, job_id), replace(plan, attempt=lease.attempt), lease)

    def _end(
        self,
        connection: sa.Connection,
        condition: sa.ColumnElement[bool],
        job_id: str,
        status: RunStatus,
        queries: Sequence[QueryOutcome] = (),
        **values: object,
    ) -> bool:
        """End the job if the condition holds; those of its queries that did not end are cancelled."""
        now = self._engine.now(connection)
        end = sa.update(jobs).where(condition).values(status=status, finished_at=now, lease_until=None, **values)
        if not connection.execute(end).rowcount:
            return False
        _keep_progress(connection, job_id, queries)
        _leave(connection, job_id, QueryStatus.CANCELLED)
        return True


_CANDIDATE = (
    sa.select(jobs.c.job_id, jobs.c.status, jobs.c.attempt, jobs.c.cancel_requested, jobs.c.plan)
    .where(
        sa.or_(
            sa.and_(
                jobs.c.status == RunStatus.QUEUED,
                sa.or_(jobs.c.not_before.is_(None), jobs.c.not_before <= sa.bindparam("now")),
            ),
            sa.and_(jobs.c.status == RunStatus.RUNNING, jobs.c.lease_until <= sa.bindparam("now")),
        )
    )
    # By created_at alone, jobs that are put off again and again would keep newer ones from ever having a turn.
    .order_by(sa.func.coalesce(jobs.c.not_before, jobs.c.created_at), jobs.c.job_id)
    .limit(1)
    .with_for_update(skip_locked=True)
)


def _one(connection: sa.Connection, job_id: str) -> Job | None:
    return next(iter(read_jobs(connection, jobs.c.job_id == storable(job_id))), None)


def _known(connection: sa.Connection, job_id: str) -> Job:
    (job,) = read_jobs(connection, jobs.c.job_id == job_id)
    return job


def _held(lease: Lease) -> sa.ColumnElement[bool]:
    """The fence: this runner, this attempt, and it runs."""
    return sa.and_(_was(lease), jobs.c.status == RunStatus.RUNNING)


def _was(lease: Lease) -> sa.ColumnElement[bool]:
    return sa.and_(jobs.c.job_id == lease.job_id, jobs.c.runner == lease.runner, jobs.c.attempt == lease.attempt)


def _status(connection: sa.Connection, lease: Lease) -> RunStatus | None:
    """Where the job stands, if this attempt of this runner was the last one."""
    status = connection.execute(sa.select(jobs.c.status).where(_was(lease))).scalar_one_or_none()
    return None if status is None else RunStatus(status)


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(
        f"Job {lease.job_id}: attempt {lease.attempt} of runner {lease.runner} holds it no longer.",
        hint="Another runner took it over, or it has ended; what this one does about it is dropped.",
    )


def _keep_progress(connection: sa.Connection, job_id: str, queries: Sequence[QueryOutcome]) -> None:
    """Write the outcomes to the rows of those queries; `ValueError` for one that the job does not have."""
    if not queries:
        return
    known = sa.select(job_queries.c.name, job_queries.c.position).where(job_queries.c.job_id == job_id)
    positions = {row.name: row.position for row in connection.execute(known)}
    if strangers := [outcome.name for outcome in queries if outcome.name not in positions]:
        raise ValueError(f"Job {job_id} has no query {', '.join(strangers)}.")
    row = sa.and_(job_queries.c.job_id == job_id, job_queries.c.position == sa.bindparam("at"))
    connection.execute(
        sa.update(job_queries).where(row),
        [{**outcome_row(outcome), "at": positions[outcome.name]} for outcome in queries],
    )


def _leave(connection: sa.Connection, job_id: str, status: QueryStatus, **values: object) -> None:
    """Set a job's waiting and running queries, which nobody works on any more."""
    unfinished = job_queries.c.status.in_((QueryStatus.QUEUED, QueryStatus.RUNNING))
    rows = sa.and_(job_queries.c.job_id == job_id, unfinished)
    connection.execute(sa.update(job_queries).where(rows).values(status=status, **values))
