"""INSERT BULK: the rows by COPY, straight into the table where nothing has to be converted, else through a stage.

"INSERT BULK" is documented as the drivers' own; its options mean what BULK INSERT's do ("BULK INSERT (Transact-SQL)"):
CHECK and FOREIGN KEY constraints count only under CHECK_CONSTRAINTS, a NULL becomes the column's DEFAULT except under
KEEP_NULLS, and an identity column that is among the columns keeps the values sent.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from ..contract import BulkLoad, Done, Event, SqlError, SqlType
from . import bulkcopy, catalog
from . import nodes as n
from .bound import Ex
from .constraint_errors import translate_constraint
from .convert import assign
from .ddl import UNCHECKED, TableMaker
from .errors import PgFailure, error, unsupported
from .runner import Runner
from .session import Cancelled
from .table import Table, TableColumn
from .types import pg_type

if TYPE_CHECKING:
    from .session import EngineSession

_OPTIONS = frozenset({"KEEP_NULLS", "TABLOCK", "CHECK_CONSTRAINTS", "FIRE_TRIGGERS"})
_SLICE_BYTES = 8 << 20
"""How far padding may blow up one batch."""


def load_rows(session: EngineSession, load: BulkLoad) -> Iterator[Event]:
    """Load the rows, atomically: what fails leaves nothing of this batch."""
    announced = session.bulk
    session.bulk = None
    runner = Runner(session)
    try:
        if announced is None:
            raise error(4809, "There is no INSERT BULK to load into.")
        table, node = announced
        try:
            with runner.protected(atomic=True):
                rows = _Load(runner, table, node, load).run()
        except PgFailure as exc:
            from .dml import lookup

            raise (translate_constraint(exc, "INSERT", lookup(runner)) or session.fail(exc)) from exc
        session.rowcount = rows
        yield Done("INSERT BULK", rows)
    except Cancelled:
        return
    except SqlError as exc:
        if session.cancelled.is_set():
            return  # what a cancelled load fails with is its being cancelled
        session.last_error = exc.message.number
        yield exc.message
        yield Done("", None)


class _Load:
    """One load into one table."""

    def __init__(self, runner: Runner, table: Table, node: n.InsertBulk, load: BulkLoad) -> None:
        self.session = runner.session
        self.pg = runner.session.pg
        self.table = table
        self.options = set(node.options) - {","}
        if unknown := self.options - _OPTIONS:
            raise unsupported(f"INSERT BULK WITH ({', '.join(sorted(unknown))})")
        firing = any("INSERT" in trigger.events and not trigger.disabled for trigger in table.triggers)
        if firing and "FIRE_TRIGGERS" in self.options:
            raise unsupported("INSERT BULK WITH (FIRE_TRIGGERS) into a table that has a trigger for INSERT")
        self.load = load
        self.sources = [column.type for column in load.columns]
        self.targets = self._targets([name for name, _ in node.columns] or [column.name for column in load.columns])
        self.stage_types = [_staged(source) for source in self.sources]

    def _targets(self, names: list[str]) -> list[TableColumn]:
        if len(names) != len(self.sources):
            raise error(4816, "Invalid column type from bcp client: the columns are not those of INSERT BULK.")
        out: list[TableColumn] = []
        for name in names:
            column = self.table.column(name)
            if column is None:
                raise error(207, f"Invalid column name '{name}'.")
            if column in out:
                raise error(264, f"The column name '{name}' is specified more than once in the column list.")
            if column.read_only:
                raise unsupported(f"bulk copy into a column whose values the server makes ('{column.name}')")
            out.append(column)
        return out

    def run(self) -> int:
        """The rows loaded."""
        if "TABLOCK" in self.options:
            self.pg.run(f"LOCK TABLE {self.table.pg} IN SHARE ROW EXCLUSIVE MODE")
        unchecked = "CHECK_CONSTRAINTS" not in self.options and bool(self.table.checks or self.table.foreign_keys)
        if unchecked:
            self._refuse_old_checks()
            self._check(False)
        rows = self._copy() if self._as_is() else self._through_stage()
        if unchecked:
            self._check(True)
            self._distrust(rows)
        self._note_identity(rows)
        self._stop_if_cancelled()
        return rows

    # -- rows --------------------------------------------------------------------------------------------------------

    def _as_is(self) -> bool:
        """Whether the rows need no more than COPY."""
        defaults = [column for column in self.table.columns if column.default is not None]
        if any(column not in self.targets or "KEEP_NULLS" not in self.options for column in defaults):
            return False
        pairs = zip(self.sources, self.targets, strict=True)
        return all(bulkcopy.keeps_form(source, target.type) for source, target in pairs)

    def _copy(self) -> int:
        types = [column.type for column in self.targets]
        width = sum(bulkcopy.padded_width(each) for each in types)
        temporary = self.table.pg_schema == "pg_temp"
        return self._ingest(
            "" if temporary else self.table.pg_schema, self.table.pg_name, [c.pg for c in self.targets], types, width
        )

    def _through_stage(self) -> int:
        """COPY in the types that were sent, then INSERT with the conversions of an assignment."""
        names = [f"s{index}" for index in range(len(self.sources))]
        columns = ", ".join(f"{name} {pg_type(t)}" for name, t in zip(names, self.stage_types, strict=True))
        self.pg.run("DROP TABLE IF EXISTS pg_temp.bulk_stage")
        self.pg.run(f"CREATE TEMP TABLE bulk_stage ({columns}) ON COMMIT DROP")
        self._ingest("", "bulk_stage", names, self.stage_types, 0)
        maker = TableMaker(self.session)
        values = []
        for name, t, target in zip(names, self.stage_types, self.targets, strict=True):
            place = f"table '{self.table.full_name}', column '{target.name}'"
            sql = name if target.type.name == t.name == "xml" else assign(Ex(name, t, True), target.type, place).sql
            if target.default is not None and "KEEP_NULLS" not in self.options:
                sql = f"coalesce({sql}, {maker.default_sql(self.table, target)})"
            values.append(sql)
        missing = [c for c in self.table.columns if c not in self.targets and c.default is not None]
        values += [maker.default_sql(self.table, column) for column in missing]
        written = ", ".join(column.pg for column in [*self.targets, *missing])
        rows = self.pg.run(f"INSERT INTO {self.table.pg} ({written}) SELECT {', '.join(values)} FROM bulk_stage")
        self.pg.run("DROP TABLE bulk_stage")
        return rows

    def _ingest(self, schema: str, table: str, names: list[str], types: list[SqlType], padding: int) -> int:
        arrow = pa.schema(
            [pa.field(name, bulkcopy.copy_type(t)) for name, t in zip(names, self.stage_types, strict=True)]
        )
        rows = _Rows(self.load.batches, lambda batch: self._encoded(batch, types, arrow), padding)
        reader = pa.RecordBatchReader.from_batches(arrow, iter(rows))
        loaded = self.pg.ingest(schema, table, reader, temporary=not schema)
        self._stop_if_cancelled()
        if rows.failure is not None:
            raise rows.failure
        return loaded

    def _stop_if_cancelled(self) -> None:
        """PostgreSQL, told to stop, may have come to the end first."""
        if self.session.cancelled.is_set():
            raise Cancelled

    def _encoded(self, batch: pa.RecordBatch, types: list[SqlType], arrow: pa.Schema) -> pa.RecordBatch:
        self._stop_if_cancelled()
        arrays = [
            bulkcopy.encode(array, source, target, column.name)
            for array, source, target, column in zip(batch.columns, self.stage_types, types, self.targets, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=arrow)

    # -- constraints -------------------------------------------------------------------------------------------------

    def _check(self, on: bool) -> None:
        """Whether CHECK and FOREIGN KEY constraints hold for the rows; the savepoint or transaction undoes it too."""
        unchecked, role = ("", "origin") if on else ("on", "replica")
        self.pg.rows(
            f"SELECT set_config('{UNCHECKED}', '{unchecked}', true), "
            f"set_config('session_replication_role', '{role}', true)"
        )

    def _refuse_old_checks(self) -> None:
        """A data folder of an older version has CHECK constraints that can't be passed over."""
        names = ", ".join(f"'{check.pg}'" for check in self.table.checks)
        if names and self.pg.rows(
            f"SELECT 1 FROM pg_constraint WHERE conname IN ({names}) AND "
            f"strpos(pg_get_constraintdef(oid), '{UNCHECKED}') = 0"
        ):
            raise unsupported(
                f"a bulk load without CHECK_CONSTRAINTS into '{self.table.full_name}': an older version made its CHECK "
                "constraints (drop and add them again)"
            )

    def _distrust(self, rows: int) -> None:
        """Foreign keys that rows went past are no longer trusted (sys.foreign_keys says so)."""
        if rows and any(key.trusted for key in self.table.foreign_keys):
            current = catalog.table_by_id(self.pg, self.table.id)
            if current is not None:
                for key in current.foreign_keys:
                    key.trusted = False
                catalog.save_table(self.pg, current)

    def _note_identity(self, rows: int) -> None:
        """Identity values that were sent move the counter on, never back."""
        column = next((c for c in self.targets if c.identity is not None), None)
        if column is None or column.identity is None or not rows:
            return
        pick, beyond = ("max", ">") if column.identity[1] > 0 else ("min", "<")
        sequence = self.pg.rows(f"SELECT pg_get_serial_sequence('{self.table.pg}', '{column.pg}')")[0][0]
        self.pg.rows(
            f"SELECT setval('{sequence}', x.v) FROM (SELECT {pick}({column.pg})::int8 AS v FROM {self.table.pg}) x, "
            f"{sequence} s WHERE x.v {beyond} s.last_value OR (x.v = s.last_value AND NOT s.is_called)"
        )


def _staged(t: SqlType) -> SqlType:
    """The type under which a column is copied: fixed lengths as they were sent."""
    name = {"char": "varchar", "nchar": "nvarchar", "binary": "varbinary"}.get(t.name, t.name)
    return SqlType(name, t.length, t.precision, t.scale, t.collation)


class _Rows:
    """Encoded batches that end where the source fails: `failure` then holds why.

    It is kept until PostgreSQL has taken the rows before it, since a stream that raises would leave it amid its COPY.
    """

    def __init__(
        self, batches: Iterator[pa.RecordBatch], encode: Callable[[pa.RecordBatch], pa.RecordBatch], padding: int
    ) -> None:
        self._batches = batches
        self._encode = encode
        self._rows = max(1, _SLICE_BYTES // padding) if padding else sys.maxsize
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._batches:
                for start in range(0, batch.num_rows, self._rows):
                    yield self._encode(batch.slice(start, min(self._rows, batch.num_rows - start)))
        except Exception as exc:  # noqa: BLE001 (raised again when the COPY has ended)
            self.failure = exc
