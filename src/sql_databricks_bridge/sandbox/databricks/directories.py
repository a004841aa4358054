"""`/api/2.0/fs/directories{path}`: make, list, look at and delete a directory.

Source: Databricks REST API, "Files"; the reasons in `details` as the Databricks CLI checks them.
"""

from __future__ import annotations

import base64
import binascii
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .errors import ApiError, invalid
from .paths import VolumePath, local, parse
from .publish import make_folders

if TYPE_CHECKING:
    from .workspace import Workspace

_MAX_PAGE = 1000


async def handle(request: Request) -> Response:
    """Every method on a directory path."""
    workspace: Workspace = request.app.state.workspace
    path = parse("/" + request.path_params["path"])
    folder = local(workspace.catalog, path)
    match request.method:
        case "PUT":
            make_folders(workspace.catalog, path, path.inner)
            return Response(status_code=204)
        case "DELETE":
            return _delete(folder, path)
        case "HEAD":
            _require_directory(folder, path)
            return Response(status_code=200)
        case _:
            return _list(request, folder, path)


def _list(request: Request, folder: Path, path: VolumePath) -> Response:
    after = _page_start(request.query_params.get("page_token"), path)
    size = _page_size(request.query_params.get("page_size"))
    _require_directory(folder, path)
    with os.scandir(folder) as entries:
        names = sorted((entry for entry in entries if entry.name > after), key=lambda entry: entry.name)
    contents: list[dict[str, object]] = []
    for entry in names[:size]:
        try:
            status = entry.stat()
        except FileNotFoundError:
            continue  # deleted while we looked
        shown: dict[str, object] = {
            "path": f"{path.text}/{entry.name}",
            "name": entry.name,
            "is_directory": entry.is_dir(),
            "last_modified": int(status.st_mtime * 1000),
        }
        if not entry.is_dir():
            shown["file_size"] = status.st_size
        contents.append(shown)
    answer: dict[str, object] = {"contents": contents}
    if len(names) > size:
        answer["next_page_token"] = _page_token(path, names[size - 1].name)
    return JSONResponse(answer)


def _delete(folder: Path, path: VolumePath) -> Response:
    if not path.inner:
        raise invalid(f"The path {path.text} is a volume; it can't be deleted as a directory.")
    _require_directory(folder, path)
    try:
        folder.rmdir()
    except FileNotFoundError:
        raise _not_found(path) from None
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise ApiError(
            400,
            "INVALID_PARAMETER_VALUE",
            f"The directory {path.text} is not empty.",
            reason="FILES_API_DIRECTORY_IS_NOT_EMPTY",
        ) from error
    return Response(status_code=204)


def _require_directory(folder: Path, path: VolumePath) -> None:
    if not folder.is_dir():
        raise _not_found(path)


def _not_found(path: VolumePath) -> ApiError:
    return ApiError(
        404, "NOT_FOUND", f"No directory exists at the path {path.text}.", reason="FILES_API_DIRECTORY_IS_NOT_FOUND"
    )


def _page_size(value: str | None) -> int:
    if value is None or value == "0":
        return _MAX_PAGE
    if not (value.isascii() and value.isdigit()):
        raise invalid(f"page_size must be a whole number, not {value!r}.")
    return min(int(value), _MAX_PAGE)


def _page_token(path: VolumePath, last: str) -> str:
    return base64.urlsafe_b64encode(f"{path.text}\x00{last}".encode()).decode()


def _page_start(token: str | None, path: VolumePath) -> str:
    if not token:
        return ""
    try:
        place, _, last = base64.urlsafe_b64decode(token).decode().partition("\x00")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise invalid("page_token is not one that this API gave out.") from None
    if place != path.text:
        raise invalid("page_token belongs to another directory.")
    return last
