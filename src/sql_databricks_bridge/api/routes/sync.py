"""POST and GET /sync/events, GET /sync/events/{id}, POST /sync/events/{id}/retry."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Query, Response

from sql_databricks_bridge.api import events
from sql_databricks_bridge.api.dependencies import Service, service_of
from sql_databricks_bridge.api.idempotency import REPLAYED, IdempotencyKey
from sql_databricks_bridge.api.openapi import CREATED_HEADERS, KEYED, SIGNED_IN, WITH_BODY, problems
from sql_databricks_bridge.api.problems import Slug
from sql_databricks_bridge.api.schemas import Event, EventList, EventRequest, EventsQuery
from sql_databricks_bridge.api.sign_in import SignedIn, SignedInRoute

router = APIRouter(prefix="/sync/events", tags=["sync"], route_class=SignedInRoute)

# An event's id may hold slashes, which servers decode before anything is routed.
EventId = Annotated[
    str, Path(description="The event_id, percent-encoded.", examples=["0b7c1c0e-4c1a-4f0e-9a55-0d6a3a6f2f11"])
]
ServiceHere = Annotated[Service, Depends(service_of)]


@router.post(
    "",
    status_code=201,
    summary="Submit an event",
    response_description="The event, signed by the caller's signing_key and waiting to be applied.",
    responses={
        201: {"headers": CREATED_HEADERS},
        **problems(*WITH_BODY, *KEYED, Slug.NOT_PERMITTED, Slug.CONFLICT),
    },
)
async def submit(
    body: EventRequest,
    caller: SignedIn,
    service: ServiceHere,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> Event:
    """Insert an event that runs as the caller, its source pinned to the newest version of the table."""
    row, replayed = await service.far.run(events.submit, service, caller, body, idempotency_key)
    response.headers["Location"] = f"/sync/events/{quote(row.event_id or '', safe='')}"
    if replayed:
        response.headers[REPLAYED] = "true"
    return Event.of(row)


@router.get("", summary="List events", responses=problems(*SIGNED_IN))
async def listed(wanted: Annotated[EventsQuery, Query()], caller: SignedIn, service: ServiceHere) -> EventList:
    """The newest events first: those whose target the caller may read or write."""
    rows = await service.far.run(events.listed, service, caller, wanted.wanted, wanted.limit)
    return EventList(events=[Event.of(row) for row in rows])


@router.get("/{event_id:path}", summary="See an event", responses=problems(*SIGNED_IN, Slug.NOT_FOUND))
async def event(event_id: EventId, caller: SignedIn, service: ServiceHere) -> Event:
    """The event as it stands."""
    return Event.of(await service.far.run(events.visible, service, caller, event_id))


@router.post(
    "/{event_id:path}/retry",
    summary="Send an event round again",
    response_description="The event, pending again.",
    responses={
        200: {"headers": {name: CREATED_HEADERS[name] for name in (REPLAYED,)}},
        **problems(*SIGNED_IN, *KEYED, Slug.NOT_PERMITTED, Slug.NOT_FOUND, Slug.CONFLICT),
    },
)
async def retry(
    event_id: EventId,
    caller: SignedIn,
    service: ServiceHere,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> Event:
    """Set a failed or blocked event back to pending; it runs as whoever signed it."""
    row, replayed = await service.far.run(events.retry, service, caller, event_id, idempotency_key)
    if replayed:
        response.headers[REPLAYED] = "true"
    return Event.of(row)
