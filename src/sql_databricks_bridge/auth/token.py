"""Bearer tokens: made here, signed in with here, and never kept: permissions.yaml holds their SHA-256."""

from __future__ import annotations

import base64
import datetime as dt
import hmac
import random

from sql_databricks_bridge.auth.permissions import Permissions, User, token_digest
from sql_databricks_bridge.errors import SignInRefused

PREFIX = "bridge_"
"""What new tokens begin with, so that people and scanners know one that leaked."""

TOKEN_BYTES = 32
"""Random bytes of a new token: as many as its digest has."""


def sign_in(token: str, permissions: Permissions, now: dt.datetime) -> User:
    """The user whose live bearer token it is; `now` is aware.

    Every token of every user is compared, each in constant time, expired ones too. Raises `SignInRefused` with the same
    words whatever is wrong.
    """
    digest = token_digest(token)
    found: User | None = None
    for user in permissions.users:
        for known in user.tokens:
            if hmac.compare_digest(known.digest, digest) and known.live(now):
                found = user
    if found is None:
        raise SignInRefused(
            "The bearer token is not known, or has expired.",
            hint="Ask for a new one: `bridge token new NAME` makes it.",
        )
    return found


def new_token(rng: random.Random) -> str:
    """A new token of `TOKEN_BYTES` random bytes, visible ASCII. `rng` must be the system's (`random.SystemRandom`)."""
    return PREFIX + base64.urlsafe_b64encode(rng.randbytes(TOKEN_BYTES)).rstrip(b"=").decode("ascii")
