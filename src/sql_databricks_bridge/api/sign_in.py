"""Who calls: the bearer token of a request, looked up in permissions.yaml, told to the audit log.

A route of `SignedInRoute` signs its caller in before anything of the request is looked at: who may not come in learns
nothing, not even whether the body was right.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from json import JSONDecodeError
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.responses import Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic_core import from_json

from sql_databricks_bridge import composition
from sql_databricks_bridge.api.dependencies import Service, service_of
from sql_databricks_bridge.api.problems import Refused, Slug
from sql_databricks_bridge.api.request_context import client_address_of, request_id_of
from sql_databricks_bridge.auth.permissions import Permissions, User
from sql_databricks_bridge.auth.token import sign_in
from sql_databricks_bridge.errors import SignInRefused

_LONGEST_TOKEN = 4096


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent the request, and everybody's rights as they were when it came: one set for the whole request."""

    user: User
    permissions: Permissions
    request_id: str
    address: str | None


class SignedInRoute(APIRoute):
    """A route that needs a bearer token, and takes bodies of strict JSON alone."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Put the sign-in, and the check of the body's type, before FastAPI's own handling."""
        handle = super().get_route_handler()

        async def signed_in(request: Request) -> Response:
            service = service_of(request)
            request.state.caller = await service.near.run(_sign_in, service, request)  # `limits` looks at it too
            strict = _StrictRequest(request.scope, request.receive)
            if self.body_field is not None:
                _require_json(request)
                await strict.body()  # outside of FastAPI, which would take a body that is cut off for a wrong one
            return await handle(strict)

        return signed_in


class _StrictRequest(Request):
    """A request whose body is JSON as RFC 8259 has it: UTF-8, no lone surrogates, no NaN, not endlessly nested.

    No key comes twice in an object: what checked a request on its way may have read the other one.
    """

    async def json(self) -> Any:
        body = await self.body()
        try:
            found = from_json(body, allow_inf_nan=False)
            json.loads(body, object_pairs_hook=_require_unique)  # the one before it keeps the last of two
        except ValueError as exc:  # FastAPI makes a validation error of this one alone
            raise JSONDecodeError(str(exc), "", 0) from None
        return found


def _require_unique(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise ValueError(f"the key {key!r} comes twice in one object")
        seen.add(key)


def _sign_in(service: Service, request: Request) -> Caller:
    permissions = service.permissions.current()
    request_id, address = request_id_of(request.scope), client_address_of(request.scope)

    def audit(event_type: str, outcome: str, user_name: str | None) -> None:
        service.note(
            event_type,
            user_name=user_name,
            source_ip=address,
            resource=composition.redacted(request.url.path),
            action=request.method,
            outcome=outcome,
            request_id=request_id,
        )

    try:
        user = sign_in(_token(request), permissions, dt.datetime.now(dt.UTC))
    except SignInRefused:
        service.metrics.sign_in_refused()
        audit("auth_failure", "refused", None)
        raise
    audit("auth_success", "signed in", user.name)
    return Caller(user, permissions, request_id, address)


def still_signed_in(service: Service, request: Request) -> bool:
    """Whether the token of a request that lasts would sign the same user in now: it may be withdrawn, or expire."""
    try:
        user = sign_in(_token(request), service.permissions.current(), dt.datetime.now(dt.UTC))
    except SignInRefused:
        return False
    caller: Caller = request.state.caller
    return user.name == caller.user.name


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > _LONGEST_TOKEN:
        raise SignInRefused("The request has no bearer token.", hint="Send the header `Authorization: Bearer TOKEN`.")
    return token


def _require_json(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise Refused(
            Slug.UNSUPPORTED_MEDIA_TYPE, "The body must be JSON.", hint="Send Content-Type: application/json."
        )


_bearer = HTTPBearer(auto_error=False, scheme_name="bearer", description="A token of permissions.yaml.")


def _caller(request: Request, _: Annotated[object, Security(_bearer)]) -> Caller:
    found: Caller = request.state.caller
    return found


SignedIn = Annotated[Caller, Depends(_caller)]
"""The caller, as a parameter of a route."""
