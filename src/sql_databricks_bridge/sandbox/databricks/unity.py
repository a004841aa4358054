"""Unity Catalog and SQL warehouses, as far as a client looks at them before it works.

Sources: Databricks REST API, "Catalogs", "Schemas", "Volumes", "Tables", "SQL warehouses".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .catalog import Schema, Table, Volume
from .errors import ApiError, invalid, malformed, not_supported

if TYPE_CHECKING:
    from .workspace import Workspace

_OWNER = "sandbox@example.com"


async def list_catalogs(request: Request) -> Response:
    """GET /api/2.1/unity-catalog/catalogs."""
    workspace: Workspace = request.app.state.workspace
    return JSONResponse({"catalogs": [_catalog(name) for name in workspace.catalog.catalogs()]})


async def get_catalog(request: Request) -> Response:
    """GET /api/2.1/unity-catalog/catalogs/{name}."""
    workspace: Workspace = request.app.state.workspace
    name = request.path_params["name"]
    workspace.catalog.schemas(name)
    return JSONResponse(_catalog(name.lower()))


async def schemas(request: Request) -> Response:
    """GET (list, by catalog_name) and POST /api/2.1/unity-catalog/schemas."""
    workspace: Workspace = request.app.state.workspace
    if request.method == "POST":
        body = await _body(request, {"name", "catalog_name"}, {"comment"})
        made = workspace.catalog.create_schema(body["catalog_name"], body["name"], body.get("comment", ""))
        return JSONResponse(_schema(body["catalog_name"].lower(), made))
    catalog = _query(request, "catalog_name")
    return JSONResponse({"schemas": [_schema(catalog.lower(), each) for each in workspace.catalog.schemas(catalog)]})


async def schema(request: Request) -> Response:
    """GET and DELETE /api/2.1/unity-catalog/schemas/{full name}."""
    workspace: Workspace = request.app.state.workspace
    catalog, name = _full_name(request, 2)
    if request.method == "DELETE":
        workspace.catalog.drop_schema(catalog, name)
        return JSONResponse({})
    return JSONResponse(_schema(catalog.lower(), workspace.catalog.schema(catalog, name)))


async def volumes(request: Request) -> Response:
    """GET (list, by catalog_name and schema_name) and POST /api/2.1/unity-catalog/volumes."""
    workspace: Workspace = request.app.state.workspace
    if request.method == "POST":
        body = await _body(request, {"name", "catalog_name", "schema_name", "volume_type"}, {"comment"})
        if body["volume_type"] != "MANAGED":
            raise not_supported(f"volumes of the type {body['volume_type']!r}, only MANAGED ones")
        place = body["catalog_name"], body["schema_name"]
        made = workspace.catalog.create_volume(*place, body["name"], body.get("comment", ""))
        return JSONResponse(_volume(workspace, place[0].lower(), place[1].lower(), made))
    catalog, schema_name = _query(request, "catalog_name"), _query(request, "schema_name")
    found = workspace.catalog.schema(catalog, schema_name)
    shown = [_volume(workspace, catalog.lower(), found.name, each) for _, each in sorted(found.volumes.items())]
    return JSONResponse({"volumes": shown})


async def volume(request: Request) -> Response:
    """GET and DELETE /api/2.1/unity-catalog/volumes/{full name}."""
    workspace: Workspace = request.app.state.workspace
    catalog, schema_name, name = _full_name(request, 3)
    if request.method == "DELETE":
        workspace.catalog.drop_volume(catalog, schema_name, name)
        return JSONResponse({})
    found = workspace.catalog.volume(catalog, schema_name, name)
    return JSONResponse(_volume(workspace, catalog.lower(), schema_name.lower(), found))


async def tables(request: Request) -> Response:
    """GET /api/2.1/unity-catalog/tables (list, by catalog_name and schema_name; without columns)."""
    workspace: Workspace = request.app.state.workspace
    catalog, schema_name = _query(request, "catalog_name"), _query(request, "schema_name")
    found = workspace.catalog.schema(catalog, schema_name)
    shown = [_table(workspace, catalog.lower(), found.name, each) for _, each in sorted(found.tables.items())]
    return JSONResponse({"tables": shown})


async def table(request: Request) -> Response:
    """GET /api/2.1/unity-catalog/tables/{full name}, with its columns."""
    workspace: Workspace = request.app.state.workspace
    catalog, schema_name, name = _full_name(request, 3)
    found = workspace.catalog.table(catalog, schema_name, name)
    return JSONResponse(_table(workspace, catalog.lower(), schema_name.lower(), found, columns=True))


async def table_exists(request: Request) -> Response:
    """GET /api/2.1/unity-catalog/tables/{full name}/exists."""
    workspace: Workspace = request.app.state.workspace
    found = workspace.catalog.find_table(*_full_name(request, 3))
    return JSONResponse({"table_exists": found is not None})


async def list_warehouses(request: Request) -> Response:
    """GET /api/2.0/sql/warehouses."""
    workspace: Workspace = request.app.state.workspace
    return JSONResponse({"warehouses": [_warehouse(workspace)]})


async def get_warehouse(request: Request) -> Response:
    """GET /api/2.0/sql/warehouses/{id}."""
    workspace: Workspace = request.app.state.workspace
    require_warehouse(workspace, request.path_params["id"])
    return JSONResponse(_warehouse(workspace))


def require_warehouse(workspace: Workspace, warehouse_id: object) -> None:
    """Raise `ApiError` unless the id is the one warehouse: 400 for an id of another form, else 404."""
    if warehouse_id == workspace.identity.warehouse_id:
        return
    text = str(warehouse_id)
    if len(text) != 16 or not all(digit in "0123456789abcdef" for digit in text):
        raise invalid(f"{text} is not a valid endpoint id.")
    raise ApiError(404, "RESOURCE_DOES_NOT_EXIST", f"SQL warehouse {text} does not exist.")


def _catalog(name: str) -> dict[str, object]:
    return {
        "name": name,
        "full_name": name,
        "catalog_type": "MANAGED_CATALOG",
        "owner": _OWNER,
        "securable_type": "CATALOG",
    }


def _schema(catalog: str, schema: Schema) -> dict[str, object]:
    return {
        "name": schema.name,
        "catalog_name": catalog,
        "full_name": f"{catalog}.{schema.name}",
        "comment": schema.comment,
        "owner": _OWNER,
        "created_at": schema.created_at_ms,
    }


def _volume(workspace: Workspace, catalog: str, schema: str, volume: Volume) -> dict[str, object]:
    return {
        "name": volume.name,
        "catalog_name": catalog,
        "schema_name": schema,
        "full_name": f"{catalog}.{schema}.{volume.name}",
        "volume_id": volume.volume_id,
        "volume_type": "MANAGED",
        "storage_location": f"sandbox://{workspace.identity.workspace_id}/volumes/{volume.volume_id}",
        "comment": volume.comment,
        "owner": _OWNER,
        "created_at": volume.created_at_ms,
    }


def _table(
    workspace: Workspace, catalog: str, schema: str, table: Table, *, columns: bool = False
) -> dict[str, object]:
    shown: dict[str, object] = {
        "name": table.name,
        "catalog_name": catalog,
        "schema_name": schema,
        "full_name": f"{catalog}.{schema}.{table.name}",
        "table_id": table.table_id,
        "table_type": "MANAGED",
        "data_source_format": "DELTA",
        "owner": _OWNER,
        "created_at": table.created_at_ms,
    }
    if columns:
        shown["columns"] = workspace.table_columns(table)
        folder = workspace.catalog.table_folder(table)
        shown["properties"] = workspace.statements.logs.properties(folder)
        comment = workspace.statements.logs.description(folder)
        if comment is not None:
            shown["comment"] = comment
    return shown


def _warehouse(workspace: Workspace) -> dict[str, object]:
    host = workspace.url.partition("//")[2].partition(":")
    path = f"/sql/1.0/warehouses/{workspace.identity.warehouse_id}"
    return {
        "id": workspace.identity.warehouse_id,
        "name": "Sandbox Warehouse",
        "state": "RUNNING",
        "cluster_size": "2X-Small",
        "warehouse_type": "PRO",
        "enable_serverless_compute": False,
        "auto_stop_mins": 10,
        "num_clusters": 1,
        "min_num_clusters": 1,
        "max_num_clusters": 1,
        "creator_name": _OWNER,
        "odbc_params": {"hostname": host[0], "path": path, "port": int(host[2] or 0), "protocol": "https"},
        "health": {"status": "HEALTHY"},
    }


def _query(request: Request, name: str) -> str:
    value = request.query_params.get(name)
    if not value:
        raise invalid(f"The query parameter {name!r} is missing.")
    return value


def _full_name(request: Request, parts: int) -> list[str]:
    name: str = request.path_params["name"]
    found = name.split(".")
    if len(found) != parts or not all(found):
        raise invalid(f"'{name}' is not a valid name: {parts} parts, separated by dots, are needed.")
    return found


async def _body(request: Request, required: set[str], optional: set[str]) -> dict[str, Any]:
    try:
        body = json.loads(await request.body())
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise malformed("The request body must be a JSON object.")
    if missing := sorted(required - set(body)):
        raise invalid(f"The field {missing[0]!r} is missing.")
    if unknown := sorted(set(body) - required - optional):
        raise not_supported(f"the field {unknown[0]!r} here")
    return body
