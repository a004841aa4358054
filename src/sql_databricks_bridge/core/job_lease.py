"""Holding on to a job: its lease is renewed while it runs, and its run is stopped before somebody else may take it up.

Both clocks count: the store's decides who has the job, this machine's says how long the store can't have given it away.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Sequence
from enum import IntEnum

import structlog

from sql_databricks_bridge.core.ports import JobStore
from sql_databricks_bridge.core.threads import daemon
from sql_databricks_bridge.errors import Cancelled, JobStoreUnavailable, LeaseLost
from sql_databricks_bridge.models.job_records import Lease
from sql_databricks_bridge.models.jobs import QueryOutcome

log = structlog.get_logger(__name__)

_CLOCK_ID = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_seconds() -> float:
    """Monotonic seconds that count while the machine sleeps, where the system can tell (Linux: CLOCK_BOOTTIME)."""
    return time.clock_gettime(_CLOCK_ID)


class Ending(IntEnum):
    """Why a run is stopped; the higher one decides what becomes of the job."""

    PUT_OFF = 1
    SHUTDOWN = 2
    CANCELLED = 3
    LOST = 4


class StoreContact:
    """When the job store answered last. The log hears once that it is away, and once that it is back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.seen_at: dt.datetime | None = None
        self.problem: str | None = None

    def seen(self) -> None:
        """It answered."""
        with self._lock:
            self.seen_at = dt.datetime.now(dt.UTC)
            was_away, self.problem = self.problem is not None, None
        if was_away:
            log.info("job_store.back")

    def away(self, exc: JobStoreUnavailable) -> None:
        """It did not."""
        with self._lock:
            is_news, self.problem = self.problem is None, exc.message
        if is_news:
            log.warning("job_store.away", why=str(exc))


class Tenure:
    """A lease from its claim to the last write under it. `stop` is set when the job's run is to stop, for any reason.

    One thread renews the lease every `beat_s` seconds and hears of a cancellation on the way. It may hang in the store,
    so another one, which never asks the store, calls `watch` often. The lease counts from before the call that took or
    renewed it, and is given up a sixth of it before its end: that time is left to stop in.
    """

    def __init__(
        self,
        store: JobStore,
        lease: Lease,
        *,
        lease_s: float,
        beat_s: float,
        claimed_at: float,
        contact: StoreContact,
        live: Callable[[], Sequence[QueryOutcome]],
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        """`claimed_at` is what `clock` said before the claim was asked for; `live` gives the queries as they stand."""
        self._store = store
        self._lease_s = lease_s
        self._beat_s = min(beat_s, lease_s / 3)
        self._contact = contact
        self._live = live
        self._clock = clock
        self._lock = threading.Lock()
        self._until = claimed_at + lease_s * 5 / 6
        self._ending: Ending | None = None
        self._lost = threading.Event()
        self._closed = threading.Event()
        self._due = threading.Event()
        self._thread = daemon(self._keep, f"heartbeat {lease.job_id}")
        self.lease = lease
        self.stop = threading.Event()

    @property
    def ending(self) -> Ending | None:
        """Why the run was stopped, None where it was not."""
        self.watch()
        with self._lock:
            return self._ending

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def end(self, why: Ending) -> None:
        """Stop the run."""
        with self._lock:
            self._ending = max(self._ending or why, why)
        if why is Ending.LOST:
            self._lost.set()
            self._closed.set()
            self._due.set()
        self.stop.set()

    def beat(self) -> None:
        """Renew now: there may be a cancellation to hear of."""
        self._due.set()

    def watch(self) -> None:
        """Give the job up where the lease is about to run out."""
        if not self._lost.is_set() and self._clock() >= self._until:
            log.warning("lease.expired", job_id=self.lease.job_id, attempt=self.lease.attempt)
            self.end(Ending.LOST)

    def fence(self) -> None:
        """Raise `Cancelled` unless the job is still this runner's."""
        if self.ending is Ending.LOST:
            raise Cancelled("The job is another runner's by now.")

    def close(self) -> None:
        """Renew no more. A renewal that hangs in the store is not waited for."""
        self._closed.set()
        self._due.set()

    def write(self, last: Callable[[], None]) -> bool:
        """Close, then write the last thing under the lease: again and again while the store is away and it lasts.

        False: the lease was lost before it is known to be written.
        """
        self.close()
        while self.ending is not Ending.LOST:
            try:
                last()
            except JobStoreUnavailable as exc:
                self._contact.away(exc)
                self._lost.wait(self._retry_s)
            except LeaseLost:
                self._contact.seen()
                self.end(Ending.LOST)
            else:
                self._contact.seen()
                return True
        return False

    def _keep(self) -> None:
        pause_s = self._beat_s
        while True:
            self._due.wait(pause_s)
            self._due.clear()
            self.watch()
            if self._closed.is_set():
                return
            pause_s = self._beat_s if self._renew() else self._retry_s

    def _renew(self) -> bool:
        asked_at = self._clock()
        try:
            cancelled = self._store.renew(self.lease, self._lease_s, self._live())
        except JobStoreUnavailable as exc:
            self._contact.away(exc)
            return False
        except LeaseLost:
            if not self._closed.is_set():  # else its end was written meanwhile
                self.end(Ending.LOST)
            return True
        except Exception:  # the edge of a thread: the lease runs out, and the next runner may do better
            log.exception("lease.not_renewed")
            return False
        self._contact.seen()
        self._until = asked_at + self._lease_s * 5 / 6
        if cancelled:
            self.end(Ending.CANCELLED)
        return True

    @property
    def _retry_s(self) -> float:
        return min(0.5, self._lease_s / 10)
