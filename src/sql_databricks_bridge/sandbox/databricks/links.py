"""Links to storage: short-lived, signed, and used without an Authorization header, as pre-signed cloud URLs are.

Errors have the form of Amazon S3 (XML with Code and Message), which the Databricks SDKs look into to tell an expired
link from a refused one. Sources: Databricks REST API, "Statement Execution" (external links: 15 minutes at most, no
Authorization header); Amazon S3 API Reference, "Error responses".
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from datetime import UTC, datetime
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

PREFIX = "/_storage"


class LinkError(Exception):
    """A link that storage refuses."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def response(self) -> Response:
        """The answer in S3's form."""
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>"
        )
        return Response(body, self.status, media_type="application/xml")


class Links:
    """Makes and checks links. The signing key lives as long as the process."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def make(self, base_url: str, method: str, path: str, expires_at: float) -> str:
        """A URL for one method on one path (below `PREFIX`), valid until `expires_at` (seconds since the epoch)."""
        full = f"{PREFIX}{path}"
        expires = int(expires_at)
        return f"{base_url}{quote(full)}?expires={expires}&signature={self._sign(method, full, expires)}"

    def check(self, request: Request, *, expired: bool, method: str | None = None) -> None:
        """Raise `LinkError` unless the request may use its link.

        `expired` is the fault that ends it early; `method` is the word the link was made with, where that is not the
        request's own method (a resumable upload's link serves several).
        """
        if "authorization" in request.headers:
            raise LinkError(400, "InvalidArgument", "Only one auth mechanism allowed")
        expires = request.query_params.get("expires", "")
        given = request.query_params.get("signature", "")
        if not expires.isascii() or not expires.isdigit():
            raise LinkError(403, "AccessDenied", "Access Denied")
        wanted = self._sign(method or request.method, request.scope["path"], int(expires))
        if not hmac.compare_digest(given.encode(), wanted.encode()):
            raise LinkError(
                403, "SignatureDoesNotMatch", "The request signature does not match the signature provided."
            )
        if expired or time.time() >= int(expires):
            raise LinkError(403, "AccessDenied", "Request has expired")

    def _sign(self, method: str, path: str, expires: int) -> str:
        return hmac.new(self._key, f"{method}\n{path}\n{expires}".encode(), hashlib.sha256).hexdigest()


def rfc3339(epoch_s: float) -> str:
    """A time as the API writes it, such as 2026-01-31T12:00:00.000Z."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(epoch_s * 1000) % 1000:03}Z"


def parse_rfc3339(value: object) -> float | None:
    """Seconds since the epoch, or None if the text is no time with a zone."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo else None
