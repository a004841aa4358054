"""`BridgeEvents`: writing and watching events in the Delta table itself, from a Databricks notebook or job."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from . import event_rows, signing
from .errors import EventConflict, EventNotFound, StatementFailed, WaitTimeout
from .models import Event
from .names import quoted_table
from .statements import Row, SparkStatements, Statements, WarehouseStatements
from .waiting import judged_events

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

T = TypeVar("T")

OPERATIONS = ("INSERT", "UPDATE", "DELETE", "UPSERT")
SOURCE_VERSION, ON_CONFLICT, TIMEZONE, KEEP_IDENTITY = "source_version", "on_conflict", "timezone", "keep_identity"

_EVENT_ID_LENGTH = 200
_INT = range(-(2**31), 2**31)
_CONFLICT_RETRIES = 5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0
_FIRST_POLL_S, _SLOWEST_POLL_S = 1.0, 15.0


class BridgeEvents:
    """The events table, by a Spark session or by a SQL warehouse; with `user` and `signing_key`, events are signed.

    What Spark and the WorkspaceClient raise by themselves is raised as it is; all else is a `BridgeSdkError`.
    """

    def __init__(
        self,
        *,
        spark: Any = None,
        workspace_client: WorkspaceClient | None = None,
        warehouse_id: str | None = None,
        table: str = "bridge.events.bridge_events",
        user: str | None = None,
        signing_key: str | None = None,
    ) -> None:
        """Nothing is sent yet.

        Give `spark`, or `workspace_client` and `warehouse_id`; both of `user` and `signing_key`, or none.
        """
        if (spark is None) == (workspace_client is None):
            raise ValueError("give spark, or workspace_client and warehouse_id")
        if (workspace_client is None) != (warehouse_id is None):
            raise ValueError("workspace_client and warehouse_id belong together")
        if (user is None) != (signing_key is None) or user == "" or signing_key == "":
            raise ValueError("user and signing_key belong together: events are signed by both, or not at all")
        self._statements: Statements = (
            WarehouseStatements(workspace_client, warehouse_id)
            if workspace_client is not None and warehouse_id is not None
            else SparkStatements(spark)
        )
        self._table = quoted_table(table, "table")
        self._user = user
        self._signed: Callable[[Event], Event] = _unsigned
        if user is not None and signing_key is not None:
            self._signed = _Signer(user, signing_key)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(table={self._table!r}, user={self._user!r})"

    def submit(
        self,
        operation: str,
        source: str | None,
        target: str,
        *,
        keys: Sequence[str] = (),
        filters: Mapping[str, str | None] | None = None,
        rows_expected: int | None = None,
        priority: int = 0,
        on_conflict: str | None = None,
        timezone: str | None = None,
        keep_identity: bool = False,
        source_version: int | None = None,
        metadata: Mapping[str, str | None] | None = None,
        event_id: str | None = None,
    ) -> Event:
        """Write an event, its source pinned at the newest Delta version; returns the row that stands there.

        `source` is 'catalog.schema.table' (None for a DELETE by `filters` alone), `target` 'schema.table'. `metadata`
        are notes, or the bridge's own keys (docs/sync.md). With an `event_id` of your own the call is harmless twice:
        the event is written once. `EventConflict` where that event_id is taken by an event that asks for something
        else. 3 statements, 2 with a `source_version` or without a source.
        """
        draft = Event(
            event_id=_checked_id(str(uuid.uuid4()) if event_id is None else event_id),
            operation=_checked_operation(operation),
            source_table=source,
            target_table=target,
            primary_keys=_list(keys, "keys") or None,
            priority=_checked_int(priority, "priority"),
            status="pending",
            rows_expected=None if rows_expected is None else _checked_int(rows_expected, "rows_expected"),
            filter_conditions=dict(filters) if filters else None,
            metadata=_metadata(
                metadata,
                {
                    SOURCE_VERSION: None if source_version is None else str(source_version),
                    ON_CONFLICT: on_conflict,
                    TIMEZONE: timezone,
                    KEEP_IDENTITY: "true" if keep_identity else None,
                },
            ),
        )
        pinned = source is not None and (draft.metadata or {}).get(SOURCE_VERSION) is None
        if source is not None and pinned:
            version = str(self._newest_version(source))
            draft = replace(draft, metadata={**(draft.metadata or {}), SOURCE_VERSION: version})
        event = self._signed(draft)
        statement = event_rows.INSERT.format(table=self._table)
        parameters = {"event": event_rows.parameter(event)}
        self._unless_conflicting(lambda: self._statements.rows(statement, parameters))
        return self._standing(event, pinned=pinned)

    def status(self, event_id: Event | str) -> Event:
        """How an event stands now; `EventNotFound` where there is none. 1 statement."""
        wanted = _id_of(event_id)
        return self._found([wanted])[wanted]

    def wait(self, event: Event | str, *, timeout_s: float | None = 3600.0, check: bool = True) -> Event:
        """Wait until an event has ended.

        `WaitTimeout` after `timeout_s`, the event standing; with `check`, `EventFailed` or `EventBlocked` unless it
        completed. One statement a look, after 1 s at first and up to 15 s later.
        """
        return self.wait_all([event], timeout_s=timeout_s, check=check)[0]

    def wait_all(
        self, events: Sequence[Event | str], *, timeout_s: float | None = 3600.0, check: bool = True
    ) -> tuple[Event, ...]:
        """Wait until all of them have ended; in the order given. As `wait`, with one statement a look for all."""
        ids = [_id_of(each) for each in events]
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s, ended, waiting = _FIRST_POLL_S, dict[str, Event](), list(dict.fromkeys(ids))
        while waiting:
            found = self._found(waiting)
            ended |= {event_id: event for event_id, event in found.items() if event.ended}
            waiting = [event_id for event_id in waiting if event_id not in ended]
            if not waiting:
                break
            remaining_s = float("inf") if deadline is None else deadline - time.monotonic()
            if remaining_s <= 0:
                raise WaitTimeout(
                    f"{len(waiting)} of {len(ids)} events had not ended after {timeout_s:g} s: "
                    f"{waiting[0]!r} is {found[waiting[0]].status}.",
                    hint="Does the bridge's poller run? The events stand; wait for them again.",
                )
            time.sleep(min(pause_s, remaining_s))
            pause_s = min(pause_s * 1.5, _SLOWEST_POLL_S)
        return judged_events([ended[event_id] for event_id in ids], check=check)

    def _newest_version(self, source: str) -> int:
        history = self._statements.rows(f"DESCRIBE HISTORY {quoted_table(source, 'source')} LIMIT 1", {})
        if not history:
            raise StatementFailed(f"Source table {source} has no history.", hint="Only Delta tables can be sources.")
        return int(history[0][0])  # the column `version` comes first

    def _found(self, event_ids: Sequence[str]) -> dict[str, Event]:
        """The row of each; `EventNotFound` names the first without one."""
        rows = self._rows_of(event_ids)
        found = {event.event_id: event for event in reversed(rows)}  # of equal rows the oldest
        for event_id in event_ids:
            if event_id not in found:
                raise EventNotFound(f"{self._table} has no event {event_id!r}.")
        return found

    def _rows_of(self, event_ids: Sequence[str]) -> list[Event]:
        parameters = {"event_ids": json.dumps(list(event_ids), ensure_ascii=False)}
        rows: Sequence[Row] = self._statements.rows(event_rows.SELECT.format(table=self._table), parameters)
        return [event_rows.event_of(row) for row in rows]

    def _standing(self, event: Event, *, pinned: bool) -> Event:
        """The row of that event_id, which is `event`'s unless another was there before.

        `pinned`: the source's version is no wish of the author, and may be newer by now.
        """
        standing = self._rows_of([event.event_id])
        for found in standing:
            wanted = event
            if pinned:
                version = (found.metadata or {}).get(SOURCE_VERSION)
                wanted = replace(event, metadata={**(event.metadata or {}), SOURCE_VERSION: version})
            theirs, ours = signing.authored(found), signing.authored(wanted)
            if other := [name for name in ours if theirs[name] != ours[name]]:
                raise EventConflict(
                    f"The event is not written: event_id {event.event_id!r} is there already ({found.status}), "
                    f"with another {', '.join(other)}.",
                    hint="Leave the event_id out, or take one of its own.",
                )
        if not standing:
            raise EventNotFound(f"{self._table} has no event {event.event_id!r} although it was written.")
        return standing[0]

    def _unless_conflicting(self, write: Callable[[], T]) -> T:
        """Carry out a write that is harmless twice; again, after a random pause, where another writer came first."""
        retry = 0
        while True:
            try:
                return write()
            except Exception as exc:
                retry += 1
                if retry > _CONFLICT_RETRIES or not self._statements.is_conflict(exc):
                    raise
            time.sleep(random.uniform(0, min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**retry)))


class _Signer:
    """Signs for one user. A class, so that the key is in no repr."""

    __slots__ = ("_key", "_user")

    def __init__(self, user: str, key: str) -> None:
        self._user = user
        self._key = key

    def __call__(self, event: Event) -> Event:
        return signing.sign(event, self._user, self._key)


def _unsigned(event: Event) -> Event:
    return event


def _metadata(
    given: Mapping[str, str | None] | None, options: Mapping[str, str | None]
) -> dict[str, str | None] | None:
    """The author's notes and the options that were given; `ValueError` where one is given both ways."""
    metadata = dict(given or {})
    for key in (signing.USER, signing.SIGNATURE):
        if key in metadata:
            raise ValueError(f"metadata key {key!r} is written by signing: pass user and signing_key to BridgeEvents")
    for key, value in options.items():
        if value is None:
            continue
        if key in metadata:
            raise ValueError(f"{key} is given twice, once in metadata")
        metadata[key] = value
    return metadata or None


def _checked_id(event_id: str) -> str:
    if not event_id or event_id != event_id.strip() or len(event_id) > _EVENT_ID_LENGTH:
        raise ValueError(f"event_id is not 1 to {_EVENT_ID_LENGTH} characters without blanks around them")
    return event_id


def _checked_operation(operation: str) -> str:
    if operation.upper() not in OPERATIONS:
        raise ValueError(f"operation {operation!r} is unknown: use {', '.join(OPERATIONS)}")
    return operation.upper()


def _checked_int(value: int, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value not in _INT:
        raise ValueError(f"{what} is no 32-bit integer: {value!r}")
    return value


def _list(names: Sequence[str], what: str) -> tuple[str, ...]:
    if isinstance(names, str):
        raise TypeError(f"{what} is one text; write a list: [{names!r}]")
    return tuple(names)


def _id_of(event: Event | str) -> str:
    return event.event_id if isinstance(event, Event) else event
