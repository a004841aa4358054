"""Big uploads: in parts (as on AWS and Azure) or resumable (as on Google Cloud), through links to storage.

    POST /api/2.0/fs/files{path}?action=initiate-upload     -> a session token POST
    /api/2.0/fs/create-upload-part-urls                -> one link for each part; PUT there answers an ETag POST
    /api/2.0/fs/create-resumable-upload-url            -> one link; PUT there with Content-Range answers 308 or 200
    POST /api/2.0/fs/files{path}?action=complete-upload     -> the file is there, whole POST
    /api/2.0/fs/create-abort-upload-url                -> a link; DELETE there forgets the session POST
    /api/2.0/fs/create-download-url                    -> a link to read the file

Sources: the Databricks SDKs' file clients (the REST reference does not describe these calls); Amazon S3 "Multipart
upload"; Google Cloud Storage "Resumable uploads". Nothing is visible at the path before an upload is complete. A
session ends with its completion or abort: a re-sent completion finds no session (404), as in S3.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .errors import invalid, malformed
from .links import parse_rfc3339
from .paths import VolumePath, local, parse
from .publish import already_exists, not_found, put_in_place, wants_overwrite
from .sessions import Session

if TYPE_CHECKING:
    from .workspace import Workspace

_DEFAULT_LIFETIME_S = 3600.0
_MAX_PARTS = 10_000


async def control(workspace: Workspace, request: Request, path: VolumePath) -> Response:
    """POST on a file path: begin or complete an upload."""
    match request.query_params.get("action"):
        case "initiate-upload":
            return _initiate(workspace, request, path)
        case "complete-upload":
            return await _complete(workspace, request, path)
        case other:
            raise invalid(f"action must be initiate-upload or complete-upload, not {other!r}.")


def _initiate(workspace: Workspace, request: Request, path: VolumePath) -> Response:
    overwrite = wants_overwrite(request)
    if local(workspace.catalog, path).exists() and not overwrite:
        raise already_exists(path)
    token = workspace.uploads.add(path, overwrite, workspace.spool)
    kind = "resumable_upload" if workspace.settings.cloud == "gcp" else "multipart_upload"
    return JSONResponse({kind: {"session_token": token}})


async def _complete(workspace: Workspace, request: Request, path: VolumePath) -> Response:
    if request.query_params.get("upload_type", "multipart") != "multipart":
        raise invalid("upload_type must be multipart: a resumable upload completes with its last byte.")
    token = request.query_params.get("session_token", "")
    session = workspace.uploads.get(token, path)
    body = await _body(request)
    wanted = body.get("parts")
    if not isinstance(wanted, list) or not wanted:
        raise malformed("'parts' must list the parts of the file.")
    chosen = [_chosen_part(session, part) for part in wanted]
    if [number for number, _ in chosen] != sorted({number for number, _ in chosen}):
        raise invalid("The parts must be in ascending order, each once.")
    # S3 wants 5 MiB in every part but the last. Smaller ones are taken here, for tests; empty ones are a mistake.
    if empty := [number for number, file in chosen[:-1] if not file.stat().st_size]:
        raise invalid(f"EntityTooSmall: part {empty[0]} is smaller than the minimum allowed size.")
    await asyncio.to_thread(_join, session, [file for _, file in chosen])
    try:
        put_in_place(workspace.catalog, session.folder / "whole", path, overwrite=session.overwrite)
    finally:
        workspace.uploads.close(token)
    return Response(status_code=200)


def _chosen_part(session: Session, part: object) -> tuple[int, Path]:
    number = part.get("part_number") if isinstance(part, dict) else None
    stored = session.parts.get(number) if isinstance(number, int) else None
    if number is None or stored is None or not isinstance(part, dict) or part.get("etag") != stored[0]:
        raise invalid(f"Part {number!r} was not uploaded, or its etag is another one.")
    return number, stored[1]


def _join(session: Session, parts: list[Path]) -> None:
    whole = session.folder / "whole"
    parts[0].rename(whole)
    with whole.open("ab") as target:
        for part in parts[1:]:
            with part.open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
            part.unlink()


# Calls that make links ----------------------------------------------------------------------------


async def create_part_urls(request: Request) -> Response:
    """POST /api/2.0/fs/create-upload-part-urls."""
    workspace: Workspace = request.app.state.workspace
    body = await _body(request)
    _session_of(workspace, body)
    first, wanted = body.get("start_part_number"), body.get("count", 1)
    if not isinstance(first, int) or not isinstance(wanted, int) or not 1 <= first <= first + wanted - 1 <= _MAX_PARTS:
        raise invalid(f"start_part_number and count must name parts from 1 to {_MAX_PARTS}.")
    expires = _expiry(request, body)
    urls = [
        {
            "url": workspace.links.make(
                workspace.url, "PUT", f"/uploads/{body['session_token']}/part-{number}", expires
            ),
            "part_number": number,
            "headers": [],
        }
        for number in range(first, first + wanted)
    ]
    return JSONResponse({"upload_part_urls": urls})


async def create_resumable_url(request: Request) -> Response:
    """POST /api/2.0/fs/create-resumable-upload-url."""
    workspace: Workspace = request.app.state.workspace
    body = await _body(request)
    _session_of(workspace, body)
    url = workspace.links.make(workspace.url, "ANY", f"/uploads/{body['session_token']}", _expiry(request, body))
    return JSONResponse({"resumable_upload_url": {"url": url, "headers": []}})


async def create_abort_url(request: Request) -> Response:
    """POST /api/2.0/fs/create-abort-upload-url."""
    workspace: Workspace = request.app.state.workspace
    body = await _body(request)
    _session_of(workspace, body)
    url = workspace.links.make(
        workspace.url, "DELETE", f"/uploads/{body['session_token']}/abort", _expiry(request, body)
    )
    return JSONResponse({"abort_upload_url": {"url": url, "headers": []}})


async def create_download_url(request: Request) -> Response:
    """POST /api/2.0/fs/create-download-url?path=...&expire_time=..."""
    workspace: Workspace = request.app.state.workspace
    path = parse(request.query_params.get("path", ""))
    if not local(workspace.catalog, path).is_file():
        raise not_found(path)
    expires = _expiry(request, dict(request.query_params))
    url = workspace.links.make(workspace.url, "GET", f"/files{path.text}", expires)
    return JSONResponse({"url": url, "headers": []})


def _session_of(workspace: Workspace, body: dict[str, Any]) -> Session:
    return workspace.uploads.get(body.get("session_token"), parse(str(body.get("path"))))


def _expiry(request: Request, body: dict[str, Any]) -> float:
    """When a new link ends: as asked for, an hour from now without a wish, already over by the fault."""
    if request.state.faults.take("expire_links"):
        return time.time() - 1
    if body.get("expire_time") is None:
        return time.time() + _DEFAULT_LIFETIME_S
    moment = parse_rfc3339(body["expire_time"])
    if moment is None:
        raise invalid(f"expire_time {body['expire_time']!r} is no RFC 3339 time.")
    return moment


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body())
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise malformed("The request body must be a JSON object.")
    return body
