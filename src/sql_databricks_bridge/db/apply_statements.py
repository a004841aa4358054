"""The T-SQL of one event, from its plan: checks of the staged keys, the statement that applies it, and its counts.

`t` is the target, `s` the staging table, see `plan_parts`. Names are quoted, values are bound.
A statement's count is taken right behind it, since any other statement resets it; result sets that triggers send are
told apart by the first column's name.
"""

from __future__ import annotations

from collections.abc import Sequence

from sql_databricks_bridge.db.assembling import shown, unfaithful
from sql_databricks_bridge.db.identifiers import sql_server_identifier
from sql_databricks_bridge.db.plan_parts import (
    Statement,
    conditions_of,
    loaded_table,
    require,
    same_key,
    staged_rows,
    target_table,
)
from sql_databricks_bridge.models.applying import ApplyPlan, Assembly, OnConflict
from sql_databricks_bridge.models.events import Operation
from sql_databricks_bridge.models.jobs import BoundParameter
from sql_databricks_bridge.models.tables import Target, TargetColumn

COUNTED, CAUGHT = "bridge_updated", "bridge_error"
"""First columns of the two result sets that `guarded` may end with."""
_LOCKED = "WITH (UPDLOCK, HOLDLOCK)"


def staged_checks(plan: ApplyPlan) -> Statement:
    """One row: `staged` rows, those `without_key` (a NULL in it), and the number of keys that are `repeated`.

    For each of `may_change`: `changed0`, `changed1`, ... rows that SQL Server can't keep as they were staged.
    """
    table = staged_rows(plan)
    parts = [f"(SELECT COUNT_BIG(*) FROM {loaded_table(plan)} AS s) AS staged"]
    for number, assembly in enumerate(may_change(plan)):
        parts.append(
            f"(SELECT COUNT_BIG(*) FROM {loaded_table(plan)} AS r WHERE {unfaithful(assembly)}) AS changed{number}"
        )
    if plan.keys:
        nulls, listed = _any_null(plan.keys), _listed(plan.keys, "s")
        parts.append(f"(SELECT COUNT_BIG(*) FROM {table} AS s WHERE {nulls}) AS without_key")
        parts.append(
            f"(SELECT COUNT_BIG(*) FROM (SELECT 1 AS one FROM {table} AS s WHERE NOT ({nulls}) GROUP BY {listed} "
            "HAVING COUNT_BIG(*) > 1) AS d) AS repeated"
        )
    return Statement(f"SELECT {', '.join(parts)}")


def may_change(plan: ApplyPlan) -> tuple[Assembly, ...]:
    """The columns that SQL Server may put together otherwise than they were staged."""
    staging = plan.staging
    return () if staging is None else tuple(found for found in staging.assemblies if unfaithful(found) is not None)


def changed_row(plan: ApplyPlan, assembly: Assembly) -> Statement:
    """One row: the `value` of a staged row that SQL Server can't keep, as text."""
    return Statement(
        f"SELECT TOP (1) {shown(assembly)} AS value FROM {loaded_table(plan)} AS r WHERE {unfaithful(assembly)}"
    )


def null_key(plan: ApplyPlan) -> Statement:
    """One row: a staged key with a NULL in it, its columns as k0, k1, ..."""
    return Statement(
        f"SELECT TOP (1) {_named(plan.keys, 's')} FROM {staged_rows(plan)} AS s WHERE {_any_null(plan.keys)}"
    )


def repeated_key(plan: ApplyPlan) -> Statement:
    """One row: the first staged key that stands there twice or more, as k0, k1, ..., and how often (`copies`)."""
    listed = _listed(plan.keys, "s")
    return Statement(
        f"SELECT TOP (1) {_named(plan.keys, 's')}, COUNT_BIG(*) AS copies FROM {staged_rows(plan)} AS s "
        f"WHERE NOT ({_any_null(plan.keys)}) GROUP BY {listed} HAVING COUNT_BIG(*) > 1 ORDER BY {listed}"
    )


def existing_count(plan: ApplyPlan) -> Statement:
    """One row: how many staged keys are in the target (`existing`), which nobody can add to before the commit."""
    return Statement(
        f"SELECT COUNT_BIG(*) AS existing FROM {staged_rows(plan)} AS s WHERE EXISTS "
        f"(SELECT 1 FROM {target_table(plan)} AS t {_LOCKED} WHERE {same_key(plan.keys)})"
    )


def existing_key(plan: ApplyPlan) -> Statement:
    """One row: a staged key that is in the target, as k0, k1, ..."""
    return Statement(
        f"SELECT TOP (1) {_named(plan.keys, 's')} FROM {staged_rows(plan)} AS s WHERE EXISTS "
        f"(SELECT 1 FROM {target_table(plan)} AS t WHERE {same_key(plan.keys)}) ORDER BY {_listed(plan.keys, 's')}"
    )


def matching(plan: ApplyPlan) -> Statement | None:
    """One row: how many rows of the target the staged keys and the filters name; None where the plan names none."""
    conditions, parameters = conditions_of(plan.filters)
    if plan.keys:
        conditions.insert(0, f"EXISTS (SELECT 1 FROM {staged_rows(plan)} AS s WHERE {same_key(plan.keys)})")
    if not conditions:
        return None
    return Statement(
        f"SELECT COUNT_BIG(*) AS matching FROM {target_table(plan)} AS t WHERE {' AND '.join(conditions)}", parameters
    )


def applying(plan: ApplyPlan) -> Statement:
    """The event's statement. It answers one row: COUNTED, `inserted`, `deleted`, `open_transactions`; or CAUGHT, ...

    `EventInvalid` for a plan that would change more than it names.
    """
    parameters: tuple[BoundParameter, ...] = ()
    match plan.operation, plan.on_conflict:
        case Operation.DELETE, _:
            steps, parameters = _delete(plan)
        case Operation.UPDATE, _:
            steps = [_update(plan)]
        case (Operation.UPSERT, _) | (Operation.INSERT, OnConflict.UPDATE):
            steps = [_update(plan, _LOCKED)] if plan.updates else []
            steps.append(_insert(plan, missing_only=True))
        case Operation.INSERT, OnConflict.SKIP:
            steps = [_insert(plan, missing_only=True)]
        case _:
            steps = [_insert(plan, missing_only=False)]
    body = "\n".join(steps)
    if plan.keep_identity and plan.operation in (Operation.INSERT, Operation.UPSERT):
        body = f"{identity_insert(plan.target, on=True)}\n{body}\n{identity_insert(plan.target, on=False)}"
    return Statement(_guarded(body), parameters)


def identity_insert(target: Target, *, on: bool) -> str:
    """The statement that lets this session write the target's identity column, or no longer."""
    return f"SET IDENTITY_INSERT {sql_server_identifier(target.schema, target.name)} {'ON' if on else 'OFF'};"


def _guarded(body: str) -> str:
    """Run it; end with its counts, or with the error, the transaction rolled back: it could not be committed anyway."""
    return f"""
DECLARE @updated bigint = 0, @inserted bigint = 0, @deleted bigint = 0;
BEGIN TRY
{body}
SELECT @updated AS {COUNTED}, @inserted AS inserted, @deleted AS deleted, @@TRANCOUNT AS open_transactions;
END TRY
BEGIN CATCH
IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION;
SELECT ERROR_NUMBER() AS {CAUGHT}, ERROR_MESSAGE() AS message, ERROR_PROCEDURE() AS place;
END CATCH
"""


def _insert(plan: ApplyPlan, *, missing_only: bool) -> str:
    require(plan, bool(plan.inserts), "it fills no column")
    columns = ", ".join(sql_server_identifier(column.name) for column in plan.inserts)
    rows = f"SELECT {_listed(plan.inserts, 's')} FROM {staged_rows(plan)} AS s"
    sql = f"INSERT INTO {target_table(plan)} ({columns}) {rows}"
    if missing_only:
        require(plan, bool(plan.keys), "it has no keys")
        sql += f" WHERE NOT EXISTS (SELECT 1 FROM {target_table(plan)} AS t {_LOCKED} WHERE {same_key(plan.keys)})"
    return f"{sql};\nSET @inserted = ROWCOUNT_BIG();"


def _update(plan: ApplyPlan, hint: str = "") -> str:
    require(plan, bool(plan.keys), "it has no keys")
    require(plan, bool(plan.updates), "it changes no column")
    names = [sql_server_identifier(column.name) for column in plan.updates]
    changes = ", ".join(f"t.{name} = s.{name}" for name in names)
    target = f"{target_table(plan)} AS t {hint}".rstrip()
    return (
        f"UPDATE t SET {changes} FROM {target} INNER JOIN {staged_rows(plan)} AS s ON {same_key(plan.keys)};\n"
        "SET @updated = ROWCOUNT_BIG();"
    )


def _delete(plan: ApplyPlan) -> tuple[list[str], tuple[BoundParameter, ...]]:
    conditions, parameters = conditions_of(plan.filters)
    if plan.keys:
        conditions.insert(0, f"EXISTS (SELECT 1 FROM {staged_rows(plan)} AS s WHERE {same_key(plan.keys)})")
    require(plan, bool(conditions), "it names no rows: neither keys nor filter_conditions")
    where = " AND ".join(conditions)
    return [f"DELETE t FROM {target_table(plan)} AS t WHERE {where};\nSET @deleted = ROWCOUNT_BIG();"], parameters


def _listed(columns: Sequence[TargetColumn], alias: str) -> str:
    return ", ".join(f"{alias}.{sql_server_identifier(column.name)}" for column in columns)


def _named(columns: Sequence[TargetColumn], alias: str) -> str:
    return ", ".join(
        f"{alias}.{sql_server_identifier(column.name)} AS k{number}" for number, column in enumerate(columns)
    )


def _any_null(keys: Sequence[TargetColumn]) -> str:
    return " OR ".join(f"s.{sql_server_identifier(key.name)} IS NULL" for key in keys)
