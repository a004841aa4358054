"""Delta tables that queries are published to, and the Delta table of their states.

Every write is one statement that is harmless twice, since the SDK re-sends requests whose connection broke, and that
its state's owner alone can make: see `publish_statements`. Values travel as named parameters.
"""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from sql_databricks_bridge.db import delta_writes, publish_rows, publish_statements
from sql_databricks_bridge.db.databricks_errors import condition
from sql_databricks_bridge.errors import (
    PublicationOvertaken,
    PublicationRefused,
    PublishError,
    StatementFailed,
)
from sql_databricks_bridge.models.publishing import DeltaColumn, Load, PublishedState, RowCounts
from sql_databricks_bridge.models.tables import SourceName

if TYPE_CHECKING:
    import pyarrow as pa

    from sql_databricks_bridge.db.statements import Warehouse

_SQL = Path(__file__).with_name("sql")

_CLAIMS = 5

_SEVERAL_ROWS = "DELTA_MULTIPLE_SOURCE_ROW_MATCHING_TARGET_ROW_IN_MERGE"


class DeltaPublisher:
    """The Publisher port. Nothing is sent before the first call; safe to use from several threads."""

    def __init__(self, warehouse: Callable[[], Warehouse], states: SourceName) -> None:
        """`warehouse` signs in where that has not happened yet; `states` names the table of states."""
        self._warehouse = warehouse
        self._states = states
        self._table = publish_statements.quoted(states)

    def create(self) -> None:
        """Create the table of states, and its schema; no error where they exist.

        1 statement, 3 where the schema has to be made. `LakehouseNotFound` where the catalog is missing.
        """
        creating = f"Creating the table of states {self._states}"
        with self._explained(creating):
            delta_writes.create(self._warehouse, self._sql("states_create"), self._states, creating)

    def find(self, target: SourceName) -> PublishedState | None:
        """The state of a published table; None where there is none, or no table of states. 1 statement."""
        return self._one(self._read("states_find", {"target": str(target)}), target)

    def claim(self, target: SourceName, country: str, query: str, owner: str) -> PublishedState:
        """Become the owner, and make the row where there is none; return the state with what stands.

        2 statements, and 1 more where the owner before never settled: one of its statements may still run, and has
        read the fence already. A change of the table's properties makes it conflict, and then it reads it again. The
        table of states is created where it is missing. `PublicationRefused` where the table is another country's or
        query's; `PublicationOvertaken` where others claim it all the time.
        """
        what = f"Claiming {target}"
        for _ in range(_CLAIMS):
            state = self.find(target)
            if state is not None and (state.country, state.query) != (country, query):
                raise PublicationRefused(
                    f"Table {target} is published by query {state.query} of {state.country}, not by {query} of "
                    f"{country}.",
                    hint="Name another table under `publish:`, or delete its row in the table of states "
                    f"{self._states} if that query is no more.",
                )
            with self._explained(what):
                if self._taken(target, country, query, owner, None if state is None else state.owner, what):
                    if state is None:
                        return PublishedState(target, target, country, query, owner)
                    if state.unsettled:
                        self._disturb(state.table, owner)
                    return dataclasses.replace(state, owner=owner)
        raise _overtaken(target)

    def columns(self, table: SourceName) -> tuple[DeltaColumn, ...] | None:
        """The columns of a table in order, None where there is no such table. 1 statement."""
        what = f"Looking at {table}"
        try:
            described = self._warehouse().execute(f"DESCRIBE TABLE {publish_statements.quoted(table)}", None, what)
        except StatementFailed as failure:
            if condition(failure) in delta_writes.MISSING:
                return None
            with self._explained(what, table):
                raise
        return publish_rows.columns_from(described)

    def replace(self, load: Load) -> RowCounts:
        """Make the table anew from the files, in one statement that readers see whole; its history stays."""
        counts = self._publish(load, publish_statements.replace(load, self._states))
        total = delta_writes.count(counts, "num_inserted_rows")
        return RowCounts(inserted=total, total=total)

    def merge(self, load: Load) -> RowCounts:
        """Apply the files' rows by key. 1 statement; running it again changes nothing.

        `PublishError` where two rows share a key. With a soft delete, `updated` counts the marked rows too.
        """
        counts = self._publish(load, publish_statements.merge(load, self._states))
        return _changed(counts)

    def replace_ranges(self, load: Load, ranges: Sequence[int]) -> RowCounts:
        """Have the files' rows stand for all rows of those ranges. 1 statement, none without ranges.

        Rows are deleted and inserted, whatever their keys. With a soft delete rows are told apart by key, and marked
        where they are gone: `PublishError` where two rows share one.
        """
        if not ranges:
            return RowCounts()
        if load.soft_delete is not None:
            return _changed(self._publish(load, publish_statements.mark_ranges(load, ranges, self._states)))
        statement = publish_statements.replace_ranges(load, self._states)
        return _changed(self._publish(load, statement, ranges=json.dumps(sorted(set(ranges)))))

    def settle(self, state: PublishedState) -> None:
        """Write the state after its data, if it stands at the generation before and is its owner's. 1 statement.

        `PublicationOvertaken` where it is not, unless that very state stands already.
        """
        what = f"Settling {state.target}"
        with self._explained(what):
            written = self._write(self._sql("states_settle"), publish_rows.parameters(state), what)
        if delta_writes.count(written, "num_affected_rows") == 1:
            return
        found = self.find(state.target)
        if found is None or (found.owner, found.generation, found.run_id, found.watermark) != (
            state.owner,
            state.generation,
            state.run_id,
            state.watermark,
        ):
            raise _overtaken(state.target)

    def reset(self, target: SourceName) -> bool:
        """Forget the watermark, so that the next publication is a full one; False where there is no such state.

        A run that publishes right now is overtaken by it, lest it bring a watermark back. 1 statement.
        """
        what = f"Resetting {target}"
        with self._explained(what):
            try:
                written = self._write(self._sql("states_reset"), {"target": str(target)}, what)
            except StatementFailed as failure:
                if condition(failure) not in delta_writes.MISSING:
                    raise
                return False
        return delta_writes.count(written, "num_affected_rows") > 0

    def _taken(self, target: SourceName, country: str, query: str, owner: str, previous: str | None, what: str) -> bool:
        """Put the owner in the place of the one that was read, None for a new row; False where it was not there."""
        asked = {"target": str(target), "country": country, "query": query, "owner": owner, "previous": previous}
        try:
            claimed = self._write(self._sql("states_claim"), asked, what)
        except StatementFailed as failure:
            if condition(failure) not in delta_writes.MISSING:
                raise
            self.create()
            claimed = self._write(self._sql("states_claim"), asked, what)
        return delta_writes.count(claimed, "num_affected_rows") == 1

    def _disturb(self, table: SourceName, owner: str) -> None:
        """Make every statement conflict that changes the table now; none where there is no table."""
        try:
            statement = publish_statements.set_properties(table, {"bridge.owner": owner})
            self._write(statement, {}, f"Taking {table} over")
        except StatementFailed as failure:
            if condition(failure) not in delta_writes.MISSING:
                raise

    def _publish(self, load: Load, statement: str, **more: str | None) -> pa.Table:
        """Run a fenced statement on a published table."""
        token = uuid.uuid4().hex  # no value that a message might quote holds it
        overtaken, repeated = f"overtaken {token}", f"repeated {token}"
        parameters = {"owner": load.owner, "target": str(load.target), "overtaken": overtaken, **more}
        if ":repeated" in statement:
            parameters["repeated"] = repeated
        what = f"Publishing to {load.table}"
        with self._explained(what, load.table):
            try:
                return self._write(statement, parameters, what)
            except StatementFailed as failure:
                if overtaken in failure.message:
                    raise _overtaken(load.target) from failure
                if repeated in failure.message or condition(failure) == _SEVERAL_ROWS:
                    raise PublishError(
                        f"{what}: the key is not unique: rows that changed share {', '.join(load.key)}.",
                        hint="Name all columns of a unique key under `incremental:`, in this query's result.",
                    ) from failure
                raise

    def _read(self, name: str, parameters: Mapping[str, str | None]) -> list[PublishedState]:
        what = f"Reading {self._states}"
        with self._explained(what):
            try:
                table = self._warehouse().execute(self._sql(name), parameters, what)
            except StatementFailed as failure:
                if condition(failure) not in delta_writes.MISSING:
                    raise
                return []
        return publish_rows.states_from(table, self._states)

    def _one(self, found: Sequence[PublishedState], target: SourceName) -> PublishedState | None:
        if len(found) > 1:
            raise PublishError(
                f"The table of states {self._states} holds {len(found)} rows for {target}: two queries claimed it at "
                f"once ({', '.join(f'{each.query} of {each.country}' for each in found)}).",
                hint="Delete the row of the query that is not to publish there; until then neither does.",
            )
        return found[0] if found else None

    def _write(self, statement: str, parameters: Mapping[str, str | None], what: str) -> pa.Table:
        return delta_writes.write(self._warehouse, statement, parameters, what)

    def _sql(self, name: str) -> str:
        return (_SQL / f"{name}.sql").read_text(encoding="utf-8").format(table=self._table)

    def _explained(self, what: str, table: SourceName | None = None) -> AbstractContextManager[None]:
        if table is None:
            return delta_writes.explained(what, self._states, named_by="by BRIDGE_STATE_TABLE")
        return delta_writes.explained(what, table, named_by="under `publish:` in the country's YAML")

    def list(self, country: str | None = None) -> list[PublishedState]:
        """Every state, sorted by country and query; none where there is no table of states. 1 statement."""
        return self._read("states_list", {"country": country})


def _overtaken(target: SourceName) -> PublicationOvertaken:
    return PublicationOvertaken(
        f"{target}: another run became its owner meanwhile, or its watermark was reset; nothing was written.",
        hint="See `bridge watermarks list`; publish again if no other run does.",
    )


def _changed(counts: pa.Table) -> RowCounts:
    return RowCounts(
        inserted=delta_writes.count(counts, "num_inserted_rows"),
        updated=delta_writes.count(counts, "num_updated_rows"),
        deleted=delta_writes.count(counts, "num_deleted_rows"),
    )
