"""What stands behind the links: the parts of big uploads, and downloads. No sign-in but the link's own signature."""

from __future__ import annotations

import secrets
import shutil
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from .bodies import receive_to, send_file
from .errors import ApiError
from .links import LinkError
from .paths import local, parse
from .publish import not_found, put_in_place
from .sessions import Session

if TYPE_CHECKING:
    from .workspace import Workspace


async def put_part(request: Request) -> Response:
    """PUT to a part's link: stores the part and answers its ETag. A part may be sent again."""
    workspace: Workspace = request.app.state.workspace
    workspace.links.check(request, expired=bool(request.state.faults.take("expire_links")))
    session = _stored_session(workspace, request)
    number = int(request.path_params["part"])
    part = await receive_to(request, session.folder)
    etag = f'"{secrets.token_hex(16)}"'
    session.parts[number] = (etag, part)
    return Response(status_code=200, headers={"ETag": etag})


async def abort_upload(request: Request) -> Response:
    """DELETE to an abort link, or to a resumable upload's link."""
    workspace: Workspace = request.app.state.workspace
    method = "ANY" if "part" not in request.path_params and not request.scope["path"].endswith("/abort") else None
    workspace.links.check(request, expired=False, method=method)
    workspace.uploads.close(request.path_params["session"])
    return Response(status_code=200)


async def put_resumable(request: Request) -> Response:
    """PUT to a resumable upload's link, with Content-Range `bytes a-b/total`, `bytes a-b/*` or `bytes */*`."""
    workspace: Workspace = request.app.state.workspace
    workspace.links.check(request, expired=bool(request.state.faults.take("expire_links")), method="ANY")
    session = _stored_session(workspace, request)
    first, last, total = _content_range(request.headers.get("content-range", ""))
    whole = session.folder / "whole"
    if first is not None:
        if first != session.received:
            raise LinkError(400, "InvalidRange", f"The upload goes on at byte {session.received}, not {first}.")
        block = await receive_to(request, session.folder)
        if block.stat().st_size != last - first + 1:
            raise LinkError(400, "InvalidRange", "Content-Range does not fit the body.")
        with whole.open("ab") as target, block.open("rb") as source:
            shutil.copyfileobj(source, target, 1 << 20)
        block.unlink()
        session.received = last + 1
    if total is None or session.received < total:
        headers = {"Range": f"bytes=0-{session.received - 1}"} if session.received else {}
        return Response(status_code=308, headers=headers)
    try:
        put_in_place(workspace.catalog, whole, session.path, overwrite=session.overwrite)
    except ApiError as error:
        if error.status == 409:  # Cloud Storage states a failed precondition here, and the SDK knows it as such
            raise LinkError(412, "PreconditionFailed", "At least one of the pre-conditions did not hold.") from error
        raise
    finally:
        workspace.uploads.close(request.path_params["session"])
    return Response(status_code=200)


async def read_link(request: Request) -> Response:
    """GET on a download link."""
    workspace: Workspace = request.app.state.workspace
    workspace.links.check(request, expired=bool(request.state.faults.take("expire_links")))
    path = parse("/" + request.path_params["path"])
    return send_file(request, local(workspace.catalog, path), not_found(path))


def _stored_session(workspace: Workspace, request: Request) -> Session:
    try:
        return workspace.uploads.get(request.path_params["session"])
    except ApiError as error:
        raise LinkError(404, "NoSuchUpload", "The specified multipart upload does not exist.") from error


def _content_range(header: str) -> tuple[int | None, int, int | None]:
    unit, _, rest = header.partition(" ")
    span, _, total = rest.partition("/")
    first, _, last = span.partition("-")
    numbers = [part for part in (first, last, total) if part not in ("*", "")]
    if unit != "bytes" or not total or not all(part.isascii() and part.isdigit() for part in numbers):
        raise LinkError(400, "InvalidRange", f"Content-Range {header!r} is not understood.")
    whole = None if total == "*" else int(total)
    return (None, 0, whole) if span == "*" else (int(first), int(last), whole)
