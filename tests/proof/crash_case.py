"""One case of a crash campaign: targets, events table and audit log of its own, and what is wrong in the end."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sql_databricks_bridge import composition
from sql_databricks_bridge.auth.audit_chain import verify
from sql_databricks_bridge.core.config import Settings
from tests.integration.sync_support import SyncBench, environment_of
from tests.proof.crash_model import Ending, Event, Row, Table
from tests.proof.crash_support import Nursery, Poller

DELETE_LIMIT = 4
_LEDGER = {"completed": "applied", "failed": "failed", "blocked": "blocked"}
_BEGAN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
_ROUNDS = 6
_ENDS_WITHIN_S = 300.0

SourceOf = Callable[[Event], tuple[str, bool]]
"""The Delta table of an event's rows, and whether they are to be chosen there by their note."""


def permit(bench: SyncBench) -> None:
    """Let the bench's user do everything in its schema, deleting few rows at a time."""
    bench.permit(DELETE_LIMIT)
    file = bench.settings.bridge_permissions_file
    limit = f"max_delete_rows: {DELETE_LIMIT}\n"
    file.write_text(file.read_text().replace(limit, f"{limit}        allow_cascade: true\n", 1))


def delta_source(bench: SyncBench, rows: Iterable[Row]) -> str:
    """A Delta table of those rows, in its version 0."""
    values = ", ".join(f"({key}, {n}, '{note}')" for key, n, note in rows)
    select = "CAST(id AS INT) AS id, CAST(n AS INT) AS n, CAST(note AS STRING) AS note"
    return bench.source(f"SELECT {select} FROM VALUES {values} AS v(id, n, note)")


@dataclass(slots=True)
class Case:
    """`tables` is the model of the targets; `expected` is how each submitted event must end."""

    bench: SyncBench
    settings: Settings
    folder: Path
    tables: dict[str, Table]
    source_of: SourceOf
    expected: dict[str, Ending] = field(default_factory=dict)
    pollers: list[Poller] = field(default_factory=list)

    def submit(self, events: Sequence[Event]) -> None:
        """Insert events, each created a millisecond after the one before, and apply them to the model."""
        if not events:
            return
        values = []
        for event in events:
            created = _BEGAN + dt.timedelta(milliseconds=len(self.expected))
            self.expected[event.event_id] = self.tables[event.table].apply(event, DELETE_LIMIT)
            values.append(self._values(event, created))
        columns = (
            "event_id, operation, source_table, target_table, primary_keys, filter_conditions, metadata, created_at"
        )
        self.bench.lakehouse.execute(
            f"INSERT INTO {self.settings.bridge_events_table} ({columns}, status) VALUES {', '.join(values)}"
        )

    def _values(self, event: Event, created: dt.datetime) -> str:
        source, by_note = self.source_of(event) if event.rows else (None, False)
        note = event.rows[0][2] if by_note else event.note
        told = [
            f"'{event.event_id}'",
            f"'{event.operation}'",
            f"'{source}'" if source else "CAST(NULL AS STRING)",
            f"'{self.bench.schema}.{event.table}'",
            "array('id')" if event.keys else "CAST(NULL AS ARRAY<STRING>)",
            f"map('note', '{note}')" if note else "CAST(NULL AS MAP<STRING, STRING>)",
            "map('source_version', '0')" if source else "CAST(NULL AS MAP<STRING, STRING>)",
            f"TIMESTAMP'{created:%Y-%m-%d %H:%M:%S.%f}'",
            "'pending'",
        ]
        return f"({', '.join(told)})"

    # Pollers ------------------------------------------------------------------------------------------------------

    def start(self, nursery: Nursery, command: str, **variables: str) -> Poller:
        """Start `bridge sync run` or `once` as a process."""
        environment = {**environment_of(self.settings), **variables}
        name = f"poller{len(self.pollers)}"
        self.pollers.append(nursery.start(["sync", command, "--json"], environment, self.folder, name))
        return self.pollers[-1]

    def recover(self, nursery: Nursery, **variables: str) -> int:
        """Run fresh pollers, one round each, until no event is unfinished; return how many it took."""
        for number in range(1, _ROUNDS + 1):
            poller = self.start(nursery, "once", **variables)
            assert poller.wait(_ENDS_WITHIN_S), f"the fresh poller hangs:\n{poller.said()}"
            poller.code()
            if not self.unfinished():
                return number
        raise AssertionError(f"{self.unfinished()} are stuck after {_ROUNDS} fresh pollers:\n{poller.said()}")

    # What is there ------------------------------------------------------------------------------------------------

    def event_rows(self) -> list[dict[str, Any]]:
        """The events table."""
        columns = "event_id, status, rows_affected, error_message, processed_at"
        found = self.bench.lakehouse.execute(f"SELECT {columns} FROM {self.settings.bridge_events_table}")
        return list(found.to_pylist())

    def unfinished(self) -> list[str]:
        """The events that have not come to their end."""
        return [row["event_id"] for row in self.event_rows() if row["status"] not in _LEDGER]

    def ended(self) -> int:
        """How many of the events stand in the ledger."""
        return len(self._ledger())

    def _ledger(self) -> list[tuple[Any, ...]]:
        """(event_id, generation, outcome, rows_affected) of this case's events."""
        columns = "event_id, generation, outcome, rows_affected"
        prefix = next(iter(self.expected)).partition("-")[0]
        return self.bench.sql(f"SELECT {columns} FROM bridge.applied_events WHERE event_id LIKE N'{prefix}-%'")

    def problems(self) -> list[str]:
        """Everything that is not as the model has it; empty where nothing was lost, doubled, stuck or left behind."""
        return [*self._wrong_targets(), *self._wrong_outcomes(), *self._left_behind(), *self._wrong_audit()]

    def _wrong_targets(self) -> Iterator[str]:
        for name, table in self.tables.items():
            rows = [(row[0], row[1], row[2]) for row in self.bench.sql(f"SELECT id, n, note FROM {{s}}.{name}")]
            yield from (f"{name}: {problem}" for problem in table.unlike(rows))
            if table.traced:
                seen = self.bench.sql(f"SELECT what, id, n, note FROM {{s}}.seen_{name} ORDER BY seq")
                changes = [(row[0], row[1], row[2], row[3]) for row in seen]
                yield from (f"{name}: {problem}" for problem in table.unlike_changes(changes))

    def _wrong_outcomes(self) -> Iterator[str]:
        ledger = Counter(self._ledger())
        wanted = Counter(
            (event_id, 1, _LEDGER[ending.status], ending.rows_affected) for event_id, ending in self.expected.items()
        )
        yield from (f"ledger: {row} x {count} should not be there" for row, count in (ledger - wanted).items())
        yield from (f"ledger: {row} is missing" for row in wanted - ledger)
        rows = self.event_rows()
        told = Counter((row["event_id"], row["status"], row["rows_affected"]) for row in rows)
        want = Counter((event_id, each.status, each.rows_affected) for event_id, each in self.expected.items())
        yield from (f"events table: {row} x {count} should not be there" for row, count in (told - want).items())
        yield from (f"events table: {row} is missing" for row in want - told)
        yield from (f"events table: {row} is not dated" for row in rows if row["processed_at"] is None)
        yield from (
            f"events table: {row} has no reason"
            for row in rows
            if (row["status"] == "completed") == bool(row["error_message"])
        )

    def _left_behind(self) -> Iterator[str]:
        yield from (f"staging table {name} is left" for (name,) in self.bench.staging_tables())
        for name in self.tables:
            ((object_id,),) = self.bench.sql(f"SELECT OBJECT_ID(N'{{s}}.{name}')")
            ((result,),) = self.bench.sql(
                "DECLARE @r int; "
                f"EXEC @r = sp_getapplock @Resource = N'bridge:{object_id}', @LockMode = 'Exclusive', "
                "@LockOwner = 'Session', @LockTimeout = 0; "
                f"IF @r >= 0 EXEC sp_releaseapplock @Resource = N'bridge:{object_id}', @LockOwner = 'Session'; "
                "SELECT @r AS r"
            )
            if result < 0:
                yield f"the lock of {name} is held"

    def _wrong_audit(self) -> Iterator[str]:
        said: Counter[tuple[str, str]] = Counter()
        for file in self.settings.bridge_audit_dir.glob("*.jsonl"):
            found = verify(file, None)
            if not found.whole:
                yield f"audit: {file.name}, line {found.line}: {found.reason}"
            lines = (json.loads(line) for line in file.read_text().splitlines())
            said.update((line["request_id"], line["outcome"]) for line in lines)
        for event_id, ending in self.expected.items():
            outcome = _LEDGER[ending.status]
            if outcome == "applied" and not said[event_id, "intent"]:
                yield f"audit: {event_id} was applied without an intent"
            if outcome == "applied" and said[event_id, "applied"] > 1:
                yield f"audit: {event_id} was applied {said[event_id, 'applied']} times"
            if outcome != "applied" and not said[event_id, outcome]:
                yield f"audit: {event_id} ended {outcome} without a line"


@contextmanager
def case(
    bench: SyncBench, number: int, folder: Path, tables: Mapping[str, Table], source_of: SourceOf
) -> Iterator[Case]:
    """Make a case's targets and its events table; drop both at the end."""
    folder.mkdir()
    name = f"{bench.settings.bridge_events_table}_{number}"
    settings = bench.settings.model_copy(update={"bridge_events_table": name, "bridge_audit_dir": folder / "audit"})
    made = Case(bench, settings, folder, dict(tables), source_of)
    composition.events_table(settings, bench.lakehouse).create()
    for table_name, table in tables.items():
        for batch in table.ddl(table_name):
            bench.sql(batch)
    try:
        yield made
    finally:
        for poller in made.pollers:
            poller.kill()
        for table_name, table in tables.items():
            bench.sql(f"DROP TABLE {{s}}.{table_name}")
            if table.traced:
                bench.sql(f"DROP TABLE {{s}}.seen_{table_name}")
        bench.lakehouse.execute(f"DROP TABLE IF EXISTS {name}")
