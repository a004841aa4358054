"""The scheduler: what is due by the countries' schedules becomes a job, once among all replicas.

A due moment is decided by one transaction of the job store, which all replicas share: it queues the job and notes that
the schedule is decided up to there, or does neither. The store's clock tells what is due. So neither crashes nor
replicas whose clocks differ make a job twice or lose one; and the job's id follows from its due moment.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from sql_databricks_bridge.core.backoff import Backoff
from sql_databricks_bridge.core.cron import MOST_COUNTED, Cron
from sql_databricks_bridge.core.extractor import first_line
from sql_databricks_bridge.errors import AuditError, BridgeError, DueDecided, JobStoreUnavailable, Transient
from sql_databricks_bridge.models.job_records import Job, NewJob
from sql_databricks_bridge.models.schedules import Decision, Missed, Schedule, ScheduleState

log = structlog.get_logger(__name__)

_LEAST_PAUSE_S = 0.05


class ScheduleStore(Protocol):
    """What the job store remembers of schedules. Every method raises `JobStoreUnavailable` where it can't be reached.

    Whatever changes a state raises `DueDecided` where its `last_due` is not the store's any more.
    """

    def now(self) -> dt.datetime:
        """The store's clock, which all replicas share."""
        ...

    def states(self) -> list[ScheduleState]:
        """What is known of every schedule that was ever seen."""
        ...

    def begin(self, schedule: Schedule, since: dt.datetime) -> ScheduleState:
        """Note that the schedule is there: due moments count from `since` on. Where somebody was first, that stands."""
        ...

    def redefine(self, state: ScheduleState, definition: str, since: dt.datetime) -> None:
        """Note that the schedule is another one now, whose due moments count from `since` on."""
        ...

    def want(self, state: ScheduleState, due: dt.datetime) -> None:
        """Note that `due` was seen in time: nobody takes it for missed, however long it waits."""
        ...

    def decide(self, state: ScheduleState, due: dt.datetime, decision: Decision, reason: str) -> None:
        """Note that nothing is queued for `due`, and for what was due before it, and why."""
        ...

    def queue(self, state: ScheduleState, due: dt.datetime, job: NewJob, *, queue_limit: int) -> Job:
        """Queue the job of `due` and note it, both or neither. `QueueFull`."""
        ...


@dataclass(frozen=True, slots=True)
class Due:
    """A due moment that is to become a job of that id. `today` is its date where the schedule is at home."""

    schedule: Schedule
    moment: dt.datetime
    job_id: str
    today: dt.date


Commit = Callable[[NewJob], Job]
Launch = Callable[[Due, Commit], Job]
"""Makes the job of a due moment and hands it to `Commit`, which queues it; raises what keeps it from that."""


@dataclass(frozen=True, slots=True)
class SchedulerOptions:
    """Looks every `look_s` seconds, and when something is due. Later than `grace` after it, it counts as missed."""

    look_s: float = 5.0
    grace: dt.timedelta = dt.timedelta(minutes=5)
    queue_limit: int = 100


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What pass 1 of a look leaves for pass 2."""

    due: Due
    state: ScheduleState


@dataclass(slots=True)
class _Waiting:
    """A due moment that could not be queued: how often that failed, and when it is tried again."""

    moment: dt.datetime
    failures: int = 0
    again_at: dt.datetime = field(default=dt.datetime.min.replace(tzinfo=dt.UTC))


class Scheduler:
    """Looks at schedules until `stop` is set. `run` and `look` are for one thread."""

    def __init__(
        self,
        schedules: Callable[[], Sequence[Schedule]],
        store: ScheduleStore,
        job: Callable[[str], Job | None],
        launch: Launch,
        options: SchedulerOptions | None = None,
        *,
        on_decided: Callable[[Due, Decision, str | None], None] = lambda *_: None,
        clock: Callable[[], dt.datetime] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """`schedules` gives those of now, `job` is `JobStore.get`. The `clock` to take is the store's.

        `on_decided` is told what became of a due moment, by this replica alone, with the reason where it is no job.
        """
        self._schedules = schedules
        self._store = store
        self._job = job
        self._launch = launch
        self._options = options or SchedulerOptions()
        self._on_decided = on_decided
        self._clock = clock or store.now
        self._crons: dict[str, Cron] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._backoff = Backoff()
        self.stop = stop or threading.Event()

    def run(self) -> None:
        """Look again and again; what fails is logged and tried again."""
        failures = 0
        while not self.stop.is_set():
            try:
                pause_s = self.look()
                failures = 0
            except BridgeError as exc:
                failures += 1
                pause_s = max(1.0, self._backoff.pause_s(failures))
                log.warning("scheduler.waiting", why=str(exc), seconds=round(pause_s, 1))
            except Exception:  # the edge of a thread
                log.exception("scheduler.failed")
                pause_s = self._options.look_s
            self.stop.wait(pause_s)

    def look(self) -> float:
        """Decide everything that is due; return in how many seconds to look again. `JobStoreUnavailable`."""
        now = self._clock()
        schedules = self._schedules()
        states = {(state.country, state.name): state for state in self._store.states()} if schedules else {}
        # All that is due is noted before the first is tried: a server that is away may take its time to say so.
        wanted: list[_Wanted] = []
        for schedule in schedules:
            with self._guard(schedule):
                wanted += self._want(schedule, states.get((schedule.country, schedule.name)), now)
        self._crons = {schedule.definition: self._cron(schedule) for schedule in schedules}
        for item in wanted:
            if not self.stop.is_set():
                with self._guard(item.due.schedule):
                    self._try(item, now)
        pause_s = [(cron.after(now) - now).total_seconds() for cron in self._crons.values()]
        return max(_LEAST_PAUSE_S, min([self._options.look_s, *pause_s]))

    # Pass 1: what is due -------------------------------------------------------------------------------------------

    def _want(self, schedule: Schedule, state: ScheduleState | None, now: dt.datetime) -> list[_Wanted]:
        """Note what is due, or decide at once that it is skipped; return what is to be queued, one at most."""
        state, cron = self._known(schedule, state, now), self._cron(schedule)
        newest = cron.newest(state.last_due, now)
        if newest is None:
            return []
        due = Due(schedule, newest.due, schedule.job_id(newest.due), cron.local(newest.due).date())
        seen = state.wanted_due == newest.due
        grace = self._options.grace
        is_given_up = not seen and schedule.missed is Missed.SKIP and now - newest.due > grace
        lost = newest.count if is_given_up else newest.count - 1
        if lost and not seen:
            log.warning("schedule.missed", schedule=schedule.label, times=_times(lost), policy=schedule.missed.value)
        if is_given_up:
            self._skip(due, state, f"missed {_times(lost)} times: nobody was there within {grace} of it")
        elif job := self._under_way(state):
            self._skip(due, state, f"job {job.job_id}, of a due moment before, is still {job.status.value}")
        else:
            if not seen:
                self._store.want(state, newest.due)
            return [_Wanted(due, state)]
        return []

    def _known(self, schedule: Schedule, state: ScheduleState | None, now: dt.datetime) -> ScheduleState:
        """The state; of a schedule that is new, or another one now, from here on."""
        state = state or self._store.begin(schedule, now)
        if state.definition != schedule.definition:
            # Not from now on: while replicas have different files, each would throw away what is due by the other's.
            since = max(state.last_due, now - self._options.grace)
            self._store.redefine(state, schedule.definition, since)
            state = dataclasses.replace(state, definition=schedule.definition, last_due=since, wanted_due=None)
        return state

    def _under_way(self, state: ScheduleState) -> Job | None:
        job = self._job(state.job_id) if state.job_id is not None else None
        return None if job is None or job.ended else job

    def _skip(self, due: Due, state: ScheduleState, reason: str) -> None:
        self._store.decide(state, due.moment, Decision.SKIPPED, reason)
        log.warning("schedule.skipped", schedule=due.schedule.label, due=due.moment.isoformat(), why=reason)
        self._decided(due, Decision.SKIPPED, reason)

    # Pass 2: jobs --------------------------------------------------------------------------------------------------

    def _try(self, wanted: _Wanted, now: dt.datetime) -> None:
        """Queue the job, or note why it is refused, or leave it for another look."""
        due, state = wanted.due, wanted.state
        waiting = self._waiting.get(due.schedule.label)
        if waiting is None or waiting.moment != due.moment:
            waiting = _Waiting(due.moment)
        elif now < waiting.again_at:
            return
        limit = self._options.queue_limit
        try:
            job = self._launch(due, lambda new: self._store.queue(state, due.moment, new, queue_limit=limit))
        except (DueDecided, JobStoreUnavailable):
            raise
        except BridgeError as exc:
            if not isinstance(exc, (Transient, AuditError)):
                self._refuse(due, state, exc)
                return
            waiting.failures += 1
            pause_s = self._backoff.pause_s(waiting.failures)
            waiting.again_at = now + dt.timedelta(seconds=pause_s)
            self._waiting[due.schedule.label] = waiting
            log.warning(
                "schedule.waiting", schedule=due.schedule.label, due=due.moment.isoformat(), why=str(exc),
                seconds=round(pause_s, 1),
            )  # fmt: skip
            return
        self._waiting.pop(due.schedule.label, None)
        log.info("schedule.queued", schedule=due.schedule.label, due=due.moment.isoformat(), job_id=job.job_id)
        self._decided(due, Decision.QUEUED, None)

    def _refuse(self, due: Due, state: ScheduleState, exc: BridgeError) -> None:
        reason = first_line(exc)
        self._store.decide(state, due.moment, Decision.REFUSED, reason)
        log.error("schedule.refused", schedule=due.schedule.label, due=due.moment.isoformat(), why=reason)
        self._decided(due, Decision.REFUSED, reason)

    def _decided(self, due: Due, decision: Decision, reason: str | None) -> None:
        try:
            self._on_decided(due, decision, reason)
        except Exception:  # who watches can't stop a scheduler
            log.exception("hook.failed", hook="on_decided")

    @contextmanager
    def _guard(self, schedule: Schedule) -> Iterator[None]:
        """What fails for one schedule does not keep the others from going on; a job store that is away stops all."""
        try:
            yield
        except DueDecided:
            log.debug("schedule.decided_elsewhere", schedule=schedule.label)
        except JobStoreUnavailable:
            raise
        except Exception:  # one schedule's trouble is not the others'
            log.exception("schedule.failed", schedule=schedule.label)

    def _cron(self, schedule: Schedule) -> Cron:
        return self._crons.get(schedule.definition) or Cron(schedule.cron, schedule.timezone)


def _times(count: int) -> str:
    return f"{count}" if count < MOST_COUNTED - 1 else f"{count} or more"
