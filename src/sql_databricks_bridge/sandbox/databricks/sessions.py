"""The big uploads on their way. Nothing is visible at a file's path before its upload is complete."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from .errors import ApiError, invalid
from .paths import VolumePath


@dataclass(slots=True)
class Session:
    """One upload that was initiated and neither completed nor aborted."""

    path: VolumePath
    overwrite: bool
    folder: Path
    parts: dict[int, tuple[str, Path]] = field(default_factory=dict)
    received: int = 0


class Sessions:
    """The uploads on their way. Used from the event loop only."""

    def __init__(self) -> None:
        self._open: dict[str, Session] = {}

    def add(self, path: VolumePath, overwrite: bool, spool: Path) -> str:
        """Open a session and return its token."""
        token = secrets.token_urlsafe(24)
        folder = spool / f"upload-{secrets.token_hex(8)}"
        folder.mkdir()
        self._open[token] = Session(path, overwrite, folder)
        return token

    def get(self, token: object, path: VolumePath | None = None) -> Session:
        """The session, or 404; a token that was made for another path is refused."""
        found = self._open.get(token) if isinstance(token, str) else None
        if found is None:
            raise ApiError(
                404, "NOT_FOUND", "The upload session does not exist: it was completed, aborted or never begun."
            )
        if path is not None and found.path != path:
            raise invalid("The upload session belongs to another path.")
        return found

    def close(self, token: str) -> None:
        """Forget a session and its parts."""
        session = self._open.pop(token, None)
        if session is not None:
            shutil.rmtree(session.folder, ignore_errors=True)
