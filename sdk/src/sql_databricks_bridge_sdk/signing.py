"""Signing events for a user of the bridge: HMAC-SHA-256 over canonical JSON of what the author writes.

Source: the bridge's docs/permissions.md, "Signed events". What is signed must be what will be stored, to the letter.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import replace

from .models import Event

USER, SIGNATURE = "user", "signature"


def sign(event: Event, user: str, key: str) -> Event:
    """The event with `metadata.user` and `metadata.signature`, in place of those that were there."""
    named = replace(event, metadata={**(event.metadata or {}), USER: user})
    return replace(named, metadata={**(named.metadata or {}), SIGNATURE: signature(named, key)})


def signature(event: Event, key: str) -> str:
    """HMAC-SHA-256 by `key` over event_id and every column that the author writes, in hexadecimal."""
    signed = json.dumps(event.event_id).encode() + b"\n" + payload(event)
    return hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()


def payload(event: Event) -> bytes:
    """Canonical JSON: sorted keys, no blanks, ASCII only; NULL and an empty map or list are kept apart."""
    return json.dumps(authored(event), sort_keys=True, separators=(",", ":")).encode()


def authored(event: Event) -> dict[str, object]:
    """What an author asks for: every column of theirs but event_id and created_at, without the signature."""
    return {
        "operation": event.operation,
        "source_table": event.source_table,
        "target_table": event.target_table,
        "primary_keys": None if event.primary_keys is None else list(event.primary_keys),
        "priority": event.priority,
        "rows_expected": event.rows_expected,
        "filter_conditions": None if event.filter_conditions is None else dict(event.filter_conditions),
        "metadata": None if event.metadata is None else _unsigned(event.metadata),
    }


def _unsigned(metadata: Mapping[str, str | None]) -> dict[str, str | None]:
    return {key: value for key, value in metadata.items() if key != SIGNATURE}
