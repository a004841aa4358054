"""Where the service is killed: moments of a job of five queries, most of them a request that one end is holding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from sql_databricks_bridge.core.manifest import MANIFEST_NAME
from tests.conftest import StandIn

HELD_S = 30.0
"""Longer than it takes from a request's arrival to the kill, whatever else the machine does."""
LATE_S = 6.0
"""About what a restart takes, so that the request of the dead process is executed when the next one has begun."""

QUERIES: Mapping[str, str] = {
    "a_flights": "SELECT * FROM dbo.flights",
    "b_airlines": "SELECT carrier, name FROM dbo.airlines",
    "c_airports": "SELECT * FROM dbo.airports",
    "d_planes": "SELECT * FROM dbo.planes",
    "e_weather": "SELECT * FROM dbo.weather",
}
"""Run one after the other, in this order."""
NAMES = tuple(QUERIES)

_HELD: Mapping[str, Mapping[str, Any]] = {
    "before": {"delay_s": HELD_S},
    "after": {"delay_after_s": HELD_S},
    "late": {"delay_s": LATE_S},
}


@dataclass(frozen=True, slots=True)
class Held:
    """The `on`-th request that matches at one end ('sql' or 'lake'), held on a side of its execution.

    `side` is 'before' (it is never executed), 'after' (it is executed and never answered) or 'late' (it is executed
    when its sender has been dead for a while). `tells` stands in what the request log has of it.
    """

    end: str
    match: Mapping[str, str]
    on: int
    side: str
    tells: str

    def arm(self, end: StandIn) -> str:
        """Hold it; return the rule that tells when it is held."""
        where = {"match": dict(self.match), "on": self.on}
        rule = end.fault(**where, action=_HELD[self.side])
        if self.side == "before":
            end.fault(**where, action={"drop": "before"})
        return rule

    def is_open(self, end: StandIn, after: int) -> bool:
        """Whether the request log, from behind that sequence number, has it without an answer."""
        answered = "outcome" if self.end == "sql" else "status"
        return any(
            self.tells in f"{entry['kind']} {entry['statement']} {entry.get('path')}"
            for entry in end.requests(after)
            if not entry[answered]
        )


class How(Enum):
    """How a moment is known to have come."""

    ANSWERED = auto()
    """The request for the job was answered; what the runner is at is left to chance."""
    HELD = auto()
    """A request is held."""
    ROWS = auto()
    """The job tells rows of its first query, and SQL Server has not sent the last."""
    UNWRITTEN = auto()
    """The last query was told as landed, and the job store is locked, so that nobody can write the job's end."""
    BEHIND = auto()
    """A request is held, and another job waits for the one worker."""
    PUT_OFF = auto()
    """The runner has given the job back, since nobody could say whether it may run, and is idle."""


@dataclass(frozen=True, slots=True)
class ServicePoint:
    """A moment of a job. `sent` queries were sent to SQL Server by then, `landed` ones published, in their order.

    None where the moment leaves it open.
    """

    name: str
    how: How
    held: Held | None
    sent: int | None
    landed: int | None

    def __str__(self) -> str:
        return self.name


def points(country: str) -> list[ServicePoint]:
    """Every moment, for a country whose name stands in the paths of its uploads."""
    third, last = NAMES[2], NAMES[4]
    return [
        ServicePoint("after the 202", How.ANSWERED, None, None, None),
        # The first sign-in is that of the request itself, which asks the catalog what the queries read.
        _held("before the sign-in to SQL Server", _sign_in("before"), 0, 0),
        _held("after the sign-in to SQL Server", _sign_in("after"), 0, 0),
        _held("before the first query", _batch("before", NAMES[0]), 1, 0),
        ServicePoint("amid the first query's rows", How.ROWS, None, 1, 0),
        _held("between two queries", _batch("before", third), 3, 2),
        _held("before a folder is made", _put("before", country, third, _FOLDER), 2, 2),
        _held("after a folder is made", _put("after", country, third, _FOLDER), 2, 2),
        _held("before an upload", _put("before", country, third, _PART), 3, 2),
        _held("after an upload", _put("after", country, third, _PART), 3, 2),
        _held("before a manifest", _put("before", country, third, _MANIFEST), 3, 2),
        _held("after a manifest", _put("after", country, third, _MANIFEST), 3, 3),
        _held("before a manifest that comes late", _put("late", country, third, _MANIFEST), 3, None),
        _held("after the last manifest", _put("after", country, last, _MANIFEST), 5, 5),
        ServicePoint("before the store's finish", How.UNWRITTEN, _put("after", country, last, _MANIFEST), 5, 5),
        ServicePoint("with a job behind the running one", How.BEHIND, _batch("before", NAMES[1]), 2, 1),
        ServicePoint("idle, with a job that was put off", How.PUT_OFF, _sign_in("before"), 0, 0),
    ]


_FOLDER, _PART, _MANIFEST = (1, "/run="), (2, "/part-00000.parquet"), (3, f"/{MANIFEST_NAME}")
"""What is PUT for a query: which of them it is, and what its path has."""


def _held(name: str, held: Held, sent: int, landed: int | None) -> ServicePoint:
    return ServicePoint(name, How.HELD, held, sent, landed)


def _sign_in(side: str) -> Held:
    return Held("sql", {"kind": "login"}, 2, side, "login")


def _batch(side: str, name: str) -> Held:
    return Held("sql", {"kind": "batch", "statement_contains": f"/* {name} */"}, 1, side, f"/* {name} */")


def _put(side: str, country: str, name: str, what: tuple[int, str]) -> Held:
    return Held("lake", {"method": "PUT", "path_contains": f"/{country}/{name}/"}, what[0], side, what[1])
