"""Schedules: what the YAML says, and what the job store remembers of them."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from enum import StrEnum


class Missed(StrEnum):
    """What becomes of a due moment that nobody was there to see: the newest of them is run late, or none."""

    CATCH_UP = "catch_up"
    SKIP = "skip"


class Decision(StrEnum):
    """What became of a due moment. NEW: there was none yet; `last_due` is when the schedule was first seen."""

    NEW = "new"
    QUEUED = "queued"
    SKIPPED = "skipped"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a country's queries are run: a cron expression of five fields, by the clock of an IANA time zone.

    `queries` empty means all; `publish` None means what the country's `publish:` says. `at` is the place in the YAML.
    """

    country: str
    name: str
    cron: str
    timezone: str = "UTC"
    queries: tuple[str, ...] = ()
    publish: bool | None = None
    missed: Missed = Missed.SKIP
    at: str = ""

    @property
    def label(self) -> str:
        """How messages and the audit log name it."""
        return f"{self.country}/{self.name}"

    @property
    def definition(self) -> str:
        """What its due moments follow from: another one makes another series of them."""
        return f"{self.cron} {self.timezone}"

    def job_id(self, due: dt.datetime) -> str:
        """The id of the job of that due moment: every replica comes to the same, and it sorts as other run ids do."""
        moment = due.astimezone(dt.UTC)
        digest = hashlib.sha256(f"{self.label}@{moment.isoformat()}".encode()).hexdigest()
        return f"{moment:%Y%m%dT%H%M%SZ}-{digest[:12]}"


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """What is known of a schedule; times are aware UTC.

    Every due moment up to `last_due` is decided, the last one as `decision` says, for `reason`. `job_id` is the last
    job that was queued. `wanted_due` is a due moment that was seen in time but could not be queued yet.
    """

    country: str
    name: str
    definition: str
    last_due: dt.datetime
    decision: Decision = Decision.NEW
    reason: str | None = None
    job_id: str | None = None
    wanted_due: dt.datetime | None = None
