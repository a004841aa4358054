"""GET /metrics: what Prometheus scrapes."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Response

from sql_databricks_bridge.api.openapi import ALWAYS, problems


def metrics_router(render: Callable[[], bytes], content_type: str) -> APIRouter:
    """The route. `render` gives the text, of that type; `Metrics.render` and `metrics.CONTENT_TYPE` as a rule."""
    router = APIRouter(tags=["service"])

    @router.get(
        "/metrics",
        summary="Give the metrics",
        response_class=Response,
        responses={
            **problems(*ALWAYS),
            200: {"description": "Prometheus' text format.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        },
    )
    async def metrics() -> Response:
        """Counters, gauges and histograms of this replica. Needs no sign-in, and names no table and no user."""
        return Response(render(), headers={"Content-Type": content_type})

    return router
