"""The service as an ASGI application: routes, middlewares, and what runs beside them while it is up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

import anyio.to_thread
from fastapi import FastAPI

from sql_databricks_bridge import __version__, composition
from sql_databricks_bridge.api import dependencies, openapi, problems
from sql_databricks_bridge.api.access_log import AccessLog
from sql_databricks_bridge.api.background import Background
from sql_databricks_bridge.api.dependencies import Service
from sql_databricks_bridge.api.health_checks import HealthChecks
from sql_databricks_bridge.api.limits import BodyLimits, InFlight, RateLimits
from sql_databricks_bridge.api.request_context import RequestContext
from sql_databricks_bridge.api.routes import extract, jobs, queries, sync, version
from sql_databricks_bridge.api.routes.health import health_router
from sql_databricks_bridge.api.routes.metrics import metrics_router
from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.observability.metrics import CONTENT_TYPE

Lifespan: TypeAlias = Callable[[FastAPI], AbstractAsyncContextManager[None]]

MOST_REQUESTS = 256
"""Requests that are answered at a time, event streams included."""

_DESCRIPTION = """\
Typed, atomic data movement between SQL Server and Databricks.

Sign in by `Authorization: Bearer TOKEN`. Whatever is not a success is `application/problem+json` (RFC 9457) and has a
`request_id`, which is also every response's `X-Request-ID`. Times are ISO 8601 in UTC.
"""
_TAGS = [
    {"name": "extraction", "description": "From SQL Server to a Databricks volume."},
    {"name": "sync", "description": "From a Delta table to SQL Server."},
    {"name": "service", "description": "What answers here."},
    {"name": "health", "description": "What an orchestrator asks."},
]


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application; `SettingsError` where the settings can't be right. `app.state.service` is what it shares.

    Without `settings` those of the environment are read, as `uvicorn --factory` wants it.
    """
    service = dependencies.build(settings or composition.settings("INFO"))
    app = _routed(service.health, service.started.is_set, service.metrics.render, _lifespan(service))
    app.state.service = service
    _limit(app, service)
    return app


def openapi_document() -> dict[str, object]:
    """The OpenAPI document, without a service behind it."""
    return openapi.document(_routed(HealthChecks(()), lambda: False, bytes))


def _routed(
    health: HealthChecks,
    started: Callable[[], bool],
    metrics: Callable[[], bytes],
    lifespan: Lifespan | None = None,
) -> FastAPI:
    app = FastAPI(
        title="SQL-Databricks Bridge",
        version=__version__,
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    problems.install(app)
    for router in (
        extract.router,
        jobs.router,
        queries.router,
        sync.router,
        version.router,
        metrics_router(metrics, CONTENT_TYPE),
        health_router(health, started),
    ):
        app.include_router(router)
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app


def _lifespan(service: Service) -> Lifespan:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        background = Background(service)
        try:
            await anyio.to_thread.run_sync(background.start)
            yield
        finally:
            await anyio.to_thread.run_sync(background.stop, abandon_on_cancel=True)  # a second signal waits for nothing

    return lifespan


def _limit(app: FastAPI, service: Service) -> None:
    """Put the middlewares around the app, the innermost first."""
    settings = service.settings
    app.add_middleware(BodyLimits, max_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s)
    app.add_middleware(
        RateLimits,
        requests_per_minute=settings.rate_limit_per_minute,
        failed_sign_ins_per_minute=settings.failed_sign_ins_per_minute,
    )
    app.add_middleware(InFlight, limit=MOST_REQUESTS)
    app.add_middleware(AccessLog, on_request=service.metrics.request_ended)
    app.add_middleware(RequestContext, trusted=service.trusted_proxies)
