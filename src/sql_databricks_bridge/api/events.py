"""What the API does to sync events: who may, what is signed, what is seen.

The poller decides again when an event's turn comes, by the catalog's names; what is refused here is refused early.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import closing

from sql_databricks_bridge import composition
from sql_databricks_bridge.api import auditing, idempotency
from sql_databricks_bridge.api.dependencies import Service
from sql_databricks_bridge.api.problems import Refused, Slug, not_found
from sql_databricks_bridge.api.schemas import EventRequest
from sql_databricks_bridge.api.sign_in import Caller
from sql_databricks_bridge.auth.signing import principal_of, sign
from sql_databricks_bridge.errors import EventBlocked, EventInvalid, NotPermitted, SettingsError, UsageError
from sql_databricks_bridge.models.events import SIGNATURE, USER, EventRow, EventStatus
from sql_databricks_bridge.models.tables import TargetName
from sql_databricks_bridge.sync import authoring
from sql_databricks_bridge.sync.validators import Event, event_id_problem, understand

_MOST_LOOKED_AT = 10_000


def submit(service: Service, caller: Caller, body: EventRequest, key: str | None) -> tuple[EventRow, bool]:
    """Insert an event that runs as the caller; the row that stands, and whether an earlier request made it."""
    if taken := sorted({USER, SIGNATURE} & (body.metadata or {}).keys()):
        raise _invalid("body.metadata", f"{' and '.join(taken)} are the service's to write: the event runs as you")
    draft = _draft(body, body.event_id or str(uuid.uuid4()))
    event = _understood(draft)
    with auditing.denials(service, caller, event.operation.lower(), str(event.target)):
        _require_write(service, caller, event.target)
        if event.source is not None and not caller.permissions.source_allowed(caller.user, event.source):
            raise NotPermitted(
                f"User {caller.user.name!r} may not use {event.source} as a source.",
                hint="It takes an entry of `sources:` in permissions.yaml.",
            )
        _require_voice(service, caller)
    _require_principal(service, caller, draft)
    assert draft.event_id is not None
    request = ["submit", body.model_dump(mode="json")]
    with idempotency.reserved(service, caller, key, request, draft.event_id) as keyed:
        if keyed.seen and (rows := service.events.rows_of(keyed.resource_id)):
            keyed.settle(service, caller)
            return rows[0], True
        row = _inserted(service, caller, body, event, keyed.resource_id)
        keyed.settle(service, caller)
        return row, False


def listed(service: Service, caller: Caller, status: EventStatus | None, limit: int) -> list[EventRow]:
    """The newest events that the caller may see. Looks at 10,000 of the table at most."""
    asked = limit
    while True:
        rows = service.events.list(status, asked)
        seen = [row for row in rows if _may_see(service, caller, row)]
        if len(seen) >= limit or len(rows) < asked or asked >= _MOST_LOOKED_AT:
            return seen[:limit]
        asked = min(asked * 10, _MOST_LOOKED_AT)


def visible(service: Service, caller: Caller, event_id: str) -> EventRow:
    """The event; one that the caller may not see is not there."""
    return _chosen(_visible_rows(service, caller, event_id))


def retry(service: Service, caller: Caller, event_id: str, key: str | None) -> tuple[EventRow, bool]:
    """Set a failed or blocked event back to pending; the row, and whether an earlier request did it."""
    rows = _visible_rows(service, caller, event_id)
    with auditing.denials(service, caller, "write", f"event {event_id}"):
        for row in rows:
            _require_write(service, caller, TargetName.parse(row.target_table or ""))
    with idempotency.reserved(service, caller, key, ["retry", event_id], str(uuid.uuid4())) as keyed:
        standing = _chosen(rows)
        begun = keyed.seen and standing.status in (EventStatus.PENDING, EventStatus.PROCESSING)
        if not (keyed.done or begun):
            standing = _sent_round(service, caller, standing, event_id)
        keyed.settle(service, caller)
        return standing, keyed.done or begun


# What is done --------------------------------------------------------------------------------------------------------


def _inserted(service: Service, caller: Caller, body: EventRequest, event: Event, event_id: str) -> EventRow:
    table = service.events
    with auditing.mutation(
        service,
        caller,
        "event_submit",
        str(event.target),
        event_id=event_id,
        operation=event.operation.value,
        source=str(event.source or ""),
    ):
        try:
            return authoring.submit(service.lakehouse, table, _draft(body, event_id), lambda row: _signed(row, caller))
        except SettingsError:
            raise
        except UsageError as exc:
            if body.event_id is not None and table.rows_of(body.event_id):
                raise Refused(
                    Slug.CONFLICT,
                    "There is an event of this event_id already, and it asks for something else.",
                    hint="Leave event_id out, or take another one.",
                ) from exc
            raise _invalid("body", exc.message, exc.hint) from exc


def _sent_round(service: Service, caller: Caller, standing: EventRow, event_id: str) -> EventRow:
    if standing.status not in (EventStatus.FAILED, EventStatus.BLOCKED):
        raise Refused(Slug.CONFLICT, f"The event is {standing.status}: only a failed or blocked one can be retried.")
    table = service.events
    with auditing.mutation(service, caller, "event_retry", str(standing.target_table), event_id=event_id):
        try:
            with closing(service.sql_server.connect_target()) as connection:
                authoring.retry(table, connection, event_id)
        except EventInvalid as exc:
            raise Refused(Slug.CONFLICT, exc.message, hint=exc.hint) from exc
    return _chosen(table.rows_of(event_id) or [standing])


# What a draft must be ------------------------------------------------------------------------------------------------


def _draft(body: EventRequest, event_id: str) -> EventRow:
    return EventRow(
        event_id=event_id,
        operation=body.operation,
        source_table=body.source_table,
        target_table=body.target_table,
        primary_keys=tuple(body.primary_keys) if body.primary_keys else None,
        priority=body.priority,
        rows_expected=body.rows_expected,
        filter_conditions=body.filter_conditions or None,
        metadata=body.metadata or None,
    )


def _understood(draft: EventRow) -> Event:
    try:
        return understand(draft)
    except (EventInvalid, EventBlocked) as exc:
        raise _invalid("body", exc.message, exc.hint) from exc


def _invalid(where: str, told: str, hint: str | None = None) -> Refused:
    told = told.rstrip(".")
    return Refused(Slug.INVALID_REQUEST, f"{where}: {told}.", hint=hint, errors=[(where, told)])


# Who may -------------------------------------------------------------------------------------------------------------


def _require_write(service: Service, caller: Caller, target: TargetName) -> None:
    if caller.permissions.write_grant(caller.user, *_place(service), target.schema, target.table) is None:
        raise NotPermitted(
            f"User {caller.user.name!r} may not write to {target}.",
            hint="It takes `access: write` or `read_write` in permissions.yaml.",
        )


def _require_voice(service: Service, caller: Caller) -> None:
    """Only who has a signing_key, or stands for the unsigned events, can have an event run as itself."""
    settings = service.settings
    if caller.user.signing_key is not None:
        return
    if caller.user.name != settings.sync_principal or not composition.accepts_unsigned(settings):
        raise NotPermitted(
            f"User {caller.user.name!r} has no signing_key, so that no event can run as that user.",
            hint="It takes a `signing_key` in permissions.yaml.",
        )


def _require_principal(service: Service, caller: Caller, draft: EventRow) -> None:
    """Ask what the poller will ask: as whom does it run? Metadata that poses as a signature is refused here."""
    settings = service.settings
    try:
        principal = principal_of(
            _signed(draft, caller),
            caller.permissions,
            sync_principal=settings.sync_principal,
            allow_unsigned=composition.accepts_unsigned(settings),
        )
    except EventBlocked as exc:
        raise _invalid("body.metadata", exc.message, exc.hint) from exc
    if principal.name != caller.user.name:
        raise NotPermitted("The event would not run as you.")


def _signed(row: EventRow, caller: Caller) -> EventRow:
    key = caller.user.signing_key
    return row if key is None else sign(row, caller.user.name, key.get_secret_value())


# What is seen --------------------------------------------------------------------------------------------------------


def _visible_rows(service: Service, caller: Caller, event_id: str) -> Sequence[EventRow]:
    """The rows of the event (more than one where it was delivered twice); all must be the caller's to see."""
    rows = [] if event_id_problem(event_id) else service.events.rows_of(event_id)
    if not rows:
        raise not_found("event")
    if not all(_may_see(service, caller, row) for row in rows):
        auditing.denied(service, caller, "read", f"event {event_id}", "The target is not the user's to read or write.")
        raise not_found("event")
    return rows


def _may_see(service: Service, caller: Caller, row: EventRow) -> bool:
    """Whether the caller may read or write the target, in SQLSERVER_DATABASE. What can't be parsed is nobody's."""
    try:
        target = TargetName.parse(row.target_table or "")
    except EventInvalid:
        return False
    entry = caller.permissions.entry(caller.user, *_place(service), target.schema, target.table)
    return entry is not None


def _place(service: Service) -> tuple[str, str]:
    """Server and database of every target, as permissions name them."""
    return service.settings.sqlserver_host or "", service.settings.sqlserver_database or ""


def _chosen(rows: Sequence[EventRow]) -> EventRow:
    """The one row to show of an event: one that has not ended, where there is one."""
    ended = {status.value for status in EventStatus if status.final}
    return next((row for row in rows if row.status not in ended), rows[0])
