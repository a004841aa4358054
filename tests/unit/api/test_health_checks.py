"""Health: what is known, never waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sql_databricks_bridge import errors
from sql_databricks_bridge.api.health_checks import (
    Dependency,
    Health,
    HealthChecks,
    Look,
    SqlServerLook,
    documented,
    impatient,
)
from sql_databricks_bridge.core.config import load_settings

WAIT_S = 30.0


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Looks:
    """Looks that tests let end one by one: `answer(exc or None)` ends the one under way and waits for its note."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.noted = threading.Semaphore(0)
        self._go = threading.Semaphore(0)
        self._next: BaseException | None = None

    def make(self) -> Look:
        return self._look

    def _look(self) -> None:
        self.begun.release()
        self._go.acquire()
        if self._next is not None:
            raise self._next

    def answer(self, exc: BaseException | None = None) -> None:
        assert self.begun.acquire(timeout=WAIT_S)
        self._next = exc
        self._go.release()
        assert self.noted.acquire(timeout=WAIT_S)

    def note(self, _: str, __: bool) -> None:
        self.noted.release()

    def free(self) -> None:
        self._go.release(100)


@contextmanager
def watched(clock: Clock, **changes: Any) -> Iterator[tuple[HealthChecks, Looks]]:
    looks = Looks()
    options: dict[str, Any] = {"interval_s": 0.0, "timeout_s": 5.0, "abandon_s": 60.0} | changes
    checks = HealthChecks([Dependency("databricks", looks.make, **options)], on_look=looks.note, monotonic=clock)
    checks.start()
    try:
        yield checks, looks
    finally:
        checks.stop()
        looks.free()


def state(health: Health) -> tuple[bool, str | None]:
    (finding,) = health.findings
    return health.ready, finding.problem


def first_round_done(checks: HealthChecks) -> bool:
    """Asked by a call, which a type checker takes for able to change."""
    return checks.first_round_done


@pytest.mark.parametrize(
    ("exc", "problem"),
    [
        (errors.LakehouseUnavailable("at 10.0.0.1"), "unavailable"),
        (errors.SourceUnavailable("x"), "unavailable"),
        (errors.JobStoreUnavailable("x"), "unavailable"),
        (errors.SourceBusy("x"), "busy"),
        (errors.SourceSignInError("x"), "sign-in-refused"),
        (errors.LakehouseSignInError("x"), "sign-in-refused"),
        (errors.LakehouseNotFound("x"), "not-found"),
        (errors.SettingsError("x"), "settings"),
        (errors.SourceRefused("x"), "failed"),
        (RuntimeError("a defect"), "failed"),
    ],
)
def test_a_dependency_goes_and_comes_back_by_a_kind_of_problem(exc: Exception, problem: str) -> None:
    """Ready, unready with the kind alone, ready again; a defect in a look does not end the looking."""
    with watched(Clock()) as (checks, looks):
        assert state(checks.health()) == (False, "new")
        assert not first_round_done(checks)
        looks.answer()
        assert state(checks.health()) == (True, None)
        assert first_round_done(checks)
        looks.answer(exc)
        assert state(checks.health()) == (False, problem)
        assert "10.0.0.1" not in str(documented(checks.health()))
        looks.answer()
        assert state(checks.health()) == (True, None)


def test_a_look_that_hangs_is_a_timeout_and_asking_does_not_wait() -> None:
    """While it hangs the answer is there; it is unready from the timeout on, and ready when the look ends well."""
    clock = Clock()
    with watched(clock) as (checks, looks):
        looks.answer()
        assert looks.begun.acquire(timeout=WAIT_S)
        clock.now_s += 4
        assert state(checks.health()) == (True, None)
        clock.now_s += 2
        assert state(checks.health()) == (False, "timeout")
        looks.begun.release()
        looks.answer()
        assert looks.begun.acquire(timeout=WAIT_S)
        assert state(checks.health()) == (True, None)


def test_a_look_that_hangs_for_ever_is_replaced() -> None:
    """Another thread looks after a while, so that the end of the outage is seen."""
    clock, hanging, stuck, up = Clock(), threading.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        hanging.set()
        stuck.wait()

    looks: list[Look] = [lambda: None, hang]
    dependency = Dependency("databricks", looks.pop, interval_s=1000.0, timeout_s=5.0, abandon_s=60.0)
    checks = HealthChecks([dependency], on_look=lambda _, __: up.set(), monotonic=clock)
    checks.start()
    try:
        assert hanging.wait(WAIT_S)
        clock.now_s += 6
        assert state(checks.health()) == (False, "timeout")
        assert checks.first_round_done
        clock.now_s += 60
        assert up.wait(WAIT_S)
        assert state(checks.health()) == (True, None)
    finally:
        checks.stop()
        stuck.set()


def test_old_news_is_no_news() -> None:
    """Where no look has ended for long, the last good one does not count."""
    clock = Clock()
    with watched(clock, interval_s=1000.0) as (checks, looks):
        looks.answer()
        clock.now_s += 3000
        assert state(checks.health()) == (True, None)
        clock.now_s += 6
        assert state(checks.health()) == (False, "stale")


def test_one_that_hangs_holds_up_no_other() -> None:
    """Each has a thread of its own."""
    stuck, looked = threading.Event(), threading.Event()
    checks = HealthChecks(
        [Dependency("sql_server", lambda: _waits(stuck)), Dependency("job_store", lambda: looked.set)],
        monotonic=Clock(),
    )
    checks.start()
    try:
        assert looked.wait(WAIT_S)
    finally:
        checks.stop()
        stuck.set()


def _waits(event: threading.Event) -> Look:
    def look() -> None:
        event.wait()

    return look


def test_the_document_has_every_dependency_by_name() -> None:
    """Name, status, latency and problem of each; the oldest time of all."""
    with watched(Clock()) as (checks, looks):
        before = documented(checks.health())
        assert (before["status"], before["checked_at"]) == ("unready", None)
        looks.answer()
        after = documented(checks.health())
    assert after["status"] == "ready"
    assert after["checked_at"] is not None
    assert after["dependencies"] == [{"name": "databricks", "status": "up", "latency_ms": 0.0, "problem": None}]


class Server:
    """A SQL Server that counts sign-ins; `away` is what it says while it is away."""

    def __init__(self) -> None:
        self.sign_ins = 0
        self.away: errors.BridgeError | None = None

    def connect(self, *, database: str | None = None, server: str | None = None) -> Any:  # noqa: ARG002  the port's
        self.sign_ins += 1
        self._answer()
        return self

    def ping(self) -> None:
        self._answer()

    def close(self) -> None:
        pass

    def _answer(self) -> None:
        if self.away is not None:
            raise self.away


def test_sql_server_is_signed_in_to_once_and_then_asked() -> None:
    """Many looks, one sign-in."""
    server: Any = Server()
    look = SqlServerLook(server, monotonic=Clock())
    for _ in range(5):
        look()
    assert server.sign_ins == 1


def test_sql_server_is_not_stormed_by_sign_ins() -> None:
    """While it refuses, one sign-in each 15 seconds; between them the last refusal is told again."""
    server, clock = Server(), Clock()
    look = SqlServerLook(server, monotonic=clock)  # type: ignore[arg-type]  # of the port only what a look needs
    server.away = errors.SourceSignInError("wrong password")
    for _ in range(30):
        with pytest.raises(errors.SourceSignInError):
            look()
        clock.now_s += 1
    assert server.sign_ins == 2
    server.away = None
    clock.now_s += 15
    look()
    assert server.sign_ins == 3


def test_a_connection_that_is_lost_is_replaced_at_the_next_look() -> None:
    """A sign-in that was good locks no login out, however short ago it was."""
    server = Server()
    look = SqlServerLook(server, monotonic=Clock())  # type: ignore[arg-type]  # of the port only what a look needs
    look()
    server.away = errors.SourceUnavailable("cut")
    with pytest.raises(errors.SourceUnavailable):
        look()
    server.away = None
    look()
    assert server.sign_ins >= 2


def test_a_server_that_is_not_there_is_asked_at_each_look() -> None:
    """Nobody is there to be stormed; the first look after it came back finds it."""
    server = Server()
    look = SqlServerLook(server, monotonic=Clock())  # type: ignore[arg-type]  # of the port only what a look needs
    server.away = errors.SourceUnavailable("refused")
    for _ in range(3):
        with pytest.raises(errors.SourceUnavailable):
            look()
    server.away = None
    look()


def test_clients_that_look_are_impatient() -> None:
    """Their time-outs are seconds, and shorter ones stay."""
    looking = impatient(load_settings(sqlserver_login_timeout_s=15, databricks_retry_timeout_s=3))
    assert (looking.sqlserver_login_timeout_s, looking.sqlserver_query_timeout_s) == (5, 3)
    assert looking.databricks_retry_timeout_s == 3
