"""What the statements of a plan are made of: its two tables, its key, its filters.

`t` is the target, `s` the staging table with what is staged in parts put together.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass

from sql_databricks_bridge.core.types import SqlServerType
from sql_databricks_bridge.db.assembling import assembled
from sql_databricks_bridge.db.identifiers import sql_server_identifier
from sql_databricks_bridge.db.staging import STAGING_SCHEMA, collation
from sql_databricks_bridge.errors import EventInvalid
from sql_databricks_bridge.models.applying import ApplyPlan, Filter
from sql_databricks_bridge.models.jobs import BoundParameter
from sql_databricks_bridge.models.tables import TargetColumn

_WIDEST = {"char": "varchar", "varchar": "varchar", "nchar": "nvarchar", "nvarchar": "nvarchar"}
_WIDEST_BYTES = 8_000


@dataclass(frozen=True, slots=True)
class Statement:
    """A batch and its parameters."""

    sql: str
    parameters: tuple[BoundParameter, ...] = ()


def target_table(plan: ApplyPlan) -> str:
    """The target's quoted name."""
    return sql_server_identifier(plan.target.schema, plan.target.name)


def staged_rows(plan: ApplyPlan) -> str:
    """What gives the staged rows in the target's columns, those that came in parts put together."""
    table = loaded_table(plan)
    assert plan.staging is not None  # as `loaded_table` has seen
    return assembled(table, plan.staging.columns, plan.staging.assemblies)


def loaded_table(plan: ApplyPlan) -> str:
    """The staging table's quoted name; `EventInvalid` where nothing is staged."""
    require(plan, plan.staging is not None, "nothing is staged")
    assert plan.staging is not None
    return sql_server_identifier(STAGING_SCHEMA, plan.staging.name)


def same_key(keys: Sequence[TargetColumn]) -> str:
    """The condition that `t` and `s` have one key, to the target's types and collations."""
    names = [sql_server_identifier(key.name) for key in keys]
    return " AND ".join(f"t.{name} = s.{name}" for name in names)


def conditions_of(filters: Sequence[Filter]) -> tuple[list[str], tuple[BoundParameter, ...]]:
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


def require(plan: ApplyPlan, holds: bool, problem: str) -> None:
    """The planner's job, looked at again where an oversight would cost data."""
    if not holds:
        raise EventInvalid(f"{plan.operation} into {plan.target} can't be applied: {problem}.")


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
