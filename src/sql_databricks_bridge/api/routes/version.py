"""GET /version: what answers here."""

from __future__ import annotations

from fastapi import APIRouter

from sql_databricks_bridge import __version__
from sql_databricks_bridge.api.openapi import ALWAYS, problems
from sql_databricks_bridge.api.schemas import Version

router = APIRouter(tags=["service"])


@router.get("/version", summary="Tell name and version", responses=problems(*ALWAYS))
async def version() -> Version:
    """What answers here. Needs no sign-in."""
    return Version(version=__version__)
