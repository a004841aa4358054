"""The T-SQL of one event, from its plan: checks of the staged keys, the statement that applies it, and its counts.

`t` is the target, `s` the staging table with what is staged in parts put together. Names are quoted, values are bound.
A statement's count is taken right behind it, since any other statement resets it; result sets that triggers send are
told apart by the first column's name.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass

from sql_databricks_bridge.core.types import SqlServerType
from sql_databricks_bridge.db.assembling import assembled, shown, unfaithful
from sql_databricks_bridge.db.identifiers import sql_server_identifier
from sql_databricks_bridge.db.staging import STAGING_SCHEMA, collation
from sql_databricks_bridge.errors import EventInvalid
from sql_databricks_bridge.models.applying import ApplyPlan, Assembly, Filter, OnConflict
from sql_databricks_bridge.models.events import Operation
from sql_databricks_bridge.models.jobs import BoundParameter
from sql_databricks_bridge.models.tables import Target, TargetColumn

COUNTED, CAUGHT = "bridge_updated", "bridge_error"
"""First columns of the two result sets that `guarded` may end with."""
_LOCKED = "WITH (UPDLOCK, HOLDLOCK)"
_WIDEST = {"char": "varchar", "varchar": "varchar", "nchar": "nvarchar", "nvarchar": "nvarchar"}
_WIDEST_BYTES = 8_000


@dataclass(frozen=True, slots=True)
class Statement:
    """A batch and its parameters."""

    sql: str
    parameters: tuple[BoundParameter, ...] = ()


def staged_checks(plan: ApplyPlan) -> Statement:
    """One row: `staged` rows, those `without_key` (a NULL in it), and the number of keys that are `repeated`.

    For each of `may_change`: `changed0`, `changed1`, ... rows that SQL Server can't keep as they were staged.
    """
    table = _staging(plan)
    parts = [f"(SELECT COUNT_BIG(*) FROM {_loaded(plan)} AS s) AS staged"]
    for number, assembly in enumerate(may_change(plan)):
        parts.append(f"(SELECT COUNT_BIG(*) FROM {_loaded(plan)} AS r WHERE {unfaithful(assembly)}) AS changed{number}")
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
        f"SELECT TOP (1) {shown(assembly)} AS value FROM {_loaded(plan)} AS r WHERE {unfaithful(assembly)}"
    )


def null_key(plan: ApplyPlan) -> Statement:
    """One row: a staged key with a NULL in it, its columns as k0, k1, ..."""
    return Statement(f"SELECT TOP (1) {_named(plan.keys, 's')} FROM {_staging(plan)} AS s WHERE {_any_null(plan.keys)}")


def repeated_key(plan: ApplyPlan) -> Statement:
    """One row: the first staged key that stands there twice or more, as k0, k1, ..., and how often (`copies`)."""
    listed = _listed(plan.keys, "s")
    return Statement(
        f"SELECT TOP (1) {_named(plan.keys, 's')}, COUNT_BIG(*) AS copies FROM {_staging(plan)} AS s "
        f"WHERE NOT ({_any_null(plan.keys)}) GROUP BY {listed} HAVING COUNT_BIG(*) > 1 ORDER BY {listed}"
    )


def existing_count(plan: ApplyPlan) -> Statement:
    """One row: how many staged keys are in the target (`existing`), which nobody can add to before the commit."""
    return Statement(
        f"SELECT COUNT_BIG(*) AS existing FROM {_staging(plan)} AS s WHERE EXISTS "
        f"(SELECT 1 FROM {_target(plan)} AS t {_LOCKED} WHERE {_same_key(plan.keys)})"
    )


def existing_key(plan: ApplyPlan) -> Statement:
    """One row: a staged key that is in the target, as k0, k1, ..."""
    return Statement(
        f"SELECT TOP (1) {_named(plan.keys, 's')} FROM {_staging(plan)} AS s WHERE EXISTS "
        f"(SELECT 1 FROM {_target(plan)} AS t WHERE {_same_key(plan.keys)}) ORDER BY {_listed(plan.keys, 's')}"
    )


def matching(plan: ApplyPlan) -> Statement | None:
    """One row: how many rows of the target the staged keys and the filters name; None where the plan names none."""
    conditions, parameters = _filters(plan.filters)
    if plan.keys:
        conditions.insert(0, f"EXISTS (SELECT 1 FROM {_staging(plan)} AS s WHERE {_same_key(plan.keys)})")
    if not conditions:
        return None
    return Statement(
        f"SELECT COUNT_BIG(*) AS matching FROM {_target(plan)} AS t WHERE {' AND '.join(conditions)}", parameters
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
    _require(plan, bool(plan.inserts), "it fills no column")
    columns = ", ".join(sql_server_identifier(column.name) for column in plan.inserts)
    sql = f"INSERT INTO {_target(plan)} ({columns}) SELECT {_listed(plan.inserts, 's')} FROM {_staging(plan)} AS s"
    if missing_only:
        _require(plan, bool(plan.keys), "it has no keys")
        sql += f" WHERE NOT EXISTS (SELECT 1 FROM {_target(plan)} AS t {_LOCKED} WHERE {_same_key(plan.keys)})"
    return f"{sql};\nSET @inserted = ROWCOUNT_BIG();"


def _update(plan: ApplyPlan, hint: str = "") -> str:
    _require(plan, bool(plan.keys), "it has no keys")
    _require(plan, bool(plan.updates), "it changes no column")
    names = [sql_server_identifier(column.name) for column in plan.updates]
    changes = ", ".join(f"t.{name} = s.{name}" for name in names)
    target = f"{_target(plan)} AS t {hint}".rstrip()
    return (
        f"UPDATE t SET {changes} FROM {target} INNER JOIN {_staging(plan)} AS s ON {_same_key(plan.keys)};\n"
        "SET @updated = ROWCOUNT_BIG();"
    )


def _delete(plan: ApplyPlan) -> tuple[list[str], tuple[BoundParameter, ...]]:
    conditions, parameters = _filters(plan.filters)
    if plan.keys:
        conditions.insert(0, f"EXISTS (SELECT 1 FROM {_staging(plan)} AS s WHERE {_same_key(plan.keys)})")
    _require(plan, bool(conditions), "it names no rows: neither keys nor filter_conditions")
    where = " AND ".join(conditions)
    return [f"DELETE t FROM {_target(plan)} AS t WHERE {where};\nSET @deleted = ROWCOUNT_BIG();"], parameters


def _require(plan: ApplyPlan, holds: bool, problem: str) -> None:
    """The planner's job, looked at again where an oversight would cost data."""
    if not holds:
        raise EventInvalid(f"{plan.operation} into {plan.target} can't be applied: {problem}.")


def _filters(filters: Sequence[Filter]) -> tuple[list[str], tuple[BoundParameter, ...]]:
    """Conditions on `t`, and their parameters."""
    conditions, parameters = [], []
    for number, entry in enumerate(filters):
        column = f"t.{sql_server_identifier(entry.column.name)}"
        if entry.value is None:
            conditions.append(f"{column} IS NULL")
            continue
        conditions.append(f"{column} = {_operand(entry, f'@f{number}')}")
        parameters.append(BoundParameter(f"f{number}", _declared(entry), entry.value))
    return conditions, tuple(parameters)


def _coded(entry: Filter) -> bool:
    """Whether the value has characters whose bytes depend on the code page, which a varchar parameter takes from the
    database: where the column's is another, 'Ж' would arrive as '?', and find the rows that hold one.
    """
    name = SqlServerType.parse(entry.declaration).name
    return isinstance(entry.value, str) and name in ("char", "varchar") and not entry.value.isascii()


def _operand(entry: Filter, parameter: str) -> str:
    """The parameter as it is compared: of the column's own type, code page and collation."""
    if not _coded(entry) or entry.column.collation is None:
        return parameter
    assert isinstance(entry.value, str)
    # No code page needs more bytes for a character than UTF-8 does.
    size = _WIDEST_BYTES if len(entry.value.encode("utf-8", "surrogatepass")) <= _WIDEST_BYTES else "max"
    return f"CONVERT(varchar({size}), {parameter} COLLATE {collation(entry.column)})"


def _declared(entry: Filter) -> str:
    """Return a declaration that takes the value whole: a parameter cuts what is too long, and would match other rows.

    `EventInvalid` for text that the column's code page lacks: the server would look for its nearest likeness.
    """
    name = SqlServerType.parse(entry.declaration).name
    if isinstance(entry.value, bytes):
        return f"varbinary({_WIDEST_BYTES if len(entry.value) <= _WIDEST_BYTES else 'max'})"
    if not isinstance(entry.value, str) or name not in _WIDEST:
        return entry.declaration
    if name in ("char", "varchar") and not _encodable(entry.value, entry.column.code_page):
        raise EventInvalid(
            f"filter_conditions: column {entry.column.name!r} is {entry.column.sql_type} of code page "
            f"{entry.column.code_page}, which has not all characters of {entry.value[:100]!r}."
        )
    wide = "nvarchar" if _coded(entry) else _WIDEST[name]
    most = _WIDEST_BYTES if wide == "varchar" else _WIDEST_BYTES // 2
    length = len(entry.value.encode("utf-8" if wide == "varchar" else "utf-16-le", "surrogatepass"))
    return f"{wide}({most if length <= _WIDEST_BYTES else 'max'})"


def _encodable(text: str, code_page: int | None) -> bool:
    """Whether a code page has every character; one that Python does not know is the server's business."""
    name = "utf-8" if code_page == 65001 else f"cp{code_page}"
    try:
        codecs.lookup(name)
    except LookupError:
        return True
    try:
        text.encode(name)
    except UnicodeEncodeError:
        return False
    return True


def _target(plan: ApplyPlan) -> str:
    return sql_server_identifier(plan.target.schema, plan.target.name)


def _staging(plan: ApplyPlan) -> str:
    """What gives the staged rows in the target's columns."""
    table = _loaded(plan)
    assert plan.staging is not None  # as `_loaded` has seen
    return assembled(table, plan.staging.columns, plan.staging.assemblies)


def _loaded(plan: ApplyPlan) -> str:
    _require(plan, plan.staging is not None, "nothing is staged")
    assert plan.staging is not None
    return sql_server_identifier(STAGING_SCHEMA, plan.staging.name)


def _listed(columns: Sequence[TargetColumn], alias: str) -> str:
    return ", ".join(f"{alias}.{sql_server_identifier(column.name)}" for column in columns)


def _named(columns: Sequence[TargetColumn], alias: str) -> str:
    return ", ".join(
        f"{alias}.{sql_server_identifier(column.name)} AS k{number}" for number, column in enumerate(columns)
    )


def _any_null(keys: Sequence[TargetColumn]) -> str:
    return " OR ".join(f"s.{sql_server_identifier(key.name)} IS NULL" for key in keys)


def _same_key(keys: Sequence[TargetColumn]) -> str:
    names = [sql_server_identifier(key.name) for key in keys]
    return " AND ".join(f"t.{name} = s.{name}" for name in names)
