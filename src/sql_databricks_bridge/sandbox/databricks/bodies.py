"""Request and response bodies that are files: streamed to and from disk, never held in memory."""

from __future__ import annotations

import asyncio
import errno
import os
import uuid
from collections.abc import AsyncIterator
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive

from ..faults import Fired
from .errors import ApiError

_BLOCK = 1 << 20
OCTETS = "application/octet-stream"


async def receive_to(request: Request, folder: Path) -> Path:
    """Write the request's body to a new file in `folder` and return it.

    The file is gone again if the client goes away, the disk is full (500) or a `disk_full` fault says so.
    """
    fired: Fired = request.state.faults
    path = folder / f"body-{uuid.uuid4().hex}"
    try:
        with path.open("wb", buffering=_BLOCK) as file:
            async for block in request.stream():
                file.write(block)
        if full := fired.take("disk_full"):
            raise disk_full(507 if full.value == 507 else 500)
    except OSError as error:
        path.unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        await drain(request.receive)
        raise disk_full(500) from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


async def drain(receive: Receive) -> None:
    """Read a request's body to its end and forget it."""
    while True:
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            return


def disk_full(status: int) -> ApiError:
    """What an upload gets when storage has no room left. Volumes document no code of their own for it."""
    return ApiError(status, "INTERNAL_ERROR", "No space left on device")


def send_file(request: Request, path: Path, not_found: ApiError) -> Response:
    """Answer GET or HEAD with a file; honours Range (one range) and If-Unmodified-Since.

    Source: Databricks REST API, "Files: Download a file"; RFC 9110 sections 13.1.4 and 14. A header with several
    ranges, or one that is not understood, is ignored as the RFC allows.
    """
    try:
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise not_found from None
    status = os.fstat(file.fileno())
    headers = {
        "content-type": OCTETS,
        "last-modified": formatdate(int(status.st_mtime), usegmt=True),
        "accept-ranges": "bytes",
    }
    if _modified_since(request.headers.get("if-unmodified-since"), int(status.st_mtime)):
        file.close()
        raise ApiError(412, "PRECONDITION_FAILED", "The file was modified after the time in If-Unmodified-Since.")
    first, last, code = 0, status.st_size - 1, 200
    wanted = _range(request.headers.get("range"), status.st_size)
    if wanted is not None:
        first, last = wanted
        if first > last:
            file.close()
            raise ApiError(
                416,
                "INVALID_PARAMETER_VALUE",
                "The requested range lies outside the file.",
                headers={"Content-Range": f"bytes */{status.st_size}"},
            )
        code = 206
        headers["content-range"] = f"bytes {first}-{last}/{status.st_size}"
    headers["content-length"] = str(last - first + 1)
    if request.method == "HEAD":
        file.close()
        return Response(status_code=code, headers=headers)
    return StreamingResponse(_blocks(file, first, last - first + 1), code, headers)


async def _blocks(file: BinaryIO, first: int, length: int) -> AsyncIterator[bytes]:
    with file:
        file.seek(first)
        while length:
            block = await asyncio.to_thread(file.read, min(_BLOCK, length))
            if not block:
                return
            length -= len(block)
            yield block


def _modified_since(header: str | None, modified_s: int) -> bool:
    if header is None:
        return False
    try:
        return modified_s > parsedate_to_datetime(header).timestamp()
    except ValueError:
        return False


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    unit, _, spec = (header or "").partition("=")
    start, dash, end = spec.strip().partition("-")
    numbers_only = all(not part or (part.isascii() and part.isdigit()) for part in (start, end))
    if unit.strip().lower() != "bytes" or not dash or not numbers_only or not (start or end):
        return None
    if not start:
        return max(0, size - int(end)), size - 1
    return int(start), min(int(end), size - 1) if end else size - 1
