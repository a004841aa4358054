"""What a column is staged as: its own type, unless the driver or a comparison can't take that."""

from __future__ import annotations

import pytest

from sql_databricks_bridge.db.staging import declaration
from sql_databricks_bridge.models.tables import TargetColumn

LATIN, UTF8, GREEK = "SQL_Latin1_General_CP1_CI_AS", "Latin1_General_100_CI_AS_SC_UTF8", "Greek_CI_AS"


@pytest.mark.parametrize(
    ("sql_type", "collation", "code_page", "staged"),
    [
        ("int", None, None, "int"),
        ("timestamp", None, None, "binary(8)"),
        ("nvarchar(20)", GREEK, 1253, f"nvarchar(20) COLLATE {GREEK}"),
        ("varchar(20)", LATIN, 1252, f"varchar(20) COLLATE {LATIN}"),
        ("text", LATIN, 1252, f"varchar(max) COLLATE {LATIN}"),
        # The driver's bulk copy sends '?' for what the language's own code page lacks.
        ("varchar(20)", UTF8, 65001, f"nvarchar(20) COLLATE {UTF8}"),
        ("char(4000)", GREEK, 1253, f"nvarchar(4000) COLLATE {GREEK}"),
        ("varchar(4001)", GREEK, 1253, f"nvarchar(max) COLLATE {GREEK}"),
        ("varchar(max)", UTF8, 65001, f"nvarchar(max) COLLATE {UTF8}"),
        ("text", GREEK, 1253, f"nvarchar(max) COLLATE {GREEK}"),
    ],
)
def test_a_column_is_staged_as(sql_type: str, collation: str | None, code_page: int | None, staged: str) -> None:
    assert declaration(TargetColumn("c", sql_type, True, collation=collation, code_page=code_page)) == staged
