"""Events between Python and Databricks: rows out of Arrow, JSON parameters into statements. Pure.

Anybody may have written anything into the events table, so reading never fails for what a row holds: what Python
can't hold (a year above 9999) is None, and bytes that are not Unicode become U+FFFD. Source of the columns and types:
SEED.md, "Events Table Schema".
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from sql_databricks_bridge.errors import EventInvalid
from sql_databricks_bridge.models.events import EventRow, EventStatus, Outcome

COLUMNS: Mapping[str, str] = {
    "event_id": "STRING",
    "operation": "STRING",
    "source_table": "STRING",
    "target_table": "STRING",
    "primary_keys": "ARRAY<STRING>",
    "priority": "INT",
    "status": "STRING",
    "rows_expected": "INT",
    "rows_affected": "INT",
    "discrepancy": "INT",
    "warning": "STRING",
    "error_message": "STRING",
    "filter_conditions": "MAP<STRING,STRING>",
    "metadata": "MAP<STRING,STRING>",
    "created_at": "TIMESTAMP",
    "processed_at": "TIMESTAMP",
}
"""The events table: names and Databricks types, written without blanks."""

_NESTED = ("ARRAY<STRING>", "MAP<STRING,STRING>")
_AUTHORS = (
    *("operation", "source_table", "target_table", "primary_keys", "priority"),
    *("rows_expected", "filter_conditions", "metadata"),
)


def fingerprint(table: str = "") -> str:
    """The SQL of what an author asks for, as one value: rows of one event_id may ask for different things.

    `table` is an alias with its dot.
    """
    return f"sha2(to_json(struct({', '.join(table + name for name in _AUTHORS)})), 256)"


SELECTED = ", ".join(
    [f"to_json({name}) AS {name}" if sql_type in _NESTED else name for name, sql_type in COLUMNS.items()]
    + [f"{fingerprint()} AS fingerprint"]
)
"""What a SELECT asks for. Arrays and maps come as JSON text: whether the API's Arrow results carry them as Arrow's own
or as text depends on the way they take (databricks-jdbc, pull request 1440), and to_json is the same on all."""

TEXT_CHARACTERS = 4_000
"""Most characters of a warning or error_message that are written back."""

BATCH_BYTES = 1 << 20
"""Most bytes of JSON in one parameter; Databricks takes 16 MiB for a whole statement."""

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def wrong_columns(found: Mapping[str, str], *, selected: bool = False) -> list[str]:
    """Say what is wrong with columns (name to type, in any case): one phrase for each that is missing or different.

    `found` are a table's, or those of a result that was `selected`.
    """
    types = {name.lower(): "".join(sql_type.split()).upper() for name, sql_type in found.items()}
    wrong = []
    for name, sql_type in COLUMNS.items():
        wanted = "STRING" if selected and sql_type in _NESTED else sql_type
        if name not in types:
            wrong.append(f"{name} {wanted} is missing")
        elif types[name] != wanted:
            wrong.append(f"{name} is {types[name]} and not {wanted}")
    return wrong


def rows_from(table: pa.Table) -> list[EventRow]:
    """Read rows that `SELECTED` asked for; `ValueError` where a nested column doesn't hold strings."""
    columns: list[list[Any]] = []
    for sql_type, column in zip((*COLUMNS.values(), "STRING"), table.columns, strict=True):
        if sql_type == "INT":
            columns.append(column.to_pylist())
        elif sql_type == "TIMESTAMP":  # as microseconds: to_pylist raises for years that datetime doesn't have
            micros = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
            columns.append([_instant(value) for value in micros.to_pylist()])
        else:
            columns.append([_READERS[sql_type](_unicode(value)) for value in column.cast(pa.binary()).to_pylist()])
    return [EventRow(*values) for values in zip(*columns, strict=True)]


def outcome_batches(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The `:outcomes` parameters: JSON arrays of about 1 MiB at most, an outcome never cut in two."""
    batch: list[str] = []
    size = 0
    for document in map(_outcome, outcomes):
        length = len(document.encode())
        if batch and size + length > BATCH_BYTES:
            yield f"[{','.join(batch)}]"
            batch, size = [], 0
        batch.append(document)
        size += length + 1
    if batch:
        yield f"[{','.join(batch)}]"


def event_parameter(row: EventRow) -> str:
    """The `:event` parameter: what an author says of an event, as JSON.

    `EventInvalid` where it has no event_id, or holds text that is not Unicode; `ValueError` for a naive created_at.
    """
    if not row.event_id:
        raise EventInvalid("An event needs an event_id.", hint="Choose one that nobody used before.")
    document = {
        "event_id": row.event_id,
        "operation": row.operation,
        "source_table": row.source_table,
        "target_table": row.target_table,
        "primary_keys": None if row.primary_keys is None else list(row.primary_keys),
        "priority": row.priority,
        "rows_expected": row.rows_expected,
        "filter_conditions": None if row.filter_conditions is None else dict(row.filter_conditions),
        "metadata": None if row.metadata is None else dict(row.metadata),
        "created_at": _text(row.created_at),
    }
    try:
        return _json(document)
    except UnicodeEncodeError as exc:
        raise EventInvalid(f"Event {row.event_id!r} holds text that is not Unicode: a lone surrogate.") from exc


def _outcome(outcome: Outcome) -> str:
    document: dict[str, Any] = {"event_id": outcome.event_id, "status": outcome.status.value}
    if outcome.status not in (EventStatus.PENDING, EventStatus.PROCESSING):
        document |= {
            "rows_affected": outcome.rows_affected,
            "discrepancy": outcome.discrepancy,
            "warning": _cut(outcome.warning),
            "error_message": _cut(outcome.error_message),
            "processed_at": _text(outcome.processed_at),
            "fingerprint": outcome.fingerprint,
        }
    return _json(document)


def _json(document: Mapping[str, Any]) -> str:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    text.encode()  # a lone surrogate fails here, and not as a question mark in the table
    return text


def _cut(text: str | None) -> str | None:
    """Shorten a message, and make Unicode of it: it may quote what a broken client wrote."""
    if text is None:
        return None
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= TEXT_CHARACTERS else text[: TEXT_CHARACTERS - 1] + "…"


def _text(moment: dt.datetime | None) -> str | None:
    """ISO 8601 in UTC, which CAST(... AS TIMESTAMP) reads alike in every session time zone."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return moment.astimezone(dt.UTC).isoformat()


def _instant(micros: int | None) -> dt.datetime | None:
    if micros is None:
        return None
    try:
        return _EPOCH + dt.timedelta(microseconds=micros)
    except OverflowError:
        return None


def _unicode(value: bytes | None) -> str | None:
    """Text that may be any bytes: CAST(X'FF' AS STRING) is a string to Spark."""
    return None if value is None else value.decode("utf-8", "replace")


def _strings(text: str | None) -> tuple[str | None, ...] | None:
    value = None if text is None else json.loads(text)
    if value is None:
        return None
    if not isinstance(value, list):
        raise ValueError("not an array")
    return tuple(_string(each) for each in value)


def _map(text: str | None) -> dict[str, str | None] | None:
    value = None if text is None else json.loads(text)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError("not a map")
    return {key: _string(each) for key, each in value.items()}


def _string(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError("not a string")
    return value


_READERS: Mapping[str, Callable[[str | None], Any]] = {
    "STRING": lambda text: text,
    "ARRAY<STRING>": _strings,
    "MAP<STRING,STRING>": _map,
}
