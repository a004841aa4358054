"""Waiting for the end of jobs and events, as steps without I/O.

A job is followed by server-sent events. Where there are none to be had (a proxy that holds them back, too many
streams, little time left) it is asked for again and again instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from . import calls
from .errors import (
    BridgeApiError,
    BridgeUnreachable,
    EventBlocked,
    EventFailed,
    JobCancelled,
    JobFailed,
    RateLimited,
    Unavailable,
    WaitTimeout,
)
from .exchange import Broken, OpenStream, Pause, ReadPiece, Reply, Rules, Steps, Tell, exchange, result_of
from .models import Event, Job
from .sse import EventStream

T = TypeVar("T")

SILENCE_S = 20.0
"""The longest silence in a stream; the bridge sends a comment every 15 s. Less time left is spent by asking."""

OUTAGE_S = 300.0
"""How long a bridge may be away, or restarted, before a wait ends with the reason. Jobs and events outlive it."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0
_STREAM_CHANCES = 2


def job_end(
    job: Job | str,
    rules: Rules,
    *,
    on_progress: Callable[[Job], Any] | None,
    timeout_s: float | None,
    check: bool,
) -> Steps[Job]:
    """Wait until a job has ended, telling each change of it once.

    `WaitTimeout` after `timeout_s`; with `check`, `JobFailed` unless it completed.
    """
    wait = _Wait(rules, f"Job {calls.job_id_of(job)}", timeout_s)
    following = _Following(calls.job_id_of(job), wait, on_progress)
    chances = _STREAM_CHANCES
    while True:
        if chances and rules.remaining_s(wait.deadline) > SILENCE_S:
            heard = yield from following.stream()
            chances = _STREAM_CHANCES if heard else chances - 1
        if not following.ended:
            yield from following.ask()
        if following.ended:
            return _judged_job(following.job, check=check)
        yield from wait.pause()


def event_ends(
    events: Sequence[Event | str], rules: Rules, *, timeout_s: float | None, check: bool
) -> Steps[tuple[Event, ...]]:
    """Wait until every one has ended; in the order given.

    `WaitTimeout` after `timeout_s`; with `check`, `EventFailed` for the first that did not complete.
    """
    ids = [calls.event_id_of(each) for each in events]
    if not ids:
        return ()
    wait = _Wait(rules, f"Event {ids[0]!r}" if len(ids) == 1 else f"{len(ids)} events", timeout_s)
    found: dict[str, Event] = {}
    for event_id in dict.fromkeys(ids):
        while event_id not in found:
            event = yield from wait.patiently(calls.get_event(event_id))
            if event.ended:
                found[event_id] = event
            else:
                yield from wait.pause()
    return judged_events([found[event_id] for event_id in ids], check=check)


def judged_events(events: Sequence[Event], *, check: bool) -> tuple[Event, ...]:
    """The events, or with `check` the error that the first which did not complete stands for."""
    for event in events if check else ():
        if event.status != "completed":
            raise EventBlocked(event) if event.status == "blocked" else EventFailed(event)
    return tuple(events)


def _judged_job(job: Job | None, *, check: bool) -> Job:
    assert job is not None  # it has ended, so that it was seen
    if check and job.status != "completed":
        raise JobCancelled(job) if job.status == "cancelled" else JobFailed(job)
    return job


@dataclass(slots=True)
class _Wait:
    """A deadline, and pauses that grow while nothing changes."""

    rules: Rules
    what: str
    timeout_s: float | None
    deadline: float | None = field(init=False)
    quiet: int = 0

    def __post_init__(self) -> None:
        self.deadline = None if self.timeout_s is None else self.rules.clock() + self.timeout_s

    def pause(self, at_least_s: float = 0.0) -> Steps[None]:
        """Pause, at most until the deadline; `WaitTimeout` where that has passed."""
        remaining_s = self.rules.remaining_s(self.deadline)
        if remaining_s <= 0:
            raise self.timed_out()
        pause_s = max(at_least_s, min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 1.5**self.quiet))
        self.quiet = min(self.quiet + 1, 50)
        yield Pause(min(pause_s, remaining_s))

    def patiently(self, call: calls.Call[T]) -> Steps[T]:
        """Ask, and ask again through an outage of the bridge; then raise what it met last."""
        away_since: float | None = None
        while True:
            try:
                return (yield from exchange(call, self.rules, self.deadline))
            except (Unavailable, RateLimited, BridgeUnreachable) as exc:
                if isinstance(exc, BridgeUnreachable) and not exc.temporary:
                    raise
                if self.rules.remaining_s(self.deadline) <= 0:
                    raise self.timed_out() from exc
                away_since = self.rules.clock() if away_since is None else away_since
                if self.rules.clock() - away_since > OUTAGE_S:
                    raise
                told_s = exc.retry_after_s if isinstance(exc, BridgeApiError) else None
            yield from self.pause(told_s or 0.0)

    def timed_out(self) -> WaitTimeout:
        """The error for it."""
        return WaitTimeout(
            f"{self.what} had not ended after {self.timeout_s:g} s.", hint="It goes on; wait for it again."
        )


@dataclass(slots=True)
class _Following:
    """What is known of a job, and the two ways to learn more."""

    job_id: str
    wait: _Wait
    on_progress: Callable[[Job], Any] | None
    job: Job | None = None

    @property
    def ended(self) -> bool:
        """Whether it was seen to have ended."""
        return self.job is not None and self.job.ended

    def ask(self) -> Steps[None]:
        """Ask once how the job stands."""
        job = yield from self.wait.patiently(calls.get_job(self.job_id))
        yield from self._news(job)

    def stream(self) -> Steps[bool]:
        """Follow the stream to its end, or until little time is left; whether it said anything."""
        rules, deadline = self.wait.rules, self.wait.deadline
        call = calls.job_stream(self.job_id)
        opened: Reply | Broken = yield OpenStream(call, rules.request_timeout_s(deadline), SILENCE_S)
        if isinstance(opened, Broken) or opened.status != 200:
            return False
        if not opened.headers.get("content-type", "").startswith("text/event-stream"):
            return False
        decoder, heard = EventStream(), False
        while rules.remaining_s(deadline) > SILENCE_S:
            piece: bytes | Broken = yield ReadPiece()
            if isinstance(piece, Broken) or not piece:
                break
            for name, data in decoder.feed(piece):
                if name == "job":
                    heard = True
                    yield from self._news(result_of(calls.get_job(self.job_id), Reply(200, {}, data.encode())))
            if self.ended:
                break
        return heard

    def _news(self, job: Job) -> Steps[None]:
        if job == self.job:
            return
        self.job = job
        self.wait.quiet = 0
        if self.on_progress is not None:
            yield Tell(self.on_progress, job)
