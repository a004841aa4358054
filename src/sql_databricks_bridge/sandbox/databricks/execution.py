"""What a running statement works with."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlglot import exp

from .catalog import UnityCatalog
from .delta import DeltaLogs
from .engine import Engine
from .names import Place, TableName
from .snapshots import Snapshots

if TYPE_CHECKING:
    from .writing import Writers


class Canceled(Exception):
    """The statement was told to stop while it waited."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a statement: its text (None is NULL) and the SQL type to cast it to."""

    value: str | None
    sql_type: str

    def column(self) -> Any:
        """As a bound value for a query."""
        from pyspark.sql import functions

        return functions.lit(self.value).cast(self.sql_type)

    def expression(self) -> exp.Expression:
        """As an expression for a command, which the engine runs without parameters.

        Text that an SQL literal would have to escape travels in hexadecimal.
        """
        if self.value is None:
            inner: exp.Expression = exp.Null()
        elif "'" in self.value or "\\" in self.value:
            inner = exp.cast(exp.HexString(this=self.value.encode().hex()), "STRING", dialect="spark")
        else:
            inner = exp.Literal.string(self.value)
        return exp.Cast(this=inner, to=exp.DataType.build(self.sql_type, dialect="spark"))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a statement answers: an Arrow schema and a stream of Arrow tables."""

    schema: Any
    tables: Iterator[Any]

    @classmethod
    def nothing(cls) -> Outcome:
        """No columns and no rows."""
        return cls(pa.schema([]), iter(()))


@dataclass(slots=True)
class Execution:
    """One statement on its way through the engine."""

    catalog: UnityCatalog
    engine: Engine
    logs: DeltaLogs
    snapshots: Snapshots
    writers: Writers
    began: int  # the writers' instant at which the statement was accepted
    place: Place
    parameters: dict[str, Parameter]
    tag: str
    canceled: threading.Event = field(default_factory=threading.Event)

    def query(self, sql: str) -> Outcome:
        """Run a query."""
        return Outcome(
            *self.engine.rows(sql, {name: each.column() for name, each in self.parameters.items()}, self.tag)
        )

    def command(self, sql: str) -> None:
        """Run a command."""
        if self.canceled.is_set():
            raise Canceled
        self.engine.run(sql, self.tag)

    def row_found(self, sql: str) -> bool:
        """Whether a query without parameters has a row."""
        _, tables = self.engine.rows(f"{sql} LIMIT 1", {}, self.tag)
        return any(table.num_rows for table in tables)

    def column_names(self, sql: str) -> list[str]:
        """The result columns of a query, without running it."""
        return self.engine.column_names(sql)

    @contextmanager
    def turn(self, names: Iterable[TableName]) -> Iterator[None]:
        """Hold the turn to change these tables."""
        with self.writers.turn(names, self.canceled):
            yield
