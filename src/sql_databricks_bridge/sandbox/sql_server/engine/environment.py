"""What binding needs to know of the session: variables, options, the clock, the catalog."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..contract import SqlType
from .bound import Ex
from .errors import error
from .query_nodes import Query
from .table import Table
from .types import STRINGS
from .values import literal


@dataclass(slots=True)
class Variable:
    """A T-SQL variable; `value` in contract.py's physical form as Python."""

    name: str
    type: SqlType
    value: Any = None


@dataclass(slots=True)
class CaughtError:
    """What ERROR_NUMBER() and its like report inside CATCH."""

    number: int
    text: str
    severity: int
    state: int
    line: int
    procedure: str = ""


@dataclass(slots=True)
class ViewDefinition:
    """A view to be bound where it is named, in its own database."""

    name: str
    database: str
    schema: str
    query: Query
    columns: tuple[str, ...]


def _no_view(_parts: tuple[str, ...]) -> ViewDefinition | None:
    return None


def _untracked(_table: Table) -> bool | None:
    return None


@dataclass(slots=True)
class Environment:
    """One statement's view of the session."""

    database: str
    lookup: Callable[[tuple[str, ...], int], Table]
    system_view: Callable[[tuple[str, ...]], tuple[str, list[Any]] | None]
    functions: Callable[[str, list[Any], int], Ex | None]
    variables: dict[str, Variable] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)  # table variables
    globals: dict[str, Callable[[], Ex]] = field(default_factory=dict)
    caught: CaughtError | None = None
    dateformat: str = "mdy"
    datefirst: int = 7
    now: datetime.datetime = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
    nanos100: int = 0  # the hundreds of ns below `now`'s microsecond
    describe: Callable[[str, str | None], tuple[str, list[tuple[str, SqlType]]]] | None = None
    used_tables: list[Table] = field(default_factory=list)
    locks: list[tuple[Table, str]] = field(default_factory=list)  # tables to lock first, with PostgreSQL's mode
    pseudo: dict[str, Table] = field(default_factory=dict)  # a trigger's inserted and deleted
    pseudo_gone: bool = False  # they went with the transaction that the trigger rolled back
    updated: Callable[[str], bool] | None = None  # UPDATE(column) in a trigger
    view: Callable[[tuple[str, ...]], ViewDefinition | None] = _no_view
    view_depth: int = 0
    row_version: int | None = None  # MIN_ACTIVE_ROWVERSION(), where it had to be asked for beforehand
    tracked: Callable[[Table], bool | None] = _untracked  # change tracking: None is off, else whether columns are
    captured: Callable[[Any, list[Ex], str], tuple[str, list[Any]] | None] = lambda _node, _args, _alias: None
    merge_action: Ex | None = None  # what $action is in OUTPUT
    parallel: bool = False  # the statement computes enough for PostgreSQL's parallel workers
    aliases: int = 0

    def alias(self, prefix: str = "a") -> str:
        """A fresh PostgreSQL name."""
        self.aliases += 1
        return f"{prefix}{self.aliases}"

    def variable(self, name: str, line: int) -> Ex:
        """A variable's value as a literal, or Msg 137."""
        v = self.variables.get(name.lower())
        if v is None:
            raise error(137, f'Must declare the scalar variable "{name}".', severity=15, state=2, line=line)
        constant = v.value if v.type.name in STRINGS and isinstance(v.value, str) else None
        return Ex(literal(v.type, v.value), v.type, True, constant=constant)

    @property
    def now_ticks(self) -> int:
        """The statement's time, UTC, in 100 ns since 0001-01-01."""
        delta = self.now - datetime.datetime(1, 1, 1, tzinfo=datetime.UTC)
        return (delta.days * 86400 + delta.seconds) * 10_000_000 + delta.microseconds * 10 + self.nanos100
