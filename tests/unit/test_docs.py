"""The documentation says what the code does, where a test can tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from sql_databricks_bridge.core.config import Settings
from sql_databricks_bridge.core.ports import ResultColumn
from sql_databricks_bridge.core.types import LandedSchema
from sql_databricks_bridge.errors import ResultShapeError

DOCS = Path(__file__).parents[2] / "docs"


def test_every_setting_is_documented_with_its_meaning() -> None:
    """docs/settings.md has a line for each variable, with the description that the code gives it."""
    text = (DOCS / "settings.md").read_text()
    missing = [
        name.upper()
        for name, field in Settings.model_fields.items()
        if f"| `{name.upper()}` |" not in text or (field.description or "?") not in text
    ]
    assert missing == []


def test_no_variable_is_documented_that_the_code_does_not_read() -> None:
    """A variable that is renamed or removed does not live on in docs/settings.md."""
    documented = {
        line.split("`")[1] for line in (DOCS / "settings.md").read_text().splitlines() if line.startswith("| `")
    }
    assert documented == {name.upper() for name in Settings.model_fields}


TYPE_ROWS = [
    [cell.strip().strip("`") for cell in line.strip("|").split("|")]
    for line in (DOCS / "types.md").read_text().splitlines()
    if line.startswith("| `")
]


@pytest.mark.parametrize("row", TYPE_ROWS, ids=lambda row: row[0])
def test_the_table_of_types_says_what_the_code_does(row: list[str]) -> None:
    """Each line of docs/types.md: the Arrow type is the landed one, and a loss is declared where the table says so."""
    sql_type, arrow, _, loss = row
    column = ResultColumn("c", sql_type, nullable=True, max_length=8, precision=0, scale=0)
    if arrow == "refused":
        with pytest.raises(ResultShapeError):
            LandedSchema.of([column])
        return
    schema = LandedSchema.of([column])
    assert str(schema.schema.field("c").type) == arrow
    reasons = " ".join(found.reason for found in schema.losses)
    assert bool(reasons) == bool(loss)
    assert all(part.split()[1] in reasons for part in loss.split("; ") if part)
