"""What the two clients tell httpx, and what they make of what it raises."""

from __future__ import annotations

import platform
import ssl
from typing import Any

import httpx

from .calls import Call
from .endpoint import Endpoint
from .exchange import Broken, Reply
from .version import __version__

BROKEN = (httpx.TransportError, httpx.DecodingError, httpx.StreamError)
"""What httpx raises where no whole answer came."""


def options(endpoint: Endpoint, timeout_s: float, ssl_context: ssl.SSLContext | None) -> dict[str, Any]:
    """Arguments for both httpx clients.

    No redirect is followed. The environment's proxies count, but not on the way to this machine: a proxy would read
    what goes there in plain text.
    """
    return {
        "headers": {
            "Authorization": endpoint.authorization,
            "User-Agent": f"sql-databricks-bridge-sdk/{__version__} python/{platform.python_version()}",
            "Accept": "application/json, application/problem+json",
        },
        "timeout": timeout_s,
        "follow_redirects": False,
        "trust_env": not endpoint.loopback,
        "verify": True if ssl_context is None else ssl_context,
    }


def request_arguments(endpoint: Endpoint, call: Call[Any]) -> dict[str, Any]:
    """Arguments for `build_request`."""
    return {
        "method": call.method,
        "url": endpoint.url + call.path,
        "headers": dict(call.headers),
        "content": call.body,
    }


def stream_timeout(timeout_s: float, silence_s: float) -> httpx.Timeout:
    """The first answer and each piece come within the silence that a stream may have."""
    return httpx.Timeout(timeout_s, read=silence_s)


def reply_of(response: httpx.Response, body: bytes) -> Reply:
    """The answer without httpx."""
    return Reply(response.status_code, {name.lower(): value for name, value in response.headers.items()}, body)


def broken_by(exc: Exception) -> Broken:
    """Say what happened; only a refused certificate or protocol can't pass."""
    told = str(exc) or type(exc).__name__
    if _about_certificate(exc):
        return Broken(told, False, exc, "Pass ssl_context= with the authority that signed the bridge's certificate.")
    wrong = isinstance(exc, (httpx.UnsupportedProtocol, httpx.LocalProtocolError))
    return Broken(f"{type(exc).__name__}: {told}" if told != type(exc).__name__ else told, not wrong, exc)


def _about_certificate(exc: BaseException | None) -> bool:
    while exc is not None:
        if isinstance(exc, ssl.SSLCertVerificationError):
            return True
        exc = exc.__cause__ or exc.__context__
    return False
