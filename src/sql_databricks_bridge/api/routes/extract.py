"""POST /extract: queue an extraction."""

from __future__ import annotations

import datetime as dt
import random
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from sql_databricks_bridge.api import auditing, idempotency
from sql_databricks_bridge.api.dependencies import Service, service_of
from sql_databricks_bridge.api.idempotency import REPLAYED, IdempotencyKey
from sql_databricks_bridge.api.openapi import CREATED_HEADERS, KEYED, WITH_BODY, problems
from sql_databricks_bridge.api.planning import plan_of
from sql_databricks_bridge.api.problems import Slug
from sql_databricks_bridge.api.schemas import ExtractRequest, Job
from sql_databricks_bridge.api.sign_in import Caller, SignedIn, SignedInRoute
from sql_databricks_bridge.core.planning import new_run_id
from sql_databricks_bridge.models.job_records import Job as JobRecord
from sql_databricks_bridge.models.job_records import NewJob

router = APIRouter(tags=["extraction"], route_class=SignedInRoute)


@router.post(
    "/extract",
    status_code=202,
    summary="Queue an extraction",
    response_description="The job, which waits or runs.",
    responses={
        202: {"headers": CREATED_HEADERS},
        **problems(*WITH_BODY, *KEYED, Slug.NOT_PERMITTED, Slug.QUEUE_FULL),
    },
)
async def extract(
    body: ExtractRequest,
    caller: SignedIn,
    service: Annotated[Service, Depends(service_of)],
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> Job:
    """Resolve the queries, check that the caller may read every table that they name, and queue them as one job."""
    job, replayed = await service.far.run(_queue, service, caller, body, idempotency_key)
    response.headers["Location"] = f"/jobs/{job.job_id}"
    if replayed:
        response.headers[REPLAYED] = "true"
    return Job.of(job)


def _queue(service: Service, caller: Caller, body: ExtractRequest, key: str | None) -> tuple[JobRecord, bool]:
    """The job, and whether an earlier request with the same key made it."""
    new_id = new_run_id(dt.datetime.now(dt.UTC), random.SystemRandom())
    request = ["extract", body.model_dump(mode="json")]
    with idempotency.reserved(service, caller, key, request, new_id) as keyed:
        if keyed.seen and (job := service.store.get(keyed.resource_id)):
            keyed.settle(service, caller)
            return job, True
        job = _queued(service, caller, body, keyed.resource_id)
        keyed.settle(service, caller)
        return job, False


def _queued(service: Service, caller: Caller, body: ExtractRequest, job_id: str) -> JobRecord:
    plan = plan_of(service.settings, body, job_id)
    resource = f"{body.country}/{','.join(query.name for query in plan.queries)}"
    with auditing.denials(service, caller, "extract", resource):
        tables = service.authorization.tables(caller.user, caller.permissions, plan)
    with auditing.mutation(service, caller, "job_create", job_id, country=body.country, tables=", ".join(tables)):
        job = service.store.add(
            NewJob(caller.user.name, plan, tables, caller.request_id), queue_limit=service.settings.job_queue_limit
        )
    service.runner.wake()
    return job
