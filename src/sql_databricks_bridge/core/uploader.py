"""Landing one query: an attempt's folder from its first part to its manifest, or to nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from sql_databricks_bridge.core.layout import AttemptFolder, name_of
from sql_databricks_bridge.core.manifest import MANIFEST_NAME, Manifest, ManifestPart
from sql_databricks_bridge.core.ports import FileEntry, Lakehouse
from sql_databricks_bridge.core.threads import daemon
from sql_databricks_bridge.errors import (
    AlreadyExists,
    BridgeError,
    LakehouseNotFound,
    LakehouseUnavailable,
    LandingError,
)

if TYPE_CHECKING:
    from sql_databricks_bridge.core.parts import SpooledPart

log = structlog.get_logger(__name__)

Fence = Callable[[], None]
"""Raises `Cancelled` where this process may not publish any more, because another one may have taken the run over."""


@dataclass(frozen=True, slots=True)
class Published:
    """What counts for a run's query: usually this attempt, another where that was first."""

    folder: AttemptFolder
    manifest: Manifest
    warning: str | None = None


class Landing:
    """Uploads the parts of one attempt, several at once, and publishes them; the rest is for one thread.

    With a `fence` another process may take the run over, and believes the manifest that it finds: so one that may have
    been written stays, whatever became of the answer. Without one it is taken away where writing it failed.
    """

    def __init__(self, lakehouse: Lakehouse, folder: AttemptFolder, fence: Fence | None = None) -> None:
        self._lakehouse = lakehouse
        self._folder = folder
        self._fence = fence
        self._may_count = False
        self._mine: list[str] = []
        self._is_mine = False
        self._lock = threading.Lock()
        self._begun = 0
        self._uploaded: dict[int, ManifestPart] = {}

    @property
    def parts(self) -> tuple[ManifestPart, ...]:
        """What is uploaded, by number."""
        with self._lock:
            return tuple(self._uploaded[number] for number in sorted(self._uploaded))

    @property
    def is_open(self) -> bool:
        """Whether the folder is this attempt's."""
        return self._is_mine

    def open(self) -> None:
        """Make the folder. `LandingError` where it holds something: an attempt is never written twice."""
        self._lakehouse.make_directory(self._folder.path)
        if self._lakehouse.list_directory(self._folder.path):
            raise LandingError(
                f"{self._folder.path} is in use by another run.", hint="Start again: each run takes a new folder."
            )
        self._is_mine = True

    def upload(self, part: SpooledPart) -> ManifestPart:
        """Upload a part and remove it from the spool; from any thread."""
        with self._lock:
            number = self._begun
            self._begun += 1
            name = f"part-{number:05d}.parquet"
            path = f"{self._folder.path}/{name}"
            self._mine.append(path)
        try:
            self._lakehouse.upload(path, part.path)
        except AlreadyExists:
            self._mine.remove(path)
            raise
        part.path.unlink(missing_ok=True)
        entry = ManifestPart(name, part.rows, part.size_bytes, part.sha256)
        with self._lock:
            self._uploaded[number] = entry
        return entry

    def attach(self, name: str, content: bytes) -> str:
        """Write a small file beside the parts, which is none of them; return its path."""
        path = f"{self._folder.path}/{name}"
        self._mine.append(path)
        self._lakehouse.write_new(path, content)
        return path

    def publish(self, manifest: Manifest) -> Published:
        """Write the manifest. Where another attempt of the run is published already, that one stands.

        The volume's own clock decides which manifest was first, so two attempts come to the same answer.
        `LandingError` where a part is not there any more.
        """
        self._require_all_parts()
        first = first_published(self._lakehouse, self._folder)
        if first is None:
            if self._fence is not None:
                self._fence()
            self._may_count = True
            self._lakehouse.write_new(self._folder.manifest_path, manifest.to_json())
            try:
                first = first_published(self._lakehouse, self._folder, manifest)
            except LakehouseUnavailable:  # readers apply the same rule, so nothing depends on this look
                first = None
        if first is None or first.folder == self._folder:
            return Published(self._folder, manifest)
        self._withdraw()
        attempt = first.folder.attempt
        return Published(first.folder, first.manifest, f"attempt {attempt} of this run was published first and stands")

    def _require_all_parts(self) -> None:
        sizes = {name_of(entry.path): entry.size_bytes for entry in self._lakehouse.list_directory(self._folder.path)}
        lost = [part.file for part in self.parts if sizes.get(part.file) != part.size_bytes]
        if lost:
            raise LandingError(
                f"{self._folder.path}: {', '.join(lost)} {'is' if len(lost) == 1 else 'are'} gone or changed before the"
                " run was published.",
                hint="Run it again, and don't sweep with --older-than 0 while a run is under way.",
            )

    def remove(self) -> None:
        """Take everything of this attempt away again, the manifest first. Errors are for the caller."""
        if self._may_count and self._fence is not None:
            raise LandingError(f"{self._folder.path} stays: its manifest may have been written.")
        self._withdraw()

    def _withdraw(self) -> None:
        if not self._is_mine:
            return
        self._lakehouse.delete_file(self._folder.manifest_path)
        for path in tuple(self._mine):
            self._lakehouse.delete_file(path)
        self._lakehouse.delete_directory(self._folder.path)

    def remove_within(self, deadline_s: float) -> bool:
        """Remove, best effort and not longer than `deadline_s`; tell whether nothing is left.

        What remains has no manifest, so it does not count, and `bridge sweep` takes it away.
        """
        done = threading.Event()

        def work() -> None:
            try:
                self.remove()
                done.set()
            except BridgeError as exc:
                log.warning("landing.leftover", path=self._folder.path, error=str(exc))

        thread = daemon(work, f"remove {self._folder.query}")
        thread.start()
        thread.join(deadline_s)
        return done.is_set()


def first_published(lakehouse: Lakehouse, folder: AttemptFolder, written: Manifest | None = None) -> Published | None:
    """Return the attempt of `folder`'s run whose manifest was written first, None where there is none.

    One that can't be read does not count: its process died while it wrote it. `written` is what is known to be in
    `folder`, and is not read again.
    """
    found: list[tuple[int, int, AttemptFolder]] = []
    for entry in lakehouse.list_directory(folder.query_path):
        attempt = AttemptFolder.parse(folder.destination, folder.country, folder.query, name_of(entry.path))
        if not entry.is_directory or attempt is None or attempt.run_id != folder.run_id:
            continue
        with suppress(LakehouseNotFound):  # its runner takes an unpublished attempt away
            manifest = manifest_entry(lakehouse.list_directory(attempt.path))
            if manifest is not None:
                found.append((manifest.modified_ms, attempt.attempt, attempt))
    for _, _, attempt in sorted(found, key=lambda item: item[:2]):
        if written is not None and attempt == folder:
            return Published(folder, written)
        try:
            content = lakehouse.read(attempt.manifest_path)
            return Published(attempt, Manifest.from_json(content, attempt.manifest_path))
        except (LandingError, LakehouseNotFound):  # cut, or swept meanwhile
            continue
    return None


def manifest_entry(entries: tuple[FileEntry, ...]) -> FileEntry | None:
    """Find the manifest in a listing."""
    return next((entry for entry in entries if name_of(entry.path) == MANIFEST_NAME), None)


def seconds_since(start: float) -> float:
    """Monotonic seconds since `start`, to the millisecond."""
    return round(time.monotonic() - start, 3)
