"""What the targets must hold in the end: events applied to tables in Python, one after the other, each once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

Row = tuple[int, int, str]
"""id, n, note"""
Change = tuple[str, int, int, str]
"""'+' or '-', then the row that came or went"""

_COLUMNS = "id int NOT NULL{key}, n int NOT NULL, note nvarchar(40) NOT NULL"
_TRIGGER = """
CREATE TRIGGER {{s}}.tr_{name} ON {{s}}.{name} AFTER INSERT, UPDATE, DELETE AS
INSERT INTO {{s}}.seen_{name} (what, id, n, note)
SELECT N'-', id, n, note FROM deleted UNION ALL SELECT N'+', id, n, note FROM inserted"""


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `rows` are the source's (of a DELETE only their ids count); `note` is a DELETE's filter.

    `keys` says whether primary_keys is (id). An `operation` that there is none of is an invalid event.
    """

    event_id: str
    operation: str
    table: str
    rows: tuple[Row, ...] = ()
    keys: bool = False
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How an event must end; `rows_affected` is None unless it is completed."""

    status: str
    rows_affected: int | None = None


@dataclass(slots=True)
class Table:
    """A target. `keyed` ones have a primary key; `traced` ones write every change of a row down, by a trigger."""

    keyed: bool = True
    traced: bool = False
    rows: Counter[Row] = field(default_factory=Counter)
    changes: list[Counter[Change]] = field(default_factory=list)

    def ddl(self, name: str) -> list[str]:
        """The batches that make it, `{s}` for the schema, with the rows that it has."""
        columns = _COLUMNS.format(key=" PRIMARY KEY" if self.keyed else "")
        first = [f"CREATE TABLE {{s}}.{name} ({columns})"]
        if self.rows:
            values = ", ".join(f"({key}, {n}, N'{note}')" for key, n, note in sorted(self.rows.elements()))
            first.append(f"INSERT INTO {{s}}.{name} (id, n, note) VALUES {values}")
        if not self.traced:
            return ["; ".join(first)]
        seen = f"seq int IDENTITY(1,1) NOT NULL PRIMARY KEY, what nchar(1) NOT NULL, {_COLUMNS.format(key='')}"
        first.append(f"CREATE TABLE {{s}}.seen_{name} ({seen})")
        return ["; ".join(first), _TRIGGER.format(name=name)]

    def apply(self, event: Event, limit: int) -> Ending:
        """Apply an event as the bridge must; `limit` is max_delete_rows."""
        source = {row[0]: row for row in event.rows}
        there = {row[0] for row in self.rows}
        gone: list[Row] = []
        new: list[Row] = []
        if event.operation == "INSERT":
            if event.keys and there & source.keys():
                return Ending("failed")
            new = list(event.rows)
        elif event.operation == "DELETE":
            gone = [
                row
                for row in self.rows.elements()
                if (not event.keys or row[0] in source) and event.note in (None, row[2])
            ]
            if len(gone) > limit:
                return Ending("blocked")
        elif event.operation in ("UPDATE", "UPSERT"):
            gone = [row for row in self.rows.elements() if row[0] in source]
            new = [source[row[0]] for row in gone]
            if event.operation == "UPSERT":
                new += [row for key, row in source.items() if key not in there]
        else:
            return Ending("failed")
        self.rows.subtract(gone)
        self.rows.update(new)
        self.rows = +self.rows
        if self.traced and (gone or new):
            self.changes.append(Counter([("-", *row) for row in gone] + [("+", *row) for row in new]))
        return Ending("completed", len(new) or len(gone))

    def unlike(self, rows: Sequence[Row]) -> list[str]:
        """What is wrong with the rows that were found in it."""
        found = Counter(rows)
        problems = [f"{count} x {row} too many" for row, count in sorted((found - self.rows).items())]
        return problems + [f"{count} x {row} missing" for row, count in sorted((self.rows - found).items())]

    def unlike_changes(self, found: Sequence[Change]) -> list[str]:
        """What is wrong with the changes that the trigger saw, oldest first: one event's come in any order."""
        at = 0
        for number, expected in enumerate(self.changes):
            here = Counter(found[at : at + expected.total()])
            if here != expected:
                return [f"change {number}: {dict(here - expected)} instead of {dict(expected - here)}"]
            at += expected.total()
        return [f"changes beyond the last: {list(found[at:])[:5]}"] if found[at:] else []
