"""The runs that have landed: listed, found by what people type, and what became of each run's Delta table."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import islice, takewhile

from sql_databricks_bridge.core import runs
from sql_databricks_bridge.core.ports import Lakehouse
from sql_databricks_bridge.core.runs import PublishedRun
from sql_databricks_bridge.core.suggestions import listed
from sql_databricks_bridge.errors import UnknownNameError
from sql_databricks_bridge.models.names import Destination
from sql_databricks_bridge.models.publishing import PublishedState

LATEST = "latest"
"""What stands for the newest run of each query where a run's id is asked for."""


class Standing(StrEnum):
    """What became of the table that a run was to publish."""

    STANDS = "stands"
    """The run was the last to change the table."""
    FOLLOWED = "followed"
    """It changed the table, and later ones did again."""
    MISSING = "missing"
    """Nothing of it is in the table: it was stopped before, or another run came first."""


def history(
    lakehouse: Lakehouse, destination: Destination, country: str, query: str | None = None, limit: int | None = None
) -> tuple[PublishedRun, ...]:
    """The landed runs of a query, or of all queries of a country, the newest first; at most `limit` of them.

    One listing for each query, and for each run that is returned a listing and its manifest. Raises as `runs.latest`.
    """
    names = [query] if query is not None else runs.queries_of(lakehouse, destination, country)
    by_query = [runs.published_runs(lakehouse, destination, country, name) for name in names]
    newest_first = heapq.merge(*by_query, key=lambda run: run.folder.run_id, reverse=True)
    return tuple(islice(newest_first, limit))


def find(
    lakehouse: Lakehouse, destination: Destination, country: str, wanted: str, query: str | None = None
) -> tuple[PublishedRun, ...]:
    """The landed queries of one run, sorted by query; `wanted` is its id, the beginning of one, or `LATEST`.

    `UnknownNameError` where there is no such run, or where several begin so.
    """
    if wanted == LATEST:
        found = runs.latest(lakehouse, destination, country, query)
    else:
        names = [query] if query is not None else runs.queries_of(lakehouse, destination, country)
        ids = {name: runs.run_ids(lakehouse, destination, country, name) for name in names}
        run_id = _meant(wanted, frozenset[str]().union(*ids.values()))
        having = (name for name in names if run_id in ids[name])
        of_run = (next(runs.published_runs(lakehouse, destination, country, name, run_id), None) for name in having)
        found = tuple(run for run in of_run if run is not None)
    if not found:
        what = f"{country}/{query}" if query is not None else country
        raise UnknownNameError(
            f"{what} has no landed run{'' if wanted == LATEST else f' {wanted}'} in {destination}.",
            hint=f"bridge runs list --country {country}",
        )
    return found


def standings(found: Sequence[PublishedRun], states: Iterable[PublishedState]) -> Mapping[str, Standing]:
    """What became of the tables of those runs that were to publish one, by the path of the run's folder.

    `found` must hold every later run of a query beside each earlier one, as `history` gives them: a generation is
    made once, so that of two runs upon the same one only the last can have made the next.
    """
    by_target = {str(state.target): state for state in states}
    told: dict[str, Standing] = {}
    taken: set[tuple[str, int]] = set()
    for run in sorted(found, key=lambda run: run.manifest.finished_at, reverse=True):
        publication = run.manifest.publication
        if publication is None:
            continue
        state = by_target.get(publication.target)
        upon = (publication.target, publication.base)
        made = publication.base + 1
        if state is None or state.generation < made:
            told[run.folder.path] = Standing.MISSING
        elif state.generation == made:
            is_last = state.run_id == run.folder.run_id
            told[run.folder.path] = Standing.STANDS if is_last else Standing.MISSING
        else:
            told[run.folder.path] = Standing.MISSING if upon in taken else Standing.FOLLOWED
        taken.add(upon)
    return told


def standing_of(lakehouse: Lakehouse, run: PublishedRun, states: Iterable[PublishedState]) -> Standing | None:
    """What became of one run's table, None where it was to publish none; reads the manifests of the runs after it."""
    if run.manifest.publication is None:
        return None
    folder = run.folder
    newest_first = runs.published_runs(lakehouse, folder.destination, folder.country, folder.query)
    not_before = takewhile(lambda other: other.folder.run_id >= folder.run_id, newest_first)
    return standings(tuple(not_before), states)[folder.path]


def _meant(wanted: str, ids: frozenset[str]) -> str:
    if wanted in ids:
        return wanted
    begun = sorted(run_id for run_id in ids if wanted and run_id.startswith(wanted))
    if len(begun) > 1:
        raise UnknownNameError(
            f"{len(begun)} runs begin with {wanted}: {listed(begun[-5:])}{' and others' if len(begun) > 5 else ''}.",
            hint="Write more of the id.",
        )
    return begun[0] if begun else wanted
