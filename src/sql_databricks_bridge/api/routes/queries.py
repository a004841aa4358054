"""GET /queries: what a country can extract."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from sql_databricks_bridge.api.dependencies import Service, service_of
from sql_databricks_bridge.api.openapi import SIGNED_IN, problems
from sql_databricks_bridge.api.planning import known_country, own_folders
from sql_databricks_bridge.api.problems import Refused, Slug
from sql_databricks_bridge.api.schemas import QueriesQuery, QueryFile, QueryList
from sql_databricks_bridge.api.sign_in import SignedIn, SignedInRoute
from sql_databricks_bridge.core.planning import list_queries
from sql_databricks_bridge.errors import UnknownNameError

router = APIRouter(tags=["extraction"], route_class=SignedInRoute)


@router.get("/queries", summary="List a country's queries", responses=problems(*SIGNED_IN, Slug.NOT_FOUND))
async def queries(
    wanted: Annotated[QueriesQuery, Query()], _: SignedIn, service: Annotated[Service, Depends(service_of)]
) -> QueryList:
    """The queries that POST /extract runs for a country, its own in place of the common ones."""
    return await service.near.run(_listed, service, wanted.country)


def _listed(service: Service, country: str) -> QueryList:
    settings = service.settings
    own_folders(settings)
    try:
        known_country(settings, country)
    except UnknownNameError as exc:
        raise Refused(Slug.NOT_FOUND, exc.message, hint=exc.hint) from exc
    root = settings.bridge_queries_dir
    return QueryList(
        country=country,
        queries=[
            QueryFile(
                name=info.name,
                file=PurePath(info.file).relative_to(root).as_posix(),
                placeholders=list(info.placeholders),
                parameters=list(info.parameters),
                problem=info.problem,
            )
            for info in list_queries(root, country)
        ],
    )
