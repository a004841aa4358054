"""What is verified: a published run, and its query as that run asked it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sql_databricks_bridge.core.manifest import Manifest
from sql_databricks_bridge.core.param_resolver import HIDDEN
from sql_databricks_bridge.core.ports import Lakehouse
from sql_databricks_bridge.core.runs import PublishedRun, published_runs, queries_of
from sql_databricks_bridge.core.window import MAX_LOOKBACK_MONTHS
from sql_databricks_bridge.errors import UnknownNameError, UsageError
from sql_databricks_bridge.models.jobs import ResolvedQuery
from sql_databricks_bridge.models.names import Destination
from sql_databricks_bridge.models.tables import SourceName

_REQUEST = "request"


@dataclass(frozen=True, slots=True)
class AsItWas:
    """How the run's query was asked, as far as a request decides: the day, @parameters, and the window's length."""

    today: dt.date
    parameters: Mapping[str, str | None]
    lookback_months: int | None


def find_run(
    lakehouse: Lakehouse, destination: Destination, country: str, query: str, run_id: str | None
) -> PublishedRun:
    """The newest published run, or the one of that id; `UnknownNameError` where there is none."""
    run = next(published_runs(lakehouse, destination, country, query, run_id), None)
    if run is None:
        which = "no published run" if run_id is None else f"no published run {run_id}"
        raise UnknownNameError(f"{query} of {country} has {which} in {destination}.", hint="bridge runs list")
    if run.manifest.row_limit is not None:
        raise UsageError(
            f"Run {run.folder.run_id} of {query} was cut to {run.manifest.row_limit:,} rows: it is a sample.",
            hint="Extract it without --limit, or name another run by --run.",
        )
    return run


def landed_queries(lakehouse: Lakehouse, destination: Destination, country: str, run_id: str | None) -> tuple[str, ...]:
    """The country's queries that have a published run, or one of that id; `UnknownNameError` where none has."""
    found = tuple(
        name
        for name in queries_of(lakehouse, destination, country)
        if next(published_runs(lakehouse, destination, country, name, run_id), None) is not None
    )
    if not found:
        which = "no published run" if run_id is None else f"no published run {run_id}"
        raise UnknownNameError(f"{country} has {which} in {destination}.", hint="bridge runs list")
    return found


def never_landed(lakehouse: Lakehouse, destination: Destination, country: str, queries: Iterable[str]) -> list[str]:
    """Those of the queries that have no published run at all, in their order."""
    there = frozenset(queries_of(lakehouse, destination, country))
    return [
        name
        for name in queries
        if name not in there or next(published_runs(lakehouse, destination, country, name), None) is None
    ]


def as_it_was(manifest: Manifest) -> AsItWas:
    """What the manifest remembers of the request. Hidden values are left out: they are to be given again."""
    today = _date(manifest, "end_date") or manifest.started_at.astimezone().date()
    start = _date(manifest, "start_date") or _date(manifest, "start_period")
    months = None if start is None else 12 * (today.year - start.year) + today.month - start.month
    return AsItWas(
        today=today,
        parameters={
            parameter.name: parameter.value
            for parameter in manifest.parameters
            if parameter.origin == _REQUEST and parameter.declaration is not None and parameter.value != HIDDEN
        },
        lookback_months=months if months is not None and 0 <= months <= MAX_LOOKBACK_MONTHS else None,
    )


def require_same(query: ResolvedQuery, manifest: Manifest) -> None:
    """`UsageError` where today's files resolve to another query than the run's."""
    if query.sha256 != manifest.query_sha256:
        raise UsageError(
            f"{query.name} is not what run {manifest.run_id} asked: its SQL or the values in it changed since.",
            hint="Give what the run was given (--param, --lookback-months, the files of then), or run it again first.",
        )


def _date(manifest: Manifest, placeholder: str) -> dt.date | None:
    """A placeholder of the window as the run had it: 'yyyymmdd' in quotes, or yyyymm."""
    for parameter in manifest.parameters:
        if parameter.name == placeholder and parameter.declaration is None and parameter.value is not None:
            digits = parameter.value.strip("'")
            try:
                return dt.datetime.strptime(f"{digits}01" if len(digits) == 6 else digits, "%Y%m%d").date()  # noqa: DTZ007
            except ValueError:  # a key of the YAML has this name
                return None
    return None


def table_of(run: PublishedRun, *, wanted: bool, newest: bool) -> SourceName | None:
    """The Delta table to be compared: where it is wanted, or where the run's files hold only what changed.

    `UsageError` where there is none, or where it has moved on since the run.
    """
    manifest = run.manifest
    if not wanted and manifest.increment is None:
        return None
    if manifest.publication is None:
        raise UsageError(f"Run {manifest.run_id} of {manifest.query} was not published to a table.")
    if not newest:
        raise UsageError(
            f"Run {manifest.run_id} of {manifest.query} is not the newest one: its table has moved on since.",
            hint="Leave --run out, or verify a run whose files hold the whole result.",
        )
    return SourceName.parse(manifest.publication.table)
