"""Where the bridge is and who asks: checked once, before anything is sent."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_VISIBLE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`url` has no slash at its end. The token is in no repr and no comparison."""

    url: str
    authorization: str = field(repr=False, compare=False)
    loopback: bool

    @classmethod
    def of(cls, base_url: str, token: str, *, allow_insecure: bool) -> Endpoint:
        """Check both; `ValueError`, without the token in it, says what is wrong."""
        parts = urlsplit(base_url)
        if parts.username is not None or parts.password is not None:
            raise ValueError("base_url holds a user or password; the token is the only sign-in")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"base_url {base_url!r} is not https://HOST[:PORT][/PATH]")
        if parts.query or parts.fragment:
            raise ValueError(f"base_url {base_url!r} has a query or a fragment")
        loopback = _is_loopback(parts.hostname)
        if parts.scheme == "http" and not loopback and not allow_insecure:
            raise ValueError(
                f"base_url {base_url!r} would send the token in plain text: use https, "
                "or allow_insecure=True on a network that nobody else reads"
            )
        if not isinstance(token, str) or not _VISIBLE.fullmatch(token):
            raise ValueError("token is empty, or has blanks or characters beyond ASCII")
        return cls(base_url.rstrip("/"), f"Bearer {token}", loopback)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
