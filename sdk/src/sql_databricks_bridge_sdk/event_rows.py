"""Events as statements hold them: one JSON parameter in, columns of text and numbers out. No I/O."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from typing import Any

from .models import Event

INSERT = """\
MERGE INTO {table} AS t
USING (
  SELECT r.*
  FROM (SELECT from_json(:event, 'event_id STRING, operation STRING, source_table STRING, target_table STRING, \
primary_keys ARRAY<STRING>, priority INT, rows_expected INT, filter_conditions MAP<STRING, STRING>, \
metadata MAP<STRING, STRING>', map('mode', 'FAILFAST')) AS r)
) AS s
ON t.event_id = s.event_id
WHEN NOT MATCHED THEN
  INSERT (event_id, operation, source_table, target_table, primary_keys, priority, status, rows_expected, \
filter_conditions, metadata, created_at)
  VALUES (s.event_id, s.operation, s.source_table, s.target_table, s.primary_keys, s.priority, 'pending', \
s.rows_expected, s.filter_conditions, s.metadata, current_timestamp())
"""
"""Writes the event of :event unless its event_id is there: harmless twice, and the SDKs do send statements twice."""

_COLUMNS = (
    *("event_id", "operation", "source_table", "target_table", "to_json(primary_keys)", "priority", "status"),
    *("rows_expected", "rows_affected", "discrepancy", "warning", "error_message"),
    *("to_json(filter_conditions)", "to_json(metadata)", "unix_micros(created_at)", "unix_micros(processed_at)"),
)
SELECT = f"""\
SELECT {", ".join(_COLUMNS)}
FROM {{table}}
WHERE array_contains(from_json(:event_ids, 'ARRAY<STRING>'), event_id)
ORDER BY created_at ASC NULLS LAST
"""
"""Reads the rows of :event_ids, the oldest first. Times travel as numbers, so that no session time zone matters."""

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


def parameter(event: Event) -> str:
    """The :event parameter; `ValueError` where it holds text that is not Unicode, TypeError where no text is."""
    keys, filters, metadata = event.primary_keys, event.filter_conditions, event.metadata
    document = {
        "event_id": event.event_id,
        "operation": event.operation,
        "source_table": event.source_table,
        "target_table": event.target_table,
        "primary_keys": None if keys is None else list(keys),
        "priority": event.priority,
        "rows_expected": event.rows_expected,
        "filter_conditions": None if filters is None else dict(filters),
        "metadata": None if metadata is None else dict(metadata),
    }
    for name, values in (
        ("filters", filters or {}),
        ("metadata", metadata or {}),
        ("keys", dict.fromkeys(keys or ())),
    ):
        for key, value in values.items():
            if not isinstance(key, str) or not (value is None or isinstance(value, str)):
                raise TypeError(f"{name}: {key!r} is not text, or has a value that is not: {type(value).__name__}")
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    text.encode()  # a lone surrogate fails here, as the UnicodeEncodeError that it is, and not as a '?' in the table
    return text


def event_of(row: Sequence[Any]) -> Event:
    """A row that `SELECT` asked for; a warehouse's numbers are text."""
    keys = _json(row[4])
    return Event(
        event_id=str(row[0]),
        operation=row[1],
        source_table=row[2],
        target_table=row[3],
        primary_keys=None if keys is None else tuple(keys),
        priority=_int(row[5]),
        status=row[6],
        rows_expected=_int(row[7]),
        rows_affected=_int(row[8]),
        discrepancy=_int(row[9]),
        warning=row[10],
        error_message=row[11],
        filter_conditions=_json(row[12]),
        metadata=_json(row[13]),
        created_at=_instant(_int(row[14])),
        processed_at=_instant(_int(row[15])),
    )


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _int(value: int | str | None) -> int | None:
    return None if value is None else int(value)


def _instant(micros: int | None) -> dt.datetime | None:
    try:
        return None if micros is None else _EPOCH + dt.timedelta(microseconds=micros)
    except OverflowError:  # Spark has years that Python doesn't have
        return None
