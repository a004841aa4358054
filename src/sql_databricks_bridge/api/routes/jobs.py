"""GET /jobs, GET and DELETE /jobs/{id}, and the stream of a job's changes. A user sees its own jobs alone."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from sql_databricks_bridge.api import auditing
from sql_databricks_bridge.api.dependencies import Service, service_of
from sql_databricks_bridge.api.openapi import SIGNED_IN, problems
from sql_databricks_bridge.api.problems import Refused, Slug, not_found
from sql_databricks_bridge.api.schemas import Job, JobList, JobsQuery, run_status
from sql_databricks_bridge.api.sign_in import Caller, SignedIn, SignedInRoute, still_signed_in
from sql_databricks_bridge.models.job_records import Job as JobRecord
from sql_databricks_bridge.models.job_records import JobFilter
from sql_databricks_bridge.models.jobs import RunStatus

router = APIRouter(prefix="/jobs", tags=["extraction"], route_class=SignedInRoute)

POLL_S = 0.5
"""Seconds between two looks at a job whose changes somebody follows: another replica may run it."""

_JOB_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_COUNT = re.compile(r"[0-9]{1,15}")

JobId = Annotated[str, Path(description="The job's id.", examples=["20261123T130755Z-3f9a1c52b7e0"])]
ServiceHere = Annotated[Service, Depends(service_of)]


@router.get("", summary="List jobs", responses=problems(*SIGNED_IN))
async def jobs(wanted: Annotated[JobsQuery, Query()], caller: SignedIn, service: ServiceHere) -> JobList:
    """The caller's jobs, the newest first, a page at a time."""
    chosen = JobFilter(
        user_name=caller.user.name,
        status=run_status(wanted.status),
        country=wanted.country,
        before=None if wanted.cursor is None else _place(wanted.cursor),
    )
    found = await service.near.run(service.store.find, chosen, wanted.limit + 1)
    page = found[: wanted.limit]
    return JobList(
        jobs=[Job.of(job) for job in page], next_cursor=_cursor(page[-1]) if len(found) > len(page) else None
    )


@router.get("/{job_id}", summary="See a job", responses=problems(*SIGNED_IN, Slug.NOT_FOUND))
async def job(job_id: JobId, caller: SignedIn, service: ServiceHere) -> Job:
    """The job as it stands."""
    return Job.of(await service.near.run(_own, service, caller, job_id))


@router.delete(
    "/{job_id}",
    status_code=202,
    summary="Cancel a job",
    response_description="The job: cancelled at once where it waited, else its runner was asked to stop.",
    responses=problems(*SIGNED_IN, Slug.NOT_FOUND, Slug.CONFLICT),
)
async def cancel(job_id: JobId, caller: SignedIn, service: ServiceHere) -> Job:
    """Cancel a job; what it has published stays. Cancelled already it is answered as it stands."""
    return Job.of(await service.near.run(_cancel, service, caller, job_id))


async def _followed(job_id: JobId, caller: SignedIn, service: ServiceHere) -> JobRecord:
    """The job before its stream begins, so that one that is not there is a 404 and no empty stream."""
    return await service.near.run(_own, service, caller, job_id)


@router.get(
    "/{job_id}/events",
    summary="Follow a job",
    response_class=EventSourceResponse,
    response_description="`event: job` with the job as `data`, at once and at each change, until it has ended.",
    responses=problems(*SIGNED_IN, Slug.NOT_FOUND),
)
async def job_events(
    request: Request,
    job: Annotated[JobRecord, Depends(_followed)],
    service: ServiceHere,
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", max_length=200, description="Where a client left off.")
    ] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events. A stream that ends before the job has ended was cut off: follow it again."""
    number = int(last_event_id) if last_event_id and _COUNT.fullmatch(last_event_id) else 0
    shown = None
    while True:
        now = Job.of(job)
        if now != shown:
            shown, number = now, number + 1
            yield ServerSentEvent(event="job", id=str(number), data=now)
        if job.ended:
            return
        await asyncio.sleep(POLL_S)
        found = (
            None if service.stopping.is_set() else await service.near.run(_still_there, service, request, job.job_id)
        )
        if found is None:
            return
        job = found


def _own(service: Service, caller: Caller, job_id: str) -> JobRecord:
    found = service.store.get(job_id) if _JOB_ID.fullmatch(job_id) else None
    if found is None:
        raise not_found("job")
    if found.user_name != caller.user.name:
        auditing.denied(service, caller, "read", f"/jobs/{job_id}", "It is another user's job.")
        raise not_found("job")
    return found


def _still_there(service: Service, request: Request, job_id: str) -> JobRecord | None:
    """The job, None where it was pruned or the token that asked is not good any more."""
    return service.store.get(job_id) if still_signed_in(service, request) else None


def _cancel(service: Service, caller: Caller, job_id: str) -> JobRecord:
    found = _own(service, caller, job_id)
    if not found.ended:
        with auditing.mutation(service, caller, "job_cancel", job_id):
            found = service.store.cancel(job_id) or found
        service.runner.wake()
    if found.ended and found.status is not RunStatus.CANCELLED:
        raise Refused(Slug.CONFLICT, f"The job has ended: it is {found.status}.")
    return found


def _cursor(last: JobRecord) -> str:
    text = json.dumps([last.created_at.isoformat(), last.job_id])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _place(cursor: str) -> tuple[dt.datetime, str]:
    """Where a page begins; a cursor is ours to make, and anybody's to make up."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        moment, job_id = json.loads(text)
        created_at = dt.datetime.fromisoformat(moment)
        if created_at.tzinfo is None or not _JOB_ID.fullmatch(job_id):
            raise ValueError("a time without a zone, or no job's id")
        return created_at.astimezone(dt.UTC), job_id
    except (ValueError, TypeError, OverflowError, RecursionError):
        told = "It is no cursor of this service"
        raise Refused(Slug.INVALID_REQUEST, f"query.cursor: {told}.", errors=[("query.cursor", told)]) from None
