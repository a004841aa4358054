"""Constraint violations by SQL Server's numbers: 2627, 2601, 547, 515, with the names that users gave."""

from __future__ import annotations

from collections.abc import Callable

from ..contract import SqlError
from .errors import PgFailure, error
from .table import Table

Lookup = Callable[[int], Table | None]


def translate_constraint(failure: PgFailure, verb: str, lookup: Lookup) -> SqlError | None:
    """The error for a violated constraint, None if `failure` is something else. `lookup` finds a table by its id."""
    if failure.sqlstate not in ("23505", "23503", "23514", "23502"):
        return None
    number = failure.table[1:]
    table = lookup(int(number)) if number.isdigit() else None
    if table is None:
        return None
    if failure.sqlstate == "23502":
        pg = failure.text.split('"')[1] if '"' in failure.text else ""
        column = next((c.name for c in table.columns if c.pg == pg), pg)
        return error(
            515,
            f"Cannot insert the value NULL into column '{column}', table '{table.full_name}'; column does not "
            f"allow nulls. "
            f"{verb} fails.",
            state=2,
        )
    if failure.sqlstate == "23505":
        return _duplicate(failure, table)
    if failure.sqlstate == "23514":
        return _check(failure, table, verb)
    return _reference(failure, table, verb, lookup)


def _duplicate(failure: PgFailure, table: Table) -> SqlError:
    index = next((i for i in table.indexes if i.pg == failure.constraint), None)
    _, _, rest = failure.detail.partition(")=(")
    key = rest.rpartition(")")[0]
    value = f" The duplicate key value is ({key})." if rest else ""
    name = index.name if index else failure.constraint
    where = f"{table.schema}.{table.name}"
    if index is not None and not index.constraint:
        return error(
            2601, f"Cannot insert duplicate key row in object '{where}' with unique index '{name}'.{value}", severity=14
        )
    kind = "PRIMARY KEY" if index is not None and index.primary else "UNIQUE KEY"
    text = f"Violation of {kind} constraint '{name}'. Cannot insert duplicate key in object '{where}'.{value}"
    return error(2627, text, severity=14)


def _check(failure: PgFailure, table: Table, verb: str) -> SqlError:
    if failure.constraint.startswith("ty"):
        return error(220, "Arithmetic overflow error for data type tinyint.", state=2)
    check = next((c for c in table.checks if c.pg == failure.constraint), None)
    column = f", column '{check.column}'" if check is not None and check.column else ""
    return error(
        547,
        f"The {verb} statement conflicted with the CHECK constraint "
        f'"{check.name if check else failure.constraint}". The conflict '
        f'occurred in database "{table.database}", table "{table.schema}.{table.name}"{column}.',
        state=0,
    )


def _reference(failure: PgFailure, table: Table, verb: str, lookup: Lookup) -> SqlError:
    key = next((k for k in table.foreign_keys if k.pg == failure.constraint), None)
    child = "still referenced" in failure.detail
    if key is None:
        return error(547, f"The {verb} statement conflicted with a FOREIGN KEY constraint.", state=0)
    if child:
        place, column, kind = table, key.columns, "REFERENCE"
    else:
        place, column, kind = lookup(key.target_id) or table, key.target_columns, "FOREIGN KEY"
    if table.id == key.target_id:
        kind = "SAME TABLE REFERENCE" if child else "FOREIGN KEY SAME TABLE"
    named = f", column '{column[0]}'" if len(column) == 1 else ""
    return error(
        547,
        f'The {verb} statement conflicted with the {kind} constraint "{key.name}". The conflict occurred in database '
        f'"{place.database}", table "{place.schema}.{place.name}"{named}.',
        state=0,
    )
