"""What every request carries from its first byte: an id and the client's address. The outermost of our middlewares.

It is also the last resort: what nobody foresaw is logged whole and answered by a 500 that says nothing of it.
"""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Sequence
from typing import TypeAlias

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sql_databricks_bridge.errors import SettingsError

log = structlog.get_logger(__name__)

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADER = "X-Request-ID"
_STATE = "bridge.request_id"
_ADDRESS = "bridge.client_address"


class RequestContext:
    """ASGI middleware. `trusted` are the networks whose X-Forwarded-For is believed."""

    def __init__(self, app: ASGIApp, trusted: Sequence[Network] = ()) -> None:
        self._app = app
        self._trusted = tuple(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give the request its id and address, bind the id for the log, answer what failed beyond all handlers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        scope[_STATE] = request_id
        scope[_ADDRESS] = client_address(_peer(scope), headers.getlist("x-forwarded-for"), self._trusted)
        begun = False

        async def send_with_id(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                MutableHeaders(scope=message)[_HEADER] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except ClientDisconnect:
                log.info("request.abandoned", method=scope["method"], path=scope["path"])
            except Exception:
                # The stack may hold values; it goes to the log alone.
                log.exception("request.failed", method=scope["method"], path=scope["path"])
                if begun:
                    raise  # the server cuts the connection: half a response must not look like a whole one
                from sql_databricks_bridge.api.problems import internal_error

                await internal_error(request_id)(scope, receive, send_with_id)


def request_id_of(scope: Scope) -> str:
    """The id of a request that came through `RequestContext`."""
    found: str = scope.get(_STATE, "")
    return found


def client_address_of(scope: Scope) -> str | None:
    """The client's address as far as it can be known, None where the server knows none (a Unix socket)."""
    found: str | None = scope.get(_ADDRESS)
    return found


def parse_networks(text: str) -> tuple[Network, ...]:
    """Parse TRUSTED_PROXIES, '10.0.0.0/8, 192.0.2.7'; `SettingsError` names the part that is no network."""
    found: list[Network] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            found.append(ipaddress.ip_network(part, strict=False))
        except ValueError:
            raise SettingsError(
                f"TRUSTED_PROXIES: {part!r} is no network.", hint="Write 10.0.0.0/8, or one address: 192.0.2.7."
            ) from None
    return tuple(found)


def client_address(peer: str | None, forwarded: Sequence[str], trusted: Sequence[Network]) -> str | None:
    """Who sent the request: the peer, or what trusted proxies say of whom they stand for.

    `forwarded` are the X-Forwarded-For headers in their order. Each proxy adds whom it saw at the right end, so they
    are read from there, as long as who wrote an entry is trusted: what stands further left anybody may have made up.
    """
    address = peer
    entries = [part.strip() for header in forwarded for part in header.split(",")]
    while entries and _is_trusted(address, trusted):
        said = _parsed(entries.pop())
        if said is None:
            return address
        address = str(said)
    return address


def _is_trusted(address: str | None, trusted: Sequence[Network]) -> bool:
    parsed = _parsed(address or "")
    return parsed is not None and any(parsed.version == network.version and parsed in network for network in trusted)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address as proxies write it: 192.0.2.7, 192.0.2.7:4711, 2001:db8::1, [2001:db8::1]:4711."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(parsed, "ipv4_mapped", None)
    return mapped if mapped is not None else parsed


def _peer(scope: Scope) -> str | None:
    client = scope.get("client")
    if client is None:
        return None
    parsed = _parsed(str(client[0]))
    return str(client[0]) if parsed is None else str(parsed)


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
