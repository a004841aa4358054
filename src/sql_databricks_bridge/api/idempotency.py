"""POSTs that are safe to repeat: an Idempotency-Key stands for the one thing that its request made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Header

from sql_databricks_bridge.api.dependencies import Service
from sql_databricks_bridge.api.problems import Refused, refused_for
from sql_databricks_bridge.api.sign_in import Caller
from sql_databricks_bridge.errors import BridgeError, JobStoreUnavailable

REPLAYED = "Idempotency-Replayed"
"""Response header that says: this was made by an earlier request with the same key."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern="^[!-~]+$",
        description="Makes the request safe to repeat: the same key and body answer what was made the first time.",
        examples=["3d0c5b9e-9d53-4a0e-8d1c-1f1a2f0a7c11"],
    ),
]


@dataclass(frozen=True, slots=True)
class Keyed:
    """What a request is to make. `seen`: an earlier request had the key; `done`: and it came to its end."""

    resource_id: str
    key: str | None = None
    fingerprint: str = ""
    seen: bool = False
    done: bool = False

    def settle(self, service: Service, caller: Caller) -> None:
        """Note that the thing was made; without a key there is nothing to note."""
        if self.key is None or self.done:
            return
        if self.seen:  # who had the key first may have been refused meanwhile, and have given it back
            service.store.reserve(caller.user.name, self.key, self.fingerprint, self.resource_id)
        service.store.settle(caller.user.name, self.key)


@contextmanager
def reserved(service: Service, caller: Caller, key: str | None, request: Any, resource_id: str) -> Iterator[Keyed]:
    """Let the key stand for `resource_id`, or find what it stands for; `KeyReused` where that is another request.

    `request` is everything that makes a request the same: what is done and the body, as JSON can hold it. A request
    that is refused (4xx) makes nothing, and gives its key back: the corrected one may have it. Where the service
    failed nobody knows, and the key goes on standing for what may be there.
    """
    if key is None:
        yield Keyed(resource_id)
        return
    text = json.dumps(request, sort_keys=True, separators=(",", ":"))
    fingerprint = hashlib.sha256(text.encode()).hexdigest()
    found = service.store.reserve(caller.user.name, key, fingerprint, resource_id)
    keyed = Keyed(found.resource_id, key, fingerprint, seen=found.resource_id != resource_id, done=found.done)
    try:
        yield keyed
    except (Refused, BridgeError) as exc:
        refused = exc if isinstance(exc, Refused) else refused_for(exc)
        if refused.slug.status < 500 and not keyed.seen:
            with suppress(JobStoreUnavailable):  # then the key stays spent: no reason to tell another story
                service.store.forget(caller.user.name, key, fingerprint)
        raise
