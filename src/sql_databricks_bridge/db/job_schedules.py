"""What the job store remembers of schedules: up to which due moment each is decided, and how.

Every write names the `last_due` that its writer knew, so that of several replicas one decides a due moment. A job is
queued in the very transaction that says so: there is no moment at which one of the two is lost.
"""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from sql_databricks_bridge.db.job_engine import JobEngine, Overtaken
from sql_databricks_bridge.db.job_queue import add_job
from sql_databricks_bridge.db.job_rows import storable
from sql_databricks_bridge.db.job_tables import schedules
from sql_databricks_bridge.errors import DueDecided
from sql_databricks_bridge.models.job_records import Job, NewJob
from sql_databricks_bridge.models.schedules import Decision, Schedule, ScheduleState


class ScheduleBook:
    """`core.scheduler.ScheduleStore` over SQLAlchemy. Safe to use from several threads."""

    def __init__(self, engine: JobEngine) -> None:
        self._engine = engine

    def now(self) -> dt.datetime:
        """The store's clock, which all replicas share."""
        with self._engine.reading() as connection:
            return self._engine.now(connection)

    def states(self) -> list[ScheduleState]:
        """What is known of every schedule that was ever seen."""
        with self._engine.reading() as connection:
            rows = connection.execute(sa.select(schedules).order_by(schedules.c.country, schedules.c.name))
            return [_state(row) for row in rows]

    def begin(self, schedule: Schedule, since: dt.datetime) -> ScheduleState:
        """Note that the schedule is there: due moments count from `since` on. Where somebody was first, that stands."""
        with suppress(Overtaken), self._engine.writing() as connection:
            if (there := _one(connection, schedule)) is not None:
                return there
            row = {"country": schedule.country, "name": schedule.name, "definition": schedule.definition}
            now = self._engine.now(connection)
            values = {**row, "last_due": since, "decision": Decision.NEW, "updated_at": now}
            connection.execute(sa.insert(schedules).values(values))
        with self._engine.reading() as connection:
            found = _one(connection, schedule)
        if found is None:
            raise DueDecided(f"{schedule.label} was forgotten while it was noted.", hint="Try again.")
        return found

    def redefine(self, state: ScheduleState, definition: str, since: dt.datetime) -> None:
        """Note that the schedule is another one now, whose due moments count from `since` on. `DueDecided`."""
        with self._engine.writing() as connection:
            self._move(connection, state, definition=definition, last_due=since, wanted_due=None)

    def want(self, state: ScheduleState, due: dt.datetime) -> None:
        """Note that `due` was seen in time: nobody takes it for missed, however long it waits. `DueDecided`."""
        with self._engine.writing() as connection:
            self._move(connection, state, wanted_due=due)

    def decide(self, state: ScheduleState, due: dt.datetime, decision: Decision, reason: str) -> None:
        """Note that nothing is queued for `due`, and for what was due before it, and why. `DueDecided`."""
        with self._engine.writing() as connection:
            self._move(connection, state, last_due=due, wanted_due=None, decision=decision, reason=storable(reason))

    def queue(self, state: ScheduleState, due: dt.datetime, job: NewJob, *, queue_limit: int) -> Job:
        """Queue the job of `due` and note it, both or neither. `DueDecided`, `QueueFull`, `JobError`."""
        with self._engine.writing() as connection:
            values = {"last_due": due, "wanted_due": None, "decision": Decision.QUEUED, "reason": None}
            self._move(connection, state, **values, job_id=job.plan.run_id)
            return add_job(connection, job, queue_limit, self._engine.now)

    def _move(self, connection: sa.Connection, state: ScheduleState, **values: Any) -> None:
        as_known = sa.and_(_key(state), schedules.c.last_due == state.last_due)
        moved = sa.update(schedules).where(as_known).values(**values, updated_at=self._engine.now(connection))
        if not connection.execute(moved).rowcount:
            raise DueDecided(
                f"{state.country}/{state.name}: another replica has decided what was due.", hint="Look again."
            )


def _key(item: Schedule | ScheduleState) -> sa.ColumnElement[bool]:
    return sa.and_(schedules.c.country == item.country, schedules.c.name == item.name)


def _one(connection: sa.Connection, schedule: Schedule) -> ScheduleState | None:
    row = connection.execute(sa.select(schedules).where(_key(schedule))).first()
    return None if row is None else _state(row)


def _state(row: sa.Row[*tuple[Any, ...]]) -> ScheduleState:
    return ScheduleState(
        country=row.country,
        name=row.name,
        definition=row.definition,
        last_due=row.last_due,
        decision=Decision(row.decision),
        reason=row.reason,
        job_id=row.job_id,
        wanted_due=row.wanted_due,
    )
