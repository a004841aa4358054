"""How far the source is: the upper bound of each kind, and whether the lower one still holds.

Sources: MIN_ACTIVE_ROWVERSION, CHANGE_TRACKING_MIN_VALID_VERSION, "Work with change tracking", sys.fn_cdc_get_min_lsn,
sys.fn_cdc_get_max_lsn and sys.fn_cdc_increment_lsn (Transact-SQL). An LSN is a number of ten bytes; the next one is
greater by 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sql_databricks_bridge.core.increments.asked import Asked
from sql_databricks_bridge.core.increments.canonical import FORMS, type_name
from sql_databricks_bridge.core.increments.columns import ALIAS, is_date, of_query
from sql_databricks_bridge.core.suggestions import listed
from sql_databricks_bridge.errors import SourceRefused, UsageError
from sql_databricks_bridge.models.jobs import BoundParameter
from sql_databricks_bridge.models.publishing import Incremental, IncrementKind, Watermark
from sql_databricks_bridge.models.quoting import sql_server_identifier
from sql_databricks_bridge.models.tables import TargetName

ROWVERSION_BYTES, LSN_BYTES = 8, 10

_PRIMARY_KEY = """
SELECT c.name AS [name]
FROM sys.indexes AS i
INNER JOIN sys.index_columns AS x ON x.object_id = i.object_id AND x.index_id = i.index_id
INNER JOIN sys.columns AS c ON c.object_id = x.object_id AND c.column_id = x.column_id
WHERE i.object_id = OBJECT_ID(@table) AND i.is_primary_key = 1
"""
_VERSIONS = """
SELECT CHANGE_TRACKING_CURRENT_VERSION() AS [current], CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID(@table)) AS [least]
"""
_ISO_8601 = "CONVERT({char}(40), {value}, 126)"
_LSNS = "SELECT sys.fn_cdc_get_min_lsn(@capture) AS [least], sys.fn_cdc_get_max_lsn() AS [most]"


@dataclass(frozen=True, slots=True)
class Bounds:
    """The new watermark, None where the result holds nothing to make one of.

    `invalid` says why the increment can't begin where it should; `is_empty`: there is nothing between the two.
    """

    high: Watermark | None
    invalid: str | None = None
    is_empty: bool = False
    warnings: tuple[str, ...] = ()


def bounds_of(asked: Asked, incremental: Incremental, low: Watermark | None) -> Bounds:
    """Ask the server; `UsageError` where it is not set up for the kind."""
    return _KINDS[incremental.kind](asked, incremental, low)


def number_of(mark: Watermark) -> int:
    """The number that a rowversion, a version or an LSN is; `UsageError` for a text that is none."""
    try:
        return int(mark.value, 16) if mark.value.lower().startswith("0x") else int(mark.value)
    except ValueError:
        raise UsageError(
            f"The watermark {mark.value!r} of kind {mark.kind.value} is not one.",
            hint="`bridge watermarks reset` makes the next publication a full one.",
        ) from None


def _rowversion(asked: Asked, incremental: Incremental, low: Watermark | None) -> Bounds:
    """Below the lowest one in flight; taken before the view began, so that all below it is to be seen."""
    oldest = asked.connection.oldest_rowversion
    if oldest is None:
        raise UsageError(
            f"{asked.query.file}: this server has no MIN_ACTIVE_ROWVERSION(), which kind rowversion needs.",
            hint="Choose another kind of increment.",
        )
    high = int.from_bytes(oldest, "big")
    mark = Watermark(incremental.kind, hexadecimal(high, ROWVERSION_BYTES))
    if low is not None and number_of(low) > high:
        return Bounds(mark, _behind(low, mark))
    return Bounds(mark, is_empty=low is not None and number_of(low) == high)


def _cursor(asked: Asked, incremental: Incremental, _low: Watermark | None) -> Bounds:
    """The greatest value that the query shows."""
    column = asked.chosen.column
    assert column is not None, "a cursor has a column"
    # ISO 8601 with a T: a datetime that is read from any other text depends on the login's language.
    written = _ISO_8601 if is_date(column) else FORMS[type_name(column)].expression
    text = written.format(value=f"MAX({of_query(column)})", char="nvarchar")
    sql = asked.wrapped.within(f"SELECT {text} AS [high] FROM (", f") AS {ALIAS}")
    (found,) = asked.connection.ask(sql, asked.query.parameters)
    return Bounds(None if found["high"] is None else Watermark(incremental.kind, str(found["high"])))


def _change_tracking(asked: Asked, incremental: Incremental, low: Watermark | None) -> Bounds:
    """The version of the view; reading goes beyond it where there is no SNAPSHOT, which does no harm."""
    table = TargetName.parse(incremental.table or "")
    parameter = BoundParameter("table", "nvarchar(600)", sql_server_identifier(table.schema, table.table))
    try:
        (found,) = asked.connection.ask(_VERSIONS, (parameter,))
    except SourceRefused as exc:
        raise _not_set_up(asked, f"change tracking of {table}", exc.message, _ENABLE_TRACKING) from exc
    if found["current"] is None or found["least"] is None:
        raise _not_set_up(asked, f"change tracking of {table}", "it is not on, or not to be seen", _ENABLE_TRACKING)
    primary = {str(row["name"]) for row in asked.connection.ask(_PRIMARY_KEY, (parameter,))}
    if primary and {name.lower() for name in primary} != {column.name.lower() for column in asked.chosen.key}:
        raise UsageError(
            f"{asked.query.file}: the key {listed(column.name for column in asked.chosen.key)} is not the primary key "
            f"of {table}, which change tracking goes by: {listed(primary)}.",
            hint="Name these columns as `key`, and have the query return them under these names.",
        )
    current, least = int(found["current"]), int(found["least"])
    mark = Watermark(incremental.kind, str(current))
    if low is None:
        return Bounds(mark)
    start = number_of(low)
    if start <= least:  # a TRUNCATE moves the least to the version of its moment, and leaves no other trace
        return Bounds(mark, f"change tracking of {table} begins at version {least}, the watermark is {start}")
    return Bounds(mark, _behind(low, mark) if start > current else None, is_empty=start == current)


def _cdc(asked: Asked, incremental: Incremental, low: Watermark | None) -> Bounds:
    """The last LSN that the capture job has read, but no less than the one before the capture's first."""
    capture = incremental.capture or ""
    try:
        (found,) = asked.connection.ask(_LSNS, (BoundParameter("capture", "nvarchar(128)", capture),))
    except SourceRefused as exc:
        raise _not_set_up(asked, f"the capture {capture!r}", exc.message, _ENABLE_CAPTURE) from exc
    least = int.from_bytes(bytes(found["least"] or b""), "big")
    if least == 0:
        raise _not_set_up(asked, f"the capture {capture!r}", "it is not there, or not to be seen", _ENABLE_CAPTURE)
    high = max(int.from_bytes(bytes(found["most"] or b""), "big"), least - 1)
    mark = Watermark(incremental.kind, hexadecimal(high, LSN_BYTES))
    if low is None:
        return Bounds(mark)
    start = number_of(low)
    if start + 1 < least:
        oldest = hexadecimal(least, LSN_BYTES)
        return Bounds(mark, f"the capture {capture} begins at {oldest}, after the watermark {low.value}")
    return Bounds(mark, _behind(low, mark) if start > high else None, is_empty=start == high)


_KINDS: Mapping[IncrementKind, Callable[[Asked, Incremental, Watermark | None], Bounds]] = {
    IncrementKind.ROWVERSION: _rowversion,
    IncrementKind.CURSOR: _cursor,
    IncrementKind.CHANGE_TRACKING: _change_tracking,
    IncrementKind.CDC: _cdc,
}
_ENABLE_TRACKING = (
    "Ask the DBA for ALTER DATABASE ... SET CHANGE_TRACKING = ON, ALTER TABLE ... ENABLE CHANGE_TRACKING, and "
    "GRANT VIEW CHANGE TRACKING on the table to the bridge's login."
)
_ENABLE_CAPTURE = (
    "Ask the DBA for sys.sp_cdc_enable_db and sys.sp_cdc_enable_table with @supports_net_changes = 1, and for the "
    "capture's gating role for the bridge's login."
)


def hexadecimal(number: int, size: int) -> str:
    """'0x' and two digits a byte."""
    return f"0x{number:0{2 * size}X}"


def _behind(low: Watermark, high: Watermark) -> str:
    return f"the source stands at {high.value}, before the watermark {low.value}: an older copy was restored"


def _not_set_up(asked: Asked, what: str, why: str, hint: str) -> UsageError:
    return UsageError(f"{asked.query.file}: {what} can't be asked: {why.rstrip('.')}.", hint=hint)
