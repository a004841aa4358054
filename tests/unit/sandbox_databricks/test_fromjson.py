"""from_json is rewritten where the engine reads JSON otherwise than Spark, and left alone elsewhere."""

from __future__ import annotations

import pytest
import sqlglot

from sql_databricks_bridge.sandbox.databricks.fromjson import rewritten
from sql_databricks_bridge.sandbox.databricks.requestlog import statement_kind


def right(text: str) -> str:
    return rewritten(text, list(sqlglot.tokenize(text, dialect="databricks")))


@pytest.mark.parametrize(
    "text",
    [
        "SELECT from_json(:m, 'MAP<STRING,STRING>')",
        "SELECT from_json(:k, 'ARRAY<STRING>'), 'from_json(x, ''INT'')'",
        "SELECT from_json(:k, 'ARRAY<STRUCT<a: STRING, d: DECIMAL(10,2)>>')",
        "SELECT from_json(x, schema_of_json('1'))",
        "SELECT from_json(x, 'a TIMESTAMP', map('timestampFormat', 'yyyy'))",
        "SELECT `from_json` FROM t",
    ],
)
def test_what_the_engine_reads_rightly_stays_as_it_was(text: str) -> None:
    assert right(text) == text


def test_timestamps_are_read_as_text_and_integers_are_checked() -> None:
    assert right("SELECT explode(from_json(concat('[', :r), 'ARRAY<STRUCT<at: TIMESTAMP, n: INT>>')) AS r") == (
        "SELECT explode(transform(from_json(concat('[', :r), 'ARRAY<STRUCT<`at`: STRING, `n`: BIGINT>>'), _json0 -> "
        "IF(_json0 IS NULL, NULL, named_struct('at', TRY_CAST(_json0.`at` AS TIMESTAMP), 'n', "
        "IF(_json0.`n` BETWEEN -2147483648 AND 2147483647, CAST(_json0.`n` AS INT), NULL))))) AS r"
    )


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("MERGE INTO t", "MERGE"),
        ("-- why\n /* a */ /* b */ select 1", "SELECT"),
        ("(SELECT 1)", ""),
        ("-- only", ""),
        (None, None),
    ],
)
def test_the_kind_of_a_statement_is_its_first_word(statement: str | None, kind: str | None) -> None:
    assert statement_kind(statement) == kind
