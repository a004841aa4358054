"""The conversation with the bridge as steps, without I/O, so that both clients share it.

A generator yields a step and is sent its answer; a client's driver carries the steps out by blocking or awaiting.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

from .calls import Call
from .errors import (
    BridgeApiError,
    BridgeSdkError,
    BridgeUnreachable,
    Conflict,
    InvalidRequest,
    KeyReused,
    NotFound,
    NotPermitted,
    Problem,
    RateLimited,
    SignInRefused,
    Unavailable,
    UnexpectedAnswer,
)

T = TypeVar("T")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 20.0
_LONGEST_TOLD_PAUSE_S = 60.0
"""The longest Retry-After that the client waits for by itself."""

_TYPE = "urn:sql-databricks-bridge:problem:"
_BY_STATUS: Mapping[int, type[BridgeApiError]] = {
    400: InvalidRequest,
    401: SignInRefused,
    403: NotPermitted,
    404: NotFound,
    405: InvalidRequest,
    409: Conflict,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: RateLimited,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request, read the whole answer: `Reply` or `Broken`."""

    call: Call[Any]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Send a request, leave a 200's body unread: `Reply` or `Broken`. A stream that is open already is closed first.

    `silence_s` is the longest time between two pieces.
    """

    call: Call[Any]
    timeout_s: float
    silence_s: float


@dataclass(frozen=True, slots=True)
class ReadPiece:
    """Read on in the stream: bytes, b'' at its end, or `Broken`."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for a while: None."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Tell:
    """Call the caller's function with something new: None."""

    tell: Callable[[Any], Any]
    news: Any


Step = Send | OpenStream | ReadPiece | Pause | Tell
Steps = Generator[Step, Any, T]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `headers` have lower-case names; `body` is empty where it is a stream to be read."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Broken:
    """No answer, or only a piece of one. `passing` where the same request may succeed later."""

    problem: str
    passing: bool
    cause: BaseException
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """How patient a client is: for one request, and how often it is sent again."""

    timeout_s: float
    retries: int
    clock: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random.random

    def remaining_s(self, deadline: float | None) -> float:
        """Seconds until then, on `clock`; infinity without one."""
        return float("inf") if deadline is None else deadline - self.clock()

    def request_timeout_s(self, deadline: float | None) -> float:
        """The time that one request gets."""
        return max(0.1, min(self.timeout_s, self.remaining_s(deadline)))

    def pause_s(self, attempt: int, told_s: float | None) -> float:
        """Full jitter below an exponential bound; on top of what Retry-After told, so that callers spread out."""
        if told_s is not None:
            return told_s + self.random() * _FIRST_PAUSE_S
        return self.random() * min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0**attempt)


def exchange(call: Call[T], rules: Rules, deadline: float | None = None) -> Steps[T]:
    """Send until there is an answer: again where no answer came, and after 429, 502, 503 and 504.

    Raises what the last try met, without a pause that would end behind the deadline or Retry-After is too long for.
    """
    attempt = 0
    while True:
        answer: Reply | Broken = yield Send(call, rules.request_timeout_s(deadline))
        if isinstance(answer, Reply) and answer.status in call.answers:
            error = _unless_unready(call, answer)
            if error is None:
                return result_of(call, answer)
        else:
            error = error_of(call, answer)
        told_s = error.retry_after_s if isinstance(error, BridgeApiError) else None
        pause_s = rules.pause_s(attempt, told_s)
        hopeless = not passing(answer) or (told_s or 0) > _LONGEST_TOLD_PAUSE_S
        if hopeless or attempt >= rules.retries or pause_s >= rules.remaining_s(deadline):
            raise error from (answer.cause if isinstance(answer, Broken) else None)
        yield Pause(pause_s)
        attempt += 1


def passing(answer: Reply | Broken) -> bool:
    """Whether the same request may succeed later. Every request may be sent again: POSTs have Idempotency-Keys."""
    if isinstance(answer, Broken):
        return answer.passing
    return answer.status in (429, 502, 503, 504)


def result_of(call: Call[T], reply: Reply) -> T:
    """Read an answer; `UnexpectedAnswer` where it is not a bridge's."""
    try:
        return call.read(json.loads(reply.body))
    except (ValueError, TypeError, LookupError) as exc:
        raise UnexpectedAnswer(
            f"{call.method} {call.path}: the answer (HTTP {reply.status}, "
            f"{reply.headers.get('content-type', 'no content type')}) is not a bridge's: {type(exc).__name__}.",
            hint="Is base_url the bridge's? Is the bridge newer or older than this SDK?",
        ) from exc


def error_of(call: Call[Any], answer: Reply | Broken) -> BridgeSdkError:
    """The error that an answer without a result stands for."""
    what = f"{call.method} {call.path}"
    if isinstance(answer, Broken):
        return BridgeUnreachable(
            f"{what}: no answer from the bridge: {answer.problem}.", hint=answer.hint, temporary=answer.passing
        )
    status = answer.status
    if status < 400:
        place = answer.headers.get("location", "").split("?")[0]
        return UnexpectedAnswer(
            f"{what}: the answer is HTTP {status}{f' to {place}' if place else ''}.",
            hint="Redirects are not followed, so that the token goes nowhere else: set base_url to the bridge itself.",
        )
    problem = _problem(answer)
    uri = str(problem.get("type", ""))
    slug = uri[len(_TYPE) :] if uri.startswith(_TYPE) else ""
    kind = KeyReused if slug == "idempotency-key-reused" else _BY_STATUS.get(status, BridgeApiError)
    detail = str(problem.get("detail") or problem.get("title") or f"The answer is HTTP {status}{_phrase(status)}.")
    hint = problem.get("hint")
    return kind(
        f"{what}: {detail}",
        detail=detail,
        status=status,
        slug=slug,
        hint=None if hint is None else str(hint),
        request_id=problem.get("request_id") or answer.headers.get("x-request-id"),
        errors=_places(problem.get("errors")),
        retry_after_s=retry_after_s(answer.headers.get("retry-after")),
    )


def retry_after_s(text: str | None) -> float | None:
    """Seconds that a Retry-After asks for, whether a number or a date; None for anything else."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.timezone.utc)
    return max(0.0, (moment - dt.datetime.now(dt.timezone.utc)).total_seconds())


def _unless_unready(call: Call[Any], reply: Reply) -> BridgeSdkError | None:
    """A 503 that is no answer of the bridge's own is somebody's on the way."""
    if reply.status < 400:
        return None
    try:
        result_of(call, reply)
    except UnexpectedAnswer:
        return error_of(call, reply)
    return None


def _problem(reply: Reply) -> Mapping[str, Any]:
    if "json" not in reply.headers.get("content-type", ""):
        return {}
    try:
        found = json.loads(reply.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _places(errors: Any) -> list[Problem]:
    if not isinstance(errors, list):
        return []
    return [
        Problem(str(each.get("where", "")), str(each.get("message", ""))) for each in errors if isinstance(each, dict)
    ]


def _phrase(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""
