"""Runs in a volume: finding the newest published one, and sweeping away what no longer counts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sql_databricks_bridge.core.layout import AttemptFolder, country_path, name_of, query_path
from sql_databricks_bridge.core.manifest import Manifest
from sql_databricks_bridge.core.ports import FileEntry, Lakehouse
from sql_databricks_bridge.core.uploader import manifest_entry
from sql_databricks_bridge.errors import LakehouseNotFound, LandingError
from sql_databricks_bridge.models.names import Destination

SAFE_AGE = dt.timedelta(hours=24)
"""An unpublished attempt that nobody has written to for so long is dead: a part is uploaded every few minutes."""


@dataclass(frozen=True, slots=True)
class PublishedRun:
    """A query's published attempt. Readers take the files from the manifest, never from the folder."""

    folder: AttemptFolder
    manifest: Manifest

    @property
    def files(self) -> tuple[str, ...]:
        """Absolute paths of the parts, in order."""
        return tuple(f"{self.folder.path}/{part.file}" for part in self.manifest.parts)


@dataclass(frozen=True, slots=True)
class Swept:
    """A folder that was, or with `dry_run` would be, removed and why."""

    path: str
    reason: str
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Attempt:
    folder: AttemptFolder
    entries: tuple[FileEntry, ...]
    modified_ms: int

    @property
    def published_ms(self) -> int | None:
        entry = manifest_entry(self.entries)
        return entry.modified_ms if entry is not None else None


def latest(
    lakehouse: Lakehouse, destination: Destination, country: str, query: str | None = None
) -> tuple[PublishedRun, ...]:
    """Return the newest published run of `query`, or of each query of the country, sorted by query name.

    Run ids sort by time. Of several published attempts of one run the first written counts. A folder whose manifest
    can't be read does not count. `LakehouseNotFound` where the volume is not there; a country without runs has none.
    """
    names = [query] if query is not None else queries_of(lakehouse, destination, country)
    newest = (next(published_runs(lakehouse, destination, country, name), None) for name in names)
    return tuple(run for run in newest if run is not None)


def published_runs(
    lakehouse: Lakehouse, destination: Destination, country: str, query: str, run_id: str | None = None
) -> Iterator[PublishedRun]:
    """Yield a query's published runs, the newest first, or the one of that id; a manifest is read when its turn comes.

    What counts is what counts for `latest`.
    """
    by_run: dict[str, list[AttemptFolder]] = {}
    for folder, _ in _attempt_folders(lakehouse, destination, country, query):
        by_run.setdefault(folder.run_id, []).append(folder)
    for each in sorted(by_run, reverse=True) if run_id is None else [run_id]:
        run = _first_published(lakehouse, by_run.get(each, ()))
        if run is not None:
            yield run


def run_ids(lakehouse: Lakehouse, destination: Destination, country: str, query: str) -> frozenset[str]:
    """The ids of a query's runs, of those too that do not count. One listing, no manifest is read."""
    return frozenset(folder.run_id for folder, _ in _attempt_folders(lakehouse, destination, country, query))


def queries_of(lakehouse: Lakehouse, destination: Destination, country: str) -> list[str]:
    """The queries of a country that have a folder in the volume, sorted."""
    return _folders(lakehouse, country_path(destination, country))


def sweep(
    lakehouse: Lakehouse,
    destination: Destination,
    country: str | None = None,
    *,
    keep: int | None = None,
    older_than: dt.timedelta = SAFE_AGE,
    dry_run: bool = False,
    now: dt.datetime | None = None,
) -> tuple[Swept, ...]:
    """Remove dead attempts of a country (None: of all), and with `keep` all but the newest `keep` published runs.

    An attempt without a manifest, or published after another of its run, is dead when nothing in it changed for
    `older_than`; a younger one may be under way. A manifest goes before its parts, so that a run that is half swept
    does not count.
    """
    if keep is not None and keep < 1:
        raise ValueError("keep must be 1 or more: the newest published run always stays")
    now = now or dt.datetime.now(dt.UTC)
    dead_before_ms = int((now - older_than).timestamp() * 1000)
    swept = []
    for name in [country] if country is not None else _folders(lakehouse, destination.root):
        for query in queries_of(lakehouse, destination, name):
            attempts = list(_attempts(lakehouse, destination, name, query))
            for attempt, reason in _doomed(attempts, keep, dead_before_ms):
                if not dry_run:
                    _remove(lakehouse, attempt)
                size = sum(entry.size_bytes for entry in attempt.entries)
                swept.append(Swept(attempt.folder.path, reason, len(attempt.entries), size))
    return tuple(swept)


def _first_published(lakehouse: Lakehouse, attempts: Iterable[AttemptFolder]) -> PublishedRun | None:
    """Of one run's attempts, the first whose manifest was written and can be read."""
    published = []
    for folder in attempts:
        entry = manifest_entry(_listed(lakehouse, folder.path))
        if entry is not None:
            published.append((entry.modified_ms, folder.attempt, folder))
    for _, _, folder in sorted(published, key=lambda item: item[:2]):
        try:
            content = lakehouse.read(folder.manifest_path)
            return PublishedRun(folder, Manifest.from_json(content, folder.manifest_path))
        except (LandingError, LakehouseNotFound):  # cut, or swept meanwhile
            continue
    return None


def _doomed(attempts: list[_Attempt], keep: int | None, dead_before_ms: int) -> Iterator[tuple[_Attempt, str]]:
    first: dict[str, _Attempt] = {}
    for attempt in sorted(attempts, key=lambda a: (a.published_ms or 0, a.folder.attempt)):
        if attempt.published_ms is not None:
            first.setdefault(attempt.folder.run_id, attempt)
    kept = set(sorted(first, reverse=True)[:keep])
    for attempt in attempts:
        run_id = attempt.folder.run_id
        if first.get(run_id) is attempt:
            if run_id not in kept:
                yield attempt, f"older than the newest {keep} runs"
        elif attempt.modified_ms < dead_before_ms:
            yield attempt, "not published" if attempt.published_ms is None else "another attempt was published first"


def _remove(lakehouse: Lakehouse, attempt: _Attempt) -> None:
    lakehouse.delete_file(attempt.folder.manifest_path)
    for entry in attempt.entries:
        if not entry.is_directory:
            lakehouse.delete_file(entry.path)
    lakehouse.delete_directory(attempt.folder.path)


def _attempts(lakehouse: Lakehouse, destination: Destination, country: str, query: str) -> Iterator[_Attempt]:
    for folder, entry in _attempt_folders(lakehouse, destination, country, query):
        entries = _listed(lakehouse, folder.path)
        yield _Attempt(folder, entries, max([entry.modified_ms, *(item.modified_ms for item in entries)]))


def _attempt_folders(
    lakehouse: Lakehouse, destination: Destination, country: str, query: str
) -> Iterator[tuple[AttemptFolder, FileEntry]]:
    for entry in _listed(lakehouse, query_path(destination, country, query)):
        folder = AttemptFolder.parse(destination, country, query, name_of(entry.path))
        if entry.is_directory and folder is not None:
            yield folder, entry


def _folders(lakehouse: Lakehouse, path: str) -> list[str]:
    return sorted(name_of(entry.path) for entry in _listed(lakehouse, path) if entry.is_directory)


def _listed(lakehouse: Lakehouse, path: str) -> tuple[FileEntry, ...]:
    """List a folder; one that is not there is empty, a volume that is not there is an error."""
    try:
        return lakehouse.list_directory(path)
    except LakehouseNotFound:
        parts = path.split("/")
        lakehouse.check_destination(Destination(*parts[2:5]))
        return ()
