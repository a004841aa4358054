"""Looking after what the service depends on, in the background: a probe reads the last look and waits for nothing.

Each dependency has a thread of its own, so that one that hangs holds up neither the others nor a probe. A look that
hangs for long is left to itself and another thread takes its place, so that the end of an outage is seen.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import structlog

from sql_databricks_bridge import errors
from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.ports import SqlServer, SqlServerConnection
from sql_databricks_bridge.errors import BridgeError

log = structlog.get_logger(__name__)

DependencyName = Literal["sql_server", "databricks", "job_store", "permissions"]
Problem = Literal[
    "unavailable", "busy", "sign-in-refused", "not-found", "settings", "failed", "timeout", "stale", "new"
]
"""What is wrong, in a word: `timeout`: the look still hangs; `stale`: none ended lately; `new`: none has ended yet."""

Look = Callable[[], None]


class StillWorks(Exception):
    """Raised by a look: something is wrong, and told, but the service can do its work all the same."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


_MOST_ABANDONED = 5
_TICK_S = 0.5
_AGAIN_S = 2.0  # the end of an outage should be noticed sooner than its beginning
_KINDS: Sequence[tuple[type[BridgeError], Problem]] = (
    (errors.SourceBusy, "busy"),
    (errors.SourceSignInError, "sign-in-refused"),
    (errors.LakehouseSignInError, "sign-in-refused"),
    (errors.LakehouseNotFound, "not-found"),
    (errors.UsageError, "settings"),
    (errors.SourceUnavailable, "unavailable"),
    (errors.LakehouseUnavailable, "unavailable"),
    (errors.JobStoreUnavailable, "unavailable"),
)


@dataclass(frozen=True, slots=True)
class Dependency:
    """Something that the service needs. `make_look` is called in the thread that looks and returns its look.

    A look asks for a sign of life; what it raises means no. One that takes longer than `timeout_s` counts as no, and
    is left to itself after `abandon_s`.
    """

    name: DependencyName
    make_look: Callable[[], Look]
    interval_s: float = 5.0
    timeout_s: float = 5.0
    abandon_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of a dependency. `checked_at` is the end of the last look, `latency_ms` what that took.

    `up`: the service can work with it, whatever the problem.
    """

    name: DependencyName
    problem: Problem | None
    latency_ms: float | None
    checked_at: dt.datetime | None
    up: bool


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of all. `checked_at` is the oldest look's, None while one has not ended yet."""

    findings: tuple[Finding, ...]

    @property
    def ready(self) -> bool:
        """Whether everything is up."""
        return all(finding.up for finding in self.findings)

    @property
    def checked_at(self) -> dt.datetime | None:
        """When the oldest of the last looks ended."""
        times = [finding.checked_at for finding in self.findings]
        return None if None in times else min((at for at in times if at is not None), default=None)


class HealthChecks:
    """Looks after the dependencies between `start` and `stop`."""

    def __init__(
        self,
        dependencies: Sequence[Dependency],
        *,
        on_look: Callable[[str, bool], None] = lambda _, __: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_look` gets the name and whether it is up after each look: for those who count."""
        self._stop = threading.Event()
        self._watches = [_Watch(dependency, self._stop, on_look, monotonic) for dependency in dependencies]

    def start(self) -> None:
        """Begin to look; returns at once."""
        threading.Thread(target=self._supervise, name="health", daemon=True).start()

    def stop(self) -> None:
        """Look no more; a look under way is not waited for."""
        self._stop.set()

    def health(self) -> Health:
        """What is known now. Never waits."""
        return Health(tuple(watch.finding() for watch in self._watches))

    @property
    def first_round_done(self) -> bool:
        """Whether everything was looked at once, or had its time."""
        return all(watch.finding().problem != "new" for watch in self._watches)

    def _supervise(self) -> None:
        while not self._stop.is_set():
            for watch in self._watches:
                watch.look_after()
            self._stop.wait(_TICK_S)


class _Watch:
    """One dependency and the thread that looks at it."""

    def __init__(
        self,
        dependency: Dependency,
        stop: threading.Event,
        on_look: Callable[[str, bool], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._dependency = dependency
        self._stop = stop
        self._on_look = on_look
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._generation = 0
        self._began: float | None = None
        self._ended: float | None = None
        self._last = Finding(dependency.name, "new", None, None, up=False)

    def look_after(self) -> None:
        """Start the thread where there is none yet, or where it hangs for too long."""
        with self._lock:
            hangs = self._began is not None and self._monotonic() - self._began > self._dependency.abandon_s
            if self._generation and (not hangs or self._generation > _MOST_ABANDONED):
                return
            self._generation += 1
            self._began = self._monotonic()
            generation = self._generation
        threading.Thread(
            target=self._run, args=(generation,), name=f"health of {self._dependency.name}", daemon=True
        ).start()

    def finding(self) -> Finding:
        """What is known now: the last look, unless that is too old or the one under way takes too long."""
        now, wanted = self._monotonic(), self._dependency
        with self._lock:
            last, began, ended = self._last, self._began, self._ended
        problem, up = last.problem, last.up
        if began is not None and now - began > wanted.timeout_s:
            problem, up = "timeout", False
        elif ended is not None and now - ended > 3 * wanted.interval_s + wanted.timeout_s:
            problem, up = "stale", False
        return Finding(last.name, problem, last.latency_ms if up else None, last.checked_at, up)

    def _run(self, generation: int) -> None:
        look: Look | None = None
        while not self._stop.is_set():
            with self._lock:
                if generation != self._generation:
                    return
                began = self._began = self._monotonic()
            problem: Problem | None = None
            why, up = "", False
            try:
                look = look or self._dependency.make_look()
                look()
                up = True
            except StillWorks as exc:
                problem, up = exc.problem, True
            except BridgeError as exc:
                problem, why = _kind_of(exc), str(exc)
            except Exception:  # the edge of a thread: it must go on looking
                log.exception("dependency.look_failed", name=self._dependency.name)
                problem, why = "failed", "a fault of the service's own"
            self._note(generation, problem, why, self._monotonic() - began, up=up)
            pause_s = self._dependency.interval_s
            self._stop.wait(pause_s if problem is None else min(pause_s, _AGAIN_S))

    def _note(self, generation: int, problem: Problem | None, why: str, seconds: float, *, up: bool) -> None:
        name = self._dependency.name
        with self._lock:
            if generation != self._generation:
                return
            self._began, self._ended = None, self._monotonic()
            before, latency_ms = self._last.problem, round(seconds * 1000, 1)
            self._last = Finding(name, problem, latency_ms, dt.datetime.now(dt.UTC), up)
        self._on_look(name, problem is None)
        if problem is not None and problem != before:
            log.warning("dependency.degraded" if up else "dependency.down", name=name, problem=problem, why=why)
        elif problem is None and before is not None:
            log.info("dependency.up", name=name)


class SqlServerLook:
    """Asks SQL Server for a sign of life on a connection that is kept, and replaced at once where it was lost.

    After a sign-in that was refused the next one waits for `sign_in_every_s`: a wrong password locks no login out.
    """

    def __init__(
        self,
        server: SqlServer,
        *,
        sign_in_every_s: float = 15.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._sign_in_every_s = sign_in_every_s
        self._monotonic = monotonic
        self._connection: SqlServerConnection | None = None
        self._refused: BridgeError | None = None
        self._refused_at = 0.0

    def __call__(self) -> None:
        """Look. Raises what the server, or the last sign-in, said."""
        if self._connection is not None:
            try:
                self._connection.ping()
                return
            except BridgeError:
                with suppress(BridgeError):
                    self._connection.close()
                self._connection = None
        began = self._monotonic()
        if self._refused is not None and began - self._refused_at < self._sign_in_every_s:
            raise self._refused
        self._refused = None
        try:
            self._connection = self._server.connect()
            self._connection.ping()
        except errors.SourceUnavailable:  # nobody there to sign in to
            raise
        except BridgeError as exc:
            self._refused_at, self._refused = began, exc
            raise


def impatient(settings: Settings) -> Settings:
    """The settings for the clients that look: what does not answer within seconds is away."""
    return settings.model_copy(
        update={
            "sqlserver_login_timeout_s": min(5, settings.sqlserver_login_timeout_s),
            "sqlserver_query_timeout_s": 3,
            "databricks_retry_timeout_s": min(5, settings.databricks_retry_timeout_s),
        }
    )


def dependencies(
    *, sql_server: SqlServer, databricks: Look, job_store: Look, permissions: Look
) -> tuple[Dependency, ...]:
    """The four that GET /health/ready names. Clients are built from `impatient` settings and are nobody else's.

    `databricks` asks by REST, never by a statement, so that an idle warehouse may stop: `DatabricksLakehouse.ping`.
    """
    return (
        Dependency("sql_server", lambda: SqlServerLook(sql_server), interval_s=2.0, timeout_s=4.0),
        Dependency("databricks", lambda: databricks, interval_s=10.0, timeout_s=8.0),
        Dependency("job_store", lambda: job_store, interval_s=2.0),
        Dependency("permissions", lambda: permissions),
    )


def documented(health: Health) -> Mapping[str, object]:
    """The findings as GET /health/ready tells them: kinds of problems, never an address or a driver's words."""
    return {
        "status": "ready" if health.ready else "unready",
        "checked_at": health.checked_at,
        "dependencies": [
            {
                "name": finding.name,
                "status": "up" if finding.up else "down",
                "latency_ms": finding.latency_ms,
                "problem": finding.problem,
            }
            for finding in health.findings
        ],
    }


def _kind_of(exc: BridgeError) -> Problem:
    return next((problem for kind, problem in _KINDS if isinstance(exc, kind)), "failed")
