"""The durable runner: takes jobs up from the store and brings each to its end, whatever happens to this process.

What makes it durable: a job belongs to whoever holds its lease; a query has landed when its manifest is in the volume.
A process that dies, hangs or is cut off loses the lease, and the next one goes on with the queries that have no
manifest. Every attempt lands in folders of its own, and of two manifests of one query the first counts.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from sql_databricks_bridge.core import jobs
from sql_databricks_bridge.core.backoff import Backoff
from sql_databricks_bridge.core.extractor import first_line
from sql_databricks_bridge.core.job_lease import Ending, StoreContact, Tenure, boot_seconds
from sql_databricks_bridge.core.job_resume import Standing, published
from sql_databricks_bridge.core.ports import JobStore, Lakehouse, SqlServer
from sql_databricks_bridge.core.query_task import RunOptions
from sql_databricks_bridge.core.threads import daemon, unless_stopped
from sql_databricks_bridge.errors import BridgeError, Cancelled, JobError, JobStoreUnavailable, Transient
from sql_databricks_bridge.models.job_records import Claim, Job
from sql_databricks_bridge.models.jobs import ExtractionPlan, QueryOutcome, QueryProgress, QueryStatus, RunStatus

log = structlog.get_logger(__name__)

Authorize = Callable[[Job, ExtractionPlan], None]
"""Raises an `AccessError` where the job's user may not have what the plan reads; a `Transient` where nobody can say."""


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """How a runner goes about it; `run` is for each job's queries. Times are seconds.

    `workers` jobs at a time. A lease lasts `lease_s` and is renewed every `beat_s`, or three times as long as it lasts
    where that is more often. An idle runner asks the store every `poll_s`. A job whose runners lost it `max_takeovers`
    times ends failed: it may be what kills them. One of which nobody can say for `turn_s` whether it may run is put off
    for `put_off_s`, so that others have a turn. Where an end is away before the first query, the run is tried again for
    `patience_s`. Pauses between tries grow up to `backoff_cap_s`. Jobs have `stop_s` to be given back in when the
    runner stops.
    """

    workers: int = 2
    lease_s: float = 30.0
    beat_s: float = 2.0
    poll_s: float = 1.0
    max_takeovers: int = 10
    turn_s: float = 10.0
    put_off_s: float = 30.0
    patience_s: float = 300.0
    backoff_cap_s: float = 30.0
    stop_s: float = 15.0
    run: RunOptions = field(default_factory=RunOptions)


@dataclass(frozen=True, slots=True)
class JobHooks:
    """Who else wants to know. Called from several threads; what they raise is logged and changes nothing.

    `query_ended(country, outcome)` for every query that was run here, `job_ended(job)` for every job that was ended
    here, `progress(job_id, moment)` of running queries, for each at most ten times a second.
    """

    query_ended: Callable[[str, QueryOutcome], None] = lambda country, outcome: None  # noqa: ARG005
    job_ended: Callable[[Job], None] = lambda job: None  # noqa: ARG005
    progress: Callable[[str, QueryProgress], None] = lambda job_id, moment: None  # noqa: ARG005


@dataclass(frozen=True, slots=True)
class RunnerHealth:
    """What a runner is at: ids of its jobs, when the store answered last, and why it does not answer now, if so."""

    running: tuple[str, ...]
    store_seen_at: dt.datetime | None
    store_problem: str | None


class JobRunner:
    """Works on the store's jobs until `stop` is set. `run` is for one thread; `wake` and `health` for any."""

    def __init__(
        self,
        store: JobStore,
        source: SqlServer,
        lakehouse: Lakehouse,
        options: RunnerOptions | None = None,
        *,
        runner_name: str,
        authorize: Authorize,
        hooks: JobHooks | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """`runner_name` tells whose lease it is; give every process another one."""
        self._store = store
        self._source = source
        self._lakehouse = lakehouse
        self._options = options or RunnerOptions()
        self._name = runner_name
        self._authorize = authorize
        self._hooks = hooks or JobHooks()
        self._backoff = Backoff(cap_s=self._options.backoff_cap_s)
        self._contact = StoreContact()
        self._turn = threading.Lock()
        self._woken = threading.Event()
        self._lock = threading.Lock()
        self._tenures: list[Tenure] = []
        self.stop = stop or threading.Event()

    @property
    def health(self) -> RunnerHealth:
        """What it is at; asks nobody."""
        with self._lock:
            running = tuple(tenure.lease.job_id for tenure in self._tenures)
        return RunnerHealth(running, self._contact.seen_at, self._contact.problem)

    def wake(self) -> None:
        """Look at the store now: a job was added or cancelled in this process."""
        self._woken.set()
        for tenure in self._held():
            tenure.beat()

    def run(self) -> None:
        """Work until `stop` is set, then give back what has not ended: `stop_s` seconds at most.

        This thread only watches the leases' ends, so that nothing which hangs can keep it from that.
        """
        options = self._options
        workers = [daemon(self._work, f"job worker {number}") for number in range(options.workers)]
        for worker in workers:
            worker.start()
        tick_s = min(0.5, options.lease_s / 20)
        while not self.stop.wait(tick_s):
            for tenure in self._held():
                tenure.watch()
        self._woken.set()
        deadline = boot_seconds() + options.stop_s
        while (alive := [worker for worker in workers if worker.is_alive()]) and boot_seconds() < deadline:
            for tenure in self._held():
                tenure.end(Ending.SHUTDOWN)
                tenure.watch()
            alive[0].join(min(tick_s, 0.05))
        for tenure in self._held():  # its thread hangs: it may neither publish nor write any more
            log.warning("job.left", job_id=tenure.lease.job_id, lease_s=options.lease_s)
            tenure.end(Ending.LOST)

    # One worker --------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self.stop.is_set():
            try:
                taken = self._next()
                if taken is not None:
                    self._attend(*taken)
            except Exception:  # the edge of a thread: the lease of a job that was taken up runs out
                log.exception("runner.failed")
                self.stop.wait(self._options.poll_s)

    def _next(self) -> tuple[Claim, float] | None:
        """Wait for a job and take it up, with the moment before; None where it is time to stop.

        Workers wait in turn, so that an idle runner polls as often as one worker does.
        """
        with self._turn:
            while not self.stop.is_set():
                self._woken.clear()
                asked_at = boot_seconds()
                try:
                    claim = self._store.claim(self._name, self._options.lease_s)
                except JobStoreUnavailable as exc:
                    self._contact.away(exc)
                else:
                    self._contact.seen()
                    if claim is not None:
                        return claim, asked_at
                if not self.stop.is_set():
                    self._woken.wait(self._options.poll_s)
        return None

    def _attend(self, claim: Claim, asked_at: float) -> None:
        job, options = claim.job, self._options
        standing = Standing(claim.plan, job.queries)
        with structlog.contextvars.bound_contextvars(
            job_id=job.job_id, request_id=job.request_id, attempt=claim.lease.attempt
        ):
            tenure = Tenure(
                self._store,
                claim.lease,
                lease_s=options.lease_s,
                beat_s=options.beat_s,
                claimed_at=asked_at,
                contact=self._contact,
                live=standing.now,
            )
            with self._lock:
                self._tenures.append(tenure)
            try:
                tenure.start()
                if self.stop.is_set():  # `run` may have ended already
                    tenure.end(Ending.SHUTDOWN)
                log.info("job.taken", country=job.country, user=job.user_name, queries=len(claim.plan.queries))
                error = self._outcome(claim, tenure, standing)
                self._conclude(claim, tenure, standing, error)
            finally:
                tenure.close()
                with self._lock:
                    self._tenures.remove(tenure)

    # One job -----------------------------------------------------------------------------------------------------

    def _outcome(self, claim: Claim, tenure: Tenure, standing: Standing) -> str | None:
        """Do what is left of the job; return why it failed as a whole, None where its queries or an ending tell."""
        try:
            self._do(claim.job, claim.plan, tenure, standing)
        except Cancelled:
            return None
        except BridgeError as exc:
            error = first_line(exc)
        except Exception as exc:  # the edge of a job: it needs an end, and its worker goes on
            log.exception("job.crashed")
            error = (
                f"The job broke off by {type(exc).__name__}, a fault of the bridge. The service's log has the story."
            )
        else:
            return None
        with suppress(BridgeError):  # what has landed is told, where that can be found out
            self._ask_the_volume(claim.plan, tenure, standing)
        return error

    def _do(self, job: Job, plan: ExtractionPlan, tenure: Tenure, standing: Standing) -> None:
        options = self._options
        if job.takeovers >= options.max_takeovers:
            raise JobError(
                f"The job was taken over {job.takeovers} times and never came to its end: its runner died, hung or was"
                " cut off each time.",
                hint="The service's log may tell why. What has landed is kept; ask for the rest again.",
            )
        try:
            self._patiently(
                tenure,
                options.turn_s,
                lambda: unless_stopped(lambda: self._authorize(job, plan), tenure.stop, "authorize"),
            )
        except BridgeError as exc:
            if not isinstance(exc, Transient):
                raise
            # It must neither run unauthorized nor fail because nobody can be asked: it asks again, without an end.
            log.warning("job.put_off", why=str(exc), seconds=options.put_off_s)
            tenure.end(Ending.PUT_OFF)
            raise Cancelled("The job was put off.") from exc
        self._patiently(tenure, options.patience_s, lambda: self._extract(job, plan, tenure, standing))

    def _extract(self, job: Job, plan: ExtractionPlan, tenure: Tenure, standing: Standing) -> None:
        """Run the queries that have not landed. Raises only what kept the run from beginning."""
        self._ask_the_volume(plan, tenure, standing)
        landed = standing.with_status(QueryStatus.COMPLETED)
        rest = tuple(query for query in plan.queries if query.name not in landed)
        if not rest:
            return

        def moved(moment: QueryProgress) -> None:
            standing.moved(moment)
            self._hooks.progress(job.job_id, moment)

        def ended(outcome: QueryOutcome) -> None:
            standing.ended(outcome)
            self._hooks.query_ended(job.country, outcome)

        jobs.run(
            dataclasses.replace(plan, queries=rest),
            self._source,
            self._lakehouse,
            options=self._options.run,
            on_progress=moved,
            on_end=ended,
            stop=tenure.stop,
            fence=tenure.fence,
        )
        with suppress(BridgeError):  # one whose manifest was written, but without an answer, has landed
            self._ask_the_volume(plan, tenure, standing, standing.with_status(QueryStatus.FAILED))

    def _ask_the_volume(
        self, plan: ExtractionPlan, tenure: Tenure, standing: Standing, names: Collection[str] | None = None
    ) -> None:
        """Take note of which queries have landed, of all where no `names` are given."""
        if names is None:
            names = [query.name for query in plan.queries] if plan.attempt > 1 else []
        if not names:
            return
        landed = unless_stopped(
            lambda: published(self._lakehouse, plan, names), tenure.stop, "look for published queries"
        )
        standing.settle(names, landed)
        if landed:
            log.info("job.found_landed", queries=sorted(landed))

    def _patiently(self, tenure: Tenure, patience_s: float, work: Callable[[], None]) -> None:
        """Do it again while an end is away, as long as `patience_s`; `Cancelled` where the run is stopped meanwhile."""
        began, failures = boot_seconds(), 0
        while True:
            try:
                return work()
            except BridgeError as exc:
                if not isinstance(exc, Transient) or boot_seconds() - began >= patience_s:
                    raise
                failures += 1
                pause_s = self._backoff.pause_s(failures)
                log.warning("job.waiting", why=str(exc), seconds=round(pause_s, 1))
                if tenure.stop.wait(pause_s):
                    raise Cancelled("The run was stopped.") from exc

    def _conclude(self, claim: Claim, tenure: Tenure, standing: Standing, error: str | None) -> None:
        """Write the job's end, or give it back, or nothing where it is another's."""
        lease = claim.lease
        unfinished = standing.with_status(QueryStatus.QUEUED, QueryStatus.RUNNING, QueryStatus.CANCELLED)
        ending = tenure.ending
        if error is None and unfinished and ending in (Ending.SHUTDOWN, Ending.PUT_OFF):
            queries = standing.requeued()
            put_off_s = self._options.put_off_s if ending is Ending.PUT_OFF else None
            if tenure.write(lambda: self._store.release(lease, queries, put_off_s=put_off_s)):
                log.info("job.released", unfinished=sorted(unfinished))
                return
        else:
            queries = standing.closed()
            status = RunStatus.FAILED if error is not None else jobs.overall_status(queries)
            if tenure.write(lambda: self._store.finish(lease, status, queries, error=error)):
                log.info("job.ended", status=status.value, error=error)
                self._tell_end(
                    dataclasses.replace(
                        claim.job, status=status, queries=queries, error=error, finished_at=dt.datetime.now(dt.UTC)
                    )
                )
                return
        log.warning("job.lost", what="another runner takes it up, or has done so; nothing more is written here")

    def _tell_end(self, job: Job) -> None:
        try:
            self._hooks.job_ended(job)
        except Exception:  # who watches can't break a runner
            log.exception("hook.failed", hook="job_ended")

    def _held(self) -> list[Tenure]:
        with self._lock:
            return list(self._tenures)
