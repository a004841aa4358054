"""GET /health/live, /health/ready, /health/startup: what an orchestrator asks every few seconds. Nothing here waits."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field, PlainSerializer

from sql_databricks_bridge.api.health_checks import DependencyName, HealthChecks, Problem, documented
from sql_databricks_bridge.api.openapi import ALWAYS, problems

_Time = Annotated[dt.datetime, PlainSerializer(lambda at: at.isoformat(timespec="milliseconds").replace("+00:00", "Z"))]


class Live(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Startup(BaseModel):
    """Whether the service has begun."""

    status: Literal["started", "starting"]


class DependencyHealth(BaseModel):
    """What is known of one thing that the service needs."""

    name: DependencyName
    status: Literal["up", "down"]
    latency_ms: Annotated[float | None, Field(description="How long the last look took, while it is up.")]
    problem: Annotated[Problem | None, Field(description="What is wrong, in a word; the service's log says more.")]


class Ready(BaseModel):
    """Whether the service can do its work."""

    status: Literal["ready", "unready"]
    checked_at: Annotated[_Time | None, Field(description="When the oldest of the last looks ended.")]
    dependencies: list[DependencyHealth]


def health_router(checks: HealthChecks, started: Callable[[], bool]) -> APIRouter:
    """The three routes. `started` tells whether the service is set up; a first look at all is waited for as well."""
    router = APIRouter(prefix="/health", tags=["health"])

    @router.get("/live", summary="Tell whether the process lives", responses=problems(*ALWAYS))
    async def live() -> Live:
        """Whether the process answers at all; says nothing of what it depends on."""
        return Live()

    @router.get(
        "/ready",
        summary="Tell whether the service can work",
        responses={**problems(*ALWAYS), 503: {"model": Ready, "description": "A dependency is away: it is named."}},
    )
    async def ready(response: Response) -> Ready:
        """Whether every dependency is up, by a look of a few seconds ago: asking costs nothing and never waits."""
        found = Ready.model_validate(documented(checks.health()))
        response.status_code = 200 if found.status == "ready" else 503
        return found

    @router.get(
        "/startup",
        summary="Tell whether the service has begun",
        responses={**problems(*ALWAYS), 503: {"model": Startup, "description": "It is still starting."}},
    )
    async def startup(response: Response) -> Startup:
        """Whether the service is set up and has looked at each dependency once, whatever it found."""
        if started() and checks.first_round_done:
            return Startup(status="started")
        response.status_code = 503
        return Startup(status="starting")

    return router
