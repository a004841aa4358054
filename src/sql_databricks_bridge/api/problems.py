"""What went wrong, as the client is told it: problem details by RFC 9457, and which exception becomes which.

Nothing that the service itself is made of (addresses, files, drivers' words) reaches a client: what is not the
caller's to mend is told in general, and the log has the whole story under the request's id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from sql_databricks_bridge import errors
from sql_databricks_bridge.api.request_context import request_id_of

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
"""Seconds that a client is asked to wait where nothing better is known."""

_MOST_ERRORS = 50
_LONGEST_TEXT = 2000


class Slug(StrEnum):
    """The last part of a problem's `type`: what a client decides by. `status` and `title` go with it."""

    SIGN_IN_REFUSED = "sign-in-refused"
    NOT_PERMITTED = "not-permitted"
    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    REQUEST_TIMEOUT = "request-timeout"
    CONFLICT = "conflict"
    BODY_TOO_LARGE = "body-too-large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    INVALID_REQUEST = "invalid-request"
    IDEMPOTENCY_KEY_REUSED = "idempotency-key-reused"
    RATE_LIMITED = "rate-limited"
    QUEUE_FULL = "queue-full"
    INTERNAL_ERROR = "internal-error"
    UNAVAILABLE = "unavailable"

    @property
    def status(self) -> int:
        """The HTTP status."""
        return _KNOWN[self][0]

    @property
    def title(self) -> str:  # type: ignore[override]  # a problem's title, which str.title has nothing to do with
        """What it is, the same for every occurrence."""
        return _KNOWN[self][1]


_KNOWN: Mapping[Slug, tuple[int, str]] = {
    Slug.SIGN_IN_REFUSED: (401, "Sign-in refused"),
    Slug.NOT_PERMITTED: (403, "Not permitted"),
    Slug.NOT_FOUND: (404, "Not found"),
    Slug.METHOD_NOT_ALLOWED: (405, "Method not allowed"),
    Slug.REQUEST_TIMEOUT: (408, "The request took too long to arrive"),
    Slug.CONFLICT: (409, "In conflict with how things stand"),
    Slug.BODY_TOO_LARGE: (413, "The body is too large"),
    Slug.UNSUPPORTED_MEDIA_TYPE: (415, "The body is not JSON"),
    Slug.INVALID_REQUEST: (422, "The request can't be understood"),
    Slug.IDEMPOTENCY_KEY_REUSED: (422, "The Idempotency-Key stands for another request"),
    Slug.RATE_LIMITED: (429, "Too many requests"),
    Slug.QUEUE_FULL: (429, "Too many jobs wait"),
    Slug.INTERNAL_ERROR: (500, "The service failed"),
    Slug.UNAVAILABLE: (503, "Not available now"),
}


class FieldProblem(BaseModel):
    """What is wrong with one part of a request."""

    where: Annotated[str, Field(description="The part: body.limit, query.status, path.job_id, header.idempotency-key.")]
    message: str


class Problem(BaseModel):
    """Problem details (RFC 9457), of every response that is no success."""

    model_config = ConfigDict(extra="forbid")

    type: Annotated[str, Field(description="urn:sql-databricks-bridge:problem: and a slug that programs decide by.")]
    title: Annotated[str, Field(description="What it is, the same for every occurrence of the type.")]
    status: Annotated[int, Field(description="The HTTP status again.")]
    detail: Annotated[str, Field(description="What happened, where and why.")]
    hint: Annotated[str | None, Field(description="What to do about it.")] = None
    request_id: Annotated[str, Field(description="The X-Request-ID under which the service's log tells more.")]
    errors: Annotated[list[FieldProblem] | None, Field(description="Each part of the request that is wrong.")] = None


class Refused(Exception):
    """A request that ends as a problem. `errors` are (where, message) pairs."""

    def __init__(
        self,
        slug: Slug,
        detail: str,
        *,
        hint: str | None = None,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.slug = slug
        self.detail = detail
        self.hint = hint
        self.errors = errors
        self.headers = {**_HEADERS.get(slug, {}), **(headers or {})}


_HEADERS: Mapping[Slug, Mapping[str, str]] = {
    Slug.SIGN_IN_REFUSED: {"WWW-Authenticate": "Bearer"},
    Slug.QUEUE_FULL: {"Retry-After": "30"},
    Slug.UNAVAILABLE: {"Retry-After": str(RETRY_AFTER_S)},
}


def not_found(what: str) -> Refused:
    """What is not there, or not for this caller to see: the two are told alike."""
    return Refused(Slug.NOT_FOUND, f"There is no such {what}, or it is not yours to see.")


_OWN_FAULT = "The service can't do this now, for a reason of its own."
_ASK = "Tell whoever runs it the request_id; its log has the reason."

_TOLD: Sequence[tuple[type[errors.BridgeError], Slug]] = (
    (errors.SignInRefused, Slug.SIGN_IN_REFUSED),
    (errors.NotPermitted, Slug.NOT_PERMITTED),
    (errors.KeyReused, Slug.IDEMPOTENCY_KEY_REUSED),
    (errors.QueueFull, Slug.QUEUE_FULL),
    (errors.EventInvalid, Slug.INVALID_REQUEST),
    (errors.EventBlocked, Slug.INVALID_REQUEST),
)
"""Exceptions whose own words are meant for the caller."""

_GENERAL: Sequence[tuple[type[errors.BridgeError], str]] = (
    (errors.SettingsError, _OWN_FAULT),
    (errors.JobStoreUnavailable, "The service's job store can't be reached now."),
    (errors.SourceUnavailable, "SQL Server can't be reached now."),
    (errors.SourceBusy, "SQL Server is too busy now."),
    (errors.SourceError, "SQL Server refused what the service asked of it."),
    (errors.LakehouseUnavailable, "Databricks can't be reached now."),
    (errors.LakehouseError, "Databricks refused what the service asked of it."),
    (errors.AuditError, "The service can't write its audit log now, and does nothing without it."),
    (errors.Cancelled, "The service is shutting down."),
)
"""Exceptions that are the service's own trouble, and the little that the caller is told."""


def refused_for(exc: errors.BridgeError) -> Refused:
    """How a request ends that raised `exc`."""
    for kind, slug in _TOLD:
        if isinstance(exc, kind):
            return Refused(slug, exc.message, hint=exc.hint)
    for kind, detail in _GENERAL:
        if isinstance(exc, kind):
            transient = isinstance(exc, errors.Transient)
            return Refused(Slug.UNAVAILABLE, detail, hint="Try again later." if transient else _ASK)
    if isinstance(exc, errors.UsageError):
        return Refused(Slug.INVALID_REQUEST, exc.message, hint=exc.hint, errors=[("body", exc.message)])
    return Refused(Slug.UNAVAILABLE, _OWN_FAULT, hint=_ASK)


def problem_response(refused: Refused, request_id: str) -> Response:
    """The HTTP response of a problem."""
    problem = Problem(
        type=f"urn:sql-databricks-bridge:problem:{refused.slug}",
        title=refused.slug.title,
        status=refused.slug.status,
        detail=_fit(refused.detail),
        hint=None if refused.hint is None else _fit(refused.hint),
        request_id=request_id,
        errors=[FieldProblem(where=_fit(where), message=_fit(said)) for where, said in refused.errors[:_MOST_ERRORS]]
        or None,
    )
    return Response(
        problem.model_dump_json(exclude_none=True),
        status_code=refused.slug.status,
        headers=refused.headers,
        media_type=MEDIA_TYPE,
    )


def internal_error(request_id: str) -> Response:
    """The response to a request that met a fault of the service's code: nothing of the fault is in it."""
    return problem_response(Refused(Slug.INTERNAL_ERROR, "The service met an error that it did not expect.", hint=_ASK),
                            request_id)  # fmt: skip


def install(app: FastAPI) -> None:
    """Have the app answer with problems. What is not foreseen here is `request_context`'s to answer."""
    app.add_exception_handler(Refused, _on_refused)
    app.add_exception_handler(errors.BridgeError, _on_bridge_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_refused(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, Refused)
    return problem_response(exc, request_id_of(request.scope))


async def _on_bridge_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, errors.BridgeError)
    refused = refused_for(exc)
    if refused.slug is Slug.UNAVAILABLE:
        log.warning("request.unavailable", kind=type(exc).__name__, why=str(exc), path=request.url.path)
    return problem_response(refused, request_id_of(request.scope))


async def _on_invalid(request: Request, exc: Exception) -> Response:
    """Say what is wrong and where; never what was sent, which may be a secret in the wrong place."""
    assert isinstance(exc, RequestValidationError)
    found = [(_where(error), _said(error)) for error in exc.errors()]
    detail = "; ".join(f"{where}: {said}" for where, said in found[:3]) or "The request can't be understood"
    refused = Refused(Slug.INVALID_REQUEST, f"{detail}.", errors=found)
    return problem_response(refused, request_id_of(request.scope))


async def _on_http_exception(request: Request, exc: Exception) -> Response:
    """Answer what Starlette raises by itself: no such path, no such method, a body that can't be read."""
    assert isinstance(exc, HTTPException)
    if exc.status_code == 404:
        refused = Refused(Slug.NOT_FOUND, "There is nothing at this path.", hint="/openapi.json lists the paths.")
    elif exc.status_code == 405:
        refused = Refused(Slug.METHOD_NOT_ALLOWED, f"{request.method} can't be used here.", headers=exc.headers)
    else:
        refused = Refused(Slug.INVALID_REQUEST, "The request can't be read.", headers=exc.headers)
    return problem_response(refused, request_id_of(request.scope))


def _where(error: Mapping[str, Any]) -> str:
    """'body.queries.0' for the location ('body', 'queries', 0)."""
    location = error.get("loc", ())
    return "body" if error.get("type") == "json_invalid" else ".".join(str(part) for part in location) or "request"


def _said(error: Mapping[str, Any]) -> str:
    if error.get("type") == "json_invalid":
        return f"It is no JSON: {error.get('ctx', {}).get('error', 'it can not be parsed')}"
    return str(error.get("msg", "is wrong")).removeprefix("Value error, ").rstrip(".")


def _fit(text: str) -> str:
    """The text as JSON can carry it: Unicode, and not endless."""
    cut = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."
    return cut.encode("utf-8", "backslashreplace").decode("utf-8")
