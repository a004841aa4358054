"""Whether what is staged is what was sent: all of it, each value as it was, each key once."""

from __future__ import annotations

from typing import Any

from sql_databricks_bridge.db import apply_statements
from sql_databricks_bridge.db.plan_parts import Statement
from sql_databricks_bridge.db.session import Row, Session, dynamic
from sql_databricks_bridge.errors import EventInvalid
from sql_databricks_bridge.models.applying import ApplyPlan
from sql_databricks_bridge.models.tables import TargetColumn

_SHOWN = 100


def check_staging(session: Session, plan: ApplyPlan) -> None:
    """`EventInvalid` unless every row sent is there, as it was sent, and every key has a value and is there once.

    Two keys are one where they are equal to the target's types and collations.
    """
    if plan.staging is None:
        return
    found = one_row(session, apply_statements.staged_checks(plan))
    if found["staged"] != plan.staging.rows:
        raise EventInvalid(
            f"bridge.{plan.staging.name} holds {found['staged']:,} rows, {plan.staging.rows:,} were sent.",
            hint="Somebody writes to the bridge's staging tables.",
        )
    for number, assembly in enumerate(apply_statements.may_change(plan)):
        if changed := found[f"changed{number}"]:
            example = one_row(session, apply_statements.changed_row(plan, assembly))
            raise EventInvalid(
                f"{changed:,} values of column {assembly.column.name!r} can't go into {assembly.column.sql_type} "
                f"as they are, such as {_shown(example['value'])}: SQL Server would keep something else.",
                hint="Write them as SQL Server does, see docs/values.md.",
            )
    if not plan.keys:
        return
    names = ", ".join(key.name for key in plan.keys)
    if found["without_key"]:
        example = one_row(session, apply_statements.null_key(plan))
        raise EventInvalid(
            f"{found['without_key']:,} rows of the source have NULL in their key ({names}), such as "
            f"{shown_key(plan.keys, example)}.",
            hint="Every row needs all of its primary_keys.",
        )
    if found["repeated"]:
        example = one_row(session, apply_statements.repeated_key(plan))
        raise EventInvalid(
            f"{found['repeated']:,} keys ({names}) stand in several rows of the source, such as "
            f"{shown_key(plan.keys, example)}, {example['copies']:,} times.",
            hint="To the target's types and collation they are one key: letter case and trailing blanks may not count.",
        )


def one_row(session: Session, statement: Statement) -> Row:
    """The only row that a statement answers."""
    (row,) = session.rows(*dynamic(statement.sql, statement.parameters))
    return row


def shown_key(keys: tuple[TargetColumn, ...], row: Row) -> str:
    """A key for people: 'id = 7, code = 'a ''."""
    return ", ".join(f"{key.name} = {_shown(row[f'k{number}'])}" for number, key in enumerate(keys))


def _shown(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        text = f"0x{value.hex().upper()}"
    else:
        text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
