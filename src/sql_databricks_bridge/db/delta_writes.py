"""Writing to Delta tables that others write to as well: conflicts, what a statement changed, what its failure means."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sql_databricks_bridge.db.databricks_errors import condition, words
from sql_databricks_bridge.db.identifiers import databricks_identifier
from sql_databricks_bridge.errors import (
    LakehouseNotFound,
    LakehouseSignInError,
    LakehouseUnavailable,
    StatementFailed,
)
from sql_databricks_bridge.models.tables import SourceName

if TYPE_CHECKING:
    import pyarrow as pa

    from sql_databricks_bridge.db.statements import Warehouse

NO_CATALOG = "NO_SUCH_CATALOG_EXCEPTION"
NO_SCHEMA = "SCHEMA_NOT_FOUND"
MISSING = ("TABLE_OR_VIEW_NOT_FOUND", NO_SCHEMA, NO_CATALOG)
"""Error conditions of a table that is not there, or in a place that is not."""

_CONFLICT = "2D521"  # SQLSTATE class of Delta's transaction conflicts: somebody else committed first
NOT_PERMITTED = "42501"
_RETRIES = 8
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0


def write(
    warehouse: Callable[[], Warehouse], statement: str, parameters: Mapping[str, str | None], what: str
) -> pa.Table:
    """Run a statement that is harmless twice; again, after a random pause, where another writer came first.

    What it read before, a fence above all, it reads again each time. `LakehouseUnavailable` where that never ends.
    """
    for retry in range(_RETRIES + 1):
        if retry:
            time.sleep(random.uniform(0, min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**retry)))
        try:
            return warehouse().execute(statement, parameters, what)
        except StatementFailed as failure:
            if failure.sqlstate != _CONFLICT:
                raise
            conflict = failure
    raise LakehouseUnavailable(
        f"{what}: other writers of the table came first {_RETRIES + 1} times: {words(conflict)}.",
        hint="Try again later; look for jobs that rewrite the table all the time.",
    ) from conflict


def create(warehouse: Callable[[], Warehouse], statement: str, table: SourceName, what: str) -> None:
    """Run a CREATE TABLE IF NOT EXISTS, and make the table's schema first where that is what is missing."""
    try:
        write(warehouse, statement, {}, what)
    except StatementFailed as failure:
        if condition(failure) not in (NO_SCHEMA, NO_CATALOG):
            raise
        write(warehouse, f"CREATE SCHEMA IF NOT EXISTS {databricks_identifier(table.catalog, table.schema)}", {}, what)
        write(warehouse, statement, {}, what)


def count(counts: pa.Table, name: str) -> int:
    """A count of the statement's result, such as num_inserted_rows; 0 where it tells none."""
    values = counts[name].to_pylist() if name in counts.column_names else []
    return int(values[0] or 0) if values else 0


@contextmanager
def explained(what: str, table: SourceName, *, named_by: str) -> Iterator[None]:
    """Tell what a failed statement says about a table's place or about privileges; `named_by` is where it is set."""
    try:
        yield
    except StatementFailed as failure:
        named = condition(failure)
        if named in (NO_SCHEMA, NO_CATALOG):
            missing = f"catalog {table.catalog}" if named == NO_CATALOG else f"schema {table.catalog}.{table.schema}"
            raise LakehouseNotFound(
                f"{what}: there is no {missing}.", hint=f"Create it, or name another one {named_by}."
            ) from failure
        if failure.sqlstate == NOT_PERMITTED:
            raise LakehouseSignInError(
                f"{what}: not permitted: {words(failure)}.",
                hint="The bridge's identity needs SELECT, MODIFY and CREATE TABLE on the schemas of the published "
                "tables and of the table of states, and READ VOLUME on the volume.",
            ) from failure
        raise
