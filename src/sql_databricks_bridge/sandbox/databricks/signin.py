"""Sign-in: personal access token, or OAuth for a service principal (client credentials).

Sources: Databricks docs, "Authorize service principal access to Databricks with OAuth" (token endpoint, scope all-apis,
one hour); RFC 6749 sections 4.4 and 5.2; RFC 8414 for the discovery document; `/.well-known/databricks-config` as
the unified SDK configuration reads it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .errors import ApiError

if TYPE_CHECKING:
    from .workspace import Workspace


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request runs as."""

    principal_id: str
    user_name: str
    display_name: str


class Tokens:
    """The tokens that open this workspace."""

    def __init__(self, personal_token: str, client_id: str, lifetime_s: int) -> None:
        self.lifetime_s = lifetime_s
        self._personal_token = personal_token
        self._user = Principal("1000000000000001", "sandbox@example.com", "Sandbox User")
        self._service = Principal("1000000000000002", client_id, "Sandbox Service Principal")
        self._lock = threading.Lock()
        self._issued: dict[str, float] = {}

    def issue(self) -> str:
        """A fresh OAuth access token for the service principal."""
        token = f"sandbox-oauth-{secrets.token_urlsafe(32)}"
        with self._lock:
            self._issued[token] = time.monotonic() + self.lifetime_s
        return token

    def principal(self, authorization: str | None) -> Principal:
        """Who an Authorization header stands for. Raises `ApiError` 401 without credentials, 403 with wrong ones."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise ApiError(401, "401", "Credential was not sent or was of an unsupported type for this API.")
        if hmac.compare_digest(token.encode(), self._personal_token.encode()):
            return self._user
        with self._lock:
            expires = self._issued.get(token)
        if expires is None:
            raise ApiError(403, "403", "Invalid access token.")
        if time.monotonic() >= expires:
            raise ApiError(403, "403", "Invalid access token. The token has expired.")
        return self._service


async def databricks_config(request: Request) -> Response:
    """GET /.well-known/databricks-config."""
    workspace: Workspace = request.app.state.workspace
    return JSONResponse(
        {
            "oidc_endpoint": f"{workspace.url}/oidc",
            "account_id": workspace.identity.account_id,
            "workspace_id": workspace.identity.workspace_id,
            "cloud": workspace.settings.cloud.upper(),
        }
    )


async def authorization_server(request: Request) -> Response:
    """GET /oidc/.well-known/oauth-authorization-server."""
    workspace: Workspace = request.app.state.workspace
    return JSONResponse(
        {
            "issuer": f"{workspace.url}/oidc",
            "authorization_endpoint": f"{workspace.url}/oidc/v1/authorize",
            "token_endpoint": f"{workspace.url}/oidc/v1/token",
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "scopes_supported": ["all-apis"],
        }
    )


async def token(request: Request) -> Response:
    """POST /oidc/v1/token."""
    workspace: Workspace = request.app.state.workspace
    form = dict(parse_qsl((await request.body()).decode("latin-1")))
    client_id, client_secret = _basic(request.headers.get("authorization"))
    client_id = client_id or form.get("client_id", "")
    client_secret = client_secret or form.get("client_secret", "")
    identity = workspace.identity
    right = hmac.compare_digest(client_id.encode(), identity.client_id.encode()) and hmac.compare_digest(
        client_secret.encode(), identity.client_secret.encode()
    )
    if not right:
        return _oauth_error(401, "invalid_client", "Client authentication failed")
    grant = form.get("grant_type")
    if grant != "client_credentials":
        return _oauth_error(
            400, "unsupported_grant_type", f"The Databricks stand-in supports client_credentials only, not {grant!r}"
        )
    scope = form.get("scope") or "all-apis"
    if set(scope.split()) != {"all-apis"}:
        return _oauth_error(
            400, "invalid_scope", f"The Databricks stand-in knows the scope all-apis only, not {scope!r}"
        )
    return JSONResponse(
        {
            "access_token": workspace.tokens.issue(),
            "token_type": "Bearer",
            "expires_in": workspace.tokens.lifetime_s,
            "scope": scope,
        }
    )


async def me(request: Request) -> Response:
    """GET /api/2.0/preview/scim/v2/Me. Source: Databricks REST API, "CurrentUser: Get current user info"."""
    principal: Principal = request.state.principal
    return JSONResponse(
        {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "id": principal.principal_id,
            "userName": principal.user_name,
            "displayName": principal.display_name,
            "active": True,
            "emails": [{"value": principal.user_name, "type": "work", "primary": True}],
            "groups": [],
        }
    )


def _basic(authorization: str | None) -> tuple[str, str]:
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, secret


def _oauth_error(status: int, code: str, description: str) -> Response:
    return JSONResponse({"error": code, "error_description": description}, status_code=status)
