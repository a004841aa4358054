"""The statement of a way: what to stream, and how many rows it would be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sql_databricks_bridge.core.increments.bounds import LSN_BYTES, ROWVERSION_BYTES, number_of
from sql_databricks_bridge.core.increments.canonical import type_name
from sql_databricks_bridge.core.increments.columns import (
    ALIAS,
    THERE_COLUMN,
    Chosen,
    as_declared,
    chosen,
    is_date,
    of_query,
    quoted,
    same_key,
)
from sql_databricks_bridge.core.increments.digests import Digests
from sql_databricks_bridge.core.increments.ranges import Cut, Ranges, intervals_of, key_bounds
from sql_databricks_bridge.core.increments.wrapping import Wrappable, wrappable
from sql_databricks_bridge.core.ports import ResultColumn, SqlServerConnection
from sql_databricks_bridge.core.types import SqlServerType
from sql_databricks_bridge.errors import UsageError
from sql_databricks_bridge.models.jobs import BoundParameter, ResolvedQuery
from sql_databricks_bridge.models.publishing import (
    DELETED_COLUMN,
    NULL_RANGE,
    RANGE_COLUMN,
    Incremental,
    IncrementKind,
    Publication,
    Way,
)
from sql_databricks_bridge.models.quoting import sql_server_identifier
from sql_databricks_bridge.models.tables import TargetName

_ORIGIN = "increment"
_DAY_S = 86_400
_THERE = sql_server_identifier(THERE_COLUMN)
_DELETED, _RANGE = sql_server_identifier(DELETED_COLUMN), sql_server_identifier(RANGE_COLUMN)


@dataclass(frozen=True, slots=True)
class _Parts:
    """SELECT `columns` FROM `before` (the query) `after`, and the parameters of all three."""

    columns: tuple[str, ...]
    before: str
    after: str
    parameters: tuple[BoundParameter, ...] = ()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the parts are made of."""

    query: ResolvedQuery
    columns: tuple[ResultColumn, ...]
    incremental: Incremental
    chosen: Chosen
    wrapped: Wrappable
    way: Way

    def parameter(self, name: str, declaration: str, value: object) -> BoundParameter:
        """A parameter whose name the query does not use."""
        return BoundParameter(self.wrapped.free_name(f"bridge_{name}"), declaration, value, _ORIGIN)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(of_query(column) for column in self.columns)


def statement(
    query: ResolvedQuery, columns: Sequence[ResultColumn], publication: Publication, way: Way
) -> ResolvedQuery:
    """What to stream: the query itself, or around it what picks the rows of the way; its lines keep their numbers.

    The result has the query's columns in their order, then DELETED_COLUMN for change_tracking and cdc, RANGE_COLUMN
    for fingerprints (in a full load too).
    """
    parts = _parts(query, columns, publication, way)
    if parts is None:
        return query
    return _built(query, parts, ", ".join(parts.columns))


def estimate(
    connection: SqlServerConnection,
    query: ResolvedQuery,
    columns: Sequence[ResultColumn],
    publication: Publication,
    way: Way,
) -> int | None:
    """How many rows `statement` would read, asked inside the view of `decide`; for fingerprints it is known by then.

    None for a query without `incremental:` that can't be counted, one with TOP or FOR XML.
    """
    if way.estimated_rows is not None:
        return way.estimated_rows
    parts = _parts(query, columns, publication, way) or _Parts((), "(", f") AS {ALIAS}")
    try:
        counted = _built(query, parts, "COUNT_BIG(*) AS [rows]")
    except UsageError:
        return None
    (found,) = connection.ask(counted.sql, counted.parameters)
    return int(found["rows"])


def _built(query: ResolvedQuery, parts: _Parts, selected: str) -> ResolvedQuery:
    sql = wrappable(query).within(f"SELECT {selected} FROM {parts.before}", parts.after)
    return dataclasses.replace(query, sql=sql, parameters=(*query.parameters, *parts.parameters))


def _parts(query: ResolvedQuery, columns: Sequence[ResultColumn], publication: Publication, way: Way) -> _Parts | None:
    """None where the query is to be streamed as it stands."""
    incremental = publication.incremental
    if incremental is None or (way.kind is None and incremental.kind is not IncrementKind.FINGERPRINT):
        return None
    wanted = _Wanted(query, tuple(columns), incremental, chosen(query, columns, incremental), wrappable(query), way)
    return _KINDS[incremental.kind](wanted)


def _rowversion(wanted: _Wanted) -> _Parts:
    low, high = (
        wanted.parameter(name, "binary(8)", number.to_bytes(ROWVERSION_BYTES, "big"))
        for name, number in zip(("low", "high"), _numbers(wanted.way), strict=True)
    )
    column = _column(wanted)
    within = f"{of_query(column)} >= @{low.name} AND {of_query(column)} < @{high.name}"
    return _filtered(wanted, _or_null(column, within), low, high)


def _cursor(wanted: _Wanted) -> _Parts:
    """From the lag before the watermark; both bounds are sent as text and declared as the column's own type."""
    column, way = _column(wanted), wanted.way
    assert way.low is not None, "an increment has two bounds"
    assert way.high is not None, "an increment has two bounds"
    declaration = SqlServerType.parse(column.sql_type).text.strip()
    low = wanted.parameter("low", declaration, way.low.value)
    high = wanted.parameter("high", declaration, way.high.value)
    lag = wanted.parameter("lag", "int" if is_date(column) else "bigint", _lag(column, wanted.incremental.lag))
    start = f"@{low.name}"
    if wanted.incremental.lag and is_date(column):
        start = f"DATEADD({'day' if type_name(column) == 'date' else 'second'}, -@{lag.name}, {start})"
    elif wanted.incremental.lag:
        start = f"{start} - @{lag.name}"
    within = f"{of_query(column)} > {start} AND {of_query(column)} <= @{high.name}"
    parameters = (low, high, lag) if wanted.incremental.lag else (low, high)
    return _filtered(wanted, _or_null(column, within), *parameters)


def _lag(column: ResultColumn, lag: int) -> int:
    """Seconds become whole days for a date."""
    return -(-lag // _DAY_S) if type_name(column) == "date" else lag


def _change_tracking(wanted: _Wanted) -> _Parts:
    """Whatever changed since, also what changed after the new watermark: it comes again, and does no harm."""
    table = TargetName.parse(wanted.incremental.table or "")
    low, _ = _numbers(wanted.way)
    since = wanted.parameter("low", "bigint", low)
    name = sql_server_identifier(table.schema, table.table)
    return _by_keys(wanted, f"CHANGETABLE(CHANGES {name}, @{since.name})", since)


def _cdc(wanted: _Wanted) -> _Parts:
    """Net changes from behind the watermark; the function refuses to be asked for none (error 313)."""
    low, high = _numbers(wanted.way)
    first, last = (
        wanted.parameter(name, f"binary({LSN_BYTES})", number.to_bytes(LSN_BYTES, "big"))
        for name, number in (("low", low + 1), ("high", high))
    )
    if low >= high:
        return _Parts((*wanted.names, f"CONVERT(bit, 0) AS {_DELETED}"), "(", f") AS {ALIAS} WHERE 1 = 0")
    function = sql_server_identifier("cdc", f"fn_cdc_get_net_changes_{wanted.incremental.capture}")
    return _by_keys(wanted, f"{function}(@{first.name}, @{last.name}, N'all')", first, last)


def _by_keys(wanted: _Wanted, changes: str, *parameters: BoundParameter) -> _Parts:
    """Changed keys, each once, and the rows that the query has for them now; no row means that it is gone."""
    key = wanted.chosen.key
    keys = ", ".join(f"{as_declared(column, f't.{quoted(column)}')} AS {quoted(column)}" for column in key)
    gone = f"{ALIAS}.{_THERE} IS NULL"
    names = {column.name for column in key}
    selected = [
        f"CASE WHEN {gone} THEN k.{quoted(column)} ELSE {of_query(column)} END AS {quoted(column)}"
        if column.name in names
        else of_query(column)
        for column in wanted.columns
    ]
    return _Parts(
        (*selected, f"CONVERT(bit, CASE WHEN {gone} THEN 1 ELSE 0 END) AS {_DELETED}"),
        f"(SELECT DISTINCT {keys} FROM {changes} AS t) AS k LEFT JOIN (SELECT 1 AS {_THERE}, {ALIAS}.* FROM (",
        f") AS {ALIAS}) AS {ALIAS} ON {same_key(key, ALIAS, 'k')}",
        parameters,
    )


def _fingerprint(wanted: _Wanted) -> _Parts:
    assert wanted.way.digests is not None, "decide gave the digests"
    digests = Digests.from_parquet(wanted.way.digests)
    assert digests is not None, "it was written a moment ago"
    ranges, key = digests.ranges, wanted.chosen.key
    size, null = (wanted.wrapped.free_name(name) for name in ("bridge_size", "bridge_null"))
    number = ranges.expression(key, size, null)
    parameters = ranges.parameters(size, null)
    names = (*wanted.names, f"{number} AS {_RANGE}")
    if wanted.way.kind is None:
        return _Parts(names, "(", f") AS {ALIAS}", parameters)
    return _Parts(names, "(", f") AS {ALIAS} {_among(ranges, wanted, number)}", parameters)


def _among(ranges: Ranges, wanted: _Wanted, number: str) -> str:
    """The changed ranges as a join; bounds of intervals are of the key's own type, so that its index finds them."""
    key, changed = wanted.chosen.key, wanted.way.ranges
    nulls = NULL_RANGE in changed
    if ranges.cut is Cut.INTERVALS:
        (column,) = key
        subject, declared = of_query(column), type_name(column)
        found = [key_bounds(interval, ranges.size, column) for interval in intervals_of(changed)]
        pairs = [f"({low}, {high})" for low, high in filter(None, found)] + ["(NULL, NULL)"] * nulls
    else:
        subject, declared = number, "bigint"
        pairs = [f"({interval.first}, {interval.last})" for interval in intervals_of(changed)]
        pairs += [f"({NULL_RANGE}, {NULL_RANGE})"] * nulls
    if not pairs:
        return "WHERE 1 = 0"
    within = f"{subject} >= r.[low] AND {subject} <= r.[high]"
    if nulls and ranges.cut is Cut.INTERVALS:
        within = f"({within}) OR (r.[low] IS NULL AND {subject} IS NULL)"
    return (
        f"INNER JOIN (SELECT CONVERT({declared}, v.[low]) AS [low], CONVERT({declared}, v.[high]) AS [high] "
        f"FROM (VALUES {', '.join(pairs)}) AS v ([low], [high])) AS r ON {within}"
    )


def _filtered(wanted: _Wanted, condition: str, *parameters: BoundParameter) -> _Parts:
    return _Parts(wanted.names, "(", f") AS {ALIAS} WHERE {condition}", parameters)


_KINDS: Mapping[IncrementKind, Callable[[_Wanted], _Parts]] = {
    IncrementKind.ROWVERSION: _rowversion,
    IncrementKind.CURSOR: _cursor,
    IncrementKind.CHANGE_TRACKING: _change_tracking,
    IncrementKind.CDC: _cdc,
    IncrementKind.FINGERPRINT: _fingerprint,
}


def _column(wanted: _Wanted) -> ResultColumn:
    assert wanted.chosen.column is not None, "this kind goes by a column"
    return wanted.chosen.column


def _numbers(way: Way) -> tuple[int, int]:
    assert way.low is not None, "an increment has two bounds"
    assert way.high is not None, "an increment has two bounds"
    return number_of(way.low), number_of(way.high)


def _or_null(column: ResultColumn, condition: str) -> str:
    """Rows without a value are read each time: nothing tells whether they changed."""
    return f"({condition}) OR {of_query(column)} IS NULL" if column.nullable else condition
