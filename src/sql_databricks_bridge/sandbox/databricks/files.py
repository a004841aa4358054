"""`/api/2.0/fs/files{path}`: upload, download, look at and delete one file.

Source: Databricks REST API, "Files". POST on the same path belongs to multipart upload, see `uploads`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from . import uploads
from .bodies import drain, receive_to, send_file
from .connections import abort
from .errors import invalid
from .paths import VolumePath, local, parse
from .publish import already_exists, not_found, put_in_place, wants_overwrite

if TYPE_CHECKING:
    from .workspace import Workspace


async def handle(request: Request) -> Response:
    """Every method on a file path."""
    workspace: Workspace = request.app.state.workspace
    path = parse("/" + request.path_params["path"])
    if not path.inner:
        raise invalid(f"The path {path.text} is a volume, not a file.")
    match request.method:
        case "PUT":
            return await _upload(workspace, request, path)
        case "POST":
            return await uploads.control(workspace, request, path)
        case "DELETE":
            return _delete(workspace, path)
        case _:
            return send_file(request, local(workspace.catalog, path), not_found(path))


async def _upload(workspace: Workspace, request: Request, path: VolumePath) -> Response:
    if unknown := set(request.query_params) - {"overwrite"}:
        raise invalid(f"Unknown query parameter {min(unknown)!r} for an upload.")
    overwrite = wants_overwrite(request)
    if not overwrite and local(workspace.catalog, path).exists():
        await drain(request.receive)
        raise already_exists(path)
    local(workspace.catalog, path)  # no need to take gigabytes for a volume that is not there
    body = await receive_to(request, workspace.spool)
    if request.state.faults.take("half_upload"):
        os.truncate(body, body.stat().st_size // 2)
        put_in_place(workspace.catalog, body, path, overwrite=overwrite)
        request.state.dropped = True
        await abort(request.scope.get("client"))
        return Response(status_code=500)
    put_in_place(workspace.catalog, body, path, overwrite=overwrite)
    return Response(status_code=204)


def _delete(workspace: Workspace, path: VolumePath) -> Response:
    try:
        local(workspace.catalog, path).unlink()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        raise not_found(path) from error
    return Response(status_code=204)
