"""UPDATE of unique keys: PostgreSQL looks for duplicates row by row, SQL Server when the statement is done.

`UPDATE t SET id = id + 1` is therefore refused where PostgreSQL stumbles over a row that would have moved too; what
would be a duplicate at the end is a violation in both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .ddl import key_expression
from .errors import PgFailure, unsupported
from .table import Table, TableColumn

if TYPE_CHECKING:
    from .runner import Runner


class KeyMove:
    """An UPDATE that sets columns of unique keys: `source` is its FROM, WHERE included, `alias` the table in it."""

    def __init__(self, table: Table, alias: str, sets: dict[str, str], source: str) -> None:
        self.table, self.alias, self.sets, self.source = table, alias, sets, source
        names = {c.name.lower() for c in table.columns if c.pg in sets}
        self.indexes = [i for i in table.indexes if i.unique and names & {name.lower() for name, _ in i.columns}]

    def explain(self, runner: Runner, failure: PgFailure) -> None:
        """Refuse, if `failure` is a duplicate that would not be there at the end of the statement."""
        if failure.sqlstate != "23505" or not any(i.pg == failure.constraint for i in self.indexes):
            return
        if all(i.filter is None and not self._repeats(runner, [c for c, _ in i.columns]) for i in self.indexes):
            raise unsupported("an UPDATE that moves unique keys from row to row of the same table") from failure

    def _repeats(self, runner: Runner, names: list[str]) -> bool:
        columns = [c for c in (self.table.column(name) for name in names) if c is not None]
        new = ", ".join(f"{self.sets.get(c.pg, f'{self.alias}.{c.pg}')} AS {c.pg}" for c in columns)
        keys = ", ".join(_key(c) for c in columns)
        moved = f"SELECT DISTINCT ON ({self.alias}.ctid) {self.alias}.ctid AS row, {new} {self.source}"
        rows = (
            f"WITH moved AS ({moved}) SELECT {keys} FROM moved UNION ALL SELECT {keys} FROM {self.table.pg} o "
            "WHERE NOT EXISTS (SELECT 1 FROM moved m WHERE m.row = o.ctid)"
        )
        grouped = ", ".join(f"q.{c.key_pg}" for c in columns)
        twice = f"SELECT 1 FROM ({rows}) q GROUP BY {grouped} HAVING count(*) > 1 LIMIT 1"
        return bool(runner.session.pg.rows(twice))


def _key(column: TableColumn) -> str:
    return f"{key_expression(column) if column.keyed else column.pg} AS {column.key_pg}"
