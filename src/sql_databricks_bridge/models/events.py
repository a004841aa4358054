"""Sync events: rows of the events table as they are read, as they are understood, and what became of them.

Source of the columns and statuses: SEED.md, "Events Table Schema".
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

EVENT_ID_LENGTH = 200
"""Most characters of an event_id: it is half of the ledger's primary key."""


class Operation(StrEnum):
    """What an event does to its target."""

    INSERT = "INSERT"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    UPSERT = "UPSERT"


class EventStatus(StrEnum):
    """Where an event stands."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    BLOCKED = "blocked"

    @property
    def final(self) -> bool:
        """Whether nothing more happens by itself."""
        return self in (EventStatus.COMPLETED, EventStatus.FAILED, EventStatus.BLOCKED)


@dataclass(frozen=True, slots=True)
class EventRow:
    """A row of the events table, unchecked: anybody may have written anything into it.

    `fingerprint` is what the table has made of the author's columns, to be handed back with the outcome.
    """

    event_id: str | None
    operation: str | None = None
    source_table: str | None = None
    target_table: str | None = None
    primary_keys: tuple[str | None, ...] | None = None
    priority: int | None = None
    status: str | None = None
    rows_expected: int | None = None
    rows_affected: int | None = None
    discrepancy: int | None = None
    warning: str | None = None
    error_message: str | None = None
    filter_conditions: Mapping[str, str | None] | None = None
    metadata: Mapping[str, str | None] | None = None
    created_at: dt.datetime | None = None
    processed_at: dt.datetime | None = None
    fingerprint: str | None = field(default=None, compare=False)

    @property
    def payload_hash(self) -> bytes:
        """SHA-256 (32 bytes) of what the author asked for, the signature and created_at left out."""
        return hashlib.sha256(self._payload()).digest()

    def signature(self, key: str) -> str:
        """HMAC-SHA-256 by `key` over event_id and every author-supplied column and metadata key, in hexadecimal."""
        signed = json.dumps(self.event_id).encode() + b"\n" + self._payload()
        return hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()

    def _payload(self) -> bytes:
        """Canonical JSON: sorted keys, no blanks, ASCII only; NULL and an empty map or list are kept apart."""
        metadata = None if self.metadata is None else {k: v for k, v in self.metadata.items() if k != SIGNATURE}
        document = {
            "operation": self.operation,
            "source_table": self.source_table,
            "target_table": self.target_table,
            "primary_keys": None if self.primary_keys is None else list(self.primary_keys),
            "priority": self.priority,
            "rows_expected": self.rows_expected,
            "filter_conditions": None if self.filter_conditions is None else dict(self.filter_conditions),
            "metadata": metadata,
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


SIGNATURE = "signature"
USER = "user"
SOURCE_VERSION = "source_version"
TIMEZONE = "timezone"
KEEP_IDENTITY = "keep_identity"
ON_CONFLICT = "on_conflict"
METADATA_KEYS = (USER, SIGNATURE, SOURCE_VERSION, TIMEZONE, KEEP_IDENTITY, ON_CONFLICT)
"""Metadata keys that the bridge reads; others are the author's notes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the bridge writes back to an event's row: one for each distinct event_id.

    `event_id` None stands for the rows without one. Counts beyond INT's range are left None and told in `warning`.
    With a `fingerprint`, rows of the event_id that ask for something else are not told.
    """

    event_id: str | None
    status: EventStatus
    rows_affected: int | None = None
    discrepancy: int | None = None
    warning: str | None = None
    error_message: str | None = None
    processed_at: dt.datetime | None = None
    fingerprint: str | None = None


class LedgerOutcome(StrEnum):
    """What the ledger says of a generation of an event."""

    OPEN = "open"
    APPLIED = "applied"
    FAILED = "failed"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A row of bridge.applied_events. `message` is the warning of an applied event, the error of another.

    `open` rows were made by `bridge events retry`: the generation may be applied; there is no row for a first one.
    """

    event_id: str
    generation: int
    payload_hash: bytes
    outcome: LedgerOutcome
    source_version: int | None = None
    rows_affected: int | None = None
    rows_expected: int | None = None
    message: str | None = None
    applied_at: dt.datetime | None = field(default=None, compare=False)
