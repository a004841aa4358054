"""The Delta table of events: the bridge reads unfinished rows and writes back what became of them.

Every write is one statement that is harmless twice, since the SDK re-sends requests whose connection broke. Values
travel as named parameters, sets of them as one JSON parameter through from_json.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sql_databricks_bridge.db import delta_writes, event_rows
from sql_databricks_bridge.db.databricks_errors import condition, words
from sql_databricks_bridge.db.identifiers import databricks_identifier
from sql_databricks_bridge.errors import (
    LakehouseError,
    LakehouseNotFound,
    LakehouseSignInError,
    StatementFailed,
)
from sql_databricks_bridge.models.events import EventRow, EventStatus, Outcome
from sql_databricks_bridge.models.tables import SourceName

if TYPE_CHECKING:
    from sql_databricks_bridge.db.statements import Warehouse

_SQL = Path(__file__).with_name("sql")


class DeltaEventTable:
    """The EventTable port on one table. Nothing is sent before the first call; safe to use from several threads."""

    def __init__(self, warehouse: Callable[[], Warehouse], name: SourceName) -> None:
        """`warehouse` signs in where that has not happened yet."""
        self._warehouse = warehouse
        self._name = name
        self._table = databricks_identifier(name.catalog, name.schema, name.table)

    def create(self) -> None:
        """Create schema and table with the seed's columns; no error where they exist.

        `LakehouseNotFound` where the catalog is missing, `LakehouseError` where a table is there with other columns.
        2 statements, 4 where the schema has to be made.
        """
        creating = f"Creating events table {self._name}"
        with self._explained(creating):
            delta_writes.create(self._warehouse, self._sql("events_create"), self._name, creating)
            self._require_columns(self._described())

    def unfinished(self, limit: int, skip_targets: Sequence[str] = ()) -> list[EventRow]:
        """Pending and processing events in the order of their turn, less those of `skip_targets` (lower case).

        Rows without an event_id come too. 1 statement.
        """
        return self._read("events_unfinished", {"skip_targets": json.dumps(list(skip_targets))}, limit)

    def report(self, outcomes: Sequence[Outcome]) -> None:
        """Write outcomes to the unfinished rows of those events (and fingerprints); finished rows never change.

        PROCESSING and PENDING set the status only. 1 statement for each MiB of outcomes (thousands of small ones),
        none without any. `ValueError` where two outcomes are of one event.
        """
        repeated = [event_id for event_id, count in Counter(each.event_id for each in outcomes).items() if count > 1]
        if repeated:
            raise ValueError(f"more than one outcome for event {repeated[0]!r}")
        what = f"Reporting to {self._name}"
        for batch in event_rows.outcome_batches(outcomes):
            with self._explained(what):
                self._write("events_report", {"outcomes": batch}, what)

    def submit(self, row: EventRow) -> None:
        """Insert an event as pending, unless its event_id is there. 1 statement.

        A priority of None is stored as 0, a created_at of None as the present. `EventInvalid` without an event_id.
        """
        what = f"Submitting event {_shown(row.event_id)} to {self._name}"
        with self._explained(what):
            self._write("events_submit", {"event": event_rows.event_parameter(row)}, what)

    def rows_of(self, event_id: str) -> list[EventRow]:
        """Every row with that event_id, the oldest first. 1 statement."""
        return self._read("events_rows_of", {"event_id": event_id})

    def reset(self, event_id: str) -> None:
        """Set a failed or blocked event back to pending, without what was reported of it. 1 statement."""
        what = f"Resetting event {_shown(event_id)} of {self._name}"
        with self._explained(what):
            self._write("events_reset", {"event_id": event_id}, what)

    def _read(self, name: str, parameters: Mapping[str, str | None], limit: int = 0) -> list[EventRow]:
        what = f"Reading {self._name}"
        with self._explained(what):
            warehouse = self._warehouse()
            result = warehouse.run(self._sql(name, limit), parameters, what)
            types = {column.name or "": column.type_text or "" for column in result.columns}
            self._require_columns(types, selected=True)
            with warehouse.translated(what):
                table = result.read_all()
        try:
            return event_rows.rows_from(table)
        except ValueError as exc:
            self._require_columns(self._described())
            raise LakehouseError(f"{what}: a row can't be understood: {exc}.") from exc

    def _write(self, name: str, parameters: Mapping[str, str | None], what: str) -> None:
        delta_writes.write(self._warehouse, self._sql(name), parameters, what)

    def _sql(self, name: str, limit: int = 0) -> str:
        text = (_SQL / f"{name}.sql").read_text(encoding="utf-8")
        return text.format(
            table=self._table,
            columns=event_rows.SELECTED,
            fingerprint=event_rows.fingerprint("t."),
            limit=int(limit),
        )

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Tell what a failed statement says about the table: missing, not permitted, of another shape."""
        try:
            yield
        except StatementFailed as failure:
            named = condition(failure)
            if named == delta_writes.NO_CATALOG:
                raise LakehouseNotFound(
                    f"{what}: there is no catalog {self._name.catalog}.",
                    hint="Ask an administrator for it, or name the table in another one by BRIDGE_EVENTS_TABLE.",
                ) from failure
            if named in delta_writes.MISSING:
                raise LakehouseNotFound(
                    f"{what}: the table is not there, or may not be seen.",
                    hint="`bridge events init` creates it; BRIDGE_EVENTS_TABLE says which one it is.",
                ) from failure
            if failure.sqlstate == delta_writes.NOT_PERMITTED:
                raise LakehouseSignInError(
                    f"{what}: not permitted: {words(failure)}.",
                    hint="The bridge's identity needs SELECT and MODIFY on it; to make it, CREATE TABLE on its schema.",
                ) from failure
            if (failure.sqlstate or "").startswith("42"):  # names or types: ours are right, so are the table's?
                self._require_columns(self._described())
            raise

    def _described(self) -> dict[str, str]:
        """The table's columns and types, by DESCRIBE TABLE."""
        table = self._warehouse().execute(f"DESCRIBE TABLE {self._table}", None, f"Describing {self._name}")
        return dict(zip(table["col_name"].to_pylist(), table["data_type"].to_pylist(), strict=True))

    def _require_columns(self, found: Mapping[str, str], *, selected: bool = False) -> None:
        if wrong := event_rows.wrong_columns(found, selected=selected):
            raise LakehouseError(
                f"{self._name} is not a table of events: {', '.join(wrong)}.",
                hint="`bridge events init` creates a right one where there is none; BRIDGE_EVENTS_TABLE names it.",
            )

    def list(self, status: EventStatus | None, limit: int) -> list[EventRow]:
        """The newest events first. 1 statement."""
        return self._read("events_list", {"status": None if status is None else status.value}, limit)


def _shown(event_id: str | None) -> str:
    return repr(event_id if event_id is None or len(event_id) <= 80 else f"{event_id[:79]}…")
