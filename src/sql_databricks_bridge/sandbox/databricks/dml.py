"""INSERT, UPDATE, DELETE, MERGE and TRUNCATE, counted from the Delta log.

Sources: Databricks SQL reference, the pages of these statements (result columns num_affected_rows and so on);
Databricks docs, "Selectively overwrite data with Delta Lake" and "Error conditions" (DELTA_REPLACE_WHERE_MISMATCH).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pyarrow as pa
from sqlglot import exp

from . import conflicts
from .completing import complete_assignment, complete_insert, complete_merge_insert, reads, renamed
from .delta import State
from .execution import Execution, Outcome
from .failures import SqlFailure, unsupported
from .names import TableName
from .nullsafe import add_equations
from .sqltext import full_name, make_exact, only, spark_sql
from .timetravel import travel
from .volumescans import file_path
from .writing import Work, turn_on

_SHOWN_PREDICATE = 1000  # characters


def insert(run: Execution, tree: exp.Insert) -> Outcome:
    """INSERT INTO and INSERT OVERWRITE."""
    only(tree, "this expression overwrite by_name where", "INSERT")
    target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    if not isinstance(target, exp.Table):
        raise unsupported("this target of an INSERT")
    only(target, "this db catalog", "INSERT")
    names = [each.name for each in tree.this.expressions] if isinstance(tree.this, exp.Schema) else None
    overwrite = bool(tree.args.get("overwrite"))
    if tree.args.get("where") is not None:
        return _replace_where(run, tree, target, names, overwrite=overwrite)
    with _turn(run, tree, target) as work:
        blind = not overwrite and not reads(tree.expression, work.name)

        def sql_for(name: TableName) -> str:
            return complete_insert(run, work, renamed(tree, work.name, name), names, overwrite, name)

        commits = work.commit(sql_for, blind=blind)
    added = sum(commit.rows_added if overwrite else commit.rows_gained for commit in commits)
    return _counts(num_affected_rows=added, num_inserted_rows=added)


def _replace_where(
    run: Execution, tree: exp.Insert, target: exp.Table, names: list[str] | None, *, overwrite: bool
) -> Outcome:
    """INSERT INTO t REPLACE WHERE predicate: rows that meet it go, the query's come, and those must meet it too."""
    if names is not None or overwrite:
        raise unsupported(f"REPLACE WHERE with {'OVERWRITE' if overwrite else 'a list of columns'}")
    predicate = tree.args["where"]
    if predicate.find(exp.Query) is not None:
        raise unsupported("REPLACE WHERE with a query in its predicate")
    with _turn(run, tree, target) as work:
        if reads(tree.expression, work.name):
            conflicts.refuse_other_changes(work, work.missed())
        table = exp.to_table(work.name.sql, dialect="databricks")
        misfits = exp.select("1").from_(table).where(exp.not_(exp.func("coalesce", predicate, exp.false())))
        # Not a DELETE: with a thousand literals in the predicate the engine takes minutes to plan it.
        delete = exp.merge(
            f"WHEN NOT MATCHED BY SOURCE AND ({spark_sql(predicate)}) THEN DELETE",
            into=table.copy(),
            using="(SELECT 1 AS `_none`) AS `_none`",
            on="`_none`.`_none` = 0",
            dialect="databricks",
        )
        state = run.logs.state(work.folder)
        empty = State(state.version, state.metadata, state.protocol)
        with run.snapshots.of_state(work.name, work.folder, empty, "coming") as coming:
            run.command(complete_insert(run, work, tree, None, False, coming.name))
            run.logs.tidy(coming.folder, 0)
            if run.row_found(spark_sql(renamed(misfits, work.name, coming.name))):
                raise _mismatch(predicate)
            come = run.logs.state(coming.folder)
            added = sum(come.rows(path) for path in come.files)
            parameters = {"mode": "Overwrite", "predicate": spark_sql(predicate)}
            work.exchange(lambda name: spark_sql(renamed(delete, work.name, name)), coming.folder, parameters)
    return _counts(num_affected_rows=added, num_inserted_rows=added)


def _mismatch(predicate: exp.Expression) -> SqlFailure:
    text = spark_sql(predicate)
    shown = text if len(text) <= _SHOWN_PREDICATE else f"{text[:_SHOWN_PREDICATE]}..."
    return SqlFailure(
        "DELTA_REPLACE_WHERE_MISMATCH.INVARIANT_VIOLATION",
        f"Written data does not conform to partial table overwrite condition or constraint '{shown}'. CHECK constraint "
        f"EXPRESSION({shown}) violated by a row.",
        "44000",
    )


def update(run: Execution, tree: exp.Update) -> Outcome:
    """UPDATE."""
    only(tree, "this expressions where", "UPDATE")
    with _turn(run, tree, tree.this) as work:
        for assignment in tree.expressions:
            complete_assignment(assignment, work.columns)
        commits = work.commit(lambda name: spark_sql(renamed(tree, work.name, name)))
    return _counts(num_affected_rows=sum(commit.metric("numUpdatedRows") for commit in commits))


def delete(run: Execution, tree: exp.Delete) -> Outcome:
    """DELETE FROM."""
    only(tree, "this where", "DELETE")
    with _turn(run, tree, tree.this) as work:
        commits = work.commit(lambda name: spark_sql(renamed(tree, work.name, name)))
    return _counts(num_affected_rows=-sum(commit.rows_gained for commit in commits))


def truncate(run: Execution, tree: exp.TruncateTable) -> Outcome:
    """TRUNCATE TABLE; answers no rows."""
    only(tree, "expressions", "TRUNCATE")
    if len(tree.expressions) != 1:
        raise unsupported("TRUNCATE of more than one table")
    with _turn(run, tree, tree.expressions[0]) as work:
        work.commit(lambda name: f"DELETE FROM {name.sql}")
    return Outcome.nothing()


def merge(run: Execution, tree: exp.Merge) -> Outcome:
    """MERGE INTO."""
    only(tree, "this using on whens", "MERGE")
    with _turn(run, tree, tree.this) as work:
        for when in tree.args["whens"].expressions:
            action = when.args["then"]
            if isinstance(action, exp.Update):
                for assignment in action.expressions:
                    complete_assignment(assignment, work.columns)
            elif isinstance(action, exp.Insert) and isinstance(action.this, exp.Tuple):
                complete_merge_insert(action, work.columns)
        add_equations(tree, work.columns)
        commits = work.commit(lambda name: spark_sql(renamed(tree, work.name, name)))
    inserted = sum(commit.metric("numTargetRowsInserted") for commit in commits)
    updated = sum(commit.metric("numTargetRowsUpdated") for commit in commits)
    deleted = sum(commit.metric("numTargetRowsDeleted") for commit in commits)
    if inserted - deleted != sum(commit.rows_gained for commit in commits):
        raise SqlFailure("SANDBOX_COUNT_MISMATCH", "The engine's MERGE counts contradict its own Delta log.", None)
    return _counts(
        num_affected_rows=inserted + updated + deleted,
        num_updated_rows=updated,
        num_deleted_rows=deleted,
        num_inserted_rows=inserted,
    )


@contextmanager
def _turn(run: Execution, tree: exp.Expression, target: exp.Expression) -> Iterator[Work]:
    """The turn on the statement's target; the names in the tree are exact from here on."""
    if not isinstance(target, exp.Table):
        raise unsupported("this target of the statement")
    only(target, "this db catalog alias", "a changed table")
    if file_path(target) is not None:
        raise unsupported("changes to files instead of a table")
    name = full_name(target, run.place)
    make_exact(tree, run.place, run.catalog, partial(travel, run, target=name))
    with turn_on(run, name) as work:
        yield work


def _counts(**counts: int) -> Outcome:
    table = pa.table({name: pa.array([count], pa.int64()) for name, count in counts.items()})
    return Outcome(table.schema, iter([table]))


Handler = Callable[[Execution, Any], Outcome]
HANDLERS: dict[type[exp.Expression], Handler] = {
    exp.Insert: insert,
    exp.Update: update,
    exp.Delete: delete,
    exp.Merge: merge,
    exp.TruncateTable: truncate,
}
