"""Which way a query goes: in full, or by an increment from the watermark that stands to a new one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sql_databricks_bridge.core.increments.asked import Asked
from sql_databricks_bridge.core.increments.bounds import Bounds, bounds_of
from sql_databricks_bridge.core.increments.columns import chosen, spellings_of_keys
from sql_databricks_bridge.core.increments.digests import Digests
from sql_databricks_bridge.core.increments.fingerprint import difference, digests, first_digests
from sql_databricks_bridge.core.increments.wrapping import wrappable
from sql_databricks_bridge.core.ports import ResultColumn, SqlServerConnection
from sql_databricks_bridge.models.jobs import ResolvedQuery
from sql_databricks_bridge.models.publishing import (
    Incremental,
    IncrementKind,
    Publication,
    PublishedState,
    Watermark,
    Way,
)

_HALF = 0.5
_BY_KEYS_OF_TABLE = (IncrementKind.CHANGE_TRACKING, IncrementKind.CDC)


def decide(
    connection: SqlServerConnection,
    query: ResolvedQuery,
    columns: Sequence[ResultColumn],
    publication: Publication,
    state: PublishedState | None,
    read_digests: Callable[[str], bytes | None],
    *,
    source: str = "",
    force_full: str | None = None,
) -> Way:
    """Decide, inside `connection.view()`; `columns` are the query's as described, `state` is what stands.

    `read_digests` returns a file of digests by its path, None where it is gone. `source` names the database that is
    asked, as `definition` has it; `force_full` is a reason of the caller's to go in full. For fingerprints `high` is
    left None: it is the path where the caller will keep `digests`. `UsageError` for a key, a column or a query that an
    increment can't have, or a source that is not set up for it.
    """
    incremental = publication.incremental
    if incremental is None:
        return Way(None, force_full or "the query has no `incremental:`")
    asked = Asked(
        connection,
        query,
        wrappable(query),
        tuple(columns),
        chosen(query, columns, incremental),
        max(1, incremental.range_rows),
        definition(query, publication, source),
    )
    low = _standing(asked, incremental, state, force_full)
    if incremental.kind is IncrementKind.FINGERPRINT:
        return _by_digests(asked, low, read_digests)
    bounds = bounds_of(asked, incremental, low.mark)
    warnings = bounds.warnings + _warnings(asked, incremental)
    return _by_bounds(incremental.kind, low, bounds, warnings)


def definition(query: ResolvedQuery, publication: Publication, source: str = "") -> str:
    """A digest of what the rows are asked by, and where: SHA-256 in hexadecimal. Rows of two definitions don't mix."""
    incremental = publication.incremental
    told = {
        "sql": query.sql,
        "source": source,
        "soft_delete": publication.soft_delete,
        "parameters": [
            [parameter.name.lower(), parameter.declaration, type(parameter.value).__name__, str(parameter.value)]
            for parameter in sorted(query.parameters, key=lambda parameter: parameter.name.lower())
        ],
        "incremental": None
        if incremental is None
        else [
            incremental.kind.value,
            list(incremental.key),
            incremental.column,
            incremental.table,
            incremental.capture,
            incremental.range_rows,
        ],
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Standing:
    """The watermark that an increment may begin at; where there is none, why not."""

    mark: Watermark | None
    why_not: str = ""


def _standing(
    asked: Asked, incremental: Incremental, state: PublishedState | None, force_full: str | None
) -> _Standing:
    if force_full is not None:
        return _Standing(None, force_full)
    if state is None or state.generation == 0:
        return _Standing(None, "it is the first publication")
    if state.watermark is None:
        return _Standing(None, "no watermark stands")
    if state.watermark.kind is not incremental.kind:
        return _Standing(None, f"the watermark that stands is of kind {state.watermark.kind.value}")
    if state.definition != asked.definition:
        return _Standing(None, "the query, its parameters, its source or its `incremental:` changed")
    return _Standing(state.watermark)


def _by_bounds(kind: IncrementKind, low: _Standing, bounds: Bounds, warnings: tuple[str, ...]) -> Way:
    if low.mark is None:
        return Way(None, low.why_not, high=bounds.high, warnings=warnings)
    if bounds.invalid is not None:
        told = f"it goes in full: {bounds.invalid}"
        return Way(None, bounds.invalid, low=low.mark, high=bounds.high, warnings=(told, *warnings))
    high = bounds.high or low.mark  # a cursor of an empty result stays where it is
    reason = "nothing changed" if bounds.is_empty else f"rows since {low.mark.value}"
    return Way(kind, reason, low=low.mark, high=high, warnings=warnings)


def _by_digests(asked: Asked, low: _Standing, read_digests: Callable[[str], bytes | None]) -> Way:
    if low.mark is None:
        return _full_by_digests(asked, low.why_not, low.mark, first_digests(asked))
    content = read_digests(low.mark.value)
    then = Digests.from_parquet(content) if content is not None else None
    if then is None or then.definition != asked.definition or not then.ranges.fits(asked.chosen.key):
        reason = "the file of digests is gone" if content is None else "the file of digests can't be used"
        way = _full_by_digests(asked, reason, low.mark, first_digests(asked))
        return _warned(way, f"it goes in full: {reason} ({low.mark.value})")
    now = digests(asked, then.ranges)
    found = difference(now, then)
    if found.share > _HALF:
        reason = f"{found.share:.0%} of its ranges changed"
        return _full_by_digests(asked, reason, low.mark, first_digests(asked))
    return Way(
        IncrementKind.FINGERPRINT,
        f"{len(found.ranges)} ranges changed" if found.ranges else "nothing changed",
        low=low.mark,
        ranges=found.ranges,
        digests=now.to_parquet(),
        estimated_rows=found.rows,
        warnings=_isolation_warnings(asked),
    )


def _full_by_digests(asked: Asked, reason: str, low: Watermark | None, now: Digests) -> Way:
    return Way(
        None,
        reason,
        low=low,
        digests=now.to_parquet(),
        estimated_rows=now.rows,
        warnings=_isolation_warnings(asked),
    )


def _warned(way: Way, warning: str) -> Way:
    return dataclasses.replace(way, warnings=(warning, *way.warnings))


def _isolation_warnings(asked: Asked) -> tuple[str, ...]:
    if asked.connection.isolation == "snapshot":
        return ()
    return (
        f"{asked.query.name}: the database does not allow SNAPSHOT isolation, so digests and rows may be of two "
        "moments, and a change that is taken back meanwhile may go unnoticed: ALTER DATABASE ... SET "
        "ALLOW_SNAPSHOT_ISOLATION ON mends it.",
    )


def _warnings(asked: Asked, incremental: Incremental) -> tuple[str, ...]:
    spelled = spellings_of_keys(asked.chosen.key) if incremental.kind in _BY_KEYS_OF_TABLE else ()
    if not spelled:
        return ()
    return (
        f"{asked.query.name}: the key {', '.join(spelled)} is compared by its collation in SQL Server and by its "
        "characters in Delta: a key that changes in case, accents or trailing blanks alone leaves its old row behind.",
    )
