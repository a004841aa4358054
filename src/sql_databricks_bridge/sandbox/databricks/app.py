"""The routes of the stand-in, behind the gate."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from . import admin, directories, files, signin, statements, storage, unity, uploads
from .errors import ApiError, no_such_endpoint
from .gate import ADMIN_PREFIX, Gate
from .links import PREFIX, LinkError
from .workspace import Workspace

_FS = "/api/2.0/fs"
_SQL = "/api/2.0/sql"
_UC = "/api/2.1/unity-catalog"


def create_app(workspace: Workspace) -> ASGIApp:
    """The ASGI application for one workspace."""
    app = Starlette(
        routes=[*_sign_in(), *_files(), *_storage(), *_unity(), *_sql(), *_admin()],
        exception_handlers={ApiError: _api_error, LinkError: _link_error, HTTPException: _no_route, Exception: _failed},
    )
    app.router.redirect_slashes = False
    app.state.workspace = workspace
    return Gate(app, workspace)


def _sign_in() -> list[Route]:
    return [
        Route("/.well-known/databricks-config", signin.databricks_config),
        Route("/oidc/.well-known/oauth-authorization-server", signin.authorization_server),
        Route("/oidc/v1/token", signin.token, methods=["POST"]),
        Route("/api/2.0/preview/scim/v2/Me", signin.me),
    ]


def _files() -> list[Route]:
    return [
        Route(f"{_FS}/files/{{path:path}}", files.handle, methods=["GET", "HEAD", "PUT", "POST", "DELETE"]),
        Route(f"{_FS}/directories/{{path:path}}", directories.handle, methods=["GET", "HEAD", "PUT", "DELETE"]),
        Route(f"{_FS}/create-upload-part-urls", uploads.create_part_urls, methods=["POST"]),
        Route(f"{_FS}/create-resumable-upload-url", uploads.create_resumable_url, methods=["POST"]),
        Route(f"{_FS}/create-abort-upload-url", uploads.create_abort_url, methods=["POST"]),
        Route(f"{_FS}/create-download-url", uploads.create_download_url, methods=["POST"]),
    ]


def _storage() -> list[Route]:
    return [
        Route(f"{PREFIX}/uploads/{{session}}/abort", storage.abort_upload, methods=["DELETE"]),
        Route(f"{PREFIX}/uploads/{{session}}/part-{{part:int}}", storage.put_part, methods=["PUT"]),
        Route(f"{PREFIX}/uploads/{{session}}", storage.put_resumable, methods=["PUT"]),
        Route(f"{PREFIX}/uploads/{{session}}", storage.abort_upload, methods=["DELETE"]),
        Route(f"{PREFIX}/files/{{path:path}}", storage.read_link, methods=["GET"]),
        Route(f"{PREFIX}/results/{{id}}/{{chunk:int}}", statements.read_link, methods=["GET"]),
    ]


def _unity() -> list[Route]:
    return [
        Route(f"{_UC}/catalogs", unity.list_catalogs, methods=["GET"]),
        Route(f"{_UC}/catalogs/{{name}}", unity.get_catalog, methods=["GET"]),
        Route(f"{_UC}/schemas", unity.schemas, methods=["GET", "POST"]),
        Route(f"{_UC}/schemas/{{name}}", unity.schema, methods=["GET", "DELETE"]),
        Route(f"{_UC}/volumes", unity.volumes, methods=["GET", "POST"]),
        Route(f"{_UC}/volumes/{{name}}", unity.volume, methods=["GET", "DELETE"]),
        Route(f"{_UC}/tables", unity.tables, methods=["GET"]),
        Route(f"{_UC}/tables/{{name}}", unity.table, methods=["GET"]),
        Route(f"{_UC}/tables/{{name}}/exists", unity.table_exists, methods=["GET"]),
    ]


def _sql() -> list[Route]:
    return [
        Route(f"{_SQL}/warehouses", unity.list_warehouses, methods=["GET"]),
        Route(f"{_SQL}/warehouses/{{id}}", unity.get_warehouse, methods=["GET"]),
        Route(f"{_SQL}/statements", statements.execute, methods=["POST"]),
        Route(f"{_SQL}/statements/", statements.execute, methods=["POST"]),
        Route(f"{_SQL}/statements/{{id}}", statements.status, methods=["GET"]),
        Route(f"{_SQL}/statements/{{id}}/cancel", statements.cancel, methods=["POST"]),
        Route(f"{_SQL}/statements/{{id}}/result/chunks/{{chunk:int}}", statements.chunk, methods=["GET"]),
    ]


def _admin() -> list[Route]:
    return [
        Route(ADMIN_PREFIX, admin.about, methods=["GET"]),
        Route(f"{ADMIN_PREFIX}/faults", admin.faults, methods=["GET", "POST", "DELETE"]),
        Route(f"{ADMIN_PREFIX}/faults/{{id}}", admin.fault, methods=["GET", "DELETE"]),
        Route(f"{ADMIN_PREFIX}/requests", admin.requests, methods=["GET", "DELETE"]),
    ]


def _api_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


def _link_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, LinkError)
    return error.response()


def _no_route(request: Request, _error: Exception) -> Response:
    return no_such_endpoint(request.method, request.url.path).response()


def _failed(_request: Request, _error: Exception) -> Response:
    return ApiError(500, "INTERNAL_ERROR", "The Databricks stand-in failed; see its log.").response()
