"""The OpenAPI document: what FastAPI makes of the routes, with the problems that each may answer by."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from sql_databricks_bridge.api.problems import MEDIA_TYPE, Problem, Slug

ALWAYS = (
    *(Slug.REQUEST_TIMEOUT, Slug.BODY_TOO_LARGE, Slug.INVALID_REQUEST),
    *(Slug.RATE_LIMITED, Slug.INTERNAL_ERROR, Slug.UNAVAILABLE),
)
"""What any request may end as."""
SIGNED_IN = (*ALWAYS, Slug.SIGN_IN_REFUSED)
"""What any request that needs a sign-in may end as."""
WITH_BODY = (*SIGNED_IN, Slug.UNSUPPORTED_MEDIA_TYPE)
"""The same for one that takes JSON."""
KEYED = (Slug.IDEMPOTENCY_KEY_REUSED,)
"""What else a request with an Idempotency-Key may end as."""

_REF = "#/components/schemas/{model}"
_DETAILS = {
    Slug.SIGN_IN_REFUSED: "The token is unknown or has expired.",
    Slug.NOT_PERMITTED: "User 'analytics' may not read dbo.payroll.",
    Slug.NOT_FOUND: "There is no such job, or it is not yours to see.",
    Slug.REQUEST_TIMEOUT: "The body did not arrive within 30 seconds.",
    Slug.CONFLICT: "The job has ended: it is completed.",
    Slug.BODY_TOO_LARGE: "The body is larger than 1048576 bytes.",
    Slug.UNSUPPORTED_MEDIA_TYPE: "The body must be JSON.",
    Slug.INVALID_REQUEST: "body.limit: Input should be greater than or equal to 1.",
    Slug.IDEMPOTENCY_KEY_REUSED: "The key stands for another request.",
    Slug.RATE_LIMITED: "More than 600 requests a minute.",
    Slug.QUEUE_FULL: "100 jobs wait already.",
    Slug.INTERNAL_ERROR: "The service met an error that it did not expect.",
    Slug.UNAVAILABLE: "SQL Server can't be reached now.",
}
_HEADERS = {
    "X-Request-ID": "The request's id: the client's own, or a new one.",
    "Retry-After": "Seconds to wait before trying again.",
    "WWW-Authenticate": "How to sign in: Bearer.",
}
_EXTRA_HEADERS = {401: ["WWW-Authenticate"], 429: ["Retry-After"], 503: ["Retry-After"]}


CREATED_HEADERS: dict[str, Any] = {
    "Location": {"description": "Where what was made is found.", "schema": {"type": "string"}},
    "Idempotency-Replayed": {
        "description": "`true` where an earlier request with the same Idempotency-Key made it.",
        "schema": {"type": "string"},
    },
}
"""Headers of a response that tells what a POST made."""


def problems(*slugs: Slug) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may end as these problems, each with its example."""
    ordered = sorted(set(slugs), key=lambda slug: (slug.status, slug.value))
    return {status: _response(status, list(group)) for status, group in groupby(ordered, lambda slug: slug.status)}


def headers(*names: str) -> dict[str, Any]:
    """Headers of a response, documented."""
    return {name: {"description": _HEADERS[name], "schema": {"type": "string"}} for name in ("X-Request-ID", *names)}


def document(app: FastAPI) -> dict[str, Any]:
    """The document, made once: `app.openapi`."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        problem = Problem.model_json_schema(ref_template=_REF)
        schemas.update(problem.pop("$defs", {}))
        schemas["Problem"] = problem
        malformed = _malformed()
        for operation in _operations(made):
            operation["responses"].setdefault("400", malformed)
            for status, response in operation["responses"].items():
                if status.startswith("2"):
                    response.setdefault("headers", {}).update(headers())
                for kind in response.get("content", {}).values():
                    if kind.pop("itemSchema", None):  # OpenAPI 3.2 has it; this document is 3.1
                        kind["schema"] = {"type": "string"}
        app.openapi_schema = made
    return app.openapi_schema


def _malformed() -> dict[str, Any]:
    """What the server itself answers where it can't read HTTP, of whatever path."""
    example = {**_example(Slug.INVALID_REQUEST), "status": 400, "detail": "The request is no HTTP/1.1."}
    del example["errors"]
    return {
        "description": "It is no HTTP that can be read, or its headers are too large.",
        "headers": headers(),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": _REF.format(model="Problem")},
                "examples": {"invalid-request": {"value": example}},
            }
        },
    }


def _operations(made: dict[str, Any]) -> Iterable[dict[str, Any]]:
    return (operation for path in made["paths"].values() for operation in path.values() if "responses" in operation)


def _response(status: int, slugs: list[Slug]) -> dict[str, Any]:
    return {
        "description": "; or: ".join(slug.title for slug in slugs),
        "headers": headers(*_EXTRA_HEADERS.get(status, [])),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": _REF.format(model="Problem")},
                "examples": {slug.value: {"value": _example(slug)} for slug in slugs},
            }
        },
    }


def _example(slug: Slug) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": f"urn:sql-databricks-bridge:problem:{slug}",
        "title": slug.title,
        "status": slug.status,
        "detail": _DETAILS[slug],
        "request_id": "6f1c0f7e9b0b4b5e8a1d2c3b4a5f6e7d",
    }
    if slug is Slug.INVALID_REQUEST:
        found["errors"] = [{"where": "body.limit", "message": "Input should be greater than or equal to 1"}]
    return found
