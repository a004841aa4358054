"""`/_sandbox`: what a test tells the stand-in and asks it. No sign-in: the server listens on loopback only.

GET    /_sandbox                          version and what is served
GET    /_sandbox/faults                   every fault rule with its counts
POST   /_sandbox/faults                   add a rule (or a list of rules); 400 names what is wrong with it
DELETE /_sandbox/faults                   remove all rules
GET    /_sandbox/faults/{id}              one rule; ?hits=n&wait_s=x waits until it was hit n times, at most x seconds
DELETE /_sandbox/faults/{id}              remove one rule
GET    /_sandbox/requests                 the request log; ?after=n: only what came after sequence number n
DELETE /_sandbox/requests                 empty the log
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..faults import FaultRuleError
from .errors import ApiError, invalid, malformed

if TYPE_CHECKING:
    from .workspace import Workspace


async def about(request: Request) -> Response:
    """GET /_sandbox."""
    workspace: Workspace = request.app.state.workspace
    return JSONResponse(
        {
            "stand_in": "databricks",
            "pid": os.getpid(),
            "url": workspace.url,
            "actions": sorted(workspace.faults.vocabulary.actions),
        }
    )


async def faults(request: Request) -> Response:
    """Every method on /_sandbox/faults."""
    workspace: Workspace = request.app.state.workspace
    if request.method == "DELETE":
        return JSONResponse({"deleted": workspace.faults.clear()})
    if request.method == "POST":
        try:
            document = json.loads(await request.body())
        except ValueError:
            raise malformed("The request body must be JSON.") from None
        try:
            if isinstance(document, list):
                return JSONResponse({"faults": [workspace.faults.add(each) for each in document]}, 201)
            return JSONResponse(workspace.faults.add(document), 201)
        except FaultRuleError as error:
            raise invalid(str(error)) from error
    return JSONResponse({"faults": workspace.faults.to_json()})


async def fault(request: Request) -> Response:
    """Every method on /_sandbox/faults/{id}."""
    workspace: Workspace = request.app.state.workspace
    rule_id = request.path_params["id"]
    if request.method == "DELETE":
        found: object = {"deleted": 1} if workspace.faults.clear(rule_id) else None
    else:
        hits = int(request.query_params.get("hits", "0"))
        wait_s = float(request.query_params.get("wait_s", "0"))
        found = await asyncio.to_thread(workspace.faults.wait_for_hits, rule_id, hits, wait_s)
    if found is None:
        raise ApiError(404, "NOT_FOUND", f"There is no fault rule {rule_id!r}.")
    return JSONResponse(found)


async def requests(request: Request) -> Response:
    """Every method on /_sandbox/requests."""
    workspace: Workspace = request.app.state.workspace
    if request.method == "DELETE":
        workspace.requests.clear()
        return JSONResponse({})
    return JSONResponse({"requests": workspace.requests.to_json(int(request.query_params.get("after", "0")))})
