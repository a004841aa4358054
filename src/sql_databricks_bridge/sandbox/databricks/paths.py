"""Paths of files in volumes: `/Volumes/{catalog}/{schema}/{volume}/{path in the volume}`.

Source: Databricks docs, "What are Unity Catalog volumes?", "Path for accessing files in a volume".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .catalog import UnityCatalog
from .errors import ApiError, invalid

_MARK = "/Volumes/"


@dataclass(frozen=True, slots=True)
class VolumePath:
    """A checked path. `inner` holds the names below the volume; empty for the volume itself."""

    catalog: str
    schema: str
    volume: str
    inner: tuple[str, ...]

    @property
    def text(self) -> str:
        """The path as the API shows it."""
        return "/".join((f"/Volumes/{self.catalog}/{self.schema}/{self.volume}", *self.inner))


def parse(path: str) -> VolumePath:
    """Check an absolute path. Raises `ApiError` 400 for anything outside a volume, `.`, `..`, empty names and NUL."""
    if not path.startswith(_MARK):
        raise invalid(f"The path {path!r} is not in a volume: it must start with /Volumes/.")
    parts = path[len(_MARK) :].removesuffix("/").split("/")
    if any(part in ("", ".", "..") or "\x00" in part or len(part.encode()) > 255 for part in parts):
        raise invalid(f"The path {path!r} is not a legal absolute path.")
    if len(parts) < 3:
        raise invalid(f"The path {path!r} names no volume: /Volumes/<catalog>/<schema>/<volume>/... is needed.")
    return VolumePath(parts[0].lower(), parts[1].lower(), parts[2].lower(), tuple(parts[3:]))


def local(catalog: UnityCatalog, path: VolumePath) -> Path:
    """Where a path lies on this machine. Raises `ApiError` 404 if its catalog, schema or volume does not exist.

    The Files API answers NOT_FOUND and puts Unity Catalog's own code into the details' metadata; which `reason` stands
    beside it there is not documented, so clients must not look at ours.
    """
    try:
        catalog.volume(path.catalog, path.schema, path.volume)
    except ApiError as error:
        raise ApiError(
            404,
            "NOT_FOUND",
            error.message,
            reason="FILES_API_UC_RESOURCE_NOT_FOUND",
            metadata={"unity_catalog_error_code": error.error_code},
        ) from error
    return catalog.volume_folder(path.catalog, path.schema, path.volume).joinpath(*path.inner)


def volume_names(request_path: str) -> list[str] | None:
    """The catalog, schema and volume that a request path speaks of, or None."""
    _, found, rest = request_path.partition(_MARK)
    parts = rest.split("/")
    return parts[:3] if found and len(parts) >= 3 else None
