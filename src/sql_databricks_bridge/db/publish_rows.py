"""Rows of the table of states, to and from `PublishedState`, and what DESCRIBE TABLE tells of columns."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pyarrow as pa

from sql_databricks_bridge.errors import EventInvalid, PublishError
from sql_databricks_bridge.models.publishing import DeltaColumn, IncrementKind, PublishedState, Watermark
from sql_databricks_bridge.models.tables import SourceName


def parameters(state: PublishedState) -> dict[str, str | None]:
    """A state as the named parameters of states_settle.sql."""
    watermark, moment = state.watermark, state.published_at
    return {
        "target": str(state.target),
        "table_name": str(state.table),
        "owner": state.owner,
        "generation": str(state.generation),
        "definition": state.definition,
        "run_id": state.run_id,
        "manifest": state.manifest,
        "watermark_kind": None if watermark is None else watermark.kind.value,
        "watermark": None if watermark is None else watermark.value,
        "columns_json": json.dumps(state.columns),
        "rows": None if state.rows is None else str(state.rows),
        "published_at": None if moment is None else moment.astimezone(dt.UTC).isoformat(),
    }


def states_from(table: pa.Table, states: SourceName) -> list[PublishedState]:
    """Read rows of the table of states; `PublishError` names one that can't be understood."""
    found = []
    for row in table.to_pylist():
        try:
            found.append(_state(row))
        except (ValueError, TypeError, EventInvalid) as exc:
            raise PublishError(
                f"The row of {row.get('target')!r} in the table of states {states} can't be understood: {exc}",
                hint="Only the bridge should write there; delete the row, and the next publication is a full one.",
            ) from exc
    return found


def columns_from(described: pa.Table) -> tuple[DeltaColumn, ...]:
    """Read the columns from what DESCRIBE TABLE answers; partitions and the like follow under a heading."""
    columns = []
    for row in described.to_pylist():
        if not row["data_type"]:
            break
        columns.append(DeltaColumn(row["col_name"], row["data_type"].lower()))
    return tuple(columns)


def _state(row: dict[str, Any]) -> PublishedState:
    kind, moment = row["watermark_kind"], row["published_at"]
    return PublishedState(
        target=SourceName.parse(row["target"], "target"),
        table=SourceName.parse(row["table_name"], "table_name"),
        country=row["country"],
        query=row["query"],
        owner=row["owner"],
        generation=int(row["generation"]),
        definition=row["definition"] or "",
        run_id=row["run_id"],
        manifest=row["manifest"],
        watermark=None if kind is None else Watermark(IncrementKind(kind), row["watermark"] or ""),
        columns=tuple((name, sql_type) for name, sql_type in json.loads(row["columns_json"] or "[]")),
        rows=row["rows"],
        published_at=None if moment is None else moment.astimezone(dt.UTC),
        unsettled=row["settled_by"] != row["owner"],
    )
