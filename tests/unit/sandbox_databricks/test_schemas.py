"""Which types may become which without rewriting a table, by Databricks' list."""

from __future__ import annotations

from typing import Any

import pytest

from sql_databricks_bridge.sandbox.databricks.failures import SqlFailure
from sql_databricks_bridge.sandbox.databricks.schemas import widen

ON = {"delta.enableTypeWidening": "true"}
WIDER = {
    "byte": ["short", "integer", "long", "decimal(10,0)", "decimal(12,2)", "double"],
    "short": ["integer", "long", "decimal(10,0)", "double"],
    "integer": ["long", "decimal(10,0)", "decimal(38,28)", "double"],
    "long": ["decimal(20,0)", "decimal(25,5)"],
    "float": ["double"],
    "decimal(10,1)": ["decimal(11,1)", "decimal(12,3)", "decimal(38,1)"],
    "date": ["timestamp_ntz"],
}
NOT_WIDER = {
    "byte": ["decimal(3,0)", "decimal(10,1)", "float", "string", "boolean"],
    "integer": ["short", "decimal(9,0)", "decimal(10,1)", "float", "string", "date"],
    "long": ["integer", "double", "decimal(19,0)", "decimal(20,1)", "timestamp"],
    "float": ["integer", "decimal(38,10)"],
    "double": ["float", "decimal(38,10)"],
    "decimal(10,1)": ["decimal(10,2)", "decimal(9,1)", "double", "long"],
    "date": ["timestamp", "string"],
    "timestamp": ["timestamp_ntz", "date"],
    "string": ["integer", "binary"],
}


def field(kind: str) -> dict[str, Any]:
    return {"name": "c", "type": kind, "nullable": True, "metadata": {}}


@pytest.mark.parametrize(("old", "new"), [(old, new) for old, wider in WIDER.items() for new in wider])
def test_a_wider_type_is_noted_and_needs_the_table_property(old: str, new: str) -> None:
    changed = field(old)
    widen(changed, new, ON, "`t`")
    assert (changed["type"], changed["metadata"]) == (new, {"delta.typeChanges": [{"fromType": old, "toType": new}]})
    with pytest.raises(SqlFailure, match="DELTA_UNSUPPORTED_ALTER_TABLE_CHANGE_COL_OP"):
        widen(field(old), new, {}, "`t`")


@pytest.mark.parametrize(("old", "new"), [(old, new) for old, others in NOT_WIDER.items() for new in others])
def test_any_other_type_is_refused(old: str, new: str) -> None:
    unchanged = field(old)
    with pytest.raises(SqlFailure, match="CHANGE_COL"):
        widen(unchanged, new, ON, "`t`")
    assert unchanged == field(old)


def test_a_type_that_stays_is_no_change() -> None:
    unchanged = field("long")
    widen(unchanged, "long", {}, "`t`")
    assert unchanged == field("long")
