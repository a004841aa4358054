"""A line in the log for each request, and a word to whoever counts. Pure ASGI, right within `RequestContext`."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sql_databricks_bridge.api.limits import user_of
from sql_databricks_bridge.api.request_context import client_address_of

log = structlog.get_logger(__name__)

OnRequest = Callable[[str | None, str, int, float], None]
"""Gets the route's template (None where there is none), the method, the status and the seconds."""

_QUIET = ("/health/", "/metrics")  # asked every few seconds by machines: told at DEBUG only
_GONE = 499  # what nginx writes where the client left before any answer


class AccessLog:
    """Logs `http.request` when the response has ended: method, path without its query, status, user, seconds, bytes."""

    def __init__(self, app: ASGIApp, *, on_request: OnRequest, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._on_request = on_request
        self._monotonic = monotonic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Watch the response go by."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, size_bytes = self._monotonic(), _GONE, 0

        async def watched(message: Message) -> None:
            nonlocal status, size_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                size_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            status = 500 if status == _GONE else status
            raise
        finally:
            seconds = self._monotonic() - began
            route = getattr(scope.get("route"), "path", None)
            self._on_request(route, scope["method"], status, seconds)
            tell = log.debug if scope["path"].startswith(_QUIET) else log.info
            tell(
                "http.request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                user=user_of(scope),
                client=client_address_of(scope),
                seconds=round(seconds, 4),
                bytes=size_bytes,
            )
