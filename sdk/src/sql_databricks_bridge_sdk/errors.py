"""Every exception of the SDK, one tree.

::

    BridgeSdkError                what, where, why; `hint` says what to do
    |-- BridgeApiError            the bridge said no: status, slug, detail, hint, request_id (RFC 9457)
    |   |-- SignInRefused         401  no such token, or it has expired
    |   |-- NotPermitted          403  permissions.yaml does not allow it
    |   |-- NotFound              404  not there, or not to be seen
    |   |-- Conflict              409  it has gone another way already
    |   |-- InvalidRequest        400, 405, 413, 415, 422  `errors` names each place
    |   |   `-- KeyReused         422  the Idempotency-Key came with another request before
    |   |-- RateLimited           429  too much at once; `retry_after_s`
    |   `-- Unavailable           502, 503, 504  an end is away; `retry_after_s`
    |-- BridgeUnreachable         no answer: refused, dropped, timed out, or a certificate that is not trusted
    |-- UnexpectedAnswer          an answer that is not a bridge's: a proxy's, a redirect, another version's
    |-- WaitTimeout               what was waited for has not ended yet (also a TimeoutError)
    |-- JobFailed                 a job that was waited for ended failed or partial; `job`
    |   `-- JobCancelled          or cancelled
    |-- EventFailed               an event that was waited for ended failed; `event`
    |   `-- EventBlocked          or blocked, by a permission, a limit or a guard
    |-- EventConflict             the event_id is taken by an event that asks for something else
    |-- EventNotFound             no row of the events table has the event_id
    `-- StatementFailed           a statement of `BridgeEvents` did not succeed on the warehouse

Wrong arguments are ValueError and TypeError. No message holds a token or a signing key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .models import Event, Job


class BridgeSdkError(Exception):
    """Base of all errors of the SDK."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a request: `where` as 'body.limit', and what."""

    where: str
    message: str


class BridgeApiError(BridgeSdkError):
    """The bridge answered with a problem.

    `detail` is the bridge's own sentence. `slug` is the last part of the problem's type, '' where something on the way
    answered. `request_id` finds the request in the bridge's logs. `retry_after_s` is what the answer's Retry-After
    asked for, None without one.
    """

    def __init__(
        self,
        message: str,
        *,
        detail: str,
        status: int,
        slug: str = "",
        hint: str | None = None,
        request_id: str | None = None,
        errors: Sequence[Problem] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.detail = detail
        self.status = status
        self.slug = slug
        self.request_id = request_id
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        told = [super().__str__(), *(f"{each.where}: {each.message}." for each in self.errors)]
        kind = f"HTTP {self.status} {self.slug}".rstrip()
        return f"{' '.join(told)} ({kind}{f', request {self.request_id}' if self.request_id else ''})"


class SignInRefused(BridgeApiError):
    """The token is unknown or has expired."""


class NotPermitted(BridgeApiError):
    """permissions.yaml does not allow it."""


class NotFound(BridgeApiError):
    """It is not there, or not to be seen by this user."""


class Conflict(BridgeApiError):
    """It has gone another way already: a job that has ended, an event that is not failed or blocked."""


class InvalidRequest(BridgeApiError):
    """The request makes no sense as it stands; `errors` names each place."""


class KeyReused(InvalidRequest):
    """The Idempotency-Key came with another request before."""


class RateLimited(BridgeApiError):
    """Too many requests, or too many jobs in the queue, also after the client's own retries."""


class Unavailable(BridgeApiError):
    """The bridge, or what it needs, is away, also after the client's own retries."""


class BridgeUnreachable(BridgeSdkError):
    """No answer came, also after the client's own retries. Whether the request arrived is not known.

    `temporary` is False where the same request can't succeed later: a certificate that is not trusted.
    """

    def __init__(self, message: str, *, hint: str | None = None, temporary: bool = True) -> None:
        super().__init__(message, hint=hint)
        self.temporary = temporary


class UnexpectedAnswer(BridgeSdkError):
    """The answer is not a bridge's."""


class WaitTimeout(BridgeSdkError, TimeoutError):
    """What was waited for has not ended within `timeout_s`; it goes on by itself."""


class JobFailed(BridgeSdkError):
    """A job ended failed or partial; `job` has each query's error."""

    def __init__(self, job: Job) -> None:
        wrong = [f"{query.name}: {query.error or query.status}" for query in job.queries if query.status == "failed"]
        told = "; ".join(([job.error] if job.error else []) + wrong)
        super().__init__(f"Job {job.job_id} ended {job.status}{f': {told}' if told else '.'}")
        self.job = job


class JobCancelled(JobFailed):
    """A job was cancelled."""


class EventFailed(BridgeSdkError):
    """An event ended failed; nothing of it was applied."""

    def __init__(self, event: Event) -> None:
        super().__init__(f"Event {event.event_id!r} is {event.status}: {event.error_message or 'no reason was told.'}")
        self.event = event


class EventBlocked(EventFailed):
    """A permission, a limit or a guard refused an event; nothing of it was applied."""


class EventConflict(BridgeSdkError):
    """The event_id is taken by an event that asks for something else; nothing was written."""


class EventNotFound(BridgeSdkError):
    """No row of the events table has the event_id."""


class StatementFailed(BridgeSdkError):
    """A statement did not succeed on the SQL warehouse. `sqlstate` where Databricks gives one."""

    def __init__(self, message: str, *, hint: str | None = None, sqlstate: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.sqlstate = sqlstate
