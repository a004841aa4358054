"""The statements that change data name no more rows than the event does."""

from __future__ import annotations

import pytest

from sql_databricks_bridge.db import apply_statements
from sql_databricks_bridge.db.plan_parts import Statement
from sql_databricks_bridge.errors import EventInvalid
from sql_databricks_bridge.models.applying import ApplyPlan, Filter
from sql_databricks_bridge.models.events import LedgerEntry, LedgerOutcome, Operation
from sql_databricks_bridge.models.tables import Target, TargetColumn

WORD = TargetColumn("word", "varchar(10)", nullable=False, collation="Cyrillic_General_CI_AS", code_page=1251)
UTF8 = TargetColumn(
    "word", "varchar(10)", nullable=False, collation="Latin1_General_100_CI_AS_SC_UTF8", code_page=65001
)
ENTRY = LedgerEntry("e", 1, bytes(32), LedgerOutcome.APPLIED)


def deleting(column: TargetColumn, value: str) -> Statement:
    plan = ApplyPlan(
        Operation.DELETE, Target(1, "dbo", "t", (column,)), ENTRY, filters=(Filter(column, value, column.sql_type),)
    )
    return apply_statements.applying(plan)


def test_a_value_is_compared_in_the_columns_code_page_and_not_in_the_databases() -> None:
    statement = deleting(WORD, "\u0416\u0443\u043a")
    assert "t.[word] = CONVERT(varchar(8000), @f0 COLLATE Cyrillic_General_CI_AS)" in statement.sql
    assert [parameter.declaration for parameter in statement.parameters] == ["nvarchar(4000)"]


def test_a_long_value_is_never_cut_to_one_that_may_be_there() -> None:
    statement = deleting(UTF8, "\u65e5" * 3_000)
    assert "CONVERT(varchar(max), @f0 COLLATE Latin1_General_100_CI_AS_SC_UTF8)" in statement.sql
    assert [parameter.declaration for parameter in statement.parameters] == ["nvarchar(4000)"]


def test_ascii_is_the_same_in_every_code_page_and_serves_an_index() -> None:
    statement = deleting(WORD, "abc")
    assert "t.[word] = @f0 " in statement.sql or "t.[word] = @f0;" in statement.sql
    assert [parameter.declaration for parameter in statement.parameters] == ["varchar(8000)"]


def test_text_that_the_code_page_lacks_is_refused_and_not_looked_for_by_its_likeness() -> None:
    with pytest.raises(EventInvalid, match="code page 1251"):
        deleting(WORD, "\u65e5")


def test_a_collation_that_is_no_name_does_not_get_into_a_statement() -> None:
    odd = TargetColumn("word", "varchar(10)", nullable=False, collation="x); DROP TABLE t --", code_page=1251)
    with pytest.raises(ValueError, match="collation"):
        deleting(odd, "\u0416")
