"""What the service does besides answering: open the job store, run jobs and schedules, apply events, tidy up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from sql_databricks_bridge import composition
from sql_databricks_bridge.api import scheduling
from sql_databricks_bridge.api.dependencies import Service
from sql_databricks_bridge.auth.anchoring import Anchoring
from sql_databricks_bridge.auth.loader import Look
from sql_databricks_bridge.auth.watching import PermissionsWatch
from sql_databricks_bridge.core.threads import daemon
from sql_databricks_bridge.errors import BridgeError, JobStoreUnavailable
from sql_databricks_bridge.sync.poller import CycleReport

log = structlog.get_logger(__name__)

_TIDY_S = 5.0
_PRUNE_S = 3600.0
_RETRY_S = 2.0
_POLLER_RETRY_S = 30.0
_JOIN_S = 20.0


class Background:
    """The threads of one service. They are daemons: one that hangs in a driver does not keep the process alive."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stop = threading.Event()
        self._poller = daemon(self._poll, "poller") if service.poller is not None else None
        self._runner = daemon(service.runner.run, "job runner")
        scheduler = scheduling.scheduler(service)
        self._scheduler = daemon(scheduler.run, "scheduler") if scheduler is not None else None
        self._tidier = daemon(self._tidy_up, "housekeeping")
        self._opener = daemon(self._open_later, "open the job store")
        self._watch = PermissionsWatch(service.permissions, self._permissions_changed)
        self._anchoring = Anchoring(service.audit, service.store)
        self._pruned: float | None = None

    def start(self) -> None:
        """Begin. A job store that is away is waited for in the background; `SettingsError` where it is a wrong one."""
        self._service.audit.write("service", action="start", outcome="started")  # or it does not: nothing could change
        self._watch.start()
        try:
            self._service.store.upgrade()
        except JobStoreUnavailable as exc:
            log.warning("store.waiting", why=str(exc))
            self._opener.start()
        else:
            self._begin()
        self._service.health.start()  # by now, so that a store without its tables is no finding

    def stop(self) -> None:
        """End in order: no new events and jobs, what is in hand finished or given back, the audit log last."""
        service = self._service
        service.stop()
        self._stop.set()
        deadline = time.monotonic() + _JOIN_S
        for thread in (self._opener, self._poller, self._runner, self._tidier, self._scheduler):
            if thread is not None and thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
                if thread.is_alive():
                    log.warning("service.thread_left", name=thread.name)
        service.health.stop()
        self._watch.close()
        if service.audit.head is not None:  # else it did not start for want of one
            service.note("service", action="stop", outcome="stopped")
        self._quietly(service.audit.close)
        self._anchoring.close()
        service.store.close()

    def _open_later(self) -> None:
        while not self._stop.wait(_RETRY_S):
            try:
                self._service.store.upgrade()
            except JobStoreUnavailable:
                continue
            except BridgeError as exc:  # nobody is there to be told by an exit code: /health/startup stays at 503
                log.error("store.refused", why=str(exc))
                return
            self._begin()
            return

    def _begin(self) -> None:
        self._anchoring.start()
        self._runner.start()
        self._tidier.start()
        for thread in (self._poller, self._scheduler):
            if thread is not None:
                thread.start()
        self._service.started.set()
        log.info("service.started", poller=self._poller is not None, scheduler=self._scheduler is not None)

    # The poller ----------------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        poller = self._service.poller
        assert poller is not None
        while not self._stop.is_set():
            try:
                poller.run(self._told)
            except BridgeError as exc:  # at its start it raises what waiting does not mend; an operator may mend it
                log.error("poller.refused", why=str(exc), seconds=_POLLER_RETRY_S)
            except Exception:  # the edge of a thread
                log.exception("poller.failed", seconds=_POLLER_RETRY_S)
            self._stop.wait(_POLLER_RETRY_S)

    def _told(self, report: CycleReport) -> None:
        for handled in report.handled:
            self._service.metrics.event_ended(handled.row, handled.outcome)

    # Housekeeping --------------------------------------------------------------------------------------------------

    def _tidy_up(self) -> None:
        while True:
            self._quietly(self._count)
            self._quietly(self._prune)
            if self._stop.wait(_TIDY_S):
                return

    def _count(self) -> None:
        self._service.metrics.queue(self._service.store.counts())

    def _prune(self) -> None:
        if self._pruned is not None and time.monotonic() - self._pruned < _PRUNE_S:
            return
        self._pruned = time.monotonic()
        if jobs := self._service.store.prune(self._service.settings.job_retention_days):
            log.info("store.pruned", jobs=jobs)

    def _permissions_changed(self, look: Look) -> None:
        self._service.note(
            "permissions_changed",
            action="reload",
            resource=self._service.permissions.path.as_posix(),
            outcome="loaded" if look.problem is None else "refused",
            reason=None if look.problem is None else composition.redacted(look.problem),
        )

    def _quietly(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BridgeError as exc:
            log.warning("housekeeping.failed", why=str(exc))
        except Exception:  # the edge of a thread: the next round may do it
            log.exception("housekeeping.failed")
