"""Putting a finished file at its path in a volume."""

from __future__ import annotations

import os
from pathlib import Path

from starlette.requests import Request

from .catalog import UnityCatalog
from .errors import ApiError, invalid
from .paths import VolumePath, local


def put_in_place(catalog: UnityCatalog, source: Path, path: VolumePath, *, overwrite: bool) -> None:
    """Move `source` to a volume path in one step, making parent folders; `source` is gone afterwards in any case.

    Raises `ApiError` 404 (no such volume), 409 ALREADY_EXISTS (a file there and not `overwrite`; a folder there),
    400 (a parent that is a file). Source: Databricks REST API, "Files: Upload a file".
    """
    try:
        target = local(catalog, path)
        make_folders(catalog, path, path.inner[:-1])
        if overwrite:
            os.replace(source, target)
        else:
            os.link(source, target)  # unlike a rename, a link never replaces: two racing uploads can't both win
    except FileExistsError:
        raise already_exists(path) from None
    except IsADirectoryError:
        raise ApiError(409, "ALREADY_EXISTS", f"A directory already exists at the path {path.text}.") from None
    finally:
        source.unlink(missing_ok=True)


def make_folders(catalog: UnityCatalog, path: VolumePath, names: tuple[str, ...]) -> None:
    """Make the folders `names` below a path's volume, but never the volume: it may vanish at any time."""
    folder = local(catalog, VolumePath(path.catalog, path.schema, path.volume, ()))
    for name in names:
        folder = folder / name
        try:
            folder.mkdir()
        except FileExistsError:
            if not folder.is_dir():
                raise ApiError(
                    409, "ALREADY_EXISTS", f"A file already exists at {name!r} in the path {path.text}."
                ) from None
        except FileNotFoundError:
            local(catalog, path)  # says which of catalog, schema and volume is missing
            raise


def already_exists(path: VolumePath) -> ApiError:
    """409: there is a file and the request does not want it replaced."""
    return ApiError(
        409,
        "ALREADY_EXISTS",
        f"The file being created already exists: {path.text}",
        reason="FILES_API_FILE_ALREADY_EXISTS",
    )


def not_found(path: VolumePath) -> ApiError:
    """404: no file there."""
    return ApiError(404, "NOT_FOUND", f"No file exists at the path {path.text}.", reason="FILES_API_FILE_NOT_FOUND")


def wants_overwrite(request: Request) -> bool:
    """The query parameter `overwrite`: true unless given as false."""
    value = request.query_params.get("overwrite", "true").lower()
    if value not in ("true", "false"):
        raise invalid(f"overwrite must be true or false, not {value!r}.")
    return value == "true"
